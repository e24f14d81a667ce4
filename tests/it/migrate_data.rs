//! `claimwright migrate-data`: an embedded installation with finished work, a run that was killed in the middle and files
//! moves to `PostgreSQL` and a bucket, and its API answers there what it answered before.

use crate::support::calls::{done, text};
use crate::support::moto::Moto;
use crate::support::process::{Finished, Server, run, settings};
use crate::support::runs::{EVENTS, dense_sequences, events_until, is_end_of};
use crate::support::{Client, create_database, drop_database, has_postgres, server_url};
use serde_json::{Value, json};
use std::path::Path;

const BUCKET: &str = "claims";
const EVERYTHING: &str = "query($id: ID!) { viewer { user { id email } workspace { id name } } templates(first: 50) { nodes { id key } } \
    batch(id: $id) { id name revision createdAt updatedAt eventCursor activity lifecycle meanScore counts { total needsReview approved } \
    totalQualifyingExpenditure { amount } \
    projects(first: 10) { totalCount edges { cursor } nodes { id externalRef name revision status importRow createdAt costs { staff total } \
      facts { sector startDate workStatus baseline competentProfessionalYears } quality { score issues { code severity message } } \
      sections { id key title state revision text wordCount revisions(first: 5) { nodes { number text source note createdAt author { email } attempt { id } } } } } } \
    runs(first: 5) { nodes { id status counts { total succeeded } attempts(first: 100) { totalCount nodes { id status promptHash inputTokens } } } } \
    imports(first: 5) { nodes { id status rowCount columns { heading target } preview(first: 2) { name accepted } issues { nodes { code row message } } } } \
    exports(first: 5) { nodes { id status fileName bytes sha256 projectCount } } } }";

/// What the API says of a batch: its objects, its events, the file of its export.
async fn seen(client: &Client, batch: &str, run: &str, start: &Value) -> (Value, Vec<Value>, Vec<u8>) {
    let objects = client.run(EVERYTHING, json!({ "id": batch })).await;
    let mut socket = client.socket().await;
    let mut events = socket.subscribe(EVENTS, json!({ "id": batch, "after": start })).await;
    let events = events_until(&mut events, is_end_of(run)).await;
    dense_sequences(&events);
    let link = "query($id: ID!) { batch(id: $id) { exports(first: 1) { nodes { downloadUrl } } } }";
    let link = client.run(link, json!({ "id": batch })).await;
    let (status, file) = client.download(&text(&link["batch"]["exports"]["nodes"][0]["downloadUrl"])).await;
    assert_eq!(status, 200);
    (objects, events, file)
}

async fn migrate(data: &Path, more: &[(String, String)]) -> Finished {
    run(&["migrate-data"], data, more).await
}

/// The number behind a name in the printed table.
fn number(moved: &Finished, name: &str) -> Option<i64> {
    assert_eq!(moved.code, Some(0), "{moved:?}");
    let lines = moved.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words.first() == Some(&name)).find_map(|words| words.get(1)?.parse().ok())
}

fn refused(moved: &Finished, why: &str) {
    assert_eq!(moved.code, Some(1), "{moved:?}");
    assert!(moved.stderr.contains(why) && moved.stdout.is_empty(), "{moved:?}");
}

