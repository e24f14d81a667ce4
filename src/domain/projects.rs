//! Projects: the facts from the client, the qualifying expenditure and the states of the narrative made from them.
//! Pure values and rules; it must not know how projects are stored or shown.

use super::ids::{BatchId, ImportId, ProjectId, TemplateVersionId, UserId};
use super::money::Pence;
use crate::word_enum;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most characters of a project's name.
pub const MAX_NAME_CHARS: usize = 500;
/// Most characters of a reference.
pub const MAX_REF_CHARS: usize = 100;
/// Most characters of one fact (the AIF's limit for an answer; domain rules E, "Length").
pub const MAX_FACT_CHARS: usize = 20_000;

word_enum! {
    /// State of a project.
    #[derive(Default)]
    pub enum ProjectStatus {
        /// Facts only, no narrative yet.
        #[default]
        Draft = "DRAFT",
        /// Waiting for a worker.
        Queued = "QUEUED",
        /// A worker writes the narrative.
        Generating = "GENERATING",
        /// The narrative is there and has to be reviewed.
        NeedsReview = "NEEDS_REVIEW",
        /// A person approved it; sections are locked.
        Approved = "APPROVED",
        /// The last generation failed; earlier text is kept.
        Failed = "FAILED",
    }
}

impl ProjectStatus {
    /// True while a run has the project in hand: facts and texts are closed to people then.
    #[must_use]
    pub const fn is_in_work(self) -> bool {
        matches!(self, Self::Queued | Self::Generating)
    }

    /// Place in the order of work.
    #[must_use]
    pub const fn rank(self) -> i32 {
        self as i32
    }
}

word_enum! {
    /// State of the R&D work itself.
    pub enum WorkStatus {
        /// Finished within or before the period.
        Completed = "COMPLETED",
        /// Goes on after the period.
        Ongoing = "ONGOING",
        /// Given up.
        Abandoned = "ABANDONED",
    }
}

/// Facts about a project. Text is data: never executed, never an instruction to a model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Sector, free text.
    pub sector: Option<String>,
    /// Main field of science or technology.
    pub field_of_science: Option<String>,
    /// Sub-field.
    pub sub_field: Option<String>,
    /// First day of the work to resolve uncertainty.
    pub start_date: Option<NaiveDate>,
    /// Last day, if it has ended.
    pub end_date: Option<NaiveDate>,
    /// State of the work; ongoing if nothing is said.
    pub work_status: Option<WorkStatus>,
    /// What was known at the start.
    pub baseline: Option<String>,
    /// The advance sought.
    pub advance_sought: Option<String>,
    /// The uncertainties.
    pub uncertainties: Option<String>,
    /// What was done.
    pub work_undertaken: Option<String>,
    /// What came out.
    pub outcome: Option<String>,
    /// Role of the competent professional; no name.
    pub competent_professional_role: Option<String>,
    /// Qualifications of the competent professional.
    pub competent_professional_qualifications: Option<String>,
    /// Years of experience in the field.
    pub competent_professional_years: Option<i32>,
    /// The client's own reference for the claim, if a file mixes several.
    pub claim_ref: Option<String>,
    /// Other columns of the imported file, by heading.
    pub extra: BTreeMap<String, String>,
}

/// Names of facts as templates and imports call them (domain rules B).
pub const FACT_NAMES: &[&str] = &[
    "sector",
    "field_of_science",
    "sub_field",
    "start_date",
    "end_date",
    "status",
    "baseline",
    "advance_sought",
    "uncertainties",
    "work_undertaken",
    "outcome",
    "competent_professional_role",
    "competent_professional_qualifications",
    "competent_professional_years",
    "claim_ref",
];

impl Facts {
    /// The text facts by their column name, without those that are absent.
    #[must_use]
    pub fn texts(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("sector", &self.sector),
            ("field_of_science", &self.field_of_science),
            ("sub_field", &self.sub_field),
            ("baseline", &self.baseline),
            ("advance_sought", &self.advance_sought),
            ("uncertainties", &self.uncertainties),
            ("work_undertaken", &self.work_undertaken),
            ("outcome", &self.outcome),
            ("competent_professional_role", &self.competent_professional_role),
            ("competent_professional_qualifications", &self.competent_professional_qualifications),
            ("claim_ref", &self.claim_ref),
        ];
        all.into_iter().filter_map(|(name, text)| text.as_deref().map(|text| (name, text))).collect()
    }
}

/// Qualifying expenditure by the categories of the additional information form, in pence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Costs {
    /// Staff.
    pub staff: Pence,
    /// Externally provided workers.
    pub externally_provided_workers: Pence,
    /// Contracted-out R&D.
    pub contracted_out: Pence,
    /// Consumable items.
    pub consumables: Pence,
    /// Software.
    pub software: Pence,
    /// Cloud computing.
    pub cloud_computing: Pence,
    /// Data licences.
    pub data_licences: Pence,
    /// Participants of clinical trials.
    pub clinical_trial_volunteers: Pence,
    /// Part of the total that is for qualifying indirect activities; not a ninth category.
    pub qualifying_indirect_activities: Pence,
}

