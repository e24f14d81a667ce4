//! What a nested read costs the server, beside a hand-written handler over the same rows. Both are served by this process
//! and asked one after the other by the same small client; what a request without any work costs is taken off, so client
//! and HTTP are not counted.

use crate::client::{Client, cost, post};
use crate::{Bench, Outcome};
use axum::routing::get;
use axum::{Json, Router, extract::State};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{FromRow, SqlitePool};
use std::collections::HashMap;

const BATCHES: usize = 10;
const PROJECTS: usize = 20;
const REQUESTS: usize = 100;
const QUERY: &str =
    "{ batches(first: 10) { nodes { id name projects(first: 20) { nodes { id name status sections { key wordCount } } } } } }";

#[derive(Serialize, FromRow)]
struct Section {
    key: String,
    word_count: i32,
    #[serde(skip)]
    project_id: Vec<u8>,
}

#[derive(Serialize, FromRow)]
struct Project {
    id: Vec<u8>,
    name: String,
    status: String,
    #[serde(skip)]
    batch_id: Vec<u8>,
    #[sqlx(skip)]
    sections: Vec<Section>,
}

#[derive(Serialize, FromRow)]
struct Batch {
    id: Vec<u8>,
    name: String,
    #[sqlx(skip)]
    projects: Vec<Project>,
}

/// What somebody would write by hand: three statements, typed rows, serde.
async fn by_hand(State(pool): State<SqlitePool>) -> Json<Vec<Batch>> {
    Json(read(&pool).await.unwrap_or_default())
}

async fn read(pool: &SqlitePool) -> Result<Vec<Batch>, sqlx::Error> {
    let mut batches: Vec<Batch> = sqlx::query_as(
        "SELECT id, name FROM batches WHERE deleted_at IS NULL AND archived_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 11",
    )
    .fetch_all(pool)
    .await?;
    batches.truncate(BATCHES);
    let projects: Vec<Project> = sqlx::query_as(
        "SELECT * FROM (SELECT id, name, status, batch_id, row_number() OVER (PARTITION BY batch_id ORDER BY created_at, id) AS place
         FROM projects WHERE deleted_at IS NULL) WHERE place <= 20 ORDER BY place",
    )
    .fetch_all(pool)
    .await?;
    let sections: Vec<Section> =
        sqlx::query_as("SELECT project_id, key, word_count FROM sections WHERE position >= 0 ORDER BY project_id, position")
            .fetch_all(pool)
            .await?;
    let mut by_project: HashMap<Vec<u8>, Vec<Section>> = HashMap::new();
    for section in sections {
        by_project.entry(section.project_id.clone()).or_default().push(section);
    }
    let mut by_batch: HashMap<Vec<u8>, Vec<Project>> = HashMap::new();
    for mut project in projects {
        project.sections = by_project.remove(&project.id).unwrap_or_default();
        by_batch.entry(project.batch_id.clone()).or_default().push(project);
    }
    for batch in &mut batches {
        batch.projects = by_batch.remove(&batch.id).unwrap_or_default();
    }
    Ok(batches)
}

async fn fill(client: &mut Client, token: &str) -> Outcome<()> {
    for batch in 0..BATCHES {
        let create = json!({ "query": "mutation($name: String!) { createBatch(input: { name: $name }) { batch { id } } }",
            "variables": { "name": format!("Batch {batch}") } });
        let made: Value = serde_json::from_slice(&client.ask(&post(token, &create)).await?)?;
        let id = &made["data"]["createBatch"]["batch"]["id"];
        for project in 0..PROJECTS {
            let create = json!({ "query": "mutation($input: CreateProjectInput!) { createProject(input: $input) { project { id } } }",
                "variables": { "input": { "batchId": id, "name": format!("Project {project}") } } });
            client.ask(&post(token, &create)).await?;
        }
    }
    Ok(())
}

/// Asks both and says what they cost.
pub async fn run(bench: &Bench) -> Outcome<String> {
    let mut client = Client::connect(bench.address).await?;
    fill(&mut client, &bench.token).await?;
    let options = SqliteConnectOptions::new().filename(bench.data.join("claimwright.db")).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let floor = Router::new().route("/", get(by_hand)).with_state(pool);
    tokio::spawn(async move { axum::serve(listener, floor).await });
    let mut by_hand = Client::connect(address).await?;

    let query = post(&bench.token, &json!({ "query": QUERY }));
    let answer: Value = serde_json::from_slice(&client.ask(&query).await?)?;
    let read = answer["data"]["batches"]["nodes"].as_array().map_or(0, Vec::len);
    assert_eq!(read, BATCHES, "{answer}");
    let get = "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    assert_eq!(serde_json::from_slice::<Value>(&by_hand.ask(get).await?)?.as_array().map_or(0, Vec::len), BATCHES);

    let idle = cost(&mut client, "GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", REQUESTS).await?;
    let nested = cost(&mut client, &query, REQUESTS).await? - idle;
    let hand = cost(&mut by_hand, get, REQUESTS).await? - idle;
    Ok(format!(
        "nested read of {BATCHES} batches x {PROJECTS} projects x 7 sections on SQLite, CPU of the server\n\
         GraphQL          {nested:8.2} ms\nby hand          {hand:8.2} ms\nratio            {:8.1}\n",
        nested / hand
    ))
}
