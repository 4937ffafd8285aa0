//! driftless-reconcile
