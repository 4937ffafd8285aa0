//! A bucket in a local folder: files that are on disk before anybody is told of them.
//!
//! A put-if-absent writes a staged file, flushes it, links it to its name (which fails if the name is taken), removes
//! the staged name and flushes the folder: two flushes, which is what such a put costs. Nothing is *seen* before it is
//! durable: between the link and the flush another writer could meet the name and build upon it, so every answer
//! that a file exists flushes the folder above it first. A clean folder's flush costs microseconds. What is neither
//! put-if-absent nor concerned with durability is [`LocalFileSystem`]'s.
//!
//! Staged files that a crash left behind are invisible to listings; opening the folder removes the old ones.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, Write as _},
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, local::LocalFileSystem, path::Path,
};
use tokio::sync::Semaphore;

use super::layout;
use crate::error::Error;

/// How old a staged file must be to be taken for one that a crash left behind. Writing one takes seconds.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// Puts under way at once. Their flushes share what the file system does for one; beyond a few, threads only get in
/// each other's way.
const WRITERS: usize = 16;

/// A local folder as an object store that is durable when it answers.
#[derive(Debug)]
pub(crate) struct Folder {
    files: LocalFileSystem,
    folders: Arc<Folders>,
    writers: Semaphore,
}

/// The folders below a root, and how staged files in them are called.
#[derive(Debug)]
struct Folders {
    root: PathBuf,
    /// Those whose own names are durable, all the way up to the root's.
    durable: Mutex<BTreeSet<PathBuf>>,
    staged: AtomicU64,
}

