//! Imports: what a file of projects may hold, how it is read and what can be found in it. Pure values and rules
//! (domain rules B); it must not know file formats (that is `render`) nor what is already stored.
//!
//! A row is accepted whole or refused whole: one finding of severity ERROR refuses it. What is removed or understood
//! in a certain way is said in an [`ImportIssue`], never done silently.

mod checks;
mod columns;
mod job;
mod texts;
mod values;

pub use checks::{DraftRules, Finding, Required, SeenRows, check_draft, check_rows, problems, stated_total};
pub use columns::{COLUMNS, Column, ColumnKind, Recognised, column, input_field, recognise};
pub use job::{CHUNK_ROWS, ImportJob, ImportSource, IssueFilter, NewImport, PREVIEW_ROWS, SourceKind};
pub use values::{AmountStyle, ReadDate, Reading, parse_amount, parse_date, parse_years, work_status};

use super::projects::ProjectDraft;
use super::quality::IssueSeverity;
use crate::error::{Problem, ProblemCode};
use crate::word_enum;
use serde::{Deserialize, Serialize};

/// Most rows in one import.
pub const MAX_IMPORT_ROWS: usize = 10_000;
/// Most characters of a value that an issue quotes.
pub const MAX_QUOTED_CHARS: usize = 120;
/// Separators that a file may use.
pub const DELIMITERS: &[char] = &[',', ';', '\t', '|'];

word_enum! {
    /// Kinds of files that can be imported.
    pub enum ImportFormat {
        /// Find out from the content.
        Auto = "AUTO",
        /// Comma-, semicolon-, tab- or otherwise separated text.
        Csv = "CSV",
    }
}

word_enum! {
    /// What to do when rows are wrong.
    pub enum ImportErrorPolicy {
        /// One wrong row refuses the whole import.
        RejectEverything = "REJECT_EVERYTHING",
        /// Wrong rows are left out, the others are imported.
        RejectFailedRows = "REJECT_FAILED_ROWS",
    }
}

word_enum! {
    /// What to do when a reference already exists in the batch.
    pub enum ImportDuplicatePolicy {
        /// The row is wrong.
        Reject = "REJECT",
        /// The row is left out without being wrong.
        Skip = "SKIP",
        /// The facts of the existing project are replaced; its narrative is kept and marked for a new check.
        Update = "UPDATE",
    }
}

word_enum! {
    /// Order of day, month and year in dates such as 04/05/2025.
    #[derive(Default)]
    pub enum DateOrder {
        /// Day first, as in the United Kingdom.
        #[default]
        Dmy = "DMY",
        /// Month first.
        Mdy = "MDY",
        /// Year first.
        Ymd = "YMD",
    }
}

word_enum! {
    /// What an import can find.
    pub enum ImportIssueCode {
        /// The file is empty.
        FileEmpty = "FILE_EMPTY",
        /// There is a header and nothing else.
        FileHasNoRows = "FILE_HAS_NO_ROWS",
        /// There are more rows than allowed.
        TooManyRows = "TOO_MANY_ROWS",
        /// The content is not of a kind that can be read.
        UnsupportedFormat = "UNSUPPORTED_FORMAT",
        /// Bytes do not fit the encoding.
        EncodingInvalid = "ENCODING_INVALID",
        /// The separator was guessed.
        DelimiterGuessed = "DELIMITER_GUESSED",
        /// A required column is missing.
        MissingColumn = "MISSING_COLUMN",
        /// A column is not known and was kept as extra or left out.
        UnknownColumn = "UNKNOWN_COLUMN",
        /// Two columns have the same heading.
        DuplicateColumn = "DUPLICATE_COLUMN",
        /// A heading was recognised as another name of a column.
        ColumnAliasUsed = "COLUMN_ALIAS_USED",
        /// A row has too few or too many cells.
        RowWrongCellCount = "ROW_WRONG_CELL_COUNT",
        /// A quotation was opened and not closed.
        QuoteNotClosed = "QUOTE_NOT_CLOSED",
        /// Blank rows were left out.
        EmptyRowSkipped = "EMPTY_ROW_SKIPPED",
        /// A required value is missing.
        RequiredValueMissing = "REQUIRED_VALUE_MISSING",
        /// A value is too long.
        ValueTooLong = "VALUE_TOO_LONG",
        /// A date cannot be read.
        DateInvalid = "DATE_INVALID",
        /// A date can be read in two ways.
        DateAmbiguous = "DATE_AMBIGUOUS",
        /// The end is before the start.
        DateOrder = "DATE_ORDER",
        /// The project does not overlap the accounting period.
        DateOutsidePeriod = "DATE_OUTSIDE_PERIOD",
        /// A date is improbable.
        DateImplausible = "DATE_IMPLAUSIBLE",
        /// A number cannot be read.
        NumberInvalid = "NUMBER_INVALID",
        /// A number is below zero.
        NumberNegative = "NUMBER_NEGATIVE",
        /// The total is not the sum of the categories.
        TotalMismatch = "TOTAL_MISMATCH",
        /// Indirect activities are more than the total.
        IndirectExceedsTotal = "INDIRECT_EXCEEDS_TOTAL",
        /// Two rows, or a row and the batch, have the same name.
        DuplicateName = "DUPLICATE_NAME",
        /// Two rows, or a row and the batch, have the same reference.
        DuplicateReference = "DUPLICATE_REFERENCE",
        /// Text looks like a spreadsheet formula; stored as typed, made harmless in exports.
        FormulaLikeText = "FORMULA_LIKE_TEXT",
        /// Control characters were removed.
        ControlCharacterRemoved = "CONTROL_CHARACTER_REMOVED",
        /// Characters that change the direction of text were removed.
        BidiControlRemoved = "BIDI_CONTROL_REMOVED",
        /// Text looks like an instruction to a model.
        InstructionLikeText = "INSTRUCTION_LIKE_TEXT",
        /// Text looks like HTML or a script.
        MarkupLikeText = "MARKUP_LIKE_TEXT",
        /// Text looks like personal data.
        PersonalDataSuspected = "PERSONAL_DATA_SUSPECTED",
    }
}

