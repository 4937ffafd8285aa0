//! From an address to a bucket: which backend, which credentials.
//!
//! Credentials come from the environment variables that the clouds' own tools read, never from the address.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, memory::InMemory, path::Path, prefix::PrefixStore,
};
use url::Url;

use super::{Bucket, folder::Folder};
use crate::error::Error;

/// Whether a folder that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    Create,
    Refuse,
}

/// Opens the bucket that `address` names.
pub(super) async fn open(address: &str, absent: Absent) -> Result<Bucket, Error> {
    let invalid = |reason: String| Error::Address {
        address: without_credentials(address),
        reason,
    };
    if !address.contains("://") {
        return folder(address.into(), absent).await;
    }
    let url = Url::parse(address).map_err(|error| invalid(error.to_string()))?;
    if url.password().is_some() || url.query().is_some() {
        return Err(invalid(
            "it may hold no credentials and no options: set them in the environment".to_owned(),
        ));
    }
    match url.scheme() {
        "file" => {
            let path = url
                .to_file_path()
                .map_err(|()| invalid("the path is not absolute".to_owned()))?;
            return folder(path, absent).await;
        }
        "memory" => return Ok(Bucket::on(Arc::new(InMemory::new()))),
        _ => {}
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("it names no bucket".to_owned()));
    }
    // The HTTP client refuses to be built without a process-wide provider. A binary has installed one by now;
    // a test need not know.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    let store = cloud(&url).map_err(|error| invalid(error.to_string()))?;
    let store = store.ok_or_else(|| invalid(format!("there is no storage service `{}`", url.scheme())))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| invalid(error.to_string()))?;
    Ok(Bucket::on(if prefix.as_ref().is_empty() {
        store
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    }))
}

async fn folder(path: PathBuf, absent: Absent) -> Result<Bucket, Error> {
    if absent == Absent::Refuse && !path.is_dir() {
        let address = path.display().to_string();
        return Err(Error::Address {
            address,
            reason: "there is no such folder".to_owned(),
        });
    }
    let named = path.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let folder = Folder::open(&path)?;
        if absent == Absent::Create {
            folder.prepare()?;
        }
        Ok(Bucket::in_folder(folder))
    });
    let panicked = |error| Error::folder(&named, &std::io::Error::other(error));
    opening.await.map_err(panicked)?
}

fn cloud(url: &Url) -> object_store::Result<Option<Arc<dyn ObjectStore>>> {
    // The path is a prefix within the bucket, which the builders would not accept.
    let mut bucket = url.clone();
    bucket.set_path("");
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        "s3" => Arc::new(
            AmazonS3Builder::from_env()
                .with_url(bucket)
                .with_retry(retry())
                .build()?,
        ),
        "gs" => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(bucket)
                .with_retry(retry())
                .build()?,
        ),
        "az" => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_url(bucket)
                .with_retry(retry())
                .build()?,
        ),
        _ => return Ok(None),
    };
    Ok(Some(store))
}

/// Few tries within one call: the journal has its own, and answers its callers between them.
fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    };
    RetryConfig {
        backoff,
        max_retries: 4,
        retry_timeout: Duration::from_secs(20),
    }
}

/// `address` as it may appear in an error.
fn without_credentials(address: &str) -> String {
    match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}…{}", &address[..scheme + 3], &address[at..]),
        _ => address.split('?').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(address: &str) -> String {
        open(address, Absent::Create)
            .await
            .expect_err("must be refused")
            .to_string()
    }

    #[tokio::test]
    async fn addresses_that_name_no_bucket_are_refused() {
        for (address, reason) in [
            ("ftp://x/y", "there is no storage service `ftp`"),
            ("s3://", "it names no bucket"),
            ("az:///path", "it names no bucket"),
            ("file://relative/path", "not absolute"),
        ] {
            let error = refusal(address).await;
            assert!(error.contains(address) && error.contains(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn credentials_in_an_address_are_refused_and_not_repeated() {
        for address in [
            "s3://key:secret@bucket",
            "s3://bucket/x?secret=secret",
            "ftp://secret@x",
        ] {
            let error = refusal(address).await;
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn cloud_addresses_open_without_a_connection() {
        for (address, told) in [("s3://bucket", "bucket"), ("s3://bucket/and/prefix", "and/prefix")] {
            let bucket = open(address, Absent::Create).await.unwrap();
            assert!(bucket.store.to_string().contains(told), "{bucket:?}");
        }
    }
}