impl Costs {
    /// The eight categories by column name; indirect activities are a part of their sum.
    #[must_use]
    pub const fn categories(&self) -> [(&'static str, Pence); 8] {
        [
            ("staff_costs", self.staff),
            ("externally_provided_workers", self.externally_provided_workers),
            ("contracted_out_rd", self.contracted_out),
            ("consumables", self.consumables),
            ("software_costs", self.software),
            ("cloud_computing", self.cloud_computing),
            ("data_licences", self.data_licences),
            ("clinical_trial_volunteers", self.clinical_trial_volunteers),
        ]
    }

    /// Sum of the eight categories.
    #[must_use]
    pub fn total(&self) -> Pence {
        Pence(self.categories().iter().map(|(_, pence)| pence.0).sum())
    }
}

bitflags::bitflags! {
    /// Parts of a project that a read may leave out; they then have the default of their type. Id and batch are always read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ProjectParts: u16 {
        /// Reference.
        const REF = 1;
        /// Name.
        const NAME = 1 << 1;
        /// Revision.
        const REVISION = 1 << 2;
        /// Status.
        const STATUS = 1 << 3;
        /// When it was deleted.
        const DELETED = 1 << 4;
        /// First day of the work.
        const START = 1 << 5;
        /// Costs.
        const COSTS = 1 << 6;
        /// Version of the template.
        const TEMPLATE = 1 << 7;
        /// Pin for the AIF.
        const PIN = 1 << 8;
        /// Score.
        const SCORE = 1 << 9;
        /// Who approved it, and when.
        const APPROVAL = 1 << 10;
        /// Import and row that it came from.
        const IMPORT = 1 << 11;
        /// When it was created.
        const CREATED = 1 << 12;
        /// When it last changed.
        const UPDATED = 1 << 13;
    }
}

/// A project as it is stored, without facts, costs detail and texts (they are loaded where asked for).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Id.
    pub id: ProjectId,
    /// The batch it belongs to.
    pub batch: BatchId,
    /// The client's reference, unique in the batch.
    pub external_ref: Option<String>,
    /// Name.
    pub name: String,
    /// Grows with every change of facts, costs, texts or status.
    pub revision: i32,
    /// Status.
    pub status: ProjectStatus,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// First day of the work, which lists can be sorted by.
    pub start_date: Option<NaiveDate>,
    /// Expenditure by category.
    pub costs: Costs,
    /// Template version that the narrative follows.
    pub template_version: TemplateVersionId,
    /// True if the practice pinned it for the AIF.
    pub aif_pinned: bool,
    /// Score of the last check.
    pub score: Option<i32>,
    /// Who approved it.
    pub approved_by: Option<UserId>,
    /// When it was approved.
    pub approved_at: Option<DateTime<Utc>>,
    /// Import that created it.
    pub imported_by: Option<ImportId>,
    /// Data row in the imported file, from 1.
    pub import_row: Option<i32>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A project that is about to be created: checked values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProjectDraft {
    /// Reference, unique in the batch.
    pub external_ref: Option<String>,
    /// Name.
    pub name: String,
    /// Facts.
    pub facts: Facts,
    /// Costs.
    pub costs: Costs,
}

/// Changes of a project: the outer `None` leaves a value, the inner one clears it.
#[derive(Debug, Clone, Default)]
pub struct ProjectPatch {
    /// Reference.
    pub external_ref: Option<Option<String>>,
    /// Name; null is refused.
    pub name: Option<Option<String>>,
    /// Facts after the change, made from the facts before it.
    pub facts: Option<FactsPatch>,
    /// Costs, category by category; null counts as zero.
    pub costs: Option<CostsPatch>,
}

/// Changes of facts: the outer `None` leaves a value, the inner one clears it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FactsPatch {
    /// Sector.
    pub sector: Option<Option<String>>,
    /// Main field.
    pub field_of_science: Option<Option<String>>,
    /// Sub-field.
    pub sub_field: Option<Option<String>>,
    /// First day.
    pub start_date: Option<Option<NaiveDate>>,
    /// Last day.
    pub end_date: Option<Option<NaiveDate>>,
    /// State of the work.
    pub work_status: Option<Option<WorkStatus>>,
    /// What was known at the start.
    pub baseline: Option<Option<String>>,
    /// The advance sought.
    pub advance_sought: Option<Option<String>>,
    /// The uncertainties.
    pub uncertainties: Option<Option<String>>,
    /// What was done.
    pub work_undertaken: Option<Option<String>>,
    /// What came out.
    pub outcome: Option<Option<String>>,
    /// Role of the competent professional.
    pub competent_professional_role: Option<Option<String>>,
    /// Qualifications.
    pub competent_professional_qualifications: Option<Option<String>>,
    /// Years of experience.
    pub competent_professional_years: Option<Option<i32>>,
    /// Reference of the claim.
    pub claim_ref: Option<Option<String>>,
}

