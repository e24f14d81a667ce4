//! GraphQL over HTTP: reads an operation from GET or POST, lets it be checked and executed, and answers with the right
//! status. WebSocket upgrades of the same address and event streams are passed on. It must not know what the schema
//! holds.

use super::{
    Front, RequestId, addresses,
    admission::{self, Unpaid},
    auth,
    document::{Incoming, Operation, Prepared},
    events, handshake, json,
    negotiate::{self, Accepted, Events, Media},
    observe::Observation,
    respond::{self, PublicError, Refused, Reply},
    uploads,
};
use crate::{
    error::{Error, FaultCode},
    graphql::{context, loads::Loads},
    services::rate_limits::Caller,
    trace,
};
use async_graphql::parser::types::OperationType;
use axum::{body::Body, extract::Request, response::Response};
use futures::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tracing::Span;

/// Largest JSON body of a caller without a token, in bytes.
pub const MAX_ANONYMOUS_BODY: usize = 256 << 10;
/// What is read past a limit and thrown away, so that the client sees the answer in place of a reset connection.
const MAX_DISCARDED: usize = 8 << 20;
/// Longest time to read on after a refusal.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Parameters of a request, as the specification names them.
const PARAMETERS: [&str; 4] = ["query", "operationName", "variables", "extensions"];

/// Handles `/graphql`.
pub async fn handle(front: Arc<Front>, request: Request) -> Response {
    let id = RequestId::of(request.extensions());
    if handshake::is_upgrade(request.headers()) {
        // boxed, as all that is large and rare here: what is large is moved and makes everything around it large
        return Box::pin(handshake::upgrade(front, request, id)).await;
    }
    let accepted = negotiate::accepted(request.headers());
    let mut reply = Reply { media: accepted.result.unwrap_or(Media::Json), request: id, charge: None };
    let mut seen = Observation::begin("http");
    let answered = if accepted.is_nothing() {
        Box::pin(discard(request)).await;
        let message = "Accept application/graphql-response+json, application/json or text/event-stream.";
        Err(Refused::invalid(StatusCode::NOT_ACCEPTABLE, message))
    } else {
        Box::pin(answer(&front, request, accepted, &mut reply, &mut seen)).await
    };
    answered.unwrap_or_else(|refused| {
        seen.fail(respond::public_code(&refused.error));
        reply.refuse(&refused)
    })
}

