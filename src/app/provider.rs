//! From the settings to the provider that writes narratives, with all that stands around it. It must not decide anything
//! that the settings do not say.

use super::sharing;
use crate::adapters::ai::bedrock::{self, Bedrock};
use crate::adapters::ai::guarded::{Guarded, Threshold};
use crate::adapters::ai::offline::Offline;
use crate::adapters::ai::openai::{self, OpenAi};
use crate::adapters::ai::timed::{Patience, Timed};
use crate::adapters::ai::{Drafter, Model, ModelInfo};
use crate::adapters::pace::Quota;
use crate::adapters::redis::Redis;
use crate::config::{AiSettings, Config, Provider};
use crate::domain::money::Spend;
use crate::error::Result;
use crate::services::pacing::Paced;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The configured provider before the offline one, which is always there: runs that began with it can end with it.
pub(super) fn open_drafters(config: &Config, redis: Option<&Redis>) -> Result<Vec<Arc<dyn Drafter>>> {
    let mut drafters: Vec<Arc<dyn Drafter>> = open_provider(&config.ai, redis)?.into_iter().collect();
    drafters.push(Arc::new(Offline::new(config.offline_delay)));
    Ok(drafters)
}

/// The configured provider with all that stands around it; none if it is the offline one. From the outside in: the circuit
/// breaker and the limit of concurrency, the pace, the time-outs, the provider. So nobody waits for a place in the minute
/// at a provider that is down, and a wait for a place does not count as silence.
fn open_provider(ai: &AiSettings, redis: Option<&Redis>) -> Result<Option<Arc<dyn Drafter>>> {
    for model in ai.models.iter().filter(|model| !model.is_priced) {
        tracing::warn!(model = model.model, "nobody said what this model costs: it is counted as free (AI_MODELS_FILE)");
    }
    let models = ai.models.iter().map(|model| Model {
        info: ModelInfo {
            model: model.model.clone(),
            input_price_per_million: Spend(model.input_price),
            output_price_per_million: Spend(model.output_price),
            context_tokens: model.context_tokens,
            max_output_tokens: model.max_output_tokens,
            streams: true,
        },
        temperature: model.temperature,
    });
    let (models, mask_personal_data) = (models.collect(), ai.mask_personal_data);
    let provider: Arc<dyn Drafter> = match &ai.provider {
        Provider::Offline => return Ok(None),
        Provider::OpenAi { base_url, api_key } => {
            Arc::new(OpenAi::new(openai::Settings { base_url: base_url.clone(), api_key: api_key.clone(), models, mask_personal_data })?)
        }
        Provider::Bedrock { endpoint, guardrail } => Arc::new(Bedrock::new(bedrock::Settings {
            endpoint: endpoint.clone(),
            region: None,
            guardrail: guardrail.clone(),
            models,
            mask_personal_data,
        })),
    };
    let timed = Arc::new(Timed::new(provider, Patience { first: ai.timeout, idle: ai.idle_timeout }));
    let quota = Quota {
        requests: NonZeroU32::new(ai.requests_per_minute),
        tokens: NonZeroU32::new(ai.tokens_per_minute),
        concurrency: u32::try_from(ai.concurrency).ok().and_then(NonZeroU32::new),
    };
    let paced = Arc::new(Paced::new(timed, sharing::pace(redis, quota)));
    Ok(Some(Arc::new(Guarded::new(paced, ai.concurrency, Threshold::default()))))
}
