//! Facts and costs of projects: what is shown of them and what is given, the same for projects and imports.

use super::scalars::{Date, Decimal};
use crate::domain::money::Pence;
use crate::domain::projects as domain;
use async_graphql::{Enum, InputObject, MaybeUndefined, SimpleObject};
use graphql_gate::Output;

/// State of the R&D work itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::WorkStatus")]
pub enum WorkStatus {
    /// Finished within or before the period.
    Completed,
    /// Goes on after the period.
    Ongoing,
    /// Given up.
    Abandoned,
}

/// A named value.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct KeyValue {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// Facts about a project. Text is data: it is never executed and never treated as an instruction to a model.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct ProjectFacts {
    /// Sector, free text.
    sector: Option<String>,
    /// Main field of science or technology.
    field_of_science: Option<String>,
    /// Sub-field.
    sub_field: Option<String>,
    /// First day of the work to resolve uncertainty.
    start_date: Option<Date>,
    /// Last day, if it has ended.
    end_date: Option<Date>,
    /// State of the work.
    work_status: WorkStatus,
    /// What was known at the start.
    baseline: Option<String>,
    /// The advance sought.
    advance_sought: Option<String>,
    /// The uncertainties.
    uncertainties: Option<String>,
    /// What was done.
    work_undertaken: Option<String>,
    /// What came out.
    outcome: Option<String>,
    /// Role of the competent professional; no name.
    competent_professional_role: Option<String>,
    /// Qualifications.
    competent_professional_qualifications: Option<String>,
    /// Years of experience in the field.
    competent_professional_years: Option<i32>,
    /// The client's own reference for the claim, if a file mixes several.
    claim_ref: Option<String>,
    /// Other columns of the imported file that were kept.
    extra: Vec<KeyValue>,
}

impl From<domain::Facts> for ProjectFacts {
    fn from(facts: domain::Facts) -> Self {
        Self {
            sector: facts.sector,
            field_of_science: facts.field_of_science,
            sub_field: facts.sub_field,
            start_date: facts.start_date.map(Date),
            end_date: facts.end_date.map(Date),
            work_status: facts.work_status.unwrap_or(domain::WorkStatus::Ongoing).into(),
            baseline: facts.baseline,
            advance_sought: facts.advance_sought,
            uncertainties: facts.uncertainties,
            work_undertaken: facts.work_undertaken,
            outcome: facts.outcome,
            competent_professional_role: facts.competent_professional_role,
            competent_professional_qualifications: facts.competent_professional_qualifications,
            competent_professional_years: facts.competent_professional_years,
            claim_ref: facts.claim_ref,
            extra: facts.extra.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
        }
    }
}

/// Qualifying expenditure in GBP, by the categories of the additional information form.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct ProjectCosts {
    /// Staff.
    staff: Decimal,
    /// Externally provided workers.
    externally_provided_workers: Decimal,
    /// Contracted-out R&D.
    contracted_out: Decimal,
    /// Consumable items.
    consumables: Decimal,
    /// Software.
    software: Decimal,
    /// Cloud computing.
    cloud_computing: Decimal,
    /// Data licences.
    data_licences: Decimal,
    /// Participants of clinical trials.
    clinical_trial_volunteers: Decimal,
    /// Part of the total that is for qualifying indirect activities.
    qualifying_indirect_activities: Decimal,
    /// Sum of the eight categories; always computed.
    total: Decimal,
}

impl From<domain::Costs> for ProjectCosts {
    fn from(costs: domain::Costs) -> Self {
        Self {
            staff: costs.staff.into(),
            externally_provided_workers: costs.externally_provided_workers.into(),
            contracted_out: costs.contracted_out.into(),
            consumables: costs.consumables.into(),
            software: costs.software.into(),
            cloud_computing: costs.cloud_computing.into(),
            data_licences: costs.data_licences.into(),
            clinical_trial_volunteers: costs.clinical_trial_volunteers.into(),
            qualifying_indirect_activities: costs.qualifying_indirect_activities.into(),
            total: costs.total().into(),
        }
    }
}

