//! Answers to dry runs. One that would not fit into a message is cut, and says so.

use std::collections::BTreeMap;

use driftless_model::{
    diff::FieldChange,
    hook::Phase,
    name::ComponentName,
    prospect::{ComponentProspect, HookProspect, Outcome, Prospect},
};
use prost::Message as _;

use super::{Error, opt_hash, to_hash};
use crate::v1::{self, HookPhase, ProbeOutcome};

/// What a length and a tag take besides a message.
const FRAME: usize = 8;

/// Writes the answer to a probe, in at most about `room` bytes. What does not fit is counted: first fields, then objects.
pub fn from_prospect(id: u64, prospect: &Prospect, room: usize) -> v1::ProbeResult {
    let mut result = v1::ProbeResult {
        id,
        failure: String::new(),
        components: Vec::with_capacity(prospect.components.len()),
        left_out: prospect.left_out,
        notes: prospect.notes.clone(),
    };
    let mut used = result.encoded_len();
    for (name, component) in &prospect.components {
        let mut wire = v1::ProbedComponent {
            component: name.to_string(),
            bundle: component.bundle.as_ref().map(to_hash),
            unchanged: component.unchanged,
            objects: Vec::new(),
            hooks: Vec::new(),
        };
        used += wire.encoded_len() + FRAME;
        for hook in &component.hooks {
            let hook = v1::ProbedHook {
                phase: from_phase(hook.phase).into(),
                object: Some((&hook.object).into()),
            };
            let size = hook.encoded_len() + FRAME;
            if used + size > room {
                result.left_out += 1;
                continue;
            }
            used += size;
            wire.hooks.push(hook);
        }
        for (object, outcome) in &component.objects {
            let mut wire_object = from_outcome(outcome);
            wire_object.object = Some(object.into());
            if used + wire_object.encoded_len() + FRAME > room {
                wire_object.fields_left_out += u32::try_from(wire_object.fields.len()).unwrap_or(u32::MAX);
                wire_object.fields.clear();
            }
            if used + wire_object.encoded_len() + FRAME > room {
                result.left_out += 1;
                continue;
            }
            used += wire_object.encoded_len() + FRAME;
            wire.objects.push(wire_object);
        }
        result.components.push(wire);
    }
    result
}

fn from_phase(phase: Phase) -> HookPhase {
    match phase {
        Phase::PreSync => HookPhase::PreSync,
        Phase::Sync => HookPhase::Sync,
        Phase::PostSync => HookPhase::PostSync,
        Phase::SyncFail => HookPhase::SyncFail,
    }
}

/// `None` for one that only newer agents know.
fn phase(phase: HookPhase) -> Option<Phase> {
    match phase {
        HookPhase::Unspecified => None,
        HookPhase::PreSync => Some(Phase::PreSync),
        HookPhase::Sync => Some(Phase::Sync),
        HookPhase::PostSync => Some(Phase::PostSync),
        HookPhase::SyncFail => Some(Phase::SyncFail),
    }
}

fn from_outcome(outcome: &Outcome) -> v1::ProbedObject {
    let told = |outcome: ProbeOutcome, message: &str| v1::ProbedObject {
        outcome: outcome.into(),
        message: message.to_owned(),
        ..v1::ProbedObject::default()
    };
    match outcome {
        Outcome::Created(why) => told(ProbeOutcome::Created, why.as_deref().unwrap_or_default()),
        Outcome::Changed { fields, more } => v1::ProbedObject {
            fields: fields.iter().map(from_field).collect(),
            fields_left_out: *more,
            ..told(ProbeOutcome::Changed, "")
        },
        Outcome::Replaced(why) => told(ProbeOutcome::Replaced, why),
        Outcome::Pruned(why) => told(ProbeOutcome::Pruned, why.as_deref().unwrap_or_default()),
        Outcome::Refused(why) => told(ProbeOutcome::Refused, why),
        Outcome::Left(why) => told(ProbeOutcome::Left, why),
    }
}

fn from_field(change: &FieldChange) -> v1::FieldChange {
    v1::FieldChange {
        path: change.path.clone(),
        before: change.before.as_ref().map(ToString::to_string),
        after: change.after.as_ref().map(ToString::to_string),
    }
}

/// Reads the answer to a probe.
///
/// # Errors
/// When it makes no sense.
pub fn prospect(result: v1::ProbeResult) -> Result<Prospect, Error> {
    let mut components: BTreeMap<ComponentName, ComponentProspect> = BTreeMap::new();
    for component in result.components {
        let name = component.component.parse();
        let name = name.map_err(|error| Error::new("probe.component", error))?;
        let missing = || Error::new("probe.object", "it is missing");
        let mut hooks = Vec::with_capacity(component.hooks.len());
        for hook in component.hooks {
            let phase = phase(hook.phase());
            let object = hook.object.ok_or_else(missing)?.into();
            hooks.extend(phase.map(|phase| HookProspect { phase, object }));
        }
        let mut objects = BTreeMap::new();
        for mut object in component.objects {
            let id = object.object.take().ok_or_else(missing)?;
            if let Some(outcome) = outcome(object)? {
                objects.insert(id.into(), outcome);
            }
        }
        let told = ComponentProspect {
            bundle: opt_hash("probe.bundle", component.bundle.as_ref())?,
            unchanged: component.unchanged,
            objects,
            hooks,
        };
        components.insert(name, told);
    }
    Ok(Prospect {
        components,
        notes: result.notes,
        left_out: result.left_out,
    })
}

