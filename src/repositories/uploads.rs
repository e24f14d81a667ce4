//! Rows of uploads: files that were announced.

use super::db::Tx;
use crate::domain::ids::{UploadId, UserId, WorkspaceId};
use crate::domain::uploads::Upload;
use crate::error::Result;
use crate::on;
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    file_name: String,
    content_type: String,
    bytes: i64,
    sha256: Option<String>,
    object_key: Option<String>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl From<Row> for Upload {
    fn from(row: Row) -> Self {
        Self {
            id: UploadId(row.id),
            file_name: row.file_name,
            content_type: row.content_type,
            bytes: row.bytes,
            sha256: row.sha256,
            object_key: row.object_key,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}

/// Adds an upload.
///
/// # Errors
/// As the database says.
pub async fn create_in(tx: &mut Tx, workspace: WorkspaceId, upload: &Upload) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO uploads (id, workspace_id, file_name, content_type, bytes, sha256, object_key, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
        .bind(upload.id.0).bind(workspace.0).bind(&upload.file_name).bind(&upload.content_type).bind(upload.bytes).bind(&upload.sha256)
        .bind(&upload.object_key).bind(upload.created_by.map(|u| u.0)).bind(upload.created_at).bind(upload.expires_at)
        .execute(c).await.map(drop)?);
    Ok(())
}

/// An upload.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: UploadId) -> Result<Option<Upload>> {
    let row: Option<Row> = on!(tx, c => sqlx::query_as(
        "SELECT id, file_name, content_type, bytes, sha256, object_key, created_by, created_at, expires_at FROM uploads
         WHERE workspace_id = $1 AND id = $2")
        .bind(workspace.0).bind(id.0).fetch_optional(c).await?);
    Ok(row.map(Upload::from))
}

/// Takes the file away from uploads of all workspaces that have expired; gives the keys of the objects.
///
/// # Errors
/// As the database says.
pub async fn expire_in(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<String>> {
    let rows: Vec<(Uuid, String)> = on!(tx, c => sqlx::query_as(
        "SELECT id, object_key FROM uploads WHERE object_key IS NOT NULL AND expires_at < $1 ORDER BY expires_at LIMIT 500")
        .bind(now).fetch_all(c).await?);
    for (id, _) in &rows {
        on!(tx, c => sqlx::query("UPDATE uploads SET object_key = NULL WHERE id = $1").bind(id).execute(c).await.map(drop)?);
    }
    Ok(rows.into_iter().map(|(_, key)| key).collect())
}

/// Forgets uploads of all workspaces whose file was removed before this moment; gives their number.
///
/// # Errors
/// As the database says.
pub async fn purge_in(tx: &mut Tx, before: DateTime<Utc>) -> Result<u64> {
    Ok(on!(tx, c => sqlx::query("DELETE FROM uploads WHERE object_key IS NULL AND expires_at < $1").bind(before)
        .execute(c).await?.rows_affected()))
}
