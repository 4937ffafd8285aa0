//! The server on a folder whose puts take longer: what an object store is like, on the disk that is at hand.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use async_trait::async_trait;
use driftless_server::{Server, Settings};
use driftless_store::Bucket;
use futures::stream::BoxStream;
use jiff::Timestamp;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, path::Path,
};
use tokio_util::sync::CancellationToken;

/// Serves until it is killed.
pub(crate) async fn serve(data: PathBuf, delay: Duration) -> Result<()> {
    let bucket = Bucket::open(&data.join("bucket").to_string_lossy()).await?;
    let bucket = bucket.wrapped(|inner| Arc::new(Slow { inner, delay }));
    let settings = Settings::new(data, "127.0.0.1:0".parse()?, now);
    let server = Server::start_on(bucket, settings).await?;
    println!("listening on https://{}", server.local_addr());
    Ok(server.run(CancellationToken::new()).await?)
}

#[expect(clippy::disallowed_methods, reason = "a server goes by the time of day")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[derive(Debug)]
struct Slow {
    inner: Arc<dyn ObjectStore>,
    delay: Duration,
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slow {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Slow {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        tokio::time::sleep(self.delay).await;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
