//! Finds the place of a field in a text, for messages about values that were read long before.
//!
//! Reads the text again instead of keeping places beside every value: messages are rare, values are many.

use granit_parser::{Event, Parser, Span, StrInput};

use super::stream::normal_lines;
use super::{Place, dialect};

/// The place of the field that the JSON pointer names, in the document that starts on `line` of `text` (see
/// [`super::Document`]): the key of a map's entry, the start of a list's item. A field that stands somewhere
/// else, behind an alias or a merge key, gives the innermost place on the way to it.
#[must_use]
pub fn locate(text: &str, line: usize, pointer: &str) -> Option<Place> {
    let text = normal_lines(text);
    let start: usize = text
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let mut walk = Walk {
        events: Parser::new_from_str_with_options(&text[start..], dialect::options()),
        skipped: line - 1,
        found: None,
    };
    let mut steps = pointer
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"));
    loop {
        let (event, span) = walk.next()?;
        if !matches!(event, Event::StreamStart | Event::DocumentStart(..)) {
            walk.found = Some(walk.place(span));
            walk.follow(&event, &mut steps);
            return walk.found;
        }
    }
}

struct Walk<'t> {
    events: Parser<'t, StrInput<'t>>,
    skipped: usize,
    found: Option<Place>,
}

impl<'t> Walk<'t> {
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        self.events.next()?.ok()
    }

    fn place(&self, span: Span) -> Place {
        Place {
            line: span.start.line() + self.skipped,
            column: span.start.col() + 1,
        }
    }

    /// Follows `steps` into the node that begins with `event`; `None` where they lead no further.
    fn follow(&mut self, event: &Event<'t>, steps: &mut impl Iterator<Item = String>) -> Option<()> {
        let mut event = event.clone();
        for step in steps {
            event = match event {
                Event::MappingStart(..) => self.field(&step)?,
                Event::SequenceStart(..) => self.item(step.parse().ok()?)?,
                _ => return None,
            };
        }
        Some(())
    }

    fn field(&mut self, name: &str) -> Option<Event<'t>> {
        loop {
            let (key, span) = self.next()?;
            let matches = match key {
                Event::MappingEnd => return None,
                Event::Scalar(text, style, _, tag) => {
                    dialect::scalar(text, style, tag.as_deref())
                        .and_then(|scalar| scalar.key())
                        .ok()?
                        == name
                }
                other => {
                    self.skip(&other)?;
                    false
                }
            };
            let (value, _) = self.next()?;
            if matches {
                self.found = Some(self.place(span));
                return Some(value);
            }
            self.skip(&value)?;
        }
    }

    fn item(&mut self, index: usize) -> Option<Event<'t>> {
        for _ in 0..index {
            let (item, _) = self.next()?;
            if item == Event::SequenceEnd {
                return None;
            }
            self.skip(&item)?;
        }
        let (item, span) = self.next()?;
        if item == Event::SequenceEnd {
            return None;
        }
        self.found = Some(self.place(span));
        Some(item)
    }

    /// Reads to the end of the node that begins with `event`.
    fn skip(&mut self, event: &Event<'t>) -> Option<()> {
        let mut open = opens(event);
        while open > 0 {
            let (event, _) = self.next()?;
            match event {
                Event::SequenceEnd | Event::MappingEnd => open -= 1,
                other => open += opens(&other),
            }
        }
        Some(())
    }
}

fn opens(event: &Event<'_>) -> usize {
    usize::from(matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)))
}
