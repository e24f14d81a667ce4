//! From a bearer token to the person behind it: RS256 against a JWKS, for the local issuer and for AWS Cognito alike.
//! It must not know GraphQL or HTTP, and nothing here logs or keeps a token; of those that are good it keeps the hash.
//!
//! The rules are those of RFC 7519 and of Cognito's documentation ("Verifying JSON web tokens"): issuer exact; an id
//! token names the client in `aud`, an access token in `client_id`; `exp` and `nbf` with five seconds of leeway.
//! `jsonwebtoken` checks the algorithm and the signature; the claims are checked in `claims` against the injected clock.

mod claims;
mod jwks;
mod local;

pub use jwks::{KeySource, RemoteKeys};
pub use local::LocalIssuer;

use crate::{
    domain::actor::Principal,
    error::{Error, Fault, FaultCode},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use claims::Claims;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use moka::future::Cache;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc, time::Duration};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Time between two readings of the issuer's keys.
const REFRESH_EVERY: Duration = Duration::from_mins(5);
/// The same while none are known: until then nobody can be let in.
const REFRESH_SOON: Duration = Duration::from_secs(2);
/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 << 10;

/// Tokens whose signature is remembered; each takes less than a kilobyte.
const REMEMBERED: u64 = 10_000;

/// Why a token is not accepted. All but [`IdentityError::KeysUnavailable`] are UNAUTHENTICATED.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is no token.
    #[error("A bearer token is required.")]
    Missing,
    /// It is not a token of the kind that is accepted here.
    #[error("The token is malformed: {0}.")]
    Malformed(&'static str),
    /// It was not signed by the issuer.
    #[error("The token's signature is not valid: {0}.")]
    BadSignature(&'static str),
    /// It is over.
    #[error("The token has expired. Get a new one and try again.")]
    Expired,
    /// The issuer made it, but not for this service or not for now.
    #[error("The token's claims are not valid: {0}.")]
    BadClaims(&'static str),
    /// The issuer's keys could not be read since the start, so nothing can be said about the token.
    #[error("The identity provider cannot be reached.")]
    KeysUnavailable,
}

impl From<IdentityError> for Error {
    fn from(error: IdentityError) -> Self {
        let code = match error {
            IdentityError::KeysUnavailable => FaultCode::Unavailable,
            _ => FaultCode::Unauthenticated,
        };
        Self::Fault(Fault { code, message: error.to_string(), argument: None, source: Some(Box::new(error)) })
    }
}

/// True if an error says that a token was never one: neither that there is none nor that a good one has ended.
#[must_use]
pub fn is_of_a_bad_token(error: &Error) -> bool {
    let Error::Fault(fault) = error else { return false };
    let reason = fault.source.as_ref().and_then(|source| source.downcast_ref::<IdentityError>());
    fault.code == FaultCode::Unauthenticated && !matches!(reason, Some(IdentityError::Missing | IdentityError::Expired))
}

/// Whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The exact `iss`.
    pub issuer: String,
    /// The client ids that a token may be for.
    pub client_ids: Vec<String>,
}

/// Checks tokens.
pub struct Identity {
    trust: Trust,
    keys: jwks::Keys,
    clock: Clock,
    issuer: Option<Arc<LocalIssuer>>,
    signed: Cache<blake3::Hash, Arc<Signed>>,
}

/// A token whose signature was found good: the most expensive part of many requests is done once. What can change is checked
/// each time, so a token that ends, or whose key the issuer takes back, is refused at once.
struct Signed {
    key_id: String,
    key: Arc<DecodingKey>,
    /// What the claims say; whom they are for cannot change.
    principal: Arc<Principal>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Identity {
    /// Accepts the tokens of one issuer, whose keys come from `source`. Nothing is fetched yet.
    #[must_use]
    pub fn new(trust: Trust, source: Arc<dyn KeySource>, clock: Clock) -> Self {
        let signed = Cache::builder().max_capacity(REMEMBERED).time_to_idle(REFRESH_EVERY).build();
        Self { trust, keys: jwks::Keys::new(source), clock, issuer: None, signed }
    }

    /// Accepts the tokens of the local issuer.
    #[must_use]
    pub fn local(issuer: Arc<LocalIssuer>, clock: Clock) -> Self {
        let trust = Trust { issuer: LocalIssuer::ISSUER.into(), client_ids: vec![LocalIssuer::CLIENT_ID.into()] };
        Self { issuer: Some(Arc::clone(&issuer)), ..Self::new(trust, issuer, clock) }
    }

    /// The public keys of the local issuer; none if tokens are issued elsewhere.
    #[must_use]
    pub fn jwks(&self) -> Option<serde_json::Value> {
        self.issuer.as_ref().map(|issuer| issuer.jwks())
    }

    /// The person behind a token (without the word `Bearer`).
    ///
    /// # Errors
    /// What is wrong with the token; claims are looked at only once the signature is known to be good.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>, IdentityError> {
        let now = (self.clock)();
        if token.len() > MAX_TOKEN {
            return Err(IdentityError::Malformed("it is longer than 8 KB"));
        }
        let hash = blake3::hash(token.as_bytes());
        if let Some(signed) = self.signed.get(&hash).await
            && Arc::ptr_eq(&self.keys.find(&signed.key_id, now).await?, &signed.key)
        {
            // it had begun, so what is left to check is whether it has ended
            return if signed.principal.expires_at <= now { Err(IdentityError::Expired) } else { Ok(Arc::clone(&signed.principal)) };
        }
        let key_id = key_id(token)?;
        let key = self.keys.find(&key_id, now).await?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => IdentityError::BadSignature("it does not match"),
            ErrorKind::Json(_) => IdentityError::BadClaims("one is missing or of the wrong type"),
            _ => IdentityError::Malformed("it cannot be decoded"),
        })?;
        let principal = Arc::new(claims.claims.principal(&self.trust, now)?);
        let signed = Signed { key_id, key, principal: Arc::clone(&principal) };
        self.signed.insert(hash, Arc::new(signed)).await;
        Ok(principal)
    }

    /// Reads the issuer's keys anew; those in use stay if that fails. For a background task, so that a change of keys
    /// is known before the first token that needs it.
    ///
    /// # Errors
    /// UNAVAILABLE if the keys cannot be read.
    pub async fn refresh_keys(&self) -> crate::error::Result<()> {
        self.keys.refresh((self.clock)()).await
    }

    /// Reads the issuer's keys at once and from time to time, until it is dropped. `dice` gives numbers from 0 to 1, so
    /// that processes that were started together do not ask together.
    pub async fn keep_keys_fresh(&self, dice: impl Fn() -> f64) {
        loop {
            if let Err(error) = self.refresh_keys().await {
                tracing::warn!(%error, stale = self.has_keys(), "the issuer's keys cannot be read");
            }
            let pause = if self.has_keys() { REFRESH_EVERY } else { REFRESH_SOON };
            tokio::time::sleep(pause.mul_f64(0.5 + dice() / 2.0)).await;
        }
    }

    /// True if tokens can be checked: keys of the issuer are known, fresh or stale.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.issuer.is_some() || self.keys.any()
    }
}

/// Reads the header by itself first: `jsonwebtoken` ignores what RFC 7515 4.1.11 says must not be ignored.
fn key_id(token: &str) -> Result<String, IdentityError> {
    if token.is_empty() {
        return Err(IdentityError::Missing);
    }
    if token.split('.').count() != 3 {
        return Err(IdentityError::Malformed("it does not have three parts"));
    }
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header: Map<String, Value> =
        header.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(IdentityError::Malformed("its header cannot be read"))?;
    if header.get("alg").and_then(Value::as_str) != Some("RS256") {
        return Err(IdentityError::Malformed("only RS256 is accepted"));
    }
    if ["crit", "b64", "zip"].iter().any(|name| header.contains_key(*name)) {
        return Err(IdentityError::Malformed("its header asks for an extension that is not supported"));
    }
    let id = header.get("kid").and_then(Value::as_str).filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or(IdentityError::Malformed("its header names no key"))
}

#[cfg(test)]
mod tests;
