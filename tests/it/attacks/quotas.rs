//! How many sockets and streams may be open: at the limit a clear refusal, and a place is free again once one ends.

use crate::support::socket::Socket;
use crate::support::{Client, Mode, PATIENCE, TestApp};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Starts a stream of events; the code of the error if it is refused, and the response, which holds the place.
async fn stream(client: &Client, batch: &str) -> (reqwest::Response, Option<String>) {
    let request = reqwest::Client::new().post(format!("{}/graphql", client.url())).header("accept", "text/event-stream");
    let request = request.bearer_auth(client.token().expect("a token")).json(&json!({ "query": WATCH, "variables": { "id": batch } }));
    let mut response = request.send().await.expect("an answer");
    let mut seen = String::new();
    while !seen.contains("\ndata: ") || !seen.ends_with("\n\n") {
        let chunk = timeout(PATIENCE, response.chunk()).await.expect("something in time").expect("a chunk").expect("an event");
        seen.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
    }
    let data = seen.split_once("data: ").and_then(|(_, rest)| rest.lines().next()).expect("data");
    let event: Value = serde_json::from_str(data).expect("JSON");
    let code = event["errors"][0]["extensions"]["code"].as_str().map(str::to_owned);
    (response, code)
}

const WATCH: &str = "subscription($id: ID!) { batchProgress(batchId: $id) { __typename } }";

async fn few() -> TestApp {
    let variables = [("MAX_SOCKETS", "4"), ("MAX_SOCKETS_PER_PERSON", "2"), ("MAX_STREAMS_PER_PERSON", "3")];
    TestApp::start_on(Mode::Embedded, &variables, |_| {}).await
}

/// Opens a socket and signs in; the close code if that is refused.
async fn sign_in(app: &TestApp, client: &Client) -> Result<Socket, Option<u16>> {
    let mut socket = Socket::open(&app.url()).await;
    socket.send(json!({ "type": "connection_init", "payload": { "token": client.token() } })).await;
    socket.receive().await.map(|answer| {
        assert_eq!(answer["type"], "connection_ack");
        socket
    })
}

