//! `driftless cluster apply`: many clusters from a file, as CSV or YAML.
//!
//! [`table`] and [`list`] read the two forms into [`Row`]s; here they meet the fleet. Every problem of the file is told
//! before anything is done, and what changes does so at once.

mod list;
mod table;

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use driftless_client::types::Cluster;
use driftless_model::{
    cluster::{Change, Record},
    name::{ChannelName, ClusterName},
    yaml,
};

use super::{changes::Plan, enroll::Enroller};
use crate::{
    app::App,
    failure::{Advice, Outcome},
    output,
};

/// Problems that are told; the others are counted.
const MAX_TOLD: usize = 50;

/// Change many clusters at once, from a CSV or YAML file
///
/// CSV has a header: name, and any of channel, labels.KEY and vars.NAME. What an empty cell stands for is taken away,
/// columns that are not there are left alone. YAML is a list of {name, channel, labels, vars}; labels and vars that are
/// given are all that the cluster has then. What changes is shown, and changes in one journal entry.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file: *.csv, *.yaml or *.json; - reads standard input as YAML, or as CSV if it begins with a header
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    /// Enrol clusters that are not in the fleet yet, each with a join file
    #[arg(long, requires = "join_dir")]
    enroll: bool,
    /// Folder for the join files of clusters that are enrolled: NAME.join
    #[arg(long, value_name = "FOLDER", requires = "enroll")]
    join_dir: Option<PathBuf>,
    #[command(flatten)]
    enroller: Enroller,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a file says of one cluster.
#[derive(Debug, PartialEq)]
struct Row {
    /// Where it stands, from 1.
    line: usize,
    name: ClusterName,
    change: Change,
}

/// Something wrong in a file.
#[derive(Debug, PartialEq)]
struct Problem {
    line: usize,
    text: String,
}

impl Problem {
    fn new(line: usize, text: impl ToString) -> Self {
        Self {
            line,
            text: text.to_string(),
        }
    }
}

/// A cluster that is not enrolled yet.
struct Newcomer {
    name: ClusterName,
    record: Record,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        filename,
        enroll,
        join_dir,
        enroller,
        dry_run,
    } = args;
    let shown = filename.display().to_string();
    let (rows, mut problems) = read(&filename)?;
    let client = app.client()?;
    let clusters: BTreeMap<_, _> = client
        .clusters(None)
        .await?
        .into_iter()
        .map(|cluster| (cluster.name.clone(), cluster))
        .collect();
    let channels: Vec<_> = client
        .channels()
        .await?
        .into_iter()
        .map(|channel| channel.name)
        .collect();
    let (plan, newcomers, found) = meet(rows, &clusters, &channels, enroll);
    problems.extend(found);
    if !problems.is_empty() {
        return Err(tell(&shown, problems));
    }
    for newcomer in newcomers.iter().filter(|_| app.output.is_text()) {
        let verb = if dry_run { "would be enrolled" } else { "is enrolled" };
        output::note(&format!(
            "{}  + {verb} into channel {}",
            newcomer.name, newcomer.record.channel
        ));
    }
    let outcome = plan.carry_out(&client, app, dry_run).await?;
    if let (false, Some(folder)) = (dry_run, join_dir) {
        enroll_all(newcomers, &folder, &enroller, app).await?;
    }
    Ok(outcome)
}

async fn enroll_all(newcomers: Vec<Newcomer>, folder: &Path, enroller: &Enroller, app: &App) -> Result<()> {
    let count = newcomers.len();
    crate::secret_file::make_folder(folder)?;
    for Newcomer { name, record } in newcomers {
        let (join, _) = enroller.enroll(&name, &record, false, app).await?;
        crate::secret_file::write(&folder.join(format!("{name}.join")), &join.encode())?;
    }
    if count > 0 && app.output.is_text() {
        output::note(&format!(
            "{} enrolled; join files are in {}",
            output::count(count, "cluster"),
            folder.display()
        ));
    }
    Ok(())
}

fn read(path: &Path) -> Result<(Vec<Row>, Vec<Problem>)> {
    let is_stdin = path == Path::new("-");
    let mut bytes = Vec::new();
    if is_stdin {
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let text = yaml::decode(&bytes).map_err(|error| anyhow::anyhow!("{}:{error}", path.display()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let is_table = match extension {
        "csv" => true,
        "yaml" | "yml" | "json" => false,
        _ => text
            .lines()
            .next()
            .is_some_and(|head| head.split(',').any(|column| column.trim() == "name")),
    };
    Ok(if is_table { table::read(text) } else { list::read(text) })
}

/// What the rows come to in this fleet.
fn meet(
    rows: Vec<Row>,
    clusters: &BTreeMap<ClusterName, Cluster>,
    channels: &[ChannelName],
    enroll: bool,
) -> (Plan, Vec<Newcomer>, Vec<Problem>) {
    let (mut problems, mut newcomers, mut known) = (Vec::new(), Vec::new(), Vec::new());
    let mut lines: BTreeMap<ClusterName, usize> = BTreeMap::new();
    for row in rows {
        let Row { line, name, change } = row;
        if let Some(first) = lines.get(&name) {
            problems.push(Problem::new(
                line,
                format!("cluster `{name}` is on line {first} already"),
            ));
            continue;
        }
        lines.insert(name.clone(), line);
        if let Some(channel) = change.channel.as_ref().filter(|channel| !channels.contains(channel)) {
            let text = format!("there is no channel `{channel}`: create it with `driftless channel create {channel}`");
            problems.push(Problem::new(line, text));
        }
        match (clusters.get(&name), &change.channel) {
            (Some(cluster), _) => known.push((cluster, change)),
            (None, _) if !enroll => {
                let text = format!("cluster `{name}` is not enrolled: --enroll --join-dir FOLDER enrols it");
                problems.push(Problem::new(line, text));
            }
            (None, None) => {
                let text = format!("cluster `{name}` cannot be enrolled without a channel: give it one");
                problems.push(Problem::new(line, text));
            }
            (None, Some(channel)) => match newcomer(channel, &change) {
                Ok(record) => newcomers.push(Newcomer { name, record }),
                Err(found) => problems.extend(found.iter().map(|problem| Problem::new(line, problem))),
            },
        }
    }
    let (plan, found) = Plan::of(known.into_iter());
    problems.extend(
        found
            .into_iter()
            .map(|(name, problem)| Problem::new(lines[&name], problem)),
    );
    (plan, newcomers, problems)
}

fn newcomer(channel: &ChannelName, change: &Change) -> Result<Record, Vec<driftless_model::cluster::Problem>> {
    change.apply(&Record {
        channel: channel.clone(),
        labels: BTreeMap::new(),
        vars: BTreeMap::new(),
    })
}

/// Tells every problem with its line.
fn tell(file: &str, mut problems: Vec<Problem>) -> anyhow::Error {
    problems.sort_by_key(|problem| problem.line);
    for Problem { line, text } in problems.iter().take(MAX_TOLD) {
        output::note(&format!("{file}:{line}: {text}"));
    }
    if problems.len() > MAX_TOLD {
        output::note(&format!("and {} more", problems.len() - MAX_TOLD));
    }
    let count = output::count(problems.len(), "problem");
    Advice::new(
        format!("{file} has {count}: nothing was changed"),
        "all clusters change together, or none does",
    )
    .into()
}
