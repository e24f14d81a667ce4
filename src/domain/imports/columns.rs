//! The columns of an import: their names, other names that people give them, and the input fields that they stand
//! for. It must not know how a heading is found in a file.

use crate::domain::money::Pence;
use crate::domain::projects::{Costs, Facts};
use chrono::NaiveDate;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// The project's reference.
    Reference,
    /// The project's name.
    Name,
    /// Text of a fact.
    Text,
    /// Text that is kept beside the facts, under the column's name.
    Extra,
    /// A date.
    Date,
    /// State of the work.
    Status,
    /// Whole years.
    Years,
    /// An amount in pounds.
    Money,
    /// The stated total: compared with the sum, never stored.
    Total,
}

/// A column that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Canonical name (domain rules B).
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// True if a file must have it and every row a value.
    pub required: bool,
    /// Path of the GraphQL input field that takes the same value; empty if there is none.
    pub input: &'static str,
    /// Other headings that mean it, normalised.
    aliases: &'static [&'static str],
}

const fn col(name: &'static str, kind: ColumnKind, input: &'static str, aliases: &'static [&'static str]) -> Column {
    Column { name, kind, required: false, input, aliases }
}

const fn required(name: &'static str, kind: ColumnKind, input: &'static str, aliases: &'static [&'static str]) -> Column {
    Column { name, kind, required: true, input, aliases }
}

use ColumnKind::{Date, Extra, Money, Name, Reference, Status, Text, Total, Years};

/// Every known column, in the order of domain rules B.
#[rustfmt::skip]
pub const COLUMNS: &[Column] = &[
    col("external_ref", Reference, "externalRef", &["ref", "reference", "project_ref", "project_reference", "project_id", "project_code", "project_number", "external_reference", "id"]),
    col("claim_ref", Text, "facts.claimRef", &["claim", "claim_reference", "claim_id"]),
    col("client_name", Extra, "", &["client", "company", "company_name", "client_company"]),
    required("project_name", Name, "name", &["name", "project", "project_title", "title"]),
    col("sector", Text, "facts.sector", &["industry", "industry_sector"]),
    required("field_of_science", Text, "facts.fieldOfScience", &["field", "main_field", "field_of_technology", "field_of_science_or_technology", "field_of_science_and_technology", "main_field_of_science_or_technology", "scientific_field", "technology_field"]),
    col("sub_field", Text, "facts.subField", &["sub_field_of_science", "specialism"]),
    required("start_date", Date, "facts.startDate", &["start", "started", "date_started", "project_start", "project_start_date", "from"]),
    col("end_date", Date, "facts.endDate", &["end", "ended", "date_ended", "finish", "finish_date", "project_end", "project_end_date", "completion_date", "to"]),
    col("status", Status, "facts.workStatus", &["work_status", "project_status", "state"]),
    required("baseline", Text, "facts.baseline", &["baseline_knowledge", "baseline_level", "baseline_level_of_science_or_technology", "state_of_the_art", "existing_knowledge", "scientific_baseline", "technological_baseline"]),
    required("advance_sought", Text, "facts.advanceSought", &["advance", "advances", "advancement", "advance_in_science_or_technology", "scientific_advance", "technological_advance"]),
    required("uncertainties", Text, "facts.uncertainties", &["uncertainty", "technical_uncertainties", "technological_uncertainties", "scientific_uncertainties", "scientific_or_technological_uncertainties"]),
    required("work_undertaken", Text, "facts.workUndertaken", &["work", "work_done", "work_carried_out", "activities", "r_d_activities", "how_uncertainties_were_overcome"]),
    col("outcome", Text, "facts.outcome", &["outcomes", "result", "results"]),
    col("competent_professional_role", Text, "facts.competentProfessionalRole", &["competent_professional", "professional_role", "cp_role"]),
    col("competent_professional_qualifications", Text, "facts.competentProfessionalQualifications", &["qualifications", "cp_qualifications", "professional_qualifications"]),
    col("competent_professional_years", Years, "facts.competentProfessionalYears", &["years_experience", "years_of_experience", "cp_years", "competent_professional_experience"]),
    col("staff_costs", Money, "costs.staff", &["staff", "staff_cost", "staffing", "staffing_costs", "salaries", "payroll", "wages"]),
    col("externally_provided_workers", Money, "costs.externallyProvidedWorkers", &["epw", "epws", "epw_costs", "agency_workers", "externally_provided_worker_costs"]),
    col("contracted_out_rd", Money, "costs.contractedOut", &["contracted_out", "contracted_out_r_d", "contracted_out_costs", "subcontractors", "subcontracted", "subcontracted_rd", "subcontracted_r_d", "subcontractor_costs"]),
    col("consumables", Money, "costs.consumables", &["consumable_items", "consumable_costs", "consumables_costs", "materials"]),
    col("software_costs", Money, "costs.software", &["software", "software_cost", "software_licences"]),
    col("cloud_computing", Money, "costs.cloudComputing", &["cloud", "cloud_costs", "cloud_computing_costs"]),
    col("data_licences", Money, "costs.dataLicences", &["data_licence", "data_licenses", "data_licence_costs"]),
    col("clinical_trial_volunteers", Money, "costs.clinicalTrialVolunteers", &["clinical_trial_participants", "clinical_trials", "clinical_volunteers"]),
    col("qualifying_indirect_activities", Money, "costs.qualifyingIndirectActivities", &["qia", "qias", "indirect_activities", "indirect"]),
    col("total_qualifying_expenditure", Total, "", &["total", "total_cost", "total_costs", "total_expenditure", "qualifying_expenditure", "total_qe"]),
];

