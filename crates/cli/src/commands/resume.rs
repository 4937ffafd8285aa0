//! `driftless resume`: end pauses before their time.

use anyhow::Result;
use driftless_client::Asked;

use super::ordered::Subject;
use crate::{app::App, failure::Outcome, output};

/// Go on with a paused cluster, or with a paused component of it
///
/// Without a component the pauses of the cluster and of all its components end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { subject } = args;
    let client = app.client()?;
    let found = subject.find(&client).await?;
    let asked = Asked::Resume {
        component: found.component.clone(),
    };
    let mut notes = Vec::new();
    if let Some(component) = &found.component {
        for cluster in &found.clusters {
            if let Some(pause) = &cluster.orders.pauses.cluster {
                notes.push(format!(
                    "{name} is paused as a whole until {}, {component} included: `driftless resume {name}` ends that",
                    pause.until,
                    name = cluster.name
                ));
            }
        }
    }
    let outcome = found.ask(&client, app, &asked, "goes on").await?;
    if app.output.is_text() {
        notes.iter().for_each(|note| output::note(note));
    }
    Ok(outcome)
}
