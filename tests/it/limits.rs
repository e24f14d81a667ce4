//! Cost and rate limits: what is too expensive is refused before it runs, whoever asks too much has to wait, and every
//! answer says where the caller stands.

use crate::support::pair::Pair;
use crate::support::process::Server;
use crate::support::socket::Socket;
use crate::support::{Client, Mode, TestApp, root};
use claimwright::app::Roles;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Limits of a test: one point a second, so that hardly any comes back while it runs.
const SLOW: &[(&str, &str)] = &[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "900")];
/// Costs 203 points.
const PAGE: &str = "{ batches(first: 100) { totalCount nodes { id name } } }";
const PAGE_COST: u64 = 203;
/// From a batch to its projects and round again.
const CIRCLE: &str = "query($id: ID!, $n: Int) { batch(id: $id) { projects(first: $n) { nodes { batch { projects(first: $n) { nodes { \
    batch { projects(first: $n) { nodes { id } } } } } } } } } }";

/// Status, headers and body of an operation over HTTP.
async fn post(client: &Client, body: Value) -> (u16, HeaderMap, Value) {
    let mut request = reqwest::Client::new().post(format!("{}/graphql", client.url())).json(&body);
    if let Some(token) = client.token() {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.headers().clone(), response.json().await.expect("JSON"))
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

async fn remaining(client: &Client) -> i64 {
    client.run("{ rateLimit { remaining } }", json!({})).await["rateLimit"]["remaining"].as_i64().expect("a number")
}

#[tokio::test]
async fn a_circle_with_large_pages_is_refused_before_it_runs_and_says_by_how_much() {
    let app = TestApp::start(Mode::Embedded).await;
    let id = app.adviser().create_batch("Acme").await;
    // without workers, whose looks at the queue would be counted too
    let app = app.restart_as(Roles::Api).await;
    let adviser = app.adviser();
    adviser.run("{ viewer { user { id } } }", json!({})).await;
    let before = app.statements();
    let error = adviser.fail(CIRCLE, json!({ "id": id, "n": 100 })).await;
    assert_eq!(error["extensions"], json!({ "code": "TOO_COMPLEX", "limit": 25_000, "actual": 1_030_303 }), "{error}");
    assert_eq!(app.statements(), before, "nothing was read");
    let mut socket = adviser.socket().await;
    let mut events = socket.subscribe(CIRCLE, json!({ "id": id, "n": 100 })).await;
    let errors = events.next_or_errors().await.expect_err("too complex");
    assert_eq!((&errors[0]["extensions"]["code"], &errors[0]["extensions"]["limit"]), (&json!("TOO_COMPLEX"), &json!(25_000)));
    // with small pages it is legal, as is a page whose size is left to the schema
    adviser.run(CIRCLE, json!({ "id": id, "n": 20 })).await;
    adviser.run(CIRCLE, json!({ "id": id })).await;
    app.stop().await;
}

#[tokio::test]
async fn the_deepest_legal_query_is_answered_and_one_field_more_is_not() {
    // a process of its own, because its threads have the stack that this needs
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]).await;
    let adviser = server.adviser();
    adviser.batch_of("Acme", 1).await;
    let deep = |leaf: &str| {
        let round = "projects(first: 1) { nodes { batch { ";
        format!("{{ batches(first: 1) {{ nodes {{ {} {leaf} {} }} }} }}", round.repeat(4), "} } }".repeat(4))
    };
    let data = adviser.run(&deep("name"), json!({})).await;
    let path = "/projects/nodes/0/batch".repeat(4);
    assert_eq!(data.pointer(&format!("/batches/nodes/0{path}/name")), Some(&json!("Acme")), "{data}");
    let error = adviser.fail(&deep("template { key }"), json!({})).await;
    assert_eq!(error["extensions"], json!({ "code": "TOO_COMPLEX", "limit": 15, "actual": 16 }), "{error}");
    let info = adviser.run("{ apiInfo { maxDepth maxComplexity } }", json!({})).await;
    assert_eq!(info["apiInfo"], json!({ "maxDepth": 15, "maxComplexity": 25_000 }));
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn every_answer_tells_its_cost_and_without_a_limit_there_is_always_enough() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let (_, headers, body) = post(&adviser, json!({ "query": PAGE })).await;
    let cost = json!({ "requested": PAGE_COST, "actual": PAGE_COST, "remaining": null, "restoreRate": null });
    assert_eq!(body["extensions"]["cost"], cost, "{body}");
    assert_eq!((header(&headers, "ratelimit"), header(&headers, "ratelimit-policy")), ("", ""));
    // a request error too, if it was worth a charge
    let (_, _, body) = post(&adviser, json!({ "query": "{ viewer { shoeSize } }" })).await;
    assert_eq!(
        (&body["errors"][0]["extensions"]["code"], &body["extensions"]["cost"]["requested"]),
        (&json!("VALIDATION_FAILED"), &json!(2))
    );
    let mut socket = adviser.socket().await;
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": PAGE } })).await;
    assert_eq!(socket.receive().await.expect("an answer")["payload"]["extensions"]["cost"], cost);
    let data = adviser.run("{ rateLimit { limit remaining restorePerSecond resetAt cost } viewer { user { id } } }", json!({})).await;
    let limit = &data["rateLimit"];
    let most = json!(i32::MAX);
    assert_eq!((&limit["limit"], &limit["remaining"], &limit["restorePerSecond"], &limit["cost"]), (&most, &most, &most, &json!(3)));
    assert!(limit["resetAt"].is_string());
    app.stop().await;
}

