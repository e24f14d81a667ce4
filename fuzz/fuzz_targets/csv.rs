//! The CSV reader: see `fuzz/checks/csv.rs`.

#![no_main]

#[path = "../checks/csv.rs"]
mod csv;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    csv::check(bytes);
});
