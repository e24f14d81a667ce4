//! What a call of a provider is measured by: metrics, and a span with the names of OpenTelemetry's conventions for
//! generative AI. It must not see a prompt or a text.

use crate::adapters::ai::{DraftFailure, Usage};
use metrics::{counter, histogram};
use std::time::Instant;
use tracing::Span;

/// A call that has begun. Dropped before its end, it was aborted.
pub(super) struct Measure {
    provider: String,
    model: String,
    begun: Instant,
    outcome: &'static str,
    /// What goes on within the call belongs to this.
    pub span: Span,
}

impl Measure {
    /// Begins to measure; provider and model as they were chosen for the run, from what is configured.
    pub fn begin(provider: &str, model: &str) -> Self {
        let span = tracing::info_span!(
            "provider_call",
            otel.name = format!("chat {model}"),
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = provider,
            gen_ai.request.model = model,
            gen_ai.response.model = tracing::field::Empty,
            gen_ai.usage.input_tokens = tracing::field::Empty,
            gen_ai.usage.output_tokens = tracing::field::Empty,
            error.type = tracing::field::Empty,
        );
        Self { provider: provider.to_owned(), model: model.to_owned(), begun: Instant::now(), outcome: "aborted", span }
    }

    /// The call has ended like this.
    pub fn end(mut self, answer: &Result<(String, Usage), DraftFailure>) {
        match answer {
            Ok((_, usage)) => {
                self.outcome = "ok";
                self.span.record("gen_ai.response.model", &usage.model);
                self.span.record("gen_ai.usage.input_tokens", usage.input_tokens);
                self.span.record("gen_ai.usage.output_tokens", usage.output_tokens);
                for (direction, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
                    let labels = [("provider", self.provider.clone()), ("model", self.model.clone()), ("direction", direction.to_owned())];
                    counter!("claimwright_provider_tokens_total", &labels).increment(u64::try_from(tokens).unwrap_or(0));
                }
            }
            Err(failure) if failure.held => self.outcome = "held",
            Err(failure) => {
                self.outcome = failure.code.as_str();
                self.span.record("error.type", failure.code.as_str());
            }
        }
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        let labels = [("provider", self.provider.clone()), ("model", self.model.clone())];
        histogram!("claimwright_provider_call_duration_seconds", &labels).record(self.begun.elapsed());
        let [provider, model] = labels;
        let labels = [provider, model, ("outcome", self.outcome.to_owned())];
        counter!("claimwright_provider_calls_total", &labels).increment(1);
    }
}
