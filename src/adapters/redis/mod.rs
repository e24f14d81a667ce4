//! The way to Redis, for every port that has a form over it: a pool of connections, a connection for subscriptions, and
//! whether Redis is there. Who asks a Redis that is known to be down is refused at once; a task in the background finds
//! out when it is back. It must not know what is kept or published there.

#[cfg(test)]
pub(super) mod server_for_tests;

use crate::error::{Error, Result};
use deadpool_redis::redis::aio::PubSub;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind, cmd};
use deadpool_redis::{BuildError, Connection, Manager, Pool, PoolError, QueueMode, Runtime, Timeouts};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Longest that anybody waits for an answer, a connection included.
const PATIENCE: Duration = Duration::from_millis(500);
/// Connections at most. They are held for a round trip each.
const MOST_CONNECTIONS: usize = 16;
/// How often Redis is asked whether it is there while nobody doubts it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// First and longest pause between attempts to reach it again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A Redis server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    _keeper: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    pool: Pool,
    prefix: String,
    patience: Duration,
    up: watch::Sender<bool>,
    /// Somebody has seen a sign that it is not up.
    doubted: Notify,
}

/// Why Redis did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is known to be down; nothing was tried.
    #[error("Redis is down")]
    Down,
    /// No answer came in time.
    #[error("Redis does not answer in time")]
    Slow,
    /// There is no connection to ask on.
    #[error("no connection to Redis: {0}")]
    Connection(#[source] PoolError),
    /// The connection broke, or the answer is a refusal.
    #[error("Redis: {0}")]
    Answer(#[from] RedisError),
}

impl Failure {
    /// True if it says something of Redis as a whole and not of what was asked.
    fn is_loss(&self) -> bool {
        match self {
            Self::Down | Self::Slow => true,
            // all connections are in use: those who use them find out more
            Self::Connection(error) => !matches!(error, PoolError::Timeout(_) | PoolError::Closed),
            // a primary that has become a replica goes on answering; its name may lead to the new one by now
            Self::Answer(error) => {
                error.is_unrecoverable_error()
                    || matches!(error.kind(), ErrorKind::Io | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
            }
        }
    }
}

/// Pauses that double, each somewhere between half and the whole of its length, so that many processes do not come at once.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) const fn new() -> Self {
        Self(PAUSES.0)
    }

    pub(super) async fn pause(&mut self) {
        let dice = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
        tokio::time::sleep(self.0.mul_f64(0.5 + dice / 2.0)).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }
}

impl Redis {
    /// Looks for Redis at an URL. One that is not there yet is only warned about: everything that uses it can do without
    /// for a while. Keys and channels begin with the prefix and a colon.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the URL cannot be one of a Redis.
    pub async fn open(url: &str, prefix: &str) -> Result<Self> {
        Self::open_with(url, prefix, PATIENCE).await
    }

    pub(super) async fn open_with(url: &str, prefix: &str, patience: Duration) -> Result<Self> {
        let unusable = |cause: RedisError| Error::unavailable("REDIS_URL cannot be used.", cause);
        // small writes that wait for answers: without it each may be held back for 40 ms
        let tcp = TcpSettings::default().set_nodelay(true);
        let place = url.into_connection_info().map_err(unusable)?.set_tcp_settings(tcp);
        let times = AsyncConnectionConfig::new().set_connection_timeout(Some(patience)).set_response_timeout(Some(patience));
        let client = Client::open(place.clone()).map_err(unusable)?;
        let pool = Pool::builder(Manager::new_with_config(place, times).map_err(unusable)?)
            .max_size(MOST_CONNECTIONS)
            .queue_mode(QueueMode::Lifo)
            // shorter than the whole, so that a full pool is not taken for a Redis that is down
            .timeouts(Timeouts { wait: Some(patience / 2), create: None, recycle: None })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|cause: BuildError| Error::internal(cause))?;
        let shared =
            Arc::new(Shared { client, pool, prefix: prefix.to_owned(), patience, up: watch::Sender::new(true), doubted: Notify::new() });
        metrics::gauge!("claimwright_redis_up").set(1.0);
        // what comes of it is logged where it is noted
        let _ = shared.probe().await;
        let keeper = Arc::new(AbortOnDropHandle::new(tokio::spawn(keep_looking(Arc::clone(&shared)))));
        Ok(Self { shared, _keeper: keeper })
    }

    /// Asks Redis whether it is there, for the check of readiness; does not wait if it is known to be down.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it does not answer.
    pub async fn check(&self) -> Result<()> {
        self.run(ping).await.map_err(|cause| Error::unavailable("Redis does not answer.", cause))
    }

    /// Does something on a connection, within the time that anybody may wait.
    ///
    /// # Errors
    /// See [`Failure`]; at once if Redis is known to be down.
    pub(super) async fn run<T, F, Fut>(&self, command: F) -> Result<T, Failure>
    where
        F: FnOnce(Connection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        if !self.is_up() {
            return Err(Failure::Down);
        }
        let answer = self.shared.attempt(command).await;
        if let Err(failure) = &answer
            && failure.is_loss()
        {
            self.shared.note_down(failure);
            self.doubt();
        }
        answer
    }

    /// A connection of its own for subscriptions.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn subscriber(&self) -> Result<PubSub, Failure> {
        self.within(self.shared.client.get_async_pubsub()).await
    }

    /// Bounds a wait for Redis.
    ///
    /// # Errors
    /// Slow if the time is up; otherwise as the future says.
    pub(super) async fn within<T>(&self, answer: impl Future<Output = RedisResult<T>> + Send) -> Result<T, Failure> {
        Ok(timeout(self.shared.patience, answer).await.map_err(|_| Failure::Slow)??)
    }

    /// True unless it is known to be down.
    pub(super) fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    /// Tells when it goes down and comes back.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.shared.up.subscribe()
    }

    /// Has it looked at now, because something says that it may be down.
    pub(super) fn doubt(&self) {
        self.shared.doubted.notify_one();
    }

    /// The whole name of a key or a channel.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.shared.prefix)
    }
}

