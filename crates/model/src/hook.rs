//! Objects that are run once at some point of a component's new version: Argo CD's hooks, and Helm's as `helm template`
//! renders them.
//!
//! Called where a bundle is checked, and by the reconciler, which runs them. Nothing here decides when.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{canonical::Needle, manifest::Manifest, order};

/// Argo CD's annotation.
pub const ARGO: &str = "argocd.argoproj.io/hook";
/// Helm's annotation.
pub const HELM: &str = "helm.sh/hook";
const ARGO_DELETE: &str = "argocd.argoproj.io/hook-delete-policy";
const HELM_DELETE: &str = "helm.sh/hook-delete-policy";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";

/// When a hook runs, in the order of a version's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Before everything else.
    PreSync,
    /// Along with the other objects.
    Sync,
    /// When everything is as desired and healthy.
    PostSync,
    /// When one of the others failed.
    SyncFail,
}

/// Which versions a hook is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Versions {
    /// All.
    Any,
    /// The first one.
    Install,
    /// All others.
    Upgrade,
}

/// What an object that is a hook asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When it runs. A hook without any is never run.
    pub runs: Vec<(Phase, Versions)>,
    /// Those with the lowest run first in their phase.
    pub weight: i32,
    /// When it is deleted.
    pub delete: Delete,
}

/// When a hook's object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delete {
    /// Before it is made for another run.
    pub before: bool,
    /// When it succeeded.
    pub succeeded: bool,
    /// When it failed.
    pub failed: bool,
}

/// An annotation that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A hook that there is not.
    #[error("annotation {key}: there is no hook `{value}`: {known}")]
    Unknown {
        /// The annotation.
        key: &'static str,
        /// What it holds.
        value: String,
        /// What there is.
        known: &'static str,
    },
    /// A weight that is no number.
    #[error("annotation {HELM_WEIGHT}: `{0}` is not a whole number: quote one, as \"1\"")]
    Weight(String),
    /// A wave that is no number.
    #[error(transparent)]
    Wave(order::Fault),
}

impl Fault {
    /// The annotation that is meant.
    pub fn annotation(&self) -> &'static str {
        match self {
            Self::Unknown { key, .. } => key,
            Self::Weight(_) => HELM_WEIGHT,
            Self::Wave(fault) => fault.annotation(),
        }
    }
}

impl Hook {
    /// Does it run in this phase of an install, or else of an upgrade?
    pub fn runs_in(&self, phase: Phase, install: bool) -> bool {
        self.runs.iter().any(|(run, versions)| {
            *run == phase
                && match versions {
                    Versions::Any => true,
                    Versions::Install => install,
                    Versions::Upgrade => !install,
                }
        })
    }
}

/// May an object with these canonical bytes be a hook?
pub fn is_concerned(canonical: &[u8]) -> bool {
    static NEEDLE: Needle = Needle::new("/hook\"");
    NEEDLE.is_in(canonical)
}

/// What a manifest asks for, if it is a hook. One that cannot be understood was refused at the push, or an overlay made
/// it so: it is an ordinary object then.
pub fn of(manifest: &Manifest) -> Option<Hook> {
    let read = || read(&manifest.value()).ok().flatten();
    manifest.may_be_hook().then(read).flatten()
}

/// Reads what an object asks for; `None` where it is no hook. Argo CD's annotations go before Helm's.
///
/// # Errors
/// The first annotation that cannot be understood.
pub fn read(object: &Value) -> Result<Option<Hook>, Fault> {
    if let Some(text) = annotation(object, ARGO) {
        return argo(object, text).map(Some);
    }
    annotation(object, HELM).map_or(Ok(None), |text| helm(object, text))
}

/// Does a live object say that it is a hook, of whatever tool?
pub fn is_marked(object: &Value) -> bool {
    annotation(object, ARGO).or(annotation(object, HELM)).is_some()
}

fn argo(object: &Value, text: &str) -> Result<Hook, Fault> {
    let mut runs = Vec::new();
    for part in parts(text) {
        let phase = match part {
            "PreSync" => Phase::PreSync,
            "Sync" => Phase::Sync,
            "PostSync" => Phase::PostSync,
            "SyncFail" => Phase::SyncFail,
            // Nothing is run when a component goes.
            "Skip" | "PreDelete" | "PostDelete" => continue,
            _ => {
                return Err(Fault::Unknown {
                    key: ARGO,
                    value: part.to_owned(),
                    known: "there are PreSync, Sync, PostSync, SyncFail and Skip",
                });
            }
        };
        runs.push((phase, Versions::Any));
    }
    Ok(Hook {
        runs,
        weight: order::wave(object).map_err(Fault::Wave)?,
        delete: delete(object, ARGO_DELETE),
    })
}

