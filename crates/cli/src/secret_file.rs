//! Files that hold a secret: readable by their owner alone from the first byte on, and written whole or not at all.

use std::{io::Write as _, path::Path};

use anyhow::{Context as _, Result};

/// Writes `content` to `path`, replacing what is there.
pub(crate) fn write(path: &Path, content: &str) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // A temporary file has mode 0600, and keeps it when it takes the final name.
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".driftless-").tempfile_in(folder)?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a folder, and those above it, that only its owner can enter.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn file_is_for_its_owner_alone_even_where_it_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "old").unwrap();
        write(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn unwritable_place_is_named() {
        let error = write(Path::new("/nonexistent/secret"), "x").unwrap_err();
        assert_eq!(error.to_string(), "cannot write /nonexistent/secret");
    }
}
