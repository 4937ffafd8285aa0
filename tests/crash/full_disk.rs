//! A bucket on a disk that is full, or turns read-only: what a person sees, and that it passes.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use driftless_client::{Error, Push};
use driftless_tests::{
    child,
    process::{Finished, Home, Program},
};
use rand::{SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

use crate::{
    pushers::bundle,
    served::{START, Served},
};

/// Set to `1` where a skipped test must fail instead.
const REQUIRE: &str = "DRIFTLESS_REQUIRE_MOUNT";

/// A small file system of its own, for as long as it lives.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts one, or says loudly that `test` is skipped because that is not allowed here.
    fn for_test(test: &str) -> Result<Option<Self>> {
        let folder = child::scratch("disk")?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path());
        let refused = match mount.output() {
            Ok(output) if output.status.success() => return Ok(Some(Self { folder })),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        ensure!(
            std::env::var_os(REQUIRE).is_none_or(|value| value != "1"),
            "{REQUIRE}=1 and {refused}"
        );
        // Not `eprintln!`: the test runner swallows what a passing test prints with it.
        let text = format!("\n*** SKIPPED without a disk to fill: {test}\n*** {refused}\n\n");
        std::io::stderr().write_all(text.as_bytes())?;
        Ok(None)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the space there is.
    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.filler())?;
        loop {
            match file.write(&[b'x'; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives it back.
    fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn remount(&self, mode: &str) -> Result<()> {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{mode}")])
            .arg(self.path())
            .status()?;
        ensure!(status.success(), "cannot remount {} {mode}", self.path().display());
        Ok(())
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is just being killed may still have files open.
        drop(Command::new("umount").arg("--lazy").arg(self.path()).status());
    }
}

/// A server on `disk`, with a channel and a file to push.
struct Shop {
    served: Served,
    pushes: u64,
}

impl Shop {
    async fn open(disk: &Disk) -> Result<Self> {
        let mut served = Served::new(Some(&disk.path().join("bucket")))?;
        served.start().await?;
        served
            .driftless(&["channel", "create", "prod"])
            .await?
            .expect_success()?;
        let mut shop = Self { served, pushes: 0 };
        shop.push().await?.expect_success()?;
        Ok(shop)
    }

    /// Pushes content that was never pushed before, by the command line.
    async fn push(&mut self) -> Result<Finished> {
        self.pushes += 1;
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shop}}\ndata: {{push: \"{}\"}}\n",
            self.pushes
        );
        fs::write(self.served.home().join("shop.yaml"), text)?;
        self.served
            .driftless(&["push", "shop.yaml", "--component", "shop", "--channel", "prod"])
            .await
    }

    /// Pushes, and wants to be told `why` it failed and where.
    async fn push_fails(&mut self, why: &str) -> Result<()> {
        let told = self.push().await?.expect_failure()?;
        let bucket = self.served.bucket().display().to_string();
        ensure!(
            told.contains(why) && told.contains(&bucket),
            "it neither says {why:?} nor names {bucket}: {told}"
        );
        ensure!(self.served.running()?.exit()?.is_none(), "the server has ended");
        Ok(())
    }

    /// What was pushed before is there and new pushes work, before and after a kill.
    async fn is_well(&mut self, snapshots: usize) -> Result<()> {
        self.push().await?.expect_success()?;
        let client = self.served.client()?;
        let log = client.log(&"prod".parse()?, 100).await?;
        ensure!(log.len() == snapshots, "{} snapshots, not {snapshots}", log.len());
        self.served.kill();
        self.served.verify().await?;
        self.served.start().await?;
        self.served.client()?.channel(&"prod".parse()?).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_is_named_and_passes() -> Result<()> {
    let Some(disk) = Disk::for_test("full_disk_is_named_and_passes")? else {
        return Ok(());
    };
    let mut shop = Shop::open(&disk).await?;
    disk.fill()?;
    shop.push_fails("the disk is full").await?;

    let component = "shop".parse()?;
    let push = Push::new("prod".parse()?).bundle(bundle(&component, 1, 1, &mut StdRng::seed_from_u64(1))?);
    match shop.served.client()?.push(push, |_| {}).await {
        Err(Error::Refused {
            code: tonic::Code::ResourceExhausted,
            ..
        }) => {}
        other => anyhow::bail!("not refused for want of space: {other:?}"),
    }
    // What is there can still be read.
    shop.served.driftless(&["log", "prod"]).await?.expect_success()?;

    disk.free()?;
    shop.is_well(2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_disk_is_named_and_passes() -> Result<()> {
    let Some(disk) = Disk::for_test("read_only_disk_is_named_and_passes")? else {
        return Ok(());
    };
    let mut shop = Shop::open(&disk).await?;
    disk.remount("ro")?;
    shop.push_fails("read-only").await?;
    disk.remount("rw")?;
    shop.is_well(2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn server_starts_on_a_full_disk_and_tells_what_is_there() -> Result<()> {
    let Some(disk) = Disk::for_test("server_starts_on_a_full_disk_and_tells_what_is_there")? else {
        return Ok(());
    };
    let mut shop = Shop::open(&disk).await?;
    disk.fill()?;
    shop.served.kill();
    shop.served.start().await?;
    shop.served.driftless(&["log", "prod"]).await?.expect_success()?;
    shop.push_fails("the disk is full").await?;
    disk.free()?;
    shop.is_well(2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_on_a_full_disk_says_so_and_can_be_repeated() -> Result<()> {
    let Some(disk) = Disk::for_test("first_start_on_a_full_disk_says_so_and_can_be_repeated")? else {
        return Ok(());
    };
    disk.fill()?;
    let home = Home::new()?;
    let data = disk.path().join("data").display().to_string();
    let arguments = ["server", "--data", &data, "--listen", "127.0.0.1:0"];
    let told = home.driftless(&arguments).await?.expect_failure()?;
    ensure!(
        told.contains("No space left on device") && told.contains(&data),
        "{told}"
    );
    disk.free()?;
    let server = home.spawn("server", Program::Driftless, &arguments)?;
    server.line("listening on", START).await?;
    Ok(())
}
