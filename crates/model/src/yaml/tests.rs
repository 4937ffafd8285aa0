//! Tables of what kubectl reads, each line checked against it, and the errors that people meet.

use serde_json::json;

use super::*;

fn read(text: &str) -> Vec<Value> {
    let found = documents(text, &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    found.into_iter().map(|document| document.value).collect()
}

fn one(text: &str) -> Value {
    let mut values = read(text);
    assert_eq!(values.len(), 1, "{text}");
    values.remove(0)
}

fn refusal(text: &str) -> Error {
    match documents(text, &Limits::default()) {
        Ok(found) => panic!("taken: {text}: {found:?}"),
        Err(error) => error,
    }
}

#[test]
fn plain_scalars_mean_what_kubectl_reads() {
    for (text, expected) in [
        ("0644", json!(420)),
        ("-0644", json!(-420)),
        ("08", json!(8)),
        ("09.5", json!(9.5)),
        ("0", json!(0)),
        ("00", json!(0)),
        ("-0", json!(0)),
        ("-0.0", json!(0)),
        ("0o644", json!(420)),
        ("0O17", json!(15)),
        ("0xff", json!(255)),
        ("0XfF", json!(255)),
        ("-0x1f", json!(-31)),
        ("0b101", json!(5)),
        ("-0b11", json!(-3)),
        ("1_000", json!(1000)),
        ("1__0_", json!(10)),
        ("0x_f", json!(15)),
        ("0x", json!("0x")),
        ("0x1g", json!("0x1g")),
        ("+12", json!(12)),
        ("++12", json!("++12")),
        ("1e3", json!(1000)),
        ("1.0", json!(1)),
        ("1.", json!(1)),
        (".5", json!(0.5)),
        ("-.5", json!(-0.5)),
        (".1_0", json!(0.1)),
        (".1_", json!(".1_")),
        ("1.5_0", json!(1.5)),
        ("1e999", json!("1e999")),
        ("1e-999", json!(0)),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("100m", json!("100m")),
        ("1:30", json!("1:30")),
        ("190:20:30", json!("190:20:30")),
        ("2024-01-01", json!("2024-01-01")),
        ("2001-12-14t21:59:43.10-05:00", json!("2001-12-14t21:59:43.10-05:00")),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("12345678901234567890", json!(12_345_678_901_234_567_890_u64)),
        ("18446744073709551615", json!(u64::MAX)),
        ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        // With a sign it is a float, and floats are written with their shortest digits.
        ("+9223372036854775808", json!(9_223_372_036_854_776_000_u64)),
        ("0x10000000000000000", json!("0x10000000000000000")),
        ("1e21", json!(1e21)),
        ("~", Value::Null),
        ("Null", Value::Null),
        ("nULL", json!("nULL")),
        ("", Value::Null),
        ("on", json!(true)),
        ("OFF", json!(false)),
        ("yes", json!(true)),
        ("No", json!(false)),
        ("y", json!(true)),
        ("N", json!(false)),
        ("True", json!(true)),
        ("tRue", json!("tRue")),
        ("<<", json!("<<")),
        ("infinity", json!("infinity")),
        ("nan", json!("nan")),
    ] {
        assert_eq!(one(&format!("a: {text}")), json!({ "a": expected }), "{text}");
    }
}

#[test]
fn quoted_scalars_are_strings() {
    for text in ["0644", "yes", "~", "1e3", "", "<<", ".inf", "2024-01-01"] {
        assert_eq!(one(&format!("a: \"{text}\"")), json!({ "a": text }));
        assert_eq!(one(&format!("a: '{text}'")), json!({ "a": text }));
    }
    assert_eq!(one("a: |-\n  0644"), json!({"a": "0644"}));
}

#[test]
fn tags_decide_before_the_text_does() {
    for (text, expected) in [
        ("!!str 123", json!("123")),
        ("!!str", json!("")),
        ("!!int \"123\"", json!(123)),
        ("!!float 1", json!(1)),
        ("!!float 1.5", json!(1.5)),
        ("!!bool 'yes'", json!(true)),
        ("!!null ''", Value::Null),
        ("!!timestamp 2001-1-1", json!("2001-1-1")),
        ("!!timestamp 2001-12-14 21:59:43.10", json!("2001-12-14 21:59:43.10")),
        ("!!binary aGVs\n  bG8=", Value::Null),
        ("!!binary \"aGVs\\nbG8=\"", json!("hello")),
        ("!mine 123", json!("123")),
        ("! 123", json!("123")),
        ("!!set {b: 1}", json!({"b": 1})),
        ("!<tag:yaml.org,2002:str> 1", json!("1")),
    ] {
        if expected.is_null() && text.starts_with("!!binary") {
            // A folded plain scalar has a space in it, which is not base64.
            assert!(refusal(&format!("a: {text}")).message.contains("base64"));
            continue;
        }
        assert_eq!(one(&format!("a: {text}")), json!({ "a": expected }), "{text}");
    }
    for text in [
        "!!int x",
        "!!int 1.5",
        "!!bool 1",
        "!!null x",
        "!!timestamp 5",
        "!!float 2024-01-01",
    ] {
        let error = refusal(&format!("a: {text}"));
        assert!(error.message.contains("is not a !!"), "{error}");
    }
}

#[test]
fn keys_become_text_as_kubectl_writes_them() {
    assert_eq!(
        one("yes: 1\n0644: 2\n1.5: 3\n1e6: 4\n1e5: 5\n.inf: 6\n2024-01-01: 7\n1234567.0: 8\n1e-5: 9\n\"a\": 10"),
        json!({"true": 1, "420": 2, "1.5": 3, "1e+06": 4, "100000": 5, ".inf": 6, "2024-01-01": 7,
               "1.234567e+06": 8, "1e-05": 9, "a": 10})
    );
    for (text, part) in [
        ("~: 1", "null"),
        ("[a]: 1", "cannot be a key"),
        ("{a: 1}: 1", "cannot be a key"),
        ("18446744073709551615: 1", "too large"),
    ] {
        // The second one begins as JSON might.
        let error = refusal(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn infinities_are_refused_with_their_place() {
    let error = refusal("a: 1\nb:\n  c: .inf\n");
    assert_eq!((error.line, error.column), (3, 6));
    assert_eq!(
        error.to_string(),
        "3:6: JSON has no .inf: quote it if it is meant as text"
    );
    assert!(refusal("a: .nan").message.contains(".nan"));
}

#[test]
fn duplicate_key_names_both_places() {
    let error = refusal("a: 1\nb:\n  x: 1\n  y: 2\n  x: 3\n");
    assert_eq!((error.line, error.column), (5, 3));
    assert_eq!(
        error.message,
        "key `x` is already set on line 3, column 3: remove one of the two"
    );
    assert!(refusal("1: a\n\"1\": b").message.contains("key `1` is already set"));
    let json = refusal("{\n  \"a\": 1,\n  \"a\": 2\n}\n");
    assert_eq!((json.line, json.column), (3, 3));
    assert!(json.message.contains("line 2, column 3"), "{json}");
}

#[test]
fn merge_keys_are_merged_in_the_order_of_the_file() {
    let base = "base: &b {x: 1, v: 2}\nother: &o {v: 3, z: 4}\n";
    let with = |fields: &str| one(&format!("{base}t:\n  {fields}\n"))["t"].clone();
    assert_eq!(with("<<: *b\n  x: 9"), json!({"x": 9, "v": 2}));
    // kubectl lets a merge replace what stands above it.
    assert_eq!(with("x: 9\n  <<: *b"), json!({"x": 1, "v": 2}));
    assert_eq!(with("<<: [*b, *o]"), json!({"x": 1, "v": 2, "z": 4}));
    assert_eq!(with("<<: *b\n  <<: *o"), json!({"x": 1, "v": 3, "z": 4}));
    assert_eq!(with("<<: {x: 5}"), json!({"x": 5}));
    assert_eq!(with("\"<<\": *b"), json!({"<<": {"x": 1, "v": 2}}));
    for bad in ["<<: 1", "<<: [1]", "<<:", "<<: [[*b]]"] {
        assert!(
            refusal(&format!("{base}t:\n  {bad}\n")).message.contains("`<<` takes"),
            "{bad}"
        );
    }
}

#[test]
fn aliases_repeat_their_anchor() {
    assert_eq!(
        one("a: &x [1, yes]\nb: *x\nc: &x 2\nd: *x"),
        json!({"a": [1, true], "b": [1, true], "c": 2, "d": 2})
    );
    assert_eq!(one("a: &k 1e6\n*k : v"), json!({"a": 1_000_000, "1e+06": "v"}));
    assert!(refusal("a: *nowhere").message.contains("does not define"));
    assert!(refusal("a: &x 1\n---\nb: *x").message.contains("does not define"));
    assert!(refusal("a: &x [*x]").message.contains("contains itself"));
}

#[test]
fn billion_laughs_are_refused() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    assert!(refusal(&text).message.contains("aliases make this document too large"));
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(refusal(&deep).message.contains("nested too deeply"));
}

#[test]
fn absurd_nesting_is_an_error_and_no_overflow() {
    let most = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    assert_eq!(read(&most).len(), 1);
    for text in [
        "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1),
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "[".repeat(100_000) + &"]".repeat(100_000),
        "- ".repeat(100_000),
        (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect(),
    ] {
        let error = refusal(&text);
        assert!(error.message.contains("nested too deeply"), "{}…: {error}", &text[..20]);
    }
}

#[test]
fn documents_are_split_as_kubectl_splits_them() {
    let text = "# only a comment\n---\n# and one\n---\na: 1\n--- # three\n\n---\n\nb: 2\n...\n";
    let found = documents(text, &Limits::default()).unwrap();
    assert_eq!(
        found,
        [
            Document {
                value: json!({"a": 1}),
                line: 5
            },
            Document {
                value: json!({"b": 2}),
                line: 10
            }
        ]
    );
    assert_eq!(read(""), [] as [Value; 0]);
    assert_eq!(read("---\n---\nnull\n---\n~\n"), [] as [Value; 0]);
    // Indented, it is text.
    assert_eq!(one("a: |\n  ---\n  b\n"), json!({"a": "---\nb\n"}));
    let error = refusal("a: 1\n--- {b: 2}\n");
    assert_eq!(error.line, 2);
    assert!(error.message.contains("alone on its line"));
    assert!(refusal("a: 1\n...\nb: 2\n").message.contains("ignores what follows"));
    assert!(refusal("%YAML 1.1\n---\na: 1\n").message.contains("directives"));
}

#[test]
fn line_ends_and_marks_of_windows_files_do_not_matter() {
    assert_eq!(
        read("\u{feff}a: |\r\n  x\r\n  y\r\n---\r\nb: 1\r\n"),
        [json!({"a": "x\ny\n"}), json!({"b": 1})]
    );
    assert_eq!(
        decode(&[0xff, 0xfe, b'a', 0, b':', 0, b' ', 0, 0xe9, 0]).unwrap(),
        "a: é"
    );
    assert_eq!(decode(&[0xfe, 0xff, 0, b'a']).unwrap(), "a");
    let error = decode(b"a: 1\nb: \xff").unwrap_err();
    assert_eq!((error.line, error.column), (2, 4));
    assert!(decode(&[0xff, 0xfe, 0]).is_err());
}

#[test]
fn block_scalars_keep_their_lines() {
    assert_eq!(one("a: |\n  x\n   y\n\n"), json!({"a": "x\n y\n"}));
    assert_eq!(one("a: |+\n  x\n\n"), json!({"a": "x\n\n"}));
    assert_eq!(one("a: >-\n  x\n  y\n\n  z"), json!({"a": "x y\nz"}));
    // kubectl ends the last line of a file that has no newline there.
    assert_eq!(one("a: |\n  x"), json!({"a": "x\n"}));
    assert_eq!(one("a: |1\n \tx"), json!({"a": "\tx\n"}));
    assert!(refusal("a: |\n  \tx").message.contains("tab"));
}

#[test]
fn json_keeps_its_meaning() {
    let text = "{\"a\": \"\\/\\ud83d\\ude00\u{2028}\", \"yes\": 1e2,\t\"n\": 12345678901234567890, \"f\": 1.0}";
    assert_eq!(
        one(text),
        json!({"a": "/😀\u{2028}", "yes": 100, "n": 12_345_678_901_234_567_890_u64, "f": 1})
    );
}

#[test]
fn json_streams_and_mixtures_are_read_as_kubectl_reads_them() {
    let found = documents("\n{\"a\": \"\\/\"} {\"b\":\n1}\n\n  {\"c\": 1}", &Limits::default()).unwrap();
    assert_eq!(
        found.iter().map(|document| document.line).collect::<Vec<_>>(),
        [2, 2, 5]
    );
    assert_eq!(found[0].value, json!({"a": "/"}));
    assert_eq!(read("{\"a\": 1}\n---\nb: 0644\n"), [json!({"a": 1}), json!({"b": 420})]);
    assert_eq!(read("{a: 0644, b: yes}"), [json!({"a": 420, "b": true})]);
    assert_eq!(read("[1, 0644]"), [json!([1, 420])]);
    // What got further tells the error.
    let error = refusal("{\n  \"a\": 1,\n  \"b\": nonsense here]\n}");
    assert_eq!(error.line, 3);
    assert!(documents("{\"a\":1}{\"a\":2}{\"a\":3}{", &Limits::default()).is_err());
}

#[test]
fn what_a_parser_of_yaml_1_2_reads_otherwise_is_refused() {
    for text in ["[b:]", "{a: -:}", "{a:[1]}", "[b :]", "[:5]", "{a: ?x}"] {
        let error = refusal(text);
        assert!(error.line == 1, "{text}: {error}");
    }
    // Not in these places.
    assert_eq!(one("a: b:]"), json!({"a": "b:]"}));
    assert_eq!(one("[\"b\":]"), json!([{"b": null}]));
    assert_eq!(one("x: :5"), json!({"x": ":5"}));
    assert_eq!(one("x: [a:b, 'c:', http://d]"), json!({"x": ["a:b", "c:", "http://d"]}));
}

#[test]
fn odd_characters_are_refused_by_name_and_place() {
    let error = refusal("a: 1\nb: x\u{2028}y\n");
    assert_eq!((error.line, error.column), (2, 5));
    assert!(error.message.contains("U+2028"), "{error}");
    assert!(refusal("a: \u{1}").message.contains("U+0001"));
    assert!(refusal("a: 1\n\u{feff}b: 2").message.contains("U+FEFF"));
    assert_eq!(one("a: \"\\u2028\\x01\""), json!({"a": "\u{2028}\u{1}"}));
}

#[test]
fn broken_yaml_names_line_and_column() {
    assert_eq!(
        refusal("a: \"open\nb: 1\n").to_string(),
        "2:1: a quote above is not closed, or its text goes on here without indentation"
    );
    assert_eq!(
        refusal("  a: 1\nb: 1\n").to_string(),
        "2:1: belongs to nothing above it: check the indentation"
    );
    for (text, line) in [
        ("a: 1\n b: 2\n", 2),
        ("a: [1, 2\nb: 3\n", 2),
        ("a: 1\nb\n", 3),
        ("a:\n\t- b\n", 2),
        ("x: 1\n---\na: \"open\n", 5),
        ("a: {{ .Values.x }}\n", 1),
        ("a: @x\n", 1),
        ("- a\nb: 1\n", 2),
    ] {
        let error = refusal(text);
        assert!(error.line.abs_diff(line) <= 1 && error.column >= 1, "{text:?}: {error}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn limits_are_kept() {
    let small = Limits {
        text_bytes: 10,
        documents: 2,
        alias_bytes: 1000,
    };
    assert!(
        documents("a: 12345678", &small)
            .unwrap_err()
            .message
            .contains("11 bytes")
    );
    let error = documents(
        "1\n---\n2\n---\n3",
        &Limits {
            text_bytes: 100,
            ..small
        },
    )
    .unwrap_err();
    assert_eq!(error.line, 5);
    assert!(
        documents(
            "a: &x 1\nb: [*x, *x]",
            &Limits {
                text_bytes: 100,
                ..small
            }
        )
        .is_ok()
    );
}

#[test]
fn fields_are_located_by_pointer() {
    let text = "# c\nfirst: 1\n---\n\nkind: A\nspec:\n  a/b: 1\n  list:\n  - x: 1\n  - {y: 2, \"z\": [3, 4]}\n  yes: on\n  m: &m {q: 1}\n  o: *m\n";
    let at = |pointer: &str| locate(text, 5, pointer).map(|place| (place.line, place.column));
    assert_eq!(documents(text, &Limits::default()).unwrap()[1].line, 5);
    assert_eq!(at(""), Some((5, 1)));
    assert_eq!(at("/spec"), Some((6, 1)));
    assert_eq!(at("/spec/a~1b"), Some((7, 3)));
    assert_eq!(at("/spec/list/0/x"), Some((9, 5)));
    assert_eq!(at("/spec/list/1/z/1"), Some((10, 21)));
    assert_eq!(at("/spec/true"), Some((11, 3)));
    // Behind an alias, or not there at all: the way as far as it goes.
    assert_eq!(at("/spec/o/q"), Some((13, 3)));
    assert_eq!(at("/spec/missing/x"), Some((6, 1)));
    assert_eq!(
        locate("{\n  \"a\": {\n    \"b\": 1}}", 1, "/a/b"),
        Some(Place { line: 3, column: 5 })
    );
}
