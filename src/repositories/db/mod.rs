//! Two databases behind one door: pools, sessions (`Tx`), and the little that lets one SQL text run on both.
//! Here and in its siblings is all the SQL of the product; nothing here decides anything.

mod ids;
mod narrow;
mod postgres;
mod shelf;
mod sql;
mod timing;
mod unspanned;

pub use ids::{IdList, id_list};
pub use narrow::{Narrow, Placed, Word};
pub use sql::{Arg, Sql};
pub use timing::Timed;
pub use unspanned::unspanned;

use crate::domain::ids::WorkspaceId;
use crate::error::{Error, Result};
use log::LevelFilter;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, FromRow, PgConnection, PgPool, Sqlite, SqliteConnection, SqlitePool, Transaction};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/sqlite");

/// Pools of one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pools: Pools,
    statements: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
enum Pools {
    Postgres(shelf::Shelf),
    /// One writer and several read-only readers: `SQLite` has one writer at a time anyway, and waiting for it in a pool
    /// is fair where waiting for its lock is not.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
    },
}

/// Whose rows a session may touch. Every statement filters by workspace anyway; on `PostgreSQL` row-level security holds
/// even one that forgets to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Rows of one workspace.
    Workspace(WorkspaceId),
    /// Rows of all: for the queue, for upkeep, and for finding out whose a person is.
    Everything,
}

impl From<WorkspaceId> for Scope {
    fn from(workspace: WorkspaceId) -> Self {
        Self::Workspace(workspace)
    }
}

