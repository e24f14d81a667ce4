//! What AWS Bedrock sends: frames of the event stream encoding with the events of Converse.

use super::{Reply, Step, begin, chunk, end, respond};
use aws_sdk_bedrockruntime::primitives::event_stream::{Header, HeaderValue, Message};
use aws_smithy_eventstream::frame::write_message_to;
use serde_json::{Value, json};

/// Tokens that the stub counts: sent and received.
pub const USAGE: (i32, i32) = (640, 51);

/// The bytes of a frame.
pub fn frame(kind: &str, name: &str, body: &Value) -> Vec<u8> {
    let header = |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let type_of = if kind == "exception" { ":exception-type" } else { ":event-type" };
    let message = Message::new(body.to_string())
        .add_header(header(type_of, name))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", kind));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).expect("a frame");
    bytes
}

fn event(name: &str, body: &Value) -> Step {
    chunk(&frame("event", name, body))
}

/// The beginning of a stream.
pub fn opening() -> Vec<Step> {
    vec![begin(&[("content-type", "application/vnd.amazon.eventstream")]), event("messageStart", &json!({ "role": "assistant" }))]
}

/// A piece of text.
pub fn text(text: &str) -> Step {
    event("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": text } }))
}

/// The end of the model's turn.
pub fn stop(reason: &str) -> Vec<Step> {
    vec![event("contentBlockStop", &json!({ "contentBlockIndex": 0 })), event("messageStop", &json!({ "stopReason": reason }))]
}

/// The count and the end.
pub fn closing() -> Vec<Step> {
    let (sent, received) = USAGE;
    let usage = json!({ "inputTokens": sent, "outputTokens": received, "totalTokens": sent + received });
    vec![event("metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 1_200 } })), end()]
}

/// A whole answer, word by word.
pub fn story(told: &str) -> Reply {
    [opening(), told.split_inclusive(' ').map(text).collect(), stop("end_turn"), closing()].concat()
}

/// An answer that ends like this.
pub fn ended(told: &str, reason: &str) -> Reply {
    [opening(), vec![text(told)], stop(reason), closing()].concat()
}

/// An exception in the middle of a stream.
pub fn exception(name: &str) -> Step {
    chunk(&frame("exception", name, &json!({ "message": "The prompt said: Cones crazed at 15 degrees." })))
}

/// A refused request.
pub fn error(status: u16, exception: &str, headers: &[(&str, &str)]) -> Reply {
    let own = [("content-type", "application/json"), ("x-amzn-errortype", exception)];
    respond(status, &[&own, headers].concat(), br#"{"message":"The prompt said: Cones crazed at 15 degrees."}"#)
}
