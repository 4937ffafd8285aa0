//! Questions that a person answers before something is done that cannot be taken back.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

use crate::failure::Advice;

/// Asks on the terminal. `note` goes with the question, `otherwise` says how it is done where nobody can be asked.
pub(crate) fn confirmed(question: &str, note: &str, otherwise: &'static str) -> Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Advice::new(format!("nobody is there to ask: {question}"), otherwise).into());
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question} {note} [y/N] ").context("cannot ask")?;
    stderr.flush().context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
