//! From entries of `driftless.yaml` to components to be read: names, patterns, defaults, and files of overlays.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use driftless_model::{
    bundle::{
        HealthRule, Spec,
        upkeep::{Allow, Drift, Prune, ServiceAccount},
    },
    intake,
    manifest::Manifest,
    name::ComponentName,
    overlay::{Overlay, Patch, Target},
    selector::Selector,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Load, document, pattern,
    pattern::Match,
    written::{Elsewhere, Written},
};
use crate::sources::{
    Chart, Source, Values, Wanted,
    files::{self, is_manifest},
    is_chart,
};

/// What holds for every component.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Defaults {
    namespace: Option<String>,
    selector: Selector,
    kube_version: Option<String>,
    api_versions: Vec<String>,
    kustomize_command: Option<String>,
}

/// One entry of `components`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Entry {
    name: Option<String>,
    path: Option<String>,
    exclude: Vec<String>,
    paths: Vec<String>,
    kustomize: Option<String>,
    helm: Option<Helm>,
    exec: Option<String>,
    namespace: Option<String>,
    selector: Option<Selector>,
    depends_on: BTreeSet<ComponentName>,
    overlays: Vec<Layer>,
    health: Vec<HealthRule>,
    epoch: Option<u64>,
    adopt: bool,
    drift: Drift,
    prune: Prune,
    service_account: Option<ServiceAccount>,
    allow: Allow,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Helm {
    chart: String,
    version: Option<String>,
    repo: Option<String>,
    values: Vec<Value>,
    set: Map<String, Value>,
    release_name: Option<String>,
    kube_version: Option<String>,
    api_versions: Vec<String>,
    include_crds: Option<bool>,
}

/// An overlay whose parts may be in files.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Layer {
    name: String,
    selector: Selector,
    remove: Vec<Target>,
    add: Vec<Value>,
    patches: Vec<Change>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    target: Target,
    json: Option<Value>,
    merge: Option<Value>,
}

