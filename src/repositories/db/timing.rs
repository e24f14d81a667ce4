//! How long the database takes: the time of every round trip, the wait for a connection, the use of the pools. It must not
//! know what a statement says.

use super::{Db, Pools};
use metrics::{Histogram, gauge, histogram};
use sqlx::pool::Pool;
use std::time::Instant;

/// Measures until it is dropped, however that comes about.
#[must_use]
pub struct Timed {
    histogram: Histogram,
    started: Instant,
}

impl Timed {
    /// A statement, for `on!` and what is like it.
    pub fn statement() -> Self {
        Self::until_dropped(histogram!("claimwright_sql_duration_seconds", "step" => "statement"))
    }

    /// The end of a transaction.
    pub(super) fn commit() -> Self {
        Self::until_dropped(histogram!("claimwright_sql_duration_seconds", "step" => "commit"))
    }

    /// The wait for a connection, with the round trip that makes it ready.
    pub(super) fn acquire(access: &'static str) -> Self {
        Self::until_dropped(histogram!("claimwright_database_acquire_duration_seconds", "access" => access))
    }

    fn until_dropped(histogram: Histogram) -> Self {
        Self { histogram, started: Instant::now() }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.histogram.record(self.started.elapsed());
    }
}

impl Db {
    /// Sets the gauges of the pools to what they are now.
    pub fn observe_pools(&self) {
        match &self.pools {
            Pools::Postgres(connections) => observe("main", connections.pool(), connections.resting()),
            Pools::Sqlite { read, write } => {
                observe("read", read, 0);
                observe("write", write, 0);
            }
        }
    }
}

/// Of a pool and what rests in front of it.
fn observe<D: sqlx::Database>(name: &'static str, pool: &Pool<D>, resting: usize) {
    let idle = u32::try_from(pool.num_idle() + resting).unwrap_or(u32::MAX);
    let used = pool.size().saturating_sub(idle);
    gauge!("claimwright_database_connections", "pool" => name, "state" => "idle").set(f64::from(idle));
    gauge!("claimwright_database_connections", "pool" => name, "state" => "used").set(f64::from(used));
    gauge!("claimwright_database_connections_max", "pool" => name).set(f64::from(pool.options().get_max_connections()));
}
