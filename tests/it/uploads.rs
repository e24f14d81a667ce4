//! Uploads: a file is announced, sent to storage past the API, and imported; what is wrong with it is said.

use crate::on_both;
use crate::support::calls::{done, refusal, text};
use crate::support::moto::Moto;
use crate::support::process::Server;
use crate::support::{Client, Mode, TestApp};
use claimwright::services::checks::sha256_hex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const SAMPLE: &[u8] = include_bytes!("../../samples/projects.csv");

fn announced(name: &str, bytes: &[u8], sha256: Option<&str>) -> Value {
    json!({ "fileName": name, "contentType": "text/csv", "bytes": bytes.len(), "sha256": sha256 })
}

/// Announces a file; gives where to send it.
async fn target(client: &Client, input: Value) -> Value {
    let payload = client.input("createUpload", "target { uploadId url method headers { key value } expiresAt }", input).await;
    done(&payload)["target"].clone()
}

/// Sends a file as the target says; gives the status.
async fn send(target: &Value, bytes: &[u8]) -> u16 {
    let method = text(&target["method"]).parse().expect("a method");
    let mut request = reqwest::Client::new().request(method, text(&target["url"]));
    for header in target["headers"].as_array().expect("headers") {
        request = request.header(text(&header["key"]), text(&header["value"]));
    }
    request.body(bytes.to_vec()).send().await.expect("an answer").status().as_u16()
}

fn import_input(batch: &str, target: &Value) -> Value {
    json!({ "batchId": batch, "source": { "uploadId": target["uploadId"] } })
}

/// Why an upload cannot be imported.
async fn refused(client: &Client, batch: &str, target: &Value) -> (String, String) {
    refusal(&client.input("importProjects", "import { id }", import_input(batch, target)).await)
}

fn missing() -> (String, String) {
    ("UPLOAD_MISSING".into(), "input.source.uploadId".into())
}

/// Announce, send, try, import: what a client does with a large file.
async fn the_whole_way(client: &Client) {
    let batch = client.create_batch("Quillmere").await;
    let target = target(client, announced("C:\\files\\projects.csv", SAMPLE, Some(&sha256_hex(SAMPLE).to_uppercase()))).await;
    assert_eq!(refused(client, &batch, &target).await, missing(), "nothing was sent yet");
    assert_eq!(send(&target, SAMPLE).await, 200);
    let mut input = import_input(&batch, &target);
    input["dryRun"] = json!(true);
    let trial = client.import_of(input).await;
    assert_eq!((&trial["status"], &trial["acceptedCount"]), (&json!("SUCCEEDED"), &json!(16)), "{trial:#}");
    let import = client.import_of(import_input(&batch, &target)).await;
    assert_eq!((&import["status"], &import["acceptedCount"]), (&json!("SUCCEEDED"), &json!(16)), "{import:#}");
    assert_eq!(client.project_ids(&batch).await.len(), 16);
    let query = "query($id: ID!) { node(id: $id) { ... on ImportJob { fileName detected { bytes } } } }";
    let found = client.run(query, json!({ "id": import["id"] })).await;
    assert_eq!(found["node"], json!({ "fileName": "projects.csv", "detected": { "bytes": SAMPLE.len() } }));
}

on_both! {
    async fn a_file_is_announced_sent_tried_and_imported(app: TestApp) {
        the_whole_way(&app.adviser()).await;
        app.stop().await;
    }

    async fn only_what_was_announced_can_be_sent(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let target = target(&adviser, announced("a.csv", SAMPLE, Some(&sha256_hex(SAMPLE)))).await;
        assert!(text(&target["url"]).starts_with(&app.url()), "{target}");
        let mut forged = SAMPLE.to_vec();
        forged[200] ^= 1;
        assert_eq!((send(&target, &SAMPLE[1..]).await, send(&target, &forged).await), (403, 400));
        assert_eq!(refused(&adviser, &batch, &target).await, missing());
        app.stop().await;
    }

    async fn an_upload_is_of_one_practice_alone(app: TestApp) {
        let target = target(&app.adviser(), announced("a.csv", SAMPLE, None)).await;
        assert_eq!(send(&target, SAMPLE).await, 200);
        let stranger = app.stranger();
        let batch = stranger.create_batch("Other").await;
        assert_eq!(refused(&stranger, &batch, &target).await, ("NOT_FOUND".into(), "input.source.uploadId".into()));
        app.stop().await;
    }

    async fn every_fault_of_an_announcement_is_said_at_once(app: TestApp) {
        let adviser = app.adviser();
        let info = adviser.run("{ apiInfo { maxUploadBytes } }", json!({})).await;
        let most = info["apiInfo"]["maxUploadBytes"].as_i64().expect("a number");
        for (name, kind, bytes, hash, expected) in [
            ("../", "csv", 0, Some("00"), vec![("REQUIRED", "input.fileName"), ("INVALID", "input.contentType"), ("INVALID", "input.bytes"), ("INVALID", "input.sha256")]),
            ("a\u{7}.csv", "text/csv\r\nx: y", -1, None, vec![("INVALID", "input.fileName"), ("INVALID", "input.contentType"), ("INVALID", "input.bytes")]),
            ("a.csv", "text/csv", most + 1, None, vec![("TOO_LONG", "input.bytes")]),
        ] {
            let input = json!({ "fileName": name, "contentType": kind, "bytes": bytes, "sha256": hash });
            let payload = adviser.input("createUpload", "target { url }", input).await;
            let mut problems: Vec<(String, String)> = payload["userErrors"].as_array().expect("problems").iter()
                .map(|problem| (text(&problem["code"]), format!("{}.{}", text(&problem["field"][0]), text(&problem["field"][1])))).collect();
            problems.dedup();
            let expected: Vec<_> = expected.into_iter().map(|(code, field)| (code.to_owned(), field.to_owned())).collect();
            assert_eq!((problems, &payload["target"]), (expected, &Value::Null), "{payload:#}");
        }
        target(&adviser, json!({ "fileName": "a.csv", "contentType": "text/csv; charset=utf-8", "bytes": most })).await;
        app.stop().await;
    }
}

