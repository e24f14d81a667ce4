//! GraphQL over HTTP: documents, one file of a multipart request, downloads. It repeats what passes by itself, which is
//! harmless because everything sent here is a query or carries an `idempotencyKey`. It must not print.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode, Url, multipart, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Connection;
use super::documents::Document;
use super::failures::{ClientError, GraphqlError, UserError, root_cause};

const CALL_TIMEOUT: Duration = Duration::from_secs(40);
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the client keeps trying.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// While the server has never answered: a wrong address should be told at once.
    pub(super) at_first: Duration,
    /// Later: a restart with its recovery takes up to a minute.
    pub(super) later: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { at_first: Duration::from_secs(3), later: Duration::from_mins(3) }
    }
}

/// Growing pauses between attempts, until patience ends.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempt: u32,
    since: Option<Instant>,
}

impl Backoff {
    /// Pause before the next attempt; `None` if it is time to give up.
    pub(super) fn pause(&mut self, now: Instant, patience: Duration, wish: Option<Duration>) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= patience {
            return None;
        }
        let grown = Duration::from_millis(200).saturating_mul(1 << self.attempt.min(5));
        self.attempt += 1;
        // Many clients lose the same server at the same moment and must not come back together.
        let jittered = grown.mul_f64(1.0 - f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 512.0);
        Some(jittered.max(wish.unwrap_or_default()).min(patience))
    }
}

/// The API of one server, with one person's token.
pub(super) struct Api {
    http: Client,
    base: Url,
    authorization: HeaderValue,
    token: String,
    answered: AtomicBool,
    patience: Patience,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    errors: Vec<GraphqlError>,
}

impl Api {
    pub(super) fn new(connection: &Connection) -> Result<Self, ClientError> {
        Self::with_patience(connection, Patience::default())
    }

    pub(super) fn with_patience(connection: &Connection, patience: Patience) -> Result<Self, ClientError> {
        let base = base_of(&connection.url)?;
        let token = connection.token.trim().to_owned();
        if token.is_empty() {
            let sentence = "There is no token. Set CLAIMWRIGHT_TOKEN; `claimwright token` prints one for the local server.";
            return Err(ClientError::Configuration(sentence.into()));
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| ClientError::Configuration("CLAIMWRIGHT_TOKEN has characters that no token has.".into()))?;
        authorization.set_sensitive(true);
        let http = client(&base)?;
        Ok(Self { http, base, authorization, token, answered: AtomicBool::new(false), patience })
    }

    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn endpoint(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/graphql", self.base.path().trim_end_matches('/')));
        url
    }

    /// An address that the server gave, which may be relative to it.
    pub(super) fn resolve(&self, address: &str) -> Result<Url, ClientError> {
        let unusable = || ClientError::Unexpected("The server gave an address to download from that cannot be used.".into());
        let url = self.base.join(address).map_err(|_| unusable())?;
        if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(unusable()) }
    }

    pub(super) fn has_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Waits before another attempt after `error`, or gives the error back: it does not pass, or patience has ended.
    pub(super) async fn wait_after(&self, error: ClientError, backoff: &mut Backoff) -> Result<(), ClientError> {
        let answered = self.answered.load(Ordering::Relaxed);
        let patience = if answered { self.patience.later } else { self.patience.at_first };
        if !error.passes() {
            return Err(error);
        }
        match backoff.pause(Instant::now(), patience, error.retry_after()) {
            Some(pause) => {
                sleep(pause).await;
                Ok(())
            }
            None => Err(match error {
                ClientError::Unreachable(sentence) if answered => ClientError::Unreachable(format!(
                    "{sentence} Gave up after {} s; the server goes on with its work.",
                    patience.as_secs()
                )),
                other => other,
            }),
        }
    }

    /// Sends a document and reads its data.
    pub(super) async fn ask<T: DeserializeOwned>(&self, document: Document, variables: &Value) -> Result<T, ClientError> {
        let body = json!({ "query": document.text, "operationName": document.name, "variables": variables });
        let mut backoff = Backoff::default();
        loop {
            let request = self.post().timeout(CALL_TIMEOUT).json(&body);
            match self.receive(request).await {
                Ok(data) => return decode(data),
                Err(error) => self.wait_after(error, &mut backoff).await?,
            }
        }
    }

    /// Sends a document of which the variable at `path` (such as `input.source.file`) is a file.
    pub(super) async fn ask_with_file<T: DeserializeOwned>(
        &self,
        document: Document,
        variables: &Value,
        path: &str,
        file: &Path,
    ) -> Result<T, ClientError> {
        let operations = json!({ "query": document.text, "operationName": document.name, "variables": variables }).to_string();
        let map = json!({ "0": [format!("variables.{path}")] }).to_string();
        let mut backoff = Backoff::default();
        loop {
            let part = multipart::Part::file(file)
                .await
                .and_then(|part| part.mime_str("text/csv").map_err(std::io::Error::other))
                .map_err(|error| ClientError::Local(format!("{} cannot be read: {error}.", file.display())))?;
            // Encoded names come as `filename*`, which readers of multipart requests overlook.
            let form = multipart::Form::new()
                .percent_encode_noop()
                .text("operations", operations.clone())
                .text("map", map.clone())
                .part("0", part.file_name(name_of(file)));
            let request = self.post().timeout(UPLOAD_TIMEOUT).header("graphql-require-preflight", "1").multipart(form);
            match self.receive(request).await {
                Ok(data) => return decode(data),
                Err(error) => self.wait_after(error, &mut backoff).await?,
            }
        }
    }

    fn post(&self) -> reqwest::RequestBuilder {
        self.http
            .post(self.endpoint())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, "application/graphql-response+json, application/json;q=0.9")
    }

    async fn receive(&self, request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(error))?;
        self.has_answered();
        let Ok(body) = serde_json::from_slice::<Body>(&bytes) else { return Err(self.no_graphql(status)) };
        if let Some(error) = body.errors.into_iter().next() {
            return Err(error.into());
        }
        body.data.ok_or_else(|| self.no_graphql(status))
    }

    /// A sentence for an answer that is not GraphQL; some of them pass.
    pub(super) fn no_graphql(&self, status: StatusCode) -> ClientError {
        match status {
            StatusCode::UNAUTHORIZED => ClientError::Fault {
                code: "UNAUTHENTICATED".into(),
                message: format!("{} does not accept the token.", self.address()),
                retry_after: None,
            },
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => ClientError::Fault {
                code: "UNAVAILABLE".into(),
                message: format!("{} answers {status}.", self.address()),
                retry_after: None,
            },
            _ => ClientError::Unexpected(format!("{} answers {status}, not as this API does. Check CLAIMWRIGHT_URL.", self.address())),
        }
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> ClientError {
        let cause = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(&error.without_url()) };
        ClientError::Unreachable(format!("The server at {} cannot be reached ({cause}). Is it running?", self.address()))
    }

    /// The address without credentials that someone may have put into it.
    pub(super) fn address(&self) -> String {
        self.base.origin().ascii_serialization()
    }
}

