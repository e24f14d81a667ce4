//! An export as background work: what was asked for and where it stands. Pure values.

use super::ExportFormat;
use crate::domain::ids::{BatchId, ExportId, ProjectId, UserId};
use crate::domain::jobs::{JobFailure, JobStatus};
use crate::domain::projects::ProjectFilter;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Days that a finished file is kept.
pub const KEEP_DAYS: u64 = 7;
/// Minutes that a download link is valid.
pub const LINK_MINUTES: u64 = 15;

/// Which projects an export holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExportOptions {
    /// Which projects; all if absent.
    pub filter: ProjectFilter,
    /// Approved projects only.
    pub approved_only: bool,
    /// Projects of the AIF selection only.
    pub aif_selection_only: bool,
}

/// A project that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The project.
    pub project: ProjectId,
    /// Why.
    pub reason: String,
}

/// An export.
#[derive(Debug, Clone)]
pub struct ExportJob {
    /// Id.
    pub id: ExportId,
    /// The batch.
    pub batch: BatchId,
    /// Where it stands.
    pub status: JobStatus,
    /// Format.
    pub format: ExportFormat,
    /// Which projects.
    pub options: ExportOptions,
    /// Number of projects in the file.
    pub project_count: i32,
    /// Projects that are written.
    pub processed_count: i32,
    /// Projects that were left out, with reasons.
    pub skipped: Vec<Skipped>,
    /// Name of the file.
    pub file_name: Option<String>,
    /// Key of the object.
    pub object_key: Option<String>,
    /// Size in bytes.
    pub bytes: Option<i64>,
    /// SHA-256 of the file, in hex.
    pub sha256: Option<String>,
    /// When the file is removed.
    pub expires_at: Option<DateTime<Utc>>,
    /// Number of changes: the sequence of its progress stream.
    pub sequence: i64,
    /// Why it failed.
    pub failure: Option<JobFailure>,
    /// Who asked for it.
    pub created_by: Option<UserId>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When a worker first took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it reached a final status.
    pub finished_at: Option<DateTime<Utc>>,
}

impl ExportJob {
    /// Share of the projects that are written, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        if self.status.is_final() {
            1.0
        } else if self.project_count == 0 {
            0.0
        } else {
            f64::from(self.processed_count) / f64::from(self.project_count)
        }
    }
}
