//! Batches: create, change, archive, delete, restore, list.

use crate::on_both;
use crate::support::{accepted, refused};
use serde_json::json;

const CREATE: &str = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id name revision activity lifecycle } userErrors { code message field } } }";
const RENAME: &str = "mutation($id: ID!, $name: String!, $revision: Int) { renameBatch(id: $id, name: $name, expectedRevision: $revision) \
    { batch { name revision } userErrors { code message field } } }";

on_both! {
    async fn a_batch_is_created_renamed_and_found(app: TestApp) {
        let adviser = app.adviser();
        let data = adviser.run(CREATE, json!({ "input": { "name": "  Acme 2026 ", "claim": { "accountingPeriodEnd": "2026-03-31" } } })).await;
        let batch = &accepted(&data, "createBatch")["batch"];
        assert_eq!((&batch["name"], &batch["revision"], &batch["activity"]), (&json!("Acme 2026"), &json!(1), &json!("EMPTY")));
        let id = batch["id"].clone();

        let data = adviser.run(RENAME, json!({ "id": id, "name": "Acme Ltd 2026", "revision": 1 })).await;
        assert_eq!(accepted(&data, "renameBatch")["batch"], json!({ "name": "Acme Ltd 2026", "revision": 2 }));

        let query = "query($id: ID!) { batch(id: $id) { name claim { accountingPeriodEnd notificationDueBy claimDueBy } template { key } counts { total } } }";
        let data = adviser.run(query, json!({ "id": id })).await;
        let claim = json!({ "accountingPeriodEnd": "2026-03-31", "notificationDueBy": "2026-09-30", "claimDueBy": "2028-03-31" });
        assert_eq!(data["batch"]["claim"], claim);
        assert_eq!(data["batch"]["template"]["key"], "aif-project-description");
        app.stop().await;
    }

    async fn a_stale_revision_is_refused_and_shows_the_current_batch(app: TestApp) {
        let adviser = app.adviser();
        let id = adviser.create_batch("Acme").await;
        adviser.run(RENAME, json!({ "id": id, "name": "Acme 2" })).await;
        let data = adviser.run(RENAME, json!({ "id": id, "name": "Acme 3", "revision": 1 })).await;
        assert_eq!(refused(&data, "renameBatch"), "REVISION_CONFLICT");
        assert_eq!(data["renameBatch"]["batch"], json!({ "name": "Acme 2", "revision": 2 }));
        app.stop().await;
    }

    async fn a_name_is_taken_until_its_batch_is_archived(app: TestApp) {
        let adviser = app.adviser();
        let first = adviser.create_batch("Acme").await;
        let data = adviser.run(CREATE, json!({ "input": { "name": "ACME" } })).await;
        assert_eq!(refused(&data, "createBatch"), "TAKEN");
        assert_eq!(data["createBatch"]["userErrors"][0]["field"], json!(["input", "name"]));
        let archive = "mutation($id: ID!) { archiveBatch(id: $id) { batch { lifecycle } userErrors { code message } } }";
        let data = adviser.run(archive, json!({ "id": first })).await;
        assert_eq!(accepted(&data, "archiveBatch")["batch"]["lifecycle"], "ARCHIVED");
        adviser.create_batch("acme").await;
        let restore = "mutation($id: ID!) { restoreBatch(id: $id) { batch { lifecycle } userErrors { code message } } }";
        let data = adviser.run(restore, json!({ "id": first })).await;
        assert_eq!(refused(&data, "restoreBatch"), "TAKEN");
        app.stop().await;
    }
}
