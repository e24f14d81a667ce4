//! Metrics move when the product is used, and nobody can make them many.

use super::get;
use crate::on_each;
use crate::support::process::Server;
use crate::support::runs::EVENTS;
use crate::support::{Client, Mode, TestApp, root};
use claimwright::repositories::jobs;
use claimwright::telemetry::METRICS;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

/// Values by series, as Prometheus reads them.
struct Scrape(HashMap<String, f64>);

impl Scrape {
    async fn of(url: &str) -> Self {
        let (status, text) = get(&format!("{url}/metrics")).await;
        assert_eq!(status, 200);
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(
            samples
                .map(|line| line.rsplit_once(' ').expect("a sample"))
                .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
                .collect(),
        )
    }

    /// The sum of all series of a metric that have all of these labels, such as `kind="draft_section"`.
    fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let is_wanted = |series: &&String| {
            let (name, set) = series.split_once('{').unwrap_or((series, ""));
            name == metric && labels.iter().all(|label| set.contains(label))
        };
        self.0.iter().filter(|(series, _)| is_wanted(series)).map(|(_, value)| value).sum()
    }

    /// The values of a label.
    fn values(&self, metric: &str, label: &str) -> BTreeSet<String> {
        let series = self.0.keys().filter(|series| series.starts_with(&format!("{metric}{{")));
        let value = |series: &String| {
            series.split_once(&format!("{label}=\"")).map(|(_, rest)| rest.split('"').next().unwrap_or_default().to_owned())
        };
        series.filter_map(value).collect()
    }
}

#[expect(clippy::float_cmp, reason = "counts are whole numbers")]
#[tokio::test]
async fn metrics_move_when_the_product_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]).await;
    let adviser = server.adviser();
    let (batch, _) = adviser.generated("Acme", 2).await;
    adviser.run("query Mine { batches(first: 1) { totalCount } }", json!({})).await;
    let blank = "mutation Blank { createBatch(input: { name: \" \" }) { userErrors { code } } }";
    adviser.run(blank, json!({})).await;
    adviser.fail("query Wrong { shoeSize }", json!({})).await;
    Client::new(server.url().to_owned(), None).fail("query Secret { viewer { email } }", json!({})).await;
    adviser.fail("query Broken {", json!({})).await;

    let mut socket = adviser.socket().await;
    let mut events = socket.subscribe(EVENTS, json!({ "id": batch })).await;
    events.next().await.expect("a snapshot");
    adviser.renamed(&batch, "Acme Ltd").await;
    assert_eq!(events.next().await.expect("an event")["batchProgress"]["__typename"], "BatchChanged");
    let open = Scrape::of(server.url()).await;
    assert_eq!((open.sum("claimwright_sockets_open", &[]), open.sum("claimwright_subscriptions_open", &[])), (1.0, 1.0));
    assert!(open.sum("claimwright_events_lag_seconds_count", &[]) >= 1.0);

    let requests = |operation: &str, outcome: &str| {
        let labels = ["transport=\"http\"", &format!("operation=\"{operation}\""), &format!("outcome=\"{outcome}\"")];
        open.sum("claimwright_requests_total", &labels)
    };
    assert_eq!(requests("Mine", "ok"), 1.0);
    assert_eq!(requests("Blank", "user_error"), 1.0);
    assert_eq!(requests("Wrong", "VALIDATION_FAILED"), 1.0);
    assert_eq!(requests("unknown", "UNAUTHENTICATED"), 1.0);
    assert_eq!(requests("unknown", "PARSE_FAILED"), 1.0);
    assert_eq!(open.sum("claimwright_request_duration_seconds_count", &["operation=\"Mine\""]), 1.0);
    assert_eq!(open.sum("claimwright_resolvers_duration_seconds_count", &["operation=\"Mine\""]), 1.0);

    let sections = adviser
        .run("query($id: ID!) { batch(id: $id) { projects(first: 2) { nodes { sections { id } } } } }", json!({ "id": batch }))
        .await;
    let projects = sections["batch"]["projects"]["nodes"].as_array().expect("nodes").clone();
    let sections: usize = projects.iter().map(|project| project["sections"].as_array().map_or(0, Vec::len)).sum();
    let sections = f64::from(u32::try_from(sections).expect("few"));
    assert!(sections > 2.0);
    assert_eq!(open.sum("claimwright_jobs_total", &["kind=\"draft_section\"", "outcome=\"done\""]), sections);
    assert_eq!(open.sum("claimwright_jobs_total", &["kind=\"import_projects\"", "outcome=\"done\""]), 1.0);
    assert_eq!(open.sum("claimwright_imports_total", &["outcome=\"SUCCEEDED\""]), 1.0);
    let provider = ["provider=\"offline\"", "model=\"offline-composer-1\"", "outcome=\"ok\""];
    assert_eq!(open.sum("claimwright_provider_calls_total", &provider), sections);
    assert_eq!(open.sum("claimwright_provider_call_duration_seconds_count", &provider[..2]), sections);
    assert!(open.sum("claimwright_provider_tokens_total", &["direction=\"output\""]) > 100.0);
    assert!(open.sum("claimwright_sql_duration_seconds_count", &["step=\"statement\""]) > 20.0 * sections);
    assert!(open.sum("claimwright_database_acquire_duration_seconds_count", &["access=\"write\""]) > sections);
    assert_eq!(open.sum("claimwright_database_connections_max", &["pool=\"write\""]), 1.0);
    assert_eq!(open.values("claimwright_queue_jobs", "state"), ["dead", "delayed", "parked", "ready", "running"].map(str::to_owned).into());

    drop(socket);
    // the closing handshake of the socket is not waited for, but what comes after it is
    let closed = async {
        while Scrape::of(server.url()).await.sum("claimwright_sockets_open", &[]) > 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, closed).await.expect("the socket is let go");
    let after = Scrape::of(server.url()).await;
    assert_eq!(after.sum("claimwright_subscriptions_open", &[]), 0.0);
    assert_eq!(after.sum("claimwright_requests_total", &["transport=\"websocket\"", "outcome=\"abandoned\""]), 0.0);
}

