//! `kill -9`, SIGTERM and wrong surroundings, with a real process: work goes on by itself, exactly once, and a process
//! that cannot work says why. The points of the kills follow events, so they lie inside the work on any machine.

use crate::support::client::START;
use crate::support::process::{Finished, Server, run, settings};
use crate::support::{Client, Mode, accepted, create_database, drop_database, has_postgres, redis_settings, root, rows, server_url};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;

/// More than two checkpoints of an import.
const IMPORTED: usize = 600;
const DRAFTED: usize = 12;
/// Events of a run that are heard before each kill.
const KILLS_OF_A_RUN: [i32; 6] = [3, 1, 4, 2, 5, 3];
const CALLS_AT_ONCE: usize = 3;

/// A data folder with a server on it that is killed again and again.
struct Mortal {
    folder: tempfile::TempDir,
    data: PathBuf,
    settings: Vec<(String, String)>,
    database: Option<String>,
    server: Server,
    kills: usize,
}

impl Mortal {
    async fn born(mode: Mode) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let mut settings = settings(&[
            ("JOB_BEAT_MS", "100"),
            ("JOB_DEAD_AFTER_MS", "500"),
            ("OFFLINE_DELAY_MS", "60"),
            ("WORKER_CONCURRENCY", &CALLS_AT_ONCE.to_string()),
            ("SHUTDOWN_GRACE", "5"),
        ]);
        let database = if mode == Mode::ScaledOut { Some(create_database().await) } else { None };
        settings.extend(database.iter().map(|name| ("DATABASE_URL".to_owned(), server_url(name))));
        settings.extend(database.iter().flat_map(|name| redis_settings(name)));
        let server = Server::start(&data, &settings).await;
        Self { folder, data, settings, database, server, kills: 0 }
    }

    fn adviser(&self) -> Client {
        self.server.adviser()
    }

    async fn dies_and_returns(self) -> Self {
        let Self { folder, data, settings, database, server, kills } = self;
        server.kill().await;
        let server = Server::start(&data, &settings).await;
        Self { folder, data, settings, database, server, kills: kills + 1 }
    }

    async fn rests(self) {
        assert!(self.server.terminate().await.success());
        if let Some(name) = self.database {
            drop_database(&name).await;
        }
    }
}

/// Everything that one reader has heard of a batch, across all lives of the server.
struct Reader {
    batch: String,
    cursor: Value,
    sequences: Vec<i64>,
    kinds: Vec<String>,
}

const PROGRESS: &str = "subscription($id: ID!, $after: EventCursor) { batchProgress(batchId: $id, after: $after) { __typename \
    ... on StreamEvent { sequence cursor } ... on RunStatusChanged { runStatus } } }";

impl Reader {
    async fn of(client: &Client, batch: &str) -> Self {
        let data = client.run("query($id: ID!) { batch(id: $id) { eventCursor } }", json!({ "id": batch })).await;
        Self { batch: batch.to_owned(), cursor: data["batch"]["eventCursor"].clone(), sequences: Vec::new(), kinds: Vec::new() }
    }

    /// Reads on after what was read last, until an event fits.
    async fn read_until(&mut self, client: &Client, mut fits: impl FnMut(&Value) -> bool) {
        let mut socket = client.socket().await;
        let mut events = socket.subscribe(PROGRESS, json!({ "id": self.batch, "after": self.cursor })).await;
        while let Some(event) = events.next().await {
            let event = &event["batchProgress"];
            let kind = event["__typename"].as_str().expect("a type");
            assert!(!["BatchSnapshot", "StreamLagged", "StreamEnded"].contains(&kind), "not an event of the log: {event}");
            self.sequences.push(event["sequence"].as_i64().expect("a sequence"));
            self.kinds.push(kind.to_owned());
            self.cursor = event["cursor"].clone();
            if fits(event) {
                return;
            }
        }
        panic!("the stream ended before what was waited for");
    }

    fn assert_dense(&self) {
        let expected: Vec<i64> = (1..=self.sequences.len()).map(|n| i64::try_from(n).expect("small")).collect();
        assert_eq!(self.sequences, expected, "an event was lost, came twice or out of order");
    }
}

