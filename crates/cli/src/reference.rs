//! The reference of every command, docs/reference/cli.md, made of what clap and [`crate::prints`] know.
//!
//! `DRIFTLESS_BLESS=1 cargo test -p driftless-cli reference` writes it; without the variable the test fails where the
//! file says something else than the code. Nothing of it is in the program.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::{
    output::Kind,
    prints::{self, Prints},
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");

const PREFACE: &str = "# Commands

<!-- Made from the code: DRIFTLESS_BLESS=1 cargo test -p driftless-cli reference -->

Every command of `driftless`, as `driftless COMMAND --help` tells it, and the documents that programs may rely on.
Documents only ever gain fields. Times are RFC 3339, hashes 64 hexadecimal digits.

## Output

| `-o` | prints |
|---|---|
| `table` | for people; the columns of a terminal are cut to its width, those of a pipe never |
| `wide` | the table with more columns and whole hashes; nothing is cut |
| `json` | the document of the command |
| `yaml` | the same document in YAML |
| `name` | names only, one per line: `cluster/edge-1`, `deployment.apps/web` |
| `jsonpath=TEMPLATE` | what the template takes out of the document, in kubectl's dialect |

A template is text with expressions in braces: `{.name}`, `{[*].name}`, `{[0]}`, `{[-1:]}`, `{..image}`,
`{.labels.app\\.kubernetes\\.io/name}`, `{[?(@.connected==true)].name}`, `{range [*]}{.name}{\"\\n\"}{end}`. Where the
document is a list, `{.items[*].name}` reads it too, as with kubectl. `$` is the root, inside of a `range` as well. Keys
that are not there are nothing; `--allow-missing-keys=false` makes them failures.

Colours are for terminals; `--color always|never` and the variables `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` say
otherwise. On a terminal, what does not fit the screen goes through `$DRIFTLESS_PAGER`, else `$PAGER`, else
`less -FRX`, for the commands that say so below; `--no-pager`, or a pager that is empty or `cat`, prints it plainly.

## Exit codes

| code | meaning |
|---|---|
| 0 | success, also where whoever read the output went away |
| 1 | failure |
| 2 | wrong usage; nothing was done |

Commands that say more with their exit code have a table of their own below.
";

/// The whole page.
fn page() -> String {
    let mut command = prints::command();
    command.build();
    let mut out = String::from(PREFACE);
    out.push_str("\n## Options of every command\n\n");
    options(command.get_arguments().filter(|arg| arg.is_global_set()), &mut out);
    for (words, prints) in prints::ALL {
        let found = words
            .split(' ')
            .try_fold(&command, |command, word| command.find_subcommand(word));
        section(
            found.expect("a test holds the list against clap"),
            words,
            prints,
            &mut out,
        );
    }
    out
}

fn section(command: &Command, words: &str, prints: &Prints, out: &mut String) {
    let about = command
        .get_long_about()
        .or(command.get_about())
        .map(ToString::to_string);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n## driftless {words}\n\n{}\n\n```\n{usage}\n```\n",
        text(&about.unwrap_or_default())
    );
    let own =
        |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let arguments: Vec<_> = command.get_positionals().filter(own).collect();
    if !arguments.is_empty() {
        out.push_str("\nArguments:\n\n");
        options(arguments, out);
    }
    let flags: Vec<_> = command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .filter(own)
        .collect();
    if !flags.is_empty() {
        out.push_str("\nOptions:\n\n");
        options(flags, out);
    }
    if prints.forms != [Kind::Table] {
        let forms: Vec<_> = prints.forms.iter().map(|kind| format!("`{}`", kind.word())).collect();
        let pager = if prints.paged { ". Paged on a terminal" } else { "" };
        let _ = write!(out, "\nOutput: {}{pager}.\n", forms.join(", "));
    }
    if !prints.document.is_empty() {
        out.push_str("\n| field | meaning |\n|---|---|\n");
    }
    for part in prints.document {
        for (field, meaning) in part.fields {
            let _ = writeln!(out, "| `{}{field}` | {meaning} |", part.at);
        }
    }
    if !prints.exits.is_empty() {
        out.push_str("\n| exit code | meaning |\n|---|---|\n");
    }
    for (code, meaning) in prints.exits {
        let _ = writeln!(out, "| {code} | {meaning} |");
    }
}

fn options<'a>(arguments: impl IntoIterator<Item = &'a Arg>, out: &mut String) {
    out.push_str("| | meaning | default |\n|---|---|---|\n");
    for argument in arguments {
        let help = argument
            .get_long_help()
            .or(argument.get_help())
            .map(ToString::to_string);
        let mut help = text(&help.unwrap_or_default()).replace("\n\n", " ");
        let values: Vec<_> = argument.get_possible_values();
        let takes = argument.get_action().takes_values();
        if takes && !values.is_empty() && argument.get_id() != "output" && argument.get_id() != "allow_missing_keys" {
            let words: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
            let _ = write!(help, ": {}", words.join(", "));
        }
        if let Some(name) = argument.get_env() {
            let _ = write!(help, " (`{}`)", name.to_string_lossy());
        }
        let defaults: Vec<_> = argument
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        let default = defaults.join(" ");
        let default = if takes && !default.is_empty() {
            format!("`{default}`")
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} |",
            written(argument),
            help.replace('|', "\\|")
        );
    }
}

/// As it is written: `-o, --output <FORM>`.
fn written(argument: &Arg) -> String {
    let shown = argument.to_string().replace('|', "\\|");
    match argument.get_short() {
        Some(short) if !argument.is_positional() => format!("-{short}, {shown}"),
        _ => shown,
    }
}

/// Help as Markdown: what would be taken for HTML is not.
fn text(help: &str) -> String {
    help.replace('<', "\\<")
}

#[test]
fn reference_says_what_the_code_says() {
    let page = page();
    if std::env::var_os("DRIFTLESS_BLESS").is_some() {
        let folder = std::path::Path::new(PATH).parent().unwrap();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(PATH, &page).unwrap();
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    let differing = page
        .lines()
        .zip(committed.lines().chain([""; 9999]))
        .find(|(ours, theirs)| ours != theirs);
    assert!(
        page == committed,
        "docs/reference/cli.md is not what the code says (first at {differing:?}): \
         DRIFTLESS_BLESS=1 cargo test -p driftless-cli reference"
    );
}
