//! Checks of one project's values, wherever they came from: a row of a file, a row of a request or a form. It must
//! not know how the values were read or what is already stored.

use super::columns::{COLUMNS, ColumnKind, input_field, text_of};
use super::texts::{clean, suspicions};
use super::{ImportIssue, ImportIssueCode, ReadRow, quoted};
use crate::domain::money::Pence;
use crate::domain::projects::{Costs, Facts, MAX_FACT_CHARS, MAX_NAME_CHARS, MAX_REF_CHARS, ProjectDraft};
use crate::domain::quality::IssueSeverity;
use crate::error::{Problem, ProblemCode};
use chrono::{Datelike, Months, NaiveDate};
use std::collections::HashMap;

/// Longest career that is believed, in years.
const MAX_YEARS: i32 = 80;
/// Year before which a project's date is improbable.
const FIRST_YEAR: i32 = 1990;
/// Months that an end may lie in the future; a start may lie a year in the future.
const MONTHS_AHEAD: (Months, Months) = (Months::new(12), Months::new(120));

/// Which values must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// All that an import requires (domain rules B).
    ImportColumns,
    /// The name only: a project that is made by hand may be completed later.
    NameOnly,
}

/// What a draft is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftRules {
    /// Which values must be there.
    pub required: Required,
    /// First and last day of the claim's accounting period, if it is known.
    pub period: Option<(NaiveDate, NaiveDate)>,
    /// Today, to notice improbable dates.
    pub today: NaiveDate,
}

/// Something found in the values of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub code: ImportIssueCode,
    /// ERROR refuses the project.
    pub severity: IssueSeverity,
    /// Column by its canonical name; the heading of an extra column.
    pub column: String,
    /// A sentence that says what is wrong and what to do.
    pub message: String,
    /// The value, shortened.
    pub value: Option<String>,
}

impl Finding {
    /// A finding with the code's own severity.
    pub fn new(code: ImportIssueCode, column: &str, message: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), column: column.to_owned(), message: message.into(), value: None }
    }

    /// The same finding, quoting a value.
    #[must_use]
    pub fn quoting(self, value: &str) -> Self {
        Self { value: Some(quoted(value)), ..self }
    }

    /// The batch has a project with this reference already.
    #[must_use]
    pub fn reference_in_batch(reference: &str) -> Self {
        let message =
            format!("The batch already has a project with the reference `{}`. Use another, or update that one.", quoted(reference));
        Self::new(ImportIssueCode::DuplicateReference, "external_ref", message).quoting(reference)
    }

    /// The batch has a project with this name already.
    #[must_use]
    pub fn name_in_batch(name: &str) -> Self {
        let message = format!("The batch already has a project called `{}`. Check that it is not the same project.", quoted(name));
        Self::new(ImportIssueCode::DuplicateName, "project_name", message).quoting(name)
    }

    /// True if it refuses the project.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == IssueSeverity::Error
    }

    /// The finding as an issue of a row.
    #[must_use]
    pub fn at(self, row: i32, sheet_row: Option<i32>) -> ImportIssue {
        ImportIssue {
            code: self.code,
            severity: self.severity,
            row: Some(row),
            sheet_row,
            column: Some(self.column),
            message: self.message,
            value: self.value,
        }
    }

    /// The finding as a problem of a request; `at` is the path of the object that holds `name`, `facts` and `costs`,
    /// such as `input` or `input.rows.3`.
    #[must_use]
    pub fn problem(&self, at: &str) -> Problem {
        let code = match self.code {
            ImportIssueCode::RequiredValueMissing => ProblemCode::Required,
            ImportIssueCode::ValueTooLong => ProblemCode::TooLong,
            ImportIssueCode::DuplicateReference => ProblemCode::Taken,
            _ => ProblemCode::Invalid,
        };
        let field = input_field(&self.column).unwrap_or_default();
        Problem::new(code, &format!("{at}.{field}"), self.message.clone())
    }
}

/// The findings that refuse a project, as problems of a request; see [`Finding::problem`].
#[must_use]
pub fn problems(findings: &[Finding], at: &str) -> Vec<Problem> {
    findings.iter().filter(|finding| finding.is_error()).map(|finding| finding.problem(at)).collect()
}

/// Cleans a draft (invisible characters, blanks around text; blank text becomes absent) and checks it. The findings
/// stand in the order of the columns within each kind of check.
pub fn check_draft(draft: &mut ProjectDraft, rules: &DraftRules) -> Vec<Finding> {
    let mut found = Vec::new();
    check_texts(draft, &mut found);
    check_required(draft, rules.required, &mut found);
    check_dates(&draft.facts, rules, &mut found);
    check_numbers(draft, &mut found);
    found
}

