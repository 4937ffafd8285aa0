use proptest::prelude::*;
use serde_json::json;

use super::*;

fn cluster() -> ClusterFacts {
    let vars = json!({"replicas": 3, "name": "shop", "empty": "", "db": {"host": "h", "port": 5432}, "zones": ["a", "b"], "on": true});
    ClusterFacts {
        name: "edge-1".parse().unwrap(),
        channel: "prod".parse().unwrap(),
        labels: [
            ("region".to_owned(), "eu".to_owned()),
            ("topology.kubernetes.io/zone".to_owned(), "eu-1a".to_owned()),
        ]
        .into(),
        vars: serde_json::from_value(vars).unwrap(),
    }
}

fn worked_out(value: Value) -> Result<Value, Vec<Fault>> {
    let mut object = json!({ "data": value });
    let cluster = cluster();
    super::object(&mut object, &|variable| variable.value(&cluster))?;
    Ok(object["data"].take())
}

fn fault(value: Value) -> String {
    worked_out(value).expect_err("must be refused")[0].to_string()
}

#[test]
fn variables_of_a_cluster_are_put_in() {
    for (text, expected) in [
        ("${cluster.name}", json!("edge-1")),
        ("${cluster.channel}", json!("prod")),
        ("${cluster.labels.region}-x", json!("eu-x")),
        ("${cluster.labels.topology.kubernetes.io/zone}", json!("eu-1a")),
        ("a ${cluster.name} b ${cluster.vars.name} c", json!("a edge-1 b shop c")),
        ("${cluster.vars.db.host}:${cluster.vars.db.port}", json!("h:5432")),
        ("on=${cluster.vars.on}", json!("on=true")),
    ] {
        assert_eq!(worked_out(json!(text)).unwrap(), expected, "{text}");
    }
}

#[test]
fn variable_that_is_the_whole_value_keeps_its_type() {
    assert_eq!(worked_out(json!("${cluster.vars.replicas}")).unwrap(), json!(3));
    assert_eq!(worked_out(json!("${cluster.vars.zones}")).unwrap(), json!(["a", "b"]));
    assert_eq!(worked_out(json!("${cluster.vars.on}")).unwrap(), json!(true));
    assert_eq!(worked_out(json!("${cluster.vars.replicas} ")).unwrap(), json!("3 "));
}

#[test]
fn default_is_taken_where_nothing_is_defined_or_empty() {
    for (text, expected) in [
        ("${cluster.vars.nope:-3}", json!(3)),
        ("${cluster.vars.nope:-\"3\"}", json!("3")),
        ("${cluster.vars.nope:-}", json!("")),
        ("${cluster.vars.empty:-d}", json!("d")),
        ("${cluster.vars.replicas:-9}", json!(3)),
        ("${cluster.vars.nope:-a: b}", json!("a: b")),
        ("x${cluster.labels.nope:-0644}", json!("x0644")),
        ("${cluster.vars.nope:-http://h:-1}", json!("http://h:-1")),
    ] {
        assert_eq!(worked_out(json!(text)).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_is_not_ours_stays_as_it_is() {
    for text in [
        "${datasource}",
        "$HOME ${HOME}",
        "${cluster}",
        "${clusters.name}",
        "$(cluster.name)",
        "${",
        "$$",
    ] {
        assert_eq!(worked_out(json!(text)).unwrap(), json!(text));
    }
    assert_eq!(
        worked_out(json!({"${cluster.name}": 1})).unwrap(),
        json!({"${cluster.name}": 1})
    );
}

#[test]
fn escape_gives_the_literal_text() {
    assert_eq!(worked_out(json!("$${cluster.name}")).unwrap(), json!("${cluster.name}"));
    assert_eq!(
        worked_out(json!("$${X} ${cluster.name}")).unwrap(),
        json!("${X} edge-1")
    );
}

#[test]
fn fault_names_field_and_variable() {
    assert_eq!(
        fault(json!({"a.b": ["${cluster.vars.nope}"]})),
        "data[\"a.b\"][0]: `${cluster.vars.nope}` is not defined: set it with \
         `driftless cluster vars CLUSTER nope=VALUE`, or give a default, `:-…`"
    );
    assert!(fault(json!("${cluster.nope}")).contains("is no variable: there are cluster.name"));
    assert!(fault(json!("${cluster.name")).contains("no closing"));
    assert!(fault(json!("x ${cluster.vars.zones}")).contains("is a list or a map"));
}

#[test]
fn every_fault_of_an_object_is_told() {
    let faults = worked_out(json!(["${cluster.vars.a}", "${cluster.vars.b}"])).unwrap_err();
    assert_eq!(faults.len(), 2);
}

#[test]
fn identity_of_an_object_takes_no_variable() {
    let object =
        json!({"kind": "ConfigMap", "metadata": {"name": "a-${cluster.name}", "labels": {"c": "${cluster.name}"}}});
    let faults = check(&object);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].field, "metadata.name");
}

#[test]
fn object_that_opts_out_is_left_alone() {
    for key in OPT_OUTS {
        let object = json!({"metadata": {"annotations": {key: "disabled"}}, "data": "${cluster.nope} $${x}"});
        let mut copy = object.clone();
        assert_eq!(super::object(&mut copy, &|_| None), Ok(Vec::new()));
        assert_eq!(copy, object);
    }
}

proptest! {
    #[test]
    fn text_without_marks_is_untouched(text in "[a${}.:-]{0,20}") {
        prop_assume!(!is_concerned(text.as_bytes()));
        prop_assert_eq!(worked_out(json!(text)).unwrap(), json!(text));
    }

    #[test]
    fn escaped_text_reads_back(text in "[ab${}]{0,12}") {
        let escaped = text.replace("${", "$${");
        // A dollar before an escape would join it.
        prop_assume!(!text.contains("$$"));
        prop_assert_eq!(worked_out(json!(escaped)).unwrap(), json!(text));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\$\\{cluster\\.|[a.:${}-]){0,8}") {
        let _ = worked_out(json!(text));
        let _ = variables(&json!(text));
    }
}