impl ImportIssueCode {
    /// How bad it is unless said otherwise where it is raised. ERROR refuses the row, or the file.
    #[must_use]
    pub const fn severity(self) -> IssueSeverity {
        match self {
            Self::FileEmpty
            | Self::FileHasNoRows
            | Self::TooManyRows
            | Self::UnsupportedFormat
            | Self::EncodingInvalid
            | Self::MissingColumn
            | Self::DuplicateColumn
            | Self::RowWrongCellCount
            | Self::QuoteNotClosed
            | Self::RequiredValueMissing
            | Self::ValueTooLong
            | Self::DateInvalid
            | Self::DateOrder
            | Self::NumberInvalid
            | Self::NumberNegative
            | Self::IndirectExceedsTotal
            | Self::DuplicateReference => IssueSeverity::Error,
            Self::DateAmbiguous
            | Self::DateOutsidePeriod
            | Self::DateImplausible
            | Self::TotalMismatch
            | Self::DuplicateName
            | Self::BidiControlRemoved
            | Self::InstructionLikeText
            | Self::MarkupLikeText
            | Self::PersonalDataSuspected => IssueSeverity::Warning,
            Self::DelimiterGuessed
            | Self::UnknownColumn
            | Self::ColumnAliasUsed
            | Self::EmptyRowSkipped
            | Self::FormulaLikeText
            | Self::ControlCharacterRemoved => IssueSeverity::Info,
        }
    }
}

/// Something that an import found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportIssue {
    /// What was found.
    pub code: ImportIssueCode,
    /// ERROR refuses the row, or the file if `row` is absent.
    pub severity: IssueSeverity,
    /// Data row, counted from 1 without header and blank rows; absent for the whole file.
    pub row: Option<i32>,
    /// Line as a spreadsheet shows it.
    pub sheet_row: Option<i32>,
    /// Column by its canonical name; the heading if it is not a known one.
    pub column: Option<String>,
    /// A sentence that says what is wrong and what to do.
    pub message: String,
    /// The value, shortened to [`MAX_QUOTED_CHARS`].
    pub value: Option<String>,
}

impl ImportIssue {
    /// An issue of the whole file, with the code's own severity.
    pub fn of_file(code: ImportIssueCode, message: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), row: None, sheet_row: None, column: None, message: message.into(), value: None }
    }

    /// The same issue, about a column.
    #[must_use]
    pub fn in_column(self, column: &str) -> Self {
        Self { column: Some(column.to_owned()), ..self }
    }

    /// The same issue, about a line as a spreadsheet shows it.
    #[must_use]
    pub fn at_sheet_row(self, sheet_row: i32) -> Self {
        Self { sheet_row: Some(sheet_row), ..self }
    }

    /// The same issue, with another severity.
    #[must_use]
    pub fn with_severity(self, severity: IssueSeverity) -> Self {
        Self { severity, ..self }
    }

    /// True if it refuses its row or file.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == IssueSeverity::Error
    }
}

/// How a column was matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnMatch {
    /// Heading in the file.
    pub heading: String,
    /// Fact or cost that it fills, by column name; absent if it is kept as extra or left out.
    pub target: Option<String>,
    /// True if the heading is not the canonical one.
    pub via_alias: bool,
}

/// What was found out about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectedFile {
    /// Format.
    pub format: ImportFormat,
    /// Encoding, such as `UTF-8`; absent if it could not be read.
    pub encoding: Option<String>,
    /// True if the encoding was guessed.
    pub encoding_guessed: bool,
    /// Separator.
    pub delimiter: Option<String>,
    /// Line of the header as a spreadsheet shows it, from 1.
    pub header_row: Option<i32>,
    /// Size in bytes.
    pub bytes: i32,
}

