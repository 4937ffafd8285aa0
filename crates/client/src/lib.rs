//! driftless-client
