//! `regenerateSection`: one section anew, without a run.

use super::failures::{lasting, passing};
use super::{APPROVE, EDIT, list};
use crate::on_each;
use crate::support::client::Client;
use crate::support::runs::dense_sequences;
use crate::support::{TestApp, accepted, refused};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const REGENERATE: &str = "mutation($input: RegenerateSectionInput!) { regenerateSection(input: $input) { section { id state revision text } \
    attempt { id number status sectionKey promptHash finishedAt run { id } } userErrors { code message field } } }";

async fn regenerate(adviser: &Client, input: Value) -> Value {
    adviser.run(REGENERATE, json!({ "input": input })).await
}

/// Attempts of a project that no run asked for, oldest first: number, status and code of the failure.
async fn trail(adviser: &Client, project: &str) -> Vec<(i64, String, Value)> {
    let query = "query($id: ID!) { project(id: $id) { attempts(first: 50) { nodes { number status failure { code } run { id } } } } }";
    let data = adviser.run(query, json!({ "id": project })).await;
    let alone = list(&data["project"]["attempts"]["nodes"]).iter().rev().filter(|attempt| attempt["run"].is_null());
    let of = |attempt: &Value| {
        let status = attempt["status"].as_str().expect("a status").to_owned();
        (attempt["number"].as_i64().expect("a number"), status, attempt["failure"]["code"].clone())
    };
    alone.map(of).collect()
}

fn is_at_rest(event: &Value) -> bool {
    event["projectStatus"] == "NEEDS_REVIEW"
}

