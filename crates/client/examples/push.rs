//! Pushes files as one component, tells how far it is, and waits until every cluster runs it.
//!
//! ```text
//! cargo run -p driftless-client --example push -- \
//!     --server https://127.0.0.1:7443 --ca data/ca.crt --token-file data/admin.token \
//!     --channel prod --component shop shop.yaml
//! ```

use std::{error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use driftless_client::{
    Client, Progress, Push, Target,
    model::{
        bundle::Bundle,
        intake::{self, Text},
        name::{ChannelName, ComponentName},
    },
};
use url::Url;

/// Push files to a channel and wait until its clusters run them
#[derive(Parser)]
struct Args {
    /// The server, https://host:port
    #[arg(long, env = "DRIFTLESS_SERVER")]
    server: Url,
    /// The CA that signed its certificate; without it, those that this machine trusts
    #[arg(long, env = "DRIFTLESS_CA")]
    ca: Option<PathBuf>,
    /// File with the token
    #[arg(long, env = "DRIFTLESS_TOKEN_FILE")]
    token_file: PathBuf,
    /// The channel
    #[arg(long)]
    channel: ChannelName,
    /// The component
    #[arg(long)]
    component: ComponentName,
    /// Why
    #[arg(short, long, default_value = "")]
    message: String,
    /// Known to the server when it comes again; without it, one is drawn
    #[arg(long)]
    idempotency_key: Option<String>,
    /// How long to wait for the clusters, in seconds; 0 means not at all
    #[arg(long, default_value_t = 600)]
    wait: u64,
    /// Manifests, YAML or JSON
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match push(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(reason) = cause {
                eprintln!("  because: {reason}");
                cause = reason.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn push(args: Args) -> Result<(), Box<dyn Error>> {
    let bundle = Bundle::new(args.component, read(&args.files)?)?;
    println!("{}: bundle {}", bundle.component, bundle.hash());

    let client = Client::connect(Target {
        server: args.server,
        ca: args.ca.as_ref().map(|path| text(path)).transpose()?,
        token: Some(text(&args.token_file)?.trim().to_owned()),
    })?;
    let mut push = Push::new(args.channel.clone()).bundle(bundle).message(args.message);
    push.idempotency_key = args.idempotency_key;
    let pushed = client.push(push, tell).await?;
    let word = if pushed.unchanged { "stays" } else { "is now" };
    println!("{} {word} at snapshot {}", args.channel, pushed.snapshot);

    if args.wait > 0 {
        let all = client.until_converged(&args.channel, &pushed, |now| {
            eprintln!("{} of {} clusters converged", now.converged, now.joined);
        });
        let all = tokio::time::timeout(Duration::from_secs(args.wait), all)
            .await
            .map_err(|_| {
                format!(
                    "not all clusters are there after {} s: see `driftless status {}`",
                    args.wait, args.channel
                )
            })??;
        println!("all {} clusters converged", all.joined);
    }
    Ok(())
}

/// All manifests of the files, or every problem in them at once.
fn read(files: &[PathBuf]) -> Result<Vec<driftless_client::model::manifest::Manifest>, Box<dyn Error>> {
    let texts = files.iter().map(|path| {
        Ok(Text {
            name: path.display().to_string(),
            content: text(path)?,
        })
    });
    let texts = texts.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    intake::read(&texts, "default").map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n").into()
    })
}

fn text(path: &PathBuf) -> Result<String, Box<dyn Error>> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

fn tell(progress: Progress) {
    match progress {
        Progress::Compared { objects, missing } => eprintln!("{missing} of {objects} objects are new to the server"),
        Progress::Uploaded { objects, of, bytes } => eprintln!("{objects} of {of} objects uploaded, {bytes} bytes"),
        Progress::Publishing => eprintln!("publishing"),
    }
}
