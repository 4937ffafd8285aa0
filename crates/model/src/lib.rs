//! The words of Driftless as types, and every decision as a pure function of them.
//!
//! Nothing here does I/O, reads a clock or draws a random number: what a decision needs is passed in. Server,
//! agent and CLI call the same functions, so a diff shown before a push is what a cluster will do.
//!
//! # Layout
//! Documents, each named by the [`hash`] of its [`canonical`] bytes:
//! [`manifest`] (one Kubernetes object as desired) → [`bundle`] (one version of one component) →
//! [`snapshot`] (a channel's whole desired state).
//!
//! The one mutable thing: [`journal`] entries carry [`event`]s, whose fold is the [`fleet`] state; a channel's
//! [`directive`] is read off that state; [`cluster`] is how clusters' records change.
//!
//! What a cluster makes of it: [`view`] (directive, snapshot, cluster → manifests) and [`diff`]. Clusters differ by
//! a component's [`selector`], its [`overlay`]s and the variables of [`substitute`], which [`render`] puts together;
//! [`effect`] says what a change does to a whole fleet, group by group. [`order`] is in which
//! order objects come and go, [`hook`] what is run once per version, [`rule`] how health is told.
//!
//! What people ask of it: [`history`] (when did a field change, and who set each line), [`explain`] (why a cluster is not
//! as it should be), and [`mod@reference`] (which object is meant).
//!
//! Ways in: [`yaml`] reads text as kubectl does, [`intake`] turns files into manifests or into problems that
//! name file and line; [`definition`] says where custom kinds live. [`name`] holds the newtypes, [`shared`] values that are cheap to copy, [`field`] finds fields of objects, [`join`] what an agent needs to find its server.

pub mod bundle;
pub mod canonical;
pub mod cluster;
mod common;
pub mod definition;
pub mod delta;
pub mod diff;
pub mod directive;
pub mod effect;
pub mod event;
pub mod explain;
pub mod field;
pub mod fleet;
pub mod frames;
pub mod hash;
pub mod history;
pub mod hook;
pub mod ignored;
pub mod intake;
pub mod join;
pub mod journal;
pub mod kinds;
pub mod manifest;
pub mod marks;
pub mod name;
pub mod order;
pub mod orders;
pub mod overlay;
pub mod prospect;
pub mod reference;
pub mod render;
pub mod rule;
pub mod selector;
pub mod shared;
pub mod snapshot;
pub mod status;
pub mod substitute;
pub mod view;
pub mod yaml;
