//! One bucket: immutable objects under the hash of their content, and the few raw reads and writes that the
//! journal is made of.
//!
//! Used by the server for objects and for what replicas tell each other, and by [`Journal`](crate::Journal) and
//! [`verify`](mod@crate::verify) for the rest. Never deletes and never overwrites an object.

mod folder;
pub(crate) mod layout;
mod status;
mod upload;
mod url;

pub use status::Part;
pub use upload::Upload;

use std::{borrow::Cow, fmt, io::Read as _, sync::Arc};

use bytes::Bytes;
use driftless_model::{bundle, frames, hash::ObjectHash};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};

use folder::Folder;

use crate::error::Error;

/// The largest object in uncompressed bytes: what is read from a bucket or sent by somebody is never
/// decompressed further.
pub const MAX_OBJECT_BYTES: usize = bundle::MAX_BYTES;

/// Speed matters more than the last percent: a push compresses while somebody waits.
const COMPRESSION: i32 = 3;
/// Requests under way at once in calls that take many hashes.
const CONCURRENCY: usize = 32;
/// Above this, hashing and compressing would hold up other tasks of the thread.
const INLINE_BYTES: usize = 256 * 1024;

/// Objects, journal and checkpoints of one bucket. Cheap to clone.
///
/// # Guarantees
/// - What a call has returned as stored is durable, and stays.
/// - What a call returns as an object hashes to its name.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// The same, where it is a folder with nothing in between: many files are the work of one thread there.
    folder: Option<Arc<Folder>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.store)
    }
}

/// Whether a put-if-absent was the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    AlreadyThere,
}

impl Bucket {
    /// Opens the bucket at `address`: a folder (`./data/bucket`, `file:///…`), `s3://…`, `gs://…`, `az://…`, each
    /// with an optional path within the bucket, or `memory://` for an empty one that dies with the process.
    ///
    /// Credentials come from the environment as the clouds' tools read them (`AWS_*`, `GOOGLE_*`, `AZURE_*`);
    /// `AWS_ENDPOINT` and `AWS_ALLOW_HTTP` reach S3-compatible servers. A folder is made if it is not there.
    /// Cloud services are not asked anything yet.
    ///
    /// # Errors
    /// When the address names no bucket, or the folder cannot be made.
    pub async fn open(address: &str) -> Result<Self, Error> {
        url::open(address, url::Absent::Create).await
    }

    /// As [`Bucket::open`] for those who only look: a folder that is not there is an error.
    ///
    /// # Errors
    /// As [`Bucket::open`].
    pub async fn open_existing(address: &str) -> Result<Self, Error> {
        url::open(address, url::Absent::Refuse).await
    }

