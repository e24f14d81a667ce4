//! Logs as machines read them: the id of the request or of the job is in every line of its work, and nothing is in any
//! line that belongs to a client.

use crate::support::process::{Server, settings};
use crate::support::{accepted, rows};
use serde_json::{Value, json};

/// What must be in no line, whatever is logged.
const MARKER: &str = "Zinnwald-Marker";

#[tokio::test]
async fn lines_of_json_have_the_ids_and_never_a_token_a_variable_or_a_narrative() {
    let folder = tempfile::tempdir().expect("a folder");
    // everything that there is to log, libraries included
    let loud = settings(&[("RUST_LOG", "trace"), ("LOG_FORMAT", "json")]);
    let server = Server::start(&folder.path().join("data"), &loud).await;
    let adviser = server.adviser();
    let batch = adviser.create_batch(&format!("Claims of {MARKER}")).await;
    let mut row = rows(1)[0].clone();
    row["name"] = json!(format!("Project {MARKER}"));
    row["facts"]["outcome"] = json!(format!("The team found that {MARKER} holds the temperature within 2 degrees."));
    let projects = adviser.import(&batch, json!([row])).await;
    let run = adviser.start(&batch).await;
    assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
    let section = adviser.project(&projects[0]).await["sections"][0].clone();
    accepted(&json!({ "edit": adviser.edit(&section, &format!("The team wrote about {MARKER}.")).await }), "edit");
    adviser.fail("query($id: ID!) { viewer { shoeSize(id: $id) } }", json!({ "id": MARKER })).await;

    let token = adviser.token().expect("a token");
    let asked = reqwest::Client::new().post(format!("{}/graphql", server.url())).bearer_auth(token);
    let answer = asked.json(&json!({ "query": "{ batches(first: 1) { totalCount } }" })).send().await.expect("an answer");
    let request_id = answer.headers()["x-request-id"].to_str().expect("a text").to_owned();
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert_eq!(
        reqwest::Client::new().post(format!("{}/graphql", server.url())).bearer_auth(&forged).send().await.expect("an answer").status(),
        401
    );

    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    assert!(lines.len() > 200, "{} lines", lines.len());
    let spans = |line: &Value| line["spans"].as_array().cloned().unwrap_or_default();
    let in_request =
        lines.iter().filter(|line| spans(line).iter().any(|span| span["name"] == "request" && span["request_id"] == request_id.as_str()));
    assert!(in_request.count() > 0, "no line of {request_id}");
    let jobs: Vec<_> = lines.iter().flat_map(spans).filter(|span| span["name"] == "job").collect();
    assert!(!jobs.is_empty() && jobs.iter().all(|span| span["job_id"].is_string() && span["kind"].is_string()), "{jobs:?}");
    for secret in [MARKER, token, forged.as_str(), "Bearer"] {
        let found = log.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} was logged");
    }
}

#[tokio::test]
async fn warnings_have_the_id_of_the_request_by_default() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(
        &folder.path().join("data"),
        &settings(&[("LOG_FORMAT", "json"), ("RUST_LOG", "warn,claimwright::ready=info,sqlx=debug")]),
    )
    .await;
    server.adviser().create_batch("Acme").await;
    let log = server.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let with_id = lines.filter(|line| line["spans"][0]["request_id"].as_str().is_some_and(|id| id.len() == 32)).count();
    assert!(with_id > 0, "{log}");
}
