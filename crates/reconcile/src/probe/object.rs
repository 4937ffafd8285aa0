//! One object: would the reconciler apply it, and what would the API server make of that?

use std::{sync::Arc, time::Duration};

use driftless_model::{
    bundle::{Spec, upkeep::Drift},
    field,
    manifest::Manifest,
    marks::{self, Changing},
    name::ComponentName,
    view::ComponentView,
};
use serde_json::Value;

use super::{Outcome, Question, compare};
use crate::{
    api::{Api, Failure, Resource, parse},
    apply::Apply,
    applyset::{self, Member},
    discovery::Found,
    engine::{conflicts_text, hint_for, objection},
    immutable, owned,
    ownership::{self, Owner},
    plan::Applied,
};

/// Tries while the API server says that it has no time.
const TRIES: u32 = 3;
/// Longest wait between two of them, whatever the API server says.
const PATIENCE: Duration = Duration::from_secs(5);

/// An object to ask about.
pub(super) struct Job {
    spec: Arc<Spec>,
    pub(super) member: Member,
}

impl Job {
    pub(super) fn new(name: &ComponentName, component: &ComponentView, manifest: &Manifest, home: &str) -> Self {
        Self {
            spec: Arc::clone(&component.spec),
            member: Member {
                manifest: manifest.clone(),
                component: name.clone(),
                set: applyset::id(name, home).into(),
            },
        }
    }
}

impl Question {
    /// What would come of an object; `None` when it would stay as it is.
    ///
    /// # Errors
    /// When the API server does not answer at all.
    pub(super) async fn object(&self, job: &Job) -> Result<Option<Outcome>, Failure> {
        let Job { spec, member } = job;
        let manifest = &member.manifest;
        let id = manifest.id();
        if let Some(objection) = objection(manifest, spec) {
            return Ok(Some(Outcome::Refused(objection.message)));
        }
        let wish = if applyset::has_annotations(manifest) {
            marks::changing(&manifest.value())
        } else {
            Changing::Free
        };
        if wish == Changing::Never {
            return Ok(Some(Outcome::Left(
                "its annotations keep it from being applied".to_owned(),
            )));
        }
        let resource = match self.resource(job) {
            Ok(resource) => resource,
            Err(outcome) => return Ok(Some(outcome)),
        };
        let path = resource.object_path(manifest.version(), id);
        let live = match patiently(|| self.api.get(&path)).await {
            Ok(bytes) => Some(parse(&bytes)?),
            Err(failure) if failure.code() == Some(404) => None,
            Err(failure) => return told(failure, |failure| Outcome::Refused(compare::refusal(id, failure))),
        };
        if let Some(outcome) = live.as_ref().and_then(|live| self.stands(job, wish, live)) {
            return Ok(Some(outcome));
        }
        let known = self.known.get(&job.member.component);
        let known = known.and_then(|known| known.applied.get(id).copied());
        let same = |applied: &Applied| applied.manifest == applyset::manifest_digest(manifest, &job.member.component);
        let recorded = known.filter(same);
        if let (Some(live), Some(Applied { owned: Some(owned), .. })) = (&live, recorded)
            && owned::digest(live, &self.manager) == Some(owned)
        {
            return Ok(None);
        }
        // With what was applied before as it was, every field of it is ours: it would be a repair.
        let force = applyset::forces_conflicts(manifest) || recorded.is_some();
        let is_as_recorded = |live: &Value| known.is_some_and(|it| it.owned == owned::digest(live, &self.manager));
        let unrecorded = spec.drift == Drift::Repair && !live.as_ref().is_some_and(is_as_recorded);
        let answer = match self.send(job, &path, force, unrecorded).await {
            Err(failure) if self.takes_over(job, &failure) => self.send(job, &path, true, unrecorded).await,
            answer => answer,
        };
        let after = match answer {
            Ok(after) => after,
            Err(failure) => return told(failure, |failure| self.refused(job, live.as_ref(), failure)),
        };
        let Some(live) = live else {
            return Ok(Some(Outcome::Created(None)));
        };
        let changes = compare::changes(id, live, after);
        Ok(match (changes.as_slice(), recorded, spec.drift) {
            ([], ..) => None,
            (changed, Some(_), Drift::Report | Drift::Ignore) => {
                let paths: Vec<_> = changed.iter().map(|change| change.path.as_str()).collect();
                let why = format!(
                    "it has drifted ({}), and its component does not repair drift",
                    paths.join(", ")
                );
                Some(Outcome::Left(why))
            }
            _ => Some(Outcome::Changed {
                fields: changes,
                more: 0,
            }),
        })
    }

