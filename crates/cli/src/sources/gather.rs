//! From what a person named to what has to be parsed: files found in folders, and texts that programs rendered.
//!
//! Files are only found here; [`read`](super::read) opens them, many at once.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use driftless_model::intake::Text;

use super::{
    Source, Wanted,
    files::{self, is_manifest, reason},
    program::Programs,
    render::{self, Chart, Renderer, Unrendered},
};

/// Something to parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A file, as errors shall name it.
    File(PathBuf),
    /// What was read from elsewhere.
    Text(Text),
    /// What a chart became.
    Helm(Text),
}

/// All of one component, or what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) problems: Vec<String>,
    pub(crate) hint: Option<String>,
    seen: BTreeSet<PathBuf>,
    charts: usize,
}

/// Finds and renders all that `wanted` names.
pub(crate) fn gather(wanted: &Wanted, programs: &Programs) -> Gathered {
    let renderer = Renderer {
        programs,
        folder: &wanted.folder,
        kustomize: wanted.kustomize.as_deref(),
    };
    let mut gathered = Gathered::default();
    for source in &wanted.sources {
        match source {
            Source::Path(path) => gathered.path(path, wanted, &renderer),
            Source::Kustomize(folder) => gathered.texts(renderer.kustomize(folder).map(|text| vec![text]), Piece::Text),
            Source::Chart(chart) => gathered.chart(chart, wanted, &renderer),
            Source::Exec(script) => gathered.texts(renderer.exec(script).map(|text| vec![text]), Piece::Text),
        }
    }
    if gathered.charts == 0 && wanted.chart_expected && gathered.problems.is_empty() {
        let message = format!(
            "{}: there are values or options for Helm, but no Helm chart",
            wanted.component
        );
        gathered.problems.push(message);
    }
    gathered
}

impl Gathered {
    fn path(&mut self, path: &Path, wanted: &Wanted, renderer: &Renderer<'_>) {
        let real = wanted.folder.join(path);
        let text = path.to_str().unwrap_or_default();
        if text == "-" {
            self.standard_input();
        } else if render::is_kustomization(&real) {
            self.texts(renderer.kustomize(path).map(|text| vec![text]), Piece::Text);
        } else if text.starts_with("oci://") || render::is_chart(&real) {
            let chart = Chart {
                chart: text.to_owned(),
                ..wanted.chart.clone()
            };
            self.chart(&chart, wanted, renderer);
        } else if real.is_dir() {
            let before = self.pieces.len() + self.problems.len();
            self.folder(&real);
            if self.pieces.len() + self.problems.len() == before {
                self.problems
                    .push(format!("{}: no *.yaml, *.yml or *.json in this folder", real.display()));
            }
        } else {
            match real.canonicalize() {
                Ok(canonical) => self.file(real, canonical),
                Err(error) => self.problems.push(format!("{}: {}", real.display(), reason(&error))),
            }
        }
    }

    fn standard_input(&mut self) {
        let mut bytes = Vec::new();
        match std::io::stdin().lock().read_to_end(&mut bytes) {
            Ok(_) => match files::text("-", &bytes) {
                Ok(text) => self.pieces.push(Piece::Text(text)),
                Err(problem) => self.problems.push(problem),
            },
            Err(error) => self.problems.push(format!("-: {error}")),
        }
    }

    fn chart(&mut self, chart: &Chart, wanted: &Wanted, renderer: &Renderer<'_>) {
        self.charts += 1;
        let rendered = renderer.helm(chart, wanted.component.as_str(), &wanted.namespace);
        self.texts(rendered, Piece::Helm);
    }

    fn texts(&mut self, rendered: Result<Vec<Text>, Unrendered>, piece: fn(Text) -> Piece) {
        match rendered {
            Ok(texts) => self.pieces.extend(texts.into_iter().map(piece)),
            Err(Unrendered { message, hint }) => {
                self.problems.push(message);
                self.hint = self.hint.take().or(hint);
            }
        }
    }

    fn folder(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let canonical = folder.canonicalize();
        let (mut entries, canonical) = match (entries, canonical) {
            (Ok(entries), Ok(canonical)) => (entries, canonical),
            (Err(error), _) | (_, Err(error)) => {
                return self.problems.push(format!("{}: {}", folder.display(), reason(&error)));
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = folder.join(entry.file_name());
            // Editors and version control keep their own files beside people's.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let kind = entry.file_type().ok();
            // A link to a folder could lead in a circle; `path.is_file` follows links to files.
            if kind.is_some_and(|kind| kind.is_dir()) {
                self.folder_within(&path);
            } else if !is_manifest(&path) {
            } else if kind.is_some_and(|kind| kind.is_file()) {
                // Asking the system for each of thousands of files would take longer than reading them.
                self.file(path, canonical.join(entry.file_name()));
            } else if let (true, Ok(canonical)) = (path.is_file(), path.canonicalize()) {
                self.file(path, canonical);
            }
        }
    }

    /// A folder in a folder of plain files. One that has to be rendered is hardly meant: a base would come beside
    /// all of its overlays.
    fn folder_within(&mut self, folder: &Path) {
        let shown = folder.display();
        let what = if render::is_kustomization(folder) {
            "Kustomize folder"
        } else if render::is_chart(folder) {
            "Helm chart"
        } else {
            return self.folder(folder);
        };
        self.problems
            .push(format!("{shown}: this is a {what} inside a folder of plain files"));
        self.hint.get_or_insert(format!(
            "name what to render itself, `driftless push {shown} …`, or list it in driftless.yaml"
        ));
    }

    /// A file may be named twice, by itself and by its folder.
    fn file(&mut self, path: PathBuf, canonical: PathBuf) {
        if self.seen.insert(canonical) {
            self.pieces.push(Piece::File(path));
        }
    }
}

/// Opens a piece; the error says which and why.
pub(crate) fn open(piece: &Piece) -> Result<Text, String> {
    match piece {
        Piece::Text(text) | Piece::Helm(text) => Ok(text.clone()),
        Piece::File(path) => files::read(path),
    }
}