/// Kills at once, after the first event, and again: the rows come in exactly once.
async fn import_survives(mut mortal: Mortal) -> Mortal {
    let adviser = mortal.adviser();
    let batch = adviser.create_batch("Imported under fire").await;
    let mut reader = Reader::of(&adviser, &batch).await;
    let query =
        "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code message field } } }";
    let data = adviser.run(query, json!({ "input": { "batchId": batch, "source": { "rows": rows(IMPORTED) } } })).await;
    let import = accepted(&data, "importProjects")["import"]["id"].as_str().expect("an id").to_owned();
    mortal = mortal.dies_and_returns().await;
    reader.read_until(&mortal.adviser(), |event| event["__typename"] == "ProjectsAdded").await;
    mortal = mortal.dies_and_returns().await;
    mortal = mortal.dies_and_returns().await;

    let adviser = mortal.adviser();
    let ended = adviser.follow_import(&import).await;
    let counts = ["rowCount", "acceptedCount", "rejectedCount"].map(|name| ended[name].as_u64());
    assert_eq!((&ended["status"], counts), (&json!("SUCCEEDED"), [Some(IMPORTED as u64), Some(IMPORTED as u64), Some(0)]));
    assert_eq!(ended["progress"], 1.0);
    let ids: HashSet<String> = adviser.project_ids(&batch).await.into_iter().collect();
    assert_eq!(ids.len(), IMPORTED);
    let query = "query($id: ID!, $import: ID!) { batch(id: $id) { counts { total draft } projects(first: 1) { totalCount } aifSelection { projectCount } \
        eventCursor } node(id: $import) { ... on ImportJob { projects(first: 1) { totalCount } } } }";
    let data = adviser.run(query, json!({ "id": batch, "import": import })).await;
    assert_eq!(data["batch"]["counts"], json!({ "total": IMPORTED, "draft": IMPORTED }));
    assert_eq!(data["batch"]["projects"]["totalCount"], IMPORTED);
    assert_eq!(data["batch"]["aifSelection"]["projectCount"], IMPORTED);
    assert_eq!(data["node"]["projects"]["totalCount"], IMPORTED);
    let end = data["batch"]["eventCursor"].clone();
    if reader.cursor != end {
        reader.read_until(&adviser, |event| event["cursor"] == end).await;
    }
    reader.assert_dense();
    mortal
}

