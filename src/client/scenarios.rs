//! The client against a small server that plays the API's part from a script: whole commands, with lost connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::answers::JobStatus;
use super::api::{Api, Patience};
use super::import::import_with;
use super::progress::tests::Paper;
use super::watch::watch_with;
use super::{ClientError, Connection, Console, Format, ImportOptions, Outcome, WatchOptions, conclude};

/// What one socket does after the subscription.
#[derive(Clone)]
enum Act {
    Event(Value),
    Complete,
    Refuse(Value),
    /// Drops the connection, as a killed server does.
    Vanish,
    Close(u16),
}

#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<(&'static str, Value)>>>,
    sockets: Arc<Mutex<VecDeque<Vec<Act>>>>,
    /// Operation and variables of everything that was asked.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    files: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn answer(&self, operation: &'static str, data: impl Into<Value>) -> &Self {
        self.raw(operation, json!({ "data": data.into() }))
    }

    fn raw(&self, operation: &'static str, body: Value) -> &Self {
        self.answers.lock().unwrap().push_back((operation, body));
        self
    }

    fn socket(&self, acts: impl Into<Vec<Act>>) -> &Self {
        self.sockets.lock().unwrap().push_back(acts.into());
        self
    }

    fn asked(&self, operation: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(name, _)| name == operation).map(|(_, variables)| variables.clone()).collect()
    }

    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/graphql", get(subscribe).post(execute)).route("/file", get(file)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn reply(&self, operation: &str, variables: Value) -> Response {
        self.asked.lock().unwrap().push((operation.to_owned(), variables));
        let mut answers = self.answers.lock().unwrap();
        match answers.iter().position(|(name, _)| *name == operation).and_then(|position| answers.remove(position)) {
            Some((_, body)) => axum::Json(body).into_response(),
            None => axum::Json(json!({ "errors": [{ "message": format!("The script has no {operation}.") }] })).into_response(),
        }
    }
}

async fn execute(State(server): State<Server>, headers: HeaderMap, request: Request) -> Response {
    assert_eq!(headers["authorization"], "Bearer secret");
    let body: Value = if headers["content-type"].to_str().unwrap().starts_with("multipart/") {
        assert_eq!(headers["graphql-require-preflight"], "1");
        let mut form = Multipart::from_request(request, &()).await.unwrap();
        let operations = form.next_field().await.unwrap().unwrap().text().await.unwrap();
        let map = form.next_field().await.unwrap().unwrap().text().await.unwrap();
        assert_eq!(map, r#"{"0":["variables.input.source.file"]}"#);
        let file = form.next_field().await.unwrap().unwrap();
        let name = file.file_name().unwrap().to_owned();
        let text = file.text().await.unwrap();
        server.files.lock().unwrap().push((name, text));
        serde_json::from_str(&operations).unwrap()
    } else {
        axum::Json::from_request(request, &()).await.unwrap().0
    };
    server.reply(body["operationName"].as_str().unwrap(), body["variables"].clone())
}

async fn file(headers: HeaderMap) -> Response {
    assert!(!headers.contains_key("authorization"), "the token is for the API alone");
    "document".into_response()
}

async fn subscribe(State(server): State<Server>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(["graphql-transport-ws"]).on_upgrade(move |socket| play(server, socket))
}

async fn play(server: Server, mut socket: WebSocket) {
    let init = read(&mut socket).await;
    assert_eq!(init, json!({ "type": "connection_init", "payload": { "Authorization": "Bearer secret" } }));
    write(&mut socket, json!({ "type": "ping", "payload": { "n": 1 } })).await;
    assert_eq!(read(&mut socket).await, json!({ "type": "pong", "payload": { "n": 1 } }));
    write(&mut socket, json!({ "type": "connection_ack" })).await;
    let request = read(&mut socket).await;
    let payload = &request["payload"];
    server.asked.lock().unwrap().push((payload["operationName"].as_str().unwrap().into(), payload["variables"].clone()));
    let acts = server.sockets.lock().unwrap().pop_front().unwrap_or_default();
    let id = &request["id"];
    for act in acts {
        match act {
            Act::Event(event) => write(&mut socket, json!({ "id": id, "type": "next", "payload": { "data": event } })).await,
            Act::Complete => write(&mut socket, json!({ "id": id, "type": "complete" })).await,
            Act::Refuse(error) => write(&mut socket, json!({ "id": id, "type": "error", "payload": [error] })).await,
            Act::Vanish => return,
            Act::Close(code) => {
                let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: "closing".into() }))).await;
                return;
            }
        }
    }
    while let Some(Ok(_)) = socket.recv().await {}
}

