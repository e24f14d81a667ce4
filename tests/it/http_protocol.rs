//! GraphQL over HTTP to the letter of its specification, request by request as bytes. Where the draft and the audits of
//! `graphql-http` differ, the audits count: 400 (the draft has 422 for some), and 200 for `application/json`. Results with
//! errors are answered with 200, as the draft's examples say (its list has 294, which no client knows).

use crate::support::raw::{Answer, exchange};
use crate::support::{Mode, TestApp};
use serde_json::{Value, json};
use std::fmt::Write;

const GRAPHQL: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

async fn post(app: &TestApp, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = vec![("content-type", JSON)];
    all.extend_from_slice(headers);
    exchange(&app.url(), "POST", "/graphql", &all, body).await
}

async fn ask(app: &TestApp, accept: &str, body: &Value) -> Answer {
    post(app, &[("accept", accept)], body.to_string().as_bytes()).await
}

async fn get(app: &TestApp, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    let query = serde_urlencoded::to_string(parameters).expect("encoded");
    exchange(&app.url(), "GET", &format!("/graphql?{query}"), headers, b"").await
}

/// A well-formed answer without data: errors with a sentence and a code, and nothing of the server's insides.
fn assert_refused(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let body = answer.json();
    assert!(body.get("data").is_none(), "{what}: {body}");
    let errors = body["errors"].as_array().unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(!errors.is_empty() && errors.len() <= 5, "{what}: {body}");
    for error in errors {
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{what}: {body}");
        assert!(error["extensions"]["code"].is_string(), "{what}: {body}");
    }
}