fn check_texts(draft: &mut ProjectDraft, found: &mut Vec<Finding>) {
    for column in COLUMNS {
        match column.kind {
            ColumnKind::Name => check_text(&mut draft.name, column.name, MAX_NAME_CHARS, found),
            ColumnKind::Reference => check_optional(&mut draft.external_ref, column.name, MAX_REF_CHARS, found),
            ColumnKind::Text => {
                if let Some(text) = text_of(&mut draft.facts, column.name) {
                    check_optional(text, column.name, MAX_FACT_CHARS, found);
                }
            }
            _ => {}
        }
    }
    for (heading, text) in &mut draft.facts.extra {
        check_text(text, heading, MAX_FACT_CHARS, found);
    }
    draft.facts.extra.retain(|_, text| !text.is_empty());
}

fn check_optional(text: &mut Option<String>, column: &str, most: usize, found: &mut Vec<Finding>) {
    if let Some(value) = text {
        check_text(value, column, most, found);
        if value.is_empty() {
            *text = None;
        }
    }
}

fn check_text(text: &mut String, column: &str, most: usize, found: &mut Vec<Finding>) {
    use ImportIssueCode as Code;
    let removed = clean(text);
    if removed.control {
        found.push(Finding::new(Code::ControlCharacterRemoved, column, "Control characters were removed from the text."));
    }
    if removed.bidi {
        let message = "Characters that change the direction of text were removed; check that the text still says what was meant.";
        found.push(Finding::new(Code::BidiControlRemoved, column, message));
    }
    // Bytes are never fewer than characters, so most texts need not be counted.
    let chars = if text.len() > most { text.chars().count() } else { 0 };
    if chars > most {
        let message = format!("The text has {chars} characters; at most {most} are allowed. Shorten it.");
        found.push(Finding::new(Code::ValueTooLong, column, message).quoting(text));
    }
    for code in suspicions(text) {
        let message = match code {
            Code::FormulaLikeText => "The text looks like a spreadsheet formula. It is kept as typed and made harmless in exports.",
            Code::MarkupLikeText => "The text looks like HTML or a script. It is kept as plain text; remove the markup.",
            Code::InstructionLikeText => "The text looks like an instruction to a model. It is treated as data; check where it came from.",
            _ => "The text looks like personal data. Name roles, not people, and remove contact details.",
        };
        found.push(Finding::new(code, column, message).quoting(text));
    }
}

fn check_required(draft: &ProjectDraft, required: Required, found: &mut Vec<Finding>) {
    let facts = &draft.facts;
    let missing = [
        ("project_name", !draft.name.chars().any(is_visible)),
        ("field_of_science", facts.field_of_science.is_none()),
        ("start_date", facts.start_date.is_none()),
        ("baseline", facts.baseline.is_none()),
        ("advance_sought", facts.advance_sought.is_none()),
        ("uncertainties", facts.uncertainties.is_none()),
        ("work_undertaken", facts.work_undertaken.is_none()),
    ];
    for (column, _) in missing.into_iter().filter(|(_, missing)| *missing) {
        if required == Required::ImportColumns || column == "project_name" {
            let message = format!("`{column}` has no value; a project needs one.");
            found.push(Finding::new(ImportIssueCode::RequiredValueMissing, column, message));
        }
    }
}

