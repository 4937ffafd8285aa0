//! driftless-agent
