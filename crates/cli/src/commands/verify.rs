//! `driftless verify`: check a whole bucket, without a server.

use anyhow::{Result, bail};
use driftless_store::{
    Bucket,
    verify::{self, Progress, Report},
};
use serde::Serialize;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    output::{self, bad, good},
    prints::{self, Part, Prints},
};

/// Check every journal entry and every object of a bucket, offline
///
/// Only reads, and may run while servers write. Exits with 1 when anything is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder, or URL as for `driftless server --bucket`
    #[arg(long, value_name = "PATH|URL")]
    bucket: String,
}

/// What was checked, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    clean: bool,
    entries: u64,
    objects: u64,
    checkpoints: u64,
    /// Objects that no entry leads to; harmless.
    stray_objects: u64,
    problems: Vec<String>,
}

impl From<Report> for Document {
    fn from(report: Report) -> Self {
        Self {
            clean: report.is_clean(),
            entries: report.entries,
            objects: report.objects,
            checkpoints: report.checkpoints,
            stray_objects: report.stray_objects,
            problems: report.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("clean", "is nothing wrong?"),
            ("entries", "journal entries that were checked"),
            ("objects", "objects that were checked"),
            ("checkpoints", "checkpoints that were checked"),
            ("strayObjects", "objects that no entry leads to; harmless"),
            ("problems[]", "what is wrong"),
        ],
    }],
    exits: &[(1, "something is wrong with the bucket, or a failure")],
    ..prints::DOCUMENT
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { bucket } = args;
    check_folder(&bucket)?;
    let opened = Bucket::open_existing(&bucket).await?;
    let report = verify::verify(&opened, |progress| {
        output::progress(&match progress {
            Progress::Entries { done, total } => format!("journal entry {done} of {total}"),
            Progress::Objects { done, total } => format!("object {done} of {total}"),
        });
    })
    .await;
    output::progress("");
    let document = Document::from(report?);
    let outcome = if document.clean {
        Outcome::Success
    } else {
        Outcome::Found
    };
    app.output.print(&document, |document| text(&bucket, document))?;
    Ok(outcome)
}

/// Opening makes a folder that is not there, which would then be found clean.
fn check_folder(bucket: &str) -> Result<()> {
    let path = bucket.strip_prefix("file://").unwrap_or(bucket);
    if path.contains("://") || path.starts_with("memory:") {
        return Ok(());
    }
    let path = std::path::Path::new(path);
    if !path.is_dir() {
        bail!("there is no folder {}", path.display());
    }
    if !path.join("journal").is_dir() && path.join("bucket").is_dir() {
        let hint = format!(
            "it looks like a server's data folder: its bucket is {}",
            path.join("bucket").display()
        );
        return Err(Advice::new(format!("{} is no bucket", path.display()), hint).into());
    }
    Ok(())
}

fn text(bucket: &str, document: &Document) -> String {
    let Document {
        clean,
        entries,
        objects,
        checkpoints,
        stray_objects,
        problems,
    } = document;
    let mut out: String = problems
        .iter()
        .map(|problem| format!("{} {problem}\n", bad("✗")))
        .collect();
    let size = |number: u64, thing| output::count(usize::try_from(number).unwrap_or(usize::MAX), thing);
    let entries = if *entries == 1 {
        "1 journal entry".to_owned()
    } else {
        format!("{entries} journal entries")
    };
    let checked = format!(
        "{entries}, {} and {}",
        size(*objects, "object"),
        size(*checkpoints, "checkpoint")
    );
    let strays = match stray_objects {
        0 => String::new(),
        strays => format!("; {} that nothing refers to", size(*strays, "object")),
    };
    let verdict = match clean {
        true => good("clean"),
        false => bad(output::count(problems.len(), "problem")),
    };
    out.push_str(&format!("{bucket}: {verdict} ({checked} checked{strays})\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_that_is_not_there_is_not_made_and_found_clean() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent");
        assert!(check_folder(path.to_str().unwrap()).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn data_folder_is_told_from_its_bucket() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("bucket/journal")).unwrap();
        assert!(check_folder(folder.path().to_str().unwrap()).is_err());
        assert!(check_folder(folder.path().join("bucket").to_str().unwrap()).is_ok());
        assert!(check_folder("s3://anything").is_ok());
    }

    #[test]
    fn every_problem_is_a_line() {
        let document = Document {
            clean: false,
            entries: 3,
            objects: 2,
            checkpoints: 0,
            stray_objects: 1,
            problems: vec!["journal entry 2 is missing".to_owned()],
        };
        let plain = anstream::adapter::strip_str(&text("b", &document)).to_string();
        assert_eq!(
            plain,
            "✗ journal entry 2 is missing\n\
             b: 1 problem (3 journal entries, 2 objects and 0 checkpoints checked; 1 object that nothing refers to)\n"
        );
    }
}
