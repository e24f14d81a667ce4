//! Probes: a process says which of its dependencies is down, whatever its role, and that it drains.

use super::get;
use crate::on_each;
use crate::support::drafter::HeldDrafter;
use crate::support::process::{Server, command, run, settings};
use crate::support::{Client, Mode, PATIENCE, TestApp, configure, drop_database, has_postgres};
use axum::Router;
use axum::http::StatusCode;
use claimwright::app::{App, Roles, Surroundings};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

async fn readiness(url: &str) -> (u16, Value) {
    let (status, text) = get(&format!("{url}/health/ready")).await;
    (status.as_u16(), serde_json::from_str(&text).expect("JSON"))
}

/// The first answer that is wanted: answers are kept for about a second.
async fn readiness_until(url: &str, wanted: impl Fn(&Value) -> bool) -> (u16, Value) {
    let asked = async {
        loop {
            let (status, body) = readiness(url).await;
            if wanted(&body) {
                return (status, body);
            }
        }
    };
    timeout(PATIENCE, asked).await.expect("the answer changes in time")
}

on_each! {
    async fn a_process_without_its_database_is_not_ready_and_says_so(mode: Mode) {
        let app = TestApp::start(mode).await;
        // on PostgreSQL the suite may have a Redis beside it
        let without_redis = |mut body: Value| {
            body["checks"].as_object_mut().expect("checks").remove("redis");
            body
        };
        let (status, body) = readiness(&app.url()).await;
        let ready = json!({ "status": "ready", "checks": { "database": "ok", "storage": "ok", "identity": "ok" } });
        assert_eq!((status, without_redis(body)), (200, ready));
        app.app().db().close().await;
        let (status, body) = readiness_until(&app.url(), |body| body["status"] != "ready").await;
        assert_eq!(status, 503);
        assert_eq!(without_redis(body), json!({ "status": "unavailable", "checks": { "database": "down", "storage": "ok", "identity": "ok" } }));
        assert_eq!(get(&format!("{}/health/live", app.url())).await.0, 200);
        let version = json!({ "status": "healthy", "version": env!("CARGO_PKG_VERSION") });
        assert_eq!(serde_json::from_str::<Value>(&get(&format!("{}/health", app.url())).await.1).expect("JSON"), version);
    }
}

#[tokio::test]
async fn a_process_without_its_file_store_goes_on_and_says_so() {
    // as little of S3 as a start needs
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let store = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(async || StatusCode::OK)).await });
    let folder = tempfile::tempdir().expect("a folder");
    let s3 = settings(&[
        ("S3_BUCKET", "files"),
        ("S3_ENDPOINT_URL", &endpoint),
        ("AWS_REGION", "eu-west-2"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("S3_LIFECYCLE", "off"),
    ]);
    let server = Server::start(&folder.path().join("data"), &s3).await;
    assert_eq!(readiness(server.url()).await.0, 200);
    store.abort();
    let (status, body) = readiness_until(server.url(), |body| body["status"] != "ready").await;
    assert_eq!(status, 200, "it can do most of its work");
    assert_eq!(body, json!({ "status": "degraded", "checks": { "database": "ok", "storage": "down", "identity": "ok" } }));
    assert!(!body.to_string().contains("127.0.0.1"));
}

#[tokio::test]
async fn a_process_without_redis_goes_on_and_says_so() {
    if !has_postgres() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (config, name) = configure(folder.path(), Mode::ScaledOut, &[("REDIS_URL", "redis://:secret@127.0.0.1:1")]).await;
    let app = App::start(&config, Roles::All).await.expect("it starts without Redis");
    let (status, body) = readiness(&app.url().expect("an address")).await;
    assert_eq!(status, 200, "nothing is lost without it");
    let checks = json!({ "database": "ok", "redis": "down", "storage": "ok", "identity": "ok" });
    assert_eq!(body, json!({ "status": "degraded", "checks": checks }));
    assert!(
        get(&format!("{}/metrics", app.url().expect("an address"))).await.1.contains("claimwright_dependency_up{dependency=\"redis\"} 0")
    );
    app.stop().await.expect("it stops");
    drop_database(&name.expect("a database")).await;
}

#[tokio::test]
async fn a_worker_answers_probes_and_scrapers_at_an_address_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut worker = command(&["worker"], &data, &settings(&[("OPS_ADDRESS", "127.0.0.1:0")])).spawn().expect("the worker starts");
    let mut lines = BufReader::new(worker.stderr.take().expect("stderr")).lines();
    let url = timeout(PATIENCE, async {
        loop {
            let line = lines.next_line().await.expect("a line").expect("the worker is alive");
            if let Some((_, url)) = line.split_once("health and metrics at ") {
                return url.trim().to_owned();
            }
        }
    });
    let url = url.await.expect("it says where in time");
    assert_eq!(readiness(&url).await, (200, json!({ "status": "ready", "checks": { "database": "ok", "storage": "ok" } })));
    assert!(get(&format!("{url}/metrics")).await.1.contains("claimwright_queue_jobs{lane=\"work\",state=\"ready\"} 0"));
    assert_eq!(get(&format!("{url}/graphql")).await.0, 404);
    let address = url.trim_start_matches("http://");
    assert_eq!(run(&["healthcheck"], &data, &settings(&[("OPS_ADDRESS", address)])).await.code, Some(0));
    let elsewhere = run(&["healthcheck"], &data, &settings(&[("OPS_ADDRESS", address), ("CLAIMWRIGHT_URL", "http://127.0.0.1:1")])).await;
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
    worker.kill().await.expect("the worker is killed");
    assert_eq!(run(&["healthcheck"], &data, &settings(&[("OPS_ADDRESS", address)])).await.code, Some(1));
}

#[tokio::test]
async fn a_process_that_drains_says_so_until_the_last_job_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, _) = configure(folder.path(), Mode::Embedded, &[("OPS_ADDRESS", "127.0.0.1:0"), ("SHUTDOWN_GRACE", "60")]).await;
    let drafter = HeldDrafter::new(0);
    let surroundings = Surroundings { drafters: vec![Arc::clone(&drafter) as _], ..Surroundings::real() };
    let app = App::start_in(&config, Roles::All, surroundings).await.expect("the application starts");
    let ops = format!("http://{}", app.ops_address().expect("an address"));
    let token = app.token(None, None, PATIENCE).expect("a token");
    let adviser = Client::new(app.url().expect("an address"), Some(token));
    let (batch, _) = adviser.batch_of("Acme", 1).await;
    adviser.start(&batch).await;
    drafter.has_begun(1).await;
    assert_eq!(readiness(&ops).await.0, 200);
    let stopping = tokio::spawn(app.stop());
    let draining = readiness_until(&ops, |body| body["status"] == "draining").await;
    assert_eq!(draining, (503, json!({ "status": "draining" })));
    assert_eq!(get(&format!("{ops}/health/live")).await.0, 200);
    drafter.permits.add_permits(1_000);
    timeout(PATIENCE, stopping).await.expect("it ends in time").expect("no panic").expect("it drained");
    assert!(reqwest::get(format!("{ops}/health/live")).await.is_err(), "nobody is there any more");
}
