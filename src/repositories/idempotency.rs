//! Keys that make repeats harmless: workspace, mutation and key, with the hash of the input and the object that was made.

use super::db::Tx;
use crate::domain::ids::WorkspaceId;
use crate::error::Result;
use crate::on;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownKey {
    /// Hash of the input that the key was first used with.
    pub input_hash: String,
    /// The object that was made then.
    pub object_id: Uuid,
}

/// Takes a key for a new object, or gives what it was used for.
///
/// # Errors
/// As the database says.
pub async fn claim_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    mutation: &str,
    key: &str,
    known: &KnownKey,
    now: DateTime<Utc>,
) -> Result<Option<KnownKey>> {
    let added = on!(tx, c => sqlx::query(
        "INSERT INTO idempotency_keys (workspace_id, mutation, key, input_hash, object_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING")
        .bind(workspace.0).bind(mutation).bind(key).bind(&known.input_hash).bind(known.object_id).bind(now)
        .execute(c).await?.rows_affected());
    if added == 1 {
        return Ok(None);
    }
    find(tx, workspace, mutation, key).await
}

/// What a key was used for, if it was.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, mutation: &str, key: &str) -> Result<Option<KnownKey>> {
    Ok(on!(tx, c => sqlx::query_as(
        "SELECT input_hash, object_id FROM idempotency_keys WHERE workspace_id = $1 AND mutation = $2 AND key = $3")
        .bind(workspace.0).bind(mutation).bind(key).fetch_optional(c).await?))
}

/// Forgets keys that were first used before this moment.
///
/// # Errors
/// As the database says.
pub async fn purge_in(tx: &mut Tx, before: DateTime<Utc>) -> Result<u64> {
    Ok(on!(tx, c => sqlx::query("DELETE FROM idempotency_keys WHERE created_at < $1").bind(before).execute(c).await?.rows_affected()))
}
