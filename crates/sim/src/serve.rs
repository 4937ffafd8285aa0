//! The cluster over plain HTTP, for kubectl and for agents in other processes.

use std::io;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Cluster;

impl Cluster {
    /// Answers requests on `listener` until `shutdown`; open connections are closed then.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let socket = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted?.0,
            };
            let cluster = self.clone();
            connections.spawn(async move {
                let service = service_fn(move |request: hyper::Request<Incoming>| cluster.handle(request));
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes away in the middle of a response is its own affair.
                let _closed = server.serve_connection(TokioIo::new(socket), service).await;
            });
        }
        connections.shutdown().await;
        Ok(())
    }
}