impl Folder {
    /// Opens the folder at `path`, making it (for this user only) if it is not there. Blocks.
    pub(crate) fn open(path: &FilePath) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::folder(path, &error);
        create_private(path).map_err(failed)?;
        let root = fs::canonicalize(path).map_err(failed)?;
        if !root.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let files = LocalFileSystem::new_with_prefix(&root).map_err(|error| failed(io::Error::other(error)))?;
        if let Err(error) = remove_abandoned(&root) {
            tracing::debug!(folder = %root.display(), %error, "files left by a crash were not looked for");
        }
        Ok(Self {
            files: files.with_fsync(true),
            folders: Arc::new(Folders {
                root,
                durable: Mutex::default(),
                staged: AtomicU64::new(u64::from(std::process::id()) << 32),
            }),
            writers: Semaphore::new(WRITERS),
        })
    }

    /// Makes the folders that objects are spread over, durably, so that the first object in each costs no more than the
    /// next. Blocks.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let Folders { root, .. } = &*self.folders;
        let folders = (0..=u8::MAX).map(|first| root.join(layout::objects(&format!("{first:02x}")).as_ref()));
        let folders: Vec<_> = folders.collect();
        let made = folders.iter().try_for_each(fs::create_dir_all);
        made.and_then(|()| self.folders.sync(&folders[0]))
            .map_err(|error| Error::folder(root, &error))?;
        self.folders.durable().extend(folders);
        Ok(())
    }

    /// Makes the name of the file at `location` durable.
    async fn sync(&self, location: &Path) -> Result<()> {
        let file = self.files.path_to_filesystem(location)?;
        self.blocking(move |folders| folders.sync(&file)).await
    }

    /// Creates files, each unless its name is taken, one after the other by one thread: to hand each to a thread takes
    /// longer than to write a small file. Says which could not be.
    pub(super) async fn create_all(&self, files: Vec<(Path, Bytes)>) -> Result<(), (Path, object_store::Error)> {
        let _turn = self.writers.acquire().await.ok();
        let paths = files.iter().map(|(location, _)| {
            let path = self.files.path_to_filesystem(location);
            path.map_err(|error| (location.clone(), error))
        });
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        let folders = Arc::clone(&self.folders);
        let work = move || {
            let mut files = files.into_iter().zip(paths);
            files.try_for_each(|((location, bytes), path)| match folders.create(&path, &bytes.into()) {
                Ok(_) => Ok(()),
                Err(error) => Err((location, generic(error))),
            })
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(created) => created,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Which of these names no file has, in the order given.
    pub(super) async fn missing(&self, locations: &[Path]) -> Result<Vec<bool>> {
        let paths = locations.iter().map(|location| self.files.path_to_filesystem(location));
        let paths = paths.collect::<Result<Vec<_>>>()?;
        self.blocking(move |folders| {
            let is_missing = |path: &PathBuf| {
                let there = path.try_exists()?;
                if there {
                    // Whoever has the name may not have flushed it yet.
                    folders.sync(path)?;
                }
                Ok(!there)
            };
            paths.iter().map(is_missing).collect()
        })
        .await
    }

    /// What is right below `location`, in no order. Names alone: size and age of each file would have to be asked for.
    pub(super) async fn names(&self, location: &Path) -> Result<Vec<Path>> {
        let folder = self.files.path_to_filesystem(location)?;
        let location = location.clone();
        self.blocking(move |_| {
            let items = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                items => items?,
            };
            let mut found = Vec::new();
            for item in items {
                let name = item?.file_name();
                let name = name.to_string_lossy();
                if !is_staged(&name) {
                    found.push(location.clone().join(name.as_ref()));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Creates the file at `location`, unless the name is taken.
    async fn create(&self, location: &Path, payload: PutPayload) -> Result<PutResult> {
        let file = self.files.path_to_filesystem(location)?;
        // An entry decides on what many wait for: it does not queue behind objects.
        let _turn = match location.prefix_matches(&Path::from(layout::JOURNAL)) {
            true => None,
            false => self.writers.acquire().await.ok(),
        };
        if self.blocking(move |folders| folders.create(&file, &payload)).await? {
            Ok(PutResult {
                e_tag: None,
                version: None,
                extensions: Default::default(),
            })
        } else {
            Err(object_store::Error::AlreadyExists {
                path: location.to_string(),
                source: Box::new(io::Error::from(io::ErrorKind::AlreadyExists)),
            })
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folders) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let folders = Arc::clone(&self.folders);
        let done = tokio::task::spawn_blocking(move || work(&folders)).await?;
        done.map_err(generic)
    }
}

impl Folders {
    /// Creates `file` with `payload`, durably, unless the name is taken. Says which.
    fn create(&self, file: &FilePath, payload: &PutPayload) -> io::Result<bool> {
        let (staged, mut opened) = self.stage(file)?;
        let written = payload.iter().try_for_each(|part| opened.write_all(part));
        let linked = written.and_then(|()| opened.sync_all()).map(|()| {
            drop(opened);
            fs::hard_link(&staged, file)
        });
        // Before the folder is flushed, or it would have to be flushed again. What cannot be removed is invisible.
        let _left = fs::remove_file(&staged);
        let is_new = match linked? {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        // Whoever has the name may not have flushed it yet.
        self.sync(file)?;
        Ok(is_new)
    }

    /// Opens a new file beside `file`, making the folders above where they are not there.
    fn stage(&self, file: &FilePath) -> io::Result<(PathBuf, fs::File)> {
        loop {
            let mut staged = file.as_os_str().to_owned();
            staged.push(format!("#{}", self.staged.fetch_add(1, Ordering::Relaxed)));
            match fs::File::create_new(&staged) {
                Ok(opened) => return Ok((staged.into(), opened)),
                // Another process uses the same numbers.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Somebody may have taken away what was durable.
                    self.durable().clear();
                    fs::create_dir_all(file.parent().unwrap_or(file))?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Flushes the folder of `file`, and those above that are not known to be durable.
    fn sync(&self, file: &FilePath) -> io::Result<()> {
        let Some(folder) = file.parent() else { return Ok(()) };
        sync_folder(folder)?;
        // The root's own name was made durable when it was opened.
        let below = folder.ancestors().take_while(|above| *above != self.root);
        let new: Vec<_> = below.take_while(|above| !self.durable().contains(*above)).collect();
        new.iter().filter_map(|new| new.parent()).try_for_each(sync_folder)?;
        self.durable().extend(new.into_iter().map(FilePath::to_owned));
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.folders.root.display())
    }
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Create) && options.attributes.is_empty() {
            return self.create(location, payload).await;
        }
        let result = self.files.put_opts(location, payload, options).await?;
        self.sync(location).await?;
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let result = self.files.get_opts(location, options).await?;
        self.sync(location).await?;
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

fn generic(error: io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "Folder",
        source: Box::new(error),
    }
}

/// Makes `path` and what is missing above it, for this user only and durably.
fn create_private(path: &FilePath) -> io::Result<()> {
    let mut missing: Vec<&FilePath> = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    while let Some(folder) = missing.pop() {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(FilePath::new(".")))?;
    }
    Ok(())
}

/// Flushes a folder. One that cannot be flushed because nobody can write to it holds nothing to flush.
fn sync_folder(folder: &FilePath) -> io::Result<()> {
    match fs::File::open(folder)?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Removes staged files that are older than any write that could still be under way.
fn remove_abandoned(root: &FilePath) -> io::Result<()> {
    // The age is measured by the file system's own clock: the other times it is compared with come from there.
    let clock = root.join(format!("probe#{}", std::process::id()));
    let now = fs::File::create(&clock).and_then(|file| file.metadata()?.modified());
    fs::remove_file(&clock)?;
    let now = now?;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                folders.push(item.path());
            } else if is_staged(&item.file_name().to_string_lossy()) {
                let age = now.duration_since(item.metadata()?.modified()?).unwrap_or_default();
                if age > ABANDONED_AFTER {
                    fs::remove_file(item.path())?;
                }
            }
        }
    }
    Ok(())
}

/// Is this how [`LocalFileSystem`] names files that are still being written?
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use object_store::{ObjectStoreExt, PutMode};

    use super::*;

    fn create() -> PutOptions {
        PutOptions::from(PutMode::Create)
    }

    #[cfg(unix)]
    #[test]
    fn folder_is_made_for_this_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        Folder::open(&place.path().join("data/bucket")).unwrap();
        for made in ["data", "data/bucket"] {
            assert_eq!(
                fs::metadata(place.path().join(made)).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
    }

    #[tokio::test]
    async fn abandoned_files_are_not_seen_and_old_ones_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        folder
            .put_opts(&Path::from("journal/1"), "kept".into(), create())
            .await
            .unwrap();
        let (old, young) = (place.path().join("journal/2#1"), place.path().join("journal/3#1"));
        fs::write(&old, "half").unwrap();
        fs::write(&young, "half").unwrap();
        fs::File::open(&old)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();

        let folder = Folder::open(place.path()).unwrap();
        assert!(!old.exists());
        assert!(young.exists(), "somebody may be writing it");
        assert!(folder.get(&Path::from("journal/3")).await.is_err());
        // A writer of the same name is not held up by what is left of the other.
        folder
            .put_opts(&Path::from("journal/3"), "whole".into(), create())
            .await
            .unwrap();
        let read = folder
            .get(&Path::from("journal/3"))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        assert_eq!(&read[..], b"whole");
        assert_eq!(fs::read(place.path().join("journal/1")).unwrap(), b"kept");
        let left: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|item| item.unwrap().file_name())
            .collect();
        assert_eq!(left, ["journal"]);
    }

    #[test]
    fn file_in_the_place_of_the_folder_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = Folder::open(&path).unwrap_err();
            assert!(error.is_unwritable());
            assert!(
                error.to_string().contains("a file is where a folder should be"),
                "{error}"
            );
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
}
