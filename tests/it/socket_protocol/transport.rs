//! graphql-transport-ws, by PROTOCOL.md of graphql-ws.

use super::{TRANSPORT, WATCH, ending_stops_the_work, frames_that_are_no_messages, signed_in, start, watch};
use crate::on_both;
use crate::support::raw::{Heard, RawSocket};
use crate::support::socket::without_cost;
use crate::support::{Mode, TestApp};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

fn subscribe(id: &str, query: &str, variables: &Value) -> Value {
    start(TRANSPORT, id, query, variables)
}

fn rename(batch: &str, name: &str) -> (String, Value) {
    let query = "mutation($id: ID!, $name: String!) { renameBatch(id: $id, name: $name) { batch { name } userErrors { code } } }";
    (query.to_owned(), json!({ "id": batch, "name": name }))
}

#[tokio::test]
async fn every_message_that_a_client_may_not_send_closes_the_socket_with_4400_and_a_reason() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let mut junk: Vec<String> = ["", " ", "nonsense", "null", "true", "7", "\"ping\"", "[]", "{}", "{\"type\":", "{\"type\":\"ping\"} {}"]
        .map(str::to_owned)
        .to_vec();
    let payload = json!({ "query": "{ __typename }" });
    let wrong_objects = [json!("x"), json!(7), json!(true), json!([]), json!([{}])];
    for kind in [json!(null), json!(7), json!({}), json!([]), json!(""), json!("nonsense"), json!("Ping"), json!("subscribe ")] {
        junk.push(json!({ "type": kind }).to_string());
    }
    // of the server, and of the older dialect
    for kind in ["connection_ack", "next", "error", "start", "stop", "data", "ka", "connection_error", "connection_terminate"] {
        junk.push(json!({ "type": kind, "id": "1", "payload": payload }).to_string());
    }
    for kind in ["connection_init", "ping", "pong"] {
        junk.extend(wrong_objects.iter().map(|payload| json!({ "type": kind, "payload": payload }).to_string()));
    }
    for id in [json!(null), json!(""), json!(7), json!(true), json!({}), json!(["1"])] {
        junk.push(json!({ "type": "subscribe", "id": id, "payload": payload }).to_string());
        junk.push(json!({ "type": "complete", "id": id }).to_string());
    }
    junk.push(json!({ "type": "subscribe", "payload": payload }).to_string());
    junk.push(json!({ "type": "complete" }).to_string());
    junk.push(json!({ "type": "subscribe", "id": "1" }).to_string());
    junk.extend(
        wrong_objects
            .iter()
            .chain([&json!(null), &json!({})])
            .map(|payload| json!({ "type": "subscribe", "id": "1", "payload": payload }).to_string()),
    );
    for parameter in ["query", "operationName", "variables", "extensions"] {
        for wrong in [json!(7), json!(true), json!(["array"]), json!({ "obj": "ect" }), json!("string")] {
            let is_text = matches!(parameter, "query" | "operationName");
            if (wrong.is_string() && is_text) || (wrong.is_object() && !is_text) {
                continue;
            }
            let mut payload = payload.clone();
            payload[parameter] = wrong;
            junk.push(json!({ "type": "subscribe", "id": "1", "payload": payload }).to_string());
        }
    }
    junk.push(json!({ "type": "subscribe", "id": "1", "payload": { "query": null } }).to_string());
    junk.push(format!("{{\"type\":\"ping\",\"payload\":{}", "{\"a\":".repeat(5000)));
    // a name that stands twice, at any depth
    junk.push(r#"{"type":"ping","type":"ping"}"#.into());
    junk.push(r#"{"type":"subscribe","id":"1","id":"2","payload":{"query":"{ __typename }"}}"#.into());
    junk.push(r#"{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","query":"{ __typename }"}}"#.into());
    junk.push(r#"{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","variables":{"a":[{"b":1,"b":1}]}}}"#.into());
    // longer than any client makes it
    junk.push(json!({ "type": "subscribe", "id": "x".repeat(257), "payload": payload }).to_string());
    junk.push(json!({ "type": "complete", "id": "é".repeat(129) }).to_string());
    assert!(junk.len() > 70, "{}", junk.len());
    for message in junk {
        let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
        socket.frame(Message::text(message.clone())).await;
        let Heard::Closed(code, reason) = socket.next().await else { panic!("not closed at once: {message}") };
        assert_eq!(code, 4400, "{message}");
        assert!(reason.starts_with("Invalid message: ") && reason.len() <= 123, "{message}: {reason}");
    }
    let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
    socket.frame(Message::binary(br#"{"type":"ping"}"#.to_vec())).await;
    assert_eq!(socket.closed().await.0, 4400, "a binary frame");
    // before signing in it is the same
    let mut socket = RawSocket::open(&app.url(), TRANSPORT).await;
    socket.frame(Message::text("nonsense")).await;
    assert_eq!(socket.closed().await.0, 4400);
    frames_that_are_no_messages(&app, TRANSPORT).await;
    app.stop().await;
}

#[tokio::test]
async fn a_subprotocol_that_is_not_spoken_is_told_by_4406() {
    let app = TestApp::start(Mode::Embedded).await;
    for offers in ["", "mqtt", "GraphQL-Transport-WS", "graphql-transport-ws2, soap"] {
        let mut socket = RawSocket::open(&app.url(), offers).await;
        assert_eq!(socket.protocol, None, "{offers}");
        assert_eq!(socket.next().await, Heard::Closed(4406, "Subprotocol not acceptable".into()), "{offers}");
    }
    for (offers, chosen) in [
        ("graphql-transport-ws", "graphql-transport-ws"),
        ("graphql-ws", "graphql-ws"),
        ("graphql-ws, graphql-transport-ws", "graphql-ws"),
        ("graphql-transport-ws,graphql-ws", "graphql-transport-ws"),
        ("soap, graphql-transport-ws", "graphql-transport-ws"),
    ] {
        assert_eq!(RawSocket::open(&app.url(), offers).await.protocol.as_deref(), Some(chosen), "{offers}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_socket_without_connection_init_is_closed_with_4408_however_much_it_pings() {
    let app = TestApp::start_on(Mode::Embedded, &[("SOCKET_INIT_TIMEOUT", "1")], |_| {}).await;
    let mut silent = RawSocket::open(&app.url(), TRANSPORT).await;
    let mut pinging = RawSocket::open(&app.url(), TRANSPORT).await;
    let mut old = RawSocket::open(&app.url(), super::LEGACY).await;
    pinging.send(json!({ "type": "ping" })).await;
    assert_eq!(pinging.message().await, json!({ "type": "pong" }));
    pinging.send(json!({ "type": "pong" })).await;
    let timed_out = || Heard::Closed(4408, "Connection initialisation timeout".into());
    assert_eq!(silent.next().await, timed_out());
    assert_eq!(pinging.next().await, timed_out());
    assert_eq!(old.message().await["type"], "connection_error");
    assert_eq!(old.next().await, timed_out());
    app.stop().await;
}

#[tokio::test]
async fn the_order_of_a_session_is_kept_by_4401_4403_4409_and_4429() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let token = adviser.token().expect("a token").to_owned();
    let init = |token: &str| json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {token}") } });

    let mut socket = RawSocket::open(&app.url(), TRANSPORT).await;
    socket.send(subscribe("1", "{ __typename }", &json!(null))).await;
    assert_eq!(socket.next().await, Heard::Closed(4401, "Unauthorized".into()));
    // what is sent before the acknowledgement waits its turn
    let mut socket = RawSocket::open(&app.url(), TRANSPORT).await;
    socket.send(init(&token)).await;
    socket.send(subscribe("1", "{ __typename }", &json!(null))).await;
    assert_eq!(socket.message().await["type"], "connection_ack");
    assert_eq!(socket.message().await["type"], "next");

    for payload in
        [json!(null), json!({}), json!({ "Authorization": "Bearer x.y.z" }), json!({ "Authorization": token }), json!({ "token": 7 })]
    {
        let mut socket = RawSocket::open(&app.url(), TRANSPORT).await;
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.next().await, Heard::Closed(4403, "Forbidden".into()), "{payload}");
    }

    let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
    socket.send(init(&token)).await;
    assert_eq!(socket.next().await, Heard::Closed(4429, "Too many initialisation requests".into()));
    let mut socket = RawSocket::open(&app.url(), TRANSPORT).await;
    socket.send(init(&token)).await;
    socket.send(init(&token)).await;
    assert_eq!(socket.closed().await.0, 4429, "both at once");

    for id in ["a", "é\"\n", &"x".repeat(200)] {
        let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
        watch(&mut socket, TRANSPORT, &[id.to_owned()], &batch).await;
        socket.send(subscribe(id, "{ __typename }", &json!(null))).await;
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4409);
        let expected = format!("Subscriber for {id} already exists");
        assert!(if id.len() < 50 { reason == expected } else { reason.ends_with(" already exists") }, "{reason}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_fault_of_the_service_while_signing_in_closes_with_4500_and_tells_nothing() {
    let app = TestApp::start(Mode::Embedded).await;
    let file = app.folder().join("data/claimwright.db");
    let mut database = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.expect("the database");
    sqlx::query("ALTER TABLE users RENAME TO lost").execute(&mut database).await.expect("renamed");
    let mut socket = RawSocket::open(&app.url(), TRANSPORT).await;
    let newcomer = app.member("newcomer@practice.example", "practice");
    socket.send(json!({ "type": "connection_init", "payload": { "token": newcomer.token() } })).await;
    assert_eq!(socket.next().await, Heard::Closed(4500, "Internal server error".into()));
    sqlx::query("ALTER TABLE lost RENAME TO users").execute(&mut database).await.expect("renamed");
    signed_in(&app, &newcomer, TRANSPORT).await;
    app.stop().await;
}

on_both! {
    async fn operations_of_all_kinds_share_a_socket(app: TestApp) {
        let adviser = app.adviser();
        let (one, two) = (adviser.create_batch("One").await, adviser.create_batch("Two").await);
        let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
        watch(&mut socket, TRANSPORT, &["one".into()], &one).await;
        watch(&mut socket, TRANSPORT, &["two".into()], &two).await;
        let (query, variables) = rename(&two, "Two again");
        socket.send(subscribe("change", &query, &variables)).await;
        let mut heard = [socket.message().await, socket.message().await, socket.message().await];
        heard.sort_by_key(|message| (message["id"].to_string(), message["type"] == "complete"));
        assert_eq!(without_cost(heard[0].clone()), json!({ "id": "change", "type": "next", "payload": { "data": { "renameBatch": { "batch": { "name": "Two again" }, "userErrors": [] } } } }));
        assert_eq!(heard[1], json!({ "id": "change", "type": "complete" }));
        assert_eq!((&heard[2]["id"], &heard[2]["payload"]["data"]["batchProgress"]["batch"]["name"]), (&json!("two"), &json!("Two again")));
        adviser.renamed(&one, "One again").await;
        let event = socket.message().await;
        assert_eq!((&event["id"], &event["payload"]["data"]["batchProgress"]["batch"]["name"]), (&json!("one"), &json!("One again")));
        // pings go in between, in both directions
        socket.send(json!({ "type": "ping", "payload": { "nested": { "list": [1, null] } } })).await;
        assert_eq!(socket.message().await, json!({ "type": "pong", "payload": { "nested": { "list": [1, null] } } }));
        socket.send(json!({ "type": "ping", "payload": null })).await;
        assert_eq!(socket.message().await, json!({ "type": "pong" }));
        for pong in [json!({ "type": "pong" }), json!({ "type": "pong", "payload": { "a": 1 } }), json!({ "type": "pong", "payload": null })] {
            socket.send(pong).await;
        }
        // unknown keys are no mistake, and neither is completing what is not there
        socket.send(json!({ "type": "ping", "id": 7, "more": true })).await;
        assert_eq!(socket.message().await, json!({ "type": "pong" }));
        socket.send(json!({ "type": "complete", "id": "never used" })).await;
        socket.send(json!({ "type": "complete", "id": "change" })).await;
        socket.send(subscribe("named", "query A { __typename } query B { b: __typename }", &json!({})).as_object().map(|message| {
            let mut message = message.clone();
            message["payload"]["operationName"] = json!("B");
            Value::Object(message)
        }).expect("an object")).await;
        assert_eq!(socket.message().await["payload"]["data"], json!({ "b": "Query" }));
        drop(socket);
        app.stop().await;
    }

    async fn an_operation_that_is_refused_is_an_error_without_complete_and_its_id_is_free(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
        for (query, variables, code) in [
            ("{", json!({}), "PARSE_FAILED"),
            ("", json!({}), "PARSE_FAILED"),
            ("{ nothing }", json!({}), "VALIDATION_FAILED"),
            ("query A { __typename } query B { __typename }", json!({}), "VALIDATION_FAILED"),
            ("query($n: String!) { __type(name: $n) { name } }", json!({}), "VALIDATION_FAILED"),
            ("query($n: String!) { __type(name: $n) { name } }", json!({ "n": 7 }), "VALIDATION_FAILED"),
            ("{ batches(first: 3000000000) { totalCount } }", json!({}), "VALIDATION_FAILED"),
            ("query($n: Int) { batches(first: $n) { totalCount } }", json!({ "n": 3_000_000_000_u64 }), "VALIDATION_FAILED"),
            ("query($n: Int) { batches(first: $n) { totalCount } }", json!({ "n": "abc" }), "VALIDATION_FAILED"),
            ("query($n: Int) { batches(first: $n) { totalCount } }", json!({ "n": 1.5 }), "VALIDATION_FAILED"),
            ("subscription { batchProgress(batchId: 1.5) { __typename } }", json!({}), "VALIDATION_FAILED"),
            ("{ ...f } fragment f on Query { ...f }", json!({}), "VALIDATION_FAILED"),
            ("subscription { a: batchProgress(batchId: \"x\") { __typename } b: batchProgress(batchId: \"x\") { __typename } }", json!({}), "VALIDATION_FAILED"),
            (WATCH, json!({ "id": "nonsense" }), "NOT_FOUND"),
            ("mutation($f: Upload) { __typename @include(if: $f) }", json!({ "f": "#__graphql_file__:0" }), "VALIDATION_FAILED"),
        ] {
            socket.send(subscribe("a", query, &variables)).await;
            let error = socket.message().await;
            assert_eq!((&error["id"], &error["type"]), (&json!("a"), &json!("error")), "{query}: {error}");
            assert_eq!(error["payload"][0]["extensions"]["code"], code, "{query}: {error}");
            assert!(error["payload"][0]["message"].is_string());
        }
        // no complete has come, and the id serves again
        watch(&mut socket, TRANSPORT, &["a".into()], &batch).await;
        socket.send(json!({ "type": "complete", "id": "a" })).await;
        // nor after the client's complete
        socket.send(subscribe("a", "{ __typename }", &json!(null))).await;
        assert_eq!(without_cost(socket.message().await), json!({ "id": "a", "type": "next", "payload": { "data": { "__typename": "Query" } } }));
        assert_eq!(socket.message().await, json!({ "id": "a", "type": "complete" }));
        socket.send(subscribe("a", "{ batches(first: 0) { totalCount } }", &json!(null))).await;
        let result = socket.message().await;
        assert_eq!((&result["type"], &result["payload"]["data"]), (&json!("next"), &Value::Null), "an error of a field is in a result");
        assert_eq!(socket.message().await, json!({ "id": "a", "type": "complete" }));
        drop(socket);
        app.stop().await;
    }

    async fn completing_stops_the_work_behind_a_subscription(app: TestApp) {
        ending_stops_the_work(&app, TRANSPORT, "complete").await;
        app.stop().await;
    }

    async fn a_subscription_that_ends_by_itself_is_completed_once(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
        watch(&mut socket, TRANSPORT, &["a".into()], &batch).await;
        let delete = "mutation($id: ID!) { deleteBatch(id: $id, permanently: true) { userErrors { code } } }";
        adviser.run(delete, json!({ "id": batch })).await;
        assert_eq!(socket.message().await["payload"]["data"]["batchProgress"]["reason"], "DELETED");
        assert_eq!(socket.message().await, json!({ "id": "a", "type": "complete" }));
        socket.send(json!({ "type": "ping" })).await;
        assert_eq!(socket.message().await, json!({ "type": "pong" }), "and nothing else");
        socket.frame(Message::Close(None)).await;
        assert_eq!(socket.next().await, Heard::Gone, "the client's close is answered");
        app.stop().await;
    }
}

#[tokio::test]
async fn a_token_that_ends_tells_the_streams_and_closes_with_4403_without_completing_them() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let passing = crate::support::Client::new(app.url(), Some(app.token(Duration::ZERO)));
    let mut socket = signed_in(&app, &passing, TRANSPORT).await;
    for id in ["a", "b", "c"] {
        socket.send(subscribe(id, WATCH, &json!({ "id": batch }))).await;
    }
    let mut told = Vec::new();
    let end = loop {
        match socket.next().await {
            Heard::Message(message) => {
                assert_eq!(message["type"], "next", "no complete: clients take their streams up again: {message}");
                if message["payload"]["data"]["batchProgress"]["reason"] == "NOT_ALLOWED" {
                    told.push(message["id"].as_str().expect("an id").to_owned());
                }
            }
            end => break end,
        }
    };
    told.sort();
    assert_eq!((told.join(""), end), ("abc".to_owned(), Heard::Closed(4403, "Forbidden".into())));
    app.stop().await;
}

#[tokio::test]
async fn a_server_that_drains_tells_the_streams_and_closes_with_a_code_that_clients_come_back_on() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let mut socket = signed_in(&app, &adviser, TRANSPORT).await;
    let ids: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    watch(&mut socket, TRANSPORT, &ids, &batch).await;
    let heard = async {
        for _ in &ids {
            assert_eq!(socket.message().await["payload"]["data"]["batchProgress"]["reason"], "SHUTTING_DOWN");
        }
        assert_eq!(socket.next().await, Heard::Closed(1012, "The server restarts".into()), "no complete");
    };
    tokio::join!(heard, app.stop());
}
