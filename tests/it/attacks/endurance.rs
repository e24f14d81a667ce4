//! Everything at one process, again and again: it answers after each round, no fault of its own is in its log, and once
//! it is warm its memory does not grow.

use super::arsenal::{STORE, Shot, all};
use super::{authority, connect, refused_on};
use crate::support::Client;
use crate::support::process::{Server, settings};
use crate::support::raw::exchange;
use crate::support::socket::Socket;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// Rounds until everything that is kept on purpose (pools, caches, stacks of threads) is there.
const WARM_UP: usize = 3;
const ROUNDS: usize = 6;
/// Growth that is no leak: pages that the allocator has not given back.
const MOST_GROWTH: u64 = 24 << 20;
/// The most that a process of this size ever needs for any of it.
const MOST: u64 = 600 << 20;

/// Resident memory of a process now, and the most that it ever was, in bytes.
fn memory(process: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().trim_end_matches(" kB").trim().parse::<u64>()
    };
    (line("VmRSS:").expect("a number") << 10, line("VmHWM:").expect("a number") << 10)
}

async fn over_http(server: &Server, shots: &[Shot]) {
    let client = reqwest::Client::new();
    for Shot { what, body, codes } in shots {
        let request = client.post(format!("{}/graphql", server.url())).header("content-type", "application/json").body(body.clone());
        let answer: Value = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}")).json().await.expect("JSON");
        assert!(codes.contains(&super::code(&answer)), "{what}: {answer}");
    }
}

async fn over_a_socket(server: &Server, adviser: &Client, shots: &[Shot]) {
    let mut socket = adviser.socket().await;
    for (number, shot) in shots.iter().enumerate() {
        let Ok(payload) = serde_json::from_slice::<Value>(&shot.body) else { continue };
        if payload["query"].is_string()
            && shot.body.len() < 200_000
            && !payload["variables"].is_array()
            && !payload["operationName"].is_object()
        {
            socket.send(json!({ "id": number.to_string(), "type": "subscribe", "payload": payload })).await;
            refused_on(&mut socket, shot.what).await;
        }
    }
    for message in
        [json!("hello"), json!({ "type": "start" }), json!({ "type": "connection_init", "payload": { "token": "x".repeat(9_000) } })]
    {
        let mut broken = Socket::open(server.url()).await;
        broken.send(message).await;
        assert!(broken.receive().await.is_err());
    }
}

