//! The worker loop: claims jobs in batches while there is room, has them done, keeps the claims alive and drains. What
//! a job means stands in `handlers.rs` and, behind it, in services; no business rule belongs here.

mod handlers;
mod hands;
mod watch;

#[cfg(test)]
mod tests;

use crate::adapters::events::Topic;
use crate::domain::work::DraftSection;
use crate::error::{Error, Result};
use crate::repositories::jobs::{self, ClaimedJob, LostClaim};
use crate::services::Services;
use crate::services::core::{Core, LANE};
use crate::trace;
use futures::FutureExt;
use handlers::Failure;
use hands::{Hands, Held, Recall};
use metrics::{counter, histogram};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

/// Most jobs of one claim.
const MAX_CLAIM: usize = 32;
/// How often the table is looked at when no bell rings: the net under a lost one.
const POLL: Duration = Duration::from_millis(500);
/// Pauses between tries of something that the database refused.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];
/// First wait before a job that failed by a fault of ours is done again; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait before such a job is done again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Claims after which a job that keeps failing is an error in the log and not a warning.
const OFTEN: i32 = 10;
/// Longest time for the end of jobs that were called back when the grace period was over.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// How workers work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Jobs that are done at the same time; at least one.
    pub concurrency: usize,
    /// How often this process says that it lives.
    pub beat: Duration,
    /// How long after its last beat another process counts as dead; several beats.
    pub dead_after: Duration,
    /// How long jobs in flight may take to end once the workers are told to stop.
    pub grace: Duration,
}

/// The workers of one process.
#[derive(Debug)]
pub struct Workers {
    worker: Arc<Worker>,
}

/// What all tasks of the workers share. Its id is new at every start, so a restart never collides with itself.
#[derive(Debug)]
struct Worker {
    id: Uuid,
    core: Core,
    services: Services,
    settings: WorkerSettings,
    hands: Arc<Hands>,
}

impl Workers {
    /// Workers that do the jobs of these services.
    #[must_use]
    pub fn new(core: Core, services: Services, settings: WorkerSettings) -> Self {
        let id = core.new_id();
        Self { worker: Arc::new(Worker { id, core, services, settings, hands: Arc::default() }) }
    }

    /// Works until `stop`, then drains: nothing more is claimed, jobs in flight have the grace period to end, and what
    /// is left is given back. Faults of the database are waited out.
    ///
    /// # Errors
    /// If the last claims could not be given back; others take them over once this process counts as dead.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let worker = self.worker;
        // heard before the first claim, or a run that is cancelled meanwhile would be noticed by the beat only
        let cancellations = worker.core.bus.subscribe(Topic::Cancellations).await;
        let wishes = worker.core.bus.subscribe(Topic::DraftWishes).await;
        // known before the first claim, or the beat of another process would take it for one of the dead
        if stop.run_until_cancelled(worker.check_in()).await.is_none() {
            return Ok(());
        }
        let (background, end) = (TaskTracker::new(), CancellationToken::new());
        let _ends_with_this_future = end.clone().drop_guard();
        background.spawn(end.clone().run_until_cancelled_owned(watch::keep_beating(Arc::clone(&worker))));
        background.spawn(end.clone().run_until_cancelled_owned(watch::keep_promoting(Arc::clone(&worker))));
        background.spawn(end.clone().run_until_cancelled_owned(watch::keep_tidy(Arc::clone(&worker))));
        background.spawn(end.clone().run_until_cancelled_owned(watch::keep_counting(Arc::clone(&worker))));
        background.spawn(end.clone().run_until_cancelled_owned(watch::hear_cancellations(Arc::clone(&worker), cancellations)));
        background.spawn(end.clone().run_until_cancelled_owned(watch::hear_wishes(Arc::clone(&worker), wishes)));
        background.spawn(end.clone().run_until_cancelled_owned(watch::hear_postgres(Arc::clone(&worker))));
        background.close();

        let tasks = TaskTracker::new();
        worker.claim_until(&stop, &tasks).await;
        worker.drain(&tasks).await;
        end.cancel();
        background.wait().await;
        worker.insist(|| jobs::release(&worker.core.db, worker.id)).await
    }
}

