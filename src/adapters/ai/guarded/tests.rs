//! The guard around a provider that fails when told to, on a clock that does not wait.

use super::*;
use crate::domain::jobs::JobFailureCode::{ProviderRateLimited, ProviderRefused, ProviderUnavailable};
use crate::domain::projects::{Costs, Facts};
use crate::domain::prompts::assemble;
use crate::domain::templates::{Limits, TemplateSection};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers as told, and with success when nothing is left to be told.
#[derive(Default)]
struct Scripted {
    failures: Mutex<VecDeque<DraftFailure>>,
    calls: AtomicUsize,
    now: Arc<AtomicUsize>,
    most: AtomicUsize,
}

struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Drafter for Scripted {
    fn profile(&self) -> Profile {
        Profile { provider: "scripted", models: vec![], provenance: None, masks_personal_data: false }
    }

    async fn draft(&self, _: DraftRequest) -> Result<DraftStream, DraftFailure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        let leaves = Leaves(Arc::clone(&self.now));
        self.most.fetch_max(now, Ordering::SeqCst);
        if let Some(failure) = self.failures.lock().unwrap().pop_front() {
            return Err(failure);
        }
        let usage = super::super::Usage { input_tokens: 1, output_tokens: 1, model: "m".into(), estimated: false, headroom: None };
        let pieces = [Ok(DraftPiece::Delta("Kiln.".into())), Ok(DraftPiece::Finished(usage))];
        Ok(Box::pin(stream::iter(pieces).then(move |piece| {
            let _stays = &leaves;
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                piece
            }
        })))
    }
}

fn request() -> DraftRequest {
    let section = TemplateSection {
        key: "baseline".into(),
        title: "Baseline".into(),
        guidance: String::new(),
        aif_question: None,
        source_facts: vec![],
        required: true,
        limits: Limits { min_words: 1, max_words: 100, max_chars: 1_000 },
    };
    let (facts, costs) = (Facts::default(), Costs::default());
    let prompt = assemble(&section, None, "Glaze", &facts, &costs, None);
    DraftRequest { model: "m".into(), prompt, section, facts, costs, project_name: "Glaze".into(), wish: None }
}

fn guard(failures: Vec<DraftFailure>, concurrency: usize) -> (Arc<Scripted>, Guarded) {
    let inner = Arc::new(Scripted { failures: Mutex::new(failures.into()), ..Scripted::default() });
    let threshold = Threshold { failures: 3, pause: Duration::from_secs(5), longest_pause: Duration::from_secs(15) };
    let provider: Arc<dyn Drafter> = inner.clone();
    (inner, Guarded::new(provider, concurrency, threshold))
}

fn down() -> DraftFailure {
    DraftFailure::new(ProviderUnavailable, "Down.")
}

async fn call(guard: &Guarded) -> Result<String, DraftFailure> {
    let pieces = guard.draft(request()).await?;
    super::super::collect(pieces).await.map(|(text, _)| text)
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_stopped_and_the_circuit_closes_by_itself() {
    let (inner, guard) = guard(vec![down(); 4], 8);
    for _ in 0..3 {
        assert!(!call(&guard).await.unwrap_err().held);
    }
    let held = call(&guard).await.unwrap_err();
    assert!(held.held && held.retryable && held.retry_after == Some(Duration::from_secs(5)), "{held:?}");
    assert_eq!(inner.calls.load(Ordering::SeqCst), 3, "nothing is sent while it is open");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!call(&guard).await.unwrap_err().held, "one is let through");
    let held = call(&guard).await.unwrap_err();
    assert_eq!(held.retry_after, Some(Duration::from_secs(10)), "twice as long after a trial that failed");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(call(&guard).await.unwrap(), "Kiln.");
    assert_eq!(call(&guard).await.unwrap(), "Kiln.", "closed again");
}

#[tokio::test(start_paused = true)]
async fn only_one_call_tries_a_provider_that_was_down() {
    let (inner, guard) = guard(vec![down(); 3], 8);
    for _ in 0..3 {
        call(&guard).await.unwrap_err();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let trial = guard.draft(request()).await.unwrap();
    assert!(call(&guard).await.unwrap_err().held, "while it tries");
    assert_eq!(inner.calls.load(Ordering::SeqCst), 4);
    drop(trial);
    assert_eq!(call(&guard).await.unwrap(), "Kiln.", "a trial that was dropped decided nothing, so the next one tries");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_refuses_is_no_outage() {
    for code in [ProviderRefused, ProviderRateLimited] {
        let (inner, guard) = guard(vec![DraftFailure::new(code, "No."); 10], 8);
        for _ in 0..10 {
            assert_eq!(call(&guard).await.unwrap_err().code, code);
        }
        assert_eq!(inner.calls.load(Ordering::SeqCst), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_do_not_come_in_a_row_do_not_open_it() {
    let refused = || DraftFailure::new(ProviderRefused, "No.");
    let (inner, guard) = guard(vec![down(), down(), refused(), down(), down(), refused(), down()], 8);
    for _ in 0..8 {
        drop(call(&guard).await);
    }
    assert_eq!(inner.calls.load(Ordering::SeqCst), 8);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_than_allowed_are_made_at_a_time() {
    let (inner, guard) = guard(vec![], 3);
    let all = futures::future::join_all((0..12).map(|_| call(&guard))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((inner.calls.load(Ordering::SeqCst), inner.most.load(Ordering::SeqCst)), (12, 3));
}
