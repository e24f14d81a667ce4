//! The bus of many processes, over Redis: bells ring in this process at once and in the others through one task that
//! publishes in order and one connection that is subscribed to what somebody here listens to. What is lost on the way is
//! replaced by `Bell::Missed` as soon as Redis is back. Nobody waits for a Redis that is down.

use super::interests::{Interest, Interests};
use super::local::LocalBus;
use super::wire::Message;
use super::{Bell, EventBus, Listener, Topic};
use crate::adapters::redis::{Backoff, Failure, Redis};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deadpool_redis::redis::aio::{PubSub, PubSubSink};
use deadpool_redis::redis::{Value, pipe};
use futures::StreamExt;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Messages that wait to be published.
const WAITING_MESSAGES: usize = 4096;
/// Messages that are published in one round trip.
const AT_ONCE: usize = 128;
/// Topics that are remembered because bells of theirs were lost.
const MOST_OWED: usize = 10_000;
/// Longest wait of a new listener for the server's confirmation.
const CONFIRMATION: Duration = Duration::from_millis(500);
/// How often the connection for subscriptions is tried while nothing comes.
const PING_EVERY: Duration = Duration::from_secs(5);

/// The wall clock.
type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The bus of many processes. Closed when dropped.
pub struct RedisBus {
    hub: Arc<Hub>,
    outbox: mpsc::Sender<Outgoing>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

struct Hub {
    redis: Redis,
    local: LocalBus,
    interests: Arc<Interests>,
    /// Topics of which other processes have not heard everything.
    owed: Mutex<HashSet<Topic>>,
    /// Tells one's own messages from those of others.
    origin: Uuid,
    clock: Clock,
}

enum Outgoing {
    Bells {
        topic: Topic,
        count: usize,
        payload: Vec<u8>,
    },
    /// Somebody waits until what was before it is out.
    Mark(oneshot::Sender<()>),
}

/// Why the connection for subscriptions ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl RedisBus {
    /// A bus over Redis.
    #[must_use]
    pub fn new(redis: Redis, clock: Clock) -> Self {
        let (outbox, queue) = mpsc::channel(WAITING_MESSAGES);
        let hub = Arc::new(Hub {
            redis,
            local: LocalBus::default(),
            interests: Arc::default(),
            owed: Mutex::default(),
            // not from the injected source, of which two processes under test may have twins
            origin: Uuid::new_v4(),
            clock,
        });
        let publishing = tokio::spawn(keep_publishing(Arc::clone(&hub), queue));
        let listening = tokio::spawn(keep_listening(Arc::clone(&hub)));
        Self { hub, outbox, _tasks: [publishing, listening].map(AbortOnDropHandle::new) }
    }

    /// Waits until what was rung before has left for the other processes or is given up, which may take a while if Redis
    /// hangs: for the end of a process, within what time it has.
    pub async fn flush(&self) {
        let (mark, reached) = oneshot::channel();
        if self.outbox.send(Outgoing::Mark(mark)).await.is_ok() {
            // it ends too if the task is gone, and then there is nothing to wait for
            let _ = reached.await;
        }
    }
}

#[async_trait]
impl EventBus for RedisBus {
    async fn publish(&self, topic: Topic, bells: Vec<Bell>) {
        let count = bells.len();
        let written = if self.hub.redis.is_up() { Message::write(self.hub.origin, (self.hub.clock)(), &bells).map(Some) } else { Ok(None) };
        self.hub.local.publish(topic, bells).await;
        let queued = match written {
            Ok(Some(payload)) => self.outbox.try_send(Outgoing::Bells { topic, count, payload }).is_ok(),
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "bells cannot be written");
                false
            }
        };
        if !queued {
            self.hub.owe(topic, count);
        }
    }

    async fn subscribe(&self, topic: Topic) -> Box<dyn Listener> {
        let local = self.hub.local.subscribe(topic).await;
        let mut interest = self.hub.interests.add(topic);
        // beyond it the listener goes on, and is told to look at the table when the confirmation comes
        let _ = timeout(CONFIRMATION, interest.confirmed()).await;
        interest.go_on();
        Box::new(RedisListener { local, _interest: interest })
    }
}

struct RedisListener {
    local: Box<dyn Listener>,
    _interest: Interest,
}

#[async_trait]
impl Listener for RedisListener {
    async fn next(&mut self) -> Option<Bell> {
        self.local.next().await
    }
}

impl Hub {
    /// Notes that bells did not leave this process.
    fn owe(&self, topic: Topic, bells: usize) {
        metrics::counter!("claimwright_events_dropped_total").increment(bells as u64);
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        if owed.len() < MOST_OWED {
            owed.insert(topic);
        }
    }

    /// Publishes in order, in one round trip.
    async fn send(&self, messages: &[(Topic, usize, Vec<u8>)]) -> Result<(), Failure> {
        let mut commands = pipe();
        for (topic, _, payload) in messages {
            commands.cmd("PUBLISH").arg(self.redis.name(&topic.channel())).arg(payload).ignore();
        }
        let commands = &commands;
        self.redis.run(|mut connection| async move { commands.exec_async(&mut connection).await }).await
    }

