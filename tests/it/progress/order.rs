//! The order of events under load: nothing is overtaken, nothing is sent too often, and who is too slow is told so.

use super::{after, places};
use crate::on_each;
use crate::support::drafter::HeldDrafter;
use crate::support::runs::{EVENTS, dense_sequences, events_until, is_end_of};
use crate::support::{Mode, TestApp};
use chrono::{DateTime, Duration, Utc};
use claimwright::domain::events::BatchEvent;
use claimwright::domain::ids::{BatchId, WorkspaceId};
use claimwright::repositories::db::Db;
use claimwright::repositories::events;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that goes ahead of the real one as a test tells it.
#[derive(Clone, Default)]
struct Ahead(Arc<AtomicI64>);

impl Ahead {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
    }

    #[expect(clippy::disallowed_methods, reason = "this is the injected clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + Duration::milliseconds(self.0.load(Ordering::SeqCst))
    }
}

/// Waits until a statement waits for a lock of another transaction.
async fn until_something_waits(db: &Db) {
    let pool = db.postgres().expect("PostgreSQL");
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()",
        )
        .fetch_one(pool)
        .await
        .expect("an answer");
        if waiting > 0 {
            return;
        }
    }
}

/// Ids inside of global ids, as repositories take them.
async fn inner_ids(app: &TestApp, batch: &str) -> (WorkspaceId, BatchId) {
    let data = app.adviser().run("{ viewer { workspace { id } } }", json!({})).await;
    let workspace = data["viewer"]["workspace"]["id"].as_str().expect("an id");
    (WorkspaceId::from_global(workspace), BatchId::from_global(batch))
}

