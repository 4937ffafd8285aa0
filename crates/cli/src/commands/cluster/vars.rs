//! `driftless cluster vars`: set variables and take them away.

use std::path::Path;

use anyhow::{Context as _, Result};
use driftless_model::{
    cluster::{Change, VarEdit, VarPath},
    yaml,
};
use serde_json::Value;

use super::{
    changes::{self, Plan},
    edit::Words,
    target::Chosen,
};
use crate::{
    app::App,
    failure::{Advice, Outcome},
};

/// Set variables of clusters, or take them away
///
/// Manifests use them as ${cluster.vars.NAME}. NAME=VALUE sets one, NAME- takes one away, and dots go down into maps:
/// db.host=a. Values are YAML scalars: 3 is a number, true a boolean. All clusters change at once, in one journal entry,
/// and their agents are told at once. Without any variable, those of the clusters are shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clusters, variables to set (replicas=3, db=@db.yaml) and variables to take away (replicas-)
    #[arg(value_name = "CLUSTER | NAME=VALUE | NAME=@FILE | NAME-", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Take values for texts, whatever they look like
    #[arg(long)]
    string: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        words,
        chosen,
        string,
        dry_run,
    } = args;
    let words = Words::sort(&words)?;
    let client = app.client()?;
    let clusters = chosen.find(&client, &words.clusters).await?;
    if words.is_question() {
        return changes::show(app, &clusters, |cluster| &cluster.vars, changes::shown);
    }
    let mut edit = VarEdit::default();
    for (path, text) in words.set {
        let path: VarPath = path.parse()?;
        let value = value(&text, string).with_context(|| format!("variable `{path}`"))?;
        if edit.set.insert(path.clone(), value).is_some() {
            return Err(Advice::new(format!("variable `{path}` is given twice"), "give it once").into());
        }
    }
    for path in words.remove {
        edit.remove.insert(path.parse()?);
    }
    let change = Change {
        vars: edit,
        ..Change::default()
    };
    Plan::same(&clusters, &change)?.carry_out(&client, app, dry_run).await
}

/// What a value on a command line means.
pub(super) fn value(text: &str, is_text: bool) -> Result<Value> {
    if let Some(path) = text.strip_prefix('@') {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
        return file(Path::new(path), &bytes, is_text);
    }
    Ok(if is_text { Value::from(text) } else { scalar(text) })
}

fn file(path: &Path, bytes: &[u8], is_text: bool) -> Result<Value> {
    let in_file = |error: yaml::Error| anyhow::anyhow!("{}:{error}", path.display());
    let text = yaml::decode(bytes).map_err(in_file)?;
    if is_text {
        return Ok(Value::from(text.into_owned()));
    }
    let mut documents = yaml::documents(&text, &yaml::Limits::default()).map_err(in_file)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document.value),
        (None, _) => anyhow::bail!("{} is empty", path.display()),
        (Some(_), false) => anyhow::bail!(
            "{} has more than one document: keep the one that is meant",
            path.display()
        ),
    }
}

/// A text as the scalar that it would be in YAML; one that would be a list, a map or nothing at all is a text.
pub(super) fn scalar(text: &str) -> Value {
    match yaml::documents(text, &yaml::Limits::default()).as_deref() {
        Ok([document]) if !(document.value.is_array() || document.value.is_object()) => document.value.clone(),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_yaml_scalars() {
        let read = |text: &str| value(text, false).unwrap();
        assert_eq!(read("3"), json!(3));
        assert_eq!(read("true"), json!(true));
        assert_eq!(read("\"3\""), json!("3"));
        assert_eq!(read("shop"), json!("shop"));
        assert_eq!(read(""), json!(""));
        assert_eq!(
            read("null"),
            json!("null"),
            "a variable that is nothing would be of no use"
        );
        assert_eq!(read("a: b"), json!("a: b"), "structure comes from files");
        assert_eq!(read("[1"), json!("[1"));
        assert_eq!(value("3", true).unwrap(), json!("3"));
    }

    #[test]
    fn files_hold_structure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.yaml");
        std::fs::write(&path, "host: a\nports: [1, 2]\n").unwrap();
        let word = format!("@{}", path.display());
        assert_eq!(value(&word, false).unwrap(), json!({"host": "a", "ports": [1, 2]}));
        assert_eq!(value(&word, true).unwrap(), json!("host: a\nports: [1, 2]\n"));
        let told = |content: &str| {
            file(Path::new("x.yaml"), content.as_bytes(), false)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(told(""), "x.yaml is empty");
        assert!(told("a: b\n---\nc: d\n").starts_with("x.yaml has more than one document"));
        assert!(told("a: [").starts_with("x.yaml:1:"), "{}", told("a: ["));
    }
}
