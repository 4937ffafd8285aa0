//! From text to a [`Template`].

use std::str::FromStr;

use serde_json::Value;

use super::{Comparison, Filter, Operand, Path, Segment, Step, Template};

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Err("the template has no expression in braces: write jsonpath='{.name}'".to_owned());
        }
        // The ranges that are open, outermost first; the segments of the innermost come last.
        let mut open: Vec<(Path, Vec<Segment>)> = Vec::new();
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                segments.push(Segment::Text(before.to_owned()));
            }
            let (action, after) = split_action(after)?;
            rest = after;
            match Action::read(action.trim())? {
                Action::Text(text) => segments.push(Segment::Text(text)),
                Action::Path(path) => segments.push(Segment::Path(path)),
                Action::Range(path) => open.push((path, std::mem::take(&mut segments))),
                Action::End => {
                    let (path, outer) = open.pop().ok_or("{end} ends no {range …}")?;
                    let inner = std::mem::replace(&mut segments, outer);
                    segments.push(Segment::Range(path, inner));
                }
            }
        }
        if !open.is_empty() {
            return Err("a {range …} has no {end}".to_owned());
        }
        if !rest.is_empty() {
            segments.push(Segment::Text(rest.to_owned()));
        }
        Ok(Self { segments })
    }
}

/// What stands in a pair of braces.
enum Action {
    Text(String),
    Path(Path),
    Range(Path),
    End,
}

impl Action {
    fn read(text: &str) -> Result<Self, String> {
        if text == "end" {
            return Ok(Self::End);
        }
        if let Some(path) = text.strip_prefix("range").filter(|path| !path.starts_with(is_key)) {
            return Ok(Self::Range(path_of(path.trim())?));
        }
        if text.starts_with(['"', '\'']) {
            let (text, rest) = quoted(text)?;
            return match rest.trim() {
                "" => Ok(Self::Text(text)),
                rest => Err(format!("`{rest}` stands behind a text: put it in braces of its own")),
            };
        }
        path_of(text).map(Self::Path)
    }
}

fn is_key(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || char == '-'
}

/// Splits off what ends with the brace that closes it, rather than with one in quotes.
fn split_action(text: &str) -> Result<(&str, &str), String> {
    let end = find(text, |char| char == '}').ok_or_else(|| format!("`{{{text}` is never closed: it lacks a `}}`"))?;
    Ok((&text[..end], &text[end + 1..]))
}

/// Where the first of these characters stands that is neither in quotes nor behind a backslash.
fn find(text: &str, mut wanted: impl FnMut(char) -> bool) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, char) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (char, quote) {
            ('\\', _) => escaped = true,
            (char, Some(open)) if char == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(char),
            (char, None) if wanted(char) => return Some(index),
            _ => {}
        }
    }
    None
}

/// A whole path.
fn path_of(text: &str) -> Result<Path, String> {
    let (from_root, text) = match text.strip_prefix('$') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('@').unwrap_or(text)),
    };
    // kubectl takes `{name}` for a function; there is none.
    if !text.is_empty() && !text.starts_with(['.', '[']) {
        return Err(format!("`{text}` is no path: write `.{text}`"));
    }
    Ok(Path {
        from_root,
        steps: steps_of(text)?,
    })
}

fn steps_of(mut text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix("..") {
            steps.push(Step::Descend);
            text = rest;
            if !text.is_empty() && !text.starts_with(['[', '.']) {
                let (key, rest) = key(text)?;
                steps.push(key);
                text = rest;
            }
        } else if let Some(rest) = text.strip_prefix('.') {
            // `{.}` is what one stands on, and `.[0]` the same as `[0]`.
            if rest.is_empty() || rest.starts_with('[') {
                text = rest;
                continue;
            }
            let (key, rest) = key(rest)?;
            steps.push(key);
            text = rest;
        } else if let Some(rest) = text.strip_prefix('[') {
            let end = closing(rest).ok_or_else(|| format!("`{text}` lacks a `]`"))?;
            steps.extend(brackets(rest[..end].trim())?);
            text = &rest[end + 1..];
        } else {
            return Err(format!("`{text}` cannot follow a path: write `.` or `[` before it"));
        }
    }
    Ok(steps)
}

/// Where the bracket ends that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    find(text, |char| {
        match char {
            '[' => depth += 1,
            ']' if depth == 0 => return true,
            ']' => depth -= 1,
            _ => {}
        }
        false
    })
}

