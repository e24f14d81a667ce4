//! From a header or a `connection_init` payload to the actor. Checking the token itself is `identity`'s; nothing here
//! logs or keeps one.

use super::HttpState;
use crate::{
    domain::actor::{Actor, Principal},
    error::{Error, FaultCode, Result},
};
use http::{HeaderMap, header};
use serde_json::Value;
use std::sync::Arc;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 << 10;

/// The caller of a request; `None` without an `Authorization` header.
///
/// # Errors
/// UNAUTHENTICATED if there is a header that is not one good bearer token.
pub async fn caller(state: &HttpState, headers: &HeaderMap) -> Result<Option<Actor>> {
    match bearer_header(headers)? {
        Some(token) => sign_in(state, token).await.map(|(_, actor)| Some(actor)),
        None => Ok(None),
    }
}

/// Checks a token and finds the actor behind it.
///
/// # Errors
/// UNAUTHENTICATED for a bad token, UNAVAILABLE or INTERNAL if that cannot be told now.
pub async fn sign_in(state: &HttpState, token: &str) -> Result<(Arc<Principal>, Actor)> {
    if token.is_empty() || token.len() > MAX_TOKEN {
        return Err(unauthenticated("The token is malformed."));
    }
    let principal = state.identity.verify(token).await?;
    let actor = state.services.people.actor_for(&principal).await?;
    Ok((principal, actor))
}

/// The token of a `connection_init` payload: `{"Authorization": "Bearer …"}` in any case, or `{"token": "…"}`.
pub fn init_token(payload: Option<&Value>) -> Option<&str> {
    let payload = payload?.as_object()?;
    let mut authorizations = payload.iter().filter(|(key, _)| key.eq_ignore_ascii_case("authorization"));
    match (authorizations.next(), authorizations.next()) {
        // Of two, which one counts would be a guess.
        (_, Some(_)) => None,
        (Some((_, value)), None) => bearer(value.as_str()?),
        (None, None) => payload.get("token")?.as_str(),
    }
}

fn bearer_header(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // With two headers, which one counts would be a guess.
    if values.next().is_some() {
        return Err(unauthenticated("Send one Authorization header."));
    }
    let token = value.to_str().ok().and_then(bearer);
    token.map(Some).ok_or_else(|| unauthenticated("The Authorization header must be: Bearer <token>."))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn unauthenticated(message: &str) -> Error {
    Error::fault(FaultCode::Unauthenticated, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    #[test]
    fn the_token_of_a_socket_is_found_in_either_form() {
        for payload in [json!({"Authorization": "Bearer t"}), json!({"authorization": "bearer  t"}), json!({"token": "t"})] {
            assert_eq!(init_token(Some(&payload)), Some("t"), "{payload}");
        }
        let twice = json!({"Authorization": "Bearer t", "authorization": "Bearer t"});
        for payload in [json!({}), json!({"Authorization": "t"}), json!({"Authorization": 1}), json!({"token": null}), twice] {
            assert_eq!(init_token(Some(&payload)), None, "{payload}");
        }
    }

    #[test]
    fn one_bearer_header_counts_and_anything_else_is_refused() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer_header(&headers).map(|token| token.map(str::to_owned)).map_err(|_| ())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["BEARER t"]), Ok(Some("t".into())));
        assert_eq!(of(&["Basic dTpw"]), Err(()));
        assert_eq!(of(&["Bearer"]), Err(()));
        assert_eq!(of(&["Bearer t", "Bearer t"]), Err(()));
    }
}
