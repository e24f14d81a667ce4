//! Subscribers who ask for the same: their events are executed once, whatever they speak; whoever may see something else, or
//! asks for something else, is told by an execution of its own; and nobody's pace, token or end is another's.

use crate::on_both;
use crate::support::process::{self, Server};
use crate::support::raw::RawSocket;
use crate::support::runs::{EVENTS, dense_sequences};
use crate::support::{Client, PATIENCE};
use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;

const TRANSPORT: &str = "graphql-transport-ws";
const LEGACY: &str = "graphql-ws";
/// A subscriber on any transport.
enum Listener {
    Socket(Box<RawSocket>, &'static str, String),
    Stream(std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>, String),
}

impl Listener {
    /// Subscribes over a socket and waits for what comes first.
    async fn on_socket(url: &str, client: &Client, dialect: &'static str, id: &str, query: &str, variables: Value) -> (Self, String) {
        let mut socket = RawSocket::open(url, dialect).await;
        socket.send(json!({ "type": "connection_init", "payload": { "token": client.token() } })).await;
        let kind = if dialect == LEGACY { "start" } else { "subscribe" };
        socket.send(json!({ "type": kind, "id": id, "payload": { "query": query, "variables": variables } })).await;
        let mut listener = Self::Socket(Box::new(socket), dialect, id.to_owned());
        let first = listener.next().await;
        (listener, first)
    }

    /// Subscribes over an event stream and waits for what comes first.
    async fn on_stream(url: &str, client: &Client, query: &str, variables: Value) -> (Self, String) {
        let request = reqwest::Client::new().post(format!("{url}/graphql")).json(&json!({ "query": query, "variables": variables }));
        let request = request.header("accept", "text/event-stream").bearer_auth(client.token().expect("a token"));
        let body = request.send().await.expect("an answer").bytes_stream();
        let mut listener = Self::Stream(Box::pin(body), String::new());
        let first = listener.next().await;
        (listener, first)
    }