async fn answer(
    front: &Arc<Front>,
    request: Request,
    accepted: Accepted,
    reply: &mut Reply,
    seen: &mut Observation,
) -> Result<Response, Refused> {
    let settings = &front.state.settings;
    let method = request.method().clone();
    let address = addresses::client(request.extensions(), request.headers(), &settings.trusted_proxies);
    if method != Method::GET && method != Method::POST {
        return Err(not_allowed("Use POST, or GET for queries.", "GET, POST"));
    }
    let actor = match auth::caller(&front.state, request.headers()).await {
        Ok(actor) => actor,
        Err(error) => {
            Box::pin(discard(request)).await;
            return match Box::pin(admission::count_failed_sign_in(front, address, &error)).await {
                Some((charged, pause)) => {
                    seen.fail(FaultCode::RateLimited);
                    reply.charge = Some(charged);
                    Ok(reply.limit(pause))
                }
                None => Err(error.into()),
            };
        }
    };
    let read = async {
        if method == Method::GET {
            from_query(request.uri().query().unwrap_or_default())
        } else {
            from_body(request, actor.is_some(), settings.max_inline_upload_bytes).await
        }
    };
    let read = tokio::time::timeout(settings.body_timeout, read).await;
    let request = read.unwrap_or_else(|_| {
        let error = Error::fault(FaultCode::Timeout, "The body came too slowly.");
        Err(Refused { status: StatusCode::REQUEST_TIMEOUT, error, allow: None })
    })?;
    let (prepared, hash) = match admission::check(front, request).await {
        Ok(checked) => checked,
        Err(rejection) if actor.is_none() && rejection.code == FaultCode::ValidationFailed && !front.rules.tell_the_schema() => {
            return Err(no_token().into());
        }
        Err(rejection) => {
            seen.fail(rejection.code);
            return Ok(match accepted.events {
                Events::Preferred => events::refuse(&respond::list(&[rejection.into()])),
                _ => reply.reject(rejection),
            });
        }
    };
    if method == Method::GET && prepared.kind == OperationType::Mutation {
        return Err(not_allowed("A mutation needs POST.", "POST"));
    }
    if actor.is_none() && !prepared.public {
        return Err(no_token().into());
    }
    let is_subscription = prepared.kind == OperationType::Subscription;
    let is_stream = accepted.events == Events::Preferred || (is_subscription && accepted.events == Events::Accepted);
    if is_subscription && !is_stream {
        let message = "Subscriptions need `Accept: text/event-stream` or a WebSocket (graphql-transport-ws).";
        return Err(Refused::invalid(StatusCode::BAD_REQUEST, message));
    }
    let caller = actor.clone().map_or(Caller::Address(address), Caller::Person);
    let charged = match admission::pay(front, caller, &prepared, hash).await {
        Ok(charged) => charged,
        Err(unpaid) => {
            seen.fail(unpaid.code());
            return Ok(match unpaid {
                Unpaid::Limited(charged, pause) => {
                    reply.charge = Some(charged);
                    reply.limit(pause)
                }
                Unpaid::TooComplex(rejection) if accepted.events == Events::Preferred => {
                    events::refuse(&respond::list(&[PublicError::from(rejection)]))
                }
                Unpaid::TooComplex(rejection) => reply.reject(rejection),
            });
        }
    };
    if is_stream {
        let seen = seen.hand_over("event_stream");
        return Ok(events::answer(front, prepared, actor, charged, reply.request.clone(), seen));
    }
    seen.execute(&front.names, &prepared, actor.is_some());
    let span = Span::current();
    if trace::are_collected() {
        span.record("graphql.operation.type", kind_of(&prepared));
    }
    if let Some(name) = &prepared.name {
        span.record("graphql.operation.name", shortened(name));
    }
    let loads = Loads::default();
    let mut data = context::session(&front.state.services, actor, &loads);
    data.insert(charged.charge.clone());
    reply.charge = Some(charged);
    let executing = Box::pin(prepared.execute(&front.state.schema, &front.direct, data));
    // A panic in a resolver and one that never ends are answered too.
    let execution = AssertUnwindSafe(loads.drive(executing)).catch_unwind();
    match tokio::time::timeout(settings.request_timeout, execution).await {
        Ok(Ok(response)) => {
            seen.result(&response);
            Ok(reply.result(response))
        }
        Ok(Err(_)) => Err(respond::internal("a resolver panicked").into()),
        Err(_) => Err(timed_out().into()),
    }
}

fn no_token() -> Error {
    Error::fault(FaultCode::Unauthenticated, "Send a token: Authorization: Bearer <token>.")
}

/// The span of an operation of a socket, for logs and traces: its name and kind, never its document or variables.
pub fn operation_span(prepared: &Prepared, request: &RequestId) -> Span {
    span_of(kind_of(prepared), prepared.name.as_deref(), request)
}

/// The same for an operation of this kind and name.
pub fn span_of(kind: &'static str, name: Option<&str>, request: &RequestId) -> Span {
    let name = name.map(shortened);
    tracing::error_span!("operation", request_id = request.as_str(), graphql.operation.type = kind, graphql.operation.name = name)
}

const fn kind_of(prepared: &Prepared) -> &'static str {
    match prepared.kind {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    }
}

/// Names are the client's text, which may be long.
fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

/// The error of an operation that took too long.
pub fn timed_out() -> Error {
    Error::fault(FaultCode::Timeout, "The operation took too long. Ask for less, or try again.")
}

fn not_allowed(message: &str, allow: &'static str) -> Refused {
    Refused { allow: Some(allow), ..Refused::invalid(StatusCode::METHOD_NOT_ALLOWED, message) }
}

