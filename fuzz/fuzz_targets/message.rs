//! Text frames of a socket: the decoder, and the operation inside of a `subscribe`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = claimwright::http::fuzzing::message(text);
});
