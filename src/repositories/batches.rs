//! Rows of batches and what is summed over their projects.

use super::db::{Arg, Narrow, Sql, Tx, Word, id_list, like_text, unspanned};
use super::events;
use super::keyset::{SortKey, push_page};
use crate::domain::actor::Actor;
use crate::domain::batches::{
    Batch, BatchActivity, BatchFilter, BatchLifecycle, BatchOrderField, BatchParts, BatchSummary, Claim, ReliefScheme,
};
use crate::domain::events::{BatchEvent, StoredEvent};
use crate::domain::ids::{BatchId, TemplateId, UserId, WorkspaceId};
use crate::domain::money::Pence;
use crate::domain::paging::{Direction, KeyValue, Page, PageRequest, Position};
use crate::domain::projects::ProjectStatus;
use crate::error::Result;
use crate::{narrow_row, on};
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

narrow_row! {
    struct Row, BatchParts;
    always { id: Uuid = "b.id", }
    NAME { name: String = "b.name", }
    DESCRIPTION { description: Option<String> = "b.description", }
    REF { external_ref: Option<String> = "b.external_ref", }
    REVISION { revision: i32 = "b.revision", }
    LIFECYCLE {
        archived_at: Option<DateTime<Utc>> = "b.archived_at",
        deleted_at: Option<DateTime<Utc>> = "b.deleted_at",
        purge_after: Option<DateTime<Utc>> = "b.purge_after",
    }
    CLAIM {
        company_name: Option<String> = "b.company_name",
        period_start: Option<NaiveDate> = "b.period_start",
        period_end: Option<NaiveDate> = "b.period_end",
        scheme: Option<Word<ReliefScheme>> = "b.scheme",
        notification_required: Option<bool> = "b.notification_required",
    }
    TEMPLATE { template_id: Uuid = "b.template_id", }
    SUMS { project_count: i32 = "b.project_count", expenditure_pence: i64 = "b.expenditure_pence", }
    EVENTS { event_sequence: i64 = "b.event_sequence", }
    CREATION { created_by: Option<Uuid> = "b.created_by", created_at: DateTime<Utc> = "b.created_at", }
    UPDATED { updated_at: DateTime<Utc> = "b.updated_at", }
}

