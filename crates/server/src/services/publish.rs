//! For release tooling: channels, objects and pushes.
//!
//! Nothing gets into the store from outside but bundles that keep every rule.

mod bundles;
mod circle;
mod fit;
mod history;
mod request;
mod upload;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use driftless_model::{
    fleet::{self, Expected, Intent},
    hash::ObjectHash,
    name::ChannelName,
    snapshot::{Components, Provenance, Snapshot},
};
use driftless_proto::{hash, to_hash, v1};
use driftless_store::{Error as StoreError, Upload};
use futures::{TryStreamExt, stream::TryReadyChunksError};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use super::{Core, Parts, hashes, parts};
use crate::{failure::Failure, recent::Recent};
use history::Walk;
use request::{check_provenance, parse_channel, read_components, read_key};

/// Times that a push is checked against what others made of its channel meanwhile.
const MAX_TRIES: u32 = 20;
const DEFAULT_LOG: u32 = 20;
const MAX_LOG: u32 = 1000;
/// Prefixes found are answered up to this many: more are no use to anybody.
const MAX_FOUND: usize = 100;
/// Uploads of one stream that are checked and stored together, where so many are there: to hand each to threads of its
/// own costs more than small ones do.
const TOGETHER: usize = 64;
/// Such pieces of work of one stream that are under way at once: uploads may have megabytes, and pushers have several
/// streams.
const UPLOADS: usize = 4;

/// Uncompressed bytes of uploads that are kept until a push names them.
const MAX_UPLOADED: usize = 16 * 1024 * 1024;

pub(super) struct Service {
    core: Arc<Core>,
    /// Bounds the memory of uploads that are being checked.
    checks: Semaphore,
    /// Uploads that a push is about to name, each good for one look: whoever asks again finds out whether it is still in
    /// the bucket.
    uploaded: Recent,
}

#[tonic::async_trait]
impl v1::publish_server::Publish for Service {
    async fn create_channel(
        &self,
        request: Request<v1::CreateChannelRequest>,
    ) -> Result<Response<v1::Channel>, Status> {
        let author = self.core.auth.admin(&request)?;
        Ok(Response::new(
            self.create_channel(author, &request.get_ref().name).await?,
        ))
    }

    async fn list_channels(
        &self,
        request: Request<v1::ListChannelsRequest>,
    ) -> Result<Response<v1::ListChannelsResponse>, Status> {
        self.core.auth.admin(&request)?;
        Ok(Response::new(self.list_channels()))
    }

    async fn get_channel(&self, request: Request<v1::GetChannelRequest>) -> Result<Response<v1::Channel>, Status> {
        self.core.auth.admin(&request)?;
        Ok(Response::new(self.channel(&parse_channel(&request.get_ref().name)?)?))
    }

    async fn missing_objects(
        &self,
        request: Request<v1::MissingObjectsRequest>,
    ) -> Result<Response<v1::MissingObjectsResponse>, Status> {
        self.core.auth.admin(&request)?;
        let asked = hashes(&request.get_ref().hashes)?;
        let missing = self.core.bucket.missing(&asked).await.map_err(Failure::from)?;
        Ok(Response::new(v1::MissingObjectsResponse {
            hashes: missing.iter().map(to_hash).collect(),
        }))
    }

    async fn put_objects(
        &self,
        request: Request<Streaming<v1::Object>>,
    ) -> Result<Response<v1::PutObjectsResponse>, Status> {
        self.core.auth.admin(&request)?;
        let stored = AtomicU32::new(0);
        request
            .into_inner()
            .try_ready_chunks(TOGETHER)
            .map_err(|TryReadyChunksError(_, status)| status)
            .try_for_each_concurrent(UPLOADS, async |objects| {
                stored.fetch_add(self.put(objects).await?, Ordering::Relaxed);
                Ok(())
            })
            .await?;
        Ok(Response::new(v1::PutObjectsResponse {
            stored: stored.into_inner(),
        }))
    }

    async fn publish(&self, request: Request<v1::PublishRequest>) -> Result<Response<v1::PublishResponse>, Status> {
        let author = self.core.auth.admin(&request)?;
        let result = self.publish(author, request.into_inner()).await;
        self.core.metrics.published(match &result {
            Ok(response) if response.unchanged => "unchanged",
            Ok(_) => "published",
            Err(Failure::Refused(refusal)) if refusal.is_conflict() => "conflict",
            Err(Failure::Store(_) | Failure::Internal(_)) => "failed",
            Err(_) => "refused",
        });
        Ok(Response::new(result?))
    }

