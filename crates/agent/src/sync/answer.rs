//! Answers probes beside everything else that a stream does: asks the reconciler's prober, within the time there is.

use driftless_proto::{from_prospect, v1};
use driftless_reconcile::probe::Prober;
use tokio::{task::JoinSet, time::timeout};

use super::session::{Question, failure};

/// A report may have 4 MiB on the wire; the rest is for what is around it.
const ROOM: usize = 4 * 1024 * 1024 - 64 * 1024;

/// The answers on their way, of which only the newest counts.
#[derive(Default)]
pub(super) struct Answers(JoinSet<v1::ProbeResult>);

impl Answers {
    /// Begins to find an answer, instead of any that somebody waits for.
    pub(super) fn begin(&mut self, prober: Prober, question: Box<Question>) {
        self.0.abort_all();
        self.0.spawn(async move {
            let Question { id, view, only, within } = *question;
            tracing::info!(
                component = only.as_ref().map(ToString::to_string),
                "asked for a dry run"
            );
            match timeout(within, prober.ask(&view, only.as_ref())).await {
                Ok(Ok(prospect)) => from_prospect(id, &prospect, ROOM),
                Ok(Err(error)) => failure(id, error),
                Err(_) => failure(
                    id,
                    format!(
                        "the API server did not get through all objects within {} s: ask for one component at a time",
                        within.as_secs()
                    ),
                ),
            }
        });
    }

    /// The next answer; `None` while none is on its way.
    pub(super) async fn next(&mut self) -> Option<v1::ProbeResult> {
        loop {
            match self.0.join_next().await? {
                Ok(answer) => return Some(answer),
                // Another question took its place.
                Err(_) => continue,
            }
        }
    }
}
