//! Rows of workspaces and users.

use super::db::{Tx, id_list};
use crate::domain::actor::Principal;
use crate::domain::ids::{UserId, WorkspaceId};
use crate::domain::people::{User, Workspace};
use crate::error::Result;
use crate::on;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Adds a workspace unless it is there; true if it was added.
///
/// # Errors
/// As the database says.
pub async fn create_workspace_in(tx: &mut Tx, id: WorkspaceId, name: &str, now: DateTime<Utc>) -> Result<bool> {
    let added = on!(tx, c => sqlx::query("INSERT INTO workspaces (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(id.0).bind(name).bind(now).execute(c).await?.rows_affected());
    Ok(added == 1)
}

/// Adds a user or refreshes name and email from a token; gives the id.
///
/// # Errors
/// As the database says.
pub async fn upsert_user_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    principal: &Principal,
    name: &str,
    new_id: UserId,
    now: DateTime<Utc>,
) -> Result<UserId> {
    let id: Uuid = on!(tx, c => sqlx::query_scalar(
        "INSERT INTO users (id, workspace_id, issuer, subject, email, display_name, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (workspace_id, issuer, subject) DO UPDATE SET email = coalesce(excluded.email, users.email),
            display_name = CASE WHEN excluded.email IS NULL THEN users.display_name ELSE excluded.display_name END
         RETURNING id")
        .bind(new_id.0).bind(workspace.0).bind(&principal.issuer).bind(&principal.subject).bind(&principal.email).bind(name).bind(now)
        .fetch_one(c).await?);
    Ok(UserId(id))
}

/// Keeps which workspace a person's token names, unless a newer token has named one.
///
/// # Errors
/// As the database says.
pub async fn name_workspace_in(tx: &mut Tx, workspace: WorkspaceId, principal: &Principal) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO person_workspaces (issuer, subject, workspace_id, token_expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (issuer, subject) DO UPDATE SET workspace_id = excluded.workspace_id, token_expires_at = excluded.token_expires_at
         WHERE excluded.token_expires_at >= person_workspaces.token_expires_at")
        .bind(&principal.issuer).bind(&principal.subject).bind(workspace.0).bind(principal.expires_at).execute(c).await.map(drop)?);
    Ok(())
}

/// The workspace that a person's newest token named, of those that named any.
///
/// # Errors
/// As the database says.
pub async fn find_workspace_of(tx: &mut Tx, issuer: &str, subject: &str) -> Result<Option<WorkspaceId>> {
    let id: Option<Uuid> = on!(tx, c => sqlx::query_scalar("SELECT workspace_id FROM person_workspaces WHERE issuer = $1 AND subject = $2")
        .bind(issuer).bind(subject).fetch_optional(c).await?);
    Ok(id.map(WorkspaceId))
}

/// A workspace.
///
/// # Errors
/// As the database says.
pub async fn find_workspace(tx: &mut Tx, id: WorkspaceId) -> Result<Option<Workspace>> {
    let row: Option<(Uuid, String)> =
        on!(tx, c => sqlx::query_as("SELECT id, name FROM workspaces WHERE id = $1").bind(id.0).fetch_optional(c).await?);
    Ok(row.map(|(id, name)| Workspace { id: WorkspaceId(id), name }))
}

/// Users by id.
///
/// # Errors
/// As the database says.
pub async fn load_users(tx: &mut Tx, workspace: WorkspaceId, ids: &[UserId]) -> Result<Vec<User>> {
    let sql = format!("SELECT id, display_name, email FROM users WHERE workspace_id = $1 AND {}", tx.in_ids("id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<(Uuid, String, Option<String>)> =
        on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id, display_name, email)| User { id: UserId(id), display_name, email }).collect())
}
