//! What runs cost: estimates before, caps during, pauses and what follows. A token costs a millionth of a dollar here, so
//! tokens and millionths are the same numbers.

use super::{APPROVE, list};
use crate::on_each;
use crate::support::client::Client;
use crate::support::runs::{counts, is_end_of};
use crate::support::{TestApp, accepted, refused};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tokio::sync::Semaphore;

/// Calls at once, as the tests configure it.
const WORKERS: usize = 4;
const PRICE: i64 = 1_000_000;
const ESTIMATE: &str = "projectCount inputTokens outputTokens expectedCost { amount currency } maximumCost { amount } expectedSeconds withinBudget \
    blocked { reason code project { id } } limitingBudget { cap { amount } remaining { amount } }";
const COST: &str = "query($id: ID!) { node(id: $id) { ... on GenerationRun { status cost { amount } failure { code message retryable } \
    budget { cap { amount currency } spent { amount } reserved { amount } remaining { amount } } estimate { maximumCost { amount } withinBudget } \
    attempts(first: 100) { nodes { status cost { amount } inputTokens outputTokens } } } } }";

/// An amount of money, in millionths.
fn micros(money: &Value) -> i64 {
    let amount = money["amount"].as_str().expect("an amount");
    let (whole, part) = amount.split_once('.').expect("decimals");
    whole.parse::<i64>().expect("a number") * 1_000_000 + format!("{part:0<6}").parse::<i64>().expect("a number")
}

fn dollars(micros: i64) -> Value {
    json!({ "amount": format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000), "currency": "USD" })
}

impl Client {
    async fn estimate(&self, generation: Value) -> Value {
        let query = format!("query($input: GenerationInput!) {{ estimateGeneration(input: $input) {{ {ESTIMATE} }} }}");
        self.run(&query, json!({ "input": generation })).await["estimateGeneration"].clone()
    }

    async fn start_within(&self, batch: &str, cap: i64, allow_pause: bool) -> Value {
        let query = format!(
            "mutation($input: StartGenerationInput!) {{ startGeneration(input: $input) {{ run {{ id }} estimate {{ {ESTIMATE} }} \
             userErrors {{ code message field }} }} }}"
        );
        let input = json!({ "generation": { "batchId": batch }, "budgetCap": dollars(cap), "allowPause": allow_pause });
        self.run(&query, json!({ "input": input })).await
    }

    async fn resume(&self, run: &str, cap: Value) -> Value {
        let query = "mutation($id: ID!, $cap: MoneyInput) { resumeGeneration(runId: $id, budgetCap: $cap) { run { id status budget { cap { amount } } } \
            userErrors { code message field } } }";
        self.run(query, json!({ "id": run, "cap": cap })).await
    }

    async fn cost_of(&self, run: &str) -> Value {
        self.run(COST, json!({ "id": run })).await["node"].clone()
    }

    /// Waits until a run is paused.
    async fn paused(&self, batch: &str, run: &str, after: &Value) {
        self.wait_for(batch, after, |event| event["run"]["id"] == run && event["runStatus"] == "PAUSED_BUDGET").await;
    }
}

/// What all attempts of a run cost together.
fn sum(run: &Value) -> i64 {
    list(&run["attempts"]["nodes"]).iter().filter(|attempt| !attempt["cost"].is_null()).map(|attempt| micros(&attempt["cost"])).sum()
}

