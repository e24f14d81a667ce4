//! Routes and what every request passes: its id, the check of the host, CORS, panics. It must not answer GraphQL.

use super::{
    Front, HttpSettings, HttpState, RequestId,
    document::Rules,
    graphql,
    groups::Groups,
    hosts,
    negotiate::Media,
    observe::Names,
    ops,
    ops::OpsState,
    playground,
    quotas::Places,
    respond,
    respond::{Refused, Reply},
    types::SchemaTypes,
};
use crate::error::{Error, FaultCode, Result};
use crate::trace;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{any, get},
};
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
    cors::{AllowOrigin, CorsLayer},
    timeout::{TimeoutBody, TimeoutLayer},
};
use tracing::Instrument;

/// Serves presigned links of the embedded object store.
pub type ObjectService = BoxCloneSyncService<Request, Response, Infallible>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
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
    let rules = Rules::new(types, state.settings.introspection);
    let ops = OpsState { health: state.services.health.clone(), metrics: Arc::clone(&state.metrics), shutdown: state.shutdown.clone() };
    let HttpSettings { quotas, body_timeout, upload_timeout, .. } = *state.settings;
    let places = Places::new(quotas);
    let front = Arc::new(Front { state, rules, names: Names::default(), places, groups: Groups::default() });
    let routes = Router::new()
        .route("/graphql", any(graphql::handle))
        .route("/", get(playground::index))
        .merge(ops::routes(ops))
        .route("/.well-known/jwks.json", get(jwks))
        .fallback(playground::file_or_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(SizeAbove::new(COMPRESS_ABOVE).and(NotForContentType::SSE)),
        );
    // Objects are documents, which are compressed already, and their answers are signed for as they are.
    let routes = match objects {
        // They may be large, so each piece has to come in time, and the whole in much more.
        Some(objects) => {
            let arriving = move |request: Request| request.map(|body| Body::new(TimeoutBody::new(body_timeout, body)));
            let in_time = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, upload_timeout);
            routes.route_service("/claimwright/{*key}", in_time.layer(objects.map_request(arriving)))
        }
        None => routes,
    };
    Ok(routes
        .layer(middleware::from_fn(guard))
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
        // of the highest level, so that every line within it has the request's id whatever is logged
        let span = tracing::error_span!(
            "request",
            request_id = id.as_str(),
            http.request.method = %request.method(),
            url.path = request.uri().path(),
            http.response.status_code = tracing::field::Empty,
            otel.kind = "server"
        );
        trace::follow(&span, request.headers().get("traceparent").and_then(|value| value.to_str().ok()));
        let response = next.run(request).instrument(span.clone()).await;
        span.record("http.response.status_code", response.status().as_u16());
        response
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
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("graphql-require-preflight"),
            // a presigned request to the embedded store asks for it
            HeaderName::from_static("x-amz-checksum-sha256"),
        ])
        .expose_headers([REQUEST_ID, respond::RATE_LIMIT, respond::RATE_LIMIT_POLICY, header::RETRY_AFTER])
        .max_age(Duration::from_hours(2))
}

fn refuse(id: RequestId, refused: &Refused) -> Response {
    Reply { media: Media::Json, request: id, charge: None }.refuse(refused)
}

/// A panic outside of an operation is an answer too, with the id that is in the log.
async fn guard(request: Request, next: Next) -> Response {
    let id = RequestId::of(request.extensions());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| refuse(id, &respond::internal("a handler panicked").into()))
}

async fn method_not_allowed(request: Request) -> Response {
    let refused = Refused::invalid(StatusCode::METHOD_NOT_ALLOWED, "This address does not know that method.");
    refuse(RequestId::of(request.extensions()), &refused)
}

async fn jwks(State(front): State<Arc<Front>>, request: Request) -> Response {
    if let Some(keys) = front.state.identity.jwks() {
        return respond::json(StatusCode::OK, &keys);
    }
    let error = Error::fault(FaultCode::NotFound, "Tokens of this server are issued elsewhere.");
    refuse(RequestId::of(request.extensions()), &error.into())
}
