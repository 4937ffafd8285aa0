//! From files to manifests: reads YAML and JSON texts, flattens lists, and collects every problem with its place.
//!
//! The CLI calls it before a push. It never stops at the first problem: a person wants to mend them in one go.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use crate::{
    manifest::{self, Manifest, ManifestId},
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

/// Where an object was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The text's name.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, where it is known.
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

/// Reads all manifests of `texts`. Objects of namespaced kinds that name no namespace get `default_namespace`.
///
/// # Errors
/// All problems of all texts, in order: broken YAML, broken rules, two objects with one id (both places).
pub fn read(texts: &[Text], default_namespace: &str) -> Result<Vec<Manifest>, Vec<Problem>> {
    let mut intake = Intake {
        default_namespace,
        manifests: Vec::new(),
        seen: BTreeMap::new(),
        problems: Vec::new(),
    };
    for text in texts {
        intake.read_text(text);
    }
    if intake.problems.is_empty() {
        Ok(intake.manifests)
    } else {
        Err(intake.problems)
    }
}

struct Intake<'a> {
    default_namespace: &'a str,
    manifests: Vec<Manifest>,
    seen: BTreeMap<ManifestId, Place>,
    problems: Vec<Problem>,
}

impl Intake<'_> {
    fn read_text(&mut self, text: &Text) {
        let place = |line, column| Place {
            file: text.name.clone(),
            line,
            column,
        };
        match yaml::documents(&text.content, &yaml::Limits::default()) {
            Ok(documents) => {
                for document in documents {
                    self.take(document.value, &place(document.line, None));
                }
            }
            Err(error) => {
                let place = place(error.line, Some(error.column));
                self.problems.push(Problem {
                    place,
                    message: error.message,
                });
            }
        }
    }

    fn take(&mut self, object: Value, place: &Place) {
        if let Some(items) = manifest::list_items(&object) {
            for item in items {
                self.take(with_list_kind(item.clone(), &object), place);
            }
            return;
        }
        match Manifest::new(object, self.default_namespace) {
            Ok(manifest) => {
                if let Some(first) = self.seen.insert(manifest.id().clone(), place.clone()) {
                    let message = format!("{} is there already, at {first}", manifest.id());
                    self.problems.push(Problem {
                        place: place.clone(),
                        message,
                    });
                }
                self.manifests.push(manifest);
            }
            Err(problem) => self.problems.push(Problem {
                place: place.clone(),
                message: problem.to_string(),
            }),
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