/// The problems of a payload, or nothing.
pub(super) fn accepted(errors: Vec<UserError>) -> Result<(), ClientError> {
    if errors.is_empty() { Ok(()) } else { Err(ClientError::Refused(errors)) }
}

/// A key that makes a repeat of the same request harmless.
pub(super) fn fresh_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(super) fn decode<T: DeserializeOwned>(value: Value) -> Result<T, ClientError> {
    serde_json::from_value(value).map_err(|error| {
        ClientError::Unexpected(format!("The server's answer is not as expected ({error}). Are client and server of the same version?"))
    })
}

/// Name of a file as it is told to the server.
pub(super) fn name_of(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_control() || matches!(c, '"' | '\\') { '_' } else { c }).collect();
    if name.is_empty() { "import.csv".into() } else { name }
}

fn base_of(address: &str) -> Result<Url, ClientError> {
    let wrong = || ClientError::Configuration("CLAIMWRIGHT_URL must be an address such as http://127.0.0.1:8080.".into());
    let mut url = Url::parse(address.trim()).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong());
    }
    let path = url.path().trim_end_matches('/');
    let path = format!("{}/", path.strip_suffix("/graphql").unwrap_or(path));
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn client(base: &Url) -> Result<Client, ClientError> {
    let builder = || {
        // WebSockets need HTTP/1.1, and a redirected POST would lose its body.
        let builder = Client::builder().http1_only().connect_timeout(CONNECT_TIMEOUT).redirect(redirect::Policy::none());
        if is_loopback(base) { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        // A machine without root certificates cannot check any, but needs none to talk to a plain local server.
        Err(_) if base.scheme() == "http" => builder().tls_certs_only([]).build(),
        built => built,
    }
    .map_err(|error| ClientError::Configuration(format!("This machine cannot make secure connections ({}).", root_cause(&error))))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_may_be_given_with_or_without_graphql() {
        let token = "t".to_owned();
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/graphql"] {
            let api = Api::new(&Connection { url: url.into(), token: token.clone() }).unwrap();
            assert_eq!(api.endpoint().as_str(), "http://127.0.0.1:8080/graphql");
        }
        let api = Api::new(&Connection { url: "http://example.org/claims?x=1".into(), token }).unwrap();
        assert_eq!(api.endpoint().as_str(), "http://example.org/claims/graphql");
    }

    #[test]
    fn a_wrong_address_or_a_missing_token_is_told_with_the_variable() {
        for (url, token, variable) in [
            ("127.0.0.1:8080", "t", "CLAIMWRIGHT_URL"),
            ("ftp://127.0.0.1", "t", "CLAIMWRIGHT_URL"),
            ("http://127.0.0.1", " ", "CLAIMWRIGHT_TOKEN"),
        ] {
            let error = Api::new(&Connection { url: url.into(), token: token.into() }).err().unwrap();
            assert!(error.to_string().contains(variable));
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn pauses_grow_and_end_with_patience() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let patience = Duration::from_mins(1);
        let first = backoff.pause(start, patience, None).unwrap();
        assert!(first <= Duration::from_millis(200));
        for _ in 0..10 {
            assert!(backoff.pause(start, patience, None).unwrap() <= Duration::from_millis(6400));
        }
        assert!(backoff.pause(start, patience, Some(Duration::from_secs(9))).unwrap() >= Duration::from_secs(9));
        assert_eq!(backoff.pause(start + patience, patience, None), None);
    }

    #[test]
    fn a_file_name_cannot_break_the_multipart_header() {
        assert_eq!(name_of(Path::new("/tmp/a\"b\r\n.csv")), "a_b__.csv");
        assert_eq!(name_of(Path::new("my claims.csv")), "my claims.csv");
    }
}
