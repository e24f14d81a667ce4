//! Documents and bodies that would cost much or break something, over HTTP and over a socket.

use super::arsenal::{Shot, all, depths, malformed, overloads};
use super::{assert_alive, code, refused_on};
use crate::support::socket::Socket;
use crate::support::{Mode, TestApp};
use serde_json::{Value, json};

/// Longest answer to any of them, in bytes: no amplification.
const SHORT: usize = 4_000;
/// What an honest client waits at most; the worst of these took seconds and gigabytes in servers without limits.
const WAIT: std::time::Duration = std::time::Duration::from_secs(20);

async fn fire(app: &TestApp, shots: Vec<Shot>) {
    let client = reqwest::Client::builder().timeout(WAIT).build().expect("a client");
    for accept in ["application/json", "application/graphql-response+json"] {
        for Shot { what, body, codes } in &shots {
            let request = client.post(format!("{}/graphql", app.url())).header("content-type", "application/json").header("accept", accept);
            let response = request.body(body.clone()).send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let status = response.status().as_u16();
            let text = response.text().await.expect("a body");
            let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {text}"));
            assert!(codes.contains(&code(&answer)), "{what}: {text}");
            assert!(answer.get("data").is_none(), "{what}: {text}");
            assert!([200, 400, 401].contains(&status) && (status != 200 || accept == "application/json"), "{what}: {status}");
            assert!(text.len() <= SHORT && !text.contains('\u{1b}'), "{what}: {} bytes", text.len());
            assert!(answer["errors"].as_array().is_some_and(|errors| errors.len() <= 5), "{what}: {text}");
        }
    }
    assert_alive(app).await;
}

#[tokio::test]
async fn too_much_of_anything_is_refused_before_it_is_expanded() {
    let app = TestApp::start(Mode::Embedded).await;
    fire(&app, overloads()).await;
    app.stop().await;
}

#[tokio::test]
async fn what_is_nested_too_deep_is_refused_and_ends_no_thread() {
    let app = TestApp::start(Mode::Embedded).await;
    fire(&app, depths()).await;
    app.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused_with_a_code() {
    let app = TestApp::start(Mode::Embedded).await;
    fire(&app, malformed()).await;
    app.stop().await;
}

#[tokio::test]
async fn a_socket_refuses_the_same_documents_and_stays_open() {
    let app = TestApp::start(Mode::Embedded).await;
    let mut socket = Socket::connect(&app.url(), app.adviser().token()).await;
    let mut asked = 0;
    for Shot { what, body, codes } in all() {
        // what is no message at all closes a socket, and that is another test
        let Ok(payload) = serde_json::from_slice::<Value>(&body) else { continue };
        if !payload["query"].is_string() || payload["variables"].is_array() || payload["operationName"].is_object() || body.len() > 200_000
        {
            continue;
        }
        // parsed here, so only one of the two is sent
        if what == "a key twice" {
            continue;
        }
        asked += 1;
        socket.send(json!({ "id": what, "type": "subscribe", "payload": payload })).await;
        // who is signed in is told what is wrong instead of being asked for a token
        let given = refused_on(&mut socket, what).await;
        assert!(codes.contains(&given.as_str()), "{what}: {given}");
    }
    assert!(asked > 30, "only {asked} were tried");
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": "{ __typename }" } })).await;
    assert_eq!(socket.receive().await.expect("an answer")["type"], "next");
    app.stop().await;
}

#[tokio::test]
async fn names_and_directives_of_a_hostile_document_are_not_repeated_at_length() {
    let app = TestApp::start(Mode::Embedded).await;
    let (secret, long) = ("swordfish", "n".repeat(3_000));
    for query in [
        format!("{{ {long} }}"),
        format!("{{ apiInfo {{ {long} }} }}"),
        format!("query({long}) {{ a }}"),
        format!("{{ a(password: \"{secret}\" }}"),
    ] {
        let (_, answer) = app.anonymous().send(&query, json!({})).await;
        let text = answer.to_string();
        assert!(text.len() < 1_000 && !text.contains(secret), "{text}");
    }
    app.stop().await;
}
