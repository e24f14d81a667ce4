//! A job that is delivered twice, and a database that is away when a paid text comes: nothing is written twice, nothing is
//! asked for without need.

use crate::on_each;
use crate::support::process::{Server, settings};
use crate::support::providers::openai::{TEXT, closing, finish, opening, text};
use crate::support::providers::{Step, Stub};
use crate::support::runs::{dense_sequences, is_end_of};
use crate::support::servers::OwnPostgres;
use crate::support::{PATIENCE, TestApp};
use async_trait::async_trait;
use claimwright::adapters::ai::offline::Offline;
use claimwright::adapters::ai::{DraftFailure, DraftRequest, DraftStream, Drafter, Profile};
use claimwright::app::Roles;
use claimwright::repositories::jobs;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Calls that are made while a test has the doors in its hands.
const DOORS: usize = 2;

/// A provider whose n-th call waits at the n-th door, and says when it is there.
struct Doors {
    offline: Offline,
    doors: [Semaphore; DOORS],
    calls: AtomicUsize,
    waits: mpsc::UnboundedSender<usize>,
}

#[async_trait]
impl Drafter for Doors {
    fn profile(&self) -> Profile {
        self.offline.profile()
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        self.waits.send(call).expect("the test listens");
        self.doors[call].acquire().await.expect("open").forget();
        self.offline.draft(request).await
    }
}

on_each! {
    async fn a_job_that_is_delivered_twice_is_written_once_and_asked_for_once_more(mode: Mode) {
        for first_to_end in 0..DOORS {
            let (waits, mut waiting) = mpsc::unbounded_channel();
            let doors = [const { Semaphore::const_new(0) }; DOORS];
            let drafter = Arc::new(Doors { offline: Offline::default(), doors, calls: AtomicUsize::new(0), waits });
            let provider = Arc::clone(&drafter);
            let app = TestApp::start_with(mode, |surroundings| surroundings.drafters = vec![provider]).await;
            let adviser = app.adviser();
            let template = adviser.template_of("One section", &["baseline"]).await;
            let (batch, projects) = adviser.batch_on(&template, "Delivered twice", 1).await;
            let beginning = adviser.batch_now(&batch).await["eventCursor"].clone();
            let run = adviser.start(&batch).await;
            assert_eq!(timeout(PATIENCE, waiting.recv()).await.expect("a first call"), Some(0));
            // as if this worker had been taken for dead: its claims go back while it works
            jobs::release_all(app.app().db()).await.expect("the claims go back");
            assert_eq!(timeout(PATIENCE, waiting.recv()).await.expect("a second call"), Some(1));
            drafter.doors[first_to_end].add_permits(1);
            if first_to_end == 1 {
                assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED", "the claim that counts is the second");
            }
            drafter.doors[1 - first_to_end].add_permits(1);
            assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
            // both have said their last words once the workers have drained
            let app = app.restart_as(Roles::Api).await;
            let adviser = app.adviser();

            let run_now = adviser.run_of(&run).await;
            let mut attempts: Vec<&Value> = run_now["attempts"]["nodes"].as_array().expect("attempts").iter().collect();
            attempts.sort_by_key(|attempt| attempt["number"].as_i64());
            let trail: Vec<_> = attempts.iter().map(|attempt| (attempt["status"].as_str(), attempt["failure"]["code"].as_str())).collect();
            assert_eq!(trail, [(Some("RETRYING"), Some("WORKER_LOST")), (Some("SUCCEEDED"), None)]);
            assert_eq!((&run_now["counts"]["succeeded"], &run_now["progress"]), (&json!(1), &json!(1.0)));
            let narrative = adviser.narrative(&projects[0]).await;
            let section = &narrative["sections"][0];
            assert_eq!((&section["revision"], section["revisions"]["nodes"].as_array().map(Vec::len)), (&json!(1), Some(1)));
            let events = adviser.events_until(&batch, &beginning, is_end_of(&run)).await;
            dense_sequences(&events);
            assert_eq!(events.iter().filter(|event| event["__typename"] == "ProjectScored").count(), 1);
            assert_eq!(drafter.calls.load(Ordering::SeqCst), 2);
            app.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_came_while_the_database_was_away_is_kept_and_not_asked_for_again() {
    let Some(postgres) = OwnPostgres::start().await else { return };
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let answer = move |_: &_| {
        let gate = Step::Gate(Arc::clone(&held));
        [opening(), vec![gate, text(TEXT), finish("stop")], closing()].concat()
    };
    let stub = Stub::start(vec![], answer).await;
    let folder = tempfile::tempdir().expect("a folder");
    let more = settings(&[
        ("DATABASE_URL", &postgres.url()),
        ("AI_PROVIDER", "openai"),
        ("AI_BASE_URL", &format!("{}/v1", stub.url)),
        ("AI_MODEL", "stub-1"),
        ("WORKER_CONCURRENCY", "3"),
    ]);
    let server = Server::start(&folder.path().join("data"), &more).await;
    let adviser = server.adviser();
    let template = adviser.template_of("Three sections", &["baseline", "advance", "work"]).await;
    let (batch, _) = adviser.batch_on(&template, "Away for a moment", 1).await;
    let run = adviser.start(&batch).await;
    stub.has_been_asked(3).await;
    postgres.stop_immediate().await;
    gate.add_permits(3);
    server.has_logged("what a call gave is kept", 3).await;
    postgres.come_back().await;

    assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
    assert_eq!(stub.requests().len(), 3, "nothing is paid for twice");
    let attempts = adviser.run_of(&run).await["attempts"]["nodes"].as_array().expect("attempts").clone();
    assert!(attempts.len() == 3 && attempts.iter().all(|attempt| attempt["status"] == "SUCCEEDED"), "{attempts:?}");
    assert!(server.terminate().await.success());
}