on_each! {
    async fn one_section_is_written_anew_with_a_wish_and_its_project_is_closed_meanwhile(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 7).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 1).await;
        let project = &projects[0];
        let narrative = adviser.narrative(project).await;
        let (section, other) = (&narrative["sections"][1], &narrative["sections"][2]);
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let input = json!({ "sectionId": section["id"], "wish": "Name the standard first.", "expectedRevision": 1, "idempotencyKey": "k" });
        let data = regenerate(&adviser, input.clone()).await;
        let payload = accepted(&data, "regenerateSection");
        assert_eq!((&payload["section"]["state"], &payload["section"]["revision"]), (&json!("GENERATING"), &json!(1)));
        let attempt = &payload["attempt"];
        assert_eq!((&attempt["number"], &attempt["status"], &attempt["run"]), (&json!(1), &json!("RUNNING"), &Value::Null));
        assert_eq!((&attempt["sectionKey"], &attempt["finishedAt"]), (&section["key"], &Value::Null));
        drafter.has_begun(8).await;

        let now = adviser.batch_now(&batch).await;
        assert_eq!((&now["activity"], &now["counts"]["generating"], &now["activeRun"]), (&json!("GENERATING"), &json!(1), &Value::Null));
        let edit = json!({ "input": { "sectionId": other["id"], "text": "Mine.", "expectedRevision": 1 } });
        assert_eq!(refused(&adviser.run(EDIT, edit).await, "editSection"), "WRONG_STATE");
        assert_eq!(refused(&regenerate(&adviser, json!({ "sectionId": other["id"] })).await, "regenerateSection"), "WRONG_STATE");
        assert_eq!(refused(&adviser.run(APPROVE, json!({ "id": project })).await, "approveProject"), "WRONG_STATE");
        assert_eq!(adviser.refused_start(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await, "WRONG_STATE");
        let archive = "mutation($id: ID!) { archiveBatch(id: $id) { userErrors { code message } } }";
        assert_eq!(refused(&adviser.run(archive, json!({ "id": batch })).await, "archiveBatch"), "WRONG_STATE");
        let again = regenerate(&adviser, input.clone()).await;
        assert_eq!(accepted(&again, "regenerateSection")["attempt"]["id"], attempt["id"], "a repeat is the same attempt");

        drafter.permits.add_permits(1);
        let events = adviser.events_until(&batch, &before, |event| event["score"].is_i64()).await;
        dense_sequences(&events);
        let statuses: Vec<_> = events.iter().filter_map(|event| event["projectStatus"].as_str()).collect();
        assert_eq!(statuses, ["GENERATING", "NEEDS_REVIEW"]);
        let after = adviser.narrative(project).await;
        assert!(after["revision"].as_i64() > narrative["revision"].as_i64());
        for (was, is) in list(&narrative["sections"]).iter().zip(list(&after["sections"])) {
            let revision = if is["id"] == section["id"] { 2 } else { 1 };
            assert_eq!((&is["state"], &is["revision"]), (&json!("GENERATED"), &json!(revision)));
            assert_eq!(is["revisions"]["nodes"].as_array().and_then(|all| all.last()).expect("a text")["text"], was["text"], "the old text is kept");
        }
        let newest = &after["sections"][1]["revisions"]["nodes"][0];
        assert_eq!((&newest["source"], &newest["attempt"]["id"], &newest["author"]["email"]), (&json!("MODEL"), &attempt["id"], &json!("adviser@practice.example")));
        let repeated = regenerate(&adviser, input).await;
        let ended = &accepted(&repeated, "regenerateSection")["attempt"];
        assert_eq!((&ended["status"], &ended["promptHash"], ended["finishedAt"].is_string()), (&json!("SUCCEEDED"), &attempt["promptHash"], true));
        assert_eq!(drafter.begun.load(Ordering::SeqCst), 8, "a repeat calls nobody");
        let prompt = drafter.prompts_for(section["key"].as_str().expect("a key")).pop().expect("a prompt");
        assert!(prompt.user.contains("Name the standard first.") && attempt["promptHash"] == json!(prompt.hash));
        let now = adviser.batch_now(&batch).await;
        assert_eq!((&now["activity"], &now["counts"]["needsReview"]), (&json!("IN_REVIEW"), &json!(1)));
        app.stop().await;
    }

    async fn a_failure_that_passes_is_tried_again_and_one_for_good_leaves_everything_as_it_was(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 100).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 1).await;
        let section = adviser.narrative(&projects[0]).await["sections"][0].clone();
        drafter.fail_next(vec![passing()]);
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        accepted(&regenerate(&adviser, json!({ "sectionId": section["id"] })).await, "regenerateSection");
        let heard = adviser.wait_for(&batch, &before, is_at_rest).await;
        assert_eq!(heard["failure"], Value::Null);
        let tried = [(1, "RETRYING".to_owned(), json!("PROVIDER_UNAVAILABLE")), (2, "SUCCEEDED".to_owned(), Value::Null)];
        assert_eq!(trail(&adviser, &projects[0]).await, tried);

        let standing = adviser.narrative(&projects[0]).await["sections"][0].clone();
        assert_eq!(standing["revision"], 2);
        drafter.fail_next(vec![lasting()]);
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        accepted(&regenerate(&adviser, json!({ "sectionId": section["id"], "expectedRevision": 2 })).await, "regenerateSection");
        let heard = adviser.wait_for(&batch, &before, is_at_rest).await;
        assert_eq!(heard["failure"]["code"], "PROVIDER_REFUSED", "watchers hear why nothing came of it");
        assert_eq!(adviser.narrative(&projects[0]).await["sections"][0], standing);
        assert_eq!(trail(&adviser, &projects[0]).await.last(), Some(&(1, "FAILED".to_owned(), json!("PROVIDER_REFUSED"))));
        app.stop().await;
    }

    async fn a_draft_that_is_completed_by_it_has_to_be_reviewed_and_one_that_is_not_stays_a_draft(mode: Mode) {
        let (app, _drafter) = TestApp::start_held(mode, 100).await;
        let adviser = app.adviser();
        let template = adviser.template_of("Two sections", &["baseline", "outcome"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 1).await;
        for (place, status) in [(0, "DRAFT"), (1, "NEEDS_REVIEW")] {
            let section = adviser.narrative(&projects[0]).await["sections"][place].clone();
            let before = adviser.batch_now(&batch).await["eventCursor"].clone();
            accepted(&regenerate(&adviser, json!({ "sectionId": section["id"], "expectedRevision": 0 })).await, "regenerateSection");
            adviser.wait_for(&batch, &before, |event| event["score"].is_i64()).await;
            assert_eq!(adviser.statuses(&projects).await, [status]);
        }
        app.stop().await;
    }

    async fn what_cannot_be_written_anew_is_refused_with_the_reason(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 14).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 2).await;
        let section = adviser.narrative(&projects[0]).await["sections"][0].clone();
        let code = async |input: Value| refused(&regenerate(&adviser, input).await, "regenerateSection").to_owned();
        assert_eq!(code(json!({ "sectionId": section["id"], "wish": "x".repeat(2_001) })).await, "TOO_LONG");
        let conflict = regenerate(&adviser, json!({ "sectionId": section["id"], "expectedRevision": 7 })).await;
        assert_eq!(refused(&conflict, "regenerateSection"), "REVISION_CONFLICT");
        assert_eq!((&conflict["regenerateSection"]["section"]["revision"], &conflict["regenerateSection"]["attempt"]), (&json!(1), &Value::Null));
        assert_eq!(conflict["regenerateSection"]["userErrors"][0]["field"], json!(["input", "expectedRevision"]));
        assert_eq!(code(json!({ "sectionId": batch })).await, "NOT_FOUND");
        accepted(&adviser.run(APPROVE, json!({ "id": projects[0] })).await, "approveProject");
        assert_eq!(code(json!({ "sectionId": section["id"] })).await, "WRONG_STATE");

        let other = adviser.narrative(&projects[1]).await["sections"][0].clone();
        let run = adviser.start_with(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        assert_eq!(code(json!({ "sectionId": other["id"] })).await, "WRONG_STATE");
        drafter.permits.add_permits(7);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let delete = "mutation($ids: [ID!]!) { deleteProjects(ids: $ids) { done userErrors { code message } } }";
        assert_eq!(adviser.run(delete, json!({ "ids": [projects[1]] })).await["deleteProjects"]["done"], json!([projects[1]]));
        assert_eq!(code(json!({ "sectionId": other["id"] })).await, "NOT_FOUND");
        assert_eq!(drafter.begun.load(Ordering::SeqCst), 21, "nothing was called for what was refused");
        app.stop().await;
    }

    async fn a_rewriting_goes_on_after_a_restart_and_writes_once(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 7).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 1).await;
        let section = adviser.narrative(&projects[0]).await["sections"][0].clone();
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        accepted(&regenerate(&adviser, json!({ "sectionId": section["id"] })).await, "regenerateSection");
        drafter.has_begun(8).await;
        // the call gets no permit, so it is dropped when the grace period is over
        let app = app.restart().await;
        let adviser = app.adviser();
        adviser.wait_for(&batch, &before, is_at_rest).await;
        let tried = [(1, "RETRYING".to_owned(), json!("WORKER_LOST")), (2, "SUCCEEDED".to_owned(), Value::Null)];
        assert_eq!(trail(&adviser, &projects[0]).await, tried);
        assert_eq!(adviser.narrative(&projects[0]).await["sections"][0]["revision"], 2);
        app.stop().await;
    }
}
