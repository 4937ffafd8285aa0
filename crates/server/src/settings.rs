//! What a server is told when it starts. Made by the binary from its flags; never read from files or the
//! environment here.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use jiff::Timestamp;

/// Where the time comes from. The binary passes the system's clock, a test whatever it likes.
pub type Clock = fn() -> Timestamp;

/// What a server is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data folder: made on the first start, with the CA, the admin token and, unless told otherwise, the bucket.
    pub data: PathBuf,
    /// The one address to listen at. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// URL of the bucket; `None` for the folder `bucket` in the data folder.
    pub bucket: Option<String>,
    /// A server certificate of one's own, instead of one from the server's CA.
    pub tls: Option<OwnTls>,
    /// PEM file with CAs whose client certificates name clusters, besides the server's own CA.
    pub client_ca: Option<PathBuf>,
    /// Further DNS names and IP addresses for the certificate from the server's own CA.
    pub names: Vec<String>,
    /// How long open calls get to finish when the server stops.
    pub grace: Duration,
    /// How connections are looked after.
    pub connections: Connections,
    /// The clock.
    pub clock: Clock,
}

/// What one processor does about twice as many of in a second.
const HANDSHAKES_PER_PROCESSOR: u32 = 2000;

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// How connections are looked after. The default is what the binary uses; tests make it shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How often the program at the other end is asked, over HTTP/2, whether it still works: a kernel answers for one
    /// that is frozen, and so does a proxy for what is behind it. Rare, because it wakes both ends.
    pub ping_every: Duration,
    /// How long it has to answer that.
    pub ping_answer: Duration,
    /// TLS handshakes that may begin in a second; who comes beyond that waits. By default 2,000 for each processor, which
    /// leaves about half of them to the streams that are open. Resumed sessions count a third.
    pub handshakes_per_second: u32,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(60 * 60),
            ping_answer: Duration::from_secs(20),
            handshakes_per_second: HANDSHAKES_PER_PROCESSOR.saturating_mul(processors()),
        }
    }
}

/// A server certificate of one's own.
#[derive(Debug, Clone)]
pub struct OwnTls {
    /// PEM file with the certificate chain, leaf first.
    pub cert: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

impl Settings {
    /// Settings with the default for everything that can be left out.
    pub fn new(data: PathBuf, listen: SocketAddr, clock: Clock) -> Self {
        Self {
            data,
            listen,
            bucket: None,
            tls: None,
            client_ca: None,
            names: Vec::new(),
            grace: Duration::from_secs(10),
            connections: Connections::default(),
            clock,
        }
    }
}
