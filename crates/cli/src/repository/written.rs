//! Where the parts of a component's [`Spec`](driftless_model::bundle::Spec) were written: in `driftless.yaml`, or in
//! a file that it names.

use std::{collections::BTreeMap, sync::Arc};

use driftless_model::{
    intake::{Place, Placed, Text},
    yaml,
};

/// Places of a component's parts.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    text: Arc<Text>,
    line: usize,
    /// JSON pointer to the component's entry.
    entry: String,
    /// Parts that were written elsewhere than their pointer in the spec says.
    moved: BTreeMap<String, Elsewhere>,
}

/// Where a part was written that is not at its place in the entry.
#[derive(Debug, Clone)]
pub(crate) enum Elsewhere {
    /// In the entry, at another pointer.
    Here(String),
    /// An object of a file.
    Object(Placed),
    /// The only document of a file.
    File(Arc<Text>, usize),
}

impl Written {
    pub(super) fn new(text: Arc<Text>, line: usize, entry: String) -> Self {
        Self {
            text,
            line,
            entry,
            moved: BTreeMap::new(),
        }
    }

    pub(super) fn moved(&mut self, pointer: String, to: Elsewhere) {
        self.moved.insert(pointer, to);
    }

    /// The place of what the JSON pointer names in the component's spec, `/overlays/0/patches/1`; the empty pointer is
    /// the component itself.
    pub(crate) fn place(&self, pointer: &str) -> Place {
        let mut ends = pointer.match_indices('/').map(|(end, _)| end).collect::<Vec<_>>();
        ends.push(pointer.len());
        let moved = ends
            .iter()
            .rev()
            .find_map(|end| Some((self.moved.get(&pointer[..*end])?, &pointer[*end..])));
        match moved {
            Some((Elsewhere::Here(other), rest)) => self.here(&format!("{other}{rest}")),
            Some((Elsewhere::Object(placed), rest)) => placed.place(rest),
            Some((Elsewhere::File(text, line), rest)) => place(text, *line, rest),
            None => self.here(pointer),
        }
    }

    fn here(&self, pointer: &str) -> Place {
        place(&self.text, self.line, &format!("{}{pointer}", self.entry))
    }
}

fn place(text: &Text, line: usize, pointer: &str) -> Place {
    let found = yaml::locate(&text.content, line, pointer).filter(|_| !pointer.is_empty());
    Place {
        file: text.name.clone(),
        line: found.map_or(line, |place| place.line),
        column: found.map(|place| place.column),
    }
}
