//! A provider that tests hold in their hands: it counts calls, waits when told to, and fails as told.

use async_trait::async_trait;
use claimwright::adapters::ai::offline::Offline;
use claimwright::adapters::ai::{DraftFailure, DraftRequest, DraftStream, Drafter, ModelInfo};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// The provider. It speaks by the offline one once it may.
pub struct HeldDrafter {
    offline: Offline,
    /// Calls that may go on; each takes one.
    pub permits: Semaphore,
    /// Calls that have begun.
    pub begun: AtomicUsize,
    /// Calls that were dropped before they ended.
    pub aborted: AtomicUsize,
    failures: Mutex<Vec<DraftFailure>>,
}

impl HeldDrafter {
    /// A provider that lets so many calls through until more are allowed.
    pub fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            offline: Offline::default(),
            permits: Semaphore::new(permits),
            begun: AtomicUsize::new(0),
            aborted: AtomicUsize::new(0),
            failures: Mutex::default(),
        })
    }

    /// The next calls fail like this, one each.
    pub fn fail_next(&self, failures: Vec<DraftFailure>) {
        self.failures.lock().expect("unpoisoned").extend(failures);
    }
}

struct Watch<'d> {
    drafter: &'d HeldDrafter,
    ended: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.drafter.aborted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Drafter for HeldDrafter {
    fn provider(&self) -> &'static str {
        "offline"
    }

    fn models(&self) -> Vec<ModelInfo> {
        self.offline.models()
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut watch = Watch { drafter: self, ended: false };
        self.permits.acquire().await.expect("open").forget();
        watch.ended = true;
        let failure = self.failures.lock().expect("unpoisoned").pop();
        match failure {
            Some(failure) => Err(failure),
            None => self.offline.draft(request).await,
        }
    }
}
