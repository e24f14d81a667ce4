//! `tests/bench-check`: how many instructions a request takes, counted by valgrind's callgrind, which repeats to a percent where
//! clocks do not. Requests go through the router in this process, on `SQLite`, whose own work is on threads of its own and is
//! not counted; only the thread that answers is. Beside them stand the same rows read by sqlx into typed structs (`rows`), and
//! these written by serde (`hand`): what somebody would do by hand.
//!
//! `instructions prepare FOLDER` makes the data, `instructions run FOLDER` does all scenarios once, and
//! `instructions count FOLDER` runs that under valgrind and prints a line for each: name and instructions of a request.

#[path = "bench/by_hand.rs"]
mod by_hand;

use axum::body::Body;
use by_hand::{Batch, Batches, Data, Listed, Narrative, Nodes, One, Page, Project, Section, TextRow, narrative, page, tree};
use claimwright::adapters::ai::offline::Offline;
use claimwright::adapters::cache::local::LocalCache;
use claimwright::adapters::events::local::LocalBus;
use claimwright::adapters::storage::EmbeddedObjects;
use claimwright::app::{Surroundings, TOKEN_VALID};
use claimwright::domain::ids::ProjectId;
use claimwright::graphql::{ApiSettings, schema};
use claimwright::http::{HttpSettings, HttpState, Quotas, Site};
use claimwright::identity::{Identity, LocalIssuer};
use claimwright::repositories::db::{Conn, Db, Scope};
use claimwright::services::Services;
use claimwright::services::core::{Core, Parts};
use claimwright::services::drafts::desk::Desk;
use claimwright::telemetry::Metrics;
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BATCHES: usize = 20;
const FILLED: usize = 10;
const PROJECTS: usize = 20;
const SECTIONS: i32 = 5;
/// Times that a scenario is done before it is counted, so that it was seen before.
const WARM: u32 = 5;
/// Times that it is counted.
const TIMES: u32 = 20;

const TYPENAME: &str = "{__typename}";
const LIST: &str = "{ batches(first: 20) { nodes { id name externalRef revision lifecycle } pageInfo { hasNextPage hasPreviousPage } } }";
const NESTED: &str =
    "{ batches(first: 10) { nodes { id name projects(first: 20) { nodes { id name status sections { key wordCount } } } } } }";
const TEXTS: &str = "query($id: ID!) { project(id: $id) { id name status sections { key text wordCount } } }";

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A server without sockets.
struct Scene {
    site: Site,
    token: String,
    db: Db,
    file: PathBuf,
}

impl Scene {
    async fn open(folder: &Path) -> Outcome<Self> {
        // an error means that one is installed, which is all that is wanted
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        std::fs::create_dir_all(folder)?;
        let surroundings = Surroundings::real();
        let file = folder.join("claimwright.db");
        let db = Db::open_file(&file).await?;
        let issuer = Arc::new(LocalIssuer::open(folder)?);
        let token = issuer.issue(None, None, TOKEN_VALID, (surroundings.clock)())?;
        let bus = Arc::new(LocalBus::default());
        let store = EmbeddedObjects::open(folder, "http://127.0.0.1:1").await?;
        let core = Core::from(Parts {
            db: db.clone(),
            desk: Arc::new(Desk::new(Arc::clone(&bus) as _)),
            bus,
            store: Arc::new(store.store()),
            cache: Arc::new(LocalCache::new(8 << 20)),
            registered: None,
            limits: None,
            drafters: vec![Arc::new(Offline::default())],
            redraft: false,
            clock: Arc::clone(&surroundings.clock),
            ids: surroundings.ids,
            wake: Arc::default(),
            shutdown: CancellationToken::new(),
        });
        let recorder = Metrics::install()?;
        let services = Services::new(&core);
        let state = HttpState {
            schema: schema(services.clone(), ApiSettings { introspection: true }),
            identity: Arc::new(Identity::local(issuer, surroundings.clock)),
            services,
            settings: Arc::new(HttpSettings {
                public_url: "http://127.0.0.1:1".into(),
                allowed_origins: vec![],
                loopback_only: true,
                introspection: true,
                playground: false,
                max_inline_upload_bytes: 16 << 20,
                request_timeout: Duration::from_secs(30),
                body_timeout: Duration::from_secs(20),
                upload_timeout: Duration::from_secs(20),
                socket_init_timeout: Duration::from_secs(5),
                socket_ping: Duration::from_secs(30),
                socket_silence: Duration::from_mins(3),
                quotas: Quotas { sockets: 10, sockets_of_person: 10, streams_of_person: 10, streams: 10 },
                trusted_proxies: vec![],
                playground_token: None,
            }),
            metrics: Arc::new(move || recorder.render()),
            shutdown: core.shutdown.clone(),
        };
        Ok(Self { site: claimwright::http::site(state, None)?, token, db, file })
    }