impl From<Row> for Batch {
    fn from(row: Row) -> Self {
        Self {
            id: BatchId(row.id),
            name: row.name,
            description: row.description,
            external_ref: row.external_ref,
            revision: row.revision,
            archived_at: row.archived_at,
            deleted_at: row.deleted_at,
            purge_after: row.purge_after,
            claim: Claim {
                company_name: row.company_name,
                period_start: row.period_start,
                period_end: row.period_end,
                scheme: row.scheme.map(|word| word.0),
                notification_required: row.notification_required,
            },
            template: TemplateId(row.template_id),
            project_count: row.project_count,
            expenditure: Pence(row.expenditure_pence),
            event_sequence: row.event_sequence,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

fn columns() -> String {
    Row::columns(BatchParts::all())
}

fn search_text(batch: &Batch) -> String {
    let parts = [Some(&batch.name), batch.description.as_ref(), batch.external_ref.as_ref(), batch.claim.company_name.as_ref()];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    parts.join("\n").to_lowercase()
}

/// Adds a batch.
///
/// # Errors
/// As the database says; a unique violation means that the id or the name is taken.
pub async fn create_in(tx: &mut Tx, workspace: WorkspaceId, batch: &Batch) -> Result<(), sqlx::Error> {
    let claim = &batch.claim;
    on!(tx, c => sqlx::query(
        "INSERT INTO batches (id, workspace_id, name, name_key, description, external_ref, search, revision, company_name, period_start,
            period_end, scheme, notification_required, notification_due, template_id, project_count, expenditure_pence, event_sequence,
            created_by, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, 0, 0, $16, $17, $17)")
        .bind(batch.id.0).bind(workspace.0).bind(&batch.name).bind(batch.name.to_lowercase()).bind(&batch.description)
        .bind(&batch.external_ref).bind(search_text(batch)).bind(batch.revision).bind(&claim.company_name).bind(claim.period_start)
        .bind(claim.period_end).bind(claim.scheme.map(super::super::domain::batches::ReliefScheme::as_str)).bind(claim.notification_required).bind(claim.notification_due())
        .bind(batch.template.0).bind(batch.created_by.map(|u| u.0)).bind(batch.created_at)
        .execute(c).await.map(drop))
}

/// What [`update_in`] sets; its places are bound by `changed!`.
const CHANGES: &str = "UPDATE batches SET name = $3, name_key = $4, description = $5, external_ref = $6, search = $7, revision = $8,
    archived_at = $9, deleted_at = $10, purge_after = $11, company_name = $12, period_start = $13, period_end = $14, scheme = $15,
    notification_required = $16, notification_due = $17, template_id = $18, updated_at = $19";
const OF_BATCH: &str = "WHERE id = $1 AND workspace_id = $2";

macro_rules! changed {
    ($query:expr, $workspace:expr, $batch:expr) => {
        $query
            .bind($batch.id.0)
            .bind($workspace.0)
            .bind(&$batch.name)
            .bind($batch.name.to_lowercase())
            .bind(&$batch.description)
            .bind(&$batch.external_ref)
            .bind(search_text($batch))
            .bind($batch.revision)
            .bind($batch.archived_at)
            .bind($batch.deleted_at)
            .bind($batch.purge_after)
            .bind(&$batch.claim.company_name)
            .bind($batch.claim.period_start)
            .bind($batch.claim.period_end)
            .bind($batch.claim.scheme.map(ReliefScheme::as_str))
            .bind($batch.claim.notification_required)
            .bind($batch.claim.notification_due())
            .bind($batch.template.0)
            .bind($batch.updated_at)
    };
}

/// Stores all that a person may change, and the archive and deletion marks.
///
/// # Errors
/// As the database says; a unique violation means that the name is taken.
pub async fn update_in(tx: &mut Tx, workspace: WorkspaceId, batch: &Batch) -> Result<(), sqlx::Error> {
    let sql = format!("{CHANGES} {OF_BATCH}");
    on!(tx, c => changed!(sqlx::query(AssertSqlSafe(sql)), workspace, batch).execute(c).await.map(drop))
}

/// As [`update_in`], and appends an event to the batch's stream, in one round trip where that can be.
///
/// # Errors
/// As the database says; a unique violation means that the name is taken.
pub async fn update_telling_in(tx: &mut Tx, workspace: WorkspaceId, batch: &Batch, event: BatchEvent) -> Result<StoredEvent, sqlx::Error> {
    let (payload, occurred_at) = (Json(event), batch.updated_at);
    let change = format!("{CHANGES}, event_sequence = event_sequence + 1 {OF_BATCH} RETURNING event_sequence");
    let sequence: i64 = if tx.is_postgres() {
        let sql = format!(
            "WITH changed AS ({change}), told AS (
                INSERT INTO batch_events (batch_id, workspace_id, occurred_at, payload, sequence) SELECT $1, $2, $19, $20, event_sequence FROM changed
             )
             SELECT event_sequence FROM changed"
        );
        on!(tx, c => unspanned(changed!(sqlx::query_scalar(AssertSqlSafe(sql)), workspace, batch).bind(&payload).fetch_one(c)).await?)
    } else {
        let sequence = on!(tx, c => changed!(sqlx::query_scalar(AssertSqlSafe(change)), workspace, batch).fetch_one(c).await?);
        events::insert_sqlite(tx, workspace, batch.id, sequence, occurred_at, std::slice::from_ref(&payload.0)).await?;
        sequence
    };
    Ok(StoredEvent { sequence, occurred_at, event: payload.0 })
}

/// Adds to the number and expenditure of a batch's projects.
///
/// # Errors
/// As the database says.
pub async fn add_projects_in(tx: &mut Tx, batch: BatchId, count: i64, expenditure: i64, now: DateTime<Utc>) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE batches SET project_count = project_count + CAST($2 AS int), expenditure_pence = expenditure_pence + $3, updated_at = $4 WHERE id = $1")
        .bind(batch.0).bind(count).bind(expenditure).bind(now).execute(c).await.map(drop)?);
    Ok(())
}

