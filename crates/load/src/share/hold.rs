//! The end of who obeys: holds the streams of a share.

use std::{path::PathBuf, sync::Arc, time::Duration};

use driftless_client::Target;
use driftless_model::name::ChannelName;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::{Answer, Order, Verified, line, lost};
use crate::{Dial, Error, Fleet, Member, Recruiting, crew, error::chain, fleet, moment::Moment, open_files};

/// What a share holds, and how.
#[derive(Debug, Clone)]
pub struct Holding {
    /// The server, and as whom to enrol.
    pub target: Target,
    /// The channel that is followed.
    pub channel: ChannelName,
    /// Number of the first cluster.
    pub first: usize,
    /// Streams to hold.
    pub agents: usize,
    /// Where certificates are kept.
    pub certificates: Option<PathBuf>,
    /// How the streams are held.
    pub fleet: fleet::Settings,
    /// How long the streams may take to get anywhere.
    pub patience: Duration,
}

/// Obeys whoever is at the other end of `control`, until that is closed; then ends all streams.
///
/// # Errors
/// When the share cannot be held at all. What goes wrong with an order is answered.
pub async fn hold(holding: Holding, control: TcpStream) -> Result<(), Error> {
    open_files::at_least(holding.agents, open_files::raise_limit())?;
    control.set_nodelay(true).map_err(lost)?;
    let dial = Arc::new(Dial::new(&holding.target).await?);
    let mut holder = Holder {
        holding,
        dial,
        members: Vec::new(),
        fleet: None,
        received: Vec::new(),
    };
    let (orders, mut answers) = control.into_split();
    let mut orders = BufReader::new(orders).lines();
    while let Some(order) = orders.next_line().await.map_err(lost)? {
        let order =
            serde_json::from_str(&order).map_err(|error| Error::Share(format!("`{order}` is no order: {error}")))?;
        let answer: Answer = holder.obey(order).await.map_err(|error| chain(&error));
        answers.write_all(&line(&answer)).await.map_err(lost)?;
    }
    if let Some(fleet) = holder.fleet {
        fleet.close().await;
    }
    Ok(())
}

struct Holder {
    holding: Holding,
    dial: Arc<Dial>,
    members: Vec<Member>,
    /// Open since it was ordered.
    fleet: Option<Fleet>,
    /// Bytes that each stream had received at the last answer.
    received: Vec<u64>,
}

impl Holder {
    async fn obey(&mut self, order: Order) -> Result<Verified, Error> {
        match order {
            Order::Recruit => self.recruit().await,
            Order::Open { sequence, since } => {
                let dials = vec![Arc::clone(&self.dial)];
                let mut fleet = Fleet::new(&self.members, dials, &self.holding.fleet).await?;
                fleet.open();
                self.received = vec![0; self.members.len()];
                self.fleet = Some(fleet);
                self.wait(sequence, since).await
            }
            Order::Wait { sequence, since } => self.wait(sequence, since).await,
        }
    }

    async fn recruit(&mut self) -> Result<Verified, Error> {
        let recruiting = Recruiting {
            target: self.holding.target.clone(),
            channel: self.holding.channel.clone(),
            first: self.holding.first,
            agents: self.holding.agents,
            certificates: self.holding.certificates.clone(),
        };
        self.members = crew::recruit(&recruiting, &self.dial, &|_| {}).await?.members;
        Ok(Verified::default())
    }

    async fn wait(&mut self, sequence: u64, since: Moment) -> Result<Verified, Error> {
        let closed = || Error::Share("its streams were not opened".to_owned());
        let fleet = self.fleet.as_ref().ok_or_else(closed)?;
        let never = CancellationToken::new();
        fleet.until_verified(sequence, self.holding.patience, &never).await?;
        let board = fleet.board();
        let delays = board.delays(sequence, since.instant());
        let received = board.received();
        let answer = Verified {
            nanoseconds: delays
                .iter()
                .map(|delay| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
                .collect(),
            received: received
                .iter()
                .zip(&self.received)
                .map(|(after, before)| after - before)
                .collect(),
        };
        self.received = received;
        Ok(answer)
    }
}