/// True for a character that can be seen: a name of zero-width characters is no name.
fn is_visible(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '\u{00AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

fn check_dates(facts: &Facts, rules: &DraftRules, found: &mut Vec<Finding>) {
    use ImportIssueCode::{DateImplausible, DateOrder, DateOutsidePeriod};
    if let (Some(start), Some(end)) = (facts.start_date, facts.end_date)
        && end < start
    {
        let message = format!("The project ends on {end}, before it starts on {start}. Correct one of the dates.");
        found.push(Finding::new(DateOrder, "end_date", message).quoting(&end.to_string()));
    }
    let latest = |ahead| rules.today.checked_add_months(ahead).unwrap_or(NaiveDate::MAX);
    for (column, date, ahead) in [("start_date", facts.start_date, MONTHS_AHEAD.0), ("end_date", facts.end_date, MONTHS_AHEAD.1)] {
        if let Some(date) = date
            && (date.year() < FIRST_YEAR || date > latest(ahead))
        {
            let message = format!("{date} is an improbable date; check the year.");
            found.push(Finding::new(DateImplausible, column, message).quoting(&date.to_string()));
        }
    }
    if let (Some((first, last)), Some(start)) = (rules.period, facts.start_date) {
        let span = |what: String| format!("{what}, outside the accounting period from {first} to {last}. Check the dates or the claim.");
        if start > last {
            found.push(Finding::new(DateOutsidePeriod, "start_date", span(format!("The project starts on {start}"))));
        } else if let Some(end) = facts.end_date.filter(|end| *end < first && *end >= start) {
            found.push(Finding::new(DateOutsidePeriod, "end_date", span(format!("The project ended on {end}"))));
        }
    }
}

fn check_numbers(draft: &ProjectDraft, found: &mut Vec<Finding>) {
    use ImportIssueCode::{IndirectExceedsTotal, NumberInvalid, NumberNegative};
    let costs = &draft.costs;
    let indirect = ("qualifying_indirect_activities", costs.qualifying_indirect_activities);
    for (column, Pence(pence)) in costs.categories().into_iter().chain([indirect]) {
        if pence < 0 {
            let message = format!("`{column}` is below zero. Qualifying expenditure is zero or more; net off credits before the import.");
            found.push(Finding::new(NumberNegative, column, message).quoting(&Pence(pence).pounds().to_string()));
        }
    }
    let none_negative = costs.categories().iter().all(|(_, Pence(pence))| *pence >= 0);
    if none_negative && indirect.1 > costs.total() {
        let message = format!(
            "Qualifying indirect activities of {} are more than the total of {}; they are a part of it.",
            indirect.1.pounds(),
            costs.total().pounds()
        );
        found.push(Finding::new(IndirectExceedsTotal, indirect.0, message).quoting(&indirect.1.pounds().to_string()));
    }
    let years = draft.facts.competent_professional_years.unwrap_or(0);
    if !(0..=MAX_YEARS).contains(&years) {
        let code = if years < 0 { NumberNegative } else { NumberInvalid };
        let message = format!("Years of experience are 0 to {MAX_YEARS}.");
        found.push(Finding::new(code, "competent_professional_years", message).quoting(&years.to_string()));
    }
}

/// Compares a total that a file states with the sum of the eight categories, which is what counts.
#[must_use]
pub fn stated_total(costs: &Costs, stated: Pence) -> Option<Finding> {
    let sum = costs.total();
    (sum != stated).then(|| {
        let message = format!("The file says {}, but the categories add up to {}; the sum is used.", stated.pounds(), sum.pounds());
        Finding::new(ImportIssueCode::TotalMismatch, "total_qualifying_expenditure", message).quoting(&stated.pounds().to_string())
    })
}

/// The references and names of the rows so far, to notice what comes twice.
#[derive(Debug, Default)]
pub struct SeenRows {
    references: HashMap<String, i32>,
    names: HashMap<String, i32>,
}

impl SeenRows {
    /// Notes a row and says what an earlier one has already. References are compared exactly, names without regard
    /// to case. The reference of a refused row counts too, since the row may come again, corrected.
    pub fn check(&mut self, row: i32, draft: &ProjectDraft) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(reference) = &draft.external_ref
            && let Some(first) = first_with(&mut self.references, reference.clone(), row)
        {
            let message = format!("Row {first} has the reference `{}` too. References are unique in a batch.", quoted(reference));
            found.push(Finding::new(ImportIssueCode::DuplicateReference, "external_ref", message).quoting(reference));
        }
        if !draft.name.is_empty()
            && let Some(first) = first_with(&mut self.names, draft.name.to_lowercase(), row)
        {
            let message = format!("Row {first} has the same name. Check that it is not the same project.");
            found.push(Finding::new(ImportIssueCode::DuplicateName, "project_name", message).quoting(&draft.name));
        }
        found
    }
}

fn first_with(seen: &mut HashMap<String, i32>, key: String, row: i32) -> Option<i32> {
    match seen.entry(key) {
        std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(row);
            None
        }
    }
}

