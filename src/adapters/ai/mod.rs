//! The port to what writes sections: a stream of text pieces that ends with usage. It must not retry, limit, price or
//! store anything; that is done around it, the same for every provider.

pub mod offline;

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

/// A section being written: any number of [`DraftPiece::Delta`], then one [`DraftPiece::Finished`]; or a failure, after
/// which nothing follows. Dropping it cancels the call.
pub type DraftStream = Pin<Box<dyn Stream<Item = Result<DraftPiece, DraftFailure>> + Send>>;

/// What writes sections.
#[async_trait]
pub trait Drafter: Send + Sync {
    /// Key of the provider, such as `offline`; stored with every attempt.
    fn provider(&self) -> &'static str;

    /// Models that it offers; the first is the one to use if nobody chose.
    fn models(&self) -> Vec<ModelInfo>;

    /// What a revision written by it says of its origin, beside provider and model; none if these say enough.
    fn provenance(&self) -> Option<&'static str> {
        None
    }

    /// Starts to write one section. Dropping the future or the stream cancels the call.
    ///
    /// # Errors
    /// If the provider cannot be reached, refuses or is too busy; failures on the way come through the stream.
    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure>;
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
    /// True if answers are streamed.
    pub streams: bool,
}

impl ModelInfo {
    /// What a call costs, in millionths of a dollar, rounded half up once for the sum of both directions.
    #[must_use]
    pub fn spend(&self, usage: &Usage) -> Spend {
        let part = |tokens: i32, price: Spend| i128::from(tokens) * i128::from(price.0);
        let whole = part(usage.input_tokens, self.input_price_per_million) + part(usage.output_tokens, self.output_price_per_million);
        Spend(i64::try_from((whole + 500_000) / 1_000_000).unwrap_or(i64::MAX))
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
}

impl DraftFailure {
    /// A failure that is retryable if its code usually is.
    pub fn new(code: JobFailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None, retryable: code.is_retryable() }
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
    Err(DraftFailure::new(JobFailureCode::ProviderBadAnswer, "The provider's answer broke off before its end."))
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
            streams: true,
        };
        let usage = |input_tokens, output_tokens| Usage { input_tokens, output_tokens, model: "m".into() };
        assert_eq!(model.spend(&usage(1_000, 200)), Spend(4_500));
        assert_eq!(model.spend(&usage(1, 0)), Spend(3));
        assert_eq!(model.spend(&usage(0, 0)), Spend(0));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_failure_that_may_be_tried_again() {
        let broken: DraftStream = Box::pin(stream::iter([Ok(DraftPiece::Delta("Half a".into()))]));
        let failure = collect(broken).await.unwrap_err();
        assert_eq!(failure.code, JobFailureCode::ProviderBadAnswer);
        assert!(failure.retryable);
    }
}
