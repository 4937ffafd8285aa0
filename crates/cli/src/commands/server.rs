//! `driftless server`: serve agents, tooling and people from one bucket.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use driftless_server::{OwnTls, Server, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    failure::Outcome,
    now,
    output::{self, bold},
};

/// Run a server
///
/// The data folder gets a CA, the admin token and, unless --bucket says otherwise, the bucket. SIGTERM and SIGINT
/// stop it gracefully; a second one at once. DRIFTLESS_LOG says what it logs (`warn`,
/// `driftless_server=debug`).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the server's keys and, unless --bucket is given, its bucket; made when it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address to listen at; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// Where the bucket is: a folder, or s3://, gs:// or az:// and a name [default: DIR/bucket]
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
    /// PEM file with a server certificate of your own, instead of one by the server's CA
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file with further CAs whose client certificates name clusters
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Further DNS name or IP address for the certificate by the server's CA; may be given again
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert")]
    tls_san: Vec<String>,
    /// How to log, on standard error
    #[arg(long, env = "DRIFTLESS_LOG_FORMAT", hide_env_values = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// An object per line
    Json,
}

pub(crate) async fn run(args: Args) -> Result<Outcome> {
    let Args {
        data,
        listen,
        bucket,
        tls_cert,
        tls_key,
        client_ca,
        tls_san,
        log_format,
    } = args;
    start_log(log_format);
    driftless_load::raise_limit();
    let mut settings = Settings::new(data.clone(), listen, now);
    settings.bucket = bucket.clone();
    settings.tls = tls_cert.zip(tls_key).map(|(cert, key)| OwnTls { cert, key });
    settings.client_ca = client_ca;
    settings.names = tls_san;
    let own_ca = settings.tls.is_none();
    // Listened for before anything is said: whoever reads that the server is up may stop it at once.
    let stop = stop_on_signal()?;
    let server = Server::start(settings).await.context("cannot start the server")?;
    let ca = own_ca.then(|| server.ca_path());
    let bucket = bucket.unwrap_or_else(|| data.join("bucket").display().to_string());
    output::write(&welcome(
        server.local_addr(),
        ca.as_deref(),
        &server.admin_token_path(),
        &bucket,
    ))?;
    server.run(stop).await?;
    Ok(Outcome::Success)
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_env_var("DRIFTLESS_LOG")
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Cancelled at the first SIGTERM or SIGINT; the second one ends the process.
fn stop_on_signal() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    // Not awaited: it lives exactly as long as the process.
    tokio::spawn(async move {
        let mut wait = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        wait().await;
        token.cancel();
        wait().await;
        std::process::exit(130);
    });
    Ok(stop)
}

fn welcome(address: SocketAddr, ca: Option<&Path>, token: &Path, bucket: &str) -> String {
    let url = format!("https://{}", reachable(address));
    let mut out = format!("{} {}\n", bold("listening on"), format_args!("https://{address}"));
    if let Some(ca) = ca {
        out.push_str(&format!("  CA:     {}\n", ca.display()));
    }
    out.push_str(&format!(
        "  token:  {}\n  bucket: {bucket}\n{}\n",
        token.display(),
        bold("log in with")
    ));
    let ca = ca.map_or_else(String::new, |ca| format!(" --ca {}", quoted(&ca.display().to_string())));
    out.push_str(&format!(
        "  driftless login {url}{ca} --token-file {}\n",
        quoted(&token.display().to_string())
    ));
    out
}

/// A server that listens everywhere is shown where it certainly is.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = !path.is_empty()
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./+@:,".contains(&byte));
    if plain {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_line_can_be_pasted() {
        let text = welcome(
            "0.0.0.0:7443".parse().unwrap(),
            Some(Path::new("./my data/ca.crt")),
            Path::new("./my data/admin.token"),
            "b",
        );
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert!(plain.starts_with("listening on https://0.0.0.0:7443\n"), "{plain}");
        let last = plain.lines().last().unwrap().trim();
        let expected =
            "driftless login https://127.0.0.1:7443 --ca './my data/ca.crt' --token-file './my data/admin.token'";
        assert_eq!(last, expected);
    }

    #[test]
    fn certificate_of_ones_own_needs_no_ca_of_ours() {
        let text = welcome("[::]:1".parse().unwrap(), None, Path::new("t"), "s3://b");
        assert!(text.contains("login https://[::1]:1 --token-file t"), "{text}");
    }
}