/// Removes a batch for good, with all that belongs to it.
///
/// # Errors
/// As the database says.
pub async fn delete_in(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<()> {
    on!(tx, c => sqlx::query("DELETE FROM batches WHERE id = $1 AND workspace_id = $2").bind(batch.0).bind(workspace.0).execute(c).await.map(drop)?);
    Ok(())
}

/// Batches of all workspaces whose time to be restored is over.
///
/// # Errors
/// As the database says.
pub async fn list_to_purge(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<(WorkspaceId, BatchId)>> {
    let rows: Vec<(Uuid, Uuid)> = on!(tx, c => sqlx::query_as(
        "SELECT workspace_id, id FROM batches WHERE purge_after IS NOT NULL AND purge_after < $1 ORDER BY purge_after LIMIT 100")
        .bind(now).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(workspace, id)| (WorkspaceId(workspace), BatchId(id))).collect())
}

/// A batch, deleted ones too.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: BatchId) -> Result<Option<Batch>> {
    find_with(tx, workspace, id, "").await
}

/// A batch, locked until the end of the transaction: event sequences are given under this lock.
///
/// # Errors
/// As the database says.
pub async fn lock_in(tx: &mut Tx, workspace: WorkspaceId, id: BatchId) -> Result<Option<Batch>> {
    let lock = tx.for_update();
    find_with(tx, workspace, id, lock).await
}

async fn find_with(tx: &mut Tx, workspace: WorkspaceId, id: BatchId, lock: &str) -> Result<Option<Batch>> {
    let sql = format!("SELECT {} FROM batches b WHERE b.id = $1 AND b.workspace_id = $2{lock}", columns());
    let row: Option<Row> =
        on!(tx, c => unspanned(sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).bind(workspace.0).fetch_optional(c)).await?);
    Ok(row.map(Batch::from))
}

/// Batches by id, in no particular order, of which these parts are read.
///
/// # Errors
/// As the database says.
pub async fn load(tx: &mut Tx, workspace: WorkspaceId, ids: &[BatchId], parts: BatchParts) -> Result<Vec<Batch>> {
    let mut sql = Sql::new(format!("SELECT {} FROM batches b WHERE b.workspace_id = ", Row::columns(parts)));
    sql.bind(Arg::Id(workspace.0)).push_ids(tx, "b.id", ids.iter().map(|id| id.0));
    Ok(sql.fetch_parts::<Row>(tx, parts).await?.into_iter().map(Batch::from).collect())
}

/// The sort keys and the name of an order.
fn keys(order: &[(BatchOrderField, Direction)]) -> (Vec<SortKey>, String) {
    let mut keys = Vec::new();
    for (field, direction) in order {
        let late = *direction == Direction::Asc;
        let expression = match field {
            BatchOrderField::Name => "b.name_key",
            BatchOrderField::CreatedAt => "b.created_at",
            BatchOrderField::UpdatedAt => "b.updated_at",
            BatchOrderField::ProjectCount => "CAST(b.project_count AS bigint)",
            BatchOrderField::Expenditure => "b.expenditure_pence",
            // those without a date come last in either direction
            BatchOrderField::NotificationDue if late => "coalesce(CAST(b.notification_due AS text), '9999-12-31')",
            BatchOrderField::NotificationDue => "coalesce(CAST(b.notification_due AS text), '0000-01-01')",
        };
        keys.push(SortKey { expression, direction: *direction });
    }
    let last = order.last().map_or(Direction::Desc, |(_, direction)| *direction);
    keys.push(SortKey { expression: "b.id", direction: last });
    let kind = |(field, _): &(BatchOrderField, Direction)| match field {
        BatchOrderField::Name | BatchOrderField::NotificationDue => 't',
        BatchOrderField::CreatedAt | BatchOrderField::UpdatedAt => 'm',
        BatchOrderField::ProjectCount | BatchOrderField::Expenditure => 'n',
    };
    let kinds: String = order.iter().map(kind).chain(['u']).collect();
    (keys, format!("batches{order:?}:{kinds}"))
}

