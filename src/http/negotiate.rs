//! Content negotiation of GraphQL over HTTP: which of the two media types an answer has. It must not know what is
//! answered.

use http::{HeaderMap, HeaderValue, header};

/// Media type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/graphql-response+json`: the status tells request errors from results.
    GraphqlResponse,
    /// `application/json`: a well-formed request is answered with 200 even if its document is refused.
    Json,
}

impl Media {
    /// The `content-type` header.
    pub const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }
}

/// The acceptable media type with the highest q-value, the first one among equals. Without an `Accept` header or with
/// `*/*` it is JSON (the GraphQL-over-HTTP audits ask for that). `None`: nothing acceptable, so 406.
pub fn accepted(headers: &HeaderMap) -> Option<Media> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    if accept.trim().is_empty() {
        return Some(Media::Json);
    }
    let mut best: Option<(f32, Media)> = None;
    for (quality, media) in accept.split(',').filter_map(range) {
        if best.is_none_or(|(highest, _)| quality > highest) {
            best = Some((quality, media));
        }
    }
    best.map(|(_, media)| media)
}

fn range(item: &str) -> Option<(f32, Media)> {
    let mut parts = item.split(';').map(|part| part.trim().to_ascii_lowercase());
    let media = match parts.next()?.as_str() {
        "application/graphql-response+json" => Media::GraphqlResponse,
        "application/json" | "application/*" | "*/*" => Media::Json,
        _ => return None,
    };
    let mut quality = 1.0;
    for part in parts {
        if let Some(value) = part.strip_prefix("q=") {
            quality = value.parse().unwrap_or(0.0);
        }
        if part.strip_prefix("charset=").is_some_and(|charset| charset.trim_matches('"') != "utf-8") {
            return None;
        }
    }
    (quality > 0.0).then_some((quality, media))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        accepted(&headers)
    }

    #[test]
    fn without_an_accept_header_the_answer_is_json() {
        assert_eq!(accepted(&HeaderMap::new()), Some(Media::Json));
        assert_eq!(of("*/*"), Some(Media::Json));
    }

    #[test]
    fn the_highest_quality_wins_and_the_first_among_equals() {
        assert_eq!(of("application/json;q=0.5, application/graphql-response+json;q=0.9"), Some(Media::GraphqlResponse));
        assert_eq!(of("application/graphql-response+json, application/json"), Some(Media::GraphqlResponse));
        assert_eq!(of("application/json, application/graphql-response+json"), Some(Media::Json));
    }

    #[test]
    fn nothing_acceptable_is_told() {
        assert_eq!(of("text/html"), None);
        assert_eq!(of("application/json;q=0"), None);
        assert_eq!(of("application/json; charset=latin1"), None);
    }
}
