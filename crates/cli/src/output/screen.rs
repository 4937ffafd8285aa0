//! What standard output is, for this whole process: a terminal of some width, or a pipe; in colour or not.
//!
//! It is told once, by `Output::new`, and read wherever lines are laid out: standard output is one for a process,
//! and so is what it looks like.

use std::{io::IsTerminal as _, sync::OnceLock};

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// How wide lines may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Screen {
    /// Columns of the terminal. Absent where nothing is cut: in a pipe, and with `-o wide`.
    pub(crate) width: Option<usize>,
    /// Was `-o wide` asked for?
    pub(crate) wide: bool,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, and by NO_COLOR and CLICOLOR
    #[default]
    Auto,
    /// In a pipe too
    Always,
    /// Nowhere
    Never,
}

impl Screen {
    /// What was told; before that, a pipe.
    pub(crate) fn current() -> Self {
        SCREEN.get().copied().unwrap_or_default()
    }

    /// Tells how this process prints. What was told first stays.
    pub(super) fn set(wide: bool, color: Color) {
        let choice = match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        let width = size().map(|(width, _)| width).filter(|_| !wide);
        // A second call is another test of this process.
        let _ = SCREEN.set(Self { width, wide });
    }
}

/// Columns and lines of the terminal that standard output is, if it is one.
pub(crate) fn size() -> Option<(usize, usize)> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(std::io::stdout());
    // A terminal that does not know its size says 0.
    let size = size.filter(|(width, height)| width.0 > 0 && height.0 > 0);
    Some(size.map_or((80, 24), |(width, height)| {
        (usize::from(width.0), usize::from(height.0))
    }))
}
