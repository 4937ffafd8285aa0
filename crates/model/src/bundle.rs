//! One version of one component: a header and the component's manifests, immutable once encoded.
//!
//! Byte form: JSON Lines. The first line is the [`Header`], then one manifest a line in the order of their ids,
//! each in canonical form, each line ended by `\n`; so `zstdcat | jq` reads it and one changed field stays one
//! small delta. Equal content gives equal bytes, hence an equal name.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    iter,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

use crate::{
    canonical,
    hash::ObjectHash,
    manifest::{self, Manifest, ManifestId, Manifests, Problem},
    name::ComponentName,
    overlay::Overlay,
    selector::Selector,
};

mod edited;
pub mod lines;
pub mod upkeep;

use edited::Pauses;
use upkeep::{Allow, Drift, Prune, ServiceAccount};

/// The newest bundle format. A reader refuses a higher one: it could not honour what it does not know.
///
/// Format 2 brought [`Spec`], format 3 its [`upkeep`]. A bundle is written in the lowest format that can hold it, so
/// that what needs nothing new keeps its bytes and can be read by whoever could read it before.
pub const FORMAT: u32 = 3;

/// The largest bundle in uncompressed bytes. Real-world components with all their CRDs stay below 8 MB.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The first line of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header<'a> {
    /// See [`FORMAT`].
    pub format: u32,
    /// The component this is a version of.
    pub component: Cow<'a, ComponentName>,
    /// How it is to be run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spec: Cow<'a, Spec>,
}

/// How a component is to be run: where, in which order, and what differs between clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Spec {
    /// The clusters that run it; the empty selector means all.
    #[serde(skip_serializing_if = "Selector::is_empty")]
    pub selector: Selector,
    /// What differs on some of them, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<Overlay>,
    /// Components that have to be healthy before this one is applied.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub depends_on: BTreeSet<ComponentName>,
    /// How to tell the health of kinds that do not follow Kubernetes' conventions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<HealthRule>,
    /// Number of the component's schema: what it keeps in databases and the like. It never falls: a version of a
    /// lower epoch could not read what a newer one wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// May objects be taken over that another tool owns?
    #[serde(skip_serializing_if = "upkeep::is_false")]
    pub adopt: bool,
    /// What becomes of objects that somebody else changed.
    #[serde(skip_serializing_if = "Drift::is_default")]
    pub drift: Drift,
    /// How objects that left it are deleted.
    #[serde(skip_serializing_if = "Prune::is_default")]
    pub prune: Prune,
    /// As whom the agent applies and deletes its objects; as itself unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// What it may hold.
    #[serde(skip_serializing_if = "Allow::is_default")]
    pub allow: Allow,
}

/// How to tell the health of objects of one kind: CEL expressions over `self`, the live object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HealthRule {
    /// API group; the empty text means the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// True when the object is healthy.
    pub healthy: String,
    /// True when it never will be without help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// An immutable set of manifests: one version of one component.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The component this is a version of.
    pub component: ComponentName,
    spec: Arc<Spec>,
    /// In the order of their ids.
    manifests: Manifests,
    /// Worked out when first asked for: everything is looked up by it.
    hash: OnceLock<ObjectHash>,
    /// Of one that was made of another.
    pauses: Pauses,
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        (&self.component, &self.spec, &self.manifests) == (&other.component, &other.spec, &other.manifests)
    }
}

impl Eq for Bundle {}

impl Spec {
    /// Does it ask for nothing, so that the component runs everywhere and alike?
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The lowest format that can hold it.
    fn format(&self) -> u32 {
        let Self {
            selector: _,
            overlays: _,
            depends_on: _,
            health: _,
            epoch: _,
            adopt,
            drift,
            prune,
            service_account,
            allow,
        } = self;
        let has_upkeep =
            *adopt || !drift.is_default() || !prune.is_default() || service_account.is_some() || !allow.is_default();
        match (self.is_default(), has_upkeep) {
            (true, _) => 1,
            (false, false) => 2,
            (false, true) => 3,
        }
    }
}

/// Why bytes or manifests do not make a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two manifests with one id.
    #[error("{0} is there twice: an object may appear once in a component")]
    Duplicate(ManifestId),
    /// The header line is missing or not understood.
    #[error("bundle header: {0}")]
    Header(String),
    /// Written by a newer Driftless.
    #[error("bundle format {0} is newer than this program knows ({FORMAT}): upgrade it")]
    NewerFormat(u32),
    /// One of the manifests breaks a rule.
    #[error("bundle line {line}: {problem}")]
    Manifest {
        /// 1-based line.
        line: usize,
        /// The broken rule.
        problem: Problem,
    },
    /// Manifests out of id order, or a missing final newline.
    #[error("bundle line {0}: lines must be complete and in the order of their ids")]
    Order(usize),
    /// Larger than [`MAX_BYTES`].
    #[error("the bundle has {0} bytes, more than the {MAX_BYTES} that one component may have: split it")]
    TooLarge(usize),
}

