//! The front door: HTTP, WebSocket, event streams, the playground and health checks. It turns requests into GraphQL operations with an
//! actor and turns answers and errors into responses. It must not decide anything about batches or projects and must
//! not know SQL.

mod addresses;
mod admission;
mod auth;
mod backlog;
mod closing;
mod coercion;
mod cost;
mod dialect;
mod document;
mod events;
mod exchanges;
mod execution;
mod frames;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod graphql;
mod groups;
mod guard;
mod handshake;
mod hosts;
mod introspection;
mod json;
mod legacy;
#[doc(hidden)]
pub mod measuring;
mod merging;
mod negotiate;
mod observe;
mod ops;
mod playground;
mod protocol;
mod quotas;
mod respond;
mod roots;
mod router;
mod server;
mod sharing;
mod tokens;
mod typename;
mod types;
mod uploads;
mod websocket;
mod wire;

pub use ops::{MetricsText, OpsState, ops_router};
pub use quotas::Quotas;
pub use router::{ObjectService, Site, site};
pub use server::{Timing, serve};

use crate::{
    graphql::{AppSchema, Direct},
    identity::Identity,
    services::Services,
};
use ipnet::IpNet;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Makes a fresh token of the local issuer.
pub type LocalToken = Arc<dyn Fn() -> String + Send + Sync>;

/// What the front is told by the configuration.
pub struct HttpSettings {
    /// Base address that clients use, such as `http://127.0.0.1:8080`; its origin counts as the server's own.
    pub public_url: String,
    /// Origins of browser applications that may call the API (`FRONTEND_URL`).
    pub allowed_origins: Vec<String>,
    /// Serve only requests whose `Host` is a loopback name, so that a rebound DNS name reaches nothing.
    pub loopback_only: bool,
    /// Answer introspection.
    pub introspection: bool,
    /// Serve the playground at `/`.
    pub playground: bool,
    /// Largest body of a caller with a token, and largest file of a multipart request, in bytes.
    pub max_inline_upload_bytes: usize,
    /// Longest time that a query or a mutation may take.
    pub request_timeout: Duration,
    /// Longest time for a body to arrive; of a body of the file store, for its next piece.
    pub body_timeout: Duration,
    /// Longest time for the whole of a body of the file store.
    pub upload_timeout: Duration,
    /// Longest time from opening a socket to `connection_init`.
    pub socket_init_timeout: Duration,
    /// How often the peer of a socket is pinged.
    pub socket_ping: Duration,
    /// When a peer that says nothing is given up.
    pub socket_silence: Duration,
    /// Most sockets and streams.
    pub quotas: Quotas,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Fills in the playground's token; none unless the local issuer is used.
    pub playground_token: Option<LocalToken>,
}

/// What the front hands requests to. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// The executable schema.
    pub schema: AppSchema,
    /// Checks tokens.
    pub identity: Arc<Identity>,
    /// Finds the actor behind a token and tells whether the service is ready.
    pub services: Services,
    /// The configuration.
    pub settings: Arc<HttpSettings>,
    /// The metrics of the process.
    pub metrics: MetricsText,
    /// Cancelled when the process drains: sockets end with a code that clients retry on.
    pub shutdown: CancellationToken,
}

/// The state together with what is derived from it once.
struct Front {
    state: HttpState,
    direct: Direct,
    rules: document::Rules,
    names: observe::Names,
    places: quotas::Places,
    groups: groups::Groups<document::Template>,
}

/// Identifies a request in the log and in the `x-request-id` header; the reference that a client sees on INTERNAL.
#[derive(Debug, Clone)]
struct RequestId(Arc<str>);

impl RequestId {
    /// The id that the router gave to a request.
    fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_else(Self::fresh)
    }

    /// A new id. It identifies a line in the log, nothing that is stored, so it is not injected.
    fn fresh() -> Self {
        let mut text = uuid::Uuid::encode_buffer();
        let text: &str = uuid::Uuid::new_v4().simple().encode_lower(&mut text);
        Self(text.into())
    }

    /// The id of one operation of a socket.
    fn operation(&self, serial: u64) -> Self {
        Self(format!("{}-{serial}", self.0).into())
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}