/// Checks rows that were given as values (`importProjects` with `rows`); they are numbered from 1.
#[must_use]
pub fn check_rows(drafts: Vec<ProjectDraft>, rules: &DraftRules) -> Vec<ReadRow> {
    let mut seen = SeenRows::default();
    (1..)
        .zip(drafts)
        .map(|(row, mut draft)| {
            let mut findings = check_draft(&mut draft, rules);
            findings.extend(seen.check(row, &draft));
            let mut read = ReadRow { row, sheet_row: None, draft, issues: Vec::new(), accepted: true, cells: Vec::new() };
            for finding in findings {
                read.add(finding);
            }
            read
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(y: i32, m: u32, d: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(y, m, d).unwrap()
    }

    fn rules(required: Required) -> DraftRules {
        DraftRules { required, period: Some((day(2025, 4, 1), day(2026, 3, 31))), today: day(2026, 5, 1) }
    }

    fn draft() -> ProjectDraft {
        let text = Some("text".to_owned());
        let facts = Facts {
            field_of_science: text.clone(),
            baseline: text.clone(),
            advance_sought: text.clone(),
            uncertainties: text.clone(),
            work_undertaken: text,
            start_date: Some(day(2025, 5, 1)),
            end_date: Some(day(2026, 1, 31)),
            ..Facts::default()
        };
        ProjectDraft { name: "Film".into(), facts, costs: Costs { staff: Pence(100), ..Costs::default() }, ..ProjectDraft::default() }
    }

    fn codes(change: impl FnOnce(&mut ProjectDraft)) -> Vec<ImportIssueCode> {
        let mut draft = draft();
        change(&mut draft);
        check_draft(&mut draft, &rules(Required::ImportColumns)).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_sound_draft_gives_no_findings() {
        assert_eq!(codes(|_| {}), []);
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        use ImportIssueCode as Code;
        assert_eq!(codes(|d| d.name = " \u{7} ".into()), [Code::ControlCharacterRemoved, Code::RequiredValueMissing]);
        assert_eq!(codes(|d| d.name = "x".repeat(MAX_NAME_CHARS + 1)), [Code::ValueTooLong]);
        assert_eq!(codes(|d| d.name = "é".repeat(MAX_NAME_CHARS)), []);
        assert_eq!(codes(|d| d.facts.baseline = Some("  ".into())), [Code::RequiredValueMissing]);
        assert_eq!(codes(|d| d.facts.end_date = Some(day(2025, 4, 30))), [Code::DateOrder]);
        assert_eq!(codes(|d| d.facts.start_date = Some(day(1925, 5, 1))), [Code::DateImplausible]);
        assert_eq!(codes(|d| d.facts.end_date = Some(day(2062, 1, 1))), [Code::DateImplausible]);
        assert_eq!(codes(|d| (d.facts.start_date, d.facts.end_date) = (Some(day(2026, 4, 1)), None)), [Code::DateOutsidePeriod]);
        let before = (Some(day(2024, 4, 1)), Some(day(2025, 3, 31)));
        assert_eq!(codes(|d| (d.facts.start_date, d.facts.end_date) = before), [Code::DateOutsidePeriod]);
        assert_eq!(codes(|d| d.costs.software = Pence(-1)), [Code::NumberNegative]);
        assert_eq!(codes(|d| d.costs.qualifying_indirect_activities = Pence(101)), [Code::IndirectExceedsTotal]);
        assert_eq!(codes(|d| d.facts.competent_professional_years = Some(-2)), [Code::NumberNegative]);
        assert_eq!(codes(|d| d.facts.competent_professional_years = Some(200)), [Code::NumberInvalid]);
        assert_eq!(codes(|d| d.facts.outcome = Some("=cmd".into())), [Code::FormulaLikeText]);
        assert_eq!(codes(|d| d.facts.outcome = Some("a\u{202E}b".into())), [Code::BidiControlRemoved]);
    }

    #[test]
    fn a_project_made_by_hand_needs_its_name_only_and_problems_name_the_input_field() {
        let mut empty = ProjectDraft::default();
        empty.costs.staff = Pence(-5);
        empty.facts.outcome = Some(" ".into());
        let found = problems(&check_draft(&mut empty, &rules(Required::NameOnly)), "input");
        let fields: Vec<_> = found.iter().map(|problem| (problem.code, problem.field.join("."))).collect();
        let expected = [(ProblemCode::Required, "input.name".to_owned()), (ProblemCode::Invalid, "input.costs.staff".to_owned())];
        assert_eq!(fields, expected);
        assert_eq!(empty.facts.outcome, None);
    }

    #[test]
    fn a_reference_that_comes_twice_refuses_the_later_row_and_a_name_does_not() {
        let with = |reference: &str, name: &str| ProjectDraft { external_ref: Some(reference.into()), name: name.into(), ..draft() };
        let rows = check_rows(vec![with("A", "One"), with("A", "Two"), with("B", "one")], &rules(Required::ImportColumns));
        assert_eq!(rows.iter().map(|row| row.accepted).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(rows[1].issues[0].code, ImportIssueCode::DuplicateReference);
        assert!(rows[1].reasons().contains("Row 1"));
        assert_eq!(rows[2].issues[0].code, ImportIssueCode::DuplicateName);
        assert_eq!(rows[2].reasons(), "");
    }

    #[test]
    fn a_stated_total_is_compared_with_the_sum() {
        assert_eq!(stated_total(&draft().costs, Pence(100)), None);
        let found = stated_total(&draft().costs, Pence(99)).unwrap();
        assert_eq!((found.code, found.is_error()), (ImportIssueCode::TotalMismatch, false));
    }
}
