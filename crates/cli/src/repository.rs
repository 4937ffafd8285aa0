//! `driftless.yaml`: the components of a repository, in one file at its root.
//!
//! [`form`] says what the file may hold, [`check`] holds it against that, [`components`] makes of its entries what
//! [`sources`](crate::sources) reads, finding [`pattern`]s; [`schema`] tells editors and readers of it. Nothing is
//! rendered here, and no server is asked.

mod check;
mod components;
mod form;
mod pattern;
pub(crate) mod schema;
mod written;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use driftless_model::{
    intake::{Place, Text},
    name::{ChannelName, ComponentName},
    order, yaml,
};
use serde_json::Value;

pub(crate) use written::Written;

use crate::sources::{Problems, Wanted, files};
pub(crate) use check::guess;
use components::{Defaults, Entry};
use form::{FILE, Shape};

/// What the file is called.
pub(crate) const NAME: &str = "driftless.yaml";

/// A file that was understood.
#[derive(Debug)]
pub(crate) struct Repository {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The channel that it names.
    pub(crate) channel: Option<ChannelName>,
    /// Its components.
    pub(crate) wanted: Vec<Wanted>,
}

/// The nearest file at or above the current folder, up to the root of a Git checkout.
pub(crate) fn find() -> Option<PathBuf> {
    let current = std::env::current_dir().ok()?;
    let mut up = PathBuf::new();
    for folder in current.ancestors() {
        if folder.join(NAME).is_file() {
            return Some(up.join(NAME));
        }
        if folder.join(".git").exists() {
            return None;
        }
        up.push("..");
    }
    None
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it, with file and line.
pub(crate) fn load(path: &Path) -> Result<Repository, Problems> {
    let one = |line: String| Problems {
        lines: vec![line],
        hint: None,
    };
    let text = Arc::new(files::read(path).map_err(one)?);
    let (line, value) = document(&text).map_err(one)?;
    let mut load = Load {
        folder: path.parent().unwrap_or(Path::new("")),
        text: &text,
        line,
        wrongs: Vec::new(),
    };
    let (channel, wanted) = load.file(&value);
    let lines = load.told();
    if lines.is_empty() {
        return Ok(Repository {
            path: path.to_owned(),
            channel,
            wanted,
        });
    }
    Err(Problems { lines, hint: None })
}

fn document(text: &Text) -> Result<(usize, Value), String> {
    let documents = yaml::documents(&text.content, &yaml::Limits::default());
    let mut documents = documents.map_err(|error| format!("{}:{error}", text.name))?;
    match documents.len() {
        1 => Ok(documents
            .pop()
            .map(|document| (document.line, document.value))
            .unwrap_or_default()),
        0 => Err(format!("{}: there is nothing in it", text.name)),
        _ => Err(format!(
            "{}:{}: only one document may be here",
            text.name, documents[1].line
        )),
    }
}

/// One reading of the file.
pub(crate) struct Load<'a> {
    /// What its paths are relative to.
    folder: &'a Path,
    text: &'a Arc<Text>,
    line: usize,
    wrongs: Vec<(Place, String)>,
}

impl Load<'_> {
    fn file(&mut self, value: &Value) -> (Option<ChannelName>, Vec<Wanted>) {
        let mut wrongs = check::Wrongs::new();
        check::check(value, Shape::Record(&FILE), "", &mut wrongs);
        let is_sound = |pointer: &str| {
            !wrongs
                .iter()
                .any(|(wrong, _)| wrong == pointer || wrong.starts_with(&format!("{pointer}/")))
        };
        let read = |pointer: &str| value.pointer(pointer).filter(|_| is_sound(pointer)).cloned();
        let defaults: Defaults = read("/defaults")
            .and_then(|defaults| serde_json::from_value(defaults).ok())
            .unwrap_or_default();
        let channel = read("/channel").and_then(|channel| serde_json::from_value(channel).ok());
        let count = value.get("components").and_then(Value::as_array).map_or(0, Vec::len);
        let mut entries = Vec::new();
        for index in 0..count {
            let pointer = format!("/components/{index}");
            match read(&pointer).map(serde_json::from_value::<Entry>) {
                Some(Ok(entry)) => entries.push((pointer, entry)),
                Some(Err(error)) => self.wrong(&pointer, error.to_string()),
                None => {}
            }
        }
        for (pointer, message) in wrongs {
            self.wrong(&pointer, message);
        }
        let wanted = self.components(entries, &defaults);
        self.no_name_twice(&wanted);
        self.no_circle(&wanted);
        (channel, wanted)
    }

    fn place(&self, pointer: &str) -> Place {
        self.written(pointer).place("")
    }

    fn written(&self, pointer: &str) -> Written {
        Written::new(Arc::clone(self.text), self.line, pointer.to_owned())
    }

    fn wrong(&mut self, pointer: &str, message: impl Into<String>) {
        self.wrongs.push((self.place(pointer), message.into()));
    }

    fn no_name_twice(&mut self, wanted: &[Wanted]) {
        let mut seen: BTreeMap<&ComponentName, Place> = BTreeMap::new();
        for wanted in wanted {
            let Some(place) = wanted.written.as_ref().map(|written| written.place("")) else {
                continue;
            };
            match seen.get(&wanted.component) {
                Some(first) => self.wrongs.push((
                    place,
                    format!("there is a component `{}` already, at {first}", wanted.component),
                )),
                None => drop(seen.insert(&wanted.component, place)),
            }
        }
    }

    /// Components that wait for each other would wait for ever.
    fn no_circle(&mut self, wanted: &[Wanted]) {
        // Of two with one name the first counts, here as where they are told.
        let by_name: BTreeMap<_, _> = wanted.iter().rev().map(|wanted| (&wanted.component, wanted)).collect();
        let mut edges: BTreeMap<_, Vec<_>> = by_name
            .iter()
            .map(|(name, wanted)| (*name, wanted.spec.depends_on.iter().collect()))
            .collect();
        while let Some(circle) = order::circle(&edges) {
            let names: Vec<_> = circle.iter().map(|name| name.as_str()).collect();
            let written = by_name.get(circle[0]).and_then(|wanted| wanted.written.as_ref());
            if let Some(written) = written {
                let message = format!("`dependsOn` goes in a circle: {}", names.join(" → "));
                self.wrongs.push((written.place("/dependsOn"), message));
            }
            // The next one has none of these.
            edges.retain(|name, _| !circle.contains(name));
        }
    }

    /// All that is wrong, in the order of the lines.
    fn told(mut self) -> Vec<String> {
        self.wrongs.sort();
        self.wrongs.dedup();
        self.wrongs
            .iter()
            .map(|(place, message)| format!("{place}: {message}"))
            .collect()
    }
}

#[cfg(test)]
mod tests;