async fn read(socket: &mut WebSocket) -> Value {
    serde_json::from_str(socket.recv().await.unwrap().unwrap().to_text().unwrap()).unwrap()
}

async fn write(socket: &mut WebSocket, message: Value) {
    let _ = socket.send(Message::text(message.to_string())).await;
}

fn api(address: SocketAddr) -> Api {
    let connection = Connection { url: format!("http://{address}"), token: "secret".into() };
    let patience = Patience { at_first: Duration::ZERO, later: Duration::from_secs(20) };
    Api::with_patience(&connection, patience).unwrap()
}

fn run(status: &str, succeeded: u64, failed: u64) -> Value {
    json!({
        "id": "run1", "status": status, "progress": 0.5, "failure": null,
        "counts": { "total": 3, "succeeded": succeeded, "failed": failed, "cancelled": 0, "skipped": 0 },
    })
}

fn event(kind: &str, sequence: u64, mut more: Value) -> Act {
    more["__typename"] = kind.into();
    more["sequence"] = sequence.into();
    more["cursor"] = format!("c{sequence}").into();
    Act::Event(json!({ "batchProgress": more }))
}

fn progressed(sequence: u64, succeeded: u64) -> Act {
    event("RunProgressed", sequence, json!({ "runId": "run1", "progress": 0.5, "runCounts": run("RUNNING", succeeded, 0)["counts"] }))
}

fn status_changed(sequence: u64, status: &str) -> Act {
    event("RunStatusChanged", sequence, json!({ "run": { "id": "run1" }, "runStatus": status }))
}

fn snapshot(sequence: u64, active: impl Into<Value>) -> Act {
    event("BatchSnapshot", sequence, json!({ "activeRun": active.into() }))
}

/// A server with the batch "Claims" whose run is active, so that `watch` follows it.
fn watched() -> Server {
    let server = Server::default();
    server.answer("FindBatch", json!({ "batch": { "id": "b1", "name": "Claims" } }));
    server.answer("NewestRun", json!({ "batch": { "id": "b1", "activeRun": run("RUNNING", 0, 0), "runs": { "nodes": [] } } }));
    server
}

async fn watch_it(server: &Server) -> (Result<Outcome, ClientError>, String, String) {
    let (results, notes) = (Paper::default(), Paper::default());
    let console = Console::to(results.clone(), notes.clone());
    let api = api(server.start().await);
    let ended = watch_with(&api, &WatchOptions { batch: "b1".into() }, &console).await;
    (ended, results.text(), notes.text())
}

#[tokio::test]
async fn a_restart_of_the_server_in_the_middle_of_a_run_loses_nothing() {
    let server = watched();
    server
        .socket([snapshot(4, run("RUNNING", 0, 0)), progressed(5, 1), Act::Vanish])
        .socket([progressed(5, 1), progressed(6, 2), event("StreamEnded", 6, json!({ "reason": "SHUTTING_DOWN" }))])
        .socket([progressed(7, 3), Act::Close(1012)])
        .socket([status_changed(8, "SUCCEEDED")])
        .answer("LoadRun", json!({ "node": run("SUCCEEDED", 3, 0) }));
    let (ended, results, _) = watch_it(&server).await;
    assert_eq!(ended.unwrap().exit_code(), 0);
    assert!(results.contains("Run run1: SUCCEEDED, 3 of 3 projects written, 0 failed"), "{results}");
    let cursors: Vec<_> = server.asked("BatchProgress").iter().map(|variables| variables["after"].clone()).collect();
    assert_eq!(cursors, [Value::Null, "c5".into(), "c6".into(), "c7".into()]);
}

#[tokio::test]
async fn a_run_that_ended_before_the_snapshot_is_seen_as_ended() {
    let server = watched();
    server.socket([snapshot(9, Value::Null)]).answer("LoadRun", json!({ "node": run("PARTIAL", 2, 1) }));
    let (ended, ..) = watch_it(&server).await;
    let outcome = ended.unwrap();
    assert_eq!(outcome.exit_code(), 3);
    assert_eq!(outcome.shortcoming().unwrap(), "the run ended PARTIAL with 2 of 3 projects written.");
}

