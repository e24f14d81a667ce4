//! Messages of graphql-transport-ws (PROTOCOL.md of graphql-ws): reads those of clients, writes those of the server.
//! It must not know sockets or schemas.

use super::document::Operation;
use serde_json::{Map, Value, json};

/// A message that a client may send.
#[derive(Debug)]
pub enum ClientMessage {
    /// Opens the session; carries the token.
    Init(Option<Value>),
    /// Wants a pong with the same payload.
    Ping(Option<Value>),
    /// Answers a ping.
    Pong,
    /// Starts an operation under an id that the client chose.
    Subscribe(String, Operation),
    /// Ends an operation.
    Complete(String),
}

/// Reads a message. `None`: a client may not send this, so the socket is closed with 4400.
pub fn decode(text: &str) -> Option<ClientMessage> {
    let mut message: Map<String, Value> = serde_json::from_str(text).ok()?;
    let id = message.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
    let payload = message.remove("payload").filter(|payload| !payload.is_null());
    let is_object = payload.as_ref().is_none_or(Value::is_object);
    match message.get("type")?.as_str()? {
        "connection_init" if is_object => Some(ClientMessage::Init(payload)),
        "ping" if is_object => Some(ClientMessage::Ping(payload)),
        "pong" if is_object => Some(ClientMessage::Pong),
        "complete" => Some(ClientMessage::Complete(id?)),
        "subscribe" if is_object => {
            let operation: Operation = serde_json::from_value(payload?).ok()?;
            operation.query.is_some().then_some(())?;
            Some(ClientMessage::Subscribe(id?, operation))
        }
        _ => None,
    }
}

/// `connection_ack`.
pub fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// `pong` with the payload of the ping.
pub fn pong(payload: Option<Value>) -> String {
    match payload {
        Some(payload) => json!({ "type": "pong", "payload": payload }).to_string(),
        None => json!({ "type": "pong" }).to_string(),
    }
}

/// `next` with a result that is already JSON.
pub fn next(id: &str, result: &str) -> String {
    format!(r#"{{"id":{},"type":"next","payload":{result}}}"#, json!(id))
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
        assert!(matches!(decode(r#"{"type":"connection_init"}"#), Some(ClientMessage::Init(None))));
        assert!(matches!(decode(r#"{"type":"connection_init","payload":null}"#), Some(ClientMessage::Init(None))));
        assert!(matches!(decode(r#"{"type":"ping","payload":{"a":1}}"#), Some(ClientMessage::Ping(Some(_)))));
        assert!(matches!(decode(r#"{"type":"complete","id":"1"}"#), Some(ClientMessage::Complete(id)) if id == "1"));
        let subscribe = r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":null,"operationName":null}}"#;
        assert!(matches!(decode(subscribe), Some(ClientMessage::Subscribe(id, _)) if id == "1"));
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
            r#"{"type":"subscribe","id":"1","payload":["{a}",null,null,null]}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}"#,
        ];
        for text in texts {
            assert!(decode(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ids_are_escaped_in_messages_of_the_server() {
        let message: Value = serde_json::from_str(&next("\"1\"\n", r#"{"data":null}"#)).unwrap();
        assert_eq!(message["id"], "\"1\"\n");
        assert_eq!(message["payload"]["data"], Value::Null);
    }
}
