//! What the replicas on one bucket tell each other of their clusters, so that each can answer for all, and a restarted
//! one for those it had.
//!
//! Soft state: whatever cannot be written or read is logged and tried again, and nobody waits for it. Agents' being
//! there costs nothing in the bucket: a part is written when something in it changed, and each replica says every now and
//! then that it is alive.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use driftless_store::{
    Bucket, Error,
    bucket::Part,
    journal::{BESIDE_OTHERS, Journal},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{StatusTable, document::Document};

/// Between two looks at what others wrote, and two writes.
const EVERY: Duration = Duration::from_secs(5);
/// How often to look for what others write into the journal where none is known: one that starts is known after
/// [`EVERY`].
const ALONE: Duration = Duration::from_secs(2);
/// Between two signs of life.
const ALIVE_EVERY: Duration = Duration::from_secs(30);
/// Without one for so long, a replica is gone.
const GONE: Duration = Duration::from_secs(100);
/// And for so long, what it wrote is deleted: its clusters are with others, or with nobody.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// The part that is a sign of life.
const ALIVE: &str = "alive";

/// See the module.
pub(crate) struct Replicas {
    bucket: Bucket,
    table: Arc<StatusTable>,
    own: String,
    /// The versions of the parts of others that were read.
    read: BTreeMap<(String, String), String>,
    /// Other replicas that are known to be gone.
    gone: BTreeSet<String>,
    /// Is another replica there, as far as known?
    has_others: bool,
    alive: Option<Instant>,
}

impl Replicas {
    /// `own` names this replica, before and after a restart.
    pub(crate) fn new(bucket: Bucket, table: Arc<StatusTable>, own: String) -> Self {
        Self {
            bucket,
            table,
            own,
            read: BTreeMap::new(),
            gone: BTreeSet::new(),
            has_others: true,
            alive: None,
        }
    }

    /// Takes over what was known before this server was started, and what others know.
    pub(crate) async fn restore(&mut self) {
        if let Err(error) = self.restore_own().await {
            tracing::warn!(%error, "cannot read what was known of the clusters: agents tell it again");
        }
        // Of what was read nothing is news.
        self.table.unwritten();
        self.step().await;
    }

    async fn restore_own(&self) -> Result<(), Error> {
        let parts = self.bucket.statuses().await?;
        for part in parts
            .iter()
            .filter(|part| part.replica == self.own && part.name != ALIVE)
        {
            if let Some(document) = self.document(part).await? {
                self.table.restore(document);
            }
        }
        Ok(())
    }

