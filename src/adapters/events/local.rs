//! The bus of one process: a bounded broadcast per topic. Who is slow is told how many bells were missed.

use super::{Bell, EventBus, Listener, Topic};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

/// Pieces of text that wait for one listener; beyond it, it is told that it missed some.
const WAITING_BELLS: usize = 256;
/// Bells of other kinds that wait: what they tell stands in the table. There is room for all of them as long as anybody
/// listens, and there may be as many topics as sockets.
const WAITING_EVENTS: usize = 32;
/// Topics that nobody listens to are looked for when there are so many, or twice as many as were left the last time.
const FEW_TOPICS: usize = 64;

/// The bus of one process.
#[derive(Debug, Clone, Default)]
pub struct LocalBus {
    topics: Arc<Mutex<Topics>>,
}

#[derive(Debug, Default)]
struct Topics {
    senders: HashMap<Topic, Sender<Bell>>,
    /// Among so many topics those are looked for that nobody listens to.
    many: usize,
}

const fn waiting(topic: Topic) -> usize {
    match topic {
        Topic::Draft(_) => WAITING_BELLS,
        _ => WAITING_EVENTS,
    }
}

#[async_trait]
impl EventBus for LocalBus {
    async fn publish(&self, topic: Topic, bells: Vec<Bell>) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = topics.senders.get(&topic) else { return };
        for bell in bells {
            if sender.send(bell).is_err() {
                topics.senders.remove(&topic);
                return;
            }
        }
    }

    async fn subscribe(&self, topic: Topic) -> Box<dyn Listener> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        // not each time: with a topic for each of thousands of sockets that would be most of what opening one costs
        if topics.senders.len() >= topics.many.max(FEW_TOPICS) {
            topics.senders.retain(|_, sender| sender.receiver_count() > 0);
            topics.many = topics.senders.len() * 2;
        }
        let sender = topics.senders.entry(topic).or_insert_with(|| channel(waiting(topic)).0);
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
    use crate::domain::ids::{BatchId, ProjectId};

    #[tokio::test]
    async fn who_is_slow_is_told_and_hears_what_follows() {
        let bus = LocalBus::default();
        for (topic, waiting) in
            [(Topic::Batch(BatchId(uuid::Uuid::nil())), WAITING_EVENTS), (Topic::Draft(ProjectId(uuid::Uuid::nil())), WAITING_BELLS)]
        {
            let mut listener = bus.subscribe(topic).await;
            bus.publish(topic, vec![Bell::Changed; waiting + 10]).await;
            assert!(matches!(listener.next().await, Some(Bell::Overflowed(10))));
            assert!(matches!(listener.next().await, Some(Bell::Changed)));
        }
    }

    #[tokio::test]
    async fn topics_that_nobody_listens_to_do_not_pile_up() {
        let bus = LocalBus::default();
        let topic = |number: usize| Topic::Batch(BatchId(uuid::Uuid::from_u128(number as u128)));
        let _kept = bus.subscribe(topic(0)).await;
        for number in 1..FEW_TOPICS * 10 {
            drop(bus.subscribe(topic(number)).await);
        }
        assert!(bus.topics.lock().unwrap().senders.len() <= FEW_TOPICS);
        assert!(bus.topics.lock().unwrap().senders.contains_key(&topic(0)));
    }
}
