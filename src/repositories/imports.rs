//! Rows of imports and of what they found.

use super::db::{Arg, Sql, Tx, id_list};
use super::generations::failure;
use super::keyset::{SortKey, group_pages, pages_of_parents, push_page};
use crate::domain::ids::{BatchId, ImportId, UserId, WorkspaceId};
use crate::domain::imports::{ColumnMatch, DetectedFile, ImportIssue, ImportJob, IssueFilter, ReadOptions, ReadRow};
use crate::domain::paging::{KeyValue, Page, PageRequest, Position};
use crate::error::{Error, Result};
use crate::on;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

const COLUMNS: &str =
    "id, batch_id, status, dry_run, file_name, source_key, source_kind, options, error_policy, on_duplicate, detected, columns,
    preview, row_count, processed_count, accepted_count, rejected_count, rejected_key, sequence, failure_code, failure_message, created_by,
    created_at, started_at, finished_at";
/// Name of the order of imports.
pub const ORDER: &str = "imports:mu";
/// Name of the order of an import's issues.
pub const ISSUE_ORDER: &str = "import-issues:n";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    batch_id: Uuid,
    status: String,
    dry_run: bool,
    file_name: Option<String>,
    source_key: String,
    source_kind: String,
    options: Json<ReadOptions>,
    error_policy: String,
    on_duplicate: String,
    detected: Option<Json<DetectedFile>>,
    columns: Json<Vec<ColumnMatch>>,
    preview: Json<Vec<ReadRow>>,
    row_count: i32,
    processed_count: i32,
    accepted_count: i32,
    rejected_count: i32,
    rejected_key: Option<String>,
    sequence: i64,
    failure_code: Option<String>,
    failure_message: Option<String>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for ImportJob {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: ImportId(row.id),
            batch: BatchId(row.batch_id),
            status: row.status.parse()?,
            dry_run: row.dry_run,
            file_name: row.file_name,
            source_key: row.source_key,
            source_kind: row.source_kind.parse()?,
            options: row.options.0,
            error_policy: row.error_policy.parse()?,
            on_duplicate: row.on_duplicate.parse()?,
            detected: row.detected.map(|detected| detected.0),
            columns: row.columns.0,
            preview: row.preview.0,
            row_count: row.row_count,
            processed_count: row.processed_count,
            accepted_count: row.accepted_count,
            rejected_count: row.rejected_count,
            rejected_key: row.rejected_key,
            sequence: row.sequence,
            failure: failure(row.failure_code, row.failure_message)?,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Adds an import.
///
/// # Errors
/// As the database says.
pub async fn create_in(tx: &mut Tx, workspace: WorkspaceId, import: &ImportJob) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO imports (id, workspace_id, batch_id, status, dry_run, file_name, source_key, source_kind, options, error_policy,
            on_duplicate, columns, preview, row_count, processed_count, accepted_count, rejected_count, sequence, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, 0, 0, $14, $15, $16)")
        .bind(import.id.0).bind(workspace.0).bind(import.batch.0).bind(import.status.as_str()).bind(import.dry_run).bind(&import.file_name)
        .bind(&import.source_key).bind(import.source_kind.as_str()).bind(Json(&import.options)).bind(import.error_policy.as_str())
        .bind(import.on_duplicate.as_str()).bind(Json(&import.columns)).bind(Json(&import.preview)).bind(import.sequence)
        .bind(import.created_by.map(|u| u.0)).bind(import.created_at).execute(c).await.map(drop)?);
    Ok(())
}

/// Stores where an import stands.
///
/// # Errors
/// As the database says.
pub async fn update_in(tx: &mut Tx, workspace: WorkspaceId, import: &ImportJob) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE imports SET status = $3, detected = $4, columns = $5, preview = $6, row_count = $7, processed_count = $8, accepted_count = $9,
            rejected_count = $10, rejected_key = $11, sequence = $12, failure_code = $13, failure_message = $14, started_at = $15,
            finished_at = $16 WHERE id = $1 AND workspace_id = $2")
        .bind(import.id.0).bind(workspace.0).bind(import.status.as_str()).bind(import.detected.as_ref().map(Json)).bind(Json(&import.columns))
        .bind(Json(&import.preview)).bind(import.row_count).bind(import.processed_count).bind(import.accepted_count)
        .bind(import.rejected_count).bind(&import.rejected_key).bind(import.sequence)
        .bind(import.failure.as_ref().map(|f| f.code.as_str())).bind(import.failure.as_ref().map(|f| &f.message)).bind(import.started_at)
        .bind(import.finished_at).execute(c).await.map(drop)?);
    Ok(())
}

/// Adds what an import found, numbered from `first` in file order.
///
/// # Errors
/// As the database says.
pub async fn add_issues_in(tx: &mut Tx, workspace: WorkspaceId, import: ImportId, first: i32, issues: &[ImportIssue]) -> Result<()> {
    #[derive(Serialize)]
    struct Insert<'a> {
        number: i32,
        #[serde(flatten)]
        issue: &'a ImportIssue,
    }
    let rows: Vec<Insert> = (first..).zip(issues).map(|(number, issue)| Insert { number, issue }).collect();
    for chunk in rows.chunks(2_000) {
        let sql = tx.sql(
            r#"INSERT INTO import_issues (import_id, number, workspace_id, code, severity, row_number, sheet_row, column_name, message, value)
               SELECT $1, x.number, $2, x.code, x.severity, x."row", x.sheet_row, x."column", x.message, x.value
               FROM jsonb_to_recordset($3) AS x(number int, code text, severity text, "row" int, sheet_row int, "column" text, message text,
                  value text)"#,
            "INSERT INTO import_issues (import_id, number, workspace_id, code, severity, row_number, sheet_row, column_name, message, value)
             SELECT $1, j.value ->> 'number', $2, j.value ->> 'code', j.value ->> 'severity', j.value ->> 'row', j.value ->> 'sheet_row',
                j.value ->> 'column', j.value ->> 'message', j.value ->> 'value' FROM json_each($3) AS j",
        );
        on!(tx, c => sqlx::query(sql).bind(import.0).bind(workspace.0).bind(Json(chunk)).execute(c).await.map(drop)?);
    }
    Ok(())
}

