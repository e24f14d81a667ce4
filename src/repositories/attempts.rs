//! What is asked of attempts when something is to be written once more: what was written, what failed, with what, what was
//! left behind by a worker that died; and the attempts of sections that are written anew alone. The rows themselves are read
//! and written in `generations.rs`.

use super::db::Tx;
use super::generations::{ATTEMPT_COLUMNS, AttemptRow};
use crate::domain::generations::{AskedBy, Attempt, AttemptStatus};
use crate::domain::ids::{AttemptId, ProjectId, RunId, SectionId, WorkspaceId};
use crate::domain::jobs::JobFailure;
use crate::domain::money::Spend;
use crate::error::Result;
use crate::on;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use std::collections::HashSet;
use uuid::Uuid;

/// Notes that the call of an attempt begins, and with which prompt.
///
/// # Errors
/// As the database says.
pub async fn begin_in(tx: &mut Tx, workspace: WorkspaceId, attempt: &Attempt) -> Result<()> {
    on!(tx, c => sqlx::query("UPDATE attempts SET prompt_hash = $3, started_at = $4 WHERE id = $1 AND workspace_id = $2")
        .bind(attempt.id.0).bind(workspace.0).bind(&attempt.prompt_hash).bind(attempt.started_at).execute(c).await.map(drop)?);
    Ok(())
}

/// Sections of a project that a run has written.
///
/// # Errors
/// As the database says.
pub async fn list_written(tx: &mut Tx, workspace: WorkspaceId, run: RunId, project: ProjectId) -> Result<HashSet<SectionId>> {
    let rows: Vec<(Uuid,)> = on!(tx, c => sqlx::query_as(
        "SELECT DISTINCT section_id FROM attempts WHERE run_id = $1 AND project_id = $2 AND workspace_id = $3 AND status = 'SUCCEEDED'")
        .bind(run.0).bind(project.0).bind(workspace.0).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| SectionId(id)).collect())
}

/// Sections that failed for good in a run and that nothing has written since.
///
/// # Errors
/// As the database says.
pub async fn list_failed_sections(tx: &mut Tx, workspace: WorkspaceId, run: RunId) -> Result<HashSet<SectionId>> {
    let rows: Vec<(Uuid,)> = on!(tx, c => sqlx::query_as(
        "SELECT DISTINCT section_id FROM attempts a WHERE run_id = $1 AND workspace_id = $2 AND status = 'FAILED'
            AND NOT EXISTS (SELECT 1 FROM attempts s WHERE s.section_id = a.section_id AND s.workspace_id = $2 AND s.status = 'SUCCEEDED'
                AND (s.run_id = $1 OR s.started_at >= a.started_at))")
        .bind(run.0).bind(workspace.0).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| SectionId(id)).collect())
}

/// The newest attempt of a rewriting.
///
/// # Errors
/// As the database says.
pub async fn find_newest_of_rewriting(tx: &mut Tx, workspace: WorkspaceId, first: AttemptId) -> Result<Option<Attempt>> {
    let sql = format!("SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE rewrite_id = $1 AND workspace_id = $2 ORDER BY number DESC LIMIT 1");
    let row: Option<AttemptRow> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(first.0).bind(workspace.0).fetch_optional(c).await?);
    row.map(Attempt::try_from).transpose()
}

/// Provider and model that a section was last written with, as they were chosen: by a run if there was one, because of a
/// rewriting only the name is known that the provider has reported.
///
/// # Errors
/// As the database says.
pub async fn find_last_choice(tx: &mut Tx, workspace: WorkspaceId, section: SectionId) -> Result<Option<(String, String)>> {
    Ok(on!(tx, c => sqlx::query_as(
        "SELECT coalesce(r.provider, a.provider), coalesce(r.model, a.model) FROM attempts a LEFT JOIN runs r ON r.id = a.run_id
         WHERE a.section_id = $1 AND a.workspace_id = $2 AND a.status = 'SUCCEEDED'
         ORDER BY (a.run_id IS NULL), a.started_at DESC LIMIT 1")
        .bind(section.0).bind(workspace.0).fetch_optional(c).await?))
}

/// Gives a project of a run so many sections to write again.
///
/// # Errors
/// As the database says.
pub async fn reopen_sections_in(tx: &mut Tx, run: RunId, project: ProjectId, sections: i32) -> Result<()> {
    on!(tx, c => sqlx::query("UPDATE run_projects SET sections_left = sections_left + $3 WHERE run_id = $1 AND project_id = $2")
        .bind(run.0).bind(project.0).bind(sections).execute(c).await.map(drop)?);
    Ok(())
}

/// Projects of a run that failed in it.
///
/// # Errors
/// As the database says.
pub async fn list_failed_projects(tx: &mut Tx, run: RunId) -> Result<Vec<ProjectId>> {
    let rows: Vec<(Uuid,)> = on!(tx, c => sqlx::query_as("SELECT project_id FROM run_projects WHERE run_id = $1 AND state = 'FAILED' ORDER BY project_id")
        .bind(run.0).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| ProjectId(id)).collect())
}

