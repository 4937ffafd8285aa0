//! What cannot be avoided: the same files, written and flushed by hand, with nothing in front of them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use anyhow::Result;

use crate::stage::Stored;

/// As many pushes are enough to tell a rate.
const ENOUGH: usize = 5000;
/// Writers at once: more gain nothing on a disk of any kind here.
const WRITERS: usize = 16;

/// Writes what `pushes` pushes `stored`, file by file; says how many pushes a second that makes.
pub(crate) fn write(folder: &Path, stored: &Stored, pushes: usize) -> Result<f64> {
    let measured = pushes.min(ENOUGH);
    let share = |count: usize| count * measured / pushes.max(1);
    let (objects, entries) = (share(stored.objects), share(stored.entries));
    let (object, entry) = (
        content(stored.object_bytes, stored.objects),
        content(stored.entry_bytes, stored.entries),
    );
    for number in 0..256 {
        fs::create_dir_all(folder.join(format!("{number:02x}")))?;
    }
    fs::create_dir_all(folder.join("journal"))?;
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> io::Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number < objects {
                    put(&folder.join(format!("{:02x}", number % 256)), number, &object)?;
                } else if number < objects + entries {
                    put(&folder.join("journal"), number, &entry)?;
                } else {
                    return Ok(());
                }
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(work)).collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("a writer has nothing to panic of"))
    })?;
    Ok(measured as f64 / begin.elapsed().as_secs_f64())
}

/// Put-if-absent that is durable: staged, flushed, linked, and the folder flushed.
fn put(folder: &Path, number: usize, content: &[u8]) -> io::Result<()> {
    let (name, staged) = (folder.join(format!("{number}")), folder.join(format!("{number}#1")));
    let mut file = File::create_new(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::hard_link(&staged, &name)?;
    fs::remove_file(&staged)?;
    File::open(folder)?.sync_all()
}

fn content(bytes: u64, files: usize) -> Vec<u8> {
    let size = bytes / (files.max(1) as u64);
    (0..size).map(|place| (place * 31 % 251) as u8).collect()
}
