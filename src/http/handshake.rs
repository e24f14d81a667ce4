//! From an HTTP request to a socket that speaks a known dialect. Tokens are not asked for here: browsers cannot send
//! headers with it, so they come in the session.

use super::{
    Front, RequestId, addresses,
    closing::Close,
    dialect::Dialect,
    graphql::MAX_ANONYMOUS_BODY,
    hosts,
    negotiate::Media,
    observe::Open,
    respond::{Refused, Reply},
    server::Connection,
    websocket,
};
use crate::error::{Error, FaultCode};
use axum::{
    extract::{
        FromRequestParts, Request, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::{sync::Arc, time::Duration};
use tracing::Instrument;

/// Longest time for the closing handshake.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The version of the protocol (RFC 6455).
const VERSION: &str = "13";
/// What a socket reads at once, in bytes: its buffer is there as long as the socket is. Most clients send little.
const READ_BUFFER: usize = 2 << 10;
/// What is gathered before it is written, in bytes.
const WRITE_BUFFER: usize = 16 << 10;

/// True if a request wants to become a socket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
}

/// True if there is one key as RFC 6455 (4.2.1) wants it.
fn has_key(headers: &HeaderMap) -> bool {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (key, another) = (keys.next(), keys.next());
    another.is_none() && key.and_then(|key| STANDARD.decode(key).ok()).is_some_and(|nonce| nonce.len() == 16)
}

/// Answers the upgrade and lets a session run. Without a known dialect the socket is opened all the same, because the
/// reason can only be told on it (4406).
pub async fn upgrade(front: Arc<Front>, request: Request, id: RequestId) -> Response {
    let reply = Reply { media: Media::Json, request: id.clone(), charge: None };
    let (mut parts, _) = request.into_parts();
    if !hosts::may_connect(&parts.uri, &parts.headers, &front.state.settings) {
        return reply.refuse(&Error::fault(FaultCode::Forbidden, "This origin may not connect.").into());
    }
    if let Some(version) = parts.headers.get(header::SEC_WEBSOCKET_VERSION)
        && version != VERSION
    {
        let mut response = reply.refuse(&Refused::invalid(StatusCode::UPGRADE_REQUIRED, "This server speaks version 13 of WebSocket."));
        // 4.4: with the version that is spoken; RFC 9110, 15.5.22: with what to upgrade to
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    }
    if !has_key(&parts.headers) {
        let message = "`Sec-WebSocket-Key` must be 16 bytes in Base64.";
        return reply.refuse(&Refused::invalid(StatusCode::BAD_REQUEST, message));
    }
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return reply.refuse(&Refused::invalid(StatusCode::BAD_REQUEST, "This is not a WebSocket handshake."));
    };
    let Some(place) = front.places.socket() else {
        tracing::warn!(most = front.places.quotas().sockets, "a socket was refused, because as many as may be are open");
        return reply.refuse(&Error::fault(FaultCode::Unavailable, "Too many sockets are open. Try again later.").into());
    };
    // Held until the session ends, so that draining waits for it.
    let connection = parts.extensions.get::<Connection>().cloned();
    let address = addresses::client(&parts.extensions, &parts.headers, &front.state.settings.trusted_proxies);
    let dialect = Dialect::choose(&parts.headers);
    let upgrade = upgrade.max_message_size(MAX_ANONYMOUS_BODY).max_frame_size(MAX_ANONYMOUS_BODY);
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).write_buffer_size(WRITE_BUFFER);
    let Some(dialect) = dialect else {
        return upgrade.on_upgrade(async move |socket| {
            close(socket, Close::SUBPROTOCOL).await;
            drop((connection, place));
        });
    };
    upgrade.protocols([dialect.name()]).on_upgrade(async move |socket| {
        let _open = Open::socket();
        let span = tracing::error_span!(parent: None, "socket", request_id = id.as_str());
        websocket::serve(front, id, dialect, address, socket).instrument(span).await;
        drop((connection, place));
    })
}

/// Closes a socket and waits a little for the peer to see it.
async fn close(mut socket: WebSocket, close: Close) {
    let closing = async {
        if socket.send(Message::Close(Some(close.frame()))).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // The peer may never answer; what matters has been sent.
    drop(tokio::time::timeout(CLOSE_TIMEOUT, closing).await);
}
