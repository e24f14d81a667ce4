//! The event log of batches: dense sequences, given under the lock of the batch's row so that they become visible in
//! order. The table is the truth; publishing is somebody else's work. A batch that is changed is stored together with the event that
//! says so: that statement is in `batches.rs`.

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
    let mut stored = Vec::with_capacity(events.len());
    let mut left = events.into_iter().peekable();
    while left.peek().is_some() {
        let chunk: Vec<BatchEvent> = left.by_ref().take(1_000).collect();
        let count = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        let newest = if tx.is_postgres() {
            let told = Json(&chunk);
            on!(tx, c => sqlx::query_scalar(TELL).bind(batch.0).bind(workspace.0).bind(count).bind(now).bind(told).fetch_optional(c).await?)
        } else {
            tell_sqlite(tx, workspace, batch, count, now, &chunk).await?
        };
        let newest: i64 = newest.ok_or_else(|| Error::internal("events of a batch that does not exist"))?;
        let told = (newest - count + 1..).zip(chunk);
        stored.extend(told.map(|(sequence, event)| StoredEvent { sequence, occurred_at: now, event }));
    }
    Ok(stored)
}

/// Takes the next sequences and inserts the events, in one round trip.
const TELL: &str = "
    WITH told AS (
        UPDATE batches SET event_sequence = event_sequence + $3 WHERE id = $1 AND workspace_id = $2 RETURNING event_sequence AS newest
    ), kept AS (
        INSERT INTO batch_events (batch_id, sequence, workspace_id, payload, occurred_at)
        SELECT $1, newest - $3 + place, $2, event, $4 FROM told, jsonb_array_elements($5) WITH ORDINALITY AS e(event, place)
    )
    SELECT newest FROM told";

/// The same where a statement changes one table only.
async fn tell_sqlite(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batch: BatchId,
    count: i64,
    now: DateTime<Utc>,
    events: &[BatchEvent],
) -> Result<Option<i64>> {
    let newest: Option<i64> = on!(tx, c => sqlx::query_scalar(
        "UPDATE batches SET event_sequence = event_sequence + $3 WHERE id = $1 AND workspace_id = $2 RETURNING event_sequence")
        .bind(batch.0).bind(workspace.0).bind(count).fetch_optional(c).await?);
    let Some(newest) = newest else { return Ok(None) };
    insert_sqlite(tx, workspace, batch, newest - count + 1, now, events).await?;
    Ok(Some(newest))
}

/// Inserts events whose sequences, from the first on, were taken already.
pub(super) async fn insert_sqlite(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batch: BatchId,
    first: i64,
    now: DateTime<Utc>,
    events: &[BatchEvent],
) -> Result<(), sqlx::Error> {
    on!(tx, c => sqlx::query(
        "INSERT INTO batch_events (batch_id, sequence, workspace_id, payload, occurred_at)
         SELECT $1, $2 + key, $3, value, $4 FROM json_each($5)")
        .bind(batch.0).bind(first).bind(workspace.0).bind(now).bind(Json(events)).execute(c).await.map(drop)?);
    Ok(())
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
