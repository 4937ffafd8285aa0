//! The contract on a real S3-compatible server, which `tests/s3/install` builds.
//!
//! The bucket is opened as a user would: by its address, with all else in the environment. That is why the contract
//! runs in a process of its own.

use std::{
    env,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use driftless_store::Bucket;

use crate::contract;

/// Set to `1` where a missing server must fail the test instead of skipping it, as `.ci/run` does.
const REQUIRE: &str = "DRIFTLESS_REQUIRE_S3";
/// The versions that `tests/s3/install` builds.
const VERSIONS: &str = include_str!("../../../../tests/s3/versions");

#[test]
fn s3_honours_the_contract() {
    let Some(program) = program() else {
        let text = "versitygw is not there: run tests/s3/install";
        assert_ne!(env::var(REQUIRE).as_deref(), Ok("1"), "{text}");
        // Not println: the harness shows that of failed tests only.
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED s3_honours_the_contract: {text} ({REQUIRE}=1 makes this fail)\n"
        );
        return;
    };
    let server = Server::start(&program);
    let contract = Command::new(env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "s3::contract_in_the_environment_of_a_server",
            "--nocapture",
        ])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test-secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", server.port))
        .env("AWS_ALLOW_HTTP", "true")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&contract.stdout),
        String::from_utf8_lossy(&contract.stderr),
    );
    assert!(
        contract.status.success() && stdout.contains("1 passed"),
        "{stdout}\n{stderr}"
    );
}

#[tokio::test]
#[ignore = "s3_honours_the_contract runs it beside a server"]
async fn contract_in_the_environment_of_a_server() {
    contract::hold(&Bucket::open("s3://fleet").await.unwrap()).await;
    contract::hold(&Bucket::open("s3://fleet/with/prefix").await.unwrap()).await;
    let missing = Bucket::open("s3://no-such-bucket").await.unwrap();
    let error = missing.put_object(b"x").await.unwrap_err();
    assert!(!error.is_not_found(), "{error}");
}

fn program() -> Option<PathBuf> {
    let version = VERSIONS.lines().find_map(|line| line.strip_prefix("VERSITYGW="))?;
    let tools = match (
        env::var_os("DRIFTLESS_TOOLS"),
        env::var_os("XDG_CACHE_HOME"),
        env::var_os("HOME"),
    ) {
        (Some(tools), ..) => PathBuf::from(tools),
        (None, Some(cache), _) => PathBuf::from(cache).join("driftless/tools"),
        (None, None, home) => PathBuf::from(home?).join(".cache/driftless/tools"),
    };
    let program = tools.join(format!("versitygw-{version}/bin/versitygw"));
    program.is_file().then_some(program)
}

/// A running server with one bucket, `fleet`. Ends with the value.
struct Server {
    process: Child,
    port: u16,
    _files: tempfile::TempDir,
}

impl Server {
    fn start(program: &std::path::Path) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (root, meta) = (files.path().join("root"), files.path().join("meta"));
        std::fs::create_dir_all(root.join("fleet")).unwrap();
        std::fs::create_dir(&meta).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .args(["--quiet", "--port", &format!("127.0.0.1:{port}")])
            .args(["--access", "test", "--secret", "test-secret"])
            // Extended attributes are not to be had in every temporary folder.
            .arg("posix")
            .arg("--sidecar")
            .arg(&meta)
            .arg(&root)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            port,
            _files: files,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "versitygw does not listen");
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
