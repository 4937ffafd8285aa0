//! Faults on request: latency, refusals, a cut connection, dropped watches, forgotten history.
//!
//! A test or a demo sets them through [`Cluster::faults`](crate::Cluster::faults); every request asks here before it is
//! carried out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;

use crate::status::Refusal;

/// How a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 429, with the seconds of `Retry-After`.
    TooManyRequests(u32),
    /// 500.
    Internal,
    /// 503.
    Unavailable,
}

/// Which requests a rule is about; nothing set means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    verb: Option<String>,
    resource: Option<String>,
}

impl Matching {
    /// Every request.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only requests of this verb, as RBAC calls it (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`);
    /// `apply` for server-side applies alone, which `patch` includes.
    pub fn verb(mut self, verb: &str) -> Self {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only requests for this resource, as in paths (`deployments`).
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    fn fits(&self, verb: &str, resource: &str) -> bool {
        let same = |wanted: &String| wanted == verb || wanted == "patch" && verb == "apply";
        self.verb.as_ref().is_none_or(same) && self.resource.as_ref().is_none_or(|wanted| wanted == resource)
    }
}

#[derive(Debug)]
enum Amount {
    Next(u32),
    Share(f64),
}

#[derive(Debug)]
struct Rule {
    matching: Matching,
    failure: Failure,
    amount: Amount,
}

#[derive(Debug)]
struct Plan {
    latency: Duration,
    rules: Vec<Rule>,
    cut: bool,
    random: StdRng,
}

/// The faults of one cluster.
#[derive(Debug)]
pub struct Faults {
    plan: Mutex<Plan>,
    drops: watch::Sender<u64>,
    compactions: watch::Sender<u64>,
}

/// What becomes of a request.
pub(crate) enum Verdict {
    Pass,
    Cut,
    Refuse(Refusal),
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let plan = Plan {
            latency: Duration::ZERO,
            rules: Vec::new(),
            cut: false,
            random: StdRng::seed_from_u64(seed ^ 0x5eed),
        };
        Self {
            plan: Mutex::new(plan),
            drops: watch::Sender::new(0),
            compactions: watch::Sender::new(0),
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every request takes this much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.plan().latency = latency;
    }

    /// Refuses the next `count` matching requests.
    pub fn fail_next(&self, count: u32, matching: Matching, failure: Failure) {
        self.plan().rules.push(Rule {
            matching,
            failure,
            amount: Amount::Next(count),
        });
    }

    /// Refuses this share (0 to 1) of the matching requests, drawn with the cluster's seed.
    pub fn fail_share(&self, share: f64, matching: Matching, failure: Failure) {
        self.plan().rules.push(Rule {
            matching,
            failure,
            amount: Amount::Share(share),
        });
    }

    /// Cuts the cluster off: open watches end, new requests fail as on a refused connection.
    pub fn cut_off(&self) {
        self.plan().cut = true;
        self.drop_watches();
    }

    /// Ends a cut.
    pub fn reconnect(&self) {
        self.plan().cut = false;
    }

    /// Whether the cluster is cut off.
    pub fn is_cut_off(&self) -> bool {
        self.plan().cut
    }

    /// Ends all open watches.
    pub fn drop_watches(&self) {
        self.drops.send_modify(|count| *count += 1);
    }

    /// Forgets the watch history: watches from an older version get 410 Gone.
    pub fn expire_history(&self) {
        self.compactions.send_modify(|count| *count += 1);
    }

    /// Takes back everything that was set.
    pub fn clear(&self) {
        let mut plan = self.plan();
        plan.latency = Duration::ZERO;
        plan.rules.clear();
        plan.cut = false;
    }

    pub(crate) fn drops(&self) -> watch::Receiver<u64> {
        self.drops.subscribe()
    }

    /// How often history was expired.
    pub(crate) fn compactions(&self) -> u64 {
        *self.compactions.borrow()
    }

    pub(crate) fn latency(&self) -> Duration {
        self.plan().latency
    }

    pub(crate) fn judge(&self, verb: &str, resource: &str) -> Verdict {
        let mut plan = self.plan();
        if plan.cut {
            return Verdict::Cut;
        }
        let Plan { rules, random, .. } = &mut *plan;
        let mut hit = None;
        for rule in rules.iter_mut().filter(|rule| rule.matching.fits(verb, resource)) {
            let fails = match &mut rule.amount {
                Amount::Next(left) => {
                    let fails = *left > 0;
                    *left = left.saturating_sub(1);
                    fails
                }
                Amount::Share(share) => random.random::<f64>() < *share,
            };
            if fails {
                hit = Some(rule.failure);
                break;
            }
        }
        rules.retain(|rule| !matches!(rule.amount, Amount::Next(0)));
        hit.map_or(Verdict::Pass, |failure| Verdict::Refuse(refusal(failure)))
    }
}

fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::TooManyRequests(seconds) => Refusal::new(
            429,
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        )
        .retry_after(seconds),
        Failure::Internal => Refusal::new(500, "InternalError", "Internal error occurred: simulated failure"),
        Failure::Unavailable => Refusal::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
    }
}
