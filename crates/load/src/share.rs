//! A part of a fleet in a process of its own, because one process may not open files for all: 20,000 on many machines.
//!
//! That process [holds](hold()) its streams and pushes nothing. It is told by whoever started it, over a connection of
//! loopback and step by step, what to do and what to wait for ([`Order`]), and answers what came of it ([`Verified`]):
//! one line of JSON each. [`Share`] is the end of who orders; [`Shares`](crate::Shares) several of them, with somebody who
//! pushes. When agents had verified something is told since a [`Moment`], which all of them understand alike.

mod hold;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

pub use self::hold::{Holding, hold};
use crate::{Error, moment::Moment};

/// What a share is to do next.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Enrol its clusters, and have them join.
    Recruit,
    /// Open all streams; then as [`Order::Wait`].
    Open { sequence: u64, since: Moment },
    /// Wait until all streams have verified a directive.
    Wait { sequence: u64, since: Moment },
}

/// How the streams of a share got to a directive.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// When each of those that verified this very directive had, in nanoseconds since the moment that was asked about.
    pub(crate) nanoseconds: Vec<u64>,
    /// Bytes that each stream received since the last answer.
    pub(crate) received: Vec<u64>,
}

type Answer = Result<Verified, String>;

/// A share of a fleet: the end of who orders.
#[derive(Debug)]
pub struct Share {
    control: BufReader<TcpStream>,
}

impl Share {
    /// Takes command of the share whose process listens at `address`.
    ///
    /// # Errors
    /// [`Error::Share`] when nobody does.
    pub async fn connect(address: SocketAddr) -> Result<Self, Error> {
        let control = TcpStream::connect(address).await.map_err(lost)?;
        control.set_nodelay(true).map_err(lost)?;
        Ok(Self {
            control: BufReader::new(control),
        })
    }

    /// Has its clusters enrolled and joined.
    ///
    /// # Errors
    /// [`Error::Share`] with what went wrong there.
    pub async fn recruit(&mut self) -> Result<(), Error> {
        self.order(&Order::Recruit).await.map(drop)
    }

    /// Opens its streams; answers when all have verified a directive.
    pub(crate) async fn open(&mut self, sequence: u64, since: Moment) -> Result<Verified, Error> {
        self.order(&Order::Open { sequence, since }).await
    }

    /// Answers when all have verified a directive.
    pub(crate) async fn wait(&mut self, sequence: u64, since: Moment) -> Result<Verified, Error> {
        self.order(&Order::Wait { sequence, since }).await
    }

    async fn order(&mut self, order: &Order) -> Result<Verified, Error> {
        let text = line(order);
        self.control.get_mut().write_all(&text).await.map_err(lost)?;
        let mut answer = String::new();
        self.control.read_line(&mut answer).await.map_err(lost)?;
        let answer: Answer = serde_json::from_str(&answer)
            .map_err(|_| Error::Share("its process ended before it had answered".to_owned()))?;
        answer.map_err(Error::Share)
    }
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(message).expect("numbers and texts are always JSON");
    text.push(b'\n');
    text
}

fn lost(error: std::io::Error) -> Error {
    Error::Share(format!("no connection to its process: {error}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn process_that_ends_is_told_of() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ending = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
        let mut share = Share::connect(address).await.unwrap();
        ending.await.unwrap();
        let error = share.wait(1, Moment::now()).await.unwrap_err();
        assert!(matches!(error, Error::Share(_)), "{error}");
    }
}
