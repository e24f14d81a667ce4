//! Writes CSV files that are safe to open in a spreadsheet: the refused rows of an import, and an export of projects.
//! It must not decide what is written.

use crate::domain::exports::{ExportDocument, ExportProject};
use crate::domain::imports::ReadRow;
use crate::error::{Error, Result};
use std::borrow::Cow;

/// Spreadsheets take a file for UTF-8 only if it begins with this.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A cell that no spreadsheet takes for a formula: what begins with `=`, `+`, `-`, `@`, a tab or a carriage return gets
/// an apostrophe in front.
#[must_use]
pub fn harmless(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

/// The refused ones among `rows` with all their cells as they stood in the file, then the row's number and the reasons.
/// The reader takes the file back once it is corrected.
///
/// # Errors
/// Fails only if memory cannot be written to.
pub fn rejected_rows(headings: &[&str], rows: &[ReadRow]) -> Result<Vec<u8>> {
    let mut table = Table::new();
    let refused = || rows.iter().filter(|row| !row.accepted);
    // Rows with too few or too many cells must neither push our two columns out of place nor lose a cell.
    let width = refused().map(|row| row.cells.len()).fold(headings.len(), usize::max);
    table.row((0..width).map(|index| headings.get(index).copied().unwrap_or_default()).chain(["row", "reasons"]))?;
    for row in refused() {
        let cells = (0..width).map(|index| row.cells.get(index).map_or("", String::as_str));
        let (number, reasons) = (row.row.to_string(), row.reasons());
        table.row(cells.chain([number.as_str(), reasons.as_str()]))?;
    }
    table.finish()
}

/// An export: one row per project with its reference, state, facts, costs and the text of each section. Sections stand
/// in the order in which they first come; projects that lack one have an empty cell.
///
/// # Errors
/// Fails only if memory cannot be written to.
pub fn projects(document: &ExportDocument) -> Result<Vec<u8>> {
    let sections = section_columns(&document.projects);
    let mut table = Table::new();
    let costs = document.projects.first().map(|project| project.costs).unwrap_or_default();
    let categories = costs.categories().map(|(name, _)| name);
    let head =
        ["reference", "name", "status", "score", "claim_ref", "field_of_science", "sub_field", "start_date", "end_date", "work_status"];
    let tail = ["qualifying_indirect_activities", "expenditure"];
    let titles = sections.iter().map(|(_, title)| title.as_str());
    table.row(head.into_iter().chain(categories).chain(tail).chain(titles))?;
    for project in &document.projects {
        let cells = project_cells(project);
        let texts = sections.iter().map(|(key, _)| {
            let found = project.sections.iter().find(|section| section.key == *key);
            found.map_or("", |section| section.text.as_str())
        });
        table.row(cells.iter().map(String::as_str).chain(texts))?;
    }
    table.finish()
}

fn project_cells(project: &ExportProject) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let date = |value: Option<chrono::NaiveDate>| value.map(|date| date.to_string()).unwrap_or_default();
    let mut cells = vec![
        text(&project.external_ref),
        project.name.clone(),
        project.status.to_string(),
        project.score.map(|score| score.to_string()).unwrap_or_default(),
        text(&project.claim_ref),
        text(&project.field_of_science),
        text(&project.sub_field),
        date(project.start_date),
        date(project.end_date),
        project.work_status.map(|status| status.to_string()).unwrap_or_default(),
    ];
    cells.extend(project.costs.categories().map(|(_, pence)| pence.pounds().to_string()));
    cells.push(project.costs.qualifying_indirect_activities.pounds().to_string());
    cells.push(project.expenditure.pounds().to_string());
    cells
}

/// Keys and headings of all sections. Two keys may have one title; then the key makes the heading different.
fn section_columns(projects: &[ExportProject]) -> Vec<(String, String)> {
    let mut columns: Vec<(String, String)> = Vec::new();
    for section in projects.iter().flat_map(|project| &project.sections) {
        if columns.iter().any(|(key, _)| *key == section.key) {
            continue;
        }
        let taken = columns.iter().any(|(_, title)| *title == section.title);
        let title = if taken { format!("{} ({})", section.title, section.key) } else { section.title.clone() };
        columns.push((section.key.clone(), title));
    }
    columns
}

