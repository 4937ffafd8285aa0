//! Where the programs of a real control plane are, and what happens where they are missing.
//!
//! `plane` starts what is found here. Nothing is built or fetched by this module: that is
//! `tests/kubernetes/install`, which a person or `.ci/run` runs once.

use std::{
    collections::BTreeMap,
    env, fmt,
    io::Write as _,
    path::{Path, PathBuf},
};

/// controller-runtime's variable for a folder with etcd, kube-apiserver and kubectl.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Set to `1` where a skipped suite must fail instead, as `.ci/run` does.
pub const REQUIRE: &str = "DRIFTLESS_REQUIRE_KUBERNETES";

/// The versions that `install` builds; one file, so that script and harness cannot disagree.
const VERSIONS: &str = include_str!("../kubernetes/versions");

/// The programs of one control plane.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The store under the API server.
    pub etcd: PathBuf,
    /// The API server.
    pub api_server: PathBuf,
    /// The command line client.
    pub kubectl: PathBuf,
    /// What turns Deployments into scheduled Pods; absent in controller-runtime's own archives.
    pub controllers: Option<Controllers>,
    /// What plays nodes and their kubelets.
    pub kwok: Option<Kwok>,
}

/// The two programs that act on workloads.
#[derive(Clone, Debug)]
pub struct Controllers {
    /// kube-controller-manager.
    pub manager: PathBuf,
    /// kube-scheduler.
    pub scheduler: PathBuf,
}

/// kwok and the stages it plays.
#[derive(Clone, Debug)]
pub struct Kwok {
    /// The program.
    pub program: PathBuf,
    /// Folder of stage files: `node/fast`, `pod/fast`, `pod/chaos` and so on.
    pub stages: PathBuf,
}

/// Why the real control plane cannot be started, and how to change that.
#[derive(Debug)]
pub struct Missing {
    wanted: Vec<&'static str>,
    looked_in: Vec<PathBuf>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folders: Vec<_> = self
            .looked_in
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        write!(
            f,
            "no {} in {}; run tests/kubernetes/install once (it needs Go and about six minutes), or \
             set {ASSETS} to a folder that has them",
            self.wanted.join(", "),
            folders.join(" or "),
        )
    }
}

impl std::error::Error for Missing {}

impl Binaries {
    /// Finds the programs by the environment of this process.
    pub fn find() -> Result<Self, Missing> {
        let assets = env::var_os(ASSETS).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self::find_in(assets.as_deref(), &cache_folder())
    }

    /// Finds the programs in `assets`, which wins where it is given, and in `cache`.
    ///
    /// The core (etcd, API server, kubectl) is never mixed from both; the rest may come from the cache.
    fn find_in(assets: Option<&Path>, cache: &Path) -> Result<Self, Missing> {
        let core = assets.unwrap_or(cache);
        let mut wanted = Vec::new();
        let mut need = |name: &'static str| {
            let path = core.join(name);
            if !path.is_file() {
                wanted.push(name);
            }
            path
        };
        let (etcd, api_server, kubectl) = (need("etcd"), need("kube-apiserver"), need("kubectl"));
        if !wanted.is_empty() {
            return Err(Missing {
                wanted,
                looked_in: vec![core.to_owned()],
            });
        }
        let either = |name: &str| {
            [core, cache]
                .iter()
                .map(|folder| folder.join(name))
                .find(|path| path.exists())
        };
        let controllers = either("kube-controller-manager")
            .zip(either("kube-scheduler"))
            .map(|(manager, scheduler)| Controllers { manager, scheduler });
        let kwok = either("kwok")
            .zip(either("kwok-stages"))
            .map(|(program, stages)| Kwok { program, stages });
        Ok(Self {
            etcd,
            api_server,
            kubectl,
            controllers,
            kwok,
        })
    }

    /// helm beside the control plane, if `install --with-helm` was run.
    pub fn helm() -> Option<PathBuf> {
        Some(cache_folder().join(format!("helm-{}", version("HELM")))).filter(|path| path.is_file())
    }

    /// What to say where there is no helm.
    pub fn lacking_helm() -> Missing {
        Missing {
            wanted: vec!["helm (`install --with-helm`)"],
            looked_in: vec![cache_folder()],
        }
    }

    /// The library that gives a program another clock, if `install --with-faketime` was run.
    pub fn faketime() -> Result<PathBuf, Missing> {
        let library = cache_folder().join("libfaketime.so.1");
        if library.is_file() {
            return Ok(library);
        }
        Err(Missing {
            wanted: vec!["libfaketime.so.1 (`install --with-faketime`)"],
            looked_in: vec![cache_folder()],
        })
    }

    /// The controllers, or what to do about their absence.
    pub fn need_controllers(&self) -> Result<&Controllers, Missing> {
        self.controllers
            .as_ref()
            .ok_or_else(|| self.lacking(vec!["kube-controller-manager", "kube-scheduler"]))
    }

    /// kwok, or what to do about its absence.
    pub fn need_kwok(&self) -> Result<&Kwok, Missing> {
        self.kwok
            .as_ref()
            .ok_or_else(|| self.lacking(vec!["kwok", "kwok-stages"]))
    }

    fn lacking(&self, wanted: Vec<&'static str>) -> Missing {
        let core = self.etcd.parent().map(Path::to_owned).unwrap_or_default();
        let mut looked_in = vec![core, cache_folder()];
        looked_in.dedup();
        Missing { wanted, looked_in }
    }
}