    /// The next result as it was sent, without what is around it.
    async fn next(&mut self) -> String {
        match self {
            Self::Socket(socket, dialect, id) => loop {
                let text = socket.text().await;
                let message: Value = serde_json::from_str(&text).expect("JSON");
                let kind = if *dialect == LEGACY { "data" } else { "next" };
                if message["type"] != kind {
                    assert!(matches!(message["type"].as_str(), Some("connection_ack" | "ka" | "ping")), "{text}");
                    continue;
                }
                assert_eq!(message["id"], id.as_str());
                let (_, payload) = text.split_once("\"payload\":").expect("a payload");
                return payload.strip_suffix('}').expect("a brace").to_owned();
            },
            Self::Stream(body, seen) => loop {
                if let Some(end) = seen.find("\n\n") {
                    let event: String = seen.drain(..end + 2).collect();
                    if let Some(data) = event.trim_end().strip_prefix("event: next\ndata: ") {
                        return data.to_owned();
                    }
                    assert!(event.starts_with(':'), "{event}");
                    continue;
                }
                let chunk = timeout(PATIENCE, body.next()).await.expect("in time").expect("still open").expect("a chunk");
                seen.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
            },
        }
    }
}

/// How often events were executed so far: for all of a group, and for one subscriber.
async fn executed(server: &Server) -> (u64, u64) {
    let text = reqwest::get(format!("{}/metrics", server.url())).await.expect("an answer").text().await.expect("a text");
    let of = |label: &str| {
        let line = format!("claimwright_subscription_events_executed_total{{for=\"{label}\"}} ");
        text.lines().find_map(|text| text.strip_prefix(&line)).map_or(0, |number| number.parse().expect("a number"))
    };
    (of("all"), of("one"))
}

#[tokio::test]
async fn those_who_ask_for_the_same_share_one_execution_whatever_they_speak() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]).await;
    let adviser = server.adviser();
    let token = async |arguments: &[&str]| process::run(arguments, &data, &[]).await.stdout.trim().to_owned();
    let colleague = adviser.with_token(token(&["token", "--email", "colleague@practice.example"]).await);
    let stranger = adviser.with_token(token(&["token", "--email", "stranger@other.example", "--workspace", "other"]).await);
    let batch = adviser.create_batch("Acme").await;
    let cursor = adviser.batch_now(&batch).await["eventCursor"].clone();
    adviser.renamed(&batch, "Acme 1").await;
    let (url, present) = (server.url(), json!({ "id": batch }));

    let before = executed(&server).await;
    let mut listeners = Vec::new();
    for number in 0..6 {
        let who = if number % 2 == 0 { &adviser } else { &colleague };
        let id = format!("\"{number}\"");
        for dialect in [TRANSPORT, LEGACY] {
            listeners.push(Listener::on_socket(url, who, dialect, &id, EVENTS, present.clone()).await.0);
        }
        listeners.push(Listener::on_stream(url, who, EVENTS, present.clone()).await.0);
        // who comes back is told what was missed, and from then on the same as the others
        let (listener, missed) = Listener::on_socket(url, who, TRANSPORT, &id, EVENTS, json!({ "id": batch, "after": cursor })).await;
        assert!(missed.contains("BatchChanged"), "{missed}");
        listeners.push(listener);
    }
    assert_eq!(executed(&server).await, (before.0, before.1 + 24), "what each begins with is its own");

    let before = executed(&server).await;
    adviser.renamed(&batch, "Acme 2").await;
    let told: HashSet<String> = join_all(listeners.iter_mut().map(Listener::next)).await.into_iter().collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told.iter().all(|text| text.contains("\"name\":\"Acme 2\"")), "{told:?}");
    assert_eq!(executed(&server).await, (before.0 + 1, before.1), "once for all");

    // other words are another question, and so are other variables
    let other = "subscription Other($id: ID!, $with: Boolean!) { batchProgress(batchId: $id) { __typename \
        ... on BatchChanged { batch { id name @include(if: $with) } } } }";
    for with in [true, false] {
        listeners.push(Listener::on_socket(url, &adviser, TRANSPORT, "1", other, json!({ "id": batch, "with": with })).await.0);
    }
    // and who may not see it is not let in by those who may
    let mut socket = stranger.socket().await;
    let refused = socket.subscribe(EVENTS, present.clone()).await.next_or_errors().await.expect_err("refused");
    assert_eq!(refused[0]["extensions"]["code"], "NOT_FOUND");
    let before = executed(&server).await;
    adviser.renamed(&batch, "Acme 3").await;
    let told = join_all(listeners.iter_mut().map(Listener::next)).await;
    assert!(told[24].contains("\"name\":\"Acme 3\"") && !told[25].contains("\"name\""), "{told:?}");
    assert_eq!(executed(&server).await, (before.0 + 3, before.1), "three questions");

    // the work of a group ends with the last of them
    drop(listeners);
    let idle = async {
        for round in 0.. {
            let before = executed(&server).await;
            adviser.renamed(&batch, &format!("Nobody listens {round}")).await;
            adviser.batch_now(&batch).await;
            if executed(&server).await == before {
                return;
            }
        }
    };
    timeout(PATIENCE, idle).await.expect("the work ends");
    server.terminate().await;
}

/// Asks for many kilobytes whenever the batch is renamed.
fn wide() -> String {
    let texts = "projects(first: 20) { nodes { facts { baseline advanceSought uncertainties workUndertaken outcome } } }";
    let all: String = (0..3).map(|n| format!(" p{n}: {texts}")).collect();
    format!(
        "subscription($id: ID!) {{ batchProgress(batchId: $id) {{ __typename ... on StreamEvent {{ sequence }} \
        ... on BatchChanged {{ batch {{ name {all} }} }} }} }}"
    )
}