on_each! {
    async fn an_estimate_is_close_to_what_is_spent_and_starts_nothing(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        drafter.costs(PRICE);
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 4).await;
        let estimate = adviser.estimate(json!({ "batchId": batch })).await;
        assert_eq!((&estimate["projectCount"], &estimate["blocked"], &estimate["withinBudget"]), (&json!(4), &json!([]), &json!(true)));
        assert_eq!((&estimate["limitingBudget"], &estimate["expectedCost"]["currency"]), (&json!(null), &json!("USD")));
        let tokens = |name: &str| estimate[name].as_i64().expect("tokens");
        assert_eq!(micros(&estimate["expectedCost"]), tokens("inputTokens") + tokens("outputTokens"));
        assert!(micros(&estimate["maximumCost"]) > micros(&estimate["expectedCost"]));
        assert!(estimate["expectedSeconds"].as_i64() >= Some(1));
        assert_eq!(drafter.begun.load(Ordering::SeqCst), 0);
        assert_eq!(adviser.batch_now(&batch).await["runs"]["totalCount"], 0);

        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "SUCCEEDED");
        let run = adviser.cost_of(&run).await;
        assert_eq!(run["estimate"]["maximumCost"], estimate["maximumCost"], "kept with the run");
        assert_eq!(run["budget"], json!(null), "no cap, no budget");
        let sent: i64 = list(&run["attempts"]["nodes"]).iter().map(|attempt| attempt["inputTokens"].as_i64().expect("tokens")).sum();
        let off = (sent - tokens("inputTokens")).abs();
        assert!(off * 10 <= sent, "estimated {} for {sent}", tokens("inputTokens"));
        assert_eq!(micros(&run["cost"]), sum(&run));
        let query = "query($id: ID!) { batch(id: $id) { generationCost { amount currency } projects(first: 10) { nodes { generationCost { amount } } } } }";
        let data = adviser.run(query, json!({ "id": batch })).await;
        let of_projects: i64 = list(&data["batch"]["projects"]["nodes"]).iter().map(|project| micros(&project["generationCost"])).sum();
        assert_eq!((micros(&data["batch"]["generationCost"]), of_projects), (sum(&run), sum(&run)));

        accepted(&adviser.run(APPROVE, json!({ "id": projects[0] })).await, "approveProject");
        let listed = adviser.estimate(json!({ "batchId": batch, "scope": "LISTED", "projectIds": [projects[0], projects[1]] })).await;
        assert_eq!((&listed["projectCount"], &listed["blocked"][0]["project"]["id"]), (&json!(1), &json!(projects[0])));
        assert!(listed["blocked"][0]["reason"].as_str().is_some_and(|reason| reason.contains("approved")), "{listed}");
        let nothing = adviser.estimate(json!({ "batchId": batch, "scope": "MISSING" })).await;
        assert_eq!((&nothing["projectCount"], micros(&nothing["maximumCost"]), &nothing["expectedSeconds"]), (&json!(0), 0, &json!(0)));
        app.stop().await;
    }

    async fn a_run_whose_maximum_is_above_its_cap_is_refused_with_the_estimate(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        drafter.costs(PRICE);
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 2).await;
        let most = micros(&adviser.estimate(json!({ "batchId": batch })).await["maximumCost"]);
        let answer = adviser.start_within(&batch, most - 1, false).await;
        assert_eq!(refused(&answer, "startGeneration"), "OVER_BUDGET");
        let payload = &answer["startGeneration"];
        assert_eq!((&payload["run"], &payload["userErrors"][0]["field"]), (&json!(null), &json!(["input", "budgetCap"])));
        assert_eq!((micros(&payload["estimate"]["maximumCost"]), &payload["estimate"]["withinBudget"]), (most, &json!(false)));
        assert_eq!(micros(&payload["estimate"]["limitingBudget"]["cap"]), most - 1);
        assert_eq!(adviser.statuses(&projects).await, ["DRAFT"; 2], "nothing was changed");

        let wrong = |cap: Value| json!({ "input": { "generation": { "batchId": batch }, "budgetCap": cap } });
        let query = "mutation($input: StartGenerationInput!) { startGeneration(input: $input) { run { id } userErrors { code message field } } }";
        for (cap, field) in [
            (json!({ "amount": "5", "currency": "GBP" }), "currency"),
            (json!({ "amount": "-1", "currency": "USD" }), "amount"),
            (json!({ "amount": "0.0000001", "currency": "USD" }), "amount"),
        ] {
            let answer = adviser.run(query, wrong(cap)).await;
            assert_eq!(refused(&answer, "startGeneration"), "INVALID");
            assert_eq!(answer["startGeneration"]["userErrors"][0]["field"], json!(["input", "budgetCap", field]));
        }
        assert_eq!(drafter.begun.load(Ordering::SeqCst), 0);

        let answer = adviser.start_within(&batch, most, false).await;
        let run = accepted(&answer, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let run = adviser.cost_of(&run).await;
        assert_eq!((micros(&run["budget"]["cap"]), micros(&run["budget"]["reserved"])), (most, 0));
        assert_eq!((micros(&run["budget"]["spent"]), micros(&run["cost"])), (sum(&run), sum(&run)));
        app.stop().await;
    }

    async fn a_run_pauses_at_its_cap_and_goes_on_with_a_higher_one_without_paying_twice(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        drafter.costs(PRICE);
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 4).await;
        let expected = micros(&adviser.estimate(json!({ "batchId": batch })).await["expectedCost"]);
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let cap = expected / 3;
        let answer = adviser.start_within(&batch, cap, true).await;
        let run = accepted(&answer, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned();
        adviser.paused(&batch, &run, &before).await;

        let paused = adviser.cost_of(&run).await;
        assert_eq!((&paused["status"], &paused["failure"]["code"], &paused["failure"]["retryable"]), (&json!("PAUSED_BUDGET"), &json!("BUDGET_EXCEEDED"), &json!(false)));
        let budget = &paused["budget"];
        assert_eq!((micros(&budget["cap"]), micros(&budget["spent"]), micros(&budget["reserved"])), (cap, sum(&paused), 0));
        assert!(micros(&budget["spent"]) <= cap, "never overshot: {budget}");
        assert_eq!(micros(&budget["remaining"]), cap - micros(&budget["spent"]));
        let written = drafter.begun.load(Ordering::SeqCst);
        assert!(written > 0 && written < 28, "{written}");
        assert!(list(&paused["attempts"]["nodes"]).iter().all(|attempt| attempt["status"] == "SUCCEEDED"), "none is left open");
        let now = adviser.batch_now(&batch).await;
        assert_eq!((&now["activity"], &now["activeRun"]["status"]), (&json!("PAUSED"), &json!("PAUSED_BUDGET")));
        let query = "query($filter: BatchFilter) { batches(first: 5, filter: $filter) { nodes { id } } }";
        for (activity, found) in [("PAUSED", json!([{ "id": batch }])), ("GENERATING", json!([]))] {
            let data = adviser.run(query, json!({ "filter": { "activity": [activity] } })).await;
            assert_eq!(data["batches"]["nodes"], found, "{activity}");
        }
        assert_eq!(adviser.refused_start(json!({ "batchId": batch })).await, "ALREADY_RUNNING");

        for (given, code) in [(json!(null), "REQUIRED"), (dollars(cap), "OVER_BUDGET"), (dollars(1), "OVER_BUDGET"), (json!({ "amount": "9", "currency": "GBP" }), "INVALID")] {
            assert_eq!(refused(&adviser.resume(&run, given).await, "resumeGeneration"), code);
        }
        assert_eq!(adviser.batch_now(&batch).await["activity"], "PAUSED");
        let answer = adviser.resume(&run, dollars(expected * 3)).await;
        assert_eq!(accepted(&answer, "resumeGeneration")["run"]["status"], "RUNNING");
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let ended = adviser.cost_of(&run).await;
        assert_eq!((&ended["failure"], micros(&ended["budget"]["cap"]), micros(&ended["budget"]["reserved"])), (&json!(null), expected * 3, 0));
        assert_eq!(micros(&ended["cost"]), sum(&ended));
        assert_eq!(drafter.begun.load(Ordering::SeqCst), 28, "no section was paid for twice");
        assert_eq!(adviser.run_of(&run).await["counts"], counts(&[("total", 4), ("succeeded", 4)]));
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW"; 4]);
        let heard: Vec<_> = adviser.events_until(&batch, &before, is_end_of(&run)).await;
        let heard: Vec<_> = heard.iter().filter_map(|event| event["runStatus"].as_str()).collect();
        assert_eq!(heard, ["QUEUED", "RUNNING", "PAUSED_BUDGET", "RUNNING", "SUCCEEDED"]);
        assert_eq!(refused(&adviser.resume(&run, dollars(expected * 9)).await, "resumeGeneration"), "WRONG_STATE");
        app.stop().await;
    }

    async fn calls_in_flight_hold_what_they_may_cost_and_others_do_not_wait_for_them(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 0).await;
        drafter.costs(PRICE);
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &["baseline"]).await;
        let (batch, _) = adviser.batch_on(&template, "Acme", 6).await;
        let (other, _) = adviser.batch_on(&template, "Other", 4).await;
        // a single call's maximum: the estimate's is five tries of each of six
        let most = micros(&adviser.estimate(json!({ "batchId": batch })).await["maximumCost"]) / 30;
        let before = adviser.batch_now(&batch).await["eventCursor"].clone();
        let answer = adviser.start_within(&batch, most * 5 / 2, true).await;
        let run = accepted(&answer, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned();
        drafter.has_begun(2).await;
        let other_run = adviser.start(&other).await;
        // two workers are free for the other run although five sections of the first one wait
        drafter.has_begun(WORKERS).await;
        let held = adviser.cost_of(&run).await;
        assert_eq!((&held["status"], list(&held["attempts"]["nodes"]).len()), (&json!("RUNNING"), 2));
        let reserved = micros(&held["budget"]["reserved"]);
        assert!((reserved - 2 * most).abs() <= most / 5, "{reserved} for two of {most}");

        drafter.permits.add_permits(Semaphore::MAX_PERMITS / 2);
        assert_eq!(adviser.follow_run(&other, &other_run).await, "SUCCEEDED");
        adviser.paused(&batch, &run, &before).await;
        let paused = adviser.cost_of(&run).await;
        assert!(micros(&paused["budget"]["spent"]) <= micros(&paused["budget"]["cap"]), "{paused}");
        assert!(list(&paused["attempts"]["nodes"]).len() > 2, "what two calls did not take was used by others: {paused}");

        assert_eq!(adviser.attempts(&run, "RUNNING").await, [] as [Value; 0], "no call is in flight");
        // a worker may have taken up a job that it is about to put aside, for which the run's end waits
        adviser.cancel(&run).await;
        let heard = adviser.events_until(&batch, &before, is_end_of(&run)).await;
        assert_eq!(heard.last().expect("an end")["runStatus"], "CANCELLED");
        assert_eq!(adviser.batch_now(&batch).await["activity"], "READY");
        app.stop().await;
    }

    async fn a_failed_try_gives_back_what_it_had_reserved(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, Semaphore::MAX_PERMITS).await;
        drafter.costs(PRICE);
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &["baseline"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 1).await;
        let most = micros(&adviser.estimate(json!({ "batchId": batch })).await["maximumCost"]) / 5;
        drafter.fail_next(vec![super::super::failures::passing()]);
        // room for one call and a half: the second try fits because the first is given back
        let answer = adviser.start_within(&batch, most * 3 / 2, true).await;
        let run = accepted(&answer, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        assert_eq!(adviser.statuses(&projects).await, ["NEEDS_REVIEW"]);
        let run = adviser.cost_of(&run).await;
        assert_eq!((list(&run["attempts"]["nodes"]).len(), micros(&run["budget"]["reserved"])), (2, 0));
        app.stop().await;
    }
}
