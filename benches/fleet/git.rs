//! What Git costs for the same fleet: `git http-backend` behind lighttpd, a repository of 5,000 manifests and 500
//! commits, clients that poll and that fetch a change of one file. Plain HTTP, which spares Git the handshakes that our
//! server's figures hold.
//!
//! The web server is unpacked by benches/git/install. It waits for the programs it starts, so its processor time and
//! theirs can be read.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use driftless_load::process;
use driftless_tests::child::{self, Running};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    Args,
    report::{Goal, Report},
    sections::{CPU, IDLE},
};

const VERSIONS: &str = include_str!("../git/versions");
const MANIFESTS: usize = 5000;
const COMMITS: usize = 500;
/// Clients of each kind; what one costs is told.
const CLIENTS: usize = 40;
/// At once.
const TOGETHER: usize = 4;
/// The web server has waited for what it started by then.
const REAPED: Duration = Duration::from_millis(300);

/// What one client costs the server.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    bytes: f64,
}

pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let Some(lighttpd) = installed() else {
        report.skip("Git: the web server is not there: run benches/git/install".to_owned());
        return Ok(());
    };
    eprintln!("making a repository of {MANIFESTS} manifests and {COMMITS} commits");
    let home = child::scratch("git")?;
    let origin = home.path().join("repos/fleet.git");
    make(&origin)?;
    let clones: Vec<_> = (0..CLIENTS)
        .map(|number| home.path().join(format!("clone-{number}.git")))
        .collect();
    for clone in &clones {
        git(
            home.path(),
            &["clone", "--quiet", "--bare", &text(&origin), &text(clone)],
        )?;
    }
    let web = Web::start(&lighttpd, home.path()).await?;
    let url = format!("http://127.0.0.1:{}/git/fleet.git", web.counted);
    for clone in &clones {
        git(clone, &["config", "remote.origin.url", &url])?;
        git(clone, &["config", "remote.origin.fetch", "+refs/heads/*:refs/heads/*"])?;
    }
    let poll = web
        .cost(&clones, |clone| {
            (clone.to_owned(), vec!["ls-remote".into(), url.clone()])
        })
        .await?;
    change(&origin, COMMITS)?;
    let fetched = |clone: &Path| {
        (
            clone.to_owned(),
            vec!["fetch".into(), "--quiet".into(), "origin".into()],
        )
    };
    let fetch = web.cost(&clones, fetched).await?;
    let moved = git(&clones[0], &["rev-parse", "main"])? == git(&origin, &["rev-parse", "main"])?;
    ensure!(moved, "the clones did not fetch the change");
    tell(args, poll, fetch, report);
    Ok(())
}

fn tell(args: &Args, poll: Cost, fetch: Cost, report: &mut Report) {
    report.add(
        "Git: server CPU per poll that finds nothing",
        poll.seconds * 1e3,
        "ms",
        None,
        None,
    );
    report.add("Git: bytes per poll, without TLS", poll.bytes, "B", None, None);
    report.add(
        "Git: server CPU per fetch of one change",
        fetch.seconds * 1e3,
        "ms",
        None,
        None,
    );
    report.add("Git: bytes per fetch, without TLS", fetch.bytes, "B", None, None);
    let polling = args.agents as f64 * poll.seconds / 60.0 * 100.0;
    report.add(
        "Git: server CPU while all poll each minute",
        polling,
        "% core",
        None,
        None,
    );
    if let Some(ours) = report.value(CPU) {
        let theirs = (poll.seconds + fetch.seconds) * 1e6;
        report.add(
            "a change, against Git's poll and fetch of it",
            ours,
            "µs",
            Some(theirs),
            Some(Goal::Of(0.001)),
        );
    }
    if let Some(ours) = report.value(IDLE) {
        report.add(
            "idle, against Git's polls each minute",
            ours,
            "% core",
            Some(polling),
            None,
        );
    }
}

/// Where benches/git/install has put it.
fn installed() -> Option<PathBuf> {
    let version = VERSIONS.lines().find_map(|line| line.strip_prefix("LIGHTTPD="))?;
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("DRIFTLESS_TOOLS")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("driftless/tools")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/driftless/tools")))?;
    Some(cache.join(format!("lighttpd-{version}"))).filter(|home| home.join("usr/sbin/lighttpd").is_file())
}

/// The repository, packed as well as Git can.
fn make(origin: &Path) -> Result<()> {
    std::fs::create_dir_all(origin)?;
    git(origin, &["init", "--quiet", "--bare", "--initial-branch=main"])?;
    let mut stream = String::new();
    for commit in 0..COMMITS {
        // Writing to a String cannot fail.
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter bench <bench@example.com> {} +0000\ndata 6\nchange\n",
            1_790_000_000 + commit
        );
        let files = if commit == 0 { 0..MANIFESTS } else { commit..commit + 1 };
        for file in files {
            manifest(&mut stream, file, commit);
        }
    }
    import(origin, &stream)?;
    git(origin, &["gc", "--quiet", "--aggressive", "--prune=now"])?;
    Ok(())
}

