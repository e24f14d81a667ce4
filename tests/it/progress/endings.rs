//! How streams end: with their object, with the caller's token, with the server.

use super::after;
use crate::on_both;
use crate::support::accepted;
use crate::support::runs::EVENTS;
use crate::support::socket::{Events, Socket};
use serde_json::json;
use std::time::Duration;
use tokio::sync::oneshot;

/// The next event is the end for this reason, and then the operation is complete, unless it is the socket that ends:
/// clients take up again what was not completed.
async fn ends_with(stream: &mut Events<'_>, reason: &str) {
    let event = stream.next().await.expect("a last event")["batchProgress"].clone();
    assert_eq!((&event["__typename"], &event["reason"]), (&json!("StreamEnded"), &json!(reason)), "{event}");
    assert!(event["cursor"].is_string() && event["occurredAt"].is_string());
    if reason == "DELETED" {
        assert_eq!(stream.next().await, None);
    }
}

on_both! {
    async fn deleting_the_batch_ends_its_stream(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut socket = adviser.socket().await;
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch })).await;
        let snapshot = stream.next().await.expect("a snapshot")["batchProgress"].clone();
        let delete = "mutation($id: ID!, $permanently: Boolean) { deleteBatch(id: $id, permanently: $permanently) { deletedId userErrors { code message } } }";
        accepted(&adviser.run(delete, json!({ "id": batch })).await, "deleteBatch");
        ends_with(&mut stream, "DELETED").await;

        // who comes back is told so too, until the batch is removed for good
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch, "after": snapshot["cursor"] })).await;
        ends_with(&mut stream, "DELETED").await;
        accepted(&adviser.run(delete, json!({ "id": batch, "permanently": true })).await, "deleteBatch");
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch })).await;
        let errors = stream.next_or_errors().await.expect_err("refused");
        assert_eq!(errors[0]["extensions"]["code"], "NOT_FOUND");
        drop(socket);
        app.stop().await;
    }

    async fn a_batch_that_is_removed_for_good_at_once_ends_its_stream(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut socket = adviser.socket().await;
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch })).await;
        stream.next().await.expect("a snapshot");
        let delete = "mutation($id: ID!) { deleteBatch(id: $id, permanently: true) { userErrors { code message } } }";
        accepted(&adviser.run(delete, json!({ "id": batch })).await, "deleteBatch");
        ends_with(&mut stream, "DELETED").await;
        drop(socket);
        app.stop().await;
    }

    async fn a_token_that_ends_ends_the_streams_and_then_the_socket(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let token = app.token(Duration::ZERO);
        let mut socket = Socket::connect(&app.url(), Some(&token)).await;
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch })).await;
        let snapshot = stream.next().await.expect("a snapshot")["batchProgress"].clone();
        assert_eq!(snapshot["__typename"], "BatchSnapshot");
        ends_with(&mut stream, "NOT_ALLOWED").await;
        assert_eq!(socket.receive().await, Err(Some(4403)), "clients get a new token and come back on this code");
        let mut again = adviser.socket().await;
        let mut stream = again.subscribe(EVENTS, json!({ "id": batch, "after": snapshot["cursor"] })).await;
        adviser.renamed(&batch, "Acme again").await;
        assert_eq!(stream.next().await.expect("an event")["batchProgress"]["__typename"], "BatchChanged");
        drop((socket, again));
        app.stop().await;
    }

    async fn a_shutdown_tells_the_streams_and_closes_with_a_code_to_come_back_on(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let (seen, has_seen) = oneshot::channel();
        let watched = async {
            let mut socket = adviser.socket().await;
            let mut stream = socket.subscribe(EVENTS, json!({ "id": batch })).await;
            seen.send(stream.next().await.expect("a snapshot")["batchProgress"].clone()).expect("heard");
            ends_with(&mut stream, "SHUTTING_DOWN").await;
            let code = socket.receive().await;
            assert!(matches!(code, Err(Some(1012 | 1013))), "{code:?}");
        };
        let restarted = async {
            let snapshot = has_seen.await.expect("a snapshot");
            (Box::pin(app.restart()).await, snapshot)
        };
        let ((app, snapshot), ()) = tokio::join!(restarted, watched);
        let adviser = app.adviser();
        adviser.renamed(&batch, "Acme after the restart").await;
        let missed = after(&adviser, &batch, &snapshot["cursor"], 1).await;
        assert_eq!((&missed[0]["__typename"], &missed[0]["batch"]["name"]), (&json!("BatchChanged"), &json!("Acme after the restart")));
        app.stop().await;
    }
}