    type GetObjectsStream = Parts<v1::Object>;

    async fn get_objects(
        &self,
        request: Request<v1::GetObjectsRequest>,
    ) -> Result<Response<Self::GetObjectsStream>, Status> {
        self.core.auth.admin(&request)?;
        let wanted = VecDeque::from(hashes(&request.get_ref().hashes)?);
        let state = (Arc::clone(&self.core), wanted);
        Ok(Response::new(parts(state, |(core, mut wanted)| async move {
            let Some(hash) = wanted.pop_front() else {
                return Ok(None);
            };
            let zstd = core.objects.compressed(&hash).await?.unwrap_or_default();
            Ok(Some((
                v1::Object {
                    hash: to_hash(&hash),
                    zstd,
                    base: Bytes::new(),
                },
                (core, wanted),
            )))
        })))
    }

    async fn find_object(
        &self,
        request: Request<v1::FindObjectRequest>,
    ) -> Result<Response<v1::FindObjectResponse>, Status> {
        self.core.auth.admin(&request)?;
        let prefix = &request.get_ref().prefix;
        if !(4..=64).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let text = format!("prefix: `{prefix}` is not the beginning of a hash: give 4 to 64 hexadecimal digits");
            return Err(Failure::Argument(text).into());
        }
        let found = self.core.bucket.find(prefix).await.map_err(Failure::from)?;
        Ok(Response::new(v1::FindObjectResponse {
            hashes: found.iter().take(MAX_FOUND).map(to_hash).collect(),
        }))
    }

    type LogStream = Parts<v1::LogEntry>;

    async fn log(&self, request: Request<v1::LogRequest>) -> Result<Response<Self::LogStream>, Status> {
        self.core.auth.admin(&request)?;
        Ok(Response::new(self.log(request.get_ref())?))
    }
}

