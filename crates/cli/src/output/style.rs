//! The few colours there are, each with one meaning.

fn paint(code: &str, text: impl AsRef<str>) -> String {
    format!("\x1b[{code}m{}\x1b[0m", text.as_ref())
}

/// As it should be; added.
pub(crate) fn good(text: impl AsRef<str>) -> String {
    paint("32", text)
}

/// On its way; changed.
pub(crate) fn warn(text: impl AsRef<str>) -> String {
    paint("33", text)
}

/// Not as it should be; removed.
pub(crate) fn bad(text: impl AsRef<str>) -> String {
    paint("31", text)
}

/// Headings and names.
pub(crate) fn bold(text: impl AsRef<str>) -> String {
    paint("1", text)
}

/// What matters less.
pub(crate) fn dim(text: impl AsRef<str>) -> String {
    paint("2", text)
}
