//! A provider at a pace: each call waits for its place in the minute before it is sent, and sets its tokens right after;
//! once it is over, however that came, its place among the open calls is free.
//! It joins two ports (adapters do not know each other), and stands below the circuit breaker, so that nobody waits for a
//! place at a provider that is down. It must not retry.
//!
//! A call waits for a short while only: then it is held back, and its worker is free for other work.

use crate::adapters::ai::{
    DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, Profile, Usage, estimated_tokens, expected_tokens,
};
use crate::adapters::pace::{Pace, Place, Ticket};
use crate::domain::jobs::JobFailureCode;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// Longest wait for a place before a call is held back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause for everybody after a refusal that does not say how long to wait.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest pause that a provider is believed to need.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// Thousandths: what an estimate is multiplied by at first.
const AS_ESTIMATED: u32 = 1_000;

/// A provider at a pace.
pub struct Paced {
    inner: Arc<dyn Drafter>,
    pace: Arc<dyn Pace>,
    /// Who comes first is served first: without it, small calls would overtake large ones for ever.
    line: Mutex<()>,
    learnt: Arc<Learnt>,
}

/// How much calls really take of what is estimated, in thousandths: estimates reserve for answers of full length, and
/// what is reserved too much nobody else can use meanwhile.
struct Learnt(AtomicU32);

impl Learnt {
    fn apply(&self, estimate: u32) -> u32 {
        let share = u64::from(estimate) * u64::from(self.0.load(Ordering::Relaxed)) / u64::from(AS_ESTIMATED);
        u32::try_from(share).unwrap_or(u32::MAX).max(1)
    }

    /// Moves a tenth of the way to what the last call took; a lost update in between does no harm.
    fn learn(&self, estimate: u32, used: u32) {
        let seen = u64::from(used) * u64::from(AS_ESTIMATED) / u64::from(estimate.max(1));
        let seen = u32::try_from(seen).unwrap_or(u32::MAX).clamp(AS_ESTIMATED / 10, AS_ESTIMATED * 10);
        let before = self.0.load(Ordering::Relaxed);
        self.0.store((before * 9 + seen) / 10, Ordering::Relaxed);
    }
}

impl Paced {
    /// Puts the pace before a provider.
    #[must_use]
    pub fn new(inner: Arc<dyn Drafter>, pace: Arc<dyn Pace>) -> Self {
        Self { inner, pace, line: Mutex::new(()), learnt: Arc::new(Learnt(AtomicU32::new(AS_ESTIMATED))) }
    }

    /// Waits for a place, or says that the call is held back.
    async fn place(&self, tokens: u32) -> Result<Ticket, DraftFailure> {
        let deadline = Instant::now() + PATIENCE;
        let held = |wait| {
            let message = "The requests or tokens of this minute are used up; the call waits.";
            Err(DraftFailure::held(JobFailureCode::ProviderRateLimited, message, wait))
        };
        let Ok(_first) = tokio::time::timeout_at(deadline, self.line.lock()).await else { return held(PAUSE) };
        loop {
            match self.pace.take(self.inner.profile().provider, tokens).await {
                Place::Taken(ticket) => return Ok(ticket),
                Place::Wait(wait) if Instant::now() + wait > deadline => return held(wait),
                Place::Wait(wait) => sleep(wait).await,
            }
        }
    }
}

/// A call that has its place.
struct Call {
    pace: Arc<dyn Pace>,
    learnt: Arc<Learnt>,
    ticket: Ticket,
    estimate: u32,
}

impl Drop for Call {
    /// However it ended.
    fn drop(&mut self) {
        self.pace.leave(&self.ticket);
    }
}

impl Call {
    async fn took(&self, usage: &Usage) {
        let used = u32::try_from(usage.input_tokens.saturating_add(usage.output_tokens)).unwrap_or(0);
        self.pace.settle(&self.ticket, used).await;
        self.learnt.learn(self.estimate, used);
        let exhausted = usage.headroom.and_then(|headroom| headroom.exhausted_for());
        if let Some(pause) = exhausted {
            self.pause(pause).await;
        }
    }

    async fn failed(&self, failure: &DraftFailure) {
        if let Some(usage) = &failure.usage {
            self.took(usage).await;
        }
        if failure.code == JobFailureCode::ProviderRateLimited && failure.retryable {
            self.pause(failure.retry_after.unwrap_or(PAUSE)).await;
        }
    }

