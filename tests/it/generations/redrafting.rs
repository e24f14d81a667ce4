//! Second drafts: what breaks a rule is written once more, with what was found in the prompt, before a person has to see it.

use super::failures::lasting;
use super::list;
use crate::on_each;
use crate::support::client::Client;
use crate::support::drafter::HeldDrafter;
use crate::support::runs::{counts, is_end_of};
use crate::support::{Mode, TestApp};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// One number that is not among the facts.
const BROKEN: &str = "The published work in the field held the melt temperature within 77 degrees for uniform feed, and theory assumes a constant \
    composition, so it was not known whether the same could be done for recycled feed.";
/// Two of them.
const WORSE: &str = "The published work in the field held the melt temperature within 77 degrees for 93 kinds of uniform feed, and theory assumes a \
    constant composition, so it was not known whether the same could be done for recycled feed.";
/// None.
const GOOD: &str = "The published work in the field held the melt temperature within the limits of the equipment for uniform feed, and theory \
    assumes a constant composition, so it was not known whether the same could be done for recycled feed.";

async fn one_section(mode: Mode, permits: usize, settings: &[(&str, &str)]) -> (TestApp, Arc<HeldDrafter>, Client, String, String) {
    let drafter = HeldDrafter::new(permits);
    let provider = Arc::clone(&drafter);
    let app = TestApp::start_on(mode, settings, |surroundings| surroundings.drafters = vec![provider]).await;
    let adviser = app.adviser();
    let template = adviser.template_of("One section", &["baseline"]).await;
    let (batch, mut projects) = adviser.batch_on(&template, "Acme", 1).await;
    (app, drafter, adviser, batch, projects.remove(0))
}

/// The attempts of a run by number: status and code of the failure.
async fn trail(adviser: &Client, run: &str) -> Vec<(i64, String, Value)> {
    let run = adviser.run_of(run).await;
    let of = |attempt: &Value| {
        let status = attempt["status"].as_str().expect("a status").to_owned();
        (attempt["number"].as_i64().expect("a number"), status, attempt["failure"]["code"].clone())
    };
    let mut trail: Vec<_> = list(&run["attempts"]["nodes"]).iter().map(of).collect();
    trail.sort_by_key(|(number, ..)| *number);
    trail
}

fn expected(trail: &[(i64, &str, Value)]) -> Vec<(i64, String, Value)> {
    trail.iter().map(|(number, status, code)| (*number, (*status).to_owned(), code.clone())).collect()
}

/// Errors, text and revision of the one section.
async fn standing(adviser: &Client, project: &str) -> (usize, String, i64) {
    let narrative = adviser.narrative(project).await;
    assert_eq!((&narrative["status"], &narrative["sections"][0]["state"]), (&json!("NEEDS_REVIEW"), &json!("GENERATED")));
    let errors = list(&narrative["quality"]["issues"]).iter().filter(|issue| issue["severity"] == "ERROR").count();
    let section = &narrative["sections"][0];
    (errors, section["text"].as_str().expect("a text").to_owned(), section["revision"].as_i64().expect("a number"))
}

