//! Rows of runs, of what they do to each project, and of attempts.

use super::db::{Arg, Sql, Tx, id_list};
use super::keyset::{SortKey, group_pages, pages_of_parents, push_page};
use crate::domain::budgets::Estimate;
use crate::domain::generations::{AskedBy, Attempt, AttemptStatus, Run, RunCounts};
use crate::domain::ids::{AttemptId, BatchId, ProjectId, RunId, SectionId, TemplateVersionId, UserId, WorkspaceId};
use crate::domain::jobs::JobFailure;
use crate::domain::money::Spend;
use crate::domain::paging::{Page, PageRequest, Position};
use crate::error::{Error, Result};
use crate::on;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

const COLUMNS: &str =
    "r.id, r.batch_id, r.status, r.scope, r.template_version_id, r.provider, r.model, r.edited_sections, r.instructions, r.total,
    r.queued, r.running, r.succeeded, r.failed, r.cancelled, r.skipped, r.sections_total, r.sections_done, r.spend_micros,
    r.reserved_micros, r.cap_micros, r.estimate, r.progressed_at, r.failure_code, r.failure_message, r.failure_retryable, r.created_by,
    r.created_at, r.started_at, r.finished_at";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    batch_id: Uuid,
    status: String,
    scope: String,
    template_version_id: Uuid,
    provider: String,
    model: String,
    edited_sections: String,
    instructions: Option<String>,
    total: i32,
    queued: i32,
    running: i32,
    succeeded: i32,
    failed: i32,
    cancelled: i32,
    skipped: i32,
    sections_total: i32,
    sections_done: i32,
    spend_micros: i64,
    reserved_micros: i64,
    cap_micros: Option<i64>,
    estimate: Option<Json<Estimate>>,
    progressed_at: Option<DateTime<Utc>>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    failure_retryable: Option<bool>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

/// A failure from its two columns.
pub(super) fn failure(code: Option<String>, message: Option<String>) -> Result<Option<JobFailure>> {
    let Some(code) = code else { return Ok(None) };
    Ok(Some(JobFailure::new(code.parse()?, message.unwrap_or_default())))
}

/// A failure from its three columns; where the last is null, its code tells.
fn judged_failure(code: Option<String>, message: Option<String>, retryable: Option<bool>) -> Result<Option<JobFailure>> {
    let failure = failure(code, message)?;
    Ok(failure.map(|failure| JobFailure { retryable: retryable.unwrap_or(failure.retryable), ..failure }))
}

impl TryFrom<Row> for Run {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: RunId(row.id),
            batch: BatchId(row.batch_id),
            status: row.status.parse()?,
            scope: row.scope.parse()?,
            template_version: TemplateVersionId(row.template_version_id),
            provider: row.provider,
            model: row.model,
            edited_sections: row.edited_sections.parse()?,
            instructions: row.instructions,
            counts: RunCounts {
                total: row.total,
                queued: row.queued,
                running: row.running,
                succeeded: row.succeeded,
                failed: row.failed,
                cancelled: row.cancelled,
                skipped: row.skipped,
            },
            sections_total: row.sections_total,
            sections_done: row.sections_done,
            spend: Spend(row.spend_micros),
            reserved: Spend(row.reserved_micros),
            cap: row.cap_micros.map(Spend),
            estimate: row.estimate.map(|Json(estimate)| estimate),
            progressed_at: row.progressed_at,
            failure: judged_failure(row.failure_code, row.failure_message, row.failure_retryable)?,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Adds a run.
///
/// # Errors
/// As the database says; a unique violation means that another run of the batch is active.
pub async fn create_in(tx: &mut Tx, workspace: WorkspaceId, run: &Run) -> Result<(), sqlx::Error> {
    let counts = &run.counts;
    on!(tx, c => sqlx::query(
        "INSERT INTO runs (id, workspace_id, batch_id, status, scope, template_version_id, provider, model, edited_sections, instructions,
            total, queued, running, succeeded, failed, cancelled, skipped, sections_total, sections_done, spend_micros, created_by, created_at,
            cap_micros, estimate)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0, 0, 0, $13, 0, 0, $14, $15, $16, $17)")
        .bind(run.id.0).bind(workspace.0).bind(run.batch.0).bind(run.status.as_str()).bind(run.scope.as_str()).bind(run.template_version.0)
        .bind(&run.provider).bind(&run.model).bind(run.edited_sections.as_str()).bind(&run.instructions).bind(counts.total)
        .bind(counts.queued).bind(run.sections_total).bind(run.created_by.map(|u| u.0)).bind(run.created_at)
        .bind(run.cap.map(|cap| cap.0)).bind(run.estimate.as_ref().map(Json))
        .execute(c).await.map(drop))
}

