//! Is the API server there at all? One failed request is an object's concern; when a look at `/version` fails too,
//! it is one problem of the whole cluster, nothing is sent but further looks, and everything goes on as soon as one succeeds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{sync::watch as channel, time::Instant};

use super::{
    Done, Engine, Timer,
    parents::seconds,
    state::{Issue, Key},
};
use crate::{api::Failure, backoff::Backoff};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(5),
};

/// What is known of the API server.
pub(super) struct Server {
    /// A look is under way, or a timer is set for the next.
    looking: bool,
    failures: u32,
    /// It does not answer.
    pub(super) down: Option<Issue>,
    pub(super) version: String,
    /// Objects whose requests got no answer, and what happened: told if the API server is there all the same.
    stranded: BTreeMap<Key, (&'static str, Arc<str>)>,
    recovered: channel::Sender<u64>,
}

impl Default for Server {
    fn default() -> Self {
        let (recovered, _) = channel::channel(0);
        Self {
            looking: false,
            failures: 0,
            down: None,
            version: String::new(),
            stranded: BTreeMap::new(),
            recovered,
        }
    }
}

impl Server {
    /// Changes whenever the API server answers again after it did not.
    pub(super) fn recoveries(&self) -> channel::Receiver<u64> {
        self.recovered.subscribe()
    }

    /// Should requests wait?
    pub(super) fn is_doubtful(&self) -> bool {
        self.looking && (self.down.is_some() || !self.stranded.is_empty())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    #[serde(default)]
    git_version: String,
}

impl Engine {
    /// Looks whether the API server answers, unless that is being found out already.
    pub(super) fn probe(&mut self) {
        if !std::mem::replace(&mut self.server.looking, true) {
            self.look();
        }
    }

    /// A request got no answer: whose fault that is, a look will show.
    pub(super) fn strand(&mut self, key: Key, reason: &'static str, failure: &Failure) {
        self.server.stranded.insert(key, (reason, failure.text().into()));
        self.probe();
    }

    /// A request got no answer, but the API server is there.
    fn retry_stranded(&mut self, key: Key, reason: &'static str, why: &str) {
        let Some(entry) = self.state.entry(key).filter(|entry| !entry.busy) else {
            return;
        };
        let delay = self.settings.backoff.delay(entry.failures, &mut self.rng);
        self.retry_in(key, delay);
        self.set_issue(key, reason, format!("{why}; tried again in {}", seconds(delay)));
    }

    /// Looks, once.
    pub(super) fn look(&mut self) {
        let api = self.api.clone();
        self.workers.spawn(async move {
            let read = async {
                let bytes = api.get("/version").await?;
                serde_json::from_slice::<Version>(&bytes).map_err(|error| Failure::Malformed(error.to_string()))
            };
            Done::Probed(read.await.map(|version| version.git_version))
        });
    }

    pub(super) fn on_probed(&mut self, result: Result<String, Failure>) {
        let failure = match result {
            Ok(version) => {
                self.server.version = version;
                return self.on_answer();
            }
            // It answers, if only to say that it has no time, or that we may not ask.
            Err(failure)
                if !failure.doubts_server() && failure.code().is_some_and(|code| code < 500 || code == 503) =>
            {
                return self.on_answer();
            }
            Err(failure) => failure,
        };
        self.server.failures += 1;
        let since = self.server.down.as_ref().map_or_else(self.clock, |issue| issue.since);
        let (reason, hint) = if failure.code() == Some(401) {
            (
                "CredentialsRefused",
                "it does not accept the agent's credentials: renew its ServiceAccount's token, or what its kubeconfig \
                 holds; tried again every few seconds with what is there then",
            )
        } else {
            (
                "ApiServerUnreachable",
                "tried again every few seconds, and everything goes on when it answers",
            )
        };
        let message = format!("{}; {hint}", failure.text());
        self.server.down = Some(Issue { reason, message, since });
        let at = Instant::now() + BACKOFF.delay(self.server.failures, &mut self.rng);
        self.timers.insert((at, Timer::Server));
        self.telling.changed();
    }

    fn on_answer(&mut self) {
        let was_down = self.server.down.take().is_some();
        self.server.looking = false;
        self.server.failures = 0;
        for (key, (reason, why)) in std::mem::take(&mut self.server.stranded) {
            if was_down {
                self.consider(key);
            } else {
                self.retry_stranded(key, reason, &why);
            }
        }
        if was_down {
            self.slots.restart();
            self.server.recovered.send_modify(|count| *count += 1);
            self.retry_parents();
        }
        self.telling.changed();
    }
}
