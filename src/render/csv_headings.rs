//! The headings of a CSV file: which separator divides them, which line they stand on and which column each of them
//! means. It must not read data rows.

use crate::domain::imports::{
    COLUMNS, Column, ColumnMatch, DELIMITERS, ImportIssue, ImportIssueCode, ReadOptions, column, one_char, recognise,
};
use crate::domain::quality::IssueSeverity;
use std::collections::{HashMap, HashSet};

/// Bytes that are looked at to find the separator and the header.
const LOOK_BYTES: usize = 64 * 1024;
/// Records from the start that are looked at; the header is among them.
pub(super) const LOOK_RECORDS: usize = 20;
/// Known headings that make a line with text above it a header.
const ENOUGH_KNOWN: usize = 3;

/// The separator of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delimiter {
    /// One byte: a comma, a semicolon, a tab or a vertical bar.
    pub byte: u8,
    /// True if another separator would have done as well.
    pub ambiguous: bool,
}

/// Where a cell of a data row goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// Into a known column.
    Known(&'static Column),
    /// Among the extra values, under this name.
    Extra(String),
    /// Nowhere.
    Out,
}

/// The headings of a file, as they were understood.
#[derive(Debug, Default)]
pub(super) struct Headings {
    /// How each column was matched, in the order of the file.
    pub columns: Vec<ColumnMatch>,
    /// Where each cell goes, in the order of the file.
    pub slots: Vec<Slot>,
    /// What was found; an ERROR refuses the file.
    pub issues: Vec<ImportIssue>,
}

/// The separator that a `sep=` line names, and the length of that line with its end.
pub(super) fn sep_line(text: &str) -> Option<(u8, usize)> {
    let end = text.find(['\n', '\r'])?;
    let line = text[..end].trim_matches('"');
    let delimiter = one_char(line.get(..4).filter(|word| word.eq_ignore_ascii_case("sep=")).map(|_| &line[4..])?)?;
    let ends = if text[end..].starts_with("\r\n") { 2 } else { 1 };
    Some((delimiter_byte(delimiter)?, end + ends))
}

/// The byte of a separator that is supported.
pub(super) fn delimiter_byte(delimiter: char) -> Option<u8> {
    DELIMITERS.contains(&delimiter).then(|| u8::try_from(delimiter).ok()).flatten()
}

/// Finds the separator: the one by which the most headings are known; if none are, the one that divides the first
/// lines most evenly.
pub(super) fn find_delimiter(text: &str) -> Delimiter {
    let mut scores: Vec<(usize, usize, u8)> = Vec::new();
    for byte in DELIMITERS.iter().copied().filter_map(delimiter_byte) {
        let records = first_records(text, byte);
        let known = records.iter().map(known_headings).max().unwrap_or(0);
        let width = records.first().map_or(0, csv::StringRecord::len);
        let even = if width > 1 { records.iter().filter(|record| record.len() == width).count() } else { 0 };
        scores.push((known, even, byte));
    }
    // A stable sort: among equals the order of DELIMITERS decides, the comma first.
    scores.sort_by_key(|(known, even, _)| std::cmp::Reverse((*known, *even)));
    match scores[..] {
        [(known, even, byte), (next_known, _, _), ..] => {
            let ambiguous = if known > 0 { known == next_known } else { even > 0 };
            Delimiter { byte, ambiguous }
        }
        _ => Delimiter { byte: b',', ambiguous: false },
    }
}

