//! Logs, and the one place where what listens to spans and events is put together. A log line holds the spans around it,
//! so the id of the request or of the job is in each; it must never hold a token, a variable or a narrative.

use super::traces::{self, TraceSettings};
use crate::error::{Error, Result};
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal;
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// What is logged unless somebody says otherwise: warnings, and the line that says where the process is ready.
pub const QUIET: &str = "warn,claimwright::ready=info";
/// Longest time for the last spans to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How logs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// One JSON object a line; otherwise lines for people.
    pub json: bool,
    /// What is logged, in the notation of `RUST_LOG`, without its filters by span.
    pub filter: String,
}

/// What was started, to be ended in order.
#[derive(Debug)]
#[must_use = "the last spans leave only if it is ended"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logs and, if there is somewhere to send them, traces. Once for a process.
///
/// # Errors
/// `INTERNAL` if the address of the collector cannot be used, or if something else listens already.
pub fn start(logs: &LogSettings, traces: Option<&TraceSettings>) -> Result<Telemetry> {
    let filter: Targets = logs.filter.parse().map_err(Error::internal)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if logs.json {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(true).boxed()
    } else {
        lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    let (started, provider) = if let Some(settings) = traces {
        let provider = traces::provider(settings)?;
        crate::trace::begin_collecting();
        let lines = lines.with_filter(filter.and(filter_fn(is_harmless)));
        (registry().with(lines).with(traces::layer(&provider)).try_init(), Some(provider))
    } else {
        // for lines alone it can be a filter of all: one of a layer looks the span up whenever something is polled
        (registry().with(lines).with(filter).with(filter_fn(is_harmless)).try_init(), None)
    };
    started.map_err(Error::internal)?;
    // the message of a panic may quote what was being worked on, such as a narrative: it is not logged
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task panicked");
    }));
    Ok(Telemetry { provider })
}

/// Libraries write whole frames and headers at TRACE, tokens and texts among them: that is never logged. The library below
/// `folder_s3` calls every request that it refuses an error of its own, and anybody can send such requests; `folder_s3` says
/// itself what is one, and the rest at DEBUG.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_of_the_store = target == "s3s" || target.starts_with("s3s::");
    !is_of_the_store && (*metadata.level() < Level::TRACE || target.starts_with("claimwright"))
}

impl Telemetry {
    /// Sends the spans that have not been sent yet.
    pub async fn end(self) {
        let Some(provider) = self.provider else { return };
        // the exporter blocks its thread
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if let Err(error) = ended.map_err(|error| error.to_string()).and_then(|ended| ended.map_err(|error| error.to_string())) {
            tracing::warn!(error, "the last spans may not have been sent");
        }
    }
}
