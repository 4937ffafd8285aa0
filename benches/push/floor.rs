//! What no push can do without: reading and parsing the files, hashing the canonical bytes and, of what is new,
//! compressing them; on all cores, with the same parser, and nothing else.

use std::{
    fs,
    num::NonZero,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::Result;
use driftless_model::{
    bundle::Bundle,
    hash::ObjectHash,
    intake::{self, Text},
};
use driftless_tests::child;
use serde::Serialize;

use crate::repository::Repository;

/// As the client does.
const LEVEL: i32 = 3;

/// What it took, in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Least {
    pub(crate) wall: f64,
    pub(crate) processor: f64,
}

/// Does it once.
pub(crate) fn measure(repository: &Repository, compress: bool) -> Result<Least> {
    let used = child::cpu_time(std::process::id())?;
    let begin = Instant::now();
    once(repository, compress)?;
    let wall = begin.elapsed().as_secs_f64();
    let processor = (child::cpu_time(std::process::id())? - used).as_secs_f64();
    Ok(Least { wall, processor })
}

fn once(repository: &Repository, compress: bool) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let worker = || -> Result<usize> {
        let mut bytes = 0;
        while let Some((name, files)) = repository.components.get(next.fetch_add(1, Ordering::Relaxed)) {
            bytes += component(name, files, compress)?;
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

fn component(name: &str, files: &[PathBuf], compress: bool) -> Result<usize> {
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
    Ok(if compress {
        zstd::bulk::compress(&bytes, LEVEL)?.len()
    } else {
        bytes.len()
    })
}