#[tokio::test]
async fn an_installation_moves_with_everything_and_goes_on_where_it_was_killed() {
    let (Some(moto), true) = (Moto::start().await, has_postgres()) else { return };
    moto.create_bucket(BUCKET).await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let slow = settings(&[("OFFLINE_DELAY_MS", "150"), ("WORKER_CONCURRENCY", "2")]);
    let server = Server::start(&data, &slow).await;
    let adviser = server.adviser();

    let batch = adviser.create_batch("Finished work").await;
    let start = adviser.batch_now(&batch).await["eventCursor"].clone();
    let csv = "external_ref,project_name,field_of_science,start_date,baseline,advance_sought,uncertainties,work_undertaken,staff_costs\n\
        A-1,\"Caf\u{e9} \"\"quoted\"\" \u{1F9EA}\",Chemistry,2025-05-01,b,a,u,w,10.50\nA-2,Pump,Chemistry,soon,b,a,u,w,-5\n";
    adviser.import_of(json!({ "batchId": batch, "source": { "text": csv } })).await;
    adviser.import(&batch, crate::support::rows(2)).await;
    let finished = adviser.start(&batch).await;
    assert_eq!(adviser.follow_run(&batch, &finished).await, "SUCCEEDED");
    let export = adviser.export_of(json!({ "batchId": batch, "format": "DOCX", "approvedOnly": false })).await;
    assert_eq!(export["status"], "SUCCEEDED");
    let upload = json!({ "fileName": "later.csv", "contentType": "text/csv", "bytes": csv.len() });
    let upload = adviser.input("createUpload", "target { uploadId url }", upload).await["target"].clone();
    let sent =
        reqwest::Client::new().put(text(&upload["url"])).header("content-type", "text/csv").body(csv).send().await.expect("an answer");
    assert_eq!(sent.status(), 200);
    let before = seen(&adviser, &batch, &finished, &start).await;

    let (killed_batch, _) = adviser.batch_of("Killed in the middle", 4).await;
    let killed_start = adviser.batch_now(&killed_batch).await["eventCursor"].clone();
    let killed = adviser.start(&killed_batch).await;
    adviser.wait_for(&killed_batch, &killed_start, |event| event["__typename"] == "ProjectScored").await;

    let target = create_database().await;
    let mut to_both = moto.variables(BUCKET);
    refused(&migrate(&data, &to_both).await, "Another process of Claimwright uses the data folder");
    server.kill().await;
    refused(&migrate(&data, &[]).await, "DATABASE_URL, S3_BUCKET, or both");
    refused(&migrate(&folder.path().join("empty"), &to_both).await, "There is no embedded database");

    // files alone, then both: what is there is not sent again
    let files = migrate(&data, &to_both).await;
    let count = number(&files, "files").expect("a number of files");
    assert!(count >= 5 && files.stdout.contains(", 0 of them were there already") && number(&files, "batches").is_none(), "{files:?}");
    to_both.push(("DATABASE_URL".into(), server_url(&target)));
    let moved = migrate(&data, &to_both).await;
    assert_eq!(number(&moved, "files"), Some(count));
    assert!(moved.stdout.contains(&format!(", {count} of them were there already")), "{moved:?}");
    assert_eq!(
        (number(&moved, "batches"), number(&moved, "projects"), number(&moved, "uploads")),
        (Some(2), Some(7), Some(1)),
        "{moved:?}"
    );
    let last = moved.stdout.lines().last().expect("a line");
    assert!(last.contains("DATABASE_URL and S3_BUCKET") && last.contains("backup") && last.contains("issuer-key.pem"), "{last}");
    refused(&migrate(&data, &to_both).await, "has workspaces already");

    let fast = [&to_both[..], &settings(&[("JOB_BEAT_MS", "100"), ("JOB_DEAD_AFTER_MS", "500")])].concat();
    let server = Server::start(&data, &fast).await;
    let adviser = server.adviser();
    let after = seen(&adviser, &batch, &finished, &start).await;
    assert_eq!(after.0, before.0, "objects");
    assert_eq!(after.1, before.1, "events");
    assert!(after.2 == before.2 && after.2.len() > 1_000, "the export");
    assert_eq!(adviser.follow_run(&killed_batch, &killed).await, "SUCCEEDED");
    let events = adviser.events_until(&killed_batch, &killed_start, is_end_of(&killed)).await;
    dense_sequences(&events);
    assert_eq!(adviser.batch_now(&killed_batch).await["counts"]["needsReview"], 4);
    let payload = adviser
        .input("importProjects", "import { id }", json!({ "batchId": killed_batch, "source": { "uploadId": upload["uploadId"] } }))
        .await;
    assert_eq!(adviser.follow_import(&text(&done(&payload)["import"]["id"])).await["acceptedCount"], 1, "the upload came along");
    assert!(server.terminate().await.success());

    // the source is a backup that works
    let server = Server::start(&data, &slow).await;
    assert_eq!(seen(&server.adviser(), &batch, &finished, &start).await, before);
    server.kill().await;
    drop_database(&target).await;
}