    /// Works until `stop`; then writes what is left to write. The journal is looked at as often as others may write it.
    pub(crate) async fn run(mut self, journal: Journal, stop: CancellationToken) {
        loop {
            journal.poll_every(self.pace());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(EVERY) => self.step().await,
            }
        }
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "cannot write what is known of the clusters: agents tell it again");
        }
    }

    fn pace(&self) -> Duration {
        if self.has_others { BESIDE_OTHERS } else { ALONE }
    }

    async fn step(&mut self) {
        let written = self.write().await;
        let looked = self.look().await;
        if let Err(error) = written.and(looked) {
            tracing::warn!(%error, "cannot tell or read what replicas know of their clusters; tried again soon");
        }
    }

    async fn write(&mut self) -> Result<(), Error> {
        if self.alive.is_none_or(|at| at.elapsed() >= ALIVE_EVERY) {
            self.bucket.put_status(&self.own, ALIVE, Bytes::new()).await?;
            self.alive = Some(Instant::now());
        }
        let mut parts = self.table.unwritten().into_iter();
        while let Some((part, document)) = parts.next() {
            let name = format!("{part:02}");
            let put = self.bucket.put_status(&self.own, &name, document.encode().into());
            if let Err(error) = put.await {
                self.table.give_back(part);
                parts.for_each(|(part, _)| self.table.give_back(part));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), Error> {
        let mut parts = self.bucket.statuses().await?;
        // By the bucket's clock: the replicas' own may differ.
        let now = parts.iter().map(|part| part.written).max().unwrap_or_default();
        parts.retain(|part| part.replica != self.own);
        let silent = silences(&parts, now);
        for part in &parts {
            let silence = silent.get(part.replica.as_str()).copied().unwrap_or_default();
            if silence >= FORGOTTEN {
                self.bucket.delete_status(&part.replica, &part.name).await?;
            } else if part.name != ALIVE {
                self.take(part).await?;
            }
        }
        self.has_others = silent.values().any(|silence| *silence < GONE);
        for (replica, silence) in silent {
            if silence < GONE {
                self.gone.remove(replica);
            } else if self.gone.insert(replica.to_owned()) {
                tracing::info!(replica, "another server on this bucket is gone");
                self.table.lose(replica);
            }
        }
        Ok(())
    }

    async fn take(&mut self, part: &Part) -> Result<(), Error> {
        let key = (part.replica.clone(), part.name.clone());
        if self.read.get(&key) == Some(&part.version) {
            return Ok(());
        }
        if let Some(document) = self.document(part).await? {
            self.table.take(&part.replica.as_str().into(), document);
            if self.gone.contains(&part.replica) {
                self.table.lose(&part.replica);
            }
        }
        self.read.insert(key, part.version.clone());
        Ok(())
    }

    /// What a part holds; nothing, said loudly, if it cannot be understood.
    async fn document(&self, part: &Part) -> Result<Option<Document>, Error> {
        let Part { replica, name, .. } = part;
        let Some(bytes) = self.bucket.status(replica, name).await? else {
            return Ok(None);
        };
        match Document::decode(&bytes) {
            Ok(document) => Ok(Some(document)),
            Err(error) => {
                tracing::warn!(
                    replica,
                    part = name,
                    error,
                    "status in the bucket cannot be understood: left out"
                );
                Ok(None)
            }
        }
    }
}

/// For how long each replica has written nothing.
fn silences(parts: &[Part], now: Duration) -> BTreeMap<&str, Duration> {
    let mut silences = BTreeMap::new();
    for part in parts {
        let silence = now.saturating_sub(part.written);
        let least = silences.entry(part.replica.as_str()).or_insert(silence);
        *least = silence.min(*least);
    }
    silences
}

#[cfg(test)]
mod tests {
    use driftless_model::{name::ClusterName, status::ClusterStatus};
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn edge() -> ClusterName {
        "edge".parse().unwrap()
    }

    fn replica(bucket: &Bucket, name: &str) -> (Arc<StatusTable>, Replicas) {
        let table = Arc::new(StatusTable::new());
        (
            Arc::clone(&table),
            Replicas::new(bucket.clone(), table, name.to_owned()),
        )
    }

    fn sequence(table: &StatusTable) -> Option<u64> {
        table.row(&edge()).status.map(|status| status.sequence)
    }

    fn reports(table: &StatusTable, stream: u64, sequence: u64, second: i64) {
        let status = ClusterStatus {
            sequence,
            ..ClusterStatus::default()
        };
        table.report(&edge(), stream, status, at(second));
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_answer_for_each_others_clusters_and_for_their_own_after_a_restart() {
        let bucket = Bucket::open("memory://").await.unwrap();
        let ((one, mut first), (other, mut second)) = (replica(&bucket, "one"), replica(&bucket, "other"));
        one.connected(&edge(), 1, at(10));
        reports(&one, 1, 7, 10);
        first.step().await;
        second.restore().await;
        assert_eq!(sequence(&other), Some(7));
        assert!(other.row(&edge()).is_connected());

        one.disconnected(&edge(), 1, at(11));
        other.connected(&edge(), 2, at(12));
        reports(&other, 2, 8, 13);
        second.step().await;
        first.step().await;
        assert_eq!(sequence(&one), Some(8));
        assert!(one.row(&edge()).is_connected());

        let (again, mut third) = replica(&bucket, "other");
        third.restore().await;
        assert_eq!(sequence(&again), Some(8));
        assert!(!again.row(&edge()).is_connected());
    }

    #[tokio::test(start_paused = true)]
    async fn journal_is_looked_at_often_only_beside_others() {
        let bucket = Bucket::open("memory://").await.unwrap();
        let ((_, mut first), (_, mut second)) = (replica(&bucket, "one"), replica(&bucket, "other"));
        first.restore().await;
        assert_eq!(first.pace(), ALONE);
        second.restore().await;
        first.step().await;
        assert_eq!((first.pace(), second.pace()), (BESIDE_OTHERS, BESIDE_OTHERS));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_while_nothing_changes_but_signs_of_life() {
        let bucket = Bucket::open("memory://").await.unwrap();
        let (table, mut replicas) = replica(&bucket, "one");
        table.connected(&edge(), 1, at(10));
        replicas.step().await;
        let versions = || async {
            let parts = bucket.statuses().await.unwrap();
            parts.into_iter().map(|part| part.version).collect::<BTreeSet<_>>()
        };
        let before = versions().await;
        assert_eq!(before.len(), 2);
        replicas.step().await;
        assert_eq!(versions().await, before);
        tokio::time::advance(ALIVE_EVERY).await;
        replicas.step().await;
        assert_eq!(versions().await.intersection(&before).count(), 1);
    }

    #[test]
    fn silence_is_counted_from_the_newest_sign() {
        let part = |replica: &str, name: &str, second| Part {
            replica: replica.to_owned(),
            name: name.to_owned(),
            version: String::new(),
            written: Duration::from_secs(second),
        };
        let parts = [part("a", "00", 10), part("a", ALIVE, 90), part("b", "00", 50)];
        let silences = silences(&parts, Duration::from_secs(100));
        assert_eq!((silences["a"].as_secs(), silences["b"].as_secs()), (10, 50));
    }
}
