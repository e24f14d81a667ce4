//! Batches: a set of projects that are handled together, normally one claim of one company. Pure values and rules.

use super::ids::{BatchId, TemplateId, UserId};
use super::money::Pence;
use crate::word_enum;
use chrono::{DateTime, Days, Months, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

/// Most characters of a batch's name.
pub const MAX_NAME_CHARS: usize = 200;
/// Most characters of a description.
pub const MAX_DESCRIPTION_CHARS: usize = 4_000;
/// Days that a deleted batch can be restored.
pub const RESTORE_DAYS: u64 = 30;

word_enum! {
    /// State of a batch in the archive.
    pub enum BatchLifecycle {
        /// In use.
        Active = "ACTIVE",
        /// Out of the way, read-only.
        Archived = "ARCHIVED",
    }
}

word_enum! {
    /// What goes on in a batch, derived from its projects and runs.
    pub enum BatchActivity {
        /// No project yet.
        Empty = "EMPTY",
        /// Nothing is running and something is not yet generated.
        Ready = "READY",
        /// An import is running.
        Importing = "IMPORTING",
        /// A run is queued or running, or a single section is being written.
        Generating = "GENERATING",
        /// A run is paused by a budget cap.
        Paused = "PAUSED",
        /// Everything is generated; something is not yet approved.
        InReview = "IN_REVIEW",
        /// Everything is approved.
        Approved = "APPROVED",
    }
}

word_enum! {
    /// Relief that a claim is made under.
    pub enum ReliefScheme {
        /// Merged scheme R&D expenditure credit.
        MergedRdec = "MERGED_RDEC",
        /// Enhanced R&D intensive support.
        Eris = "ERIS",
        /// Old SME relief.
        SmeLegacy = "SME_LEGACY",
        /// Old expenditure credit.
        RdecLegacy = "RDEC_LEGACY",
    }
}

impl ReliefScheme {
    /// The scheme as people write it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::MergedRdec => "Merged scheme (RDEC)",
            Self::Eris => "Enhanced R&D intensive support (ERIS)",
            Self::SmeLegacy => "SME relief (periods before 1 April 2024)",
            Self::RdecLegacy => "RDEC (periods before 1 April 2024)",
        }
    }
}

/// The claim that a batch is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claim {
    /// Claimant company.
    pub company_name: Option<String>,
    /// First day of the accounting period.
    pub period_start: Option<NaiveDate>,
    /// Last day of the accounting period.
    pub period_end: Option<NaiveDate>,
    /// Relief claimed.
    pub scheme: Option<ReliefScheme>,
    /// True if a claim notification must or may be needed.
    pub notification_required: Option<bool>,
}

impl Claim {
    /// True if nothing is known of the claim.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Last day for the claim notification: six months after the end of the period (domain rules D, "Claim notification").
    #[must_use]
    pub fn notification_due(&self) -> Option<NaiveDate> {
        months_after_end(self.period_end?, 6)
    }

    /// Last day to claim: two years after the end of the period (domain rules D, "Claim limit").
    #[must_use]
    pub fn claim_due(&self) -> Option<NaiveDate> {
        months_after_end(self.period_end?, 24)
    }
}

/// Months after a period's end; the end of a month stays the end of a month (28 February → 31 August).
fn months_after_end(end: NaiveDate, months: u32) -> Option<NaiveDate> {
    end.checked_add_days(Days::new(1))?.checked_add_months(Months::new(months))?.checked_sub_days(Days::new(1))
}

bitflags::bitflags! {
    /// Parts of a batch that a read may leave out; they then have the default of their type. The id is always read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct BatchParts: u16 {
        /// Name.
        const NAME = 1;
        /// Free text.
        const DESCRIPTION = 1 << 1;
        /// Reference.
        const REF = 1 << 2;
        /// Revision.
        const REVISION = 1 << 3;
        /// When it was archived, deleted, and is removed for good.
        const LIFECYCLE = 1 << 4;
        /// The claim.
        const CLAIM = 1 << 5;
        /// Template.
        const TEMPLATE = 1 << 6;
        /// Number and expenditure of its projects.
        const SUMS = 1 << 7;
        /// Sequence of its last event.
        const EVENTS = 1 << 8;
        /// Who created it, and when.
        const CREATION = 1 << 9;
        /// When it last changed.
        const UPDATED = 1 << 10;
    }
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Id.
    pub id: BatchId,
    /// Name, unique among the batches of the workspace that are neither archived nor deleted.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The practice's own reference.
    pub external_ref: Option<String>,
    /// Grows with every change of the batch itself.
    pub revision: i32,
    /// When it was archived.
    pub archived_at: Option<DateTime<Utc>>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When a deleted batch is removed for good.
    pub purge_after: Option<DateTime<Utc>>,
    /// The claim.
    pub claim: Claim,
    /// Template used unless a run says otherwise.
    pub template: TemplateId,
    /// Projects that are not deleted.
    pub project_count: i32,
    /// Qualifying expenditure of all projects that are not deleted.
    pub expenditure: Pence,
    /// Sequence of the newest event.
    pub event_sequence: i64,
    /// Who created it.
    pub created_by: Option<UserId>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Batch {
    /// Archive state.
    #[must_use]
    pub const fn lifecycle(&self) -> BatchLifecycle {
        if self.archived_at.is_some() { BatchLifecycle::Archived } else { BatchLifecycle::Active }
    }
}