/// The clock can be moved, so that a day passes.
async fn with_clock(mode: Mode) -> (TestApp, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let hours = Arc::clone(&ahead);
    let app = TestApp::start_with(mode, |surroundings| {
        let clock = Arc::clone(&surroundings.clock);
        surroundings.clock = Arc::new(move || clock() + chrono::TimeDelta::hours(hours.load(Ordering::Relaxed)));
    });
    (app.await, ahead)
}

crate::on_each! {
    async fn an_upload_expires_after_a_day_and_what_was_imported_stays(mode: Mode) {
        let (app, hours) = with_clock(mode).await;
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let target = target(&adviser, announced("a.csv", SAMPLE, None)).await;
        assert_eq!(send(&target, SAMPLE).await, 200);
        let mut input = import_input(&batch, &target);
        input["idempotencyKey"] = json!("once");
        let import = adviser.import_of(input.clone()).await;
        assert_eq!(import["status"], "SUCCEEDED");
        let stored = || std::fs::read_dir(app.folder().join("data/objects/objects/claimwright")).expect("a folder").count();
        assert_eq!(stored(), 2, "the upload and the import's own copy");

        // the token of the test lives on: the clock of the issuer is the same, so a new one is taken
        hours.store(25, Ordering::Relaxed);
        let adviser = app.adviser();
        assert_eq!(refused(&adviser, &batch, &target).await, missing());
        let again = adviser.input("importProjects", "import { id }", input.clone()).await;
        assert_eq!(done(&again)["import"]["id"], import["id"], "a repeat needs no file");
        input["dryRun"] = json!(true);
        assert_eq!(refusal(&adviser.input("importProjects", "import { id }", input).await).0, "IDEMPOTENCY_KEY_REUSED");

        app.app().services().upkeep.run_if_due().await.expect("upkeep");
        let removed = async { while stored() != 1 { tokio::task::yield_now().await } };
        tokio::time::timeout(crate::support::PATIENCE, removed).await.expect("the object is removed by a job");
        assert_eq!(refused(&adviser, &batch, &target).await, missing(), "it is remembered");
        hours.store(24 * 32, Ordering::Relaxed);
        app.app().services().upkeep.run_if_due().await.expect("upkeep");
        assert_eq!(refused(&app.adviser(), &batch, &target).await.0, "NOT_FOUND", "and forgotten");
        app.stop().await;
    }
}

#[tokio::test]
async fn the_whole_way_leads_through_a_bucket_elsewhere() {
    let Some(moto) = Moto::start().await else { return };
    moto.create_bucket("claims").await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut settings = moto.variables("claims");
    settings.push(("S3_ENCRYPTION".into(), "AES256".into()));
    let server = Server::start(&data, &settings).await;
    let adviser = server.adviser();
    the_whole_way(&adviser).await;

    // this store checks nothing, so the product does
    let batch = adviser.create_batch("Acme").await;
    for (sent, hash) in [(&SAMPLE[1..], None), (SAMPLE, Some("0f".repeat(32)))] {
        let target = target(&adviser, announced("a.csv", SAMPLE, hash.as_deref())).await;
        assert_eq!(send(&target, sent).await, 200);
        assert_eq!(refused(&adviser, &batch, &target).await, missing());
    }
    let rules = moto.client().get_bucket_lifecycle_configuration().bucket("claims").send().await.expect("rules");
    let mut rules: Vec<_> = rules.rules().iter().map(|rule| rule.id().unwrap_or_default().to_owned()).collect();
    rules.sort();
    assert_eq!(rules, ["claimwright-exports", "claimwright-imports", "claimwright-uploads"]);
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn a_process_does_not_start_on_a_bucket_that_is_not_there() {
    let Some(moto) = Moto::start().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ended = crate::support::process::run(&["serve"], &folder.path().join("data"), &moto.variables("nowhere")).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("There is no bucket nowhere"), "{ended:?}");
}
