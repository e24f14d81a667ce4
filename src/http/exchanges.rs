//! The requests of a connection that are being answered: HTTP/2 lets a peer keep a connection without asking for anything,
//! and take nothing of its answers while every byte on the wire goes through. It must not know what is asked or answered.

use super::backlog::{HURRIED, Waiting};
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Answers are given in pieces of at most so many bytes, as large as a frame of HTTP/2, so that it is seen whether the peer
/// takes them.
const PIECE: usize = 16 << 10;

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neglect {
    /// The peer asks for nothing.
    Idle,
    /// The peer takes nothing of an answer.
    Unread,
}

/// What is open on one connection.
#[derive(Debug)]
pub struct Exchanges(Mutex<Held>);

#[derive(Debug)]
struct Held {
    open: usize,
    quiet_since: Instant,
    serial: u64,
    /// Since when a piece of an answer waits for the peer.
    unread: HashMap<u64, Instant>,
}

/// One request and its answer, until that was given or given up.
#[derive(Debug)]
pub struct Exchange {
    all: Arc<Exchanges>,
    serial: u64,
}

impl Default for Exchanges {
    fn default() -> Self {
        Self(Mutex::new(Held { open: 0, quiet_since: Instant::now(), serial: 0, unread: HashMap::new() }))
    }
}

impl Exchanges {
    /// A request has come.
    pub fn enter(self: &Arc<Self>) -> Exchange {
        let mut held = self.held();
        held.open += 1;
        held.serial += 1;
        let serial = held.serial;
        drop(held);
        Exchange { all: Arc::clone(self), serial }
    }

    /// The peer gets all its time once more: it was asked to leave.
    pub fn begin_anew(&self) {
        self.held().quiet_since = Instant::now();
    }

    /// Waits until nothing is open for `idle`, or until a piece of an answer was not taken for as long as `write` says then.
    pub async fn neglected(&self, idle: Duration, write: impl Fn() -> Duration) -> Neglect {
        loop {
            let now = Instant::now();
            let first = self.first_end(idle, write());
            if let Some((end, neglect)) = first
                && end <= now
            {
                return neglect;
            }
            // what begins meanwhile does not end before that
            let latest = now + idle.min(write()).min(HURRIED);
            sleep_until(first.map_or(latest, |(end, _)| end.min(latest))).await;
        }
    }

    fn first_end(&self, idle: Duration, write: Duration) -> Option<(Instant, Neglect)> {
        let held = self.held();
        let quiet = (held.open == 0).then(|| (held.quiet_since + idle, Neglect::Idle));
        let unread = held.unread.values().min().map(|since| (*since + write, Neglect::Unread));
        quiet.into_iter().chain(unread).min_by_key(|(end, _)| *end)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    /// The body of the answer, which ends the exchange.
    pub const fn answer(self, body: Body, waiting: Waiting) -> Answer {
        Answer { body, rest: Bytes::new(), exchange: self, waiting }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut held = self.all.held();
        held.open = held.open.saturating_sub(1);
        held.quiet_since = Instant::now();
        held.unread.remove(&self.serial);
    }
}

/// A body that is given piece by piece. hyper asks for the next one when the peer has room for it.
#[derive(Debug)]
pub struct Answer {
    body: Body,
    rest: Bytes,
    exchange: Exchange,
    waiting: Waiting,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Exchange { all, serial } = &this.exchange;
        all.held().unread.remove(serial);
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        all.held().unread.insert(*serial, Instant::now());
        Poll::Ready(Some(Ok(Frame::data(this.waiting.piece(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::super::backlog::Backlog;
    use super::*;
    use http_body_util::BodyExt;
    use tokio::time::timeout;

    const IDLE: Duration = Duration::from_secs(15);
    const WRITE: Duration = Duration::from_secs(30);

    fn opened() -> (Arc<Exchanges>, Exchange) {
        let all = Arc::new(Exchanges::default());
        let one = all.enter();
        (all, one)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_was_open_for_so_long() {
        let (all, one) = opened();
        assert!(timeout(IDLE * 100, all.neglected(IDLE, || WRITE)).await.is_err(), "something is open");
        let began = Instant::now();
        drop(one);
        assert_eq!((all.neglected(IDLE, || WRITE).await, began.elapsed()), (Neglect::Idle, IDLE));
        all.begin_anew();
        assert_eq!((all.neglected(IDLE, || WRITE).await, began.elapsed()), (Neglect::Idle, IDLE * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_nothing_is_taken_is_noticed_and_one_that_is_slow_or_waits_for_us_is_not() {
        let (all, one) = opened();
        let backlog = Backlog::new(usize::MAX);
        let mut answer = one.answer(Body::from(vec![7; PIECE * 3 + 1]), backlog.add(0));
        assert_eq!(answer.size_hint().exact(), Some(3 * PIECE as u64 + 1));
        for left in [2 * PIECE + 1, PIECE + 1, 1] {
            assert!(timeout(WRITE / 2, all.neglected(IDLE, || WRITE)).await.is_err(), "it goes on");
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE);
            assert_eq!((answer.size_hint().exact(), answer.is_end_stream()), (Some(left as u64), false));
        }
        let began = Instant::now();
        assert_eq!((all.neglected(IDLE, || WRITE).await, began.elapsed()), (Neglect::Unread, WRITE));
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1);
        assert!(answer.is_end_stream());
        let silence = Body::from_stream(futures::stream::pending::<Result<Bytes, axum::Error>>());
        let mut quiet = all.enter().answer(silence, backlog.add(0));
        drop(answer);
        let waits = timeout(WRITE * 100, quiet.frame());
        let (waits, neglected) = tokio::join!(waits, timeout(WRITE * 100, all.neglected(IDLE, || WRITE)));
        assert!(waits.is_err() && neglected.is_err(), "a stream without events waits for us, not for the peer");
    }
}