/// What earlier attempts of a section left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// The highest number so far; 0 if there was none.
    pub number: i32,
    /// What is reserved for attempts that are still marked as in work.
    pub reserved: Spend,
}

/// Looks at the attempts of a section that were asked for together.
///
/// # Errors
/// As the database says.
pub async fn find_earlier(tx: &mut Tx, workspace: WorkspaceId, asked_by: AskedBy, section: SectionId) -> Result<Earlier> {
    let (number, reserved) = on!(tx, c => sqlx::query_as(
        "SELECT coalesce(max(number), 0), CAST(coalesce(sum(CASE WHEN status = 'RUNNING' THEN reserved_micros END), 0) AS bigint)
         FROM attempts WHERE $1 IN (run_id, rewrite_id) AND section_id = $2 AND workspace_id = $3")
        .bind(asked_by.id()).bind(section.0).bind(workspace.0).fetch_one(c).await?);
    Ok(Earlier { number, reserved: Spend(reserved) })
}

/// Ends attempts of a section that are still marked as in work: their worker died.
///
/// # Errors
/// As the database says.
pub async fn close_lost_attempts_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    asked_by: AskedBy,
    section: SectionId,
    now: DateTime<Utc>,
) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE attempts SET status = $4, failure_code = 'WORKER_LOST', failure_message = 'The worker died; the section is written again.',
            finished_at = $5, reserved_micros = NULL WHERE $1 IN (run_id, rewrite_id) AND section_id = $2 AND workspace_id = $3 AND status = 'RUNNING'")
        .bind(asked_by.id()).bind(section.0).bind(workspace.0).bind(AttemptStatus::Retrying.as_str()).bind(now).execute(c).await.map(drop)?);
    Ok(())
}

/// The newest attempt of a section, which its worker did not survive, was the last: it has failed for good.
///
/// # Errors
/// As the database says.
pub async fn give_up_lost_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    asked_by: AskedBy,
    section: SectionId,
    failure: &JobFailure,
) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE attempts SET status = 'FAILED', failure_code = $4, failure_message = $5, failure_retryable = $6
         WHERE $1 IN (run_id, rewrite_id) AND section_id = $2 AND workspace_id = $3 AND number = (
            SELECT max(number) FROM attempts WHERE $1 IN (run_id, rewrite_id) AND section_id = $2 AND workspace_id = $3)")
        .bind(asked_by.id()).bind(section.0).bind(workspace.0).bind(failure.code.as_str()).bind(&failure.message).bind(failure.retryable)
        .execute(c).await.map(drop)?);
    Ok(())
}

/// Ends attempts of a run that are in work: nobody will come back for them.
///
/// # Errors
/// As the database says.
pub async fn cancel_all_attempts_in(tx: &mut Tx, workspace: WorkspaceId, run: RunId, now: DateTime<Utc>) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE attempts SET status = 'CANCELLED', finished_at = $3, reserved_micros = NULL
         WHERE run_id = $1 AND workspace_id = $2 AND status = 'RUNNING'")
        .bind(run.0).bind(workspace.0).bind(now).execute(c).await.map(drop)?);
    Ok(())
}

/// Ends attempts of a section that are in work because their run is cancelled.
///
/// # Errors
/// As the database says.
pub async fn cancel_attempts_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    asked_by: AskedBy,
    section: SectionId,
    now: DateTime<Utc>,
) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE attempts SET status = 'CANCELLED', finished_at = $4, reserved_micros = NULL
         WHERE $1 IN (run_id, rewrite_id) AND section_id = $2 AND workspace_id = $3 AND status IN ('RUNNING', 'RETRYING')")
        .bind(asked_by.id()).bind(section.0).bind(workspace.0).bind(now).execute(c).await.map(drop)?);
    Ok(())
}

/// Ends attempts of a section that are in work as failed for good.
///
/// # Errors
/// As the database says.
pub async fn fail_attempts_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    asked_by: AskedBy,
    section: SectionId,
    failure: &JobFailure,
    now: DateTime<Utc>,
) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE attempts SET status = 'FAILED', failure_code = $4, failure_message = $5, finished_at = $6, reserved_micros = NULL,
            failure_retryable = $7
         WHERE $1 IN (run_id, rewrite_id) AND section_id = $2 AND workspace_id = $3 AND status = 'RUNNING'")
        .bind(asked_by.id()).bind(section.0).bind(workspace.0).bind(failure.code.as_str()).bind(&failure.message).bind(now)
        .bind(failure.retryable).execute(c).await.map(drop)?);
    Ok(())
}
