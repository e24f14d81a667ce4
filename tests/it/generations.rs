//! Runs of generation: what they write, what they count, which projects and sections they take. What goes wrong and
//! what is stopped stands in the files beside it.

mod budgets;
mod failures;
mod fairness;
mod redrafting;
mod retrying;
mod rewriting;
mod stopping;

use crate::support::client::START;
use crate::support::runs::{counts, template_sections};
use crate::support::{TestApp, accepted, refused};
use crate::{on_both, on_each};
use serde_json::{Value, json};
use std::collections::HashSet;

const EDIT: &str =
    "mutation($input: EditSectionInput!) { editSection(input: $input) { section { revision state } userErrors { code message field } } }";
const APPROVE: &str = "mutation($id: ID!) { approveProject(id: $id) { project { status } userErrors { code message field } } }";

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

on_both! {
    async fn a_run_writes_every_section_and_counts_exactly(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 3).await;
        let (id, status) = adviser.generate(json!({ "batchId": batch })).await;
        assert_eq!(status, "SUCCEEDED");
        let run = adviser.run_of(&id).await;
        assert_eq!(run["counts"], counts(&[("total", 3), ("succeeded", 3)]));
        assert_eq!((&run["progress"], &run["scope"], &run["editedSections"]), (&json!(1.0), &json!("MISSING"), &json!("KEEP")));
        assert_eq!((&run["failure"], &run["createdBy"]["email"], &run["batch"]["id"]), (&json!(null), &json!("adviser@practice.example"), &json!(batch)));
        assert_eq!(run["templateVersion"], json!({ "number": 1, "template": { "key": "aif-project-description" } }));
        let moments: Vec<_> = ["createdAt", "startedAt", "finishedAt"].iter().map(|name| run[*name].as_str().expect("a moment")).collect();
        assert!(moments.is_sorted(), "{moments:?}");

        let mut scores = 0;
        for project in &projects {
            let narrative = adviser.narrative(project).await;
            assert_eq!((&narrative["status"], list(&narrative["sections"]).len()), (&json!("NEEDS_REVIEW"), 7), "{narrative}");
            scores += narrative["quality"]["score"].as_i64().expect("a score");
            for section in list(&narrative["sections"]) {
                assert_eq!((&section["state"], &section["revision"]), (&json!("GENERATED"), &json!(1)), "{section}");
                let text = section["text"].as_str().expect("a text");
                assert!(text.split_whitespace().count() > 5, "{section}");
                assert_eq!(section["charCount"], json!(text.chars().count()));
                let revision = &section["revisions"]["nodes"][0];
                assert_eq!((&revision["source"], &revision["text"]), (&json!("MODEL"), &section["text"]));
                assert_eq!(revision["attempt"]["sectionKey"], section["key"]);
                assert!(revision["note"].as_str().is_some_and(|note| note.contains("offline")), "where it came from is said: {revision}");
            }
        }
        let now = adviser.batch_now(&batch).await;
        assert_eq!((&now["activity"], &now["activeRun"], &now["runs"]["totalCount"]), (&json!("IN_REVIEW"), &json!(null), &json!(1)));
        assert_eq!((&now["counts"]["needsReview"], &now["counts"]["total"]), (&json!(3), &json!(3)));
        let mean = now["meanScore"].as_f64().expect("a mean");
        assert!((mean * 3.0 - f64::from(i32::try_from(scores).expect("small"))).abs() < 0.01, "{mean} of {scores}");
        app.stop().await;
    }

    async fn every_call_is_in_the_audit_trail(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 2).await;
        let (id, _) = adviser.generate(json!({ "batchId": batch })).await;
        let trail = adviser.run_of(&id).await["attempts"].clone();
        assert_eq!((&trail["totalCount"], list(&trail["nodes"]).len()), (&json!(14), 14));
        let mut hashes = HashSet::new();
        let mut written = HashSet::new();
        for attempt in list(&trail["nodes"]) {
            assert_eq!((&attempt["status"], &attempt["number"], &attempt["failure"]), (&json!("SUCCEEDED"), &json!(1), &json!(null)));
            assert_eq!((&attempt["provider"], &attempt["model"]), (&json!("offline"), &json!("offline-composer-1")));
            assert_eq!((&attempt["run"]["id"], &attempt["templateVersion"]["number"]), (&json!(id), &json!(1)));
            assert!(attempt["inputTokens"].as_i64() > Some(100) && attempt["outputTokens"].as_i64() > Some(5), "{attempt}");
            assert!(attempt["startedAt"].as_str() <= attempt["finishedAt"].as_str() && attempt["finishedAt"].is_string(), "{attempt}");
            let hash = attempt["promptHash"].as_str().expect("a hash");
            assert!(hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
            hashes.insert(hash.to_owned());
            let project = attempt["project"]["id"].as_str().expect("a project").to_owned();
            assert!(projects.contains(&project));
            written.insert((project, attempt["sectionKey"].to_string()));
        }
        assert_eq!((hashes.len(), written.len()), (14, 14), "each section of each project has a prompt and a call of its own");

        let again = json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" });
        let same = adviser.run_of(&adviser.generate(again).await.0).await["attempts"]["nodes"].clone();
        let same: HashSet<String> = list(&same).iter().map(|attempt| attempt["promptHash"].as_str().expect("a hash").to_owned()).collect();
        assert_eq!(same, hashes, "the same facts and rules make the same prompts");
        let wished = json!({ "batchId": batch, "scope": "ALL_UNAPPROVED", "instructions": "Shorter sentences." });
        let wished = adviser.run_of(&adviser.generate(wished).await.0).await["attempts"]["nodes"].clone();
        assert!(list(&wished).iter().all(|attempt| !hashes.contains(attempt["promptHash"].as_str().expect("a hash"))), "a wish is in the prompt");
        app.stop().await;
    }

    async fn the_scopes_take_what_they_say(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 3).await;
        let (run, status) = adviser.generate(json!({ "batchId": batch, "scope": "LISTED", "projectIds": [projects[1], projects[1]] })).await;
        assert_eq!((status.as_str(), &adviser.run_of(&run).await["counts"]), ("SUCCEEDED", &counts(&[("total", 1), ("succeeded", 1)])));
        assert_eq!(adviser.statuses(&projects).await, ["DRAFT", "NEEDS_REVIEW", "DRAFT"]);

        let (run, _) = adviser.generate(json!({ "batchId": batch, "scope": "MISSING" })).await;
        assert_eq!(adviser.run_of(&run).await["counts"], counts(&[("total", 2), ("succeeded", 2)]));
        assert_eq!(adviser.narrative(&projects[1]).await["sections"][0]["revision"], 1, "what was there was not written again");

        accepted(&adviser.run(APPROVE, json!({ "id": projects[0] })).await, "approveProject");
        let (run, _) = adviser.generate(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        assert_eq!(adviser.run_of(&run).await["counts"], counts(&[("total", 2), ("succeeded", 2)]));
        assert_eq!(adviser.statuses(&projects).await, ["APPROVED", "NEEDS_REVIEW", "NEEDS_REVIEW"]);
        let revisions: Vec<i64> = [&adviser.narrative(&projects[0]).await, &adviser.narrative(&projects[2]).await]
            .iter().map(|narrative| narrative["sections"][0]["revision"].as_i64().expect("a number")).collect();
        assert_eq!(revisions, [1, 2]);
        app.stop().await;
    }

    async fn the_aif_scope_takes_the_projects_that_have_to_be_described(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 5).await;
        let query = "query($id: ID!) { batch(id: $id) { aifSelection { rule selected { project { id } } notReady { id } } } }";
        let selection = adviser.run(query, json!({ "id": batch })).await["batch"]["aifSelection"].clone();
        let selected: HashSet<String> = list(&selection["selected"]).iter().map(|one| one["project"]["id"].as_str().expect("an id").to_owned()).collect();
        assert_eq!((&selection["rule"], selected.len()), (&json!("HALF_MIN3"), 3));
        let (run, status) = adviser.generate(json!({ "batchId": batch, "scope": "AIF_SELECTION" })).await;
        assert_eq!((status.as_str(), &adviser.run_of(&run).await["counts"]), ("SUCCEEDED", &counts(&[("total", 3), ("succeeded", 3)])));
        for (project, status) in projects.iter().zip(adviser.statuses(&projects).await) {
            assert_eq!(status, if selected.contains(project) { "NEEDS_REVIEW" } else { "DRAFT" });
        }
        app.stop().await;
    }

    async fn a_start_that_finds_nothing_to_do_is_refused_and_leaves_nothing(app: TestApp) {
        let adviser = app.adviser();
        let empty = adviser.create_batch("Empty").await;
        for scope in ["MISSING", "FAILED", "ALL_UNAPPROVED", "AIF_SELECTION"] {
            assert_eq!(adviser.refused_start(json!({ "batchId": empty, "scope": scope })).await, "WRONG_STATE", "{scope}");
        }
        let (batch, projects) = adviser.generated("Acme", 1).await;
        for scope in ["MISSING", "FAILED"] {
            assert_eq!(adviser.refused_start(json!({ "batchId": batch, "scope": scope })).await, "WRONG_STATE", "{scope}");
        }
        accepted(&adviser.run(APPROVE, json!({ "id": projects[0] })).await, "approveProject");
        let before = adviser.batch_now(&batch).await;
        for scope in ["ALL_UNAPPROVED", "AIF_SELECTION"] {
            assert_eq!(adviser.refused_start(json!({ "batchId": batch, "scope": scope })).await, "WRONG_STATE", "{scope}");
        }
        let listed = json!({ "batchId": batch, "scope": "LISTED", "projectIds": [projects[0]] });
        assert_eq!(adviser.refused_start(listed).await, "WRONG_STATE", "approved projects are not written again because they were listed");
        let foreign = json!({ "batchId": empty, "scope": "LISTED", "projectIds": [projects[0]] });
        assert_eq!(adviser.refused_start(foreign).await, "NOT_FOUND", "a project of another batch");
        assert_eq!(adviser.refused_start(json!({ "batchId": batch, "scope": "LISTED" })).await, "REQUIRED");
        assert_eq!(adviser.refused_start(json!({ "batchId": batch, "projectIds": [projects[0]] })).await, "INVALID");
        assert_eq!(adviser.batch_now(&batch).await, before, "neither a run nor an event is left of what was refused");
        app.stop().await;
    }

    async fn a_text_that_a_person_changed_is_kept_unless_told_otherwise(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 1).await;
        let mine = "The melt temperature of commercial extruders was known to vary by 6 degrees at 40 kg per hour.";
        let section = adviser.narrative(&projects[0]).await["sections"][1].clone();
        let edit = json!({ "input": { "sectionId": section["id"], "text": mine, "expectedRevision": 1 } });
        let edited = accepted(&adviser.run(EDIT, edit).await, "editSection")["section"].clone();
        assert_eq!(edited, json!({ "revision": 2, "state": "EDITED" }));

        let (run, _) = adviser.generate(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED", "editedSections": "KEEP" })).await;
        let run = adviser.run_of(&run).await;
        assert_eq!((&run["attempts"]["totalCount"], &run["editedSections"]), (&json!(6), &json!("KEEP")));
        for now in list(&adviser.narrative(&projects[0]).await["sections"]) {
            let kept = now["key"] == section["key"];
            assert_eq!((&now["state"], &now["revision"]), (&json!(if kept { "EDITED" } else { "GENERATED" }), &json!(2)), "{now}");
            assert_eq!(now["text"] == mine, kept);
        }

        let (run, _) = adviser.generate(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED", "editedSections": "REPLACE" })).await;
        assert_eq!(adviser.run_of(&run).await["attempts"]["totalCount"], 7);
        let now = adviser.narrative(&projects[0]).await["sections"][1].clone();
        assert_eq!((&now["state"], &now["revision"], &now["text"]), (&json!("GENERATED"), &json!(3), &section["text"]));
        let history = list(&now["revisions"]["nodes"]);
        let history: Vec<_> = history.iter().map(|revision| (revision["number"].as_i64().expect("a number"), revision["source"].as_str().expect("a source"))).collect();
        assert_eq!(history, [(3, "MODEL"), (2, "PERSON"), (1, "MODEL")]);
        assert_eq!(now["revisions"]["nodes"][1]["text"], mine, "the person's text is still there");
        app.stop().await;
    }

    async fn a_new_version_of_the_template_lays_the_sections_out_anew_and_keeps_texts_of_the_same_key(app: TestApp) {
        let adviser = app.adviser();
        let template = adviser.template_of("House style", &["baseline", "outcome"]).await;
        let (batch, projects) = adviser.batch_on(&template, "Acme", 1).await;
        assert_eq!(adviser.generate(json!({ "batchId": batch })).await.1, "SUCCEEDED");
        let before = adviser.narrative(&projects[0]).await;
        let keys = |narrative: &Value| list(&narrative["sections"]).iter().map(|s| s["key"].as_str().expect("a key").to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&before), ["baseline", "outcome"]);
        let edit = json!({ "input": { "sectionId": before["sections"][0]["id"], "text": "My own baseline.", "expectedRevision": 1 } });
        accepted(&adviser.run(EDIT, edit).await, "editSection");

        let update = "mutation($input: UpdateTemplateInput!) { updateTemplate(input: $input) { template { currentVersion { number } } userErrors { code message } } }";
        let input = json!({ "input": { "id": template, "sections": template_sections(&["advance", "baseline"]) } });
        let data = adviser.run(update, input).await;
        assert_eq!(accepted(&data, "updateTemplate")["template"]["currentVersion"]["number"], 2);
        assert_eq!(keys(&adviser.narrative(&projects[0]).await), ["baseline", "outcome"], "a narrative keeps its version until it is written");

        let (run, status) = adviser.generate(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        let run = adviser.run_of(&run).await;
        assert_eq!((status.as_str(), &run["templateVersion"]["number"], &run["attempts"]["totalCount"]), ("SUCCEEDED", &json!(2), &json!(1)));
        assert_eq!(run["attempts"]["nodes"][0]["sectionKey"], "advance");
        let after = adviser.narrative(&projects[0]).await;
        assert_eq!((keys(&after), &after["templateVersion"]["number"]), (vec!["advance".to_owned(), "baseline".to_owned()], &json!(2)));
        assert_eq!((&after["sections"][1]["text"], &after["sections"][1]["state"]), (&json!("My own baseline."), &json!("EDITED")));
        assert_eq!((&after["sections"][1]["id"], &after["sections"][1]["revision"]), (&before["sections"][0]["id"], &json!(2)));
        assert_eq!((&after["sections"][0]["state"], &after["sections"][0]["revision"]), (&json!("GENERATED"), &json!(1)));
        app.stop().await;
    }
}

on_each! {
    async fn of_two_starts_at_once_one_is_told_that_the_other_runs(mode: Mode) {
        let (app, drafter) = TestApp::start_held(mode, 0).await;
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 1).await;
        let input = json!({ "input": { "generation": { "batchId": batch } } });
        let (first, second) = tokio::join!(adviser.run(START, input.clone()), adviser.run(START, input.clone()));
        let (won, lost) = if first["startGeneration"]["userErrors"] == json!([]) { (first, second) } else { (second, first) };
        let run = accepted(&won, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(refused(&lost, "startGeneration"), "ALREADY_RUNNING");
        let problem = &lost["startGeneration"]["userErrors"][0];
        assert_eq!((&problem["field"], &problem["retryable"]), (&json!(["input", "generation", "batchId"]), &json!(true)));
        assert_eq!(lost["startGeneration"]["run"]["id"], json!(run), "the payload shows the run that is in the way");
        assert_eq!(adviser.batch_now(&batch).await["runs"]["totalCount"], 1);
        drafter.permits.add_permits(7);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        assert_eq!(adviser.run_of(&run).await["attempts"]["totalCount"], 7, "nothing was written twice");
        app.stop().await;
    }
}
