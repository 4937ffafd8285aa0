//! `driftless cluster enroll`: let a cluster into the fleet.

mod manifest;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use driftless_client::{Client, Enroll};
use driftless_model::{
    cluster::{Record, VarPath},
    join::{self, JoinFile},
    name::{ChannelName, ClusterName, InvalidName, Labels, Vars, check_label},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    app::{App, parse_server},
    failure::{Advice, Outcome},
    now,
    output::{self, age},
    secret_file,
};

/// What the way to the server and back may have taken at most.
const LATENCY: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// The image of an agent of this version.
const IMAGE: &str = concat!("ghcr.io/driftless-dev/driftless-agent:", env!("CARGO_PKG_VERSION"));

/// Enrol a cluster, and print what makes it join
///
/// Prints the YAML to `kubectl apply` in the cluster: namespace, ServiceAccount, RBAC, a Secret with a one-time join
/// token, and the agent. With --join-file the same goes to a file for an agent outside of the cluster.
///
/// With `--rbac minimal` the agent may see objects and change none. Grant what your components need in one of two ways.
/// By component: set its `serviceAccount` to `NAMESPACE/driftless-deployer` and bind that ServiceAccount to what the
/// component may do. For all components: label a ClusterRole `driftless.dev/aggregate-to-agent: "true"`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the cluster
    cluster: ClusterName,
    /// The channel it shall follow
    #[arg(long, value_name = "NAME")]
    channel: ChannelName,
    /// Label of the cluster; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Variable of the cluster, with a YAML scalar as value or @FILE for structure; may be given again
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    vars: Vec<(String, Value)>,
    /// Write a join file instead of printing YAML
    #[arg(long, value_name = "FILE")]
    join_file: Option<PathBuf>,
    #[command(flatten)]
    enroller: Enroller,
    /// Enrol anew a cluster that is enrolled already; its old credentials become void
    #[arg(long)]
    again: bool,
    /// Image of the agent
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    image: String,
    /// What the agent may do in its cluster
    #[arg(long, value_enum, default_value_t = manifest::Rbac::Minimal)]
    rbac: manifest::Rbac,
}

/// What join files say, the cluster and its token aside.
#[derive(Debug, clap::Args)]
pub(super) struct Enroller {
    /// For how long a join token is good: 30m, 24h, 7d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_ttl)]
    ttl: Duration,
    /// The server's address as the agent reaches it [default: the one that this command uses]
    #[arg(long, value_name = "URL")]
    agent_server: Option<String>,
}

impl Enroller {
    /// Enrols a cluster. Gives what its agent needs to join, and until when.
    pub(super) async fn enroll(
        &self,
        cluster: &ClusterName,
        record: &Record,
        again: bool,
        app: &App,
    ) -> Result<(JoinFile, Timestamp)> {
        let target = app.target()?;
        let Some(ca) = target.ca.clone() else {
            let hint = "log in again with --ca FILE: an agent trusts nothing but what its join file names";
            return Err(Advice::new("the context has no CA to tell the agent", hint).into());
        };
        let client = Client::connect(target)?;
        let server = match &self.agent_server {
            Some(address) => parse_server(address)?.as_str().trim_end_matches('/').to_owned(),
            None => client.server().to_owned(),
        };
        let Record { channel, labels, vars } = record.clone();
        let enroll = Enroll {
            cluster: cluster.clone(),
            channel,
            labels,
            vars,
            ttl: Some(self.ttl),
            again,
        };
        let enrolled = client.enroll(&enroll).await?;
        let join = JoinFile {
            format: join::FORMAT,
            server,
            ca,
            cluster: cluster.clone(),
            token: enrolled.token,
        };
        Ok((join, enrolled.expires))
    }
}

/// What an enrolment gives, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    cluster: ClusterName,
    channel: ChannelName,
    labels: Labels,
    #[serde(skip_serializing_if = "Vars::is_empty")]
    vars: Vars,
    /// The join file's content; absent when it went to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<JoinFile>,
    /// Until when the join token is good.
    expires: Timestamp,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        cluster,
        channel,
        labels,
        vars,
        join_file,
        enroller,
        again,
        image,
        rbac,
    } = args;
    let record = Record {
        channel,
        labels: labels.into_iter().collect(),
        vars: vars.into_iter().collect(),
    };
    let (join, expires) = enroller.enroll(&cluster, &record, again, app).await?;
    let Record { channel, labels, vars } = record;
    if let Some(path) = &join_file {
        secret_file::write(path, &join.encode())?;
    } else if app.output.is_text() {
        warn_of_loopback(&join.server);
    }
    // The answer took a moment: a token good for 24h shall not be said to be good for 23h.
    let left = age(now(), expires + LATENCY);
    let document = Document {
        cluster,
        channel,
        labels,
        vars,
        join: join_file.is_none().then(|| join.clone()),
        expires,
    };
    let names = |document: &Document| vec![format!("cluster/{}", document.cluster)];
    app.output.print_named(&document, names, |_| match &join_file {
        None => manifest::text(&join, &image, rbac),
        Some(path) => format!(
            "cluster `{}` may join within {left}; start its agent with\n  \
             driftless-agent --join {} --kubeconfig KUBECONFIG --state FOLDER\n",
            join.cluster,
            path.display()
        ),
    })?;
    if join_file.is_none() && app.output.is_text() {
        output::note(&format!(
            "cluster `{}` may join within {left}: apply this with kubectl",
            join.cluster
        ));
        if rbac == manifest::Rbac::Minimal {
            output::note(
                "its agent may see most kinds and change nothing until you grant it more, as the comments in it say: a \
                 ServiceAccount by component, or a labelled ClusterRole; `--rbac cluster-admin` grants everything",
            );
        }
    }
    Ok(Outcome::Success)
}

/// A pod that dials 127.0.0.1 finds itself.
fn warn_of_loopback(server: &str) {
    let host = server
        .parse::<url::Url>()
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        output::note(&format!(
            "{} agents in pods cannot reach {server}: give --agent-server URL, with a name that the server's \
             certificate has (`driftless server --tls-san NAME`)",
            output::warn("warning:")
        ));
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no label: write KEY=VALUE"))?;
    check_label(key, value).map_err(|error: InvalidName| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_var(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no variable: write NAME=VALUE"))?;
    let name = name
        .parse()
        .and_then(VarPath::name)
        .map_err(|error| error.to_string())?;
    let value = super::vars::value(value, false).map_err(|error| format!("{error:#}"))?;
    Ok((name, value))
}

pub(in crate::commands) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration: write a number and s, m, h or d, for example 24h");
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    match number.checked_mul(seconds) {
        Some(0) | None => Err(bad()),
        Some(total) => Ok(Duration::from_secs(total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_ttl("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        for bad in [
            "",
            "24",
            "h",
            "0h",
            "-1h",
            "1w",
            "9é",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_follow_kubernetes_syntax() {
        assert_eq!(parse_label("a=b"), Ok(("a".to_owned(), "b".to_owned())));
        assert_eq!(parse_label("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_label("a").is_err() && parse_label("a=b c").is_err());
    }
}
