//! The corpora of the fuzz targets for cursors and for files, replayed without the fuzzer: what must hold for every input
//! holds for these. Those for bodies and messages are replayed by `src/http/fuzzing.rs`.

use crate::support::root;
use chrono::NaiveDate;
use claimwright::domain::events::EventCursor;
use claimwright::domain::ids::{BatchId, GlobalId, ProjectId};
use claimwright::domain::imports::{DELIMITERS, DraftRules, ReadOptions, Required};
use claimwright::domain::paging::PageArgs;
use claimwright::render::csv_reader::read;
use uuid::Uuid;

const ORDERS: [&str; 5] = ["runs:mu", "name:tu", "number:nu", "created:mu", ""];

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(root().join("fuzz/corpus").join(target)).expect("a corpus").map(|entry| entry.expect("an entry"));
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file"))).collect()
}

/// What a text is read as, after it was seen that each reading gives the text's meaning back.
fn readings(text: &str) -> usize {
    let mut readings = 0;
    if let Some(id) = GlobalId::parse(text) {
        assert_eq!(GlobalId::parse(&id.to_string()), Some(id));
        readings += 1;
    }
    let (batch, project) = (BatchId::from_global(text), ProjectId::from_global(text));
    assert!(batch.0.is_nil() || project.0.is_nil(), "an id of two kinds");
    for order in ORDERS {
        let args = PageArgs { after: Some(text.to_owned()), before: Some(text.to_owned()), ..PageArgs::default() };
        if let Ok(page) = args.check(order) {
            let position = page.after.expect("a position");
            let again = PageArgs { after: Some(position.cursor()), ..PageArgs::default() }.check(order).expect("its own cursor");
            assert_eq!(again.after, Some(position));
            readings += 1;
        }
    }
    let stream = Uuid::from_u128(1);
    if let Ok(cursor) = EventCursor::parse(text, stream) {
        assert!(cursor.stream == stream && cursor.sequence >= 0);
        assert_eq!(EventCursor::parse(&cursor.to_string(), stream).expect("its own cursor"), cursor);
        readings += 1;
    }
    readings
}

#[test]
fn the_corpus_of_cursors_is_read_back_as_it_was_written() {
    let read: usize = corpus("cursors").iter().map(|(_, bytes)| std::str::from_utf8(bytes).map_or(0, readings)).sum();
    assert!(read > 3, "only {read} were read: the fuzzer would begin at nothing");
}

#[test]
fn the_corpus_of_files_is_read_row_by_row() {
    let today = NaiveDate::from_ymd_opt(2026, 5, 1).expect("a date");
    let files = corpus("csv");
    assert!(files.len() > 3, "the fuzzer would begin at nothing");
    for (name, bytes) in files {
        let Some((choice, file)) = bytes.split_first() else { continue };
        let required = if choice & 1 == 0 { Required::ImportColumns } else { Required::NameOnly };
        let delimiter = DELIMITERS.get(usize::from(choice >> 1 & 7)).map(ToString::to_string);
        let options = ReadOptions { delimiter, header_row: (choice >> 6 == 3).then_some(2), ..ReadOptions::default() };
        let read = read(file, &options, &DraftRules { required, period: None, today });
        assert!(!read.is_refused() || read.rows.is_empty(), "{name}: rows of a refused file");
        let in_order = read.rows.windows(2).all(|pair| pair[0].row + 1 == pair[1].row && pair[0].sheet_row < pair[1].sheet_row);
        assert!(in_order, "{name}: rows out of order");
        for row in &read.rows {
            assert_eq!(row.accepted, row.issues.iter().all(|issue| !issue.is_error()), "{name}, row {}", row.row);
        }
    }
}