impl FactsPatch {
    /// The facts after the change.
    #[must_use]
    pub fn apply(self, mut facts: Facts) -> Facts {
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut facts.sector, self.sector);
        set(&mut facts.field_of_science, self.field_of_science);
        set(&mut facts.sub_field, self.sub_field);
        set(&mut facts.start_date, self.start_date);
        set(&mut facts.end_date, self.end_date);
        set(&mut facts.work_status, self.work_status);
        set(&mut facts.baseline, self.baseline);
        set(&mut facts.advance_sought, self.advance_sought);
        set(&mut facts.uncertainties, self.uncertainties);
        set(&mut facts.work_undertaken, self.work_undertaken);
        set(&mut facts.outcome, self.outcome);
        set(&mut facts.competent_professional_role, self.competent_professional_role);
        set(&mut facts.competent_professional_qualifications, self.competent_professional_qualifications);
        set(&mut facts.competent_professional_years, self.competent_professional_years);
        set(&mut facts.claim_ref, self.claim_ref);
        facts
    }
}

/// Changes of costs: absent ones stay.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct CostsPatch {
    /// Staff.
    pub staff: Option<Pence>,
    /// Externally provided workers.
    pub externally_provided_workers: Option<Pence>,
    /// Contracted-out R&D.
    pub contracted_out: Option<Pence>,
    /// Consumable items.
    pub consumables: Option<Pence>,
    /// Software.
    pub software: Option<Pence>,
    /// Cloud computing.
    pub cloud_computing: Option<Pence>,
    /// Data licences.
    pub data_licences: Option<Pence>,
    /// Participants of clinical trials.
    pub clinical_trial_volunteers: Option<Pence>,
    /// Part that is for qualifying indirect activities.
    pub qualifying_indirect_activities: Option<Pence>,
}

impl CostsPatch {
    /// The costs after the change.
    #[must_use]
    pub fn apply(self, costs: &Costs) -> Costs {
        Costs {
            staff: self.staff.unwrap_or(costs.staff),
            externally_provided_workers: self.externally_provided_workers.unwrap_or(costs.externally_provided_workers),
            contracted_out: self.contracted_out.unwrap_or(costs.contracted_out),
            consumables: self.consumables.unwrap_or(costs.consumables),
            software: self.software.unwrap_or(costs.software),
            cloud_computing: self.cloud_computing.unwrap_or(costs.cloud_computing),
            data_licences: self.data_licences.unwrap_or(costs.data_licences),
            clinical_trial_volunteers: self.clinical_trial_volunteers.unwrap_or(costs.clinical_trial_volunteers),
            qualifying_indirect_activities: self.qualifying_indirect_activities.unwrap_or(costs.qualifying_indirect_activities),
        }
    }
}

/// Which projects.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectFilter {
    /// Of this batch only.
    pub batch: Option<BatchId>,
    /// Of these batches only.
    pub batches: Option<Vec<BatchId>>,
    /// Created by this import only.
    pub import: Option<ImportId>,
    /// These ids only.
    pub ids: Option<Vec<ProjectId>>,
    /// Statuses.
    pub status: Option<Vec<ProjectStatus>>,
    /// Text in name, reference or facts.
    pub text: Option<String>,
    /// Sectors, without regard to case.
    pub sector: Option<Vec<String>>,
    /// References of claims.
    pub claim_ref: Option<Vec<String>>,
    /// Score below.
    pub score_below: Option<i32>,
    /// Changed at or after.
    pub updated_since: Option<DateTime<Utc>>,
    /// Include deleted projects.
    pub include_deleted: bool,
}

/// What projects can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectOrderField {
    /// Name, without regard to case.
    Name,
    /// Reference, numbers in natural order.
    ExternalRef,
    /// Status, in the order of work.
    Status,
    /// Quality score; never checked comes last.
    Score,
    /// Qualifying expenditure.
    Expenditure,
    /// First day of the work; those without one come last.
    StartDate,
    /// Creation.
    CreatedAt,
    /// Last change.
    UpdatedAt,
}

/// A text that sorts numbers in natural order: `P-9` before `P-10`. Runs of digits are padded; absent comes last.
#[must_use]
pub fn natural_key(text: &str) -> String {
    if text.is_empty() {
        return char::MAX.to_string();
    }
    let mut key = String::with_capacity(text.len() + 16);
    let mut digits = String::new();
    for c in text.to_lowercase().chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            let digits_only = digits.trim_start_matches('0');
            key.extend(std::iter::repeat_n('0', 20_usize.saturating_sub(digits_only.len())));
            key.push_str(digits_only);
            digits.clear();
        }
        if c != '\0' {
            key.push(c);
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_sort_in_natural_order() {
        let mut refs = ["P-10", "P-9", "", "p-1b", "P-009a"];
        refs.sort_by_key(|text| natural_key(text));
        assert_eq!(refs, ["p-1b", "P-9", "P-009a", "P-10", ""]);
    }

    #[test]
    fn indirect_activities_are_a_part_of_the_total() {
        let costs = Costs { staff: Pence(100), software: Pence(20), qualifying_indirect_activities: Pence(50), ..Costs::default() };
        assert_eq!(costs.total(), Pence(120));
    }
}
