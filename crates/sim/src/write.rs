//! Create, replace, patch and apply: how what a client sent becomes the stored object.
//!
//! Methods of [`State`], called by `http` for requests and by `controllers` for the simulated ones. Each runs whole
//! under the cluster's lock: prepare, validate, record who owns what, store. What follows from a change (garbage,
//! controllers) is done by [`State::settle`] after it.

mod prepare;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fields::Set;
use crate::managed::{Owners, Write, conflict_message};
use crate::patch::{self, Patch};
use crate::state::{State, Target, WriteOptions, text};
use crate::status::Refusal;
use crate::store::Stored;
use crate::{convert, validate};

/// What a write made.
pub(crate) struct Written {
    /// The object in the request's version.
    pub(crate) object: Value,
    pub(crate) created: bool,
    pub(crate) warnings: Vec<String>,
}

impl State {
    /// Creates `object`.
    pub(crate) fn create(
        &mut self,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Refusal> {
        let mut target = target.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            if metadata
                .get("resourceVersion")
                .and_then(Value::as_str)
                .is_some_and(|version| !version.is_empty())
            {
                return Err(Refusal::bad_request(
                    "resourceVersion should not be set on objects to be created",
                ));
            }
            metadata.remove("managedFields");
        }
        self.name_for(&mut target, &mut object)?;
        let zero = target.kind.versions[target.version].ty.zero();
        self.insert(&target, &zero, object, Owners::default(), options, true)
    }

    fn name_for(&mut self, target: &mut Target, object: &mut Value) -> Result<(), Refusal> {
        let (name, prefix) = (text(object, "/metadata/name"), text(object, "/metadata/generateName"));
        if name.is_empty() && !prefix.is_empty() {
            let name = format!("{prefix}{}", self.suffix());
            object["metadata"]["name"] = json!(name);
            target.name = name;
        } else {
            target.name = name.to_owned();
        }
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let namespace = text(object, "/metadata/namespace");
        if target.kind.namespaced {
            if !namespace.is_empty() && namespace != target.namespace {
                return Err(Refusal::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            object["metadata"]["namespace"] = json!(target.namespace);
        } else if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        Ok(())
    }

    /// Stores an object that is not there yet. `record`: the create itself owns what it sets.
    fn insert(
        &mut self,
        target: &Target,
        zero: &Value,
        object: Value,
        mut owners: Owners,
        options: &WriteOptions,
        record: bool,
    ) -> Result<Written, Refusal> {
        let (mut object, warnings) = prepare::decoded(target, object, options)?;
        self.check_namespace(target)?;
        prepare::fresh(target, &mut object);
        prepare::defaults(target, &mut object);
        if record {
            let reset = prepare::reset(target);
            owners.update(
                &self.ownership(target, options, &reset, &target.api_version()),
                zero,
                &object,
            );
        }
        self.assign(target, &mut object);
        validate::create(target, &object)?;
        if self
            .store
            .get(&target.kind.store, &target.namespace, &target.name)
            .is_some()
        {
            return Err(Refusal::already_exists(&target.kind, &target.name));
        }
        owners.store(&mut object);
        if !options.dry_run {
            let stored = self.keep(target, &object);
            object = stored.view(&target.kind, target.version);
        }
        Ok(Written {
            object,
            created: true,
            warnings,
        })
    }

    fn ownership<'a>(
        &'a self,
        target: &'a Target,
        options: &'a WriteOptions,
        reset: &'a Set,
        api_version: &'a str,
    ) -> Write<'a> {
        Write {
            ty: &target.kind.versions[target.version].ty,
            manager: &options.manager,
            api_version,
            subresource: &target.subresource,
            reset,
            now: &self.now,
        }
    }

    /// Stores `object`, which is in the target's version, in the kind's stored one.
    fn keep(&mut self, target: &Target, object: &Value) -> Arc<Stored> {
        let home = crate::kinds::home(&target.kind);
        let held = convert::to_version(&target.kind, target.version, &home, home.stored, object.clone());
        self.store.put(&home, &held)
    }

