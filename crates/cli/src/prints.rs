//! What each command prints: the forms of output it has, the document behind them, and how it exits.
//!
//! A command declares it beside its code; [`of`] finds it by the command's words. `main` refuses a form that a command
//! has not before anything is done, and the reference (docs/reference/cli.md) is made of the same declarations.

pub(crate) mod fields;

use clap::CommandFactory as _;

use self::fields::Fields;
use crate::{
    args::Args,
    commands,
    output::{Format, Kind},
};

/// What a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prints {
    /// The forms that `-o` may ask for.
    pub(crate) forms: &'static [Kind],
    /// Does long output go through the pager?
    pub(crate) paged: bool,
    /// The fields of its document: where they are, and which. Read by the reference only.
    #[cfg_attr(not(test), expect(dead_code, reason = "the reference is made by a test"))]
    pub(crate) document: &'static [Part],
    /// How it exits, other than with 0, 1 for a failure and 2 for wrong usage.
    pub(crate) exits: &'static [(u8, &'static str)],
}

/// Fields of a document that stand at one place of it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "the reference is made by a test"))]
pub(crate) struct Part {
    /// What goes before the fields: `[].` in a list, `channel.` in a field of that name, nothing at the top.
    pub(crate) at: &'static str,
    /// The fields.
    pub(crate) fields: Fields,
}

/// Prints for people only.
pub(crate) const TEXT: Prints = Prints {
    forms: &[Kind::Table],
    paged: false,
    document: &[],
    exits: &[],
};

/// Prints a document that has no names.
pub(crate) const DOCUMENT: Prints = Prints {
    forms: &[Kind::Table, Kind::Json, Kind::Yaml, Kind::JsonPath],
    ..TEXT
};

/// Prints a document about things with names.
pub(crate) const NAMED: Prints = Prints {
    forms: &[Kind::Table, Kind::Json, Kind::Yaml, Kind::Name, Kind::JsonPath],
    ..TEXT
};

/// Prints things with names, and has more columns for `-o wide`.
pub(crate) const WIDE: Prints = Prints {
    forms: &Kind::ALL,
    ..TEXT
};

/// Every command that does something, by its words.
pub(crate) const ALL: &[(&str, &Prints)] = &[
    ("demo", &TEXT),
    ("server", &TEXT),
    ("login", &commands::login::PRINTS),
    ("context list", &commands::context::LISTED),
    ("context use", &commands::context::CHOSEN),
    ("context remove", &commands::context::CHOSEN),
    ("channel create", &commands::channel::CREATED),
    ("channel list", &commands::channel::LISTED),
    ("cluster enroll", &commands::cluster::ENROLLED),
    ("cluster list", &commands::clusters::PRINTS),
    ("cluster label", &commands::cluster::CHANGED),
    ("cluster vars", &commands::cluster::CHANGED),
    ("cluster move", &commands::cluster::CHANGED),
    ("cluster apply", &commands::cluster::CHANGED),
    ("cluster retire", &commands::cluster::RETIRED),
    ("push", &commands::push::PRINTS),
    ("remove", &commands::remove::PRINTS),
    ("diff", &commands::diff::PRINTS),
    ("dry-run", &commands::dry_run::PRINTS),
    ("log", &commands::log::PRINTS),
    ("show", &commands::show::PRINTS),
    ("explain", &commands::explain::PRINTS),
    ("history", &commands::history::PRINTS),
    ("blame", &commands::blame::PRINTS),
    ("status", &commands::status::PRINTS),
    ("clusters", &commands::clusters::PRINTS),
    ("pause", &commands::ordered::PRINTS),
    ("resume", &commands::ordered::PRINTS),
    ("reconcile", &commands::ordered::PRINTS),
    ("approve-prune", &commands::approve_prune::PRINTS),
    ("view", &commands::view::PRINTS),
    ("verify", &commands::verify::PRINTS),
    ("bench", &commands::bench::PRINTS),
    ("completion", &TEXT),
    ("schema", &TEXT),
    ("version", &commands::version::PRINTS),
];

/// What the command of these words prints.
pub(crate) fn of(words: &str) -> Prints {
    let found = ALL.iter().find(|(known, _)| *known == words);
    // That every command is listed is what a test is for.
    found.map_or(DOCUMENT, |(_, prints)| **prints)
}

impl Prints {
    /// Refuses a form of output that the command of these words has not.
    ///
    /// # Errors
    /// Says which forms it has.
    pub(crate) fn check(&self, words: &str, format: &Format) -> Result<(), String> {
        let kind = format.kind();
        if self.forms.contains(&kind) {
            return Ok(());
        }
        let forms: Vec<_> = self.forms.iter().map(|kind| kind.word()).collect();
        Err(format!(
            "`driftless {words}` has no output in the form `{}`; it has {}",
            kind.word(),
            forms.join(", ")
        ))
    }
}

/// Every flag and command, each with how it exits at the end of its help.
pub(crate) fn command() -> clap::Command {
    describe(Args::command(), "")
}

fn describe(mut command: clap::Command, words: &str) -> clap::Command {
    let inner: Vec<_> = command
        .get_subcommands()
        .map(|inner| inner.get_name().to_owned())
        .collect();
    for name in inner {
        let words = format!("{words} {name}").trim().to_owned();
        command = command.mut_subcommand(name, |inner| describe(inner, &words));
    }
    match of(words).exits {
        [] => command,
        exits => {
            let lines: String = exits
                .iter()
                .map(|(code, meaning)| format!("\n  {code}  {meaning}"))
                .collect();
            command.after_help(format!("Exit codes:{lines}"))
        }
    }
}

/// The words of the command that clap matched: `channel list`.
pub(crate) fn words(matches: &clap::ArgMatches) -> String {
    let mut words = Vec::new();
    let mut matches = matches;
    while let Some((word, inner)) = matches.subcommand() {
        words.push(word);
        matches = inner;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &clap::Command, words: &str, found: &mut Vec<String>) {
        for inner in command.get_subcommands() {
            let words = format!("{words} {}", inner.get_name()).trim().to_owned();
            if inner.has_subcommands() {
                leaves(inner, &words, found);
            } else {
                found.push(words);
            }
        }
    }

    #[test]
    fn every_command_declares_what_it_prints_in_the_order_of_the_help() {
        let mut found = Vec::new();
        leaves(&command(), "", &mut found);
        let declared: Vec<_> = ALL.iter().map(|(words, _)| *words).collect();
        assert_eq!(declared, found);
    }

    #[test]
    fn form_that_a_command_has_not_is_refused_with_those_it_has() {
        let error = DOCUMENT.check("verify", &Format::Name).unwrap_err();
        assert_eq!(
            error,
            "`driftless verify` has no output in the form `name`; it has table, json, yaml, jsonpath=TEMPLATE"
        );
        assert_eq!(DOCUMENT.check("verify", &Format::Json), Ok(()));
    }
}
