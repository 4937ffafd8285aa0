//! driftless-proto
