//! Frames of a socket on their way in and out: what a frame is to a session, and the queue of those that wait for a peer
//! that reads slowly. It must not know what messages mean.

use super::closing::Close;
use axum::extract::ws::Message;
use futures::{Sink, SinkExt};
use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};
use tokio_tungstenite::tungstenite;

/// Messages that wait for a slow reader; its streams wait behind them.
pub const MAX_QUEUED: usize = 64;

/// What came from the peer.
pub enum Received {
    /// A message.
    Text(String),
    /// A frame of the WebSocket protocol itself.
    Nothing,
    /// The socket is of no more use; the peer is told why if it can be.
    Unusable(Option<Close>),
}

impl From<Result<Message, axum::Error>> for Received {
    fn from(message: Result<Message, axum::Error>) -> Self {
        match message {
            Ok(Message::Text(text)) => Self::Text(text.as_str().to_owned()),
            Ok(Message::Ping(_) | Message::Pong(_)) => Self::Nothing,
            Ok(Message::Binary(_)) => Self::Unusable(Some(Close::invalid("not a text"))),
            Ok(Message::Close(_)) => Self::Unusable(None),
            Err(error) => Self::Unusable(match error.into_inner().downcast_ref::<tungstenite::Error>() {
                Some(tungstenite::Error::Utf8(_)) => Some(Close::NOT_UTF8),
                Some(tungstenite::Error::Capacity(_)) => Some(Close::TOO_BIG),
                Some(tungstenite::Error::Protocol(_)) => Some(Close::NOT_A_SOCKET),
                _ => None,
            }),
        }
    }
}

/// Messages on their way to the peer. Writing is a branch of the session's loop and not a wait inside of it, so that a
/// peer that does not read cannot keep the session from noticing expiry, shutdown or `complete`.
#[derive(Default)]
pub struct Outbox {
    messages: VecDeque<Message>,
    unflushed: bool,
}

impl Outbox {
    /// Puts a frame at the end.
    pub fn push(&mut self, message: Message) {
        self.messages.push_back(message);
    }

    /// Puts a text at the end.
    pub fn push_text(&mut self, text: String) {
        self.push(Message::Text(text.into()));
    }

    /// True if everything was handed to the socket.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// True if everything has left.
    pub fn is_flushed(&self) -> bool {
        self.messages.is_empty() && !self.unflushed
    }

    /// A peer that sends but does not read is not listened to either.
    pub fn has_room(&self) -> bool {
        self.messages.len() < MAX_QUEUED
    }

    /// Writes what it can; what is not written yet stays here.
    ///
    /// # Errors
    /// As the sink says; the socket is lost.
    pub fn poll_write<S: Sink<Message> + Unpin>(&mut self, sink: &mut S, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        while !self.messages.is_empty() {
            ready!(sink.poll_ready_unpin(context))?;
            if let Some(message) = self.messages.pop_front() {
                self.unflushed = true;
                sink.start_send_unpin(message)?;
            }
        }
        ready!(sink.poll_flush_unpin(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}