#[tokio::test]
async fn a_client_that_was_too_slow_says_so_and_goes_on_with_the_snapshot() {
    let server = watched();
    server
        .socket([progressed(5, 1), event("StreamLagged", 90, json!({ "droppedCount": 85 })), Act::Vanish])
        .socket([snapshot(90, run("RUNNING", 2, 0)), status_changed(91, "CANCELLED")])
        .answer("LoadRun", json!({ "node": run("CANCELLED", 2, 0) }));
    let (ended, _, notes) = watch_it(&server).await;
    assert_eq!(ended.unwrap().exit_code(), 5);
    assert!(notes.contains("85 events were left out"), "{notes}");
    assert_eq!(server.asked("BatchProgress")[1]["after"], "c5", "the snapshot that was announced had not come yet");
}

#[tokio::test]
async fn a_batch_that_is_deleted_ends_watching_with_a_sentence() {
    let server = watched();
    server.socket([snapshot(1, run("RUNNING", 0, 0)), event("StreamEnded", 2, json!({ "reason": "DELETED" })), Act::Complete]);
    let (ended, ..) = watch_it(&server).await;
    let error = ended.unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (7, "The batch was deleted, and its run ended with it."));
}

#[tokio::test]
async fn a_refused_subscription_or_token_is_not_tried_again() {
    let server = watched();
    server.socket([Act::Refuse(json!({ "message": "There is no such batch.", "extensions": { "code": "NOT_FOUND" } }))]);
    assert_eq!(watch_it(&server).await.0.unwrap_err().to_string(), "There is no such batch. (NOT_FOUND)");
    let server = watched();
    server.socket([Act::Close(4403)]);
    assert!(watch_it(&server).await.0.unwrap_err().to_string().contains("CLAIMWRIGHT_TOKEN"));
}

#[tokio::test]
async fn without_an_active_run_watch_ends_at_once_with_the_newest_ones_status() {
    let server = Server::default();
    server.answer("FindBatch", json!({ "batch": { "id": "b1", "name": "Claims" } }));
    server.answer("NewestRun", json!({ "batch": { "id": "b1", "activeRun": null, "runs": { "nodes": [run("FAILED", 0, 3)] } } }));
    let (ended, results, _) = watch_it(&server).await;
    assert_eq!(ended.unwrap().run.unwrap().status, JobStatus::Failed);
    assert!(results.starts_with("No run of batch \"Claims\" is active"), "{results}");
    assert!(server.asked("BatchProgress").is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let console = Console::to(std::io::sink(), std::io::sink());
    let ended = watch_with(&api(address), &WatchOptions { batch: "b1".into() }, &console).await;
    let error = ended.unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains("Is it running?") && !error.to_string().contains("Error"), "{error}");
}

fn job(status: &str, rejected: u64) -> Value {
    let accepted = 3 - rejected;
    json!({ "id": "i1", "status": status, "progress": 1.0, "rowCount": 3, "acceptedCount": accepted, "rejectedCount": rejected, "failure": null })
}

fn document(status: &str) -> Value {
    json!({
        "id": "e1", "status": status, "progress": 1.0, "projectCount": 3, "fileName": "../claims.docx", "bytes": 8,
        "downloadUrl": "/file", "failure": null,
    })
}

