//! States and failures that every kind of background work shares (runs, imports, exports, single sections).
//! Pure values; it must not know the queue or what a job does.

use crate::word_enum;
use serde::{Deserialize, Serialize};
use std::time::Duration;

word_enum! {
    /// State of background work (`JobStatus` in the schema).
    pub enum JobStatus {
        /// Accepted, waiting for a worker.
        Queued = "QUEUED",
        /// A worker is on it.
        Running = "RUNNING",
        /// Stopped because a budget cap was reached; it can be resumed.
        PausedBudget = "PAUSED_BUDGET",
        /// Cancellation was asked for; work in flight is being let go.
        Cancelling = "CANCELLING",
        /// Everything was done.
        Succeeded = "SUCCEEDED",
        /// Finished, but some items failed.
        Partial = "PARTIAL",
        /// Nothing useful was done.
        Failed = "FAILED",
        /// Stopped on request; what was finished before is kept.
        Cancelled = "CANCELLED",
    }
}

impl JobStatus {
    /// True if the state never changes again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Partial | Self::Failed | Self::Cancelled)
    }
}

word_enum! {
    /// Causes of failure of background work (`JobFailureCode` in the schema).
    pub enum JobFailureCode {
        /// The AI provider refused or limited the request.
        ProviderRateLimited = "PROVIDER_RATE_LIMITED",
        /// The AI provider could not be reached or answered with a server error.
        ProviderUnavailable = "PROVIDER_UNAVAILABLE",
        /// The AI provider rejected the content.
        ProviderRefused = "PROVIDER_REFUSED",
        /// The answer of the provider could not be read.
        ProviderBadAnswer = "PROVIDER_BAD_ANSWER",
        /// The time limit of the job ran out.
        TimedOut = "TIMED_OUT",
        /// A budget cap was reached.
        BudgetExceeded = "BUDGET_EXCEEDED",
        /// The file could not be read.
        FileUnreadable = "FILE_UNREADABLE",
        /// Object storage failed.
        StorageFailed = "STORAGE_FAILED",
        /// A worker died more often than the job may be tried.
        WorkerLost = "WORKER_LOST",
        /// A fault in this service; reported with a reference.
        Internal = "INTERNAL",
    }
}

impl JobFailureCode {
    /// True if trying again without a change can usually help.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::ProviderRateLimited
            | Self::ProviderUnavailable
            | Self::ProviderBadAnswer
            | Self::TimedOut
            | Self::StorageFailed
            | Self::WorkerLost => true,
            Self::ProviderRefused | Self::BudgetExceeded | Self::FileUnreadable | Self::Internal => false,
        }
    }
}

/// First wait before a failed call is tried again; it doubles with every try, up to [`LONGEST_WAIT`].
pub const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait that we choose.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Longest wait that a provider is believed to need.
pub const LONGEST_ASKED_WAIT: Duration = Duration::from_mins(15);

/// How long to wait before try number `next` (from 2) of something: by full jitter, anything up to the doubled wait, so
/// that many failures do not come back at once; or what was asked for and up to a quarter more, for the same reason.
/// `dice` is 0 to 1.
#[must_use]
pub fn wait_before_try(next: i32, asked: Option<Duration>, dice: f64) -> Duration {
    let dice = dice.clamp(0.0, 1.0);
    if let Some(asked) = asked {
        return asked.min(LONGEST_ASKED_WAIT).mul_f64(1.0 + dice / 4.0);
    }
    let doublings = u32::try_from(next.saturating_sub(2)).unwrap_or(0).min(10);
    // not nothing at all: that would be no wait
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT).mul_f64(dice.max(0.05))
}

/// Why background work failed, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// Stable code.
    pub code: JobFailureCode,
    /// A sentence for people, without secrets or stack traces.
    pub message: String,
    /// True if trying again without a change can help.
    pub retryable: bool,
}

impl JobFailure {
    /// A failure that is retryable if its code usually is.
    pub fn new(code: JobFailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.is_retryable() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_states_after_which_nothing_happens_are_final() {
        let last: Vec<_> = JobStatus::ALL.iter().filter(|status| status.is_final()).map(|status| status.as_str()).collect();
        assert_eq!(last, ["SUCCEEDED", "PARTIAL", "FAILED", "CANCELLED"]);
    }

    #[test]
    fn waits_double_up_to_a_cap_and_are_spread_over_all_that_time() {
        let longest: Vec<u64> = [2, 3, 4, 5, 6, 7, 30, i32::MAX].map(|next| wait_before_try(next, None, 1.0).as_secs()).to_vec();
        assert_eq!(longest, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(wait_before_try(5, None, 0.5), Duration::from_secs(8));
        assert!(wait_before_try(5, None, 0.0) < Duration::from_secs(1) && !wait_before_try(i32::MIN, None, 0.0).is_zero());
    }

    #[test]
    fn what_a_provider_asks_for_is_kept_within_reason() {
        let asked = |seconds, dice| wait_before_try(2, Some(Duration::from_secs(seconds)), dice);
        assert_eq!((asked(20, 0.0), asked(20, 1.0)), (Duration::from_secs(20), Duration::from_secs(25)));
        assert_eq!(asked(86_400, 0.0), LONGEST_ASKED_WAIT);
    }

    #[test]
    fn a_failure_keeps_its_code_when_it_is_stored_and_read() {
        let failure = JobFailure::new(JobFailureCode::ProviderRateLimited, "The provider is busy.");
        let stored = serde_json::to_string(&failure).unwrap();
        assert!(stored.contains("PROVIDER_RATE_LIMITED"));
        assert_eq!(serde_json::from_str::<JobFailure>(&stored).unwrap(), failure);
    }
}
