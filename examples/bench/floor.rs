//! The floors that reads are held against, in a process of their own: what somebody would write by hand with axum, sqlx and
//! serde, and JSON that `PostgreSQL` makes and the server passes on. Both give the same data as the product.
//!
//! `hand` and `json` declare the workspace to row-level security as the product does, in a round trip of its own; `free` is
//! `hand` as the owner of the tables, without that.

use crate::Outcome;
use crate::by_hand::{
    Batch, Batches, Data, Listed, Narrative, Nodes, One, Page, Project, Section, TextRow, batch_id, narrative, page, tree,
};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use claimwright::domain::events::BatchEvent;
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, FromRow, PgPool, Postgres, Transaction};
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// As many as the product has unless it is told otherwise.
const CONNECTIONS: u32 = 16;

/// What goes wrong is a failure of the benchmark.
struct Failed(sqlx::Error);

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

type Answer<T> = Result<Json<Data<T>>, Failed>;

/// Whose session it is: held by row-level security, or the owner's.
#[derive(Clone)]
struct Session {
    pool: PgPool,
    is_held: bool,
}

impl Session {
    async fn read(&self, workspace: Uuid) -> Result<PoolConnection<Postgres>, Failed> {
        let mut connection = self.pool.acquire().await?;
        if self.is_held {
            connection.execute(AssertSqlSafe(format!("SET claimwright.workspace = '{workspace}'"))).await?;
        }
        Ok(connection)
    }

    async fn begin(&self, workspace: Uuid) -> Result<Transaction<'static, Postgres>, Failed> {
        if self.is_held {
            return Ok(self.pool.begin_with(AssertSqlSafe(format!("BEGIN; SET LOCAL claimwright.workspace = '{workspace}'"))).await?);
        }
        Ok(self.pool.begin().await?)
    }
}

async fn list(State(session): State<Session>, Path(workspace): Path<Uuid>) -> Answer<Batches<Page<Listed>>> {
    let mut connection = session.read(workspace).await?;
    let nodes: Vec<Listed> = sqlx::query_as(
        "SELECT id, name, external_ref, revision, archived_at IS NOT NULL AS archived FROM batches
         WHERE workspace_id = $1 AND deleted_at IS NULL AND archived_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 21",
    )
    .bind(workspace)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Json(page(nodes)))
}

/// A statement for each level, all parents at once.
async fn nested(State(session): State<Session>, Path(workspace): Path<Uuid>) -> Answer<Batches<Nodes<Batch>>> {
    let mut connection = session.read(workspace).await?;
    let batches: Vec<Batch> = sqlx::query_as(
        "SELECT id, name FROM batches WHERE workspace_id = $1 AND deleted_at IS NULL AND archived_at IS NULL
         ORDER BY created_at DESC, id DESC LIMIT 10",
    )
    .bind(workspace)
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<Uuid> = batches.iter().map(|batch| batch.id).collect();
    let projects: Vec<Project> = sqlx::query_as(
        "SELECT p.batch_id, p.id, p.name, p.status FROM unnest($2) AS b(id) CROSS JOIN LATERAL (
            SELECT batch_id, id, name, status FROM projects WHERE batch_id = b.id AND workspace_id = $1 AND deleted_at IS NULL
            ORDER BY created_at, id LIMIT 20) p",
    )
    .bind(workspace)
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<Uuid> = projects.iter().map(|project| project.id).collect();
    let sections: Vec<Section> = sqlx::query_as(
        "SELECT project_id, key, word_count FROM sections WHERE workspace_id = $1 AND project_id = ANY($2) AND position >= 0
         ORDER BY project_id, position",
    )
    .bind(workspace)
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    drop(connection);
    Ok(Json(tree(batches, projects, sections)))
}

/// One statement; the name is in each of the five rows.
async fn texts(State(session): State<Session>, Path((workspace, id)): Path<(Uuid, Uuid)>) -> Answer<One<Option<Narrative>>> {
    let mut connection = session.read(workspace).await?;
    let rows: Vec<TextRow> = sqlx::query_as(
        "SELECT p.name, p.status, s.key, r.text, s.word_count FROM projects p JOIN sections s ON s.project_id = p.id
            JOIN section_revisions r ON r.section_id = s.id AND r.number = s.revision
         WHERE p.id = $2 AND p.workspace_id = $1 AND s.position >= 0 ORDER BY s.position",
    )
    .bind(workspace)
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Json(narrative(id, rows)))
}

