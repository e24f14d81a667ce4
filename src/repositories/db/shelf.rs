//! Connections of `PostgreSQL` at rest between two uses, in front of sqlx's pool, which sends a question after each use and
//! gives the connection back on another task: a round trip and a switch of threads for each request. Whoever comes next, for
//! the same rows and soon, need not even say whose rows it may see. It must not know any table.

use super::Scope;
use super::postgres::{Stale, declare};
use super::unspanned;
use crate::error::Result;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For so long after its last use a connection is taken to be alive without asking it. No server ends and comes again in
/// less, so that whoever asks after a restart is answered.
const FRESH: Duration = Duration::from_millis(50);
/// The one that rested longest goes back to the pool after this time: fewer would do.
const LONG_UNUSED: Duration = Duration::from_secs(10);
/// How long a connection stays away from the pool, which closes those that are too old.
const OUTING: Duration = Duration::from_mins(5);

/// The pool and what rests in front of it. Clones share it.
#[derive(Clone)]
pub(super) struct Shelf(Arc<Inner>);

struct Inner {
    pool: PgPool,
    /// Most that may rest; the others are for whoever asks the pool itself.
    most: usize,
    /// The last one was used last.
    resting: Mutex<Vec<Rested>>,
    /// Who waits for the pool.
    waiting: AtomicUsize,
}

/// A connection that is in no use.
struct Rested {
    connection: PoolConnection<Postgres>,
    scope: Option<Scope>,
    out_since: Instant,
    used: Instant,
}

/// A connection in use. Dropped, it goes back to the shelf if whatever was begun on it has ended, and else to the pool, which
/// tests it.
pub(super) struct Lent {
    shelf: Shelf,
    /// None only once it is given back.
    held: Option<Rested>,
    /// A transaction was begun and has not ended.
    is_open: bool,
    /// Nothing that was begun on it may still be under way.
    is_quiet: bool,
}

/// Who waits for the pool, until it is dropped.
struct Waiting<'s>(&'s AtomicUsize);

impl Shelf {
    pub(super) fn new(pool: PgPool) -> Self {
        let connections = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX);
        let inner = Inner { pool, most: connections.saturating_mul(3) / 4, resting: Mutex::default(), waiting: AtomicUsize::new(0) };
        Self(Arc::new(inner))
    }

    /// The pool behind it, for what needs a connection for long.
    pub(super) fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// How many rest now.
    pub(super) fn resting(&self) -> usize {
        self.held().len()
    }

    /// A connection for reading in a scope.
    pub(super) async fn read(&self, scope: Scope) -> Result<Lent> {
        match self.rested(scope) {
            Some(lent) if lent.is_ready_for(scope) => Ok(lent),
            rested => self.ready(rested, declare(scope, ""), |lent| lent.keeps(scope)).await,
        }
    }

    /// Begins a transaction in a scope, in one round trip.
    pub(super) async fn begin(&self, scope: Scope) -> Result<Lent> {
        let begin = format!("BEGIN; {}", declare(scope, "LOCAL"));
        self.ready(self.rested(scope), begin, |lent| lent.is_open = true).await
    }

    /// A connection that a statement makes ready, which also shows whether it is alive.
    async fn ready(&self, mut rested: Option<Lent>, statement: String, made_ready: impl Fn(&mut Lent)) -> Result<Lent> {
        let mut stale = Stale::of(&self.0.pool);
        loop {
            let mut lent = match rested.take() {
                Some(lent) => lent,
                // boxed, because it is large and rare: it may open a connection
                None => Box::pin(self.acquire()).await?,
            };
            // before it is sent: it may take effect and its answer be lost
            made_ready(&mut lent);
            lent.begun();
            match unspanned(lent.execute(AssertSqlSafe(statement.clone()))).await {
                Err(error) if stale.may_be(&error) => lent.is_open = false,
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    lent.ended();
                    return Ok(lent);
                }
            }
        }
    }

    /// What rests, best for the same rows.
    fn rested(&self, scope: Scope) -> Option<Lent> {
        let mut resting = self.held();
        let place = resting.iter().rposition(|rested| rested.scope == Some(scope)).or_else(|| resting.len().checked_sub(1))?;
        let rested = resting.remove(place);
        drop(resting);
        Some(self.lend(rested))
    }

    async fn acquire(&self) -> Result<Lent> {
        let _waiting = Waiting::new(&self.0.waiting);
        // whoever gives back from now on sees that somebody waits; what was given back before is seen here
        let rested = self.held().pop();
        let rested = match rested {
            Some(rested) => rested,
            None => Rested { connection: self.0.pool.acquire().await?, scope: None, out_since: Instant::now(), used: Instant::now() },
        };
        Ok(self.lend(rested))
    }

    fn lend(&self, rested: Rested) -> Lent {
        Lent { shelf: self.clone(), held: Some(rested), is_open: false, is_quiet: true }
    }

    /// Takes a connection back, of which nothing is under way.
    fn put(&self, mut rested: Rested) {
        let now = Instant::now();
        rested.used = now;
        let is_for_the_pool = self.0.pool.is_closed() || now.duration_since(rested.out_since) > OUTING;
        let mut resting = self.held();
        if !is_for_the_pool && resting.len() < self.0.most {
            resting.push(rested);
        }
        let has_waiting = self.0.waiting.load(Ordering::SeqCst) > 0 || self.0.pool.is_closed();
        let is_unused = resting.first().is_some_and(|first| now.duration_since(first.used) > LONG_UNUSED);
        let back = if has_waiting || is_unused { (!resting.is_empty()).then(|| resting.remove(0)) } else { None };
        drop(resting);
        // outside of the lock: the pool starts a task for it
        drop(back);
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        let closing = self.0.pool.close();
        let resting = std::mem::take(&mut *self.held());
        drop(resting);
        closing.await;
    }

    fn held(&self) -> MutexGuard<'_, Vec<Rested>> {
        self.0.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'s> Waiting<'s> {
    fn new(count: &'s AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lent {
    /// Something is begun on it, of which it cannot tell by itself when it ends.
    pub(super) const fn begun(&mut self) {
        self.is_quiet = false;
    }

    /// What was begun last has ended.
    pub(super) const fn ended(&mut self) {
        self.is_quiet = true;
    }

    /// Makes the changes of a transaction last, if it is one.
    pub(super) async fn commit(mut self) -> Result<()> {
        if self.is_open {
            self.begun();
            unspanned(self.execute("COMMIT")).await?;
            self.is_open = false;
            self.ended();
        }
        Ok(())
    }

    fn is_ready_for(&self, scope: Scope) -> bool {
        self.held.as_ref().is_some_and(|held| held.scope == Some(scope) && held.used.elapsed() < FRESH)
    }

    const fn keeps(&mut self, scope: Scope) {
        if let Some(held) = &mut self.held {
            held.scope = Some(scope);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        if !self.is_open {
            if self.is_quiet {
                self.shelf.put(held);
            }
            return;
        }
        // without a runtime the process ends, and the server rolls back when the socket is closed
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let home = self.shelf.clone();
        runtime.spawn(async move {
            match held.connection.execute("ROLLBACK").await {
                Ok(_) => home.put(held),
                Err(error) => tracing::debug!(%error, "a transaction was not rolled back; its connection is given up"),
            }
        });
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.held {
            Some(held) => &held.connection,
            None => unreachable!("it is given back when it is dropped"),
        }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.held {
            Some(held) => &mut held.connection,
            None => unreachable!("it is given back when it is dropped"),
        }
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("resting", &self.resting()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("is_open", &self.is_open).field("is_quiet", &self.is_quiet).finish_non_exhaustive()
    }
}
