//! What a bench found, as a document. camelCase, and it only ever gains fields.

use serde::Serialize;

use crate::figures::Spread;

/// What a bench found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The server.
    pub server: String,
    /// The channel that was pushed to.
    pub channel: String,
    /// Streams that were held.
    pub agents: usize,
    /// Bytes of the bundle, canonical and uncompressed.
    pub bundle_bytes: usize,
    /// Were the same messages verified once for all streams?
    pub verified_together: bool,
    /// Was it told to end before it had measured all?
    pub interrupted: bool,
    /// How far the streams were when they were not waited for any longer.
    pub late: Option<Late>,
    /// Enrolling and joining.
    pub joined: Joined,
    /// Opening all streams.
    pub connected: StreamReport,
    /// A change: of each figure the median over the changes.
    pub change: ChangeReport,
    /// Each change.
    pub changes: Vec<ChangeReport>,
    /// Making all streams anew.
    pub reconnected: Option<Reconnected>,
    /// What the server used, if it could be read.
    pub server_use: Option<ServerUse>,
    /// Streams that ended by themselves, or could not be opened.
    pub failures: u64,
    /// Why the last of those did.
    pub failure: Option<String>,
}

/// Enrolling and joining.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Clusters that were enrolled and joined.
    pub enrolled: usize,
    /// Clusters whose certificate was at hand.
    pub kept: usize,
    /// How long it took.
    pub seconds: f64,
}

/// Opening all streams, until all of them had verified what there was.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamReport {
    /// Until the last one.
    pub seconds: f64,
    /// Bytes that an agent received, TLS records included: the median.
    pub bytes_per_agent: f64,
    /// Bytes that an agent sent: the median.
    pub sent_per_agent: f64,
    /// Objects that an agent was sent, on average.
    pub objects_per_agent: f64,
    /// When agents were there, in milliseconds since the first began.
    pub milliseconds: Spread,
}

/// One change, or the medians of several.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeReport {
    /// The directive's sequence; 0 of medians.
    pub sequence: u64,
    /// Agents that have verified it; of several changes the fewest.
    pub verified: usize,
    /// When they had, in milliseconds since the push was acknowledged.
    pub milliseconds: Spread,
    /// Milliseconds from the beginning of the push to its acknowledgement.
    pub push_milliseconds: f64,
    /// Bytes that an agent received, TLS records included: the median.
    pub bytes_per_agent: f64,
    /// Milliseconds from the acknowledgement until the server had counted all clusters as healthy; `null` where agents do
    /// not report.
    pub counted_milliseconds: Option<f64>,
    /// The most that one received.
    pub most_bytes: f64,
    /// Microseconds of the server's processors per agent, the push itself included; `null` where they could not be read.
    pub server_cpu_microseconds: Option<f64>,
}

/// Making all streams anew, all at once.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnected {
    /// Until the last one had verified the current directive.
    #[serde(flatten)]
    pub streams: StreamReport,
    /// Milliseconds of the server's processors per agent; `null` where they could not be read.
    pub server_cpu_milliseconds: Option<f64>,
}

/// A step that did not come to its end in time: nothing was measured after it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Late {
    /// What is missing, and why.
    pub message: String,
    /// What there was by then.
    #[serde(flatten)]
    pub reached: Reached,
}

/// How far the streams are with a directive.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// The directive's sequence.
    pub sequence: u64,
    /// Streams that are open.
    pub connected: usize,
    /// Agents that have verified it.
    pub verified: usize,
    /// When those had, in milliseconds since the step began: of a push since it was acknowledged.
    pub milliseconds: Spread,
}

/// What the server used.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerUse {
    /// Its process.
    pub pid: u32,
    /// Resident memory before the streams were opened.
    pub resident_before: u64,
    /// With all of them open, before the first change.
    pub resident_idle: u64,
    /// The same, less what was there before, per agent.
    pub resident_per_agent: f64,
    /// After the changes.
    pub resident_after: u64,
    /// The most that was ever resident.
    pub peak: u64,
    /// Processor seconds, all in all, since the streams began to open.
    pub cpu_seconds: f64,
}
