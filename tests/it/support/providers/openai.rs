//! What an OpenAI-compatible endpoint sends: server-sent events of chat completion chunks.

use super::{Reply, Step, begin, chunk, end, respond};
use serde_json::{Value, json};

/// A text that fits every section.
pub const TEXT: &str = "The published work in the field held the melt temperature within six degrees for uniform feed. It was not known \
    whether the same could be done for recycled feed, because theory assumes a constant composition. The team measured torque and viscosity \
    for many blends, and the results show where the model fails. Nothing further is stated in the facts.";

/// Tokens that the stub counts: sent and received.
pub const USAGE: (i32, i32) = (812, 77);

/// An event.
pub fn event(data: &Value) -> Step {
    chunk(format!("data: {data}\n\n").as_bytes())
}

/// A chunk with one choice.
fn choice(delta: Value, finish_reason: Value) -> Value {
    json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_764_000_000, "model": "stub-1-2026-01-01",
        "system_fingerprint": null, "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }], "usage": null })
}

/// The beginning of a stream: headers and the chunk with the role.
pub fn opening() -> Vec<Step> {
    let headers = [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-remaining-tokens", "149000"),
        ("x-ratelimit-reset-requests", "1s"),
    ];
    vec![begin(&headers), event(&choice(json!({ "role": "assistant", "content": "", "refusal": null }), Value::Null))]
}

/// A piece of text.
pub fn text(text: &str) -> Step {
    event(&choice(json!({ "content": text }), Value::Null))
}

/// A piece of a refusal.
pub fn refusal(text: &str) -> Step {
    event(&choice(json!({ "refusal": text }), Value::Null))
}

/// The end of the model's turn.
pub fn finish(reason: &str) -> Step {
    event(&choice(json!({}), json!(reason)))
}

/// The count, the mark of the end, and the end.
pub fn closing() -> Vec<Step> {
    let (sent, received) = USAGE;
    let usage = json!({ "prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received });
    let count =
        json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "stub-1-2026-01-01", "choices": [], "usage": usage });
    vec![event(&count), chunk(b"data: [DONE]\n\n"), end()]
}

/// A whole answer, word by word.
pub fn story(told: &str) -> Reply {
    let words = told.split_inclusive(' ').map(text);
    [opening(), words.collect(), vec![finish("stop")], closing()].concat()
}

/// An answer that ends like this.
pub fn ended(told: &str, reason: &str) -> Reply {
    [opening(), vec![text(told), finish(reason)], closing()].concat()
}

/// A refused request.
pub fn error(status: u16, code: &str, headers: &[(&str, &str)]) -> Reply {
    let body = json!({ "error": { "message": "The prompt said: Cones crazed at 15 degrees.", "type": code, "param": null, "code": code } });
    respond(status, &[&[("content-type", "application/json")], headers].concat(), body.to_string().as_bytes())
}
