//! Tests of reading CSV files: what is accepted, what is refused, and that every odd thing is said.

use super::*;
use crate::domain::imports::{DateOrder, Required};
use crate::domain::projects::WorkStatus;
use chrono::NaiveDate;
use std::fmt::Write;

const HEADER: &str =
    "external_ref,project_name,field_of_science,start_date,baseline,advance_sought,uncertainties,work_undertaken,staff_costs";

fn day(y: i32, m: u32, d: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(y, m, d).unwrap()
}

fn rules() -> DraftRules {
    let period = Some((day(2025, 4, 1), day(2026, 3, 31)));
    DraftRules { required: Required::ImportColumns, period, today: day(2026, 5, 1) }
}

fn read_with(bytes: impl AsRef<[u8]>, options: &ReadOptions) -> ReadFile {
    read(bytes.as_ref(), options, &rules())
}

fn read_plain(bytes: impl AsRef<[u8]>) -> ReadFile {
    read_with(bytes, &ReadOptions::default())
}

fn row(reference: &str, start: &str, staff: &str) -> String {
    format!("{reference},Project {reference},Chemistry,{start},base,advance,unknown,work,{staff}")
}

fn codes(issues: &[ImportIssue]) -> Vec<ImportIssueCode> {
    issues.iter().map(|issue| issue.code).collect()
}

#[test]
fn the_sample_is_accepted_without_an_error_or_a_warning() {
    let file = read_plain(include_bytes!("../../samples/projects.csv"));
    let issues: Vec<_> = file.issues().collect();
    assert!(issues.is_empty(), "{issues:#?}");
    assert!(file.rows.len() >= 14);
    assert!(file.rows.iter().all(|row| row.accepted));
    assert!(file.columns.iter().all(|column| column.target.as_deref() == Some(&column.heading)));
    for row in &file.rows {
        let words: std::collections::HashMap<_, _> =
            row.draft.facts.texts().into_iter().map(|(name, text)| (name, crate::domain::templates::word_count(text))).collect();
        for (name, least) in [("baseline", 40), ("advance_sought", 25), ("uncertainties", 45), ("work_undertaken", 60), ("outcome", 12)] {
            assert!(words[name] >= least, "row {}: {name} has {} words", row.row, words[name]);
        }
        assert!(row.draft.costs.total().0 > 0 && row.draft.external_ref.is_some());
    }
}

#[test]
fn a_row_becomes_a_draft_with_all_its_values() {
    let text = "Ref;Client name;Project name*;Field of science;Sub-field;Start date;End date;Status;Baseline;Advance sought;\
        Uncertainties;Work undertaken;CP years;Staff (£);Consumables;Total;Colour\r\n\
        A1;Fen Ltd;Film;Chemistry;Coatings;01/04/2025;31 Mar 2026;Completed;base;advance;\"not\nknown\";work;12;£1.234,50;(0);1234,50;red\r\n";
    let file = read_plain(text);
    assert_eq!(file.detected.delimiter.as_deref(), Some(";"));
    let row = &file.rows[0];
    assert!(row.accepted, "{:#?}", row.issues);
    let draft = &row.draft;
    assert_eq!((draft.external_ref.as_deref(), draft.name.as_str()), (Some("A1"), "Film"));
    assert_eq!((draft.facts.start_date, draft.facts.end_date), (Some(day(2025, 4, 1)), Some(day(2026, 3, 31))));
    assert_eq!(draft.facts.work_status, Some(WorkStatus::Completed));
    assert_eq!(draft.facts.uncertainties.as_deref(), Some("not\nknown"));
    assert_eq!(draft.facts.competent_professional_years, Some(12));
    assert_eq!(draft.costs.total(), Pence(123_450));
    assert_eq!(draft.facts.extra["client_name"], "Fen Ltd");
    assert_eq!(draft.facts.extra["Colour"], "red");
    let unknown: Vec<_> = file.file_issues.iter().filter(|issue| issue.code == ImportIssueCode::UnknownColumn).collect();
    assert_eq!(unknown[0].column.as_deref(), Some("Colour"));
    assert!(file.file_issues.iter().all(|issue| issue.severity == crate::domain::quality::IssueSeverity::Info));
}

