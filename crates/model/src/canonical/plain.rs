//! Tells by one look at the bytes that they are canonical: most are, and need no value to be built of them.

use super::MAX_DEPTH;

/// Integers of so many digits fit 64 bits, whatever they are.
const DIGITS: usize = 18;

/// Are these the canonical bytes of a JSON value, and of the usual kind? `true` is certain. `false` is not: keys with
/// escapes or beyond ASCII, fractions and huge integers may be canonical too, which reading and writing them shows.
pub(crate) fn is_plainly_canonical(bytes: &[u8]) -> bool {
    if std::str::from_utf8(bytes).is_err() {
        return false;
    }
    let mut look = Look { rest: bytes };
    look.value(0).is_some() && look.rest.is_empty()
}

/// What is still to be looked at. Every step is `None` where it is not plain.
struct Look<'a> {
    rest: &'a [u8],
}

impl<'a> Look<'a> {
    /// A value inside of so many arrays and objects.
    fn value(&mut self, depth: usize) -> Option<()> {
        match *self.rest.first()? {
            b'"' => self.text().map(|_| ()),
            b'{' if depth < MAX_DEPTH => self.object(depth + 1),
            b'[' if depth < MAX_DEPTH => self.array(depth + 1),
            b't' => self.skip(b"true"),
            b'f' => self.skip(b"false"),
            b'n' => self.skip(b"null"),
            b'-' | b'0'..=b'9' => self.integer(),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.skip(b"{")?;
        if self.next_is(b'}') {
            return Some(());
        }
        let mut last: Option<&[u8]> = None;
        loop {
            let key = self.text()?;
            let is_next = last.is_none_or(|last| last < key);
            // Only of ASCII is the order of the bytes that of the form.
            if !is_next || !key.is_ascii() || key.contains(&b'\\') {
                return None;
            }
            last = Some(key);
            self.skip(b":")?;
            self.value(depth)?;
            if self.next_is(b'}') {
                return Some(());
            }
            self.skip(b",")?;
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.skip(b"[")?;
        if self.next_is(b']') {
            return Some(());
        }
        loop {
            self.value(depth)?;
            if self.next_is(b']') {
                return Some(());
            }
            self.skip(b",")?;
        }
    }

    /// A text, as it is between its quotes.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.skip(b"\"")?;
        let text = self.rest;
        let mut at = 0;
        loop {
            at += text[at..]
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
            match text[at] {
                b'"' => break,
                b'\\' => at += escape(&text[at + 1..])?,
                _ => return None,
            }
        }
        self.rest = &text[at + 1..];
        Some(&text[..at])
    }

    fn integer(&mut self) -> Option<()> {
        let is_negative = self.next_is(b'-');
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        let is_one = match number {
            [] => false,
            [b'0'] => !is_negative,
            [first, ..] => *first != b'0' && digits <= DIGITS,
        };
        let is_more = matches!(rest.first(), Some(b'.' | b'e' | b'E'));
        self.rest = rest;
        (is_one && !is_more).then_some(())
    }

    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// Skips this byte if it comes next.
    fn next_is(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}

/// The length of an escape, its backslash included, where it is the one that the form has for its character.
fn escape(after: &[u8]) -> Option<usize> {
    match after {
        [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [
            b'u',
            b'0',
            b'0',
            high @ (b'0' | b'1'),
            low @ (b'0'..=b'9' | b'a'..=b'f'),
            ..,
        ] => {
            let has_short = *high == b'0' && matches!(low, b'8' | b'9' | b'a' | b'c' | b'd');
            (!has_short).then_some(6)
        }
        _ => None,
    }
}
