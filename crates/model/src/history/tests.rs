use proptest::prelude::*;
use serde_json::json;

use super::*;

fn deployment(replicas: u32, images: &[(&str, &str)]) -> Value {
    let containers: Vec<_> = images
        .iter()
        .map(|(name, image)| json!({"name": name, "image": image, "args": ["-v", image]}))
        .collect();
    json!({"kind": "Deployment", "spec": {"replicas": replicas, "containers": containers}})
}

/// Passes versions, oldest first, as a walk does; the first push has number 0.
fn blame(versions: &[Value]) -> Blame {
    let mut blame = Blame::new(versions.last().unwrap());
    for (number, _) in versions.iter().enumerate().rev() {
        assert!(
            !blame.is_done(),
            "a field is always open until the push that brought it"
        );
        let before = number.checked_sub(1).map(|before| &versions[before]);
        blame.step(before, number);
        if blame.is_done() {
            break;
        }
    }
    assert!(blame.is_done());
    blame
}

fn setter(blame: &Blame, path: &str) -> usize {
    let leaves = blame.leaves();
    let leaf = leaves.iter().find(|(known, ..)| known == path);
    leaf.unwrap_or_else(|| panic!("{path} is not in {leaves:?}")).2.unwrap()
}

#[test]
fn each_field_belongs_to_the_push_that_set_it_last() {
    let blame = blame(&[
        deployment(1, &[("web", "a:1")]),
        deployment(3, &[("web", "a:1")]),
        deployment(3, &[("log", "b:1"), ("web", "a:2")]),
        deployment(2, &[("log", "b:1"), ("web", "a:2")]),
        deployment(3, &[("log", "b:1"), ("web", "a:2")]),
    ]);
    assert_eq!(setter(&blame, "kind"), 0);
    assert_eq!(setter(&blame, "spec.replicas"), 4, "set back is set again");
    assert_eq!(
        setter(&blame, "spec.containers[name=web].name"),
        0,
        "an element in front moves nothing"
    );
    assert_eq!(setter(&blame, "spec.containers[name=web].image"), 2);
    assert_eq!(setter(&blame, "spec.containers[name=web].args[0]"), 0);
    assert_eq!(setter(&blame, "spec.containers[name=web].args[1]"), 2);
    assert_eq!(setter(&blame, "spec.containers[name=log].image"), 2);
}

#[test]
fn elements_without_names_are_known_by_what_they_are() {
    let list = |items: &[&str]| json!({"args": items});
    let blame = blame(&[list(&["b", "c"]), list(&["a", "b", "c"]), list(&["a", "b", "d"])]);
    assert_eq!(
        ["args[0]", "args[1]", "args[2]"].map(|path| setter(&blame, path)),
        [1, 0, 2]
    );
}

#[test]
fn object_that_was_away_begins_anew() {
    let object = json!({"kind": "A"});
    let mut blame = Blame::new(&object);
    blame.step(None, 7);
    assert!(blame.is_done());
    assert_eq!(setter(&blame, "kind"), 7);
}

#[test]
fn field_is_told_with_everything_below_it() {
    let field = |text: &str| text.parse::<Field>().unwrap();
    let (one, two) = (deployment(1, &[("web", "a:1")]), deployment(2, &[("web", "a:2")]));
    let paths = |text: &str, before, after| -> Vec<_> {
        of_field(&field(text), before, after)
            .into_iter()
            .map(|change| change.path)
            .collect()
    };
    assert_eq!(paths("spec.replicas", Some(&one), Some(&two)), ["spec.replicas"]);
    assert_eq!(
        paths("spec.containers[name=web]", Some(&one), Some(&two)),
        ["spec.containers[name=web].args[1]", "spec.containers[name=web].image"]
    );
    assert_eq!(paths("kind", Some(&one), Some(&two)), [""; 0]);
    let added = of_field(&field("spec.replicas"), None, Some(&one));
    assert_eq!((&added[0].before, &added[0].after), (&None, &Some(json!(1))));
    assert_eq!(of_object(None, Some(&one)), Some(Change::Added));
    assert_eq!(of_object(Some(&one), None), Some(Change::Removed));
    assert_eq!(of_object(Some(&one), Some(&one)), None);
}