#[test]
fn line_ends_byte_order_marks_and_sep_lines_make_no_difference() {
    let plain = format!("{HEADER}\n{}\n{}\n", row("A", "2025-04-01", "1"), row("B", "2025-04-02", "2"));
    let expected = read_plain(&plain).rows;
    assert_eq!(expected.len(), 2);
    for text in [
        plain.replace('\n', "\r\n"),
        plain.replace('\n', "\r"),
        format!("\u{FEFF}{plain}"),
        format!("sep=,\r\n{plain}"),
        plain.trim_end().to_owned(),
    ] {
        assert_eq!(read_plain(&text).rows, expected, "{text:?}");
    }
    let tabs = read_plain(format!("sep=\t\n{}", plain.replace(',', "\t")));
    assert_eq!(tabs.rows, expected);
    assert_eq!(tabs.detected.delimiter.as_deref(), Some("\t"));
    assert_eq!(tabs.detected.header_row, Some(1));
}

#[test]
fn a_blank_row_is_skipped_and_reported_and_line_numbers_stay_those_of_a_spreadsheet() {
    let multi = row("A", "2025-04-01", "1").replace("base", "\"two\nlines\"");
    for end in ["\n", "\r\n"] {
        let text = [HEADER, &multi, "", ",,,,,,,,", &row("B", "2025-04-01", "1"), "", ""].join(end);
        let file = read_plain(text);
        let numbers: Vec<_> = file.rows.iter().map(|row| (row.row, row.sheet_row)).collect();
        assert_eq!(numbers, [(1, Some(2)), (2, Some(5))]);
        assert_eq!(codes(&file.file_issues), [ImportIssueCode::EmptyRowSkipped]);
        assert_eq!(file.file_issues[0].sheet_row, Some(3));
        assert!(file.file_issues[0].message.starts_with("2 blank rows"));
    }
}

#[test]
fn a_blank_line_below_an_unusual_header_is_counted() {
    let options = ReadOptions {
        columns: HEADER.split(',').map(|name| (format!("Spalte {name}"), Some(name.to_owned()))).collect(),
        ..ReadOptions::default()
    };
    let header: Vec<_> = HEADER.split(',').map(|name| format!("Spalte {name}")).collect();
    for end in ["\n", "\r\n"] {
        let text = ["", &header.join(","), "", &row("A", "2025-04-01", "1")].join(end);
        let file = read_with(text, &options);
        assert_eq!(file.detected.header_row, Some(2), "{:?}", file.file_issues);
        assert_eq!(file.rows[0].sheet_row, Some(4));
        assert!(file.rows[0].accepted);
    }
}

#[test]
fn a_title_above_the_header_is_passed_over_and_a_header_row_can_be_named() {
    let text = format!("Our projects,,\n\n{HEADER}\n{}\n", row("A", "2025-04-01", "1"));
    let file = read_plain(&text);
    assert_eq!((file.detected.header_row, file.rows[0].sheet_row), (Some(3), Some(4)));
    let named = |line| read_with(&text, &ReadOptions { header_row: Some(line), ..ReadOptions::default() });
    assert_eq!(named(3).rows, file.rows);
    assert!(named(1).is_refused());
    assert_eq!(codes(&named(9).file_issues), [ImportIssueCode::FileHasNoRows]);
}