    /// Sends messages, after what is owed.
    async fn publish(&self, mut messages: Vec<(Topic, usize, Vec<u8>)>) {
        if self.redis.is_up() {
            let owed = std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner));
            let missed = owed.into_iter().filter_map(|topic| {
                let payload = Message::write(self.origin, (self.clock)(), &[Bell::Missed]).ok()?;
                Some((topic, 1, payload))
            });
            messages.splice(0..0, missed);
        }
        for messages in messages.chunks(AT_ONCE) {
            match self.send(messages).await {
                Ok(()) => {
                    let bells: usize = messages.iter().map(|(_, count, _)| count).sum();
                    metrics::counter!("claimwright_events_published_total").increment(bells as u64);
                }
                Err(failure) => {
                    // that it is down was said once
                    if !matches!(failure, Failure::Down) {
                        tracing::warn!(%failure, "bells could not be published");
                    }
                    for (topic, count, _) in messages {
                        self.owe(*topic, *count);
                    }
                }
            }
        }
    }

    /// Listens on one connection until it ends.
    async fn listen(&self, connection: PubSub) -> Result<(), Ended> {
        let (mut sink, mut messages) = connection.split();
        let mut topics = HashMap::new();
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.interests.begin_anew();
        loop {
            tokio::select! {
                message = messages.next() => {
                    let message = message.ok_or(Ended::Closed)?;
                    if let Some(topic) = topics.get(message.get_channel_name()) {
                        self.deliver(*topic, message.get_payload_bytes()).await;
                    }
                }
                () = self.interests.changed.notified() => self.tell(&mut sink, &mut topics).await?,
                // a connection that is lost without a word would otherwise be silent for ever
                _ = pings.tick() => drop(self.redis.within(sink.ping::<Value>()).await?),
            }
        }
    }

    /// Tells the server what has changed. `topics` are those that it knows, by the names of their channels.
    async fn tell(&self, sink: &mut PubSubSink, topics: &mut HashMap<String, Topic>) -> Result<(), Failure> {
        loop {
            let changes = self.interests.take(|topic| topics.contains_key(&self.channel(topic)));
            if changes.is_empty() {
                return Ok(());
            }
            if !changes.unsubscribe.is_empty() {
                let channels: Vec<String> = changes.unsubscribe.iter().map(|topic| self.channel(*topic)).collect();
                self.redis.within(sink.unsubscribe(&channels)).await?;
                topics.retain(|channel, _| !channels.contains(channel));
            }
            if !changes.subscribe.is_empty() {
                let channels: Vec<String> = changes.subscribe.iter().map(|topic| self.channel(*topic)).collect();
                self.redis.within(sink.subscribe(&channels)).await?;
                topics.extend(channels.into_iter().zip(changes.subscribe.iter().copied()));
            }
            let confirmed = [changes.subscribe, changes.kept].concat();
            for topic in self.interests.confirm(&confirmed) {
                self.local.publish(topic, vec![Bell::Missed]).await;
            }
        }
    }

    /// Rings what came from another process.
    async fn deliver(&self, topic: Topic, payload: &[u8]) {
        match Message::read(payload, self.origin) {
            Ok(None) => {}
            Ok(Some(message)) => {
                // clocks differ; what seems to come from the future has just been sent
                let lag = ((self.clock)() - message.at).to_std().unwrap_or_default();
                metrics::histogram!("claimwright_events_bus_lag_seconds").record(lag.as_secs_f64());
                self.local.publish(topic, message.bells).await;
            }
            Err(error) => {
                tracing::debug!(%error, "a message cannot be read; it may be of a newer version");
                self.local.publish(topic, vec![Bell::Missed]).await;
            }
        }
    }

    fn channel(&self, topic: Topic) -> String {
        self.redis.name(&topic.channel())
    }
}

/// Publishes what waits, and what is owed as soon as Redis is back.
async fn keep_publishing(hub: Arc<Hub>, mut queue: mpsc::Receiver<Outgoing>) {
    let mut up = hub.redis.watch();
    let mut waiting = Vec::with_capacity(AT_ONCE);
    loop {
        tokio::select! {
            taken = queue.recv_many(&mut waiting, AT_ONCE) => if taken == 0 { return },
            changed = up.changed() => if changed.is_err() { return },
        }
        let (mut messages, mut marks) = (Vec::with_capacity(waiting.len()), Vec::new());
        for outgoing in waiting.drain(..) {
            match outgoing {
                Outgoing::Bells { topic, count, payload } => messages.push((topic, count, payload)),
                Outgoing::Mark(mark) => marks.push(mark),
            }
        }
        hub.publish(messages).await;
        for mark in marks {
            // whoever waited may have given up
            let _ = mark.send(());
        }
    }
}

/// Keeps one connection for all subscriptions of the process.
async fn keep_listening(hub: Arc<Hub>) {
    let mut up = hub.redis.watch();
    let mut backoff = Backoff::new();
    let mut was_lost = false;
    loop {
        if up.wait_for(|up| *up).await.is_err() {
            return;
        }
        let ended = match hub.redis.subscriber().await {
            Ok(connection) => {
                if std::mem::take(&mut was_lost) {
                    metrics::counter!("claimwright_events_reconnects_total").increment(1);
                }
                let begun = Instant::now();
                let ended = hub.listen(connection).await;
                // one that is refused again and again is tried less and less
                if begun.elapsed() > PING_EVERY {
                    backoff = Backoff::new();
                }
                ended
            }
            Err(failure) => Err(failure.into()),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "the connection for events ended and is made anew");
        }
        was_lost = true;
        hub.interests.lose();
        hub.redis.doubt();
        backoff.pause().await;
    }
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