/// Facts. When a project is changed, absent ones stay and null clears.
#[derive(Debug, Default, InputObject)]
pub struct ProjectFactsInput {
    /// Sector.
    sector: MaybeUndefined<String>,
    /// Main field of science or technology.
    field_of_science: MaybeUndefined<String>,
    /// Sub-field.
    sub_field: MaybeUndefined<String>,
    /// First day.
    start_date: MaybeUndefined<Date>,
    /// Last day.
    end_date: MaybeUndefined<Date>,
    /// State of the work.
    work_status: MaybeUndefined<WorkStatus>,
    /// What was known at the start.
    baseline: MaybeUndefined<String>,
    /// The advance sought.
    advance_sought: MaybeUndefined<String>,
    /// The uncertainties.
    uncertainties: MaybeUndefined<String>,
    /// What was done.
    work_undertaken: MaybeUndefined<String>,
    /// What came out.
    outcome: MaybeUndefined<String>,
    /// Role of the competent professional.
    competent_professional_role: MaybeUndefined<String>,
    /// Qualifications.
    competent_professional_qualifications: MaybeUndefined<String>,
    /// Years of experience.
    competent_professional_years: MaybeUndefined<i32>,
    /// Reference of the claim.
    claim_ref: MaybeUndefined<String>,
}

impl From<ProjectFactsInput> for domain::FactsPatch {
    fn from(input: ProjectFactsInput) -> Self {
        Self {
            sector: input.sector.into(),
            field_of_science: input.field_of_science.into(),
            sub_field: input.sub_field.into(),
            start_date: input.start_date.map_value(|day| day.0).into(),
            end_date: input.end_date.map_value(|day| day.0).into(),
            work_status: input.work_status.map_value(Into::into).into(),
            baseline: input.baseline.into(),
            advance_sought: input.advance_sought.into(),
            uncertainties: input.uncertainties.into(),
            work_undertaken: input.work_undertaken.into(),
            outcome: input.outcome.into(),
            competent_professional_role: input.competent_professional_role.into(),
            competent_professional_qualifications: input.competent_professional_qualifications.into(),
            competent_professional_years: input.competent_professional_years.into(),
            claim_ref: input.claim_ref.into(),
        }
    }
}

impl ProjectFactsInput {
    /// The facts of a new project.
    #[must_use]
    pub fn into_facts(self) -> domain::Facts {
        domain::FactsPatch::from(self).apply(domain::Facts::default())
    }
}

/// Costs in GBP; absent means zero when creating and unchanged when updating, null means zero.
#[derive(Debug, Default, InputObject)]
pub struct ProjectCostsInput {
    /// Staff.
    staff: MaybeUndefined<Decimal>,
    /// Externally provided workers.
    externally_provided_workers: MaybeUndefined<Decimal>,
    /// Contracted-out R&D.
    contracted_out: MaybeUndefined<Decimal>,
    /// Consumable items.
    consumables: MaybeUndefined<Decimal>,
    /// Software.
    software: MaybeUndefined<Decimal>,
    /// Cloud computing.
    cloud_computing: MaybeUndefined<Decimal>,
    /// Data licences.
    data_licences: MaybeUndefined<Decimal>,
    /// Participants of clinical trials.
    clinical_trial_volunteers: MaybeUndefined<Decimal>,
    /// Part that is for qualifying indirect activities.
    qualifying_indirect_activities: MaybeUndefined<Decimal>,
}

impl ProjectCostsInput {
    /// The change of costs; `at` is the path of the input that holds `costs`.
    ///
    /// # Errors
    /// `INVALID` for an amount with a fraction of a penny.
    pub fn patch(&self, at: &str) -> crate::error::Result<domain::CostsPatch> {
        let pence = |amount: MaybeUndefined<Decimal>, name: &str| -> crate::error::Result<Option<Pence>> {
            match amount {
                MaybeUndefined::Undefined => Ok(None),
                MaybeUndefined::Null => Ok(Some(Pence(0))),
                MaybeUndefined::Value(amount) => amount.pence(&format!("{at}.costs.{name}")).map(Some),
            }
        };
        Ok(domain::CostsPatch {
            staff: pence(self.staff, "staff")?,
            externally_provided_workers: pence(self.externally_provided_workers, "externallyProvidedWorkers")?,
            contracted_out: pence(self.contracted_out, "contractedOut")?,
            consumables: pence(self.consumables, "consumables")?,
            software: pence(self.software, "software")?,
            cloud_computing: pence(self.cloud_computing, "cloudComputing")?,
            data_licences: pence(self.data_licences, "dataLicences")?,
            clinical_trial_volunteers: pence(self.clinical_trial_volunteers, "clinicalTrialVolunteers")?,
            qualifying_indirect_activities: pence(self.qualifying_indirect_activities, "qualifyingIndirectActivities")?,
        })
    }
}