fn is_default(spec: &Spec) -> bool {
    spec.is_default()
}

impl Bundle {
    /// Collects manifests, in any order.
    ///
    /// # Errors
    /// [`Error::Duplicate`] when two share an id.
    pub fn new(component: ComponentName, manifests: impl IntoIterator<Item = Manifest>) -> Result<Self, Error> {
        let mut manifests: Vec<_> = manifests.into_iter().collect();
        manifests.sort_by(|one, other| one.id().cmp(other.id()));
        if let Some(twice) = manifests.windows(2).find(|pair| pair[0].id() == pair[1].id()) {
            return Err(Error::Duplicate(twice[0].id().clone()));
        }
        Ok(Self {
            component,
            spec: Arc::default(),
            manifests: manifests.into_iter().collect(),
            hash: OnceLock::new(),
            pauses: Pauses::default(),
        })
    }

    /// The same, run as `spec` says.
    #[must_use]
    pub fn with_spec(mut self, spec: Spec) -> Self {
        self.spec = Arc::new(spec);
        self.hash = OnceLock::new();
        self.pauses = Pauses::default();
        self
    }

    /// How it is to be run.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The same, to keep.
    pub fn shared_spec(&self) -> Arc<Spec> {
        Arc::clone(&self.spec)
    }

    /// The manifests in the order of their ids.
    pub fn manifests(&self) -> impl ExactSizeIterator<Item = &Manifest> {
        self.manifests.iter()
    }

    /// The same, to keep.
    pub fn shared_manifests(&self) -> Manifests {
        self.manifests.clone()
    }

    /// Those that could hold variables.
    pub(crate) fn with_variables(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.with_variables()
    }

    /// The manifest with this id.
    pub fn get(&self, id: &ManifestId) -> Option<&Manifest> {
        self.manifests.get(id)
    }

    /// The canonical bytes, whose sha256 names the bundle.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        for line in self.lines() {
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
        }
        bytes
    }

    /// How many bytes [`Bundle::encode`] makes.
    pub fn size(&self) -> usize {
        canonical::document(&self.header()).len() + 1 + self.manifests.bytes()
    }

    fn header(&self) -> Header<'_> {
        Header {
            format: self.spec.format(),
            component: Cow::Borrowed(&self.component),
            spec: Cow::Borrowed(&*self.spec),
        }
    }

    fn lines(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let manifests = self.manifests();
        iter::once(Cow::Owned(canonical::document(&self.header())))
            .chain(manifests.map(|manifest| Cow::Borrowed(manifest.canonical())))
    }

    /// Reads back what [`Bundle::encode`] wrote, trusting nothing: every rule of a push is checked again.
    ///
    /// # Errors
    /// Says which line breaks which rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode_beside(bytes, &Manifests::default())
    }

    /// The same, where an earlier version of the component is at hand: lines that are in both are not parsed again, and
    /// their manifests are shared. So what it costs grows with what changed, and hardly with what did not.
    ///
    /// # Errors
    /// As [`Bundle::decode`].
    pub fn decode_after(bytes: &[u8], earlier: &Self) -> Result<Self, Error> {
        Self::decode_beside(bytes, &earlier.manifests)
    }

    fn decode_beside(bytes: &[u8], known: &Manifests) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::TooLarge(bytes.len()));
        }
        let mut lines = lines_of(bytes).enumerate();
        let (_, first) = lines.next().ok_or_else(|| Error::Header("it is missing".to_owned()))?;
        let header = decode_header(first)?;
        let mut manifests = manifest::Builder::default();
        let mut known = known.iter().peekable();
        let mut after_known = false;
        for (index, line) in lines {
            let number = index + 1;
            let line = line.strip_suffix(b"\n").ok_or(Error::Order(number))?;
            let same = known.next_if(|same| same.canonical() == line);
            // Those that follow each other there are in order.
            if let (Some(same), true) = (same, after_known) {
                manifests.push(same.clone());
                continue;
            }
            after_known = same.is_some();
            let manifest = match same {
                Some(same) => same.clone(),
                None => Manifest::from_canonical(line).map_err(|problem| Error::Manifest { line: number, problem })?,
            };
            while known.next_if(|other| other.id() <= manifest.id()).is_some() {}
            match manifests.last() {
                Some(last) if last.id() == manifest.id() => return Err(Error::Duplicate(manifest.id().clone())),
                Some(last) if last.id() > manifest.id() => return Err(Error::Order(number)),
                _ => manifests.push(manifest),
            }
        }
        Ok(Self {
            component: header.component.into_owned(),
            spec: Arc::new(header.spec.into_owned()),
            manifests: manifests.finish(),
            hash: OnceLock::new(),
            pauses: Pauses::default(),
        })
    }

    /// The hash that names this bundle.
    pub fn hash(&self) -> ObjectHash {
        *self.hash.get_or_init(|| ObjectHash::of(&self.encode()))
    }
}