fn from_query(query: &str) -> Result<Incoming, Refused> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let mut operation = Operation::default();
    let mut seen = HashSet::new();
    for (key, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        // Of two values, which one counts would be a guess.
        if !seen.insert(key.clone()) && PARAMETERS.contains(&key.as_str()) {
            return Err(Refused::invalid(StatusCode::BAD_REQUEST, "A parameter stands twice in the address."));
        }
        match key.as_str() {
            "query" => operation.query = Some(value),
            "operationName" => operation.name = Some(value),
            "variables" => operation.variables = object(&value)?,
            "extensions" => operation.extensions = object(&value)?,
            _ => {}
        }
    }
    Ok(operation.into_incoming()?)
}

fn object(text: &str) -> Result<Option<serde_json::Map<String, serde_json::Value>>, Refused> {
    if text.trim() == "null" {
        return Ok(None);
    }
    let message = "`variables` and `extensions` must be JSON objects, in which no name stands twice.";
    json::read(text).map(Some).ok_or_else(|| Refused::invalid(StatusCode::BAD_REQUEST, message))
}

async fn from_body(mut request: Request, is_known: bool, max_upload: usize) -> Result<Incoming, Refused> {
    let limit = if is_known { max_upload.max(MAX_ANONYMOUS_BODY) } else { MAX_ANONYMOUS_BODY };
    match body_kind(request.headers()) {
        // what reads the parts does not know of the spaces either
        Ok(BodyKind::Multipart(media_type)) if is_known => {
            request.headers_mut().insert(header::CONTENT_TYPE, media_type);
            if content_length(request.headers()).is_some_and(|length| length > limit.saturating_add(uploads::ENVELOPE)) {
                discard(request).await;
                return Err(Refused::too_large(limit));
            }
            Box::pin(uploads::read(request, limit)).await
        }
        Ok(BodyKind::Json) => Ok(Operation::from_json(&collect(request, limit).await?)?.into_incoming()?),
        // Every multipart request is a mutation, so there is nothing to answer without a token.
        Ok(BodyKind::Multipart(_)) => {
            discard(request).await;
            Err(Error::fault(FaultCode::Unauthenticated, "Uploads need a token: Authorization: Bearer <token>.").into())
        }
        Err(refused) => {
            discard(request).await;
            Err(refused)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum BodyKind {
    Json,
    /// With its media type, in the one way that every reader knows.
    Multipart(HeaderValue),
}

/// Only what makes browsers ask first (a preflight) is accepted, so that no foreign page can write with a form.
fn body_kind(headers: &HeaderMap) -> Result<BodyKind, Refused> {
    let unsupported = |message: &str| Refused::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
        return Err(unsupported("The body must not be compressed."));
    }
    if headers.get_all(header::CONTENT_TYPE).iter().nth(1).is_some() {
        return Err(unsupported("Send one content-type."));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type == "application/json" {
        return Ok(BodyKind::Json);
    }
    // spaces may stand before a `;` too (RFC 9110, 5.6.6)
    let content_type = negotiate::split(content_type, ';').into_iter().map(str::trim).collect::<Vec<_>>().join("; ");
    let mime = content_type.parse::<mime::Mime>().ok();
    let charset = mime.as_ref().and_then(|mime| mime.get_param(mime::CHARSET));
    match mime.as_ref().map(mime::Mime::essence_str) {
        Some("application/json") if charset.is_none_or(|charset| charset == mime::UTF_8) => Ok(BodyKind::Json),
        Some("application/json") => Err(unsupported("The charset must be utf-8.")),
        Some("multipart/form-data") if uploads::forces_preflight(headers) => match HeaderValue::from_str(&content_type) {
            Ok(content_type) => Ok(BodyKind::Multipart(content_type)),
            Err(_) => Err(unsupported("The content-type is malformed.")),
        },
        Some("multipart/form-data") => {
            Err(Refused::invalid(StatusCode::BAD_REQUEST, "Uploads need the header `graphql-require-preflight: 1`."))
        }
        _ => Err(unsupported("Send the request with `content-type: application/json`.")),
    }
}

/// Reads a body of at most `limit` bytes.
async fn collect(request: Request, limit: usize) -> Result<Vec<u8>, Refused> {
    let expected = content_length(request.headers());
    if expected.is_some_and(|length| length > limit) {
        discard(request).await;
        return Err(Refused::too_large(limit));
    }
    let (mut bytes, mut seen) = (Vec::with_capacity(expected.unwrap_or_default()), 0_usize);
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refused::invalid(StatusCode::BAD_REQUEST, "The body broke off."))?;
        seen = seen.saturating_add(chunk.len());
        if seen <= limit {
            bytes.extend_from_slice(&chunk);
        } else if seen > limit.saturating_add(MAX_DISCARDED) {
            break;
        }
    }
    if seen > limit { Err(Refused::too_large(limit)) } else { Ok(bytes) }
}

/// Reads and drops what a refused client is still sending. One that waits for `100 Continue` has sent nothing.
pub async fn discard(request: Request) {
    let has_body = content_length(request.headers()).is_none_or(|length| length > 0);
    if !has_body || request.headers().contains_key(header::EXPECT) {
        return;
    }
    let drain = async |body: Body| {
        let (mut seen, mut chunks) = (0_usize, body.into_data_stream());
        while let Some(Ok(chunk)) = chunks.next().await {
            seen = seen.saturating_add(chunk.len());
            if seen > MAX_DISCARDED {
                break;
            }
        }
    };
    // How far it came does not matter.
    drop(tokio::time::timeout(DISCARD_TIMEOUT, drain(request.into_body())).await);
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(pairs: &[(&'static str, &'static str)]) -> Result<BodyKind, StatusCode> {
        let headers = pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        body_kind(&headers).map_err(|refused| refused.status)
    }

    #[test]
    fn only_bodies_that_force_a_preflight_are_read() {
        assert_eq!(kind(&[("content-type", "application/json")]), Ok(BodyKind::Json));
        for json in ["application/json; charset=UTF-8", "application/json ; charset=utf-8", "application/json\t;charset=utf-8 "] {
            assert_eq!(kind(&[("content-type", json)]), Ok(BodyKind::Json), "{json}");
        }
        for refused in ["text/plain", "application/x-www-form-urlencoded", "application/graphql", "application/json; charset=latin1", ""] {
            assert_eq!(kind(&[("content-type", refused)]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{refused}");
        }
        assert_eq!(kind(&[]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        let form = ("content-type", "multipart/form-data; boundary=x");
        assert_eq!(kind(&[form]), Err(StatusCode::BAD_REQUEST));
        let boundary = HeaderValue::from_static("multipart/form-data; boundary=x");
        assert_eq!(kind(&[form, ("graphql-require-preflight", "1")]), Ok(BodyKind::Multipart(boundary)));
        let (spaced, quoted) =
            ("multipart/form-data ; boundary=\"x ;y\"", HeaderValue::from_static("multipart/form-data; boundary=\"x ;y\""));
        let spaced = ("content-type", spaced);
        assert_eq!(kind(&[spaced, ("graphql-require-preflight", "1")]), Ok(BodyKind::Multipart(quoted)));
        assert_eq!(kind(&[("content-type", "application/json"), ("content-encoding", "gzip")]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }

    #[test]
    fn an_operation_is_read_from_a_query_string() {
        let request =
            from_query("query=query%20a%28%24n%3AInt%29%7Bx%7D&operationName=a&variables=%7B%22n%22%3A1%7D&extensions=").unwrap().request;
        assert_eq!(request.query, "query a($n:Int){x}");
        assert_eq!(request.operation_name.as_deref(), Some("a"));
        assert_eq!(request.variables.len(), 1);
        assert!(from_query("variables=%7B%7D").is_err());
        assert!(from_query("query=%7Bx%7D&variables=%5B%5D").is_err());
        assert!(from_query("query=%7Bx%7D&query=%7By%7D").is_err());
        assert!(from_query("query=%7Bx%7D&operationName=&operationName=&other=1&other=2").is_ok());
    }
}