#[test]
fn files_that_cannot_be_read_are_refused_with_a_sentence() {
    use ImportIssueCode as Code;
    let latin = format!("{HEADER}\nA,Caf\u{e9}").chars().map(|c| u8::try_from(c).unwrap()).collect::<Vec<u8>>();
    let utf16: Vec<u8> = HEADER.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, code) in [
        (b"".to_vec(), Code::FileEmpty),
        (b"\xEF\xBB\xBF \r\n".to_vec(), Code::FileEmpty),
        (b",,\n,,\n".to_vec(), Code::FileEmpty),
        (b"PK\x03\x04rest".to_vec(), Code::UnsupportedFormat),
        (b"%PDF-1.7".to_vec(), Code::UnsupportedFormat),
        (b"{\"a\": 1}".to_vec(), Code::UnsupportedFormat),
        (latin, Code::EncodingInvalid),
        (utf16.clone(), Code::EncodingInvalid),
        ([vec![0xFF, 0xFE], utf16].concat(), Code::EncodingInvalid),
        (format!("{HEADER}\n").into_bytes(), Code::FileHasNoRows),
    ] {
        let file = read_plain(bytes);
        let last = file.file_issues.last().unwrap();
        assert_eq!((last.code, last.is_error(), file.rows.len()), (code, true, 0), "{last:?}");
    }
}

#[test]
fn missing_columns_refuse_the_file_and_each_is_named() {
    let file = read_plain("project_name,baseline\na,b\n");
    let missing: Vec<_> = file.file_issues.iter().filter_map(|issue| issue.column.as_deref()).collect();
    assert_eq!(missing, ["field_of_science", "start_date", "advance_sought", "uncertainties", "work_undertaken"]);
    assert!(file.is_refused() && file.rows.is_empty());
    assert!(file.file_issues[0].message.contains("`field_of_science`"));
}

#[test]
fn columns_can_be_matched_by_hand_and_left_out() {
    let text = format!("{},Secret,Level\n{},x,state\n", HEADER.replace("baseline", "Notes"), row("A", "2025-04-01", "1"));
    let columns = vec![("Notes".into(), Some("baseline".into())), ("Secret".into(), None), ("Gone".into(), None)];
    let file = read_with(text, &ReadOptions { columns, ..ReadOptions::default() });
    assert_eq!(file.rows[0].draft.facts.baseline.as_deref(), Some("base"));
    assert_eq!(file.rows[0].draft.facts.extra.keys().collect::<Vec<_>>(), ["Level"]);
    assert_eq!(codes(&file.file_issues), [ImportIssueCode::UnknownColumn, ImportIssueCode::MissingColumn]);
    assert!(!file.is_refused());
}

#[test]
fn wrong_values_refuse_their_row_only_and_name_row_line_and_column() {
    use ImportIssueCode as Code;
    let text = [
        HEADER.to_owned(),
        row("A", "2025-04-01", "1"),
        row("B", "soon", "1k"),
        row("A", "2025-04-01", "-5"),
        row("D", "", "1"),
        row("E", "2025-04-01", "1").replace(",base", ""),
        row("F", "2025-04-01", "1") + ",,",
        row("G", "2025-04-01", "1") + ",x",
    ]
    .join("\n");
    let file = read_plain(text);
    let found: Vec<_> = file.rows.iter().map(|row| (row.accepted, codes(&row.issues))).collect();
    let expected = [
        (true, vec![]),
        (false, vec![Code::DateInvalid, Code::NumberInvalid]),
        (false, vec![Code::NumberNegative, Code::DuplicateReference, Code::DuplicateName]),
        (false, vec![Code::RequiredValueMissing]),
        (false, vec![Code::RowWrongCellCount]),
        (true, vec![]),
        (false, vec![Code::RowWrongCellCount]),
    ];
    assert_eq!(found, expected);
    let issue = &file.rows[1].issues[1];
    assert_eq!((issue.row, issue.sheet_row, issue.column.as_deref()), (Some(2), Some(3), Some("staff_costs")));
    assert_eq!(issue.value.as_deref(), Some("1k"));
    assert_eq!(file.rows[1].cells[3], "soon");
}

#[test]
fn a_quotation_that_is_not_closed_refuses_the_file_and_names_the_line() {
    let open = row("B", "2025-04-01", "1").replace("base", "\"base");
    let text = [HEADER, &row("A", "2025-04-01", "1"), &open, &row("C", "2025-04-01", "1")].join("\n");
    let file = read_plain(text);
    assert_eq!(codes(&file.file_issues), [ImportIssueCode::QuoteNotClosed]);
    assert_eq!(file.file_issues[0].sheet_row, Some(3));
    assert!(file.rows.is_empty());
    let closed = [HEADER, &row("A", "2025-04-01", "\"1\"").replace("base", "5\" wide, \"\"good\"\"").replace(", \"\"", " \"\"")].join("\n");
    assert!(read_plain(closed).rows[0].accepted);
}

