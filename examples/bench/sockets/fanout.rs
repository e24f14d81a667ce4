//! The floor: what one would write by hand to send the same frames, and nothing more. A broadcast for each topic, one frame
//! made once for each event, small buffers, several frames in one write.

use crate::Outcome;
use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

const WAITING: usize = 64;
const READ_BUFFER: usize = 4 << 10;

#[derive(Clone, Default)]
struct Topics(Arc<Mutex<HashMap<String, Sender<Utf8Bytes>>>>);

impl Topics {
    fn join(&self, topic: &str) -> Receiver<Utf8Bytes> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_insert_with(|| channel(WAITING).0).subscribe()
    }

    fn send(&self, topic: &str, frame: Utf8Bytes) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        if let Some(sender) = sender {
            // an error says that nobody listens
            drop(sender.send(frame));
        }
    }
}

/// Serves in this process; gives the address.
pub async fn start() -> Outcome<SocketAddr> {
    let routes = Router::new().route("/graphql", get(upgrade)).route("/publish/{topic}", post(publish_here)).with_state(Topics::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), routes).await });
    Ok(address)
}

/// A request that sends a payload to all sockets of a topic.
pub fn publish(topic: &str, payload: &str) -> String {
    format!("POST /publish/{topic} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n{payload}", payload.len())
}

fn next(payload: &str) -> Utf8Bytes {
    format!(r#"{{"id":"1","type":"next","payload":{payload}}}"#).into()
}

async fn publish_here(State(topics): State<Topics>, Path(topic): Path<String>, payload: String) {
    topics.send(&topic, next(&payload));
}

async fn upgrade(State(topics): State<Topics>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(["graphql-transport-ws"]).read_buffer_size(READ_BUFFER).write_buffer_size(READ_BUFFER);
    upgrade.max_write_buffer_size(1 << 20).max_message_size(1 << 20).on_upgrade(|socket| async move {
        // a socket that breaks has ended
        drop(serve(socket, topics).await);
    })
}

async fn serve(mut socket: WebSocket, topics: Topics) -> Result<(), axum::Error> {
    let Some(mut frames) = greet(&mut socket, &topics).await? else { return Ok(()) };
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Ok(frame) => {
                    socket.feed(Message::Text(frame)).await?;
                    while let Ok(frame) = frames.try_recv() {
                        socket.feed(Message::Text(frame)).await?;
                    }
                    socket.flush().await?;
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            message = socket.next() => if message.transpose()?.is_none() { return Ok(()) },
        }
    }
}

/// From the greeting to the snapshot; gives the frames that follow it.
async fn greet(socket: &mut WebSocket, topics: &Topics) -> Result<Option<Receiver<Utf8Bytes>>, axum::Error> {
    while let Some(message) = socket.next().await.transpose()? {
        let Message::Text(text) = message else { continue };
        let Ok(message) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
        if message["type"] == "connection_init" {
            socket.send(Message::Text(r#"{"type":"connection_ack"}"#.into())).await?;
        } else if let Some(topic) = message["payload"]["variables"]["id"].as_str() {
            let frames = topics.join(topic);
            socket.send(Message::Text(next(r#"{"data":{"batchProgress":{"__typename":"BatchSnapshot","sequence":0}}}"#))).await?;
            return Ok(Some(frames));
        }
    }
    Ok(None)
}
