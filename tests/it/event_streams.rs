//! graphql-sse in distinct-connections mode: one operation, one response of `text/event-stream` on `/graphql`.

use crate::on_both;
use crate::support::raw::exchange;
use crate::support::{Client, Mode, PATIENCE, TestApp};
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const WATCH: &str = "subscription($id: ID!, $after: EventCursor) { batchProgress(batchId: $id, after: $after) { __typename \
    ... on StreamEvent { cursor sequence } ... on BatchChanged { batch { name } } ... on StreamEnded { reason } } }";

/// An open event stream.
struct Stream {
    response: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    headers: reqwest::header::HeaderMap,
    status: u16,
    seen: String,
}

impl Stream {
    async fn open(client: &Client, query: &str, variables: Value) -> Self {
        let request =
            reqwest::Client::new().post(format!("{}/graphql", client.url())).json(&json!({ "query": query, "variables": variables }));
        Self::of(client, request).await
    }

    async fn of(client: &Client, request: reqwest::RequestBuilder) -> Self {
        let request = request.header("accept", "text/event-stream").header("accept-encoding", "gzip, br");
        let request = if let Some(token) = client.token() { request.bearer_auth(token) } else { request };
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { response: Box::pin(response.bytes_stream()), headers, status, seen: String::new() }
    }

    /// The next event with its data; comments are passed over. None once the stream has ended.
    async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some(end) = self.seen.find("\n\n") {
                let text: String = self.seen.drain(..end + 2).collect();
                if text.starts_with(':') {
                    continue;
                }
                let (event, data) = text.trim_end_matches('\n').split_once('\n').expect("two lines");
                let data = data.strip_prefix("data: ").expect("data");
                let data = if data.is_empty() { Value::Null } else { serde_json::from_str(data).expect("JSON") };
                return Some((event.strip_prefix("event: ").expect("an event").to_owned(), data));
            }
            let chunk = timeout(PATIENCE, self.response.next()).await.expect("something in time")?.expect("a chunk");
            self.seen.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// The data of the result of a query or a mutation, which tells its cost too.
    async fn result(&mut self) -> Value {
        let (event, result) = self.event().await.expect("an event");
        assert_eq!((event.as_str(), result.get("errors")), ("next", None), "{result}");
        assert!(result["extensions"]["cost"]["requested"].is_u64(), "{result}");
        result["data"].clone()
    }

    /// The data of the next event of a subscription.
    async fn progress(&mut self) -> Value {
        let (event, data) = self.event().await.expect("an event");
        assert_eq!((event.as_str(), data.get("errors")), ("next", None), "{data}");
        data["data"]["batchProgress"].clone()
    }
}

fn complete() -> (String, Value) {
    ("complete".into(), Value::Null)
}

on_both! {
    async fn operations_of_all_kinds_are_events_and_then_complete(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut query = Stream::open(&adviser, "query($id: ID!) { batch(id: $id) { name } }", json!({ "id": batch })).await;
        let header = |name: &str| query.headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default();
        assert_eq!((query.status, header("content-type").as_str()), (200, "text/event-stream; charset=utf-8"));
        assert_eq!((header("cache-control").as_str(), header("x-accel-buffering").as_str()), ("no-store, no-transform", "no"));
        assert_eq!((header("content-encoding").as_str(), header("content-length").as_str()), ("", ""), "nothing may wait for more");
        assert_eq!(query.result().await, json!({ "batch": { "name": "Acme" } }));
        assert_eq!(query.event().await, Some(complete()));
        assert_eq!(query.event().await, None, "and the response ends");
        let rename = "mutation($id: ID!) { renameBatch(id: $id, name: \"Acme again\") { userErrors { code } } }";
        let mut mutation = Stream::open(&adviser, rename, json!({ "id": batch })).await;
        assert_eq!(mutation.result().await, json!({ "renameBatch": { "userErrors": [] } }));
        assert_eq!(mutation.event().await, Some(complete()));

        let mut stream = Stream::open(&adviser, WATCH, json!({ "id": batch })).await;
        let snapshot = stream.progress().await;
        assert_eq!(snapshot["__typename"], "BatchSnapshot");
        adviser.renamed(&batch, "Acme a third time").await;
        assert_eq!(stream.progress().await["batch"]["name"], "Acme a third time");
        // what was missed meanwhile comes after the cursor, by GET as well
        drop(stream);
        adviser.renamed(&batch, "Acme a fourth time").await;
        let variables = json!({ "id": batch, "after": snapshot["cursor"] }).to_string();
        let parameters = serde_urlencoded::to_string([("query", WATCH), ("variables", &variables)]).expect("encoded");
        let get = reqwest::Client::new().get(format!("{}/graphql?{parameters}", adviser.url()));
        let mut stream = Stream::of(&adviser, get).await;
        assert_eq!(stream.progress().await["batch"]["name"], "Acme a fourth time", "objects are shown as they are now");
        assert_eq!(stream.progress().await["sequence"].as_i64(), snapshot["sequence"].as_i64().map(|sequence| sequence + 2));
        adviser.run("mutation($id: ID!) { deleteBatch(id: $id, permanently: true) { userErrors { code } } }", json!({ "id": batch })).await;
        assert_eq!(stream.progress().await["reason"], "DELETED");
        assert_eq!(stream.event().await, Some(complete()), "what ends by itself is complete");
        app.stop().await;
    }

    async fn a_client_that_goes_away_ends_the_work(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut streams = Vec::new();
        for own in 0..60 {
            // each in its own words, so that nothing is executed for several of them
            let query = WATCH.replacen("subscription", &format!("subscription Own{own}"), 1);
            let mut stream = Stream::open(&adviser, &query, json!({ "id": batch })).await;
            stream.progress().await;
            streams.push(stream);
        }
        let before = app.statements();
        adviser.renamed(&batch, "Sixty listen").await;
        for stream in &mut streams {
            stream.progress().await;
        }
        let watched = app.statements() - before;
        assert!(watched >= 60, "every watcher loads the batch: {watched}");
        drop(streams);
        // the server notices each for itself
        let unwatched = async {
            for round in 0.. {
                let before = app.statements();
                adviser.renamed(&batch, &format!("Nobody listens {round}")).await;
                adviser.batch_now(&batch).await;
                if app.statements() - before < 30 {
                    return;
                }
            }
        };
        timeout(PATIENCE, unwatched).await.expect("the work ends");
        app.stop().await;
    }
}