    /// Replaces the live object by `object`.
    pub(crate) fn replace(
        &mut self,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Refusal> {
        let name = text(&object, "/metadata/name");
        if name != target.name {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
        let live = self.find(target)?;
        let must_name_version =
            target.kind.custom || matches!(target.kind.kind.as_str(), "Lease" | "CustomResourceDefinition");
        if must_name_version && text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(validate::missing_version(target));
        }
        self.update(target, &live, object, options)
    }

    /// Patches the live object.
    pub(crate) fn patch(&mut self, target: &Target, patch: &Patch, options: &WriteOptions) -> Result<Written, Refusal> {
        if let Patch::Apply(config) = patch {
            return self.apply(target, config, options);
        }
        let live = self.find(target)?;
        let before = live.view(&target.kind, target.version);
        let ty = &target.kind.versions[target.version].ty;
        let mut after = patch::patched(ty, &before, patch, target.kind.custom)?;
        if patch.names_no_version() {
            after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        }
        self.update(target, &live, after, options)
    }

    fn update(
        &mut self,
        target: &Target,
        live: &Arc<Stored>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Refusal> {
        let before = live.view(&target.kind, target.version);
        validate::precondition(target, &before, &object)?;
        let (mut object, warnings) = prepare::decoded(target, object, options)?;
        prepare::over(target, &before, &mut object);
        prepare::defaults(target, &mut object);
        let mut owners = Owners::of(&before);
        // An explicitly emptied list asks for the ownership to be forgotten.
        if object["metadata"]["managedFields"]
            .as_array()
            .is_some_and(|entries| reset_asked(entries))
        {
            owners = Owners::default();
        } else {
            let reset = prepare::reset(target);
            owners.update(
                &self.ownership(target, options, &reset, &target.api_version()),
                &before,
                &object,
            );
        }
        let next = Next {
            before,
            object,
            owners,
            warnings,
        };
        self.finish(target, live, next, options)
    }

    /// Applies a configuration.
    fn apply(&mut self, target: &Target, config: &Value, options: &WriteOptions) -> Result<Written, Refusal> {
        validate::apply_request(target, config, options)?;
        let live = self
            .store
            .get(&target.kind.store, &target.namespace, &target.name)
            .cloned();
        let before = match &live {
            Some(live) => live.view(&target.kind, target.version),
            None => {
                if !target.subresource.is_empty() {
                    return Err(Refusal::not_found(&target.kind, &target.name));
                }
                self.check_namespace(target)?;
                let mut zero = target.kind.versions[target.version].ty.zero();
                zero["metadata"] = json!({"name": target.name});
                if target.kind.namespaced {
                    zero["metadata"]["namespace"] = json!(target.namespace);
                }
                zero
            }
        };
        validate::apply_target(target, &before, config, live.is_some())?;
        let warnings = prepare::check_config(target, config, options)?;
        let mut owners = Owners::of(&before);
        let mut bare = before.clone();
        if let Some(metadata) = bare["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let reset = prepare::reset(target);
        let api_version = target.api_version();
        let write = self.ownership(target, options, &reset, &api_version);
        let merged = owners
            .apply(&write, &bare, config, options.force)
            .map_err(|conflicts| {
                let causes = conflicts
                    .iter()
                    .map(|conflict| (conflict.field.clone(), format!("conflict with {}", conflict.manager)));
                Refusal::apply_conflict(conflict_message(&conflicts), causes)
            })?;
        match live {
            None => {
                let mut written = self.insert(target, &Value::Null, merged, owners, options, false)?;
                written.warnings = warnings;
                Ok(written)
            }
            Some(live) => {
                let (mut object, _) = prepare::decoded(target, merged, &WriteOptions::default())?;
                prepare::over(target, &before, &mut object);
                prepare::defaults(target, &mut object);
                let next = Next {
                    before,
                    object,
                    owners,
                    warnings,
                };
                self.finish(target, &live, next, options)
            }
        }
    }

    /// Validates and stores the next version of an object, unless nothing changed.
    fn finish(
        &mut self,
        target: &Target,
        live: &Arc<Stored>,
        next: Next,
        options: &WriteOptions,
    ) -> Result<Written, Refusal> {
        let Next {
            before,
            mut object,
            owners,
            warnings,
        } = next;
        validate::update(target, &before, &object)?;
        prepare::count_generation(target, &before, &mut object);
        self.assign_again(target, &before, &mut object);
        owners.store(&mut object);
        if owners.same_fields(&Owners::of(&before)) {
            // Times alone are no change.
            let mut timeless = object.clone();
            timeless["metadata"]["managedFields"] = before["metadata"]["managedFields"].clone();
            prepare::drop_nulls(target, &mut timeless);
            if timeless == before {
                object = timeless;
            }
        }
        let mut written = Written {
            object,
            created: false,
            warnings,
        };
        if options.dry_run || written.object == before {
            return Ok(written);
        }
        let gone = live.terminating
            && written.object["metadata"]["finalizers"]
                .as_array()
                .is_none_or(Vec::is_empty)
            && prepare::namespace_finalizers(&written.object) == 0;
        let stored = self.keep(target, &written.object);
        if gone {
            self.store.remove(&stored.place());
        }
        written.object = stored.view(&target.kind, target.version);
        Ok(written)
    }
}

/// An object on its way to replace the one before it.
struct Next {
    before: Value,
    object: Value,
    owners: Owners,
    warnings: Vec<String>,
}

fn reset_asked(entries: &[Value]) -> bool {
    entries.is_empty() || matches!(entries, [only] if only.as_object().is_some_and(serde_json::Map::is_empty))
}
