//! Automatic persisted queries: a document that was sent once with its hash runs by the hash alone, over HTTP and sockets,
//! and nothing gets in that could not have been sent whole.

use crate::support::pair::Pair;
use crate::support::{Client, Mode, TestApp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const QUERY: &str = "query Names($first: Int) { batches(first: $first) { nodes { name } } }";

fn hash(document: &str) -> String {
    Sha256::digest(document).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn extensions(document: &str) -> Value {
    json!({ "persistedQuery": { "version": 1, "sha256Hash": hash(document) } })
}

/// Status and body of a POST that accepts a media type.
async fn post(client: &Client, accept: &str, body: Value) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{}/graphql", client.url())).header("accept", accept).json(&body);
    if let Some(token) = client.token() {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// Status and body of a GET with these parameters.
async fn get(client: &Client, parameters: &[(&str, &str)]) -> (u16, Value) {
    let url = reqwest::Url::parse_with_params(&format!("{}/graphql", client.url()), parameters).expect("a URL");
    let mut request = reqwest::Client::new().get(url).header("accept", "application/json");
    if let Some(token) = client.token() {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

async fn is_known(client: &Client, document: &str) -> bool {
    let (_, answer) = post(client, "application/json", json!({ "extensions": extensions(document) })).await;
    code(&answer) != "PERSISTED_QUERY_NOT_FOUND"
}

#[tokio::test]
async fn a_document_that_was_sent_once_with_its_hash_runs_by_the_hash_alone() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    adviser.create_batch("Acme").await;
    // the client tries the hash first; both media types answer as their specification says for a request error
    for (accept, status) in [("application/json", 200), ("application/graphql-response+json", 400)] {
        let answer = post(&adviser, accept, json!({ "extensions": extensions(QUERY) })).await;
        assert_eq!((answer.0, code(&answer.1)), (status, "PERSISTED_QUERY_NOT_FOUND"), "{answer:?}");
        assert_eq!(answer.1["errors"][0]["message"], "PersistedQueryNotFound", "clients look for these words");
        assert!(answer.1.get("data").is_none());
    }
    let found = json!({ "batches": { "nodes": [{ "name": "Acme" }] } });
    let whole = json!({ "query": QUERY, "variables": { "first": 1 }, "extensions": extensions(QUERY) });
    assert_eq!(post(&adviser, "application/json", whole).await.1["data"], found);
    for body in
        [json!({ "extensions": extensions(QUERY) }), json!({ "query": "", "variables": { "first": 2 }, "extensions": extensions(QUERY) })]
    {
        let (status, answer) = post(&adviser, "application/graphql-response+json", body).await;
        assert_eq!((status, &answer["data"]), (200, &found));
    }
    let (status, answer) = get(&adviser, &[("extensions", &extensions(QUERY).to_string()), ("variables", r#"{"first":1}"#)]).await;
    assert_eq!((status, &answer["data"]), (200, &found));
    app.stop().await;
}

#[tokio::test]
async fn a_hash_works_over_a_socket_as_over_http() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let mut socket = adviser.socket().await;
    let by_hash = |id: &str| json!({ "id": id, "type": "subscribe", "payload": { "extensions": extensions(QUERY) } });
    socket.send(by_hash("1")).await;
    let refused = socket.receive().await.expect("an answer");
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("PERSISTED_QUERY_NOT_FOUND")));
    // the id is free again at once
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": QUERY, "extensions": extensions(QUERY) } })).await;
    for id in ["1", "2"] {
        let answer = socket.receive().await.expect("an answer");
        assert_eq!((&answer["id"], &answer["payload"]["data"]["batches"]["nodes"]), (&json!(id), &json!([])), "{answer}");
        assert_eq!(socket.receive().await.expect("the end")["type"], "complete");
        socket.send(by_hash("2")).await;
    }
    assert!(is_known(&adviser, QUERY).await);
    app.stop().await;
}

#[tokio::test]
async fn the_hash_of_another_document_is_refused_and_nothing_is_kept() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let (other, evil) = ("{ viewer { user { id } } }", "{ viewer { user { email } } }");
    let (_, answer) = post(&adviser, "application/json", json!({ "query": evil, "extensions": extensions(other) })).await;
    assert_eq!(code(&answer), "VALIDATION_FAILED");
    assert!(!is_known(&adviser, other).await && !is_known(&adviser, evil).await);
    for persisted in [json!({ "version": 2, "sha256Hash": hash(other) }), json!({ "version": 1, "sha256Hash": "abc" }), json!("x")] {
        let body = json!({ "query": other, "extensions": { "persistedQuery": persisted } });
        assert_eq!(code(&post(&adviser, "application/json", body).await.1), "VALIDATION_FAILED");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_mutation_by_its_hash_runs_by_post_and_never_by_get() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let mutation = "mutation Make($input: CreateBatchInput!) { createBatch(input: $input) { batch { name } } }";
    let named = |name: &str| json!({ "input": { "name": name } });
    let whole = json!({ "query": mutation, "variables": named("One"), "extensions": extensions(mutation) });
    assert_eq!(post(&adviser, "application/json", whole).await.1["data"]["createBatch"]["batch"]["name"], "One");
    let by_hash = json!({ "variables": named("Two"), "extensions": extensions(mutation) });
    assert_eq!(post(&adviser, "application/json", by_hash).await.1["data"]["createBatch"]["batch"]["name"], "Two");
    let (hash, variables) = (extensions(mutation).to_string(), named("Three").to_string());
    assert_eq!(get(&adviser, &[("extensions", &hash), ("variables", &variables)]).await.0, 405);
    assert_eq!(adviser.run("{ batches { totalCount } }", json!({})).await["batches"]["totalCount"], 2);
    app.stop().await;
}

#[tokio::test]
async fn only_a_document_that_may_run_is_kept() {
    let app = TestApp::start_on(Mode::Embedded, &[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "300")], |_| {}).await;
    let (adviser, anonymous) = (app.adviser(), app.anonymous());
    let private = "query Private { viewer { user { id } } }";
    let (status, _) = post(&anonymous, "application/json", json!({ "query": private, "extensions": extensions(private) })).await;
    assert_eq!(status, 401);
    assert!(!is_known(&adviser, private).await, "a caller without a token keeps nothing but what everybody may ask");
    let long = format!("{{ viewer {{ user {{ id }} }} }} #{}", "x".repeat(16 << 10));
    let dear = "{ batches(first: 100) { nodes { id name description externalRef } } }";
    for refused in ["{ viewer {", "{ ...a } fragment a on Query { ...a }", &long, dear] {
        post(&adviser, "application/json", json!({ "query": refused, "extensions": extensions(refused) })).await;
        assert!(!is_known(&adviser, refused).await, "{refused:.60}");
    }
    // what a person has sent is still checked for whoever asks for it by its hash
    post(&adviser, "application/json", json!({ "query": private, "extensions": extensions(private) })).await;
    let (status, _) = post(&anonymous, "application/json", json!({ "extensions": extensions(private) })).await;
    assert_eq!(status, 401);
    assert!(is_known(&adviser, private).await);
    app.stop().await;
}

#[tokio::test]
async fn a_document_that_one_process_was_sent_runs_by_its_hash_in_another() {
    let Some(pair) = Pair::start(&[]).await else { return };
    let (here, there) = (Pair::client(&pair.apps[0]), Pair::client(&pair.apps[1]));
    assert!(!is_known(&there, QUERY).await);
    post(&here, "application/json", json!({ "query": QUERY, "extensions": extensions(QUERY) })).await;
    let (_, answer) = post(&there, "application/json", json!({ "extensions": extensions(QUERY) })).await;
    assert_eq!(answer["data"], json!({ "batches": { "nodes": [] } }), "{answer}");
    pair.stop().await;
}

#[tokio::test]
async fn where_documents_are_registered_nothing_else_runs_on_any_transport() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("names.graphql"), QUERY).expect("written");
    let settings = [("REGISTERED_DOCUMENTS", folder.path().to_str().expect("a path"))];
    let app = TestApp::start_on(Mode::Embedded, &settings, |_| {}).await;
    let adviser = app.adviser();
    let found = json!({ "batches": { "nodes": [] } });
    for body in
        [json!({ "query": QUERY }), json!({ "extensions": extensions(QUERY) }), json!({ "query": QUERY, "extensions": extensions(QUERY) })]
    {
        let (status, answer) = post(&adviser, "application/graphql-response+json", body).await;
        assert_eq!((status, &answer["data"]), (200, &found));
    }
    let other = "query Names($first: Int) { batches(first: $first) { nodes { name id } } }";
    // to send it whole with its hash registers nothing
    for body in
        [json!({ "query": other, "extensions": extensions(other) }), json!({ "query": other }), json!({ "extensions": extensions(other) })]
    {
        let (status, answer) = post(&adviser, "application/graphql-response+json", body).await;
        assert_eq!((status, code(&answer)), (400, "PERSISTED_QUERY_NOT_FOUND"), "{answer}");
        assert!(answer["errors"][0]["message"].as_str().is_some_and(|message| message.contains("registered")), "{answer}");
    }
    for parameters in [[("query", other)], [("extensions", extensions(other).to_string().as_str())]] {
        let (_, answer) = get(&adviser, &parameters).await;
        assert_eq!(code(&answer), "PERSISTED_QUERY_NOT_FOUND", "{answer}");
    }
    assert_eq!(get(&adviser, &[("query", QUERY)]).await.1["data"], found);
    assert_eq!(get(&adviser, &[("extensions", &extensions(QUERY).to_string())]).await.1["data"], found);
    for (body, expected) in [
        (json!({ "query": other }), "PERSISTED_QUERY_NOT_FOUND"),
        (json!({ "query": other, "extensions": extensions(other) }), "PERSISTED_QUERY_NOT_FOUND"),
        (json!({ "query": QUERY }), "\"nodes\":[]"),
        (json!({ "extensions": extensions(QUERY) }), "\"nodes\":[]"),
    ] {
        let request = reqwest::Client::new().post(format!("{}/graphql", adviser.url())).header("accept", "text/event-stream").json(&body);
        let stream = request.bearer_auth(adviser.token().expect("a token")).send().await.expect("an answer");
        let text = stream.text().await.expect("a stream");
        assert!(text.contains(expected) && text.ends_with("event: complete\ndata: \n\n"), "{body}: {text}");
    }
    let mut socket = adviser.socket().await;
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": other } })).await;
    let refused = socket.receive().await.expect("an answer");
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("PERSISTED_QUERY_NOT_FOUND")));
    app.stop().await;
}
