//! A channel's history: its snapshots, newest first, each with what it changed.
//!
//! Filters are kept here rather than by the caller, so that a component's history costs the caller as many messages
//! as there are pushes of it, and not as many as there are pushes.

use std::{collections::BTreeMap, sync::Arc};

use driftless_model::{
    bundle::lines::{self, Tally},
    hash::ObjectHash,
    name::ComponentName,
    snapshot::{ComponentChange, Components, Provenance, Snapshot, changes},
};
use driftless_proto::{from_time, opt_hash, time, to_hash, v1};
use jiff::{SignedDuration, Timestamp};

use super::{Core, read_snapshot};
use crate::failure::Failure;

/// No two servers' clocks are further apart: a push that is older than this before the first wanted ends the walk.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(10);

/// A walk from a channel's newest snapshot back in time.
pub(super) struct Walk {
    core: Arc<Core>,
    filter: Filter,
    /// The next to look at, and its content where it was read already.
    next: Option<(ObjectHash, Option<Snapshot>)>,
    /// Still to be left out.
    skip: u32,
    left: u32,
    count_objects: bool,
}

/// Which pushes are told.
#[derive(Debug, Default)]
struct Filter {
    component: Option<ComponentName>,
    /// In lower case, as is the next.
    author: String,
    message: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

type Changes = BTreeMap<ComponentName, ComponentChange>;

impl Walk {
    /// Begins with the snapshot that the request names, or else with `head`.
    pub(super) fn new(
        core: Arc<Core>,
        head: Option<ObjectHash>,
        limit: u32,
        request: &v1::LogRequest,
    ) -> Result<Self, Failure> {
        let first = opt_hash("from", request.from.as_ref())?.or(head);
        Ok(Self {
            core,
            filter: Filter::new(request)?,
            next: first.map(|hash| (hash, None)),
            skip: request.skip,
            left: limit,
            count_objects: request.count_objects,
        })
    }

    /// Tells one snapshot and goes on to its parent.
    pub(super) async fn step(mut self) -> Result<Option<(v1::LogEntry, Self)>, Failure> {
        while self.left > 0
            && let Some((hash, known)) = self.next.take()
        {
            let snapshot = match known {
                Some(snapshot) => snapshot,
                None => read_snapshot(&self.core, &hash).await?,
            };
            if self.filter.is_past(snapshot.time) {
                break;
            }
            let before = match &snapshot.parent {
                Some(parent) => Some((*parent, read_snapshot(&self.core, parent).await?)),
                None => None,
            };
            let empty = Components::new();
            let changed = changes(
                before.as_ref().map_or(&empty, |(_, before)| &before.components),
                &snapshot.components,
            );
            self.next = before.map(|(hash, snapshot)| (hash, Some(snapshot)));
            if !self.filter.fits(snapshot.time, &snapshot.provenance, &changed) {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            let entry = self.entry(hash, snapshot, changed).await?;
            return Ok(Some((entry, self)));
        }
        Ok(None)
    }

    async fn entry(&self, hash: ObjectHash, snapshot: Snapshot, changed: Changes) -> Result<v1::LogEntry, Failure> {
        let mut told = Vec::with_capacity(changed.len());
        for (component, change) in changed {
            let objects = match self.count_objects {
                true => Some(self.tally(&change).await?),
                false => None,
            };
            told.push(v1::LogChange {
                component: component.to_string(),
                before: change.before.as_ref().map(to_hash),
                after: change.after.as_ref().map(to_hash),
                objects: objects.map(Into::into),
            });
        }
        Ok(v1::LogEntry {
            snapshot: to_hash(&hash),
            parent: snapshot.parent.as_ref().map(to_hash),
            time: Some(from_time(snapshot.time)),
            author: snapshot.provenance.author,
            message: snapshot.provenance.message,
            source: snapshot.provenance.source,
            changes: told,
        })
    }

    async fn tally(&self, change: &ComponentChange) -> Result<Tally, Failure> {
        let bytes = async |hash: Option<ObjectHash>| match hash {
            Some(hash) => self.core.bucket.object(&hash).await,
            None => Ok(Default::default()),
        };
        Ok(lines::tally(&bytes(change.before).await?, &bytes(change.after).await?))
    }
}

impl Filter {
    fn new(request: &v1::LogRequest) -> Result<Self, Failure> {
        let component = match request.component.as_str() {
            "" => None,
            name => Some(name.parse()?),
        };
        let at = |field, asked: Option<&_>| asked.map(|asked| time(field, Some(asked))).transpose();
        Ok(Self {
            component,
            author: request.author.to_lowercase(),
            message: request.message.to_lowercase(),
            since: at("since", request.since.as_ref())?,
            until: at("until", request.until.as_ref())?,
        })
    }

    fn fits(&self, time: Timestamp, provenance: &Provenance, changes: &Changes) -> bool {
        self.component.as_ref().is_none_or(|name| changes.contains_key(name))
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time <= until)
            && (self.author.is_empty() || provenance.author.to_lowercase().contains(&self.author))
            && (self.message.is_empty() || provenance.message.to_lowercase().contains(&self.message))
    }

    /// Is everything from here on too old?
    fn is_past(&self, time: Timestamp) -> bool {
        self.since.is_some_and(|since| time + CLOCK_SLACK < since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(request: v1::LogRequest) -> bool {
        let provenance = Provenance {
            author: "Ada".to_owned(),
            message: "Raise the Limit".to_owned(),
            ..Provenance::default()
        };
        let change = ComponentChange {
            before: None,
            after: None,
        };
        let changes = [("shop".parse().unwrap(), change)].into();
        let time = Timestamp::from_second(1000).unwrap();
        Filter::new(&request).unwrap().fits(time, &provenance, &changes)
    }

    #[test]
    fn every_filter_has_to_fit() {
        let request = |change: fn(&mut v1::LogRequest)| {
            let mut request = v1::LogRequest {
                component: "shop".to_owned(),
                author: "ada".to_owned(),
                message: "LIMIT".to_owned(),
                since: Some(from_time(Timestamp::from_second(1000).unwrap())),
                until: Some(from_time(Timestamp::from_second(1000).unwrap())),
                ..Default::default()
            };
            change(&mut request);
            request
        };
        assert!(fits(request(|_| {})));
        assert!(fits(v1::LogRequest::default()));
        let no: [fn(&mut v1::LogRequest); 5] = [
            |request| request.component = "cart".to_owned(),
            |request| request.author = "bob".to_owned(),
            |request| request.message = "lower".to_owned(),
            |request| request.since = Some(from_time(Timestamp::from_second(1001).unwrap())),
            |request| request.until = Some(from_time(Timestamp::from_second(999).unwrap())),
        ];
        for change in no {
            assert!(!fits(request(change)));
        }
    }

    #[test]
    fn walk_ends_where_everything_is_too_old_whatever_the_clocks_say() {
        let since = Some(from_time(Timestamp::from_second(10_000).unwrap()));
        let request = v1::LogRequest {
            since,
            ..Default::default()
        };
        let filter = Filter::new(&request).unwrap();
        assert!(!filter.is_past(Timestamp::from_second(9_500).unwrap()));
        assert!(filter.is_past(Timestamp::from_second(9_000).unwrap()));
    }
}
