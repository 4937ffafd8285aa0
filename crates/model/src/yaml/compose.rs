//! Builds the value of one YAML document from the parser's events: anchors and aliases within a budget, merge
//! keys, keys made text, duplicate keys refused.
//!
//! Called by `stream` with one chunk at a time. It recurses, but never deeper than [`MAX_DEPTH`].

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScanError, Span, StrInput, StructureStyle};
use serde_json::{Map, Value};

use super::stream::Chunk;
use super::{Document, Error, Limits, MAX_DEPTH, Place, dialect};

/// What one value weighs in the alias budget besides its text: about what it takes in memory.
const NODE_BYTES: usize = 64;

/// Reads the document in `chunk`, or `None` if there is nothing but comments.
pub(super) fn document(chunk: &Chunk<'_>, limits: &Limits) -> Result<Option<Document>, Error> {
    dialect::refuse_odd_characters(chunk)?;
    let mut composer = Composer::new(chunk, limits);
    loop {
        let (event, span) = composer.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::StreamEnd => return Ok(None),
            _ => {
                let line = composer.place(span.start).line;
                let value = composer.node(event, span, 0)?;
                composer.end()?;
                return Ok(Some(Document { value, line }));
            }
        }
    }
}

/// A node that has a name.
enum Anchor {
    /// Its end has not been reached: an alias to it would contain itself.
    Open,
    Closed {
        value: Value,
        /// The key it becomes where an alias stands for a key; only scalars can.
        key: Option<Result<String, String>>,
        size: Size,
    },
}

/// How large a value is.
#[derive(Clone, Copy)]
struct Size {
    bytes: usize,
    /// Levels of lists and maps, itself included.
    levels: usize,
}

struct Composer<'t> {
    events: Parser<'t, StrInput<'t>>,
    text: &'t str,
    /// How many `[` and `{` enclose what is read next.
    flow: usize,
    first_line: usize,
    anchors: HashMap<usize, Anchor>,
    /// What anchors and aliases may still add, in bytes.
    budget: usize,
}

impl<'t> Composer<'t> {
    fn new(chunk: &Chunk<'t>, limits: &Limits) -> Self {
        Self {
            events: Parser::new_from_str_with_options(chunk.text, dialect::options()),
            text: chunk.text,
            flow: 0,
            first_line: chunk.line,
            anchors: HashMap::new(),
            budget: limits.alias_bytes,
        }
    }

