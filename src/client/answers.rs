//! What the server answers, as far as the client reads it. Plain data: enums keep a default branch because the API may
//! gain members at any time.

use serde::Deserialize;

/// State of a job, as in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Accepted, waiting for a worker.
    Queued,
    /// A worker is on it.
    Running,
    /// Stopped at a budget cap until it is resumed.
    PausedBudget,
    /// Being stopped.
    Cancelling,
    /// Everything was done.
    Succeeded,
    /// Finished, but some items failed.
    Partial,
    /// Nothing useful was done.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// A status that this client does not know; not final.
    #[serde(other)]
    Other,
}

impl JobStatus {
    /// The word that the API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::PausedBudget => "PAUSED_BUDGET",
            Self::Cancelling => "CANCELLING",
            Self::Succeeded => "SUCCEEDED",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Other => "OTHER",
        }
    }

    /// True if the job will not change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Partial | Self::Failed | Self::Cancelled)
    }

    /// Exit code that tells of this status: 0 while nothing went wrong.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Partial => 3,
            Self::Failed => 4,
            Self::Cancelled => 5,
            _ => 0,
        }
    }
}

impl std::fmt::Display for JobStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a job failed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct JobFailure {
    pub(super) code: String,
    pub(super) message: String,
}

impl std::fmt::Display for JobFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// A list of which only the nodes are read.
#[derive(Debug, Deserialize)]
pub(super) struct Nodes<T> {
    pub(super) nodes: Vec<T>,
}

/// `node(id)`: an object without the members of the wanted type is another type, and serde says so.
#[derive(Debug, Deserialize)]
pub(super) struct NodeAnswer<T> {
    pub(super) node: Option<T>,
}

/// `batch(id)`.
#[derive(Debug, Deserialize)]
pub(super) struct BatchAnswer<T> {
    pub(super) batch: Option<T>,
}

/// `batches(...)`.
#[derive(Debug, Deserialize)]
pub(super) struct BatchesAnswer {
    pub(super) batches: Nodes<Batch>,
}

/// A batch by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Batch {
    /// Opaque global id.
    pub id: String,
    /// Name.
    pub name: String,
}

/// The newest runs of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchRuns {
    pub(super) active_run: Option<Run>,
    pub(super) runs: Nodes<Run>,
}

/// Scores of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchScores {
    pub(super) mean_score: Option<f64>,
    pub(super) counts: BatchCounts,
}

/// Number of projects by status.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchCounts {
    pub(super) total: u64,
    pub(super) needs_review: u64,
    pub(super) approved: u64,
    pub(super) failed: u64,
    pub(super) with_errors: u64,
}

/// An import.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportJob {
    pub(super) id: String,
    pub(super) status: JobStatus,
    pub(super) progress: f64,
    pub(super) row_count: u64,
    pub(super) accepted_count: u64,
    pub(super) rejected_count: u64,
    pub(super) failure: Option<JobFailure>,
    #[serde(default)]
    pub(super) issues: Option<ImportIssues>,
}

/// The first issues of an import.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportIssues {
    pub(super) total_count: usize,
    pub(super) nodes: Vec<ImportIssue>,
}

/// Something that an import found.
#[derive(Debug, Deserialize)]
pub(super) struct ImportIssue {
    pub(super) severity: String,
    pub(super) code: String,
    pub(super) row: Option<u64>,
    pub(super) column: Option<String>,
    pub(super) message: String,
}

/// A run.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) status: JobStatus,
    pub(super) counts: RunCounts,
    pub(super) failure: Option<JobFailure>,
}

/// Numbers of a run, in projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RunCounts {
    /// Projects in the run.
    pub total: u64,
    /// Written.
    pub succeeded: u64,
    /// Failed for good.
    pub failed: u64,
    /// Not done because of cancellation.
    pub cancelled: u64,
    /// Not done because they were approved or deleted meanwhile.
    pub skipped: u64,
}

impl RunCounts {
    /// Projects that will not change any more in this run.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled + self.skipped
    }
}

/// An export.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExportJob {
    pub(super) id: String,
    pub(super) status: JobStatus,
    pub(super) progress: f64,
    pub(super) project_count: u64,
    #[serde(default)]
    pub(super) file_name: Option<String>,
    #[serde(default)]
    pub(super) bytes: Option<u64>,
    #[serde(default)]
    pub(super) download_url: Option<String>,
    pub(super) failure: Option<JobFailure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_a_later_server_is_not_final() {
        let status: JobStatus = serde_json::from_str("\"ARCHIVING\"").unwrap();
        assert_eq!(status, JobStatus::Other);
        assert!(!status.is_final());
    }

    #[test]
    fn the_words_of_a_status_are_those_of_the_schema() {
        for status in [JobStatus::PausedBudget, JobStatus::Succeeded, JobStatus::Cancelled] {
            let read: JobStatus = serde_json::from_value(status.as_str().into()).unwrap();
            assert_eq!(read, status);
        }
    }
}
