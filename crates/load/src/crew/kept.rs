//! Certificates between two runs: a folder with the key pair, `key.pem`, and what was certified, `certificates.json`.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use driftless_model::{hash::ObjectHash, name::ClusterName};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};

use super::new_keys;
use crate::Error;

const KEY: &str = "key.pem";
const CERTIFICATES: &str = "certificates.json";

/// What was certified, with one key.
pub(super) struct Kept {
    folder: Option<PathBuf>,
    ca: ObjectHash,
    keys: Option<KeyPair>,
    pub(super) chains: BTreeMap<ClusterName, String>,
}

#[derive(Serialize, Deserialize)]
struct File {
    /// Names the CA of the server: another one's certificates are good for nothing.
    ca: ObjectHash,
    chains: BTreeMap<ClusterName, String>,
}

impl Kept {
    /// Nothing yet, and nowhere to keep it.
    pub(super) fn new(ca: Option<&str>) -> Self {
        Self {
            folder: None,
            ca: ObjectHash::of(ca.unwrap_or_default().as_bytes()),
            keys: None,
            chains: BTreeMap::new(),
        }
    }

    /// What is in a folder, if it is of this CA.
    pub(super) fn open(folder: &Path, ca: Option<&str>) -> Result<Self, Error> {
        let mut kept = Self {
            folder: Some(folder.to_owned()),
            ..Self::new(ca)
        };
        let (Some(key), Some(certificates)) = (read(&folder.join(KEY))?, read(&folder.join(CERTIFICATES))?) else {
            return Ok(kept);
        };
        // Whatever cannot be read is made anew.
        let file = serde_json::from_str::<File>(&certificates)
            .ok()
            .filter(|file| file.ca == kept.ca);
        if let (Ok(keys), Some(file)) = (KeyPair::from_pem(&key), file) {
            kept.keys = Some(keys);
            kept.chains = file.chains;
        }
        Ok(kept)
    }

    /// The keys, made where there are none.
    pub(super) fn keys(&mut self) -> Result<KeyPair, Error> {
        match self.keys.take() {
            Some(keys) => Ok(keys),
            None => {
                let keys = new_keys()?;
                if let Some(folder) = &self.folder {
                    fs::create_dir_all(folder).map_err(Error::file("cannot make", folder))?;
                    write(&folder.join(KEY), &keys.serialize_pem())?;
                }
                Ok(keys)
            }
        }
    }

    /// Writes the certificates.
    pub(super) fn save(&self) -> Result<(), Error> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = File {
            ca: self.ca,
            chains: self.chains.clone(),
        };
        let text = serde_json::to_string(&file).expect("texts are always JSON");
        write(&folder.join(CERTIFICATES), &text)
    }
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("cannot read", path)(error)),
    }
}

/// For its owner alone: the key is secret.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = || Error::file("cannot write", path);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_again_by_the_same_ca() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        let mut first = Kept::open(&path, Some("ca")).unwrap();
        let keys = first.keys().unwrap().serialize_pem();
        first.chains.insert("edge-1".parse().unwrap(), "PEM".to_owned());
        first.save().unwrap();
        let mut second = Kept::open(&path, Some("ca")).unwrap();
        assert_eq!(second.chains, first.chains);
        assert_eq!(second.keys().unwrap().serialize_pem(), keys);
        let other = Kept::open(&path, Some("another")).unwrap();
        assert!(other.chains.is_empty());
    }

    #[test]
    fn damaged_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY), "no key").unwrap();
        fs::write(folder.path().join(CERTIFICATES), "{").unwrap();
        assert!(Kept::open(folder.path(), None).unwrap().chains.is_empty());
    }
}
