//! From sources to components: gathers, parses and bundles, on all cores, and tells every problem of all of them.

use std::{path::PathBuf, sync::Arc};

use driftless_model::{
    bundle::{Bundle, Spec},
    intake::{self, Found, Placed},
    name::ComponentName,
};
use rayon::prelude::*;

use crate::repository::Written;

use super::{
    Component, Source,
    gather::{self, Gathered, Piece},
    program::Programs,
    render::Chart,
};

/// A component to be read.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its name.
    pub(crate) component: ComponentName,
    /// What its paths are relative to, and where its programs run.
    pub(crate) folder: PathBuf,
    /// Where its manifests come from.
    pub(crate) sources: Vec<Source>,
    /// Namespace of objects that name none.
    pub(crate) namespace: String,
    /// How charts among its paths are rendered; its `chart` is not used.
    pub(crate) chart: Chart,
    /// Is there to be a chart? Its options would be of no use otherwise.
    pub(crate) chart_expected: bool,
    /// Instead of `kustomize build`.
    pub(crate) kustomize: Option<String>,
    /// How it is to be run.
    pub(crate) spec: Spec,
    /// Where that was written.
    pub(crate) written: Option<Written>,
}

/// Everything that is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems {
    /// Each with its place.
    pub(crate) lines: Vec<String>,
    /// What to do about the first one that has advice.
    pub(crate) hint: Option<String>,
}

/// Files that a core takes at once: with more, the others would have nothing left to do at the end.
const AT_ONCE: usize = 16;

/// Hooks of Helm that no agent ever runs: applied as objects they would run at the wrong time. Argo CD leaves out
/// those of tests and rollbacks too.
const NEVER_RUN: [&str; 7] = [
    "test",
    "test-success",
    "test-failure",
    "pre-delete",
    "post-delete",
    "pre-rollback",
    "post-rollback",
];

/// Reads all components. Their order is kept.
pub(crate) fn read(wanted: Vec<Wanted>, programs: &Programs) -> Result<Vec<Component>, Problems> {
    let gathered: Vec<_> = wanted
        .par_iter()
        .map(|wanted| gather::gather(wanted, programs))
        .collect();
    let mut problems = Problems::default();
    let mut pieces = Vec::new();
    for (index, gathered) in gathered.into_iter().enumerate() {
        let Gathered {
            pieces: found,
            problems: lines,
            hint,
            ..
        } = gathered;
        problems.lines.extend(lines);
        problems.hint = problems.hint.or(hint);
        pieces.extend(found.into_iter().map(|piece| (index, piece)));
    }
    let parsed: Vec<_> = pieces
        .par_iter()
        .with_max_len(AT_ONCE)
        .map(|(index, piece)| parse(piece, &wanted[*index].namespace))
        .collect();
    let mut found: Vec<Vec<Found>> = wanted.iter().map(|_| Vec::new()).collect();
    for ((index, _), parsed) in pieces.iter().zip(parsed) {
        match parsed {
            Ok(parsed) => found[*index].push(parsed),
            Err(problem) => problems.lines.push(problem),
        }
    }
    let joined: Vec<_> = wanted
        .into_par_iter()
        .zip(found)
        .map(|(wanted, found)| component(wanted, found))
        .collect();
    let mut components = Vec::new();
    for joined in joined {
        match joined {
            Ok(component) => components.push(component),
            Err(lines) => problems.lines.extend(lines),
        }
    }
    if problems.lines.is_empty() {
        Ok(components)
    } else {
        Err(problems)
    }
}

fn component(wanted: Wanted, found: Vec<Found>) -> Result<Component, Vec<String>> {
    let placed = intake::join(found).map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let component = bundle(wanted, placed).map_err(|error| vec![error])?;
    // It is asked for again and again: worked out here, on all cores.
    component.bundle.hash();
    Ok(component)
}

fn parse(piece: &Piece, namespace: &str) -> Result<Found, String> {
    let text = Arc::new(gather::open(piece)?);
    let mut found = intake::read_text(&text, namespace);
    if matches!(piece, Piece::Helm(_)) {
        found.manifests.retain(|placed| !is_never_run(placed));
    }
    Ok(found)
}

fn is_never_run(placed: &Placed) -> bool {
    let hooks = placed.value().pointer("/metadata/annotations/helm.sh~1hook");
    hooks
        .and_then(|hooks| hooks.as_str())
        .is_some_and(|hooks| hooks.split(',').all(|hook| NEVER_RUN.contains(&hook.trim())))
}