/// Kills after every few events of a run: each section is written once, and everything that counts agrees.
async fn generation_survives(mut mortal: Mortal) -> (Mortal, String) {
    let adviser = mortal.adviser();
    let batch = adviser.create_batch("Drafted under fire").await;
    let mut reader = Reader::of(&adviser, &batch).await;
    adviser.import(&batch, rows(DRAFTED)).await;
    let data = adviser.run(START, json!({ "input": { "generation": { "batchId": batch } } })).await;
    let run = accepted(&data, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned();
    mortal = mortal.dies_and_returns().await;
    for events in KILLS_OF_A_RUN {
        let mut heard = 0;
        let of_the_run = |event: &Value| {
            heard += i32::from(!["ProjectsAdded", "BatchChanged"].contains(&event["__typename"].as_str().expect("a type")));
            heard >= events
        };
        reader.read_until(&mortal.adviser(), of_the_run).await;
        mortal = mortal.dies_and_returns().await;
    }
    let adviser = mortal.adviser();
    let query = "query($id: ID!) { node(id: $id) { ... on GenerationRun { status } } }";
    let now = adviser.run(query, json!({ "id": run })).await;
    assert_eq!(now["node"]["status"], "RUNNING", "the kills came too late to say anything");
    reader.read_until(&adviser, |event| event["runStatus"] == "SUCCEEDED").await;
    reader.assert_dense();
    assert_eq!(reader.kinds.iter().filter(|kind| *kind == "ProjectScored").count(), DRAFTED);

    let sections = adviser.has_each_section_once(&batch, DRAFTED).await;
    let lost = adviser.has_a_run_that_adds_up(&run, DRAFTED, sections).await;
    // the kills hit work in flight, and nothing but that was done again
    assert!((1..=KILLS_OF_A_RUN.len() * CALLS_AT_ONCE + CALLS_AT_ONCE).contains(&lost), "{lost} sections were written again");
    (mortal, batch)
}

/// Kills while one section is written anew: there is one new text, and the project comes to rest.
async fn rewriting_survives(mut mortal: Mortal, batch: &str) -> Mortal {
    let adviser = mortal.adviser();
    let project = adviser.project_ids(batch).await.remove(0);
    let section = adviser.narrative(&project).await["sections"][0].clone();
    let before = adviser.batch_now(batch).await["eventCursor"].clone();
    let query = "mutation($id: ID!) { regenerateSection(input: { sectionId: $id, expectedRevision: 1 }) { attempt { id } \
        userErrors { code message field } } }";
    accepted(&adviser.run(query, json!({ "id": section["id"] })).await, "regenerateSection");
    for _ in 0..2 {
        mortal = mortal.dies_and_returns().await;
    }
    let adviser = mortal.adviser();
    adviser.wait_for(batch, &before, |event| event["projectStatus"] == "NEEDS_REVIEW").await;
    let now = adviser.narrative(&project).await;
    let section = &now["sections"][0];
    assert_eq!((&now["status"], &section["state"], &section["revision"]), (&json!("NEEDS_REVIEW"), &json!("GENERATED"), &json!(2)));
    mortal
}

/// Kills an export at once and once more: the document is there, whole.
async fn export_survives(mut mortal: Mortal, batch: &str) -> Mortal {
    for format in ["DOCX", "CSV"] {
        let query =
            "mutation($input: CreateExportInput!) { createExport(input: $input) { export { id } userErrors { code message field } } }";
        let input = json!({ "input": { "batchId": batch, "format": format, "approvedOnly": false } });
        let data = mortal.adviser().run(query, input).await;
        let export = accepted(&data, "createExport")["export"]["id"].clone();
        mortal = mortal.dies_and_returns().await;
        let query = "subscription($id: ID!) { exportProgress(exportId: $id) { sequence export { status projectCount fileName bytes downloadUrl } } }";
        let adviser = mortal.adviser();
        let (mut socket, mut last) = (adviser.socket().await, Value::Null);
        let mut events = socket.subscribe(query, json!({ "id": export })).await;
        while let Some(event) = events.next().await {
            last = event["exportProgress"]["export"].clone();
        }
        assert_eq!((&last["status"], &last["projectCount"]), (&json!("SUCCEEDED"), &json!(DRAFTED)), "{last}");
        let (status, bytes) = adviser.download(last["downloadUrl"].as_str().expect("an address")).await;
        assert_eq!((status, Some(bytes.len() as u64)), (200, last["bytes"].as_u64()));
        if format == "DOCX" {
            zip::ZipArchive::new(std::io::Cursor::new(bytes)).expect("a whole archive").by_name("word/document.xml").expect("a document");
        }
    }
    mortal
}

async fn survives(mode: Mode) {
    let mortal = import_survives(Mortal::born(mode).await).await;
    let (mortal, batch) = generation_survives(mortal).await;
    let mortal = rewriting_survives(mortal, &batch).await;
    let mortal = export_survives(mortal, &batch).await;
    assert!(mortal.kills >= 10, "killed only {} times", mortal.kills);
    mortal.rests().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_does_everything_exactly_once_embedded() {
    survives(Mode::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_does_everything_exactly_once_scaled_out() {
    if has_postgres() {
        survives(Mode::ScaledOut).await;
    }
}

#[tokio::test]
async fn sigterm_ends_a_busy_server_with_code_zero_and_the_run_goes_on_after_the_next_start() {
    let mut mortal = Mortal::born(Mode::Embedded).await;
    let adviser = mortal.adviser();
    let (batch, _) = adviser.batch_of("Deployed in the middle", 3).await;
    let mut reader = Reader::of(&adviser, &batch).await;
    let run = adviser.start(&batch).await;
    reader.read_until(&adviser, |event| event["__typename"] == "ProjectStatusChanged").await;
    let Mortal { folder, data, settings, database, server, kills } = mortal;
    let ended = server.terminate().await;
    assert_eq!(ended.code(), Some(0));
    let server = Server::start(&data, &settings).await;
    mortal = Mortal { folder, data, settings, database, server, kills };
    let adviser = mortal.adviser();
    assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
    assert_eq!(mortal.server.log(), "", "a drained server leaves nothing to be done again");
    mortal.rests().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_with_a_sentence() {
    let mortal = Mortal::born(Mode::Embedded).await;
    let second = run(&["serve"], &mortal.data, &settings(&[("PORT", "0")])).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("Another process") && second.stderr.contains("DATA_DIR"), "{second:?}");
    assert_eq!(second.stderr.trim_end().lines().count(), 1, "{second:?}");
    let viewer = mortal.adviser().run("{ viewer { user { id } } }", json!({})).await;
    assert!(viewer["viewer"]["user"]["id"].is_string(), "the first one goes on");
    mortal.rests().await;
}

#[tokio::test]
async fn a_wrong_configuration_exits_with_two_and_names_every_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let wrong = settings(&[
        ("PORT", "eighty"),
        ("HOST", "0.0.0.0"),
        ("DATABASE_URL", "mysql://root:hidden@db/claims"),
        ("PLAYGROUND", "maybe"),
        ("AI_PROVIDER", "oracle"),
        ("JOB_BEAT_MS", "1000"),
        ("JOB_DEAD_AFTER_MS", "1500"),
        ("REDIS_URL", "http://cache"),
    ]);
    let Finished { code, stdout, stderr } = run(&["serve"], &data, &wrong).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert_eq!(stdout, "");
    for name in ["PORT", "ALLOW_LOCAL_ISSUER", "DATABASE_URL", "PLAYGROUND", "AI_PROVIDER", "JOB_DEAD_AFTER_MS", "REDIS_URL"] {
        assert!(stderr.contains(name), "{name} is not named:\n{stderr}");
    }
    assert!(!stderr.contains("hidden"), "a password was printed:\n{stderr}");
    assert!(!data.exists(), "nothing was begun");
    assert_eq!(run(&["no-such-command"], root(), &[]).await.code, Some(2));
}