#[test]
fn paths_read_back_as_they_are_spelled() {
    for path in [
        "spec.replicas",
        "spec.containers[name=web].ports[0]",
        r#"metadata.annotations["a.b/c"]"#,
        r#"["a]b"].c"#,
        r#"["q\"\\"].c"#,
        "[\"\\u{9b}\\t\"]",
        "a[0][1].b",
    ] {
        assert_eq!(path.parse::<Field>().unwrap().to_string(), path);
    }
    assert_eq!(".spec.replicas".parse::<Field>().unwrap().to_string(), "spec.replicas");
    for bad in [
        "",
        ".",
        "a.",
        "a..b",
        "a.[0]",
        "a[",
        "a[x]",
        "a[name=]",
        "a]b",
        "a[0]b",
        r#"a["x"#,
        r#"a["x"b]"#,
    ] {
        assert!(bad.parse::<Field>().is_err(), "{bad}");
    }
}

#[test]
fn path_that_leads_nowhere_is_followed_as_far_as_it_goes() {
    let object = deployment(1, &[("web", "a:1")]);
    let field: Field = "spec.containers[name=wbe].image".parse().unwrap();
    let (reached, value) = field.reach(&object);
    assert_eq!(reached.to_string(), "spec.containers");
    assert!(value.is_array());
}

fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[ab]{0,1}".prop_map(Value::from)
    ];
    let tree = leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("(name|a|b.c)", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[xyz]", tree, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// Makes one change: sets what is new, removes what is not there any more.
fn replay(value: &mut Value, change: &FieldChange) {
    let Ok(Field(segments)) = change.path.parse() else {
        *value = change.after.clone().unwrap();
        return;
    };
    let (last, path) = segments.split_last().unwrap();
    let mut place = value;
    for segment in path {
        place = match segment {
            Segment::Key(key) => place.get_mut(key),
            Segment::Index(index) => place.get_mut(index),
            Segment::Named(name) => place
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .find(|item| is_named(item, name)),
        }
        .unwrap();
    }
    match (last, &change.after) {
        (Segment::Key(key), Some(after)) => {
            place.as_object_mut().unwrap().insert(key.clone(), after.clone());
        }
        (Segment::Key(key), None) => {
            place.as_object_mut().unwrap().remove(key);
        }
        (element, after) => {
            let list = place.as_array_mut().unwrap();
            let index = match element {
                Segment::Index(index) => *index,
                Segment::Named(name) => list.iter().position(|item| is_named(item, name)).unwrap_or(list.len()),
                Segment::Key(_) => unreachable!("taken above"),
            };
            match after {
                Some(after) if index < list.len() => list[index] = after.clone(),
                Some(after) => list.push(after.clone()),
                None => drop(list.remove(index)),
            }
        }
    }
}

/// Elements that have names are in the order of their names: a history tells them apart by those.
fn ordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => match crate::diff::by_name(items) {
            Some(names) => names.into_values().map(ordered).collect(),
            None => items.iter().map(ordered).collect(),
        },
        Value::Object(fields) => fields
            .iter()
            .map(|(key, field)| (key.clone(), ordered(field)))
            .collect(),
        leaf => leaf.clone(),
    }
}

proptest! {
    #[test]
    fn replayed_history_gives_the_object(versions in prop::collection::vec(any_object(), 1..5)) {
        let mut object = versions[0].clone();
        for pair in versions.windows(2) {
            if let Some(Change::Changed { fields }) = of_object(Some(&pair[0]), Some(&pair[1])) {
                // From the end, so that elements are removed before those that they stand behind.
                let (gone, there): (Vec<_>, Vec<_>) = fields.iter().partition(|change| change.after.is_none());
                there.into_iter().for_each(|change| replay(&mut object, change));
                gone.into_iter().rev().for_each(|change| replay(&mut object, change));
            }
            prop_assert_eq!(ordered(&object), ordered(&pair[1]));
        }
    }

    #[test]
    fn blame_says_for_each_scalar_when_it_was_last_another(versions in prop::collection::vec(any_object(), 1..6)) {
        let blame = blame(&versions);
        for (path, value, push) in blame.leaves() {
            let push = push.unwrap();
            // Elements of lists may have stood elsewhere.
            if path.is_empty() || path.contains("[name=") || path.contains(['0', '1', '2']) {
                continue;
            }
            let field: Field = path.parse().unwrap();
            prop_assert!(versions[push..].iter().all(|version| field.get(version) == Some(value)), "{} {}", path, push);
            let before = push.checked_sub(1).and_then(|before| field.get(&versions[before]));
            prop_assert!(before != Some(value), "{} {}", path, push);
        }
    }
}
