//! Faults of the server itself. The source of new ids, which every object and every new person needs, can be made to
//! panic once: in a resolver, in a handler before it, and in a session.

use super::{assert_alive, code};
use crate::support::raw::{Answer, exchange};
use crate::support::socket::Socket;
use crate::support::{Mode, TestApp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CREATE: &str = "mutation { createBatch(input: { name: \"Acme\" }) { batch { id } } }";

/// An application, and what makes the next new id a panic.
async fn fragile() -> (TestApp, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let trap = Arc::clone(&armed);
    let app = TestApp::start_with(Mode::Embedded, |surroundings| {
        let real = Arc::clone(&surroundings.ids);
        surroundings.ids = Arc::new(move || {
            assert!(!trap.swap(false, Ordering::SeqCst), "secret words of a narrative");
            real()
        });
    })
    .await;
    app.adviser().run("{ viewer { user { id } } }", json!({})).await;
    (app, armed)
}

async fn ask(app: &TestApp, token: &str, accept: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("accept", accept), ("authorization", authorization.as_str())];
    exchange(&app.url(), "POST", "/graphql", &headers, json!({ "query": CREATE }).to_string().as_bytes()).await
}

/// That an answer says that something went wrong here, where to find it in the log, and not what.
fn assert_is_fault(answer: &Answer) {
    let body = answer.json();
    assert_eq!((answer.status, code(&body)), (500, "INTERNAL"), "{answer:?}");
    let id = answer.header("x-request-id");
    assert!(!id.is_empty() && answer.text().contains(id), "the id of the request is the reference: {answer:?}");
    assert!(!answer.text().contains("secret"), "{answer:?}");
}

#[tokio::test]
async fn a_panic_in_a_resolver_is_one_answer() {
    let (app, armed) = fragile().await;
    let token = app.adviser().token().expect("a token").to_owned();
    armed.store(true, Ordering::SeqCst);
    assert_is_fault(&ask(&app, &token, "application/json").await);
    assert!(!armed.load(Ordering::SeqCst), "it was this one");
    assert_alive(&app).await;

    armed.store(true, Ordering::SeqCst);
    let stream = ask(&app, &token, "text/event-stream").await;
    assert!(stream.text().contains("\"INTERNAL\"") && stream.text().contains("event: complete"), "{stream:?}");
    assert!(!stream.text().contains("secret"), "{stream:?}");

    let mut socket = app.adviser().socket().await;
    armed.store(true, Ordering::SeqCst);
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": CREATE } })).await;
    let answer = socket.receive().await.expect("the socket lives");
    assert_eq!((&answer["type"], &answer["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("INTERNAL")), "{answer}");
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": CREATE } })).await;
    let answer = socket.receive().await.expect("the socket lives");
    assert!(answer["payload"]["data"]["createBatch"]["batch"]["id"].is_string(), "{answer}");
    assert_alive(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn a_panic_before_an_operation_is_one_answer_and_in_a_session_4500() {
    let (app, armed) = fragile().await;
    // somebody new: the id of a person is made before the operation runs
    let newcomer = app.member("newcomer@practice.example", "practice");
    let token = newcomer.token().expect("a token");
    armed.store(true, Ordering::SeqCst);
    assert_is_fault(&ask(&app, token, "application/json").await);
    assert_alive(&app).await;

    armed.store(true, Ordering::SeqCst);
    let mut socket = Socket::open(&app.url()).await;
    socket.send(json!({ "type": "connection_init", "payload": { "token": token } })).await;
    assert_eq!(socket.receive().await, Err(Some(4500)));
    assert!(!armed.load(Ordering::SeqCst), "it was this one");
    assert_eq!(newcomer.send(CREATE, json!({})).await.0, 200);
    assert_alive(&app).await;
    let data: Value = newcomer.run("{ batches { totalCount } }", json!({})).await;
    assert_eq!(data["batches"]["totalCount"], 1, "what panicked has left nothing");
    app.stop().await;
}
