//! The judge: what a channel's log must say, given what was pushed and what was acknowledged. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use driftless_client::types::LogEntry;
use driftless_model::{hash::ObjectHash, name::ComponentName};

/// The components that one push sets. No two pushes set the same: each has content of its own.
pub(crate) type Content = BTreeMap<ComponentName, ObjectHash>;

/// A push that was answered with success.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) content: Content,
    /// The channel's snapshot after it.
    pub(crate) snapshot: ObjectHash,
    /// The journal entry that holds it.
    pub(crate) sequence: u64,
}

/// What one pusher sent and was told, in the order of its pushes.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) sent: BTreeSet<Content>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Pushes without an answer: they may be there or not.
    pub(crate) unanswered: usize,
    /// Pushes that came too late.
    pub(crate) conflicts: usize,
}

/// A channel's log, oldest first, without a gap.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: Vec<LogEntry>,
}

impl History {
    /// How many snapshots there were.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Does a log go back to what is known, or to the very first push?
    pub(crate) fn is_reached_by(&self, newest_first: &[LogEntry]) -> bool {
        let known = self.entries.last().map(|entry| entry.snapshot);
        let mut parents = newest_first.iter().map(|entry| entry.parent);
        parents.any(|parent| parent == known) || newest_first.first().map(|entry| entry.snapshot) == known
    }

