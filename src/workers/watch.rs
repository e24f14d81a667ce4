//! What runs beside the claims: the beat, the clock of delayed jobs, upkeep, the counting of the queue, and the bells from elsewhere. Each of them
//! goes on until it is dropped, whatever the database says; none of them does a job.

use super::hands::{Claim, Recall};
use super::{PAUSES, Worker};
use crate::adapters::events::{Bell, Listener, Topic};
use crate::error::Result;
use crate::repositories::jobs::{self, Depth, STATES};
use crate::services::core::LANE;
use metrics::gauge;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use uuid::Uuid;

/// How often delayed jobs are looked at.
const PROMOTE_EVERY: Duration = Duration::from_millis(100);
/// How often it is asked whether upkeep is due.
const TIDY_EVERY: Duration = Duration::from_mins(1);
/// How often the queue is counted: 27 ms for 35,000 rows.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// Pause after a fault of the database.
const FAULT_PAUSE: Duration = PAUSES[2];
/// Time for a job that the table does not know any more to say its last words: most likely it has just been settled.
const LAST_WORDS: Duration = Duration::from_millis(100);

impl Worker {
    /// Says for the first time that this process lives; tries until it is heard.
    pub(super) async fn check_in(&self) {
        while let Err(error) = self.beat(&mut HashSet::new()).await {
            tracing::warn!(%error, "the workers wait for the database");
            sleep(self.jittered(FAULT_PAUSE)).await;
        }
    }

    /// Says that this process lives and compares what the table says is ours with what is in hand. `strays` are jobs
    /// that were ours on the last beat without being in hand.
    async fn beat(&self, strays: &mut HashSet<Uuid>) -> Result<()> {
        // before the question, or a job that is claimed meanwhile would look lost
        let before = self.hands.claims();
        let found = jobs::beat(&self.core.db, self.id, self.settings.dead_after).await?;
        if found.returned > 0 {
            tracing::warn!(jobs = found.returned, "jobs of a lost process were given back");
            self.core.wake.notify_waiters();
        }
        let mine: HashSet<Uuid> = found.mine.into_iter().collect();
        let cancelled: Vec<Claim> = before.iter().filter(|claim| found.cancelled.contains(&claim.job())).copied().collect();
        self.hands.recall(&cancelled, Recall::RunCancelled);

        let in_hand = self.hands.jobs();
        let unknown: HashSet<Uuid> = mine.iter().filter(|job| !in_hand.contains(*job)).copied().collect();
        let lost_answers: Vec<Uuid> = unknown.intersection(strays).copied().collect();
        *strays = unknown;
        for job in lost_answers {
            tracing::warn!(%job, "a job that nobody has in hand is given back");
            jobs::give_back(&self.core.db, self.id, job).await?;
            self.core.wake.notify_waiters();
        }

        let missing: Vec<Claim> = before.into_iter().filter(|claim| !mine.contains(&claim.job())).collect();
        if !missing.is_empty() {
            sleep(LAST_WORDS).await;
            self.hands.recall(&missing, Recall::ClaimLost);
        }
        Ok(())
    }
}

/// Beats for ever.
pub(super) async fn keep_beating(worker: Arc<Worker>) {
    let mut strays = HashSet::new();
    let mut ticks = ticks(worker.settings.beat);
    loop {
        ticks.tick().await;
        if let Err(error) = worker.beat(&mut strays).await {
            tracing::warn!(%error, "a beat failed");
            ticks.reset_after(FAULT_PAUSE.min(worker.settings.beat));
        }
    }
}

/// Makes delayed jobs ready when their time has come.
pub(super) async fn keep_promoting(worker: Arc<Worker>) {
    let mut ticks = ticks(PROMOTE_EVERY);
    loop {
        ticks.tick().await;
        match jobs::promote(&worker.core.db, worker.core.now()).await {
            Ok(0) => {}
            Ok(_) => worker.core.wake.notify_waiters(),
            Err(error) => {
                tracing::warn!(%error, "delayed jobs could not be looked at");
                ticks.reset_after(FAULT_PAUSE);
            }
        }
    }
}

