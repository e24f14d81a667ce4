//! What this server is and what it allows.

use super::jobs::{Money, RequestErrorCode};
use crate::domain::{events, imports, paging, quality, templates, uploads};
use crate::error::FaultCode;
use crate::services::Services;
use crate::services::imports::MAX_INLINE_BYTES;
use async_graphql::{Context, Object, Result, SimpleObject};
use graphql_gate::{Output, roots};

/// Deepest query: fields below each other.
pub const MAX_DEPTH: usize = 15;
/// Most expensive operation, in points: a field costs one, and what is selected of a page as many times as the page has
/// items. A point takes about 5 microseconds (`make bench`), so this is what 50 ms of one core can do.
pub const MAX_COMPLEXITY: usize = 25_000;
/// Version of the schema: changes when the schema does.
pub const SCHEMA_VERSION: &str = "2026-11";

/// What this server is and what it allows.
#[derive(Debug, SimpleObject, Output)]
pub struct ApiInfo {
    /// Version of the server.
    version: String,
    /// Version of the schema: changes when the schema does.
    schema_version: String,
    /// Version of the quality and validation rules.
    rules_version: String,
    /// Largest file for the `Upload` scalar, in bytes.
    max_inline_upload_bytes: i32,
    /// Largest file for `createUpload`, in bytes.
    max_upload_bytes: i32,
    /// Most rows in one import.
    max_import_rows: i32,
    /// Most characters in one cell or section (the AIF's limit for an answer).
    max_section_chars: i32,
    /// Most items in one page.
    max_page_size: i32,
    /// Deepest query: this many fields below each other; fragments are no fields.
    max_depth: i32,
    /// Most expensive operation, in points. A field costs one point, and what is selected of a page as many times as the page
    /// may have items; `extensions.cost` tells what an operation costs. Never more than `rateLimit.limit`.
    max_complexity: i32,
    /// Hours that events can be replayed.
    event_retention_hours: i32,
    /// Providers and models that can be used here.
    models: Vec<ModelInfo>,
    /// Codes that top-level errors may carry.
    request_error_codes: Vec<RequestErrorCode>,
}

/// A model that can be used.
#[derive(Debug, SimpleObject, Output)]
pub struct ModelInfo {
    /// Provider key, such as `offline` or `openai`.
    provider: String,
    /// Model name.
    model: String,
    /// Price per million input tokens.
    input_price_per_million: Money,
    /// Price per million output tokens.
    output_price_per_million: Money,
    /// Most tokens in a request and its answer.
    context_tokens: i32,
    /// True if answers are streamed.
    streams: bool,
}

/// Queries about the server.
#[derive(Debug, Default)]
pub struct InfoQuery;

#[roots]
#[Object]
impl InfoQuery {
    /// What this server is and allows. Works without a token.
    async fn api_info(&self, ctx: &Context<'_>) -> Result<ApiInfo> {
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let services = ctx.data::<Services>()?;
        let most = services.rate_limits.most_points_of_a_person().unwrap_or(u32::MAX);
        let models = services.generations.models().into_iter().map(|(provider, model)| ModelInfo {
            provider: provider.to_owned(),
            model: model.model,
            input_price_per_million: model.input_price_per_million.into(),
            output_price_per_million: model.output_price_per_million.into(),
            context_tokens: model.context_tokens,
            streams: model.streams,
        });
        Ok(ApiInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_version: SCHEMA_VERSION.to_owned(),
            rules_version: quality::RULES_VERSION.to_owned(),
            max_inline_upload_bytes: number(MAX_INLINE_BYTES),
            max_upload_bytes: number(uploads::MAX_UPLOAD_BYTES),
            max_import_rows: number(imports::MAX_IMPORT_ROWS),
            max_section_chars: templates::MAX_SECTION_CHARS,
            max_page_size: paging::MAX_PAGE_SIZE,
            max_depth: number(MAX_DEPTH),
            max_complexity: number(MAX_COMPLEXITY).min(i32::try_from(most).unwrap_or(i32::MAX)),
            event_retention_hours: events::RETENTION_HOURS,
            models: models.collect(),
            request_error_codes: FaultCode::ALL.iter().copied().map(RequestErrorCode::from).collect(),
        })
    }
}
