//! The older dialect, `graphql-ws`, by PROTOCOL.md of subscriptions-transport-ws.

use super::{LEGACY, WATCH, ending_stops_the_work, frames_that_are_no_messages, signed_in, start, watch};
use crate::on_both;
use crate::support::raw::{Heard, RawSocket};
use crate::support::{Mode, TestApp};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_session_that_is_refused_is_told_by_connection_error() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    for payload in [json!(null), json!({}), json!({ "Authorization": "Bearer nonsense" }), json!("text")] {
        let mut socket = RawSocket::open(&app.url(), LEGACY).await;
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.message().await, json!({ "type": "connection_error", "payload": { "message": "Forbidden" } }), "{payload}");
        assert_eq!(socket.next().await, Heard::Closed(4403, "Forbidden".into()), "{payload}");
    }
    let mut socket = RawSocket::open(&app.url(), LEGACY).await;
    socket.send(start(LEGACY, "1", "{ __typename }", &json!(null))).await;
    assert_eq!(socket.message().await["type"], "connection_error");
    assert_eq!(socket.closed().await.0, 4401);
    let mut socket = signed_in(&app, &adviser, LEGACY).await;
    socket.send(json!({ "type": "connection_init", "payload": { "token": adviser.token() } })).await;
    assert_eq!(socket.message().await["type"], "connection_error");
    assert_eq!(socket.closed().await.0, 4429);
    let mut socket = signed_in(&app, &adviser, LEGACY).await;
    socket.send(json!({ "type": "connection_terminate" })).await;
    assert_eq!(socket.next().await, Heard::Closed(1000, "Normal closure".into()));
    frames_that_are_no_messages(&app, LEGACY).await;
    app.stop().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_told_and_the_session_goes_on() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let mut socket = signed_in(&app, &adviser, LEGACY).await;
    for junk in
        ["", "nonsense", "[]", "{}", r#"{"type":"ping"}"#, r#"{"type":"start","payload":{"query":"{ __typename }"}}"#, r#"{"type":"stop"}"#]
    {
        socket.frame(Message::text(junk)).await;
        let told = socket.message().await;
        assert_eq!((&told["type"], told["payload"]["message"].is_string()), (&json!("connection_error"), true), "{junk}: {told}");
    }
    for (kind, payload) in [
        ("subscribe", json!({ "query": "{ __typename }" })),
        ("start", json!(null)),
        ("start", json!({})),
        ("start", json!({ "query": 7 })),
    ] {
        socket.send(json!({ "type": kind, "id": "7", "payload": payload })).await;
        let told = socket.message().await;
        assert_eq!((&told["type"], &told["id"], told["payload"]["message"].is_string()), (&json!("error"), &json!("7"), true), "{told}");
    }
    socket.send(start(LEGACY, "7", "{ __typename }", &json!(null))).await;
    assert_eq!(socket.message().await, json!({ "id": "7", "type": "data", "payload": { "data": { "__typename": "Query" } } }));
    assert_eq!(socket.message().await, json!({ "id": "7", "type": "complete" }));
    app.stop().await;
}

on_both! {
    async fn operations_of_all_kinds_are_answered_in_the_older_words(app: TestApp) {
        let adviser = app.adviser();
        let (batch, other) = (adviser.create_batch("Acme").await, adviser.create_batch("Other").await);
        let mut socket = signed_in(&app, &adviser, LEGACY).await;
        watch(&mut socket, LEGACY, &["s".into()], &batch).await;
        let rename = "mutation($id: ID!) { renameBatch(id: $id, name: \"Other again\") { userErrors { code } } }";
        socket.send(start(LEGACY, "m", rename, &json!({ "id": other }))).await;
        assert_eq!(socket.message().await, json!({ "id": "m", "type": "data", "payload": { "data": { "renameBatch": { "userErrors": [] } } } }));
        assert_eq!(socket.message().await, json!({ "id": "m", "type": "complete" }));
        for (query, variables, code) in [
            ("{ nothing }", json!({}), "VALIDATION_FAILED"),
            ("{", json!({}), "PARSE_FAILED"),
            (WATCH, json!({ "id": "nonsense" }), "NOT_FOUND"),
        ] {
            socket.send(start(LEGACY, "m", query, &variables)).await;
            let error = socket.message().await;
            assert_eq!((&error["type"], &error["payload"]["extensions"]["code"]), (&json!("error"), &json!(code)), "one error, not a list: {error}");
        }
        adviser.renamed(&batch, "Acme again").await;
        let event = socket.message().await;
        assert_eq!((&event["id"], &event["type"], &event["payload"]["data"]["batchProgress"]["batch"]["name"]), (&json!("s"), &json!("data"), &json!("Acme again")));
        // an id that is in use is taken over
        watch(&mut socket, LEGACY, &["s".into()], &other).await;
        adviser.renamed(&batch, "Nobody listens").await;
        adviser.renamed(&other, "Somebody listens").await;
        assert_eq!(socket.message().await["payload"]["data"]["batchProgress"]["batch"]["name"], "Somebody listens");
        socket.send(json!({ "type": "stop", "id": "s" })).await;
        assert_eq!(socket.message().await, json!({ "id": "s", "type": "complete" }), "clients wait for it");
        socket.send(json!({ "type": "stop", "id": "s" })).await;
        socket.send(start(LEGACY, "q", "{ __typename }", &Value::Null)).await;
        assert_eq!(socket.message().await["id"], "q", "nothing comes of what is not there");
        drop(socket);
        app.stop().await;
    }

    async fn stopping_stops_the_work_behind_a_subscription(app: TestApp) {
        ending_stops_the_work(&app, LEGACY, "stop").await;
        app.stop().await;
    }
}
