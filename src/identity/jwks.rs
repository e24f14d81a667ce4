//! The issuer's public keys: read from a JWKS document (RFC 7517), kept, and served stale when the issuer is down. An
//! unknown key id asks the issuer at most once in five seconds for the whole process; known ones never wait for that.

use super::IdentityError;
use crate::error::{Error, Result};
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::Mutex;

/// Time between two questions to the issuer that unknown key ids cause.
const COOLDOWN: Duration = Duration::seconds(5);
/// A JWKS document has a few kilobytes; more than this, in bytes, is not one.
const MAX_DOCUMENT: usize = 1 << 20;

/// Where a JWKS document comes from.
#[async_trait::async_trait]
pub trait KeySource: Send + Sync {
    /// The document as it is now.
    ///
    /// # Errors
    /// UNAVAILABLE if it cannot be had.
    async fn document(&self) -> Result<Value>;
}

/// A JWKS document behind a URL.
#[derive(Debug)]
pub struct RemoteKeys {
    url: reqwest::Url,
    http: reqwest::Client,
}

impl RemoteKeys {
    /// Reads keys from this URL: four seconds at most, no redirects.
    ///
    /// # Errors
    /// INTERNAL if it is not a URL or no HTTP client can be made.
    pub fn new(url: &str) -> Result<Self> {
        let url = reqwest::Url::parse(url).map_err(Error::internal)?;
        let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(4)).redirect(reqwest::redirect::Policy::none());
        Ok(Self { url, http: client.build().map_err(Error::internal)? })
    }

    async fn bytes(&self) -> Result<Vec<u8>, reqwest::Error> {
        let mut response = self.http.get(self.url.clone()).send().await?.error_for_status()?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await?
            && bytes.len() + chunk.len() <= MAX_DOCUMENT
        {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

#[async_trait::async_trait]
impl KeySource for RemoteKeys {
    async fn document(&self) -> Result<Value> {
        let unavailable = "The identity provider cannot be reached.";
        let bytes = self.bytes().await.map_err(|error| Error::unavailable(unavailable, error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::unavailable(unavailable, error))
    }
}

type ById = HashMap<String, Arc<DecodingKey>>;

/// The keys in use.
pub struct Keys {
    source: Arc<dyn KeySource>,
    known: RwLock<Arc<ById>>,
    /// When the issuer was asked last, held while it is being asked.
    asked: Mutex<Option<DateTime<Utc>>>,
}

impl Keys {
    pub fn new(source: Arc<dyn KeySource>) -> Self {
        Self { source, known: RwLock::default(), asked: Mutex::default() }
    }

    /// The key of this id, asking the issuer if it is not known and it is time to ask.
    pub async fn find(&self, id: &str, now: DateTime<Utc>) -> Result<Arc<DecodingKey>, IdentityError> {
        if let Some(key) = self.known().get(id) {
            return Ok(key.clone());
        }
        let mut asked = self.asked.lock().await;
        let cooling = asked.is_some_and(|last| last <= now && now - last < COOLDOWN);
        if !self.known().contains_key(id) && !cooling {
            *asked = Some(now);
            if let Err(error) = self.read().await {
                tracing::warn!(%error, "the issuer's keys cannot be read; those known stay in use");
            }
        }
        let known = self.known();
        match known.get(id) {
            Some(key) => Ok(key.clone()),
            None if known.is_empty() => Err(IdentityError::KeysUnavailable),
            None => Err(IdentityError::BadSignature("the issuer has no such key")),
        }
    }

    /// Asks the issuer, whenever that was done last.
    pub async fn refresh(&self, now: DateTime<Utc>) -> Result<()> {
        let mut asked = self.asked.lock().await;
        *asked = Some(now);
        self.read().await
    }

    /// True if any key is known.
    pub fn any(&self) -> bool {
        !self.known().is_empty()
    }

    /// Replaces the keys, unless the document has none that can be used.
    async fn read(&self) -> Result<()> {
        let keys = parse(&self.source.document().await?);
        if keys.is_empty() {
            return Err(Error::unavailable("The identity provider cannot be reached.", "the JWKS document has no RS256 key"));
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    fn known(&self) -> Arc<ById> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The keys of a document that sign with RS256; others are passed over.
fn parse(document: &Value) -> ById {
    let keys = document.get("keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(key).collect()
}

fn key(jwk: &Value) -> Option<(String, Arc<DecodingKey>)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let usable = text("kty") == Some("RSA") && text("use").is_none_or(|it| it == "sig") && text("alg").is_none_or(|it| it == "RS256");
    let id = text("kid").filter(|_| usable)?;
    let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
    Some((id.to_owned(), Arc::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the questions; answers with a key `a`, or fails if there is no answer.
    struct Counting(AtomicUsize, RwLock<Option<Value>>);

    #[async_trait::async_trait]
    impl KeySource for Counting {
        async fn document(&self) -> Result<Value> {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.read().unwrap().clone().ok_or_else(|| Error::unavailable("down", "test"))
        }
    }

    fn source(document: Option<Value>) -> Arc<Counting> {
        Arc::new(Counting(AtomicUsize::new(0), RwLock::new(document)))
    }

    fn rsa(id: &str) -> Value {
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": "AQAB", "e": "AQAB"})
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[tokio::test]
    async fn many_unknown_ids_ask_the_issuer_once_in_five_seconds() {
        let source = source(Some(json!({"keys": [rsa("a")]})));
        let keys = Keys::new(source.clone());
        for n in 0..50 {
            assert!(keys.find(&format!("unknown {n}"), at(100 + n / 10)).await.is_err());
        }
        assert!(keys.find("a", at(100)).await.is_ok());
        assert_eq!(source.0.load(Ordering::SeqCst), 1);
        *source.1.write().unwrap() = Some(json!({"keys": [rsa("b")]}));
        assert!(keys.find("b", at(105)).await.is_ok());
        assert!(keys.find("a", at(105)).await.is_err());
        assert_eq!(source.0.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn known_keys_are_served_when_the_issuer_is_down_or_answers_nonsense() {
        let source = source(None);
        let keys = Keys::new(source.clone());
        assert_eq!(keys.find("a", at(0)).await.err(), Some(IdentityError::KeysUnavailable));
        *source.1.write().unwrap() = Some(json!({"keys": [rsa("a")]}));
        keys.refresh(at(1)).await.unwrap();
        for broken in [None, Some(json!({"keys": []})), Some(json!([])), Some(json!({"keys": [{"kid": "a"}]}))] {
            *source.1.write().unwrap() = broken;
            assert!(keys.refresh(at(2)).await.is_err());
            assert!(keys.find("a", at(3)).await.is_ok());
        }
    }

    #[test]
    fn keys_for_other_purposes_are_passed_over() {
        let with = |name: &str, value: &str| {
            let mut key = rsa("x");
            key[name] = value.into();
            key
        };
        let document = json!({"keys": [with("use", "enc"), with("alg", "RS512"), with("kty", "EC"), with("n", "?"), 7, rsa("a")]});
        assert_eq!(parse(&document).into_keys().collect::<Vec<_>>(), ["a"]);
    }

    #[tokio::test]
    async fn a_document_behind_a_url_is_read_and_a_redirect_or_nonsense_is_not() {
        use axum::{Json, Router, response::Redirect, routing::get};
        let routes = Router::new()
            .route("/keys", get(async || Json(json!({"keys": [rsa("a")]}))))
            .route("/moved", get(async || Redirect::temporary("/keys")))
            .route("/text", get(async || "keys"))
            .route("/huge", get(async || format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(MAX_DOCUMENT))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        for (path, good) in [("keys", true), ("moved", false), ("text", false), ("huge", false), ("nothing", false)] {
            let keys = Keys::new(Arc::new(RemoteKeys::new(&format!("http://{address}/{path}")).unwrap()));
            assert_eq!(keys.refresh(at(0)).await.is_ok(), good, "{path}");
            assert_eq!(keys.find("a", at(0)).await.is_ok(), good, "{path}");
        }
        server.abort();
        let down = Keys::new(Arc::new(RemoteKeys::new(&format!("http://{address}/keys")).unwrap()));
        drop(server.await);
        assert!(down.refresh(at(0)).await.is_err());
    }

    #[test]
    fn only_a_url_can_be_read_from() {
        assert!(RemoteKeys::new("https://example.org/jwks.json").is_ok());
        assert!(RemoteKeys::new("jwks.json").is_err());
    }
}