/// A key, up to what begins the next step. A backslash takes the next character as it is.
fn key(text: &str) -> Result<(Step, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((index, char)) = chars.next() {
        match char {
            '\\' => name.extend(chars.next().map(|(_, char)| char)),
            '.' | '[' => {
                end = index;
                break;
            }
            ' ' | ',' | ']' | '$' | '@' | '{' => {
                return Err(format!(
                    "`{char}` in `{text}` belongs to no key: write `\\{char}` if it does"
                ));
            }
            char => name.push(char),
        }
    }
    match &text[..end] {
        "" => Err("a `.` without a key behind it".to_owned()),
        "*" => Ok((Step::All, &text[end..])),
        _ => Ok((Step::Field(name), &text[end..])),
    }
}

/// What stands in brackets.
fn brackets(text: &str) -> Result<Vec<Step>, String> {
    if let Some(filter) = text.strip_prefix("?(") {
        let filter = filter
            .strip_suffix(')')
            .ok_or_else(|| format!("`[{text}]` lacks a `)`"))?;
        return Ok(vec![Step::Filter(filter_of(filter.trim())?)]);
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(comma) = find(rest, |char| char == ',') {
        parts.push(&rest[..comma]);
        rest = &rest[comma + 1..];
    }
    parts.push(rest);
    match parts.as_slice() {
        [one] => bracket(one.trim()),
        many => {
            let all = many.iter().map(|part| bracket(part.trim()));
            Ok(vec![Step::Union(all.collect::<Result<_, _>>()?)])
        }
    }
}

/// One of the things in brackets: `*`, `'key'`, `3`, `1:2`.
fn bracket(text: &str) -> Result<Vec<Step>, String> {
    let wrong = || format!("`[{text}]` is no index: write [0], [1:3], [*], ['key'] or [?(@.key==\"value\")]");
    if text == "*" {
        return Ok(vec![Step::All]);
    }
    if let Some(quote) = text.chars().next().filter(|char| matches!(char, '"' | '\'')) {
        let key = text[1..]
            .strip_suffix(quote)
            .filter(|key| !key.is_empty())
            .ok_or_else(wrong)?;
        return steps_of(&format!(".{key}"));
    }
    let numbers: Vec<_> = text
        .split(':')
        .map(|number| match number {
            "" => Ok(None),
            number => number.parse::<i64>().map(Some).map_err(|_| wrong()),
        })
        .collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [Some(index)] => Ok(vec![Step::Index(*index)]),
        [start, end] => Ok(vec![slice(*start, *end, None)?]),
        [start, end, step] => Ok(vec![slice(*start, *end, *step)?]),
        _ => Err(wrong()),
    }
}

fn slice(start: Option<i64>, end: Option<i64>, step: Option<i64>) -> Result<Step, String> {
    match step.unwrap_or(1) {
        step @ 1.. => Ok(Step::Slice { start, end, step }),
        step => Err(format!("a step of {step} leads nowhere: it must be above 0")),
    }
}

fn filter_of(text: &str) -> Result<Filter, String> {
    if text.contains("&&") || text.contains("||") || text.contains("=~") {
        return Err(format!(
            "`{text}`: a filter compares two things once, as in kubectl; there is no &&, || or =~"
        ));
    }
    let Some(at) = find(text, |char| matches!(char, '=' | '!' | '<' | '>')) else {
        return path_of(text).map(Filter::Has);
    };
    let (left, rest) = text.split_at(at);
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let (right, comparison) = operators
        .into_iter()
        .find_map(|(sign, comparison)| Some((rest.strip_prefix(sign)?, comparison)))
        .ok_or_else(|| format!("`{text}` compares with none of ==, !=, <, <=, > and >="))?;
    Ok(Filter::Holds(operand(left.trim())?, comparison, operand(right.trim())?))
}

fn operand(text: &str) -> Result<Operand, String> {
    if text.starts_with(['@', '$', '.', '[']) {
        return path_of(text).map(Operand::Path);
    }
    if text.starts_with(['"', '\'']) {
        return match quoted(text)? {
            (value, "") => Ok(Operand::Value(Value::from(value))),
            (_, rest) => Err(format!("`{rest}` stands behind a text")),
        };
    }
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => Ok(Operand::Value(value)),
        _ => Err(format!(
            "`{text}` is neither a path nor a number nor true or false: put a text in quotes"
        )),
    }
}

/// A text in quotes, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, quote)| quote);
    let mut out = String::new();
    while let Some((index, char)) = chars.next() {
        match char {
            char if Some(char) == quote => return Ok((out, &text[index + char.len_utf8()..])),
            '\\' => match chars.next().map(|(_, char)| char) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(same @ ('\\' | '"' | '\'' | '/')) => out.push(same),
                Some(other) => {
                    return Err(format!(
                        "`\\{other}` in {text} means nothing; there are \\n, \\t, \\r and \\\\"
                    ));
                }
                None => break,
            },
            char => out.push(char),
        }
    }
    Err(format!("{text} has no closing quote"))
}
