//! What stands around any provider with a network between: so many calls at a time, and a circuit breaker that stops a
//! storm of calls to a provider that is down. It must not retry (a retry is a job that survives a restart, so it is the
//! services') and must not know why a call failed beyond what the failure says of itself.
//!
//! The breaker opens after [`Threshold::failures`] calls in a row that told of an outage. While it is open, calls are held
//! back without being made. After a pause one call is let through (half-open): it closes the circuit, or opens it again
//! for twice as long. A call that was dropped decides nothing.

use super::{DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, Profile};
use crate::domain::jobs::JobFailureCode;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// When the circuit opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Outages in a row that open it.
    pub failures: u32,
    /// How long it stays open the first time; it doubles with every try that fails.
    pub pause: Duration,
    /// Longest that it stays open.
    pub longest_pause: Duration,
}

impl Default for Threshold {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(5), longest_pause: Duration::from_mins(2) }
    }
}

/// A provider with a limit of concurrency and a circuit breaker.
pub struct Guarded {
    inner: Arc<dyn Drafter>,
    slots: Arc<Semaphore>,
    breaker: Arc<Breaker>,
}

impl Guarded {
    /// Puts the guard around a provider that may be called so often at the same time.
    #[must_use]
    pub fn new(inner: Arc<dyn Drafter>, concurrency: usize, threshold: Threshold) -> Self {
        let breaker = Breaker { provider: inner.profile().provider, threshold, circuit: Mutex::new(Circuit::Closed { failures: 0 }) };
        breaker.show(&breaker.circuit());
        Self { inner, slots: Arc::new(Semaphore::new(concurrency)), breaker: Arc::new(breaker) }
    }
}

#[async_trait]
impl Drafter for Guarded {
    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        // looked at before the wait for a slot too, so that nobody queues for a provider that is down
        self.breaker.look()?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| DraftFailure::new(JobFailureCode::Internal, "The service is ending."))?;
        let mut call = Breaker::begin(&self.breaker)?;
        let pieces = self.inner.draft(request).await.inspect_err(|failure| call.failed(failure))?;
        Ok(Box::pin(stream::unfold(Some((pieces, call, slot)), |state| async move {
            let (mut pieces, mut call, slot) = state?;
            let piece = pieces.next().await.unwrap_or_else(|| Err(DraftFailure::broken_off()));
            match &piece {
                Ok(DraftPiece::Delta(_)) => return Some((piece, Some((pieces, call, slot)))),
                Ok(DraftPiece::Finished(_)) => call.close(),
                Err(failure) => call.failed(failure),
            }
            Some((piece, None))
        })))
    }
}

/// Where a circuit stands.
#[derive(Debug)]
enum Circuit {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One call is trying.
    Trying {
        pause: Duration,
    },
}

struct Breaker {
    provider: &'static str,
    threshold: Threshold,
    circuit: Mutex<Circuit>,
}

impl Breaker {
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, circuit: &Circuit) {
        let (state, word) = match circuit {
            Circuit::Closed { .. } => (0.0, "closed"),
            Circuit::Trying { .. } => (1.0, "half-open"),
            Circuit::Open { .. } => (2.0, "open"),
        };
        metrics::gauge!("claimwright_provider_circuit", "provider" => self.provider).set(state);
        tracing::debug!(provider = self.provider, circuit = word, "where the circuit stands");
    }

    fn held(wait: Duration) -> DraftFailure {
        DraftFailure::held(JobFailureCode::ProviderUnavailable, "The provider is down; calls to it are held back for a while.", wait)
    }

    /// Says whether a call would be let through now.
    fn look(&self) -> Result<(), DraftFailure> {
        match &*self.circuit() {
            Circuit::Open { until, .. } => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Ok(()),
                wait => Err(Self::held(wait)),
            },
            Circuit::Trying { .. } => Err(Self::held(self.threshold.pause)),
            Circuit::Closed { .. } => Ok(()),
        }
    }

    /// Lets a call through, or holds it back.
    fn begin(breaker: &Arc<Self>) -> Result<Call, DraftFailure> {
        breaker.look()?;
        let mut circuit = breaker.circuit();
        let mut is_trial = false;
        if let Circuit::Open { pause, .. } = *circuit {
            *circuit = Circuit::Trying { pause };
            is_trial = true;
            breaker.show(&circuit);
        } else if matches!(*circuit, Circuit::Trying { .. }) {
            // another call came first, between the look and here
            return Err(Self::held(breaker.threshold.pause));
        }
        drop(circuit);
        Ok(Call { breaker: Arc::clone(breaker), is_trial })
    }

    fn open(&self, pause: Duration) -> Circuit {
        let pause = pause.min(self.threshold.longest_pause);
        tracing::warn!(provider = self.provider, seconds = pause.as_secs_f64(), "the provider is down: calls are held back");
        Circuit::Open { until: Instant::now() + pause, pause }
    }
}

/// A call that was let through.
struct Call {
    breaker: Arc<Breaker>,
    is_trial: bool,
}

impl Call {
    fn close(&mut self) {
        let mut circuit = self.breaker.circuit();
        let was_closed = matches!(*circuit, Circuit::Closed { .. });
        // a late success of before the circuit opened is no news of a provider that failed since
        if was_closed || self.is_trial {
            *circuit = Circuit::Closed { failures: 0 };
        }
        if self.is_trial {
            self.breaker.show(&circuit);
            tracing::info!(provider = self.breaker.provider, "the provider answers again");
        }
        self.is_trial = false;
    }

    fn failed(&mut self, failure: &DraftFailure) {
        if failure.held {
            return;
        }
        if !failure.outage {
            // it was reached and answered, if not as wished
            return self.close();
        }
        let mut circuit = self.breaker.circuit();
        match &mut *circuit {
            Circuit::Trying { pause } if self.is_trial => {
                let pause = *pause * 2;
                *circuit = self.breaker.open(pause);
                self.breaker.show(&circuit);
            }
            Circuit::Closed { failures } => {
                *failures += 1;
                if *failures >= self.breaker.threshold.failures {
                    *circuit = self.breaker.open(self.breaker.threshold.pause);
                    self.breaker.show(&circuit);
                }
            }
            Circuit::Open { .. } | Circuit::Trying { .. } => {}
        }
        self.is_trial = false;
    }
}

impl Drop for Call {
    /// A trial that was dropped or held back decided nothing: the next call tries.
    fn drop(&mut self) {
        if self.is_trial {
            let mut circuit = self.breaker.circuit();
            if let Circuit::Trying { pause } = *circuit {
                *circuit = Circuit::Open { until: Instant::now(), pause };
                self.breaker.show(&circuit);
            }
        }
    }
}

#[cfg(test)]
mod tests;