/// Has upkeep done when it is due.
pub(super) async fn keep_tidy(worker: Arc<Worker>) {
    let mut ticks = ticks(TIDY_EVERY);
    loop {
        if let Err(error) = worker.services.upkeep.run_if_due().await {
            tracing::warn!(%error, "upkeep failed; it is done when it is due again");
        }
        ticks.tick().await;
    }
}

/// Says how deep the queue is, at once and then now and again.
pub(super) async fn keep_counting(worker: Arc<Worker>) {
    // a lane that has become empty is in no row any more
    let mut lanes = BTreeSet::from([LANE.to_owned()]);
    let mut ticks = ticks(COUNT_EVERY);
    loop {
        match jobs::depths(&worker.core.db).await {
            Ok(depths) => {
                lanes.extend(depths.iter().map(|depth| depth.lane.clone()));
                tell_depths(&lanes, &depths, worker.core.now().timestamp_millis());
            }
            Err(error) => tracing::warn!(%error, "the queue could not be counted"),
        }
        ticks.tick().await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; nobody has 2^53 jobs")]
fn tell_depths(lanes: &BTreeSet<String>, depths: &[Depth], now_ms: i64) {
    for lane in lanes {
        for (state, name) in (0..).zip(STATES) {
            let depth = depths.iter().find(|depth| depth.lane == *lane && depth.state == state);
            let (jobs, age_ms) = depth.map_or((0, 0), |depth| (depth.jobs, (now_ms - depth.oldest_ms).max(0)));
            gauge!("claimwright_queue_jobs", "lane" => lane.clone(), "state" => name).set(jobs as f64);
            gauge!("claimwright_queue_oldest_age_seconds", "lane" => lane.clone(), "state" => name).set(age_ms as f64 / 1_000.0);
        }
    }
}

/// Calls jobs back at once when their run is cancelled. A lost bell is healed by the beat.
pub(super) async fn hear_cancellations(worker: Arc<Worker>, mut bells: Box<dyn Listener>) {
    loop {
        match bells.next().await {
            Some(Bell::Cancelled(run)) => worker.hands.recall_run(run.0),
            Some(_) => {}
            None => {
                sleep(FAULT_PAUSE).await;
                bells = worker.core.bus.subscribe(Topic::Cancellations).await;
            }
        }
    }
}

/// Shows what is written to those who want to see it. Who is not heard asks again.
pub(super) async fn hear_wishes(worker: Arc<Worker>, mut bells: Box<dyn Listener>) {
    loop {
        match bells.next().await {
            Some(Bell::Wanted { project, whole }) => worker.core.desk.want(project, whole),
            Some(_) => {}
            None => {
                sleep(FAULT_PAUSE).await;
                bells = worker.core.bus.subscribe(Topic::DraftWishes).await;
            }
        }
    }
}

/// Wakes the workers when another process has queued jobs; nothing on `SQLite`, where there is none.
pub(super) async fn hear_postgres(worker: Arc<Worker>) {
    let Some(pool) = worker.core.db.postgres() else { return };
    loop {
        let heard: sqlx::Result<()> = async {
            let mut listener = sqlx::postgres::PgListener::connect_with(pool).await?;
            listener.listen("job_queue").await?;
            loop {
                // none: the connection was lost and made anew, and bells may have been missed
                listener.try_recv().await?;
                worker.core.wake.notify_waiters();
            }
        }
        .await;
        if let Err(error) = heard {
            tracing::debug!(%error, "the queue's bell cannot be heard; the table is looked at instead");
        }
        sleep(FAULT_PAUSE).await;
    }
}

/// Ticks that begin after one period; those that were missed are not made up for.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