    fn place(&self, marker: Marker) -> Place {
        Place {
            line: self.first_line - 1 + marker.line(),
            column: marker.col() + 1,
        }
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Error {
        Error::new(self.place(span.start), message)
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Error> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                if let Event::Scalar(text, style, ..) = &event
                    && let Some(message) = dialect::read_otherwise(self.text, text, *style, span, self.flow > 0)
                {
                    return Err(self.error(span, message));
                }
                Ok((event, span))
            }
            Some(Err(error)) => Err(self.scan_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn scan_error(&self, error: &ScanError) -> Error {
        let message = match error.kind() {
            ErrorKind::RecursionLimitExceeded => too_deep(),
            ErrorKind::DirectiveDisallowed => "kubectl does not read YAML directives: remove the line".to_owned(),
            ErrorKind::ExpectedDocumentStart => "belongs to nothing above it: check the indentation".to_owned(),
            ErrorKind::InvalidQuotedScalarIndent => {
                "a quote above is not closed, or its text goes on here without indentation".to_owned()
            }
            ErrorKind::UnknownAnchor => "alias of an anchor that this document does not define".to_owned(),
            _ => error.info(),
        };
        Error::new(self.place(*error.marker()), message)
    }

    /// Nothing may follow the document: kubectl would drop it without a word.
    fn end(&mut self) -> Result<(), Error> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentEnd => {}
                _ => {
                    let message = "kubectl ignores what follows `...`: start the next document with `---`";
                    return Err(self.error(span, message));
                }
            }
        }
    }

    /// The value of the node that begins with `event`, which `depth` lists and maps enclose.
    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Value, Error> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let scalar =
                    dialect::scalar(text, style, tag.as_deref()).map_err(|message| self.error(span, message))?;
                let key = (anchor != 0).then(|| scalar.key());
                let value = scalar.value().map_err(|message| self.error(span, message))?;
                self.define(anchor, &value, key, span)?;
                Ok(value)
            }
            Event::SequenceStart(style, anchor, _) => {
                self.enter(anchor, span, depth)?;
                let outer = self.enter_style(style);
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                self.flow = outer;
                let value = Value::Array(items);
                self.define(anchor, &value, None, span)?;
                Ok(value)
            }
            Event::MappingStart(style, anchor, _) => {
                self.enter(anchor, span, depth)?;
                let outer = self.enter_style(style);
                let value = Value::Object(self.fields(depth)?);
                self.flow = outer;
                self.define(anchor, &value, None, span)?;
                Ok(value)
            }
            Event::Alias(anchor) => self.alias(anchor, span, depth),
            _ => Err(self.error(span, "did not find a value")),
        }
    }

    fn enter(&mut self, anchor: usize, span: Span, depth: usize) -> Result<(), Error> {
        if depth >= MAX_DEPTH {
            return Err(self.error(span, too_deep()));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor::Open);
        }
        Ok(())
    }

    /// Notes that a collection in this style begins; the result is what `flow` must be again behind it.
    fn enter_style(&mut self, style: StructureStyle) -> usize {
        let outer = self.flow;
        self.flow += usize::from(style == StructureStyle::Flow);
        outer
    }

    fn fields(&mut self, depth: usize) -> Result<Map<String, Value>, Error> {
        let mut fields = Map::new();
        let mut places: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            match &event {
                Event::MappingEnd => return Ok(fields),
                Event::Scalar(text, style, _, tag) if dialect::is_merge(text, *style, tag.as_deref()) => {
                    self.merge(&mut fields, depth)?;
                    continue;
                }
                _ => {}
            }
            let key = self.key(event, span)?;
            let place = self.place(span.start);
            if let Some(first) = places.insert(key.clone(), place) {
                let Place { line, column } = first;
                let message =
                    format!("key `{key}` is already set on line {line}, column {column}: remove one of the two");
                return Err(Error::new(place, message));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            fields.insert(key, value);
        }
    }

    fn key(&mut self, event: Event<'t>, span: Span) -> Result<String, Error> {
        let key = match event {
            Event::Scalar(text, style, anchor, tag) => {
                dialect::scalar(text, style, tag.as_deref()).and_then(|scalar| {
                    let key = scalar.key();
                    if anchor != 0 {
                        // A key that is no value (`.inf`) still names itself where an alias repeats it.
                        let value = scalar.value().unwrap_or(Value::Null);
                        let size = Size::of(&value);
                        self.anchors.insert(
                            anchor,
                            Anchor::Closed {
                                value,
                                key: Some(key.clone()),
                                size,
                            },
                        );
                    }
                    key
                })
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(Anchor::Closed { key: Some(key), .. }) => key.clone(),
                _ => Err("a list or a map cannot be a key".to_owned()),
            },
            _ => Err("a list or a map cannot be a key".to_owned()),
        };
        key.map_err(|message| self.error(span, message))
    }

    /// Reads the value of a merge key into `fields`. As with kubectl what comes later in the file wins, so a
    /// merge replaces the fields above it and yields to those below; in a list of maps the first wins.
    fn merge(&mut self, fields: &mut Map<String, Value>, depth: usize) -> Result<(), Error> {
        let (event, span) = self.next()?;
        let Event::SequenceStart(style, anchor, _) = event else {
            let source = self.merge_source(event, span, depth)?;
            fields.extend(source);
            return Ok(());
        };
        self.enter(anchor, span, depth)?;
        let outer = self.enter_style(style);
        let mut sources = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                break;
            }
            sources.push(self.merge_source(event, span, depth)?);
        }
        self.flow = outer;
        if anchor != 0 {
            let list = sources.iter().cloned().map(Value::Object).collect();
            self.define(anchor, &Value::Array(list), None, span)?;
        }
        for source in sources.into_iter().rev() {
            fields.extend(source);
        }
        Ok(())
    }

    fn merge_source(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Map<String, Value>, Error> {
        let value = match event {
            Event::MappingStart(..) | Event::Alias(_) => self.node(event, span, depth)?,
            _ => Value::Null,
        };
        match value {
            Value::Object(fields) => Ok(fields),
            _ => Err(self.error(span, "`<<` takes a map, or a list of maps written out or as aliases")),
        }
    }

    fn define(
        &mut self,
        anchor: usize,
        value: &Value,
        key: Option<Result<String, String>>,
        span: Span,
    ) -> Result<(), Error> {
        if anchor == 0 {
            return Ok(());
        }
        let size = Size::of(value);
        self.spend(size.bytes, span)?;
        self.anchors.insert(
            anchor,
            Anchor::Closed {
                value: value.clone(),
                key,
                size,
            },
        );
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Value, Error> {
        let size = match self.anchors.get(&anchor) {
            Some(Anchor::Closed { size, .. }) => *size,
            Some(Anchor::Open) => return Err(self.error(span, "an anchor's value contains itself")),
            None => return Err(self.error(span, "alias of an anchor that this document does not define")),
        };
        if depth + size.levels > MAX_DEPTH {
            return Err(self.error(span, too_deep()));
        }
        self.spend(size.bytes, span)?;
        match self.anchors.get(&anchor) {
            Some(Anchor::Closed { value, .. }) => Ok(value.clone()),
            _ => Ok(Value::Null),
        }
    }

    fn spend(&mut self, bytes: usize, span: Span) -> Result<(), Error> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.error(
                span,
                "aliases make this document too large: write out what they stand for",
            )),
        }
    }
}

impl Size {
    fn of(value: &Value) -> Self {
        let (mut bytes, mut levels) = (NODE_BYTES, 0);
        let mut add = |inner: Self| {
            bytes += inner.bytes;
            levels = levels.max(inner.levels);
        };
        match value {
            Value::String(text) => {
                return Self {
                    bytes: NODE_BYTES + text.len(),
                    levels: 0,
                };
            }
            Value::Array(items) => items.iter().for_each(|item| add(Self::of(item))),
            Value::Object(fields) => fields.iter().for_each(|(key, field)| {
                let field = Self::of(field);
                add(Self {
                    bytes: field.bytes + key.len(),
                    levels: field.levels,
                });
            }),
            _ => return Self { bytes, levels },
        }
        Self {
            bytes,
            levels: levels + 1,
        }
    }
}

fn too_deep() -> String {
    format!("nested too deeply: more than {MAX_DEPTH} levels")
}
