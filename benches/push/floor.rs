//! What no push can do without: reading and parsing the files, hashing the canonical bytes and, of what is new,
//! compressing them; on all cores, with the same parser, and nothing else. In a process of its own, as a push is: one
//! that had done it before would have its memory already.

use std::{
    fs,
    num::NonZero,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};
use driftless_model::{
    bundle::Bundle,
    hash::ObjectHash,
    intake::{self, Text},
};
use driftless_tests::child;
use serde::Serialize;
use zstd::bulk::Compressor;

use crate::repository::{self, Repository};

/// As the client does.
const LEVEL: i32 = 3;

/// What it took, in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Least {
    pub(crate) wall: f64,
    pub(crate) processor: f64,
}

/// Which part of it a process does.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Task {
    /// The folder of a repository
    #[arg(long, hide = true)]
    floor: Option<PathBuf>,
    #[arg(long, hide = true)]
    compress: bool,
}

/// Has a process do it once.
pub(crate) fn measure(repository: &Repository, compress: bool) -> Result<Least> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--floor").arg(repository.folder()).stdin(Stdio::null());
    if compress {
        command.arg("--compress");
    }
    let used = child::children_cpu_time()?;
    let begin = Instant::now();
    let status = command.status()?;
    let wall = begin.elapsed().as_secs_f64();
    ensure!(status.success(), "{command:?}: {status}");
    let processor = (child::children_cpu_time()? - used).as_secs_f64();
    Ok(Least { wall, processor })
}

/// Does it, where that is the task of this process. Says whether it was.
pub(crate) fn perform(task: &Task) -> Result<bool> {
    let Some(folder) = &task.floor else { return Ok(false) };
    once(&repository::components(folder)?, task.compress)?;
    Ok(true)
}

fn once(components: &[(String, Vec<PathBuf>)], compress: bool) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let worker = || -> Result<usize> {
        let mut bytes = 0;
        let mut compressor = compress.then(|| Compressor::new(LEVEL)).transpose()?;
        while let Some((name, files)) = components.get(next.fetch_add(1, Ordering::Relaxed)) {
            bytes += component(name, files, compressor.as_mut())?;
        }
        Ok(bytes)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            std::hint::black_box(worker.join().expect("a worker has nothing to panic of")?);
            Ok(())
        })
    })
}

fn component(name: &str, files: &[PathBuf], compressor: Option<&mut Compressor<'_>>) -> Result<usize> {
    let mut manifests = Vec::new();
    for file in files {
        let text = Arc::new(Text {
            name: String::new(),
            content: fs::read_to_string(file)?,
        });
        let found = intake::read_text(&text, "default");
        manifests.extend(found.manifests.into_iter().map(|placed| placed.into_manifest()));
    }
    let bytes = Bundle::new(name.parse()?, manifests)?.encode();
    std::hint::black_box(ObjectHash::of(&bytes));
    Ok(match compressor {
        Some(compressor) => compressor.compress(&bytes)?.len(),
        None => bytes.len(),
    })
}
