//! Jobs in hand: which jobs this process is working on, and how one is called back. It must not know how they are done.

use crate::domain::work::DRAFT_SECTION;
use crate::repositories::jobs::ClaimedJob;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Why a job is called back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recall {
    /// Its run is being cancelled.
    RunCancelled,
    /// It is no longer ours: it was taken away or given to another process.
    ClaimLost,
    /// The process ends and cannot wait any longer.
    Draining,
}

/// One claim of a job: the same job may be claimed again while the last words of its earlier claim are being said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    job: Uuid,
    attempt: i32,
}

impl Claim {
    /// The job.
    pub(super) const fn job(self) -> Uuid {
        self.job
    }
}

/// All claims that are being worked on.
#[derive(Debug, Default)]
pub(super) struct Hands {
    claims: Mutex<HashMap<Claim, Arc<InHand>>>,
}

#[derive(Debug)]
struct InHand {
    run: Option<Uuid>,
    /// Only calls are worth aborting; what ends a project or a run is a short transaction that looks for itself.
    is_call: bool,
    stop: CancellationToken,
    why: OnceLock<Recall>,
}

impl InHand {
    fn recall(&self, why: Recall) {
        if why == Recall::RunCancelled && !self.is_call {
            return;
        }
        // the first reason is the one that counts
        if self.why.set(why).is_ok() {
            self.stop.cancel();
        }
    }
}

/// A job in hand, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    hands: Arc<Hands>,
    claim: Claim,
    in_hand: Arc<InHand>,
}

impl Held {
    /// Waits until the job is called back.
    pub(super) async fn recalled(&self) -> Recall {
        self.in_hand.stop.cancelled().await;
        self.in_hand.why.get().copied().unwrap_or(Recall::ClaimLost)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hands.lock().remove(&self.claim);
    }
}

impl Hands {
    /// Takes a claimed job in hand.
    pub(super) fn take(hands: &Arc<Self>, job: &ClaimedJob) -> Held {
        let claim = Claim { job: job.id, attempt: job.attempt };
        let is_call = job.kind == DRAFT_SECTION;
        let in_hand = Arc::new(InHand { run: job.run_id, is_call, stop: CancellationToken::new(), why: OnceLock::new() });
        hands.lock().insert(claim, Arc::clone(&in_hand));
        Held { hands: Arc::clone(hands), claim, in_hand }
    }

    /// What is in hand.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.lock().keys().copied().collect()
    }

    /// The jobs that are in hand.
    pub(super) fn jobs(&self) -> HashSet<Uuid> {
        self.lock().keys().map(|claim| claim.job).collect()
    }

    /// Calls back claims, as far as they are still in hand.
    pub(super) fn recall(&self, claims: &[Claim], why: Recall) {
        let all = self.lock();
        for in_hand in claims.iter().filter_map(|claim| all.get(claim)) {
            in_hand.recall(why);
        }
    }

    /// Calls back the calls of a run that is being cancelled.
    pub(super) fn recall_run(&self, run: Uuid) {
        for in_hand in self.lock().values().filter(|in_hand| in_hand.run == Some(run)) {
            in_hand.recall(Recall::RunCancelled);
        }
    }

    /// Calls back everything.
    pub(super) fn recall_all(&self, why: Recall) {
        for in_hand in self.lock().values() {
            in_hand.recall(why);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Claim, Arc<InHand>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
