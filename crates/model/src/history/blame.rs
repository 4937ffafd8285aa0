//! Who set each field of an object last.

use serde_json::Value;

use crate::diff::{by_name, join};

/// An object whose fields are being attributed to the pushes that set them.
///
/// # Guarantees
/// A field belongs to the newest push before which it was not there, or had another value. A map or list belongs to the
/// push that brought it, its elements to those that brought or changed them.
#[derive(Debug, Clone, PartialEq)]
pub struct Blame {
    root: Line,
    /// Fields that nobody was found for yet.
    open: usize,
}

/// A field with its value, a line of YAML or several.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The push that set it, by the number it was passed with.
    pub set_by: Option<usize>,
    /// Its value.
    pub node: Node,
}

/// A value whose parts are attributed one by one.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A scalar, or an empty map or list.
    Leaf(Value),
    /// A map.
    Map(Vec<(String, Line)>),
    /// A list; with the elements' names where that is what tells them apart.
    List(Vec<Line>, Option<Vec<String>>),
}

impl Blame {
    /// Begins with the newest `object`.
    pub fn new(object: &Value) -> Self {
        let mut open = 0;
        let root = Line::new(object, &mut open);
        Self { root, open }
    }

    /// Goes one push back: the object was `before` before push number `push`. Pushes come newest first.
    pub fn step(&mut self, before: Option<&Value>, push: usize) {
        self.root.step(before, push, &mut self.open);
    }

    /// Is every field attributed? Then no older push matters.
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// The object.
    pub fn root(&self) -> &Line {
        &self.root
    }

    /// Paths of the scalars (and empty maps and lists) with their values and pushes, in document order.
    pub fn leaves(&self) -> Vec<(String, &Value, Option<usize>)> {
        let mut leaves = Vec::new();
        self.root.collect("", &mut leaves);
        leaves
    }
}

impl Line {
    fn new(value: &Value, open: &mut usize) -> Self {
        *open += 1;
        let node = match value {
            Value::Object(fields) if !fields.is_empty() => {
                let fields = fields.iter().map(|(key, value)| (key.clone(), Self::new(value, open)));
                Node::Map(fields.collect())
            }
            Value::Array(items) if !items.is_empty() => {
                let names = by_name(items).is_some().then(|| {
                    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
                    items.iter().filter_map(name).collect()
                });
                Node::List(items.iter().map(|item| Self::new(item, open)).collect(), names)
            }
            leaf => Node::Leaf(leaf.clone()),
        };
        Self { set_by: None, node }
    }

    fn step(&mut self, before: Option<&Value>, push: usize, open: &mut usize) {
        let was_there = match &self.node {
            Node::Leaf(value) => before == Some(value),
            Node::Map(_) => before.is_some_and(Value::is_object),
            Node::List(..) => before.is_some_and(Value::is_array),
        };
        if !was_there && self.set_by.is_none() {
            self.set_by = Some(push);
            *open -= 1;
        }
        match &mut self.node {
            Node::Leaf(_) => {}
            Node::Map(fields) => {
                let before = before.and_then(Value::as_object);
                for (key, field) in fields {
                    field.step(before.and_then(|before| before.get(key)), push, open);
                }
            }
            Node::List(items, names) => {
                let before = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let matches = match (names, by_name(before)) {
                    (Some(names), Some(before)) => {
                        names.iter().map(|name| before.get(name.as_str()).copied()).collect()
                    }
                    _ => matches(items, before),
                };
                for (item, before) in items.iter_mut().zip(matches) {
                    item.step(before, push, open);
                }
            }
        }
    }

    fn is(&self, value: &Value) -> bool {
        match (&self.node, value) {
            (Node::Leaf(own), value) => own == value,
            (Node::Map(own), Value::Object(fields)) => {
                own.len() == fields.len()
                    && own
                        .iter()
                        .all(|(key, line)| fields.get(key).is_some_and(|value| line.is(value)))
            }
            (Node::List(own, _), Value::Array(items)) => {
                own.len() == items.len() && own.iter().zip(items).all(|(line, value)| line.is(value))
            }
            _ => false,
        }
    }

    fn collect<'a>(&'a self, path: &str, leaves: &mut Vec<(String, &'a Value, Option<usize>)>) {
        match &self.node {
            Node::Leaf(value) => leaves.push((path.to_owned(), value, self.set_by)),
            Node::Map(fields) => {
                for (key, field) in fields {
                    field.collect(&join(path, key), leaves);
                }
            }
            Node::List(items, names) => {
                for (index, item) in items.iter().enumerate() {
                    let place = match names {
                        Some(names) => format!("{path}[name={}]", names[index]),
                        None => format!("{path}[{index}]"),
                    };
                    item.collect(&place, leaves);
                }
            }
        }
    }
}

/// For each element the one it was before: an equal one, at the same place if possible, or else what stood there.
fn matches<'v>(items: &[Line], before: &'v [Value]) -> Vec<Option<&'v Value>> {
    let mut used = vec![false; before.len()];
    let mut found: Vec<Option<usize>> = vec![None; items.len()];
    for (index, item) in items.iter().enumerate().take(before.len()) {
        if item.is(&before[index]) {
            (found[index], used[index]) = (Some(index), true);
        }
    }
    for (index, item) in items.iter().enumerate() {
        if found[index].is_none() {
            found[index] = (0..before.len()).find(|other| !used[*other] && item.is(&before[*other]));
            if let Some(other) = found[index] {
                used[other] = true;
            }
        }
    }
    for (index, found) in found.iter_mut().enumerate() {
        if found.is_none() && index < before.len() && !used[index] {
            *found = Some(index);
        }
    }
    found
        .into_iter()
        .map(|found| found.map(|index| &before[index]))
        .collect()
}
