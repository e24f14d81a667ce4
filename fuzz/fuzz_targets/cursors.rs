//! Cursors and ids: see `fuzz/checks/cursors.rs`.

#![no_main]

#[path = "../checks/cursors.rs"]
mod cursors;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    cursors::check(text);
});
