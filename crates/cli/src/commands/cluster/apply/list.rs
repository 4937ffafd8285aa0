//! Clusters as YAML or JSON: a list of maps.

use driftless_model::{
    cluster::{Change, LabelEdit, VarEdit},
    name::{Labels, Vars},
    yaml::{self, Document},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Problem, Row};

/// What may be said of a cluster.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    channel: Option<String>,
    labels: Option<Labels>,
    vars: Option<Vars>,
}

/// Reads a text.
pub(super) fn read(text: &str) -> (Vec<Row>, Vec<Problem>) {
    let documents = match yaml::documents(text, &yaml::Limits::default()) {
        Ok(documents) => documents,
        Err(error) => return (Vec::new(), vec![Problem::new(error.line, error.message)]),
    };
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for Document { value, line: start } in documents {
        // A single cluster needs no list around it.
        let (items, in_list) = match value {
            Value::Array(items) => (items, true),
            one => (vec![one], false),
        };
        for (index, item) in items.into_iter().enumerate() {
            let pointer = if in_list { format!("/{index}") } else { String::new() };
            let line = yaml::locate(text, start, &pointer).map_or(start, |place| place.line);
            match row(item, line) {
                Ok(row) => rows.push(row),
                Err(problem) => problems.push(problem),
            }
        }
    }
    (rows, problems)
}

fn row(item: Value, line: usize) -> Result<Row, Problem> {
    let problem = |error: &dyn ToString| Problem::new(line, error.to_string());
    let item: Item = serde_json::from_value(item).map_err(|error| {
        Problem::new(
            line,
            format!("{error}: a cluster is a map with name, channel, labels and vars"),
        )
    })?;
    let channel = item.channel.map(|channel| channel.parse()).transpose();
    let labels = LabelEdit {
        replace: item.labels.is_some(),
        set: item.labels.unwrap_or_default(),
        overwrite: true,
        ..LabelEdit::default()
    };
    let mut vars = VarEdit {
        replace: item.vars.is_some(),
        ..VarEdit::default()
    };
    for (name, value) in item.vars.unwrap_or_default() {
        let name = name.parse().and_then(driftless_model::cluster::VarPath::name);
        let name = name.map_err(|error| problem(&error))?;
        vars.set.insert(name.parse().map_err(|error| problem(&error))?, value);
    }
    Ok(Row {
        line,
        name: item.name.parse().map_err(|error| problem(&error))?,
        change: Change {
            channel: channel.map_err(|error| problem(&error))?,
            labels,
            vars,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_variables_given_are_all_there_are() {
        let (rows, problems) = read(
            "- name: edge-1\n  channel: prod\n  labels: {region: eu}\n  vars:\n    db: {port: 1}\n\n- name: edge-2\n",
        );
        assert_eq!(problems, []);
        assert_eq!((rows[0].line, rows[1].line), (1, 7));
        let change = &rows[0].change;
        assert!(change.labels.replace && change.labels.overwrite && change.vars.replace);
        assert_eq!(change.vars.set[&"db".parse().unwrap()], json!({"port": 1}));
        assert!(!rows[1].change.labels.replace && !rows[1].change.vars.replace);
    }

    #[test]
    fn every_problem_has_its_line() {
        let (_, problems) = read(
            "- name: Edge\n- colour: blue\n  name: a\n- 3\n- name: b\n  vars:\n    x.y: 1\n- name: c\n  labels:\n    a: 1\n",
        );
        let told: Vec<_> = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.line, problem.text))
            .collect();
        assert_eq!(
            told,
            [
                "1: cluster name `Edge` is not valid: use 1 to 63 lower-case letters, digits or `-`, and start and end \
                 with a letter or digit",
                "2: unknown field `colour`, expected one of `name`, `channel`, `labels`, `vars`: a cluster is a map \
                 with name, channel, labels and vars",
                "4: invalid type: integer `3`, expected struct Item: a cluster is a map with name, channel, labels and vars",
                "5: variable name `x.y` is not valid: it has a dot: write a map instead",
                "8: invalid type: integer `1`, expected a string: a cluster is a map with name, channel, labels and vars",
            ]
        );
        let (_, problems) = read("- name: [\n");
        assert_eq!(problems.len(), 1);
    }
}