/// How to read a file; what is absent is found out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadOptions {
    /// Separator, one of [`DELIMITERS`].
    pub delimiter: Option<String>,
    /// Line of the header as a spreadsheet shows it, from 1.
    pub header_row: Option<i32>,
    /// Heading in the file and the column name that it fills; `None` leaves the column out.
    pub columns: Vec<(String, Option<String>)>,
    /// Order in dates that can be read in two ways.
    pub date_order: DateOrder,
    /// Encoding; only UTF-8 can be read.
    pub encoding: Option<String>,
}

impl ReadOptions {
    /// Problems of the options themselves; `at` is their path in the input, such as `input.options`.
    #[must_use]
    pub fn problems(&self, at: &str) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut say = |code, field: &str, message: String| found.push(Problem::new(code, &format!("{at}.{field}"), message));
        if let Some(delimiter) = &self.delimiter
            && one_char(delimiter).is_none_or(|c| !DELIMITERS.contains(&c))
        {
            say(ProblemCode::Invalid, "delimiter", "A separator is a comma, a semicolon, a tab or a vertical bar.".into());
        }
        if self.header_row.is_some_and(|row| row < 1) {
            say(ProblemCode::Invalid, "headerRow", "Rows are counted from 1.".into());
        }
        if self.encoding.as_deref().is_some_and(|name| !is_utf8_name(name)) {
            say(ProblemCode::UnsupportedFile, "encoding", "Only UTF-8 can be read. Save the file as `CSV UTF-8`.".into());
        }
        let mut headings = std::collections::HashSet::new();
        for (index, (heading, target)) in self.columns.iter().enumerate() {
            if !headings.insert(heading.trim()) {
                say(
                    ProblemCode::Taken,
                    &format!("columns.{index}.heading"),
                    format!("`{heading}` is named twice; name each heading once."),
                );
            }
            if let Some(target) = target
                && column(target).is_none()
            {
                let known: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
                let message = format!("There is no column `{target}`; the columns are {}.", known.join(", "));
                say(ProblemCode::Invalid, &format!("columns.{index}.target"), message);
            }
        }
        found
    }
}

/// A row as it was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRow {
    /// Data row, from 1; blank rows are not counted.
    pub row: i32,
    /// Line as a spreadsheet shows it; absent if the rows did not come from a file.
    pub sheet_row: Option<i32>,
    /// The values that were understood, cleaned.
    pub draft: ProjectDraft,
    /// What was found in the row.
    pub issues: Vec<ImportIssue>,
    /// True if no issue is an ERROR.
    pub accepted: bool,
    /// The cells as they stood in the file, for the file of refused rows; empty if the rows did not come from a file.
    pub cells: Vec<String>,
}

impl ReadRow {
    /// Adds an issue that was found later (such as a reference that the batch has already) and refuses the row if it
    /// is an ERROR.
    pub fn add(&mut self, finding: Finding) {
        let issue = finding.at(self.row, self.sheet_row);
        self.accepted &= !issue.is_error();
        self.issues.push(issue);
    }

    /// Why the row is refused, in sentences; empty if it is accepted.
    #[must_use]
    pub fn reasons(&self) -> String {
        let reasons: Vec<_> = self.issues.iter().filter(|issue| issue.is_error()).map(|issue| issue.message.as_str()).collect();
        reasons.join(" ")
    }
}

/// True if a name of an encoding means UTF-8.
#[must_use]
pub fn is_utf8_name(name: &str) -> bool {
    matches!(name.trim().to_ascii_lowercase().as_str(), "utf-8" | "utf8" | "utf-8-sig" | "us-ascii" | "ascii")
}

/// The only character of a text, if it has exactly one.
#[must_use]
pub fn one_char(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// A value as issues quote it: on one line, shortened to [`MAX_QUOTED_CHARS`].
#[must_use]
pub fn quoted(value: &str) -> String {
    let mut short: String = value.chars().take(MAX_QUOTED_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if value.chars().nth(MAX_QUOTED_CHARS).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_named_by_their_place() {
        let options = ReadOptions {
            delimiter: Some("::".into()),
            header_row: Some(0),
            columns: vec![("Job".into(), Some("project_name".into())), ("Job".into(), Some("nonsense".into()))],
            encoding: Some("utf-16".into()),
            ..ReadOptions::default()
        };
        let fields: Vec<_> = options.problems("input.options").into_iter().map(|problem| problem.field.join(".")).collect();
        let expected = ["delimiter", "headerRow", "encoding", "columns.1.heading", "columns.1.target"];
        assert_eq!(fields, expected.map(|field| format!("input.options.{field}")));
        assert!(ReadOptions::default().problems("input.options").is_empty());
    }

    #[test]
    fn a_long_value_is_quoted_in_short_and_on_one_line() {
        assert_eq!(quoted("a\nb"), "a b");
        assert_eq!(quoted(&"é".repeat(500)).chars().count(), MAX_QUOTED_CHARS);
        assert_eq!(quoted(&"é".repeat(MAX_QUOTED_CHARS)), "é".repeat(MAX_QUOTED_CHARS));
    }
}
