//! What goes wrong with an endpoint, and which [`JobFailureCode`] it is: whether it is retried, after how long, and whether
//! it tells of an outage. Messages are ours; a provider's own may quote the prompt.

use super::wire::{Fault, Refusal};
use super::{DraftFailure, Headroom};
use crate::domain::jobs::JobFailureCode;
use chrono::DateTime;
use futures::StreamExt;
use http::StatusCode;
use http::header::{DATE, HeaderMap, RETRY_AFTER};
use std::error::Error as StdError;
use std::time::Duration;

/// Most bytes of the body of a refusal that are read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// Longest wait for such a body.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A request that got no answer.
pub(super) fn not_reached(error: &reqwest::Error) -> DraftFailure {
    let message = if has_cause::<rustls::Error>(error) {
        "No secure connection to the provider can be made; check AI_BASE_URL and the provider's certificate."
    } else if error.is_connect() || error.is_timeout() {
        "The provider cannot be reached."
    } else {
        "The connection to the provider broke off."
    };
    tracing::debug!(error = %Causes(error), "the provider was not reached");
    DraftFailure::new(JobFailureCode::ProviderUnavailable, message)
}

/// True if there is such an error among the causes, also inside of an I/O error, which hides its own from `source`.
fn has_cause<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<E>() || inside.is_some_and(|inside| inside.is::<E>() || has_cause::<E>(inside)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The causes of an error without the address, which may hold what is secret.
struct Causes<'e>(&'e reqwest::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, "{error}; ")?;
            next = error.source();
        }
        Ok(())
    }
}

/// A request that was answered with something else than success.
pub(super) async fn refused(response: reqwest::Response) -> DraftFailure {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = tokio::time::timeout(REFUSAL_TIMEOUT, body(response, MAX_REFUSAL_BYTES)).await.ok().flatten();
    let refusal = body.and_then(|body| serde_json::from_slice::<Refusal>(&body).ok());
    let fault = refusal.and_then(|refusal| refusal.error).unwrap_or_default();
    of_status(status, &fault).after(retry_after(&headers))
}

/// A fault that was reported in the middle of a stream.
pub(super) fn reported(fault: &Fault) -> DraftFailure {
    let number = fault.words.iter().find_map(|word| word.parse::<u16>().ok()).and_then(|number| StatusCode::from_u16(number).ok());
    let is = |wanted: &str| fault.words.iter().any(|word| word.contains(wanted));
    let status = number.unwrap_or_else(|| match () {
        () if is("rate_limit") || is("quota") || is("too_many") => StatusCode::TOO_MANY_REQUESTS,
        () if is("content_filter") || is("policy") || is("invalid_request") || is("context_length") => StatusCode::BAD_REQUEST,
        () => StatusCode::INTERNAL_SERVER_ERROR,
    });
    of_status(status, fault)
}

/// An answer that cannot be read.
pub(super) fn unreadable(how: &str) -> DraftFailure {
    let failure = DraftFailure::new(JobFailureCode::ProviderBadAnswer, format!("The provider's answer {how}."));
    // whoever speaks another language is not the model but what stands before it
    DraftFailure { outage: true, ..failure }
}

fn of_status(status: StatusCode, fault: &Fault) -> DraftFailure {
    use JobFailureCode::{ProviderRateLimited, ProviderRefused, ProviderUnavailable, TimedOut};
    let is = |wanted: &str| fault.words.iter().any(|word| word.contains(wanted));
    let said = fault.words.first().map_or_else(String::new, |word| format!(", {word}"));
    let because = |code, what: &str| DraftFailure::new(code, format!("{what} (HTTP {}{said}).", status.as_u16()));
    match status.as_u16() {
        _ if is("content_filter") || is("content_policy") || is("responsibleaipolicyviolation") => {
            because(ProviderRefused, "The provider's content filter refused the facts")
        }
        429 if is("insufficient_quota") || is("billing") => {
            because(ProviderRateLimited, "The account at the provider has no credit left").lasting()
        }
        429 => because(ProviderRateLimited, "The provider limits the requests"),
        408 => because(TimedOut, "The provider took too long"),
        401 | 403 => because(ProviderUnavailable, "The provider does not accept the key; check AI_API_KEY").lasting(),
        404 | 405 | 410 => {
            because(ProviderUnavailable, "The provider does not know the address or the model; check AI_BASE_URL and AI_MODEL").lasting()
        }
        300..=399 => because(ProviderUnavailable, "The provider points to another address; check AI_BASE_URL").lasting(),
        409 | 425 | 500..=599 => because(ProviderUnavailable, "The provider failed"),
        _ if is("context_length") => because(ProviderRefused, "Facts and guidance are too long for the model").lasting(),
        _ => because(ProviderRefused, "The provider does not accept the request"),
    }
}

/// The body of an answer, if it can be had and is not too large.
pub(super) async fn body(response: reqwest::Response, most: usize) -> Option<Vec<u8>> {
    let (mut chunks, mut body) = (response.bytes_stream(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.ok()?);
        if body.len() > most {
            return None;
        }
    }
    Some(body)
}

