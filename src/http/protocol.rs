//! Messages of graphql-transport-ws (PROTOCOL.md of graphql-ws): reads those of clients, writes those of the server.
//! It must not know sockets or schemas.

use super::{
    dialect::{ClientMessage, Invalid},
    document::Operation,
    json::read,
};
use serde_json::{Value, json};

/// Longest id of an operation, in bytes. Clients number them or take UUIDs; every answer repeats it.
pub const MAX_ID: usize = 256;

/// Reads a message.
///
/// # Errors
/// Why a client may not send this.
pub fn decode(text: &str) -> Result<ClientMessage, Invalid> {
    let mut message = read(text).ok_or(Invalid::new("not a JSON object, or a name stands twice in it"))?;
    let kind = message.get("type").and_then(Value::as_str).ok_or(Invalid::new("no `type`"))?.to_owned();
    let payload = message.remove("payload").filter(|payload| !payload.is_null());
    if payload.as_ref().is_some_and(|payload| !payload.is_object()) {
        return Err(Invalid::new("`payload` must be an object"));
    }
    let id = || match message.get("id") {
        Some(Value::String(id)) if id.len() > MAX_ID => Err(Invalid::new("`id` is longer than 256 bytes")),
        Some(Value::String(id)) if !id.is_empty() => Ok(id.clone()),
        _ => Err(Invalid::new("`id` must be a string that is not empty")),
    };
    match kind.as_str() {
        "connection_init" => Ok(ClientMessage::Init(payload)),
        "ping" => Ok(ClientMessage::Ping(payload)),
        "pong" => Ok(ClientMessage::Pong),
        "complete" => Ok(ClientMessage::Complete(id()?)),
        "subscribe" => {
            let id = id()?;
            let payload = payload.ok_or(Invalid::new("`payload` is missing"))?;
            Ok(ClientMessage::Subscribe(id, operation(payload)?))
        }
        _ => Err(Invalid::new("unknown `type`")),
    }
}

/// Reads the payload that starts an operation, in either dialect.
///
/// # Errors
/// A parameter is missing or has the wrong type.
pub fn operation(payload: Value) -> Result<Operation, Invalid> {
    let operation: Operation =
        serde_json::from_value(payload).map_err(|_| Invalid::new("a parameter of the operation has the wrong type"))?;
    if !operation.has_document() {
        return Err(Invalid::new("`query` is missing"));
    }
    Ok(operation)
}

/// `connection_ack`.
pub fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// `ping`.
pub fn ping() -> String {
    json!({ "type": "ping" }).to_string()
}

/// `pong` with the payload of the ping.
pub fn pong(payload: Option<Value>) -> String {
    match payload {
        Some(payload) => json!({ "type": "pong", "payload": payload }).to_string(),
        None => json!({ "type": "pong" }).to_string(),
    }
}

/// `next` up to its result in JSON, which a brace follows.
pub fn next(id: &str) -> String {
    format!(r#"{{"id":{},"type":"next","payload":"#, json!(id))
}

/// `error` with a list of errors that is already JSON. It ends the operation; no `complete` follows.
pub fn error(id: &str, errors: &str) -> String {
    format!(r#"{{"id":{},"type":"error","payload":{errors}}}"#, json!(id))
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
        assert!(matches!(decode(r#"{"type":"connection_init"}"#), Ok(ClientMessage::Init(None))));
        assert!(matches!(decode(r#"{"type":"connection_init","payload":null}"#), Ok(ClientMessage::Init(None))));
        assert!(matches!(decode(r#"{"type":"ping","payload":{"a":1}}"#), Ok(ClientMessage::Ping(Some(_)))));
        assert!(matches!(decode(r#"{"type":"complete","id":"1"}"#), Ok(ClientMessage::Complete(id)) if id == "1"));
        let subscribe = r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":null,"operationName":null,"extensions":{}}}"#;
        assert!(matches!(decode(subscribe), Ok(ClientMessage::Subscribe(id, _)) if id == "1"));
        let persisted = r#"{"type":"subscribe","id":"1","payload":{"extensions":{"persistedQuery":{}}}}"#;
        assert!(matches!(decode(persisted), Ok(ClientMessage::Subscribe(id, _)) if id == "1"));
    }

    #[test]
    fn an_id_may_be_as_long_as_any_client_makes_it() {
        let complete = |length: usize| decode(&format!(r#"{{"type":"complete","id":"{}"}}"#, "x".repeat(length)));
        assert!(complete(MAX_ID).is_ok() && complete(MAX_ID + 1).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        let texts = [
            "",
            "null",
            "[]",
            r#"{"type":"start","id":"1","payload":{"query":"{a}"}}"#,
            r#"{"type":"connection_terminate"}"#,
            r#"{"type":"connection_init","payload":"x"}"#,
            r#"{"type":"ping","payload":[]}"#,
            r#"{"type":"complete"}"#,
            r#"{"type":"complete","id":""}"#,
            r#"{"type":"subscribe","id":"","payload":{"query":"{a}"}}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","id":"1","payload":{}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"extensions":{}}}"#,
            r#"{"type":"subscribe","id":"1","payload":["{a}",null,null,null]}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}"#,
            r#"{"type":"ping","type":"ping"}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","query":"{b}"}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":{"a":1,"a":2}}}"#,
            &format!(r#"{{"type":"complete","id":"{}"}}"#, "x".repeat(MAX_ID + 1)),
        ];
        for text in texts {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_escaped_in_messages_of_the_server() {
        let message: Value = serde_json::from_str(&(next("\"1\"\n") + r#"{"data":null}}"#)).unwrap();
        assert_eq!(message["id"], "\"1\"\n");
        assert_eq!(message["payload"]["data"], Value::Null);
    }
}
