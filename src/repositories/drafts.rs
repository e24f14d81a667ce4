//! What somebody looks at who watches the texts of a project being written: its newest attempts, and how much was written
//! so far. Reads only; attempts are written by `generations.rs`.

use super::db::Tx;
use super::generations::failure;
use crate::domain::drafts::DraftAttempt;
use crate::domain::ids::{AttemptId, ProjectId, SectionId, WorkspaceId};
use crate::error::{Error, Result};
use crate::on;
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    section_id: Uuid,
    section_key: String,
    status: String,
    failure_code: Option<String>,
    failure_message: Option<String>,
    started_at: DateTime<Utc>,
}

impl TryFrom<Row> for DraftAttempt {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: AttemptId(row.id),
            section: SectionId(row.section_id),
            section_key: row.section_key,
            status: row.status.parse()?,
            failure: failure(row.failure_code, row.failure_message)?,
            started_at: row.started_at,
        })
    }
}

/// The newest attempts of a project, the newest first.
///
/// # Errors
/// As the database says.
pub async fn list_attempts(tx: &mut Tx, workspace: WorkspaceId, project: ProjectId, limit: i64) -> Result<Vec<DraftAttempt>> {
    let rows: Vec<Row> = on!(tx, c => sqlx::query_as(
        "SELECT id, section_id, section_key, status, failure_code, failure_message, started_at FROM attempts
         WHERE project_id = $1 AND workspace_id = $2 ORDER BY started_at DESC, id DESC LIMIT $3")
        .bind(project.0).bind(workspace.0).bind(limit).fetch_all(c).await?);
    rows.into_iter().map(DraftAttempt::try_from).collect()
}

/// How much of a project was written until now, in units of a tenth of a second of one attempt, with a few more for each
/// attempt and one for each stored text. It only grows.
///
/// # Errors
/// As the database says.
pub async fn measure(tx: &mut Tx, workspace: WorkspaceId, project: ProjectId, now: DateTime<Utc>) -> Result<i64> {
    let sql = tx.sql(
        "SELECT (SELECT coalesce(sum(5 + CAST(greatest(extract(epoch FROM coalesce(finished_at, $3) - started_at), 0) * 10 AS bigint)), 0)
             FROM attempts WHERE project_id = $1 AND workspace_id = $2)::bigint
           + (SELECT coalesce(sum(revision), 0) FROM sections WHERE project_id = $1 AND workspace_id = $2)::bigint",
        "SELECT (SELECT coalesce(sum(5 + CAST(max((julianday(coalesce(finished_at, $3)) - julianday(started_at)) * 864000, 0) AS INTEGER)), 0)
             FROM attempts WHERE project_id = $1 AND workspace_id = $2)
           + (SELECT coalesce(sum(revision), 0) FROM sections WHERE project_id = $1 AND workspace_id = $2)",
    );
    Ok(on!(tx, c => sqlx::query_scalar(sql).bind(project.0).bind(workspace.0).bind(now).fetch_one(c).await?))
}
