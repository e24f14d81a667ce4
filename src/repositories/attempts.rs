//! What is asked of attempts and runs when something is to be written once more: what was written, what failed, with what;
//! and the attempts of sections that are written anew alone. The rows themselves are read and written in `generations.rs`.

use super::db::Tx;
use super::generations::{ATTEMPT_COLUMNS, AttemptRow};
use crate::domain::generations::Attempt;
use crate::domain::ids::{AttemptId, ProjectId, RunId, SectionId, WorkspaceId};
use crate::error::Result;
use crate::on;
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

/// Provider and model that a section was last written with, as they were chosen.
///
/// # Errors
/// As the database says.
pub async fn find_last_choice(tx: &mut Tx, workspace: WorkspaceId, section: SectionId) -> Result<Option<(String, String)>> {
    Ok(on!(tx, c => sqlx::query_as(
        "SELECT coalesce(r.provider, a.provider), coalesce(r.model, a.model) FROM attempts a LEFT JOIN runs r ON r.id = a.run_id
         WHERE a.section_id = $1 AND a.workspace_id = $2 AND a.status = 'SUCCEEDED' ORDER BY a.started_at DESC LIMIT 1")
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