/// What a page's cursors are made of.
fn parts_of_order(order: &[(BatchOrderField, Direction)]) -> BatchParts {
    let part = |(field, _): &(BatchOrderField, Direction)| match field {
        BatchOrderField::Name => BatchParts::NAME,
        BatchOrderField::CreatedAt => BatchParts::CREATION,
        BatchOrderField::UpdatedAt => BatchParts::UPDATED,
        BatchOrderField::ProjectCount | BatchOrderField::Expenditure => BatchParts::SUMS,
        BatchOrderField::NotificationDue => BatchParts::CLAIM,
    };
    order.iter().map(part).collect()
}

fn position(batch: &Batch, order: &[(BatchOrderField, Direction)], name: &Arc<str>) -> Position {
    let value =
        |(field, direction): &(BatchOrderField, Direction)| match field {
            BatchOrderField::Name => KeyValue::Text(batch.name.to_lowercase()),
            BatchOrderField::CreatedAt => KeyValue::Micros(batch.created_at.timestamp_micros()),
            BatchOrderField::UpdatedAt => KeyValue::Micros(batch.updated_at.timestamp_micros()),
            BatchOrderField::ProjectCount => KeyValue::Int(batch.project_count.into()),
            BatchOrderField::Expenditure => KeyValue::Int(batch.expenditure.0),
            BatchOrderField::NotificationDue => KeyValue::Text(batch.claim.notification_due().map_or_else(
                || if *direction == Direction::Asc { "9999-12-31".into() } else { "0000-01-01".into() },
                |day| day.to_string(),
            )),
        };
    Position::new(Arc::clone(name), order.iter().map(value).chain([KeyValue::Id(batch.id.0)]).collect())
}

/// Name of an order, which cursors of this list carry.
#[must_use]
pub fn order_name(order: &[(BatchOrderField, Direction)]) -> String {
    keys(order).1
}

/// A page of the workspace's batches that are not deleted, of which these parts are read.
///
/// # Errors
/// As the database says.
pub async fn list(
    tx: &mut Tx,
    actor: &Actor,
    filter: &BatchFilter,
    order: &[(BatchOrderField, Direction)],
    request: &PageRequest,
    parts: BatchParts,
) -> Result<Page<Batch>> {
    let ((keys, name), parts) = (keys(order), parts | parts_of_order(order));
    let name = name.into();
    let mut sql = Sql::new(format!("SELECT {}", Row::columns(parts)));
    push_filter(&mut sql, actor.workspace, filter);
    push_page(&mut sql, &keys, request);
    let with_position = |row| {
        let batch = Batch::from(row);
        let at = position(&batch, order, &name);
        (batch, at)
    };
    let rows = sql.fetch_parts::<Row>(tx, parts).await?.into_iter().map(with_position).collect();
    Ok(Page::from_rows(rows, request))
}

/// Number of batches that match.
///
/// # Errors
/// As the database says.
pub async fn count(tx: &mut Tx, actor: &Actor, filter: &BatchFilter) -> Result<i64> {
    let mut sql = Sql::new("SELECT count(*)");
    push_filter(&mut sql, actor.workspace, filter);
    sql.fetch_count(tx).await
}

