//! Why a cluster, or one object on it, is not as it should be: the causes, the first one first.
//!
//! `driftless explain` gathers the [`Facts`] and shows the causes. What comes first hides what comes after it: while an
//! agent is away, what it said of its objects is old news. Pure: the same facts give the same causes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    hash::ObjectHash,
    manifest::ManifestId,
    name::ComponentName,
    selector::Selector,
    status::{ClusterStatus, ComponentStatus, Problem},
    view::View,
};

/// All that is known of one cluster.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// When it was enrolled.
    pub enrolled: Timestamp,
    /// Has an agent used its join token?
    pub joined: bool,
    /// Is its agent's stream open?
    pub connected: bool,
    /// When it was last seen open; `None` if never by the server asked.
    pub last_seen: Option<Timestamp>,
    /// What its agent reported last.
    pub status: Option<&'a ClusterStatus>,
    /// Its channel's newest snapshot.
    pub snapshot: Option<ObjectHash>,
    /// When the channel came to that snapshot.
    pub changed: Timestamp,
    /// What it should run.
    pub view: &'a View,
}

/// One object of a component, and what becomes of it on the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The component.
    pub component: ComponentName,
    /// The object.
    pub object: ManifestId,
    /// What becomes of it.
    pub fate: Fate,
    /// The annotation that keeps it when it leaves the desired state; see [`marks::keep`](crate::marks::keep).
    pub kept: Option<String>,
}

/// What becomes of an object on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is to run.
    Wanted,
    /// It cannot be worked out.
    Held,
    /// The component does not run here.
    NotSelected(Selector),
    /// Overlays leave it out.
    LeftOut(Vec<String>),
    /// Only an overlay that does not apply here adds it.
    NotAdded,
    /// Another component has it, and keeps it.
    Dropped(ComponentName),
}

/// Why something is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// What kind of cause, for programs.
    pub reason: Reason,
    /// The component concerned, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
    /// The object concerned, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ManifestId>,
    /// What it is, for people.
    pub message: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// What happens next, or what to do; absent where the message says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Kinds of causes, in the order in which they are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The channel has no snapshot yet.
    NoSnapshot,
    /// The component's selector does not select the cluster.
    NotSelected,
    /// An overlay takes the object out, or the one that adds it does not apply.
    LeftOut,
    /// Two components ask for one object.
    Collision,
    /// No agent has joined as this cluster yet.
    NotJoined,
    /// The agent's stream is not open.
    Disconnected,
    /// The agent is connected and has not reported yet.
    NotReported,
    /// The agent as a whole is in trouble.
    AgentProblem,
    /// The object cannot be worked out on this cluster.
    Held,
    /// The agent still works on another snapshot.
    Behind,
    /// The agent says what stands in the way of an object or a component.
    Problem,
    /// Objects are still being applied or deleted.
    Progressing,
    /// Applied, and not healthy.
    Unhealthy,
}

/// Why `facts` are not as they should be: all causes, or those that concern `subject`. Empty when all is well.
pub fn causes(facts: &Facts<'_>, subject: Option<&Subject>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if facts.snapshot.is_none() {
        causes.push(Cause::new(Reason::NoSnapshot, "its channel has no snapshot yet").next("the first push makes one"));
        return causes;
    }
    if let Some(subject) = subject
        && let Some(cause) = elsewhere(subject)
    {
        // Whatever the agent is at, it will not bring an object that is not for this cluster.
        return vec![cause];
    }
    causes.extend(agent(facts));
    causes.extend(view(facts, subject));
    causes.extend(behind(facts, subject));
    causes.extend(reported(facts, subject));
    // The agent tells of what is held and of collisions as well; the view said it first, with more.
    let mut told = std::collections::BTreeSet::new();
    causes.retain(|cause| match (&cause.reason, &cause.object) {
        (Reason::Held | Reason::Collision, Some(object)) => {
            told.insert(object.clone());
            true
        }
        (Reason::Problem, Some(object)) => !told.contains(object),
        _ => true,
    });
    causes.sort_by(|one, other| one.reason.cmp(&other.reason));
    causes
}

/// Why the object is not for this cluster at all.
fn elsewhere(subject: &Subject) -> Option<Cause> {
    let component = &subject.component;
    let gone = match &subject.kept {
        Some(mark) => format!("one that an earlier snapshot brought stays: it is marked `{mark}`"),
        None => "one that an earlier snapshot brought is deleted".to_owned(),
    };
    let (reason, message, next) = match &subject.fate {
        Fate::Wanted | Fate::Held => return None,
        Fate::NotSelected(selector) => (
            Reason::NotSelected,
            format!("component `{component}` runs where `{selector}` holds, which it does not here"),
            gone,
        ),
        Fate::LeftOut(overlays) => (
            Reason::LeftOut,
            format!("{} of component `{component}` leaves it out here", overlay(overlays)),
            gone,
        ),
        Fate::NotAdded => (
            Reason::LeftOut,
            format!("only an overlay of component `{component}` adds it, and none that does applies here"),
            gone,
        ),
        Fate::Dropped(kept) => (
            Reason::Collision,
            format!("component `{kept}` has it too, and keeps it: `{component}` goes without"),
            "take it out of one of them".to_owned(),
        ),
    };
    Some(
        Cause::new(reason, message)
            .next(&next)
            .of(component)
            .about(&subject.object),
    )
}

