//! Routes and what every request passes: its id, the check of the host, CORS, panics. It must not answer GraphQL.

use super::{
    Front, HttpState, RequestId,
    document::Rules,
    graphql, hosts,
    merging::SchemaTypes,
    negotiate::Media,
    playground,
    quotas::Places,
    respond,
    respond::{Refused, Reply},
};
use crate::error::{Error, FaultCode, Result};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{any, get},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use std::{any::Any, convert::Infallible, sync::Arc, time::Duration};
use tower::util::BoxCloneSyncService;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, predicate::SizeAbove},
    cors::{AllowOrigin, CorsLayer},
};
use tracing::Instrument;

/// Serves presigned links of the embedded object store.
pub type ObjectService = BoxCloneSyncService<Request, Response, Infallible>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest time for the checks behind `/health/ready`.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bodies below this size, in bytes, are not worth compressing.
const COMPRESS_ABOVE: u64 = 1 << 10;

/// What every answer says unless its handler says something else: it is what it says it is, and no page.
const ALWAYS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// All routes. `objects` serves `/claimwright/{*key}` when the object store is embedded.
///
/// # Errors
/// INTERNAL if the schema cannot be read.
pub fn router(state: HttpState, objects: Option<ObjectService>) -> Result<Router> {
    let types = SchemaTypes::of(&state.schema.sdl())?;
    let rules = Rules { introspection: state.settings.introspection, types };
    let places = Places::new(state.settings.quotas);
    let front = Arc::new(Front { state, rules, places });
    let routes = Router::new()
        .route("/graphql", any(graphql::handle))
        .route("/", get(playground::index))
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/.well-known/jwks.json", get(jwks))
        .fallback(playground::file_or_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESS_ABOVE)));
    // Objects are documents, which are compressed already, and their answers are signed for as they are.
    let routes = match objects {
        Some(objects) => routes.route_service("/claimwright/{*key}", objects),
        None => routes,
    };
    Ok(routes
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(front.clone()))
        .layer(middleware::from_fn_with_state(front.clone(), enter))
        .with_state(front))
}

/// The first thing that a request meets: it gets its id and is let in if it is for a host that is served.
async fn enter(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::fresh();
    request.extensions_mut().insert(id.clone());
    let is_served =
        !front.state.settings.loopback_only || hosts::requested(request.uri(), request.headers()).is_some_and(hosts::is_loopback);
    let mut response = if is_served {
        let span = tracing::info_span!("request", id = id.as_str(), method = %request.method(), path = request.uri().path());
        next.run(request).instrument(span).await
    } else {
        graphql::discard(request).await;
        let message = "This server answers only to loopback names such as localhost. Set HOST and PUBLIC_URL to serve others.";
        refuse(id.clone(), &Error::fault(FaultCode::Forbidden, message).into())
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if front.state.settings.public_url.starts_with("https://") {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// Browsers of other origins may call the API if the configuration names them. No cookies are involved.
fn cors(front: Arc<Front>) -> CorsLayer {
    let is_allowed = move |origin: &HeaderValue, _: &http::request::Parts| {
        origin.to_str().is_ok_and(|origin| hosts::is_listed(origin, &front.state.settings))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::HEAD])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static("graphql-require-preflight")])
        .expose_headers([REQUEST_ID])
        .max_age(Duration::from_hours(2))
}

fn refuse(id: RequestId, refused: &Refused) -> Response {
    Reply { media: Media::Json, request: id }.refuse(refused)
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    refuse(RequestId::fresh(), &respond::internal("a handler panicked").into())
}

async fn method_not_allowed(request: Request) -> Response {
    let refused = Refused::invalid(StatusCode::METHOD_NOT_ALLOWED, "This address does not know that method.");
    refuse(RequestId::of(request.extensions()), &refused)
}

async fn health() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "healthy", "version": env!("CARGO_PKG_VERSION") }))
}

async fn live() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "alive" }))
}

async fn ready(State(front): State<Arc<Front>>, request: Request) -> Response {
    if front.state.shutdown.is_cancelled() {
        return respond::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "draining" }));
    }
    let checked = tokio::time::timeout(READY_TIMEOUT, front.state.services.health.check()).await;
    let failed = match checked {
        Ok(Ok(())) => return respond::json(StatusCode::OK, &json!({ "status": "ready" })),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the checks took too long".to_owned(),
    };
    tracing::warn!(reference = RequestId::of(request.extensions()).as_str(), cause = failed, "not ready");
    respond::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "unavailable" }))
}

async fn jwks(State(front): State<Arc<Front>>, request: Request) -> Response {
    if let Some(keys) = front.state.identity.jwks() {
        return respond::json(StatusCode::OK, &keys);
    }
    let error = Error::fault(FaultCode::NotFound, "Tokens of this server are issued elsewhere.");
    refuse(RequestId::of(request.extensions()), &error.into())
}
