//! A reading connection of `PostgreSQL` that is kept between the statements of one operation, so that it is taken from the
//! pool, and told whose rows it may see, once for all of them. It must not outlast the operation, nor be waited for while
//! the pool has others.

use super::{Scope, postgres};
use crate::error::Result;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Shared = Arc<tokio::sync::Mutex<PoolConnection<Postgres>>>;

tokio::task_local! {
    static KEPT: Kept;
}

/// What an operation keeps, and for whose rows.
#[derive(Debug, Default)]
struct Kept(Mutex<Option<(Scope, Shared)>>);

/// A connection for reading.
#[derive(Debug)]
pub(super) enum Reader {
    /// Of its own.
    Own(PoolConnection<Postgres>),
    /// The one that is kept, for a while.
    Kept(OwnedMutexGuard<PoolConnection<Postgres>>),
}

/// Runs an operation whose statements share a connection where they come one after the other.
pub(super) async fn keeping<F: Future>(operation: F) -> F::Output {
    KEPT.scope(Kept::default(), operation).await
}

/// Lets go of what is kept. Whoever is about to wait for a connection of another kind does so, or all connections could be
/// kept by operations that wait for one.
pub(super) fn let_go() {
    // no operation, nothing kept
    drop(KEPT.try_with(|kept| kept.held().take()));
}

/// A connection for reading in a scope: the one that is kept if it is free, or else another.
pub(super) async fn acquire(pool: &PgPool, scope: Scope) -> Result<Reader> {
    let Ok(shared) = KEPT.try_with(|kept| kept.of(scope)) else { return Ok(Reader::Own(postgres::acquire(pool, scope).await?)) };
    if let Some(shared) = shared {
        return tokio::select! {
            biased;
            kept = shared.lock_owned() => Ok(Reader::Kept(kept)),
            own = postgres::acquire(pool, scope) => Ok(Reader::Own(own?)),
        };
    }
    let shared = Arc::new(tokio::sync::Mutex::new(postgres::acquire(pool, scope).await?));
    let reader = Arc::clone(&shared).lock_owned().await;
    // there is an operation, as there was a moment ago
    drop(KEPT.try_with(|kept| kept.held().replace((scope, shared))));
    Ok(Reader::Kept(reader))
}

impl Kept {
    /// What is kept for this scope. For another one it would have to be told anew, and then again for those that it was for.
    fn of(&self, scope: Scope) -> Option<Shared> {
        let mut held = self.held();
        let shared = held.as_ref().filter(|(of, _)| *of == scope).map(|(_, shared)| Arc::clone(shared));
        if shared.is_none() {
            *held = None;
        }
        shared
    }

    fn held(&self) -> MutexGuard<'_, Option<(Scope, Shared)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Reader {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Own(connection) => connection,
            Self::Kept(connection) => connection,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Own(connection) => connection,
            Self::Kept(connection) => connection,
        }
    }
}