/// Stores status, numbers, spend, failure and times of a run.
///
/// # Errors
/// As the database says.
pub async fn update_in(tx: &mut Tx, workspace: WorkspaceId, run: &Run) -> Result<()> {
    let counts = &run.counts;
    on!(tx, c => sqlx::query(
        "UPDATE runs SET status = $3, queued = $4, running = $5, succeeded = $6, failed = $7, cancelled = $8, skipped = $9, sections_done = $10,
            spend_micros = $11, progressed_at = $12, failure_code = $13, failure_message = $14, started_at = $15, finished_at = $16,
            failure_retryable = $17, reserved_micros = $18, cap_micros = $19
         WHERE id = $1 AND workspace_id = $2")
        .bind(run.id.0).bind(workspace.0).bind(run.status.as_str()).bind(counts.queued).bind(counts.running).bind(counts.succeeded)
        .bind(counts.failed).bind(counts.cancelled).bind(counts.skipped).bind(run.sections_done).bind(run.spend.0).bind(run.progressed_at)
        .bind(run.failure.as_ref().map(|f| f.code.as_str())).bind(run.failure.as_ref().map(|f| &f.message)).bind(run.started_at)
        .bind(run.finished_at).bind(run.failure.as_ref().map(|f| f.retryable)).bind(run.reserved.0).bind(run.cap.map(|cap| cap.0))
        .execute(c).await.map(drop)?);
    Ok(())
}

/// A run.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: RunId) -> Result<Option<Run>> {
    Ok(load(tx, workspace, &[id]).await?.pop())
}

/// A run, locked until the end of the transaction.
///
/// # Errors
/// As the database says.
pub async fn lock_in(tx: &mut Tx, workspace: WorkspaceId, id: RunId) -> Result<Option<Run>> {
    let sql = format!("SELECT {COLUMNS} FROM runs r WHERE r.id = $1 AND r.workspace_id = $2{}", tx.for_update());
    let row: Option<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).bind(workspace.0).fetch_optional(c).await?);
    row.map(Run::try_from).transpose()
}

/// Runs by id.
///
/// # Errors
/// As the database says.
pub async fn load(tx: &mut Tx, workspace: WorkspaceId, ids: &[RunId]) -> Result<Vec<Run>> {
    let sql = format!("SELECT {COLUMNS} FROM runs r WHERE r.workspace_id = $1 AND {}", tx.in_ids("r.id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    rows.into_iter().map(Run::try_from).collect()
}

/// The active runs of several batches.
///
/// # Errors
/// As the database says.
pub async fn load_active(tx: &mut Tx, workspace: WorkspaceId, batches: &[BatchId]) -> Result<HashMap<BatchId, Run>> {
    let sql =
        format!("SELECT {COLUMNS} FROM runs r WHERE r.workspace_id = $1 AND {} AND r.finished_at IS NULL", tx.in_ids("r.batch_id", 2));
    let list = id_list(batches.iter().map(|id| id.0));
    let rows: Vec<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    rows.into_iter().map(|row| Run::try_from(row).map(|run| (run.batch, run))).collect()
}

/// Ids of all runs of a batch.
///
/// # Errors
/// As the database says.
pub async fn list_ids(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<Vec<RunId>> {
    let rows: Vec<(Uuid,)> = on!(tx, c => sqlx::query_as("SELECT id FROM runs WHERE workspace_id = $1 AND batch_id = $2")
        .bind(workspace.0).bind(batch.0).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| RunId(id)).collect())
}

/// Name of the order of runs.
pub const ORDER: &str = "runs:mu";
/// Name of the order of attempts.
pub const ATTEMPT_ORDER: &str = "attempts:mu";

/// A page of the runs of each of several batches, newest first.
///
/// # Errors
/// As the database says.
pub async fn load_pages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batches: &[BatchId],
    request: &PageRequest,
) -> Result<HashMap<BatchId, Page<Run>>> {
    let mut from = Sql::new(" FROM runs r WHERE r.workspace_id = ");
    from.bind(Arg::Id(workspace.0));
    from.push_ids(tx, "r.batch_id", batches.iter().map(|id| id.0));
    let sql = pages_of_parents(COLUMNS, from, "r.batch_id", &[SortKey::desc("r.created_at"), SortKey::desc("r.id")], request);
    let mut found = Vec::new();
    for row in sql.fetch_all::<Row>(tx).await? {
        let run = Run::try_from(row)?;
        let at = Position::by_time(ORDER, run.created_at, run.id.0);
        found.push((run.batch, run, at));
    }
    Ok(group_pages(found, request))
}

/// Number of a batch's runs.
///
/// # Errors
/// As the database says.
pub async fn count(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<i64> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT count(*) FROM runs WHERE workspace_id = $1 AND batch_id = $2")
        .bind(workspace.0).bind(batch.0).fetch_one(c).await?))
}