    fn post(&self, query: &str, variables: &Value) -> Outcome<Request<Body>> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = Request::post("/graphql").header(header::HOST, "127.0.0.1").header(header::CONTENT_TYPE, "application/json");
        Ok(request.header(header::AUTHORIZATION, format!("Bearer {}", self.token)).body(Body::from(body))?)
    }

    async fn send(&self, request: Request<Body>) -> Outcome<usize> {
        Ok(self.site.clone().oneshot(request).await?.into_body().collect().await?.to_bytes().len())
    }

    async fn ask(&self, query: &str, variables: &Value) -> Outcome<Value> {
        let answer = self.site.clone().oneshot(self.post(query, variables)?).await?.into_body().collect().await?.to_bytes();
        let mut answer: Value = serde_json::from_slice(&answer)?;
        if answer.get("errors").is_some() {
            return Err(answer.to_string().into());
        }
        Ok(answer["data"].take())
    }
}

async fn prepare(folder: &Path) -> Outcome<()> {
    let scene = Scene::open(folder).await?;
    let text = "It was uncertain whether \"cooling\" of the glaze — at 300 °C an hour — would hold.\n".repeat(49);
    for batch in 0..BATCHES {
        let create = "mutation($n: String!, $r: String!) { createBatch(input: { name: $n, externalRef: $r }) { batch { id } } }";
        let made = scene.ask(create, &json!({ "n": format!("Claim of company {batch}"), "r": format!("C-{batch}") })).await?;
        // the newest come first
        for project in 0..if batch < BATCHES - FILLED { 0 } else { PROJECTS } {
            let create = "mutation($i: CreateProjectInput!) { createProject(input: $i) { project { id sections { id revision } } } }";
            let input = json!({ "batchId": made["createBatch"]["batch"]["id"], "name": format!("Project number {project}") });
            let made = scene.ask(create, &json!({ "i": input })).await?;
            if batch == BATCHES - 1 && project == 0 {
                for section in made["createProject"]["project"]["sections"].as_array().ok_or("no sections")? {
                    let edit = "mutation($i: EditSectionInput!) { editSection(input: $i) { userErrors { message } } }";
                    let input = json!({ "sectionId": section["id"], "expectedRevision": section["revision"], "text": text });
                    scene.ask(edit, &json!({ "i": input })).await?;
                }
                std::fs::write(folder.join("project"), made["createProject"]["project"]["id"].as_str().ok_or("no id")?)?;
            }
        }
    }
    let mut tx = scene.db.begin(Scope::Everything).await?;
    if let Conn::Sqlite(connection) = tx.conn() {
        sqlx::query("UPDATE sections SET position = -1 WHERE position >= $1").bind(SECTIONS).execute(&mut *connection).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Where callgrind begins to count anew (`--dump-before`).
#[inline(never)]
fn mark_of_scenario(number: usize) {
    black_box(number);
}

/// What is counted, in this order.
const SCENARIOS: [&str; 11] =
    ["nothing", "typename", "list", "list rows", "list hand", "nested", "nested rows", "nested hand", "texts", "texts rows", "texts hand"];

async fn run(folder: &Path) -> Outcome<()> {
    let scene = Scene::open(folder).await?;
    let id = std::fs::read_to_string(folder.join("project"))?;
    let options = SqliteConnectOptions::new().filename(&scene.file).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(4).test_before_acquire(false).connect_with(options).await?;
    let variables = json!({ "id": id });
    for (number, name) in SCENARIOS.into_iter().enumerate() {
        let mut length = 0;
        for time in 0..WARM + TIMES {
            if time == WARM {
                mark_of_scenario(number * 2);
            }
            length = match name {
                "nothing" => scene.send(Request::get("/health/live").header(header::HOST, "127.0.0.1").body(Body::empty())?).await?,
                "typename" => scene.send(scene.post(TYPENAME, &json!({}))?).await?,
                "list" => scene.send(scene.post(LIST, &json!({}))?).await?,
                "nested" => scene.send(scene.post(NESTED, &json!({}))?).await?,
                "texts" => scene.send(scene.post(TEXTS, &variables)?).await?,
                "list rows" => black_box(list(&pool).await?).data.batches.nodes.len(),
                "list hand" => black_box(serde_json::to_vec(&list(&pool).await?)?).len(),
                "nested rows" => black_box(nested(&pool).await?).data.batches.nodes.len(),
                "nested hand" => black_box(serde_json::to_vec(&nested(&pool).await?)?).len(),
                "texts rows" => black_box(texts(&pool, &id).await?).data.project.map_or(0, |project| project.sections.len()),
                _ => black_box(serde_json::to_vec(&texts(&pool, &id).await?)?).len(),
            };
        }
        mark_of_scenario(number * 2 + 1);
        writeln!(std::io::stderr(), "{name}: {length}")?;
    }
    Ok(())
}

async fn list(pool: &SqlitePool) -> Outcome<Data<Batches<Page<Listed>>>> {
    let nodes: Vec<Listed> = sqlx::query_as(
        "SELECT id, name, external_ref, revision, archived_at IS NOT NULL AS archived FROM batches
         WHERE deleted_at IS NULL AND archived_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 21",
    )
    .fetch_all(pool)
    .await?;
    Ok(page(nodes))
}

async fn nested(pool: &SqlitePool) -> Outcome<Data<Batches<Nodes<Batch>>>> {
    let batches: Vec<Batch> = sqlx::query_as(
        "SELECT id, name FROM batches WHERE deleted_at IS NULL AND archived_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 10",
    )
    .fetch_all(pool)
    .await?;
    let projects: Vec<Project> =
        sqlx::query_as("SELECT id, name, status, batch_id FROM projects WHERE deleted_at IS NULL ORDER BY batch_id, created_at, id")
            .fetch_all(pool)
            .await?;
    let sections: Vec<Section> =
        sqlx::query_as("SELECT project_id, key, word_count FROM sections WHERE position >= 0 ORDER BY project_id, position")
            .fetch_all(pool)
            .await?;
    Ok(tree(batches, projects, sections))
}

async fn texts(pool: &SqlitePool, id: &str) -> Outcome<Data<One<Option<Narrative>>>> {
    let id = ProjectId::from_global(id).0;
    let rows: Vec<TextRow> = sqlx::query_as(
        "SELECT p.name, p.status, s.key, r.text, s.word_count FROM projects p JOIN sections s ON s.project_id = p.id
            JOIN section_revisions r ON r.section_id = s.id AND r.number = s.revision
         WHERE p.id = $1 AND s.position >= 0 ORDER BY s.position",
    )
    .bind(id)
    .fetch_all(pool)
    .await?;
    Ok(narrative(id, rows))
}

/// Runs all scenarios under callgrind and prints what it counted in the thread that answers.
fn count(folder: &Path) -> Outcome<()> {
    let outputs = tempfile::tempdir()?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes", "--dump-before=*mark_of_scenario*"])
        .arg(format!("--callgrind-out-file={}", outputs.path().join("out").display()))
        .arg(std::env::current_exe()?)
        .arg("run")
        .arg(folder)
        .output()
        .map_err(|error| format!("valgrind cannot be run ({error}); install it, for instance by apt-get install valgrind"))?;
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned().into());
    }
    // out.1-01 is what the first thread did until the first mark, out.2-01 until the second: the first scenario
    let total = |part: usize| -> Outcome<u64> {
        let text = std::fs::read_to_string(outputs.path().join(format!("out.{part}-01")))?;
        let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
        Ok(line.ok_or("callgrind says no total")?.trim().parse()?)
    };
    for (number, name) in SCENARIOS.into_iter().enumerate() {
        writeln!(std::io::stdout(), "{:<12} {}", name.replace(' ', "-"), total(number * 2 + 2)? / u64::from(TIMES))?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder] = arguments.as_slice() else { return Err("prepare, run or count, and a folder".into()) };
    let folder = Path::new(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match what.as_str() {
        "prepare" => runtime.block_on(prepare(folder)),
        "run" => runtime.block_on(run(folder)),
        "count" => count(folder),
        other => Err(format!("{other} is not known: prepare, run or count").into()),
    }
}