on_each! {
    async fn a_text_that_breaks_a_rule_is_written_once_more_with_what_was_found(mode: Mode) {
        let (app, drafter, adviser, batch, project) = one_section(mode, Semaphore::MAX_PERMITS, &[]).await;
        drafter.tell("baseline", Ok(BROKEN));
        drafter.tell("baseline", Ok(GOOD));
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "SUCCEEDED");
        assert_eq!(trail(&adviser, &run).await, expected(&[(1, "SUCCEEDED", Value::Null), (2, "SUCCEEDED", Value::Null)]));
        assert_eq!(standing(&adviser, &project).await, (0, GOOD.to_owned(), 2));
        let now = adviser.run_of(&run).await;
        assert_eq!((&now["counts"], &now["progress"]), (&counts(&[("total", 1), ("succeeded", 1)]), &json!(1.0)));

        let prompts = drafter.prompts_for("baseline");
        let hashes: Vec<_> = prompts.iter().map(|prompt| prompt.hash.as_str()).collect();
        assert!(hashes.len() == 2 && hashes[0] != hashes[1] && !prompts[0].user.contains("<findings>"), "{hashes:?}");
        let (_, found) = prompts[1].user.split_once("\n<findings>\n").expect("the findings");
        let (found, _) = found.split_once("\n</findings>\n").expect("their end");
        let found: Value = serde_json::from_str(found).expect("data");
        assert!(found["finding_1"].as_str().is_some_and(|sentence| sentence.contains("77") && sentence.contains("is not among the project's facts")), "{found}");
        assert!(prompts[1].version.ends_with("+findings.v1"), "{}", prompts[1].version);

        let events = adviser.events_until(&batch, &before, is_end_of(&run)).await;
        let statuses: Vec<_> = events.iter().filter_map(|event| event["projectStatus"].as_str()).collect();
        assert_eq!(statuses, ["QUEUED", "GENERATING", "NEEDS_REVIEW"], "nobody has to see the first text");
        let errors: Vec<_> = events.iter().filter_map(|event| event["errorCount"].as_i64()).collect();
        assert_eq!(errors, [1, 0]);
        let progress: Vec<_> = events.iter().filter_map(|event| event["progress"].as_f64()).collect();
        assert!(progress.is_sorted() && progress.last() == Some(&1.0), "{progress:?}");
        app.stop().await;
    }

    async fn there_is_no_third_draft(mode: Mode) {
        let (app, drafter, adviser, batch, project) = one_section(mode, Semaphore::MAX_PERMITS, &[]).await;
        let other = BROKEN.replace("77", "93");
        drafter.tell("baseline", Ok(BROKEN));
        drafter.tell("baseline", Ok(&other));
        drafter.tell("baseline", Ok(GOOD));
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!((status.as_str(), trail(&adviser, &run).await.len()), ("SUCCEEDED", 2));
        assert_eq!(standing(&adviser, &project).await, (1, other, 2), "a person has to see it now");
        app.stop().await;
    }

    async fn the_first_text_stays_if_the_second_is_worse_or_fails(mode: Mode) {
        let (app, drafter, adviser, batch, project) = one_section(mode, Semaphore::MAX_PERMITS, &[]).await;
        drafter.tell("baseline", Ok(BROKEN));
        drafter.tell("baseline", Ok(WORSE));
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "SUCCEEDED");
        assert_eq!(trail(&adviser, &run).await, expected(&[(1, "SUCCEEDED", Value::Null), (2, "FAILED", json!("PROVIDER_BAD_ANSWER"))]));
        let worse = adviser.attempts(&run, "FAILED").await;
        assert_eq!(worse[0]["outputTokens"], 20, "it took tokens all the same");
        assert_eq!(standing(&adviser, &project).await, (1, BROKEN.to_owned(), 1));

        drafter.tell("baseline", Ok(BROKEN));
        drafter.tell("baseline", Err(lasting()));
        let (run, status) = adviser.generate(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        assert_eq!(status, "SUCCEEDED");
        assert_eq!(trail(&adviser, &run).await, expected(&[(1, "SUCCEEDED", Value::Null), (2, "FAILED", json!("PROVIDER_REFUSED"))]));
        let now = adviser.run_of(&run).await;
        assert_eq!((&now["failure"], &now["counts"]), (&Value::Null, &counts(&[("total", 1), ("succeeded", 1)])));
        assert_eq!(standing(&adviser, &project).await, (1, BROKEN.to_owned(), 2));
        app.stop().await;
    }

    async fn second_drafts_can_be_switched_off(mode: Mode) {
        let (app, drafter, adviser, batch, project) = one_section(mode, Semaphore::MAX_PERMITS, &[("AI_REDRAFT", "off")]).await;
        drafter.tell("baseline", Ok(BROKEN));
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!((status.as_str(), trail(&adviser, &run).await.len()), ("SUCCEEDED", 1));
        assert_eq!(standing(&adviser, &project).await, (1, BROKEN.to_owned(), 1));
        app.stop().await;
    }

    async fn cancelling_a_second_draft_keeps_the_first(mode: Mode) {
        let (app, drafter, adviser, batch, project) = one_section(mode, 1, &[]).await;
        drafter.tell("baseline", Ok(BROKEN));
        let run = adviser.start(&batch).await;
        drafter.has_begun(2).await;
        assert_eq!(adviser.statuses(std::slice::from_ref(&project)).await, ["GENERATING"]);
        adviser.cancel(&run).await;
        drafter.has_aborted(1).await;
        assert_eq!(adviser.follow_run(&batch, &run).await, "CANCELLED");
        assert_eq!(trail(&adviser, &run).await, expected(&[(1, "SUCCEEDED", Value::Null), (2, "CANCELLED", Value::Null)]));
        assert_eq!(standing(&adviser, &project).await, (1, BROKEN.to_owned(), 1));
        app.stop().await;
    }

    async fn a_second_draft_goes_on_after_a_restart_and_is_still_the_last(mode: Mode) {
        let (app, drafter, adviser, batch, project) = one_section(mode, 1, &[]).await;
        drafter.tell("baseline", Ok(BROKEN));
        let run = adviser.start(&batch).await;
        drafter.has_begun(2).await;
        // the call gets no permit, so it is dropped when the grace period is over
        let app = app.restart().await;
        let adviser = app.adviser();
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let expected = expected(&[(1, "SUCCEEDED", Value::Null), (2, "RETRYING", json!("WORKER_LOST")), (3, "SUCCEEDED", Value::Null)]);
        assert_eq!(trail(&adviser, &run).await, expected);
        assert_eq!(standing(&adviser, &project).await.2, 2);
        app.stop().await;
    }
}