/// What a run has yet to do for a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Sections that are neither written nor failed for good.
    pub sections_left: i32,
    /// Sections that failed for good.
    pub sections_failed: i32,
}

/// Takes projects into a run, with the number of sections to be written for each.
///
/// # Errors
/// As the database says.
pub async fn add_projects_in(tx: &mut Tx, workspace: WorkspaceId, run: RunId, projects: &[(ProjectId, i32)]) -> Result<()> {
    #[derive(Serialize)]
    struct Insert {
        id: String,
        sections: i32,
    }
    let rows: Vec<Insert> = projects.iter().map(|(id, sections)| Insert { id: id.0.simple().to_string(), sections: *sections }).collect();
    for chunk in rows.chunks(2_000) {
        let sql = tx.sql(
            "INSERT INTO run_projects (run_id, project_id, workspace_id, state, sections_left, sections_failed)
             SELECT $1, x.id, $2, 'QUEUED', x.sections, 0 FROM jsonb_to_recordset($3) AS x(id uuid, sections int)",
            "INSERT INTO run_projects (run_id, project_id, workspace_id, state, sections_left, sections_failed)
             SELECT $1, unhex(value ->> 'id'), $2, 'QUEUED', value ->> 'sections', 0 FROM json_each($3)",
        );
        on!(tx, c => sqlx::query(sql).bind(run.0).bind(workspace.0).bind(Json(chunk)).execute(c).await.map(drop)?);
    }
    Ok(())
}

/// Moves a project of a run from one state to another; false if it was not in that state.
///
/// # Errors
/// As the database says.
pub async fn move_project_in(tx: &mut Tx, run: RunId, project: ProjectId, from: &[&str], to: &str) -> Result<bool> {
    let from = from.join(",");
    let moved = on!(tx, c => sqlx::query(
        "UPDATE run_projects SET state = $4 WHERE run_id = $1 AND project_id = $2 AND ',' || $3 || ',' LIKE '%,' || state || ',%'")
        .bind(run.0).bind(project.0).bind(&from).bind(to).execute(c).await?.rows_affected());
    Ok(moved == 1)
}

/// Counts a section of a project as settled and gives what is left.
///
/// # Errors
/// As the database says.
pub async fn settle_section_in(tx: &mut Tx, run: RunId, project: ProjectId, failed: bool) -> Result<Remaining> {
    let (sections_left, sections_failed) = on!(tx, c => sqlx::query_as(
        "UPDATE run_projects SET sections_left = sections_left - 1, sections_failed = sections_failed + $3
         WHERE run_id = $1 AND project_id = $2 RETURNING sections_left, sections_failed")
        .bind(run.0).bind(project.0).bind(i32::from(failed)).fetch_one(c).await?);
    Ok(Remaining { sections_left, sections_failed })
}

/// What is left to do for a project, if it is in the run.
///
/// # Errors
/// As the database says.
pub async fn find_remaining(tx: &mut Tx, run: RunId, project: ProjectId) -> Result<Option<Remaining>> {
    let row: Option<(i32, i32)> = on!(tx, c => sqlx::query_as(
        "SELECT sections_left, sections_failed FROM run_projects WHERE run_id = $1 AND project_id = $2")
        .bind(run.0).bind(project.0).fetch_optional(c).await?);
    Ok(row.map(|(sections_left, sections_failed)| Remaining { sections_left, sections_failed }))
}

/// Projects of a run that are queued or in work.
///
/// # Errors
/// As the database says.
pub async fn list_open_projects(tx: &mut Tx, run: RunId) -> Result<Vec<ProjectId>> {
    let rows: Vec<(Uuid,)> = on!(tx, c => sqlx::query_as("SELECT project_id FROM run_projects WHERE run_id = $1 AND state IN ('QUEUED', 'RUNNING')")
            .bind(run.0).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| ProjectId(id)).collect())
}

/// Marks projects of a run that are queued or in work as cancelled.
///
/// # Errors
/// As the database says.
pub async fn cancel_open_projects_in(tx: &mut Tx, run: RunId) -> Result<()> {
    on!(tx, c => sqlx::query("UPDATE run_projects SET state = 'CANCELLED' WHERE run_id = $1 AND state IN ('QUEUED', 'RUNNING')")
        .bind(run.0).execute(c).await.map(drop)?);
    Ok(())
}