struct Table(csv::Writer<Vec<u8>>);

impl Table {
    fn new() -> Self {
        let bytes = BYTE_ORDER_MARK.to_vec();
        Self(csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).flexible(false).from_writer(bytes))
    }

    fn row<'a>(&mut self, cells: impl Iterator<Item = &'a str>) -> Result<()> {
        for cell in cells {
            self.0.write_field(harmless(cell).as_bytes()).map_err(Error::internal)?;
        }
        self.0.write_record(None::<&[u8]>).map_err(Error::internal)
    }

    fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().map_err(|error| Error::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exports::{ExportSection, sample};
    use crate::domain::imports::{DraftRules, ReadOptions, Required};
    use crate::render::csv_reader::read;
    use chrono::NaiveDate;

    #[test]
    fn a_cell_that_looks_like_a_formula_is_made_harmless() {
        for cell in ["=1+1", "+1", "-1", "@x", "\tx", "\rx"] {
            assert_eq!(harmless(cell), format!("'{cell}"));
        }
        assert_eq!(harmless("a=1"), "a=1");
        assert_eq!(harmless(""), "");
    }

    #[test]
    fn refused_rows_come_back_with_reasons_and_can_be_imported_once_corrected() {
        let header = "project_name,field_of_science,start_date,baseline,advance_sought,uncertainties,work_undertaken";
        let text = format!("{header}\nA,Chemistry,soon,=b,a,u,w\nB,Chemistry,2025-04-01,b,a,u,w\nC,Chemistry,b\n");
        let rules = DraftRules { required: Required::ImportColumns, period: None, today: NaiveDate::from_ymd_opt(2026, 5, 1).unwrap() };
        let file = read(text.as_bytes(), &ReadOptions::default(), &rules);
        let refused = String::from_utf8(rejected_rows(&file.headings(), &file.rows).unwrap()).unwrap();
        let lines: Vec<_> = refused.lines().collect();
        assert_eq!(lines.len(), 3, "{refused}");
        assert_eq!(lines[0], format!("\u{FEFF}{header},row,reasons"));
        assert!(lines[1].starts_with("A,Chemistry,soon,'=b,a,u,w,1,"), "{}", lines[1]);
        assert!(lines[2].starts_with("C,Chemistry,b,,,,,3,"), "{}", lines[2]);
        let corrected = refused.replace("soon", "2025-05-01");
        let again = read(corrected.as_bytes(), &ReadOptions::default(), &rules);
        assert!(again.rows[0].accepted, "{:?}", again.rows[0].issues);
        assert_eq!(again.rows[0].draft.facts.baseline.as_deref(), Some("=b"));
    }

    #[test]
    fn an_export_has_a_row_per_project_and_a_column_per_section() {
        let mut document = sample();
        let section = |key: &str, title: &str, text: &str| ExportSection {
            key: key.into(),
            title: title.into(),
            aif_question: None,
            text: text.into(),
        };
        document.projects[0].sections = vec![section("baseline", "Baseline", "=cmd"), section("other", "Baseline", "two\nlines")];
        document.projects[1].sections = vec![section("other", "Baseline", "more, text")];
        let bytes = projects(&document).unwrap();
        assert_eq!(bytes, projects(&document).unwrap());
        let mut reader = csv::Reader::from_reader(&bytes[3..]);
        let head = reader.headers().unwrap().clone();
        assert_eq!((&head[0], &head[head.len() - 2], &head[head.len() - 1]), ("reference", "Baseline", "Baseline (other)"));
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((&rows[0][head.len() - 2], &rows[0][head.len() - 1]), ("'=cmd", "two\nlines"));
        assert_eq!((&rows[1][head.len() - 2], &rows[1][head.len() - 1]), ("", "more, text"));
        assert_eq!(&rows[0][head.len() - 3], "1250.00");
    }
}
