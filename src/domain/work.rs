//! Payloads of background jobs: small values that say what is to be done. Their kinds are verb phrases.

use super::ids::{AttemptId, BatchId, ExportId, ImportId, ProjectId, RunId, SectionId, UserId};
use super::projects::ProjectStatus;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Kind of [`DraftSection`].
pub const DRAFT_SECTION: &str = "draft_section";
/// Kind of [`RewriteSection`].
pub const REWRITE_SECTION: &str = "rewrite_section";
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
    /// True if it has a text of this run that broke a rule: it is written once more, with what was found.
    #[serde(default)]
    pub redraft: bool,
}

/// Write one section anew, without a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RewriteSection {
    /// The batch: its row is locked first, always.
    pub batch: BatchId,
    /// The project.
    pub project: ProjectId,
    /// The section.
    pub section: SectionId,
    /// The first attempt: it is there before the job is done, and those that follow it refer to it.
    pub first: AttemptId,
    /// When it was asked for. As long as an attempt began at this moment, its call was not made.
    pub asked_at: DateTime<Utc>,
    /// Who asked.
    pub author: Option<UserId>,
    /// Provider key.
    pub provider: String,
    /// Model name.
    pub model: String,
    /// What the person wishes.
    pub wish: Option<String>,
    /// Status of the project before: what it goes back to if nothing comes of it.
    pub before: ProjectStatus,
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
    /// True if its second drafts are written: there are no third ones.
    #[serde(default)]
    pub redrafted: bool,
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
