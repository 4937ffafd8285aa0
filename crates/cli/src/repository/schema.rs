//! The form of `driftless.yaml` for others: as JSON schema for editors, and as a page for readers.

use serde_json::{Map, Value, json};

use super::{
    check::wanted,
    form::{Count, FILE, Record, Shape},
};

/// Editors know this draft best.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The JSON schema.
pub(crate) fn document() -> Value {
    let mut definitions = Map::new();
    for record in records() {
        definitions.insert(record.name.to_owned(), of_record(record));
    }
    definitions.insert("selector".to_owned(), selector());
    let mut schema = of_record(&FILE);
    schema["$schema"] = DRAFT.into();
    schema["title"] = "driftless.yaml".into();
    definitions.remove(FILE.name);
    schema["definitions"] = definitions.into();
    schema
}

/// The reference page, in Markdown.
pub(crate) fn page() -> String {
    let mut page = "# driftless.yaml\n\n\
        Lists the components of a repository, so that `driftless push` pushes all of them, and of those only what \
        changed. This page is made from the program: `driftless schema --page`.\n\n\
        Editors that know the YAML language server complete and check the file when it begins with\n\n\
        ```yaml\n# yaml-language-server: $schema=docs/schema/driftless.schema.json\n```\n\n\
        where the path or address is that of what `driftless schema` prints.\n"
        .to_owned();
    for record in records() {
        page.push_str(&format!("\n## {}\n\n{}\n\n", record.name, record.doc));
        if let Some((count, names)) = record.one_of {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let how_many = match count {
                Count::AtLeastOne => "At least one",
                Count::ExactlyOne => "Exactly one",
            };
            page.push_str(&format!("{how_many} of {} has to be there.\n\n", names.join(", ")));
        }
        page.push_str("| field | is | meaning |\n|---|---|---|\n");
        for field in record.fields {
            let required = if field.required { ", required" } else { "" };
            page.push_str(&format!(
                "| `{}` | {}{required} | {} |\n",
                field.name,
                linked(field.shape),
                field.doc
            ));
        }
    }
    page.push_str(
        "\n## selector\n\nLabels, as `kubectl -l` takes them (`region=eu,tier in (edge,core),!canary`) or as Kubernetes \
         objects have them (`matchLabels`, `matchExpressions`). The empty selector selects everything.\n",
    );
    page
}

/// Every record, each before those that it leads to.
fn records() -> Vec<&'static Record> {
    fn visit(shape: Shape, found: &mut Vec<&'static Record>) {
        match shape {
            Shape::Record(record) => add(record, found),
            Shape::List(item) | Shape::Map(item) => visit(*item, found),
            Shape::Either(one, other) => {
                visit(*one, found);
                visit(*other, found);
            }
            _ => {}
        }
    }
    fn add(record: &'static Record, found: &mut Vec<&'static Record>) {
        if found.iter().all(|known| known.name != record.name) {
            found.push(record);
            record.fields.iter().for_each(|field| visit(field.shape, found));
        }
    }
    let mut found = Vec::new();
    add(&FILE, &mut found);
    found
}

fn of_record(record: &Record) -> Value {
    let properties: Map<_, _> = record
        .fields
        .iter()
        .map(|field| {
            let mut schema = of_shape(field.shape);
            if schema.get("$ref").is_some() {
                // Beside a reference this draft knows nothing else.
                schema = json!({ "allOf": [schema] });
            }
            schema["description"] = field.doc.into();
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<_> = record
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": record.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if let Some((count, names)) = record.one_of {
        let each: Vec<_> = names.iter().map(|name| json!({ "required": [name] })).collect();
        let word = match count {
            Count::AtLeastOne => "anyOf",
            Count::ExactlyOne => "oneOf",
        };
        schema[word] = each.into();
    }
    schema
}

fn of_shape(shape: Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Name => json!({ "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" }),
        Shape::Account => json!({ "type": "string", "pattern": "^[-.a-z0-9]+/[-.a-z0-9]+$" }),
        Shape::Whole => json!({ "type": "integer", "minimum": 0 }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Version(version) => json!({ "const": version }),
        Shape::Choice(choices) => json!({ "enum": choices }),
        Shape::Selector => json!({ "$ref": "#/definitions/selector" }),
        Shape::Object => json!({ "type": "object" }),
        Shape::Any => json!({}),
        Shape::Scalar => json!({ "type": ["string", "number", "boolean", "null"] }),
        Shape::List(item) => json!({ "type": "array", "items": of_shape(*item) }),
        Shape::Map(item) => json!({ "type": "object", "additionalProperties": of_shape(*item) }),
        Shape::Record(record) => json!({ "$ref": format!("#/definitions/{}", record.name) }),
        Shape::Either(one, other) => json!({ "anyOf": [of_shape(*one), of_shape(*other)] }),
    }
}

fn selector() -> Value {
    let labels = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let expression = json!({
        "type": "object",
        "properties": {
            "key": { "type": "string" },
            "operator": { "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
            "values": { "type": "array", "items": { "type": "string" } },
        },
        "required": ["key", "operator"],
        "additionalProperties": false,
    });
    json!({
        "description": "Labels, as `kubectl -l` takes them or as Kubernetes objects have them.",
        "anyOf": [
            { "type": "string" },
            {
                "type": "object",
                "properties": {
                    "matchLabels": labels,
                    "matchExpressions": { "type": "array", "items": expression },
                },
                "additionalProperties": false,
            },
        ],
    })
}

/// A shape in words, with a link to where it is explained.
fn linked(shape: Shape) -> String {
    match shape {
        Shape::Record(record) => format!("[{0}](#{0})", record.name),
        Shape::Selector => "[selector](#selector)".to_owned(),
        Shape::List(item) => format!("list of {}", linked(*item)),
        Shape::Map(item) => format!("names of your own, each with {}", linked(*item)),
        Shape::Either(one, other) => format!("{} or {}", linked(*one), linked(*other)),
        Shape::Text
        | Shape::Name
        | Shape::Account
        | Shape::Whole
        | Shape::Flag
        | Shape::Version(_)
        | Shape::Choice(_) => wanted(shape).trim_start_matches("a ").to_owned(),
        Shape::Object => "object".to_owned(),
        Shape::Any | Shape::Scalar => wanted(shape),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn committed(path: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
        std::fs::read_to_string(&path).unwrap_or_default()
    }

    #[test]
    fn committed_schema_is_what_the_program_prints() {
        let printed = format!("{:#}\n", document());
        let told = "run `driftless schema > docs/schema/driftless.schema.json`";
        assert!(committed("docs/schema/driftless.schema.json") == printed, "{told}");
    }

    #[test]
    fn committed_page_is_what_the_program_prints() {
        let told = "run `driftless schema --page > docs/reference/driftless-yaml.md`";
        assert!(committed("docs/reference/driftless-yaml.md") == page(), "{told}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let schema = document();
        let text = schema.to_string();
        let names: Vec<_> = text
            .split("\"#/definitions/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(names.len() > 10);
        for name in names {
            assert!(schema["definitions"].get(name).is_some(), "{name}");
        }
    }
}