/// Numbers of projects by status, and what else is summed over a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BatchSummary {
    /// Not yet generated.
    pub draft: i32,
    /// Waiting for a worker.
    pub queued: i32,
    /// Being generated.
    pub generating: i32,
    /// Generated, to be reviewed.
    pub needs_review: i32,
    /// Approved.
    pub approved: i32,
    /// Last generation failed.
    pub failed: i32,
    /// Projects with an open finding of severity ERROR.
    pub with_errors: i32,
    /// Mean score of generated projects, 0 to 100.
    pub mean_score: Option<f64>,
    /// An import is queued or running.
    pub importing: bool,
    /// A run is queued, running or being cancelled.
    pub generating_run: bool,
    /// A run is paused.
    pub paused_run: bool,
}

impl BatchSummary {
    /// All projects that are not deleted.
    #[must_use]
    pub const fn total(&self) -> i32 {
        self.draft + self.queued + self.generating + self.needs_review + self.approved + self.failed
    }

    /// What goes on.
    #[must_use]
    pub const fn activity(&self) -> BatchActivity {
        let total = self.total();
        if self.importing {
            BatchActivity::Importing
        } else if self.paused_run {
            BatchActivity::Paused
        } else if self.generating_run || self.queued + self.generating > 0 {
            BatchActivity::Generating
        } else if total == 0 {
            BatchActivity::Empty
        } else if self.approved == total {
            BatchActivity::Approved
        } else if self.approved + self.needs_review == total {
            BatchActivity::InReview
        } else {
            BatchActivity::Ready
        }
    }
}

/// A new batch, as asked for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewBatch {
    /// Id chosen by the client.
    pub id: Option<String>,
    /// Name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Reference.
    pub external_ref: Option<String>,
    /// The claim.
    pub claim: Claim,
    /// Template; the default if absent.
    pub template: Option<TemplateId>,
}

/// Changes of a batch: the outer `None` leaves a value, the inner one clears it.
#[derive(Debug, Clone, Default)]
pub struct BatchPatch {
    /// Name; null is refused.
    pub name: Option<Option<String>>,
    /// Free text.
    pub description: Option<Option<String>>,
    /// Reference.
    pub external_ref: Option<Option<String>>,
    /// The claim, field by field.
    pub claim: Option<ClaimPatch>,
    /// Template; null is refused.
    pub template: Option<Option<TemplateId>>,
}

/// Changes of a claim: the outer `None` leaves a value, the inner one clears it.
#[derive(Debug, Clone, Default)]
pub struct ClaimPatch {
    /// Claimant company.
    pub company_name: Option<Option<String>>,
    /// First day of the accounting period.
    pub period_start: Option<Option<NaiveDate>>,
    /// Last day of the accounting period.
    pub period_end: Option<Option<NaiveDate>>,
    /// Relief claimed.
    pub scheme: Option<Option<ReliefScheme>>,
    /// Whether a claim notification is needed.
    pub notification_required: Option<Option<bool>>,
}

impl ClaimPatch {
    /// The change that clears everything.
    #[must_use]
    pub const fn cleared() -> Self {
        Self {
            company_name: Some(None),
            period_start: Some(None),
            period_end: Some(None),
            scheme: Some(None),
            notification_required: Some(None),
        }
    }

    /// The claim after the change.
    #[must_use]
    pub fn apply(self, claim: &Claim) -> Claim {
        Claim {
            company_name: self.company_name.unwrap_or_else(|| claim.company_name.clone()),
            period_start: self.period_start.unwrap_or(claim.period_start),
            period_end: self.period_end.unwrap_or(claim.period_end),
            scheme: self.scheme.unwrap_or(claim.scheme),
            notification_required: self.notification_required.unwrap_or(claim.notification_required),
        }
    }
}

/// Which batches.
#[derive(Debug, Clone, Default)]
pub struct BatchFilter {
    /// Archive states; ACTIVE only if absent.
    pub lifecycle: Option<Vec<BatchLifecycle>>,
    /// Activities.
    pub activity: Option<Vec<BatchActivity>>,
    /// Text in name, description, reference or company name.
    pub text: Option<String>,
    /// Schemes.
    pub scheme: Option<Vec<ReliefScheme>>,
    /// Changed at or after.
    pub updated_since: Option<DateTime<Utc>>,
    /// Notification due on or before.
    pub notification_due_before: Option<NaiveDate>,
}

/// What batches can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOrderField {
    /// Name, without regard to case.
    Name,
    /// Creation.
    CreatedAt,
    /// Last change.
    UpdatedAt,
    /// Number of projects.
    ProjectCount,
    /// Qualifying expenditure.
    Expenditure,
    /// Notification date; those without one come last.
    NotificationDue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_days_are_counted_from_the_end_of_the_period() {
        let claim = |end: &str| Claim { period_end: Some(end.parse().unwrap()), ..Claim::default() };
        assert_eq!(claim("2026-03-31").notification_due(), Some("2026-09-30".parse().unwrap()));
        assert_eq!(claim("2025-02-28").notification_due(), Some("2025-08-31".parse().unwrap()));
        assert_eq!(claim("2026-03-31").claim_due(), Some("2028-03-31".parse().unwrap()));
    }

    #[test]
    fn activity_follows_from_the_numbers() {
        let some = BatchSummary { needs_review: 2, approved: 1, ..BatchSummary::default() };
        assert_eq!(some.activity(), BatchActivity::InReview);
        assert_eq!(BatchSummary { draft: 1, ..some }.activity(), BatchActivity::Ready);
        assert_eq!(BatchSummary { generating_run: true, ..some }.activity(), BatchActivity::Generating);
        assert_eq!(BatchSummary { paused_run: true, ..some }.activity(), BatchActivity::Paused);
        assert_eq!(BatchSummary { generating: 1, ..some }.activity(), BatchActivity::Generating, "a section alone is written anew");
        assert_eq!(BatchSummary::default().activity(), BatchActivity::Empty);
    }
}