fn first_records(text: &str, delimiter: u8) -> Vec<csv::StringRecord> {
    let mut end = text.len().min(LOOK_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    reader(&text.as_bytes()[..end], delimiter).into_records().take(LOOK_RECORDS).map_while(Result::ok).collect()
}

/// A reader that takes rows of any width and treats no row as a header.
pub(super) fn reader(bytes: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(bytes)
}

/// How many headings of a record are known.
pub(super) fn known_headings(record: &csv::StringRecord) -> usize {
    record.iter().filter(|cell| cell.len() <= 100 && recognise(cell).is_some()).count()
}

/// True if a record among the first of a file is its header although text stands above: enough headings are known.
pub(super) fn is_header(record: &csv::StringRecord) -> bool {
    known_headings(record) >= ENOUGH_KNOWN
}

/// Matches the headings of a file.
pub(super) fn match_headings(record: &csv::StringRecord, options: &ReadOptions) -> Headings {
    // control characters name nothing, and no store takes a NUL
    let record: &csv::StringRecord = &record.iter().map(|cell| cell.chars().filter(|c| !c.is_control()).collect::<String>()).collect();
    let mut found = Headings::default();
    let given: HashMap<&str, Option<&'static Column>> =
        options.columns.iter().map(|(heading, target)| (heading.trim(), target.as_deref().and_then(column))).collect();
    let mut used: HashMap<&'static str, String> = HashMap::new();
    let mut extras = HashSet::new();
    let ours = is_refused_file(record);
    for (index, heading) in record.iter().map(str::trim).enumerate() {
        let recognised = match given.get(heading) {
            Some(target) => target.map(|column| (column, column.name != heading)),
            None => recognise(heading).map(|found| (found.column, found.via_alias)),
        };
        let slot = if let Some((column, via_alias)) = recognised {
            if let Some(earlier) = used.insert(column.name, heading.to_owned()) {
                let message = format!(
                    "The columns `{earlier}` and `{heading}` both mean `{}`. Remove or rename one, or say in `columns` which to use.",
                    column.name
                );
                found.issues.push(ImportIssue::of_file(ImportIssueCode::DuplicateColumn, message).in_column(column.name));
            }
            if via_alias && !given.contains_key(heading) {
                let message = format!("`{heading}` was understood as `{}`.", column.name);
                found.issues.push(ImportIssue::of_file(ImportIssueCode::ColumnAliasUsed, message).in_column(column.name));
            }
            Slot::Known(column)
        } else if given.contains_key(heading) || ours && index + 2 >= record.len() {
            Slot::Out
        } else {
            Slot::Extra(extra_name(heading, index, &mut extras, &mut found.issues))
        };
        found.columns.push(ColumnMatch {
            heading: heading.to_owned(),
            target: if let Slot::Known(column) = &slot { Some(column.name.to_owned()) } else { None },
            via_alias: recognised.is_some_and(|(_, via_alias)| via_alias),
        });
        found.slots.push(slot);
    }
    report_missing(record, options, &used, &mut found.issues);
    found
}

/// True for a file of refused rows that comes back corrected: its last two columns are ours, not facts.
fn is_refused_file(record: &csv::StringRecord) -> bool {
    let count = record.len();
    count > 2 && record.get(count - 2) == Some("row") && record.get(count - 1) == Some("reasons")
}

/// A name under which the values of an unknown column are kept, different from all others.
fn extra_name(heading: &str, index: usize, taken: &mut HashSet<String>, issues: &mut Vec<ImportIssue>) -> String {
    let base = if heading.is_empty() { format!("column {}", index + 1) } else { heading.to_owned() };
    let mut name = base.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{base} ({number})");
        number += 1;
    }
    if name != base {
        let message = format!("There is more than one column `{base}`; the values of this one are kept as `{name}`.");
        let issue = ImportIssue::of_file(ImportIssueCode::DuplicateColumn, message).in_column(&name);
        issues.push(issue.with_severity(IssueSeverity::Warning));
    } else if !heading.is_empty() {
        let message = format!("The column `{heading}` is not known; its values are kept beside the facts.");
        issues.push(ImportIssue::of_file(ImportIssueCode::UnknownColumn, message).in_column(heading));
    }
    name
}

fn report_missing(record: &csv::StringRecord, options: &ReadOptions, used: &HashMap<&'static str, String>, issues: &mut Vec<ImportIssue>) {
    for column in COLUMNS.iter().filter(|column| column.required && !used.contains_key(column.name)) {
        let message = format!(
            "There is no column `{}`. Add it to the header, or name the column that holds it in the option `columns`.",
            column.name
        );
        issues.push(ImportIssue::of_file(ImportIssueCode::MissingColumn, message).in_column(column.name));
    }
    for (heading, _) in &options.columns {
        if !record.iter().any(|cell| cell.trim() == heading.trim()) {
            let message = format!("The option `columns` names `{heading}`, but the file has no such column.");
            let issue = ImportIssue::of_file(ImportIssueCode::MissingColumn, message).in_column(heading);
            issues.push(issue.with_severity(IssueSeverity::Warning));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sep_line_names_the_separator() {
        assert_eq!(sep_line("sep=;\r\na;b"), Some((b';', 7)));
        assert_eq!(sep_line("\"SEP=\t\"\na"), Some((b'\t', 8)));
        assert_eq!(sep_line("sep=x\na"), None);
        assert_eq!(sep_line("é=;\na"), None);
        assert_eq!(sep_line("name,start"), None);
    }

    #[test]
    fn the_separator_is_found_by_the_headings_it_makes() {
        for (text, byte) in [
            ("project_name,start_date\n\"a;b;c\",x", b','),
            ("project name;start date;baseline\na, b;c, d;e, f", b';'),
            ("project name\tstart date\na\tb", b'\t'),
            ("project name|start date\na|b", b'|'),
        ] {
            assert_eq!(find_delimiter(text), Delimiter { byte, ambiguous: false }, "{text}");
        }
        assert!(find_delimiter("x,y;z\n1,2;3").ambiguous);
        assert_eq!(find_delimiter("baseline\nx"), Delimiter { byte: b',', ambiguous: true });
        assert_eq!(find_delimiter("nothing"), Delimiter { byte: b',', ambiguous: false });
    }

    #[test]
    fn headings_that_mean_the_same_refuse_the_file_and_unknown_ones_are_kept_apart() {
        let record = csv::StringRecord::from(vec!["Baseline", "state of the art", "Note", "Note", ""]);
        let found = match_headings(&record, &ReadOptions::default());
        let duplicates: Vec<_> = found.issues.iter().filter(|issue| issue.code == ImportIssueCode::DuplicateColumn).collect();
        assert_eq!(duplicates.iter().map(|issue| issue.is_error()).collect::<Vec<_>>(), [true, false]);
        assert_eq!(found.slots[2..], ["Note", "Note (2)", "column 5"].map(|name| Slot::Extra(name.into())));
    }
}
