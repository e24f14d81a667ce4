//! The CSV reader. The first byte chooses options; the rest is the file.

#![no_main]

use claimwright::domain::imports::{DELIMITERS, DraftRules, ReadOptions, Required};
use claimwright::render::csv_reader::read;
use chrono::NaiveDate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, file)) = bytes.split_first() else { return };
    let today = NaiveDate::from_ymd_opt(2026, 5, 1).expect("a date");
    let rules = DraftRules { required: if choice & 1 == 0 { Required::ImportColumns } else { Required::NameOnly }, period: None, today };
    let delimiter = DELIMITERS.get(usize::from(choice >> 1 & 7)).map(|delimiter| delimiter.to_string());
    let options = ReadOptions { delimiter, header_row: (choice >> 6 == 3).then_some(2), ..ReadOptions::default() };
    let read = read(file, &options, &rules);
    assert!(!read.is_refused() || read.rows.is_empty(), "rows of a refused file");
    assert!(read.rows.windows(2).all(|pair| pair[0].row + 1 == pair[1].row && pair[0].sheet_row < pair[1].sheet_row), "rows out of order");
    for row in &read.rows {
        assert_eq!(row.accepted, row.issues.iter().all(|issue| !issue.is_error()), "row {}", row.row);
    }
});