/// The status that a handshake is refused with.
async fn refusal(app: &TestApp) -> (u16, Value) {
    let mut request = format!("{}/graphql", app.url().replacen("http", "ws", 1)).into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a header"));
    match connect_async(request).await {
        Err(SocketError::Http(response)) => {
            let body = response.body().as_deref().map(|body| serde_json::from_slice(body).unwrap_or_default());
            (response.status().as_u16(), body.unwrap_or_default())
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Starts a stream; the error's code if it is refused.
async fn watch(socket: &mut Socket, id: &str, batch: &str) -> Result<(), String> {
    socket.send(json!({ "id": id, "type": "subscribe", "payload": { "query": WATCH, "variables": { "id": batch } } })).await;
    let answer = socket.receive().await.expect("an answer");
    match answer["type"].as_str() {
        Some("next") => Ok(()),
        Some("error") => {
            let error = &answer["payload"][0];
            assert!(error["message"].as_str().is_some_and(|message| message.contains('3')), "which limit? {error}");
            Err(error["extensions"]["code"].to_string())
        }
        _ => panic!("unexpected: {answer}"),
    }
}

/// Ends a stream and waits until that is done: what comes back on the socket is the answer to a later question.
async fn unwatch(socket: &mut Socket, id: &str) {
    socket.send(json!({ "id": id, "type": "complete" })).await;
    socket.send(json!({ "id": "later", "type": "subscribe", "payload": { "query": "{ __typename }" } })).await;
    while socket.receive().await.expect("an answer")["type"] != "complete" {}
}

#[tokio::test]
async fn a_person_has_so_many_sockets_and_another_person_as_many() {
    let app = few().await;
    let (one, other) = (app.adviser(), app.stranger());
    let _first = sign_in(&app, &one).await.expect("the first");
    let second = sign_in(&app, &one).await.expect("the second");
    // 1013: clients try again later, as they should
    assert_eq!(sign_in(&app, &one).await.err(), Some(Some(1013)));
    let _theirs = sign_in(&app, &other).await.expect("somebody else");
    drop(second);
    // the server notices in its own time that the socket is gone
    let free_again = async { while sign_in(&app, &one).await.is_err() {} };
    timeout(PATIENCE, free_again).await.expect("the place is free again");
    app.stop().await;
}

#[tokio::test]
async fn a_process_has_so_many_sockets_and_says_so_at_the_handshake() {
    let app = few().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(Socket::open(&app.url()).await);
    }
    let (status, body) = refusal(&app).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(app.adviser().send("{ __typename }", json!({})).await.0, 200, "requests go on");
    app.stop().await;
}

#[tokio::test]
async fn a_person_follows_so_many_streams_on_all_sockets_together() {
    let app = few().await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let mut first = sign_in(&app, &adviser).await.expect("a socket");
    let mut second = sign_in(&app, &adviser).await.expect("a socket");
    assert_eq!(watch(&mut first, "1", &batch).await, Ok(()));
    assert_eq!(watch(&mut first, "2", &batch).await, Ok(()));
    assert_eq!(watch(&mut second, "1", &batch).await, Ok(()));
    assert_eq!(watch(&mut second, "2", &batch).await, Err("\"TOO_COMPLEX\"".into()));
    // queries are not streams
    second.send(json!({ "id": "3", "type": "subscribe", "payload": { "query": "{ __typename }" } })).await;
    assert_eq!(second.receive().await.expect("an answer")["type"], "next");
    assert_eq!(second.receive().await.expect("an answer")["type"], "complete");
    let mut theirs = sign_in(&app, &app.stranger()).await.expect("a socket");
    let own = app.stranger().create_batch("Other").await;
    assert_eq!(watch(&mut theirs, "1", &own).await, Ok(()));
    // the place of a stream that was completed is free
    unwatch(&mut first, "1").await;
    let free_again = async { while watch(&mut second, "4", &batch).await.is_err() {} };
    timeout(PATIENCE, free_again).await.expect("the place is free again");
    app.stop().await;
}

#[tokio::test]
async fn a_socket_runs_at_most_a_hundred_operations_at_once() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let mut socket = sign_in(&app, &adviser).await.expect("a socket");
    let subscribe =
        |n: usize| json!({ "id": n.to_string(), "type": "subscribe", "payload": { "query": WATCH, "variables": { "id": batch } } });
    for n in 0..101 {
        socket.send(subscribe(n)).await;
    }
    let mut events = 0;
    let refused = loop {
        let message = socket.receive().await.expect("a message");
        match message["type"].as_str() {
            Some("next") => events += 1,
            _ => break message,
        }
    };
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("100")), "{refused}");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "TOO_COMPLEX");
    while events < 100 {
        assert_eq!(socket.receive().await.expect("an event")["type"], "next");
        events += 1;
    }
    socket.send(subscribe(1)).await;
    assert_eq!(socket.receive().await, Err(Some(4409)), "an id that is in use");
    app.stop().await;
}

#[tokio::test]
async fn event_streams_and_what_runs_on_sockets_are_counted_together_for_a_person() {
    let app = few().await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let (first, refused) = stream(&adviser, &batch).await;
    assert_eq!(refused, None);
    let (_second, refused) = stream(&adviser, &batch).await;
    assert_eq!(refused, None);
    let mut socket = sign_in(&app, &adviser).await.expect("a socket");
    assert_eq!(watch(&mut socket, "1", &batch).await, Ok(()));
    assert_eq!(stream(&adviser, &batch).await.1.as_deref(), Some("TOO_COMPLEX"));
    assert_eq!(watch(&mut socket, "2", &batch).await, Err("\"TOO_COMPLEX\"".into()));
    // a response that is dropped gives its place back as soon as the server has seen it
    drop(first);
    let free_again = async { while watch(&mut socket, "3", &batch).await.is_err() {} };
    timeout(PATIENCE, free_again).await.expect("the place is free again");
    app.stop().await;
}

#[tokio::test]
async fn a_process_has_so_many_streams_whoever_follows_them() {
    let app = TestApp::start_on(Mode::Embedded, &[("MAX_STREAMS", "2")], |_| {}).await;
    let (one, other) = (app.adviser(), app.stranger());
    let (mine, theirs) = (one.create_batch("Acme").await, other.create_batch("Other").await);
    let (held, refused) = stream(&one, &mine).await;
    assert_eq!(refused, None);
    let (_held, refused) = stream(&other, &theirs).await;
    assert_eq!(refused, None);
    assert_eq!(stream(&other, &theirs).await.1.as_deref(), Some("UNAVAILABLE"), "not a fault of this person");
    assert_eq!(one.send("{ __typename }", json!({})).await.0, 200, "requests go on");
    drop(held);
    let free_again = async { while stream(&other, &theirs).await.1.is_some() {} };
    timeout(PATIENCE, free_again).await.expect("the place is free again");
    app.stop().await;
}
