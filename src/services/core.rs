//! What every service stands on: the database, the bus, the clock and the source of ids; and the unit of work that
//! commits rows, jobs and events as one and rings the bells afterwards.

use super::drafts::desk::Desk;
use super::persisted::Registered;
use crate::adapters::ai::Drafter;
use crate::adapters::cache::Cache;
use crate::adapters::events::{Bell, EventBus, Topic};
use crate::adapters::rate_limit::{Quota, RateLimiter};
use crate::adapters::storage::ObjectStore;
use crate::domain::events::BatchEvent;
use crate::domain::ids::{BatchId, WorkspaceId};
use crate::error::{Error, Result};
use crate::repositories::db::{Db, Scope, Tx};
use crate::repositories::{events, jobs};
use crate::trace;
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The lane of the queue that all jobs of the product wait in.
pub const LANE: &str = "work";

/// The present moment, injected so that tests can choose it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
/// A source of new ids, injected so that tests can choose them.
pub type IdSource = Arc<dyn Fn() -> Uuid + Send + Sync>;

/// A quota and what keeps it.
#[derive(Debug, Clone)]
pub struct Limit {
    /// How much is allowed.
    pub quota: Quota,
    /// What counts.
    pub limiter: Arc<dyn RateLimiter>,
}

/// Limits by who calls.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For each person.
    pub person: Limit,
    /// For each address of callers without a token.
    pub address: Limit,
}

/// What every service stands on. Clones share it.
#[derive(Clone)]
pub struct Core(Arc<Parts>);

/// The parts of a [`Core`].
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "of a clock and a bus there is nothing to say")]
pub struct Parts {
    /// The database.
    pub db: Db,
    /// The bus.
    pub bus: Arc<dyn EventBus>,
    /// Object storage.
    pub store: Arc<dyn ObjectStore>,
    /// What is shared and can be had again.
    pub cache: Arc<dyn Cache>,
    /// The documents that alone may run; any may if absent.
    pub registered: Option<Arc<Registered>>,
    /// Rate limits, if there are any.
    pub limits: Option<Limits>,
    /// What writes sections, the default one first.
    pub drafters: Vec<Arc<dyn Drafter>>,
    /// What is being written in this process.
    pub desk: Arc<Desk>,
    /// Whether a section that breaks a rule is written once more before a person has to see it.
    pub redraft: bool,
    /// The clock.
    pub clock: Clock,
    /// New ids.
    pub ids: IdSource,
    /// Wakes the workers of this process.
    pub wake: Arc<Notify>,
    /// Cancelled when the process shuts down.
    pub shutdown: CancellationToken,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

impl From<Parts> for Core {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for Core {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Core {
    /// The present moment, in the microseconds that both databases keep.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let now = (self.clock)();
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    /// A new id.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        (self.ids)()
    }

    /// A number from 0 to 1, to spread what would otherwise happen together.
    #[must_use]
    pub fn dice(&self) -> f64 {
        f64::from(self.new_id().as_bytes()[15]) / 255.0
    }

    /// Begins a unit of work on the rows of a workspace, or for upkeep on those of all.
    ///
    /// # Errors
    /// `UNAVAILABLE` if no connection can be had.
    pub async fn begin(&self, scope: impl Into<Scope>) -> Result<Unit> {
        let tx = self.db.begin(scope).await?;
        Ok(Unit { tx, now: self.now(), bells: HashMap::new(), wake: false, core: self.clone() })
    }

    /// The drafter of a provider, or the default one.
    ///
    /// # Errors
    /// `INTERNAL` if there is none of this name.
    pub fn drafter(&self, provider: Option<&str>) -> Result<&Arc<dyn Drafter>> {
        let found = self.drafters.iter().find(|drafter| provider.is_none_or(|name| drafter.profile().provider == name));
        found.ok_or_else(|| Error::internal(format!("no provider {provider:?}")))
    }
}

/// A unit of work: one transaction, and the bells to ring once it is committed. Dropped, nothing has happened.
#[derive(Debug)]
pub struct Unit {
    /// The transaction.
    pub tx: Tx,
    /// The moment that everything in it is stamped with.
    pub now: DateTime<Utc>,
    bells: HashMap<Topic, Vec<Bell>>,
    wake: bool,
    core: Core,
}

impl Unit {
    /// Appends events to a batch's stream; they are published after the commit.
    ///
    /// # Errors
    /// As the database says.
    pub async fn append(&mut self, workspace: WorkspaceId, batch: BatchId, events: Vec<BatchEvent>) -> Result<()> {
        let stored = events::append_in(&mut self.tx, workspace, batch, events, self.now).await?;
        for event in stored {
            self.ring(Topic::Batch(batch), Bell::Event(Arc::new(event)));
        }
        Ok(())
    }

    /// Queues jobs; workers are woken after the commit.
    ///
    /// # Errors
    /// As the database says.
    pub async fn enqueue<P: serde::Serialize + Sync>(
        &mut self,
        workspace: WorkspaceId,
        run: Option<crate::domain::ids::RunId>,
        new: &[jobs::NewJob<P>],
    ) -> Result<()> {
        self.wake = true;
        jobs::enqueue_in(&mut self.tx, LANE, workspace, run, new, trace::current().as_deref(), self.now).await
    }

    /// Makes up to so many jobs of a run ready that were put aside; workers are woken after the commit.
    ///
    /// # Errors
    /// As the database says.
    pub async fn unpark(&mut self, run: crate::domain::ids::RunId, limit: i64) -> Result<()> {
        self.wake |= jobs::unpark_in(&mut self.tx, LANE, run, limit).await?;
        Ok(())
    }

    /// Rings a bell after the commit.
    pub fn ring(&mut self, topic: Topic, bell: Bell) {
        self.bells.entry(topic).or_default().push(bell);
    }

    /// Commits, then rings.
    ///
    /// # Errors
    /// If the database refuses; then nothing has happened.
    pub async fn commit(self) -> Result<()> {
        self.tx.commit().await?;
        if self.wake {
            self.core.wake.notify_waiters();
        }
        for (topic, bells) in self.bells {
            self.core.bus.publish(topic, bells).await;
        }
        Ok(())
    }
}
