//! driftless-agent
fn main() {}
