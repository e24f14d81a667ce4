//! Ties together the spans of one piece of work that is done in several places: a request, the jobs that it queues, the
//! calls that these make. The link is a text (`traceparent` of W3C Trace Context), so what carries it needs to know nothing
//! of traces. A leaf that services and fronts may use; without a collector there are no traces and nothing happens.

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Name of the header, and of the key of the standard.
const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of what is going on, if it is traced.
#[must_use]
pub fn current() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

static ARE_COLLECTED: AtomicBool = AtomicBool::new(false);

/// Says that somebody collects the traces of this process.
pub fn begin_collecting() {
    ARE_COLLECTED.store(true, Ordering::Relaxed);
}

/// True if somebody collects traces, so that what only they have is worth being said: each field of a span is written as text for
/// log lines at once, whether or not a line follows.
#[must_use]
pub fn are_collected() -> bool {
    ARE_COLLECTED.load(Ordering::Relaxed)
}

/// Makes a span that has not been entered yet the continuation of what a `traceparent` names; one that is malformed
/// counts as none, as the standard asks.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    let Some(text) = traceparent else { return };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), text.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    if context.span().span_context().is_valid()
        && let Err(error) = span.set_parent(context)
    {
        // nobody collects traces, or this span is filtered out
        tracing::trace!(%error, "a span does not follow its parent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced<T>(work: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work)
    }

    #[test]
    fn a_span_goes_on_in_the_trace_that_it_follows() {
        traced(|| {
            let span = tracing::info_span!("job");
            follow(&span, Some(PARENT));
            let inner = span.in_scope(current).unwrap();
            assert_eq!((&inner[..36], inner.len()), (&PARENT[..36], PARENT.len()));
            assert_ne!(inner, PARENT, "it is a span of its own");
        });
    }

    #[test]
    fn what_is_malformed_begins_a_trace_of_its_own() {
        for text in ["", "00-zz-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", &PARENT.repeat(40)] {
            let own = traced(|| {
                let span = tracing::info_span!("job");
                follow(&span, Some(text));
                span.in_scope(current)
            });
            assert!(own.is_some_and(|own| own[..36] != PARENT[..36]), "{text}");
        }
    }

    #[test]
    fn without_a_collector_there_is_nothing_to_pass_on() {
        let span = tracing::info_span!("job");
        follow(&span, Some(PARENT));
        assert_eq!(span.in_scope(current), None);
    }
}