/// How a heading was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recognised {
    /// The column that it means.
    pub column: &'static Column,
    /// True if it is another name than the canonical one.
    pub via_alias: bool,
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Column>> =
    LazyLock::new(|| COLUMNS.iter().map(|column| (column.name, column)).collect());

static BY_HEADING: LazyLock<HashMap<String, Recognised>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for column in COLUMNS {
        known.insert(column.name.to_owned(), Recognised { column, via_alias: false });
        for alias in column.aliases {
            known.entry((*alias).to_owned()).or_insert(Recognised { column, via_alias: true });
        }
        // `advanceSought` is how the API calls it; files made by programs use that.
        known.entry(column.name.replace('_', "")).or_insert(Recognised { column, via_alias: true });
    }
    known
});

/// A column by its canonical name.
#[must_use]
pub fn column(name: &str) -> Option<&'static Column> {
    BY_NAME.get(name).copied()
}

/// The column that a heading means: case, surrounding blanks and the kind of word divider make no difference, nor do
/// the marks of forms (`*`, `(£)`).
#[must_use]
pub fn recognise(heading: &str) -> Option<Recognised> {
    let normal = normalise(heading);
    if let Some(found) = BY_HEADING.get(&normal) {
        return Some(*found);
    }
    let plain = normalise(heading.split('(').next().unwrap_or_default().trim_end_matches(['*', ':', ' ']));
    BY_HEADING.get(&plain).map(|found| Recognised { via_alias: true, ..*found })
}

/// A heading in the form in which headings are compared.
#[must_use]
pub(super) fn normalise(heading: &str) -> String {
    let mut normal = String::with_capacity(heading.len());
    for c in heading.trim().trim_end_matches('*').chars() {
        let divides = c.is_whitespace() || matches!(c, '_' | '-' | '&' | '/' | '\u{2010}'..='\u{2014}');
        if !divides {
            normal.extend(c.to_lowercase());
        } else if !normal.ends_with('_') {
            normal.push('_');
        }
    }
    normal.trim_matches('_').to_owned()
}

/// Path of the GraphQL input field for a column, such as `facts.advanceSought` for `advance_sought`; `None` for
/// columns that no input field takes.
#[must_use]
pub fn input_field(name: &str) -> Option<&'static str> {
    column(name).map(|column| column.input).filter(|input| !input.is_empty())
}

