//! What the front adds to an operation: the time of an answer over an open socket, and of the checks of a document.

use crate::{Bench, Outcome};
use claimwright::http::measuring::Checks;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const QUERIES: usize = 2_000;
const CHECKS: u32 = 20_000;
const SMALL: &str = "{ __typename }";
const LARGE: &str = "query Overview($first: Int = 10) { batches(first: $first) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node { \
    ...Card projects(first: 20, filter: { status: [NEEDS_REVIEW] }) { totalCount nodes { id name status externalRef costs { total } \
    quality { score issues { code severity message } } sections { key title state wordCount } } } } } } } \
    fragment Card on Batch { id name activity counts { total draft needsReview approved failed } }";

/// Measures both.
pub async fn run(bench: &Bench) -> Outcome<String> {
    let mut times = socket(bench).await?;
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    let mut text = format!(
        "{QUERIES} queries over an open socket, one after the other, wall time\n\
         p50              {:8.3} ms\np99              {:8.3} ms\n\
         checks of a document that was seen before, wall time\n",
        millis(at(50)),
        millis(at(99))
    );
    let checks = Checks::new()?;
    for (name, document) in [("small", SMALL), ("large", LARGE)] {
        let begun = Instant::now();
        assert!(checks.check(document).await, "{name} is refused");
        let first = begun.elapsed();
        let begun = Instant::now();
        for _ in 0..CHECKS {
            checks.check(document).await;
        }
        let again = begun.elapsed() / CHECKS;
        writeln!(text, "{name:<16} {:8.3} µs, {} bytes; the first time {:.1} µs", micros(again), document.len(), micros(first))?;
    }
    Ok(text)
}

async fn socket(bench: &Bench) -> Outcome<Vec<Duration>> {
    let mut request = format!("ws://{}/graphql", bench.address).into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
    let (mut socket, _) = connect_async(request).await?;
    let init = json!({ "type": "connection_init", "payload": { "token": bench.token } });
    socket.send(Message::text(init.to_string())).await?;
    socket.next().await.ok_or("no answer")??;
    let mut times = Vec::with_capacity(QUERIES);
    for id in 0..QUERIES {
        let subscribe = json!({ "id": id.to_string(), "type": "subscribe", "payload": { "query": SMALL } }).to_string();
        let begun = Instant::now();
        socket.send(Message::text(subscribe)).await?;
        loop {
            let message = socket.next().await.ok_or("the socket ended")??;
            let Message::Text(text) = message else { continue };
            let answer: Value = serde_json::from_str(&text)?;
            match answer["type"].as_str() {
                Some("next") => assert_eq!(answer["payload"]["data"]["__typename"], "Query"),
                Some("complete") => break,
                _ => return Err(text.to_string().into()),
            }
        }
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000_000.0
}
