//! The built-in kinds of Kubernetes' versions, as this program has them with it.
//!
//! A file is zstd over lines of JSON: first the [`Index`], then each type in a line of its own. Types name each other by
//! their place among those lines. A push needs some sixty of nearly seven hundred, and reads no more.

use std::{collections::BTreeMap, io::Write as _, ops::Range, sync::OnceLock};

use driftless_model::manifest::split_api_version;
use serde::{Deserialize, Serialize};

use super::Schema;
use crate::{Error, Minor};

/// The shipped files, oldest first.
static CATALOGS: [Shipped; 3] = [
    Shipped::new(34, include_bytes!("../../schemas/v1.34.jsonl.zst")),
    Shipped::new(35, include_bytes!("../../schemas/v1.35.jsonl.zst")),
    Shipped::new(36, include_bytes!("../../schemas/v1.36.jsonl.zst")),
];

/// The built-in kinds of one Kubernetes version, as this program has them with it.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) version: Minor,
    packed: &'static [u8],
    catalog: OnceLock<Catalog>,
}

impl Shipped {
    const fn new(minor: u32, packed: &'static [u8]) -> Self {
        Self {
            version: Minor::new(minor),
            packed,
            catalog: OnceLock::new(),
        }
    }

    /// Those of `version`, or of the known version nearest to it.
    pub(crate) fn nearest(version: Minor) -> &'static Self {
        CATALOGS
            .iter()
            .min_by_key(|shipped| shipped.version.distance(version))
            .expect("there are shipped versions")
    }

    /// All of them. To unpack them when they are first asked for takes a millisecond.
    pub(crate) fn catalog(&self) -> &Catalog {
        let unpack = || Catalog::unpack(self.packed).expect("the shipped schemas are readable: a test reads them all");
        self.catalog.get_or_init(unpack)
    }
}

/// The minor versions whose built-in kinds are known, oldest first.
pub fn supported() -> impl DoubleEndedIterator<Item = Minor> {
    CATALOGS.iter().map(|shipped| shipped.version)
}

/// The place of a type among those of its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TypeNumber(usize);

impl TypeNumber {
    /// Of the type at `place`.
    pub(super) const fn at(place: usize) -> Self {
        Self(place)
    }
}

/// A file's first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// The version of the API server that it was taken from.
    pub(super) kubernetes: String,
    /// For each `apiVersion`, for each kind its type.
    pub(super) kinds: BTreeMap<String, BTreeMap<String, TypeNumber>>,
    /// The type that every object's `metadata` follows.
    pub(super) metadata: TypeNumber,
}

/// All built-in kinds of one Kubernetes version.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// For each `apiVersion`, for each kind its type.
    kinds: BTreeMap<String, BTreeMap<String, TypeNumber>>,
    pub(crate) types: Types,
}

/// The types of a catalog.
#[derive(Debug)]
pub(crate) struct Types {
    lines: Vec<u8>,
    types: Vec<Type>,
    metadata: TypeNumber,
}

/// A type, and where it is written.
#[derive(Debug)]
struct Type {
    line: Range<usize>,
    schema: OnceLock<Schema>,
}

impl Types {
    /// The type that says everything about `schema`: itself, or the one that it is the same as. `None` where there is no
    /// such type, which only a custom resource definition can say.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Schema) -> Option<&'a Schema> {
        let mut schema = schema;
        while let Some(number) = schema.same_as {
            schema = self.get(number)?;
        }
        Some(schema)
    }

    /// The type of every object's `metadata`.
    pub(crate) fn metadata(&self) -> Option<&Schema> {
        self.get(self.metadata)
    }

    fn get(&self, number: TypeNumber) -> Option<&Schema> {
        let known = self.types.get(number.0)?;
        Some(known.schema.get_or_init(|| {
            let line = &self.lines[known.line.clone()];
            serde_json::from_slice(line).expect("the shipped schemas are readable: a test reads them all")
        }))
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Schema> {
        (0..self.types.len()).filter_map(|place| self.get(TypeNumber(place)))
    }
}

impl Catalog {
    /// The type of a built-in kind.
    pub(crate) fn kind(&self, api_version: &str, kind: &str) -> Option<&Schema> {
        self.types.get(*self.kinds.get(api_version)?.get(kind)?)
    }

    /// The kinds of an `apiVersion`, in order; `None` where there is no such version.
    pub(crate) fn kinds(&self, api_version: &str) -> Option<impl Iterator<Item = &str>> {
        Some(self.kinds.get(api_version)?.keys().map(String::as_str))
    }

    /// Whether Kubernetes itself serves this group, in any version.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.kinds
            .keys()
            .any(|api_version| split_api_version(api_version).0 == group)
    }

    /// The `apiVersion`s that there are, in order.
    #[cfg(test)]
    pub(crate) fn api_versions(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// The `apiVersion`s that serve `kind`, stable ones first.
    pub(crate) fn versions_of(&self, kind: &str) -> Vec<&str> {
        let mut versions: Vec<_> = self
            .kinds
            .iter()
            .filter(|(_, kinds)| kinds.contains_key(kind))
            .map(|(api_version, _)| api_version.as_str())
            .collect();
        versions.sort_by_key(|api_version| is_unstable(api_version));
        versions
    }

    /// Reads what [`pack`] wrote, the types not yet.
    fn unpack(packed: &[u8]) -> Result<Self, Error> {
        let unreadable = |error: &dyn std::fmt::Display| Error::Schema(error.to_string());
        let lines = zstd::decode_all(packed).map_err(|error| unreadable(&error))?;
        let ends = memchr::memchr_iter(b'\n', &lines);
        let mut begin = 0;
        let mut ranges = ends.map(|end| std::mem::replace(&mut begin, end + 1)..end);
        let first = ranges.next().ok_or_else(|| unreadable(&"there is no first line"))?;
        let index: Index = serde_json::from_slice(&lines[first]).map_err(|error| unreadable(&error))?;
        let types = ranges.map(|line| Type {
            line,
            schema: OnceLock::new(),
        });
        let types = types.collect();
        Ok(Self {
            kinds: index.kinds,
            types: Types {
                types,
                lines,
                metadata: index.metadata,
            },
        })
    }
}

/// Writes a file.
pub(super) fn pack(index: &Index, types: &[Schema]) -> Result<Vec<u8>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Schema(error.to_string());
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).map_err(|error| failed(&error))?;
    let mut write = |line: Result<Vec<u8>, serde_json::Error>| {
        let mut line = line.map_err(|error| failed(&error))?;
        line.push(b'\n');
        encoder.write_all(&line).map_err(|error| failed(&error))
    };
    write(serde_json::to_vec(index))?;
    types.iter().try_for_each(|schema| write(serde_json::to_vec(schema)))?;
    encoder.finish().map_err(|error| failed(&error))
}

/// Is this an alpha or a beta version, which no API server serves unless told to?
pub(crate) fn is_unstable(api_version: &str) -> bool {
    let version = split_api_version(api_version).1;
    version.contains("alpha") || version.contains("beta")
}
