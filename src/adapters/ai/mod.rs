//! The port to what writes sections: a stream of text pieces that ends with usage. A provider speaks its wire format and
//! nothing else; what is the same for all of them stands around it: time-outs ([`timed`]), concurrency and the circuit
//! breaker ([`guarded`]). Pace, retries, prices and storage belong to the services, because they need other ports or the
//! database.

pub mod bedrock;
pub mod guarded;
pub mod offline;
pub mod openai;
pub mod timed;

use crate::domain::jobs::{JobFailure, JobFailureCode};
use crate::domain::money::Spend;
use crate::domain::projects::{Costs, Facts};
use crate::domain::prompts::Prompt;
use crate::domain::templates::TemplateSection;
use async_trait::async_trait;
use futures::{Stream, StreamExt};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// A section being written: any number of [`DraftPiece::Delta`] (an empty one is a sign of life of a model that thinks),
/// then one [`DraftPiece::Finished`]; or a failure, after which nothing follows. Dropping it cancels the call.
pub type DraftStream = Pin<Box<dyn Stream<Item = Result<DraftPiece, DraftFailure>> + Send>>;

/// Who writes, and on which terms. What stands around a provider passes on the provider's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Key of the provider, such as `offline`; stored with every attempt.
    pub provider: &'static str,
    /// Models that it offers; the first is the one to use if nobody chose.
    pub models: Vec<ModelInfo>,
    /// What a revision written by it says of its origin, beside provider and model; none if these say enough.
    pub provenance: Option<&'static str>,
    /// Personal data must be replaced in prompts for it, because they leave the process.
    pub masks_personal_data: bool,
}

/// What writes sections.
#[async_trait]
pub trait Drafter: Send + Sync {
    /// Who writes, and on which terms.
    fn profile(&self) -> Profile;

    /// Starts to write one section. Dropping the future or the stream cancels the call.
    ///
    /// # Errors
    /// If the provider cannot be reached, refuses or is too busy; failures on the way come through the stream.
    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure>;
}

/// A model of a provider with a network between, as the settings describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What everybody may know of it.
    pub info: ModelInfo,
    /// Temperature; the provider's own if absent.
    pub temperature: Option<f32>,
}

/// The model of a request.
///
/// # Errors
/// [`JobFailureCode::Internal`] if it is not among them (any more).
fn find_model<'m>(models: &'m [Model], name: &str) -> Result<&'m Model, DraftFailure> {
    let found = models.iter().find(|model| model.info.model == name);
    found.ok_or_else(|| DraftFailure::new(JobFailureCode::Internal, "The model is not configured any more."))
}

/// Tokens that a section is expected to take, at the length that its limits allow.
#[must_use]
pub fn expected_tokens(section: &TemplateSection) -> i32 {
    let words = section.limits.max_words.max(1);
    // four tokens for three words, and never more than the characters can hold
    words.saturating_mul(4).div_euclid(3).min(section.limits.max_chars.max(4).div_euclid(3)).max(1)
}

/// Tokens of a text, where nobody counted them: four for every three words (usual for English), and at least one for
/// four characters (tables, code).
#[must_use]
pub fn estimated_tokens(text: &str) -> i32 {
    let words = text.split_whitespace().count().saturating_mul(4).div_ceil(3);
    i32::try_from(words.max(text.chars().count().div_ceil(4))).unwrap_or(i32::MAX)
}

/// A model that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Name, as the provider calls it.
    pub model: String,
    /// Price of a million input tokens.
    pub input_price_per_million: Spend,
    /// Price of a million output tokens.
    pub output_price_per_million: Spend,
    /// Most tokens in a request and its answer.
    pub context_tokens: i32,
    /// Most tokens of an answer; from the section's limits if absent. Models that think need more than they write.
    pub max_output_tokens: Option<i32>,
    /// True if answers are streamed.
    pub streams: bool,
}

