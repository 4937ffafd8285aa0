//! A channel's history, however long: asked for in pages, told as one stream.

use futures::stream::try_unfold;
use jiff::Timestamp;
use tonic::Streaming;

use super::*;

/// Entries asked for at once.
const PAGE: u32 = 500;

/// Which pushes to tell of, newest first. All that is given has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The channel. May be absent where `from` says where to begin.
    pub channel: Option<ChannelName>,
    /// Begin with this snapshot rather than with the channel's newest.
    pub from: Option<ObjectHash>,
    /// Leave out as many of the pushes that fit.
    pub skip: u32,
    /// At most so many.
    pub limit: Option<u32>,
    /// Only pushes that changed this component.
    pub component: Option<ComponentName>,
    /// Only pushes whose author has this in the name, in any case.
    pub author: String,
    /// Only pushes whose message has this in it, in any case.
    pub message: String,
    /// Only pushes at or after this time.
    pub since: Option<Timestamp>,
    /// Only pushes at or before this time.
    pub until: Option<Timestamp>,
    /// Say how many objects each change is about: the server has to read the bundles for it.
    pub count_objects: bool,
}

impl Log {
    /// All pushes of a channel.
    pub fn of(channel: &ChannelName) -> Self {
        Self {
            channel: Some(channel.clone()),
            ..Self::default()
        }
    }

    fn request(&self) -> v1::LogRequest {
        let Self {
            channel,
            from,
            skip,
            limit,
            component,
            author,
            message,
            since,
            until,
            count_objects,
        } = self;
        v1::LogRequest {
            channel: channel.as_ref().map(ChannelName::to_string).unwrap_or_default(),
            limit: limit.unwrap_or(PAGE).min(PAGE),
            from: from.as_ref().map(proto::to_hash),
            skip: *skip,
            component: component.as_ref().map(ComponentName::to_string).unwrap_or_default(),
            author: author.clone(),
            message: message.clone(),
            since: since.map(proto::from_time),
            until: until.map(proto::from_time),
            count_objects: *count_objects,
        }
    }
}

/// Where a stream of entries is.
struct Pages {
    client: Client,
    /// What is still to be told.
    rest: Log,
    page: Option<Streaming<v1::LogEntry>>,
    /// Entries that the page may still have.
    left: u32,
    /// Did something come since the page was asked for?
    came: bool,
}

impl Client {
    /// A channel's history, newest first; at most `limit` entries.
    ///
    /// # Errors
    /// `is_not_found` when there is no such channel.
    pub async fn log(&self, channel: &ChannelName, limit: u32) -> Result<Vec<LogEntry>, Error> {
        let log = Log {
            limit: Some(limit),
            ..Log::of(channel)
        };
        self.history(log).try_collect().await
    }

    /// The pushes that `log` asks for, as they come. A server that goes away for a moment is asked again from where it
    /// stopped.
    ///
    /// # Errors
    /// `is_not_found` when there is no such channel or snapshot.
    pub fn history(&self, log: Log) -> impl Stream<Item = Result<LogEntry, Error>> + Send + Unpin + use<> {
        let pages = Pages {
            client: self.clone(),
            rest: log,
            page: None,
            left: 0,
            came: false,
        };
        Box::pin(try_unfold(pages, |mut pages| async move {
            let entry = pages.next().await?;
            Ok(entry.map(|entry| (entry, pages)))
        }))
    }
}

impl Pages {
    async fn next(&mut self) -> Result<Option<LogEntry>, Error> {
        while self.rest.limit != Some(0) {
            let Some(page) = &mut self.page else {
                self.page = Some(self.ask().await?);
                continue;
            };
            match page.next().await {
                Some(Ok(entry)) => {
                    let entry = LogEntry::try_from(entry)?;
                    self.told(entry.snapshot);
                    return Ok(Some(entry));
                }
                // A page that was not full was the last.
                None if self.left > 0 => return Ok(None),
                None => self.page = None,
                Some(Err(status)) => {
                    let error = self.client.error(status);
                    if !(self.came && error.is_retryable()) {
                        return Err(error);
                    }
                    self.page = None;
                }
            }
        }
        Ok(None)
    }

    async fn ask(&mut self) -> Result<Streaming<v1::LogEntry>, Error> {
        let request = self.rest.request();
        self.left = request.limit;
        self.came = false;
        let client = &self.client;
        client
            .repeat(ANSWER_TIMEOUT, || {
                let (mut publish, request) = (client.publish.clone(), request.clone());
                async move { publish.log(request).await }
            })
            .await
    }

    fn told(&mut self, snapshot: ObjectHash) {
        self.came = true;
        self.left = self.left.saturating_sub(1);
        // It is told already, and fits all filters.
        self.rest.from = Some(snapshot);
        self.rest.skip = 1;
        self.rest.limit = self.rest.limit.map(|limit| limit.saturating_sub(1));
    }
}
