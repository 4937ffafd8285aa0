//! Long output goes through a pager, as Git does it.
//!
//! On a terminal only, and only where it does not fit: what does is printed plainly, which is what `less -F` would do
//! with it. The pager is `$DRIFTLESS_PAGER`, else `$PAGER`, else `less -FRX`; an empty one or `cat` is none, and one
//! that cannot be started is as good as none. A reader that leaves early has seen enough: that is no failure.

use std::{
    env,
    io::Write as _,
    process::{Child, Command, Stdio},
};

use anyhow::Result;

use super::screen;

/// Shows `text`, a pager willing. Gives whether one did.
pub(super) fn show(text: &str) -> Result<bool> {
    if !is_wanted(text) {
        return Ok(false);
    }
    let Some(mut pager) = Running::start() else {
        return Ok(false);
    };
    // Fails where the pager was left before the end.
    let _ = pager.write(text);
    pager.finish()?;
    Ok(true)
}

/// Is standard output a terminal that cannot show all of `text`?
pub(super) fn is_wanted(text: &str) -> bool {
    screen::size().is_some_and(|(width, height)| !fits(text, width, height))
}

/// A pager that shows what comes.
pub(super) struct Running {
    child: Child,
    stdin: Option<Box<anstream::AutoStream<Box<dyn std::io::Write>>>>,
    /// Ctrl-C is the pager's while it runs; without a handler it would end this process and leave the terminal to two.
    _interrupts: std::io::Result<tokio::signal::unix::Signal>,
}

impl Running {
    /// Starts the pager that is asked for; `None` where none is, or where it cannot be started.
    pub(super) fn start() -> Option<Self> {
        let set = |name| env::var(name).ok();
        let words = choose(set("DRIFTLESS_PAGER"), set("PAGER"))?;
        let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
        let mut child = start(&words)?;
        // The pager is on the terminal that standard output would be; what that may show, it may.
        let choice = anstream::AutoStream::choice(&std::io::stdout());
        let stdin = child.stdin.take().map(|stdin| {
            Box::new(anstream::AutoStream::new(
                Box::new(stdin) as Box<dyn std::io::Write>,
                choice,
            ))
        });
        Some(Self {
            child,
            stdin,
            _interrupts: interrupts,
        })
    }

    /// Shows more.
    pub(super) fn write(&mut self, text: &str) -> std::io::Result<()> {
        match &mut self.stdin {
            Some(stdin) => stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()),
            None => Ok(()),
        }
    }

    /// Waits until the reader has seen enough.
    pub(super) fn finish(mut self) -> Result<()> {
        self.stdin = None;
        self.child.wait()?;
        Ok(())
    }
}

/// Would the screen show all of it, with the prompt below?
fn fits(text: &str, width: usize, height: usize) -> bool {
    let lines = text
        .lines()
        .map(|line| super::visible_width(line).div_ceil(width).max(1));
    lines.take(height).sum::<usize>() < height
}

/// The pager's command line; none where none is wanted.
fn choose(ours: Option<String>, general: Option<String>) -> Option<String> {
    let chosen = ours.or(general).unwrap_or_else(|| "less -FRX".to_owned());
    let chosen = chosen.trim();
    (!chosen.is_empty() && chosen != "cat").then(|| chosen.to_owned())
}

fn start(line: &str) -> Option<Child> {
    let mut command = if line.contains(|char: char| "|&;<>()$`\\\"'*?[#~=%".contains(char)) {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line);
        shell
    } else {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next()?);
        command.args(words);
        command
    };
    // As Git: a bare `less` ends by itself at the end of a short text, shows colours, and leaves what it showed.
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).spawn().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_variable_wins_and_an_empty_one_or_cat_is_none() {
        let choose =
            |ours: Option<&str>, general: Option<&str>| choose(ours.map(str::to_owned), general.map(str::to_owned));
        assert_eq!(choose(None, None).as_deref(), Some("less -FRX"));
        assert_eq!(choose(None, Some("more")).as_deref(), Some("more"));
        assert_eq!(choose(Some("most -s"), Some("more")).as_deref(), Some("most -s"));
        for none in ["", " ", "cat"] {
            assert_eq!(choose(Some(none), Some("more")), None, "{none:?}");
        }
    }

    #[test]
    fn text_fits_with_a_line_left_for_the_prompt() {
        assert!(fits("a\nb\n", 10, 3));
        assert!(!fits("a\nb\nc\n", 10, 3));
        assert!(!fits("a\n12345678901\n", 10, 3), "a line that wraps is two");
        assert!(fits("\x1b[1m1234567890\x1b[0m\n", 10, 2), "colours take no room");
    }
}