impl Service {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            core,
            checks: Semaphore::new(cores),
            uploaded: Recent::new(MAX_UPLOADED),
        }
    }

    async fn create_channel(&self, author: String, name: &str) -> Result<v1::Channel, Failure> {
        let channel = parse_channel(name)?;
        self.core
            .journal
            .submit(Intent::CreateChannel {
                channel: channel.clone(),
                author,
            })
            .await?;
        self.channel(&channel)
    }

    fn list_channels(&self) -> v1::ListChannelsResponse {
        let fleet = &self.core.state().fleet;
        let channels = fleet.channels.iter();
        v1::ListChannelsResponse {
            channels: channels
                .map(|(name, channel)| self.core.channel_message(fleet, name, channel))
                .collect(),
        }
    }

    fn channel(&self, name: &ChannelName) -> Result<v1::Channel, Failure> {
        let fleet = &self.core.state().fleet;
        Ok(self.core.channel_message(fleet, name, fleet.channel(name)?))
    }

    /// Stores what was sent together; says how many objects that were.
    async fn put(&self, objects: Vec<v1::Object>) -> Result<u32, Failure> {
        let named = objects
            .into_iter()
            .map(|object| Ok((hash("object.hash", &object.hash)?, object.zstd)));
        let uploads = self.check(named.collect::<Result<_, Failure>>()?).await?;
        let bytes: Vec<_> = uploads
            .iter()
            .map(|upload| (upload.hash(), upload.bytes().clone()))
            .collect();
        let stored = self.keep(uploads).await?;
        for (hash, bytes) in bytes {
            self.uploaded.keep(hash, bytes);
        }
        Ok(stored)
    }

    async fn check(&self, objects: Vec<(ObjectHash, Bytes)>) -> Result<Vec<Upload>, Failure> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let _permit = self.checks.acquire().await.map_err(|_| Failure::Stopping)?;
        upload::check(objects).await
    }

    /// Keeps uploads; says how many.
    async fn keep(&self, uploads: Vec<Upload>) -> Result<u32, Failure> {
        // Most pushes bring none along: no thread is woken for that.
        if uploads.is_empty() {
            return Ok(0);
        }
        let stored = u32::try_from(uploads.len()).unwrap_or(u32::MAX);
        let size: usize = uploads.iter().map(Upload::stored_size).sum();
        self.core.bucket.put_uploads(uploads).await?;
        self.core.metrics.objects_received.inc_by(size as u64);
        Ok(stored)
    }

    async fn publish(&self, author: String, request: v1::PublishRequest) -> Result<v1::PublishResponse, Failure> {
        let v1::PublishRequest {
            channel,
            components,
            expected_parent,
            message,
            source,
            idempotency_key,
            mut objects,
        } = request;
        let channel = parse_channel(&channel)?;
        check_provenance(&message, &source)?;
        let nonce = read_key(&idempotency_key)?;
        let components = read_components(&components)?;
        // First of all, so that a typo is told before anything else.
        self.core.state().fleet.channel(&channel)?;
        let expected = match &expected_parent {
            None => None,
            Some(parent) if parent.is_empty() => Some(Expected {
                parent: None,
                components: Components::new(),
            }),
            Some(parent) => Some(self.expected(&channel, hash("expected_parent", parent)?).await?),
        };
        let provenance = Provenance {
            author,
            message,
            source,
        };
        let (mut stored, mut tries) = (0, 0);
        let outcome = loop {
            let taken = self
                .take_bundles(&channel, &components, std::mem::take(&mut objects))
                .await?;
            stored += taken.stored;
            tries += 1;
            // Most agents will want them as soon as the journal's entry is durable.
            self.core.hub.expect(&channel, taken.replaced);
            let intent = Intent::Publish {
                channel: channel.clone(),
                components: components.clone(),
                expected: expected.clone(),
                provenance: provenance.clone(),
                relied: taken.relied,
                epochs: taken.epochs,
                nonce,
            };
            match self.core.journal.submit(intent).await {
                // Checked again, against what the other push made of the channel.
                Err(StoreError::Refused(fleet::Refusal::Overtaken(_))) if tries < MAX_TRIES => {}
                outcome => break outcome?,
            }
        };

        let fleet = &self.core.state().fleet;
        let unchanged = outcome.is_unchanged();
        let snapshot = outcome.snapshot.or(fleet.channel(&channel)?.snapshot);
        Ok(v1::PublishResponse {
            snapshot: snapshot.as_ref().map(to_hash).unwrap_or_default(),
            sequence: if unchanged { 0 } else { outcome.seq },
            unchanged,
            clusters: self.core.table.followers(fleet, &channel),
            stored,
        })
    }

    /// What the pusher built upon, by the snapshot it names.
    async fn expected(&self, name: &ChannelName, parent: ObjectHash) -> Result<Expected, Failure> {
        let state = self.core.state();
        let channel: &fleet::Channel = state.fleet.channel(name)?;
        if channel.snapshot == Some(parent) {
            return Ok(Expected {
                parent: Some(parent),
                components: channel.components.clone(),
            });
        }
        match self.snapshot(&parent).await {
            Ok(snapshot) => Ok(Expected {
                parent: Some(parent),
                components: snapshot.components,
            }),
            Err(Failure::NotFound(_)) => Err(Failure::Argument(format!(
                "expected_parent: there is no snapshot {parent} in this store"
            ))),
            Err(failure) => Err(failure),
        }
    }

    async fn snapshot(&self, hash: &ObjectHash) -> Result<Snapshot, Failure> {
        read_snapshot(&self.core, hash).await
    }

    fn log(&self, request: &v1::LogRequest) -> Result<Parts<v1::LogEntry>, Failure> {
        let limit = match request.limit {
            0 => DEFAULT_LOG,
            limit => limit.min(MAX_LOG),
        };
        let head = match request.channel.as_str() {
            "" if request.from.is_some() => None,
            name => self.core.state().fleet.channel(&parse_channel(name)?)?.snapshot,
        };
        let walk = Walk::new(Arc::clone(&self.core), head, limit, request)?;
        Ok(parts(walk, Walk::step))
    }
}

async fn read_snapshot(core: &Core, hash: &ObjectHash) -> Result<Snapshot, Failure> {
    let bytes = match core.bucket.object(hash).await {
        Ok(bytes) => bytes,
        Err(StoreError::ObjectNotFound(hash)) => {
            return Err(Failure::NotFound(format!("snapshot {hash} is not in the store")));
        }
        Err(error) => return Err(error.into()),
    };
    Snapshot::decode(&bytes).map_err(|error| Failure::Argument(format!("object {hash} is no snapshot: {error}")))
}
