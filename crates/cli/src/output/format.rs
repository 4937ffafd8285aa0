//! The forms of output that `-o` chooses among, and how a form is written on the command line.

use clap::builder::{PossibleValue, TypedValueParser};

use super::jsonpath::Template;

/// A form of output, with all it needs to print.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with room: more columns, nothing cut.
    Wide,
    /// For programs.
    Json,
    /// The same document as JSON, in YAML.
    Yaml,
    /// Names only, one per line.
    Name,
    /// What a template takes out of the document.
    JsonPath(Template),
}

/// A form of output without what it needs: what a command can say of itself before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    JsonPath,
}

impl Kind {
    /// All of them, in the order of the help.
    pub(crate) const ALL: [Self; 6] = [
        Self::Table,
        Self::Wide,
        Self::Json,
        Self::Yaml,
        Self::Name,
        Self::JsonPath,
    ];

    /// As it is written behind `-o`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Name => "name",
            Self::JsonPath => "jsonpath=TEMPLATE",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Table => "For people",
            Self::Wide => "For people with room: more columns, nothing cut",
            Self::Json => "For programs",
            Self::Yaml => "The same document in YAML",
            Self::Name => "Names only, one per line",
            Self::JsonPath => "What a template takes out of the document, as in kubectl",
        }
    }
}

impl Format {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Table => Kind::Table,
            Self::Wide => Kind::Wide,
            Self::Json => Kind::Json,
            Self::Yaml => Kind::Yaml,
            Self::Name => Kind::Name,
            Self::JsonPath(_) => Kind::JsonPath,
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            _ => match text.split_once('=') {
                Some(("jsonpath", template)) => template.parse().map(Self::JsonPath),
                _ if text == "jsonpath" => Err("it needs a template: -o jsonpath='{.name}'".to_owned()),
                _ => {
                    let words = Kind::ALL.map(Kind::word).join(", ");
                    Err(format!("there is no such form of output; there are {words}"))
                }
            },
        }
    }
}

/// Reads `-o`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Format, clap::Error> {
        let read: fn(&str) -> Result<Format, String> = Format::read;
        read.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = Kind::ALL.map(|kind| PossibleValue::new(kind.word()).help(kind.meaning()));
        Some(Box::new(values.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_kubectl_writes_them() {
        assert_eq!(Format::read("wide"), Ok(Format::Wide));
        assert_eq!(Format::read("jsonpath={.name}").unwrap().kind(), Kind::JsonPath);
        assert!(Format::read("jsonpath").unwrap_err().contains("needs a template"));
        assert!(Format::read("jsonpath={.name").unwrap_err().contains("never closed"));
        assert!(Format::read("xml").unwrap_err().ends_with("name, jsonpath=TEMPLATE"));
    }
}
