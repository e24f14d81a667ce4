//! Live progress of a batch: a snapshot or what was missed, then everything in order. How streams end, how slow clients
//! are treated and how the socket's protocol is kept stands in the files beside it.

mod endings;
mod order;
mod protocol;

use crate::on_both;
use crate::support::Client;
use crate::support::runs::{EVENTS, counts, dense_sequences, events_until, is_end_of};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::HashMap;

/// What tells events apart; objects inside of them are shown as they are now.
fn places(events: &[Value]) -> Vec<Value> {
    events.iter().map(|e| json!([e["sequence"], e["cursor"], e["__typename"], e["occurredAt"]])).collect()
}

/// Checks that the projects of a run go through its statuses in order and each is scored with its end.
fn check_course(events: &[Value], from: &str) {
    let mut now: HashMap<&str, &str> = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        let Some(status) = event["projectStatus"].as_str() else { continue };
        let project = event["project"]["id"].as_str().expect("a project");
        let before = now.insert(project, status).unwrap_or(from);
        assert_eq!(event["previousProjectStatus"], before, "{event}");
        let expected = match before {
            "QUEUED" => "GENERATING",
            "GENERATING" => "NEEDS_REVIEW",
            _ => "QUEUED",
        };
        assert_eq!(status, expected, "{event}");
        if status == "NEEDS_REVIEW" {
            let scored = &events[place + 1];
            assert_eq!((&scored["__typename"], &scored["projectId"]), (&json!("ProjectScored"), &json!(project)));
            assert!((0..=100).contains(&scored["score"].as_i64().expect("a score")));
        }
    }
    assert!(now.values().all(|status| *status == "NEEDS_REVIEW"), "{now:?}");
}

/// Subscribes with a cursor and reads so many events.
async fn after(client: &Client, batch: &str, cursor: &Value, count: usize) -> Vec<Value> {
    let mut socket = client.socket().await;
    let mut events = socket.subscribe(EVENTS, json!({ "id": batch, "after": cursor })).await;
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(events.next().await.expect("an event")["batchProgress"].clone());
    }
    all
}