    /// Takes in what a server tells now, newest first; older entries than those known may be cut off.
    ///
    /// # Errors
    /// Where the entries do not lead back by their parents to what was known: history was rewound.
    pub(crate) fn extend(&mut self, newest_first: Vec<LogEntry>) -> Result<()> {
        let known = self.entries.last().map(|entry| entry.snapshot);
        let told = newest_first.len();
        let mut newer: Vec<_> = newest_first
            .into_iter()
            .take_while(|entry| Some(entry.snapshot) != known)
            .collect();
        newer.reverse();
        let is_linked = newer.first().map_or(told > 0, |entry| entry.parent == known);
        ensure!(
            known.is_none() || is_linked || newer.len() < told,
            "snapshot {} was the channel's newest once, and is not among the newest {told} any more",
            self.entries
                .last()
                .map(|entry| entry.snapshot.to_string())
                .unwrap_or_default(),
        );
        for entry in newer {
            let before = self.entries.last().map(|entry| entry.snapshot);
            ensure!(
                entry.parent == before,
                "snapshot {} has parent {:?}, but follows {before:?}",
                entry.snapshot,
                entry.parent
            );
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Holds the whole log against all accounts.
    ///
    /// # Errors
    /// Where a snapshot is not exactly one push, a push is there twice, or an acknowledged one is missing, out of its
    /// pusher's order, or in another snapshot than its pusher was told.
    pub(crate) fn check(&self, accounts: &[Account]) -> Result<()> {
        let sent: BTreeSet<&Content> = accounts.iter().flat_map(|account| &account.sent).collect();
        let mut places: BTreeMap<Content, usize> = BTreeMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let set = entry
                .changes
                .iter()
                .filter_map(|(component, change)| Some((component.clone(), change.after?)));
            let content: Content = set.collect();
            ensure!(
                sent.contains(&content) && content.len() == entry.changes.len(),
                "snapshot {} is no whole push of anybody: {:?}",
                entry.snapshot,
                entry.changes
            );
            if let Some(earlier) = places.insert(content, place) {
                let first = self.entries[earlier].snapshot;
                anyhow::bail!("snapshots {first} and {} are the same push, twice", entry.snapshot);
            }
        }
        let by_snapshot: BTreeMap<_, _> = self
            .entries
            .iter()
            .enumerate()
            .map(|(place, entry)| (entry.snapshot, place))
            .collect();
        for account in accounts {
            let mut last = None;
            for acknowledged in &account.acknowledged {
                let place = places.get(&acknowledged.content);
                let place = *place.with_context(|| format!("acknowledged and lost: {acknowledged:?}"))?;
                ensure!(last < Some(place), "acknowledged after a later one: {acknowledged:?}");
                last = Some(place);
                let told = by_snapshot.get(&acknowledged.snapshot);
                let told = *told.with_context(|| format!("not in the channel's history: {acknowledged:?}"))?;
                // Of a repeated request too: its pusher is told what came of it the first time.
                let fits = told == place;
                ensure!(fits, "told of snapshot {told}, is in {place}: {acknowledged:?}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use driftless_client::types::LogChange;

    use super::*;

    fn hash(number: u8) -> ObjectHash {
        ObjectHash::from([number; 32])
    }

    fn content(sets: &[(&str, u8)]) -> Content {
        sets.iter()
            .map(|(name, number)| (name.parse().unwrap(), hash(*number)))
            .collect()
    }

    fn entry(number: u8, sets: &[(&str, u8)]) -> LogEntry {
        let change = |after| LogChange {
            before: None,
            after: Some(after),
            objects: None,
        };
        LogEntry {
            snapshot: hash(number),
            parent: (number > 101).then(|| hash(number - 1)),
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            author: String::new(),
            message: String::new(),
            source: BTreeMap::new(),
            changes: content(sets)
                .into_iter()
                .map(|(name, after)| (name, change(after)))
                .collect(),
        }
    }

    fn acknowledged(number: u8, sets: &[(&str, u8)], sequence: u64) -> Acknowledged {
        Acknowledged {
            content: content(sets),
            snapshot: hash(number),
            sequence,
        }
    }

    /// A log of pushes of `a`, and the account of one pusher that sent just those.
    fn pushed(numbers: &[u8]) -> (History, Account) {
        let mut history = History::default();
        let log = numbers
            .iter()
            .enumerate()
            .map(|(at, number)| entry(101 + at as u8, &[("a", *number)]));
        let mut log: Vec<_> = log.collect();
        log.reverse();
        history.extend(log).unwrap();
        let sent = numbers.iter().map(|number| content(&[("a", *number)])).collect();
        (
            history,
            Account {
                sent,
                ..Account::default()
            },
        )
    }

    fn verdict(history: &History, account: Account) -> String {
        history
            .check(&[account])
            .map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn whole_history_is_fine() {
        let (history, mut account) = pushed(&[1, 2, 3]);
        account.acknowledged = vec![acknowledged(101, &[("a", 1)], 5), acknowledged(102, &[("a", 2)], 6)];
        assert_eq!(verdict(&history, account), "fine");
    }

    #[test]
    fn lost_push_is_found() {
        let (history, mut account) = pushed(&[1]);
        account.acknowledged = vec![acknowledged(101, &[("a", 2)], 5)];
        assert!(verdict(&history, account).starts_with("acknowledged and lost"));
    }

    #[test]
    fn doubled_push_is_found() {
        let (history, account) = pushed(&[1, 2, 1]);
        assert!(verdict(&history, account).contains("the same push, twice"));
    }

    #[test]
    fn swapped_pushes_are_found() {
        let (history, mut account) = pushed(&[1, 2]);
        account.acknowledged = vec![acknowledged(102, &[("a", 2)], 5), acknowledged(101, &[("a", 1)], 6)];
        assert!(verdict(&history, account).starts_with("acknowledged after a later one"));
    }

    #[test]
    fn half_push_is_found() {
        let mut history = History::default();
        history.extend(vec![entry(101, &[("a", 1)])]).unwrap();
        let account = Account {
            sent: [content(&[("a", 1), ("b", 1)])].into(),
            ..Account::default()
        };
        assert!(verdict(&history, account).contains("no whole push"));
    }

    #[test]
    fn rewound_history_is_found() {
        let (mut history, _) = pushed(&[1, 2]);
        assert!(history.extend(vec![entry(101, &[("a", 1)])]).is_err());
        assert!(history.extend(Vec::new()).is_err());
        assert!(
            history
                .extend(vec![entry(104, &[("a", 4)]), entry(102, &[("a", 2)])])
                .is_err()
        );
        history
            .extend(vec![entry(103, &[("a", 3)]), entry(102, &[("a", 2)])])
            .unwrap();
        assert_eq!(history.len(), 3);
    }
}
