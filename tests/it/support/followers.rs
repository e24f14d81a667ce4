//! People who follow a batch over a socket and come back, after what they saw last, whenever a socket ends: across all
//! lives of all servers, they must have seen every event once and in order.

use super::runs::EVENTS;
use super::socket::Socket;
use super::{Client, PATIENCE};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Pause before a client tries again where nobody answered.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Somebody who follows a batch.
pub struct Follower {
    events: watch::Receiver<Vec<Value>>,
    /// Why sockets ended, and what was answered instead of events.
    ends: Arc<watch::Sender<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Follower {
    /// Follows from the batch's present cursor on, at the first of these servers and, whenever a socket ends, at the next.
    pub async fn start(servers: Vec<Client>, batch: &str) -> Self {
        let cursor = servers[0].batch_now(batch).await["eventCursor"].clone();
        let (seen, events) = watch::channel(Vec::new());
        let ends = Arc::new(watch::Sender::new(Vec::new()));
        let (batch, noted) = (batch.to_owned(), Arc::clone(&ends));
        let task = tokio::spawn(async move {
            let mut cursor = cursor;
            for server in servers.iter().cycle() {
                if let Some(why) = follow(server, &batch, &mut cursor, &seen).await {
                    noted.send_modify(|ends| ends.push(why));
                }
                tokio::time::sleep(BACK_OFF).await;
            }
        });
        Self { events, ends, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits until so many events were seen.
    pub async fn has_seen(&mut self, count: usize) {
        self.wait_for(|events| events.len() >= count).await;
    }

    /// How many events were seen so far.
    pub fn count(&self) -> usize {
        self.events.borrow().len()
    }

    /// Waits until such an event was seen; gives all that were seen until then.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.wait_for(|events| events.iter().any(&wanted)).await;
        self.events.borrow().clone()
    }

    /// Why sockets ended so far.
    pub fn ends(&self) -> Vec<String> {
        self.ends.borrow().clone()
    }

    async fn wait_for(&mut self, mut wanted: impl FnMut(&Vec<Value>) -> bool) {
        let in_time = tokio::time::timeout(PATIENCE, self.events.wait_for(|events| wanted(events))).await.map(drop);
        assert!(in_time.is_ok(), "it did not come; seen {} events, sockets ended by {:?}", self.count(), self.ends());
    }
}

/// Follows over one socket until it ends; gives why, or nothing if nobody answered.
async fn follow(server: &Client, batch: &str, cursor: &mut Value, seen: &watch::Sender<Vec<Value>>) -> Option<String> {
    let mut socket = Socket::try_open(server.url()).await?;
    let subscribe = json!({ "query": EVENTS, "variables": { "id": batch, "after": cursor } });
    let greeted = socket.try_send(json!({ "type": "connection_init", "payload": { "token": server.token() } })).await
        && socket.receive().await.is_ok_and(|answer| answer["type"] == "connection_ack")
        && socket.try_send(json!({ "id": "1", "type": "subscribe", "payload": subscribe })).await;
    if !greeted {
        return Some("no greeting".into());
    }
    loop {
        let message = match socket.receive().await {
            Ok(message) => message,
            Err(code) => return Some(format!("closed {}", code.map_or("without a word".into(), |code| code.to_string()))),
        };
        let event = &message["payload"]["data"]["batchProgress"];
        if message["type"] != "next" || event.is_null() {
            return Some(format!("answered {message}"));
        }
        if event["__typename"] == "StreamEnded" {
            return Some(format!("ended {}", event["reason"]));
        }
        *cursor = event["cursor"].clone();
        seen.send_modify(|events| events.push(event.clone()));
    }
}
