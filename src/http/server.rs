//! Serving: accepts connections, bounds how long each may be silent, idle or unread, drains on shutdown. hyper's own builder
//! is used because `axum::serve` has no time-outs. It must not know routes. What it serves is always ready.

use super::{
    backlog::{Backlog, Length},
    exchanges::{Exchanges, Neglect},
    observe::Open,
    wire::{Protocol, Wire},
};
use crate::error::{Error, Result};
use axum::{body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tower::Service;

/// Largest head of a request, in bytes.
const MAX_HEAD: u32 = 64 << 10;
/// Pause after a failed accept (no more file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How much that was not sent yet the kernel takes, in bytes. It would take megabytes, and then tell no difference for a
/// long time between a peer that reads slowly and one that does not read.
const MAX_UNSENT: u32 = 64 << 10;

/// How many connections there may be, and how long each may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Most connections at once. Who comes beyond them waits, unaccepted, until one has ended: silent ones are cut after
    /// the time for a head, so nobody can hold all of them by doing nothing.
    pub connections: usize,
    /// Longest time for the head of a request to arrive, and for an idle connection to stay open.
    pub head: Duration,
    /// Longest time in which a peer takes nothing of what is written for it.
    pub write: Duration,
    /// Most bytes of answers that wait for all peers before that time becomes a second.
    pub unread: usize,
    /// Longest time that requests and sockets have to end when the process drains.
    pub grace: Duration,
}

/// An extension of every request: who is on the other end. As long as a copy is kept, draining waits for it; sockets
/// keep one, because their connection has left hyper's hands.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Address of the peer.
    pub peer: SocketAddr,
    _open: TaskTrackerToken,
    _place: Arc<Place>,
}

/// One of the connections that there may be.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

/// Waits for a place. It is said once when all are taken, and again only after one was free at once.
async fn place(places: &Arc<Semaphore>, were_taken: &mut bool) -> Option<Place> {
    let free = Arc::clone(places).try_acquire_owned().ok();
    if free.is_none() && !*were_taken {
        tracing::warn!("as many connections as may be are open (MAX_CONNECTIONS); others wait");
    }
    *were_taken = free.is_none();
    let permit = match free {
        Some(permit) => permit,
        None => Arc::clone(places).acquire_owned().await.ok()?,
    };
    Some(Place { _permit: permit, _open: Open::connection() })
}

/// Serves until `shutdown` is cancelled, then waits for the grace period for requests and sockets that are open.
///
/// # Errors
/// INTERNAL if the listener has no address.
pub async fn serve<S>(listener: TcpListener, site: S, shutdown: CancellationToken, timing: Timing) -> Result<()>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let address = listener.local_addr().map_err(Error::internal)?;
    let (open, cut) = (TaskTracker::new(), CancellationToken::new());
    let builder = builder(timing.head);
    let backlog = Backlog::new(timing.unread);
    let (places, mut were_taken) = (Arc::new(Semaphore::new(timing.connections)), false);
    loop {
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            place = place(&places, &mut were_taken) => place,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Some(place) = place.map(Arc::new) else { break };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (builder, site, shutdown, cut) = (builder.clone(), site.clone(), shutdown.clone(), cut.clone());
        let backlog = backlog.clone();
        let connection = Connection { peer, _open: open.token(), _place: place };
        open.spawn(async move {
            tokio::select! {
                () = converse(stream, connection, &builder, site, timing, &backlog, &shutdown) => {}
                () = cut.cancelled() => {}
            }
        });
    }
    drop(listener);
    open.close();
    tracing::info!(%address, "draining");
    if timeout(timing.grace, open.wait()).await.is_err() {
        tracing::warn!(left = open.len(), "not every connection ended within the grace period");
        cut.cancel();
    }
    Ok(())
}

fn builder(head: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD)
        .max_concurrent_streams(100)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(head);
    builder
}

/// Serves one connection until its peer or the process has had enough, or the peer keeps it for nothing.
async fn converse<S>(
    stream: TcpStream,
    connection: Connection,
    builder: &Builder<TokioExecutor>,
    site: S,
    timing: Timing,
    backlog: &Backlog,
    shutdown: &CancellationToken,
) where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    prepare(&stream);
    let write = || backlog.patience(timing.write);
    let mut wire = Wire::new(stream, timing.write, backlog.clone());
    let greeted = tokio::select! {
        () = shutdown.cancelled() => return,
        greeted = timeout(timing.head, wire.greeting()) => greeted,
    };
    let Ok(Ok(protocol)) = greeted else { return };
    let exchanges = Arc::new(Exchanges::default());
    let begun = Arc::clone(&exchanges);
    let answers = backlog.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        let (exchange, answered) = (begun.enter(), site.clone().call(request.map(Body::new)));
        let answers = answers.clone();
        async move {
            answered.await.map(|response| {
                // files are read as they are taken
                let length = response.extensions().get().map_or(0, |Length(bytes)| *bytes);
                response.map(|body| exchange.answer(body, answers.add(length)))
            })
        }
    });
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(wire), service));
    let mut is_leaving = false;
    loop {
        tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(error, "a connection broke");
                }
                return;
            }
            () = shutdown.cancelled(), if !is_leaving => {}
            // of HTTP/1, hyper watches the head and the wire everything else
            neglect = exchanges.neglected(timing.head, write), if protocol == Protocol::Http2 => {
                if is_leaving || neglect == Neglect::Unread {
                    tracing::debug!(?neglect, "a connection is cut");
                    return;
                }
            }
        }
        // asked to leave, so that no request of an honest peer is lost
        is_leaving = true;
        exchanges.begin_anew();
        serving.as_mut().graceful_shutdown();
    }
}

fn prepare(stream: &TcpStream) {
    // Two small writes in a row (`next`, then `complete`) would wait 40 ms for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT was not set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_writes_do_not_wait_and_the_kernel_hoards_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!stream.nodelay().unwrap());
        prepare(&stream);
        assert!(stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket2::SockRef::from(&stream).tcp_notsent_lowat().unwrap(), MAX_UNSENT);
    }
}
