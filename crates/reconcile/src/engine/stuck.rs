//! Deletions that do not come to their end: told, with what they wait for and what to do. Nothing is done about them,
//! since whoever set a finalizer wants something to be cleaned up first.
//!
//! An object is noted when it is first seen to be deleted, and looked at once more when its time has come.

use tokio::time::Instant;

use super::{
    Engine, Timer,
    state::{Issue, Key, Live},
};

impl Engine {
    /// An object was looked at: is it being deleted, and since when?
    pub(super) fn note_deleting(&mut self, key: Key) {
        let Some(entry) = self.state.entry(key) else {
            self.deleting.remove(&key);
            return;
        };
        if !matches!(&entry.live, Live::Present(present) if present.deleting) {
            if self.deleting.remove(&key).is_some() && entry.issue.as_ref().is_some_and(|it| it.reason == Issue::STUCK)
            {
                self.clear_stuck(key);
            }
            return;
        }
        if !self.deleting.contains_key(&key) {
            let at = Instant::now() + self.settings.stuck_after;
            self.deleting.insert(key, at);
            self.timers.insert((at, Timer::Stuck(key)));
        } else if entry.issue.as_ref().is_some_and(|it| it.reason == Issue::STUCK) {
            self.tell_stuck(key);
        }
    }

    /// It took too long, if it is the same deletion still.
    pub(super) fn on_stuck_due(&mut self, key: Key, at: Instant) {
        if self.deleting.get(&key) == Some(&at) {
            self.tell_stuck(key);
        }
    }

    fn tell_stuck(&mut self, key: Key) {
        let Some(entry) = self.state.entry(key) else { return };
        let Live::Present(present) = &entry.live else {
            // Its kind is out of sight: noted anew when it is seen again.
            self.deleting.remove(&key);
            return;
        };
        let why = present.message.as_deref().unwrap_or("it is being deleted");
        let message = format!(
            "{why}: whoever set a finalizer has to remove it when its work is done; see whether that controller runs, and \
             remove the finalizer by hand only if it never will"
        );
        self.set_issue(key, Issue::STUCK, message);
    }

    fn clear_stuck(&mut self, key: Key) {
        if let Some(entry) = self.state.entry_mut(key) {
            entry.issue = None;
        }
    }
}
