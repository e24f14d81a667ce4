//! The little of the wire format of chat completions that is used, lenient in what is read: servers leave members out,
//! send null for them, and add their own. It must not decide anything.

use serde::{Deserialize, Deserializer, Serialize};

/// A request.
#[derive(Serialize)]
pub(super) struct Request<'r> {
    pub model: &'r str,
    pub messages: [Message<'r>; 2],
    pub stream: bool,
    pub stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
}

#[derive(Serialize)]
pub(super) struct Message<'r> {
    pub role: &'static str,
    pub content: &'r str,
}

#[derive(Serialize)]
pub(super) struct StreamOptions {
    pub include_usage: bool,
}

/// An event of a stream; an answer in one piece has `message` for `delta`.
#[derive(Deserialize)]
pub(super) struct Chunk {
    pub model: Option<String>,
    pub choices: Option<Vec<Choice>>,
    pub usage: Option<Usage>,
    pub error: Option<Fault>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(alias = "message")]
    pub delta: Option<Delta>,
    pub finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
pub(super) struct Delta {
    pub content: Option<String>,
    pub refusal: Option<String>,
    /// What a model thinks, as some servers call it.
    pub reasoning: Option<String>,
    /// What a model thinks, as others call it.
    pub reasoning_content: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    pub prompt_tokens: Option<i32>,
    pub completion_tokens: Option<i32>,
}

impl Usage {
    /// Tokens sent and received, if both were counted.
    pub fn tokens(&self) -> Option<(i32, i32)> {
        let (sent, received) = (self.prompt_tokens?, self.completion_tokens?);
        (sent > 0 && received >= 0).then_some((sent, received))
    }
}

/// The body of a refused request.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub error: Option<Fault>,
}

/// What went wrong, as the server says: an object in most cases, a bare sentence from some. Sentences are not kept: they
/// may quote the prompt.
#[derive(Default)]
pub(super) struct Fault {
    /// `code`, be it a word or a number, then `type`, then Azure's inner code.
    pub words: Vec<String>,
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        let inner = value.get("innererror");
        let found = [value.get("code"), value.get("type"), value.get("status"), inner.and_then(|inner| inner.get("code"))];
        let word = |value: &serde_json::Value| match value {
            serde_json::Value::String(word) => Some(word.to_ascii_lowercase()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let words = found.into_iter().flatten().filter_map(word);
        // they end up in messages: only what looks like a code
        let is_code = |word: &String| word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        Ok(Self { words: words.filter(is_code).collect() })
    }
}
