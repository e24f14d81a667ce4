//! AWS Bedrock by Converse streaming, through the SDK with its own retries and time-outs off: two layers of them would
//! multiply, and ours are kept in the database. It must not wait, retry or limit, and nothing of a prompt or an answer may
//! reach a log or a message.

use super::{DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, Ending, Model, Profile, Usage, estimated_tokens, find_model};
use crate::domain::jobs::JobFailureCode;
use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::http::HttpResponse;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_bedrockruntime::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamError;
use aws_sdk_bedrockruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ConversationRole, ConverseStreamOutput, GuardrailStreamConfiguration, InferenceConfiguration, Message,
    StopReason, SystemContentBlock, TokenUsage,
};
use futures::stream;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Key of the provider.
pub const PROVIDER: &str = "bedrock";

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the usage once the model is done: it comes at once or never.
const USAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of the text of an answer beyond what a section may have.
const TEXT_TO_SPARE: usize = 64 << 10;

/// What the client is given, beside credentials, which come from the environment in the usual ways (`AWS_*`, profiles,
/// roles, `AWS_BEARER_TOKEN_BEDROCK`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base URL; AWS's own for the region if absent.
    pub endpoint: Option<String>,
    /// Region; from the environment if absent.
    pub region: Option<String>,
    /// Guardrail and its version, if one stands before the models.
    pub guardrail: Option<(String, String)>,
    /// Models by the ids of models or inference profiles, the default one first.
    pub models: Vec<Model>,
    /// Whether personal data must be replaced in prompts.
    pub mask_personal_data: bool,
}

/// A client of Bedrock.
pub struct Bedrock {
    /// Made for the first call, because credentials are looked for on the network too.
    client: OnceCell<Client>,
    settings: Settings,
}

impl Bedrock {
    /// A client that reads credentials and region from the environment when it is first used.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { client: OnceCell::new(), settings }
    }

    /// A client with the credentials and the region of the caller's choice.
    #[must_use]
    pub fn with(builder: Builder, settings: Settings) -> Self {
        let client = OnceCell::new_with(Some(client(builder, settings.endpoint.as_deref())));
        Self { client, settings }
    }

    async fn client(&self) -> &Client {
        let load = || async {
            let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
            if let Some(region) = &self.settings.region {
                loader = loader.region(Region::new(region.clone()));
            }
            client(Builder::from(&loader.load().await), self.settings.endpoint.as_deref())
        };
        self.client.get_or_init(load).await
    }
}

fn client(builder: Builder, endpoint: Option<&str>) -> Client {
    let config = builder
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let config = match endpoint {
        Some(endpoint) => config.endpoint_url(endpoint),
        None => config,
    };
    Client::from_conf(config.build())
}

#[async_trait]
impl Drafter for Bedrock {
    fn profile(&self) -> Profile {
        Profile {
            provider: PROVIDER,
            models: self.settings.models.iter().map(|model| model.info.clone()).collect(),
            provenance: None,
            masks_personal_data: self.settings.mask_personal_data,
        }
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let model = find_model(&self.settings.models, &request.model)?;
        let limits = InferenceConfiguration::builder()
            .max_tokens(model.info.output_limit(&request.section))
            .set_temperature(model.temperature)
            .build();
        let message = Message::builder().role(ConversationRole::User).content(ContentBlock::Text(request.prompt.user.clone())).build();
        let message = message.map_err(|_| DraftFailure::new(JobFailureCode::Internal, "The request could not be made."))?;
        let guardrail = self
            .settings
            .guardrail
            .as_ref()
            .map(|(id, version)| GuardrailStreamConfiguration::builder().guardrail_identifier(id).guardrail_version(version).build());
        let sent = self
            .client()
            .await
            .converse_stream()
            .model_id(&request.model)
            .system(SystemContentBlock::Text(request.prompt.system.to_owned()))
            .messages(message)
            .inference_config(limits)
            .set_guardrail_config(guardrail)
            .send()
            .await;
        let answered = sent.map_err(|error| not_answered(&error))?;
        let most = usize::try_from(request.section.limits.max_chars).unwrap_or(0).saturating_mul(4).saturating_add(TEXT_TO_SPARE);
        let reading = Reading {
            events: answered.stream,
            ending: None,
            usage: None,
            model: request.model,
            sent: estimated_tokens(request.prompt.system).saturating_add(estimated_tokens(&request.prompt.user)),
            bytes: 0,
            most,
            has_text: false,
        };
        Ok(Box::pin(stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            let piece = reading.next().await;
            let goes_on = matches!(piece, Ok(DraftPiece::Delta(_)));
            Some((piece, goes_on.then_some(reading)))
        })))
    }
}

