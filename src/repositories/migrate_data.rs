//! The way of all rows from the embedded database to `PostgreSQL`. It knows every table by name and none by its meaning;
//! columns and their types are asked of the two databases.

use super::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::on;
use futures::TryStreamExt;
use sqlx::AssertSqlSafe;

/// Every table whose rows move, parents before their children. A test compares it with the schema.
pub const TABLES: &[&str] = &[
    "workspaces",
    "users",
    "person_workspaces",
    "templates",
    "template_versions",
    "batches",
    "imports",
    "import_issues",
    "projects",
    "project_facts",
    "project_reports",
    "sections",
    "section_revisions",
    "runs",
    "run_projects",
    "attempts",
    "batch_events",
    "exports",
    "uploads",
    "idempotency_keys",
    "audit_entries",
    "job_queue",
];
/// Tables that are about the processes of one installation, not about data: who is alive, and when upkeep is due.
pub const LEFT_BEHIND: &[&str] = &["job_workers", "job_schedules"];

/// Rows and bytes that are sent in one statement.
const PORTION: (usize, usize) = (500, 4 << 20);

/// Keeps other processes from making a workspace in the target until the end of the transaction; false if there is one.
///
/// # Errors
/// As the database says.
pub async fn reserve_in(target: &mut Tx) -> Result<bool> {
    on!(target, c => sqlx::query("LOCK TABLE workspaces IN EXCLUSIVE MODE").execute(c).await.map(drop)?);
    Ok(!on!(target, c => sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM workspaces)").fetch_one(c).await?))
}

/// Number of a table's rows.
///
/// # Errors
/// As the database says.
pub async fn count(tx: &mut Tx, table: &str) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM {table}");
    Ok(on!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(c).await?))
}

/// Copies all rows of a table from `SQLite` to `PostgreSQL`. Claims of jobs are left behind: whoever held them is gone.
///
/// # Errors
/// INTERNAL if the two databases do not have the same columns; as they say.
pub async fn copy_in(source: &mut Tx, target: &mut Tx, table: &str) -> Result<()> {
    let columns: Vec<(String, String)> = on!(target, c => sqlx::query_as(
        "SELECT CAST(column_name AS text), CAST(udt_name AS text) FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = $1 ORDER BY column_name")
        .bind(table).fetch_all(c).await?);
    let mut theirs: Vec<String> =
        on!(source, c => sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table).fetch_all(c).await?);
    theirs.sort_unstable();
    if columns.is_empty() || !columns.iter().map(|(name, _)| name).eq(&theirs) {
        return Err(Error::internal(format!("the two databases do not have the same columns in {table}")));
    }
    let pairs: Vec<String> = columns.iter().map(|(name, kind)| format!("'{name}', {}", as_json(table, name, kind))).collect();
    // numbers of columns are limited to half the arguments of a function, 100 or more
    let select = format!("SELECT json_object({}) FROM {table} ORDER BY rowid", pairs.join(", "));
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let names = names.join(", ");
    let insert =
        format!("INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(CAST(NULL AS {table}), CAST($1 AS json))");

    let Conn::Sqlite(connection) = source.conn() else { return Err(Error::internal("the source is not an embedded database")) };
    let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(select)).fetch(connection);
    let (mut portion, mut count) = (String::new(), 0);
    loop {
        let row = rows.try_next().await?;
        if let Some(row) = &row {
            portion.push(if count == 0 { '[' } else { ',' });
            portion.push_str(row);
            count += 1;
        }
        if count > 0 && (row.is_none() || count >= PORTION.0 || portion.len() >= PORTION.1) {
            portion.push(']');
            let full = std::mem::take(&mut portion);
            on!(target, c => sqlx::query(AssertSqlSafe(insert.clone())).bind(full).execute(c).await.map(drop)?);
            count = 0;
        }
        if row.is_none() {
            return Ok(());
        }
    }
}

/// A column of `SQLite` as a part of JSON that `PostgreSQL` reads as its own type.
fn as_json(table: &str, name: &str, kind: &str) -> String {
    match (table, name, kind) {
        ("job_queue", "claimed_by", _) => "NULL".into(),
        ("job_queue", "state", _) => "iif(state = 2, 0, state)".into(),
        (_, _, "uuid") => format!("iif(\"{name}\" IS NULL, NULL, lower(hex(\"{name}\")))"),
        (_, _, "jsonb") => format!("json(\"{name}\")"),
        _ => format!("\"{name}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repositories::db::{Db, Scope};
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn every_table_of_the_schema_moves_after_its_parents_or_is_left_on_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_file(&folder.path().join("x.db")).await.unwrap();
        let mut tx = db.read(Scope::Everything).await.unwrap();
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'";
        let schema: Vec<String> = on!(tx, c => sqlx::query_scalar(sql).fetch_all(c).await.unwrap());
        let schema: BTreeSet<&str> = schema.iter().map(String::as_str).collect();
        let known: BTreeSet<&str> = TABLES.iter().chain(LEFT_BEHIND).copied().collect();
        assert_eq!(known, schema, "a new table has to be named in one of the two lists");
        for (place, table) in TABLES.iter().enumerate() {
            let sql = "SELECT \"table\" FROM pragma_foreign_key_list($1)";
            let parents: Vec<String> = on!(tx, c => sqlx::query_scalar(sql).bind(*table).fetch_all(c).await.unwrap());
            for parent in parents {
                assert!(TABLES[..place].contains(&parent.as_str()), "{table} comes before {parent}");
            }
            let columns = "SELECT count(*) FROM pragma_table_info($1)";
            let columns: i64 = on!(tx, c => sqlx::query_scalar(columns).bind(*table).fetch_one(c).await.unwrap());
            assert!((1..=50).contains(&columns), "{table} has {columns} columns; json_object takes 50 for certain");
        }
    }
}
