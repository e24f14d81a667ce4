//! Metrics: the table of all of them, and the recorder that Prometheus reads. Who measures uses the macros of `metrics`
//! with a name of this table; tests compare it with the source, the documentation and the dashboard.

use crate::error::{Error, Result};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// How often samples that nobody has asked for are added up, so that they do not pile up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What kind a metric is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often values were up to each of these bounds.
    Histogram(&'static [f64]),
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Name, with the unit in it.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Labels; each has a bounded set of values.
    pub labels: &'static [&'static str],
    /// A sentence for people.
    pub description: &'static str,
}

/// Bounds for requests and connections, in seconds.
const REQUESTS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds for statements, in seconds.
const STATEMENTS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Bounds for jobs and calls of models, in seconds.
const WORK: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

const fn counter(name: &'static str, labels: &'static [&'static str], description: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, description }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], description: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, description }
}

const fn histogram(name: &'static str, bounds: &'static [f64], labels: &'static [&'static str], description: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), labels, description }
}

/// Every metric.
pub const METRICS: &[Metric] = &[
    gauge("claimwright_build_info", &["version"], "Always 1; the label is the version that runs."),
    counter(
        "claimwright_requests_total",
        &["transport", "operation", "outcome"],
        "GraphQL operations that ended, by how: ok, user_error, abandoned by the client, or the code of the first error.",
    ),
    histogram(
        "claimwright_request_duration_seconds",
        REQUESTS,
        &["operation"],
        "Time from an operation's first byte to its answer; subscriptions are not in it.",
    ),
    histogram(
        "claimwright_resolvers_duration_seconds",
        REQUESTS,
        &["operation"],
        "Time in an operation's resolvers, all together, with the statements that they wait for; subscriptions are not in it.",
    ),
    gauge("claimwright_connections_open", &[], "Connections that are open, those of sockets and probes included."),
    gauge("claimwright_sockets_open", &[], "WebSockets that are open."),
    gauge("claimwright_subscriptions_open", &[], "Subscriptions that are open, on any transport."),
    counter(
        "claimwright_subscription_events_executed_total",
        &["for"],
        "Events of subscriptions that were executed: for one subscriber, or once for all who ask for the same.",
    ),
    histogram(
        "claimwright_events_lag_seconds",
        REQUESTS,
        &[],
        "Time from a batch's event to the moment when it was handed to live subscribers, once for all who ask for the same; replays are not in it.",
    ),
    histogram(
        "claimwright_sql_duration_seconds",
        STATEMENTS,
        &["step"],
        "Time of one round trip to the database: a statement or a commit, as the service waits for it.",
    ),
    histogram(
        "claimwright_database_acquire_duration_seconds",
        STATEMENTS,
        &["access"],
        "Wait for a connection until it is ready to read or, in a transaction, to write.",
    ),
    gauge("claimwright_database_connections", &["pool", "state"], "Connections of a pool that are idle or used."),
    gauge("claimwright_database_connections_max", &["pool"], "Most connections that a pool may have."),
    gauge("claimwright_queue_jobs", &["lane", "state"], "Jobs in the queue, of all processes; looked at every 15 s by those that work."),
    gauge(
        "claimwright_queue_oldest_age_seconds",
        &["lane", "state"],
        "Age of the oldest job in a state since it was queued; 0 if there is none.",
    ),
    counter(
        "claimwright_jobs_total",
        &["kind", "outcome"],
        "Claims of jobs that ended: done, failed, retried, given_up, cancelled, or dropped for another process.",
    ),
    histogram("claimwright_job_duration_seconds", WORK, &["kind"], "Time from the claim of a job to its end."),
    counter(
        "claimwright_provider_calls_total",
        &["provider", "model", "outcome"],
        "Calls of what writes sections: ok, aborted, held (not made, as the circuit was open or the minute used up), or the code of the failure.",
    ),
    histogram("claimwright_provider_call_duration_seconds", WORK, &["provider", "model"], "Time of such a call to its last piece."),
    gauge("claimwright_provider_circuit", &["provider"], "The circuit breaker of a provider: 0 closed, 1 half-open, 2 open."),
    counter("claimwright_provider_tokens_total", &["provider", "model", "direction"], "Tokens that finished calls took: input or output."),
    counter("claimwright_imports_total", &["outcome"], "Imports that ended, by their final status."),
    counter("claimwright_exports_total", &["format", "outcome"], "Exports that ended, by their final status."),
    gauge("claimwright_redis_up", &[], "1 as long as Redis answers this process, else 0; absent without Redis."),
    counter("claimwright_redis_reconnects_total", &[], "Times that Redis was back after it had been down."),
    counter("claimwright_events_published_total", &[], "Bells that were sent to other processes."),
    counter("claimwright_events_dropped_total", &[], "Bells that did not leave this process; who waits for them looks at the table."),
    counter("claimwright_events_reconnects_total", &[], "Times that the connection which hears other processes was made anew."),
    histogram(
        "claimwright_events_bus_lag_seconds",
        REQUESTS,
        &[],
        "Time of a bell from another process to this one, as far as their clocks agree.",
    ),
    counter("claimwright_rate_limited_total", &["by"], "Operations that were refused by a rate limit: of a person or of an address."),
    gauge("claimwright_rate_limit_shared", &[], "1 if limits count over all processes, 0 if this one counts by itself for lack of Redis."),
    counter("claimwright_rate_limit_fallbacks_total", &[], "Decisions that this process took by itself for lack of Redis."),
    gauge(
        "claimwright_pace_shared",
        &[],
        "1 if calls to a provider are paced over all processes, 0 if this one keeps to its part for lack of Redis.",
    ),
    counter(
        "claimwright_pace_fallbacks_total",
        &[],
        "Times that Redis did not answer when a call's place in the minute was taken or set right.",
    ),
    counter("claimwright_cache_failures_total", &[], "Reads and writes of the shared cache that failed; they count as misses."),
    gauge("claimwright_dependency_up", &["dependency"], "1 if the last check of readiness reached it, else 0."),
    counter("claimwright_spans_exported_total", &["outcome"], "Spans that were sent to the collector, or lost."),
];

/// What Prometheus reads. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// The recorder of this process; the first call installs it.
    ///
    /// # Errors
    /// `INTERNAL` if something else records the metrics of this process.
    pub fn install() -> Result<Self> {
        static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| build().map_err(|error| error.to_string()));
        handle.clone().map(Self).map_err(Error::internal)
    }

    /// All metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps samples from piling up, for ever.
    pub async fn keep_up(self) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

fn build() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        if let Kind::Histogram(bounds) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)?;
        }
    }
    let handle = builder.install_recorder()?;
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.description),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.description),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.description),
        }
    }
    metrics::gauge!("claimwright_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_process_has_one_recorder_however_often_it_is_asked_for() {
        let (first, second) = (Metrics::install().unwrap(), Metrics::install().unwrap());
        metrics::counter!("claimwright_spans_exported_total", "outcome" => "in_this_test").increment(3);
        for metrics in [first, second] {
            let text = metrics.render();
            assert!(text.contains("claimwright_spans_exported_total{outcome=\"in_this_test\"} 3"), "{text}");
            assert!(text.contains("# HELP claimwright_spans_exported_total Spans that"), "{text}");
        }
    }

    #[test]
    fn names_say_what_they_count_and_stand_once() {
        let names: HashSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert!(metric.name.starts_with("claimwright_") && metric.description.ends_with('.'), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(metric.name.ends_with("_seconds") && bounds.is_sorted(), "{}", metric.name);
            }
        }
    }
}
