//! Rows of exports.

use super::db::{Arg, Sql, Tx, id_list};
use super::generations::failure;
use super::keyset::{SortKey, group_pages, pages_of_parents};
use crate::domain::exports::{ExportJob, ExportOptions, Skipped};
use crate::domain::ids::{BatchId, ExportId, UserId, WorkspaceId};
use crate::domain::paging::{Page, PageRequest, Position};
use crate::error::{Error, Result};
use crate::on;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

const COLUMNS: &str =
    "id, batch_id, status, format, options, project_count, processed_count, skipped, file_name, object_key, bytes, sha256,
    expires_at, sequence, failure_code, failure_message, created_by, created_at, started_at, finished_at";
/// Name of the order of exports.
pub const ORDER: &str = "exports:mu";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    batch_id: Uuid,
    status: String,
    format: String,
    options: Json<ExportOptions>,
    project_count: i32,
    processed_count: i32,
    skipped: Json<Vec<Skipped>>,
    file_name: Option<String>,
    object_key: Option<String>,
    bytes: Option<i64>,
    sha256: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    sequence: i64,
    failure_code: Option<String>,
    failure_message: Option<String>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for ExportJob {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: ExportId(row.id),
            batch: BatchId(row.batch_id),
            status: row.status.parse()?,
            format: row.format.parse()?,
            options: row.options.0,
            project_count: row.project_count,
            processed_count: row.processed_count,
            skipped: row.skipped.0,
            file_name: row.file_name,
            object_key: row.object_key,
            bytes: row.bytes,
            sha256: row.sha256,
            expires_at: row.expires_at,
            sequence: row.sequence,
            failure: failure(row.failure_code, row.failure_message)?,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Adds an export.
///
/// # Errors
/// As the database says.
pub async fn create_in(tx: &mut Tx, workspace: WorkspaceId, export: &ExportJob) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO exports (id, workspace_id, batch_id, status, format, options, project_count, processed_count, skipped, sequence, created_by,
            created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10, $11)")
        .bind(export.id.0).bind(workspace.0).bind(export.batch.0).bind(export.status.as_str()).bind(export.format.as_str())
        .bind(Json(&export.options)).bind(export.project_count).bind(Json(&export.skipped)).bind(export.sequence)
        .bind(export.created_by.map(|u| u.0)).bind(export.created_at).execute(c).await.map(drop)?);
    Ok(())
}

/// Stores where an export stands.
///
/// # Errors
/// As the database says.
pub async fn update_in(tx: &mut Tx, workspace: WorkspaceId, export: &ExportJob) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE exports SET status = $3, project_count = $4, processed_count = $5, skipped = $6, file_name = $7, object_key = $8, bytes = $9,
            sha256 = $10, expires_at = $11, sequence = $12, failure_code = $13, failure_message = $14, started_at = $15, finished_at = $16
         WHERE id = $1 AND workspace_id = $2")
        .bind(export.id.0).bind(workspace.0).bind(export.status.as_str()).bind(export.project_count).bind(export.processed_count)
        .bind(Json(&export.skipped)).bind(&export.file_name).bind(&export.object_key).bind(export.bytes).bind(&export.sha256)
        .bind(export.expires_at).bind(export.sequence).bind(export.failure.as_ref().map(|f| f.code.as_str()))
        .bind(export.failure.as_ref().map(|f| &f.message)).bind(export.started_at).bind(export.finished_at).execute(c).await.map(drop)?);
    Ok(())
}

/// Exports by id.
///
/// # Errors
/// As the database says.
pub async fn load(tx: &mut Tx, workspace: WorkspaceId, ids: &[ExportId]) -> Result<Vec<ExportJob>> {
    let sql = format!("SELECT {COLUMNS} FROM exports WHERE workspace_id = $1 AND {}", tx.in_ids("id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    rows.into_iter().map(ExportJob::try_from).collect()
}

/// An export.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: ExportId) -> Result<Option<ExportJob>> {
    Ok(load(tx, workspace, &[id]).await?.pop())
}

/// A page of the exports of each of several batches, newest first.
///
/// # Errors
/// As the database says.
pub async fn load_pages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batches: &[BatchId],
    request: &PageRequest,
) -> Result<HashMap<BatchId, Page<ExportJob>>> {
    let mut from = Sql::new(" FROM exports WHERE workspace_id = ");
    from.bind(Arg::Id(workspace.0));
    from.push_ids(tx, "batch_id", batches.iter().map(|id| id.0));
    let keys = [SortKey::desc("created_at"), SortKey::desc("id")];
    let mut found = Vec::new();
    for row in pages_of_parents(COLUMNS, from, "batch_id", &keys, request).fetch_all::<Row>(tx).await? {
        let job = ExportJob::try_from(row)?;
        let at = Position::by_time(ORDER, job.created_at, job.id.0);
        found.push((job.batch, job, at));
    }
    Ok(group_pages(found, request))
}

/// Number of a batch's exports.
///
/// # Errors
/// As the database says.
pub async fn count(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<i64> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT count(*) FROM exports WHERE workspace_id = $1 AND batch_id = $2")
        .bind(workspace.0).bind(batch.0).fetch_one(c).await?))
}

/// Keys of all objects of a batch: files of exports, and what imports were sent and refused.
///
/// # Errors
/// As the database says.
pub async fn list_object_keys(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<Vec<String>> {
    let rows: Vec<(Option<String>,)> = on!(tx, c => sqlx::query_as(
        "SELECT object_key FROM exports WHERE workspace_id = $1 AND batch_id = $2
         UNION ALL SELECT source_key FROM imports WHERE workspace_id = $1 AND batch_id = $2
         UNION ALL SELECT rejected_key FROM imports WHERE workspace_id = $1 AND batch_id = $2")
        .bind(workspace.0).bind(batch.0).fetch_all(c).await?);
    Ok(rows.into_iter().filter_map(|(key,)| key).collect())
}

/// Takes the file away from exports of all workspaces that have expired; gives the keys of the objects.
///
/// # Errors
/// As the database says.
pub async fn expire_in(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<String>> {
    let rows: Vec<(Option<String>,)> = on!(tx, c => sqlx::query_as("SELECT object_key FROM exports WHERE object_key IS NOT NULL AND expires_at < $1 ORDER BY expires_at LIMIT 500")
            .bind(now).fetch_all(c).await?);
    let keys: Vec<String> = rows.into_iter().filter_map(|(key,)| key).collect();
    for key in &keys {
        on!(tx, c => sqlx::query("UPDATE exports SET object_key = NULL WHERE object_key = $1").bind(key).execute(c).await.map(drop)?);
    }
    Ok(keys)
}
