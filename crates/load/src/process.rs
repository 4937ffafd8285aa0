//! What a process of this machine used so far, as `/proc` tells. Linux only; elsewhere there is nothing to read.

use std::fs;

/// What a process used and holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Used {
    /// Processor seconds, in user and kernel, all threads.
    pub cpu_seconds: f64,
    /// The same of its children that have ended and that it has waited for.
    pub children_seconds: f64,
    /// Resident memory now.
    pub resident_bytes: u64,
    /// The most that was ever resident.
    pub peak_bytes: u64,
}

/// Reads what process `pid` used; `None` where there is no such process here.
pub fn used(pid: u32) -> Option<Used> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let (own, children) = ticks(&stat)?;
    Some(Used {
        cpu_seconds: own / rustix::param::clock_ticks_per_second() as f64,
        children_seconds: children / rustix::param::clock_ticks_per_second() as f64,
        resident_bytes: kilobytes(&status, "VmRSS:")? * 1024,
        peak_bytes: kilobytes(&status, "VmHWM:")? * 1024,
    })
}

/// Time in user and kernel of `/proc/<pid>/stat`: the process's own, and its children's.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    // The command, second, may hold spaces and brackets; what follows its last bracket is regular.
    let (_, after) = stat.rsplit_once(')')?;
    let fields = after.split_whitespace().skip(11).take(4);
    let fields: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    match *fields {
        [user, kernel, children_user, children_kernel] => Some((user + kernel, children_user + children_kernel)),
        _ => None,
    }
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_brackets_does_not_confuse() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4 10 0 0 0 12 30 5 5 20 0 4 0 99 1 2";
        assert_eq!(ticks(stat), Some((42.0, 10.0)));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn memory_is_found_by_its_field() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            (kilobytes(status, "VmRSS:"), kilobytes(status, "VmHWM:")),
            (Some(1024), Some(2048))
        );
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn own_process_is_found_and_no_other() {
        assert!(used(std::process::id()).unwrap().resident_bytes > 0);
        assert_eq!(used(u32::MAX), None);
    }
}
