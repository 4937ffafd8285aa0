//! Where manifests come from: files, folders and standard input, read into texts and then into manifests.
//!
//! Rendering (Kustomize, Helm) is not done here; a folder that needs it is refused with what to do instead.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use driftless_model::{
    intake::{self, Text},
    manifest::Manifest,
    yaml,
};

use crate::{failure::Advice, output};

/// What `driftless push` and `driftless diff` read.
#[derive(Debug, clap::Args)]
pub(crate) struct Sources {
    /// File, folder (all *.yaml, *.yml and *.json in and below it), or `-` for standard input
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

/// Reads all manifests. Problems are printed, all of them; the error only counts them and ends with `so`.
pub(crate) fn read(paths: &[PathBuf], namespace: &str, so: &str) -> anyhow::Result<Vec<Manifest>> {
    if !driftless_model::name::is_dns_label(namespace) {
        anyhow::bail!(
            "namespace `{namespace}` is not valid: {}",
            driftless_model::name::DNS_LABEL_RULE
        );
    }
    let mut reading = Reading::default();
    for path in paths {
        reading.take(path);
    }
    let Reading {
        texts,
        mut problems,
        advice,
        ..
    } = reading;
    let manifests = intake::read(&texts, namespace).unwrap_or_else(|found| {
        problems.extend(found.iter().map(ToString::to_string));
        Vec::new()
    });
    if problems.is_empty() {
        return Ok(manifests);
    }
    for problem in &problems {
        output::note(problem);
    }
    let message = format!("{} in the manifests{so}", output::count(problems.len(), "problem"));
    match advice {
        Some(hint) => Err(Advice::new(message, hint).into()),
        None => Err(anyhow::anyhow!(message)),
    }
}

#[derive(Default)]
struct Reading {
    texts: Vec<Text>,
    problems: Vec<String>,
    advice: Option<String>,
    seen: BTreeSet<PathBuf>,
}

impl Reading {
    fn take(&mut self, path: &Path) {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            match std::io::stdin().lock().read_to_end(&mut bytes) {
                Ok(_) => self.take_bytes("-", &bytes),
                Err(error) => self.problems.push(format!("-: {error}")),
            }
        } else if path.is_dir() {
            let before = self.texts.len() + self.problems.len();
            self.take_folder(path);
            if self.texts.len() + self.problems.len() == before {
                self.problems
                    .push(format!("{}: no *.yaml, *.yml or *.json in this folder", path.display()));
            }
        } else {
            self.take_file(path);
        }
    }

    fn take_folder(&mut self, folder: &Path) {
        if let Some((what, instead)) = rendered(folder) {
            self.problems.push(format!(
                "{}: this is a {what}, which has to be rendered first",
                folder.display()
            ));
            self.advice.get_or_insert(format!(
                "render it and push what comes out: `{instead} | driftless push - …`"
            ));
            return;
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(format!("{}: {error}", folder.display())),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            // Editors and version control keep their own files beside people's.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // A link to a folder could lead in a circle; `path.is_file` follows links to files.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.take_folder(&path);
            } else if is_manifest(&path) && path.is_file() {
                self.take_file(&path);
            }
        }
    }

    fn take_file(&mut self, path: &Path) {
        // A file may be named twice, by itself and by its folder.
        if path.canonicalize().is_ok_and(|real| !self.seen.insert(real)) {
            return;
        }
        match fs::read(path) {
            Ok(bytes) => self.take_bytes(&path.display().to_string(), &bytes),
            Err(error) => self.problems.push(format!("{}: {}", path.display(), reason(&error))),
        }
    }

    fn take_bytes(&mut self, name: &str, bytes: &[u8]) {
        match yaml::decode(bytes) {
            Ok(content) => self.texts.push(Text {
                name: name.to_owned(),
                content: content.into_owned(),
            }),
            Err(error) => self.problems.push(format!("{name}:{error}")),
        }
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}

/// What has to render this folder, and the command that does.
fn rendered(folder: &Path) -> Option<(&'static str, String)> {
    let has = |name: &str| folder.join(name).is_file();
    let shown = folder.display();
    if ["kustomization.yaml", "kustomization.yml", "Kustomization"]
        .into_iter()
        .any(has)
    {
        return Some(("Kustomize folder", format!("kubectl kustomize {shown}")));
    }
    has("Chart.yaml").then(|| ("Helm chart", format!("helm template NAME {shown}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn reading(folder: &tempfile::TempDir) -> Reading {
        let mut reading = Reading::default();
        reading.take(folder.path());
        reading
    }

    #[test]
    fn folders_are_read_in_order_and_depth_first() {
        let folder = folder(&[
            ("b.yml", ""),
            ("a/z.json", ""),
            ("c.yaml", ""),
            (".git/x.yaml", ""),
            ("d.txt", ""),
        ]);
        let names: Vec<_> = reading(&folder)
            .texts
            .iter()
            .map(|text| text.name.rsplit('/').next().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["z.json", "b.yml", "c.yaml"]);
    }

    #[test]
    fn file_named_twice_is_read_once() {
        let folder = folder(&[("a.yaml", "")]);
        let mut reading = reading(&folder);
        reading.take(&folder.path().join("a.yaml"));
        assert_eq!(reading.texts.len(), 1);
    }

    #[test]
    fn folder_that_needs_rendering_is_refused_with_the_command() {
        for (file, what, command) in [
            ("kustomization.yaml", "Kustomize folder", "kubectl kustomize "),
            ("Chart.yaml", "Helm chart", "helm template NAME "),
        ] {
            let folder = folder(&[(file, ""), ("a.yaml", "")]);
            let reading = reading(&folder);
            assert!(reading.texts.is_empty());
            assert!(reading.problems[0].contains(what), "{:?}", reading.problems);
            assert!(reading.advice.unwrap().contains(command));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = folder(&[("bad.yaml", "x")]);
        fs::write(folder.path().join("bad.yaml"), b"a: \xff").unwrap();
        let mut reading = reading(&folder);
        reading.take(Path::new("absent.yaml"));
        assert!(
            reading.problems[0].contains("bad.yaml:1:4: not UTF-8"),
            "{:?}",
            reading.problems
        );
        assert_eq!(reading.problems[1], "absent.yaml: there is no such file or folder");
        let empty = tempfile::tempdir().unwrap();
        reading.take(empty.path());
        assert!(reading.problems[2].contains("no *.yaml"), "{:?}", reading.problems);
    }
}