impl ModelInfo {
    /// Most tokens that an answer may have: enough for the section's limits, and never more than the model has.
    #[must_use]
    pub fn output_limit(&self, section: &TemplateSection) -> i32 {
        let most = self.max_output_tokens.unwrap_or_else(|| expected_tokens(section).saturating_mul(2).saturating_add(256));
        most.clamp(1, self.context_tokens.max(1))
    }

    /// What a call costs, in millionths of a dollar, rounded half up once for the sum of both directions.
    #[must_use]
    pub fn spend(&self, usage: &Usage) -> Spend {
        Spend(i64::try_from((self.price(usage.input_tokens.into(), usage.output_tokens.into()) + 500_000) / 1_000_000).unwrap_or(i64::MAX))
    }

    /// What so many tokens cost at most, in millionths of a dollar, rounded up.
    #[must_use]
    pub fn most_spend(&self, input_tokens: i64, output_tokens: i64) -> Spend {
        Spend(i64::try_from((self.price(input_tokens, output_tokens) + 999_999) / 1_000_000).unwrap_or(i64::MAX))
    }

    /// Millionths of a millionth of a dollar.
    fn price(&self, input_tokens: i64, output_tokens: i64) -> i128 {
        let part = |tokens: i64, price: Spend| i128::from(tokens) * i128::from(price.0);
        part(input_tokens, self.input_price_per_million) + part(output_tokens, self.output_price_per_million)
    }
}

/// What a section is written from. Providers with a model send the prompt; the offline one composes from the facts.
#[derive(Clone, PartialEq, Eq)]
pub struct DraftRequest {
    /// Model to use.
    pub model: String,
    /// The prompt.
    pub prompt: Prompt,
    /// The section: key, guidance, limits, facts that it may use.
    pub section: TemplateSection,
    /// Facts about the project.
    pub facts: Facts,
    /// Expenditure.
    pub costs: Costs,
    /// Name of the project.
    pub project_name: String,
    /// Wish of the person who asked, if any; already part of the prompt.
    pub wish: Option<String>,
}

/// Facts and prompts belong to a client: they must not reach a log by way of `{:?}`.
impl fmt::Debug for DraftRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DraftRequest")
            .field("model", &self.model)
            .field("prompt", &self.prompt)
            .field("section", &self.section.key)
            .finish_non_exhaustive()
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftPiece {
    /// Text that follows what came before.
    Delta(String),
    /// The end, with what it took.
    Finished(Usage),
}

/// Tokens that a call took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Tokens sent.
    pub input_tokens: i32,
    /// Tokens received.
    pub output_tokens: i32,
    /// Model, as the provider reported it.
    pub model: String,
    /// True if the provider did not count and we did.
    pub estimated: bool,
    /// What the provider said of its limits, if it did.
    pub headroom: Option<Headroom>,
}

/// What a provider says is left of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headroom {
    /// Requests.
    pub requests: Option<u32>,
    /// Tokens.
    pub tokens: Option<u32>,
    /// When what is used up comes back.
    pub resets_after: Option<Duration>,
}

impl Headroom {
    /// How long nothing more will be answered; none if something is left or the provider did not say.
    #[must_use]
    pub fn exhausted_for(&self) -> Option<Duration> {
        self.resets_after.filter(|_| self.requests == Some(0) || self.tokens == Some(0))
    }
}

/// Why a section was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct DraftFailure {
    /// Stable code.
    pub code: JobFailureCode,
    /// A sentence for people, without secrets.
    pub message: String,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// True if trying again without a change can help.
    pub retryable: bool,
    /// True if it tells of the provider and not of this request: the circuit breaker counts it.
    pub outage: bool,
    /// True if nothing was sent, so that it is no try: the circuit is open, or there is no pace left.
    pub held: bool,
    /// Tokens that it took nevertheless: a refusal is paid for like an answer.
    pub usage: Option<Box<Usage>>,
}

impl DraftFailure {
    /// A failure that is retryable if its code usually is.
    pub fn new(code: JobFailureCode, message: impl Into<String>) -> Self {
        let outage = matches!(code, JobFailureCode::ProviderUnavailable | JobFailureCode::TimedOut);
        Self { code, message: message.into(), retry_after: None, retryable: code.is_retryable(), outage, held: false, usage: None }
    }

