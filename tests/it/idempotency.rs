//! Idempotency keys: a repeat makes nothing new and shows the object as it is now.

use crate::on_both;
use crate::support::calls::{done, refusal, text};
use crate::support::{Client, row, rows};
use serde_json::{Value, json};

const REUSED: (&str, &str) = ("IDEMPOTENCY_KEY_REUSED", "input.idempotencyKey");
const UPLOAD: &str =
    "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code message field } } }";

fn with(input: &Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    let mut input = input.clone();
    for (name, value) in more {
        input[name] = value;
    }
    input
}

fn reused(payload: &Value) {
    let (code, field) = refusal(payload);
    assert_eq!((code.as_str(), field.as_str()), REUSED, "{payload:#}");
}

fn section() -> Value {
    json!([{ "key": "baseline", "title": "Baseline", "guidance": "Say what was known." }])
}

/// How many of something a batch has.
async fn count(client: &Client, batch: &str, what: &str) -> Value {
    let query = format!("query($id: ID!) {{ batch(id: $id) {{ {what} {{ totalCount }} }} }}");
    client.run(&query, json!({ "id": batch })).await["batch"][what]["totalCount"].clone()
}

on_both! {
    async fn a_repeated_batch_is_the_same_batch_as_it_is_now(app: TestApp) {
        let adviser = app.adviser();
        let input = json!({ "name": "Acme", "claim": { "companyName": "Acme Ltd" }, "idempotencyKey": "k1" });
        let create = async |input: Value| adviser.input("createBatch", "batch { id name revision }", input).await;
        let first = create(input.clone()).await;
        let id = text(&done(&first)["batch"]["id"]);
        done(&adviser.rename(&id, "Acme 2026").await);
        assert_eq!(done(&create(input.clone()).await)["batch"], json!({ "id": id, "name": "Acme 2026", "revision": 2 }));
        for other in [json!({ "name": "Acme 2" }), json!({ "description": "New." }), json!({ "claim": { "companyName": "Acme plc" } })] {
            reused(&create(with(&input, other)).await);
        }
        // without a key, or with another, it is another request
        let payload = create(with(&input, json!({ "idempotencyKey": null }))).await;
        assert_ne!(done(&payload)["batch"]["id"], json!(id));
        assert_eq!(refusal(&create(with(&input, json!({ "idempotencyKey": "k2" }))).await).0, "TAKEN");
        assert_eq!(adviser.run("{ batches { totalCount } }", json!({})).await["batches"]["totalCount"], 2);
        app.stop().await;
    }

    async fn a_repeated_project_is_the_same_project_as_it_is_now(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let input = with(&row(1), json!({ "batchId": batch, "idempotencyKey": "k1" }));
        let create = async |input: Value| adviser.input("createProject", "project { id name }", input).await;
        let id = text(&done(&create(input.clone()).await)["project"]["id"]);
        done(&adviser.input("updateProject", "project { id }", json!({ "id": id, "name": "Renamed" })).await);
        assert_eq!(done(&create(input.clone()).await)["project"], json!({ "id": id, "name": "Renamed" }));
        reused(&create(with(&input, json!({ "costs": { "staff": "1.00" } }))).await);
        adviser.bulk("deleteProjects", &[&id]).await;
        assert_eq!(done(&create(input).await)["project"]["id"], json!(id), "what was deleted is not made again");
        assert_eq!(adviser.batch(&batch).await["counts"]["total"], 0);
        app.stop().await;
    }

    async fn a_repeated_import_is_the_same_import_as_it_is_now(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let input = json!({ "batchId": batch, "source": { "rows": rows(3) }, "idempotencyKey": "k1" });
        let create = async |input: Value| adviser.input("importProjects", "import { id status acceptedCount }", input).await;
        let id = text(&done(&create(input.clone()).await)["import"]["id"]);
        adviser.follow_import(&id).await;
        let now = json!({ "id": id, "status": "SUCCEEDED", "acceptedCount": 3 });
        assert_eq!(done(&create(input.clone()).await)["import"], now);
        reused(&create(with(&input, json!({ "source": { "rows": rows(2) } }))).await);
        reused(&create(with(&input, json!({ "dryRun": true }))).await);
        assert_eq!(count(&adviser, &batch, "imports").await, 1);
        assert_eq!(adviser.batch(&batch).await["counts"]["total"], 3);
        app.stop().await;
    }

    async fn the_bytes_of_a_file_belong_to_the_input(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let input = json!({ "input": { "batchId": batch, "source": { "file": null }, "idempotencyKey": "k1" } });
        let upload = async |bytes: &[u8]| {
            let data = adviser.upload(UPLOAD, input.clone(), "variables.input.source.file", "projects.csv", bytes.to_vec()).await;
            data["importProjects"].clone()
        };
        let file = b"project_name,field_of_science,start_date,baseline,advance_sought,uncertainties,work_undertaken\nA,b,2025-05-01,c,d,e,f\n";
        let first = upload(file).await;
        adviser.follow_import(&text(&done(&first)["import"]["id"])).await;
        assert_eq!(upload(file).await, first);
        reused(&upload(&file[1..]).await);
        assert_eq!(adviser.batch(&batch).await["counts"]["total"], 1);
        app.stop().await;
    }

    async fn a_repeated_start_is_the_same_run_as_it_is_now(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 2).await;
        let input = json!({ "generation": { "batchId": batch }, "idempotencyKey": "k1" });
        let start = async |input: Value| adviser.input("startGeneration", "run { id status counts { succeeded } }", input).await;
        let run = text(&done(&start(input.clone()).await)["run"]["id"]);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let now = json!({ "id": run, "status": "SUCCEEDED", "counts": { "succeeded": 2 } });
        assert_eq!(done(&start(input.clone()).await)["run"], now);
        reused(&start(with(&input, json!({ "generation": { "batchId": batch, "scope": "ALL_UNAPPROVED" } }))).await);
        assert_eq!(count(&adviser, &batch, "runs").await, 1);
        let sections = &adviser.project(&ids[0]).await["sections"];
        assert!(sections.as_array().expect("sections").iter().all(|section| section["revision"] == 1), "nothing was written twice");
        app.stop().await;
    }

    async fn a_repeated_export_is_the_same_export_as_it_is_now(app: TestApp) {
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 1).await;
        let input = json!({ "batchId": batch, "format": "CSV", "approvedOnly": false, "idempotencyKey": "k1" });
        let create = async |input: Value| adviser.input("createExport", "export { id status projectCount }", input).await;
        let id = text(&done(&create(input.clone()).await)["export"]["id"]);
        adviser.follow_export(&id).await;
        adviser.create_project(&batch, row(2)).await;
        assert_eq!(done(&create(input.clone()).await)["export"], json!({ "id": id, "status": "SUCCEEDED", "projectCount": 1 }));
        reused(&create(with(&input, json!({ "format": "DOCX" }))).await);
        reused(&create(with(&input, json!({ "filter": { "text": "1" } }))).await);
        assert_eq!(count(&adviser, &batch, "exports").await, 1);
        app.stop().await;
    }

    async fn a_repeated_template_is_the_same_template_as_it_is_now(app: TestApp) {
        let adviser = app.adviser();
        let input = json!({ "name": "Ours", "sections": section(), "idempotencyKey": "k1" });
        let create = async |input: Value| adviser.input("createTemplate", "template { id currentVersion { number } }", input).await;
        let id = text(&done(&create(input.clone()).await)["template"]["id"]);
        done(&adviser.input("updateTemplate", "template { id }", json!({ "id": id, "instructions": "Be brief." })).await);
        assert_eq!(done(&create(input.clone()).await)["template"], json!({ "id": id, "currentVersion": { "number": 2 } }));
        reused(&create(with(&input, json!({ "name": "Yours" }))).await);
        let query = "{ templates(filter: { builtIn: false }) { totalCount } }";
        assert_eq!(adviser.run(query, json!({})).await["templates"]["totalCount"], 1);
        app.stop().await;
    }

    async fn a_refusal_is_not_remembered(app: TestApp) {
        let adviser = app.adviser();
        let first = adviser.create_batch("Acme").await;
        let input = json!({ "name": "Acme", "idempotencyKey": "k1" });
        let create = async || adviser.input("createBatch", "batch { id name }", input.clone()).await;
        assert_eq!(refusal(&create().await), ("TAKEN".into(), "input.name".into()));
        done(&adviser.by_id("archiveBatch", "batch { id }", &first).await);
        let payload = create().await;
        let second = text(&done(&payload)["batch"]["id"]);
        assert_ne!(second, first);

        let input = json!({ "generation": { "batchId": second }, "idempotencyKey": "k1" });
        let start = async || adviser.input("startGeneration", "run { id }", input.clone()).await;
        assert_eq!(refusal(&start().await).0, "WRONG_STATE", "the batch has nothing to generate");
        adviser.create_project(&second, row(1)).await;
        let run = text(&done(&start().await)["run"]["id"]);
        assert_eq!(adviser.follow_run(&second, &run).await, "SUCCEEDED");
        app.stop().await;
    }

    async fn a_key_counts_for_one_mutation_of_one_practice(app: TestApp) {
        let (adviser, stranger) = (app.adviser(), app.stranger());
        let batch = json!({ "name": "Acme", "idempotencyKey": "k1" });
        let mine = adviser.input("createBatch", "batch { id }", batch.clone()).await;
        let theirs = stranger.input("createBatch", "batch { id }", batch.clone()).await;
        assert_ne!(done(&mine)["batch"]["id"], done(&theirs)["batch"]["id"]);
        let template = json!({ "name": "Ours", "sections": section(), "idempotencyKey": "k1" });
        done(&adviser.input("createTemplate", "template { id }", template).await);
        let colleague = app.member("colleague@practice.example", "practice");
        assert_eq!(done(&colleague.input("createBatch", "batch { id }", batch).await)["batch"], mine["batch"]);
        for key in [String::new(), "x".repeat(201), "a\u{0}b".into()] {
            let payload = adviser.input("createBatch", "batch { id }", json!({ "name": "New", "idempotencyKey": key })).await;
            assert_eq!(refusal(&payload), ("INVALID".into(), "input.idempotencyKey".into()), "{key:?}");
        }
        app.stop().await;
    }

    async fn two_requests_at_once_with_one_key_make_one_object(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let project = with(&row(1), json!({ "batchId": batch, "idempotencyKey": "k" }));
        let (default, rows) = (json!({ "name": "Twice", "idempotencyKey": "k" }), json!({ "rows": [row(2)] }));
        let template = json!({ "name": "Ours", "sections": section(), "idempotencyKey": "k" });
        let import = json!({ "batchId": batch, "source": rows, "idempotencyKey": "k" });
        for (mutation, object, input) in [
            ("createBatch", "batch", default),
            ("createProject", "project", project),
            ("createTemplate", "template", template),
            ("importProjects", "import", import),
            ("createExport", "export", json!({ "batchId": batch, "format": "CSV", "approvedOnly": false, "idempotencyKey": "k" })),
            ("startGeneration", "run", json!({ "generation": { "batchId": batch }, "idempotencyKey": "k" })),
        ] {
            let fields = format!("{object} {{ id }}");
            let repeats = (0..4).map(|_| adviser.input(mutation, &fields, input.clone()));
            let payloads = futures::future::join_all(repeats).await;
            let first = text(&done(&payloads[0])[object]["id"]);
            assert!(payloads.iter().all(|payload| done(payload)[object]["id"] == first), "{mutation}: {payloads:#?}");
            match mutation {
                "importProjects" => assert_eq!(adviser.follow_import(&first).await["status"], "SUCCEEDED"),
                "createExport" => assert_eq!(adviser.follow_export(&first).await.last().expect("an event")["export"]["status"], "SUCCEEDED"),
                "startGeneration" => assert_eq!(adviser.follow_run(&batch, &first).await, "SUCCEEDED"),
                _ => {}
            }
        }
        for what in ["imports", "exports", "runs"] {
            assert_eq!(count(&adviser, &batch, what).await, 1, "{what}");
        }
        assert_eq!(adviser.batch(&batch).await["counts"]["total"], 2);
        assert_eq!(adviser.run("{ batches { totalCount } }", json!({})).await["batches"]["totalCount"], 2);
        app.stop().await;
    }
}
