//! The names in a bucket. Nothing else in the crate spells one.

use driftless_model::hash::ObjectHash;
use object_store::path::Path;

pub(crate) const JOURNAL: &str = "journal";
pub(crate) const CHECKPOINTS: &str = "checkpoints";
pub(crate) const OBJECTS: &str = "objects";
pub(crate) const STATUS: &str = "status";

/// The object by which a bucket shows that it honours put-if-absent.
pub(crate) fn probe() -> Path {
    Path::from("probe")
}

/// Where an object is.
pub(crate) fn object(hash: &ObjectHash) -> Path {
    let text = hash.to_string();
    Path::from(format!("{OBJECTS}/{}/{text}", &text[..2]))
}

/// Where the objects are whose names start with `prefix`, as closely as listing can be narrowed.
pub(crate) fn objects(prefix: &str) -> Path {
    match prefix.get(..2) {
        Some(folder) => Path::from(format!("{OBJECTS}/{folder}")),
        None => Path::from(OBJECTS),
    }
}

/// The object that is at `path`, if one is.
pub(crate) fn object_at(path: &Path) -> Option<ObjectHash> {
    let hash = path.filename()?.parse().ok()?;
    (object(&hash) == *path).then_some(hash)
}

/// Where journal entry `seq` is.
pub(crate) fn entry(seq: u64) -> Path {
    numbered(JOURNAL, seq)
}

/// Where the checkpoint of entry `seq` is.
pub(crate) fn checkpoint(seq: u64) -> Path {
    numbered(CHECKPOINTS, seq)
}

/// The name of number `seq` under `folder`: 20 digits, so that names sort as numbers do.
pub(crate) fn numbered(folder: &str, seq: u64) -> Path {
    Path::from(format!("{folder}/{seq:020}"))
}

/// The number that `path` stands for under `folder`, if it is such a name.
pub(crate) fn number(folder: &str, path: &Path) -> Option<u64> {
    let seq = path.filename()?.parse().ok()?;
    (numbered(folder, seq) == *path).then_some(seq)
}

/// Where a part of a replica's status is.
pub(crate) fn status(replica: &str, part: &str) -> Path {
    Path::from_iter([STATUS, replica, part])
}

/// The replica and part that `path` stands for, if it is such a name.
pub(crate) fn status_at(path: &Path) -> Option<(String, String)> {
    let mut parts = path.parts().skip(1);
    let (replica, part) = (parts.next()?, parts.next()?);
    let (replica, part) = (replica.as_ref().to_owned(), part.as_ref().to_owned());
    (status(&replica, &part) == *path).then_some((replica, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pinned() {
        let hash = ObjectHash::of(b"");
        assert_eq!(
            object(&hash).as_ref(),
            "objects/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(entry(42).as_ref(), "journal/00000000000000000042");
        assert_eq!(checkpoint(1000).as_ref(), "checkpoints/00000000000000001000");
        assert_eq!(entry(u64::MAX).as_ref(), "journal/18446744073709551615");
        assert_eq!(probe().as_ref(), "probe");
        assert_eq!(status("a-1", "07").as_ref(), "status/a-1/07");
        assert_eq!(
            status_at(&status("a-1", "07")),
            Some(("a-1".to_owned(), "07".to_owned()))
        );
        assert_eq!(status_at(&Path::from("status/a-1/07/x")), None);
        assert_eq!(status_at(&Path::from("status/a-1")), None);
    }

    #[test]
    fn names_read_back_and_others_do_not() {
        let hash = ObjectHash::of(b"x");
        assert_eq!(object_at(&object(&hash)), Some(hash));
        assert_eq!(object_at(&Path::from(format!("objects/00/{hash}"))), None);
        assert_eq!(number(JOURNAL, &entry(7)), Some(7));
        assert_eq!(number(CHECKPOINTS, &entry(7)), None);
        for other in [
            "journal/7",
            "journal/+0000000000000000007",
            "journal/00000000000000000007.bak",
        ] {
            assert_eq!(number(JOURNAL, &Path::from(other)), None, "{other}");
        }
    }
}