/// A stream that is being read.
struct Reading {
    events: EventReceiver<ConverseStreamOutput, ConverseStreamOutputError>,
    ending: Option<Ending>,
    usage: Option<TokenUsage>,
    model: String,
    /// Tokens sent, as estimated.
    sent: i32,
    bytes: usize,
    most: usize,
    has_text: bool,
}

impl Reading {
    /// The next piece: text, or the end.
    async fn next(&mut self) -> Result<DraftPiece, DraftFailure> {
        loop {
            let next = match (self.ending, &self.usage) {
                (Some(ending), Some(_)) => return ending.conclude(self.has_text, self.usage()),
                (Some(ending), None) => match timeout(USAGE_TIMEOUT, self.events.recv()).await {
                    Ok(Ok(Some(event))) => event,
                    // the model was done: what is missing is only the count
                    Ok(Ok(None) | Err(_)) | Err(_) => return ending.conclude(self.has_text, self.usage()),
                },
                (None, _) => self.events.recv().await.map_err(|error| broken(&error))?.ok_or_else(DraftFailure::broken_off)?,
            };
            match next {
                ConverseStreamOutput::ContentBlockDelta(event) => {
                    if let Some(piece) = self.take(event.delta)? {
                        return Ok(piece);
                    }
                }
                ConverseStreamOutput::MessageStop(event) => {
                    self.ending = Some(match event.stop_reason {
                        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => Ending::TooLong,
                        StopReason::ContentFiltered | StopReason::GuardrailIntervened => Ending::Filtered,
                        StopReason::ToolUse | StopReason::MalformedToolUse | StopReason::MalformedModelOutput => Ending::NoText,
                        other if other.as_str() == "refusal" => Ending::Refused,
                        _ => Ending::Complete,
                    });
                }
                ConverseStreamOutput::Metadata(event) => self.usage = event.usage.or(self.usage.take()),
                _ => {}
            }
        }
    }

    fn take(&mut self, delta: Option<ContentBlockDelta>) -> Result<Option<DraftPiece>, DraftFailure> {
        match delta {
            Some(ContentBlockDelta::Text(text)) if !text.is_empty() => {
                self.bytes += text.len();
                self.has_text |= !text.trim().is_empty();
                if self.bytes > self.most {
                    return Ending::TooLong.conclude(true, self.usage()).map(Some);
                }
                Ok(Some(DraftPiece::Delta(text)))
            }
            Some(ContentBlockDelta::ReasoningContent(_)) => Ok(Some(DraftPiece::Delta(String::new()))),
            _ => Ok(None),
        }
    }

    fn usage(&self) -> Usage {
        let counted = self.usage.as_ref().map(|usage| {
            // what was read from or written to a cache is not in the count of what was sent
            let cached = usage.cache_read_input_tokens.unwrap_or(0).saturating_add(usage.cache_write_input_tokens.unwrap_or(0));
            (usage.input_tokens.saturating_add(cached), usage.output_tokens)
        });
        let received = i32::try_from(self.bytes.div_ceil(4)).unwrap_or(i32::MAX);
        let (input_tokens, output_tokens) = counted.unwrap_or((self.sent, received));
        Usage { input_tokens, output_tokens, model: self.model.clone(), estimated: counted.is_none(), headroom: None }
    }
}