on_each! {
    // Below the public API, because no request can be stopped between its statement and its commit.
    async fn a_slow_transaction_is_not_overtaken_by_a_quick_one(mode: Mode) {
        let app = TestApp::start(mode).await;
        let batch = app.adviser().create_batch("Acme").await;
        let (workspace, id) = inner_ids(&app, &batch).await;
        let db = app.app().db();
        let mut reader = db.read(workspace).await.expect("a connection");
        let before = events::list_after(&mut reader, workspace, id, 0, 100).await.expect("events").last().map_or(0, |event| event.sequence);
        drop(reader);
        let seen = async || {
            let mut reader = db.read(workspace).await.expect("a connection");
            let found = events::list_after(&mut reader, workspace, id, before, 100).await.expect("events");
            found.iter().map(|event| event.sequence - before).collect::<Vec<_>>()
        };
        let append = async || {
            let mut tx = db.begin(workspace).await.expect("a transaction");
            let stored = events::append_in(&mut tx, workspace, id, vec![BatchEvent::BatchChanged; 2], DateTime::UNIX_EPOCH).await.expect("appended");
            (tx, stored.iter().map(|event| event.sequence - before).collect::<Vec<_>>())
        };

        let (slow, first) = append().await;
        assert_eq!(first, [1, 2]);
        let mut quick = Box::pin(async {
            let (tx, sequences) = append().await;
            tx.commit().await.expect("committed");
            sequences
        });
        assert!(futures::poll!(&mut quick).is_pending());
        if mode == Mode::ScaledOut {
            tokio::select! {
                overtaken = &mut quick => panic!("it did not wait: {overtaken:?}"),
                () = until_something_waits(db) => {}
            }
        }
        assert_eq!(seen().await, Vec::<i64>::new(), "nothing is visible before what comes before it");
        slow.commit().await.expect("committed");
        assert_eq!(quick.await, [3, 4]);
        assert_eq!(seen().await, [1, 2, 3, 4]);
        app.stop().await;
    }

    async fn changes_at_once_reach_a_watcher_in_order_and_once(mode: Mode) {
        let app = TestApp::start(mode).await;
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut socket = adviser.socket().await;
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch })).await;
        let snapshot = stream.next().await.expect("a snapshot")["batchProgress"].clone();
        let names: Vec<String> = (0..24).map(|n| format!("Acme {n}")).collect();
        futures::future::join_all(names.iter().map(|name| adviser.renamed(&batch, name))).await;
        let mut told = vec![snapshot.clone()];
        for _ in &names {
            told.push(stream.next().await.expect("an event")["batchProgress"].clone());
        }
        dense_sequences(&told);
        let replayed = after(&adviser, &batch, &snapshot["cursor"], names.len()).await;
        assert_eq!(places(&replayed), places(&told[1..]), "live and replayed are the same");
        drop(socket);
        app.stop().await;
    }

    async fn numbers_of_a_run_are_told_at_most_twice_a_second(mode: Mode) {
        let clock = Ahead::default();
        let ticking = clock.clone();
        // every look at the clock takes 40 ms, so a run of milliseconds lasts for seconds
        let app = TestApp::start_with(mode, |surroundings| {
            surroundings.clock = Arc::new(move || {
                ticking.advance(Duration::milliseconds(40));
                ticking.now()
            });
        }).await;
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 4).await;
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let run = adviser.start(&batch).await;
        let events = adviser.events_until(&batch, &before, is_end_of(&run)).await;
        let progressed: Vec<&Value> = events.iter().filter(|event| event["__typename"] == "RunProgressed").collect();
        assert!(progressed.len() >= 3, "{} in a run of {} events", progressed.len(), events.len());
        let moment = |event: &Value| event["occurredAt"].as_str().expect("a moment").parse::<DateTime<Utc>>().expect("RFC 3339");
        for pair in progressed[..progressed.len() - 1].windows(2) {
            let gap = moment(pair[1]) - moment(pair[0]);
            assert!(gap >= Duration::milliseconds(500), "{gap}");
        }
        let shares: Vec<f64> = progressed.iter().map(|event| event["progress"].as_f64().expect("a share")).collect();
        assert!(shares.is_sorted(), "{shares:?}");
        assert!(shares.last().is_some_and(|last| (last - 1.0).abs() < f64::EPSILON), "the last one is always sent");
        app.stop().await;
    }

    async fn a_client_that_does_not_read_is_told_that_it_lagged_and_starts_afresh(mode: Mode) {
        let clock = Ahead::default();
        let (ticking, drafter) = (clock.clone(), HeldDrafter::new(0));
        let provider = drafter.clone();
        let app = TestApp::start_with(mode, |surroundings| {
            surroundings.clock = Arc::new(move || ticking.now());
            surroundings.drafters = vec![provider];
        }).await;
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 100).await;
        // events of many kilobytes, so that the buffers of the system are soon full
        let facts = "facts { baseline advanceSought uncertainties workUndertaken outcome }";
        let aliases = (0..12).map(|n| format!("f{n}: {facts}")).collect::<Vec<_>>().join(" ");
        let query = format!("subscription($id: ID!) {{ batchProgress(batchId: $id) {{ __typename ... on StreamEvent {{ sequence cursor }} \
            ... on ProjectStatusChanged {{ project {{ {aliases} }} }} ... on StreamLagged {{ droppedCount }} \
            ... on BatchSnapshot {{ projectCounts {{ total draft }} activeRun {{ id }} }} }} }}");
        let mut socket = adviser.socket().await;
        let mut stream = socket.subscribe(&query, json!({ "id": batch })).await;
        let mut told = vec![stream.next().await.expect("a snapshot")["batchProgress"].clone()];
        // much happens, and the client does not read
        for calls in 1..=10 {
            let run = adviser.start(&batch).await;
            drafter.has_begun(calls * 4).await;
            adviser.cancel(&run).await;
            assert_eq!(adviser.follow_run(&batch, &run).await, "CANCELLED");
        }
        clock.advance(Duration::seconds(10));

        told.extend(events_until(&mut stream, |event| event["__typename"] == "StreamLagged").await);
        let lagged = told.pop().expect("an event");
        dense_sequences(&told);
        let last = told.last().expect("events");
        assert_eq!((&lagged["sequence"], &lagged["cursor"]), (&last["sequence"], &last["cursor"]), "it stands where the client stands");
        let snapshot = stream.next().await.expect("a snapshot")["batchProgress"].clone();
        assert_eq!(snapshot["__typename"], "BatchSnapshot");
        let dropped = lagged["droppedCount"].as_i64().expect("a count");
        assert!(dropped > 256, "{dropped}");
        assert_eq!(snapshot["sequence"].as_i64(), lagged["sequence"].as_i64().map(|n| n + dropped));
        assert_eq!(snapshot["cursor"], adviser.batch_now(&batch).await["eventCursor"]);
        assert_eq!((&snapshot["projectCounts"], &snapshot["activeRun"]), (&json!({ "total": 100, "draft": 100 }), &json!(null)));
        // and what follows is told as usual
        adviser.renamed(&batch, "Acme again").await;
        let next = stream.next().await.expect("an event")["batchProgress"].clone();
        assert_eq!((&next["__typename"], next["sequence"].as_i64()), (&json!("BatchChanged"), snapshot["sequence"].as_i64().map(|n| n + 1)));
        drop(socket);
        app.stop().await;
    }
}
