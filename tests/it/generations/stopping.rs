//! Runs that are cancelled, lose projects, share the workers or outlive a restart.

use super::{APPROVE, EDIT, list};
use crate::on_each;
use crate::support::TestApp;
use crate::support::refused;
use crate::support::runs::{counts, dense_sequences, is_end_of};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Calls at once, as the tests configure it.
const WORKERS: usize = 4;
const DELETE: &str =
    "mutation($ids: [ID!]!) { deleteProjects(ids: $ids) { done failed { id error { code message } } userErrors { code message } } }";

on_each! {
    async fn a_run_that_only_waits_is_cancelled_at_once(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 0).await;
        let adviser = app.adviser();
        let (busy, _) = adviser.batch_of("Busy", 1).await;
        let (batch, projects) = adviser.batch_of("Acme", 2).await;
        let blocking = adviser.start(&busy).await;
        drafter.has_begun(WORKERS).await;
        let run = adviser.start(&batch).await;
        assert_eq!(adviser.statuses(&projects).await, ["QUEUED"; 2]);
        let cancelled = adviser.cancel(&run).await;
        assert_eq!((&cancelled["status"], &cancelled["counts"]), (&json!("CANCELLED"), &counts(&[("total", 2), ("cancelled", 2)])));
        assert_eq!(adviser.statuses(&projects).await, ["DRAFT"; 2]);
        let run = adviser.run_of(&run).await;
        assert!(run["finishedAt"].is_string() && run["startedAt"].is_null());
        assert_eq!((&run["attempts"]["totalCount"], &run["progress"], &run["failure"]), (&json!(0), &json!(0.0), &json!(null)));
        assert_eq!(adviser.batch_now(&batch).await["activity"], "READY");
        let query = "mutation($id: ID!) { cancelGeneration(runId: $id) { run { status } userErrors { code message } } }";
        let again = adviser.run(query, json!({ "id": run["id"] })).await;
        assert_eq!((refused(&again, "cancelGeneration"), &again["cancelGeneration"]["run"]["status"]), ("WRONG_STATE", &json!("CANCELLED")));
        let nothing = adviser.run(query, json!({ "id": batch })).await;
        assert_eq!((refused(&nothing, "cancelGeneration"), &nothing["cancelGeneration"]["run"]), ("NOT_FOUND", &json!(null)));

        assert_eq!(drafter.aborted.load(Ordering::SeqCst), 0, "the other run was left alone");
        drafter.permits.add_permits(7);
        assert_eq!(adviser.follow_run(&busy, &blocking).await, "SUCCEEDED");
        app.stop().await;
    }

    async fn cancelling_aborts_the_calls_in_flight_and_keeps_what_is_finished(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 0).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 4).await;
        drafter.let_through("Project 1");
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let run = adviser.start(&batch).await;
        adviser.wait_for(&batch, &before, |event| event["projectStatus"] == "NEEDS_REVIEW").await;
        drafter.has_begun(7 + WORKERS).await;
        let asked = Instant::now();
        let answer = adviser.cancel(&run).await;
        assert_eq!(answer["status"], "CANCELLING", "calls are in flight");
        drafter.has_aborted(WORKERS).await;
        assert!(asked.elapsed() < Duration::from_secs(2), "calls in flight are aborted at once: {:?}", asked.elapsed());
        assert_eq!(adviser.follow_run(&batch, &run).await, "CANCELLED");

        assert_eq!((drafter.begun.load(Ordering::SeqCst), drafter.aborted.load(Ordering::SeqCst)), (7 + WORKERS, WORKERS));
        let run_now = adviser.run_of(&run).await;
        assert_eq!(run_now["counts"], counts(&[("total", 4), ("succeeded", 1), ("cancelled", 3)]));
        assert!(run_now["finishedAt"].is_string());
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW", "DRAFT", "DRAFT", "DRAFT"]);
        assert_eq!((adviser.attempts(&run, "SUCCEEDED").await.len(), adviser.attempts(&run, "CANCELLED").await.len()), (7, WORKERS));
        assert_eq!(run_now["attempts"]["totalCount"], 7 + WORKERS, "no attempt is left open");
        for project in &projects[1..] {
            let sections = adviser.narrative(project).await["sections"].clone();
            assert!(list(&sections).iter().all(|section| section["state"] == "EMPTY" && section["revision"] == 0), "{sections}");
        }
        let events = adviser.events_until(&batch, &before, is_end_of(&run)).await;
        let heard: Vec<_> = events.iter().filter_map(|event| event["runStatus"].as_str()).collect();
        assert_eq!(heard, ["QUEUED", "RUNNING", "CANCELLING", "CANCELLED"]);

        drafter.permits.add_permits(21);
        let (_, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!((status.as_str(), adviser.statuses(&projects).await), ("SUCCEEDED", vec!["NEEDS_REVIEW".to_owned(); 4]), "it can be started again");
        app.stop().await;
    }

    async fn a_complete_narrative_goes_back_to_review_when_its_run_is_cancelled(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 7).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 1).await;
        let texts = |narrative: &Value| list(&narrative["sections"]).iter().map(|section| section["text"].clone()).collect::<Vec<_>>();
        let before = texts(&adviser.narrative(&projects[0]).await);
        let run = adviser.start_with(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        drafter.has_begun(7 + WORKERS).await;
        adviser.cancel(&run).await;
        assert_eq!(adviser.follow_run(&batch, &run).await, "CANCELLED");
        assert_eq!(adviser.run_of(&run).await["counts"], counts(&[("total", 1), ("cancelled", 1)]));
        let narrative = adviser.narrative(&projects[0]).await;
        assert_eq!((&narrative["status"], texts(&narrative)), (&json!("NEEDS_REVIEW"), before));
        assert!(list(&narrative["sections"]).iter().all(|section| section["state"] == "GENERATED" && section["revision"] == 1));
        app.stop().await;
    }

    async fn projects_that_are_deleted_during_a_run_are_skipped(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 0).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 4).await;
        let run = adviser.start(&batch).await;
        drafter.has_begun(WORKERS).await;
        assert_eq!(adviser.statuses(&projects[..2]).await, ["GENERATING", "QUEUED"]);
        // one that is being written, and one that waits
        let data = adviser.run(DELETE, json!({ "ids": [projects[0], projects[2]] })).await;
        assert_eq!(data["deleteProjects"], json!({ "done": [projects[0], projects[2]], "failed": [], "userErrors": [] }));
        drafter.permits.add_permits(28);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let run = adviser.run_of(&run).await;
        assert_eq!(run["counts"], counts(&[("total", 4), ("succeeded", 2), ("skipped", 2)]));
        let calls = drafter.begun.load(Ordering::SeqCst);
        assert_eq!(calls, 14 + WORKERS, "no call is begun for what was deleted");
        assert_eq!(adviser.statuses(&[projects[1].clone(), projects[3].clone()]).await, ["NEEDS_REVIEW"; 2]);
        let now = adviser.batch_now(&batch).await;
        assert_eq!((&now["counts"]["total"], &now["counts"]["needsReview"], &now["activity"]), (&json!(2), &json!(2), &json!("IN_REVIEW")));
        app.stop().await;
    }

    async fn a_written_project_that_was_deleted_during_a_run_comes_back_written(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 14).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 2).await;
        let run = adviser.start_with(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        drafter.has_begun(14 + WORKERS).await;
        adviser.run(DELETE, json!({ "ids": [projects[0]] })).await;
        drafter.permits.add_permits(14);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let restore = "mutation($ids: [ID!]!) { restoreProjects(ids: $ids) { done userErrors { code message } } }";
        assert_eq!(adviser.run(restore, json!({ "ids": [projects[0]] })).await["restoreProjects"]["done"], json!([projects[0]]));
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW"; 2]);
        assert_eq!(adviser.refused_start(json!({ "batchId": batch, "scope": "MISSING" })).await, "WRONG_STATE", "nothing is paid for twice");
        app.stop().await;
    }

    async fn a_project_in_work_is_closed_to_people(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 7).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 1).await;
        let section = adviser.narrative(&projects[0]).await["sections"][6].clone();
        let run = adviser.start_with(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        drafter.has_begun(7 + WORKERS).await;
        let before = adviser.narrative(&projects[0]).await;
        let edit = json!({ "input": { "sectionId": section["id"], "text": "Mine.", "expectedRevision": 1 } });
        assert_eq!(refused(&adviser.run(EDIT, edit).await, "editSection"), "WRONG_STATE");
        let restore = "mutation($id: ID!) { restoreSectionRevision(sectionId: $id, number: 1) { userErrors { code message } } }";
        assert_eq!(refused(&adviser.run(restore, json!({ "id": section["id"] })).await, "restoreSectionRevision"), "WRONG_STATE");
        assert_eq!(refused(&adviser.run(APPROVE, json!({ "id": projects[0] })).await, "approveProject"), "WRONG_STATE");
        let update = "mutation($input: UpdateProjectInput!) { updateProject(input: $input) { userErrors { code message } } }";
        let input = json!({ "input": { "id": projects[0], "name": "Another name" } });
        assert_eq!(refused(&adviser.run(update, input).await, "updateProject"), "WRONG_STATE");
        for mutation in ["archiveBatch", "deleteBatch"] {
            let query = format!("mutation($id: ID!) {{ {mutation}(id: $id) {{ userErrors {{ code message }} }} }}");
            assert_eq!(refused(&adviser.run(&query, json!({ "id": batch })).await, mutation), "WRONG_STATE");
        }
        assert_eq!(adviser.narrative(&projects[0]).await, before, "nothing was changed");
        drafter.permits.add_permits(7);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        app.stop().await;
    }

    async fn a_small_run_behind_a_large_one_does_not_wait_for_its_end(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 0).await;
        let adviser = app.adviser();
        let (large, _) = adviser.batch_of("Large", 60).await;
        let (small, _) = adviser.batch_of("Small", 3).await;
        let large_run = adviser.start(&large).await;
        drafter.has_begun(WORKERS).await;
        let small_run = adviser.start(&small).await;
        // the small one needs 21 calls; the large one 420
        drafter.permits.add_permits(60);
        assert_eq!(adviser.follow_run(&small, &small_run).await, "SUCCEEDED");
        let run = adviser.run_of(&large_run).await;
        assert_eq!(run["status"], "RUNNING");
        let written = drafter.begun.load(Ordering::SeqCst);
        assert!(written <= 60 + WORKERS, "{written}");
        assert!(run["progress"].as_f64() > Some(0.0), "the large one goes on meanwhile: {run}");
        adviser.cancel(&large_run).await;
        assert_eq!(adviser.follow_run(&large, &large_run).await, "CANCELLED");
        app.stop().await;
    }

    async fn a_run_goes_on_after_a_restart_and_writes_nothing_twice(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 10).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 3).await;
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let run = adviser.start(&batch).await;
        drafter.has_begun(10 + WORKERS).await;
        // what is in flight has the grace period to end; nothing new is claimed
        let (app, ()) = tokio::join!(app.restart(), async { drafter.permits.add_permits(WORKERS) });
        assert!(drafter.begun.load(Ordering::SeqCst) < 21, "it was stopped in the middle");
        let adviser = app.adviser();
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let run_now = adviser.run_of(&run).await;
        assert_eq!((&run_now["counts"], &run_now["progress"]), (&counts(&[("total", 3), ("succeeded", 3)]), &json!(1.0)));
        assert_eq!((&run_now["attempts"]["totalCount"], adviser.attempts(&run, "SUCCEEDED").await.len()), (&json!(21), 21));
        for project in &projects {
            assert!(list(&adviser.narrative(project).await["sections"]).iter().all(|section| section["revision"] == 1));
        }
        // the stream before and after the restart is one
        let events = adviser.events_until(&batch, &before, is_end_of(&run)).await;
        dense_sequences(&events);
        app.stop().await;
    }
}
