//! Doors for the fuzz targets in `fuzz/`: the ways by which bytes of strangers become operations. They check what must
//! hold for whatever comes; nothing of the product calls them.

use super::{
    dialect::{ClientMessage, Dialect},
    document::{self, MAX_DOCUMENT, Operation, Rules},
    types::SchemaTypes,
};
use crate::graphql;
use async_graphql::parser::types::OperationType;
use futures::executor::block_on;
use std::sync::OnceLock;

/// What an answer may be at most, in bytes, for a document without arguments that reach the database.
const MAX_ANSWER: usize = 4 << 20;

fn rules() -> Option<&'static Rules> {
    static RULES: OnceLock<Option<Rules>> = OnceLock::new();
    RULES.get_or_init(|| SchemaTypes::of(&graphql::sdl()).ok().map(|types| Rules::new(types, true))).as_ref()
}

/// The body of a POST request, prepared and validated as the server does it, and executed without a caller. True if it
/// came as far as that.
///
/// # Panics
/// If something does not hold that must.
#[must_use]
pub fn body(bytes: &[u8]) -> bool {
    static SCHEMA: OnceLock<graphql::AppSchema> = OnceLock::new();
    let Some(rules) = rules() else { return false };
    let Ok(incoming) = Operation::from_json(bytes).and_then(Operation::into_incoming) else { return false };
    let Ok(prepared) = block_on(document::prepare(incoming.request, rules)) else { return false };
    assert!(prepared.text().len() <= MAX_DOCUMENT, "a document over the limit was prepared");
    if prepared.kind == OperationType::Subscription {
        return true;
    }
    let schema = SCHEMA.get_or_init(graphql::without_services);
    let response = block_on(schema.execute(prepared.into_request(async_graphql::Data::default())));
    let written = serde_json::to_string(&response).map_or(0, |text| text.len());
    assert!(written <= MAX_ANSWER, "an answer of {written} bytes");
    true
}

/// A text frame of a socket, in both dialects. True if it is a message in one of them.
///
/// # Panics
/// If something does not hold that must.
#[must_use]
pub fn message(text: &str) -> bool {
    let transport = message_in(Dialect::Transport, text);
    message_in(Dialect::Legacy, text) || transport
}

fn message_in(dialect: Dialect, text: &str) -> bool {
    let Ok(message) = dialect.decode(text) else { return false };
    if let ClientMessage::Subscribe(id, operation) = message {
        assert!(!id.is_empty(), "an operation without an id");
        let answer = dialect.envelope(&id).around("null");
        assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok_and(|answer| answer["id"] == id), "the id is not given back");
        if let (Ok(incoming), Some(rules)) = (operation.into_incoming(), rules()) {
            drop(block_on(document::prepare(incoming.request, rules)));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The files of a target's corpus, of which some must come through, or the fuzzer begins at nothing.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn the_corpus_of_bodies_is_handled() {
        assert!(corpus("body").iter().filter(|bytes| body(bytes)).count() > 3);
    }

    #[test]
    fn the_corpus_of_messages_is_handled() {
        assert!(corpus("message").iter().filter(|bytes| str::from_utf8(bytes).is_ok_and(message)).count() > 3);
    }
}