/// Number of issues that are stored so far.
///
/// # Errors
/// As the database says.
pub async fn last_issue_number(tx: &mut Tx, import: ImportId) -> Result<i32> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM import_issues WHERE import_id = $1").bind(import.0)
        .fetch_one(c).await?))
}

/// Why rows were refused, in file order: row and sentence.
///
/// # Errors
/// As the database says.
pub async fn list_refusals(tx: &mut Tx, workspace: WorkspaceId, import: ImportId) -> Result<Vec<(i32, String)>> {
    Ok(on!(tx, c => sqlx::query_as(
        "SELECT row_number, message FROM import_issues
         WHERE import_id = $1 AND workspace_id = $2 AND severity = 'ERROR' AND row_number IS NOT NULL ORDER BY number")
        .bind(import.0).bind(workspace.0).fetch_all(c).await?))
}

/// Imports by id.
///
/// # Errors
/// As the database says.
pub async fn load(tx: &mut Tx, workspace: WorkspaceId, ids: &[ImportId]) -> Result<Vec<ImportJob>> {
    let sql = format!("SELECT {COLUMNS} FROM imports WHERE workspace_id = $1 AND {}", tx.in_ids("id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    rows.into_iter().map(ImportJob::try_from).collect()
}

/// An import.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: ImportId) -> Result<Option<ImportJob>> {
    Ok(load(tx, workspace, &[id]).await?.pop())
}

/// True if an import of the batch is queued or running.
///
/// # Errors
/// As the database says.
pub async fn is_active(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<bool> {
    let found: Option<i32> = on!(tx, c => sqlx::query_scalar("SELECT 1 FROM imports WHERE workspace_id = $1 AND batch_id = $2 AND finished_at IS NULL LIMIT 1")
            .bind(workspace.0).bind(batch.0).fetch_optional(c).await?);
    Ok(found.is_some())
}

/// A page of the imports of each of several batches, newest first.
///
/// # Errors
/// As the database says.
pub async fn load_pages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batches: &[BatchId],
    request: &PageRequest,
) -> Result<HashMap<BatchId, Page<ImportJob>>> {
    let mut from = Sql::new(" FROM imports WHERE workspace_id = ");
    from.bind(Arg::Id(workspace.0));
    from.push_ids(tx, "batch_id", batches.iter().map(|id| id.0));
    let keys = [SortKey::desc("created_at"), SortKey::desc("id")];
    let mut found = Vec::new();
    for row in pages_of_parents(COLUMNS, from, "batch_id", &keys, request).fetch_all::<Row>(tx).await? {
        let job = ImportJob::try_from(row)?;
        let at = Position::by_time(ORDER, job.created_at, job.id.0);
        found.push((job.batch, job, at));
    }
    Ok(group_pages(found, request))
}

/// Number of a batch's imports.
///
/// # Errors
/// As the database says.
pub async fn count(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<i64> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT count(*) FROM imports WHERE workspace_id = $1 AND batch_id = $2")
        .bind(workspace.0).bind(batch.0).fetch_one(c).await?))
}

#[derive(sqlx::FromRow)]
struct IssueRow {
    number: i32,
    code: String,
    severity: String,
    row_number: Option<i32>,
    sheet_row: Option<i32>,
    column_name: Option<String>,
    message: String,
    value: Option<String>,
}

fn push_issues(sql: &mut Sql, workspace: WorkspaceId, import: ImportId, filter: &IssueFilter) {
    sql.push(" FROM import_issues WHERE import_id = ").bind(Arg::Id(import.0)).push(" AND workspace_id = ").bind(Arg::Id(workspace.0));
    if let Some(severities) = &filter.severity {
        super::batches::push_words(sql, "severity", severities.iter().map(|severity| severity.as_str()));
    }
    if let Some(codes) = &filter.code {
        super::batches::push_words(sql, "code", codes.iter().map(|code| code.as_str()));
    }
}

/// A page of what an import found, in file order.
///
/// # Errors
/// As the database says.
pub async fn list_issues(
    tx: &mut Tx,
    workspace: WorkspaceId,
    import: ImportId,
    filter: &IssueFilter,
    request: &PageRequest,
) -> Result<Page<ImportIssue>> {
    let mut sql = Sql::new("SELECT number, code, severity, row_number, sheet_row, column_name, message, value");
    push_issues(&mut sql, workspace, import, filter);
    push_page(&mut sql, &[SortKey::asc("CAST(number AS bigint)")], request);
    let rows: Vec<IssueRow> = sql.fetch_all(tx).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let issue = ImportIssue {
            code: row.code.parse()?,
            severity: row.severity.parse()?,
            row: row.row_number,
            sheet_row: row.sheet_row,
            column: row.column_name,
            message: row.message,
            value: row.value,
        };
        found.push((issue, Position::new(ISSUE_ORDER, vec![KeyValue::Int(row.number.into())])));
    }
    Ok(Page::from_rows(found, request))
}

/// Number of issues that match.
///
/// # Errors
/// As the database says.
pub async fn count_issues(tx: &mut Tx, workspace: WorkspaceId, import: ImportId, filter: &IssueFilter) -> Result<i64> {
    let mut sql = Sql::new("SELECT count(*)");
    push_issues(&mut sql, workspace, import, filter);
    sql.fetch_count(tx).await
}
