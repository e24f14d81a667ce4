//! What a token says, and whether that is acceptable here and now. Pure: the signature was checked before.

use super::{IdentityError, Trust};
use crate::domain::actor::Principal;
use chrono::{DateTime, Duration, Utc};
use serde::Deserialize;
use uuid::Uuid;

/// Clocks may differ by this much.
const LEEWAY: Duration = Duration::seconds(5);

/// The claims that matter. Types are part of the check: `iss` and `aud` as lists are refused.
#[derive(Debug, Deserialize)]
pub struct Claims {
    iss: String,
    sub: String,
    token_use: String,
    exp: f64,
    nbf: Option<f64>,
    aud: Option<String>,
    client_id: Option<String>,
    email: Option<String>,
    name: Option<String>,
    #[serde(rename = "custom:workspace_id")]
    workspace: Option<String>,
}

impl Claims {
    /// The person, if the token is for this service and valid now.
    pub fn principal(&self, trust: &Trust, now: DateTime<Utc>) -> Result<Principal, IdentityError> {
        if self.iss != trust.issuer {
            return Err(IdentityError::BadClaims("it comes from another issuer"));
        }
        if self.sub.is_empty() || self.sub.chars().any(char::is_control) {
            return Err(IdentityError::BadClaims("it names nobody"));
        }
        let client = match self.token_use.as_str() {
            "id" => &self.aud,
            "access" => &self.client_id,
            _ => return Err(IdentityError::BadClaims("token_use must be id or access")),
        };
        if !client.as_ref().is_some_and(|client| trust.client_ids.contains(client)) {
            return Err(IdentityError::BadClaims("it is for another client"));
        }
        let expires_at = time(self.exp).ok_or(IdentityError::BadClaims("exp is not a time"))?;
        if expires_at + LEEWAY <= now {
            return Err(IdentityError::Expired);
        }
        if let Some(nbf) = self.nbf {
            let begins_at = time(nbf).ok_or(IdentityError::BadClaims("nbf is not a time"))?;
            if begins_at > now + LEEWAY {
                return Err(IdentityError::BadClaims("it is not valid yet"));
            }
        }
        // A workspace that cannot be read must not silently become the person's own.
        let workspace = self.workspace.as_deref().map(Uuid::parse_str).transpose();
        Ok(Principal {
            issuer: self.iss.clone(),
            subject: self.sub.clone(),
            email: self.email.clone().and_then(cleaned),
            name: self.name.clone().and_then(cleaned),
            workspace: workspace.map_err(|_| IdentityError::BadClaims("custom:workspace_id is not a UUID"))?,
            expires_at: expires_at + LEEWAY,
        })
    }
}

/// What people write of themselves, without control characters: `PostgreSQL` keeps no NUL, and no terminal wants escapes.
fn cleaned(mut text: String) -> Option<String> {
    text.retain(|c| !c.is_control());
    (!text.trim().is_empty()).then_some(text)
}

/// A `NumericDate` (RFC 7519, 2): seconds since 1970, perhaps with a fraction, up to the year 9999.
fn time(seconds: f64) -> Option<DateTime<Utc>> {
    if !(0.0..253_402_300_800.0).contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked; less than a millisecond is dropped")]
    DateTime::from_timestamp_millis((seconds * 1000.0) as i64)
}
