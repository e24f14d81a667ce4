//! The event log of batches: dense sequences, given under the lock of the batch's row so that they become visible in
//! order. The table is the truth; publishing is somebody else's work.

use super::db::Tx;
use crate::domain::events::{BatchEvent, StoredEvent};
use crate::domain::ids::{BatchId, WorkspaceId};
use crate::error::{Error, Result};
use crate::on;
use chrono::{DateTime, Utc};
use sqlx::types::Json;

/// Appends events to a batch's stream and gives them with their sequences.
///
/// # Errors
/// As the database says; `INTERNAL` if the batch is gone.
pub async fn append_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batch: BatchId,
    events: Vec<BatchEvent>,
    now: DateTime<Utc>,
) -> Result<Vec<StoredEvent>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let newest: Option<i64> = on!(tx, c => sqlx::query_scalar(
        "UPDATE batches SET event_sequence = event_sequence + $3 WHERE id = $1 AND workspace_id = $2 RETURNING event_sequence")
        .bind(batch.0).bind(workspace.0).bind(count).fetch_optional(c).await?);
    let newest = newest.ok_or_else(|| Error::internal("events of a batch that does not exist"))?;
    let stored: Vec<StoredEvent> =
        (newest - count + 1..).zip(events).map(|(sequence, event)| StoredEvent { sequence, occurred_at: now, event }).collect();
    for chunk in stored.chunks(1_000) {
        let sql = tx.sql(
            "INSERT INTO batch_events (batch_id, sequence, workspace_id, payload, occurred_at)
             SELECT $1, x.sequence, $2, x.event, $3 FROM jsonb_to_recordset($4) AS x(sequence bigint, event jsonb)",
            "INSERT INTO batch_events (batch_id, sequence, workspace_id, payload, occurred_at)
             SELECT $1, value ->> 'sequence', $2, value -> 'event', $3 FROM json_each($4)",
        );
        on!(tx, c => sqlx::query(sql).bind(batch.0).bind(workspace.0).bind(now).bind(Json(chunk)).execute(c).await.map(drop)?);
    }
    Ok(stored)
}

/// Events after a sequence, oldest first.
///
/// # Errors
/// As the database says.
pub async fn list_after(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId, after: i64, limit: i64) -> Result<Vec<StoredEvent>> {
    let rows: Vec<(i64, Json<BatchEvent>, DateTime<Utc>)> = on!(tx, c => sqlx::query_as(
        "SELECT sequence, payload, occurred_at FROM batch_events
         WHERE batch_id = $1 AND workspace_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4")
        .bind(batch.0).bind(workspace.0).bind(after).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(sequence, Json(event), occurred_at)| StoredEvent { sequence, occurred_at, event }).collect())
}

/// Removes events of all batches that are older than their retention; the sequences stay.
///
/// # Errors
/// As the database says.
pub async fn purge_in(tx: &mut Tx, before: DateTime<Utc>) -> Result<u64> {
    Ok(on!(tx, c => sqlx::query("DELETE FROM batch_events WHERE occurred_at < $1").bind(before).execute(c).await?.rows_affected()))
}
