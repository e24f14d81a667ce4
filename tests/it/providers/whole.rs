//! Whole runs through the product with a provider on the wire: what is stored, what is paid, what leaves.

use crate::on_each;
use crate::support::providers::Stub;
use crate::support::providers::openai::{TEXT, USAGE, error, story};
use crate::support::{Mode, TestApp, row};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const GERMAN: &str = "Es war nicht bekannt, ob die Viskosität der Schmelze aus dem Drehmoment der Schnecke geschätzt werden kann, weil die \
    Theorie eine konstante Zusammensetzung annimmt und der Sensor träge ist.";

/// An application that drafts by a stub; the folder holds the list of models.
async fn app_on(mode: Mode, stub: &Stub, extra: &[(&str, &str)]) -> (TestApp, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models.json");
    let list = json!([{ "model": "stub-1", "inputPricePerMillion": "2.00", "outputPricePerMillion": "8.00", "contextTokens": 64_000 }]);
    std::fs::write(&models, list.to_string()).expect("written");
    let (url, models) = (format!("{}/v1", stub.url), models.to_str().expect("a path").to_owned());
    let settings =
        [("AI_PROVIDER", "openai"), ("AI_BASE_URL", url.as_str()), ("AI_API_KEY", "sk-of-a-test"), ("AI_MODELS_FILE", models.as_str())];
    (TestApp::start_on(mode, &[&settings, extra].concat(), |_| {}).await, folder)
}

/// Millionths of a dollar.
fn micros(amount: &Value) -> i64 {
    let dollars: Decimal = amount.as_str().expect("an amount").parse().expect("a decimal");
    (dollars * Decimal::from(1_000_000)).to_i64().expect("a small amount")
}

/// What one answer of the stub costs.
const COST: i64 = 2 * USAGE.0 as i64 + 8 * USAGE.1 as i64;

on_each! {
    async fn a_batch_is_drafted_and_every_attempt_carries_tokens_cost_and_model(mode: Mode) {
        let stub = Stub::start(vec![], |_| story(TEXT)).await;
        let (app, _folder) = app_on(mode, &stub, &[]).await;
        let adviser = app.adviser();
        let models = adviser.run("{ apiInfo { models { provider model contextTokens streams inputPricePerMillion { amount } outputPricePerMillion { amount } } } }", json!({})).await;
        let first = &models["apiInfo"]["models"][0];
        assert_eq!((&first["provider"], &first["model"], &first["contextTokens"]), (&json!("openai"), &json!("stub-1"), &json!(64_000)));
        assert_eq!((micros(&first["inputPricePerMillion"]["amount"]), micros(&first["outputPricePerMillion"]["amount"])), (2_000_000, 8_000_000));
        assert_eq!((&first["streams"], &models["apiInfo"]["models"][1]["provider"]), (&json!(true), &json!("offline")), "the offline one is always there");

        let (batch, projects) = adviser.batch_of("Acme", 2).await;
        let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "SUCCEEDED");
        let run = adviser.run_of(&run).await;
        let attempts = run["attempts"]["nodes"].as_array().expect("attempts");
        assert_eq!((attempts.len(), stub.requests().len()), (14, 14), "nothing is asked twice");
        let hashes: Vec<String> = stub.requests().iter().map(|request| {
            let text = |n: usize| request.body["messages"][n]["content"].as_str().expect("a text").to_owned();
            let hash = Sha256::new().chain_update(text(0)).chain_update([0]).chain_update(text(1)).finalize();
            hash.iter().map(|byte| format!("{byte:02x}")).collect()
        }).collect();
        for attempt in attempts {
            assert_eq!((&attempt["provider"], &attempt["model"], &attempt["status"]), (&json!("openai"), &json!("stub-1-2026-01-01"), &json!("SUCCEEDED")));
            assert_eq!((&attempt["inputTokens"], &attempt["outputTokens"]), (&json!(USAGE.0), &json!(USAGE.1)));
            assert_eq!(micros(&attempt["cost"]["amount"]), COST);
            let hash = attempt["promptHash"].as_str().expect("a hash");
            assert!(hashes.iter().any(|sent| sent == hash), "the hash is that of what was sent");
        }
        assert_eq!(micros(&run["cost"]["amount"]), 14 * COST);
        let narrative = adviser.narrative(&projects[0]).await;
        assert!(narrative["sections"].as_array().expect("sections").iter().all(|section| section["text"] == TEXT));
        app.stop().await;
    }
}

