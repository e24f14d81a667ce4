//! The client of endpoints that speak OpenAI's chat completions: OpenAI, Azure, vLLM, Ollama, llama.cpp and others. It
//! owns the request and the reading of the stream; faults and wire types stand beside it. It must not wait, retry or
//! limit (that is done around it), and nothing of a prompt, an answer or the key may reach a log or a message.

mod faults;
mod wire;

use super::{
    DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, Ending, Headroom, Model, Profile, Usage, estimated_tokens, find_model,
};
use crate::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use eventsource_stream::{EventStream, EventStreamError, Eventsource};
use futures::{Stream, StreamExt, stream};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Key of the provider.
pub const PROVIDER: &str = "openai";

/// Most bytes of one event, and of an answer that comes in one piece: far more than a section, far less than memory.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Most bytes of the text of an answer beyond what a section may have.
const TEXT_TO_SPARE: usize = 64 << 10;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the usage once the model is done: it comes at once or never.
const USAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the client is given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base URL up to `/chat/completions`, such as `https://api.openai.com/v1`. A query is kept (Azure's `api-version`),
    /// and `{model}` stands for the model (Azure's deployments).
    pub base_url: String,
    /// Key; none for servers of one's own.
    pub api_key: Option<SecretString>,
    /// Models, the default one first.
    pub models: Vec<Model>,
    /// Whether personal data must be replaced in prompts.
    pub mask_personal_data: bool,
}

/// A client of an endpoint.
pub struct OpenAi {
    http: reqwest::Client,
    base_url: String,
    /// Takes `max_completion_tokens`, the name that OpenAI's newer models insist on; others know `max_tokens` alone.
    names_limit_anew: bool,
    models: Vec<Model>,
    masks: bool,
}

impl OpenAi {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// INTERNAL if the key cannot be sent or TLS cannot be set up.
    pub fn new(settings: Settings) -> Result<Self> {
        let host = settings.base_url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase)).unwrap_or_default();
        let is_azure = host.ends_with(".azure.com");
        let mut headers = HeaderMap::new();
        if let Some(key) = &settings.api_key {
            let (name, value) = if is_azure || settings.base_url.contains("api-version=") {
                (HeaderName::from_static("api-key"), key.expose_secret().to_owned())
            } else {
                (AUTHORIZATION, format!("Bearer {}", key.expose_secret()))
            };
            // the cause would show the key
            let mut value =
                HeaderValue::try_from(value).map_err(|_| Error::internal("the key of the provider has characters that cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            // a redirect could carry prompts and the key elsewhere
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("claimwright/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::internal)?;
        let names_limit_anew = is_azure || host == "api.openai.com" || host.ends_with(".api.openai.com");
        Ok(Self { http, base_url: settings.base_url, names_limit_anew, models: settings.models, masks: settings.mask_personal_data })
    }

    /// Where requests for a model go.
    fn url(&self, model: &str) -> String {
        let base = self.base_url.replace("{model}", model);
        let (path, query) = base.split_once('?').map_or((base.as_str(), None), |(path, query)| (path, Some(query)));
        let url = format!("{}/chat/completions", path.trim_end_matches('/'));
        query.map_or_else(|| url.clone(), |query| format!("{url}?{query}"))
    }
}

#[async_trait]
impl Drafter for OpenAi {
    fn profile(&self) -> Profile {
        Profile {
            provider: PROVIDER,
            models: self.models.iter().map(|model| model.info.clone()).collect(),
            provenance: None,
            masks_personal_data: self.masks,
        }
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let model = find_model(&self.models, &request.model)?;
        let limit = model.info.output_limit(&request.section);
        let body = wire::Request {
            model: &request.model,
            messages: [
                wire::Message { role: "system", content: request.prompt.system },
                wire::Message { role: "user", content: &request.prompt.user },
            ],
            stream: true,
            stream_options: wire::StreamOptions { include_usage: true },
            max_tokens: (!self.names_limit_anew).then_some(limit),
            max_completion_tokens: self.names_limit_anew.then_some(limit),
            temperature: model.temperature,
        };
        let sent = self.http.post(self.url(&request.model)).json(&body).send().await;
        let response = sent.map_err(|error| faults::not_reached(&error))?;
        if !response.status().is_success() {
            return Err(faults::refused(response).await);
        }
        let headroom = faults::headroom(response.headers());
        let is_whole = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let most_text = usize::try_from(request.section.limits.max_chars).unwrap_or(0).saturating_mul(4).saturating_add(TEXT_TO_SPARE);
        let answer = Answer {
            text: Text { has_any: false, estimated: 0, bytes: 0, most: most_text },
            ending: None,
            is_refusal: false,
            usage: None,
            model: request.model.clone(),
            sent: estimated_tokens(request.prompt.system).saturating_add(estimated_tokens(&request.prompt.user)),
            headroom,
        };
        if is_whole {
            return Ok(whole(response, answer).await);
        }
        let since_event = Arc::new(AtomicUsize::new(0));
        let events = bounded(response.bytes_stream(), Arc::clone(&since_event)).eventsource();
        let reading = Reading { events, since_event, answer };
        Ok(Box::pin(stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            let piece = reading.next().await;
            let goes_on = matches!(piece, Ok(DraftPiece::Delta(_)));
            Some((piece, goes_on.then_some(reading)))
        })))
    }
}

/// Why the bytes of an answer end before it does.
enum Cut {
    /// The connection.
    Transport,
    /// An event beyond the bound.
    TooLarge,
}

