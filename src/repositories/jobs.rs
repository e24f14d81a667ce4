//! The durable queue on the product's own database: enqueue, finish, retry and cancel join the caller's transaction, so
//! a job's effect, its events and its end are one. Claims are fenced by worker and attempt. The only repository that
//! opens transactions of its own (claim, beat, settle): they belong to the queue, not to a use case.

use super::db::{Db, Scope, Tx, id_list};
use crate::domain::ids::{RunId, WorkspaceId};
use crate::error::{Error, Result};
use crate::on;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::time::Duration;
use uuid::Uuid;

/// A job that is about to be queued.
#[derive(Debug)]
pub struct NewJob<P> {
    /// What is to be done, a verb phrase such as `draft_section`.
    pub kind: &'static str,
    /// What it is to be done with.
    pub payload: P,
}

/// A claimed job.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ClaimedJob {
    /// Id.
    pub id: Uuid,
    /// What is to be done.
    pub kind: String,
    /// Whose it is.
    pub workspace_id: Uuid,
    /// The run that it belongs to.
    pub run_id: Option<Uuid>,
    /// What it is to be done with.
    #[sqlx(json)]
    pub payload: serde_json::Value,
    /// Number of the claim, from 1; also those count that a crash ended.
    pub attempt: i32,
    /// Its turn in the lane.
    pub turn: i64,
    /// `traceparent` of what queued it, if that was traced.
    pub trace: Option<String>,
    /// The worker that claimed it.
    #[sqlx(skip)]
    pub worker: Uuid,
}

impl ClaimedJob {
    /// The workspace.
    #[must_use]
    pub const fn workspace(&self) -> WorkspaceId {
        WorkspaceId(self.workspace_id)
    }
}

/// The claim on a job was lost: it was cancelled, or taken back after a missed beat. The effect must not happen.
#[derive(Debug, thiserror::Error)]
#[error("the claim on this job was lost")]
pub struct LostClaim;

/// Queues jobs. Fair by construction (start-time fair queueing): they get consecutive turns from the lane's current one
/// on, so runs interleave whatever their size. `trace` is kept with them, for whoever does them.
///
/// # Errors
/// As the database says.
pub async fn enqueue_in<P: Serialize + Sync>(
    tx: &mut Tx,
    lane: &str,
    workspace: WorkspaceId,
    run: Option<RunId>,
    jobs: &[NewJob<P>],
    trace: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    #[derive(Serialize)]
    struct Row<'a, P> {
        id: String,
        kind: &'a str,
        payload: &'a P,
        turn: i64,
    }
    let mut turn = find_turn(tx, lane).await?;
    for chunk in jobs.chunks(2_000) {
        let mut rows = Vec::with_capacity(chunk.len());
        for job in chunk {
            rows.push(Row { id: new_job_id().simple().to_string(), kind: job.kind, payload: &job.payload, turn });
            turn += 1;
        }
        let sql = tx.sql(
            "INSERT INTO job_queue (id, lane, kind, workspace_id, run_id, payload, state, turn, due_ms, created_ms, attempt, trace)
             SELECT x.id, $1, x.kind, $2, $3, x.payload, 0, x.turn, $4, $4, 0, $6
             FROM jsonb_to_recordset($5) AS x(id uuid, kind text, payload jsonb, turn bigint)",
            "INSERT INTO job_queue (id, lane, kind, workspace_id, run_id, payload, state, turn, due_ms, created_ms, attempt, trace)
             SELECT unhex(value ->> 'id'), $1, value ->> 'kind', $2, $3, value -> 'payload', 0, value ->> 'turn', $4, $4, 0, $6
             FROM json_each($5)",
        );
        on!(tx, c => sqlx::query(sql).bind(lane).bind(workspace.0).bind(run.map(|r| r.0)).bind(now.timestamp_millis()).bind(Json(&rows)).bind(trace)
            .execute(c).await.map(drop)?);
    }
    notify_in(tx, lane).await
}

/// The turn that whoever comes now gets.
async fn find_turn(tx: &mut Tx, lane: &str) -> Result<i64> {
    Ok(on!(tx, c => sqlx::query_scalar(
        "SELECT coalesce((SELECT max(turn) FROM job_queue WHERE lane = $1 AND state = 2),
                         (SELECT min(turn) FROM job_queue WHERE lane = $1 AND state = 0),
                         (SELECT max(turn) FROM job_queue WHERE lane = $1 AND state = 1), 0)")
        .bind(lane).fetch_one(c).await?))
}