impl Worker {
    async fn claim_until(self: &Arc<Self>, stop: &CancellationToken, tasks: &TaskTracker) {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency.max(1)));
        let mut is_full = false;
        loop {
            // made before the table is looked at: a bell that rings in between is not lost
            let bell = self.core.wake.notified();
            let Some(permits) = room(&slots, stop).await else { return };
            let room = permits.len();
            match self.claim(room, is_full).await {
                Ok(claimed) => {
                    is_full = claimed.len() == room;
                    for (job, permit) in claimed.into_iter().zip(permits) {
                        self.begin(job, permit, tasks);
                    }
                    if is_full {
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "jobs could not be claimed");
                    is_full = false;
                    sleep(self.jittered(PAUSES[2])).await;
                    continue;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = bell => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Claims jobs. Unless more are known to wait, it looks first: on `SQLite` a claim takes the only writer.
    async fn claim(&self, room: usize, is_full: bool) -> Result<Vec<ClaimedJob>> {
        if !is_full && !jobs::any_ready(&self.core.db, LANE).await? {
            return Ok(Vec::new());
        }
        jobs::claim(&self.core.db, LANE, self.id, i64::try_from(room).unwrap_or(1)).await
    }

    fn begin(self: &Arc<Self>, job: ClaimedJob, permit: OwnedSemaphorePermit, tasks: &TaskTracker) {
        let held = Hands::take(&self.hands, &job);
        // of the highest level, so that every line within it has the job's id whatever is logged
        let span = tracing::error_span!("job", job_id = %job.id, kind = job.kind, attempt = job.attempt, otel.kind = "consumer");
        trace::follow(&span, job.trace.as_deref());
        let worker = Arc::clone(self);
        let work = async move {
            let begun = Instant::now();
            let outcome = worker.work(&job, &held).await;
            drop((held, permit));
            counter!("claimwright_jobs_total", "kind" => job.kind.clone(), "outcome" => outcome).increment(1);
            histogram!("claimwright_job_duration_seconds", "kind" => job.kind).record(begun.elapsed());
        };
        tasks.spawn(work.instrument(span));
    }

    /// Has a job done and sees to it that it is settled, whatever comes of it; says in a word what did.
    async fn work(&self, job: &ClaimedJob, held: &Held) -> &'static str {
        let doing = AssertUnwindSafe(handlers::handle(&self.services, job)).catch_unwind();
        // whichever loses is dropped here; dropping the handler aborts its call
        let ended = tokio::select! {
            biased;
            ended = doing => Ok(ended),
            why = held.recalled() => Err(why),
        };
        match ended {
            Ok(Ok(Ok(ending))) => ending.as_str(),
            Ok(Ok(Err(failure))) => self.settle(job, failure).await,
            Ok(Err(_)) => match handlers::give_up(&self.services, job).await {
                Ok(()) => {
                    tracing::error!(kind = job.kind, "a handler panicked; its work was given up");
                    "given_up"
                }
                Err(failure) => self.settle(job, failure).await,
            },
            Err(Recall::RunCancelled) => {
                self.let_go(job).await;
                "cancelled"
            }
            Err(why @ (Recall::ClaimLost | Recall::Draining)) => {
                tracing::debug!(?why, "a job was dropped");
                "dropped"
            }
        }
    }

    async fn settle(&self, job: &ClaimedJob, failure: Failure) -> &'static str {
        let error = match failure {
            Failure::Unreadable(why) => {
                self.bury(job, &why).await;
                return "failed";
            }
            Failure::Fault(error) if is_lost(&error) => {
                tracing::debug!("the claim was lost; nothing was changed");
                return "dropped";
            }
            Failure::Fault(error) => error,
        };
        let wait = self.jittered(wait_before(job.attempt));
        if job.attempt > OFTEN {
            tracing::error!(%error, ?wait, "a job keeps failing; it is done again");
        } else {
            tracing::warn!(%error, ?wait, "a job failed; it is done again");
        }
        let again = || jobs::retry(&self.core.db, job, wait, self.core.now());
        self.insist_or_warn("a job was not put back", again).await;
        "retried"
    }

    async fn bury(&self, job: &ClaimedJob, why: &str) {
        tracing::error!(why, "a job was put aside; it will not be done");
        self.insist_or_warn("a job was not put aside", || jobs::bury(&self.core.db, job, why)).await;
    }

    /// Ends the job of a section whose run is being cancelled; its call was aborted.
    async fn let_go(&self, job: &ClaimedJob) {
        let Ok(work) = handlers::read::<DraftSection>(job) else { return self.bury(job, "its payload cannot be read").await };
        self.insist_or_warn("a cancelled job was not let go", || self.services.generations.let_go(job, work)).await;
    }

    /// Waits for jobs in flight; those that take too long are dropped and go back with the rest.
    async fn drain(&self, tasks: &TaskTracker) {
        tasks.close();
        if timeout(self.settings.grace, tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(jobs = tasks.len(), "the grace period is over; jobs in flight are dropped and done again later");
        self.hands.recall_all(Recall::Draining);
        if timeout(LAST_MOMENTS, tasks.wait()).await.is_err() {
            tracing::error!(jobs = tasks.len(), "jobs do not end although they were dropped");
        }
    }

    /// Tries a few times what only a fault of the database can prevent. A lost claim is no failure: then somebody else
    /// has settled the job.
    async fn insist<F: Future<Output = Result<()>>>(&self, attempt: impl Fn() -> F) -> Result<()> {
        for pause in PAUSES {
            match attempt().await {
                Err(error) if !is_lost(&error) => tracing::debug!(%error, "trying again"),
                _ => return Ok(()),
            }
            sleep(self.jittered(pause)).await;
        }
        attempt().await.or_else(|error| if is_lost(&error) { Ok(()) } else { Err(error) })
    }

    /// Like [`Worker::insist`] for what the beat heals in the end: it finds that nobody has the job in hand.
    async fn insist_or_warn<F: Future<Output = Result<()>>>(&self, what: &str, attempt: impl Fn() -> F) {
        if let Err(error) = self.insist(attempt).await {
            tracing::warn!(%error, "{what}");
        }
    }

    /// Half of a wait to all of it, so that what failed together does not come back together.
    fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.5 + self.core.dice() / 2.0)
    }
}

/// Waits for a free slot and takes all that are free, up to [`MAX_CLAIM`]; none once the workers stop.
async fn room(slots: &Arc<Semaphore>, stop: &CancellationToken) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        first = Arc::clone(slots).acquire_owned() => first.ok()?,
    };
    let mut permits = vec![first];
    while permits.len() < MAX_CLAIM
        && let Ok(permit) = Arc::clone(slots).try_acquire_owned()
    {
        permits.push(permit);
    }
    Some(permits)
}

/// True if an error says that the claim was lost.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Fault(fault) if fault.source.as_ref().is_some_and(|source| source.is::<LostClaim>()))
}

/// The wait before a job is done again that was claimed so often.
fn wait_before(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(10);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}
