//! How a connection to the server is made: TCP by default, anything that reads and writes where the caller says so.
//!
//! The TLS on top of it is the agent's own in every case. A [`Switch`] takes the network away from one agent, as a
//! cut cable would: open connections break, new ones are refused.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use driftless_proto::silence;
use futures::future::BoxFuture;
use http::Uri;
use rand::{TryRngCore as _, rngs::OsRng};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};

/// An open connection, before TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

type Open = dyn Fn(Uri) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync;

/// Opens connections to the server. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    open: Arc<Open>,
    network: Option<watch::Receiver<bool>>,
}

impl Dialer {
    /// Plain TCP to the host and port of the server's URL.
    pub fn tcp() -> Self {
        Self::new(|uri| {
            Box::pin(async move {
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
                prepare(&stream)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        })
    }

    /// Connections made by `open`.
    pub fn new(open: impl Fn(Uri) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync + 'static) -> Self {
        Self {
            open: Arc::new(open),
            network: None,
        }
    }

    /// The same, as long as `switch` is on.
    #[must_use]
    pub fn with_switch(mut self, switch: &Switch) -> Self {
        self.network = Some(switch.on.subscribe());
        self
    }

    /// Opens one connection.
    pub(crate) async fn open(&self, uri: Uri) -> io::Result<Box<dyn Stream>> {
        let Some(network) = &self.network else {
            return (self.open)(uri).await;
        };
        if !*network.borrow() {
            return Err(cut());
        }
        let inner = (self.open)(uri).await?;
        Ok(Box::new(Switched {
            inner,
            off: Box::pin(until_off(network.clone())),
        }))
    }
}

/// Makes a fresh connection as an agent's are: small messages go at once, and the kernel finds out by itself that the
/// server's machine, or the way to it, is [gone](silence).
///
/// # Errors
/// When the kernel does not take it: the connection has broken already.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    silence::bound(stream, &mut OsRng.unwrap_err())
}

impl Default for Dialer {
    fn default() -> Self {
        Self::tcp()
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

/// Takes the network away from the agents whose [`Dialer`] listens to it, and gives it back.
#[derive(Debug)]
pub struct Switch {
    on: watch::Sender<bool>,
}

impl Switch {
    /// A switch that is on.
    pub fn new() -> Self {
        Self {
            on: watch::Sender::new(true),
        }
    }

    /// Turns the network on or off. Connections open when it goes off are broken.
    pub fn set(&self, on: bool) {
        self.on.send_replace(on);
    }
}

impl Default for Switch {
    fn default() -> Self {
        Self::new()
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the network is cut")
}

async fn until_off(mut network: watch::Receiver<bool>) {
    if network.wait_for(|on| !on).await.is_err() {
        // The switch is gone and can be turned no more.
        std::future::pending::<()>().await;
    }
}

struct Switched {
    inner: Box<dyn Stream>,
    off: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Switched {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.off.as_mut().poll(cx) {
            Poll::Ready(()) => {
                self.off = Box::pin(std::future::ready(()));
                Err(cut())
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Switched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn fresh_connections_wait_for_nothing_and_are_asked_about() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream).unwrap();
        assert!(stream.nodelay().unwrap() && SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn switched_off_network_breaks_open_connections_and_refuses_new_ones() {
        let (far, near) = tokio::io::duplex(64);
        let near = Arc::new(std::sync::Mutex::new(Some(near)));
        let dialer = Dialer::new(move |_| {
            let near = near.lock().unwrap().take().unwrap();
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Stream>) })
        });
        let switch = Switch::new();
        let dialer = dialer.with_switch(&switch);
        let uri = Uri::from_static("https://server");
        let mut open = dialer.open(uri.clone()).await.unwrap();
        let reading = tokio::spawn(async move { open.read_u8().await });
        tokio::task::yield_now().await;
        switch.set(false);
        assert_eq!(
            reading.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        let refused = dialer.open(uri).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionReset);
        drop(far);
    }
}