/// One bell for all rows; on `SQLite` workers are in this process and hear the queue's own.
async fn notify_in(tx: &mut Tx, lane: &str) -> Result<()> {
    if tx.is_postgres() {
        on!(tx, c => sqlx::query("SELECT pg_notify('job_queue', $1)").bind(lane).execute(c).await.map(drop)?);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "ids of jobs are never shown, compared or tested")]
fn new_job_id() -> Uuid {
    Uuid::now_v7()
}

/// Ends a job: the last statement of the transaction that holds its effect, so both happen or neither.
///
/// # Errors
/// [`LostClaim`] (as `INTERNAL`) if the claim is no longer ours.
pub async fn finish_in(tx: &mut Tx, job: &ClaimedJob) -> Result<()> {
    let gone = on!(tx, c => sqlx::query("DELETE FROM job_queue WHERE id = $1 AND claimed_by = $2 AND attempt = $3")
        .bind(job.id).bind(job.worker).bind(job.attempt).execute(c).await?.rows_affected());
    if gone == 1 { Ok(()) } else { Err(Error::internal(LostClaim)) }
}

/// Ends a job that has no effect in the database.
///
/// # Errors
/// As [`finish_in`] says.
pub async fn finish(db: &Db, job: &ClaimedJob) -> Result<()> {
    let mut tx = db.begin_single(Scope::Everything).await?;
    finish_in(&mut tx, job).await?;
    tx.commit().await
}

/// Gives a job back to be done again after a while.
///
/// # Errors
/// [`LostClaim`] (as `INTERNAL`) if the claim is no longer ours.
pub async fn retry_in(tx: &mut Tx, job: &ClaimedJob, after: Duration, now: DateTime<Utc>) -> Result<()> {
    let due = now.timestamp_millis() + i64::try_from(after.as_millis()).unwrap_or(i64::MAX / 2);
    let changed = on!(tx, c => sqlx::query(
        "UPDATE job_queue SET state = 1, due_ms = $4, claimed_by = NULL WHERE id = $1 AND claimed_by = $2 AND attempt = $3")
        .bind(job.id).bind(job.worker).bind(job.attempt).bind(due).execute(c).await?.rows_affected());
    if changed == 1 { Ok(()) } else { Err(Error::internal(LostClaim)) }
}

/// Puts a job aside until its run may go on.
///
/// # Errors
/// [`LostClaim`] (as `INTERNAL`) if the claim is no longer ours.
pub async fn park_in(tx: &mut Tx, job: &ClaimedJob) -> Result<()> {
    let changed = on!(tx, c => sqlx::query(
        "UPDATE job_queue SET state = 4, claimed_by = NULL WHERE id = $1 AND claimed_by = $2 AND attempt = $3")
        .bind(job.id).bind(job.worker).bind(job.attempt).execute(c).await?.rows_affected());
    if changed == 1 { Ok(()) } else { Err(Error::internal(LostClaim)) }
}

/// Puts all jobs of a kind aside that a run has and that no worker has ever had in hand. Those that one had come by themselves,
/// when their wait is over: only their own next beginning gives back what is reserved for them.
///
/// # Errors
/// As the database says.
pub async fn park_run_in(tx: &mut Tx, run: RunId, kind: &str) -> Result<()> {
    on!(tx, c => sqlx::query("UPDATE job_queue SET state = 4 WHERE run_id = $1 AND kind = $2 AND state = 0 AND attempt = 0")
        .bind(run.0).bind(kind).execute(c).await.map(drop)?);
    Ok(())
}

/// Makes up to so many jobs of a run ready that were put aside, in their order; true if there were any. They queue up anew: those that came
/// meanwhile do not wait for them.
///
/// # Errors
/// As the database says.
pub async fn unpark_in(tx: &mut Tx, lane: &str, run: RunId, limit: i64) -> Result<bool> {
    let turn = find_turn(tx, lane).await?;
    let unparked = on!(tx, c => sqlx::query(
        "WITH c AS (SELECT id AS cid, row_number() OVER (ORDER BY turn, id) - 1 AS n FROM job_queue WHERE run_id = $1 AND state = 4
            ORDER BY turn, id LIMIT $3)
         UPDATE job_queue SET state = 0, turn = $2 + n FROM c WHERE id = cid")
        .bind(run.0).bind(turn).bind(limit).execute(c).await?.rows_affected());
    if unparked > 0 {
        notify_in(tx, lane).await?;
    }
    Ok(unparked > 0)
}