#[tokio::test]
async fn who_has_used_up_the_limit_waits_and_nobody_else_does() {
    let app = TestApp::start_on(Mode::Embedded, SLOW, |_| {}).await;
    let (adviser, colleague) = (app.adviser(), app.member("colleague@practice.example", "practice"));
    let (status, headers, body) = post(&adviser, json!({ "query": PAGE })).await;
    assert_eq!((status, header(&headers, "ratelimit-policy")), (200, "\"person\";q=900;w=900"));
    let told = body["extensions"]["cost"]["remaining"].as_u64().expect("a number");
    assert!((697..720).contains(&told) && header(&headers, "ratelimit").starts_with(&format!("\"person\";r={told};t=")), "{headers:?}");
    assert_eq!((&body["extensions"]["cost"]["actual"], &body["extensions"]["cost"]["restoreRate"]), (&json!(PAGE_COST), &json!(1)));
    for _ in 0..3 {
        adviser.run(PAGE, json!({})).await;
    }
    let left = remaining(&adviser).await;
    assert!((88..=118).contains(&left), "{left}");
    for accept in ["application/json", "application/graphql-response+json"] {
        let request = reqwest::Client::new().post(format!("{}/graphql", app.url())).bearer_auth(adviser.token().expect("a token"));
        let response = request.header("accept", accept).json(&json!({ "query": PAGE })).send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.expect("JSON");
        let error = &body["errors"][0];
        assert_eq!((status, &error["extensions"]["code"]), (429, &json!("RATE_LIMITED")), "{body}");
        let pause = error["extensions"]["retryAfterMs"].as_u64().expect("a pause");
        assert!((1..=115_000).contains(&pause), "{pause}");
        assert_eq!(header(&headers, "retry-after"), pause.div_ceil(1_000).to_string());
        assert!(header(&headers, "ratelimit").ends_with(&format!(";t={}", pause.div_ceil(1_000))), "{headers:?}");
        assert!(body.get("data").is_none());
        let cost = &body["extensions"]["cost"];
        assert_eq!((&cost["requested"], &cost["actual"]), (&json!(PAGE_COST), &json!(0)));
    }
    // what was refused cost nothing, and to ask costs nothing
    let still = remaining(&adviser).await;
    assert!(still >= left, "{left} {still}");
    assert_eq!(post(&adviser, json!({ "query": "{ viewer { user { id } } }" })).await.0, 200, "what is cheap enough is answered");
    assert_eq!(remaining(&colleague).await, 900);
    app.stop().await;
}

#[tokio::test]
async fn points_come_back_with_time() {
    let app = TestApp::start_on(Mode::Embedded, &[("RATE_LIMIT_PER_SECOND", "100"), ("RATE_LIMIT_BURST", "250")], |_| {}).await;
    let adviser = app.adviser();
    let begun = Instant::now();
    let (mut allowed, mut refused) = (0_u32, 0_u32);
    while allowed < 2 || refused == 0 {
        let (status, _, body) = post(&adviser, json!({ "query": PAGE })).await;
        match status {
            200 => allowed += 1,
            429 => refused += 1,
            _ => panic!("{body}"),
        }
        assert!(begun.elapsed() < crate::support::PATIENCE, "{allowed} {refused}");
    }
    // never more than the burst and what has come back since
    let most = 250.0 + 100.0 * begun.elapsed().as_secs_f64();
    assert!(f64::from(allowed) * 203.0 <= most, "{allowed} in {:?}", begun.elapsed());
    app.stop().await;
}

#[tokio::test]
async fn callers_without_a_token_share_the_limit_of_their_address_and_no_persons() {
    let app = TestApp::start_on(Mode::Embedded, SLOW, |_| {}).await;
    let (adviser, anonymous) = (app.adviser(), app.anonymous());
    let all = "{ apiInfo { version schemaVersion rulesVersion maxDepth maxComplexity maxPageSize maxImportRows maxSectionChars } }";
    let mut answered = 0;
    let refused = loop {
        let (status, headers, body) = post(&anonymous, json!({ "query": all })).await;
        if status == 429 {
            break body;
        }
        assert_eq!((status, header(&headers, "ratelimit-policy")), (200, "\"address\";q=90;w=90"));
        answered += 1;
    };
    assert!((10..=12).contains(&answered), "90 points at 9 each: {answered}");
    assert_eq!(refused["errors"][0]["extensions"]["code"], "RATE_LIMITED");
    let request = reqwest::Client::new().post(format!("{}/graphql", app.url())).header("x-forwarded-for", "192.0.2.7");
    let forwarded = request.json(&json!({ "query": all })).send().await.expect("an answer");
    assert_eq!(forwarded.status(), 429, "what a client says of its address is not believed");
    assert_eq!(remaining(&adviser).await, 900);
    app.stop().await;
}

