//! A client of graphql-transport-ws that does nothing by itself: tests see every message.

use super::PATIENCE;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A socket.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    operations: u32,
}

/// One operation on a socket; it has the socket to itself.
pub struct Events<'s> {
    socket: &'s mut Socket,
    id: String,
    ended: bool,
}

impl Socket {
    /// Opens a socket without saying anything.
    pub async fn open(url: &str) -> Self {
        Self::try_open(url).await.expect("a socket")
    }

    /// The same where there may be no server at the moment.
    pub async fn try_open(url: &str) -> Option<Self> {
        let mut request = format!("{}/graphql", url.replacen("http", "ws", 1)).into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a header"));
        let (stream, _) = connect_async(request).await.ok()?;
        Some(Self { stream, operations: 0 })
    }

    /// Opens a socket and signs in.
    pub async fn connect(url: &str, token: Option<&str>) -> Self {
        let mut socket = Self::open(url).await;
        let payload = token.map(|token| json!({ "Authorization": format!("Bearer {token}") }));
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        let answer = socket.receive().await.expect("an answer");
        assert_eq!(answer["type"], "connection_ack", "{answer}");
        socket
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Value) {
        assert!(self.try_send(message).await, "the socket is broken");
    }

    /// Sends a message; false if the socket is broken.
    pub async fn try_send(&mut self, message: Value) -> bool {
        self.stream.send(Message::text(message.to_string())).await.is_ok()
    }

    /// The next message; the close code as an error if the server closes.
    pub async fn receive(&mut self) -> Result<Value, Option<u16>> {
        // pings do not count: nobody waits for them
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout_at(until, self.stream.next()).await.expect("a message in time") {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if message["type"] == "ping" {
                        // whether it was heard shows in what comes next
                        self.try_send(json!({ "type": "pong" })).await;
                        continue;
                    }
                    return Ok(message);
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Starts an operation.
    pub async fn subscribe(&mut self, query: &str, variables: Value) -> Events<'_> {
        self.operations += 1;
        let id = self.operations.to_string();
        self.send(json!({ "id": id, "type": "subscribe", "payload": { "query": query, "variables": variables } })).await;
        Events { socket: self, id, ended: false }
    }
}

impl Events<'_> {
    /// Data of the next event; none once the operation is complete. Errors fail the test.
    pub async fn next(&mut self) -> Option<Value> {
        match self.next_or_errors().await {
            Ok(event) => event,
            Err(errors) => panic!("the operation failed: {errors}"),
        }
    }

    /// Data of the next event, or the errors that the operation ended with.
    pub async fn next_or_errors(&mut self) -> Result<Option<Value>, Value> {
        if self.ended {
            return Ok(None);
        }
        let message = match self.socket.receive().await {
            Ok(message) => message,
            Err(code) => panic!("the socket was closed: {code:?}"),
        };
        assert_eq!(message["id"], self.id.as_str(), "{message}");
        match message["type"].as_str() {
            Some("next") => {
                assert!(message["payload"].get("errors").is_none(), "{message}");
                Ok(Some(message["payload"]["data"].clone()))
            }
            Some("complete") => {
                self.ended = true;
                Ok(None)
            }
            Some("error") => {
                self.ended = true;
                Err(message["payload"].clone())
            }
            _ => panic!("unexpected: {message}"),
        }
    }
}

/// A message without what every result tells of its cost.
pub fn without_cost(mut message: Value) -> Value {
    let payload = message["payload"].as_object_mut().unwrap_or_else(|| panic!("no payload"));
    let extensions = payload.remove("extensions").unwrap_or_default();
    assert!(extensions["cost"]["requested"].is_u64(), "no cost: {extensions}");
    message
}