    async fn pause(&self, how_long: Duration) {
        self.pace.pause(&self.ticket.provider, how_long.min(LONGEST_PAUSE)).await;
    }
}

#[async_trait]
impl Drafter for Paced {
    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let sent = estimated_tokens(request.prompt.system).saturating_add(estimated_tokens(&request.prompt.user));
        let estimate = u32::try_from(sent.saturating_add(expected_tokens(&request.section))).unwrap_or(0);
        let ticket = self.place(self.learnt.apply(estimate)).await?;
        let call = Call { pace: Arc::clone(&self.pace), learnt: Arc::clone(&self.learnt), ticket, estimate };
        let pieces = match self.inner.draft(request).await {
            Ok(pieces) => pieces,
            Err(failure) => {
                call.failed(&failure).await;
                return Err(failure);
            }
        };
        // a call that is dropped keeps what it has reserved: nobody knows what it took
        Ok(Box::pin(stream::unfold(Some((pieces, call)), |state| async move {
            let (mut pieces, call) = state?;
            let piece = pieces.next().await?;
            match &piece {
                Ok(DraftPiece::Delta(_)) => return Some((piece, Some((pieces, call)))),
                Ok(DraftPiece::Finished(usage)) => call.took(usage).await,
                Err(failure) => call.failed(failure).await,
            }
            Some((piece, None))
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::ai::offline::Offline;
    use crate::adapters::pace::Quota;
    use crate::adapters::pace::local::LocalPace;
    use crate::domain::builtin_templates::built_in;
    use crate::domain::projects::{Costs, Facts};
    use crate::domain::prompts::assemble;
    use std::num::NonZeroU32;
    use std::sync::atomic::AtomicUsize;

    fn request() -> DraftRequest {
        let section = built_in()[0].sections[0].clone();
        let (facts, costs) = (Facts::default(), Costs::default());
        let prompt = assemble(&section, None, "Glaze", &facts, &costs, None);
        DraftRequest { model: "m".into(), prompt, section, facts, costs, project_name: "Glaze".into(), wish: None }
    }

    fn pace(requests: u32) -> Arc<LocalPace> {
        Arc::new(LocalPace::new(Quota { requests: NonZeroU32::new(requests), ..Quota::default() }))
    }

    /// Fails as told and counts its calls.
    struct Failing(DraftFailure, AtomicUsize);

    #[async_trait]
    impl Drafter for Failing {
        fn profile(&self) -> Profile {
            Profile { provider: "failing", models: vec![], provenance: None, masks_personal_data: false }
        }

        async fn draft(&self, _: DraftRequest) -> Result<DraftStream, DraftFailure> {
            self.1.fetch_add(1, Ordering::SeqCst);
            Err(self.0.clone())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_their_place_for_a_while_and_are_then_held_back_unsent() {
        let paced = Paced::new(Arc::new(Offline::default()), pace(1));
        let begin = Instant::now();
        paced.draft(request()).await.map(drop).unwrap();
        let held = paced.draft(request()).await.map(drop).unwrap_err();
        assert!(held.held && held.retryable && !held.outage, "{held:?}");
        assert_eq!(begin.elapsed(), Duration::ZERO, "a wait that is longer than patience is not begun");
        assert_eq!(held.retry_after, Some(Duration::from_mins(1)));
        sleep(Duration::from_secs(45)).await;
        paced.draft(request()).await.map(drop).unwrap();
        assert_eq!(begin.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_asks_for_a_pause_is_left_alone_by_everybody() {
        let limited = DraftFailure::new(JobFailureCode::ProviderRateLimited, "Busy.").after(Some(Duration::from_secs(90)));
        let inner = Arc::new(Failing(limited, AtomicUsize::new(0)));
        let provider: Arc<dyn Drafter> = inner.clone();
        let paced = Paced::new(provider, pace(1_000));
        assert!(!paced.draft(request()).await.map(drop).unwrap_err().held);
        let held = paced.draft(request()).await.map(drop).unwrap_err();
        assert!(held.held && held.retry_after == Some(Duration::from_secs(90)), "{held:?}");
        assert_eq!(inner.1.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn estimates_follow_what_calls_really_take() {
        let learnt = Learnt(AtomicU32::new(AS_ESTIMATED));
        assert_eq!(learnt.apply(3_000), 3_000);
        for _ in 0..60 {
            learnt.learn(3_000, 1_500);
        }
        assert!((1_500..1_530).contains(&learnt.apply(3_000)), "{}", learnt.apply(3_000));
    }
}