fn bundle(wanted: Wanted, placed: Vec<Placed>) -> Result<Component, String> {
    let name = wanted.component.clone();
    let bundle = Bundle::new(wanted.component, placed.iter().map(|placed| placed.manifest().clone()));
    Ok(Component {
        bundle: bundle
            .map_err(|error| format!("{name}: {error}"))?
            .with_spec(wanted.spec),
        placed,
        written: wanted.written,
        namespace: wanted.namespace,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    fn wanted(folder: &tempfile::TempDir, sources: Vec<Source>) -> Wanted {
        Wanted {
            component: "shop".parse().unwrap(),
            folder: folder.path().to_owned(),
            sources,
            namespace: "default".to_owned(),
            chart: Chart::default(),
            chart_expected: false,
            kustomize: None,
            spec: Spec::default(),
            written: None,
        }
    }

    fn paths(paths: &[&str]) -> Vec<Source> {
        paths.iter().map(|path| Source::Path(PathBuf::from(path))).collect()
    }

    fn gathered(folder: &tempfile::TempDir, named: &[&str]) -> Gathered {
        gather::gather(&wanted(folder, paths(named)), &Programs::default())
    }

    fn names(gathered: &Gathered) -> Vec<String> {
        let name = |piece: &Piece| match piece {
            Piece::File(path) => path.file_name().unwrap().to_str().unwrap().to_owned(),
            Piece::Text(text) | Piece::Helm(text) => text.name.clone(),
        };
        gathered.pieces.iter().map(name).collect()
    }

    fn problems(folder: &tempfile::TempDir, sources: Vec<Source>) -> Problems {
        let outcome = read(vec![wanted(folder, sources)], &Programs::default());
        outcome.map(|_| ()).unwrap_err()
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
        assert_eq!(names(&gathered(&folder, &["."])), ["z.json", "b.yml", "c.yaml"]);
    }

    #[test]
    fn file_named_twice_is_read_once() {
        let folder = folder(&[("a.yaml", "")]);
        std::os::unix::fs::symlink("a.yaml", folder.path().join("b.yaml")).unwrap();
        assert_eq!(names(&gathered(&folder, &[".", "a.yaml", "b.yaml"])), ["a.yaml"]);
    }

    #[test]
    fn folder_to_render_inside_of_plain_ones_is_refused() {
        for (file, what) in [("kustomization.yaml", "Kustomize folder"), ("Chart.yaml", "Helm chart")] {
            let folder = folder(&[("a.yaml", ""), (&format!("within/{file}"), "")]);
            let gathered = gathered(&folder, &["."]);
            assert!(
                gathered.problems[0].contains(&format!("this is a {what} inside")),
                "{:?}",
                gathered.problems
            );
            assert!(gathered.hint.unwrap().contains("driftless.yaml"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = folder(&[("bad.yaml", "x"), ("empty/.keep", "")]);
        fs::write(folder.path().join("bad.yaml"), b"a: \xff").unwrap();
        let found = problems(&folder, paths(&["bad.yaml", "absent.yaml", "empty"]));
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(
            found.lines,
            [
                format!("{}: there is no such file or folder", at("absent.yaml")),
                format!("{}: no *.yaml, *.yml or *.json in this folder", at("empty")),
                format!(
                    "{}:1:4: not UTF-8: save the file as UTF-8, or put binary data in base64",
                    at("bad.yaml")
                ),
            ]
        );
    }

    #[test]
    fn what_a_command_prints_is_read_and_its_problems_are_placed() {
        let folder = folder(&[("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")]);
        let exec = |script: &str| vec![Source::Exec(script.to_owned())];
        let components = read(vec![wanted(&folder, exec("cat a.yaml"))], &Programs::default()).unwrap();
        assert_eq!(components[0].bundle.manifests().len(), 1);
        let found = problems(&folder, exec("cat a.yaml a.yaml"));
        assert!(found.lines[0].starts_with("exec cat a.yaml a.yaml:4"), "{found:?}");
    }

    #[test]
    fn hooks_that_no_agent_runs_are_left_out_of_charts_alone() {
        let hook = |hook: &str| {
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a, annotations: {{helm.sh/hook: \"{hook}\"}}}}\n")
        };
        for (hooks, kept) in [
            ("test", 0),
            ("pre-install", 1),
            ("test, post-delete", 0),
            ("pre-install,test", 1),
        ] {
            let text = intake::Text {
                name: "t".to_owned(),
                content: hook(hooks),
            };
            assert_eq!(
                parse(&Piece::Helm(text.clone()), "a").unwrap().manifests.len(),
                kept,
                "{hooks}"
            );
            assert_eq!(parse(&Piece::Text(text), "a").unwrap().manifests.len(), 1, "{hooks}");
        }
    }

    #[test]
    fn options_of_helm_without_a_chart_are_refused() {
        let folder = folder(&[("a.yaml", "")]);
        let mut wanted = wanted(&folder, paths(&["a.yaml"]));
        wanted.chart_expected = true;
        let found = read(vec![wanted], &Programs::default()).map(|_| ()).unwrap_err();
        assert_eq!(
            found.lines,
            ["shop: there are values or options for Helm, but no Helm chart"]
        );
    }
}