fn helm(object: &Value, text: &str) -> Result<Option<Hook>, Fault> {
    let mut runs = Vec::new();
    for part in parts(text) {
        let run = match part {
            "pre-install" => (Phase::PreSync, Versions::Install),
            "pre-upgrade" => (Phase::PreSync, Versions::Upgrade),
            "post-install" => (Phase::PostSync, Versions::Install),
            "post-upgrade" => (Phase::PostSync, Versions::Upgrade),
            // Definitions come before what needs them anyway.
            "crd-install" | "crds-install" => return Ok(None),
            "pre-delete" | "post-delete" | "pre-rollback" | "post-rollback" | "test" | "test-success"
            | "test-failure" => continue,
            _ => {
                return Err(Fault::Unknown {
                    key: HELM,
                    value: part.to_owned(),
                    known: "there are pre-install, post-install, pre-upgrade and post-upgrade, and those that Driftless \
                            never runs: of deletions, rollbacks and tests",
                });
            }
        };
        runs.push(run);
    }
    let weight = annotation(object, HELM_WEIGHT).unwrap_or("0").trim();
    Ok(Some(Hook {
        runs,
        weight: weight.parse().map_err(|_| Fault::Weight(weight.to_owned()))?,
        delete: delete(object, HELM_DELETE),
    }))
}

fn delete(object: &Value, key: &str) -> Delete {
    let text = annotation(object, key).unwrap_or_default();
    let mut delete = Delete::default();
    for part in parts(text) {
        match part {
            "BeforeHookCreation" | "before-hook-creation" => delete.before = true,
            "HookSucceeded" | "hook-succeeded" => delete.succeeded = true,
            "HookFailed" | "hook-failed" => delete.failed = true,
            _ => {}
        }
    }
    if delete == Delete::default() {
        delete.before = true;
    }
    delete
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hook(annotations: &Value) -> Result<Option<Hook>, Fault> {
        read(&json!({"metadata": {"annotations": annotations}}))
    }

    #[test]
    fn hooks_of_both_tools_are_read() {
        let argo = json!({ARGO: "PreSync, PostSync", "argocd.argoproj.io/sync-wave": "-2",
            ARGO_DELETE: "HookSucceeded,HookFailed", HELM: "pre-install"});
        let argo = hook(&argo).unwrap().unwrap();
        assert_eq!(
            (
                argo.weight,
                argo.delete.before,
                argo.delete.succeeded,
                argo.delete.failed
            ),
            (-2, false, true, true)
        );
        assert!(argo.runs_in(Phase::PreSync, false) && argo.runs_in(Phase::PostSync, true));
        assert!(!argo.runs_in(Phase::Sync, true));
        let helm = hook(&json!({HELM: "pre-install,post-upgrade", HELM_WEIGHT: "5"}))
            .unwrap()
            .unwrap();
        assert_eq!(
            (helm.weight, helm.delete.before, helm.delete.succeeded),
            (5, true, false)
        );
        assert!(helm.runs_in(Phase::PreSync, true) && !helm.runs_in(Phase::PreSync, false));
        assert!(helm.runs_in(Phase::PostSync, false) && !helm.runs_in(Phase::PostSync, true));
    }

    #[test]
    fn what_is_never_run_is_a_hook_all_the_same_and_definitions_are_none() {
        for never in [
            json!({ARGO: "Skip"}),
            json!({HELM: "test"}),
            json!({HELM: "pre-delete,post-rollback"}),
        ] {
            assert_eq!(hook(&never).unwrap().unwrap().runs, [], "{never}");
        }
        assert_eq!(hook(&json!({HELM: "crd-install"})), Ok(None));
        assert_eq!(hook(&json!({})), Ok(None));
    }

    #[test]
    fn misspelt_hook_is_refused() {
        let told = hook(&json!({ARGO: "presync"})).unwrap_err().to_string();
        assert!(
            told.starts_with("annotation argocd.argoproj.io/hook: there is no hook `presync`"),
            "{told}"
        );
        assert!(hook(&json!({HELM: "pre-sync"})).is_err());
        assert!(hook(&json!({HELM: "pre-install", HELM_WEIGHT: "first"})).is_err());
    }
}