/// Number of runs that have jobs waiting or in work.
///
/// # Errors
/// As the database says.
pub async fn count_busy_runs(tx: &mut Tx, lane: &str) -> Result<i64> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT count(DISTINCT run_id) FROM job_queue WHERE lane = $1 AND state IN (0, 1, 2)")
        .bind(lane).fetch_one(c).await?))
}

/// Checks inside a long transaction's chunk that the claim is still ours.
///
/// # Errors
/// [`LostClaim`] (as `INTERNAL`) if it is not.
pub async fn hold_in(tx: &mut Tx, job: &ClaimedJob) -> Result<()> {
    let held = on!(tx, c => sqlx::query("UPDATE job_queue SET claimed_by = claimed_by WHERE id = $1 AND claimed_by = $2 AND attempt = $3")
        .bind(job.id).bind(job.worker).bind(job.attempt).execute(c).await?.rows_affected());
    if held == 1 { Ok(()) } else { Err(Error::internal(LostClaim)) }
}

/// Deletes a run's jobs that no worker has in hand; gives the number of those that one has.
///
/// # Errors
/// As the database says.
pub async fn cancel_run_in(tx: &mut Tx, run: RunId) -> Result<i64> {
    on!(tx, c => sqlx::query("DELETE FROM job_queue WHERE run_id = $1 AND state <> 2").bind(run.0).execute(c).await.map(drop)?);
    count_of_run_in(tx, run).await
}

/// Number of jobs of a run.
///
/// # Errors
/// As the database says.
pub async fn count_of_run_in(tx: &mut Tx, run: RunId) -> Result<i64> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT count(*) FROM job_queue WHERE run_id = $1").bind(run.0).fetch_one(c).await?))
}

/// Deletes all jobs of a workspace's object whose payload names it (used when a batch is removed for good).
///
/// # Errors
/// As the database says.
pub async fn delete_of_runs_in(tx: &mut Tx, runs: &[RunId]) -> Result<()> {
    let sql = format!("DELETE FROM job_queue WHERE {}", tx.in_ids("run_id", 1));
    let list = id_list(runs.iter().map(|id| id.0));
    on!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(list).execute(c).await.map(drop)?);
    Ok(())
}

/// Takes up to `limit` jobs whose turn it is.
///
/// # Errors
/// As the database says.
pub async fn claim(db: &Db, lane: &str, worker: Uuid, limit: i64) -> Result<Vec<ClaimedJob>> {
    let mut tx = db.begin_single(Scope::Everything).await?;
    // MATERIALIZED: an `IN (SELECT … LIMIT)` may be run again and take more rows
    let sql = tx.sql(
        "WITH c AS MATERIALIZED (SELECT id AS cid FROM job_queue WHERE lane = $1 AND state = 0 ORDER BY turn, id LIMIT $3 FOR UPDATE SKIP LOCKED)
         UPDATE job_queue SET state = 2, attempt = attempt + 1, claimed_by = $2 FROM c WHERE id = cid
         RETURNING id, kind, workspace_id, run_id, payload, attempt, turn, trace",
        "WITH c AS MATERIALIZED (SELECT id AS cid FROM job_queue WHERE lane = $1 AND state = 0 ORDER BY turn, id LIMIT $3)
         UPDATE job_queue SET state = 2, attempt = attempt + 1, claimed_by = $2 FROM c WHERE id = cid
         RETURNING id, kind, workspace_id, run_id, payload, attempt, turn, trace",
    );
    let mut jobs: Vec<ClaimedJob> = on!(tx, c => sqlx::query_as(sql).bind(lane).bind(worker).bind(limit).fetch_all(c).await?);
    tx.commit().await?;
    for job in &mut jobs {
        job.worker = worker;
    }
    jobs.sort_by_key(|job| (job.turn, job.id));
    Ok(jobs)
}

