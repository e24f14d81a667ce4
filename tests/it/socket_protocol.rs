//! Both dialects of GraphQL over WebSocket, message by message as bytes: close codes and reasons, ids, what is sent and
//! what is not, and that the work behind a subscription ends with it.

mod legacy;
mod transport;

use crate::support::raw::RawSocket;
use crate::support::{Client, TestApp};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const TRANSPORT: &str = "graphql-transport-ws";
const LEGACY: &str = "graphql-ws";
const WATCH: &str = "subscription($id: ID!) { batchProgress(batchId: $id) { __typename ... on BatchSnapshot { batch { name } } \
    ... on BatchChanged { batch { name } } ... on StreamEnded { reason } } }";

/// A socket that is signed in.
async fn signed_in(app: &TestApp, client: &Client, dialect: &str) -> RawSocket {
    let mut socket = RawSocket::open(&app.url(), dialect).await;
    assert_eq!(socket.protocol.as_deref(), Some(dialect));
    socket
        .send(json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {}", client.token().expect("a token")) } }))
        .await;
    assert_eq!(socket.message().await, json!({ "type": "connection_ack" }));
    if dialect == LEGACY {
        assert_eq!(socket.message().await, json!({ "type": "ka" }));
    }
    socket
}

/// The message that starts an operation in a dialect.
fn start(dialect: &str, id: &str, query: &str, variables: &Value) -> Value {
    let kind = if dialect == LEGACY { "start" } else { "subscribe" };
    json!({ "id": id, "type": kind, "payload": { "query": query, "variables": variables } })
}

/// Starts watching a batch under these ids and waits for their snapshots. Each asks in its own words, so that nothing is
/// executed for several of them.
async fn watch(socket: &mut RawSocket, dialect: &str, ids: &[String], batch: &str) {
    for (own, id) in ids.iter().enumerate() {
        let own = WATCH.replacen("subscription", &format!("subscription Own{own}"), 1);
        socket.send(start(dialect, id, &own, &json!({ "id": batch }))).await;
    }
    for _ in ids {
        let snapshot = socket.message().await;
        assert_eq!(snapshot["payload"]["data"]["batchProgress"]["__typename"], "BatchSnapshot", "{snapshot}");
    }
}

/// Statements that the database has to answer when a batch changes, until everything that listens on a socket is done.
async fn cost_of_a_change(app: &TestApp, socket: &mut RawSocket, client: &Client, batch: &str, listening: usize) -> u64 {
    let before = app.statements();
    client.renamed(batch, &format!("{listening} listen")).await;
    for _ in 0..listening {
        let event = socket.message().await;
        assert_eq!(event["payload"]["data"]["batchProgress"]["__typename"], "BatchChanged", "{event}");
    }
    app.statements() - before
}

/// That operations which the client has ended cost nothing any more.
async fn ending_stops_the_work(app: &TestApp, dialect: &str, stop: &str) {
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let mut socket = signed_in(app, &adviser, dialect).await;
    let ids: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    watch(&mut socket, dialect, &ids, &batch).await;
    let watched = cost_of_a_change(app, &mut socket, &adviser, &batch, ids.len()).await;
    assert!(watched >= 60, "every watcher loads the batch: {watched}");
    for id in &ids {
        socket.send(json!({ "type": stop, "id": id })).await;
    }
    // once this is answered, what came before it is done
    socket.send(start(dialect, "last", "{ __typename }", &json!(null))).await;
    let result = loop {
        let message = socket.message().await;
        if message["id"] == "last" {
            break message;
        }
        assert_eq!((dialect, &message["type"]), (LEGACY, &json!("complete")), "nothing comes of what is completed");
    };
    assert_eq!(result["payload"]["data"]["__typename"], "Query", "{result}");
    assert_eq!(socket.message().await["type"], "complete");
    let unwatched = cost_of_a_change(app, &mut socket, &adviser, &batch, 0).await;
    assert!(unwatched < 60, "{unwatched} statements for nobody, {watched} for 60");
}

/// Frames that are no messages, and how each is answered.
async fn frames_that_are_no_messages(app: &TestApp, dialect: &str) {
    let adviser = app.adviser();
    let mut socket = signed_in(app, &adviser, dialect).await;
    socket.frame(Message::text("x".repeat(300 << 10))).await;
    assert_eq!(socket.closed().await.0, 1009, "a message over the limit");
    let mut socket = signed_in(app, &adviser, dialect).await;
    // a masked text frame with the mask 0 and two bytes that are not UTF-8
    socket.bytes(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).await;
    assert_eq!(socket.closed().await.0, 1007, "bad UTF-8");
    let mut socket = signed_in(app, &adviser, dialect).await;
    socket.bytes(&[0x81, 0x02, b'{', b'}']).await;
    assert_eq!(socket.closed().await.0, 1002, "a frame without a mask");
}