on_both! {
    async fn a_stream_begins_with_a_snapshot_and_tells_whole_runs_without_a_gap(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 3).await;
        let cursor = adviser.batch_now(&batch).await["eventCursor"].clone();
        let mut socket = adviser.socket().await;
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch, "after": null })).await;
        let snapshot = stream.next().await.expect("a snapshot")["batchProgress"].clone();
        assert_eq!((&snapshot["__typename"], &snapshot["cursor"], &snapshot["batch"]["id"]), (&json!("BatchSnapshot"), &cursor, &json!(batch)));
        let none = json!({ "total": 3, "draft": 3, "queued": 0, "generating": 0, "needsReview": 0, "failed": 0 });
        assert_eq!((&snapshot["projectCounts"], &snapshot["activeRun"]), (&none, &json!(null)));
        assert!(snapshot["sequence"].as_i64() > Some(0), "the import had events: {snapshot}");

        // one stream over two runs
        let mut told = vec![snapshot];
        for (scope, from) in [("MISSING", "DRAFT"), ("ALL_UNAPPROVED", "NEEDS_REVIEW")] {
            let run = adviser.start_with(json!({ "batchId": batch, "scope": scope })).await;
            let events = events_until(&mut stream, is_end_of(&run)).await;
            let statuses: Vec<_> = events.iter().filter(|event| event["__typename"] == "RunStatusChanged")
                .map(|event| (event["previousRunStatus"].as_str(), event["runStatus"].as_str().expect("a status"))).collect();
            assert_eq!(statuses, [(None, "QUEUED"), (Some("QUEUED"), "RUNNING"), (Some("RUNNING"), "SUCCEEDED")]);
            check_course(&events, from);
            assert_eq!(events.iter().filter(|event| event["__typename"] == "ProjectScored").count(), projects.len());
            let last = &events[events.len() - 2];
            assert_eq!((&last["__typename"], &last["runId"], &last["progress"]), (&json!("RunProgressed"), &json!(run), &json!(1.0)));
            assert_eq!(last["runCounts"], counts(&[("total", 3), ("succeeded", 3)]));
            told.extend(events);
        }
        dense_sequences(&told);
        adviser.renamed(&batch, "Acme after two runs").await;
        let changed = stream.next().await.expect("still open")["batchProgress"].clone();
        assert_eq!((&changed["__typename"], &changed["batch"]["name"]), (&json!("BatchChanged"), &json!("Acme after two runs")));
        assert_eq!(changed["cursor"], adviser.batch_now(&batch).await["eventCursor"]);
        drop(socket);
        app.stop().await;
    }

    async fn a_client_that_comes_back_gets_exactly_what_it_missed(app: TestApp) {
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 2).await;
        let mut socket = adviser.socket().await;
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch })).await;
        let mut told = vec![stream.next().await.expect("a snapshot")["batchProgress"].clone()];
        let run = adviser.start(&batch).await;
        told.extend(events_until(&mut stream, is_end_of(&run)).await);
        for seen in [0, 3, told.len() - 2] {
            let missed = &told[seen + 1..];
            let first = after(&adviser, &batch, &told[seen]["cursor"], missed.len()).await;
            let second = after(&adviser, &batch, &told[seen]["cursor"], missed.len()).await;
            assert_eq!(places(&first), places(missed), "what was missed after {seen}");
            assert_eq!(first, second, "twice the same");
        }
        drop(socket);
        // who has missed nothing gets nothing but what is new
        let mut socket = adviser.socket().await;
        let last = told.last().expect("events")["cursor"].clone();
        let mut stream = socket.subscribe(EVENTS, json!({ "id": batch, "after": last })).await;
        adviser.renamed(&batch, "Acme again").await;
        let next = stream.next().await.expect("an event")["batchProgress"].clone();
        assert_eq!((&next["__typename"], next["sequence"].as_i64()), (&json!("BatchChanged"), told.last().expect("events")["sequence"].as_i64().map(|n| n + 1)));
        drop(socket);
        app.stop().await;
    }

    async fn nothing_is_missed_between_a_query_and_the_stream_after_its_cursor(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 1).await;
        let query = "query($id: ID!, $project: ID!) { batch(id: $id) { eventCursor } project(id: $project) { eventCursor } }";
        let data = adviser.run(query, json!({ "id": batch, "project": projects[0] })).await;
        assert_eq!(data["batch"]["eventCursor"], data["project"]["eventCursor"], "a project tells of its batch's stream");
        let run = adviser.start(&batch).await;
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let events = adviser.events_until(&batch, &data["batch"]["eventCursor"], is_end_of(&run)).await;
        assert_eq!((&events[0]["__typename"], &events[0]["runStatus"], &events[0]["run"]["id"]), (&json!("RunStatusChanged"), &json!("QUEUED"), &json!(run)));
        dense_sequences(&events);
        check_course(&events, "DRAFT");
        app.stop().await;
    }

    async fn two_clients_are_told_the_same(app: TestApp) {
        let adviser = app.adviser();
        let colleague = app.member("colleague@practice.example", "practice");
        let (batch, _) = adviser.batch_of("Acme", 2).await;
        let (mut one, mut two) = (adviser.socket().await, colleague.socket().await);
        let mut first = one.subscribe(EVENTS, json!({ "id": batch })).await;
        let mut second = two.subscribe(EVENTS, json!({ "id": batch })).await;
        let (a, b) = (first.next().await.expect("a snapshot"), second.next().await.expect("a snapshot"));
        assert_eq!(a["batchProgress"]["cursor"], b["batchProgress"]["cursor"]);
        let run = adviser.start(&batch).await;
        let (a, b) = tokio::join!(events_until(&mut first, is_end_of(&run)), events_until(&mut second, is_end_of(&run)));
        assert_eq!(places(&a), places(&b));
        drop((one, two));
        app.stop().await;
    }

    async fn a_cursor_that_is_not_of_this_stream_is_refused(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let other = adviser.create_batch("Other").await;
        let own = adviser.batch_now(&batch).await["eventCursor"].as_str().expect("a cursor").to_owned();
        let mut ahead = URL_SAFE_NO_PAD.decode(&own).expect("base64");
        *ahead.last_mut().expect("bytes") += 7;
        let foreign = adviser.batch_now(&other).await["eventCursor"].clone();
        for cursor in [json!("nonsense"), json!(""), foreign, json!(URL_SAFE_NO_PAD.encode(ahead)), json!(format!("{own}AA"))] {
            let mut socket = adviser.socket().await;
            let mut stream = socket.subscribe(EVENTS, json!({ "id": batch, "after": cursor })).await;
            let errors = stream.next_or_errors().await.expect_err("refused");
            assert_eq!(errors[0]["extensions"]["code"], "VALIDATION_FAILED", "{cursor}: {errors}");
            assert_eq!(errors[0]["extensions"]["argument"], "after", "{errors}");
            assert!(errors[0]["message"].as_str().is_some_and(|message| message.contains("`after`")), "{errors}");
        }
        app.stop().await;
    }

    async fn a_stream_of_what_is_not_there_or_not_ours_is_refused(app: TestApp) {
        let (adviser, stranger) = (app.adviser(), app.stranger());
        let (batch, projects) = adviser.batch_of("Acme", 1).await;
        let unknown = URL_SAFE_NO_PAD.encode("Batch:01890000-0000-7000-8000-000000000000");
        for (client, id) in [(&stranger, batch.as_str()), (&adviser, &unknown), (&adviser, &projects[0]), (&adviser, "nonsense"), (&adviser, "")] {
            let mut socket = client.socket().await;
            let mut stream = socket.subscribe(EVENTS, json!({ "id": id })).await;
            let errors = stream.next_or_errors().await.expect_err("refused");
            assert_eq!((&errors[0]["extensions"]["code"], &errors[0]["path"]), (&json!("NOT_FOUND"), &json!(["batchProgress"])), "{id}: {errors}");
            assert!(errors[0]["message"].as_str().is_some_and(|message| message.len() > 10), "{errors}");
        }
        app.stop().await;
    }
}
