//! What a foreign page, a rebound name or a broken proxy can send: forms, other hosts, compressed bodies, two requests
//! in one, heads without end. Requests are written byte by byte, because no client library would send them.

use super::arsenal::STORE;
use super::{Raw, assert_alive, authority, send};
use crate::support::process::{Server, settings};
use crate::support::raw::exchange;
use crate::support::{Mode, TestApp};
use serde_json::json;

const CREATE: &str = "mutation { createBatch(input: { name: \"Forged\" }) { batch { id } userErrors { code } } }";

/// A request of these header lines and this body; it asks for the end of the connection.
fn request(line: &str, url: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n", authority(url), body.len());
    for header in headers {
        text.extend([header, "\r\n"]);
    }
    format!("{text}\r\n{body}").into_bytes()
}

async fn batches(app: &TestApp) -> i64 {
    let data = app.adviser().run("{ batches { totalCount } }", json!({})).await;
    data["batches"]["totalCount"].as_i64().expect("a number")
}

#[tokio::test]
async fn a_form_of_a_foreign_page_changes_nothing_whatever_it_calls_itself() {
    let app = TestApp::start(Mode::Embedded).await;
    let (url, adviser) = (app.url(), app.adviser());
    let bearer = format!("authorization: Bearer {}", adviser.token().expect("a token"));
    let body = json!({ "query": CREATE }).to_string();
    let types = [
        "text/plain",
        "text/plain; charset=application/json",
        "application/x-www-form-urlencoded",
        "application/graphql",
        "application/json-patch+json",
        "application/jsonp",
        "application/json; charset=utf-16",
        "text/json",
        "application/json, text/plain",
        "*/*",
        "",
    ];
    for kind in types {
        let answer = send(&url, &request("POST /graphql", &url, &[&format!("content-type: {kind}"), &bearer], &body)).await;
        assert_eq!(answer.status(), Some(415), "{kind}: {answer:?}");
    }
    let answer = send(&url, &request("POST /graphql", &url, &[&bearer], &body)).await;
    assert_eq!(answer.status(), Some(415), "no type at all: {answer:?}");
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"operations\"\r\n\r\n{body}\r\n--x\r\ncontent-disposition: form-data; name=\"map\"\r\n\r\n{{}}\r\n--x--\r\n"
    );
    let answer = send(&url, &request("POST /graphql", &url, &["content-type: multipart/form-data; boundary=x", &bearer], &form)).await;
    assert_eq!(answer.status(), Some(400), "no preflight was forced: {answer:?}");
    let asked = reqwest::Url::parse_with_params("http://x/graphql", [("query", CREATE)]).expect("a URL");
    let target = format!("/graphql?{}", asked.query().expect("a query"));
    for line in [format!("GET {target}"), format!("HEAD {target}"), format!("PUT {target}"), format!("DELETE {target}")] {
        let answer = send(&url, &request(&line, &url, &[&bearer], "")).await;
        assert_eq!(answer.status(), Some(405), "{line}: {answer:?}");
    }
    // the operation of the address is not mixed with that of the body
    let answer =
        send(&url, &request(&format!("POST {target}"), &url, &["content-type: application/json", &bearer], r#"{"variables":{}}"#)).await;
    assert!(answer.status() == Some(400) && answer.0.contains("no `query`"), "{answer:?}");
    assert_eq!(batches(&app).await, 0);
    app.stop().await;
}

#[tokio::test]
async fn other_pages_may_neither_ask_first_nor_read() {
    let app = TestApp::start(Mode::Embedded).await;
    let url = app.url();
    let own = authority(&url);
    for origin in [
        "https://evil.example".to_owned(),
        "null".into(),
        format!("http://{own}.evil.example"),
        format!("http://evil.example/{own}"),
        format!("{url}0"),
    ] {
        let headers = [
            &*format!("origin: {origin}"),
            "access-control-request-method: POST",
            "access-control-request-headers: content-type,authorization",
        ];
        let answer = send(&url, &request("OPTIONS /graphql", &url, &headers, "")).await;
        assert!(!answer.head().contains("access-control-allow-origin"), "{origin}: {answer:?}");
    }
    let answer =
        send(&url, &request("OPTIONS /graphql", &url, &[&format!("origin: {url}"), "access-control-request-method: POST"], "")).await;
    assert!(answer.head().contains(&format!("access-control-allow-origin: {url}")), "{answer:?}");
    assert!(!answer.head().contains("access-control-allow-credentials"), "there are no cookies: {answer:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_rebound_name_reaches_nothing_however_it_is_spelt() {
    let app = TestApp::start(Mode::Embedded).await;
    let url = app.url();
    let own = authority(&url).to_owned();
    let bearer = format!("authorization: Bearer {}", app.adviser().token().expect("a token"));
    let heads = [
        "GET / HTTP/1.1\r\nhost: evil.example".to_owned(),
        format!("GET http://evil.example/ HTTP/1.1\r\nhost: {own}"),
        format!("GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\nhost: {own}"),
        format!("GET / HTTP/1.1\r\nhost: {own}\r\nhost: evil.example"),
        format!("GET / HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: {own}\r\nforwarded: host={own}"),
        format!("GET / HTTP/1.1\r\nhost: {own}@evil.example"),
        "GET / HTTP/1.1\r\nhost: 127.0.0.1.nip.example".to_owned(),
        "GET / HTTP/1.1\r\nhost: localhost.".to_owned(),
        "GET / HTTP/1.1\r\nhost: 0x7f000001".to_owned(),
        "GET / HTTP/1.1\r\nhost: 0.0.0.0".to_owned(),
        "GET / HTTP/1.1\r\nhost:".to_owned(),
        "GET / HTTP/1.1".to_owned(),
        "GET / HTTP/1.0".to_owned(),
    ];
    for head in heads {
        for path in ["/", "/graphql?query=%7Bviewer%7Bid%7D%7D"] {
            let head = head.replacen(" / ", &format!(" {path} "), 1).replacen("evil.example/ ", &format!("evil.example{path} "), 1);
            let answer = send(&url, format!("{head}\r\n{bearer}\r\nconnection: close\r\n\r\n").as_bytes()).await;
            assert!(matches!(answer.status().or_else(|| old_status(&answer)), Some(400 | 403)), "{head}: {answer:?}");
            assert!(!answer.0.contains("eyJ"), "{head}: a token was given away");
        }
    }
    assert_alive(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn http_2_has_the_same_doors() {
    let app = TestApp::start(Mode::Embedded).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let ask = |host: Option<&str>| {
        let request =
            client.post(format!("{}/graphql", app.url())).header("content-type", "application/json").body(r#"{"query":"{ __typename }"}"#);
        host.map_or(request.try_clone().expect("a request"), |host| request.header("host", host))
    };
    let answer = ask(None).send().await.expect("an answer");
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    let answer = ask(Some("evil.example")).send().await.expect("an answer");
    assert_eq!(answer.status(), 403, "the authority and the host must agree");
    // streams that are given up at once do not pile up
    for _ in 0..300 {
        let request = ask(None).send();
        drop(futures::FutureExt::now_or_never(request));
    }
    let large = client.post(format!("{}/graphql", app.url())).header("content-type", "application/json").body("x".repeat(300_000));
    assert_eq!(large.send().await.expect("an answer").status(), 413);
    assert_alive(&app).await;
    app.stop().await;
}

/// The status of an answer in HTTP/1.0.
fn old_status(answer: &Raw) -> Option<u16> {
    answer.0.strip_prefix("HTTP/1.0 ")?.get(..3)?.parse().ok()
}

#[tokio::test]
async fn compressed_bodies_are_not_unpacked() {
    let app = TestApp::start(Mode::Embedded).await;
    let url = app.url();
    for encoding in ["gzip", "br", "deflate", "zstd", "gzip, gzip", "identity, gzip", "x-unknown"] {
        let headers = ["content-type: application/json", &*format!("content-encoding: {encoding}")];
        let answer = send(&url, &request("POST /graphql", &url, &headers, r#"{"query":"{ __typename }"}"#)).await;
        assert_eq!(answer.status(), Some(415), "{encoding}: {answer:?}");
    }
    // a second header is not overlooked
    let headers = ["content-type: application/json", "content-encoding: identity", "content-encoding: gzip"];
    assert_eq!(send(&url, &request("POST /graphql", &url, &headers, r#"{"query":"{ __typename }"}"#)).await.status(), Some(415));
    app.stop().await;
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_whether_or_not_they_say_how_long_they_are() {
    let app = TestApp::start(Mode::Embedded).await;
    let (url, own) = (app.url(), authority(&app.url()).to_owned());
    let body = format!(r#"{{"query":"{{ __typename }}","variables":{{"a":"{}"}}}}"#, "x".repeat(300_000));
    let answer = send(&url, &request("POST /graphql", &url, &["content-type: application/json"], &body)).await;
    assert!(answer.status() == Some(413) && answer.0.contains("PAYLOAD_TOO_LARGE"), "{answer:?}");
    let chunked = format!(
        "POST /graphql HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(send(&url, chunked.as_bytes()).await.status(), Some(413));
    // one that only says that it will be long is not waited for
    let claimed = format!(
        "POST /graphql HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 999999999999\r\n\r\n"
    );
    assert_eq!(send(&url, claimed.as_bytes()).await.status(), Some(413));
    assert_alive(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn two_requests_in_one_are_never_both_answered() {
    let app = TestApp::start(Mode::Embedded).await;
    let (url, own) = (app.url(), authority(&app.url()).to_owned());
    let smuggled = format!("GET /health HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n");
    let start = format!("POST /graphql HTTP/1.1\r\nhost: {own}\r\ncontent-type: application/json\r\n");
    for lengths in [
        format!("content-length: {}\r\ncontent-length: 0", smuggled.len()),
        "content-length: +5".to_owned(),
        "content-length: 0x10".to_owned(),
        "content-length: -1".to_owned(),
        "content-length: 5, 6".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity".to_owned(),
        "transfer-encoding: xchunked".to_owned(),
        "transfer-encoding: chunked, identity".to_owned(),
    ] {
        let answer = send(&url, format!("{start}{lengths}\r\n\r\n{smuggled}").as_bytes()).await;
        assert!(answer.answers() <= 1 && !answer.0.contains("healthy"), "{lengths}: {answer:?}");
        assert!(answer.status().is_none_or(|status| status >= 400), "{lengths}: {answer:?}");
    }
    for broken in ["GET /graphql\r\nHTTP/1.1\r\n\r\n", "\r\n\r\nnonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{1}\u{2}\u{3}\r\n\r\n"] {
        let answer = send(&url, broken.as_bytes()).await;
        assert!(answer.status().is_none_or(|status| status >= 400), "{broken:?}: {answer:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let app = TestApp::start(Mode::Embedded).await;
    let (url, own) = (app.url(), authority(&app.url()).to_owned());
    let start = format!("GET /graphql HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n");
    let many: String = (0..5_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "x".repeat(200_000));
    let endless = format!("GET /graphql?query={} HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n", "a".repeat(200_000));
    for head in [format!("{start}{many}\r\n"), format!("{start}{long}\r\n"), endless] {
        let answer = send(&url, head.as_bytes()).await;
        assert!(answer.status().is_none_or(|status| [400, 414, 431].contains(&status)), "{:?}", answer.status());
    }
    assert_alive(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn every_answer_says_that_it_is_what_it_says() {
    let app = TestApp::start(Mode::Embedded).await;
    let url = app.url();
    for path in [
        "/",
        "/graphql",
        "/graphql?query=%7B__typename%7D",
        "/health",
        "/no/such/path",
        "/.well-known/jwks.json",
        "/claimwright/no/such/key",
    ] {
        let answer = send(&url, &request(&format!("GET {path}"), &url, &[], "")).await;
        let head = answer.head();
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        assert!(!head.contains("server:") && !head.contains("x-powered-by"), "{path}: {head}");
        if !path.starts_with("/claimwright") {
            assert!(head.contains("content-security-policy: ") && head.contains("referrer-policy: no-referrer"), "{path}: {head}");
            assert!(head.contains("cache-control: no-store"), "{path}: {head}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn behind_https_browsers_are_told_to_come_by_no_other_way() {
    let settings = [("PUBLIC_URL", "https://claims.example"), ("ALLOW_LOCAL_ISSUER", "on")];
    let app = TestApp::start_on(Mode::Embedded, &settings, |_| {}).await;
    let plain = TestApp::start(Mode::Embedded).await;
    for path in ["/", "/graphql?query=%7B__typename%7D", "/no/such/path", "/claimwright/no/such/key", "/.well-known/jwks.json"] {
        let answer = send(&app.url(), &request(&format!("GET {path}"), &app.url(), &[], "")).await;
        assert!(answer.head().contains("strict-transport-security: max-age=31536000"), "{path}: {answer:?}");
        let answer = send(&plain.url(), &request(&format!("GET {path}"), &plain.url(), &[], "")).await;
        assert!(!answer.head().contains("strict-transport-security"), "{path}: {answer:?}");
    }
    app.stop().await;
    plain.stop().await;
}

#[tokio::test]
async fn the_whole_accept_header_does_not_fail_with_one_range_and_spaces_may_stand_before_parameters() {
    let app = TestApp::start(Mode::Embedded).await;
    let body = r#"{"query":"{ __typename }"}"#;
    for (content_type, accept) in [
        ("application/json ; charset=utf-8", "application/json"),
        ("application/json", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"),
    ] {
        let headers = [("content-type", content_type), ("accept", accept)];
        let answer = exchange(&app.url(), "POST", "/graphql", &headers, body.as_bytes()).await;
        assert_eq!((answer.status, &answer.json()["data"]["__typename"]), (200, &json!("Query")), "{answer:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn requests_that_the_file_store_refuses_write_no_errors_into_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &settings(&[("RUST_LOG", "info")])).await;
    for (method, path) in STORE {
        let answer = exchange(server.url(), method, path, &[], b"x").await;
        assert!((400..=501).contains(&answer.status) && answer.status != 500, "{method} {path}: {answer:?}");
    }
    let log = server.log_to_the_end().await;
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}
