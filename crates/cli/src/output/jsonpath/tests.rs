use serde_json::json;

use super::*;

/// The document of kubectl's page on JSONPath.
fn nodes() -> Value {
    json!({
        "kind": "List",
        "items": [
            {
                "kind": "None",
                "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "127.0.0.1"}},
                "status": {
                    "capacity": {"cpu": "4"},
                    "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]
                }
            },
            {
                "kind": "None",
                "metadata": {"name": "127.0.0.2"},
                "status": {
                    "capacity": {"cpu": "8"},
                    "addresses": [
                        {"type": "LegacyHostIP", "address": "127.0.0.2"},
                        {"type": "another", "address": "127.0.0.3"}
                    ]
                }
            }
        ],
        "users": [
            {"name": "myself", "user": {}},
            {"name": "e2e", "user": {"username": "admin", "password": "secret"}}
        ]
    })
}

fn fill(template: &str, document: &Value) -> Result<String, String> {
    template.parse::<Template>()?.evaluate(document, true)
}

#[test]
fn examples_of_kubectls_page_give_what_it_says() {
    for (template, expected) in [
        ("the object is {.kind}", "the object is List"),
        ("{['kind']}", "List"),
        ("{$.kind}", "List"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.users[0].name}", "myself"),
        (
            "{.items[*]['metadata.name', 'status.capacity']}",
            r#"127.0.0.1 127.0.0.2 {"cpu":"4"} {"cpu":"8"}"#,
        ),
        (r#"{.users[?(@.name=="e2e")].user.password}"#, "secret"),
        (
            "{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}",
            r#"[127.0.0.1, {"cpu":"4"}] [127.0.0.2, {"cpu":"8"}] "#,
        ),
        (
            r"{range .items[*]}{.metadata.name}{'\t'}{end}",
            "127.0.0.1\t127.0.0.2\t",
        ),
        (r"{.items[*].metadata.labels.kubernetes\.io/hostname}", "127.0.0.1"),
        (r#"{.users[?(@.name=='e2e')]['name','user.username']}"#, "e2e admin"),
        ("{.users[-1].name}", "e2e"),
        ("{.users[0:1].name}{.users[5:].name}", "myself"),
        ("{.users[-1:].name}", "e2e"),
        ("{.users[::2].name}", "myself"),
        ("{.users[0,1].name}", "myself e2e"),
        (
            "{.items[*].status.addresses[?(@.type!=\"another\")].address}",
            "127.0.0.1 127.0.0.2",
        ),
        ("{.users[?(@.user.password)].name}", "e2e"),
        ("{.users[*].user.*}", "secret admin"),
        (
            r#"{range .items[*]}{range .status.addresses[*]}{.address}{"\n"}{end}{end}"#,
            "127.0.0.1\n127.0.0.2\n127.0.0.3\n",
        ),
        (
            r#"{range .users[*]}{@.name}:{$.kind}{" "}{end}"#,
            "myself:List e2e:List ",
        ),
    ] {
        assert_eq!(fill(template, &nodes()).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn lists_can_be_read_as_kubectls() {
    let list = json!([{"name": "a", "n": 1}, {"name": "b", "n": 10, "up": true}, {"name": "c", "n": 2.5}]);
    for (template, expected) in [
        ("{.items[*].name}", "a b c"),
        ("{[*].name}", "a b c"),
        ("{range .items[*]}{.name}={.n},{end}", "a=1,b=10,c=2.5,"),
        ("{.items[?(@.n>2)].name}", "b c"),
        ("{.items[?(@.n<=2.5)].name}", "a c"),
        ("{.items[?(@.up==true)].name}", "b"),
        ("{.items[?(@.name>=\"b\")].name}", "b c"),
        ("{.items[?(@.n==\"1\")].name}", ""),
        ("{[1].name}{\"}\"}", "b}"),
    ] {
        assert_eq!(fill(template, &list).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn missing_keys_are_nothing_unless_they_must_be_there() {
    let template: Template = "<{.metadata.nothing}>".parse().unwrap();
    assert_eq!(template.evaluate(&nodes(), true).as_deref(), Ok("<>"));
    assert_eq!(
        template.evaluate(&nodes(), false),
        Err("`metadata` is not found".to_owned())
    );
    assert!(
        fill("{.users[7].name}", &nodes())
            .unwrap_err()
            .contains("index 7 is out of bounds: the list has 2")
    );
    assert_eq!(fill("<{.x}>", &json!({"x": null})).as_deref(), Ok("<>"));
}

#[test]
fn broken_templates_are_told_what_is_wrong() {
    for (template, part) in [
        (".name", "no expression in braces"),
        ("{.name", "never closed"),
        ("{range .a}", "has no {end}"),
        ("{end}", "ends no {range"),
        ("{name}", "write `.name`"),
        ("{.a[}", "lacks a `]`"),
        ("{.a[b]}", "is no index"),
        ("{.a[1:2:0]}", "above 0"),
        ("{.a[?(@.b=~\"x\")]}", "no &&, || or =~"),
        ("{.a[?(@.b==x)]}", "put a text in quotes"),
        ("{.a[?(@.b=1)]}", "none of ==, !="),
        ("{\"\\q\"}", "means nothing"),
        ("{\"a}", "never closed"),
        ("{.a b}", "belongs to no key"),
        ("{\"a\" .b}", "stands behind a text"),
    ] {
        let error = template.parse::<Template>().unwrap_err();
        assert!(error.contains(part), "{template}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_template_panics(template in "[{}\\[\\]().*@$?'\"a0:,=<>! \\\\-]{0,24}") {
        if let Ok(template) = template.parse::<Template>() {
            let _ = template.evaluate(&nodes(), true);
            let _ = template.evaluate(&json!([[1, 2], {"a": [0]}]), false);
        }
    }
}
