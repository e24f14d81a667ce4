//! Sums over runs and attempts: what they cost, and how long they took.

use super::db::{Tx, id_list};
use crate::domain::budgets::Estimate;
use crate::domain::ids::{BatchId, ProjectId, WorkspaceId};
use crate::domain::money::Spend;
use crate::error::Result;
use crate::on;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

/// What all attempts of several projects cost together.
///
/// # Errors
/// As the database says.
pub async fn load_spend_of_projects(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId]) -> Result<HashMap<ProjectId, Spend>> {
    let sql = format!(
        "SELECT project_id, CAST(coalesce(sum(spend_micros), 0) AS bigint) FROM attempts WHERE workspace_id = $1 AND {} GROUP BY project_id",
        tx.in_ids("project_id", 2)
    );
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<(Uuid, i64)> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    let spent: HashMap<Uuid, i64> = rows.into_iter().collect();
    Ok(ids.iter().map(|id| (*id, Spend(spent.get(&id.0).copied().unwrap_or_default()))).collect())
}

/// What all runs of several batches and the single sections of their projects cost together.
///
/// # Errors
/// As the database says.
pub async fn load_spend_of_batches(tx: &mut Tx, workspace: WorkspaceId, ids: &[BatchId]) -> Result<HashMap<BatchId, Spend>> {
    let list = id_list(ids.iter().map(|id| id.0));
    let sql = format!(
        "SELECT batch_id, CAST(coalesce(sum(spend), 0) AS bigint) FROM (
            SELECT batch_id, spend_micros AS spend FROM runs WHERE workspace_id = $1 AND {0}
            UNION ALL SELECT p.batch_id, a.spend_micros FROM attempts a JOIN projects p ON p.id = a.project_id
                WHERE a.workspace_id = $1 AND a.run_id IS NULL AND {1}) AS s GROUP BY batch_id",
        tx.in_ids("batch_id", 2),
        tx.in_ids("p.batch_id", 2)
    );
    let rows: Vec<(Uuid, i64)> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    let spent: HashMap<Uuid, i64> = rows.into_iter().collect();
    Ok(ids.iter().map(|id| (*id, Spend(spent.get(&id.0).copied().unwrap_or_default()))).collect())
}

/// A run that has ended.
#[derive(sqlx::FromRow)]
struct Past {
    sections_done: i32,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    cap_micros: Option<i64>,
    estimate: Option<Json<Estimate>>,
}

/// How long a section took on the average of the workspace's last runs with a model, in seconds of the run.
///
/// # Errors
/// As the database says.
pub async fn find_seconds_per_section(tx: &mut Tx, workspace: WorkspaceId, provider: &str, model: &str) -> Result<Option<f64>> {
    let rows: Vec<Past> = on!(tx, c => sqlx::query_as(
        "SELECT sections_done, started_at, finished_at, cap_micros, estimate FROM runs WHERE workspace_id = $1 AND provider = $2 AND model = $3
            AND status IN ('SUCCEEDED', 'PARTIAL') AND started_at IS NOT NULL AND sections_done > 0 ORDER BY created_at DESC LIMIT 5")
        .bind(workspace.0).bind(provider).bind(model).fetch_all(c).await?);
    // a run with another cap than it was started with was paused for a while
    let went_on = |run: &&Past| run.estimate.as_ref().is_none_or(|Json(estimate)| estimate.cap.map(|cap| cap.0) == run.cap_micros);
    let sections: f64 = rows.iter().filter(went_on).map(|run| f64::from(run.sections_done)).sum();
    let seconds: f64 = rows.iter().filter(went_on).map(|run| (run.finished_at - run.started_at).as_seconds_f64().max(0.0)).sum();
    Ok((sections > 0.0).then_some(seconds / sections))
}
