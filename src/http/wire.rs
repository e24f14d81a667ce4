//! The bytes of a connection: which protocol they begin with, and that a peer which takes nothing of what is written for
//! it does not hold the connection for ever. It must not know what is said.

use super::backlog::{Backlog, HURRIED};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What a connection of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1, or nothing that is known.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A stream whose writes have to go on: if the peer takes not one byte for as long as it may, the write fails. Nothing is
/// measured while there is nothing to write, so quiet streams live as long as they like, and so do slow downloads.
#[derive(Debug)]
pub struct Wire<T> {
    stream: T,
    write: Duration,
    backlog: Backlog,
    /// What was read to know the protocol, and is read again.
    heard: [u8; PREFACE.len()],
    /// What of it is still to be read.
    pending: std::ops::Range<usize>,
    /// While a write waits for the peer: since when, and when it is asked whether that is too long.
    stuck: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// A stream on which a write may wait so long, and less while too much waits.
    pub const fn new(stream: T, write: Duration, backlog: Backlog) -> Self {
        Self { stream, write, backlog, heard: [0; PREFACE.len()], pending: 0..0, stuck: None }
    }

    /// Reads until it is clear what the peer speaks. hyper-util would wait for that too, but without an end.
    ///
    /// # Errors
    /// If the peer leaves before.
    pub async fn greeting(&mut self) -> io::Result<Protocol> {
        let mut filled = 0;
        while filled < PREFACE.len() {
            let read = self.stream.read(&mut self.heard[filled..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            self.pending = 0..filled;
            if self.heard[..filled] != PREFACE[..filled] {
                return Ok(Protocol::Http1);
            }
        }
        Ok(Protocol::Http2)
    }

    fn watched<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let now = Instant::now();
        let (since, asking) = self.stuck.get_or_insert_with(|| (now, Box::pin(sleep_until(now))));
        loop {
            let end = *since + self.backlog.patience(self.write);
            if end <= Instant::now() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing")));
            }
            ready!(asking.as_mut().poll(cx));
            asking.as_mut().reset(end.min(Instant::now() + HURRIED));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.pending.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let most = this.pending.len().min(buffer.remaining());
        let start = this.pending.start;
        buffer.put_slice(&this.heard[start..start + most]);
        this.pending.start += most;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.watched(cx, written)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncWriteExt, duplex},
        time::{Instant, advance},
    };

    const WRITE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn the_protocol_is_known_by_the_whole_preface_or_the_first_byte_that_differs_and_nothing_is_lost() {
        for (said, protocol) in [
            (&b"GET / HTTP/1.1"[..], Protocol::Http1),
            (b"PRI * HT!", Protocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", Protocol::Http2),
        ] {
            let (mut peer, own) = duplex(64);
            let mut wire = Wire::new(own, WRITE, Backlog::new(usize::MAX));
            for byte in said {
                peer.write_all(&[*byte]).await.unwrap();
            }
            drop(peer);
            assert_eq!(wire.greeting().await.unwrap(), protocol, "{said:?}");
            let mut heard = Vec::new();
            wire.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, said);
        }
        for broken_off in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut peer, own) = duplex(64);
            peer.write_all(broken_off.as_bytes()).await.unwrap();
            drop(peer);
            assert!(Wire::new(own, WRITE, Backlog::new(usize::MAX)).greeting().await.is_err(), "{broken_off:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_if_nothing_is_taken_for_too_long_and_not_while_it_goes_on() {
        let (mut peer, own) = duplex(16);
        let mut wire = Wire::new(own, WRITE, Backlog::new(usize::MAX));
        let began = Instant::now();
        let writing = tokio::spawn(async move { wire.write_all(&[7; 80]).await.map_err(|error| (error.kind(), Instant::now())) });
        let mut byte = [0];
        // 40 bytes in as many times almost half a minute: slow, but it goes on
        for _ in 0..40 {
            peer.read_exact(&mut byte).await.unwrap();
            tokio::task::yield_now().await;
            assert!(!writing.is_finished());
            advance(WRITE.saturating_sub(Duration::from_secs(1))).await;
        }
        peer.read_exact(&mut byte).await.unwrap();
        let (kind, at) = writing.await.unwrap().unwrap_err();
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert!((at - began).as_secs_f32() > 40.0 * 29.0, "{:?}", at - began);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_after_a_second_once_too_much_waits() {
        let (_peer, own) = duplex(16);
        let backlog = Backlog::new(1);
        let mut wire = Wire::new(own, WRITE, backlog.clone());
        let began = Instant::now();
        let writing = tokio::spawn(async move { wire.write_all(&[7; 80]).await.map_err(|error| (error.kind(), Instant::now())) });
        tokio::task::yield_now().await;
        advance(WRITE / 2).await;
        tokio::task::yield_now().await;
        assert!(!writing.is_finished());
        let _too_much = backlog.add(2);
        let (kind, at) = writing.await.unwrap().unwrap_err();
        assert!(kind == io::ErrorKind::TimedOut && at - began <= WRITE / 2 + HURRIED, "{:?}", at - began);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_to_write_may_be_quiet_as_long_as_it_likes() {
        let (mut peer, own) = duplex(16);
        let mut wire = Wire::new(own, WRITE, Backlog::new(usize::MAX));
        for _ in 0..3 {
            wire.write_all(&[7; 16]).await.unwrap();
            // full, and nobody reads, but nothing waits to be written
            advance(WRITE * 100).await;
            peer.read_exact(&mut [0; 16]).await.unwrap();
        }
    }
}
