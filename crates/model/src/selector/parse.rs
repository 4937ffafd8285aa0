//! The grammar of `kubectl -l`.

use super::{Error, Operator, Requirement, Selector};

/// A position in the text of a selector.
struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
}

pub(super) fn selector(text: &str) -> Result<Selector, Error> {
    let mut selector = Selector::default();
    let mut cursor = Cursor { text, rest: text };
    cursor.skip_spaces();
    if cursor.rest.is_empty() {
        return Ok(selector);
    }
    loop {
        cursor.requirement(&mut selector)?;
        cursor.skip_spaces();
        if cursor.rest.is_empty() {
            return Ok(selector);
        }
        cursor.expect(',')?;
    }
}

impl<'a> Cursor<'a> {
    fn requirement(&mut self, into: &mut Selector) -> Result<(), Error> {
        let mut push = |key: &str, operator, values| {
            into.match_expressions.push(Requirement {
                key: key.to_owned(),
                operator,
                values,
            });
        };
        if self.take("!") {
            let key = self.word("a label's key after `!`")?;
            push(key, Operator::DoesNotExist, Vec::new());
            return Ok(());
        }
        let key = self.word("a label's key")?;
        self.skip_spaces();
        if self.take("!=") {
            let value = self.value();
            push(key, Operator::NotIn, vec![value]);
        } else if self.take("==") || self.take("=") {
            let value = self.value();
            match into.match_labels.get(key) {
                // A second value for one key can never hold beside the first; it is kept as it was written.
                Some(first) if *first != value => push(key, Operator::In, vec![value]),
                _ => {
                    into.match_labels.insert(key.to_owned(), value);
                }
            }
        } else if self.rest.is_empty() || self.rest.starts_with(',') {
            push(key, Operator::Exists, Vec::new());
        } else {
            let operator = match self.word("an operator")? {
                "in" => Operator::In,
                "notin" => Operator::NotIn,
                other => return Err(self.error(&format!("`{other}` is no operator"))),
            };
            let values = self.values()?;
            push(key, operator, values);
        }
        Ok(())
    }

    fn values(&mut self) -> Result<Vec<String>, Error> {
        self.skip_spaces();
        self.expect('(')?;
        let mut values = Vec::new();
        loop {
            values.push(self.word("a value")?.to_owned());
            self.skip_spaces();
            if self.take(")") {
                return Ok(values);
            }
            self.expect(',')?;
        }
    }

    /// The value after `=`, which may be empty.
    fn value(&mut self) -> String {
        self.skip_spaces();
        self.chars().to_owned()
    }

    fn word(&mut self, what: &str) -> Result<&'a str, Error> {
        self.skip_spaces();
        match self.chars() {
            "" => Err(self.error(&format!("{what} is missing"))),
            word => Ok(word),
        }
    }

    fn chars(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|char: char| char.is_whitespace() || "=!,()".contains(char))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest.strip_prefix(token).map(|rest| self.rest = rest).is_some()
    }

    fn expect(&mut self, token: char) -> Result<(), Error> {
        self.skip_spaces();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None if self.rest.is_empty() => Err(self.error(&format!("it ends where `{token}` should be"))),
            None => Err(self.error(&format!("`{token}` should be where `{}` is", self.rest))),
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn error(&self, reason: &str) -> Error {
        Error::Syntax {
            text: self.text.to_owned(),
            reason: reason.to_owned(),
        }
    }
}
