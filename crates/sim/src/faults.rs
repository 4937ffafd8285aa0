//! Faults on request: latency, refusals, silence, a cut connection, watches that break, forgotten history.
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
    /// 504, as when a store behind it answers too late.
    TimedOut,
    /// 401.
    Unauthorized,
    /// 410, as for a version that is forgotten.
    Gone,
    /// No answer at all; the connection stays open.
    Silence,
    /// No answer; the connection is closed.
    Reset,
}

/// How open watches end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Between two lines.
    Clean,
    /// In the middle of a line.
    MidLine,
    /// After a line that is no JSON, as a proxy's page.
    Garbage,
    /// With an ERROR event of status 500.
    Error,
}

/// Which requests a rule is about; nothing set means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    verb: Option<String>,
    resource: Option<String>,
    group: Option<String>,
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

    /// Only requests below this API group, its discovery documents included: what a dead aggregated API takes along.
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    fn fits(&self, verb: &str, resource: &str, group: &str) -> bool {
        let same = |wanted: &String| wanted == verb || wanted == "patch" && verb == "apply";
        self.verb.as_ref().is_none_or(same)
            && self.resource.as_ref().is_none_or(|wanted| wanted == resource)
            && self.group.as_ref().is_none_or(|wanted| wanted == group)
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
    drops: watch::Sender<Cut>,
    compactions: watch::Sender<u64>,
}

/// What becomes of a request.
pub(crate) enum Verdict {
    Pass,
    Cut,
    Silence,
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
            drops: watch::Sender::new(Cut::Clean),
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
        self.cut_watches(Cut::Clean);
    }

    /// Ends all open watches, so.
    pub fn cut_watches(&self, cut: Cut) {
        self.drops.send_replace(cut);
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

    pub(crate) fn drops(&self) -> watch::Receiver<Cut> {
        self.drops.subscribe()
    }

    /// How often history was expired.
    pub(crate) fn compactions(&self) -> u64 {
        *self.compactions.borrow()
    }

    pub(crate) fn latency(&self) -> Duration {
        self.plan().latency
    }

    pub(crate) fn judge(&self, verb: &str, resource: &str, path: &str) -> Verdict {
        let mut parts = path.trim_start_matches('/').split('/');
        let group = parts.next().filter(|first| *first == "apis").and_then(|_| parts.next());
        let group = group.unwrap_or_default();
        let mut plan = self.plan();
        if plan.cut {
            return Verdict::Cut;
        }
        let Plan { rules, random, .. } = &mut *plan;
        let mut hit = None;
        for rule in rules
            .iter_mut()
            .filter(|rule| rule.matching.fits(verb, resource, group))
        {
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
        match hit {
            None => Verdict::Pass,
            Some(Failure::Silence) => Verdict::Silence,
            Some(Failure::Reset) => Verdict::Cut,
            Some(failure) => Verdict::Refuse(refusal(failure)),
        }
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
        Failure::Unavailable | Failure::Silence | Failure::Reset => Refusal::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        Failure::TimedOut => Refusal::new(
            504,
            "Timeout",
            "Timeout: request did not complete within the allotted timeout",
        ),
        Failure::Unauthorized => Refusal::new(401, "Unauthorized", "Unauthorized"),
        Failure::Gone => Refusal::expired("The resourceVersion for the provided list is too old."),
    }
}