#[tokio::test]
async fn hostile_names_of_operations_do_not_become_labels_without_end() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    for number in 0..300 {
        adviser.run(&format!("query Hostile{number} {{ __typename }}"), json!({})).await;
    }
    adviser.run(&format!("query Hostile{} {{ __typename }}", "x".repeat(5_000)), json!({})).await;
    app.anonymous().run("query HostileStranger { __typename }", json!({})).await;
    let scrape = Scrape::of(&app.url()).await;
    let names = scrape.values("claimwright_requests_total", "operation");
    let hostile = names.iter().filter(|name| name.starts_with("Hostile")).count();
    assert!((100..=200).contains(&hostile), "{hostile} labels");
    assert!(scrape.sum("claimwright_requests_total", &["operation=\"other\""]) >= 102.0);
    app.stop().await;
}

#[tokio::test]
async fn metrics_are_in_the_text_format_with_a_help_line_each() {
    let app = TestApp::start(Mode::Embedded).await;
    let response = reqwest::get(format!("{}/metrics", app.url())).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.expect("a text");
    assert!(text.contains("# TYPE claimwright_database_connections gauge"), "{text}");
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not in the table");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    app.stop().await;
}

#[test]
fn the_table_of_metrics_is_what_the_source_measures() {
    let mut measured = BTreeSet::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("telemetry/metrics.rs") {
                let text = std::fs::read_to_string(&path).expect("read");
                let names = text.split('"').filter(|text| text.starts_with("claimwright_") && text.len() > 12);
                let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                measured.extend(names.filter(is_name).filter(|name| *name != "claimwright_service").map(str::to_owned));
            }
        }
    }
    measured.insert("claimwright_build_info".to_owned());
    let table: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(measured, table);
}

on_each! {
    async fn the_queue_is_counted_by_lane_and_state(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 0).await;
        assert_eq!(jobs::depths(app.app().db()).await.expect("depths"), []);
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 3).await;
        let run = adviser.start(&batch).await;
        drafter.has_begun(4).await;
        let depths = jobs::depths(app.app().db()).await.expect("depths");
        let of = |state: i32| depths.iter().find(|depth| depth.state == state).expect("jobs in this state");
        assert_eq!((of(2).jobs, of(2).lane.as_str()), (4, "work"));
        assert!(of(0).jobs > 4 && of(0).oldest_ms > 1_700_000_000_000, "{depths:?}");
        drafter.permits.add_permits(1_000);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        app.stop().await;
    }
}