/// Says loudly that `suite` was skipped because of `missing`.
///
/// # Panics
/// Where the environment says that nothing may be skipped (`DRIFTLESS_REQUIRE_KUBERNETES=1`).
pub fn skip(suite: &str, missing: &Missing) {
    let required = env::var(REQUIRE).is_ok_and(|value| value == "1");
    assert!(!required, "{suite}: {REQUIRE}=1 and {missing}");
    // Not `eprintln!`: the test runner swallows what a passing test prints with it.
    let text = format!("\n*** SKIPPED on a real Kubernetes: {suite}\n*** {missing}\n\n");
    // Nobody is left to tell when stderr itself is gone.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// The folder that `install` fills, by the same rules.
fn cache_folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let tools = set("DRIFTLESS_TOOLS")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("driftless/tools")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/driftless/tools")))
        .unwrap_or_default();
    tools
        .join(format!(
            "kubernetes-{}-etcd-{}-kwok-{}",
            version("KUBERNETES"),
            version("ETCD"),
            version("KWOK")
        ))
        .join("bin")
}

fn version(name: &str) -> &'static str {
    let all: BTreeMap<_, _> = VERSIONS.lines().filter_map(|line| line.split_once('=')).collect();
    all.get(name)
        .copied()
        .expect("tests/kubernetes/versions names every version the harness asks for")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn assets_win_over_the_cache_and_borrow_the_rest_from_it() {
        let assets = folder(&["etcd", "kube-apiserver", "kubectl"]);
        let cache = folder(&[
            "etcd",
            "kube-apiserver",
            "kubectl",
            "kube-controller-manager",
            "kube-scheduler",
        ]);
        let found = Binaries::find_in(Some(assets.path()), cache.path()).unwrap();
        assert_eq!(found.etcd, assets.path().join("etcd"));
        assert_eq!(
            found.controllers.unwrap().scheduler,
            cache.path().join("kube-scheduler")
        );
        assert!(found.kwok.is_none());
    }

    #[test]
    fn incomplete_assets_are_not_completed_from_the_cache() {
        let assets = folder(&["etcd"]);
        let cache = folder(&["etcd", "kube-apiserver", "kubectl"]);
        let missing = Binaries::find_in(Some(assets.path()), cache.path()).unwrap_err();
        let text = missing.to_string();
        assert!(text.starts_with("no kube-apiserver, kubectl in "), "{text}");
        assert!(text.contains("tests/kubernetes/install"), "{text}");
    }

    #[test]
    fn every_version_the_harness_asks_for_is_named() {
        for name in ["KUBERNETES", "ETCD", "KWOK", "HELM"] {
            assert!(version(name).split('.').count() == 3, "{name}");
        }
    }
}