impl Load<'_> {
    pub(super) fn components(&mut self, entries: Vec<(String, Entry)>, defaults: &Defaults) -> Vec<Wanted> {
        // What an entry names itself is not also what a pattern finds.
        let named: BTreeSet<_> = entries
            .iter()
            .flat_map(|(_, entry)| entry.plain_paths())
            .map(|path| pattern::normal(path))
            .collect();
        let mut wanted = Vec::new();
        for (pointer, entry) in entries {
            match entry.path.as_deref().filter(|path| pattern::is_pattern(path)) {
                Some(path) => {
                    let found = self.found(&pointer, path, &entry, &named);
                    let template = self.component(&pointer, &entry, defaults);
                    for Match { path, name } in found {
                        let Some(component) = self.name(&pointer, &entry, &name) else {
                            continue;
                        };
                        let mut one = template.clone();
                        one.component = component;
                        one.sources.insert(0, Source::Path(path.into()));
                        wanted.push(one);
                    }
                }
                None => {
                    let of_path = entry.plain_paths().next().map(last_part).unwrap_or_default();
                    let component = self.name(&pointer, &entry, &of_path);
                    let mut one = self.component(&pointer, &entry, defaults);
                    if let Some(path) = &entry.path {
                        one.sources.insert(0, Source::Path(path.into()));
                    }
                    if let Some(component) = component {
                        one.component = component;
                        wanted.push(one);
                    }
                }
            }
        }
        wanted
    }

    fn found(&mut self, pointer: &str, path: &str, entry: &Entry, named: &BTreeSet<String>) -> Vec<Match> {
        let at = format!("{pointer}/path");
        let mut found = match pattern::find(self.folder, path) {
            Ok(found) => found,
            Err(error) => {
                self.wrong(&at, format!("`{path}` cannot be looked up: {}", files::reason(&error)));
                return Vec::new();
            }
        };
        found.retain(|found| {
            let real = self.folder.join(&found.path);
            (real.is_dir() || is_manifest(&real) || is_chart(&real))
                && !entry
                    .exclude
                    .iter()
                    .any(|exclude| pattern::matches_path(exclude, &found.path))
        });
        if found.is_empty() {
            self.wrong(&at, format!("`{path}` finds no folder and no manifests"));
        }
        found.retain(|found| !named.contains(&found.path));
        found
    }

    /// The component's name: the one given, `*` in it replaced, or the one found.
    fn name(&mut self, pointer: &str, entry: &Entry, found: &str) -> Option<ComponentName> {
        let found = found.split('.').next().unwrap_or_default();
        let (name, at) = match &entry.name {
            Some(name) => (name.replace('*', found), format!("{pointer}/name")),
            None => (found.to_owned(), pointer.to_owned()),
        };
        if name.is_empty() {
            self.wrong(&at, "`name` is missing");
            return None;
        }
        let parsed = name.parse::<ComponentName>();
        parsed
            .map_err(|error| {
                let advice = if entry.name.is_none() { "; or give a `name`" } else { "" };
                self.wrong(&at, format!("{error}{advice}"));
            })
            .ok()
    }

    /// All of a component but its name and its path.
    fn component(&mut self, pointer: &str, entry: &Entry, defaults: &Defaults) -> Wanted {
        let namespace = entry.namespace.clone().or_else(|| defaults.namespace.clone());
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let mut sources: Vec<_> = entry.paths.iter().map(|path| Source::Path(path.into())).collect();
        sources.extend(entry.kustomize.iter().map(|folder| Source::Kustomize(folder.into())));
        sources.extend(entry.helm.iter().map(|helm| Source::Chart(helm.chart(defaults))));
        sources.extend(entry.exec.iter().map(|script| Source::Exec(script.clone())));
        let mut written = self.written(pointer);
        let layers = entry.overlays.iter().enumerate();
        let overlays = layers
            .map(|(index, layer)| {
                self.overlay(
                    &format!("{pointer}/overlays/{index}"),
                    index,
                    layer,
                    &namespace,
                    &mut written,
                )
            })
            .collect();
        let spec = Spec {
            selector: entry.selector.clone().unwrap_or_else(|| defaults.selector.clone()),
            overlays,
            depends_on: entry.depends_on.clone(),
            health: entry.health.clone(),
            epoch: entry.epoch,
            adopt: entry.adopt,
            drift: entry.drift,
            prune: entry.prune.clone(),
            service_account: entry.service_account.clone(),
            allow: entry.allow.clone(),
        };
        Wanted {
            component: "unnamed".parse().expect("it is a DNS label"),
            folder: self.folder.to_owned(),
            sources,
            namespace,
            chart: Chart {
                kube_version: defaults.kube_version.clone(),
                api_versions: defaults.api_versions.clone(),
                ..Chart::default()
            },
            chart_expected: false,
            kustomize: defaults.kustomize_command.clone(),
            spec,
            written: Some(written),
        }
    }

    fn overlay(
        &mut self,
        pointer: &str,
        index: usize,
        layer: &Layer,
        namespace: &str,
        written: &mut Written,
    ) -> Overlay {
        let mut overlay = Overlay {
            name: layer.name.clone(),
            selector: layer.selector.clone(),
            remove: layer.remove.clone(),
            ..Overlay::default()
        };
        for (number, add) in layer.add.iter().enumerate() {
            let at = format!("{pointer}/add/{number}");
            let mut added = |manifest: Manifest, from: Elsewhere| {
                written.moved(format!("/overlays/{index}/add/{}", overlay.add.len()), from);
                overlay.add.push(manifest);
            };
            match add {
                Value::String(path) => {
                    for placed in self.manifests(&at, path, namespace) {
                        added(placed.manifest().clone(), Elsewhere::Object(placed));
                    }
                }
                object => match Manifest::new(object.clone(), namespace) {
                    Ok(manifest) => {
                        added(manifest, Elsewhere::Here(format!("/overlays/{index}/add/{number}")));
                    }
                    Err(problem) => self.wrong(&at, problem.to_string()),
                },
            }
        }
        for (number, change) in layer.patches.iter().enumerate() {
            let at = format!("{pointer}/patches/{number}");
            let to = format!("/overlays/{index}/patches/{number}");
            overlay.patches.push(Patch {
                target: change.target.clone(),
                json: self.patch(&at, "json", change.json.as_ref(), &to, written),
                merge: self.patch(&at, "merge", change.merge.as_ref(), &to, written),
            });
        }
        overlay
    }

    /// A patch as it is, or the only document of the file that a text names.
    fn patch<T: DeserializeOwned>(
        &mut self,
        pointer: &str,
        field: &str,
        value: Option<&Value>,
        to: &str,
        written: &mut Written,
    ) -> Option<T> {
        let at = format!("{pointer}/{field}");
        let read = match value? {
            Value::String(path) => {
                let text = match files::read(&self.folder.join(path)) {
                    Ok(text) => Arc::new(text),
                    Err(problem) => {
                        self.wrong(&at, problem);
                        return None;
                    }
                };
                let (line, value) = match document(&text) {
                    Ok(document) => document,
                    Err(problem) => {
                        self.wrong(&at, problem);
                        return None;
                    }
                };
                written.moved(format!("{to}/{field}"), Elsewhere::File(Arc::clone(&text), line));
                let is_form = if field == "json" {
                    value.is_array()
                } else {
                    value.is_object()
                };
                if !is_form {
                    let form = if field == "json" {
                        "a list of operations"
                    } else {
                        "an object"
                    };
                    self.wrong(&at, format!("{path}:{line}: a {field} patch has to be {form}"));
                    return None;
                }
                serde_json::from_value(value)
            }
            value => serde_json::from_value(value.clone()),
        };
        read.map_err(|error| self.wrong(&at, error.to_string())).ok()
    }

    /// The objects of files that an overlay adds.
    fn manifests(&mut self, pointer: &str, path: &str, namespace: &str) -> Vec<intake::Placed> {
        let texts = match files::read(&self.folder.join(path)) {
            Ok(text) => [Arc::new(text)],
            Err(problem) => {
                self.wrong(pointer, problem);
                return Vec::new();
            }
        };
        match intake::read_placed(&texts, namespace) {
            Ok(placed) => placed,
            Err(problems) => {
                let problems = problems.into_iter().map(|problem| (problem.place, problem.message));
                self.wrongs.extend(problems);
                Vec::new()
            }
        }
    }
}

