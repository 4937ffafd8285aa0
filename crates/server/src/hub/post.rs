//! A channel's newest orders, and whom to ring when there are newer ones.
//!
//! Whoever is rung reads the newest, and skips what it was too slow for. A stream is rung on its one [`Line`]: ten
//! thousand of them wait in no list that each has to lock for every message.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{Line, Orders, lock};

/// See the module.
#[derive(Default)]
pub(super) struct Post {
    /// `None` until they are prepared.
    newest: RwLock<Option<Arc<Orders>>>,
    /// By the number of the stream, and so in the order in which they were opened.
    lines: Mutex<BTreeMap<u64, Arc<Line>>>,
}

/// A stream's share in a channel's orders, until it is dropped.
pub(crate) struct Subscription {
    post: Arc<Post>,
    id: u64,
}

impl Post {
    pub(super) fn newest(&self) -> Option<Arc<Orders>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn put(&self, orders: Orders) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(Arc::new(orders));
        drop(newest);
        lock(&self.lines).values().for_each(|line| line.orders_changed());
    }

    /// Does any stream follow the channel?
    pub(super) fn is_heard(&self) -> bool {
        !lock(&self.lines).is_empty()
    }

    pub(super) fn subscribe(self: Arc<Self>, id: u64, line: Arc<Line>) -> Subscription {
        lock(&self.lines).insert(id, line);
        Subscription { post: self, id }
    }
}

impl Subscription {
    /// The newest orders; `None` until they are prepared, which rings.
    pub(crate) fn newest(&self) -> Option<Arc<Orders>> {
        self.post.newest()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.post.lines).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_is_heard_until_the_last_stream_has_left() {
        let post = Arc::new(Post::default());
        assert!(!post.is_heard());
        let [first, second] = [1, 2].map(|id| Arc::clone(&post).subscribe(id, Arc::default()));
        drop(first);
        assert!(post.is_heard() && second.newest().is_none());
        drop(second);
        assert!(!post.is_heard());
    }
}
