//! An import as background work: what was asked for and where it stands. Pure values.

use super::{ColumnMatch, DetectedFile, ImportDuplicatePolicy, ImportErrorPolicy, ImportIssueCode, ReadOptions, ReadRow};
use crate::domain::ids::{BatchId, ImportId, UploadId, UserId};
use crate::domain::jobs::{JobFailure, JobStatus};
use crate::domain::projects::ProjectDraft;
use crate::domain::quality::IssueSeverity;
use crate::word_enum;
use chrono::{DateTime, Utc};

/// Rows that are kept to show how a file was understood.
pub const PREVIEW_ROWS: usize = 100;
/// Rows that are stored in one transaction: a crash repeats none, and other writers wait for a moment only.
pub const CHUNK_ROWS: usize = 250;

word_enum! {
    /// What was sent.
    pub enum SourceKind {
        /// A file or pasted text.
        File = "file",
        /// Rows of the API, as JSON.
        Rows = "rows",
    }
}

/// Where projects come from.
#[derive(Debug, Clone)]
pub enum ImportSource {
    /// A file with its name.
    File {
        /// Name of the file, if it had one.
        name: Option<String>,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// A file that was sent beside the request.
    Upload(UploadId),
    /// Rows of the API.
    Rows(Vec<ProjectDraft>),
}

/// An import, as asked for.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// The batch.
    pub batch: BatchId,
    /// The projects.
    pub source: ImportSource,
    /// How to read a file.
    pub options: ReadOptions,
    /// What to do with wrong rows.
    pub error_policy: ImportErrorPolicy,
    /// What to do with known references.
    pub on_duplicate: ImportDuplicatePolicy,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// An import.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportJob {
    /// Id.
    pub id: ImportId,
    /// The batch.
    pub batch: BatchId,
    /// Where it stands.
    pub status: JobStatus,
    /// True if nothing is stored.
    pub dry_run: bool,
    /// Name of the file.
    pub file_name: Option<String>,
    /// Key of the object that holds what was sent.
    pub source_key: String,
    /// What was sent.
    pub source_kind: SourceKind,
    /// How to read a file.
    pub options: ReadOptions,
    /// What to do with wrong rows.
    pub error_policy: ImportErrorPolicy,
    /// What to do with known references.
    pub on_duplicate: ImportDuplicatePolicy,
    /// What was found out about the file.
    pub detected: Option<DetectedFile>,
    /// How columns were matched.
    pub columns: Vec<ColumnMatch>,
    /// The first rows as they were understood.
    pub preview: Vec<ReadRow>,
    /// Rows, blank ones not counted.
    pub row_count: i32,
    /// Rows that are settled: a restart goes on behind them.
    pub processed_count: i32,
    /// Rows that were imported, or would be.
    pub accepted_count: i32,
    /// Rows that were refused.
    pub rejected_count: i32,
    /// Key of the object that holds the refused rows.
    pub rejected_key: Option<String>,
    /// Number of changes: the sequence of its progress stream.
    pub sequence: i64,
    /// Why it failed.
    pub failure: Option<JobFailure>,
    /// Who started it.
    pub created_by: Option<UserId>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When a worker first took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it reached a final status.
    pub finished_at: Option<DateTime<Utc>>,
}

impl ImportJob {
    /// Share of the rows that were read, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        if self.status.is_final() {
            1.0
        } else if self.row_count == 0 {
            0.0
        } else {
            f64::from(self.processed_count) / f64::from(self.row_count)
        }
    }
}

/// Which issues of an import.
#[derive(Debug, Clone, Default)]
pub struct IssueFilter {
    /// Severities; all if absent.
    pub severity: Option<Vec<IssueSeverity>>,
    /// Codes; all if absent.
    pub code: Option<Vec<ImportIssueCode>>,
}
