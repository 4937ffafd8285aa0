//! Filling in a [`Template`].

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Filter, Operand, Path, Segment, Step, Template};

impl Template {
    /// What the template makes of `document`.
    ///
    /// # Errors
    /// Says what is not there: an index always, a key unless missing ones are allowed.
    pub(crate) fn evaluate(&self, document: &Value, allow_missing: bool) -> Result<String, String> {
        let mut out = String::new();
        Scope {
            root: document,
            allow_missing,
        }
        .print(&self.segments, document, &mut out)?;
        Ok(out)
    }
}

/// What stays the same all over a document.
#[derive(Clone, Copy)]
struct Scope<'a> {
    root: &'a Value,
    allow_missing: bool,
}

impl<'a> Scope<'a> {
    fn print(self, segments: &[Segment], here: &'a Value, out: &mut String) -> Result<(), String> {
        for segment in segments {
            match segment {
                Segment::Text(text) => out.push_str(text),
                Segment::Path(path) => {
                    let found: Vec<_> = self.find(path, here)?.into_iter().map(shown).collect();
                    out.push_str(&found.join(" "));
                }
                Segment::Range(path, inner) => {
                    for value in self.find(path, here)? {
                        self.print(inner, value, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn find(self, path: &Path, here: &'a Value) -> Result<Vec<&'a Value>, String> {
        self.walk(&path.steps, vec![if path.from_root { self.root } else { here }])
    }

    fn walk(self, steps: &[Step], mut found: Vec<&'a Value>) -> Result<Vec<&'a Value>, String> {
        for step in steps {
            let mut next = Vec::new();
            if let Step::Union(parts) = step {
                for part in parts {
                    next.extend(self.walk(part, found.clone())?);
                }
            } else {
                for value in &found {
                    self.step(step, value, &mut next)?;
                }
            }
            // `{..name}`: that some of all the places below lack a key is in the nature of it.
            if let (Step::Field(name), true, false) = (step, next.is_empty(), self.allow_missing) {
                return Err(format!("`{name}` is not found"));
            }
            found = next;
        }
        Ok(found)
    }

    fn step(self, step: &Step, value: &'a Value, next: &mut Vec<&'a Value>) -> Result<(), String> {
        match step {
            Step::Field(name) => next.extend(self.field(name, value)),
            Step::All => next.extend(children(value)),
            Step::Descend => descend(value, next),
            Step::Index(index) => {
                if let Value::Array(list) = value {
                    let found = from_end(*index, list.len()).and_then(|index| list.get(index));
                    next.push(found.ok_or_else(|| {
                        format!("index {index} is out of bounds: the list has {} elements", list.len())
                    })?);
                }
            }
            Step::Slice { start, end, step } => {
                if let Value::Array(list) = value {
                    let bound = |index: i64| from_end(index, list.len()).unwrap_or(0).min(list.len());
                    let (start, end) = (start.map_or(0, bound), end.map_or(list.len(), bound));
                    let step = usize::try_from(*step).unwrap_or(usize::MAX);
                    next.extend(list.get(start..end).unwrap_or_default().iter().step_by(step));
                }
            }
            Step::Filter(filter) => {
                let Value::Array(list) = value else {
                    return Err("a filter [?(…)] needs a list to choose from".to_owned());
                };
                for element in list {
                    if self.fits(filter, element)? {
                        next.push(element);
                    }
                }
            }
            Step::Union(_) => unreachable!("`walk` takes unions apart"),
        }
        Ok(())
    }

    fn field(self, name: &str, value: &'a Value) -> Option<&'a Value> {
        match value {
            Value::Object(map) => map.get(name),
            Value::Array(_) if name == "items" && std::ptr::eq(value, self.root) => Some(value),
            _ => None,
        }
    }

    /// What one side of a comparison is; nothing where it is not there.
    fn one<'b>(self, operand: &'b Operand, element: &'a Value) -> Result<Option<&'b Value>, String>
    where
        'a: 'b,
    {
        match operand {
            Operand::Value(value) => Ok(Some(value)),
            Operand::Path(path) => match self.find(path, element)?.as_slice() {
                [] => Ok(None),
                [one] => Ok(Some(one)),
                _ => Err("a filter can compare one value only, and found several".to_owned()),
            },
        }
    }

    fn fits(self, filter: &Filter, element: &'a Value) -> Result<bool, String> {
        let lenient = Self {
            allow_missing: true,
            ..self
        };
        let (left, comparison, right) = match filter {
            Filter::Has(path) => return Ok(!lenient.find(path, element)?.is_empty()),
            Filter::Holds(left, comparison, right) => (left, comparison, right),
        };
        let (Some(left), Some(right)) = (lenient.one(left, element)?, lenient.one(right, element)?) else {
            return Ok(false);
        };
        let order = compare(left, right);
        Ok(match comparison {
            Comparison::Equal => order == Some(Ordering::Equal) || left == right,
            Comparison::NotEqual => order != Some(Ordering::Equal) && left != right,
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        })
    }
}

/// Numbers by size, texts by their characters; nothing else has an order.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// An index that may count from the end.
fn from_end(index: i64, length: usize) -> Option<usize> {
    if index >= 0 {
        return usize::try_from(index).ok();
    }
    length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    for child in children(value) {
        descend(child, found);
    }
}

/// Texts as they are, nothing for null, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
