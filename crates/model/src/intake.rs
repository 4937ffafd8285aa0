//! From files to manifests: reads YAML and JSON texts, flattens lists, and collects every problem with its place.
//!
//! The CLI calls it before a push. It never stops at the first problem: a person wants to mend them in one go.
//! [`read`] gives the manifests alone, [`read_placed`] with each the place it was written at, for messages about
//! its fields.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    manifest::{self, Manifest},
    yaml,
};

/// One text to read, named as errors shall name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// A path, or `-` for standard input.
    pub name: String,
    /// The content.
    pub content: String,
}

/// Where an object, or a field of it, was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The text's name.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A manifest, and where in which text it was written. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    manifest: Manifest,
    /// Its object, which the checks before a push look through.
    value: Arc<Value>,
    /// The text that it is in.
    text: Arc<Text>,
    /// The line at which its document starts.
    line: usize,
    /// The JSON pointer to it inside its document: empty, or into the `items` of lists.
    within: String,
}

impl Placed {
    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest alone.
    #[must_use]
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }

    /// Puts another manifest in its place, which was written there all the same.
    pub fn replace(&mut self, manifest: Manifest) {
        self.value = Arc::new(manifest.value());
        self.manifest = manifest;
    }

    /// The object, as [`Manifest::value`] would read it.
    #[must_use]
    pub fn value(&self) -> &Arc<Value> {
        &self.value
    }

    /// The place of the object's field at a JSON pointer, or of the innermost object or list on the way to it that
    /// was written. The empty pointer is the object itself.
    ///
    /// Reads the document again, which is for messages and not for every object.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Place {
        place_in(&self.text, self.line, &self.within, pointer)
    }
}

fn place_in(text: &Text, line: usize, within: &str, pointer: &str) -> Place {
    let found = if pointer.is_empty() && within.is_empty() {
        None
    } else {
        yaml::locate(&text.content, line, &format!("{within}{pointer}"))
    };
    Place {
        file: text.name.clone(),
        line: found.map_or(line, |place| place.line),
        column: found.map(|place| place.column),
    }
}

/// Reads all manifests of `texts`. Objects of namespaced kinds that name no namespace get `default_namespace`.
///
/// # Errors
/// All problems of all texts, in order: broken YAML, broken rules, two objects with one id (both places).
pub fn read(texts: &[Text], default_namespace: &str) -> Result<Vec<Manifest>, Vec<Problem>> {
    let texts: Vec<_> = texts.iter().cloned().map(Arc::new).collect();
    let placed = read_placed(&texts, default_namespace)?;
    Ok(placed.into_iter().map(|placed| placed.manifest).collect())
}

/// As [`read`], and keeps with each manifest where it was written.
///
/// # Errors
/// As [`read`].
pub fn read_placed(texts: &[Arc<Text>], default_namespace: &str) -> Result<Vec<Placed>, Vec<Problem>> {
    join(texts.iter().map(|text| read_text(text, default_namespace)))
}

/// What one text holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Its manifests, in order.
    pub manifests: Vec<Placed>,
    /// What is wrong with it, in order.
    pub problems: Vec<Problem>,
}

/// Reads one text, for who reads many at once; [`join`] puts them together.
#[must_use]
pub fn read_text(text: &Arc<Text>, default_namespace: &str) -> Found {
    let mut intake = Intake {
        default_namespace,
        found: Found::default(),
    };
    intake.read(text);
    intake.found
}

/// Puts together what texts hold: no object may be there twice.
///
/// # Errors
/// All problems of all texts, in order.
pub fn join(texts: impl IntoIterator<Item = Found>) -> Result<Vec<Placed>, Vec<Problem>> {
    let (mut manifests, mut problems) = (Vec::<Placed>::new(), Vec::new());
    let mut seen = BTreeMap::new();
    for found in texts {
        let mut wrong = found.problems;
        for placed in found.manifests {
            if let Some(first) = seen.insert(placed.manifest.id().clone(), manifests.len()) {
                let message = format!(
                    "{} is there already, at {}",
                    placed.manifest.id(),
                    manifests[first].place("")
                );
                wrong.push(Problem {
                    place: placed.place(""),
                    message,
                });
            }
            manifests.push(placed);
        }
        wrong.sort_by_key(|problem| problem.place.line);
        problems.append(&mut wrong);
    }
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(problems)
    }
}

struct Intake<'a> {
    default_namespace: &'a str,
    found: Found,
}

