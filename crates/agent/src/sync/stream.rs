//! One stream to the server, from Hello to its end: carries out what the session decides and reports back.

use std::{sync::Arc, time::Duration};

use driftless_model::status::ClusterStatus;
use driftless_proto::{
    to_hash,
    v1::{self, agent_message::Message, sync_client::SyncClient},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    Ended, PART, Sync,
    answer::Answers,
    refusal::Refusal,
    session::{Action, Wanted},
};
use crate::{
    Error,
    connect::{Server, message_limit},
    error::chain,
    status::{VERSION, hold_back},
};

/// Messages on their way out. Full only when the server has stopped reading.
const OUTGOING: usize = 64;

/// A certificate is looked at at least that often, whatever the clock did in between.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(3600);

/// The writing half of a stream, and what was last written about.
struct Outgoing {
    sender: mpsc::Sender<v1::AgentMessage>,
    server: Server,
    last: Option<(ClusterStatus, Instant)>,
    /// When the next status is to go out, if there is something new to say.
    due: Option<Instant>,
    answers: Answers,
}

impl Outgoing {
    async fn send(&self, message: Message) -> Result<(), Error> {
        let message = v1::AgentMessage { message: Some(message) };
        let closed = |_| Error::Server {
            server: self.server.url().to_owned(),
            message: "the stream was closed".to_owned(),
        };
        self.sender.send(message).await.map_err(closed)
    }
}

