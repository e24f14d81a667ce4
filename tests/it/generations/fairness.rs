//! Fairness: who starts a small run while a large one is being written does not wait for it.

use crate::support::calls::done;
use crate::support::{Mode, TestApp, has_postgres};
use serde_json::{Value, json};
use std::time::Instant;

/// Projects of the small run, of seven sections each.
const SMALL: usize = 5;

/// A large run of projects of one section, and behind it another practice's small one of projects of seven.
async fn a_small_run_is_done_early(mode: Mode, projects: usize) {
    let app = TestApp::start(mode).await;
    let (large, small) = (app.adviser(), app.stranger());
    let (small_batch, _) = small.batch_of("Small", SMALL).await;
    let template = large.template_of("One section", &["baseline"]).await;
    let (batch, _) = large.batch_on(&template, "Large", 1).await;
    let rows: Value = (2..=projects).map(|number| json!({ "name": format!("Project {number}"), "facts": {} })).collect();
    assert_eq!(large.import_of(json!({ "batchId": batch, "source": { "rows": rows } })).await["status"], "SUCCEEDED");
    let run = large.start(&batch).await;
    let begun = Instant::now();
    let small_run = small.start(&small_batch).await;
    assert_eq!(small.follow_run(&small_batch, &small_run).await, "SUCCEEDED");
    let query = "query($id: ID!) { node(id: $id) { ... on GenerationRun { status counts { total succeeded running } } } }";
    let now = large.run(query, json!({ "id": run })).await["node"].clone();
    eprintln!(
        "behind {projects} projects on {mode:?}, {SMALL} were written in {:?}; of the large run by then: {}",
        begun.elapsed(),
        now["counts"]
    );
    assert_eq!((&now["status"], now["counts"]["total"].as_u64()), (&json!("RUNNING"), Some(projects as u64)));
    let succeeded = now["counts"]["succeeded"].as_u64().expect("a number");
    assert!(succeeded > 0 && succeeded * 20 < projects as u64, "{succeeded} of {projects} came first");
    done(&large.change("cancelGeneration(runId: $id)", "$id: ID!", "run { status }", json!({ "id": run })).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_five_behind_one_of_five_thousand_is_done_before_a_twentieth_of_it_embedded() {
    a_small_run_is_done_early(Mode::Embedded, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_five_behind_a_large_one_is_done_before_a_twentieth_of_it_scaled_out() {
    if has_postgres() {
        // less than the five thousand on SQLite, for time; the turns are the same arithmetic
        a_small_run_is_done_early(Mode::ScaledOut, 1_500).await;
    }
}
