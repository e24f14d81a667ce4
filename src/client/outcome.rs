//! What a command has done, with the exit code and the sentence that tell of what is missing from it.

use super::answers::{Batch, ImportJob, JobStatus, Run, RunCounts};
use super::export::SavedExport;
use super::failures::ClientError;
use super::progress::Console;

/// What `import` or `watch` has done.
#[derive(Debug)]
pub struct Outcome {
    /// The batch.
    pub batch: Batch,
    /// The import; `None` for `watch`.
    pub import: Option<ImportEnd>,
    /// The run that was started or followed. Not final if it was started without being followed.
    pub run: Option<RunEnd>,
    /// Documents that were saved, in the order of the formats.
    pub exports: Vec<SavedExport>,
}

/// How an import ended.
#[derive(Debug)]
pub struct ImportEnd {
    /// Opaque global id.
    pub id: String,
    /// SUCCEEDED or PARTIAL.
    pub status: JobStatus,
    /// Rows of the file, blank ones not counted.
    pub rows: u64,
    /// Rows that are projects now.
    pub accepted: u64,
    /// Rows that were refused.
    pub rejected: u64,
}

/// Where a run stands or how it ended.
#[derive(Debug)]
pub struct RunEnd {
    /// Opaque global id.
    pub id: String,
    /// Its status.
    pub status: JobStatus,
    /// Projects by what became of them.
    pub counts: RunCounts,
    /// Why it failed or was stopped, for people.
    pub failure: Option<String>,
}

impl Outcome {
    pub(super) fn of(batch: Batch) -> Self {
        Self { batch, import: None, run: None, exports: Vec::new() }
    }

    /// Exit code of the process: the run's status, else the import's, else the first export's that is not 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let run = self.run.iter().map(|run| run.status);
        let import = self.import.iter().map(|import| import.status);
        let exports = self.exports.iter().map(|export| export.status);
        run.chain(import).chain(exports).map(JobStatus::exit_code).find(|code| *code != 0).unwrap_or_default()
    }

    /// A sentence about what is missing; `None` if nothing is.
    #[must_use]
    pub fn shortcoming(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(run) = &self.run
            && run.status.exit_code() != 0
        {
            let why = run.failure.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            parts.push(format!("the run ended {} with {} of {} projects written{why}", run.status, run.counts.succeeded, run.counts.total));
        }
        if let Some(import) = &self.import
            && import.status.exit_code() != 0
        {
            parts.push(format!("the import ended {}: {} of {} rows were refused", import.status, import.rejected, import.rows));
        }
        for export in self.exports.iter().filter(|export| export.status.exit_code() != 0) {
            parts.push(format!("the {} export ended {}", export.format, export.status));
        }
        (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
    }
}

impl From<ImportJob> for ImportEnd {
    fn from(job: ImportJob) -> Self {
        Self { id: job.id, status: job.status, rows: job.row_count, accepted: job.accepted_count, rejected: job.rejected_count }
    }
}

impl From<Run> for RunEnd {
    fn from(run: Run) -> Self {
        Self { id: run.id, status: run.status, counts: run.counts, failure: run.failure.map(|failure| failure.to_string()) }
    }
}

/// Tells on stderr, in one sentence, what went wrong or is missing, and gives the exit code.
#[must_use]
pub fn conclude(ended: &Result<Outcome, ClientError>, out: &Console) -> u8 {
    let (sentence, code) = match ended {
        Ok(outcome) => (outcome.shortcoming(), outcome.exit_code()),
        Err(error) => (Some(error.to_string()), error.exit_code()),
    };
    if let Some(sentence) = sentence {
        out.note(&format!("claimwright: {sentence}"));
    }
    code
}