/// Where a text fact is kept.
pub(super) fn text_of<'a>(facts: &'a mut Facts, name: &str) -> Option<&'a mut Option<String>> {
    Some(match name {
        "sector" => &mut facts.sector,
        "field_of_science" => &mut facts.field_of_science,
        "sub_field" => &mut facts.sub_field,
        "baseline" => &mut facts.baseline,
        "advance_sought" => &mut facts.advance_sought,
        "uncertainties" => &mut facts.uncertainties,
        "work_undertaken" => &mut facts.work_undertaken,
        "outcome" => &mut facts.outcome,
        "competent_professional_role" => &mut facts.competent_professional_role,
        "competent_professional_qualifications" => &mut facts.competent_professional_qualifications,
        "claim_ref" => &mut facts.claim_ref,
        _ => return None,
    })
}

impl Column {
    /// Puts text into a draft's facts. Columns of other kinds are left alone.
    pub fn set_text(&self, facts: &mut Facts, text: String) {
        if self.kind == Extra {
            facts.extra.insert(self.name.to_owned(), text);
        } else if let Some(place) = text_of(facts, self.name) {
            *place = Some(text);
        }
    }

    /// Puts a date into a draft's facts. Columns of other kinds are left alone.
    pub fn set_date(&self, facts: &mut Facts, date: NaiveDate) {
        match self.name {
            "start_date" => facts.start_date = Some(date),
            "end_date" => facts.end_date = Some(date),
            _ => {}
        }
    }

    /// Puts an amount into a draft's costs. Columns of other kinds are left alone.
    pub fn set_amount(&self, costs: &mut Costs, amount: Pence) {
        match self.name {
            "staff_costs" => costs.staff = amount,
            "externally_provided_workers" => costs.externally_provided_workers = amount,
            "contracted_out_rd" => costs.contracted_out = amount,
            "consumables" => costs.consumables = amount,
            "software_costs" => costs.software = amount,
            "cloud_computing" => costs.cloud_computing = amount,
            "data_licences" => costs.data_licences = amount,
            "clinical_trial_volunteers" => costs.clinical_trial_volunteers = amount,
            "qualifying_indirect_activities" => costs.qualifying_indirect_activities = amount,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::projects::FACT_NAMES;

    #[test]
    fn case_blanks_and_dividers_of_a_heading_make_no_difference() {
        for heading in ["advance_sought", " Advance Sought ", "ADVANCE-SOUGHT", "Advance  sought*"] {
            let found = recognise(heading).unwrap_or_else(|| panic!("{heading}"));
            assert_eq!((found.column.name, found.via_alias), ("advance_sought", false), "{heading}");
        }
        for (heading, name) in [
            ("advanceSought", "advance_sought"),
            ("EPWs", "externally_provided_workers"),
            ("Staff costs (£)", "staff_costs"),
            ("Contracted out R&D", "contracted_out_rd"),
            ("subfield", "sub_field"),
        ] {
            let found = recognise(heading).unwrap_or_else(|| panic!("{heading}"));
            assert_eq!((found.column.name, found.via_alias), (name, true), "{heading}");
        }
        assert_eq!(recognise("Account manager"), None);
        assert_eq!(recognise(""), None);
    }

    #[test]
    fn no_alias_means_two_columns() {
        let mut seen = std::collections::HashSet::new();
        for column in COLUMNS {
            for name in std::iter::once(&column.name).chain(column.aliases) {
                assert!(seen.insert(*name), "{name} is used twice");
                assert_eq!(normalise(name), *name, "{name} is not normalised");
            }
        }
    }

    #[test]
    fn every_fact_and_every_amount_has_a_place() {
        for name in FACT_NAMES {
            assert!(column(name).is_some(), "{name}");
        }
        for column in COLUMNS.iter().filter(|column| column.kind == Text) {
            assert!(text_of(&mut Facts::default(), column.name).is_some(), "{}", column.name);
        }
        for column in COLUMNS.iter().filter(|column| column.kind == Money) {
            let mut costs = Costs::default();
            column.set_amount(&mut costs, Pence(1));
            assert_ne!(costs, Costs::default(), "{}", column.name);
        }
        assert_eq!(input_field("advance_sought"), Some("facts.advanceSought"));
        assert_eq!(input_field("staff_costs"), Some("costs.staff"));
        assert_eq!(input_field("total_qualifying_expenditure"), None);
    }
}