#[tokio::test]
async fn what_costs_more_than_the_limit_ever_allows_is_too_complex_and_not_to_be_waited_for() {
    let app = TestApp::start_on(Mode::Embedded, &[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "150")], |_| {}).await;
    let adviser = app.adviser();
    let error = adviser.fail(PAGE, json!({})).await;
    assert_eq!(error["extensions"], json!({ "code": "TOO_COMPLEX", "limit": 150, "actual": PAGE_COST }), "{error}");
    let data = adviser.run("{ apiInfo { maxComplexity } rateLimit { limit } }", json!({})).await;
    assert_eq!(data, json!({ "apiInfo": { "maxComplexity": 150 }, "rateLimit": { "limit": 150 } }));
    app.stop().await;
}

#[tokio::test]
async fn operations_of_a_socket_are_paid_from_the_same_purse_and_streams_at_their_beginning() {
    let app = TestApp::start_on(Mode::Embedded, SLOW, |_| {}).await;
    let adviser = app.adviser();
    let id = adviser.create_batch("Acme").await;
    let before = remaining(&adviser).await;
    let mut socket = adviser.socket().await;
    let stream = "subscription($id: ID!) { batchProgress(batchId: $id) { ... on StreamEvent { sequence } } }";
    socket.send(json!({ "id": "s", "type": "subscribe", "payload": { "query": stream, "variables": { "id": id } } })).await;
    let first = socket.receive().await.expect("an event");
    assert!(first["payload"]["data"].is_object() && first["payload"].get("extensions").is_none(), "{first}");
    let after = remaining(&adviser).await;
    assert!((3..=11).contains(&(before - after)), "the stream cost {}", before - after);
    // events are free, the mutation that makes them is not
    adviser.renamed(&id, "Acme Ltd").await;
    socket.receive().await.expect("an event");
    let left = remaining(&adviser).await;
    assert!((35..=70).contains(&(after - left)), "{}", after - left);
    let refused = exhaust(&mut socket).await;
    assert_eq!(refused["extensions"]["code"], "RATE_LIMITED", "{refused}");
    assert!(refused["extensions"]["retryAfterMs"].as_u64().is_some_and(|pause| pause > 0));
    assert_eq!(post(&adviser, json!({ "query": PAGE })).await.0, 429);
    app.stop().await;
}

#[tokio::test]
async fn two_processes_on_one_redis_share_a_persons_limit() {
    let Some(pair) = Pair::start(SLOW).await else { return };
    let (here, there) = (Pair::client(&pair.apps[0]), Pair::client(&pair.apps[1]));
    for client in [&here, &there, &here, &there] {
        client.run(PAGE, json!({})).await;
    }
    assert_eq!((post(&here, json!({ "query": PAGE })).await.0, post(&there, json!({ "query": PAGE })).await.0), (429, 429));
    let (left, same) = (remaining(&here).await, remaining(&there).await);
    assert!((same - left).abs() <= 2, "{left} {same}");
    pair.stop().await;
}

/// Asks over a socket until it is refused; gives the error.
async fn exhaust(socket: &mut Socket) -> Value {
    let asking = async {
        loop {
            socket.send(json!({ "id": "q", "type": "subscribe", "payload": { "query": PAGE } })).await;
            let answer = socket.receive().await.expect("an answer");
            if answer["type"] == "error" {
                return answer["payload"][0].clone();
            }
            assert_eq!(socket.receive().await.expect("the end")["type"], "complete");
        }
    };
    timeout(crate::support::PATIENCE, asking).await.expect("it is refused in time")
}

#[test]
fn the_table_of_limits_names_every_constant_with_its_value() {
    let table = std::fs::read_to_string(root().join("docs/limits.md")).expect("docs/limits.md");
    let mut checked = 0;
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some((file, name)) = cells.get(3).and_then(|cell| cell.trim_matches('`').split_once("::")) else { continue };
        let text = std::fs::read_to_string(root().join("src").join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let declared = text.lines().find(|line| line.contains(&format!("const {name}:"))).unwrap_or_else(|| panic!("{file} has no {name}"));
        let value = declared.split_once('=').map(|(_, value)| value.trim().trim_end_matches(';')).expect("a value");
        assert!(cells[4].trim_matches('`') == value, "{file}::{name} is {value}, the table says {}", cells[4]);
        checked += 1;
    }
    assert!(checked > 25, "{checked} lines were recognised");
}
