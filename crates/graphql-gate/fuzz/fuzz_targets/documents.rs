//! Documents over the schema of the differential tests: the gate and async-graphql's own executor answer the same to the byte.
//! The input is read from both ends: from its front for what is asked for, from its back for arguments.

#![no_main]

#[path = "../../tests/differential/compare.rs"]
mod compare;
#[path = "../../tests/differential/schema.rs"]
mod schema;

use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let document = compare::of_bytes(bytes, mode % 2 == 1);
    // data of the test schema is at hand: nothing waits
    assert!(compare::assert_same(&document).now_or_never().is_some(), "something waits");
});
