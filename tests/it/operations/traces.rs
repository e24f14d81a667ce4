//! One trace from a request through the jobs that it queues to the calls that these make, as a collector sees it.

use crate::support::PATIENCE;
use crate::support::process::{Server, settings};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A span, as far as these tests look.
#[derive(Debug, Clone, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    attributes: HashMap<String, String>,
}

/// The fields of a message of Protocol Buffers: number and value, for the wire types that OTLP uses.
enum Field<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let value = match key & 7 {
            0 => Field::Number(varint(&mut message)),
            kind @ (1 | 2 | 5) => {
                let length = match kind {
                    1 => 8,
                    5 => 4,
                    _ => usize::try_from(varint(&mut message)).expect("a length"),
                };
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Field::Bytes(bytes)
            }
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

fn bytes<'m>(message: &'m [u8], number: u64) -> Vec<&'m [u8]> {
    let of = |(found, value): (u64, Field<'m>)| match value {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    };
    fields(message).into_iter().filter_map(of).collect()
}

fn text(message: &[u8], number: u64) -> String {
    bytes(message, number).first().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn hex(message: &[u8], number: u64) -> String {
    bytes(message, number).first().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
}

/// `ExportTraceServiceRequest`: resources (1), scopes in them (2), spans in those (2).
fn spans(request: &[u8]) -> Vec<Span> {
    let scopes = bytes(request, 1).into_iter().flat_map(|resource| bytes(resource, 2));
    scopes
        .flat_map(|scope| bytes(scope, 2))
        .map(|span| Span {
            trace: hex(span, 1),
            id: hex(span, 2),
            parent: hex(span, 4),
            name: text(span, 5),
            kind: fields(span)
                .into_iter()
                .find_map(|(number, value)| match value {
                    Field::Number(kind) if number == 6 => Some(kind),
                    _ => None,
                })
                .unwrap_or(0),
            attributes: bytes(span, 9).into_iter().map(|pair| (text(pair, 1), value(bytes(pair, 2)[0]))).collect(),
        })
        .collect()
}

/// `AnyValue`: a text (1) or a whole number (3).
fn value(message: &[u8]) -> String {
    fields(message)
        .into_iter()
        .map(|(_, value)| match value {
            Field::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Field::Number(number) => number.to_string(),
        })
        .collect()
}

type Received = Arc<Mutex<Vec<Bytes>>>;

/// A collector of traces; gives its base URL and what it receives.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let take = async |State(received): State<Received>, body: Bytes| received.lock().expect("unpoisoned").push(body);
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

#[tokio::test]
async fn one_trace_goes_from_the_caller_through_request_and_job_to_the_call_of_the_provider() {
    let (url, received) = collector().await;
    let folder = tempfile::tempdir().expect("a folder");
    let traced = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_SERVICE_NAME", "claims-in-test")]);
    let server = Server::start(&folder.path().join("data"), &traced).await;
    let adviser = server.adviser();
    let (batch, _) = adviser.batch_of("Acme", 1).await;
    let query = "mutation StartIt($input: StartGenerationInput!) { startGeneration(input: $input) { run { id } userErrors { code } } }";
    let request = reqwest::Client::new().post(format!("{}/graphql", server.url())).bearer_auth(adviser.token().expect("a token"));
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let answer = request.json(&json!({ "query": query, "variables": { "input": { "generation": { "batchId": batch } } } })).send().await;
    let answer: serde_json::Value = answer.expect("an answer").json().await.expect("JSON");
    let run = answer["data"]["startGeneration"]["run"]["id"].as_str().expect("a run").to_owned();
    assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
    assert!(server.terminate().await.success(), "it sends its last spans and ends well");

    let bodies = received.lock().expect("unpoisoned").clone();
    assert!(bodies.iter().any(|body| String::from_utf8_lossy(body).contains("claims-in-test")));
    let all: Vec<Span> = bodies.iter().flat_map(|body| spans(body)).collect();
    let ours: Vec<&Span> = all.iter().filter(|span| span.trace == TRACE).collect();
    let by_id: HashMap<&str, &Span> = ours.iter().map(|span| (span.id.as_str(), *span)).collect();
    let call = ours.iter().find(|span| span.name == "chat offline-composer-1").unwrap_or_else(|| panic!("no call: {all:#?}"));
    let job = by_id[call.parent.as_str()];
    let request = by_id[job.parent.as_str()];
    assert_eq!((job.name.as_str(), request.name.as_str()), ("job", "request"));
    assert_eq!(request.parent, CALLER);
    assert_eq!((request.kind, job.kind, call.kind), (2, 5, 3), "server, consumer, client");
    assert_eq!((job.attributes["kind"].as_str(), request.attributes["graphql.operation.name"].as_str()), ("draft_section", "StartIt"));
    assert_eq!(request.attributes["http.response.status_code"], "200");
    assert_eq!(call.attributes["gen_ai.provider.name"], "offline");
    assert!(call.attributes["gen_ai.usage.output_tokens"].parse::<u64>().expect("a number") > 10);
    // jobs that jobs queue are in it too
    assert!(ours.iter().any(|span| span.attributes.get("kind").is_some_and(|kind| kind == "finish_project")));
    // and what nobody traced before has a trace of its own
    assert!(all.iter().any(|span| span.name == "request" && span.trace != TRACE && span.parent.is_empty()));
}

#[tokio::test]
async fn a_collector_that_is_down_is_told_once_and_hinders_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("LOG_FORMAT", "json")]);
    let server = Server::start(&folder.path().join("data"), &nowhere).await;
    server.adviser().generated("Acme", 1).await;
    let told = async {
        while !server.log().contains("the collector takes no spans") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told");
    assert_eq!(server.log().matches("the collector takes no spans").count(), 1);
    assert!(server.terminate().await.success());
}