#[test]
fn a_date_that_can_be_read_in_two_ways_is_reported_unless_another_confirms_the_order() {
    let file = |second: &str, date_order| {
        let text = [HEADER, &row("A", "04/05/2025", "1"), &row("B", second, "1")].join("\n");
        read_with(text, &ReadOptions { date_order, ..ReadOptions::default() })
    };
    let doubtful = file("05/06/2025", DateOrder::Dmy);
    assert_eq!(codes(&doubtful.rows[0].issues), [ImportIssueCode::DateAmbiguous]);
    assert!(doubtful.rows[0].accepted && doubtful.rows[0].issues[0].message.contains("2025-05-04"));
    let confirmed = file("25/06/2025", DateOrder::Dmy);
    assert!(confirmed.rows.iter().all(|row| row.issues.is_empty()));
    let other = file("25/06/2025", DateOrder::Mdy);
    assert_eq!(codes(&other.rows[1].issues), [ImportIssueCode::DateInvalid]);
}

#[test]
fn a_stated_total_that_is_not_the_sum_is_a_warning() {
    let text = format!("{HEADER},total_qualifying_expenditure\n{},11\n", row("A", "2025-04-01", "10"));
    let file = read_plain(text);
    assert_eq!(codes(&file.rows[0].issues), [ImportIssueCode::TotalMismatch]);
    assert!(file.rows[0].accepted);
}

#[test]
fn odd_text_is_kept_as_data_and_reported() {
    use ImportIssueCode as Code;
    let odd = |text: &str| {
        let file = read_plain([HEADER, &row("A", "2025-04-01", "1").replace("base", text)].join("\n"));
        assert!(file.rows[0].accepted);
        (file.rows[0].draft.facts.baseline.clone().unwrap(), codes(&file.rows[0].issues))
    };
    assert_eq!(odd("=1+1"), ("=1+1".into(), vec![Code::FormulaLikeText]));
    assert_eq!(odd("'=1+1"), ("=1+1".into(), vec![Code::FormulaLikeText]));
    assert_eq!(odd("'quoted'"), ("'quoted'".into(), vec![]));
    assert_eq!(odd("a\0b"), ("ab".into(), vec![Code::ControlCharacterRemoved]));
    assert_eq!(odd("a\u{202E}b"), ("ab".into(), vec![Code::BidiControlRemoved]));
    assert_eq!(odd("<b>x</b>").1, [Code::MarkupLikeText]);
}

#[test]
fn a_status_that_is_not_known_refuses_its_row() {
    let text = format!("{HEADER},status\n{},perhaps\n", row("A", "2025-04-01", "1"));
    let file = read_plain(text);
    assert!(!file.rows[0].accepted);
    assert!(file.rows[0].reasons().contains("ongoing"));
}

#[test]
fn a_file_of_refused_rows_comes_back_without_our_two_columns() {
    let text = format!("{HEADER},row,reasons\n{},7,Too late.\n", row("A", "2025-04-01", "1"));
    let file = read_plain(text);
    assert!(file.rows[0].accepted && file.rows[0].draft.facts.extra.is_empty());
    assert!(file.file_issues.is_empty());
}

#[test]
fn ten_thousand_rows_are_read_and_one_more_refuses_the_file() {
    let mut text = HEADER.to_owned();
    for number in 0..MAX_IMPORT_ROWS {
        write!(text, "\n{}", row(&format!("R{number}"), "2025-04-01", "1")).unwrap();
    }
    assert_eq!(read_plain(&text).rows.len(), MAX_IMPORT_ROWS);
    text.push('\n');
    text.push_str(&row("last", "2025-04-01", "1"));
    let file = read_plain(&text);
    assert_eq!(codes(&file.file_issues), [ImportIssueCode::TooManyRows]);
    assert!(file.rows.is_empty());
}
