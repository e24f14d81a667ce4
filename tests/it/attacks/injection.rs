//! Texts that mean something elsewhere: SQL, lines of a log, escapes of a terminal, paths, addresses. They are kept as
//! the texts that they are, or refused.

use super::{assert_alive, authority, send};
use crate::on_both;
use crate::support::calls::text;
use crate::support::process::{Server, settings};
use crate::support::{Client, Mode, TestApp, row};
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{InputValueDefinition, TypeKind, TypeSystemDefinition};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const SQL: &[&str] = &[
    "'; DROP TABLE batches; --",
    "' OR '1'='1",
    "\" OR 1=1 --",
    "%' UNION SELECT * FROM users --",
    "\\'; SELECT pg_sleep(30); --",
    "$1",
    "?1",
    ":id",
    "{0}",
    "%_\\",
    "a''b",
    "1); DELETE FROM projects WHERE (1=1",
];

on_both! {
    async fn sql_in_texts_filters_and_orders_is_a_text(app: TestApp) {
        let (adviser, stranger) = (app.adviser(), app.stranger());
        stranger.create_batch("Sealed").await;
        for (number, words) in SQL.iter().enumerate() {
            let batch = adviser.create_batch(words).await;
            assert_eq!(adviser.batch(&batch).await["name"], *words);
            let mut made = row(number + 1);
            made["externalRef"] = json!(words);
            made["name"] = json!(words);
            adviser.create_project(&batch, made).await;
            let query = "query($text: String!, $key: ID!, $id: ID!) { batches(filter: { text: $text, lifecycle: [ACTIVE] }) { totalCount nodes { name } } \
                projects(filter: { text: $text, sector: [$text], claimRef: [$text] }) { totalCount } \
                templates(filter: { text: $text }) { totalCount } template(by: { key: $text }) { id } \
                projectByRef(batchId: $id, externalRef: $text) { name } node(id: $key) { id } batch(id: $key) { id } }";
            let data = adviser.run(query, json!({ "text": words, "key": words, "id": batch })).await;
            assert_eq!(data["projectByRef"]["name"], *words, "{data}");
            assert!(data["batches"]["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(|node| node["name"] == *words)), "{words}: {data}");
            assert_eq!((&data["projects"]["totalCount"], &data["templates"]["totalCount"]), (&json!(0), &json!(0)), "{words}: {data}");
            assert!(!data.to_string().contains("Sealed"), "{data}");
            for cursor in ["after", "before"] {
                let query = format!("query($c: String) {{ batches({cursor}: $c) {{ totalCount }} }}");
                assert_eq!(adviser.fail(&query, json!({ "c": words })).await["extensions"]["code"], "VALIDATION_FAILED");
            }
        }
        let data = adviser.run("{ batches(first: 1) { totalCount } }", json!({})).await;
        assert_eq!(data["batches"]["totalCount"], SQL.len());
        app.stop().await;
    }
}

/// What somebody would write to forge a line of the log or to steer the terminal of who reads it.
const FORGED: &str = "x\r\n2026-11-25T00:00:00Z ERROR forged: all is lost\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"forged\"}}\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{2028}";

async fn speak(server: &Server, adviser: &Client) {
    let client = reqwest::Client::new();
    let graphql = format!("{}/graphql", server.url());
    let named = json!({ "query": "query a { __typename } query b { __typename }", "operationName": FORGED, "variables": { "v": FORGED }, "extensions": { "e": FORGED } });
    client.post(&graphql).json(&named).send().await.expect("an answer");
    for query in [format!("{{ {FORGED} }}"), format!("{{ node(id: {}) {{ id }} }}", json!(FORGED))] {
        adviser.send(&query, json!({ "v": FORGED })).await;
    }
    let escaped: String = FORGED.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in ["/", "/graphql?query=", "/claimwright/", "/no/such/"] {
        client.get(format!("{}{path}{escaped}", server.url())).send().await.expect("an answer");
    }
    let own = authority(server.url());
    for (name, value) in [
        ("user-agent", "a\u{9b}31m\tb"),
        ("authorization", "Bearer \u{9b}31m"),
        ("origin", "http://\u{9b}x"),
        ("traceparent", "00-\u{9b}"),
        ("x-request-id", "forged\u{9b}"),
        ("accept", "\u{9b}"),
        ("content-type", "\u{9b}/json"),
        ("referer", "\u{1b}[31m"),
        ("x-forwarded-for", "1.2.3.4, \u{1b}[31mforged"),
    ] {
        let head = format!("POST /graphql HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\ncontent-length: 0\r\n{name}: {value}\r\n\r\n");
        send(server.url(), head.as_bytes()).await;
    }
    send(server.url(), format!("GET /a\u{9b}31m HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n").as_bytes()).await;
    send(server.url(), format!("G\u{1b}T / HTTP/1.1\r\nhost: {own}\r\n\r\n").as_bytes()).await;
    let mut socket = adviser.socket().await;
    socket.send(json!({ "id": FORGED, "type": "subscribe", "payload": { "query": "query a { x }", "operationName": FORGED } })).await;
    assert_eq!(socket.receive().await.expect("an answer")["id"], FORGED, "an id is given back as it came");
    let batch = adviser.create_batch("Acme").await;
    let query = "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code } } }";
    let form = Form::new()
        .text(
            "operations",
            json!({ "query": query, "variables": { "input": { "batchId": batch, "source": { "file": null } } } }).to_string(),
        )
        .text("map", json!({ "0": ["variables.input.source.file"] }).to_string())
        .part("0", Part::text("a,b\n1,2\n").file_name(FORGED));
    let upload =
        client.post(&graphql).header("graphql-require-preflight", "1").bearer_auth(adviser.token().expect("a token")).multipart(form);
    upload.send().await.expect("an answer");
}

#[tokio::test]
async fn nobody_can_write_a_line_of_the_log_or_steer_a_terminal() {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let more = settings(&[
            ("LOG_FORMAT", format),
            ("RUST_LOG", "claimwright=trace,sqlx=debug,tower_http=trace,hyper=debug,h2=debug,async_graphql=trace,warn"),
        ]);
        let server = Server::start(&folder.path().join("data"), &more).await;
        let adviser = server.adviser();
        speak(&server, &adviser).await;
        adviser.run("{ viewer { user { id } } }", json!({})).await;
        let token = adviser.token().expect("a token").to_owned();
        let log = server.log_to_the_end().await;
        assert!(log.lines().count() > 3, "nothing was logged: {log}");
        for line in log.lines() {
            assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{format}: {line:?}");
            let is_own = if format == "json" {
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["timestamp"].is_string() && line["level"].is_string())
            } else {
                line.split('T').next().is_some_and(|day| day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
            };
            assert!(is_own, "{format}: not a line of the server: {line:?}");
            assert!(!line.starts_with("2026-11-25T00:00:00Z ERROR") && !line.starts_with("{\"level\""), "{format}: forged: {line:?}");
            assert!(!line.contains(&token), "{format}: a token is in the log");
        }
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

#[tokio::test]
async fn a_file_name_is_a_name_and_never_a_path() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let outside = || files(app.folder()).into_iter().filter(|path| !path.starts_with(app.folder().join("data"))).collect::<Vec<_>>();
    let before = outside();
    let query = "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id fileName } userErrors { code message field } } }";
    let absolute = app.folder().join("planted.csv").to_str().expect("UTF-8").to_owned();
    for name in [
        "../../../planted.csv",
        "..\\..\\planted.csv",
        &absolute,
        "/etc/passwd",
        "a/../../planted.csv",
        "planted.csv%00.txt",
        "C:\\planted.csv",
        "~/planted.csv",
        "planted.csv\u{202e}vsc.exe",
        "CON",
        ".",
        "..",
        "",
        "|touch planted",
        "$(touch planted)",
        "`touch planted`",
    ] {
        let variables = json!({ "input": { "batchId": batch, "source": { "file": null } } });
        let data = adviser.upload(query, variables, "variables.input.source.file", name, b"project_name\nA\n".to_vec()).await;
        let payload = &data["importProjects"];
        if let Some(id) = payload["import"]["id"].as_str() {
            adviser.follow_import(id).await;
        } else {
            assert!(payload["userErrors"][0]["code"].is_string(), "{name}: {data}");
        }
    }
    assert_eq!(outside(), before, "a file was written outside of the data folder");
    let planted = files(app.folder()).into_iter().filter(|path| path.to_string_lossy().contains("planted"));
    assert_eq!(planted.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "a client chose the name of a file");
    assert_alive(&app).await;
    app.stop().await;
}

#[test]
fn nothing_in_the_schema_takes_an_address_that_the_server_would_fetch() {
    let document = parse_schema(claimwright::graphql::sdl()).expect("SDL");
    let mut inputs: Vec<(String, InputValueDefinition)> = Vec::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let owner = definition.node.name.node.to_string();
        match definition.node.kind {
            TypeKind::InputObject(object) => inputs.extend(object.fields.into_iter().map(|field| (owner.clone(), field.node))),
            TypeKind::Object(object) => {
                let of = |field: async_graphql::parser::types::FieldDefinition| {
                    field.arguments.into_iter().map(|argument| argument.node).collect::<Vec<_>>()
                };
                inputs.extend(object.fields.into_iter().flat_map(|field| of(field.node)).map(|argument| (owner.clone(), argument)));
            }
            TypeKind::Scalar => assert!(!["URL", "URI", "Url", "Uri"].contains(&owner.as_str()), "a scalar of addresses"),
            _ => {}
        }
    }
    assert!(inputs.len() > 150, "only {} inputs were found", inputs.len());
    for (owner, input) in inputs {
        let name = input.name.node.to_lowercase();
        let about = input.description.map(|text| text.node.to_lowercase()).unwrap_or_default();
        let is_address = ["url", "uri", "href", "link", "webhook", "callback", "endpoint", "address", "host", "proxy"];
        assert!(!is_address.iter().any(|word| name.contains(word)), "{owner}.{} takes an address", input.name.node);
        assert!(
            !["http://", "https://", " url", "webhook"].iter().any(|word| about.contains(word)),
            "{owner}.{}: {about}",
            input.name.node
        );
    }
}

#[tokio::test]
async fn addresses_in_texts_are_never_asked_for() {
    // whoever connects to this listener was made to by the server
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = format!("http://{}", trap.local_addr().expect("an address"));
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let mut made = row(1);
    made["name"] = json!(format!("See {address}/name"));
    made["facts"]["baseline"] = json!(format!(
        "<img src=\"{address}/a\"> ![x]({address}/b) =IMAGE(\"{address}/c\") <!ENTITY x SYSTEM \"{address}/d\"> {}",
        made["facts"]["baseline"]
    ));
    let batch = adviser.create_batch(&format!("{address}/batch")).await;
    adviser.import(&batch, json!([made])).await;
    let run = adviser.start(&batch).await;
    assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
    for format in ["DOCX", "CSV"] {
        adviser.export_of(json!({ "batchId": batch, "format": format, "approvedOnly": false })).await;
    }
    let forged = format!("{{\"alg\":\"RS256\",\"kid\":\"x\",\"jku\":\"{address}/jku\",\"x5u\":\"{address}/x5u\"}}");
    let token = format!("{}.e30.AAAA", base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, forged));
    Client::new(app.url(), Some(token)).send("{ __typename }", json!({})).await;
    app.stop().await;
    let caught = futures::FutureExt::now_or_never(trap.accept());
    assert!(caught.is_none(), "the server connected to {address}");
}

