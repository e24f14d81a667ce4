//! The playground's files, embedded when the binary is built, or a page that says how to build them. It must not know
//! GraphQL; the only secret that it hands out is the local token, and only to this machine.

use super::{
    Front, RequestId, addresses, hosts,
    negotiate::Media,
    respond::{Refused, Reply},
    server::Connection,
};
use crate::error::{Error, FaultCode};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use rust_embed::RustEmbed;
use std::sync::Arc;

/// Only what the server itself serves; scripts are files, never inline. Styles are another matter: the editor writes
/// style elements and attributes for its theme and its layout, and starts its workers from blobs.
const POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";
/// The page needs no device.
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
/// What the built page has in place of a token.
const PLACEHOLDER: &str = r#"name="claimwright-token" content="""#;
/// Shown when the playground was not built.
const PLAIN_PAGE: &str = include_str!("playground.html");

#[derive(RustEmbed)]
#[folder = "playground/dist"]
#[allow_missing = true]
struct Files;

/// `GET /`.
pub async fn index(State(front): State<Arc<Front>>, request: Request) -> Response {
    if !front.state.settings.playground {
        return not_found(&request);
    }
    let page = Files::get("index.html").map_or_else(|| plain_page(&request), |file| String::from_utf8_lossy(&file.data).into_owned());
    let page = match token(&front, &request) {
        Some(token) => page.replacen(PLACEHOLDER, &format!(r#"name="claimwright-token" content="{}""#, escaped(&token)), 1),
        None => page,
    };
    respond(page.into_bytes(), "text/html; charset=utf-8", "no-store")
}

/// Every path that no route has: a file of the playground, or 404.
pub async fn file_or_not_found(State(front): State<Arc<Front>>, request: Request) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path().trim_start_matches('/');
    // The index has its own route, because its token must not be cached.
    if !is_read || !front.state.settings.playground || path == "index.html" {
        return not_found(&request);
    }
    let Some(file) = Files::get(path) else { return not_found(&request) };
    // Names under assets/ carry a hash of their content.
    let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    respond(file.data.into_owned(), file.metadata.mimetype(), caching)
}

/// A token for a page that is shown on this very machine: both the name that the browser asked for and the peer are
/// loopback. (A name alone could be claimed from elsewhere.)
fn token(front: &Front, request: &Request) -> Option<String> {
    let settings = &front.state.settings;
    let is_local_name = hosts::requested(request.uri(), request.headers()).is_some_and(hosts::is_loopback);
    let is_connected = request.extensions().get::<Connection>().is_some();
    let client = addresses::client(request.extensions(), request.headers(), &settings.trusted_proxies);
    let is_local_peer = if is_connected { client.is_loopback() } else { settings.loopback_only };
    (is_local_name && is_local_peer).then(|| settings.playground_token.as_ref().map(|make| make())).flatten()
}

fn plain_page(request: &Request) -> String {
    let host = hosts::requested(request.uri(), request.headers()).unwrap_or("127.0.0.1:8080");
    PLAIN_PAGE.replace("{host}", &escaped(host)).replace("{version}", env!("CARGO_PKG_VERSION"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

fn respond(body: Vec<u8>, content_type: &str, caching: &'static str) -> Response {
    let content_type = HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS)),
    ];
    (StatusCode::OK, headers, body).into_response()
}

fn not_found(request: &Request) -> Response {
    let reply = Reply { media: Media::Json, request: RequestId::of(request.extensions()), charge: None };
    let error = Error::fault(FaultCode::NotFound, "There is nothing at this address. The API is at /graphql.");
    reply.refuse(&Refused::from(error))
}
