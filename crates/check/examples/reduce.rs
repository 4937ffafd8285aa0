//! Makes one of the files under `schemas/` of the OpenAPI documents of an API server.
//!
//! Run by `tests/kubernetes/schemas`, which fetches them; of no use to anybody else.

use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [version, folder, file] = arguments.as_slice() else {
        return Err("usage: reduce VERSION FOLDER-OF-DOCUMENTS FILE".into());
    };
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder)? {
        let text = fs::read(entry?.path())?;
        documents.push(serde_json::from_slice(&text)?);
    }
    let packed = driftless_check::schema::reduce(version, documents)?;
    fs::write(file, &packed)?;
    println!("{file}: {} KiB", packed.len().div_ceil(1024));
    Ok(())
}