/// Connections that are dropped in the middle of whatever they were at.
async fn broken_off(server: &Server, adviser: &Client, batch: &str) {
    let own = authority(server.url());
    let head =
        format!("POST /graphql HTTP/1.1\r\nhost: {own}\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{{\"query\": \"");
    let garbage = "\u{1}".repeat(70_000);
    for bytes in ["", "GET", head.as_str(), garbage.as_str(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        for _ in 0..10 {
            let mut stream = connect(server.url()).await;
            drop(stream.write_all(bytes.as_bytes()).await);
        }
    }
    for _ in 0..10 {
        let mut socket = adviser.socket().await;
        let query = "subscription($id: ID!) { batchProgress(batchId: $id) { __typename } }";
        for id in 0..20 {
            socket
                .send(json!({ "id": id.to_string(), "type": "subscribe", "payload": { "query": query, "variables": { "id": batch } } }))
                .await;
        }
        assert_eq!(socket.receive().await.expect("an event")["type"], "next");
    }
    for bad in ["x", "e30.e30.e30", &"y".repeat(60_000)] {
        Client::new(server.url().to_owned(), Some(bad.to_owned())).send("{ __typename }", json!({})).await;
    }
}

/// Uploads that are none, files that stop coming, event streams and connections of HTTP/2 that are given up.
async fn other_transports(server: &Server, adviser: &Client, batch: &str) {
    let token = adviser.token().expect("a token");
    let form = |map: &str, bytes: &str| {
        let part = |name: &str, text: &str| format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        let operations = r#"{"query":"mutation($f: Upload!) { importProjects(input: { batchId: \"x\", source: { file: $f } }) { import { id } userErrors { code } } }","variables":{"f":null}}"#;
        let file = format!("--x\r\ncontent-disposition: form-data; name=\"0\"; filename=\"a.csv\"\r\n\r\n{bytes}\r\n--x--\r\n");
        format!("{}{}{file}", part("operations", operations), part("map", map))
    };
    let authorization = format!("Bearer {token}");
    let multipart = [
        ("content-type", "multipart/form-data; boundary=x"),
        ("graphql-require-preflight", "1"),
        ("authorization", authorization.as_str()),
    ];
    for body in
        [form(r#"{"0":["variables.f"]}"#, &"a,b\n".repeat(50_000)), form(r#"{"0":["variables.g"]}"#, ""), form("[", "x"), "--x".into()]
    {
        let answer = exchange(server.url(), "POST", "/graphql", &multipart, body.as_bytes()).await;
        assert!(answer.status < 500 && answer.text().to_lowercase().contains("errors"), "{answer:?}");
    }
    for (method, path) in STORE {
        let answer = exchange(server.url(), method, path, &[], b"x").await;
        assert!(answer.status >= 400 && answer.status != 500, "{method} {path}: {answer:?}");
    }
    let sql = "query($text: String!) { batches(filter: { text: $text }) { totalCount } }";
    for text in ["' OR 1=1; --", "%", "\\", "\u{0}", "'; DROP TABLE batches; --"] {
        let (_, answer) = adviser.send(sql, json!({ "text": text })).await;
        assert!(!answer.to_string().contains("INTERNAL"), "{answer}");
    }
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let watch = json!({ "query": "subscription($id: ID!) { batchProgress(batchId: $id) { __typename } }", "variables": { "id": batch } });
    let mut given_up = Vec::new();
    for client in [&h2, &reqwest::Client::new()] {
        for _ in 0..20 {
            let request = client.post(format!("{}/graphql", server.url())).bearer_auth(token).header("accept", "text/event-stream");
            let mut stream = request.json(&watch).send().await.expect("an answer");
            assert!(stream.chunk().await.expect("a chunk").is_some());
            given_up.push(stream);
        }
    }
    drop(given_up);
    for begun in ["P", "PRI * HT", "GET / HTTP/1.1\r\nhost: ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        for _ in 0..10 {
            let mut stream = connect(server.url()).await;
            drop(stream.write_all(begun.as_bytes()).await);
        }
    }
}

#[tokio::test]
async fn after_everything_the_server_answers_and_its_memory_has_not_grown() {
    let folder = tempfile::tempdir().expect("a folder");
    // 20 subscriptions on each of ten sockets that are dropped: the server may notice late
    let more =
        settings(&[("RUST_LOG", "warn,claimwright::ready=info"), ("MAX_SOCKETS_PER_PERSON", "1000"), ("MAX_STREAMS_PER_PERSON", "100000")]);
    let server = Server::start(&folder.path().join("data"), &more).await;
    let adviser = server.adviser();
    let batch = adviser.create_batch("Acme").await;
    let shots = all();
    let mut seen = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        over_http(&server, &shots).await;
        over_a_socket(&server, &adviser, &shots).await;
        broken_off(&server, &adviser, &batch).await;
        other_transports(&server, &adviser, &batch).await;
        let data = adviser.run("query($id: ID!) { batch(id: $id) { name } batches { totalCount } }", json!({ "id": batch })).await;
        assert_eq!(data, json!({ "batch": { "name": "Acme" }, "batches": { "totalCount": 1 } }), "round {round}");
        seen.push(memory(server.id()).0);
    }
    let (_, most) = memory(server.id());
    let warm = seen[..WARM_UP].iter().max().copied().expect("rounds");
    let at_the_end = seen[seen.len() - 2..].iter().min().copied().expect("rounds");
    assert!(at_the_end <= warm + MOST_GROWTH, "resident bytes after each round: {seen:?}");
    assert!(most <= MOST, "{most} bytes at the most");
    let log = server.log_to_the_end().await;
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}
