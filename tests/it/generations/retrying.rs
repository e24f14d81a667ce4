//! `retryFailed`: the failed projects of a run once more, as a run of its own that pays for nothing twice.

use super::failures::lasting;
use super::{EDIT, list};
use crate::on_each;
use crate::support::client::Client;
use crate::support::runs::counts;
use crate::support::{TestApp, accepted, refused};
use serde_json::{Value, json};
use std::collections::HashSet;
use tokio::sync::Semaphore;

const RETRY: &str = "mutation($id: ID!, $projects: [ID!], $key: String) { retryFailed(runId: $id, projectIds: $projects, idempotencyKey: $key) \
    { run { id status scope counts { total } } userErrors { code message field retryable } } }";

async fn retry(adviser: &Client, run: &str, more: Value) -> Value {
    let mut variables = json!({ "id": run });
    variables.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    adviser.run(RETRY, variables).await
}

fn id_of(data: &Value) -> String {
    accepted(data, "retryFailed")["run"]["id"].as_str().expect("an id").to_owned()
}

on_each! {
    async fn failed_projects_are_tried_again_and_only_what_is_missing_is_paid_for(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        let adviser = app.adviser();
        let template = adviser.template_of("Two sections", &["baseline", "outcome"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 3).await;
        drafter.tell("outcome", Err(lasting()));
        let choices = json!({ "batchId": batch, "instructions": "Shorter sentences.", "editedSections": "REPLACE" });
        let (run, status) = adviser.generate(choices).await;
        assert_eq!(status, "PARTIAL");
        let failed = adviser.attempts(&run, "FAILED").await.pop().expect("an attempt");

        // the template has a newer version by now: the choices of the run hold, not those of the day
        let update = "mutation($input: UpdateTemplateInput!) { updateTemplate(input: $input) { template { id } userErrors { code message } } }";
        let input = json!({ "input": { "id": template, "instructions": "Be brief." } });
        accepted(&adviser.run(update, input).await, "updateTemplate");
        let data = retry(&adviser, &run, json!({})).await;
        let again = id_of(&data);
        assert_eq!((&data["retryFailed"]["run"]["scope"], &data["retryFailed"]["run"]["counts"]["total"]), (&json!("FAILED"), &json!(1)));
        assert_eq!(adviser.follow_run(&batch, &again).await, "SUCCEEDED");
        let now = adviser.run_of(&again).await;
        assert_eq!((&now["counts"], &now["editedSections"]), (&counts(&[("total", 1), ("succeeded", 1)]), &json!("REPLACE")));
        assert_eq!(now["templateVersion"]["number"], 1);
        let attempts = list(&now["attempts"]["nodes"]);
        assert_eq!((attempts.len(), &attempts[0]["project"]["id"]), (1, &failed["project"]["id"]), "nothing is paid for twice");
        assert_eq!(attempts[0]["promptHash"], failed["promptHash"], "with the same words: version, facts and instructions");
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW"; 3]);
        for project in &projects {
            assert!(list(&adviser.narrative(project).await["sections"]).iter().all(|section| section["revision"] == 1));
        }

        let nothing = retry(&adviser, &run, json!({})).await;
        assert_eq!((refused(&nothing, "retryFailed"), &nothing["retryFailed"]["run"]["id"]), ("WRONG_STATE", &json!(run)));
        assert_eq!(nothing["retryFailed"]["userErrors"][0]["field"], json!(["runId"]));
        assert_eq!(adviser.batch_now(&batch).await["runs"]["totalCount"], 2, "a refusal leaves no run");
        app.stop().await;
    }

    async fn listed_projects_that_cannot_be_tried_are_named_with_their_place(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &["baseline"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 3).await;
        let (_, elsewhere) = adviser.batch_on(&template, "Other", 1).await;
        drafter.fail_next(vec![lasting(), lasting()]);
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "PARTIAL");
        let failed: HashSet<String> =
            adviser.attempts(&run, "FAILED").await.iter().map(|attempt| attempt["project"]["id"].as_str().expect("an id").to_owned()).collect();
        let (bad, good): (Vec<_>, Vec<_>) = projects.iter().cloned().partition(|project| failed.contains(project));
        let data = retry(&adviser, &run, json!({ "projects": [good[0], bad[0], elsewhere[0], "nothing"] })).await;
        let problems: Vec<_> = list(&data["retryFailed"]["userErrors"]).iter().map(|problem| (&problem["code"], &problem["field"])).collect();
        let expected = [("WRONG_STATE", "0"), ("NOT_FOUND", "2"), ("NOT_FOUND", "3")].map(|(code, place)| (json!(code), json!(["projectIds", place])));
        assert_eq!(problems, expected.iter().map(|(code, field)| (code, field)).collect::<Vec<_>>());
        assert_eq!(refused(&retry(&adviser, &run, json!({ "projects": [] })).await, "retryFailed"), "REQUIRED");
        assert_eq!(adviser.batch_now(&batch).await["runs"]["totalCount"], 1);

        let again = id_of(&retry(&adviser, &run, json!({ "projects": [bad[0], bad[0]] })).await);
        assert_eq!(adviser.follow_run(&batch, &again).await, "SUCCEEDED");
        assert_eq!(adviser.run_of(&again).await["counts"]["total"], 1);
        assert_eq!(adviser.statuses(&[bad[0].clone(), bad[1].clone()]).await, ["NEEDS_REVIEW", "FAILED"]);
        let rest = id_of(&retry(&adviser, &run, json!({})).await);
        assert_eq!(adviser.follow_run(&batch, &rest).await, "SUCCEEDED");
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW"; 3]);
        app.stop().await;
    }

    async fn a_repeated_retry_is_the_same_run_and_another_one_is_told_that_it_runs(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 2).await;
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &["baseline"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 2).await;
        drafter.fail_next(vec![lasting(), lasting()]);
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "FAILED");
        let again = id_of(&retry(&adviser, &run, json!({ "key": "k" })).await);
        assert_eq!(id_of(&retry(&adviser, &run, json!({ "key": "k" })).await), again);
        let other = retry(&adviser, &run, json!({ "key": "k", "projects": [projects[0]] })).await;
        assert_eq!((refused(&other, "retryFailed"), &other["retryFailed"]["userErrors"][0]["field"]), ("IDEMPOTENCY_KEY_REUSED", &json!(["idempotencyKey"])));
        let second = retry(&adviser, &run, json!({})).await;
        assert_eq!((refused(&second, "retryFailed"), &second["retryFailed"]["run"]["id"]), ("ALREADY_RUNNING", &json!(again)));
        assert_eq!(second["retryFailed"]["userErrors"][0]["retryable"], true);
        drafter.permits.add_permits(2);
        assert_eq!(adviser.follow_run(&batch, &again).await, "SUCCEEDED");
        assert_eq!(adviser.batch_now(&batch).await["runs"]["totalCount"], 2);
        app.stop().await;
    }

    async fn what_a_person_wrote_meanwhile_is_kept(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        let adviser = app.adviser();
        let template = adviser.template_of("Three sections", &["baseline", "advance", "outcome"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 1).await;
        drafter.tell("baseline", Err(lasting()));
        drafter.tell("advance", Err(lasting()));
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "FAILED");
        let section = adviser.narrative(&projects[0]).await["sections"][0].clone();
        let edit = json!({ "input": { "sectionId": section["id"], "text": "My own baseline.", "expectedRevision": 0 } });
        accepted(&adviser.run(EDIT, edit).await, "editSection");
        assert_eq!(adviser.statuses(&projects).await, ["FAILED"], "something is missing still");
        let again = id_of(&retry(&adviser, &run, json!({})).await);
        assert_eq!(adviser.follow_run(&batch, &again).await, "SUCCEEDED");
        let attempts = adviser.run_of(&again).await["attempts"]["nodes"].clone();
        assert_eq!((list(&attempts).len(), &attempts[0]["sectionKey"]), (1, &json!("advance")));
        assert_eq!(adviser.narrative(&projects[0]).await["sections"][0]["text"], "My own baseline.");
        app.stop().await;
    }
}