impl Entry {
    /// The paths that it names, patterns left out.
    fn plain_paths(&self) -> impl Iterator<Item = &String> {
        let helm = self.helm.iter().map(|helm| &helm.chart);
        let paths = self.path.iter().chain(&self.kustomize).chain(helm).chain(&self.paths);
        paths.filter(|path| !pattern::is_pattern(path))
    }
}

impl Helm {
    fn chart(&self, defaults: &Defaults) -> Chart {
        let values = self.values.iter().map(|value| match value {
            Value::String(file) => Values::File(file.clone()),
            inline => Values::Inline(inline.clone()),
        });
        let (texts, others): (Vec<_>, Vec<_>) = self.set.iter().partition(|(_, value)| value.is_string());
        let api_versions = match self.api_versions.as_slice() {
            [] => defaults.api_versions.clone(),
            own => own.to_vec(),
        };
        Chart {
            chart: self.chart.clone(),
            version: self.version.clone(),
            repo: self.repo.clone(),
            values: values.collect(),
            set: others.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            set_string: texts
                .iter()
                .map(|(key, value)| format!("{key}={}", escaped(value.as_str().unwrap_or_default())))
                .collect(),
            release_name: self.release_name.clone(),
            kube_version: self.kube_version.clone().or_else(|| defaults.kube_version.clone()),
            api_versions,
            skip_crds: self.include_crds == Some(false),
        }
    }
}

/// A text that `helm --set-string` takes as it is.
fn escaped(text: &str) -> String {
    let special = |char| matches!(char, '\\' | ',' | '{' | '}');
    text.chars()
        .flat_map(|char| special(char).then_some('\\').into_iter().chain([char]))
        .collect()
}

/// The last part of a path, without what ends a file's name.
fn last_part(path: &String) -> String {
    let name = PathBuf::from(path)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_default()
}
