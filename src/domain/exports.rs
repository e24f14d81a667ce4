//! Exports: what a document about a batch's projects holds, whatever its format. Pure values; it must not know how
//! documents are written, and a writer needs nothing beside them.

mod job;

pub use job::{ExportJob, ExportOptions, KEEP_DAYS, LINK_MINUTES, Skipped};

use super::money::Pence;
use super::projects::{Costs, ProjectStatus, WorkStatus};
use crate::word_enum;
use chrono::{DateTime, NaiveDate, Utc};

/// Most characters of a file's name before its extension.
const MAX_STEM_CHARS: usize = 80;

word_enum! {
    /// Formats of exports.
    pub enum ExportFormat {
        /// Word, one document for all projects.
        Docx = "DOCX",
        /// CSV, one row per project.
        Csv = "CSV",
    }
}

impl ExportFormat {
    /// Extension of the file's name, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Docx => "docx",
            Self::Csv => "csv",
        }
    }

    /// Media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// Everything that a document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportDocument {
    /// Name of the batch.
    pub batch_name: String,
    /// Name of the company that claims.
    pub company_name: Option<String>,
    /// First and last day of the accounting period.
    pub period: Option<(NaiveDate, NaiveDate)>,
    /// Name of the relief, for people.
    pub scheme: Option<String>,
    /// When the document was made; the only date in it that is not a fact.
    pub generated_at: DateTime<Utc>,
    /// True if projects that are not approved were left out.
    pub approved_only: bool,
    /// A sentence on how the texts came about.
    pub provenance: Option<String>,
    /// The projects, in the order of the document.
    pub projects: Vec<ExportProject>,
}

impl ExportDocument {
    /// True if a project is not approved: every page is marked then.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.projects.iter().any(|project| project.status != ProjectStatus::Approved)
    }

    /// Sum of the projects' expenditure.
    #[must_use]
    pub fn expenditure(&self) -> Pence {
        Pence(self.projects.iter().map(|project| project.expenditure.0).sum())
    }
}

/// A project in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportProject {
    /// Reference.
    pub external_ref: Option<String>,
    /// Name.
    pub name: String,
    /// Status.
    pub status: ProjectStatus,
    /// Score of the last check, 0 to 100.
    pub score: Option<i32>,
    /// Qualifying expenditure.
    pub expenditure: Pence,
    /// Qualifying expenditure by category.
    pub costs: Costs,
    /// The client's own reference for the claim.
    pub claim_ref: Option<String>,
    /// Main field of science or technology.
    pub field_of_science: Option<String>,
    /// Sub-field.
    pub sub_field: Option<String>,
    /// First day.
    pub start_date: Option<NaiveDate>,
    /// Last day.
    pub end_date: Option<NaiveDate>,
    /// State of the work.
    pub work_status: Option<WorkStatus>,
    /// The narrative, in the template's order.
    pub sections: Vec<ExportSection>,
}

/// A section of a narrative in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSection {
    /// Key in the template.
    pub key: String,
    /// Title.
    pub title: String,
    /// Question of the additional information form that it answers.
    pub aif_question: Option<String>,
    /// Plain text; paragraphs are divided by a blank line.
    pub text: String,
}

/// Name of the file for a batch: ASCII letters, digits, `-` and `_`, then the extension. It is never empty and needs no
/// quoting in a header or a shell.
#[must_use]
pub fn file_name(batch_name: &str, format: ExportFormat) -> String {
    let mut stem = String::new();
    for c in batch_name.chars() {
        if stem.len() >= MAX_STEM_CHARS {
            break;
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            stem.push(c);
        } else if !stem.is_empty() && !stem.ends_with('-') {
            stem.push('-');
        }
    }
    let stem = stem.trim_end_matches('-');
    let stem = if stem.is_empty() { "projects" } else { stem };
    format!("{stem}.{}", format.extension())
}

/// An amount as documents show it, such as `£1,234.50`.
#[must_use]
pub fn pounds_text(Pence(pence): Pence) -> String {
    let digits = (pence.unsigned_abs() / 100).to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{}£{grouped}.{:02}", if pence < 0 { "-" } else { "" }, pence.unsigned_abs() % 100)
}

/// A date as documents show it, such as `1 April 2025`.
#[must_use]
pub fn date_text(date: NaiveDate) -> String {
    date.format("%-d %B %Y").to_string()
}

/// A document with two projects, one of them approved, for tests of writers.
#[cfg(test)]
pub(crate) fn sample() -> ExportDocument {
    let section = |key: &str, title: &str, question: Option<&str>, text: &str| ExportSection {
        key: key.into(),
        title: title.into(),
        aif_question: question.map(str::to_owned),
        text: text.into(),
    };
    let project = |reference: &str, name: &str, status| ExportProject {
        external_ref: Some(reference.into()),
        name: name.into(),
        status,
        score: Some(82),
        expenditure: Pence(125_000),
        costs: Costs { staff: Pence(100_000), consumables: Pence(25_000), ..Costs::default() },
        claim_ref: None,
        field_of_science: Some("Polymer science".into()),
        sub_field: Some("Barrier coatings".into()),
        start_date: NaiveDate::from_ymd_opt(2025, 4, 7),
        end_date: None,
        work_status: Some(WorkStatus::Ongoing),
        sections: vec![
            section("baseline", "Baseline", Some("What is the baseline?"), "First.\n\nSecond & <third>\nline."),
            section("outcome", "Outcome", None, ""),
        ],
    };
    ExportDocument {
        batch_name: "Fen & Co \u{1}2026".into(),
        company_name: Some("Fen & Co Ltd".into()),
        period: NaiveDate::from_ymd_opt(2025, 4, 1).zip(NaiveDate::from_ymd_opt(2026, 3, 31)),
        scheme: Some("Merged scheme".into()),
        generated_at: DateTime::from_timestamp(1_780_000_000, 0).unwrap(),
        approved_only: false,
        provenance: Some("Written from the facts by the offline provider.".into()),
        projects: vec![project("A-1", "Film", ProjectStatus::Approved), project("A-2", "Pump", ProjectStatus::NeedsReview)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_safe_whatever_the_batch_is_called() {
        for (batch, name) in [
            ("Fen & Co, 2026", "Fen-Co-2026.docx"),
            ("../../etc/passwd", "etc-passwd.docx"),
            ("a\"; filename=x\r\n", "a-filename-x.docx"),
            ("Zoë_1", "Zo-_1.docx"),
            ("数据", "projects.docx"),
            ("", "projects.docx"),
        ] {
            assert_eq!(file_name(batch, ExportFormat::Docx), name);
        }
        assert_eq!(file_name(&"x".repeat(500), ExportFormat::Csv).len(), MAX_STEM_CHARS + 4);
    }

    #[test]
    fn amounts_and_dates_are_shown_as_people_write_them() {
        assert_eq!(pounds_text(Pence(123_456_789)), "£1,234,567.89");
        assert_eq!(pounds_text(Pence(-5)), "-£0.05");
        assert_eq!(pounds_text(Pence(99_900)), "£999.00");
        assert_eq!(date_text(NaiveDate::from_ymd_opt(2025, 4, 1).unwrap()), "1 April 2025");
    }

    #[test]
    fn a_document_is_a_draft_if_one_project_is_not_approved() {
        let mut document = sample();
        assert!(document.is_draft());
        document.projects.truncate(1);
        assert!(!document.is_draft());
        assert_eq!(document.expenditure(), Pence(125_000));
    }
}