#[derive(Deserialize)]
struct NewName {
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Renamed<T> {
    rename_batch: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<T> {
    batch: T,
    user_errors: [(); 0],
}

#[derive(Serialize)]
struct Changed {
    #[serde(serialize_with = "batch_id")]
    id: Uuid,
    name: String,
    revision: i32,
}

#[derive(FromRow)]
struct Before {
    description: Option<String>,
    external_ref: Option<String>,
    company_name: Option<String>,
}

/// Locks the row, changes it, tells the event log, commits. Nobody is notified: the product does so in its own process.
async fn rename(
    State(session): State<Session>,
    Path((workspace, id)): Path<(Uuid, Uuid)>,
    Json(new): Json<NewName>,
) -> Answer<Renamed<Payload<Option<Changed>>>> {
    let mut tx = session.begin(workspace).await?;
    let before: Option<Before> = sqlx::query_as(
        "SELECT description, external_ref, company_name FROM batches
         WHERE id = $1 AND workspace_id = $2 AND archived_at IS NULL AND deleted_at IS NULL FOR UPDATE",
    )
    .bind(id)
    .bind(workspace)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(before) = before else { return Err(Failed(sqlx::Error::RowNotFound)) };
    let parts = [Some(&new.name), before.description.as_ref(), before.external_ref.as_ref(), before.company_name.as_ref()];
    let search = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\n").to_lowercase();
    let (revision, sequence): (i32, i64) = sqlx::query_as(
        "UPDATE batches SET name = $3, name_key = $4, search = $5, revision = revision + 1, event_sequence = event_sequence + 1,
            updated_at = now()
         WHERE id = $1 AND workspace_id = $2 RETURNING revision, event_sequence",
    )
    .bind(id)
    .bind(workspace)
    .bind(&new.name)
    .bind(new.name.to_lowercase())
    .bind(search)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query("INSERT INTO batch_events (batch_id, sequence, workspace_id, payload, occurred_at) VALUES ($1, $2, $3, $4, now())")
        .bind(id)
        .bind(sequence)
        .bind(workspace)
        .bind(sqlx::types::Json(BatchEvent::BatchChanged))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    let batch = Some(Changed { id, name: new.name, revision });
    Ok(Json(Data { data: Renamed { rename_batch: Payload { batch, user_errors: [] } } }))
}

#[derive(Serialize)]
struct Typename {
    #[serde(rename = "__typename")]
    name: &'static str,
}

async fn typename() -> Json<Data<Typename>> {
    Json(Data { data: Typename { name: "Query" } })
}

fn passed(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn json_list(State(session): State<Session>, Path(workspace): Path<Uuid>) -> Result<Response, Failed> {
    let mut connection = session.read(workspace).await?;
    let text: String = sqlx::query_scalar(
        "SELECT CAST(json_build_object('data', json_build_object('batches', json_build_object(
            'nodes', coalesce(json_agg(json_build_object('id', rtrim(encode(convert_to('Batch:' || id, 'UTF8'), 'base64'), '='), 'name', name,
                'externalRef', external_ref, 'revision', revision, 'lifecycle', CASE WHEN archived_at IS NULL THEN 'ACTIVE' ELSE 'ARCHIVED' END))
                FILTER (WHERE place <= 20), '[]'),
            'pageInfo', json_build_object('hasNextPage', count(*) > 20, 'hasPreviousPage', false)))) AS text)
         FROM (SELECT id, name, external_ref, revision, archived_at, row_number() OVER (ORDER BY created_at DESC, id DESC) AS place FROM batches
            WHERE workspace_id = $1 AND deleted_at IS NULL AND archived_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 21) b",
    )
    .bind(workspace)
    .fetch_one(&mut *connection)
    .await?;
    Ok(passed(text))
}

async fn json_nested(State(session): State<Session>, Path(workspace): Path<Uuid>) -> Result<Response, Failed> {
    let mut connection = session.read(workspace).await?;
    let text: String = sqlx::query_scalar(
        "SELECT CAST(json_build_object('data', json_build_object('batches', json_build_object('nodes', (
            SELECT coalesce(json_agg(json_build_object('id', rtrim(encode(convert_to('Batch:' || b.id, 'UTF8'), 'base64'), '='), 'name', b.name,
                'projects', json_build_object('nodes', (
                    SELECT coalesce(json_agg(json_build_object('id', rtrim(encode(convert_to('Project:' || p.id, 'UTF8'), 'base64'), '='),
                        'name', p.name, 'status', p.status, 'sections', (
                            SELECT coalesce(json_agg(json_build_object('key', s.key, 'wordCount', s.word_count) ORDER BY s.position), '[]')
                            FROM sections s WHERE s.project_id = p.id AND s.workspace_id = $1 AND s.position >= 0))), '[]')
                    FROM (SELECT id, name, status FROM projects WHERE batch_id = b.id AND workspace_id = $1 AND deleted_at IS NULL
                        ORDER BY created_at, id LIMIT 20) p)))), '[]')
            FROM (SELECT id, name FROM batches WHERE workspace_id = $1 AND deleted_at IS NULL AND archived_at IS NULL
                ORDER BY created_at DESC, id DESC LIMIT 10) b)))) AS text)",
    )
    .bind(workspace)
    .fetch_one(&mut *connection)
    .await?;
    Ok(passed(text))
}