impl Shared {
    async fn attempt<T, F, Fut>(&self, command: F) -> Result<T, Failure>
    where
        F: FnOnce(Connection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        let attempt = async {
            let connection = self.pool.get().await.map_err(Failure::Connection)?;
            command(connection).await.map_err(Failure::Answer)
        };
        timeout(self.patience, attempt).await.unwrap_or(Err(Failure::Slow))
    }

    /// Asks whether it is there, and notes the answer. One that says neither, such as that it is still loading, changes
    /// nothing.
    async fn probe(&self) -> Result<(), Failure> {
        let answer = self.attempt(ping).await;
        match &answer {
            Ok(()) => self.note_up(),
            Err(failure) if failure.is_loss() => self.note_down(failure),
            Err(failure) => tracing::debug!(%failure, "Redis may not be itself"),
        }
        answer
    }

    fn note_up(&self) {
        if !self.up.send_replace(true) {
            metrics::gauge!("claimwright_redis_up").set(1.0);
            metrics::counter!("claimwright_redis_reconnects_total").increment(1);
            // as loud as its going, which is in the log at the default level
            tracing::warn!("Redis is back");
        }
    }

    fn note_down(&self, failure: &Failure) {
        if self.up.send_replace(false) {
            metrics::gauge!("claimwright_redis_up").set(0.0);
            tracing::warn!(%failure, "Redis is down; events, limits and caches stay in the process until it is back");
            // nobody shall wait for what these were connected to
            drop(self.pool.retain(|_, _| false));
        }
    }
}

async fn ping(mut connection: Connection) -> RedisResult<()> {
    cmd("PING").query_async(&mut connection).await
}

/// Looks now and then, sooner when somebody doubts, and tirelessly while it is down.
async fn keep_looking(shared: Arc<Shared>) {
    loop {
        if *shared.up.borrow() {
            // either way it is time to look
            let _ = timeout(LOOK_EVERY, shared.doubted.notified()).await;
        }
        let mut backoff = Backoff::new();
        while shared.probe().await.is_err() {
            backoff.pause().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::server_for_tests::RedisServer;
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn until(redis: &Redis, wanted: bool) {
        timeout(LONG, redis.watch().wait_for(|up| *up == wanted)).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redis_that_hangs_is_given_up_and_found_again() {
        let Some(server) = RedisServer::start().await else { return };
        let redis = Redis::open(&server.url(), "test").await.unwrap();
        until(&redis, true).await;
        server.signal("STOP");
        assert!(redis.check().await.is_err());
        until(&redis, false).await;
        assert!(matches!(redis.run(ping).await, Err(Failure::Down)), "nobody waits for it a second time");
        server.signal("CONT");
        until(&redis, true).await;
        redis.check().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redis_that_is_not_there_yet_is_found_when_it_comes_without_anybody_asking() {
        let Some(mut server) = RedisServer::start().await else { return };
        server.kill();
        let redis = Redis::open(&server.url(), "test").await.unwrap();
        assert!(!redis.is_up());
        assert!(server.restart().await);
        until(&redis, true).await;
        server.kill();
        until(&redis, false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refusal_is_an_answer_and_a_full_pool_is_no_loss() {
        let Some(server) = RedisServer::start().await else { return };
        let redis = Redis::open_with(&server.url(), "test", LONG).await.unwrap();
        let refused = redis.run(|mut connection| async move { cmd("NONSENSE").exec_async(&mut connection).await }).await;
        assert!(matches!(refused, Err(Failure::Answer(_))), "{refused:?}");
        assert!(redis.is_up());
        assert!(!Failure::Connection(PoolError::Timeout(deadpool_redis::TimeoutType::Wait)).is_loss());
        let unusable = Redis::open("redis://:secret@", "test").await.map(|_| ()).unwrap_err();
        assert!(!format!("{unusable:?}").contains("secret"), "{unusable:?}");
    }
}