/// `None` for one that only newer agents know.
fn outcome(object: v1::ProbedObject) -> Result<Option<Outcome>, Error> {
    let kind = object.outcome();
    let v1::ProbedObject {
        fields,
        fields_left_out,
        message,
        ..
    } = object;
    let why = || Some(message.clone()).filter(|why| !why.is_empty());
    Ok(Some(match kind {
        ProbeOutcome::Unspecified => return Ok(None),
        ProbeOutcome::Created => Outcome::Created(why()),
        ProbeOutcome::Changed => Outcome::Changed {
            fields: fields.into_iter().map(field).collect::<Result<_, _>>()?,
            more: fields_left_out,
        },
        ProbeOutcome::Replaced => Outcome::Replaced(message),
        ProbeOutcome::Pruned => Outcome::Pruned(why()),
        ProbeOutcome::Refused => Outcome::Refused(message),
        ProbeOutcome::Left => Outcome::Left(message),
    }))
}

fn field(change: v1::FieldChange) -> Result<FieldChange, Error> {
    let value = |text: Option<String>| {
        let read = text.map(|text| serde_json::from_str(&text)).transpose();
        read.map_err(|error| Error::new("probe.field", error))
    };
    Ok(FieldChange {
        path: change.path,
        before: value(change.before)?,
        after: value(change.after)?,
    })
}

#[cfg(test)]
mod tests {
    use driftless_model::{hash::ObjectHash, manifest::ManifestId};

    use super::*;

    fn id(name: &str) -> ManifestId {
        ManifestId {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
        }
    }

    fn change(value: &str) -> FieldChange {
        FieldChange {
            path: "spec.x".to_owned(),
            before: None,
            after: Some(value.into()),
        }
    }

    fn hook(phase: Phase) -> HookProspect {
        HookProspect {
            phase,
            object: id("migrate"),
        }
    }

    fn answer() -> Prospect {
        let masked = FieldChange {
            path: "data.password".to_owned(),
            before: None,
            after: None,
        };
        let objects = [
            (id("a"), Outcome::Created(None)),
            (id("b"), Outcome::Created(Some("later".to_owned()))),
            (
                id("c"),
                Outcome::Changed {
                    fields: vec![change("new"), masked],
                    more: 0,
                },
            ),
            (id("d"), Outcome::Replaced("immutable".to_owned())),
            (id("e"), Outcome::Pruned(None)),
            (id("f"), Outcome::Pruned(Some("consent".to_owned()))),
            (id("g"), Outcome::Refused("no".to_owned())),
            (id("h"), Outcome::Left("yours".to_owned())),
        ];
        let component = ComponentProspect {
            bundle: Some(ObjectHash::of(b"bundle")),
            unchanged: 7,
            objects: objects.into(),
            hooks: vec![hook(Phase::PreSync), hook(Phase::SyncFail)],
        };
        Prospect {
            components: [("shop".parse().unwrap(), component)].into(),
            notes: vec!["a note".to_owned()],
            left_out: 0,
        }
    }

    #[test]
    fn answer_survives_the_wire() {
        let wire = from_prospect(3, &answer(), 1 << 20);
        assert_eq!((wire.id, wire.failure.as_str()), (3, ""));
        assert_eq!(prospect(wire).unwrap(), answer());
    }

    #[test]
    fn answer_that_does_not_fit_is_cut_and_counts_what_is_missing() {
        let objects = (0..100).map(|n| {
            let fields = vec![change(&"x".repeat(1000))];
            (id(&format!("web-{n:03}")), Outcome::Changed { fields, more: 0 })
        });
        let component = ComponentProspect {
            objects: objects.collect(),
            hooks: vec![hook(Phase::Sync); 100],
            ..ComponentProspect::default()
        };
        let large = Prospect {
            components: [("shop".parse().unwrap(), component)].into(),
            ..Prospect::default()
        };
        for room in [0, 500, 3000, 20_000, 200_000] {
            let wire = from_prospect(1, &large, room);
            assert!(wire.encoded_len() <= room.max(40), "{} of {room}", wire.encoded_len());
            let told = prospect(wire).unwrap();
            let component = told.components.values().next().unwrap();
            let objects = &component.objects;
            assert_eq!(objects.len() + component.hooks.len() + told.left_out as usize, 200);
            let count = |outcome: &Outcome| match outcome {
                Outcome::Changed { fields, more } => fields.len() + *more as usize,
                _ => 0,
            };
            assert!(objects.values().all(|outcome| count(outcome) == 1));
        }
    }
}