fn overlay(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.len() {
        0 | 1 => format!("overlay {}", quoted.concat()),
        _ => format!("the last of the overlays {}", quoted.join(", ")),
    }
}

/// What keeps the agent from knowing or telling.
fn agent(facts: &Facts<'_>) -> Vec<Cause> {
    if !facts.joined {
        let cause = Cause::new(Reason::NotJoined, "no agent has joined as this cluster yet").since(facts.enrolled);
        return vec![cause.next("apply what `driftless cluster enroll` printed; with --again it prints it anew")];
    }
    let mut causes = Vec::new();
    if !facts.connected {
        let mut cause = Cause::new(Reason::Disconnected, "its agent is not connected");
        cause.since = facts.last_seen;
        causes.push(cause.next("it keeps up what it accepted, and catches up by itself when it is back"));
    } else if facts.status.is_none() {
        let cause = Cause::new(Reason::NotReported, "its agent is connected and has not reported yet");
        causes.push(cause.next("it reports within a minute"));
    }
    let problems = facts.status.into_iter().flat_map(|status| &status.problems);
    causes.extend(
        by_time(problems.collect())
            .into_iter()
            .map(|problem| Cause::problem(Reason::AgentProblem, problem)),
    );
    causes
}

/// What cannot be run whatever the agent does.
fn view(facts: &Facts<'_>, subject: Option<&Subject>) -> Vec<Cause> {
    let concerns = |id: &ManifestId| subject.is_none_or(|subject| subject.object == *id);
    let mut causes = Vec::new();
    for (component, view) in &facts.view.components {
        for held in view.held.iter().filter(|held| concerns(&held.id)) {
            let cause = Cause::new(Reason::Held, held.reason.clone())
                .of(component)
                .about(&held.id);
            causes.push(cause.next("what runs of it is left as it is until then"));
        }
    }
    for collision in facts.view.collisions.iter().filter(|collision| concerns(&collision.id)) {
        let cause = Cause::new(Reason::Collision, collision.to_string());
        causes.push(cause.of(&collision.dropped).about(&collision.id));
    }
    causes
}

/// The agent may not be at the newest snapshot yet.
fn behind(facts: &Facts<'_>, subject: Option<&Subject>) -> Option<Cause> {
    let status = facts.status?;
    if status.snapshot == facts.snapshot {
        return None;
    }
    if let Some(subject) = subject {
        let wanted = facts.view.components.get(&subject.component).map(|view| view.bundle);
        let runs = status
            .components
            .get(&subject.component)
            .and_then(|reported| reported.bundle);
        if wanted == runs {
            return None;
        }
    }
    let message = match status.snapshot {
        Some(snapshot) => format!("it is still at snapshot {}", snapshot.short()),
        None => "it has taken on no snapshot yet".to_owned(),
    };
    let cause = Cause::new(Reason::Behind, message).since(facts.changed);
    Some(if facts.connected {
        cause.next("its agent is taking the new one on")
    } else {
        cause
    })
}

/// What the agent says of objects and components.
fn reported(facts: &Facts<'_>, subject: Option<&Subject>) -> Vec<Cause> {
    let Some(status) = facts.status else {
        return Vec::new();
    };
    let mut causes = Vec::new();
    let components = status
        .components
        .iter()
        .filter(|(name, _)| subject.is_none_or(|subject| subject.component == **name));
    for (name, component) in components {
        let of_subject = |problem: &&Problem| match (subject, &problem.object) {
            (Some(subject), Some(object)) => subject.object == *object,
            _ => true,
        };
        let problems = by_time(component.problems.iter().filter(of_subject).collect());
        causes.extend(problems.iter().map(|problem| {
            let reason = if problem.blocks {
                Reason::Problem
            } else {
                Reason::Unhealthy
            };
            Cause::problem(reason, problem).of(name)
        }));
        if let Some(progress) = progress(component).filter(|_| problems.is_empty()) {
            causes.push(Cause::new(Reason::Progressing, progress).of(name));
        }
    }
    causes
}

/// What is left to do of a component that nothing stands in the way of.
fn progress(component: &ComponentStatus) -> Option<String> {
    if component.problems.iter().any(|problem| problem.blocks) {
        return None;
    }
    let ComponentStatus {
        desired,
        applied,
        to_prune,
        ..
    } = component;
    let applying = (applied < desired).then(|| format!("{applied} of {desired} objects are applied"));
    let pruning = (*to_prune > 0).then(|| format!("{to_prune} are still to be deleted"));
    let parts: Vec<_> = applying.into_iter().chain(pruning).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What blocks before what is only ill, then by age: what began first is more likely the cause.
fn by_time(mut problems: Vec<&Problem>) -> Vec<&Problem> {
    problems.sort_by_key(|problem| (!problem.blocks, problem.since));
    problems
}

impl Cause {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            component: None,
            object: None,
            message: message.into(),
            since: None,
            next: None,
        }
    }

    fn problem(reason: Reason, problem: &Problem) -> Self {
        let mut cause = Self::new(reason, format!("{}: {}", problem.reason, problem.message)).since(problem.since);
        cause.object = problem.object.clone();
        cause
    }

    fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    fn next(mut self, next: &str) -> Self {
        self.next = Some(next.to_owned());
        self
    }

    fn of(mut self, component: &ComponentName) -> Self {
        self.component = Some(component.clone());
        self
    }

    fn about(mut self, object: &ManifestId) -> Self {
        self.object = Some(object.clone());
        self
    }
}

#[cfg(test)]
mod tests;
