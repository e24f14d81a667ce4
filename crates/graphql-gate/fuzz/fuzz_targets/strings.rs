//! Texts are written as serde writes them, whatever is in them and wherever in a word of the processor it stands.

#![no_main]

use async_graphql::{Response, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let expected = format!("{{\"data\":{}}}", serde_json::to_string(&text).expect("a text"));
    assert_eq!(graphql_gate::respond::to_string(&Response::new(Value::String(text))), expected);
});