    /// How the object's kind is served, or what comes of the object where it is not.
    fn resource(&self, job: &Job) -> Result<&Resource, Outcome> {
        let id = job.member.manifest.id();
        let wanted = |version: Option<&str>| {
            let key = (id.group.clone(), id.kind.clone(), version.map(str::to_owned));
            self.kinds.get(&key)
        };
        match (wanted(Some(job.member.manifest.version())), wanted(None)) {
            (Some(Found::Served(resource)), _) => Ok(resource),
            (Some(Found::Broken(how, _)), _) => {
                Err(Outcome::Refused(format!("the API of its kind does not answer: {how}")))
            }
            (_, Some(Found::Served(resource))) => Err(Outcome::Refused(format!(
                "the cluster does not serve this kind in {}, but in version {}: push a manifest in that version",
                job.member.manifest.api_version(),
                resource.version
            ))),
            _ => Err(match self.definitions.get(&(id.group.clone(), id.kind.clone())) {
                Some(definition) => Outcome::Created(Some(format!(
                    "not asked about, as CustomResourceDefinition {definition} of the same snapshot defines its kind"
                ))),
                None => Outcome::Refused(format!(
                    "the cluster does not serve kind {} in {}: push its CustomResourceDefinition, too",
                    id.kind,
                    job.member.manifest.api_version()
                )),
            }),
        }
    }

    /// Why what is there would not be touched.
    fn stands(&self, job: &Job, wish: Changing, live: &Value) -> Option<Outcome> {
        if field::at(live, "/metadata/deletionTimestamp").is_some() {
            let why = "it is being deleted, and made anew when it is gone";
            return Some(Outcome::Left(why.to_owned()));
        }
        if wish == Changing::OnlyMade || marks::changing(live) != Changing::Free {
            let why = "its annotations keep it as it is once it exists";
            return Some(Outcome::Left(why.to_owned()));
        }
        match ownership::owner(live, &self.home, &job.member.set) {
            Owner::Other(whose) if !job.spec.adopt => Some(Outcome::Refused(format!(
                "it exists and belongs to {whose}: set `adopt: true` on the component to take it over, or remove it there"
            ))),
            Owner::Ours | Owner::Nobody | Owner::Other(_) => None,
        }
    }

    async fn send(&self, job: &Job, path: &str, force: bool, unrecorded: bool) -> Result<Value, Failure> {
        patiently(|| {
            let apply = Apply {
                api: self.api_of(job),
                reader: self.api.clone(),
                path: path.to_owned(),
                manager: self.manager.clone(),
                member: job.member.clone(),
                force,
                taken: Box::default(),
                unrecorded,
            };
            apply.carry_out()
        })
        .await
    }

    fn api_of(&self, job: &Job) -> Api {
        let account = job.spec.service_account.as_ref();
        account.map_or_else(|| self.api.clone(), |account| self.api.acting_as(account))
    }

    /// Are these the fields of a former owner, which the component takes over?
    fn takes_over(&self, job: &Job, failure: &Failure) -> bool {
        let conflicts = failure
            .refusal()
            .map(crate::api::Refusal::conflicts)
            .unwrap_or_default();
        job.spec.adopt
            && !conflicts.is_empty()
            && conflicts.iter().all(|conflict| ownership::is_former(&conflict.manager))
    }

    /// What comes of an object whose apply is refused.
    fn refused(&self, job: &Job, live: Option<&Value>, failure: &Failure) -> Outcome {
        let id = job.member.manifest.id();
        let Some(refusal) = failure.refusal() else {
            return Outcome::Refused(failure.text());
        };
        let conflicts = refusal.conflicts();
        if !conflicts.is_empty() {
            return Outcome::Refused(conflicts_text(&conflicts));
        }
        if refusal.lacks_namespace()
            && let Some(namespace) = id.namespace.as_deref().filter(|it| self.namespaces.contains(*it))
        {
            let why = format!("not asked about, as Namespace {namespace} comes with the same snapshot");
            return Outcome::Created(Some(why));
        }
        let is_member = |live: &Value| applyset::member_of(live, &self.home).is_some();
        if immutable::is_immutable(refusal) {
            let fields = immutable::fields(refusal);
            if marks::is_replaced(&job.member.manifest.value()) && live.is_some_and(is_member) {
                return Outcome::Replaced(format!("{fields} cannot be changed"));
            }
            return Outcome::Refused(format!(
                "{fields} cannot be changed: {}; put the old value back, or annotate the manifest with \
                 driftless.dev/replace: \"true\" to have the object deleted and made anew",
                compare::refusal(id, failure)
            ));
        }
        let text = compare::refusal(id, failure);
        let hint = hint_for(refusal);
        match hint.trim_end_matches("; ") {
            "" => Outcome::Refused(text),
            hint => Outcome::Refused(format!("{text}; {hint}")),
        }
    }
}

/// An answer is one object's concern; none at all is everybody's.
fn told(failure: Failure, outcome: impl FnOnce(&Failure) -> Outcome) -> Result<Option<Outcome>, Failure> {
    match failure {
        Failure::Unreachable(_) => Err(failure),
        failure => Ok(Some(outcome(&failure))),
    }
}

/// Asks again while the API server says that it has no time just now.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut tries = 1;
    loop {
        let answer = ask().await;
        let busy = answer.as_ref().err().and_then(Failure::refusal);
        match busy.filter(|refusal| refusal.code == 429 && tries < TRIES) {
            Some(refusal) => {
                let wait = refusal.retry_after.unwrap_or(Duration::from_secs(1));
                tokio::time::sleep(wait.min(PATIENCE)).await;
                tries += 1;
            }
            None => return answer,
        }
    }
}
