//! Events of one subscription across connections: reconnects after the last cursor, drops what was seen already, and
//! gives up when patience ends. It must not know what events mean beyond their position and the end of the stream.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Api, Backoff};
use super::documents::Document;
use super::failures::ClientError;
use super::socket::{Heard, Session};

/// A connection that held for so long was a good one: the next loss is a new one.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// Whether the subscription takes `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resumes {
    /// It goes on after a cursor.
    AfterCursor,
    /// It begins with the present state each time.
    FromPresent,
}

/// Events of one subscription.
pub(super) struct Events<'a> {
    api: &'a Api,
    document: Document,
    field: &'static str,
    id: String,
    resumes: Resumes,
    cursor: Option<String>,
    sequence: Option<i64>,
    session: Option<(Session, Instant)>,
    backoff: Backoff,
}

impl<'a> Events<'a> {
    /// A subscription whose root field is `field` and whose object is the variable `id`.
    pub(super) fn new(api: &'a Api, document: Document, field: &'static str, id: &str, resumes: Resumes) -> Self {
        Self { api, document, field, id: id.into(), resumes, cursor: None, sequence: None, session: None, backoff: Backoff::default() }
    }

    /// The next event; `None` if the server completed the stream. Not safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            let (mut session, opened_at) = match self.session.take() {
                Some(open) => open,
                None => match Session::open(self.api, self.document, &self.variables()).await {
                    Ok(session) => (session, Instant::now()),
                    Err(error) => {
                        self.api.wait_after(error, &mut self.backoff).await?;
                        continue;
                    }
                },
            };
            let error = match session.next().await {
                Ok(Heard::Next(answer)) => {
                    if let Some(error) = answer.errors.into_iter().next() {
                        return Err(error.into());
                    }
                    let event = answer.data.map(|mut data| data[self.field].take()).unwrap_or_default();
                    if is_shutting_down(&event) {
                        session.close().await;
                        ClientError::Unreachable("The server is shutting down.".into())
                    } else {
                        self.session = Some((session, opened_at));
                        if self.is_new(&event) {
                            return Ok(Some(event));
                        }
                        continue;
                    }
                }
                Ok(Heard::Complete) => {
                    session.close().await;
                    return Ok(None);
                }
                Ok(Heard::Refused(error)) => {
                    session.close().await;
                    error
                }
                Err(error) => error,
            };
            if opened_at.elapsed() >= GOOD_AFTER {
                self.backoff = Backoff::default();
            }
            self.api.wait_after(error, &mut self.backoff).await?;
        }
    }

    /// True if the next event needs a new connection.
    pub(super) fn is_closed(&self) -> bool {
        self.session.is_none()
    }

    /// Waits before the stream is opened again that the server ended too early.
    pub(super) async fn ended_too_early(&mut self) -> Result<(), ClientError> {
        let error = ClientError::Unreachable("The server ended the stream before the work was finished.".into());
        self.api.wait_after(error, &mut self.backoff).await
    }

    /// Takes leave of the server.
    pub(super) async fn close(self) {
        if let Some((session, _)) = self.session {
            session.close().await;
        }
    }

    fn variables(&self) -> Value {
        match &self.cursor {
            Some(cursor) if self.resumes == Resumes::AfterCursor => json!({ "id": self.id, "after": cursor }),
            _ => json!({ "id": self.id }),
        }
    }

    /// Notes the position of an event; false if it was seen before the connection was lost.
    fn is_new(&mut self, event: &Value) -> bool {
        let kind = event["__typename"].as_str().unwrap_or_default();
        let sequence = event["sequence"].as_i64();
        // Its snapshot is still to come: from here a lost connection must go on at the older cursor.
        if matches!(kind, "StreamLagged" | "StreamEnded") {
            return true;
        }
        let repeated = self.resumes == Resumes::AfterCursor && kind != "BatchSnapshot" && sequence.is_some() && sequence <= self.sequence;
        if repeated {
            return false;
        }
        if sequence > self.sequence {
            self.sequence = sequence;
            self.backoff = Backoff::default();
        }
        if let Some(cursor) = event["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
        true
    }
}

fn is_shutting_down(event: &Value) -> bool {
    event["__typename"] == "StreamEnded" && event["reason"] == "SHUTTING_DOWN"
}