#[tokio::test]
async fn the_media_type_is_the_one_that_is_asked_for() {
    let app = TestApp::start(Mode::Embedded).await;
    let body = json!({ "query": "{ __typename }" });
    for (accept, expected) in [
        (GRAPHQL, GRAPHQL),
        (JSON, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json, application/graphql-response+json", JSON),
        ("application/graphql-response+json, application/json", GRAPHQL),
        ("application/graphql-response+json, application/json;q=0.9", GRAPHQL),
        ("application/json;q=0.1, application/graphql-response+json;q=0.2", GRAPHQL),
        ("application/json;q=0.3, application/graphql-response+json;q=0.2", JSON),
        ("application/json;q=0, */*", GRAPHQL),
        ("text/html, application/graphql-response+json;q=0.5, */*;q=0.1", GRAPHQL),
        ("application/json ; charset=utf-8", JSON),
        ("application/graphql-response+json; charset=\"UTF-8\"", GRAPHQL),
        ("APPLICATION/JSON", JSON),
        // as urql and Relay's users send it
        ("application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed", GRAPHQL),
    ] {
        let answer = ask(&app, accept, &body).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, format!("{expected}; charset=utf-8").as_str()), "{accept}");
        assert!(answer.text().starts_with(r#"{"data":{"__typename":"Query"},"extensions":"#), "{accept}");
        assert_eq!((answer.header("vary").contains("accept"), answer.header("cache-control")), (true, "no-store"), "{accept}");
        assert_eq!((answer.header("x-content-type-options"), answer.header("x-request-id").len()), ("nosniff", 32), "{accept}");
    }
    let none = post(&app, &[], body.to_string().as_bytes()).await;
    assert_eq!((none.status, none.header("content-type")), (200, "application/json; charset=utf-8"), "without Accept");
    for accept in ["text/html", "application/xml, text/*", "application/json;q=0", "*/*;q=0", "application/json;charset=latin1", "json"] {
        assert_refused(&ask(&app, accept, &body).await, 406, accept);
    }
    app.stop().await;
}

const FIRST: &str = "query($n: Int) { batches(first: $n) { totalCount } }";
const FILTER: &str = "query($f: BatchFilter) { batches(filter: $f) { totalCount } }";

/// Well-formed requests whose operation cannot be executed.
fn request_errors() -> Vec<(&'static str, Value)> {
    vec![
        ("syntax", json!({ "query": "{" })),
        ("empty document", json!({ "query": "" })),
        ("only a comment", json!({ "query": "# nothing" })),
        ("only a fragment", json!({ "query": "fragment f on Query { __typename }" })),
        ("unknown field", json!({ "query": "{ nothing }" })),
        ("unknown type", json!({ "query": "{ ... on Nothing { __typename } }" })),
        ("unknown fragment", json!({ "query": "{ ...f }" })),
        ("fragment in a circle", json!({ "query": "{ ...f } fragment f on Query { ...f }" })),
        ("unused fragment", json!({ "query": "{ __typename } fragment f on Query { __typename }" })),
        ("unknown argument", json!({ "query": "{ __type(name: \"A\", x: 1) { name } }" })),
        ("missing argument", json!({ "query": "{ __type { name } }" })),
        ("unknown directive", json!({ "query": "{ __typename @nothing }" })),
        ("selection of a scalar", json!({ "query": "{ __typename { x } }" })),
        ("no selection of an object", json!({ "query": "{ apiInfo }" })),
        ("fields that cannot be merged", json!({ "query": "{ x: __typename x: apiInfo { version } }" })),
        ("unknown operation", json!({ "query": "query A { __typename }", "operationName": "B" })),
        ("which operation", json!({ "query": "query A { __typename } query B { __typename }" })),
        ("two of a name", json!({ "query": "query A { __typename } query A { __typename }", "operationName": "A" })),
        ("missing variable", json!({ "query": "query($n: String!) { __type(name: $n) { name } }" })),
        ("null variable", json!({ "query": "query($n: String!) { __type(name: $n) { name } }", "variables": { "n": null } })),
        ("wrong variable", json!({ "query": "query($n: String!) { __type(name: $n) { name } }", "variables": { "n": 7 } })),
        ("Int beyond 32 bits", json!({ "query": "{ batches(first: 3000000000) { totalCount } }" })),
        ("text for an Int", json!({ "query": "{ batches(first: \"10\") { totalCount } }" })),
        ("fraction for an Int", json!({ "query": "{ batches(first: 1.5) { totalCount } }" })),
        ("string for an enum", json!({ "query": "{ batches(filter: { lifecycle: [\"ACTIVE\"] }) { totalCount } }" })),
        ("no day", json!({ "query": "{ batches(filter: { notificationDueBefore: \"2026-02-30\" }) { totalCount } }" })),
        ("no moment", json!({ "query": "{ ...f } fragment f on Query { projects(filter: { updatedSince: \"now\" }) { totalCount } }" })),
        ("null in a list", json!({ "query": "{ nodes(ids: [null]) { id } }" })),
        ("field that an input has not", json!({ "query": "{ batches(filter: { shoeSize: 1 }) { totalCount } }" })),
        ("Int variable beyond 32 bits", json!({ "query": FIRST, "variables": { "n": 3_000_000_000_u64 } })),
        ("text for an Int variable", json!({ "query": FIRST, "variables": { "n": "abc" } })),
        ("fraction for an Int variable", json!({ "query": FIRST, "variables": { "n": 1.5 } })),
        ("default beyond 32 bits", json!({ "query": "query($n: Int = 3000000000) { batches(first: $n) { totalCount } }" })),
        ("enum variable that is none", json!({ "query": FILTER, "variables": { "f": { "activity": ["LAZY"] } } })),
        ("field that an input variable has not", json!({ "query": FILTER, "variables": { "f": { "shoeSize": 1 } } })),
        ("day in a variable that is none", json!({ "query": FILTER, "variables": { "f": { "notificationDueBefore": "soon" } } })),
        (
            "float for a decimal",
            json!({
                "query": "query($i: AifSelectionInput!) { aifSelectionFor(input: $i) { __typename } }",
                "variables": { "i": { "projects": [{ "ref": "a", "expenditure": 0.1 }] } }
            }),
        ),
        (
            "nested variable in the wrong place",
            json!({
                "query": "query($n: Float) { projects(filter: { scoreBelow: $n }) { totalCount } }", "variables": { "n": 1 }
            }),
        ),
        ("unknown variable", json!({ "query": "{ __type(name: $n) { name } }" })),
        ("unused variable", json!({ "query": "query($n: String) { __typename }" })),
        ("variable of an unknown type", json!({ "query": "query($n: Nothing) { __typename @include(if: $n) }" })),
        ("variable in the wrong place", json!({ "query": "query($n: Int) { __type(name: $n) { name } }" })),
    ]
}

#[tokio::test]
async fn an_operation_that_cannot_be_executed_has_no_data_and_the_status_of_its_media_type() {
    let app = TestApp::start(Mode::Embedded).await;
    let authorization = format!("Bearer {}", app.adviser().token().expect("a token"));
    for (what, body) in request_errors() {
        for (accept, status) in [(GRAPHQL, 400), (JSON, 200), ("*/*", 200)] {
            let answer = post(&app, &[("accept", accept), ("authorization", &authorization)], body.to_string().as_bytes()).await;
            assert_refused(&answer, status, &format!("{what} as {accept}"));
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_not_a_request_is_refused_in_every_media_type() {
    let app = TestApp::start(Mode::Embedded).await;
    let mut bodies: Vec<(String, Vec<u8>)> = [
        "",
        " ",
        "NONSENSE",
        "{ \"query\":",
        "null",
        "7",
        "\"{ __typename }\"",
        "[]",
        "[{\"query\":\"{ __typename }\"}]",
        "{}",
        "{\"qeury\":\"{ __typename }\"}",
        "{\"query\":null}",
        "{\"query\":\"{ __typename }\",\"query\":\"{ __typename }\"}",
        "{\"query\":\"{ __typename }\",\"variables\":{\"a\":1,\"a\":2}}",
        "{\"query\":\"{ __typename }\",\"extensions\":{\"x\":[{\"a\":1,\"a\":1}]}}",
        "{\"query\":\"{ __typename }\"} trailing",
        "{\"query\":\"{ __typename }\",\"variables\":{\"f\":\"#__graphql_file__:0\"}}",
    ]
    .into_iter()
    .map(|text| (text.to_owned(), text.as_bytes().to_vec()))
    .collect();
    for parameter in ["query", "operationName", "variables", "extensions"] {
        for wrong in [json!({ "obj": "ect" }), json!(0), json!(false), json!(["array"]), json!("string")] {
            let is_text = matches!(parameter, "query" | "operationName");
            if (wrong.is_string() && is_text) || (wrong.is_object() && !is_text) {
                continue;
            }
            let mut body = json!({ "query": "{ __typename }" });
            body[parameter] = wrong;
            bodies.push((body.to_string(), body.to_string().into_bytes()));
        }
    }
    bodies.push(("malformed UTF-8".into(), b"{\"query\":\"{ __typename } # \xff\xfe\"}".to_vec()));
    bodies.push(("a lone surrogate".into(), br#"{"query":"{ __typename } # \ud800"}"#.to_vec()));
    bodies.push(("UTF-16".into(), "{\"query\":\"{ __typename }\"}".encode_utf16().flat_map(u16::to_le_bytes).collect()));
    bodies.push(("deep JSON".into(), format!("{{\"variables\":{}", "[".repeat(20_000)).into_bytes()));
    for (what, body) in bodies {
        for accept in [GRAPHQL, JSON] {
            let answer = post(&app, &[("accept", accept)], &body).await;
            assert_refused(&answer, 400, &what);
            assert!(answer.header("content-type").starts_with(accept), "{what}: {answer:?}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn what_the_specification_allows_is_answered() {
    let app = TestApp::start(Mode::Embedded).await;
    for body in [
        json!({ "query": "{ __typename }", "variables": null, "operationName": null, "extensions": null }),
        json!({ "query": "{ __typename }", "variables": {}, "operationName": "", "extensions": { "some": "value" } }),
        json!({ "query": "query null { __typename }", "operationName": "null" }),
        json!({ "query": "query A { __typename } mutation B { __typename }", "operationName": "A" }),
        json!({ "query": "{ __typename }", "somethingElse": [1, 2] }),
        json!({ "query": "query($on: Boolean = true) { __typename @include(if: $on) }" }),
        json!({ "query": "query($on: Boolean!) { __typename x: __typename @skip(if: $on) }", "variables": { "on": true } }),
        json!({ "query": "{ __typename } # Run\u{1f3c3}Swim\u{1f3ca}" }),
    ] {
        assert!(ask(&app, GRAPHQL, &body).await.text().starts_with(r#"{"data":{"__typename":"Query"},"extensions":"#), "{body}");
    }
    let mark = [b"\xef\xbb\xbf".as_slice(), br#"{"query":"{ __typename }"}"#].concat();
    assert_eq!(post(&app, &[], &mark).await.status, 200, "a byte order mark is passed over");
    let order = "{ b: __typename a: __typename c: apiInfo { version } }";
    let text = ask(&app, GRAPHQL, &json!({ "query": order })).await.text();
    assert!(text.starts_with(r#"{"data":{"b":"Query","a":"Query","c":{"version""#), "the order of the selection is kept: {text}");
    app.stop().await;
}

#[tokio::test]
async fn a_body_is_json_in_utf_8_and_nothing_else() {
    let app = TestApp::start(Mode::Embedded).await;
    let body = br#"{"query":"{ __typename }"}"#;
    let send = async |headers: &[(&str, &str)]| exchange(&app.url(), "POST", "/graphql", headers, body).await;
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "Application/JSON",
        "application/json; odd=1",
    ] {
        assert_eq!(send(&[("content-type", good)]).await.status, 200, "{good}");
    }
    let bad = [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/graphql",
        "application/graphql-response+json",
        "application/xml",
        "application/octet-stream",
        "application/json; charset=latin1",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "json",
        "*/*",
    ];
    for bad in bad {
        assert_refused(&send(&[("content-type", bad)]).await, 415, bad);
    }
    assert_refused(&send(&[]).await, 415, "no content-type");
    assert_refused(&send(&[("content-type", JSON), ("content-type", "text/plain")]).await, 415, "two content-types");
    for encoding in ["gzip", "br", "deflate", "zstd", "nonsense"] {
        assert_refused(&send(&[("content-type", JSON), ("content-encoding", encoding)]).await, 415, encoding);
    }
    assert_refused(&send(&[("content-type", "multipart/form-data; boundary=x")]).await, 400, "a form without a header that is asked for");
    let large = format!("{{\"query\":\"{{ __typename }} #{}\"}}", "x".repeat(300 << 10));
    assert_refused(&post(&app, &[], large.as_bytes()).await, 413, "a large body");
    app.stop().await;
}

#[tokio::test]
async fn get_is_for_queries_and_takes_its_parameters_from_the_address() {
    let app = TestApp::start(Mode::Embedded).await;
    let accept = [("accept", GRAPHQL)];
    let by_name = ("query", "query A($n: String!) { __type(name: $n) { name } } mutation B { __typename }");
    let good: [&[(&str, &str)]; 5] = [
        &[("query", "{ __typename }")],
        &[("query", "{ __typename }"), ("variables", ""), ("operationName", ""), ("extensions", "")],
        &[by_name, ("operationName", "A"), ("variables", r#"{"n":"Batch"}"#)],
        &[("query", "{ __typename }"), ("extensions", r#"{"a":1}"#), ("other", "1"), ("other", "2")],
        &[("query", "query null { __typename }"), ("operationName", "null")],
    ];
    for parameters in good {
        let answer = get(&app, parameters, &accept).await;
        assert_eq!((answer.status, answer.json().get("errors")), (200, None), "{parameters:?}: {answer:?}");
    }
    assert_eq!(get(&app, good[2], &accept).await.json()["data"]["__type"]["name"], "Batch");
    let bad: [&[(&str, &str)]; 8] = [
        &[],
        &[("query", "")],
        &[("query", "{ __typename }"), ("variables", "[]")],
        &[("query", "{ __typename }"), ("variables", "{")],
        &[("query", "{ __typename }"), ("variables", "\"{}\"")],
        &[("query", "{ __typename }"), ("extensions", "7")],
        &[("query", "{ __typename }"), ("query", "{ apiInfo { version } }")],
        &[("query", "{"), ("operationName", "A")],
    ];
    for parameters in bad {
        assert_refused(&get(&app, parameters, &accept).await, 400, &format!("{parameters:?}"));
    }
    for parameters in [&[("query", "mutation { __typename }")][..], &[by_name, ("operationName", "B")]] {
        for accept in [GRAPHQL, JSON, "text/event-stream"] {
            let answer = get(&app, parameters, &[("accept", accept)]).await;
            assert_refused(&answer, 405, "a mutation by GET");
            assert_eq!(answer.header("allow"), "POST");
        }
    }
    // a form in the body is not read
    let form = [("content-type", "application/x-www-form-urlencoded"), ("accept", GRAPHQL)];
    assert_refused(&exchange(&app.url(), "GET", "/graphql", &form, b"query=%7B__typename%7D").await, 400, "GET with a body");
    for method in ["PUT", "PATCH", "DELETE", "HEAD", "TRACE"] {
        let answer = exchange(&app.url(), method, "/graphql?query=%7B__typename%7D", &accept, b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, POST"), "{method}");
    }
    app.stop().await;
}

#[tokio::test]
async fn failed_fields_are_part_of_a_result() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let authorization = format!("Bearer {}", adviser.token().expect("a token"));
    for accept in [GRAPHQL, JSON] {
        let send = async |query: String| {
            let body = json!({ "query": query }).to_string();
            post(&app, &[("accept", accept), ("authorization", &authorization)], body.as_bytes()).await
        };
        let partial = send(format!("{{ apiInfo {{ version }} batch(id: \"{batch}\") {{ projects(first: 0) {{ totalCount }} }} }}")).await;
        let body = partial.json();
        assert_eq!(
            (partial.status, &body["data"]["batch"], &body["errors"][0]["path"]),
            (200, &Value::Null, &json!(["batch", "projects"]))
        );
        assert!(body["data"]["apiInfo"]["version"].is_string(), "{body}");
        let nulled = send("{ batches(first: 0) { totalCount } }".into()).await;
        assert!(nulled.status == 200 && nulled.text().contains(r#""data":null"#), "the root was nulled, and the key stays: {nulled:?}");
        assert_eq!(nulled.json()["errors"][0]["path"], json!(["batches"]));
    }
    app.stop().await;
}

#[tokio::test]
async fn who_may_not_ask_is_told_by_the_status() {
    let app = TestApp::start(Mode::Embedded).await;
    let body = json!({ "query": "{ viewer { user { id } } }" }).to_string();
    for (what, headers) in [
        ("no token", vec![]),
        ("not a token", vec![("authorization", "Bearer nonsense")]),
        ("another scheme", vec![("authorization", "Basic dTpw")]),
        ("two headers", vec![("authorization", "Bearer a"), ("authorization", "Bearer b")]),
    ] {
        for accept in [GRAPHQL, JSON, "text/event-stream"] {
            let mut headers = headers.clone();
            headers.push(("accept", accept));
            let answer = post(&app, &headers, body.as_bytes()).await;
            assert_refused(&answer, 401, what);
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_subscription_without_an_event_stream_is_told_where_to_go() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let authorization = format!("Bearer {}", adviser.token().expect("a token"));
    let query = "subscription { batchProgress(batchId: \"x\") { __typename } }";
    for accept in [GRAPHQL, JSON, "*/*", "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0,application/json"] {
        let headers = [("accept", accept), ("authorization", authorization.as_str())];
        for answer in
            [post(&app, &headers, json!({ "query": query }).to_string().as_bytes()).await, get(&app, &[("query", query)], &headers).await]
        {
            assert_refused(&answer, 400, accept);
            let text = answer.text();
            assert!(text.contains("text/event-stream") && text.contains("graphql-transport-ws"), "{text}");
        }
    }
    app.stop().await;
}

/// A multipart body; a name of one character is a file's.
fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, text) in parts {
        let file = if name.len() == 1 { "; filename=\"projects.csv\"\r\ncontent-type: text/csv" } else { "" };
        write!(body, "--x\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n").expect("written");
    }
    (body + "--x--\r\n").into_bytes()
}

#[tokio::test]
async fn files_come_by_the_multipart_request_specification() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let authorization = format!("Bearer {}", adviser.token().expect("a token"));
    let send = async |parts: &[(&str, &str)]| {
        let headers = [
            ("content-type", "multipart/form-data; boundary=x"),
            ("authorization", authorization.as_str()),
            ("graphql-require-preflight", "1"),
            ("accept", GRAPHQL),
        ];
        exchange(&app.url(), "POST", "/graphql", &headers, &form(parts)).await
    };
    let import = "importProjects(input: $i) { import { id } userErrors { code message } }";
    let input = json!({ "batchId": batch, "source": { "file": null } });
    let one = json!({ "query": format!("mutation($i: ImportProjectsInput!) {{ {import} }}"), "variables": { "i": input } }).to_string();
    let csv = "External ref,Project name\nP-1,One\n";
    let accepted = |answer: &Answer, field: &str| {
        let body = answer.json();
        assert_eq!((answer.status, &body["data"][field]["userErrors"]), (200, &json!([])), "{body}");
        assert!(body["data"][field]["import"]["id"].is_string(), "{body}");
    };
    accepted(&send(&[("operations", &one), ("map", r#"{"0":["variables.i.source.file"]}"#), ("0", csv)]).await, "importProjects");

    // one file in two places
    let second = import.replace("$i", "$j");
    let two = format!("mutation($i: ImportProjectsInput!, $j: ImportProjectsInput!) {{ a: {import} b: {second} }}");
    let two = json!({ "query": two, "variables": { "i": input, "j": input } }).to_string();
    let answer = send(&[("operations", &two), ("map", r#"{"f":["variables.i.source.file","variables.j.source.file"]}"#), ("f", csv)]).await;
    accepted(&answer, "a");
    accepted(&answer, "b");
    let answer = send(&[
        ("operations", &two),
        ("map", r#"{"0":["variables.i.source.file"],"1":["variables.j.source.file"]}"#),
        ("1", csv),
        ("0", csv),
    ])
    .await;
    accepted(&answer, "a");
    accepted(&answer, "b");

    let map = ("map", r#"{"0":["variables.i.source.file"]}"#);
    let batched = format!("[{one}]");
    let refused: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("nothing", vec![]),
        ("no map", vec![("operations", &one), ("0", csv)]),
        ("no operations", vec![map, ("0", csv)]),
        ("the map first", vec![map, ("operations", &one), ("0", csv)]),
        ("a file first", vec![("0", csv), ("operations", &one), map]),
        ("no file", vec![("operations", &one), map]),
        ("a file that the map does not know", vec![("operations", &one), map, ("0", csv), ("1", csv)]),
        ("a file twice", vec![("operations", &one), map, ("0", csv), ("0", csv)]),
        ("a place that is not there", vec![("operations", &one), ("map", r#"{"0":["variables.i.source.nothing"]}"#), ("0", csv)]),
        ("a place in the document", vec![("operations", &one), ("map", r#"{"0":["query"]}"#), ("0", csv)]),
        ("an empty place", vec![("operations", &one), ("map", r#"{"0":[""]}"#), ("0", csv)]),
        ("a map of the wrong shape", vec![("operations", &one), ("map", r#"{"0":"variables.i.source.file"}"#), ("0", csv)]),
        ("a map that is no JSON", vec![("operations", &one), ("map", "nonsense"), ("0", csv)]),
        ("operations that are no JSON", vec![("operations", "nonsense"), map, ("0", csv)]),
        ("a batch", vec![("operations", &batched), ("map", r#"{"0":["0.variables.i.source.file"]}"#), ("0", csv)]),
        ("operations twice", vec![("operations", &one), ("operations", &one), map, ("0", csv)]),
    ];
    for (what, parts) in refused {
        assert_refused(&send(&parts).await, 400, what);
    }
    // no file at all is an ordinary request
    let plain = json!({ "query": "{ __typename }" }).to_string();
    assert_eq!(send(&[("operations", &plain), ("map", "{}")]).await.json()["data"]["__typename"], "Query");
    app.stop().await;
}