    /// A call that was not made: come back after so long.
    pub fn held(code: JobFailureCode, message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), outage: false, held: true, ..Self::new(code, message) }
    }

    /// The answer broke off: whoever sent it has trouble, whatever was asked.
    fn broken_off() -> Self {
        let failure = Self::new(JobFailureCode::ProviderBadAnswer, "The provider's answer broke off before its end.");
        Self { outage: true, ..failure }
    }

    /// The same failure, which trying again does not mend.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { retryable: false, outage: false, ..self }
    }

    /// The same failure, with what the provider asks to wait.
    #[must_use]
    pub fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// The same failure, with what it took.
    #[must_use]
    pub fn having_taken(self, usage: Usage) -> Self {
        Self { usage: Some(Box::new(usage)), ..self }
    }
}

/// What ended an answer, in the words of no provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The model was done.
    Complete,
    /// The most tokens were reached.
    TooLong,
    /// A filter of the provider stepped in.
    Filtered,
    /// The model declined.
    Refused,
    /// It answered in another form than text.
    NoText,
}

impl Ending {
    /// The last piece of an answer that ended like this.
    fn conclude(self, has_text: bool, usage: Usage) -> Result<DraftPiece, DraftFailure> {
        use JobFailureCode::{ProviderBadAnswer, ProviderRefused};
        let failure = match self {
            Self::Complete if has_text => return Ok(DraftPiece::Finished(usage)),
            Self::Complete => DraftFailure::new(ProviderBadAnswer, "The provider's answer was empty."),
            Self::TooLong => DraftFailure::new(ProviderBadAnswer, "The provider's answer was longer than the section allows."),
            Self::Filtered => DraftFailure::new(ProviderRefused, "The provider's content filter stopped the answer."),
            Self::Refused => DraftFailure::new(ProviderRefused, "The model refused to write this section."),
            Self::NoText => DraftFailure::new(ProviderBadAnswer, "The provider's answer was not text."),
        };
        Err(failure.having_taken(usage))
    }
}

impl From<DraftFailure> for JobFailure {
    fn from(failure: DraftFailure) -> Self {
        Self { code: failure.code, message: failure.message, retryable: failure.retryable }
    }
}

/// Reads a stream to its end: the whole text and the usage.
///
/// # Errors
/// The failure that the stream ended with; [`JobFailureCode::ProviderBadAnswer`] if it ended without saying so.
pub async fn collect(mut stream: DraftStream) -> Result<(String, Usage), DraftFailure> {
    let mut text = String::new();
    while let Some(piece) = stream.next().await {
        match piece? {
            DraftPiece::Delta(delta) => text.push_str(&delta),
            DraftPiece::Finished(usage) => return Ok((text, usage)),
        }
    }
    Err(DraftFailure::broken_off())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    #[test]
    fn spend_is_rounded_once_and_half_up() {
        let model = ModelInfo {
            model: "m".into(),
            input_price_per_million: Spend(2_500_000),
            output_price_per_million: Spend(10_000_000),
            context_tokens: 1,
            max_output_tokens: None,
            streams: true,
        };
        let usage =
            |input_tokens, output_tokens| Usage { input_tokens, output_tokens, model: "m".into(), estimated: false, headroom: None };
        assert_eq!(model.spend(&usage(1_000, 200)), Spend(4_500));
        assert_eq!(model.spend(&usage(1, 0)), Spend(3));
        assert_eq!(model.spend(&usage(0, 0)), Spend(0));
        assert_eq!((model.most_spend(1, 0), model.most_spend(0, 0), model.most_spend(1_000, 200)), (Spend(3), Spend(0), Spend(4_500)));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_failure_that_may_be_tried_again() {
        let broken: DraftStream = Box::pin(stream::iter([Ok(DraftPiece::Delta("Half a".into()))]));
        let failure = collect(broken).await.unwrap_err();
        assert_eq!(failure.code, JobFailureCode::ProviderBadAnswer);
        assert!(failure.retryable);
    }
}
