//! Files of manifests: which they are, and how they are opened.

use std::{fs, path::Path};

use driftless_model::{intake::Text, yaml};

/// Opens a file; the error says which and why.
pub(crate) fn read(path: &Path) -> Result<Text, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {}", path.display(), reason(&error)))?;
    text(&path.display().to_string(), &bytes)
}

/// The text that bytes hold.
pub(super) fn text(name: &str, bytes: &[u8]) -> Result<Text, String> {
    let content = yaml::decode(bytes).map_err(|error| format!("{name}:{error}"))?;
    Ok(Text {
        name: name.to_owned(),
        content: content.into_owned(),
    })
}

/// Why a file cannot be had, in words.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Does its name say that manifests are in it?
pub(crate) fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}
