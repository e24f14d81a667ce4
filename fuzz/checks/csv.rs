//! The CSV reader: rows are in order, and accepted if and only if nothing is wrong with them. The first byte chooses options;
//! the rest is the file. The fuzz target and the test that replays its corpus have this in common.

use chrono::NaiveDate;
use claimwright::domain::imports::{DELIMITERS, DraftRules, ReadOptions, Required};
use claimwright::render::csv_reader::read;

/// How many rows are read.
pub fn check(bytes: &[u8]) -> usize {
    let Some((choice, file)) = bytes.split_first() else { return 0 };
    let today = NaiveDate::from_ymd_opt(2026, 5, 1).expect("a date");
    let required = if choice & 1 == 0 { Required::ImportColumns } else { Required::NameOnly };
    let delimiter = DELIMITERS.get(usize::from(choice >> 1 & 7)).map(ToString::to_string);
    let options = ReadOptions { delimiter, header_row: (choice >> 6 == 3).then_some(2), ..ReadOptions::default() };
    let read = read(file, &options, &DraftRules { required, period: None, today });
    assert!(!read.is_refused() || read.rows.is_empty(), "rows of a refused file");
    assert!(read.rows.windows(2).all(|pair| pair[0].row + 1 == pair[1].row && pair[0].sheet_row < pair[1].sheet_row), "rows out of order");
    for row in &read.rows {
        assert_eq!(row.accepted, row.issues.iter().all(|issue| !issue.is_error()), "row {}", row.row);
    }
    read.rows.len()
}