type Bytewise = Pin<Box<dyn Stream<Item = std::result::Result<Bytes, Cut>> + Send>>;

/// The bytes of an answer as long as no event among them is too large: what a line grows to is held in memory.
fn bounded(bytes: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static, since_event: Arc<AtomicUsize>) -> Bytewise {
    Box::pin(bytes.map(move |chunk| {
        let chunk = chunk.map_err(|_| Cut::Transport)?;
        let before = since_event.fetch_add(chunk.len(), Ordering::Relaxed);
        if before.saturating_add(chunk.len()) > MAX_EVENT_BYTES { Err(Cut::TooLarge) } else { Ok(chunk) }
    }))
}

/// An answer that came in one piece, from a server that does not stream.
async fn whole(response: reqwest::Response, mut answer: Answer) -> DraftStream {
    let read = async {
        let body = faults::body(response, MAX_EVENT_BYTES).await.ok_or_else(DraftFailure::broken_off)?;
        let text = answer.take(&body)?;
        Ok((text, answer.conclude()?))
    };
    match read.await {
        Ok((text, last)) => Box::pin(stream::iter([Ok(DraftPiece::Delta(text.unwrap_or_default())), Ok(last)])),
        Err(failure) => Box::pin(stream::iter([Err(failure)])),
    }
}

/// A stream that is being read.
struct Reading {
    events: EventStream<Bytewise>,
    since_event: Arc<AtomicUsize>,
    answer: Answer,
}

impl Reading {
    /// The next piece: text, or the end.
    async fn next(&mut self) -> std::result::Result<DraftPiece, DraftFailure> {
        loop {
            let is_over = self.answer.ending.is_some();
            if is_over && self.answer.usage.is_some() {
                return self.answer.conclude();
            }
            let next = if is_over { timeout(USAGE_TIMEOUT, self.events.next()).await.unwrap_or(None) } else { self.events.next().await };
            self.since_event.store(0, Ordering::Relaxed);
            let event = match next {
                Some(Ok(event)) => event,
                // the model was done: what is missing is only the count
                _ if is_over => return self.answer.conclude(),
                Some(Err(EventStreamError::Transport(Cut::TooLarge))) => {
                    return Err(faults::unreadable("sent more at a time than is read"));
                }
                Some(Err(EventStreamError::Transport(Cut::Transport))) | None => return Err(DraftFailure::broken_off()),
                Some(Err(_)) => return Err(faults::unreadable("is not an event stream")),
            };
            if event.data.trim() == "[DONE]" {
                return self.answer.conclude();
            }
            if let Some(text) = self.answer.take(event.data.as_bytes())? {
                return Ok(DraftPiece::Delta(text));
            }
        }
    }
}

/// What came of an answer so far.
struct Answer {
    text: Text,
    ending: Option<Ending>,
    is_refusal: bool,
    usage: Option<wire::Usage>,
    model: String,
    /// Tokens sent, as estimated.
    sent: i32,
    headroom: Option<Headroom>,
}

/// How much text came so far; the text itself is passed on.
struct Text {
    has_any: bool,
    estimated: i32,
    bytes: usize,
    most: usize,
}

impl Answer {
    /// Takes a chunk: its text, an empty one as a sign of life, or none.
    fn take(&mut self, chunk: &[u8]) -> std::result::Result<Option<String>, DraftFailure> {
        let chunk: wire::Chunk = serde_json::from_slice(chunk).map_err(|_| faults::unreadable("is not what was expected"))?;
        if let Some(error) = chunk.error {
            return Err(faults::reported(&error));
        }
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            self.model = model;
        }
        self.usage = chunk.usage.or(self.usage.take());
        let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let delta = choice.delta.unwrap_or_default();
        self.is_refusal |= delta.refusal.is_some_and(|refusal| !refusal.is_empty());
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            self.ending = Some(match reason.as_str() {
                "length" | "max_tokens" => Ending::TooLong,
                "content_filter" => Ending::Filtered,
                "refusal" => Ending::Refused,
                "tool_calls" | "function_call" => Ending::NoText,
                // `stop`, and what other servers call it
                _ => Ending::Complete,
            });
        }
        let thinks = [delta.reasoning, delta.reasoning_content].into_iter().flatten().any(|thought| !thought.is_empty());
        let text = delta.content.unwrap_or_default();
        if text.is_empty() {
            return Ok(thinks.then(String::new));
        }
        self.text.bytes += text.len();
        if self.text.bytes > self.text.most {
            let usage = self.usage();
            return Err(Ending::TooLong.conclude(true, usage).err().unwrap_or_else(DraftFailure::broken_off));
        }
        self.text.has_any |= !text.trim().is_empty();
        // pieces are shorter than words, so the count is by characters
        self.text.estimated = self.text.bytes.div_ceil(4).try_into().unwrap_or(i32::MAX);
        Ok(Some(text))
    }

    /// The end of the answer, whether it came or not.
    fn conclude(&mut self) -> std::result::Result<DraftPiece, DraftFailure> {
        let Some(ending) = self.ending else { return Err(DraftFailure::broken_off()) };
        let ending = if self.is_refusal { Ending::Refused } else { ending };
        ending.conclude(self.text.has_any, self.usage())
    }

    fn usage(&self) -> Usage {
        let counted = self.usage.as_ref().and_then(wire::Usage::tokens);
        let (input_tokens, output_tokens) = counted.unwrap_or((self.sent, self.text.estimated));
        Usage { input_tokens, output_tokens, model: self.model.clone(), estimated: counted.is_none(), headroom: self.headroom }
    }
}

#[cfg(test)]
mod tests;
