//! Projects: create, change, delete, restore, find, and pin for the additional information form.

use crate::on_both;
use crate::support::calls::{done, refusal, text, texts};
use crate::support::row;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const FIELDS: &str = "project { id name externalRef revision status costs { staff consumables software total } \
    facts { sector baseline workStatus startDate competentProfessionalYears } }";
const PIN: (&str, &str, &str) = (
    "pinAifProjects(batchId: $batch, pin: $pin, unpin: $unpin)",
    "$batch: ID!, $pin: [ID!], $unpin: [ID!]",
    "batch { id aifSelection { rule satisfied projectCount coveragePercent blockedBy warnings totalExpenditure { amount } \
     selectedExpenditure { amount } notReady { id } selected { rank pinned sharePercent expenditure { amount currency } project { externalRef } } } }",
);

fn input(batch: &str, number: usize) -> Value {
    let mut input = row(number);
    input["batchId"] = json!(batch);
    input
}

on_both! {
    async fn what_is_taken_is_named_the_reference_or_the_id(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let mut new = input(&batch, 1);
        new["id"] = json!(uuid::Uuid::new_v4());
        done(&adviser.input("createProject", "__typename", new.clone()).await);
        let mut same_id = input(&batch, 2);
        same_id["id"] = new["id"].clone();
        assert_eq!(refusal(&adviser.input("createProject", "__typename", same_id).await), ("TAKEN".into(), "input.id".into()));
        let refused = refusal(&adviser.input("createProject", "__typename", input(&batch, 1)).await);
        assert_eq!(refused, ("TAKEN".into(), "input.externalRef".into()));
        app.stop().await;
    }

    async fn a_project_gets_the_id_that_the_client_chose(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let id = uuid::Uuid::new_v4();
        let mut new = input(&batch, 1);
        new["id"] = json!(id);
        let payload = adviser.input("createProject", FIELDS, new).await;
        let project = &done(&payload)["project"];
        assert_eq!(project["id"], URL_SAFE_NO_PAD.encode(format!("Project:{id}")));
        assert_eq!((&project["status"], &project["revision"], &project["externalRef"]), (&json!("DRAFT"), &json!(1), &json!("P-1")));
        assert_eq!(project["costs"], json!({ "staff": "40100.00", "consumables": "5200.50", "software": "1300.00", "total": "46600.50" }));

        let found = adviser.project(&text(&project["id"])).await;
        assert_eq!(found["sections"].as_array().map(Vec::len), Some(7));
        assert!(found["sections"].as_array().expect("sections").iter().all(|section| section["state"] == "EMPTY" && section["text"] == ""));
        let now = adviser.batch(&batch).await;
        assert_eq!((&now["counts"]["total"], &now["activity"]), (&json!(1), &json!("READY")));
        assert_eq!(now["totalQualifyingExpenditure"], json!({ "amount": "46600.50", "currency": "GBP" }));

        let again = json!({ "batchId": batch, "id": id, "name": "Another" });
        assert_eq!(refusal(&adviser.input("createProject", FIELDS, again).await), ("TAKEN".into(), "input.id".into()));
        let malformed = json!({ "batchId": batch, "id": "first", "name": "Another" });
        assert_eq!(refusal(&adviser.input("createProject", FIELDS, malformed).await), ("INVALID".into(), "input.id".into()));
        let same_reference = json!({ "batchId": batch, "externalRef": "P-1", "name": "Another" });
        assert_eq!(refusal(&adviser.input("createProject", FIELDS, same_reference).await), ("TAKEN".into(), "input.externalRef".into()));
        assert_eq!(adviser.batch(&batch).await["counts"]["total"], 1);
        app.stop().await;
    }

    async fn an_update_changes_what_is_named_clears_what_is_null_and_leaves_the_rest(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let id = adviser.create_project(&batch, row(1)).await;
        let patch = json!({ "id": id, "expectedRevision": 1, "externalRef": null, "facts": { "sector": null, "baseline": " Known. " },
            "costs": { "staff": "10.5", "software": null } });
        let payload = adviser.input("updateProject", FIELDS, patch.clone()).await;
        let project = &done(&payload)["project"];
        assert_eq!((&project["name"], &project["externalRef"], &project["revision"]), (&json!("Project 1"), &json!(null), &json!(2)));
        let facts = json!({ "sector": null, "baseline": "Known.", "workStatus": "COMPLETED", "startDate": "2025-05-01",
            "competentProfessionalYears": 14 });
        assert_eq!(project["facts"], facts);
        assert_eq!(project["costs"], json!({ "staff": "10.50", "consumables": "5200.50", "software": "0.00", "total": "5211.00" }));
        assert_eq!(adviser.batch(&batch).await["totalQualifyingExpenditure"]["amount"], "5211.00");

        let mut same = patch;
        same["expectedRevision"] = json!(2);
        let payload = adviser.input("updateProject", FIELDS, same.clone()).await;
        assert_eq!(done(&payload)["project"]["revision"], 2, "nothing changed, so the revision stays");
        same["expectedRevision"] = json!(1);
        same["name"] = json!("Late");
        let payload = adviser.input("updateProject", FIELDS, same).await;
        assert_eq!(refusal(&payload), ("REVISION_CONFLICT".into(), "input.expectedRevision".into()));
        assert_eq!((&payload["project"]["name"], &payload["project"]["revision"]), (&json!("Project 1"), &json!(2)));

        adviser.create_project(&batch, row(2)).await;
        let payload = adviser.input("updateProject", FIELDS, json!({ "id": id, "externalRef": "P-2", "name": "Half done" })).await;
        assert_eq!(refusal(&payload), ("TAKEN".into(), "input.externalRef".into()));
        assert_eq!(adviser.project(&id).await["name"], "Project 1");
        app.stop().await;
    }

    async fn projects_are_deleted_and_restored_one_by_one(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 3).await;
        let (first, second) = (ids[0].as_str(), ids[1].as_str());
        let (deleted, failed) = adviser.bulk("deleteProjects", &[first, "nonsense", second, first]).await;
        assert_eq!(deleted, json!([first, second]));
        assert_eq!(failed, [("nonsense".to_owned(), "NOT_FOUND".to_owned())]);
        assert_eq!(adviser.project_ids(&batch).await, [ids[2].clone()]);
        let now = adviser.batch(&batch).await;
        assert_eq!((&now["counts"]["total"], &now["totalQualifyingExpenditure"]["amount"]), (&json!(1), &json!("46800.50")));
        let gone = adviser.project(first).await;
        assert_eq!((&gone["deleted"], &gone["revision"]), (&json!(true), &json!(2)));
        let payload = adviser.input("updateProject", FIELDS, json!({ "id": first, "name": "Changed" })).await;
        assert_eq!(refusal(&payload), ("WRONG_STATE".into(), "input.id".into()));

        // the reference of the second is in use by now
        adviser.create_project(&batch, row(2)).await;
        let (restored, failed) = adviser.bulk("restoreProjects", &[second, first]).await;
        assert_eq!((restored, failed), (json!([first]), vec![(second.to_owned(), "TAKEN".to_owned())]));
        let now = adviser.batch(&batch).await;
        assert_eq!((&now["counts"]["total"], &now["totalQualifyingExpenditure"]["amount"]), (&json!(3), &json!("140101.50")));
        assert_eq!(adviser.project(first).await["deleted"], false);
        assert_eq!(adviser.project(second).await["deleted"], true);
        // what is done already is done
        let (restored, failed) = adviser.bulk("restoreProjects", &[first]).await;
        assert_eq!((restored, failed), (json!([first]), vec![]));
        assert_eq!(adviser.batch(&batch).await["counts"]["total"], 3);
        app.stop().await;
    }

    async fn a_project_is_found_by_the_clients_reference_in_its_batch(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 2).await;
        let other = adviser.create_batch("Other").await;
        let query = "query($batch: ID!, $ref: String!) { projectByRef(batchId: $batch, externalRef: $ref) { id } }";
        let find = async |batch: &str, reference: &str| {
            adviser.run(query, json!({ "batch": batch, "ref": reference })).await["projectByRef"].clone()
        };
        assert_eq!(find(&batch, "P-2").await, json!({ "id": ids[1] }));
        assert_eq!(find(&batch, "p-2").await, Value::Null);
        assert_eq!(find(&other, "P-2").await, Value::Null);
        assert_eq!(find("nonsense", "P-2").await, Value::Null);
        adviser.bulk("deleteProjects", &[&ids[1]]).await;
        assert_eq!(find(&batch, "P-2").await, Value::Null);
        app.stop().await;
    }

    async fn pins_change_which_projects_are_described(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 4).await;
        let (other, others) = adviser.batch_of("Other", 1).await;
        let pin = async |values: Value| adviser.change(PIN.0, PIN.1, PIN.2, values).await;
        let selection = async || {
            let query = format!("query($id: ID!) {{ {} }}", PIN.2.replacen("batch", "batch(id: $id)", 1));
            adviser.run(&query, json!({ "id": batch })).await["batch"]["aifSelection"].clone()
        };
        let references = |selection: &Value| {
            let selected = selection["selected"].as_array().expect("a list").iter();
            selected.map(|each| text(&each["project"]["externalRef"])).collect::<Vec<_>>()
        };
        let before = selection().await;
        assert_eq!((&before["rule"], &before["satisfied"], &before["projectCount"]), (&json!("HALF_MIN3"), &json!(true), &json!(4)));
        assert_eq!(references(&before), ["P-4", "P-3", "P-2"]);
        assert_eq!(before["warnings"], json!(["CHECK_ACCOUNTING_PERIOD"]));

        let payload = pin(json!({ "batch": batch, "pin": [ids[0]] })).await;
        let pinned = &done(&payload)["batch"]["aifSelection"];
        assert_eq!(references(pinned), ["P-4", "P-3", "P-1"]);
        let last = json!({ "rank": 4, "pinned": true, "sharePercent": "24.92", "expenditure": { "amount": "46600.50", "currency": "GBP" },
            "project": { "externalRef": "P-1" } });
        assert_eq!(pinned["selected"][2], last);
        assert_eq!((&pinned["totalExpenditure"]["amount"], &pinned["selectedExpenditure"]["amount"]), (&json!("187002.00"), &json!("140301.50")));
        assert_eq!((&pinned["coveragePercent"], pinned["notReady"].as_array().map(Vec::len)), (&json!("75.03"), Some(3)));
        assert_eq!(*pinned, selection().await);
        let project = adviser.project(&ids[0]).await;
        assert_eq!((&project["aifPinned"], &project["revision"]), (&json!(true), &json!(2)));

        // one wrong id, and nothing is pinned
        let payload = pin(json!({ "batch": batch, "pin": [ids[1], others[0]] })).await;
        assert_eq!(refusal(&payload), ("NOT_FOUND".into(), "pin".into()));
        assert_eq!(adviser.project(&ids[1]).await["aifPinned"], false);
        assert_eq!(refusal(&pin(json!({ "batch": other, "unpin": [ids[0]] })).await), ("NOT_FOUND".into(), "unpin".into()));
        assert_eq!(refusal(&pin(json!({ "batch": batch })).await).0, "REQUIRED");

        done(&pin(json!({ "batch": batch, "unpin": [ids[0]] })).await);
        let claim = json!({ "id": batch, "claim": { "accountingPeriodStart": "2025-04-01", "accountingPeriodEnd": "2026-03-31" } });
        done(&adviser.input("updateBatch", "batch { id }", claim).await);
        let after = selection().await;
        assert_eq!((references(&after), &after["warnings"]), (vec!["P-4".into(), "P-3".into(), "P-2".into()], &json!([])));
        assert_eq!(texts(&after["notReady"], "id"), [ids[3].clone(), ids[2].clone(), ids[1].clone()]);
        app.stop().await;
    }

    async fn an_empty_batch_has_no_selection_and_says_why(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let query = "query($id: ID!) { batch(id: $id) { aifSelection { rule blockedBy satisfied selected { rank } coveragePercent } } }";
        let nothing = json!({ "rule": null, "blockedBy": "NO_PROJECTS", "satisfied": false, "selected": [], "coveragePercent": "0.00" });
        assert_eq!(adviser.run(query, json!({ "id": batch })).await["batch"]["aifSelection"], nothing);
        adviser.create_project(&batch, json!({ "name": "Costs nothing" })).await;
        let selection = &adviser.run(query, json!({ "id": batch })).await["batch"]["aifSelection"];
        assert_eq!(selection["blockedBy"], "NO_QUALIFYING_EXPENDITURE");
        app.stop().await;
    }
}
