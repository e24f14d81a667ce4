//! Where a failure is said to be: the path of the field that failed, over HTTP and over sockets, in lists and in events,
//! however far up the null goes.

use crate::support::{Mode, TestApp};
use serde_json::{Value, json};

/// A page that is too large fails, and neither it nor anything above it may be null.
const IN_A_LIST: &str = "{ all: batches(first: 5) { nodes { name projects(first: 9000) { totalCount } } } }";

fn sites(errors: &Value) -> Vec<(Value, Value)> {
    errors.as_array().expect("errors").iter().map(|error| (error["path"].clone(), error["extensions"]["code"].clone())).collect()
}

fn site(path: Value) -> (Value, Value) {
    (path, json!("VALIDATION_FAILED"))
}

#[tokio::test]
async fn the_path_over_http_is_that_of_the_field_that_failed() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let (batch, _) = adviser.batch_of("Acme", 1).await;
    adviser.batch_of("Borealis", 1).await;
    let (status, body) = adviser.send(IN_A_LIST, json!({})).await;
    assert_eq!((status, &body["data"]), (200, &Value::Null), "{body}");
    let paths = sites(&body["errors"]);
    assert!(paths == [site(json!(["all", "nodes", 0, "projects"]))] || paths == [site(json!(["all", "nodes", 1, "projects"]))], "{body}");

    // a field that may be null takes the null, and what is beside it stays
    let query = "query($id: ID!) { a: batch(id: $id) { name projects(first: 1) { nodes { s: sections { revisions(first: 9000) { totalCount } } } } } b: batch(id: $id) { name } }";
    let (_, body) = adviser.send(query, json!({ "id": batch })).await;
    assert_eq!(body["data"], json!({ "a": null, "b": { "name": "Acme" } }));
    assert_eq!(sites(&body["errors"]), [site(json!(["a", "projects", "nodes", 0, "s", 0, "revisions"]))]);

    let change = "mutation($id: ID!) { renameBatch(id: $id, name: \"New\") { batch { runs(first: -1) { totalCount } } } }";
    let (_, body) = adviser.send(change, json!({ "id": batch })).await;
    assert_eq!(sites(&body["errors"]), [site(json!(["renameBatch", "batch", "runs"]))], "{body}");
    app.stop().await;
}

#[tokio::test]
async fn over_a_socket_it_is_the_same_and_an_event_that_failed_is_no_refusal() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let (batch, _) = adviser.batch_of("Acme", 1).await;
    let mut socket = adviser.socket().await;
    socket.send(json!({ "id": "q", "type": "subscribe", "payload": { "query": IN_A_LIST } })).await;
    let answer = socket.receive().await.expect("an answer");
    assert_eq!((&answer["type"], &answer["payload"]["data"]), (&json!("next"), &Value::Null), "{answer}");
    assert_eq!(sites(&answer["payload"]["errors"]), [site(json!(["all", "nodes", 0, "projects"]))]);
    assert_eq!(socket.receive().await.expect("an end")["type"], "complete");

    let query = "subscription($id: ID!) { p: batchProgress(batchId: $id) { ... on BatchSnapshot { batch { b: projects(first: 9000) { totalCount } } } ... on BatchChanged { batch { name } } } }";
    socket.send(json!({ "id": "s", "type": "subscribe", "payload": { "query": query, "variables": { "id": batch } } })).await;
    let event = socket.receive().await.expect("an event");
    assert_eq!((&event["type"], &event["payload"]["data"]), (&json!("next"), &Value::Null), "{event}");
    assert_eq!(sites(&event["payload"]["errors"]), [site(json!(["p", "batch", "b"]))]);
    // the stream goes on after it
    adviser.renamed(&batch, "Acme 2").await;
    let event = socket.receive().await.expect("the next event");
    assert_eq!(event["payload"]["data"]["p"]["batch"]["name"], "Acme 2", "{event}");

    socket.send(json!({ "id": "n", "type": "subscribe", "payload": { "query": query, "variables": { "id": "nothing" } } })).await;
    let refused = socket.receive().await.expect("an answer");
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("NOT_FOUND")), "{refused}");
    app.stop().await;
}