/// The lines, each with its end, if it has one.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b'\n', bytes).map(|at| at + 1);
    let rest = (!bytes.is_empty() && bytes.last() != Some(&b'\n')).then_some(bytes.len());
    let mut start = 0;
    ends.chain(rest)
        .map(move |end| &bytes[std::mem::replace(&mut start, end)..end])
}

fn decode_header(line: &[u8]) -> Result<Header<'static>, Error> {
    let line = line.strip_suffix(b"\n").ok_or(Error::Order(1))?;
    let value = canonical::from_slice_strict(line).map_err(|error| Error::Header(error.to_string()))?;
    // The format comes first: a newer header may hold fields that this version would refuse as unknown.
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format > u64::from(FORMAT) => {
            return Err(Error::NewerFormat(u32::try_from(format).unwrap_or(u32::MAX)));
        }
        _ => {}
    }
    let header: Header<'static> = serde_json::from_value(value).map_err(|error| Error::Header(error.to_string()))?;
    if canonical::document(&header) != line {
        return Err(Error::Header("it is not in canonical form".to_owned()));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(name: &str) -> Manifest {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        Manifest::new(object, "default").unwrap()
    }

    fn bundle(names: &[&str]) -> Bundle {
        Bundle::new("shop".parse().unwrap(), names.iter().map(|name| config_map(name))).unwrap()
    }

    #[test]
    fn lines_end_where_they_end() {
        let lines = |text: &'static str| lines_of(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(lines("a\n\nb\n"), [&b"a\n"[..], b"\n", b"b\n"]);
        assert_eq!(lines("a\nb"), [&b"a\n"[..], b"b"]);
        assert_eq!(lines(""), [&b""[..]; 0]);
    }

    #[test]
    fn bytes_are_pinned() {
        let text = String::from_utf8(bundle(&["b", "a"]).encode()).unwrap();
        let expected = concat!(
            r#"{"component":"shop","format":1}"#,
            "\n",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}"#,
            "\n",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","namespace":"default"}}"#,
            "\n",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn order_of_manifests_does_not_change_the_name() {
        assert_eq!(bundle(&["a", "b", "c"]).hash(), bundle(&["c", "a", "b"]).hash());
        assert_ne!(bundle(&["a"]).hash(), bundle(&["b"]).hash());
    }

    #[test]
    fn what_was_encoded_reads_back() {
        for names in [&[][..], &["a"], &["a", "b"]] {
            assert_eq!(Bundle::decode(&bundle(names).encode()).unwrap(), bundle(names));
        }
    }

    #[test]
    fn what_is_read_after_an_earlier_version_is_the_same_and_shares_what_did_not_change() {
        let earlier = bundle(&["b", "d", "e", "f"]);
        for names in [
            &[][..],
            &["a"],
            &["b", "d", "e", "f"],
            &["a", "b", "c", "e", "g"],
            &["f"],
        ] {
            let bytes = bundle(names).encode();
            let read = Bundle::decode_after(&bytes, &earlier).unwrap();
            assert_eq!(read, Bundle::decode(&bytes).unwrap());
            assert_eq!(read.hash(), ObjectHash::of(&bytes));
            for manifest in read.manifests() {
                let shared = |known: &Manifest| std::ptr::eq(known.canonical(), manifest.canonical());
                let known = earlier.get(manifest.id());
                // Only what follows one that left is looked at anew.
                if names.len() == earlier.manifests().len() {
                    assert!(known.is_some_and(shared), "{manifest:?}");
                }
            }
        }
        let twice = [
            bundle(&["b"]).encode(),
            config_map("b").canonical().to_vec(),
            b"\n".to_vec(),
        ]
        .concat();
        assert!(matches!(
            Bundle::decode_after(&twice, &earlier),
            Err(Error::Duplicate(_))
        ));
    }

    #[test]
    fn duplicates_are_refused() {
        let twice = Bundle::new("shop".parse().unwrap(), [config_map("a"), config_map("a")]);
        assert_eq!(
            twice.unwrap_err().to_string(),
            "ConfigMap default/a is there twice: an object may appear once in a component"
        );
    }

    #[test]
    fn altered_bytes_are_refused() {
        let good = String::from_utf8(bundle(&["a", "b"]).encode()).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        let decode = |text: String| {
            Bundle::decode(text.as_bytes())
                .map(|_| ())
                .expect_err("must be refused")
                .to_string()
        };
        assert!(decode(String::new()).contains("header"));
        assert!(decode(good.trim_end().to_owned()).contains("complete"));
        assert!(decode(format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1])).contains("order"));
        assert!(decode(format!("{}\n{}\n{}\n", lines[0], lines[1], lines[1])).contains("twice"));
        assert!(
            decode(format!(
                "{{\"component\":\"shop\",\"format\":4,\"x\":1}}\n{}\n",
                lines[1]
            ))
            .contains("upgrade")
        );
        assert!(decode(good.replace(r#""kind":"#, r#" "kind":"#)).contains("canonical"));
    }
}