/// What went wrong before an answer began.
fn not_answered(error: &SdkError<ConverseStreamError, HttpResponse>) -> DraftFailure {
    match error {
        SdkError::ServiceError(service) => of_code(service.err().code().unwrap_or_default()).after(retry_after(service.raw())),
        SdkError::TimeoutError(_) => DraftFailure::new(JobFailureCode::ProviderUnavailable, "The provider cannot be reached."),
        SdkError::DispatchFailure(dispatch) => {
            let cause = dispatch.as_connector_error().map(|cause| DisplayErrorContext(cause).to_string()).unwrap_or_default();
            tracing::debug!(error = cause, "the provider was not reached");
            let message = if cause.contains("certificate") || cause.contains("InvalidContentType") || cause.contains("corrupt message") {
                "No secure connection to the provider can be made; check AI_BASE_URL and the provider's certificate."
            } else {
                "The provider cannot be reached."
            };
            DraftFailure::new(JobFailureCode::ProviderUnavailable, message)
        }
        SdkError::ConstructionFailure(_) => {
            let message = "There are no AWS credentials or no region; set AWS_REGION and AWS_ACCESS_KEY_ID, a profile or a role.";
            DraftFailure::new(JobFailureCode::ProviderUnavailable, message).lasting()
        }
        _ => {
            let failure = DraftFailure::new(JobFailureCode::ProviderBadAnswer, "The provider's answer cannot be read.");
            DraftFailure { outage: true, ..failure }
        }
    }
}

/// What went wrong in the middle of an answer.
fn broken<R>(error: &SdkError<ConverseStreamOutputError, R>) -> DraftFailure {
    match error {
        SdkError::ServiceError(service) => of_code(match service.err() {
            // the SDK does not fill in `code` for what comes in a stream
            ConverseStreamOutputError::ThrottlingException(_) => "ThrottlingException",
            ConverseStreamOutputError::ValidationException(_) => "ValidationException",
            ConverseStreamOutputError::ServiceUnavailableException(_) => "ServiceUnavailableException",
            ConverseStreamOutputError::InternalServerException(_) => "InternalServerException",
            ConverseStreamOutputError::ModelStreamErrorException(_) => "ModelStreamErrorException",
            other => other.code().unwrap_or_default(),
        }),
        SdkError::ResponseError(_) => {
            let failure = DraftFailure::new(JobFailureCode::ProviderBadAnswer, "The provider's answer cannot be read.");
            DraftFailure { outage: true, ..failure }
        }
        _ => DraftFailure::broken_off(),
    }
}

/// An exception by its name. Its sentence may quote the prompt and is not kept.
fn of_code(code: &str) -> DraftFailure {
    use JobFailureCode::{ProviderRateLimited, ProviderRefused, ProviderUnavailable, TimedOut};
    let because = |kind, what: &str| DraftFailure::new(kind, format!("{what} ({}).", if code.is_empty() { "no code" } else { code }));
    match code {
        "ThrottlingException" | "TooManyRequestsException" => because(ProviderRateLimited, "The provider limits the requests"),
        "ServiceQuotaExceededException" => because(ProviderRateLimited, "The quota of the account at the provider is used up"),
        "ModelTimeoutException" => because(TimedOut, "The model took too long"),
        "ValidationException" => because(ProviderRefused, "The provider does not accept the request"),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "ExpiredToken" => {
            because(ProviderUnavailable, "AWS does not allow these credentials to use the model; check them and the access to models")
                .lasting()
        }
        "ResourceNotFoundException" => {
            because(ProviderUnavailable, "The provider does not know the model; check AI_MODEL and AWS_REGION").lasting()
        }
        // InternalServerException, ServiceUnavailableException, ModelNotReadyException, ModelErrorException,
        // ModelStreamErrorException and what is not known yet
        _ => because(ProviderUnavailable, "The provider failed"),
    }
}

/// What an answer says of the time to wait, in seconds.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_has_a_code_and_a_verdict() {
        use JobFailureCode::{ProviderRateLimited, ProviderRefused, ProviderUnavailable, TimedOut};
        for (exception, code, retryable, outage) in [
            ("ThrottlingException", ProviderRateLimited, true, false),
            ("ModelTimeoutException", TimedOut, true, true),
            ("ValidationException", ProviderRefused, false, false),
            ("AccessDeniedException", ProviderUnavailable, false, false),
            ("ResourceNotFoundException", ProviderUnavailable, false, false),
            ("InternalServerException", ProviderUnavailable, true, true),
            ("ServiceUnavailableException", ProviderUnavailable, true, true),
            ("ModelNotReadyException", ProviderUnavailable, true, true),
            ("", ProviderUnavailable, true, true),
        ] {
            let failure = of_code(exception);
            assert_eq!((failure.code, failure.retryable, failure.outage), (code, retryable, outage), "{exception}");
        }
    }
}