/// One more commit, which changes one file.
fn change(origin: &Path, commit: usize) -> Result<()> {
    let mut stream = format!(
        "commit refs/heads/main\ncommitter bench <bench@example.com> {} +0000\ndata 6\nchange\nfrom refs/heads/main^0\n",
        1_790_000_000 + commit
    );
    manifest(&mut stream, commit, commit);
    import(origin, &stream)
}

fn manifest(stream: &mut String, file: usize, version: usize) {
    let content = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: service-{file}\n  namespace: shop-{}\nspec:\n  \
         replicas: {}\n  selector:\n    matchLabels: {{app: service-{file}}}\n  template:\n    metadata:\n      labels: \
         {{app: service-{file}}}\n    spec:\n      containers:\n        - name: app\n          image: \
         registry.example.com/shop/service-{file}:2026.11.{version}\n          ports: [{{containerPort: {}}}]\n",
        file % 40,
        1 + file % 7,
        8000 + file % 1000
    );
    // Writing to a String cannot fail.
    let _ = write!(
        stream,
        "M 100644 inline apps/{}/service-{file}.yaml\ndata {}\n{content}\n",
        file % 40,
        content.len()
    );
}

fn import(origin: &Path, stream: &str) -> Result<()> {
    let mut command = command(origin, &["fast-import", "--quiet"]);
    let mut child = command.stdin(Stdio::piped()).spawn().context("cannot run git")?;
    let mut stdin = child.stdin.take().context("git reads what it imports")?;
    stdin.write_all(stream.as_bytes())?;
    drop(stdin);
    ensure!(child.wait()?.success(), "git cannot import the repository");
    Ok(())
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = command(folder, arguments).output().context("cannot run git")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {} failed: {told}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Git that takes no notice of who runs it.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR");
    command
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The web server, and a wire in front of it that counts.
struct Web {
    server: Running,
    counted: u16,
    bytes: Arc<AtomicU64>,
}

impl Web {
    async fn start(lighttpd: &Path, home: &Path) -> Result<Self> {
        let backend = git(home, &["--exec-path"])?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = format!(
            "server.document-root = \"{home}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n\
             server.modules = (\"mod_alias\", \"mod_setenv\", \"mod_cgi\")\n\
             alias.url = (\"/git\" => \"{}/git-http-backend\")\n\
             $HTTP[\"url\"] =~ \"^/git\" {{\n  cgi.assign = (\"\" => \"\")\n  setenv.set-environment = (\n    \
             \"GIT_PROJECT_ROOT\" => \"{home}/repos\", \"GIT_HTTP_EXPORT_ALL\" => \"1\", \"GIT_CONFIG_NOSYSTEM\" => \"1\",\n    \
             \"GIT_CONFIG_COUNT\" => \"1\", \"GIT_CONFIG_KEY_0\" => \"safe.directory\", \"GIT_CONFIG_VALUE_0\" => \"*\"\n  )\n}}\n",
            backend.trim(),
            home = home.display(),
        );
        let file = home.join("lighttpd.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new(lighttpd.join("usr/sbin/lighttpd"));
        let libraries = std::fs::read_dir(lighttpd.join("usr/lib"))?.filter_map(Result::ok);
        let libraries = std::env::join_paths(libraries.map(|folder| folder.path()))?;
        command
            .arg("-D")
            .arg("-f")
            .arg(&file)
            .arg("-m")
            .arg(lighttpd.join("usr/lib/lighttpd"))
            .env("LD_LIBRARY_PATH", libraries);
        let server = Running::spawn("lighttpd", command, home)?;
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                break;
            }
            ensure!(server.exit()?.is_none(), "lighttpd has ended{}", server.tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = wire(port, bytes.clone()).await?;
        Ok(Self { server, counted, bytes })
    }

    /// Lets every clone run a command; says what one of them cost.
    async fn cost(&self, clones: &[PathBuf], of: impl Fn(&Path) -> (PathBuf, Vec<String>)) -> Result<Cost> {
        let used = || {
            let used = process::used(self.server.pid()).context("lighttpd is gone")?;
            Ok::<_, anyhow::Error>(used.cpu_seconds + used.children_seconds)
        };
        let (before, bytes) = (used()?, self.bytes.load(Ordering::Relaxed));
        for some in clones.chunks(TOGETHER) {
            let mut running = Vec::new();
            for clone in some {
                let (folder, arguments) = of(clone);
                let words: Vec<_> = arguments.iter().map(String::as_str).collect();
                let mut command = tokio::process::Command::from(command(&folder, &words));
                running.push(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
            }
            for child in running {
                let output = child.wait_with_output().await?;
                let told = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "git failed: {told}{}", self.server.tail());
            }
        }
        tokio::time::sleep(REAPED).await;
        let clients = clones.len() as f64;
        Ok(Cost {
            seconds: (used()? - before) / clients,
            bytes: (self.bytes.load(Ordering::Relaxed) - bytes) as f64 / clients,
        })
    }
}

/// Passes connections on to `port`, and counts; says on which port.
async fn wire(port: u16, bytes: Arc<AtomicU64>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let own = listener.local_addr()?.port();
    // Ends with the process.
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    return;
                };
                if let Ok((sent, received)) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
                    bytes.fetch_add(sent + received, Ordering::Relaxed);
                }
            });
        }
    });
    Ok(own)
}
