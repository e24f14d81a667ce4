//! The corpora of the fuzz targets for cursors and for files, replayed without the fuzzer by the same checks. Those for bodies
//! and messages are replayed by `src/http/fuzzing.rs`.

#[path = "../../fuzz/checks/csv.rs"]
mod csv;
#[path = "../../fuzz/checks/cursors.rs"]
mod cursors;

use crate::support::root;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(root().join("fuzz/corpus").join(target)).expect("a corpus");
    entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file")).collect()
}

#[test]
fn the_corpus_of_cursors_is_read_back_as_it_was_written() {
    let read: usize = corpus("cursors").iter().map(|bytes| std::str::from_utf8(bytes).map_or(0, cursors::check)).sum();
    assert!(read > 3, "only {read} were read: the fuzzer would begin at nothing");
}

#[test]
fn the_corpus_of_files_is_read_row_by_row() {
    let rows: usize = corpus("csv").iter().map(|bytes| csv::check(bytes)).sum();
    assert!(rows > 3, "only {rows} rows were read: the fuzzer would begin at nothing");
}
