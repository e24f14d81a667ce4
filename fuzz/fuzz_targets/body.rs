//! The body of `POST /graphql`: JSON, then parsing, limits, merging, validation. Besides panics it looks for work that
//! is out of proportion. The build of a fuzzer is several times slower than that of a release, hence the generous bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

const SMALL: usize = 2 << 10;
const LONGEST: Duration = Duration::from_millis(250);

fuzz_target!(|bytes: &[u8]| {
    let timed = || {
        let begun = Instant::now();
        let _ = claimwright::http::fuzzing::body(bytes);
        begun.elapsed()
    };
    // the machine may have been busy: only what is slow every time is slow
    let is_slow = bytes.len() <= SMALL && (0..5).all(|_| timed() > LONGEST);
    assert!(!is_slow, "{} bytes took more than {LONGEST:?}", bytes.len());
});