pub(super) const ATTEMPT_COLUMNS: &str =
    "id, run_id, rewrite_id, project_id, section_id, section_key, number, status, provider, model, template_version_id, prompt_hash,
    input_tokens, output_tokens, spend_micros, reserved_micros, failure_code, failure_message, failure_retryable, started_at, finished_at";

#[derive(sqlx::FromRow)]
pub(super) struct AttemptRow {
    id: Uuid,
    run_id: Option<Uuid>,
    rewrite_id: Option<Uuid>,
    project_id: Uuid,
    section_id: Uuid,
    section_key: String,
    number: i32,
    status: String,
    provider: String,
    model: String,
    template_version_id: Uuid,
    prompt_hash: String,
    input_tokens: Option<i32>,
    output_tokens: Option<i32>,
    spend_micros: Option<i64>,
    reserved_micros: Option<i64>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    failure_retryable: Option<bool>,
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = Error;

    fn try_from(row: AttemptRow) -> Result<Self> {
        Ok(Self {
            id: AttemptId(row.id),
            asked_by: match row.run_id {
                Some(run) => AskedBy::Run(RunId(run)),
                None => AskedBy::Rewriting(AttemptId(row.rewrite_id.ok_or_else(|| Error::internal("an attempt that nobody asked for"))?)),
            },
            project: ProjectId(row.project_id),
            section: SectionId(row.section_id),
            section_key: row.section_key,
            number: row.number,
            status: row.status.parse()?,
            provider: row.provider,
            model: row.model,
            template_version: TemplateVersionId(row.template_version_id),
            prompt_hash: row.prompt_hash,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            spend: row.spend_micros.map(Spend),
            reserved: row.reserved_micros.map(Spend),
            failure: judged_failure(row.failure_code, row.failure_message, row.failure_retryable)?,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Adds an attempt.
///
/// # Errors
/// As the database says.
pub async fn create_attempt_in(tx: &mut Tx, workspace: WorkspaceId, attempt: &Attempt) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO attempts (id, workspace_id, run_id, project_id, section_id, section_key, number, status, provider, model,
            template_version_id, prompt_hash, started_at, rewrite_id, reserved_micros)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)")
        .bind(attempt.id.0).bind(workspace.0).bind(attempt.asked_by.run().map(|run| run.0)).bind(attempt.project.0).bind(attempt.section.0).bind(&attempt.section_key)
        .bind(attempt.number).bind(attempt.status.as_str()).bind(&attempt.provider).bind(&attempt.model).bind(attempt.template_version.0)
        .bind(&attempt.prompt_hash).bind(attempt.started_at).bind(attempt.asked_by.rewriting().map(|first| first.0))
        .bind(attempt.reserved.map(|s| s.0)).execute(c).await.map(drop)?);
    Ok(())
}

/// Stores how an attempt ended.
///
/// # Errors
/// As the database says.
pub async fn update_attempt_in(tx: &mut Tx, workspace: WorkspaceId, attempt: &Attempt) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE attempts SET status = $3, model = $4, input_tokens = $5, output_tokens = $6, spend_micros = $7, failure_code = $8,
            failure_message = $9, finished_at = $10, failure_retryable = $11, reserved_micros = NULL WHERE id = $1 AND workspace_id = $2")
        .bind(attempt.id.0).bind(workspace.0).bind(attempt.status.as_str()).bind(&attempt.model).bind(attempt.input_tokens)
        .bind(attempt.output_tokens).bind(attempt.spend.map(|s| s.0)).bind(attempt.failure.as_ref().map(|f| f.code.as_str()))
        .bind(attempt.failure.as_ref().map(|f| &f.message)).bind(attempt.finished_at).bind(attempt.failure.as_ref().map(|f| f.retryable))
        .execute(c).await.map(drop)?);
    Ok(())
}

/// Takes back an attempt whose call was never made.
///
/// # Errors
/// As the database says.
pub async fn forget_attempt_in(tx: &mut Tx, workspace: WorkspaceId, attempt: AttemptId) -> Result<()> {
    on!(tx, c => sqlx::query("DELETE FROM attempts WHERE id = $1 AND workspace_id = $2")
        .bind(attempt.0).bind(workspace.0).execute(c).await.map(drop)?);
    Ok(())
}

