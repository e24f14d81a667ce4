//! States and failures that every kind of background work shares (runs, imports, exports, single sections).
//! Pure values; it must not know the queue or what a job does.

use crate::word_enum;
use serde::{Deserialize, Serialize};

word_enum! {
    /// State of background work (`JobStatus` in the schema).
    pub enum JobStatus {
        /// Accepted, waiting for a worker.
        Queued = "QUEUED",
        /// A worker is on it.
        Running = "RUNNING",
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
    fn a_failure_keeps_its_code_when_it_is_stored_and_read() {
        let failure = JobFailure::new(JobFailureCode::ProviderRateLimited, "The provider is busy.");
        let stored = serde_json::to_string(&failure).unwrap();
        assert!(stored.contains("PROVIDER_RATE_LIMITED"));
        assert_eq!(serde_json::from_str::<JobFailure>(&stored).unwrap(), failure);
    }
}
