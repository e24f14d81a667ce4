//! One subscription over one WebSocket in the graphql-transport-ws protocol (PROTOCOL.md of graphql-ws). It knows
//! neither events nor cursors: what to do when a connection is lost is decided in `stream.rs`.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::Upgraded;
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::api::Api;
use super::documents::Document;
use super::failures::{ClientError, GraphqlError, root_cause};

const PROTOCOL: &str = "graphql-transport-ws";
/// The only operation of a socket.
const ID: &str = "1";
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
const PING_AFTER: Duration = Duration::from_secs(15);
/// A connection on which nothing came for so long is dead, even if the network never said so.
const DEAD_AFTER: Duration = Duration::from_secs(50);

/// What the server says about the operation.
#[derive(Debug)]
pub(super) enum Heard {
    /// An event: `data` and perhaps `errors`.
    Next(Answer),
    /// The operation was refused.
    Refused(ClientError),
    /// The stream has ended.
    Complete,
}

/// Payload of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) data: Option<Value>,
    #[serde(default)]
    pub(super) errors: Vec<GraphqlError>,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// An open socket with its subscription.
pub(super) struct Session {
    socket: WebSocketStream<Upgraded>,
    heard_at: Instant,
}

impl Session {
    /// Connects, introduces itself and subscribes.
    pub(super) async fn open(api: &Api, document: Document, variables: &Value) -> Result<Self, ClientError> {
        let opening = async {
            let mut session = Self { socket: upgrade(api).await?, heard_at: Instant::now() };
            let token = json!({ "Authorization": format!("Bearer {}", api.token()) });
            session.send(&json!({ "type": "connection_init", "payload": token })).await?;
            loop {
                let frame = session.frame().await?;
                match frame.kind.as_str() {
                    "connection_ack" => break,
                    "ping" => session.send(&pong(&frame.payload)).await?,
                    _ => {}
                }
            }
            let payload = json!({ "query": document.text, "operationName": document.name, "variables": variables });
            session.send(&json!({ "id": ID, "type": "subscribe", "payload": payload })).await?;
            Ok(session)
        };
        let late = || ClientError::Unreachable(format!("The server at {} does not answer on its WebSocket.", api.address()));
        timeout(HANDSHAKE_TIMEOUT, opening).await.unwrap_or_else(|_| Err(late()))
    }

    /// What comes next; an error that passes means that the connection is lost.
    pub(super) async fn next(&mut self) -> Result<Heard, ClientError> {
        loop {
            let Ok(frame) = timeout(PING_AFTER, self.frame()).await else {
                if self.heard_at.elapsed() >= DEAD_AFTER {
                    return Err(lost("nothing was heard any more"));
                }
                self.send(&json!({ "type": "ping" })).await?;
                continue;
            };
            let Frame { kind, id, payload } = frame?;
            match kind.as_str() {
                "ping" => self.send(&pong(&payload)).await?,
                "next" if id.as_deref() == Some(ID) => return Ok(Heard::Next(super::api::decode(payload)?)),
                "error" if id.as_deref() == Some(ID) => {
                    let errors: Vec<GraphqlError> = super::api::decode(payload)?;
                    let refused = errors.into_iter().next().map_or_else(|| lost("the subscription was refused"), ClientError::from);
                    return Ok(Heard::Refused(refused));
                }
                "complete" if id.as_deref() == Some(ID) => return Ok(Heard::Complete),
                _ => {}
            }
        }
    }

    /// Takes leave; whether the server hears it does not matter.
    pub(super) async fn close(mut self) {
        let leaving = async {
            let _ = self.socket.send(Message::text(json!({ "id": ID, "type": "complete" }).to_string())).await;
            let _ = self.socket.close(None).await;
        };
        let _ = timeout(Duration::from_secs(1), leaving).await;
    }

    async fn send(&mut self, message: &Value) -> Result<(), ClientError> {
        self.socket.send(Message::text(message.to_string())).await.map_err(|error| lost(&root_cause(&error)))
    }

    async fn frame(&mut self) -> Result<Frame, ClientError> {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(lost(&root_cause(&error))),
                None => return Err(lost("closed without a word")),
            };
            self.heard_at = Instant::now();
            match message {
                Message::Text(text) => {
                    let wrong = |_| ClientError::Unexpected("The server's WebSocket does not speak graphql-transport-ws.".into());
                    return serde_json::from_str(&text).map_err(wrong);
                }
                Message::Close(frame) => return Err(closed(frame)),
                _ => {}
            }
        }
    }
}

/// The handshake goes through the same HTTP client as everything else, so that TLS and proxies are the same too.
async fn upgrade(api: &Api) -> Result<WebSocketStream<Upgraded>, ClientError> {
    let key = generate_key();
    let request = api
        .http()
        .get(api.endpoint())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    let response = request.send().await.map_err(|error| api.unreachable(error))?;
    let status = response.status();
    if status != reqwest::StatusCode::SWITCHING_PROTOCOLS {
        return Err(api.no_graphql(status));
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if header(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) || header(SEC_WEBSOCKET_PROTOCOL) != Some(PROTOCOL)
    {
        let sentence = format!("{} does not offer graphql-transport-ws on /graphql. Check CLAIMWRIGHT_URL.", api.address());
        return Err(ClientError::Unexpected(sentence));
    }
    let stream = response.upgrade().await.map_err(|error| api.unreachable(error))?;
    api.has_answered();
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

fn pong(payload: &Value) -> Value {
    if payload.is_null() { json!({ "type": "pong" }) } else { json!({ "type": "pong", "payload": payload }) }
}

fn lost(why: &str) -> ClientError {
    ClientError::Unreachable(format!("The connection to the server was lost ({why})."))
}

/// Codes of PROTOCOL.md: those for a client's fault are not repeated, everything else passes.
fn closed(frame: Option<CloseFrame>) -> ClientError {
    let Some(frame) = frame else { return lost("closed without a reason") };
    let code = u16::from(frame.code);
    match code {
        4401 | 4403 => ClientError::Fault {
            code: "UNAUTHENTICATED".into(),
            message: format!("The server does not accept the token, or no longer ({}).", frame.reason),
            retry_after: None,
        },
        4400 | 4406 | 4409 => ClientError::Unexpected(format!("The server closed the connection: {} ({code}).", frame.reason)),
        _ => lost(&format!("closed with code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_close_codes_that_can_pass_are_tried_again() {
        let close = |code: u16| closed(Some(CloseFrame { code: code.into(), reason: "x".into() }));
        assert!(closed(None).passes());
        for code in [1001, 1006, 1011, 1012, 4408, 4429, 4500] {
            assert!(close(code).passes(), "{code}");
        }
        for code in [4400, 4401, 4403, 4406, 4409] {
            assert!(!close(code).passes(), "{code}");
        }
    }
}
