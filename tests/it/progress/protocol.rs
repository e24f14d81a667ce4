//! graphql-transport-ws as clients meet it: close codes, pings, ids. Frames are sent as they are.

use crate::on_both;
use crate::support::runs::EVENTS;
use crate::support::socket::{Socket, without_cost};
use serde_json::{Value, json};

fn subscribe(id: &str, query: &str, variables: &Value) -> Value {
    json!({ "id": id, "type": "subscribe", "payload": { "query": query, "variables": variables } })
}

on_both! {
    async fn a_ping_is_answered_with_its_payload_before_and_after_signing_in(app: TestApp) {
        let adviser = app.adviser();
        let mut socket = Socket::open(&app.url()).await;
        socket.send(json!({ "type": "ping" })).await;
        assert_eq!(socket.receive().await, Ok(json!({ "type": "pong" })));
        socket.send(json!({ "type": "connection_init", "payload": { "token": adviser.token() } })).await;
        assert_eq!(socket.receive().await, Ok(json!({ "type": "connection_ack" })), "a bare `token` is as good as a header");
        socket.send(json!({ "type": "ping", "payload": { "at": 7 } })).await;
        assert_eq!(socket.receive().await, Ok(json!({ "type": "pong", "payload": { "at": 7 } })));
        drop(socket);
        app.stop().await;
    }

    async fn what_is_not_of_the_protocol_closes_the_socket(app: TestApp) {
        let adviser = app.adviser();
        let junk = [
            json!("nonsense"),
            json!([]),
            json!({ "type": "start", "id": "1", "payload": { "query": "{ apiInfo { version } }" } }),
            json!({ "type": "subscribe", "payload": { "query": "{ apiInfo { version } }" } }),
            json!({ "type": "subscribe", "id": "1", "payload": {} }),
            json!({ "type": "complete" }),
        ];
        for message in junk {
            let mut socket = adviser.socket().await;
            socket.send(message.clone()).await;
            assert_eq!(socket.receive().await, Err(Some(4400)), "{message}");
        }
        app.stop().await;
    }

    async fn nothing_is_served_before_a_good_token(app: TestApp) {
        let mut socket = Socket::open(&app.url()).await;
        socket.send(subscribe("1", "{ apiInfo { version } }", &json!(null))).await;
        assert_eq!(socket.receive().await, Err(Some(4401)), "before connection_init");
        drop(socket);
        let payloads = [json!(null), json!({}), json!({ "Authorization": "Bearer nonsense" }), json!({ "token": "a.b.c" })];
        for payload in payloads {
            let mut socket = Socket::open(&app.url()).await;
            socket.send(json!({ "type": "connection_init", "payload": payload })).await;
            assert_eq!(socket.receive().await, Err(Some(4403)), "{payload}");
        }
        app.stop().await;
    }

    async fn signing_in_twice_and_using_an_id_twice_close_the_socket(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut socket = adviser.socket().await;
        socket.send(json!({ "type": "connection_init", "payload": { "token": adviser.token() } })).await;
        assert_eq!(socket.receive().await, Err(Some(4429)));
        drop(socket);

        let mut socket = adviser.socket().await;
        socket.send(subscribe("a", EVENTS, &json!({ "id": batch }))).await;
        assert_eq!(socket.receive().await.expect("a snapshot")["id"], "a");
        socket.send(subscribe("a", EVENTS, &json!({ "id": batch }))).await;
        assert_eq!(socket.receive().await, Err(Some(4409)));
        drop(socket);
        app.stop().await;
    }

    async fn completing_frees_the_id_and_silences_the_stream(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let other = adviser.create_batch("Other").await;
        let mut socket = adviser.socket().await;
        socket.send(subscribe("a", EVENTS, &json!({ "id": batch }))).await;
        assert_eq!(socket.receive().await.expect("a snapshot")["payload"]["data"]["batchProgress"]["batch"]["id"], json!(batch));
        socket.send(json!({ "type": "complete", "id": "a" })).await;
        socket.send(json!({ "type": "complete", "id": "never used" })).await;
        socket.send(subscribe("a", EVENTS, &json!({ "id": other }))).await;
        let next = socket.receive().await.expect("a snapshot");
        assert_eq!((&next["id"], &next["payload"]["data"]["batchProgress"]["batch"]["id"]), (&json!("a"), &json!(other)));
        adviser.renamed(&batch, "Nobody listens").await;
        adviser.renamed(&other, "Somebody listens").await;
        let next = socket.receive().await.expect("an event");
        assert_eq!((&next["id"], &next["payload"]["data"]["batchProgress"]["batch"]["name"]), (&json!("a"), &json!("Somebody listens")));
        drop(socket);
        app.stop().await;
    }

    async fn queries_and_mistakes_are_answered_beside_a_stream(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut socket = adviser.socket().await;
        socket.send(subscribe("s", EVENTS, &json!({ "id": batch }))).await;
        assert_eq!(socket.receive().await.expect("a snapshot")["id"], "s");
        socket.send(subscribe("q", "query($id: ID!) { batch(id: $id) { name } }", &json!({ "id": batch }))).await;
        let next = json!({ "id": "q", "type": "next", "payload": { "data": { "batch": { "name": "Acme" } } } });
        assert_eq!(socket.receive().await.map(without_cost), Ok(next));
        assert_eq!(socket.receive().await, Ok(json!({ "id": "q", "type": "complete" })));
        for (query, code) in [("{ nothing }", "VALIDATION_FAILED"), ("{", "PARSE_FAILED")] {
            socket.send(subscribe("q", query, &json!(null))).await;
            let error = socket.receive().await.expect("an error");
            assert_eq!((&error["id"], &error["type"], &error["payload"][0]["extensions"]["code"]), (&json!("q"), &json!("error"), &json!(code)));
        }
        adviser.renamed(&batch, "Acme again").await;
        assert_eq!(socket.receive().await.expect("the stream is still open")["id"], "s");
        drop(socket);
        app.stop().await;
    }
}