/// What the provider asks to wait: `Retry-After` in its three forms, or the reset of the limit that is used up.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|value| value.parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let Some(value) = text(RETRY_AFTER.as_str()) else { return headroom(headers).and_then(|headroom| headroom.exhausted_for()) };
    if let Ok(seconds) = value.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    // by the server's own clock, so that ours may be wrong
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    (date(value)? - date(text(DATE.as_str())?)?).to_std().ok()
}

/// What is left of the provider's limits, from `x-ratelimit-*`.
pub(super) fn headroom(headers: &HeaderMap) -> Option<Headroom> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let left = |what: &str| text(&format!("x-ratelimit-remaining-{what}")).and_then(|value| value.parse().ok());
    let reset = |what: &str| text(&format!("x-ratelimit-reset-{what}")).and_then(duration);
    let (requests, tokens): (Option<u32>, Option<u32>) = (left("requests"), left("tokens"));
    if requests.is_none() && tokens.is_none() {
        return None;
    }
    let of_requests = reset("requests").filter(|_| requests == Some(0));
    let of_tokens = reset("tokens").filter(|_| tokens == Some(0));
    Some(Headroom { requests, tokens, resets_after: of_requests.max(of_tokens) })
}

/// `1s`, `6m0s`, `250ms`, `1h2m3.5s`, or seconds without a unit (Azure).
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut whole) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let seconds = match &after[..unit] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        whole = whole.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &after[unit..];
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_wait_is_read_in_every_form_that_providers_use() {
        let wait = |pairs: &[(&'static str, &'static str)]| retry_after(&headers(pairs));
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(wait(&[("retry-after-ms", "1500"), ("retry-after", "2")]), Some(Duration::from_millis(1_500)));
        let date = ("date", "Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT"), date]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT"), date]), None, "a moment that has passed");
        for nonsense in ["soon", "-3", "NaN", "1e400"] {
            assert_eq!(wait(&[("retry-after", nonsense), date]), None, "{nonsense}");
        }
        let used_up =
            [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1m0.5s"), ("x-ratelimit-remaining-requests", "3")];
        assert_eq!(wait(&used_up), Some(Duration::from_millis(60_500)));
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn what_is_left_is_read_from_the_headers() {
        let left = headroom(&headers(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "12"),
            ("x-ratelimit-reset-tokens", "9h"),
        ]));
        assert_eq!(left, Some(Headroom { requests: Some(0), tokens: None, resets_after: Some(Duration::from_secs(12)) }));
        assert_eq!(headroom(&headers(&[("x-ratelimit-reset-requests", "12")])), None);
        assert_eq!(duration("6m0s"), Some(Duration::from_mins(6)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("5 minutes"), None);
    }

    #[test]
    fn every_status_has_a_code_and_a_verdict() {
        use JobFailureCode::{ProviderRateLimited, ProviderRefused, ProviderUnavailable, TimedOut};
        let fault = |word: &str| Fault { words: vec![word.to_owned()] };
        for (status, word, code, retryable, outage) in [
            (429, "rate_limit_exceeded", ProviderRateLimited, true, false),
            (429, "insufficient_quota", ProviderRateLimited, false, false),
            (500, "server_error", ProviderUnavailable, true, true),
            (503, "", ProviderUnavailable, true, true),
            (529, "overloaded_error", ProviderUnavailable, true, true),
            (408, "", TimedOut, true, true),
            (401, "invalid_api_key", ProviderUnavailable, false, false),
            (404, "model_not_found", ProviderUnavailable, false, false),
            (307, "", ProviderUnavailable, false, false),
            (400, "content_filter", ProviderRefused, false, false),
            (400, "context_length_exceeded", ProviderRefused, false, false),
            (422, "", ProviderRefused, false, false),
        ] {
            let failure = of_status(StatusCode::from_u16(status).unwrap(), &fault(word));
            assert_eq!((failure.code, failure.retryable, failure.outage), (code, retryable, outage), "{status} {word}");
            assert!(failure.message.contains(&status.to_string()), "{}", failure.message);
        }
        assert_eq!(reported(&fault("rate_limit_exceeded")).code, ProviderRateLimited);
        assert_eq!(reported(&fault("503")).code, ProviderUnavailable);
        assert_eq!(reported(&fault("server_error")).code, ProviderUnavailable);
    }

    #[test]
    fn a_providers_sentences_do_not_reach_messages() {
        let told: Refusal =
            serde_json::from_str(r#"{"error":{"message":"The prompt 'secret fact' is bad","type":"invalid_request_error","code":null}}"#)
                .unwrap();
        let failure = of_status(StatusCode::BAD_REQUEST, &told.error.unwrap());
        assert_eq!(failure.message, "The provider does not accept the request (HTTP 400, invalid_request_error).");
        let bare: Refusal = serde_json::from_str(r#"{"error":"model 'x' not found"}"#).unwrap();
        assert!(bare.error.unwrap().words.is_empty());
    }
}
