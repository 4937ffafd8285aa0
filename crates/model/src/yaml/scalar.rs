//! What an unquoted scalar means: the YAML 1.1 rules as kubectl applies them.
//!
//! The rules are those of go-yaml v2, oddities included, since they are what people's manifests mean today:
//! `0644` is octal but `08` is the float 8, `1:30` and dates are strings, `1e999` is a string and not infinity.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::canonical;

/// The prefix that `!!` stands for.
const CORE: &str = "tag:yaml.org,2002:";

/// A scalar with its meaning decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'t> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Cow<'t, str>),
}

impl<'t> Scalar<'t> {
    /// A scalar without quotes and without a tag.
    pub(super) fn plain(text: Cow<'t, str>) -> Self {
        resolve(&text).unwrap_or(Scalar::Text(text))
    }

    /// A scalar with an explicit tag, given in full. Quotes make no difference then.
    pub(super) fn tagged(tag: &str, text: Cow<'t, str>) -> Result<Self, String> {
        let Some(kind) = tag.strip_prefix(CORE) else {
            return Ok(Scalar::Text(text));
        };
        let resolved = resolve(&text);
        match (kind, resolved) {
            ("bool", Some(scalar @ Scalar::Bool(_)))
            | ("int", Some(scalar @ (Scalar::Int(_) | Scalar::Uint(_))))
            | ("float", Some(scalar @ Scalar::Float(_)))
            | ("null", Some(scalar @ Scalar::Null)) => Ok(scalar),
            ("float", Some(Scalar::Int(int))) => Ok(Scalar::Float(int as f64)),
            ("timestamp", _) if is_timestamp(&text) => Ok(Scalar::Text(text)),
            ("bool" | "int" | "float" | "null" | "timestamp", _) => Err(format!(
                "`{}` is not a !!{kind}: correct the value or remove the tag",
                shorten(&text)
            )),
            ("binary", _) => binary(&text).map(|text| Scalar::Text(text.into())),
            _ => Ok(Scalar::Text(text)),
        }
    }

    /// The JSON value that the scalar becomes.
    pub(super) fn value(self) -> Result<Value, String> {
        Ok(match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(bool) => Value::Bool(bool),
            Scalar::Int(int) => Value::Number(int.into()),
            Scalar::Uint(int) => Value::Number(int.into()),
            Scalar::Float(float) => canonical::number(float)
                .map(Value::Number)
                .ok_or_else(|| format!("JSON has no {}: quote it if it is meant as text", infinite_name(float)))?,
            Scalar::Text(text) => Value::String(text.into_owned()),
        })
    }

    /// The key of a JSON object that the scalar becomes, as kubectl turns numbers and booleans into keys.
    pub(super) fn key(&self) -> Result<String, String> {
        match self {
            Scalar::Null => Err("null cannot be a key: quote it if it is meant as text".to_owned()),
            Scalar::Bool(bool) => Ok(bool.to_string()),
            Scalar::Int(int) => Ok(int.to_string()),
            Scalar::Uint(int) => Err(format!("{int} is too large for a key: quote it")),
            Scalar::Float(float) => Ok(float_key(*float)),
            Scalar::Text(text) => Ok(text.clone().into_owned()),
        }
    }
}

/// The meaning of `text`, or `None` for a string.
fn resolve<'t>(text: &str) -> Option<Scalar<'t>> {
    match text.as_bytes().first() {
        None => Some(Scalar::Null),
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => word(text),
        Some(b'.') => special_float(text).or_else(|| dotted_float(text)),
        Some(b'+' | b'-') => special_float(text).or_else(|| number(text)),
        Some(b'0'..=b'9') => number(text),
        Some(_) => None,
    }
}

fn word<'t>(text: &str) -> Option<Scalar<'t>> {
    match text {
        "~" | "null" | "Null" | "NULL" => Some(Scalar::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(Scalar::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Scalar::Bool(false))
        }
        _ => None,
    }
}

