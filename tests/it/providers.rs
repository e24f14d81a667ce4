//! Providers as they are: each fault of the wire becomes its code, is retried or not, and says how long to wait; and a
//! whole batch is drafted through the product.

mod bedrock;
mod openai;
mod whole;

use claimwright::adapters::ai::{DraftFailure, DraftRequest, Drafter, Model, ModelInfo, Usage, collect};
use claimwright::domain::jobs::JobFailureCode;
use claimwright::domain::money::Spend;
use claimwright::domain::projects::{Costs, Facts};
use claimwright::domain::prompts::assemble;
use claimwright::domain::templates::{Limits, TemplateSection};
use std::time::Duration;

/// How long the provider may be silent in tests of silence.
const SHORT: Duration = Duration::from_millis(300);

/// A model with prices.
fn model(name: &str) -> Model {
    let info = ModelInfo {
        model: name.into(),
        input_price_per_million: Spend(2_000_000),
        output_price_per_million: Spend(8_000_000),
        context_tokens: 128_000,
        max_output_tokens: None,
        streams: true,
    };
    Model { info, temperature: None }
}

/// A section to be written.
fn request(model: &str) -> DraftRequest {
    let section = TemplateSection {
        key: "baseline".into(),
        title: "Baseline".into(),
        guidance: "Name what was published.".into(),
        aif_question: None,
        source_facts: vec![],
        required: true,
        limits: Limits { min_words: 5, max_words: 200, max_chars: 2_000 },
    };
    let facts = Facts { baseline: Some("Cones crazed at 15 degrees.".into()), ..Facts::default() };
    let costs = Costs::default();
    let prompt = assemble(&section, None, "Glaze", &facts, &costs, None);
    DraftRequest { model: model.into(), prompt, section, facts, costs, project_name: "Glaze".into(), wish: None }
}

/// Calls a provider; gives the text and the usage.
async fn draft(drafter: &dyn Drafter, model: &str) -> Result<(String, Usage), DraftFailure> {
    collect(drafter.draft(request(model)).await?).await
}

/// What a fault must become.
#[derive(Debug, PartialEq)]
struct Verdict {
    code: JobFailureCode,
    retryable: bool,
    retry_after: Option<Duration>,
    outage: bool,
}

const fn verdict(code: JobFailureCode, retryable: bool, outage: bool) -> Verdict {
    Verdict { code, retryable, retry_after: None, outage }
}

/// A failure as a verdict; its sentence must be ours.
fn judged(failure: &DraftFailure) -> Verdict {
    assert!(failure.message.len() > 10 && failure.message.ends_with('.'), "{}", failure.message);
    assert!(!failure.message.contains("Cones") && !failure.held, "{failure:?}");
    Verdict { code: failure.code, retryable: failure.retryable, retry_after: failure.retry_after, outage: failure.outage }
}
