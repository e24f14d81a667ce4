//! Runs of generation: what they cover, their numbers and how they end. Pure values and rules.

use super::budgets::{Budget, Estimate};
use super::ids::{AttemptId, BatchId, ProjectId, RunId, SectionId, TemplateId, TemplateVersionId, UserId};
use super::jobs::{JobFailure, JobStatus};
use super::money::Spend;
use crate::word_enum;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most characters of a wish for all texts.
pub const MAX_INSTRUCTIONS_CHARS: usize = 2_000;
/// Least time between two `RunProgressed` events of a run, in milliseconds.
pub const PROGRESS_EVERY_MS: i64 = 500;
/// Most tries of one section within a run, or of one rewriting, before it has failed for good. A second draft is among
/// those of its run.
pub const MAX_ATTEMPTS: i32 = 5;
/// Attempts after which a section is given up whose writers die: what kills them may be the section itself.
pub const MAX_LOST_ATTEMPTS: i32 = 20;

word_enum! {
    /// Which projects of a batch a run covers.
    pub enum GenerationScope {
        /// Projects without a narrative.
        Missing = "MISSING",
        /// Projects whose last generation failed.
        Failed = "FAILED",
        /// Projects in the AIF selection.
        AifSelection = "AIF_SELECTION",
        /// All that are not approved.
        AllUnapproved = "ALL_UNAPPROVED",
        /// Listed projects.
        Listed = "LISTED",
    }
}

word_enum! {
    /// What to do with text that a person has changed.
    pub enum EditedSectionPolicy {
        /// Keep it; write the other sections.
        Keep = "KEEP",
        /// Write it anew; the changed text stays as a revision.
        Replace = "REPLACE",
    }
}

word_enum! {
    /// Outcome of an attempt.
    pub enum AttemptStatus {
        /// In work.
        Running = "RUNNING",
        /// Text was accepted.
        Succeeded = "SUCCEEDED",
        /// Failed and will be tried again.
        Retrying = "RETRYING",
        /// Failed for good.
        Failed = "FAILED",
        /// Stopped.
        Cancelled = "CANCELLED",
    }
}

/// Numbers of a run, in projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunCounts {
    /// Projects in the run.
    pub total: i32,
    /// Waiting.
    pub queued: i32,
    /// In work.
    pub running: i32,
    /// Written.
    pub succeeded: i32,
    /// Failed for good.
    pub failed: i32,
    /// Not done because of cancellation.
    pub cancelled: i32,
    /// Not done because they were approved or deleted meanwhile.
    pub skipped: i32,
}

/// A run of generation over a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Id.
    pub id: RunId,
    /// The batch.
    pub batch: BatchId,
    /// Where the run stands.
    pub status: JobStatus,
    /// Scope that was asked for.
    pub scope: GenerationScope,
    /// Template version used.
    pub template_version: TemplateVersionId,
    /// Provider key.
    pub provider: String,
    /// Model name.
    pub model: String,
    /// Policy for changed text.
    pub edited_sections: EditedSectionPolicy,
    /// Wish for all texts.
    pub instructions: Option<String>,
    /// Numbers.
    pub counts: RunCounts,
    /// Sections to be written.
    pub sections_total: i32,
    /// Sections that are written or have failed for good.
    pub sections_done: i32,
    /// Spend so far.
    pub spend: Spend,
    /// What the calls in flight may still cost; kept only under a cap.
    pub reserved: Spend,
    /// Most that it may spend.
    pub cap: Option<Spend>,
    /// What it was thought to cost when it was started; none in a run of an older version.
    pub estimate: Option<Estimate>,
    /// When `RunProgressed` was last appended: the throttle.
    pub progressed_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When a worker first took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it reached a final status.
    pub finished_at: Option<DateTime<Utc>>,
    /// Who started it.
    pub created_by: Option<UserId>,
    /// Why it failed or was stopped.
    pub failure: Option<JobFailure>,
}