fn push_filter(sql: &mut Sql, workspace: WorkspaceId, filter: &BatchFilter) {
    sql.push(" FROM batches b WHERE b.deleted_at IS NULL AND b.workspace_id = ").bind(Arg::Id(workspace.0));
    let lifecycle = filter.lifecycle.as_deref().unwrap_or(&[BatchLifecycle::Active]);
    match (lifecycle.contains(&BatchLifecycle::Active), lifecycle.contains(&BatchLifecycle::Archived)) {
        (true, true) => {}
        (true, false) => drop(sql.push(" AND b.archived_at IS NULL")),
        (false, true) => drop(sql.push(" AND b.archived_at IS NOT NULL")),
        (false, false) => drop(sql.push(" AND 1 = 0")),
    }
    if let Some(text) = &filter.text {
        sql.push(" AND b.search LIKE ").bind(Arg::Text(format!("%{}%", like_text(text)))).push(" ESCAPE '\\'");
    }
    if let Some(schemes) = &filter.scheme {
        push_words(sql, "b.scheme", schemes.iter().map(|scheme| scheme.as_str()));
    }
    if let Some(since) = filter.updated_since {
        sql.push(" AND b.updated_at >= ").bind(Arg::Time(since));
    }
    if let Some(day) = filter.notification_due_before {
        sql.push(" AND b.notification_due <= ").bind(Arg::Date(day));
    }
    if let Some(activities) = &filter.activity {
        let any: Vec<&str> = activities.iter().map(|activity| activity_condition(*activity)).collect();
        sql.push(" AND (").push(if any.is_empty() { "1 = 0" } else { "" }).push(&any.join(" OR ")).push(")");
    }
}

/// Appends `AND column IN (…)` for a list of words, or what is never true for an empty one.
pub(super) fn push_words<'a>(sql: &mut Sql, column: &str, words: impl Iterator<Item = &'a str>) {
    sql.push(" AND ").push(column).push(" IN (NULL");
    for word in words {
        sql.push(", ").bind(Arg::Text(word.to_owned()));
    }
    sql.push(")");
}

macro_rules! idle {
    ($rest:literal) => {
        concat!(
            "(NOT EXISTS (SELECT 1 FROM imports i WHERE i.batch_id = b.id AND i.finished_at IS NULL)
              AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.batch_id = b.id AND r.finished_at IS NULL) AND ",
            $rest,
            ")"
        )
    };
}

/// The condition in SQL of what [`BatchSummary::activity`] says in Rust; a test holds the two together.
const fn activity_condition(activity: BatchActivity) -> &'static str {
    match activity {
        BatchActivity::Importing => "EXISTS (SELECT 1 FROM imports i WHERE i.batch_id = b.id AND i.finished_at IS NULL)",
        BatchActivity::Generating => {
            "(NOT EXISTS (SELECT 1 FROM imports i WHERE i.batch_id = b.id AND i.finished_at IS NULL)
              AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.batch_id = b.id AND r.finished_at IS NULL AND r.status = 'PAUSED_BUDGET')
              AND (EXISTS (SELECT 1 FROM runs r WHERE r.batch_id = b.id AND r.finished_at IS NULL)
                OR EXISTS (SELECT 1 FROM projects p WHERE p.batch_id = b.id AND p.deleted_at IS NULL AND p.status IN ('QUEUED', 'GENERATING'))))"
        }
        BatchActivity::Paused => {
            "(NOT EXISTS (SELECT 1 FROM imports i WHERE i.batch_id = b.id AND i.finished_at IS NULL)
              AND EXISTS (SELECT 1 FROM runs r WHERE r.batch_id = b.id AND r.finished_at IS NULL AND r.status = 'PAUSED_BUDGET'))"
        }
        BatchActivity::Empty => idle!("b.project_count = 0"),
        BatchActivity::Approved => idle!(
            "b.project_count > 0 AND NOT EXISTS (SELECT 1 FROM projects p WHERE p.batch_id = b.id AND p.deleted_at IS NULL AND p.status <> 'APPROVED')"
        ),
        BatchActivity::InReview => idle!(
            "NOT EXISTS (SELECT 1 FROM projects p WHERE p.batch_id = b.id AND p.deleted_at IS NULL AND p.status NOT IN ('APPROVED', 'NEEDS_REVIEW'))
              AND EXISTS (SELECT 1 FROM projects p WHERE p.batch_id = b.id AND p.deleted_at IS NULL AND p.status = 'NEEDS_REVIEW')"
        ),
        BatchActivity::Ready => idle!(
            "EXISTS (SELECT 1 FROM projects p WHERE p.batch_id = b.id AND p.deleted_at IS NULL AND p.status NOT IN ('APPROVED', 'NEEDS_REVIEW'))
              AND NOT EXISTS (SELECT 1 FROM projects p WHERE p.batch_id = b.id AND p.deleted_at IS NULL AND p.status IN ('QUEUED', 'GENERATING'))"
        ),
    }
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    batch_id: Uuid,
    status: String,
    n: i64,
    scored: i64,
    score_sum: i64,
    with_errors: i64,
}

