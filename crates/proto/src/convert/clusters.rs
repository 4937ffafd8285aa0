//! Clusters' variables and the changes of their records. Values travel as JSON texts, canonical where we write them.

use std::collections::BTreeMap;

use driftless_model::{
    canonical,
    cluster::{Change, LabelEdit, VarEdit},
    name::{ClusterName, Vars},
};
use serde_json::Value;

use super::Error;
use crate::v1;

/// Reads variables.
///
/// # Errors
/// When one of them is no JSON.
pub fn vars(field: &'static str, vars: impl IntoIterator<Item = (String, String)>) -> Result<Vars, Error> {
    let read = |(name, text): (String, String)| {
        let value = json(field, &name, &text)?;
        Ok((name, value))
    };
    vars.into_iter().map(read).collect()
}

/// Writes variables.
pub fn from_vars(vars: &Vars) -> BTreeMap<String, String> {
    vars.iter()
        .map(|(name, value)| (name.clone(), to_json(value)))
        .collect()
}

fn json(field: &'static str, name: &str, text: &str) -> Result<Value, Error> {
    canonical::from_slice_strict(text.as_bytes())
        .map_err(|error| Error::new(field, format!("`{name}` is no JSON: {error}")))
}

fn to_json(value: &Value) -> String {
    String::from_utf8_lossy(&canonical::to_vec(value)).into_owned()
}

/// Writes a change of cluster `name`.
pub fn from_change(name: &ClusterName, change: &Change) -> v1::ClusterChange {
    let Change { channel, labels, vars } = change;
    v1::ClusterChange {
        name: name.to_string(),
        channel: channel.as_ref().map(ToString::to_string),
        set_labels: labels.set.clone(),
        remove_labels: labels.remove.iter().cloned().collect(),
        replace_labels: labels.replace,
        overwrite_labels: labels.overwrite,
        set_vars: vars
            .set
            .iter()
            .map(|(path, value)| (path.to_string(), to_json(value)))
            .collect(),
        remove_vars: vars.remove.iter().map(ToString::to_string).collect(),
        replace_vars: vars.replace,
    }
}

/// Reads a change of a cluster.
///
/// # Errors
/// When a name breaks its rule, or a value is no JSON.
pub fn change(change: v1::ClusterChange) -> Result<(ClusterName, Change), Error> {
    let name = change.name.parse().map_err(|error| Error::new("change.name", error))?;
    let channel = change.channel.map(|channel| channel.parse()).transpose();
    let path = |text: &str| text.parse().map_err(|error| Error::new("change.vars", error));
    let mut vars = VarEdit {
        replace: change.replace_vars,
        ..VarEdit::default()
    };
    for (text, value) in change.set_vars {
        vars.set.insert(path(&text)?, json("change.set_vars", &text, &value)?);
    }
    for text in change.remove_vars {
        vars.remove.insert(path(&text)?);
    }
    let labels = LabelEdit {
        replace: change.replace_labels,
        set: change.set_labels,
        remove: change.remove_labels.into_iter().collect(),
        overwrite: change.overwrite_labels,
    };
    let channel = channel.map_err(|error| Error::new("change.channel", error))?;
    Ok((name, Change { channel, labels, vars }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn change_of_a_cluster_survives_the_wire() {
        let changed = Change {
            channel: Some("prod".parse().unwrap()),
            labels: LabelEdit {
                replace: true,
                set: [("a".to_owned(), "b".to_owned())].into(),
                remove: ["c".to_owned()].into(),
                overwrite: true,
            },
            vars: VarEdit {
                replace: true,
                set: [("db.host".parse().unwrap(), json!({"a": [1, null]}))].into(),
                remove: ["x.y".parse().unwrap()].into(),
            },
        };
        let name: ClusterName = "edge-1".parse().unwrap();
        let mut wire = from_change(&name, &changed);
        assert_eq!(change(wire.clone()).unwrap(), (name, changed));
        wire.set_vars.insert("bad".to_owned(), "{".to_owned());
        let error = change(wire).unwrap_err();
        assert!(
            error.to_string().starts_with("change.set_vars: `bad` is no JSON: "),
            "{error}"
        );
    }
}
