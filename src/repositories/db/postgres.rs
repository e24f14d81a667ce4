//! `PostgreSQL`: opening it, and sessions that see the rows of one workspace only. Row-level security is the second lock
//! (migration 0002): a session says whose rows it is for, and the server hides all others whatever a statement says. It
//! must not know any table.

use super::Scope;
use crate::error::{Error, Result};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use std::str::FromStr;
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// Oldest version of the server that works, as `server_version_num` says it.
const OLDEST: i32 = 150_000;
/// Role without rights of its own that a superuser steps down to: nobody else can be held by row-level security.
const SERVICE_ROLE: &str = "claimwright_service";
/// Key of the lock that one process holds while it grants rights; any constant will do.
const GRANT_LOCK: i64 = 0x636c_6169_6d77;
/// Longest wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Brings the tables up to date and opens a pool of at most so many connections.
pub(super) async fn open(url: &str, connections: u32) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url).map_err(|_| Error::internal("DATABASE_URL cannot be read"))?;
    let options = super::quiet(options.application_name("claimwright"));
    let mut connection = PgConnection::connect_with(&options).await?;
    let version: i32 = sqlx::query_scalar("SELECT CAST(current_setting('server_version_num') AS int)").fetch_one(&mut connection).await?;
    if version < OLDEST {
        return Err(Error::internal(format!("PostgreSQL {} is too old; 15 or newer is needed", version / 10_000)));
    }
    migrate(&mut connection).await?;
    let steps_down = is_above_security(&mut connection).await?;
    if steps_down {
        create_service_role(&mut connection).await?;
    }
    // an answer to the farewell is not needed
    drop(connection.close().await);
    let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).test_before_acquire(false);
    let pool = pool.after_connect(move |connection, _| {
        Box::pin(async move {
            if steps_down {
                connection.execute(AssertSqlSafe(format!("SET ROLE {SERVICE_ROLE}"))).await?;
            }
            Ok(())
        })
    });
    Ok(pool.connect_with(options).await?)
}

/// Runs the migrations that are missing, one process at a time (sqlx holds an advisory lock). A role that may not create
/// tables can start once somebody else has run them. Migrations that only a newer version knows are no hindrance: in a
/// rolling deployment both versions work on the same tables.
async fn migrate(connection: &mut PgConnection) -> Result<()> {
    let is_begun: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    if is_begun {
        let applied = connection.list_applied_migrations(&MIGRATIONS.table_name).await.map_err(Error::internal)?;
        let is_applied = |version| applied.iter().any(|migration| migration.version == version);
        if MIGRATIONS.iter().all(|migration| is_applied(migration.version)) {
            return Ok(());
        }
    }
    let mut migrations = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
    migrations.set_ignore_missing(true);
    migrations.run(connection).await.map_err(Error::internal)
}

/// True if row-level security does not bind whoever is connected.
async fn is_above_security(connection: &mut PgConnection) -> Result<bool> {
    let sql = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user";
    Ok(sqlx::query_scalar(sql).fetch_one(connection).await?)
}

/// Makes the role that sessions step down to, and lets it use the tables.
async fn create_service_role(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("SELECT pg_advisory_lock($1)").bind(GRANT_LOCK).execute(&mut *connection).await?;
    // roles are of the whole server: another database of it may be creating this one at the same moment
    let create =
        format!("DO $$ BEGIN CREATE ROLE {SERVICE_ROLE} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$");
    connection.execute(AssertSqlSafe(create)).await?;
    let lacks = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relkind = 'r'
         AND NOT has_table_privilege('{SERVICE_ROLE}', oid, 'DELETE'))"
    );
    if sqlx::query_scalar(AssertSqlSafe(lacks)).fetch_one(&mut *connection).await? {
        let schema: String = sqlx::query_scalar("SELECT quote_ident(current_schema())").fetch_one(&mut *connection).await?;
        let grant = format!(
            "GRANT USAGE ON SCHEMA {schema} TO {SERVICE_ROLE};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {SERVICE_ROLE}"
        );
        connection.execute(AssertSqlSafe(grant)).await?;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(GRANT_LOCK).execute(connection).await?;
    Ok(())
}

/// The statement that says whose rows a session is for; `local` until the end of the transaction.
pub(super) fn declare(scope: Scope, local: &str) -> String {
    match scope {
        Scope::Workspace(workspace) => format!("SET {local} claimwright.workspace = '{}'", workspace.0),
        Scope::Everything => format!("SET {local} claimwright.workspace = '*'"),
    }
}

/// Connections that may have died in the pool, as all of them have when the server was restarted. Each is met once, and
/// leaves the pool by that; a failure to make a new one is final.
pub(super) struct Stale {
    left: u32,
}

impl Stale {
    pub(super) fn of(pool: &PgPool) -> Self {
        Self { left: pool.size() }
    }

    /// True if an error may be that of a connection that had died before.
    pub(super) fn may_be(&mut self, error: &sqlx::Error) -> bool {
        let is_one = self.left > 0 && is_broken(error);
        if is_one {
            self.left -= 1;
            tracing::debug!(%error, "a connection had died in the pool");
        }
        is_one
    }
}

/// True if the connection is gone, not the statement wrong: an error of the socket, or the server's farewell.
pub(super) fn is_broken(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) || has_code(error, &["57P"])
}

/// True if the same work may succeed in a moment: connections are exhausted or refused, or two transactions were in each
/// other's way.
pub(super) fn may_work_again(error: &sqlx::Error) -> bool {
    has_code(error, &["08", "53300", "40001", "40P01"])
}

/// True if the server's error is of one of these classes or codes (SQLSTATE, appendix A of its manual).
fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| codes.iter().any(|known| code.starts_with(known)))
}
