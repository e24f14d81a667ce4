//! Content negotiation of GraphQL over HTTP (RFC 9110, 12.5.1): which media type an answer has. It must not know what
//! is answered.

use http::{HeaderMap, HeaderValue, header};
use std::cmp::Reverse;

/// Media type of an answer that is one result.
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

/// What a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Media type of a result; none if no such type is acceptable.
    pub result: Option<Media>,
    /// How welcome `text/event-stream` is.
    pub events: Events,
}

/// How welcome an event stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// Not at all: nobody sends one to a client that did not name it.
    Refused,
    /// Instead of an error, for what cannot be one result.
    Accepted,
    /// For every operation.
    Preferred,
}

impl Accepted {
    /// True if nothing that could be sent is acceptable: 406.
    pub fn is_nothing(self) -> bool {
        self.result.is_none() && self.events == Events::Refused
    }
}

/// A range of the `Accept` header.
struct Range {
    main: String,
    sub: String,
    has_charset: bool,
    /// In thousandths; 0 is "not acceptable".
    quality: u16,
}

/// How welcome a media type is: quality, how precisely it was named, and the first one among equals.
type Rank = (u16, u8, Reverse<usize>);

/// What the `Accept` headers ask for: the highest q-value wins, where the most precise range that matches a type gives
/// its q-value; then the type that is named more precisely, then the first one. Without the header or with `*/*` it is
/// JSON (the GraphQL-over-HTTP audits ask for that; clients of `application/graphql-response+json` name it).
pub fn accepted(headers: &HeaderMap) -> Accepted {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    if accept.trim().is_empty() {
        return Accepted { result: Some(Media::Json), events: Events::Refused };
    }
    let ranges: Vec<Range> = split(&accept, ',').into_iter().filter_map(range).collect();
    let json = rank(&ranges, "application", "json").map(|rank| (rank, Media::Json));
    let graphql = rank(&ranges, "application", "graphql-response+json").map(|rank| (rank, Media::GraphqlResponse));
    let best = match (json, graphql) {
        (Some(json), Some(graphql)) => Some(if graphql.0 > json.0 { graphql } else { json }),
        (json, graphql) => json.or(graphql),
    };
    let events = match rank(&ranges, "text", "event-stream").filter(|(_, precision, _)| *precision >= NAMED) {
        Some(rank) if best.is_none_or(|(result, _)| rank > result) => Events::Preferred,
        Some(_) => Events::Accepted,
        None => Events::Refused,
    };
    Accepted { result: best.map(|(_, media)| media), events }
}

/// Precision of a range that names a type.
const NAMED: u8 = 2;

fn rank(ranges: &[Range], main: &str, sub: &str) -> Option<Rank> {
    let precision = |range: &Range| match (range.main.as_str(), range.sub.as_str()) {
        ("*", "*") => Some(0),
        (own, "*") if own == main => Some(1),
        (own, other) if own == main && other == sub => Some(NAMED + u8::from(range.has_charset)),
        _ => None,
    };
    let matching =
        ranges.iter().enumerate().filter_map(|(place, range)| precision(range).map(|precision| (precision, Reverse(place), range)));
    let (precision, place, range) = matching.max_by_key(|(precision, place, _)| (*precision, *place))?;
    (range.quality > 0).then_some((range.quality, precision, place))
}

/// Reads a range. `None` if it is malformed or asks for another charset than UTF-8.
fn range(item: &str) -> Option<Range> {
    let mut parts = split(item, ';').into_iter().map(str::trim);
    let (main, sub) = parts.next()?.split_once('/')?;
    let mut range = Range { main: main.to_ascii_lowercase(), sub: sub.to_ascii_lowercase(), has_charset: false, quality: 1000 };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim_end().to_ascii_lowercase().as_str() {
            "charset" if value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") => range.has_charset = true,
            "charset" => return None,
            // What stands behind q are not parameters of the type.
            "q" => {
                // One that is malformed says nothing, and the client still has named the type.
                range.quality = thousandths(value.trim()).unwrap_or(range.quality);
                break;
            }
            _ => {}
        }
    }
    Some(range)
}