#[tokio::test]
async fn the_name_of_a_batch_cannot_write_headers_of_its_download() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    for (name, file) in [
        ("../../etc/passwd", "etc-passwd.csv"),
        ("a\"; filename=\"evil.html", "a-filename-evil-html.csv"),
        ("x%0d%0aSet-Cookie: a=b", "x-0d-0aSet-Cookie-a-b.csv"),
        ("<script>alert(1)</script>", "script-alert-1-script.csv"),
        ("…", "projects.csv"),
        ("-rf --no-preserve-root", "rf-no-preserve-root.csv"),
        ("a\r\nSet-Cookie: x=y", "a-Set-Cookie-x-y.csv"),
    ] {
        let batch = adviser.create_batch(name).await;
        let mut made = row(1);
        made["externalRef"] = Value::Null;
        adviser.create_project(&batch, made).await;
        let export = adviser.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false })).await;
        assert_eq!(export["fileName"], file, "{name}");
        let answer = reqwest::get(text(&export["downloadUrl"])).await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        assert_eq!(header("content-disposition"), format!("attachment; filename=\"{file}\""), "{name}");
        assert_eq!((header("set-cookie"), header("x-content-type-options")), (String::new(), "nosniff".to_owned()), "{name}");
        assert_eq!(header("content-type"), "text/csv; charset=utf-8");
    }
    app.stop().await;
}
