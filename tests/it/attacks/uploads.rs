//! Multipart requests that are too much or not what they say: refused with a clear status, and nothing is stored.

use super::{assert_alive, code};
use crate::support::{Client, Mode, TestApp};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const IMPORT: &str = "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code } } }";

fn operations(batch: &str) -> String {
    json!({ "query": IMPORT, "variables": { "input": { "batchId": batch, "source": { "file": null } } } }).to_string()
}

fn file(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("a.csv")
}

fn map() -> String {
    json!({ "0": ["variables.input.source.file"] }).to_string()
}

async fn post(adviser: &Client, form: Form) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}/graphql", adviser.url())).header("graphql-require-preflight", "1");
    let response = request.bearer_auth(adviser.token().expect("a token")).multipart(form).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn uploads_have_a_number_and_a_size() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let limit =
        adviser.run("{ apiInfo { maxInlineUploadBytes } }", json!({})).await["apiInfo"]["maxInlineUploadBytes"].as_u64().expect("a number");
    let limit = usize::try_from(limit).expect("a size");

    let form = Form::new().text("operations", operations(&batch)).text("map", map()).part("0", file(vec![b'a'; limit + 1]));
    let (status, body) = post(&adviser, form).await;
    assert_eq!((status, code(&body)), (413, "PAYLOAD_TOO_LARGE"), "one byte too many");

    let many: serde_json::Map<String, Value> = (0..11).map(|n| (n.to_string(), json!(["variables.input.source.file"]))).collect();
    let form = Form::new().text("operations", operations(&batch)).text("map", Value::Object(many).to_string());
    let (status, body) = post(&adviser, (0..11).fold(form, |form, n| form.part(n.to_string(), file(b"a".to_vec())))).await;
    assert_eq!((status, code(&body)), (400, "VALIDATION_FAILED"), "eleven files");

    let form =
        Form::new().text("operations", operations(&batch)).text("map", json!({ "0": vec!["variables.input.source.file"; 11] }).to_string());
    assert_eq!(post(&adviser, form.part("0", file(b"a".to_vec()))).await.0, 400, "one file at eleven places");
    let form = Form::new().text("operations", operations(&batch)).text("map", map()).part("0", file(b"a".to_vec()));
    assert_eq!(post(&adviser, (0..2_000).fold(form, |form, n| form.text(format!("x{n}"), "y"))).await.0, 400, "thousands of parts");

    let data = adviser.run("query($id: ID!) { batch(id: $id) { imports { totalCount } } }", json!({ "id": batch })).await;
    assert_eq!(data["batch"]["imports"]["totalCount"], 0);
    assert_alive(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn a_map_puts_files_at_variables_and_nowhere_else() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    for place in [
        "query",
        "operationName",
        "variables",
        "variables.",
        "variables.input.batchId.x",
        "variables.input.source.file.0",
        "variables.__proto__.x",
        "variables.input.source.rows.999999999999",
        "0.variables.input.source.file",
        "../variables",
        "extensions.x",
        "",
    ] {
        let form = Form::new().text("operations", operations(&batch)).text("map", json!({ "0": [place] }).to_string());
        let (status, body) = post(&adviser, form.part("0", file(b"a".to_vec()))).await;
        assert!(
            body.get("data").is_none_or(Value::is_null) && (status == 400 || status == 200 && body["errors"].is_array()),
            "{place}: {status} {body}"
        );
        assert_ne!(code(&body), "INTERNAL", "{place}: {body}");
    }
    for (what, form) in [
        ("a batch", Form::new().text("operations", format!("[{}]", operations(&batch))).text("map", map()).part("0", file(b"a".to_vec()))),
        ("files first", Form::new().part("0", file(b"a".to_vec())).text("operations", operations(&batch)).text("map", map())),
        ("operations twice", Form::new().text("operations", operations(&batch)).text("operations", operations(&batch)).text("map", map())),
        ("a map that is a list", Form::new().text("operations", operations(&batch)).text("map", "[]")),
        (
            "a file that is not in the map",
            Form::new().text("operations", operations(&batch)).text("map", map()).part("1", file(b"a".to_vec())),
        ),
        ("nothing", Form::new()),
    ] {
        let (status, body) = post(&adviser, form).await;
        assert_eq!((status, body.get("data")), (400, None), "{what}: {body}");
    }
    assert_alive(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_unpacks_to_much_more_is_not_unpacked() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let mut bomb = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    bomb.start_file("xl/worksheets/sheet1.xml", zip::write::SimpleFileOptions::default()).expect("begun");
    std::io::Write::write_all(&mut bomb, &vec![b'0'; 20 << 20]).expect("written");
    let bomb = bomb.finish().expect("finished").into_inner();
    assert!(bomb.len() < 100_000);
    let batch = adviser.create_batch("Acme").await;
    let variables = json!({ "input": { "batchId": batch, "source": { "file": null } } });
    let data = adviser.upload(IMPORT, variables, "variables.input.source.file", "bomb.xlsx", bomb).await;
    let ended = adviser.follow_import(data["importProjects"]["import"]["id"].as_str().expect("an import")).await;
    assert_eq!((&ended["status"], &ended["rowCount"]), (&json!("FAILED"), &json!(0)), "{ended}");
    app.stop().await;
}
