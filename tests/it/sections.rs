//! Sections: edit, revisions, bring back, approve, and what stands in the way of an approval.

use crate::on_both;
use crate::support::calls::{done, refusal, text};
use crate::support::{Client, row};
use serde_json::{Value, json};

const SECTION: &str = "section { id key state revision text wordCount charCount } quality { score }";
const PROJECT: &str = "project { id revision status approvedAt approvedBy { displayName } sections { state } quality { score } }";

fn section(project: &Value, key: &str) -> Value {
    let all = project["sections"].as_array().expect("sections");
    all.iter().find(|section| section["key"] == key).unwrap_or_else(|| panic!("no {key}: {project:#}")).clone()
}

async fn restore(client: &Client, section: &Value, number: i32, expected: Option<i32>) -> Value {
    let call = "restoreSectionRevision(sectionId: $id, number: $number, expectedRevision: $expected)";
    let values = json!({ "id": section["id"], "number": number, "expected": expected });
    client.change(call, "$id: ID!, $number: Int!, $expected: Int", SECTION, values).await
}

async fn approve(client: &Client, id: &str, expected: Option<i64>) -> Value {
    let call = "approveProject(id: $id, expectedRevision: $expected, note: $note)";
    client
        .change(call, "$id: ID!, $expected: Int, $note: String", PROJECT, json!({ "id": id, "expected": expected, "note": "Read." }))
        .await
}

async fn unapprove(client: &Client, id: &str, reason: &str) -> Value {
    client
        .change("unapproveProject(id: $id, reason: $reason)", "$id: ID!, $reason: String!", PROJECT, json!({ "id": id, "reason": reason }))
        .await
}

