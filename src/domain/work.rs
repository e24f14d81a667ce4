//! Payloads of background jobs: small values that say what is to be done. Their kinds are verb phrases.

use super::ids::{BatchId, ExportId, ImportId, ProjectId, RunId, SectionId};
use serde::{Deserialize, Serialize};

/// Kind of [`DraftSection`].
pub const DRAFT_SECTION: &str = "draft_section";
/// Kind of [`FinishProject`].
pub const FINISH_PROJECT: &str = "finish_project";
/// Kind of [`FinishRun`].
pub const FINISH_RUN: &str = "finish_run";
/// Kind of [`ImportProjects`].
pub const IMPORT_PROJECTS: &str = "import_projects";
/// Kind of [`WriteExport`].
pub const WRITE_EXPORT: &str = "write_export";
/// Kind of [`DeleteObjects`].
pub const DELETE_OBJECTS: &str = "delete_objects";

/// How a job ended that was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnding {
    /// Its effect is there, or there was nothing left to do.
    Done,
    /// It is done again later.
    Retried,
    /// It failed for good, and whoever waits for it was told.
    Failed,
}

impl JobEnding {
    /// The word for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

/// Write one section of a project: the unit of paid work.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DraftSection {
    /// The batch: its row is locked first, always.
    pub batch: BatchId,
    /// The run.
    pub run: RunId,
    /// The project.
    pub project: ProjectId,
    /// The section.
    pub section: SectionId,
}

/// Check and score a project whose sections are all settled.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FinishProject {
    /// The batch: its row is locked first, always.
    pub batch: BatchId,
    /// The run.
    pub run: RunId,
    /// The project.
    pub project: ProjectId,
}

/// End a run whose projects are all settled.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FinishRun {
    /// The batch: its row is locked first, always.
    pub batch: BatchId,
    /// The run.
    pub run: RunId,
}

/// Read a file and store its projects.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ImportProjects {
    /// The import.
    pub import: ImportId,
}

/// Write the document of an export.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WriteExport {
    /// The export.
    pub export: ExportId,
}

/// Delete objects that nothing refers to any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteObjects {
    /// Their keys.
    pub keys: Vec<String>,
}
