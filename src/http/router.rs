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
    response::Response,
    routing::get,
};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Body as _;
use std::{
    convert::Infallible,
    future::ready,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
    cors::{AllowOrigin, Cors, CorsLayer},
    timeout::{TimeoutBody, TimeoutLayer},
};
use tracing::Instrument;

/// Serves presigned links of the embedded object store.
pub type ObjectService = BoxCloneSyncService<Request, Response, Infallible>;

/// Every request has an answer.
type Answered<T = Response> = std::result::Result<T, Infallible>;

const GRAPHQL: &str = "/graphql";
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

/// Everything that is served at one address. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<Entrance>);

struct Entrance {
    front: Arc<Front>,
    /// Statically composed: every layer of a router is a box and a clone of all that is below it.
    within: Cors<Dispatch>,
}

/// Where requests go once they are let in: GraphQL at once, all else by the routes.
#[derive(Clone)]
struct Dispatch {
    front: Arc<Front>,
    routes: Router,
}

/// All routes. `objects` serves `/claimwright/{*key}` when the object store is embedded.
///
/// # Errors
/// INTERNAL if the schema cannot be read.
pub fn site(state: HttpState, objects: Option<ObjectService>) -> Result<Site> {
    let types = SchemaTypes::of(&state.schema.sdl())?;
    let rules = Rules::new(types, state.settings.introspection);
    let ops = OpsState { health: state.services.health.clone(), metrics: Arc::clone(&state.metrics), shutdown: state.shutdown.clone() };
    let HttpSettings { quotas, body_timeout, upload_timeout, .. } = *state.settings;
    let places = Places::new(quotas);
    let direct = crate::graphql::direct(&state.schema)?;
    let front = Arc::new(Front { state, direct, rules, names: Names::default(), places, groups: Groups::default() });
    let routes = Router::new()
        .route("/", get(playground::index))
        .merge(ops::routes(ops))
        .route("/.well-known/jwks.json", get(jwks))
        .fallback(playground::file_or_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(compression());
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
    let routes = routes.with_state(Arc::clone(&front));
    let within = cors(Arc::clone(&front)).layer(Dispatch { front: Arc::clone(&front), routes });
    Ok(Site(Arc::new(Entrance { front, within })))
}

impl Service<Request> for Site {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answered>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Answered<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(enter(self.clone(), request))
    }
}

impl Service<Request> for Dispatch {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answered>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Answered<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = RequestId::of(request.extensions());
        if request.uri().path() == GRAPHQL {
            Box::pin(guarded(id, operation(Arc::clone(&self.front), request)))
        } else {
            Box::pin(guarded(id, self.routes.clone().oneshot(request)))
        }
    }
}

/// The first thing that a request meets: it gets its id and is let in if it is for a host that is served.
async fn enter(site: Site, mut request: Request) -> Answered {
    let Entrance { front, within } = &*site.0;
    let id = RequestId::fresh();
    request.extensions_mut().insert(id.clone());
    let is_served =
        !front.state.settings.loopback_only || hosts::requested(request.uri(), request.headers()).is_some_and(hosts::is_loopback);
    let mut response = if is_served {
        // of the highest level, so that every line within it has the request's id whatever is logged
        let span = tracing::error_span!(
            "request",
            request_id = id.as_str(),
            http.request.method = tracing::field::Empty,
            url.path = tracing::field::Empty,
            graphql.operation.type = tracing::field::Empty,
            graphql.operation.name = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
            otel.kind = tracing::field::Empty
        );
        let are_collected = trace::are_collected();
        if are_collected {
            span.record("http.request.method", request.method().as_str());
            span.record("url.path", request.uri().path());
            span.record("otel.kind", "server");
        }
        trace::follow(&span, request.headers().get("traceparent").and_then(|value| value.to_str().ok()));
        // without an origin there is nothing that CORS would say of an answer that nobody keeps
        let needs_no_cors = request.uri().path() == GRAPHQL && !request.headers().contains_key(header::ORIGIN);
        let response = if needs_no_cors {
            guarded(id.clone(), operation(Arc::clone(front), request)).instrument(span.clone()).await?
        } else {
            within.clone().call(request).instrument(span.clone()).await?
        };
        if are_collected {
            span.record("http.response.status_code", response.status().as_u16());
        }
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
    Ok(response)
}

/// A panic outside of an operation is an answer too, with the id that is in the log.
async fn guarded(id: RequestId, answer: impl Future<Output = Answered>) -> Answered {
    let answered = AssertUnwindSafe(answer).catch_unwind().await;
    answered.unwrap_or_else(|_| Ok(refuse(id, &respond::internal("a handler panicked").into())))
}

async fn operation(front: Arc<Front>, request: Request) -> Answered {
    let encodings: Vec<HeaderValue> = request.headers().get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
    let response = graphql::handle(front, request).await;
    let is_long = response.body().size_hint().exact().is_some_and(|bytes| bytes > COMPRESS_ABOVE);
    if encodings.is_empty() || !is_long { Ok(response) } else { compressed(encodings, response).await }
}

/// Compresses an answer if the client takes one of the encodings, by the layer that compresses everything else.
async fn compressed(encodings: Vec<HeaderValue>, response: Response) -> Answered {
    let mut request = http::Request::new(());
    request.headers_mut().extend(encodings.into_iter().map(|value| (header::ACCEPT_ENCODING, value)));
    let mut response = Some(response);
    let answer = service_fn(move |_| ready(Ok::<_, Infallible>(response.take().unwrap_or_default())));
    Ok(compression().layer(answer).oneshot(request).await?.map(Body::new))
}

fn compression() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(COMPRESS_ABOVE).and(NotForContentType::SSE))
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