on_both! {
    async fn an_edit_is_a_new_revision_and_earlier_ones_stay(app: TestApp) {
        let adviser = app.adviser();
        let (_, ids) = adviser.generated("Acme", 1).await;
        let before = adviser.project(&ids[0]).await;
        let outcome = section(&before, "outcome");
        assert_eq!((&outcome["state"], &outcome["revision"]), (&json!("GENERATED"), &json!(1)));
        let payload = adviser.edit(&outcome, "  The controller held 2 degrees.\r\n\r\nIt works.  ").await;
        let changed = &done(&payload)["section"];
        let expected = json!({ "id": outcome["id"], "key": "outcome", "state": "EDITED", "revision": 2,
            "text": "The controller held 2 degrees.\n\nIt works.", "wordCount": 7, "charCount": 41 });
        assert_eq!(*changed, expected);
        let after = adviser.project(&ids[0]).await;
        assert_eq!(after["revision"].as_i64(), before["revision"].as_i64().map(|revision| revision + 1));
        assert_eq!((&after["status"], section(&after, "outcome")["text"].clone()), (&json!("NEEDS_REVIEW"), changed["text"].clone()));
        assert_eq!(after["quality"]["score"], payload["quality"]["score"]);

        let query = "query($id: ID!, $first: Int, $after: String) { node(id: $id) { ... on Section { revisions(first: $first, after: $after) { \
            totalCount nodes { number source text note author { displayName } attempt { status sectionKey } } \
            pageInfo { hasNextPage endCursor } } } } }";
        let page = adviser.run(query, json!({ "id": outcome["id"], "first": 1 })).await["node"]["revisions"].clone();
        assert_eq!((&page["totalCount"], &page["pageInfo"]["hasNextPage"]), (&json!(2), &json!(true)));
        let newest = &page["nodes"][0];
        assert_eq!((&newest["number"], &newest["source"], &newest["note"]), (&json!(2), &json!("PERSON"), &json!("By hand.")));
        assert_eq!((&newest["text"], &newest["attempt"]), (&changed["text"], &Value::Null));
        assert!(newest["author"]["displayName"].is_string(), "{page:#}");
        let values = json!({ "id": outcome["id"], "first": 5, "after": page["pageInfo"]["endCursor"] });
        let rest = adviser.run(query, values).await["node"]["revisions"].clone();
        assert_eq!((rest["nodes"].as_array().map(Vec::len), &rest["pageInfo"]["hasNextPage"]), (Some(1), &json!(false)));
        let first = &rest["nodes"][0];
        assert_eq!((&first["number"], &first["source"], &first["text"]), (&json!(1), &json!("MODEL"), &outcome["text"]));
        assert_eq!(first["attempt"], json!({ "status": "SUCCEEDED", "sectionKey": "outcome" }));
        app.stop().await;
    }

    async fn a_stale_edit_is_refused_and_shows_the_text_as_it_is(app: TestApp) {
        let adviser = app.adviser();
        let (_, ids) = adviser.generated("Acme", 1).await;
        let outcome = section(&adviser.project(&ids[0]).await, "outcome");
        done(&adviser.edit(&outcome, "Mine.").await);
        let payload = adviser.edit(&outcome, "Yours.").await;
        assert_eq!(refusal(&payload), ("REVISION_CONFLICT".into(), "input.expectedRevision".into()));
        assert_eq!((&payload["section"]["text"], &payload["section"]["revision"]), (&json!("Mine."), &json!(2)));
        assert_eq!(payload["quality"], Value::Null);
        app.stop().await;
    }

    async fn an_earlier_text_comes_back_as_a_new_revision(app: TestApp) {
        let adviser = app.adviser();
        let (_, ids) = adviser.generated("Acme", 1).await;
        let outcome = section(&adviser.project(&ids[0]).await, "outcome");
        done(&adviser.edit(&outcome, "Mine.").await);
        assert_eq!(refusal(&restore(&adviser, &outcome, 1, Some(1)).await), ("REVISION_CONFLICT".into(), "expectedRevision".into()));
        assert_eq!(refusal(&restore(&adviser, &outcome, 9, None).await), ("NOT_FOUND".into(), "number".into()));
        let payload = restore(&adviser, &outcome, 1, Some(2)).await;
        let back = &done(&payload)["section"];
        assert_eq!((&back["revision"], &back["text"], &back["state"]), (&json!(3), &outcome["text"], &json!("EDITED")));
        let query = "query($id: ID!) { node(id: $id) { ... on Section { revisions { nodes { number source note } } } } }";
        let nodes = &adviser.run(query, json!({ "id": outcome["id"] })).await["node"]["revisions"]["nodes"];
        assert_eq!((&nodes[0]["number"], &nodes[0]["source"]), (&json!(3), &json!("RESTORE")));
        assert!(nodes[0]["note"].as_str().is_some_and(|note| note.contains('1')), "{nodes}");
        app.stop().await;
    }

    async fn an_approved_project_is_locked_until_the_approval_is_taken_back(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.generated("Acme", 1).await;
        let before = adviser.project(&ids[0]).await;
        let revision = before["revision"].as_i64().expect("a number");
        let payload = approve(&adviser, &ids[0], Some(revision - 1)).await;
        assert_eq!(refusal(&payload), ("REVISION_CONFLICT".into(), "expectedRevision".into()));
        assert_eq!(payload["project"]["status"], "NEEDS_REVIEW");

        let payload = approve(&adviser, &ids[0], Some(revision)).await;
        let approved = &done(&payload)["project"];
        assert_eq!((&approved["status"], approved["revision"].as_i64()), (&json!("APPROVED"), Some(revision + 1)));
        assert!(approved["approvedAt"].is_string() && approved["approvedBy"]["displayName"].is_string(), "{approved}");
        assert!(approved["sections"].as_array().expect("sections").iter().all(|section| section["state"] == "LOCKED"), "{approved}");
        let now = adviser.batch(&batch).await;
        assert_eq!((&now["activity"], &now["counts"]["approved"]), (&json!("APPROVED"), &json!(1)));

        let locked = section(&adviser.project(&ids[0]).await, "outcome");
        assert_eq!(refusal(&adviser.edit(&locked, "Changed.").await), ("WRONG_STATE".into(), "input.sectionId".into()));
        assert_eq!(refusal(&restore(&adviser, &locked, 1, None).await).0, "WRONG_STATE");
        let payload = adviser.input("updateProject", "project { name }", json!({ "id": ids[0], "name": "Changed" })).await;
        assert_eq!(refusal(&payload), ("WRONG_STATE".into(), "input.id".into()));
        assert_eq!(done(&approve(&adviser, &ids[0], None).await)["project"]["revision"], approved["revision"], "once is enough");

        assert_eq!(refusal(&unapprove(&adviser, &ids[0], "  ").await), ("REQUIRED".into(), "reason".into()));
        let payload = unapprove(&adviser, &ids[0], "A figure is wrong.").await;
        let open = &done(&payload)["project"];
        assert_eq!((&open["status"], &open["approvedAt"], &open["approvedBy"]), (&json!("NEEDS_REVIEW"), &Value::Null, &Value::Null));
        assert!(open["sections"].as_array().expect("sections").iter().all(|section| section["state"] == "GENERATED"), "{open}");
        assert_eq!(refusal(&unapprove(&adviser, &ids[0], "Again.").await), ("WRONG_STATE".into(), "id".into()));
        done(&adviser.edit(&locked, "Changed.").await);
        app.stop().await;
    }

    async fn several_projects_are_approved_one_by_one(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.generated("Acme", 2).await;
        let draft = adviser.create_project(&batch, row(9)).await;
        let (done, failed) = adviser.bulk("approveProjects", &[&draft, &ids[1], "nonsense", &ids[0]]).await;
        assert_eq!(done, json!([ids[1], ids[0]]));
        assert_eq!(failed, [(draft, "WRONG_STATE".to_owned()), ("nonsense".to_owned(), "NOT_FOUND".to_owned())]);
        let counts = &adviser.batch(&batch).await["counts"];
        assert_eq!((&counts["approved"], &counts["draft"]), (&json!(2), &json!(1)));
        app.stop().await;
    }

    async fn a_number_that_is_not_among_the_facts_blocks_the_approval(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.generated("Acme", 1).await;
        let outcome = section(&adviser.project(&ids[0]).await, "outcome");
        let wrong = format!("{} The yield rose by 4711 percent.", text(&outcome["text"]));
        let payload = adviser.edit(&outcome, &wrong).await;
        let issue = json!({ "code": "NUMBER_NOT_IN_SOURCE", "sectionKey": "outcome" });
        assert!(done(&payload)["quality"]["issues"].as_array().expect("issues").contains(&issue), "{payload:#}");
        assert_eq!(adviser.batch(&batch).await["counts"]["withErrors"], 1);

        let before = adviser.project(&ids[0]).await;
        let payload = approve(&adviser, &ids[0], None).await;
        assert_eq!(refusal(&payload), ("BLOCKING_ISSUES".into(), "id".into()));
        let message = text(&payload["userErrors"][0]["message"]);
        assert!(message.contains("4711") && message.contains("outcome"), "{message}");
        assert_eq!(adviser.project(&ids[0]).await, before, "nothing is half-done");
        let (approved, failed) = adviser.bulk("approveProjects", &[&ids[0]]).await;
        assert_eq!((approved, failed), (json!([]), vec![(ids[0].clone(), "BLOCKING_ISSUES".to_owned())]));

        done(&restore(&adviser, &outcome, 1, None).await);
        assert_eq!(done(&approve(&adviser, &ids[0], None).await)["project"]["status"], "APPROVED");
        assert_eq!(adviser.batch(&batch).await["counts"]["withErrors"], 0);
        app.stop().await;
    }

    async fn completing_a_draft_by_hand_makes_it_ready_for_review(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let id = adviser.create_project(&batch, row(1)).await;
        assert_eq!(refusal(&approve(&adviser, &id, None).await), ("WRONG_STATE".into(), "id".into()));
        let sections = adviser.project(&id).await["sections"].as_array().expect("sections").clone();
        for (written, section) in sections.iter().enumerate() {
            assert_eq!(adviser.project(&id).await["status"], "DRAFT", "after {written} sections");
            done(&adviser.edit(section, &format!("The team wrote about {} itself.", text(&section["title"]))).await);
        }
        let project = adviser.project(&id).await;
        assert_eq!(project["status"], "NEEDS_REVIEW");
        assert!(project["sections"].as_array().expect("sections").iter().all(|section| section["state"] == "EDITED"), "{project:#}");
        assert_eq!(done(&approve(&adviser, &id, None).await)["project"]["status"], "APPROVED");
        let payload = unapprove(&adviser, &id, "Once more.").await;
        assert_eq!(done(&payload)["project"]["sections"][0]["state"], "EDITED");
        app.stop().await;
    }

    async fn the_revision_of_a_project_grows_with_facts_costs_texts_and_status(app: TestApp) {
        let adviser = app.adviser();
        let (_, ids) = adviser.generated("Acme", 1).await;
        let revision = async || adviser.project(&ids[0]).await["revision"].as_i64().expect("a number");
        let mut seen = vec![revision().await];
        assert!(seen[0] > 1, "generation changed the texts");
        for change in [json!({ "facts": { "sector": "Chemicals" } }), json!({ "costs": { "staff": "1.00" } }), json!({ "name": "Renamed" })] {
            let mut input = change;
            input["id"] = json!(ids[0]);
            done(&adviser.input("updateProject", "project { id }", input).await);
            seen.push(revision().await);
        }
        done(&adviser.edit(&section(&adviser.project(&ids[0]).await, "outcome"), "It works.").await);
        seen.push(revision().await);
        done(&approve(&adviser, &ids[0], None).await);
        seen.push(revision().await);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        app.stop().await;
    }
}
