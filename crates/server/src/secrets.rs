//! The data folder: files written whole or not at all, secret ones for their owner's eyes only.
//!
//! Used at start by [`crate::pki`] and for the admin token. Nothing here knows what the files mean, and nothing
//! secret is ever written anywhere else.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore, rngs::OsRng};

use crate::Error;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner only.
    Owner,
    /// Everybody.
    All,
}

/// The folder that holds what one server must keep for itself.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// Opens the folder, or makes it for the owner's eyes only.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_dir() {
            create_private(path).map_err(Error::file("cannot make the data folder", path))?;
        }
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file that everybody may read; `None` when it is not there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, Error> {
        read_file(&self.path(name))
    }

    /// Reads a secret; `None` when it is not there.
    ///
    /// Refused when everybody could have read it. Access for the group only warns: Kubernetes gives it to the
    /// files of a volume by itself (`fsGroup`).
    pub(crate) fn read_secret(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path(name);
        if let Some(mode) = mode(&path).map_err(Error::file("cannot read", &path))? {
            if mode & 0o007 != 0 {
                let reason = format!(
                    "is open to everybody on this machine (mode {mode:03o}): if nobody else can have read it, \
                    close it with `chmod 600`, otherwise delete it and the server makes a new one"
                );
                return Err(Error::content(path, reason));
            }
            if mode & 0o070 != 0 {
                tracing::warn!(path = %path.display(), mode = format!("{mode:03o}"), "secret file is open to its group");
            }
        }
        read_file(&path)
    }

    /// Writes a file whole or not at all: nobody ever sees half of it, and it survives a crash once this returns.
    pub(crate) fn write(&self, name: &str, content: &str, readers: Readers) -> Result<(), Error> {
        let path = self.path(name);
        let temporary = self.path(&format!(".{name}.{}", random_text()));
        let written = write_through(&temporary, content, readers)
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(&self.path)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(Error::file("cannot write", path))
    }
}

/// 256 random bits as text that fits into a URL, a header and a file name.
pub(crate) fn random_text() -> String {
    let mut bytes = [0; 32];
    OsRng
        .try_fill_bytes(&mut bytes)
        .expect("the system has random numbers, or nothing secret could be made");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a text file; `None` when it is not there.
pub(crate) fn read_file(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("cannot read", path)(error)),
    }
}

fn write_through(path: &Path, content: &str, readers: Readers) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, readers);
    let mut file = options.open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn restrict(options: &mut OpenOptions, readers: Readers) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    });
}

#[cfg(not(unix))]
fn restrict(_: &mut OpenOptions, _: Readers) {}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// The permission bits of a file, where there are such; `None` when there is no file.
#[cfg(unix)]
fn mode(path: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.permissions().mode() & 0o777)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn mode(_: &Path) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secret_is_for_its_owner_and_leaves_no_other_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&root.path().join("a/b")).unwrap();
        folder.write("key", "old", Readers::Owner).unwrap();
        folder.write("key", "new", Readers::Owner).unwrap();
        assert_eq!(folder.read_secret("key").unwrap().as_deref(), Some("new"));
        assert_eq!(mode(&folder.path("key")).unwrap(), Some(0o600));
        assert_eq!(mode(&root.path().join("a/b")).unwrap(), Some(0o700));
        assert_eq!(fs::read_dir(root.path().join("a/b")).unwrap().count(), 1);
        assert_eq!(folder.read_secret("other").unwrap(), None);
    }

    #[test]
    fn secret_open_to_everybody_is_refused_and_one_open_to_the_group_is_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        folder.write("key", "x", Readers::Owner).unwrap();
        let set = |mode| fs::set_permissions(folder.path("key"), fs::Permissions::from_mode(mode)).unwrap();
        set(0o604);
        let error = folder.read_secret("key").unwrap_err().to_string();
        assert!(error.contains("mode 604") && error.contains("chmod 600"), "{error}");
        set(0o660);
        assert!(folder.read_secret("key").is_ok());
    }
}
