//! What the demo prints: chapters, one line that keeps changing on a terminal, and the summary at the end.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// The terminal, or the pipe.
#[derive(Debug)]
pub(crate) struct Screen {
    live: bool,
    measured: Vec<(String, String)>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            live: std::io::stdout().is_terminal(),
            measured: Vec::new(),
        }
    }

    /// Begins a chapter.
    pub(crate) fn chapter(&self, title: &str) {
        print(&format!("\n{BOLD}{title}{RESET}\n"));
    }

    /// Says something that stays.
    pub(crate) fn say(&self, text: &str) {
        self.clear();
        print(&format!("  {text}\n"));
    }

    /// Says something in passing: on a terminal the next line overwrites it, in a pipe it is left out.
    pub(crate) fn show(&self, text: &str) {
        if self.live {
            self.clear();
            print(&format!("  {DIM}{text}{RESET}"));
        }
    }

    /// Says that something was achieved.
    pub(crate) fn done(&self, text: &str) {
        self.clear();
        print(&format!("  {GREEN}✓{RESET} {text}\n"));
    }

    /// Keeps a figure for the summary.
    pub(crate) fn measured(&mut self, what: &str, figure: impl Into<String>) {
        self.measured.push((what.to_owned(), figure.into()));
    }

    /// Prints all figures kept.
    pub(crate) fn summary(&self) {
        self.chapter("Measured");
        let width = self
            .measured
            .iter()
            .map(|(what, _)| what.chars().count())
            .max()
            .unwrap_or(0);
        for (what, figure) in &self.measured {
            print(&format!("  {what:width$}  {BOLD}{figure}{RESET}\n"));
        }
    }

    fn clear(&self) {
        if self.live {
            print("\r\x1b[K");
        }
    }
}

/// A bar of `width` cells.
pub(crate) fn bar(done: usize, of: usize, width: usize) -> String {
    let filled = (done * width).checked_div(of).unwrap_or(width);
    format!("{}{}", "█".repeat(filled), "░".repeat(width - filled))
}

/// A duration for people: `38 ms`, `1.24 s`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.2} s")
    }
}

/// A number with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    // Nobody is left to tell when standard output is gone.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_from_nothing_to_all() {
        assert_eq!(bar(0, 4, 4), "░░░░");
        assert_eq!(bar(1, 4, 4), "█░░░");
        assert_eq!(bar(4, 4, 4), "████");
        assert_eq!(bar(0, 0, 2), "██");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(time(Duration::from_micros(37_600)), "38 ms");
        assert_eq!(time(Duration::from_millis(1_236)), "1.24 s");
        assert_eq!(time(Duration::from_micros(999_900)), "1.00 s");
    }
}
