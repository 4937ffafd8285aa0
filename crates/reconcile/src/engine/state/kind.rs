//! One kind that matters: whether it is served, and its watch.

use std::sync::Arc;

use tokio::{task::AbortHandle, time::Instant};

use super::Issue;
use crate::api::Resource;

/// Is a kind served?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Serving {
    /// Being asked.
    Asked,
    /// Yes, so.
    Served(Arc<Resource>),
    /// No.
    Missing,
    /// Its API does not answer; says how.
    Broken(String),
}

/// One kind that matters.
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) name: String,
    /// The version that manifests are written in; `None` where only an ApplySet parent names the kind.
    pub(crate) version: Option<String>,
    pub(crate) serving: Serving,
    pub(crate) retry: Option<Instant>,
    pub(crate) failures: u32,
    /// Its watch: id and handle.
    pub(crate) watch: Option<(u64, AbortHandle)>,
    /// Was a list completed since the watch began?
    pub(crate) listed: bool,
    /// Was a list tried in vain since one was completed last?
    pub(crate) list_failed: bool,
    /// The number of the current or last list.
    pub(crate) listing: u64,
    /// Why the watch does not work, and since when.
    pub(crate) trouble: Option<Issue>,
    /// Does anything need it at the moment?
    pub(crate) needed: bool,
}

impl Kind {
    pub(crate) fn new(group: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            name: name.to_owned(),
            version: None,
            serving: Serving::Missing,
            retry: None,
            failures: 0,
            watch: None,
            listed: false,
            list_failed: false,
            listing: 0,
            trouble: None,
            needed: false,
        }
    }

    /// Its group and name.
    pub(crate) fn place(&self) -> (String, String) {
        (self.group.clone(), self.name.clone())
    }

    /// Why nothing is known of its objects, if there is a reason.
    pub(crate) fn complaint(&self) -> Option<&str> {
        match &self.serving {
            Serving::Broken(why) => Some(why),
            Serving::Asked | Serving::Served(_) | Serving::Missing => Some(&self.trouble.as_ref()?.message),
        }
    }

    /// Is it known which objects of it there are?
    pub(crate) fn is_known(&self) -> bool {
        self.listed || self.serving == Serving::Missing && self.failures > 0
    }

    /// Is that being found out for the first time?
    pub(crate) fn is_being_learnt(&self) -> bool {
        match &self.serving {
            Serving::Asked => true,
            Serving::Missing => self.failures == 0,
            Serving::Served(_) => !self.listed && !self.list_failed,
            Serving::Broken(_) => false,
        }
    }
}
