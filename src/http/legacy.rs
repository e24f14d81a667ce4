//! Messages of the older subprotocol, which is called `graphql-ws` (PROTOCOL.md of subscriptions-transport-ws): reads
//! those of clients, writes those of the server. It must not know sockets or schemas.

use super::{
    dialect::{ClientMessage, Invalid},
    json::read,
    protocol::{self, MAX_ID},
};
use serde_json::{Value, json, value::RawValue};

/// Reads a message.
///
/// # Errors
/// Why a client may not send this, and the operation that it is about, if that can be told.
pub fn decode(text: &str) -> Result<ClientMessage, Invalid> {
    let mut message = read(text).ok_or(Invalid::new("not a JSON object, or a name stands twice in it"))?;
    let payload = message.remove("payload").filter(|payload| !payload.is_null());
    let id = message.get("id").and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() <= MAX_ID).map(str::to_owned);
    let no_id = Invalid::new("`id` must be a string of 1 to 256 bytes");
    match message.get("type").and_then(Value::as_str) {
        Some("connection_init") => Ok(ClientMessage::Init(payload)),
        Some("connection_terminate") => Ok(ClientMessage::Terminate),
        Some("stop") => Ok(ClientMessage::Complete(id.ok_or(no_id)?)),
        Some("start") => {
            let id = id.ok_or(no_id)?;
            match protocol::operation(payload.unwrap_or_default()) {
                Ok(operation) => Ok(ClientMessage::Subscribe(id, operation)),
                Err(invalid) => Err(invalid.of(id)),
            }
        }
        _ => Err(Invalid { id, ..Invalid::new("unknown `type`") }),
    }
}

/// `connection_ack`.
pub fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// `ka`: nothing but a sign of life.
pub fn keep_alive() -> String {
    json!({ "type": "ka" }).to_string()
}

/// `connection_error`: the session was refused, or a message could not be read.
pub fn connection_error(message: &str) -> String {
    json!({ "type": "connection_error", "payload": { "message": message } }).to_string()
}

/// `data` up to its result in JSON, which a brace follows.
pub fn data(id: &str) -> String {
    format!(r#"{{"id":{},"type":"data","payload":"#, json!(id))
}

/// `error` with the first of a list of errors that is already JSON: this protocol has room for one. It ends the
/// operation; no `complete` follows.
pub fn error(id: &str, errors: &str) -> String {
    let all: Vec<Box<RawValue>> = serde_json::from_str(errors).unwrap_or_default();
    let first = all.first().map_or("{}", |error| error.get());
    format!(r#"{{"id":{},"type":"error","payload":{first}}}"#, json!(id))
}

/// `complete`.
pub fn complete(id: &str) -> String {
    json!({ "id": id, "type": "complete" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_a_client_are_read() {
        assert!(matches!(decode(r#"{"type":"connection_init","payload":{}}"#), Ok(ClientMessage::Init(Some(_)))));
        assert!(
            matches!(decode(r#"{"id":"1","type":"start","payload":{"query":"{a}"}}"#), Ok(ClientMessage::Subscribe(id, _)) if id == "1")
        );
        assert!(matches!(decode(r#"{"id":"1","type":"stop"}"#), Ok(ClientMessage::Complete(id)) if id == "1"));
        assert!(matches!(decode(r#"{"type":"connection_terminate"}"#), Ok(ClientMessage::Terminate)));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_the_operation_it_is_about() {
        for text in
            ["", "[]", "{}", r#"{"type":"start"}"#, r#"{"type":"ping"}"#, r#"{"type":"stop"}"#, r#"{"id":"1","id":"2","type":"stop"}"#]
        {
            assert!(matches!(decode(text), Err(Invalid { id: None, .. })), "{text}");
        }
        for text in
            [r#"{"type":"start","id":"1"}"#, r#"{"type":"start","id":"1","payload":{"query":1}}"#, r#"{"type":"subscribe","id":"1"}"#]
        {
            assert!(matches!(decode(text), Err(Invalid { id: Some(id), .. }) if id == "1"), "{text}");
        }
    }

    #[test]
    fn an_error_is_one_object() {
        let message: Value = serde_json::from_str(&error("1", r#"[{"message":"a"},{"message":"b"}]"#)).unwrap();
        assert_eq!(message, json!({ "id": "1", "type": "error", "payload": { "message": "a" } }));
    }
}