/// True if a job of the lane is ready: a look without the writer's lock.
///
/// # Errors
/// As the database says.
pub async fn any_ready(db: &Db, lane: &str) -> Result<bool> {
    let mut tx = db.read(Scope::Everything).await?;
    let found: Option<i32> = on!(tx, c => sqlx::query_scalar("SELECT 1 FROM job_queue WHERE lane = $1 AND state = 0 LIMIT 1").bind(lane).fetch_optional(c).await?);
    Ok(found.is_some())
}

/// Jobs of a lane in one state.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Depth {
    /// Lane.
    pub lane: String,
    /// State: see [`STATES`].
    pub state: i32,
    /// How many there are.
    pub jobs: i64,
    /// When the oldest was queued, in milliseconds.
    pub oldest_ms: i64,
}

/// Names of the states of a job, by their number.
pub const STATES: [&str; 5] = ["ready", "delayed", "running", "dead", "parked"];

/// How deep the queue is: one row for each lane and state that has jobs. It reads the whole queue; not for every request.
///
/// # Errors
/// As the database says.
pub async fn depths(db: &Db) -> Result<Vec<Depth>> {
    let mut tx = db.read(Scope::Everything).await?;
    let sql = "SELECT lane, state, count(*) AS jobs, min(created_ms) AS oldest_ms FROM job_queue GROUP BY lane, state ORDER BY lane, state";
    Ok(on!(tx, c => sqlx::query_as(sql).fetch_all(c).await?))
}

/// What a beat found.
#[derive(Debug, Default)]
pub struct Beat {
    /// Jobs that this worker has claimed, by the table.
    pub mine: Vec<Uuid>,
    /// Jobs whose run is being cancelled, among them.
    pub cancelled: Vec<Uuid>,
    /// Jobs of dead workers that were given back.
    pub returned: u64,
}

