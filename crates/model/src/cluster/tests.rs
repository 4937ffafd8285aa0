use serde_json::json;

use super::*;

fn record() -> Record {
    Record {
        channel: "prod".parse().unwrap(),
        labels: [
            ("region".to_owned(), "eu".to_owned()),
            ("tier".to_owned(), "edge".to_owned()),
        ]
        .into(),
        vars: [
            ("db".to_owned(), json!({"host": "a", "port": 1})),
            ("n".to_owned(), json!(3)),
        ]
        .into(),
    }
}

fn paths(paths: &[&str]) -> BTreeSet<VarPath> {
    paths.iter().map(|path| path.parse().unwrap()).collect()
}

fn vars(set: &[(&str, Value)], remove: &[&str]) -> Change {
    Change {
        vars: VarEdit {
            set: set
                .iter()
                .map(|(path, value)| (path.parse().unwrap(), value.clone()))
                .collect(),
            remove: paths(remove),
            replace: false,
        },
        ..Change::default()
    }
}

fn labels(set: &[(&str, &str)], remove: &[&str]) -> Change {
    Change {
        labels: LabelEdit {
            set: set
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            remove: remove.iter().map(|key| (*key).to_owned()).collect(),
            ..LabelEdit::default()
        },
        ..Change::default()
    }
}

fn told(change: &Change) -> Vec<String> {
    let problems = change.apply(&record()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn labels_are_set_and_taken_away() {
    let after = labels(&[("zone", "a"), ("tier", "edge")], &["region", "absent"])
        .apply(&record())
        .unwrap();
    let expected = [
        ("tier".to_owned(), "edge".to_owned()),
        ("zone".to_owned(), "a".to_owned()),
    ];
    assert_eq!(after.labels, expected.into());
    let mut all = labels(&[("zone", "a")], &[]);
    all.labels.replace = true;
    assert_eq!(
        all.apply(&record()).unwrap().labels,
        [("zone".to_owned(), "a".to_owned())].into()
    );
}

#[test]
fn label_with_another_value_is_replaced_only_when_asked() {
    let mut change = labels(&[("region", "us")], &[]);
    assert_eq!(
        told(&change),
        ["label `region` is `eu` already: `--overwrite` replaces it"]
    );
    change.labels.overwrite = true;
    assert_eq!(change.apply(&record()).unwrap().labels["region"], "us");
}

#[test]
fn contradictions_are_told() {
    assert_eq!(
        told(&labels(&[("a", "b")], &["a"])),
        ["label `a` is both set and taken away: do one of them"]
    );
    assert_eq!(
        told(&vars(&[("a", json!(1))], &["a"])),
        ["variable `a` is both set and taken away: do one of them"]
    );
}

#[test]
fn paths_reach_into_maps_and_make_them() {
    let change = vars(
        &[("db.user.name", json!("u")), ("new.map", json!([1]))],
        &["db.host", "n", "x.y", "n.z"],
    );
    let after = change.apply(&record()).unwrap();
    let expected = json!({"db": {"port": 1, "user": {"name": "u"}}, "new": {"map": [1]}});
    assert_eq!(serde_json::to_value(after.vars).unwrap(), expected);
    assert_eq!(
        told(&vars(&[("n.x.y", json!(1)), ("db.port.x", json!(1))], &[])),
        [
            "variable `db.port.x` cannot be set, since `db.port` is no map: set `db.port` as a whole",
            "variable `n.x.y` cannot be set, since `n` is no map: set `n` as a whole",
        ]
    );
}

#[test]
fn variable_names_are_those_that_manifests_can_name() {
    for good in ["a", "_a", "db.host", "A-1_b"] {
        assert_eq!(good.parse::<VarPath>().unwrap().to_string(), good);
    }
    for bad in ["", ".", "a.", ".a", "1a", "-a", "a b", "a..b", "ä", "a/b"] {
        assert!(bad.parse::<VarPath>().is_err(), "{bad}");
    }
    assert_eq!(
        "a b".parse::<VarPath>().unwrap_err().to_string(),
        "variable name `a b` is not valid: use letters, digits, `_` or `-`, begin with a letter or `_`, and put dots \
         between the names of maps"
    );
}

#[test]
fn limits_are_those_of_the_result() {
    let many: Vec<_> = (0..=MAX_LABELS).map(|number| format!("l{number}")).collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), "x")).collect();
    assert_eq!(
        told(&labels(&many, &[])),
        ["67 labels are more than the 64 that a cluster may have"]
    );
    let many: Vec<_> = (0..=MAX_VARS).map(|number| format!("v{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), json!(1))).collect();
    assert_eq!(
        told(&vars(&many, &["db", "n"])),
        ["257 variables are more than the 256 that a cluster may have: put some together in a map"]
    );
    let large = json!("x".repeat(MAX_VARS_BYTES));
    assert_eq!(
        told(&vars(&[("n", large)], &["db"])),
        ["its variables have 65544 bytes, more than the 65536 allowed: large things belong into manifests"]
    );
}

#[test]
fn numbers_are_as_the_journal_gives_them_back() {
    let after = vars(&[("n", json!(3.0))], &[]).apply(&record()).unwrap();
    assert_eq!(after, record());
}