on_both! {
    async fn who_comes_late_misses_nothing_and_is_told_nothing_twice_while_much_happens(app: TestApp) {
        const RENAMED: i64 = 60;
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        // one who is there from the beginning, so that there is a group
        let mut there = adviser.socket().await;
        let mut stream = there.subscribe(EVENTS, json!({ "id": batch })).await;
        let snapshot = stream.next().await.expect("a snapshot")["batchProgress"].clone();
        let last = snapshot["sequence"].as_i64().expect("a sequence") + RENAMED;
        let renaming = async {
            for number in 0..RENAMED {
                adviser.renamed(&batch, &format!("Acme {number}")).await;
            }
        };
        let whole = async {
            let mut all = vec![snapshot.clone()];
            while all.last().is_some_and(|event| event["sequence"] != last) {
                all.push(stream.next().await.expect("an event")["batchProgress"].clone());
            }
            all
        };
        // comes, hears a few, goes, and comes back behind what it has heard
        let coming_and_going = async |number: usize| {
            let mut all = vec![snapshot.clone()];
            loop {
                let mut socket = adviser.socket().await;
                let after = all.last().expect("an event")["cursor"].clone();
                let mut events = socket.subscribe(EVENTS, json!({ "id": batch, "after": after })).await;
                for _ in 0..=number {
                    if all.last().is_some_and(|event| event["sequence"] == last) {
                        return all;
                    }
                    all.push(events.next().await.expect("an event")["batchProgress"].clone());
                }
            }
        };
        let ((), whole, others) = tokio::join!(renaming, whole, join_all((0..12).map(coming_and_going)));
        assert_eq!(i64::try_from(dense_sequences(&whole).len()), Ok(RENAMED + 1));
        for all in others {
            assert_eq!(dense_sequences(&all), dense_sequences(&whole));
        }
        drop(there);
        app.stop().await;
    }

    async fn who_does_not_read_holds_nobody_back_and_is_told_everything_later(app: TestApp) {
        const RENAMED: i64 = 120;
        let adviser = app.adviser();
        let ((batch, _), query) = (adviser.batch_of("Acme", 20).await, wide());
        let (mut slow, mut quick) = (adviser.socket().await, adviser.socket().await);
        let mut held = slow.subscribe(&query, json!({ "id": batch })).await;
        let mut read = quick.subscribe(&query, json!({ "id": batch })).await;
        let first = held.next().await.expect("a snapshot")["batchProgress"]["sequence"].as_i64().expect("a sequence");
        read.next().await.expect("a snapshot");
        // more than a group keeps, and than the buffers of the system hold
        for number in 1..=RENAMED {
            adviser.renamed(&batch, &format!("Acme {number}")).await;
            assert_eq!(read.next().await.expect("an event")["batchProgress"]["sequence"], first + number);
        }
        for number in 1..=RENAMED {
            assert_eq!(held.next().await.expect("an event")["batchProgress"]["sequence"], first + number);
        }
        // and both are together again
        adviser.renamed(&batch, "Acme again").await;
        for stream in [&mut held, &mut read] {
            let event = stream.next().await.expect("an event")["batchProgress"].clone();
            assert_eq!((&event["sequence"], &event["batch"]["name"]), (&json!(first + RENAMED + 1), &json!("Acme again")));
        }
        drop((slow, quick));
        app.stop().await;
    }

    async fn a_token_that_ends_ends_the_streams_of_its_own_and_no_others(app: TestApp) {
        let adviser = app.adviser();
        let passing = adviser.with_token(app.token(Duration::from_secs(3)));
        let (url, batch) = (app.url(), adviser.create_batch("Acme").await);
        let id = json!({ "id": batch });
        let mut stays = Vec::new();
        let mut ends = Vec::new();
        for (who, listeners) in [(&adviser, &mut stays), (&passing, &mut ends)] {
            for dialect in [TRANSPORT, LEGACY] {
                listeners.push(Listener::on_socket(&url, who, dialect, "1", EVENTS, id.clone()).await.0);
            }
            listeners.push(Listener::on_stream(&url, who, EVENTS, id.clone()).await.0);
        }
        adviser.renamed(&batch, "Acme 1").await;
        for text in join_all(stays.iter_mut().chain(&mut ends).map(Listener::next)).await {
            assert!(text.contains("\"name\":\"Acme 1\""), "{text}");
        }
        let last: HashSet<bool> = join_all(ends.iter_mut().map(Listener::next)).await.iter().map(|text| text.contains("NOT_ALLOWED")).collect();
        assert_eq!(last, HashSet::from([true]));
        adviser.renamed(&batch, "Acme 2").await;
        for text in join_all(stays.iter_mut().map(Listener::next)).await {
            assert!(text.contains("\"name\":\"Acme 2\""), "{text}");
        }
        adviser.run("mutation($id: ID!) { deleteBatch(id: $id, permanently: true) { userErrors { code } } }", id).await;
        for text in join_all(stays.iter_mut().map(Listener::next)).await {
            assert!(text.contains("\"reason\":\"DELETED\""), "{text}");
        }
        drop((stays, ends));
        app.stop().await;
    }
}