#[tokio::test]
async fn the_whole_job_leaves_the_documents_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("my claims.csv");
    std::fs::write(&source, "project_name\nA\n").unwrap();
    let target = folder.path().join("out");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("claims.docx"), "precious").unwrap();

    let taken = json!([{ "code": "TAKEN", "message": "In use.", "field": ["input", "name"] }]);
    let mut imported = job("PARTIAL", 1);
    imported["issues"] = json!({ "totalCount": 12, "nodes": [
        { "severity": "ERROR", "code": "DATE_INVALID", "row": 2, "column": "start_date", "message": "The date cannot be read." },
    ] });
    let server = Server::default();
    server
        .answer("CreateBatch", json!({ "createBatch": { "batch": null, "userErrors": taken } }))
        .raw("CreateBatch", json!({ "errors": [{ "message": "Down.", "extensions": { "code": "UNAVAILABLE" } }] }))
        .answer("CreateBatch", json!({ "createBatch": { "batch": { "id": "b1", "name": "my claims 2" }, "userErrors": [] } }))
        .answer("ImportProjects", json!({ "importProjects": { "import": job("QUEUED", 0), "userErrors": [] } }))
        .socket([Act::Event(json!({ "importProgress": { "sequence": 1, "import": job("RUNNING", 0) } })), Act::Vanish])
        .socket([Act::Event(json!({ "importProgress": { "sequence": 2, "import": job("PARTIAL", 1) } })), Act::Complete])
        .answer("LoadImport", json!({ "node": imported }))
        .answer("StartGeneration", json!({ "startGeneration": { "run": run("QUEUED", 0, 0), "userErrors": [] } }))
        .socket([snapshot(1, run("QUEUED", 0, 0)), progressed(2, 3), status_changed(3, "SUCCEEDED")])
        .answer("LoadRun", json!({ "node": run("SUCCEEDED", 3, 0) }))
        .answer(
            "BatchScores",
            json!({ "batch": { "meanScore": 81.25, "counts": { "total": 3, "needsReview": 3, "approved": 0, "failed": 0, "withErrors": 1 } } }),
        )
        .answer("CreateExport", json!({ "createExport": { "export": document("QUEUED"), "userErrors": [] } }))
        .socket([Act::Event(json!({ "exportProgress": { "sequence": 1, "export": document("SUCCEEDED") } })), Act::Complete])
        .answer("LoadExport", json!({ "node": document("SUCCEEDED") }));

    let (results, notes) = (Paper::default(), Paper::default());
    let console = Console::to(results.clone(), notes.clone());
    let api = api(server.start().await);
    let mut options = ImportOptions::of(&source);
    options.generate = true;
    options.export = Some(target.clone());
    options.formats = vec![Format::Docx, Format::Docx];
    let ended = import_with(&api, &options, &console).await;

    assert_eq!(conclude(&ended, &console), 3, "{}", notes.text());
    assert!(notes.text().ends_with("claimwright: the import ended PARTIAL: 1 of 3 rows were refused.\n"), "{}", notes.text());
    let expected = format!(
        "Batch b1 \"my claims 2\"\n\
         Import i1: PARTIAL, 2 of 3 rows accepted, 1 refused\n\
         \x20 ERROR row 2, start_date: The date cannot be read. (DATE_INVALID)\n\
         \x20 and 11 more\n\
         Run run1 over 3 projects\n\
         Run run1: SUCCEEDED, 3 of 3 projects written, 0 failed\n\
         Mean score 81.2 of 100; 1 of 3 projects with open errors; 3 to review, 0 approved, 0 failed\n\
         Saved {}\n",
        target.join("claims (2).docx").display()
    );
    assert_eq!(results.text(), expected);
    assert_eq!(std::fs::read_to_string(target.join("claims.docx")).unwrap(), "precious");
    assert_eq!(std::fs::read_to_string(target.join("claims (2).docx")).unwrap(), "document");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 2, "no part of a download is left");

    let created = server.asked("CreateBatch");
    let key = |position: usize| created[position]["input"]["idempotencyKey"].clone();
    assert_ne!(key(0), key(1), "another name is another input");
    assert_eq!(key(1), key(2), "a repeat after a lost answer is the same request");
    assert_eq!(created[2]["input"]["name"], "my claims 2");
    assert_eq!(server.asked("CreateExport")[0]["input"]["approvedOnly"], false);
    assert_eq!(*server.files.lock().unwrap(), [("my claims.csv".to_owned(), "project_name\nA\n".to_owned())]);
}

#[tokio::test]
async fn a_refused_step_ends_the_command_with_the_servers_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.csv");
    std::fs::write(&source, "x").unwrap();
    let server = Server::default();
    let refused = json!([{ "code": "UNSUPPORTED_FILE", "message": "Send CSV.", "field": ["input", "source", "file"] }]);
    server
        .answer("CreateBatch", json!({ "createBatch": { "batch": { "id": "b1", "name": "a" }, "userErrors": [] } }))
        .answer("ImportProjects", json!({ "importProjects": { "import": null, "userErrors": refused } }));
    let console = Console::to(std::io::sink(), std::io::sink());
    let ended = import_with(&api(server.start().await), &ImportOptions::of(&source), &console).await;
    assert_eq!(ended.unwrap_err().to_string(), "input.source.file: Send CSV. (UNSUPPORTED_FILE)");
    let missing = import_with(&api(server.start().await), &ImportOptions::of(folder.path().join("none.csv")), &console).await;
    assert!(missing.unwrap_err().to_string().contains("none.csv cannot be read"));
}