impl Run {
    /// Share of the work that is finished, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        if self.status.is_final() && self.status != JobStatus::Cancelled {
            1.0
        } else if self.sections_total == 0 {
            0.0
        } else {
            f64::from(self.sections_done) / f64::from(self.sections_total)
        }
    }

    /// The cap and how far it is used, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        self.cap.map(|cap| Budget { cap, spent: self.spend, reserved: self.reserved })
    }

    /// Guess of when it will be finished, from the pace so far.
    #[must_use]
    pub fn estimated_finish_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let started = self.started_at?;
        if self.status != JobStatus::Running || self.sections_done == 0 {
            return None;
        }
        let spent = (now - started).num_milliseconds().max(1);
        let left = i64::from(self.sections_total - self.sections_done);
        Some(now + chrono::Duration::milliseconds(spent * left / i64::from(self.sections_done)))
    }
}

impl RunCounts {
    /// The final status of a run whose projects are all settled.
    #[must_use]
    pub const fn outcome(&self) -> JobStatus {
        if self.failed == 0 {
            JobStatus::Succeeded
        } else if self.succeeded == 0 {
            JobStatus::Failed
        } else {
            JobStatus::Partial
        }
    }
}

/// What asked for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskedBy {
    /// A run.
    Run(RunId),
    /// A person, for this section alone. The attempts of one such rewriting are called by the first of them.
    Rewriting(AttemptId),
}

impl AskedBy {
    /// The run, if it was one.
    #[must_use]
    pub const fn run(self) -> Option<RunId> {
        match self {
            Self::Run(run) => Some(run),
            Self::Rewriting(_) => None,
        }
    }

    /// The id that its attempts are stored with.
    #[must_use]
    pub const fn id(self) -> Uuid {
        match self {
            Self::Run(run) => run.0,
            Self::Rewriting(first) => first.0,
        }
    }

    /// The first attempt of a rewriting, if it was one.
    #[must_use]
    pub const fn rewriting(self) -> Option<AttemptId> {
        match self {
            Self::Run(_) => None,
            Self::Rewriting(first) => Some(first),
        }
    }
}

impl From<RunId> for AskedBy {
    fn from(run: RunId) -> Self {
        Self::Run(run)
    }
}

/// One call of a model for one section: the audit trail of what wrote what.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Id.
    pub id: AttemptId,
    /// What asked for it.
    pub asked_by: AskedBy,
    /// The project.
    pub project: ProjectId,
    /// The section.
    pub section: SectionId,
    /// Key of the section.
    pub section_key: String,
    /// Number of the try, from 1.
    pub number: i32,
    /// Outcome.
    pub status: AttemptStatus,
    /// Provider key.
    pub provider: String,
    /// Model name.
    pub model: String,
    /// Template version.
    pub template_version: TemplateVersionId,
    /// SHA-256 of the prompt.
    pub prompt_hash: String,
    /// Tokens sent.
    pub input_tokens: Option<i32>,
    /// Tokens received.
    pub output_tokens: Option<i32>,
    /// Spend.
    pub spend: Option<Spend>,
    /// What it may cost at most, reserved while it is in work under a cap.
    pub reserved: Option<Spend>,
    /// Why it failed.
    pub failure: Option<JobFailure>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// One section that is to be written anew, as asked for.
#[derive(Debug, Clone, Serialize)]
pub struct NewRewriting {
    /// The section.
    pub section: SectionId,
    /// What the person wishes.
    pub wish: Option<String>,
    /// Revision of the section that the person has seen.
    pub expected: Option<i32>,
}

/// A run, as asked for.
#[derive(Debug, Clone, Serialize)]
pub struct NewRun {
    /// The batch.
    pub batch: BatchId,
    /// Which projects.
    pub scope: GenerationScope,
    /// Projects, for the scope LISTED.
    pub projects: Vec<ProjectId>,
    /// Template; that of the batch if absent.
    pub template: Option<TemplateId>,
    /// Provider key; the server's if absent.
    pub provider: Option<String>,
    /// Model; the provider's default if absent.
    pub model: Option<String>,
    /// What to do with changed text.
    pub edited_sections: EditedSectionPolicy,
    /// Wish for all texts.
    pub instructions: Option<String>,
    /// Most that the run may spend.
    pub cap: Option<Spend>,
    /// Start even if the maximum of the estimate is above the cap, and pause when it is reached.
    pub allow_pause: bool,
}