fn special_float<'t>(text: &str) -> Option<Scalar<'t>> {
    match text {
        ".nan" | ".NaN" | ".NAN" => Some(Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(Scalar::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => Some(Scalar::Float(f64::NEG_INFINITY)),
        _ => None,
    }
}

/// A float that begins with its point: only here must an underscore stand between digits.
fn dotted_float<'t>(text: &str) -> Option<Scalar<'t>> {
    let bytes = text.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    let misplaced = (0..bytes.len()).any(|at| bytes[at] == b'_' && !(at > 0 && digit(at - 1) && digit(at + 1)));
    if misplaced {
        return None;
    }
    finite(&text.replace('_', ""))
}

fn number<'t>(text: &str) -> Option<Scalar<'t>> {
    let digits: Cow<'_, str> = if text.contains('_') {
        text.replace('_', "").into()
    } else {
        text.into()
    };
    integer(&digits).or_else(|| if is_float(&digits) { finite(&digits) } else { None })
}

/// An integer with an optional sign and one of the prefixes `0x`, `0o`, `0b` or a bare `0` for octal. Beyond
/// `i64` only without a sign.
fn integer<'t>(text: &str) -> Option<Scalar<'t>> {
    let (negative, signed, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let (radix, digits) = radix_of(unsigned);
    // `from_str_radix` would take a second sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = match u64::from_str_radix(digits, radix) {
        Ok(magnitude) => magnitude,
        Err(_) if unsigned == "0" => 0,
        Err(_) => return None,
    };
    if negative {
        return 0i64.checked_sub_unsigned(magnitude).map(Scalar::Int);
    }
    match i64::try_from(magnitude) {
        Ok(int) => Some(Scalar::Int(int)),
        Err(_) if signed => None,
        Err(_) => Some(Scalar::Uint(magnitude)),
    }
}

fn radix_of(text: &str) -> (u32, &str) {
    match text.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &text[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &text[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &text[2..]),
        [b'0', ..] => (8, &text[1..]),
        _ => (10, text),
    }
}

/// `[-+]? ( "." digits | digits ( "." digits? )? ) ( [eE] [-+]? digits )?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        None => digits(mantissa),
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
    };
    mantissa_fits && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)))
}

/// `text` as a float; what a double cannot hold stays text.
fn finite<'t>(text: &str) -> Option<Scalar<'t>> {
    text.parse::<f64>()
        .ok()
        .filter(|float| float.is_finite())
        .map(Scalar::Float)
}

/// A float key as Go's `strconv.FormatFloat(key, 'g', -1, 32)` writes it.
fn float_key(float: f64) -> String {
    let single = float as f32;
    if single.is_nan() || single.is_infinite() {
        return infinite_name(f64::from(single)).to_owned();
    }
    let scientific = format!("{single:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` always writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        single.to_string()
    }
}

fn infinite_name(float: f64) -> &'static str {
    if float.is_nan() {
        ".nan"
    } else if float > 0.0 {
        ".inf"
    } else {
        "-.inf"
    }
}

/// The text inside a `!!binary` scalar: base64, broken into lines at will.
fn binary(text: &str) -> Result<String, String> {
    let unbroken: String = text.chars().filter(|char| !matches!(char, '\n' | '\r')).collect();
    let bytes = STANDARD
        .decode(unbroken)
        .map_err(|_| "!!binary value is not base64".to_owned())?;
    // kubectl would put U+FFFD in place of what is not text, and so break it.
    String::from_utf8(bytes)
        .map_err(|_| "!!binary value is not UTF-8 text: keep the base64 and remove the tag".to_owned())
}

/// `2001-12-14`, with an optional `T21:59:43.10Z` (or a zone as `-05:00`) or ` 21:59:43.10` behind it.
fn is_timestamp(text: &str) -> bool {
    let Some(rest) = date(text) else { return false };
    if rest.is_empty() {
        return true;
    }
    let zoned = rest.starts_with(['T', 't']);
    if !zoned && !rest.starts_with(' ') {
        return false;
    }
    // Go's time.Parse lets any number of spaces stand for the one of its layout.
    let clock = if zoned {
        &rest[1..]
    } else {
        rest.trim_start_matches(' ')
    };
    time(clock).is_some_and(|zone| if zoned { is_zone(zone) } else { zone.is_empty() })
}

/// Takes `YYYY-M-D` off the front of `text`.
fn date(text: &str) -> Option<&str> {
    let (year, rest) = text.split_at_checked(4)?;
    if !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: u16 = year.parse().ok()?;
    let (month, rest) = short_number(rest.strip_prefix('-')?)?;
    let (day, rest) = short_number(rest.strip_prefix('-')?)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=days).contains(&day).then_some(rest)
}

/// Takes `H:M:S` and an optional fraction off the front of `text`.
fn time(text: &str) -> Option<&str> {
    let (hour, rest) = short_number(text)?;
    let (minute, rest) = short_number(rest.strip_prefix(':')?)?;
    let (second, rest) = short_number(rest.strip_prefix(':')?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let end = fraction
                .find(|char: char| !char.is_ascii_digit())
                .unwrap_or(fraction.len());
            (end > 0).then(|| &fraction[end..])
        }
        None => Some(rest),
    }
}

fn is_zone(text: &str) -> bool {
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    text == "Z"
        || text
            .strip_prefix(['+', '-'])
            .and_then(|offset| offset.split_once(':'))
            .is_some_and(|(hours, minutes)| digits(hours) && digits(minutes) && hours <= "24" && minutes <= "60")
}

/// Takes a number of one or two digits off the front of `text`.
fn short_number(text: &str) -> Option<(u8, &str)> {
    let length = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    Some((digits.parse().ok()?, rest))
}

fn shorten(text: &str) -> Cow<'_, str> {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