/// A session: a transaction (from [`Db::begin`]) or a plain reading connection (from [`Db::read`]). Dropped without
/// [`Tx::commit`], a transaction is rolled back.
#[derive(Debug)]
pub struct Tx {
    session: Session,
    statements: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Session {
    Postgres(shelf::Lent),
    Sqlite(Transaction<'static, Sqlite>),
    SqliteRead(PoolConnection<Sqlite>),
}

/// The connection of a session, by database.
#[derive(Debug)]
pub enum Conn<'a> {
    /// `PostgreSQL`.
    Postgres(&'a mut PgConnection),
    /// `SQLite`.
    Sqlite(&'a mut SqliteConnection),
}

/// Expands one query body for both drivers, and times it: `on!(tx, c => sqlx::query(SQL).bind(id).execute(c).await?)`.
#[macro_export]
macro_rules! on {
    ($tx:expr, $c:ident => $body:expr) => {
        match $tx.conn() {
            $crate::repositories::db::Conn::Postgres($c) => {
                let _until_it_ends = $crate::repositories::db::Timed::statement();
                let value = $body;
                $tx.ended();
                value
            }
            $crate::repositories::db::Conn::Sqlite($c) => {
                let _until_it_ends = $crate::repositories::db::Timed::statement();
                $body
            }
        }
    };
}

impl Db {
    /// Opens a `PostgreSQL` database and brings its tables up to date. At most so many connections are used at once.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it cannot be reached; `INTERNAL` if it is too old or a migration fails.
    pub async fn open(url: &str, connections: u32) -> Result<Self> {
        Ok(Self { pools: Pools::Postgres(shelf::Shelf::new(postgres::open(url, connections).await?)), statements: Arc::default() })
    }

    /// Opens an `SQLite` file.
    ///
    /// # Errors
    /// If the file cannot be opened or a migration fails.
    pub async fn open_file(path: &Path) -> Result<Self> {
        let pools = Self::open_sqlite(SqliteConnectOptions::new().filename(path)).await?;
        Ok(Self { pools, statements: Arc::default() })
    }

    async fn open_sqlite(options: SqliteConnectOptions) -> Result<Pools> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            .statement_cache_capacity(256)
            .pragma("cache_size", "-16000")
            .pragma("temp_store", "memory");
        let options = quiet(options);
        let lasting = || SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None);
        let write = lasting().max_connections(1).acquire_timeout(Duration::from_secs(30)).connect_with(options.clone()).await?;
        SQLITE_MIGRATIONS.run(&write).await.map_err(Error::internal)?;
        let read = lasting().max_connections(4).connect_with(options.read_only(true).create_if_missing(false)).await?;
        Ok(Pools::Sqlite { read, write })
    }

    /// Begins a transaction that may write. Only services do (and `jobs.rs` for claim, beat and settle).
    ///
    /// # Errors
    /// `UNAVAILABLE` if no connection can be had.
    pub async fn begin(&self, scope: impl Into<Scope>) -> Result<Tx> {
        let _until_it_is_ready = Timed::acquire("write");
        let session = match &self.pools {
            Pools::Postgres(connections) => Session::Postgres(connections.begin(scope.into()).await?),
            // a deferred BEGIN that reads and then writes would fail with SQLITE_BUSY_SNAPSHOT, whatever the time-out
            Pools::Sqlite { write, .. } => Session::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
        };
        Ok(Tx { session, statements: Arc::clone(&self.statements) })
    }

    /// A session for one statement that writes: on `PostgreSQL` a statement is a transaction by itself, which saves two round
    /// trips and a commit of its own. [`Tx::commit`] it all the same; a second statement would not be taken back with it.
    ///
    /// # Errors
    /// `UNAVAILABLE` if no connection can be had.
    pub async fn begin_single(&self, scope: impl Into<Scope>) -> Result<Tx> {
        match &self.pools {
            Pools::Postgres(_) => self.read(scope).await,
            Pools::Sqlite { .. } => self.begin(scope).await,
        }
    }

    /// A connection for reading: no transaction, each statement sees what is committed when it runs.
    ///
    /// # Errors
    /// `UNAVAILABLE` if no connection can be had.
    pub async fn read(&self, scope: impl Into<Scope>) -> Result<Tx> {
        let _until_it_is_ready = Timed::acquire("read");
        let session = match &self.pools {
            Pools::Postgres(connections) => Session::Postgres(connections.read(scope.into()).await?),
            Pools::Sqlite { read, .. } => Session::SqliteRead(read.acquire().await?),
        };
        Ok(Tx { session, statements: Arc::clone(&self.statements) })
    }

    /// Asks the database a trivial question.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it does not answer.
    pub async fn ping(&self) -> Result<()> {
        let mut tx = self.read(Scope::Everything).await?;
        let _: i32 = on!(tx, c => sqlx::query_scalar("SELECT 1").fetch_one(c).await?);
        Ok(())
    }

    /// Statements that were sent so far: tests see by it that reads grow with depth, not with rows.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// The pool of `PostgreSQL`, for its notifications; none on `SQLite`.
    #[must_use]
    pub fn postgres(&self) -> Option<&PgPool> {
        match &self.pools {
            Pools::Postgres(connections) => Some(connections.pool()),
            Pools::Sqlite { .. } => None,
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres(connections) => connections.close().await,
            Pools::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

impl Tx {
    /// The connection, for `on!`; each call counts as a statement.
    pub fn conn(&mut self) -> Conn<'_> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        match &mut self.session {
            Session::Postgres(lent) => {
                lent.begun();
                Conn::Postgres(lent)
            }
            Session::Sqlite(tx) => Conn::Sqlite(tx),
            Session::SqliteRead(connection) => Conn::Sqlite(connection),
        }
    }

    /// The statement for which the connection was asked last has ended well. Without that the connection is tested before it
    /// is used again: whoever is interrupted may leave it with an answer under way.
    pub const fn ended(&mut self) {
        if let Session::Postgres(lent) = &mut self.session {
            lent.ended();
        }
    }

    /// Makes the changes last.
    ///
    /// # Errors
    /// If the database refuses or is gone; then nothing was changed.
    pub async fn commit(self) -> Result<()> {
        let _until_it_lasts = Timed::commit();
        match self.session {
            Session::Postgres(lent) => lent.commit().await?,
            Session::Sqlite(tx) => tx.commit().await?,
            Session::SqliteRead(_) => {}
        }
        Ok(())
    }

    /// The text for this database, where the dialects truly differ.
    #[must_use]
    pub const fn sql<'t>(&self, postgres: &'t str, sqlite: &'t str) -> &'t str {
        if self.is_postgres() { postgres } else { sqlite }
    }

    /// True on `PostgreSQL`.
    #[must_use]
    pub const fn is_postgres(&self) -> bool {
        matches!(self.session, Session::Postgres(_))
    }

    /// The condition that a column's value is in a list of ids, bound by [`id_list`] at the place `$n`. Within a sub-select
    /// `PostgreSQL` does not look at the ids when it plans; else it would plan such a statement anew each time.
    #[must_use]
    pub fn in_ids(&self, column: &str, n: usize) -> String {
        if self.is_postgres() {
            format!("{column} = ANY(ARRAY(SELECT unnest(CAST(${n} AS uuid[]))))")
        } else {
            format!("{column} IN (SELECT unhex(value) FROM json_each(${n}))")
        }
    }

    /// The condition that a column's value is in a list of texts, bound as a JSON text at the place `$n`.
    #[must_use]
    pub fn in_texts(&self, column: &str, n: usize) -> String {
        if self.is_postgres() {
            format!("{column} = ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(${n} AS jsonb))))")
        } else {
            format!("{column} IN (SELECT value FROM json_each(${n}))")
        }
    }

    /// The lock of a row until the end of the transaction; `SQLite` has one writer and needs none.
    #[must_use]
    pub const fn for_update(&self) -> &'static str {
        if self.is_postgres() { " FOR UPDATE" } else { "" }
    }
}

/// Statements are logged where everything is. Slow ones are no warning: a busy machine makes many, and they are in the metrics.
fn quiet<O: ConnectOptions>(options: O) -> O {
    options.log_statements(LevelFilter::Debug).log_slow_statements(LevelFilter::Off, Duration::MAX)
}

/// A row that both drivers can read.
pub trait BothRow: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}
impl<T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin> BothRow for T {}

/// A text that may be looked for: `PostgreSQL` has no NUL in texts, so one that has it is replaced and finds nothing.
#[must_use]
pub fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}

/// A text for `LIKE '%' || … || '%' ESCAPE '\'`: its own wildcards are taken literally.
#[must_use]
pub fn like_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl From<sqlx::Error> for Error {
    fn from(cause: sqlx::Error) -> Self {
        let is_away = match &cause {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => true,
            other => postgres::is_broken(other) || postgres::may_work_again(other),
        };
        if is_away { Self::unavailable("The database cannot be reached at the moment. Try again.", cause) } else { Self::internal(cause) }
    }
}

/// True if a statement failed because a unique index named so already has the value.
#[must_use]
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