impl Intake<'_> {
    fn read(&mut self, text: &Arc<Text>) {
        match yaml::documents(&text.content, &yaml::Limits::default()) {
            Ok(documents) => {
                for document in documents {
                    self.take(document.value, text, document.line, String::new());
                }
            }
            Err(error) => {
                let place = Place {
                    file: text.name.clone(),
                    line: error.line,
                    column: Some(error.column),
                };
                self.found.problems.push(Problem {
                    place,
                    message: error.message,
                });
            }
        }
    }

    fn take(&mut self, object: Value, text: &Arc<Text>, line: usize, within: String) {
        if let Some(items) = manifest::list_items(&object) {
            for (index, item) in items.iter().enumerate() {
                let item = with_list_kind(item.clone(), &object);
                self.take(item, text, line, format!("{within}/items/{index}"));
            }
            return;
        }
        match Manifest::with_value(object, self.default_namespace) {
            Ok((manifest, value)) => self.found.manifests.push(Placed {
                manifest,
                value: Arc::new(value),
                text: Arc::clone(text),
                line,
                within,
            }),
            Err(problem) => {
                let place = place_in(text, line, &within, "");
                self.found.problems.push(Problem {
                    place,
                    message: problem.to_string(),
                });
            }
        }
    }
}

/// Items of a typed list (`RoleList`) may leave out what the list says: `apiVersion` and `kind`.
fn with_list_kind(mut item: Value, list: &Value) -> Value {
    let kind = list["kind"]
        .as_str()
        .and_then(|kind| kind.strip_suffix("List"))
        .filter(|kind| !kind.is_empty());
    if let (Some(fields), Some(kind)) = (item.as_object_mut(), kind) {
        fields.entry("kind").or_insert_with(|| Value::from(kind));
        if let Some(api_version) = list.get("apiVersion") {
            fields.entry("apiVersion").or_insert_with(|| api_version.clone());
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, content: &str) -> Text {
        Text {
            name: name.to_owned(),
            content: content.to_owned(),
        }
    }

    fn problems(texts: &[Text]) -> Vec<String> {
        read(texts, "default")
            .expect_err("must be refused")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const ROLES: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n";

    #[test]
    fn lists_are_flattened_and_items_take_the_kind_of_their_list() {
        let manifests = read(&[text("r.yaml", ROLES)], "shop").unwrap();
        let ids: Vec<_> = manifests.iter().map(|manifest| manifest.id().to_string()).collect();
        assert_eq!(
            ids,
            [
                "Role.rbac.authorization.k8s.io shop/a",
                "Role.rbac.authorization.k8s.io shop/b"
            ]
        );
    }

    #[test]
    fn object_of_a_manifest_is_what_it_reads_back_as() {
        let content = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, uid: x}\nstatus: {a: 1}\ndata: {a: 1.0, b: 1e3, c: -0.0}\n";
        let placed = read_placed(&[Arc::new(text("a.yaml", content))], "shop").unwrap();
        assert_eq!(**placed[0].value(), placed[0].manifest.value());
        assert_eq!(placed[0].value()["metadata"]["namespace"], "shop");
        let mut moved = placed[0].clone();
        moved.replace(read(&[text("b.yaml", content)], "elsewhere").unwrap().remove(0));
        assert_eq!(moved.value()["metadata"]["namespace"], "elsewhere");
        assert_eq!(moved.place("/data/a"), placed[0].place("/data/a"));
    }

    #[test]
    fn fields_are_found_where_they_were_written() {
        let content =
            format!("# first\n{ROLES}---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata: {{a: b}}\n");
        let placed = read_placed(&[Arc::new(text("r.yaml", &content))], "shop").unwrap();
        let place = |index: usize, pointer: &str| placed[index].place(pointer).to_string();
        assert_eq!(place(0, ""), "r.yaml:5:3");
        assert_eq!(place(1, "/metadata/name"), "r.yaml:6:14");
        assert_eq!(place(2, ""), "r.yaml:8");
        assert_eq!(place(2, "/data/a"), "r.yaml:12:8");
        assert_eq!(place(2, "/data/a/nothing"), "r.yaml:12:8");
    }

    #[test]
    fn every_problem_of_every_file_is_told_with_its_place() {
        let texts = [
            text(
                "a.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\nkind: Pod\n",
            ),
            text("b.yaml", "a: [1\nb: 2\n"),
            text(
                "c.yaml",
                "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
            ),
        ];
        let found = problems(&texts);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "a.yaml:5: `apiVersion` is missing or not a text");
        assert!(found[1].starts_with("b.yaml:"), "{}", found[1]);
        assert_eq!(found[2], "c.yaml:2: ConfigMap default/a is there already, at a.yaml:1");
    }
}
