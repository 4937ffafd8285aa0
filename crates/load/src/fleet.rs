//! Many streams at once, each in a task of its own. It owns the tasks; what they have verified is on the [`Board`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use driftless_agent::{Follower, Timings};
use rand::{SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Dial, Error, Member,
    board::Board,
    stream::{Common, Stream},
};

/// How often the board is looked at. What is measured are the times on it.
const LOOK: Duration = Duration::from_millis(5);

/// How what streams are sent is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// The same bytes in the same place once for all streams.
    Together,
    /// By every stream for itself: takes the memory and the processor of as many agents.
    Each,
}

/// How a fleet is held.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How what it is sent is verified.
    pub verify: Verify,
    /// Does it begin with nothing, so that each stream is sent everything? Otherwise the first one is, and the others begin
    /// with what that has, as agents that were restarted. Those that verify each for itself begin with nothing always.
    pub install: bool,
    /// Does each report what it has verified as applied and healthy, as agents do whose clusters have it at once? The news
    /// that a cluster has converged is not held back.
    pub reports: bool,
    /// Handshakes at once.
    pub connecting: usize,
    /// When streams come back that have ended: an agent's, unless there is a reason.
    pub timings: Timings,
    /// Do agents go on with their TLS sessions when they come back? Otherwise every connection is that of a stranger.
    pub resumes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            verify: Verify::Together,
            install: false,
            reports: false,
            connecting: 256,
            timings: Timings::default(),
            resumes: true,
        }
    }
}

/// The open streams of some members.
#[derive(Debug)]
pub struct Fleet {
    common: Arc<Common>,
    cut: watch::Sender<u64>,
    tasks: JoinSet<()>,
    /// Members that have no stream yet.
    waiting: Vec<(Member, Follower)>,
}

impl Fleet {
    /// A fleet of `members` that spreads over servers. No stream is open yet, but that one of them has learned what
    /// there is to hold.
    ///
    /// # Errors
    /// When the one cannot.
    pub async fn new(members: &[Member], dials: Vec<Arc<Dial>>, settings: &Settings) -> Result<Self, Error> {
        let common = Arc::new(Common {
            dials,
            board: Arc::new(Board::new(members.len())),
            connecting: Semaphore::new(settings.connecting.max(1)),
            timings: settings.timings,
            reports: settings.reports,
            resumes: settings.resumes,
        });
        let mut fleet = Self {
            common,
            cut: watch::Sender::new(0),
            tasks: JoinSet::new(),
            waiting: Vec::new(),
        };
        fleet.waiting = match (settings.verify, members.first()) {
            (_, None) => Vec::new(),
            (Verify::Each, _) => {
                let own = |member: &Member| (member.clone(), Follower::new(member.cluster.clone()));
                members.iter().map(own).collect()
            }
            (Verify::Together, Some(first)) => {
                let mut model = Follower::new(first.cluster.clone());
                if !settings.install {
                    model = fleet.scout(first, model).await?;
                }
                let alike = |member: &Member| (member.clone(), model.alike(member.cluster.clone()));
                members.iter().map(alike).collect()
            }
        };
        Ok(fleet)
    }

    /// Lets one member learn everything, and answers with its follower.
    async fn scout(&self, member: &Member, follower: Follower) -> Result<Follower, Error> {
        let scouting = self.stream(0, member.clone(), follower).scout();
        let scouted = tokio::time::timeout(Duration::from_secs(120), scouting).await;
        scouted
            .unwrap_or_else(|_| Err("the server does not send what its directive needs".to_owned()))
            .map_err(|message| Error::Join {
                cluster: member.cluster.to_string(),
                message,
            })
    }

    fn stream(&self, number: usize, member: Member, follower: Follower) -> Stream {
        Stream {
            number,
            turn: number,
            identity: member.identity(),
            session: None,
            follower,
            reported: None,
            common: Arc::clone(&self.common),
            cut: self.cut.subscribe(),
            rng: SmallRng::seed_from_u64(number as u64),
        }
    }

    /// Opens all streams, and keeps them open from here on.
    pub fn open(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (number, (member, follower)) in waiting.into_iter().enumerate() {
            let stream = self.stream(number, member, follower);
            self.tasks.spawn(stream.run());
        }
    }

    /// What the streams have verified.
    pub fn board(&self) -> &Board {
        &self.common.board
    }

    /// Drops all streams at once; each is made anew as soon as it can. Nothing counts as verified until it is again.
    pub fn cut(&self) {
        self.common.board.forget();
        self.cut.send_modify(|cut| *cut += 1);
    }

    /// Waits until every stream has verified this directive or a later one.
    ///
    /// # Errors
    /// [`Error::Late`] with the last failure of a stream; [`Error::Interrupted`] when `stop` is cancelled.
    pub async fn until_verified(&self, sequence: u64, within: Duration, stop: &CancellationToken) -> Result<(), Error> {
        let board = self.board();
        self.until(|| board.streams() - board.verified(sequence), within, stop)
            .await
    }

    /// Waits until no stream is open.
    ///
    /// # Errors
    /// As [`Fleet::until_verified`].
    pub async fn until_gone(&self, within: Duration, stop: &CancellationToken) -> Result<(), Error> {
        self.until(|| self.board().connected(), within, stop).await
    }

    async fn until(
        &self,
        missing: impl Fn() -> usize,
        within: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let missing = missing();
            if missing == 0 {
                return Ok(());
            }
            if stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if begun.elapsed() > within {
                return Err(Error::Late {
                    missing,
                    agents: self.board().streams(),
                    seconds: within.as_secs(),
                    why: self
                        .board()
                        .failure()
                        .unwrap_or_else(|| "no stream has failed".to_owned()),
                });
            }
            sleep(LOOK).await;
        }
    }

    /// Ends all streams.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}
