//! What machines ask a process: whether it lives, whether it is ready, and its metrics. On the main address, and for every
//! role on an address of its own (`OPS_ADDRESS`), which is for probes and scrapers and not for the world. It must not say
//! anything about the inside of what is down: the log does.

use super::respond;
use crate::services::health::{Health, Verdict};
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// All metrics at this moment, in the text format of Prometheus.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// What these routes answer from.
#[derive(Clone)]
pub struct OpsState {
    /// Tells whether the process is ready.
    pub health: Health,
    /// The metrics.
    pub metrics: MetricsText,
    /// Cancelled when the process drains.
    pub shutdown: CancellationToken,
}

/// A router for an address of their own.
pub fn ops_router(state: OpsState) -> Router {
    routes(state).fallback(async || StatusCode::NOT_FOUND)
}

/// The routes, to be merged into others.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(state: OpsState) -> Router<S> {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn health() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "healthy", "version": env!("CARGO_PKG_VERSION") }))
}

async fn live() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "alive" }))
}

async fn ready(State(state): State<OpsState>) -> Response {
    if state.shutdown.is_cancelled() {
        return respond::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "draining" }));
    }
    let readiness = state.health.readiness().await;
    let (status, word) = match readiness.verdict {
        Verdict::Ready => (StatusCode::OK, "ready"),
        Verdict::Degraded => (StatusCode::OK, "degraded"),
        Verdict::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let word_of = |is_up| Value::from(if is_up { "ok" } else { "down" });
    let checks: Map<String, Value> = readiness.checks.iter().map(|(name, is_up)| ((*name).to_owned(), word_of(*is_up))).collect();
    respond::json(status, &json!({ "status": word, "checks": checks }))
}

async fn metrics(State(state): State<OpsState>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, (state.metrics)()).into_response()
}
