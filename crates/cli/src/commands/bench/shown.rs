//! What a bench found, for people.

use std::fmt::Write as _;

use driftless_load::{ChangeReport, Report, StreamReport};

use crate::output::bold;

pub(super) fn text(report: &Report) -> String {
    let Report {
        server,
        channel,
        agents,
        bundle_bytes,
        verified_together,
        interrupted,
        late,
        joined,
        connected,
        change,
        changes,
        reconnected,
        server_use,
        failures,
        failure,
    } = report;
    let how = if *verified_together {
        ""
    } else {
        ", each verifying for itself"
    };
    // Writing to a String cannot fail.
    let mut out = format!(
        "{} on channel `{channel}` of {server}{how}\n",
        bold(format!("{agents} agents"))
    );
    let _ = writeln!(
        out,
        "joined       {} enrolled, {} kept, {:.1} s",
        joined.enrolled, joined.kept, joined.seconds
    );
    let _ = writeln!(out, "connected    {}", streams(connected));
    if !changes.is_empty() {
        let _ = write!(out, "{}", medians(change, changes.len(), *bundle_bytes));
    }
    if let Some(reconnected) = reconnected {
        let cpu = reconnected.server_cpu_milliseconds;
        let cpu = cpu.map_or_else(String::new, |cpu| format!(", server {cpu:.2} ms of processor each"));
        let _ = writeln!(out, "reconnected  {}{cpu}", streams(&reconnected.streams));
    }
    if let Some(used) = server_use {
        let mebibytes = |bytes: u64| bytes >> 20;
        let _ = writeln!(
            out,
            "server       {} MiB, {} with all streams ({:.1} KiB each), {} in the end, {} at most; {:.1} s of processor",
            mebibytes(used.resident_before),
            mebibytes(used.resident_idle),
            used.resident_per_agent / 1024.0,
            mebibytes(used.resident_after),
            mebibytes(used.peak),
            used.cpu_seconds
        );
    }
    if let (true, Some(failure)) = (*failures > 0, failure) {
        let _ = writeln!(out, "failures     {failures}, the last: {failure}");
    }
    if let Some(late) = late {
        let spread = &late.reached.milliseconds;
        let _ = writeln!(
            out,
            "late         {} of {agents} agents had verified directive {}: p50 {:.1}, p90 {:.1}, p99 {:.1}, max {:.1} ms; {} streams are open",
            late.reached.verified,
            late.reached.sequence,
            spread.p50,
            spread.p90,
            spread.p99,
            spread.max,
            late.reached.connected
        );
    }
    if *interrupted {
        out.push_str("It was interrupted: not everything was measured.\n");
    }
    out
}

fn streams(streams: &StreamReport) -> String {
    format!(
        "all verified after {:.2} s; each received {:.0} bytes with {:.1} objects",
        streams.seconds, streams.bytes_per_agent, streams.objects_per_agent
    )
}

fn medians(change: &ChangeReport, changes: usize, bundle: usize) -> String {
    let spread = &change.milliseconds;
    let cpu = change.server_cpu_microseconds;
    let cpu = cpu.map_or_else(String::new, |cpu| format!(", server {cpu:.1} µs of processor each"));
    let counted = change.counted_milliseconds;
    let counted = counted.map_or_else(String::new, |counted| {
        format!("; the server had counted all after {counted:.1} ms")
    });
    format!(
        "change       {changes} × one line of {} KiB: push {:.1} ms, then p50 {:.1}, p90 {:.1}, p99 {:.1}, max {:.1} ms\n\
         \x20            {:.0} bytes each{cpu}; {} agents verified all{counted}\n",
        bundle / 1024,
        change.push_milliseconds,
        spread.p50,
        spread.p90,
        spread.p99,
        spread.max,
        change.bytes_per_agent,
        change.verified
    )
}

#[cfg(test)]
mod tests {
    use driftless_load::{Late, Reached, Reconnected, ServerUse};

    use super::*;

    #[test]
    fn only_what_was_measured_is_shown() {
        let mut report = Report {
            agents: 7,
            ..Report::default()
        };
        let few = text(&report);
        assert!(
            few.contains("7 agents") && !few.contains("reconnected") && !few.contains("change "),
            "{few}"
        );
        assert!(!few.contains("late"), "{few}");
        report.late = Some(Late {
            reached: Reached {
                verified: 5,
                sequence: 9,
                ..Reached::default()
            },
            ..Late::default()
        });
        assert!(text(&report).contains("5 of 7 agents had verified directive 9"));
        report.changes.push(ChangeReport::default());
        report.reconnected = Some(Reconnected::default());
        report.server_use = Some(ServerUse::default());
        let all = text(&report);
        assert!(
            all.contains("reconnected") && all.contains("change ") && all.contains("server "),
            "{all}"
        );
    }
}
