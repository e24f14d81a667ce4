//! Files of a multipart request (graphql-multipart-request-spec): operation, map, then files, everything bounded. It
//! must not know what a file is for.

use super::{
    document::{Incoming, Operation},
    json,
    respond::{Refused, internal},
};
use crate::error::Error;
use async_graphql::UploadValue;
use axum::extract::{
    DefaultBodyLimit, FromRequest, Multipart, Request,
    multipart::{Field, MultipartError},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Seek, Write},
};

/// Most files, and most places that they are put in.
const MAX_FILES: usize = 10;
/// What a request needs besides its files, in bytes.
pub const ENVELOPE: usize = 64 << 10;
/// Headers of which any one keeps browsers from sending a form without asking first.
const PREFLIGHT_HEADERS: [&str; 4] = ["graphql-require-preflight", "apollo-require-preflight", "graphql-preflight", "x-requested-with"];

/// True if a browser had to ask before it sent these headers.
pub fn forces_preflight(headers: &HeaderMap) -> bool {
    PREFLIGHT_HEADERS.iter().any(|name| headers.contains_key(*name))
}

/// Reads the request; files go to unnamed temporary files.
///
/// # Errors
/// 400 if it does not follow the specification, 413 if it is larger than `limit` bytes (and an envelope).
pub async fn read(mut request: Request, limit: usize) -> Result<Incoming, Refused> {
    DefaultBodyLimit::max(limit.saturating_add(ENVELOPE)).apply(&mut request);
    let malformed = |error: &MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refused::too_large(limit),
        _ => invalid("The multipart body is malformed."),
    };
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| invalid("The multipart boundary is missing."))?;
    let mut operation: Option<Incoming> = None;
    let mut map: Option<BTreeMap<String, Vec<String>>> = None;
    while let Some(part) = parts.next_field().await.map_err(|error| malformed(&error))? {
        let name = part.name().unwrap_or_default().to_owned();
        match (name.as_str(), &mut operation, &mut map) {
            ("operations", None, None) => {
                let text = part.bytes().await.map_err(|error| malformed(&error))?;
                within_envelope(&text)?;
                operation = Some(Operation::from_json(&text)?.into_incoming()?);
            }
            ("map", Some(_), None) => {
                let text = part.bytes().await.map_err(|error| malformed(&error))?;
                within_envelope(&text)?;
                map = Some(read_map(&text)?);
            }
            (_, Some(operation), Some(map)) => {
                let paths = map.remove(&name).ok_or_else(|| invalid("A file is not in the map."))?;
                let file = receive(part, limit, malformed).await?;
                put(&mut operation.request, &paths, &file)?;
            }
            _ => return Err(invalid("The parts must be `operations`, then `map`, then the files.")),
        }
    }
    match (operation, map) {
        (Some(operation), Some(map)) if map.is_empty() => Ok(operation),
        _ => Err(invalid("`operations`, `map` or a file of the map is missing.")),
    }
}

fn within_envelope(part: &Bytes) -> Result<(), Refused> {
    if part.len() > ENVELOPE { Err(Refused::too_large(ENVELOPE)) } else { Ok(()) }
}

fn read_map(text: &[u8]) -> Result<BTreeMap<String, Vec<String>>, Refused> {
    let object = str::from_utf8(text).ok().and_then(json::read);
    let map = object.and_then(|object| serde_json::from_value::<BTreeMap<String, Vec<String>>>(object.into()).ok());
    let map = map.ok_or_else(|| invalid("The map is malformed."))?;
    let (all, different) = (map.values().flatten(), map.values().flatten().collect::<BTreeSet<_>>());
    if all.count() != different.len() {
        return Err(invalid("The map names a variable twice."));
    }
    if map.values().map(Vec::len).sum::<usize>() > MAX_FILES || map.len() > MAX_FILES {
        return Err(invalid("There are too many files in one request."));
    }
    Ok(map)
}

async fn receive(part: Field<'_>, limit: usize, malformed: impl Fn(&MultipartError) -> Refused) -> Result<UploadValue, Refused> {
    let filename = part.file_name().ok_or_else(|| invalid("A file has no name."))?.to_owned();
    let content_type = part.content_type().map(str::to_owned);
    let bytes = part.bytes().await.map_err(|error| malformed(&error))?;
    if bytes.len() > limit {
        return Err(Refused::too_large(limit));
    }
    let written = tokio::task::spawn_blocking(move || store(&bytes)).await;
    let content = written.map_err(|_| internal("storing an upload panicked"))?.map_err(Error::internal)?;
    Ok(UploadValue { filename, content_type, content })
}