/// Why a section of a run (of one project, if given) failed for good: the newest such failure. One whose second draft
/// failed has its first text, and has not failed.
///
/// # Errors
/// As the database says.
pub async fn find_failure(tx: &mut Tx, workspace: WorkspaceId, run: RunId, project: Option<ProjectId>) -> Result<Option<JobFailure>> {
    let row: Option<(Option<String>, Option<String>, Option<bool>)> = on!(tx, c => sqlx::query_as(
        "SELECT failure_code, failure_message, failure_retryable FROM attempts a WHERE run_id = $1 AND workspace_id = $2 AND status = 'FAILED'
            AND (CAST($3 AS text) IS NULL OR project_id = $4)
            AND NOT EXISTS (SELECT 1 FROM attempts s WHERE s.run_id = $1 AND s.section_id = a.section_id AND s.status = 'SUCCEEDED')
         ORDER BY started_at DESC LIMIT 1")
        .bind(run.0).bind(workspace.0).bind(project.map(|p| p.0.to_string())).bind(project.map(|p| p.0)).fetch_optional(c).await?);
    let Some((code, message, retryable)) = row else { return Ok(None) };
    judged_failure(code, message, retryable)
}

/// Attempts by id.
///
/// # Errors
/// As the database says.
pub async fn load_attempts(tx: &mut Tx, workspace: WorkspaceId, ids: &[AttemptId]) -> Result<Vec<Attempt>> {
    let sql = format!("SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE workspace_id = $1 AND {}", tx.in_ids("id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<AttemptRow> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    rows.into_iter().map(Attempt::try_from).collect()
}

/// Which attempts.
#[derive(Debug, Clone, Copy)]
pub enum AttemptsOf<'a> {
    /// Those of a project.
    Project(ProjectId),
    /// Those of a run, with these outcomes if given.
    Run(RunId, Option<&'a [AttemptStatus]>),
}

fn push_attempts(sql: &mut Sql, workspace: WorkspaceId, of: AttemptsOf<'_>) {
    sql.push(" FROM attempts WHERE workspace_id = ").bind(Arg::Id(workspace.0));
    match of {
        AttemptsOf::Project(id) => drop(sql.push(" AND project_id = ").bind(Arg::Id(id.0))),
        AttemptsOf::Run(id, statuses) => {
            sql.push(" AND run_id = ").bind(Arg::Id(id.0));
            if let Some(statuses) = statuses {
                super::batches::push_words(sql, "status", statuses.iter().map(|status| status.as_str()));
            }
        }
    }
}

fn attempt_position(attempt: &Attempt) -> Position {
    Position::by_time(ATTEMPT_ORDER, attempt.started_at, attempt.id.0)
}

/// A page of the attempts of each of several projects, newest first.
///
/// # Errors
/// As the database says.
pub async fn load_attempt_pages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    projects: &[ProjectId],
    request: &PageRequest,
) -> Result<HashMap<ProjectId, Page<Attempt>>> {
    let mut from = Sql::new(" FROM attempts WHERE workspace_id = ");
    from.bind(Arg::Id(workspace.0));
    from.push_ids(tx, "project_id", projects.iter().map(|id| id.0));
    let keys = [SortKey::desc("started_at"), SortKey::desc("id")];
    let mut found = Vec::new();
    for row in pages_of_parents(ATTEMPT_COLUMNS, from, "project_id", &keys, request).fetch_all::<AttemptRow>(tx).await? {
        let attempt = Attempt::try_from(row)?;
        found.push((attempt.project, attempt_position(&attempt), attempt));
    }
    Ok(group_pages(found.into_iter().map(|(project, at, attempt)| (project, attempt, at)).collect(), request))
}

/// A page of attempts, newest first.
///
/// # Errors
/// As the database says.
pub async fn list_attempts(tx: &mut Tx, workspace: WorkspaceId, of: AttemptsOf<'_>, request: &PageRequest) -> Result<Page<Attempt>> {
    let mut sql = Sql::new(format!("SELECT {ATTEMPT_COLUMNS}"));
    push_attempts(&mut sql, workspace, of);
    push_page(&mut sql, &[SortKey::desc("started_at"), SortKey::desc("id")], request);
    let rows: Vec<AttemptRow> = sql.fetch_all(tx).await?;
    let attempts = rows.into_iter().map(Attempt::try_from).collect::<Result<Vec<_>>>()?;
    Ok(Page::from_rows(attempts.into_iter().map(|a| (attempt_position(&a), a)).map(|(at, a)| (a, at)).collect(), request))
}

/// Number of attempts.
///
/// # Errors
/// As the database says.
pub async fn count_attempts(tx: &mut Tx, workspace: WorkspaceId, of: AttemptsOf<'_>) -> Result<i64> {
    let mut sql = Sql::new("SELECT count(*)");
    push_attempts(&mut sql, workspace, of);
    sql.fetch_count(tx).await
}