/// A q-value: 0 to 1 with at most three digits behind the point. Java's own client sends `.2`.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: u16 = if is_number { format!("{fraction:0<3}").parse().ok()? } else { return None };
    match whole {
        "0" => Some(fraction),
        "" if text.len() > 1 => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// Splits at a separator that is not inside of a quoted string.
pub fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                items.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Accepted {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        accepted(&headers)
    }

    #[test]
    fn without_an_accept_header_the_answer_is_json() {
        assert_eq!(accepted(&HeaderMap::new()).result, Some(Media::Json));
        for any in ["*/*", "application/*", " ", "text/html, */*;q=0.1"] {
            assert_eq!(of(any), Accepted { result: Some(Media::Json), events: Events::Refused }, "{any}");
        }
    }

    #[test]
    fn the_highest_quality_wins_then_the_precise_name_then_the_first() {
        let graphql = [
            "application/json;q=0.5, application/graphql-response+json;q=0.9",
            "application/graphql-response+json, application/json",
            "application/json; q=0.899,application/graphql-response+json ; Q=0.9",
            "*/*, application/graphql-response+json",
            "application/json;q=0, */*",
            "application/json;q=0.1, application/*;q=0.2",
            "application/JSON;q=0.2, APPLICATION/GraphQL-Response+JSON",
            "application/json;profile=\"a,b;q=1\";q=0.1, application/graphql-response+json;q=0.2",
        ];
        for accept in graphql {
            assert_eq!(of(accept).result, Some(Media::GraphqlResponse), "{accept}");
        }
        let json = [
            "application/json, application/graphql-response+json",
            "*/*;q=0.5, application/graphql-response+json;q=0.4",
            "application/graphql-response+json;q=0, */*;q=0.001",
            "application/json; charset=\"UTF-8\"",
            "application/graphql-response+json; charset=latin1, application/json;q=0.1",
        ];
        for accept in json {
            assert_eq!(of(accept).result, Some(Media::Json), "{accept}");
        }
    }

    #[test]
    fn nothing_acceptable_is_told() {
        let nothing = [
            "text/html",
            "application/json;q=0",
            "application/json;q=0.000",
            "application/json; charset=latin1",
            "*/*;q=0",
            "text/*",
            "json",
        ];
        for accept in nothing {
            assert!(of(accept).is_nothing(), "{accept}");
        }
    }

    #[test]
    fn what_is_malformed_is_disregarded_and_the_rest_counts() {
        let java = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
        for json in
            [java, "application/json;q=2", "application/json;q=0.1234", "application/json;q=nan", "application/json;q=", "json, */*"]
        {
            assert_eq!(of(json).result, Some(Media::Json), "{json}");
        }
        assert_eq!(of("application/json;q=.2, application/graphql-response+json;q=0.3").result, Some(Media::GraphqlResponse));
        assert_eq!(of("application/json;q=.4, application/graphql-response+json;q=0.3").result, Some(Media::Json));
        assert!(of("application/json;q=.").result.is_some() && of("application/json;q=.0").is_nothing());
    }

    #[test]
    fn an_event_stream_is_for_those_who_name_it() {
        assert_eq!(of("text/event-stream"), Accepted { result: None, events: Events::Preferred });
        assert_eq!(of("text/event-stream, application/json").events, Events::Preferred);
        assert_eq!(of("application/json, text/event-stream").events, Events::Accepted);
        assert_eq!(of("text/event-stream;q=0.5, */*;q=0.4").events, Events::Preferred);
        assert_eq!(of("text/event-stream;q=0, application/json").events, Events::Refused);
        assert_eq!(of("text/*").events, Events::Refused);
    }
}