fn store(bytes: &Bytes) -> std::io::Result<std::fs::File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn put(operation: &mut async_graphql::Request, paths: &[String], file: &UploadValue) -> Result<(), Refused> {
    for path in paths {
        let before = operation.uploads.len();
        operation.set_upload(path, file.try_clone().map_err(Error::internal)?);
        if operation.uploads.len() == before {
            return Err(invalid("The map names a variable that is not there."));
        }
    }
    Ok(())
}

fn invalid(message: &str) -> Refused {
    Refused::invalid(StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    async fn send(parts: &[(&str, &str)], limit: usize) -> Result<async_graphql::Request, StatusCode> {
        let text: Vec<String> = parts
            .iter()
            .map(|(name, body)| {
                let file = if name.len() == 1 { "; filename=\"f.csv\"" } else { "" };
                format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{body}\r\n")
            })
            .collect();
        let text = text.concat();
        let request = http::Request::builder().method("POST").header("content-type", "multipart/form-data; boundary=x");
        read(request.body(Body::from(text + "--x--\r\n")).unwrap(), limit)
            .await
            .map(|incoming| incoming.request)
            .map_err(|refused| refused.status)
    }

    const OPERATIONS: (&str, &str) = ("operations", r#"{"query":"mutation($f:Upload!){a(f:$f)}","variables":{"f":null}}"#);

    #[tokio::test]
    async fn a_file_is_put_where_the_map_says() {
        let request = send(&[OPERATIONS, ("map", r#"{"0":["variables.f"]}"#), ("0", "a,b")], 10).await.unwrap();
        assert_eq!(request.uploads.len(), 1);
        assert_eq!(request.uploads[0].filename, "f.csv");
        assert_eq!(request.uploads[0].size().unwrap(), 3);
    }

    #[tokio::test]
    async fn lists_of_files_and_one_file_in_several_places_are_filled() {
        let list = ("operations", r#"{"query":"mutation($f:[Upload!]!){a(f:$f)}","variables":{"f":[null,null]}}"#);
        let request =
            send(&[list, ("map", r#"{"0":["variables.f.0"],"1":["variables.f.1"]}"#), ("1", "b"), ("0", "aa")], 10).await.unwrap();
        assert_eq!(request.uploads.iter().map(|file| file.size().unwrap()).collect::<Vec<_>>(), [1, 2], "in the order in which they came");
        let nested = ("operations", r#"{"query":"mutation($i:I!){a(i:$i)}","variables":{"i":{"x":[{"f":null}],"y":null}}}"#);
        let request = send(&[nested, ("map", r#"{"0":["variables.i.x.0.f","variables.i.y"]}"#), ("0", "aa")], 10).await.unwrap();
        assert_eq!(request.uploads.len(), 2);
        for bad in ["variables.f.2", "variables.f.-1", "variables.f.x", "variables.f", "variables", "f.0", ""] {
            let map = format!(r#"{{"0":["{bad}.more"]}}"#);
            assert_eq!(send(&[list, ("map", &map), ("0", "a")], 10).await.err(), Some(StatusCode::BAD_REQUEST), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_does_not_follow_the_specification_is_refused() {
        let map = ("map", r#"{"0":["variables.f"]}"#);
        let eleven = format!(r#"{{"0":[{}]}}"#, [r#""variables.f""#; 11].join(","));
        let cases: [&[(&str, &str)]; 9] = [
            &[],
            &[OPERATIONS],
            &[OPERATIONS, map],
            &[map, OPERATIONS, ("0", "a")],
            &[OPERATIONS, ("map", r#"{"0":["variables.g"]}"#), ("0", "a")],
            &[OPERATIONS, ("map", &eleven), ("0", "a")],
            &[OPERATIONS, ("map", r#"{"0":["variables.g"],"0":["variables.f"]}"#), ("0", "a")],
            &[OPERATIONS, ("map", r#"{"0":["variables.f"],"1":["variables.f"]}"#), ("0", "a"), ("1", "b")],
            &[("operations", r##"{"query":"{a}","variables":{"f":"#__graphql_file__:0"}}"##), map, ("0", "a")],
        ];
        for case in cases {
            assert_eq!(send(case, 10).await.err(), Some(StatusCode::BAD_REQUEST), "{case:?}");
        }
    }

    #[tokio::test]
    async fn a_file_over_the_limit_is_too_large() {
        let map = ("map", r#"{"0":["variables.f"]}"#);
        assert_eq!(send(&[OPERATIONS, map, ("0", "12345")], 4).await.err(), Some(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(send(&[OPERATIONS, map, ("0", &"1".repeat(ENVELOPE * 2))], 4).await.err(), Some(StatusCode::PAYLOAD_TOO_LARGE));
        let long = format!(r#"{{"query":"{{a}}","x":"{}"}}"#, "1".repeat(ENVELOPE));
        assert_eq!(send(&[("operations", &long), map, ("0", "1")], ENVELOPE * 2).await.err(), Some(StatusCode::PAYLOAD_TOO_LARGE));
    }
}
