//! The audit log: what people did that has to be accounted for. Written with the change itself, never changed.

use super::db::Tx;
use crate::domain::actor::Actor;
use crate::error::Result;
use crate::on;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Records an action on an object.
///
/// # Errors
/// As the database says.
pub async fn record_in(
    tx: &mut Tx,
    id: Uuid,
    actor: &Actor,
    action: &str,
    object: Uuid,
    note: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO audit_entries (id, workspace_id, user_id, action, object_id, note, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(id).bind(actor.workspace.0).bind(actor.user.map(|u| u.0)).bind(action).bind(object).bind(note).bind(now).execute(c).await.map(drop)?);
    Ok(())
}