/// Sums over the projects of several batches, in two statements whatever their number.
///
/// # Errors
/// As the database says.
pub async fn load_summaries(tx: &mut Tx, workspace: WorkspaceId, ids: &[BatchId]) -> Result<HashMap<BatchId, BatchSummary>> {
    let list = id_list(ids.iter().map(|id| id.0));
    let sql = format!(
        "SELECT batch_id, status, count(*) AS n, count(score) AS scored, CAST(coalesce(sum(score), 0) AS bigint) AS score_sum,
            CAST(sum(CASE WHEN error_count > 0 THEN 1 ELSE 0 END) AS bigint) AS with_errors
         FROM projects WHERE workspace_id = $1 AND deleted_at IS NULL AND {} GROUP BY batch_id, status",
        tx.in_ids("batch_id", 2)
    );
    let rows: Vec<SummaryRow> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(&list).fetch_all(c).await?);
    let mut scores: HashMap<BatchId, (i64, i64)> = HashMap::new();
    let mut found: HashMap<BatchId, BatchSummary> = ids.iter().map(|id| (*id, BatchSummary::default())).collect();
    for row in rows {
        let id = BatchId(row.batch_id);
        let summary = found.entry(id).or_default();
        let n = i32::try_from(row.n).unwrap_or(i32::MAX);
        match row.status.parse()? {
            ProjectStatus::Draft => summary.draft = n,
            ProjectStatus::Queued => summary.queued = n,
            ProjectStatus::Generating => summary.generating = n,
            ProjectStatus::NeedsReview => summary.needs_review = n,
            ProjectStatus::Approved => summary.approved = n,
            ProjectStatus::Failed => summary.failed = n,
        }
        summary.with_errors += i32::try_from(row.with_errors).unwrap_or(i32::MAX);
        let score = scores.entry(id).or_default();
        *score = (score.0 + row.scored, score.1 + row.score_sum);
    }
    for (id, (scored, sum)) in scores {
        if let (Some(summary), true) = (found.get_mut(&id), scored > 0) {
            #[expect(clippy::cast_precision_loss, reason = "a mean of scores up to 100 is shown with a few digits")]
            let mean = sum as f64 / scored as f64;
            summary.mean_score = Some(mean);
        }
    }
    let sql = format!(
        "SELECT batch_id, 'IMPORT' AS work FROM imports WHERE finished_at IS NULL AND {0}
         UNION ALL SELECT batch_id, status AS work FROM runs WHERE finished_at IS NULL AND {0}",
        tx.in_ids("batch_id", 1)
    );
    let busy: Vec<(Uuid, String)> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(&list).fetch_all(c).await?);
    for (id, work) in busy {
        if let Some(summary) = found.get_mut(&BatchId(id)) {
            match work.as_str() {
                "IMPORT" => summary.importing = true,
                "PAUSED_BUDGET" => summary.paused_run = true,
                _ => summary.generating_run = true,
            }
        }
    }
    Ok(found)
}