#[tokio::test]
async fn an_operation_that_is_refused_is_told_in_an_event_and_a_request_that_is_none_by_the_status() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    for (query, variables, code) in [
        ("{", json!({}), "PARSE_FAILED"),
        ("{ nothing }", json!({}), "VALIDATION_FAILED"),
        ("query($n: String!) { __type(name: $n) { name } }", json!({}), "VALIDATION_FAILED"),
        ("query($n: String!) { __type(name: $n) { name } }", json!({ "n": 7 }), "VALIDATION_FAILED"),
        (WATCH, json!({ "id": "nonsense" }), "NOT_FOUND"),
    ] {
        let mut stream = Stream::open(&adviser, query, variables).await;
        assert_eq!(stream.status, 200, "{query}");
        let (event, data) = stream.event().await.expect("an event");
        assert_eq!((event.as_str(), &data["errors"][0]["extensions"]["code"]), ("next", &json!(code)), "{query}: {data}");
        assert!(data.get("data").is_none(), "{data}");
        assert_eq!(stream.event().await, Some(complete()));
        assert_eq!(stream.event().await, None);
    }
    let accept = ("accept", "text/event-stream");
    let post = async |headers: &[(&str, &str)], body: &str| exchange(&app.url(), "POST", "/graphql", headers, body.as_bytes()).await;
    let json = ("content-type", "application/json");
    for (what, answer, status) in [
        ("no JSON", post(&[accept, json], "nonsense").await, 400),
        ("no query", post(&[accept, json], "{}").await, 400),
        ("text", post(&[accept, ("content-type", "text/plain")], "{ __typename }").await, 415),
        ("no token", post(&[accept, json], r#"{"query":"{ viewer { user { id } } }"}"#).await, 401),
        ("another method", exchange(&app.url(), "PUT", "/graphql", &[accept], b"").await, 405),
    ] {
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/json; charset=utf-8"), "{what}");
        assert!(answer.json()["errors"][0]["message"].is_string(), "{what}");
    }
    let get = reqwest::Client::new().get(format!("{}/graphql?query=%7B__typename%7D", app.url()));
    let mut public = Stream::of(&app.anonymous(), get).await;
    assert_eq!(public.result().await, json!({ "__typename": "Query" }));
    assert_eq!(public.event().await, Some(complete()));
    app.stop().await;
}

#[tokio::test]
async fn a_subscription_takes_an_event_stream_where_the_client_has_a_second_choice() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let accept = "application/graphql-response+json, application/json, text/event-stream;q=0.5";
    let body = json!({ "query": WATCH, "variables": { "id": batch } });
    let ask = |body: &Value| {
        let request = reqwest::Client::new().post(format!("{}/graphql", app.url())).json(body).header("accept", accept);
        request.bearer_auth(adviser.token().expect("a token")).send()
    };
    let response = ask(&body).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let response = ask(&json!({ "query": "{ __typename }" })).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "application/graphql-response+json; charset=utf-8");
    app.stop().await;
}

#[tokio::test]
async fn draining_and_a_token_that_ends_break_a_stream_off_so_that_its_client_comes_back() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let passing = Client::new(app.url(), Some(app.token(Duration::ZERO)));
    let mut stream = Stream::open(&passing, WATCH, json!({ "id": batch })).await;
    assert_eq!(stream.progress().await["__typename"], "BatchSnapshot");
    assert_eq!(stream.progress().await["reason"], "NOT_ALLOWED");
    assert_eq!(stream.event().await, None, "not complete");
    let mut stream = Stream::open(&adviser, WATCH, json!({ "id": batch })).await;
    assert_eq!(stream.progress().await["__typename"], "BatchSnapshot");
    let heard = async {
        assert_eq!(stream.progress().await["reason"], "SHUTTING_DOWN");
        assert_eq!(stream.event().await, None, "not complete");
    };
    tokio::join!(heard, app.stop());
}