    /// A bucket on a store of one's own: fakes go in here.
    pub fn on(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, folder: None }
    }

    fn in_folder(folder: Folder) -> Self {
        let folder = Arc::new(folder);
        Self {
            store: Arc::<Folder>::clone(&folder),
            folder: Some(folder),
        }
    }

    /// The same bucket with something in between: delays and faults go in here.
    #[must_use]
    pub fn wrapped(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self::on(wrap(self.store))
    }

    /// Stores an object. One that is there already is left as it is.
    ///
    /// # Errors
    /// When it is larger than [`MAX_OBJECT_BYTES`], or the bucket cannot be written to.
    pub async fn put_object(&self, bytes: &[u8]) -> Result<ObjectHash, Error> {
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(Error::TooLarge {
                limit: MAX_OBJECT_BYTES,
                actual: bytes.len(),
            });
        }
        let (hash, compressed) = if bytes.len() > INLINE_BYTES {
            let bytes = bytes.to_vec();
            off_thread(move || (ObjectHash::of(&bytes), compress(&bytes, COMPRESSION))).await
        } else {
            (ObjectHash::of(bytes), compress(bytes, COMPRESSION))
        };
        self.put_new(&layout::object(&hash), compressed.into(), || format!("object {hash}"))
            .await?;
        Ok(hash)
    }

    /// As [`Bucket::put_object`], for a snapshot whose name is known and that is compressed already.
    pub(crate) async fn put_snapshot(&self, hash: ObjectHash, compressed: Bytes) -> Result<(), Error> {
        let path = layout::object(&hash);
        let put = self.put_new(&path, compressed, || format!("snapshot {hash}"));
        put.await.map(drop)
    }

    /// Stores objects that somebody sent. Those that are there already are left as they are.
    ///
    /// # Errors
    /// When the bucket cannot be written to. Some of the objects may be stored then.
    pub async fn put_uploads(&self, uploads: Vec<Upload>) -> Result<(), Error> {
        if let Some(folder) = &self.folder {
            let files = uploads.into_iter().map(|upload| {
                let location = layout::object(&upload.hash());
                (location, upload.into_frame())
            });
            return folder.create_all(files.collect()).await.map_err(|(location, error)| {
                let what = layout::object_at(&location).map_or_else(|| location.to_string(), |hash| hash.to_string());
                Error::writing(format!("object {what} in {folder}"), error)
            });
        }
        let put = |upload: Upload| async move {
            let hash = upload.hash();
            let path = layout::object(&hash);
            let put = self.put_new(&path, upload.into_frame(), || format!("object {hash}"));
            put.await.map(drop)
        };
        let puts: Vec<_> = uploads.into_iter().map(put).collect();
        stream::iter(puts).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// The uncompressed bytes of an object, checked against its name.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when it is not there, [`Error::is_corrupt`] when it is damaged.
    pub async fn object(&self, hash: &ObjectHash) -> Result<Bytes, Error> {
        Self::opened(hash, self.object_compressed(hash).await?).await
    }

    /// The uncompressed bytes of an object that was read as [`Bucket::object_compressed`], checked against its name.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] when it is damaged.
    pub async fn opened(hash: &ObjectHash, compressed: Bytes) -> Result<Bytes, Error> {
        let hash = *hash;
        // What it decompresses to is not known before: a small frame may hold much.
        let unpacked = off_thread(move || unpacked(&hash, &compressed, MAX_OBJECT_BYTES)).await;
        unpacked.map_err(|fault| {
            let reason = match fault {
                Fault::TooLarge { .. } => format!("it has more than the {MAX_OBJECT_BYTES} bytes an object may have"),
                Fault::Other(reason) => reason.into_owned(),
            };
            Error::ObjectCorrupt { hash, reason }
        })
    }

    /// An object as it is stored (zstd), for sending on as it is. Not checked: whoever decompresses it does that.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when it is not there.
    pub async fn object_compressed(&self, hash: &ObjectHash) -> Result<Bytes, Error> {
        let found = self.read(&layout::object(hash), || format!("object {hash}")).await?;
        found.ok_or(Error::ObjectNotFound(*hash))
    }

    /// Those of `hashes` that are not in the bucket, in the order given.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub async fn missing(&self, hashes: &[ObjectHash]) -> Result<Vec<ObjectHash>, Error> {
        if let Some(folder) = &self.folder {
            let locations: Vec<_> = hashes.iter().map(layout::object).collect();
            let missing = folder.missing(&locations).await;
            let missing = missing.map_err(|error| Error::reading("which objects there are".to_owned(), error))?;
            let lacking = hashes.iter().zip(missing).filter(|(_, is_missing)| *is_missing);
            return Ok(lacking.map(|(hash, _)| *hash).collect());
        }
        let lookup = |hash: ObjectHash| async move {
            match self.store.head(&layout::object(&hash)).await {
                Ok(_) => Ok(None),
                Err(object_store::Error::NotFound { .. }) => Ok(Some(hash)),
                Err(error) => Err(Error::reading(format!("object {hash}"), error)),
            }
        };
        // Collected, since the compiler cannot tell that a stream over the closure is `Send`.
        let lookups: Vec<_> = hashes.iter().copied().map(lookup).collect();
        stream::iter(lookups)
            .buffered(CONCURRENCY)
            .try_filter_map(|missing| async move { Ok(missing) })
            .try_collect()
            .await
    }

    /// The objects whose names start with `prefix`, in order. A text that starts no hash finds none.
    ///
    /// # Errors
    /// When the bucket cannot be listed.
    pub async fn find(&self, prefix: &str) -> Result<Vec<ObjectHash>, Error> {
        let prefix = prefix.to_ascii_lowercase();
        if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let mut found = self.objects_under(&layout::objects(&prefix)).await?.0;
        found.retain(|hash| hash.to_string().starts_with(&prefix));
        Ok(found)
    }

    /// All objects, in order, and what else lies among them.
    pub(crate) async fn all_objects(&self) -> Result<(Vec<ObjectHash>, Vec<Path>), Error> {
        self.objects_under(&layout::objects("")).await
    }

    async fn objects_under(&self, folder: &Path) -> Result<(Vec<ObjectHash>, Vec<Path>), Error> {
        let (mut found, mut others) = (Vec::new(), Vec::new());
        for path in self.list(self.store.list(Some(folder)), folder).await? {
            match layout::object_at(&path) {
                Some(hash) => found.push(hash),
                None => others.push(path),
            }
        }
        found.sort_unstable();
        others.sort_unstable();
        Ok((found, others))
    }

    /// The numbers above `after` that are taken under `folder`, in order, and what else lies among them.
    pub(crate) async fn numbers(&self, folder: &'static str, after: u64) -> Result<(Vec<u64>, Vec<Path>), Error> {
        let prefix = Path::from(folder);
        let offset = layout::numbered(folder, after);
        let paths = match &self.folder {
            Some(files) => {
                let names = files.names(&prefix).await;
                names.map_err(|error| Error::reading(format!("the list of {folder}/"), error))?
            }
            None => {
                let listing = self.store.list_with_offset(Some(&prefix), &offset);
                self.list(listing, &prefix).await?
            }
        };
        let (mut numbers, mut others) = (Vec::new(), Vec::new());
        for path in paths.into_iter().filter(|path| *path > offset) {
            match layout::number(folder, &path) {
                Some(seq) => numbers.push(seq),
                None => others.push(path),
            }
        }
        numbers.sort_unstable();
        others.sort_unstable();
        Ok((numbers, others))
    }

    async fn list(
        &self,
        listing: stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>>,
        folder: &Path,
    ) -> Result<Vec<Path>, Error> {
        let paths = listing.map_ok(|meta| meta.location).try_collect().await;
        paths.map_err(|error| Error::reading(format!("the list of {folder}/"), error))
    }

    /// The bytes of journal entry `seq`, `None` when there is no such entry (yet).
    pub(crate) async fn entry(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        self.read(&layout::entry(seq), || format!("journal entry {seq}")).await
    }

    /// Creates journal entry `seq` unless the number is taken. Any error leaves open whether it was created.
    pub(crate) async fn put_entry(&self, seq: u64, bytes: Bytes) -> Result<Put, Error> {
        self.put_new(&layout::entry(seq), bytes, || format!("journal entry {seq}"))
            .await
    }

    /// The bytes of the checkpoint of entry `seq`.
    pub(crate) async fn checkpoint(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        self.read(&layout::checkpoint(seq), || format!("checkpoint {seq}"))
            .await
    }

    /// Writes the checkpoint of entry `seq`. Every writer writes the same bytes, and a damaged one is to be replaced.
    pub(crate) async fn put_checkpoint(&self, seq: u64, bytes: Bytes) -> Result<(), Error> {
        let put = self
            .store
            .put(&layout::checkpoint(seq), PutPayload::from_bytes(bytes))
            .await;
        put.map(|_| ())
            .map_err(|error| Error::writing(format!("checkpoint {seq} in {}", self.store), error))
    }

    /// Shows that the bucket can be written to, and that what is there is not overwritten.
    pub(crate) async fn check_put_if_absent(&self) -> Result<(), Error> {
        let probe = layout::probe();
        let put = || self.put_new(&probe, Bytes::new(), || "a probe".to_owned());
        // After the first, however it ends well, the object is there: the second must find that.
        put().await?;
        match put().await? {
            Put::AlreadyThere => Ok(()),
            Put::Created => Err(Error::NoPutIfAbsent),
        }
    }

    async fn put_new(&self, path: &Path, bytes: Bytes, what: impl Fn() -> String) -> Result<Put, Error> {
        let options = PutOptions::from(PutMode::Create);
        match self.store.put_opts(path, PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::AlreadyThere),
            // Which of the places that may be full is meant.
            Err(error) => Err(Error::writing(format!("{} in {}", what(), self.store), error)),
        }
    }

    async fn read(&self, path: &Path, what: impl Fn() -> String) -> Result<Option<Bytes>, Error> {
        let read = async { self.store.get(path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::reading(what(), error)),
        }
    }
}

