//! driftless-server