impl Sync {
    /// Opens a stream and serves it until it ends.
    pub(super) async fn stream(&mut self) -> Result<Ended, Error> {
        let (mut out, mut incoming) = self.open().await?;
        let _connected = self.settings.metrics.connected();
        let mut report = self.report.clone();
        let mut problems = self.problems.watch();
        let mut done = self.done.clone();
        let mut look = self.look_at_certificate();
        // A server that restarted knows nothing of this cluster.
        out.due = Some(Instant::now());
        loop {
            let due = out.due;
            tokio::select! { biased;
                message = incoming.message() => {
                    let message = match message {
                        Ok(Some(message)) => message,
                        Ok(None) => return Err(out_of(&out.server, "the server ended the stream")),
                        Err(status) => return Err(out.server.error(&status)),
                    };
                    if let Some(ended) = self.receive(message, &mut out).await? {
                        return Ok(ended);
                    }
                }
                Ok(()) = done.changed() => self.session.saved(*done.borrow_and_update()),
                () = sleep_until(look) => {
                    if self.renew().await {
                        return Ok(Ended::Renewed);
                    }
                    look = self.look_at_certificate();
                }
                Ok(()) = report.changed() => {
                    report.mark_unchanged();
                    self.news(&mut out);
                }
                Ok(()) = problems.changed() => {
                    problems.mark_unchanged();
                    self.news(&mut out);
                }
                Some(answer) = out.answers.next() => out.send(Message::ProbeResult(answer)).await?,
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    self.send_status(&mut out).await?;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(Outgoing, Streaming<v1::ServerMessage>), Error> {
        let identity = self.member.ensure().await?;
        self.session.call(&identity.cluster);
        let server = self.member.server()?;
        let channel = server.connect(Some(&identity)).await?;
        let mut client = SyncClient::new(channel)
            .max_decoding_message_size(message_limit())
            .max_encoding_message_size(message_limit());
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        let out = Outgoing {
            sender,
            server,
            last: None,
            due: None,
            answers: Answers::default(),
        };
        out.send(Message::Hello(self.session.hello(VERSION))).await?;
        let opening = timeout(
            self.settings.timings.connect,
            client.sync(ReceiverStream::new(outgoing)),
        );
        let opened = opening.await.map_err(|_| out_of(&out.server, "it does not answer"))?;
        let incoming = opened.map_err(|status| out.server.error(&status))?.into_inner();
        tracing::info!(server = out.server.url(), "connected");
        Ok((out, incoming))
    }

    async fn receive(&mut self, message: v1::ServerMessage, out: &mut Outgoing) -> Result<Option<Ended>, Error> {
        let about_directive = matches!(
            message.message,
            Some(v1::server_message::Message::Directive(_) | v1::server_message::Message::Object(_))
        );
        let actions = self
            .session
            .receive(message)
            .map_err(|refusal| self.refuse(&refusal, &out.server))?;
        if about_directive && self.session.is_settled() {
            self.problems.clear(PART);
            self.backoff.reset();
        }
        let mut ended = None;
        for action in actions {
            match action {
                Action::Time(time) => self.desired.set_time(time),
                Action::Want(wanted) => out.send(Message::Want(want(&wanted))).await?,
                Action::Adopt(adoption) => {
                    self.adopt(*adoption);
                    self.news(out);
                }
                Action::Ask(question) => out.answers.begin(self.prober.clone(), question),
                Action::Answer(answer) => out.send(Message::ProbeResult(answer)).await?,
                Action::Goodbye { reason, after_ms } => {
                    tracing::info!(reason, "the server ends the stream");
                    ended = Some(Ended::Goodbye(Duration::from_millis(after_ms.into())));
                }
            }
        }
        Ok(ended)
    }

    /// Reports why a message was not believed. The stream is begun anew; what runs goes on running.
    fn refuse(&self, refusal: &Refusal, server: &Server) -> Error {
        tracing::error!(reason = refusal.reason(), error = %refusal, "refused what the server sent");
        let message = format!("{refusal}; nothing was changed, and the server is asked again");
        self.problems.set(PART, refusal.reason(), message, true);
        out_of(server, &refusal.to_string())
    }

    fn compose(&mut self) -> ClusterStatus {
        let report: Arc<_> = self.report.borrow().clone();
        let problems = self.problems.watch();
        let problems = problems.borrow();
        self.composer.compose(&self.running, &report, problems.values())
    }

    /// Something may have changed: decides when to tell.
    fn news(&mut self, out: &mut Outgoing) {
        let status = self.compose();
        let every = self.settings.timings.report_every;
        let wait = match &out.last {
            Some((last, _)) if *last == status => return,
            Some((last, at)) => hold_back(Some(last), &status, at.elapsed(), every),
            None => hold_back(None, &status, Duration::ZERO, every),
        };
        let at = Instant::now() + wait;
        out.due = Some(out.due.map_or(at, |due| due.min(at)));
    }

    async fn send_status(&mut self, out: &mut Outgoing) -> Result<(), Error> {
        out.due = None;
        let status = self.compose();
        if out.last.as_ref().is_some_and(|(last, _)| *last == status) {
            return Ok(());
        }
        out.send(Message::Status((&status).into())).await?;
        out.last = Some((status, Instant::now()));
        Ok(())
    }

    fn look_at_certificate(&mut self) -> Instant {
        let now = (self.settings.clock)();
        let until = self.member.renew_at().ok().flatten().map(|at| at.duration_since(now));
        let until = until.and_then(|until| Duration::try_from(until).ok());
        // One that is overdue could not be renewed a moment ago.
        let until = until.unwrap_or_else(|| self.backoff.jitter(self.settings.timings.reconnect_most));
        Instant::now() + until.min(LOOK_AT_CERTIFICATE)
    }

    /// Renews the certificate if that is due. Is there another one now?
    async fn renew(&mut self) -> bool {
        const PART: &str = "certificate";
        let before = self.member.certificate().cloned();
        match self.member.ensure().await {
            Ok(_) => {
                self.problems.clear(PART);
                before.as_ref() != self.member.certificate()
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot renew the certificate");
                let message = format!("{}; tried again soon", chain(&error));
                self.problems.set(PART, "CertificateNotRenewed", message, false);
                false
            }
        }
    }
}

pub(super) fn want(wanted: &[Wanted]) -> v1::Want {
    let base = |wanted: &Wanted| wanted.base.as_ref().map(to_hash).unwrap_or_default();
    v1::Want {
        hashes: wanted.iter().map(|wanted| to_hash(&wanted.hash)).collect(),
        bases: wanted.iter().map(base).collect(),
    }
}

fn out_of(server: &Server, message: &str) -> Error {
    Error::Server {
        server: server.url().to_owned(),
        message: message.to_owned(),
    }
}