/// Why bytes are not the object they should be.
enum Fault {
    TooLarge { actual: usize },
    Other(Cow<'static, str>),
}

fn unpacked(hash: &ObjectHash, compressed: &[u8], max_len: usize) -> Result<Bytes, Fault> {
    let bytes = decompress(compressed, max_len)?;
    if ObjectHash::of(&bytes) != *hash {
        return Err(Fault::Other("its content does not hash to its name".into()));
    }
    Ok(bytes)
}

fn compress(bytes: &[u8], level: i32) -> Vec<u8> {
    zstd::bulk::compress(bytes, level).expect("compressing into memory has no way to fail")
}

fn decompress(compressed: &[u8], max_len: usize) -> Result<Bytes, Fault> {
    let declared = frames::announced_size(compressed);
    let declared = declared.map_err(|error| Fault::Other(error.to_string().into()))?;
    let unreadable = |error| Fault::Other(format!("it cannot be decompressed: {error}").into());
    let bytes = match declared.map(|length| usize::try_from(length).unwrap_or(usize::MAX)) {
        Some(length) if length > max_len => return Err(Fault::TooLarge { actual: length }),
        Some(length) => zstd::bulk::decompress(compressed, length).map_err(unreadable)?,
        None => {
            let mut bytes = Vec::new();
            let decoder = zstd::Decoder::with_buffer(compressed).map_err(unreadable)?;
            let read = decoder.take(max_len as u64 + 1).read_to_end(&mut bytes);
            read.map_err(unreadable)?;
            if bytes.len() > max_len {
                return Err(Fault::TooLarge { actual: bytes.len() });
            }
            bytes
        }
    };
    Ok(bytes.into())
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
