//! A folder of files: for agents outside the cluster.
//!
//! ```text
//! lock                 held while an agent uses the folder
//! holder               what this agent calls itself in the Lease
//! identity.json        key and certificate, mode 0600
//! accepted.json        the accepted directive
//! objects/<hash>.zst   its objects
//! ```
//! Every file is written beside its place, flushed to the disk and renamed, so that a crash leaves the old one or
//! the new one. Left-over `.tmp` files are removed when the folder is opened.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use driftless_model::hash::ObjectHash;

use crate::{Error, accepted::Accepted, identity::Identity, object::Frame};

const TMP: &str = ".tmp";

/// An open and locked state folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: Arc<PathBuf>,
    /// Locked until the last clone is gone.
    _lock: Arc<File>,
}

impl Folder {
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let objects = path.join("objects");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&objects)
            .map_err(failed("create", &objects))?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        let lock = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => Error::InUse(path.display().to_string()),
            fs::TryLockError::Error(source) => failed("lock", &lock_path)(source),
        })?;
        let folder = Self {
            path: Arc::new(path),
            _lock: Arc::new(lock),
        };
        for place in [folder.path.as_path(), &objects] {
            remove_unfinished(place)?;
        }
        Ok(folder)
    }

    /// What the agent that uses this folder calls itself; `fresh` the first time, the same ever after, so that an
    /// agent that was killed need not wait for its own Lease to expire.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub fn holder(&self, fresh: &str) -> Result<String, Error> {
        if let Some(bytes) = self.read("holder")? {
            let name = String::from_utf8_lossy(&bytes).trim().to_owned();
            if !name.is_empty() {
                return Ok(name);
            }
        }
        self.write("holder", fresh.as_bytes())?;
        Ok(fresh.to_owned())
    }

    /// Runs file operations where they may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let folder = self.clone();
        let ended = tokio::task::spawn_blocking(move || work(&folder)).await;
        ended.map_err(|_| Error::Ended("a file operation"))?
    }

    pub(super) fn identity(&self) -> Result<Option<Identity>, Error> {
        let Some(bytes) = self.read("identity.json")? else {
            return Ok(None);
        };
        // The parser's own text could quote the key.
        let damaged = |_| Error::Damaged(self.shown("identity.json"), "it is no identity".to_owned());
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    pub(super) fn save_identity(&self, identity: &Identity) -> Result<(), Error> {
        let bytes = serde_json::to_vec(identity).expect("a struct of texts is always JSON");
        self.write("identity.json", &bytes)
    }

    pub(super) fn accepted(&self) -> Result<Option<Accepted>, Error> {
        let Some(bytes) = self.read("accepted.json")? else {
            return Ok(None);
        };
        Accepted::decode(&bytes)
            .map(Some)
            .map_err(|error| Error::Damaged(self.shown("accepted.json"), error))
    }

    pub(super) fn object(&self, hash: ObjectHash) -> Result<Option<Bytes>, Error> {
        Ok(self.read(&object_name(&hash))?.map(Bytes::from))
    }

    pub(super) fn save(
        &self,
        objects: &[Frame],
        accepted: &Accepted,
        keep: &BTreeSet<ObjectHash>,
    ) -> Result<(), Error> {
        for frame in objects {
            self.write(&object_name(&frame.hash()), &frame.zstd())?;
        }
        self.write("accepted.json", &accepted.encode())?;
        let keep: BTreeSet<String> = keep.iter().map(object_name).collect();
        let place = self.path.join("objects");
        for entry in fs::read_dir(&place).map_err(failed("list", &place))? {
            let entry = entry.map_err(failed("list", &place))?;
            let name = format!("objects/{}", entry.file_name().to_string_lossy());
            if !keep.contains(&name) {
                fs::remove_file(entry.path()).map_err(failed("delete", &entry.path()))?;
            }
        }
        Ok(())
    }

    fn shown(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        let unfinished = self.path.join(format!("{name}{TMP}"));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            // The rename itself is on the disk only once its folder is.
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(failed("write", &path))
    }
}

fn object_name(hash: &ObjectHash) -> String {
    format!("objects/{hash}.zst")
}

fn remove_unfinished(place: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(place).map_err(failed("list", place))? {
        let path = entry.map_err(failed("list", place))?.path();
        if path.to_string_lossy().ends_with(TMP) {
            fs::remove_file(&path).map_err(failed("delete", &path))?;
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::object;

    fn frame(content: &[u8]) -> Frame {
        let zstd = zstd::bulk::compress(content, 3).unwrap();
        object::verify(ObjectHash::of(content), zstd.into()).unwrap().0
    }

    fn accepted(sequence: u64) -> Accepted {
        let directive = format!(r#"{{"channel":"prod","format":1,"sequence":{sequence},"snapshot":null}}"#);
        Accepted {
            format: crate::accepted::FORMAT,
            directive,
            running: None,
            sequences: [("prod".parse().unwrap(), sequence)].into(),
            cluster: "edge-1".parse().unwrap(),
            labels: Default::default(),
            vars: Default::default(),
            revision: 0,
            orders: Default::default(),
        }
    }

    #[test]
    fn stored_directive_and_objects_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (frame(b"old"), frame(b"new"));
        let folder = Folder::open(dir.path().join("state")).unwrap();
        folder
            .save(std::slice::from_ref(&old), &accepted(1), &[old.hash()].into())
            .unwrap();
        folder
            .save(std::slice::from_ref(&new), &accepted(2), &[new.hash()].into())
            .unwrap();
        drop(folder);
        let folder = Folder::open(dir.path().join("state")).unwrap();
        assert_eq!(folder.accepted().unwrap(), Some(accepted(2)));
        assert_eq!(folder.object(new.hash()).unwrap().as_ref(), Some(&new.zstd()));
        assert_eq!(folder.object(old.hash()).unwrap(), None);
    }

    #[test]
    fn half_written_files_are_as_if_never_begun() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().to_owned()).unwrap();
        let kept = frame(b"kept");
        folder
            .save(std::slice::from_ref(&kept), &accepted(1), &[kept.hash()].into())
            .unwrap();
        drop(folder);
        let half = dir.path().join(format!("objects/{}.zst.tmp", ObjectHash::of(b"half")));
        fs::write(&half, b"ha").unwrap();
        fs::write(dir.path().join("accepted.json.tmp"), b"{\"for").unwrap();
        let folder = Folder::open(dir.path().to_owned()).unwrap();
        assert_eq!(folder.accepted().unwrap(), Some(accepted(1)));
        assert!(!half.exists());
        assert_eq!(folder.object(kept.hash()).unwrap().as_ref(), Some(&kept.zstd()));
    }

    #[test]
    fn only_the_owner_may_read_and_only_one_agent_may_use_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let folder = Folder::open(path.clone()).unwrap();
        folder
            .save_identity(&Identity::generate("edge-1".parse().unwrap(), "t").unwrap())
            .unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("identity.json")), 0o600);
        let error = Folder::open(path).unwrap_err();
        assert!(matches!(error, Error::InUse(_)), "{error}");
    }

    #[test]
    fn holder_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().to_owned()).unwrap();
        assert_eq!(folder.holder("first").unwrap(), "first");
        assert_eq!(folder.holder("second").unwrap(), "first");
    }
}