async fn json_texts(State(session): State<Session>, Path((workspace, id)): Path<(Uuid, Uuid)>) -> Result<Response, Failed> {
    let mut connection = session.read(workspace).await?;
    let text: String = sqlx::query_scalar(
        "SELECT CAST(json_build_object('data', json_build_object('project', (
            SELECT json_build_object('id', rtrim(encode(convert_to('Project:' || p.id, 'UTF8'), 'base64'), '='), 'name', p.name,
                'status', p.status, 'sections', (
                    SELECT coalesce(json_agg(json_build_object('key', s.key, 'text', r.text, 'wordCount', s.word_count) ORDER BY s.position), '[]')
                    FROM sections s JOIN section_revisions r ON r.section_id = s.id AND r.number = s.revision
                    WHERE s.project_id = p.id AND s.workspace_id = $1 AND s.position >= 0))
            FROM projects p WHERE p.id = $2 AND p.workspace_id = $1))) AS text)",
    )
    .bind(workspace)
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    Ok(passed(text))
}

/// One statement, which is its own transaction.
async fn json_rename(
    State(session): State<Session>,
    Path((workspace, id)): Path<(Uuid, Uuid)>,
    Json(new): Json<NewName>,
) -> Result<Response, Failed> {
    let mut connection = session.read(workspace).await?;
    let text: String = sqlx::query_scalar(
        "WITH before AS (SELECT * FROM batches WHERE id = $2 AND workspace_id = $1 AND archived_at IS NULL AND deleted_at IS NULL FOR UPDATE),
         after AS (UPDATE batches b SET name = $3, name_key = lower($3),
                search = lower(concat_ws(chr(10), $3, before.description, before.external_ref, before.company_name)),
                revision = b.revision + 1, event_sequence = b.event_sequence + 1, updated_at = now()
            FROM before WHERE b.id = before.id RETURNING b.id, b.name, b.revision, b.event_sequence),
         told AS (INSERT INTO batch_events (batch_id, sequence, workspace_id, payload, occurred_at)
            SELECT id, event_sequence, $1, '{\"kind\":\"batch_changed\"}', now() FROM after)
         SELECT CAST(json_build_object('data', json_build_object('renameBatch', json_build_object(
            'batch', json_build_object('id', rtrim(encode(convert_to('Batch:' || id, 'UTF8'), 'base64'), '='), 'name', name, 'revision', revision),
            'userErrors', json_build_array()))) AS text) FROM after",
    )
    .bind(workspace)
    .bind(id)
    .bind(new.name)
    .fetch_one(&mut *connection)
    .await?;
    Ok(passed(text))
}

async fn pool(url: &str, role: Option<&'static str>) -> Outcome<PgPool> {
    let options = PgConnectOptions::from_str(url)?.application_name("floor");
    let options = options.log_statements(log::LevelFilter::Debug).log_slow_statements(log::LevelFilter::Off, Duration::MAX);
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(Duration::from_secs(10)).test_before_acquire(false);
    let pool = pool.after_connect(move |connection, _| {
        Box::pin(async move {
            if let Some(role) = role {
                connection.execute(AssertSqlSafe(format!("SET ROLE {role}"))).await?;
            }
            Ok(())
        })
    });
    Ok(pool.connect_with(options).await?)
}

/// Serves the floors at a port until the process is ended.
pub async fn serve(url: &str, port: u16) -> Outcome<()> {
    let held = Session { pool: pool(url, Some("claimwright_service")).await?, is_held: true };
    let free = Session { pool: pool(url, None).await?, is_held: false };
    let by_hand = || {
        Router::new()
            .route("/{workspace}/typename", get(typename))
            .route("/{workspace}/list", get(list))
            .route("/{workspace}/nested", get(nested))
            .route("/{workspace}/texts/{id}", get(texts))
            .route("/{workspace}/rename/{id}", post(rename))
    };
    let json = Router::new()
        .route("/{workspace}/typename", get(typename))
        .route("/{workspace}/list", get(json_list))
        .route("/{workspace}/nested", get(json_nested))
        .route("/{workspace}/texts/{id}", get(json_texts))
        .route("/{workspace}/rename/{id}", post(json_rename));
    let routes = Router::new()
        .route("/health/ready", get(|| async { "ready" }))
        .nest("/hand", by_hand().with_state(held.clone()))
        .nest("/free", by_hand().with_state(free))
        .nest("/json", json.with_state(held));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    // a connection that waits for nothing else does not wait for an acknowledgement either: as the product's
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, routes).await?;
    Ok(())
}
