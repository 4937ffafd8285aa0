//! Text that comes bit by bit: shown as it comes, through a pager once it is more than a screen.

use anyhow::Result;

use super::pager;

/// Where the text goes.
pub(crate) struct Rows {
    /// What a screen can still show.
    held: String,
    pager: Option<pager::Running>,
    /// May a pager be started?
    paged: bool,
    /// Did the reader leave?
    left: bool,
}

impl Rows {
    pub(super) fn new(paged: bool) -> Self {
        Self {
            held: String::new(),
            pager: None,
            paged: paged && super::size().is_some(),
            left: false,
        }
    }

    /// Shows more. Gives whether anybody still reads.
    pub(crate) fn push(&mut self, text: &str) -> Result<bool> {
        if let Some(pager) = &mut self.pager {
            // Fails where the pager was left before the end.
            self.left |= pager.write(text).is_err();
            return Ok(!self.left);
        }
        if !self.paged {
            super::write(text)?;
            return Ok(true);
        }
        self.held.push_str(text);
        if pager::is_wanted(&self.held) {
            let held = std::mem::take(&mut self.held);
            self.pager = pager::Running::start();
            // One that cannot be started is as good as none.
            self.paged = self.pager.is_some();
            return self.push(&held);
        }
        Ok(true)
    }

    /// Shows what is left, and waits for the reader.
    pub(crate) fn finish(self) -> Result<()> {
        match self.pager {
            Some(pager) => pager.finish(),
            None => super::write(&self.held),
        }
    }
}
