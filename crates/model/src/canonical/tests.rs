//! Golden vectors of RFC 8785, the stated deviation, and the properties that hashing relies on.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn text(value: &Value) -> String {
    String::from_utf8(to_vec(value)).unwrap()
}

fn reread(json: &str) -> String {
    text(&from_slice_strict(json.as_bytes()).unwrap())
}

#[test]
fn rfc_sample_object_has_the_bytes_of_the_rfc() {
    // RFC 8785, section 3.2.2 and 3.2.3.
    let input = r#"{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#;
    assert_eq!(
        reread(input),
        "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
         \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
    );
}

#[test]
fn keys_are_sorted_by_utf16_code_units() {
    // RFC 8785, section 3.2.3: the emoji (surrogates d83d de02) sorts before U+FB33, unlike in UTF-8.
    let input = "{\"\u{20ac}\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\",\
                 \"1\":\"One\",\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{80}\":\"Control\",\
                 \"\u{f6}\":\"Latin Small Letter O With Diaeresis\"}";
    let written = reread(input);
    let order = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small",
        "Euro Sign",
        "Emoji",
        "Hebrew",
    ];
    let places: Vec<usize> = order.iter().map(|name| written.find(name).unwrap()).collect();
    assert!(places.is_sorted(), "{written}");
}

#[test]
fn doubles_are_written_as_ecmascript_writes_them() {
    // RFC 8785, appendix B, by IEEE bits. Integral values below 2^53 agree with the exact-integer rule.
    for (bits, expected) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        let float = Number::from_f64(f64::from_bits(bits)).unwrap();
        assert_eq!(text(&Value::Number(float)), expected, "{bits:016x}");
    }
}

#[test]
fn integers_of_64_bits_are_written_exactly() {
    for exact in [
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
    ] {
        assert_eq!(reread(exact), exact);
    }
    // Beyond 64 bits only a double is left, as in Go.
    assert_eq!(reread("18446744073709551616"), "18446744073709552000");
    assert_eq!(reread("123456789012345678901234567890"), "1.2345678901234568e+29");
}

#[test]
fn controls_are_escaped_and_nothing_else_is() {
    let all: String = (0u8..0x20)
        .map(char::from)
        .chain("\"\\/\u{7f}\u{2028}é😀".chars())
        .collect();
    assert_eq!(
        text(&json!(all)),
        "\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\
         \\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f\
         \\\"\\\\/\u{7f}\u{2028}é😀\""
    );
}

#[test]
fn integral_floats_become_integers() {
    assert_eq!(
        normalize(json!([1.0, -0.0, 1e18, 0.5])),
        json!([1, 0, 1_000_000_000_000_000_000_i64, 0.5])
    );
    assert_eq!(number(f64::NAN), None);
    assert_eq!(number(f64::INFINITY), None);
}

#[test]
fn duplicate_key_is_refused_with_its_place() {
    let error = from_slice_strict(b"{\"a\": {\"b\": 1,\n  \"b\": 2}}").unwrap_err();
    assert!(error.is_duplicate_key());
    assert_eq!(error.line, 2);
    assert!(error.message.contains("`b`"), "{error}");
    // Spelled differently, still the same key.
    assert!(
        from_slice_strict(br#"{"a":1,"\u0061":2}"#)
            .unwrap_err()
            .is_duplicate_key()
    );
}

#[test]
fn nesting_is_limited_without_overflowing_the_stack() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(from_slice_strict(nested(MAX_DEPTH).as_bytes()).is_ok());
    for levels in [MAX_DEPTH + 1, 120, 200, 100_000] {
        let error = from_slice_strict(nested(levels).as_bytes()).unwrap_err();
        assert!(error.is_too_deep(), "{levels}: {error}");
    }
    let objects = format!("{}1{}", "{\"a\":".repeat(MAX_DEPTH + 1), "}".repeat(MAX_DEPTH + 1));
    assert!(from_slice_strict(objects.as_bytes()).unwrap_err().is_too_deep());
}

#[test]
fn broken_json_is_refused_with_its_place() {
    for broken in [
        "",
        "{",
        "{\"a\":}",
        "[1,]",
        "1 2",
        "nul",
        "\"\\ud800\"",
        "1e999",
        "{a:1}",
        "\u{feff}1",
    ] {
        let error = from_slice_strict(broken.as_bytes()).unwrap_err();
        assert!(!error.is_duplicate_key() && !error.is_too_deep(), "{broken}: {error}");
        assert!(!error.message.contains(" at line "), "{error}");
    }
    assert!(from_slice_strict(b"\"\xff\"").is_err());
}

