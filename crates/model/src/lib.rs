//! driftless-model