/// Says that a worker lives (by the database's clock), gives jobs of dead workers back, and lists the worker's own.
///
/// # Errors
/// As the database says.
pub async fn beat(db: &Db, worker: Uuid, dead_after: Duration) -> Result<Beat> {
    let mut tx = db.begin(Scope::Everything).await?;
    let sql = tx.sql(
        "INSERT INTO job_workers (id, seen_ms) VALUES ($1, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint))
         ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms",
        "INSERT INTO job_workers (id, seen_ms) VALUES ($1, CAST(unixepoch('subsec') * 1000 AS INTEGER))
         ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms",
    );
    on!(tx, c => sqlx::query(sql).bind(worker).execute(c).await.map(drop)?);
    let sql = tx.sql(
        "DELETE FROM job_workers WHERE seen_ms < CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) - $1",
        "DELETE FROM job_workers WHERE seen_ms < CAST(unixepoch('subsec') * 1000 AS INTEGER) - $1",
    );
    let dead_after = i64::try_from(dead_after.as_millis()).unwrap_or(i64::MAX / 2);
    on!(tx, c => sqlx::query(sql).bind(dead_after).execute(c).await.map(drop)?);
    let returned = on!(tx, c => sqlx::query(
        "UPDATE job_queue SET state = 0, claimed_by = NULL WHERE state = 2
         AND NOT EXISTS (SELECT 1 FROM job_workers w WHERE w.id = job_queue.claimed_by)")
        .execute(c).await?.rows_affected());
    let rows: Vec<(Uuid, Option<String>)> = on!(tx, c => sqlx::query_as(
        "SELECT q.id, r.status FROM job_queue q LEFT JOIN runs r ON r.id = q.run_id WHERE q.state = 2 AND q.claimed_by = $1")
        .bind(worker).fetch_all(c).await?);
    tx.commit().await?;
    let cancelled = rows.iter().filter(|(_, status)| status.as_deref() == Some("CANCELLING")).map(|(id, _)| *id).collect();
    Ok(Beat { mine: rows.into_iter().map(|(id, _)| id).collect(), cancelled, returned })
}

/// Makes delayed jobs ready whose time has come; gives their number.
///
/// # Errors
/// As the database says.
pub async fn promote(db: &Db, now: DateTime<Utc>) -> Result<u64> {
    let now = now.timestamp_millis();
    // a look without a write lock first: on SQLite the writer is precious
    let mut read = db.read(Scope::Everything).await?;
    let due: Option<i32> = on!(read, c => sqlx::query_scalar("SELECT 1 FROM job_queue WHERE state = 1 AND due_ms <= $1 LIMIT 1").bind(now).fetch_optional(c).await?);
    drop(read);
    if due.is_none() {
        return Ok(0);
    }
    let mut tx = db.begin_single(Scope::Everything).await?;
    let promoted = on!(tx, c => sqlx::query("UPDATE job_queue SET state = 0 WHERE state = 1 AND due_ms <= $1").bind(now)
        .execute(c).await?.rows_affected());
    tx.commit().await?;
    Ok(promoted)
}

/// Gives one job of this worker back: the answer to its claim was lost.
///
/// # Errors
/// As the database says.
pub async fn give_back(db: &Db, worker: Uuid, job: Uuid) -> Result<()> {
    let mut tx = db.begin_single(Scope::Everything).await?;
    on!(tx, c => sqlx::query("UPDATE job_queue SET state = 0, claimed_by = NULL WHERE id = $1 AND state = 2 AND claimed_by = $2")
        .bind(job).bind(worker).execute(c).await.map(drop)?);
    tx.commit().await
}

/// Puts a job aside for good: its handler panicked or its payload cannot be read. Kept for inspection.
///
/// # Errors
/// As the database says.
pub async fn bury(db: &Db, job: &ClaimedJob, why: &str) -> Result<()> {
    let mut tx = db.begin_single(Scope::Everything).await?;
    on!(tx, c => sqlx::query("UPDATE job_queue SET state = 3, claimed_by = NULL, failure = $3 WHERE id = $1 AND claimed_by = $2")
        .bind(job.id).bind(job.worker).bind(why).execute(c).await.map(drop)?);
    tx.commit().await
}

/// Gives a job back after a fault of ours, to be done again after a while; a lost claim is nobody's business any more.
///
/// # Errors
/// As the database says.
pub async fn retry(db: &Db, job: &ClaimedJob, after: Duration, now: DateTime<Utc>) -> Result<()> {
    let mut tx = db.begin_single(Scope::Everything).await?;
    if retry_in(&mut tx, job, after, now).await.is_ok() {
        tx.commit().await?;
    }
    Ok(())
}

/// Gives back whatever this worker still holds, and takes it off the list: the end of a drain.
///
/// # Errors
/// As the database says.
pub async fn release(db: &Db, worker: Uuid) -> Result<()> {
    let mut tx = db.begin(Scope::Everything).await?;
    on!(tx, c => sqlx::query("UPDATE job_queue SET state = 0, claimed_by = NULL WHERE state = 2 AND claimed_by = $1").bind(worker)
        .execute(c).await.map(drop)?);
    on!(tx, c => sqlx::query("DELETE FROM job_workers WHERE id = $1").bind(worker).execute(c).await.map(drop)?);
    tx.commit().await
}

/// Gives all claims back at once. Only where this process is known to be the only one (an embedded start).
///
/// # Errors
/// As the database says.
pub async fn release_all(db: &Db) -> Result<u64> {
    let mut tx = db.begin(Scope::Everything).await?;
    let returned =
        on!(tx, c => sqlx::query("UPDATE job_queue SET state = 0, claimed_by = NULL WHERE state = 2").execute(c).await?.rows_affected());
    on!(tx, c => sqlx::query("DELETE FROM job_workers").execute(c).await.map(drop)?);
    tx.commit().await?;
    Ok(returned)
}

/// Takes a slot of a schedule: true for exactly one process in each period.
///
/// # Errors
/// As the database says.
pub async fn take_slot(db: &Db, name: &str, every: Duration, now: DateTime<Utc>) -> Result<bool> {
    let (now, every) = (now.timestamp_millis(), i64::try_from(every.as_millis()).unwrap_or(i64::MAX / 2));
    let mut tx = db.begin(Scope::Everything).await?;
    on!(tx, c => sqlx::query("INSERT INTO job_schedules (name, next_ms) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING").bind(name)
        .execute(c).await.map(drop)?);
    let taken = on!(tx, c => sqlx::query("UPDATE job_schedules SET next_ms = $2 WHERE name = $1 AND next_ms <= $3")
        .bind(name).bind(now + every).bind(now).execute(c).await?.rows_affected());
    tx.commit().await?;
    Ok(taken == 1)
}
