//! Runs that meet failures of the provider: tried again, failed for good, repaired.

use super::list;
use crate::on_each;
use crate::support::TestApp;
use crate::support::runs::counts;
use claimwright::adapters::ai::DraftFailure;
use claimwright::domain::jobs::JobFailureCode;
use serde_json::json;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A failure after which the section is tried again at once.
pub(super) fn passing() -> DraftFailure {
    let failure = DraftFailure::new(JobFailureCode::ProviderUnavailable, "The provider is down for a moment.");
    assert!(failure.retryable);
    DraftFailure { retry_after: Some(Duration::from_millis(1)), ..failure }
}

/// A failure that trying again does not help.
pub(super) fn lasting() -> DraftFailure {
    DraftFailure { retryable: false, ..DraftFailure::new(JobFailureCode::ProviderRefused, "The provider refuses to write this.") }
}

on_each! {
    async fn a_failure_that_passes_is_tried_again_and_leaves_a_trace(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 1).await;
        drafter.fail_next(vec![passing()]);
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "SUCCEEDED");
        let run_now = adviser.run_of(&run).await;
        assert_eq!((&run_now["counts"], &run_now["failure"]), (&counts(&[("total", 1), ("succeeded", 1)]), &json!(null)));
        assert_eq!(run_now["attempts"]["totalCount"], 8);
        let failed = adviser.attempts(&run, "RETRYING").await;
        assert_eq!((failed.len(), &failed[0]["number"]), (1, &json!(1)));
        let failure = json!({ "code": "PROVIDER_UNAVAILABLE", "message": "The provider is down for a moment.", "retryable": true });
        assert_eq!(failed[0]["failure"], failure);
        assert!(failed[0]["finishedAt"].is_string() && failed[0]["outputTokens"].is_null());
        let written = adviser.attempts(&run, "SUCCEEDED").await;
        let again: Vec<_> = written.iter().filter(|attempt| attempt["sectionKey"] == failed[0]["sectionKey"]).collect();
        assert_eq!((written.len(), again.len(), &again[0]["number"]), (7, 1, &json!(2)));
        assert_eq!(again[0]["promptHash"], failed[0]["promptHash"]);
        assert!(list(&adviser.narrative(&projects[0]).await["sections"]).iter().all(|section| section["revision"] == 1));
        app.stop().await;
    }

    async fn a_section_that_keeps_failing_is_given_up_after_five_tries(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &["baseline"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 1).await;
        drafter.fail_next(vec![passing(); 5]);
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "FAILED");
        let attempts = adviser.run_of(&run).await["attempts"].clone();
        let mut trail: Vec<_> = list(&attempts["nodes"]).iter().map(|a| (a["number"].as_i64().expect("a number"), a["status"].as_str().expect("a status"))).collect();
        trail.sort_unstable();
        assert_eq!(trail, [(1, "RETRYING"), (2, "RETRYING"), (3, "RETRYING"), (4, "RETRYING"), (5, "FAILED")]);
        assert_eq!(adviser.statuses(&projects).await, ["FAILED"]);
        app.stop().await;
    }

    async fn a_failure_for_good_fails_its_project_alone_and_the_scope_failed_repairs_it(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 3).await;
        drafter.fail_next(vec![lasting()]);
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "PARTIAL");
        let run_now = adviser.run_of(&run).await;
        assert_eq!((&run_now["counts"], &run_now["progress"]), (&counts(&[("total", 3), ("succeeded", 2), ("failed", 1)]), &json!(1.0)));
        assert_eq!((&run_now["failure"]["code"], &run_now["failure"]["retryable"]), (&json!("PROVIDER_REFUSED"), &json!(false)));
        let message = run_now["failure"]["message"].as_str().expect("a sentence");
        assert!(message.contains("1 of 3") && message.contains("refuses to write this"), "{message}");
        let failed = adviser.attempts(&run, "FAILED").await;
        assert_eq!((failed.len(), &failed[0]["failure"]["code"]), (1, &json!("PROVIDER_REFUSED")));
        let broken = failed[0]["project"]["id"].as_str().expect("a project").to_owned();
        for (project, status) in projects.iter().zip(adviser.statuses(&projects).await) {
            assert_eq!(status, if *project == broken { "FAILED" } else { "NEEDS_REVIEW" });
        }
        let heard = adviser.wait_for(&batch, &before, |event| event["projectStatus"] == "FAILED").await;
        assert_eq!((&heard["project"]["id"], &heard["failure"]["code"]), (&json!(broken), &json!("PROVIDER_REFUSED")));
        let narrative = adviser.narrative(&broken).await;
        for section in list(&narrative["sections"]) {
            let missing = section["key"] == failed[0]["sectionKey"];
            let expected = if missing { ("EMPTY", 0) } else { ("GENERATED", 1) };
            assert_eq!((section["state"].as_str().expect("a state"), section["revision"].as_i64().expect("a number")), expected);
        }
        let codes: Vec<_> = list(&narrative["quality"]["issues"]).iter().map(|issue| issue["code"].clone()).collect();
        assert!(codes.contains(&json!("SECTION_MISSING")), "{codes:?}");
        let now = adviser.batch_now(&batch).await;
        assert_eq!((&now["counts"]["failed"], &now["counts"]["needsReview"], &now["activity"]), (&json!(1), &json!(2), &json!("READY")));

        let (repair, status) = adviser.generate(json!({ "batchId": batch, "scope": "FAILED" })).await;
        let repaired = adviser.run_of(&repair).await;
        assert_eq!((status.as_str(), &repaired["counts"]), ("SUCCEEDED", &counts(&[("total", 1), ("succeeded", 1)])));
        assert_eq!(repaired["attempts"]["totalCount"], 1, "what was paid for is not paid for again");
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW"; 3]);
        assert!(list(&adviser.narrative(&broken).await["sections"]).iter().all(|section| section["revision"] == 1));
        app.stop().await;
    }

    async fn a_run_in_which_all_projects_fail_has_failed(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &["baseline"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 2).await;
        drafter.fail_next(vec![lasting(), lasting()]);
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        let run = adviser.run_of(&run).await;
        assert_eq!((status.as_str(), &run["counts"]), ("FAILED", &counts(&[("total", 2), ("failed", 2)])));
        assert_eq!(run["failure"]["code"], "PROVIDER_REFUSED");
        assert_eq!(adviser.statuses(&projects).await, ["FAILED"; 2]);
        assert_eq!(adviser.refused_start(json!({ "batchId": batch, "scope": "MISSING" })).await, "WRONG_STATE", "failed ones have a scope of their own");
        let (_, status) = adviser.generate(json!({ "batchId": batch, "scope": "FAILED" })).await;
        assert_eq!(status, "SUCCEEDED");
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW"; 2]);
        app.stop().await;
    }
}