#[tokio::test]
async fn what_fails_on_the_way_is_tried_again_and_paid_for() {
    let script = vec![error(429, "rate_limit_exceeded", &[("retry-after", "0.01")]), story(GERMAN)];
    let stub = Stub::start(script, |_| story(TEXT)).await;
    let (app, _folder) = app_on(Mode::Embedded, &stub, &[]).await;
    let adviser = app.adviser();
    let template = adviser.template_of("One section", &["baseline"]).await;
    let (batch, _) = adviser.batch_on(&template, "Acme", 1).await;
    let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
    assert_eq!(status, "SUCCEEDED");
    let mut attempts = adviser.run_of(&run).await["attempts"]["nodes"].as_array().expect("attempts").clone();
    attempts.sort_by_key(|attempt| attempt["number"].as_i64());
    let trail: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (attempt["status"].as_str().expect("a status"), attempt["failure"]["code"].as_str(), attempt["inputTokens"].as_i64())
        })
        .collect();
    let took = Some(i64::from(USAGE.0));
    assert_eq!(
        trail,
        [("RETRYING", Some("PROVIDER_RATE_LIMITED"), None), ("RETRYING", Some("PROVIDER_BAD_ANSWER"), took), ("SUCCEEDED", None, took)]
    );
    assert!(attempts[1]["failure"]["message"].as_str().is_some_and(|message| message.contains("English")));
    assert_eq!(micros(&adviser.run_of(&run).await["cost"]["amount"]), 2 * COST, "what could not be used is paid for too");
    app.stop().await;
}

#[tokio::test]
async fn an_answer_over_the_limit_of_its_section_is_no_text_however_properly_it_ends() {
    let too_long = story(&"The kiln was held. ".repeat(2_000));
    let stub = Stub::start(vec![too_long], |_| story(TEXT)).await;
    let (app, _folder) = app_on(Mode::Embedded, &stub, &[]).await;
    let adviser = app.adviser();
    let template = adviser.template_of("One section", &["baseline"]).await;
    let (batch, projects) = adviser.batch_on(&template, "Acme", 1).await;
    let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
    assert_eq!(status, "SUCCEEDED");
    let failed = adviser.attempts(&run, "RETRYING").await;
    let failure = &failed[0]["failure"];
    assert_eq!((failed.len(), &failure["code"], &failure["retryable"]), (1, &json!("PROVIDER_BAD_ANSWER"), &json!(true)));
    assert!(failure["message"].as_str().is_some_and(|message| message.contains("longer than the section allows")), "{failure}");
    assert_eq!(adviser.narrative(&projects[0]).await["sections"][0]["text"], TEXT, "nothing of it was stored");
    app.stop().await;
}

#[tokio::test]
async fn a_circuit_that_is_open_costs_no_try_and_the_run_goes_on_when_it_closes() {
    let stub = Stub::start(vec![error(500, "server_error", &[]); 5], |_| story(TEXT)).await;
    let (app, _folder) = app_on(Mode::Embedded, &stub, &[]).await;
    let adviser = app.adviser();
    let (batch, _) = adviser.batch_of("Acme", 1).await;
    let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
    assert_eq!(status, "SUCCEEDED");
    let run = adviser.run_of(&run).await;
    assert_eq!((run["attempts"]["totalCount"].as_i64(), stub.requests().len()), (Some(12), 12), "seven sections and five failures");
    app.stop().await;
}

#[tokio::test]
async fn a_key_that_is_refused_fails_the_run_at_once_with_a_reason() {
    let stub = Stub::start(vec![], |_| error(401, "invalid_api_key", &[])).await;
    let (app, _folder) = app_on(Mode::Embedded, &stub, &[]).await;
    let adviser = app.adviser();
    let (batch, _) = adviser.batch_of("Acme", 1).await;
    let (run, status) = adviser.generate(json!({ "batchId": batch })).await;
    assert_eq!(status, "FAILED");
    let run = adviser.run_of(&run).await;
    let failure = &run["attempts"]["nodes"][0]["failure"];
    assert_eq!(failure["code"], "PROVIDER_UNAVAILABLE");
    assert!(failure["message"].as_str().is_some_and(|message| message.contains("AI_API_KEY") && !message.contains("sk-of-a-test")));
    assert_eq!(stub.requests().len(), 7, "each section asks once");
    app.stop().await;
}

#[tokio::test]
async fn people_are_named_by_placeholders_outside_and_by_their_names_inside() {
    let told = format!("{TEXT} The trials were led by Dr [PERSON-1], who reported them to [EMAIL-1] in the month after.");
    for (setting, leaves) in [("on", false), ("off", true)] {
        let answer = told.clone();
        let stub = Stub::start(vec![], move |_| story(&answer)).await;
        let (app, _folder) = app_on(Mode::Embedded, &stub, &[("MASK_PERSONAL_DATA", setting)]).await;
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &["work_undertaken"]).await;
        let (batch, _) = adviser.batch_on(&template, "Acme", 1).await;
        let mut facts = row(2);
        facts["facts"]["workUndertaken"] = json!("In May 2025 Dr Jane Example ran 24 trials and wrote to jane@example.org.");
        let project = adviser.import(&batch, json!([facts])).await.pop().expect("a project");
        let (_, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "SUCCEEDED");
        let sent: String = stub.requests().iter().map(|request| request.body.to_string()).collect();
        assert_eq!((sent.contains("Jane"), sent.contains("jane@"), sent.contains("[PERSON-1]")), (leaves, leaves, !leaves), "{setting}");
        let text = adviser.narrative(&project).await["sections"][0]["text"].as_str().expect("a text").to_owned();
        assert_eq!(text.contains("led by Dr Jane Example, who reported them to jane@example.org"), !leaves, "{setting}: {text}");
        app.stop().await;
    }
}