/// JSON values of every kind, numbers at the edges of what 64 bits and doubles hold included.
fn any_json() -> impl Strategy<Value = Value> {
    let edges = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        (any::<i64>(), -30i32..30).prop_map(|(n, e)| json!(n as f64 * 10f64.powi(e))),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        edges,
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// `value` as JSON text with keys in the opposite order and white space in between.
fn reversed(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[ {} ]", items.iter().map(reversed).collect::<Vec<_>>().join(" ,\n")),
        Value::Object(fields) => {
            let mut parts: Vec<String> = fields
                .iter()
                .map(|(key, field)| format!("{} : {}", json!(key), reversed(field)))
                .collect();
            parts.reverse();
            format!("{{\t{}\r\n}}", parts.join(" , "))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn canonical_bytes_are_a_fixed_point(value in any_json()) {
        let bytes = to_vec(&value);
        let again: Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(to_vec(&again), bytes.clone());
        prop_assert_eq!(from_slice_strict(&bytes).unwrap(), again);
    }

    #[test]
    fn key_order_and_white_space_do_not_matter(value in any_json()) {
        let other = from_slice_strict(reversed(&value).as_bytes()).unwrap();
        prop_assert_eq!(to_vec(&other), to_vec(&value));
    }

    #[test]
    fn normal_values_are_what_canonical_bytes_read_back_as(value in any_json()) {
        let normal = normalize(value.clone());
        prop_assert_eq!(to_vec(&normal), to_vec(&value));
        prop_assert_eq!(&normal, &from_slice_strict(&to_vec(&value)).unwrap());
        prop_assert_eq!(normalize(normal.clone()), normal);
    }

    #[test]
    fn what_is_plainly_canonical_is_canonical(value in any_json(), at in any::<prop::sample::Index>(), byte in edge_byte()) {
        let mut bytes = to_vec(&value);
        let place = at.index(bytes.len());
        for edit in 0..4 {
            match edit {
                0 => {}
                1 => bytes[place] = byte,
                2 => bytes.insert(place, byte),
                _ => _ = bytes.remove(place),
            }
            if is_plainly_canonical(&bytes) {
                let read = from_slice_strict(&bytes).unwrap();
                prop_assert_eq!(to_vec(&read), bytes.clone());
            }
        }
    }

    #[test]
    fn usual_values_are_plainly_canonical(value in usual_json()) {
        prop_assert!(is_plainly_canonical(&to_vec(&value)));
    }
}

/// A byte that means something in JSON.
fn edge_byte() -> impl Strategy<Value = u8> {
    prop::sample::select(&b"\"\\{}[]:,-+.eE0192tnfu ab\n\0\x1f\x7f\xff"[..])
}

/// What manifests are made of: ASCII keys, any texts, integers.
fn usual_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|n| json!(n)),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(("[a-zA-Z0-9./_-]{0,8}", inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn what_is_not_canonical_is_not_plainly_so() {
    for text in [
        "",
        " 1",
        "1 ",
        "01",
        "-0",
        "-",
        "1.0",
        "1e2",
        "+1",
        "nul",
        "\"a",
        "\"\n\"",
        r#""\/""#,
        r#""\u0041""#,
        r#""\u000a""#,
        r#""\u001F""#,
        r#""\u00""#,
        "[1,]",
        "[1 ,2]",
        "[",
        r#"{"a":1,"a":2}"#,
        r#"{"b":1,"a":2}"#,
        r#"{"a":1,}"#,
        r#"{"a" :1}"#,
        r#"{"a"}"#,
        "{",
    ] {
        assert!(!is_plainly_canonical(text.as_bytes()), "{text}");
    }
    assert!(!is_plainly_canonical(b"\"\xff\""));
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(is_plainly_canonical(&nested(MAX_DEPTH)));
    assert!(from_slice_strict(&nested(MAX_DEPTH)).is_ok());
    assert!(!is_plainly_canonical(&nested(MAX_DEPTH + 1)));
    assert!(is_plainly_canonical(r#"{"a":"é\n\u001f\"","b":[-1,0,{}]}"#.as_bytes()));
}
