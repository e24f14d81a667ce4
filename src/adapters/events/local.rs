//! The bus of one process: a bounded broadcast per topic. Who is slow is told how many bells were missed.

use super::{Bell, EventBus, Listener, Topic};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

/// Bells that wait for one listener; beyond it, it is told to look at the table.
const WAITING_BELLS: usize = 256;

/// The bus of one process.
#[derive(Debug, Clone, Default)]
pub struct LocalBus {
    topics: Arc<Mutex<HashMap<Topic, Sender<Bell>>>>,
}

#[async_trait]
impl EventBus for LocalBus {
    async fn publish(&self, topic: Topic, bells: Vec<Bell>) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = topics.get(&topic) else { return };
        for bell in bells {
            if sender.send(bell).is_err() {
                topics.remove(&topic);
                return;
            }
        }
    }

    async fn subscribe(&self, topic: Topic) -> Box<dyn Listener> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|_, sender| sender.receiver_count() > 0);
        let sender = topics.entry(topic).or_insert_with(|| channel(WAITING_BELLS).0);
        Box::new(LocalListener(sender.subscribe()))
    }
}

struct LocalListener(Receiver<Bell>);

#[async_trait]
impl Listener for LocalListener {
    async fn next(&mut self) -> Option<Bell> {
        match self.0.recv().await {
            Ok(bell) => Some(bell),
            Err(RecvError::Lagged(bells)) => Some(Bell::Overflowed(bells)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::BatchId;

    #[tokio::test]
    async fn who_is_slow_is_told_and_hears_what_follows() {
        let bus = LocalBus::default();
        let topic = Topic::Batch(BatchId(uuid::Uuid::nil()));
        let mut listener = bus.subscribe(topic).await;
        bus.publish(topic, vec![Bell::Changed; WAITING_BELLS + 10]).await;
        assert!(matches!(listener.next().await, Some(Bell::Overflowed(10))));
        assert!(matches!(listener.next().await, Some(Bell::Changed)));
    }
}
