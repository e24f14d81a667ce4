//! A provider that tests hold in their hands: it counts calls, waits when told to, and fails as told.

use super::PATIENCE;
use async_trait::async_trait;
use claimwright::adapters::ai::offline::Offline;
use claimwright::adapters::ai::{DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, Profile, Usage};
use claimwright::domain::money::Spend;
use claimwright::domain::prompts::Prompt;
use futures::stream;
use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

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
    /// What a million tokens cost, in millionths of a dollar.
    price: AtomicI64,
    /// What the next calls for a section come to, by its key.
    script: Mutex<Vec<(String, Result<String, DraftFailure>)>>,
    /// Prompts of all calls, with the key of their section.
    prompts: Mutex<Vec<(String, Prompt)>>,
    /// Names of projects whose calls need no permit.
    free: Mutex<HashSet<String>>,
    /// Rung whenever a number has changed.
    changed: Notify,
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
            price: AtomicI64::new(0),
            script: Mutex::default(),
            prompts: Mutex::default(),
            free: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Calls for the project of this name need no permit from now on.
    pub fn let_through(&self, project: &str) {
        self.free.lock().expect("unpoisoned").insert(project.to_owned());
    }

    /// Waits until so many calls have begun.
    pub async fn has_begun(&self, calls: usize) {
        self.reaches(&self.begun, calls).await;
    }

    /// Waits until so many calls were dropped before they ended.
    pub async fn has_aborted(&self, calls: usize) {
        self.reaches(&self.aborted, calls).await;
    }

    async fn reaches(&self, number: &AtomicUsize, wanted: usize) {
        let reached = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if number.load(Ordering::SeqCst) >= wanted {
                    return;
                }
                changed.await;
            }
        };
        let in_time = timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "{} of {wanted} calls", number.load(Ordering::SeqCst));
    }

    /// A million tokens cost so many millionths of a dollar from now on, in either direction.
    pub fn costs(&self, micros: i64) {
        self.price.store(micros, Ordering::SeqCst);
    }

    /// The next calls fail like this, one each.
    pub fn fail_next(&self, failures: Vec<DraftFailure>) {
        self.failures.lock().expect("unpoisoned").extend(failures);
    }

    /// The next call for the section of this key, after those that are told already, answers with this text or fails.
    pub fn tell(&self, section: &str, answer: Result<&str, DraftFailure>) {
        self.script.lock().expect("unpoisoned").push((section.to_owned(), answer.map(str::to_owned)));
    }

    /// Prompts of the calls for a section so far, oldest first.
    pub fn prompts_for(&self, section: &str) -> Vec<Prompt> {
        let all = self.prompts.lock().expect("unpoisoned");
        all.iter().filter(|(key, _)| key == section).map(|(_, prompt)| prompt.clone()).collect()
    }

    fn told(&self, section: &str) -> Option<Result<String, DraftFailure>> {
        let mut script = self.script.lock().expect("unpoisoned");
        let place = script.iter().position(|(key, _)| key == section)?;
        Some(script.remove(place).1)
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
            self.drafter.changed.notify_waiters();
        }
    }
}

#[async_trait]
impl Drafter for HeldDrafter {
    fn profile(&self) -> Profile {
        let mut profile = Profile { provenance: None, ..self.offline.profile() };
        let price = Spend(self.price.load(Ordering::SeqCst));
        for model in &mut profile.models {
            (model.input_price_per_million, model.output_price_per_million) = (price, price);
        }
        profile
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        self.prompts.lock().expect("unpoisoned").push((request.section.key.clone(), request.prompt.clone()));
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        let mut watch = Watch { drafter: self, ended: false };
        if !self.free.lock().expect("unpoisoned").contains(&request.project_name) {
            self.permits.acquire().await.expect("open").forget();
        }
        watch.ended = true;
        let failure = self.failures.lock().expect("unpoisoned").pop();
        if let Some(failure) = failure {
            return Err(failure);
        }
        let Some(told) = self.told(&request.section.key) else { return self.offline.draft(request).await };
        let usage = Usage { input_tokens: 100, output_tokens: 20, model: request.model, estimated: false, headroom: None };
        Ok(Box::pin(stream::iter([Ok(DraftPiece::Delta(told?)), Ok(DraftPiece::Finished(usage))])))
    }
}
