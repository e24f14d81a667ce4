//! Bad input: each kind gives its documented code and a sentence that tells what to do, and nothing is half-done.

use crate::on_both;
use crate::support::calls::{done, refusal, text};
use crate::support::drafter::HeldDrafter;
use crate::support::{Client, Mode, TestApp, has_postgres, row, rows};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Every mutation of one object by its id: its name, its arguments, what stands for the id, and the path of the id.
const BY_ID: &[(&str, &str, &str)] = &[
    ("renameBatch", r#"id: "ID", name: "New""#, "id"),
    ("updateBatch", r#"input: { id: "ID", name: "New" }"#, "input.id"),
    ("archiveBatch", r#"id: "ID""#, "id"),
    ("restoreBatch", r#"id: "ID""#, "id"),
    ("deleteBatch", r#"id: "ID""#, "id"),
    ("pinAifProjects", r#"batchId: "ID", pin: ["x"]"#, "batchId"),
    ("importProjects", r#"input: { batchId: "ID", source: { text: "a" } }"#, "input.batchId"),
    ("createProject", r#"input: { batchId: "ID", name: "New" }"#, "input.batchId"),
    ("createExport", r#"input: { batchId: "ID", format: CSV }"#, "input.batchId"),
    ("startGeneration", r#"input: { generation: { batchId: "ID" } }"#, "input.generation.batchId"),
    ("cancelGeneration", r#"runId: "ID""#, "runId"),
    ("updateProject", r#"input: { id: "ID", name: "New" }"#, "input.id"),
    ("approveProject", r#"id: "ID""#, "id"),
    ("unapproveProject", r#"id: "ID", reason: "Wrong.""#, "id"),
    ("editSection", r#"input: { sectionId: "ID", text: "New.", expectedRevision: 1 }"#, "input.sectionId"),
    ("restoreSectionRevision", r#"sectionId: "ID", number: 1"#, "sectionId"),
    ("updateTemplate", r#"input: { id: "ID", name: "New" }"#, "input.id"),
    ("duplicateTemplate", r#"id: "ID", name: "Copy""#, "id"),
    ("archiveTemplate", r#"id: "ID""#, "id"),
    ("restoreTemplate", r#"id: "ID""#, "id"),
    ("deleteTemplate", r#"id: "ID""#, "id"),
];

/// Mutations that change what is in a batch, by the id that stands in them.
const IN_BATCH: &[&str] = &["renameBatch", "updateBatch", "importProjects", "createProject", "startGeneration", "pinAifProjects"];

async fn refused(client: &Client, mutation: &str, arguments: &str, id: &str) -> (String, String) {
    refusal(&client.change(&format!("{mutation}({})", arguments.replace("ID", id)), "", "__typename", json!({})).await)
}

fn arguments_of(mutation: &str) -> &'static str {
    BY_ID.iter().find(|(name, _, _)| *name == mutation).map_or_else(|| panic!("no {mutation}"), |(_, arguments, _)| arguments)
}

/// Asserts that a field refuses an argument by name.
async fn assert_argument(client: &Client, query: &str, values: Value, path: &Value, argument: &str) {
    let error = client.fail(query, values.clone()).await;
    assert_eq!((&error["extensions"]["code"], &error["path"]), (&json!("VALIDATION_FAILED"), path), "{query} {values}: {error:#}");
    assert_eq!(error["extensions"]["argument"], argument, "{query} {values}: {error:#}");
    assert!(text(&error["message"]).ends_with('.'), "{error:#}");
}

/// What there is, to see that a refusal changed nothing.
async fn everything(client: &Client) -> Value {
    let query = "{ batches(filter: { lifecycle: [ACTIVE, ARCHIVED] }) { totalCount nodes { id name revision updatedAt imports { totalCount } \
        runs { totalCount } exports { totalCount } } } projects(filter: { includeDeleted: true }) { totalCount nodes { id name revision updatedAt } } \
        templates(filter: { includeArchived: true }) { totalCount nodes { id updatedAt } } }";
    client.run(query, json!({})).await
}

on_both! {
    async fn an_id_that_names_nothing_is_not_found(app: TestApp) {
        let adviser = app.adviser();
        let viewer = adviser.run("{ viewer { workspace { id } } }", json!({})).await["viewer"]["workspace"]["id"].clone();
        let unknown = |kind: &str| URL_SAFE_NO_PAD.encode(format!("{kind}:{}", uuid::Uuid::new_v4()));
        let before = everything(&adviser).await;
        for (mutation, arguments, field) in BY_ID {
            for id in ["nonsense".to_owned(), String::new(), text(&viewer), unknown("Batch"), unknown("Project"), unknown("Section"), unknown("Template")] {
                assert_eq!(refused(&adviser, mutation, arguments, &id).await, ("NOT_FOUND".into(), (*field).into()), "{mutation} {id}");
            }
        }
        for mutation in ["deleteProjects", "restoreProjects", "approveProjects"] {
            let id = unknown("Project");
            let (done, failed) = adviser.bulk(mutation, &[&id, "nonsense"]).await;
            assert_eq!((done, failed), (json!([]), vec![(id, "NOT_FOUND".to_owned()), ("nonsense".into(), "NOT_FOUND".into())]));
        }
        assert_eq!(everything(&adviser).await, before);
        let query = "query($id: ID!) { batch(id: $id) { id } project(id: $id) { id } node(id: $id) { id } nodes(ids: [$id]) { id } \
            template(by: { id: $id }) { id } projectByRef(batchId: $id, externalRef: \"P-1\") { id } }";
        for id in ["nonsense".to_owned(), unknown("Batch"), unknown("Project"), unknown("Nothing")] {
            let nothing = json!({ "batch": null, "project": null, "node": null, "nodes": [null], "template": null, "projectByRef": null });
            assert_eq!(adviser.run(query, json!({ "id": id })).await, nothing);
        }
        let fields = [("batchProgress", "batchId"), ("projectDraft", "projectId"), ("importProgress", "importId"), ("exportProgress", "exportId")];
        for (field, argument) in fields {
            let mut socket = adviser.socket().await;
            let query = format!("subscription($id: ID!) {{ {field}({argument}: $id) {{ __typename }} }}");
            let mut events = socket.subscribe(&query, json!({ "id": unknown("Batch") })).await;
            let errors = events.next_or_errors().await.expect_err("an error");
            assert_eq!(errors[0]["extensions"]["code"], "NOT_FOUND", "{field}: {errors}");
        }
        app.stop().await;
    }

    async fn an_archived_or_deleted_batch_is_read_only(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.generated("Acme", 1).await;
        let section = adviser.project(&ids[0]).await["sections"][5].clone();
        for end in ["archiveBatch", "deleteBatch"] {
            done(&adviser.by_id(end, "__typename", &batch).await);
            let before = adviser.project(&ids[0]).await;
            for mutation in IN_BATCH {
                assert_eq!(refused(&adviser, mutation, arguments_of(mutation), &batch).await.0, "WRONG_STATE", "{mutation} after {end}");
            }
            for mutation in ["updateProject", "approveProject", "unapproveProject"] {
                assert_eq!(refused(&adviser, mutation, arguments_of(mutation), &ids[0]).await.0, "WRONG_STATE", "{mutation} after {end}");
            }
            assert_eq!(refusal(&adviser.edit(&section, "New.").await).0, "WRONG_STATE", "{end}");
            for mutation in ["deleteProjects", "approveProjects"] {
                assert_eq!(adviser.bulk(mutation, &[&ids[0]]).await.1, [(ids[0].clone(), "WRONG_STATE".to_owned())], "{mutation} after {end}");
            }
            if end == "deleteBatch" {
                for mutation in ["archiveBatch", "createExport"] {
                    assert_eq!(refused(&adviser, mutation, arguments_of(mutation), &batch).await.0, "WRONG_STATE", "{mutation} after {end}");
                }
            }
            assert_eq!(adviser.project(&ids[0]).await, before, "{end}");
            done(&adviser.by_id("restoreBatch", "__typename", &batch).await);
        }
        done(&adviser.edit(&section, "New.").await);
        app.stop().await;
    }

    async fn wrong_pages_name_the_argument(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.generated("Acme", 2).await;
        done(&adviser.input("createExport", "export { id }", json!({ "batchId": batch, "format": "CSV", "approvedOnly": false })).await);
        let query = "query($first: Int, $after: String, $last: Int, $before: String, $order: [BatchOrder!], $projects: [ProjectOrder!]) { ROOT }";
        let page = "first: $first, after: $after, last: $last, before: $before";
        let lists = [
            (format!("batches({page}, orderBy: $order) {{ nodes {{ id }} }} projects(first: 1, orderBy: $projects) {{ totalCount }}"), json!(["batches"])),
            (format!("projects({page}, orderBy: $projects) {{ nodes {{ id }} }} batches(first: 1, orderBy: $order) {{ totalCount }}"), json!(["projects"])),
            (format!("batch(id: \"{batch}\") {{ projects({page}, orderBy: $projects) {{ nodes {{ id }} }} }} batches(first: 1, orderBy: $order) {{ totalCount }}"), json!(["batch", "projects"])),
        ];
        let names = adviser.run("{ batches(orderBy: [{ field: NAME }]) { pageInfo { endCursor } } projects(orderBy: [{ field: NAME }]) { pageInfo { endCursor } } \
            templates { pageInfo { endCursor } } }", json!({})).await;
        let cursor = |list: &str| names[list]["pageInfo"]["endCursor"].clone();
        for (root, path) in &lists {
            let query = query.replace("ROOT", root);
            let other = if path[0] == "batches" { cursor("projects") } else { cursor("batches") };
            let own = if path[0] == "batches" { cursor("batches") } else { cursor("projects") };
            let truncated = json!(text(&own)[..20]);
            for (values, argument) in [
                (json!({ "first": 101 }), "first"),
                (json!({ "first": 0 }), "first"),
                (json!({ "first": -1 }), "first"),
                (json!({ "last": 101 }), "last"),
                (json!({ "last": 0 }), "last"),
                (json!({ "first": 1, "last": 1 }), "last"),
                (json!({ "after": "nonsense" }), "after"),
                (json!({ "after": "" }), "after"),
                (json!({ "before": "bm9uc2Vuc2U" }), "before"),
                (json!({ "after": truncated }), "after"),
                (json!({ "after": own }), "after"),
                (json!({ "before": other, "last": 1 }), "before"),
                (json!({ "after": cursor("templates") }), "after"),
            ] {
                assert_argument(&adviser, &query, values, path, argument).await;
            }
            // with its own order the cursor is good, in the other direction it is not
            let order = |direction: &str| json!([{ "field": "NAME", "direction": direction }]);
            adviser.run(&query, json!({ "after": own, "order": order("ASC"), "projects": order("ASC") })).await;
            assert_argument(&adviser, &query, json!({ "after": own, "order": order("DESC"), "projects": order("DESC") }), path, "after").await;
        }
        let import = adviser.run("query($id: ID!) { batch(id: $id) { imports { nodes { id } } runs { nodes { id } } } }", json!({ "id": batch })).await;
        let (import, run) = (text(&import["batch"]["imports"]["nodes"][0]["id"]), text(&import["batch"]["runs"]["nodes"][0]["id"]));
        let section = text(&adviser.project(&ids[0]).await["sections"][0]["id"]);
        for (root, path) in [
            ("templates(PAGE) { totalCount }".to_owned(), json!(["templates"])),
            ("template(by: { key: \"software-project\" }) { versions(PAGE) { totalCount } }".into(), json!(["template", "versions"])),
            (format!("batch(id: \"{batch}\") {{ runs(PAGE) {{ totalCount }} }}"), json!(["batch", "runs"])),
            (format!("batch(id: \"{batch}\") {{ imports(PAGE) {{ totalCount }} }}"), json!(["batch", "imports"])),
            (format!("batch(id: \"{batch}\") {{ exports(PAGE) {{ totalCount }} }}"), json!(["batch", "exports"])),
            (format!("project(id: \"{}\") {{ attempts(PAGE) {{ totalCount }} }}", ids[0]), json!(["project", "attempts"])),
            (format!("node(id: \"{run}\") {{ ... on GenerationRun {{ attempts(PAGE) {{ totalCount }} }} }}"), json!(["node", "attempts"])),
            (format!("node(id: \"{import}\") {{ ... on ImportJob {{ issues(PAGE) {{ totalCount }} }} }}"), json!(["node", "issues"])),
            (format!("node(id: \"{import}\") {{ ... on ImportJob {{ projects(PAGE) {{ totalCount }} }} }}"), json!(["node", "projects"])),
            (format!("node(id: \"{section}\") {{ ... on Section {{ revisions(PAGE) {{ totalCount }} }} }}"), json!(["node", "revisions"])),
        ] {
            for (page, argument) in [("first: 101", "first"), ("first: 0", "first"), ("after: \"nonsense\"", "after")] {
                assert_argument(&adviser, &format!("{{ {} }}", root.replace("PAGE", page)), json!({}), &path, argument).await;
            }
        }
        let preview = format!("{{ node(id: \"{import}\") {{ ... on ImportJob {{ preview(first: 101) {{ row }} }} }} }}");
        assert_argument(&adviser, &preview, json!({}), &json!(["node", "preview"]), "first").await;
        app.stop().await;
    }

    async fn a_forged_cursor_is_refused_like_a_malformed_one(app: TestApp) {
        let adviser = app.adviser();
        adviser.batch_of("Acme", 1).await;
        for (list, fields) in [("batches", "NAME"), ("projects", "EXPENDITURE")] {
            let query = format!("query($after: String) {{ {list}(after: $after, orderBy: [{{ field: {fields} }}]) {{ nodes {{ id }} pageInfo {{ endCursor }} }} }}");
            let cursor = text(&adviser.run(&query, json!({})).await[list]["pageInfo"]["endCursor"]);
            let inside: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).expect("base64url")).expect("JSON");
            let values = inside["values"].as_array().expect("values").clone();
            for forged in [json!([]), json!([values[1]]), json!([values[1], values[0]]), json!([values[0], values[1], values[1]]), json!([{ "n": "x" }, values[1]])] {
                let mut inside = inside.clone();
                inside["values"] = forged;
                let after = URL_SAFE_NO_PAD.encode(inside.to_string());
                assert_argument(&adviser, &query, json!({ "after": after }), &json!([list]), "after").await;
            }
        }
        app.stop().await;
    }

    async fn too_many_ids_and_none_are_refused(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 1).await;
        let many: Vec<_> = (0..101).map(|_| ids[0].clone()).collect();
        for mutation in ["deleteProjects", "restoreProjects", "approveProjects"] {
            for (asked, code) in [(&many[..], "TOO_MANY"), (&[], "REQUIRED")] {
                let payload = adviser.change(&format!("{mutation}(ids: $ids)"), "$ids: [ID!]!", "done failed { id }", json!({ "ids": asked })).await;
                assert_eq!(refusal(&payload), (code.to_owned(), "ids".into()), "{mutation}");
                assert_eq!((&payload["done"], &payload["failed"]), (&json!([]), &json!([])));
            }
        }
        let pin = json!({ "batch": batch, "pin": many });
        let payload = adviser.change("pinAifProjects(batchId: $batch, pin: $pin)", "$batch: ID!, $pin: [ID!]", "batch { id }", pin).await;
        assert_eq!(refusal(&payload).0, "TOO_MANY");
        assert_eq!(adviser.project(&ids[0]).await["aifPinned"], false);
        assert_argument(&adviser, "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": many }), &json!(["nodes"]), "ids").await;
        assert_eq!(adviser.batch(&batch).await["counts"]["total"], 1);
        app.stop().await;
    }

    async fn amounts_are_pounds_with_two_decimals_and_never_below_zero(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let id = adviser.create_project(&batch, row(1)).await;
        let before = everything(&adviser).await;
        for amount in ["0.001", "1.005", "-0.01", "10000000000.01", "99999999999999999999"] {
            let costs = json!({ "software": amount });
            let payload = adviser.input("createProject", "project { id }", json!({ "batchId": batch, "name": "New", "costs": costs })).await;
            assert_eq!(refusal(&payload), ("INVALID".into(), "input.costs.software".into()), "{amount}");
            let payload = adviser.input("updateProject", "project { id }", json!({ "id": id, "name": "New", "costs": costs })).await;
            assert_eq!(refusal(&payload), ("INVALID".into(), "input.costs.software".into()), "{amount}");
        }
        let mut wrong = rows(2);
        wrong[1]["costs"]["staff"] = json!("12.345");
        let payload = adviser.input("importProjects", "import { id }", json!({ "batchId": batch, "source": { "rows": wrong } })).await;
        assert_eq!(refusal(&payload), ("INVALID".into(), "input.source.rows.1.costs.staff".into()));
        let indirect = json!({ "batchId": batch, "name": "New", "costs": { "staff": "10", "qualifyingIndirectActivities": "11" } });
        assert_eq!(refusal(&adviser.input("createProject", "project { id }", indirect).await).1, "input.costs.qualifyingIndirectActivities");
        // a float is no amount at all
        let query = "mutation($input: UpdateProjectInput!) { updateProject(input: $input) { project { id } } }";
        for float in [json!(0.1), json!("1e3"), json!("12,50"), json!(true)] {
            let error = adviser.fail(query, json!({ "input": { "id": id, "costs": { "staff": float } } })).await;
            assert_eq!(error["extensions"]["code"], "VALIDATION_FAILED", "{error:#}");
        }
        assert_eq!(everything(&adviser).await, before);
        app.stop().await;
    }

    async fn texts_that_are_too_long_are_refused_by_their_place(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 1).await;
        let section = adviser.project(&ids[0]).await["sections"][0].clone();
        let before = everything(&adviser).await;
        let long = |chars: usize| "é".repeat(chars);
        let template = json!([{ "key": "baseline", "title": "Baseline", "guidance": "Say it." }]);
        for (mutation, input, field) in [
            ("createBatch", json!({ "name": long(201) }), "input.name"),
            ("createBatch", json!({ "name": "New", "externalRef": long(101) }), "input.externalRef"),
            ("createBatch", json!({ "name": "New", "claim": { "companyName": long(201) } }), "input.claim.companyName"),
            ("updateBatch", json!({ "id": batch, "name": long(201) }), "input.name"),
            ("updateBatch", json!({ "id": batch, "description": long(10_001) }), "input.description"),
            ("createProject", json!({ "batchId": batch, "name": long(501) }), "input.name"),
            ("createProject", json!({ "batchId": batch, "name": "New", "externalRef": long(101) }), "input.externalRef"),
            ("createProject", json!({ "batchId": batch, "name": "New", "facts": { "baseline": long(20_001) } }), "input.facts.baseline"),
            ("updateProject", json!({ "id": ids[0], "name": long(501) }), "input.name"),
            ("updateProject", json!({ "id": ids[0], "facts": { "outcome": long(20_001) } }), "input.facts.outcome"),
            ("createTemplate", json!({ "name": long(201), "sections": template }), "input.name"),
            ("createTemplate", json!({ "name": "New", "instructions": long(4_001), "sections": template }), "input.instructions"),
            ("editSection", json!({ "sectionId": section["id"], "expectedRevision": 0, "text": long(20_001) }), "input.text"),
            ("editSection", json!({ "sectionId": section["id"], "expectedRevision": 0, "text": "New.", "note": long(2_001) }), "input.note"),
            ("startGeneration", json!({ "generation": { "batchId": batch, "instructions": long(20_001) } }), "input.generation.instructions"),
        ] {
            assert_eq!(refusal(&adviser.input(mutation, "__typename", input).await), ("TOO_LONG".into(), field.into()), "{mutation}");
        }
        // what is just short enough is kept
        let payload = adviser.input("updateProject", "project { name }", json!({ "id": ids[0], "name": long(500) })).await;
        assert_eq!(done(&payload)["project"]["name"], long(500));
        done(&adviser.input("updateProject", "project { name }", json!({ "id": ids[0], "name": "Project 1" })).await);
        let counts = |state: &Value| state["batches"]["nodes"].as_array().map(Vec::len).zip(state["projects"]["totalCount"].as_i64());
        assert_eq!(counts(&everything(&adviser).await), counts(&before));
        app.stop().await;
    }

    async fn control_characters_are_refused_or_taken_out_and_never_a_fault(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 1).await;
        let section = adviser.project(&ids[0]).await["sections"][0].clone();
        let bad = "a\u{0}b\u{7}";
        for (mutation, input, field) in [
            ("createBatch", json!({ "name": bad }), "input.name"),
            ("updateBatch", json!({ "id": batch, "description": bad }), "input.description"),
            ("createTemplate", json!({ "name": bad, "sections": [{ "key": "k", "title": "T", "guidance": "G" }] }), "input.name"),
            ("editSection", json!({ "sectionId": section["id"], "expectedRevision": 0, "text": bad }), "input.text"),
            ("startGeneration", json!({ "generation": { "batchId": batch, "instructions": bad } }), "input.generation.instructions"),
        ] {
            assert_eq!(refusal(&adviser.input(mutation, "__typename", input).await), ("INVALID".into(), field.into()), "{mutation}");
        }
        // facts come from files of all kinds: they are cleaned, as in an import
        let input = json!({ "id": ids[0], "name": bad, "externalRef": bad, "facts": { "baseline": "a\u{0}b" } });
        let payload = adviser.input("updateProject", "project { name externalRef facts { baseline } }", input).await;
        assert_eq!(done(&payload)["project"], json!({ "name": "ab", "externalRef": "ab", "facts": { "baseline": "ab" } }));
        // what is only looked for is not found
        let query = "query($bad: String!, $batch: ID!) { batches(filter: { text: $bad }) { totalCount } \
            projects(filter: { text: $bad, sector: [$bad], claimRef: [$bad] }) { totalCount } templates(filter: { text: $bad }) { totalCount } \
            template(by: { key: $bad }) { id } projectByRef(batchId: $batch, externalRef: $bad) { id } }";
        let none = json!({ "totalCount": 0 });
        let nothing = json!({ "batches": none, "projects": none, "templates": none, "template": null, "projectByRef": null });
        assert_eq!(adviser.run(query, json!({ "bad": bad, "batch": batch })).await, nothing);
        let filter = json!({ "sector": [bad] });
        let payload = adviser.input("createExport", "export { id }", json!({ "batchId": batch, "format": "CSV", "approvedOnly": false, "filter": filter })).await;
        assert_eq!(refusal(&payload).0, "WRONG_STATE");
        let options = json!({ "columns": [{ "heading": bad, "target": "sector" }] });
        let import = adviser.import_of(json!({ "batchId": batch, "source": { "text": "a\u{0},b\n1,2\n" }, "options": options })).await;
        assert_eq!(import["status"], "FAILED");
        app.stop().await;
    }

    async fn null_and_blank_are_refused_where_a_value_is_required(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 1).await;
        let payload = adviser.change("duplicateTemplate(id: $id, name: \"Ours\")", "$id: ID!", "template { id }", json!({
            "id": adviser.run("{ template(by: { key: \"software-project\" }) { id } }", json!({})).await["template"]["id"] })).await;
        let template = text(&done(&payload)["template"]["id"]);
        let before = everything(&adviser).await;
        for (mutation, input, field) in [
            ("createBatch", json!({ "name": " \n " }), "input.name"),
            ("updateBatch", json!({ "id": batch, "name": null, "description": "Half." }), "input.name"),
            ("updateBatch", json!({ "id": batch, "name": "", "description": "Half." }), "input.name"),
            ("updateBatch", json!({ "id": batch, "templateId": null, "description": "Half." }), "input.templateId"),
            ("createProject", json!({ "batchId": batch, "name": "" }), "input.name"),
            ("updateProject", json!({ "id": ids[0], "name": null, "facts": { "sector": "Half" } }), "input.name"),
            ("updateProject", json!({ "id": ids[0], "name": "\u{200B} ", "facts": { "sector": "Half" } }), "input.name"),
            ("createTemplate", json!({ "name": "New", "sections": [] }), "input.sections"),
            ("updateTemplate", json!({ "id": template, "name": null, "description": "Half." }), "input.name"),
            ("updateTemplate", json!({ "id": template, "sections": null, "description": "Half." }), "input.sections"),
            ("importProjects", json!({ "batchId": batch, "source": { "rows": [] } }), "input.source.rows"),
        ] {
            assert_eq!(refusal(&adviser.input(mutation, "__typename", input.clone()).await), ("REQUIRED".into(), field.into()), "{mutation} {input}");
        }
        assert_eq!(everything(&adviser).await, before);
        // all problems are told at once
        let input = json!({ "batchId": batch, "name": "", "facts": { "startDate": "2026-01-01", "endDate": "2025-01-01", "competentProfessionalYears": 99 } });
        let payload = adviser.input("createProject", "project { id }", input).await;
        let fields: Vec<_> = payload["userErrors"].as_array().expect("problems").iter().map(|problem| problem["field"].clone()).collect();
        let expected = ["name", "facts.endDate", "facts.competentProfessionalYears"].map(|field| {
            json!(std::iter::once("input").chain(field.split('.')).collect::<Vec<_>>())
        });
        assert_eq!(fields, expected);
        app.stop().await;
    }

    async fn a_source_is_exactly_one_of_file_rows_and_text(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let query = "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } } }";
        for source in [json!({}), json!({ "text": "a", "rows": [] }), json!({ "text": null })] {
            let error = adviser.fail(query, json!({ "input": { "batchId": batch, "source": source } })).await;
            assert_eq!(error["extensions"]["code"], "VALIDATION_FAILED", "{source}: {error:#}");
        }
        let options = json!({ "delimiter": "::", "headerRow": 0, "encoding": "utf-16" });
        let payload = adviser.input("importProjects", "import { id }", json!({ "batchId": batch, "source": { "text": "a" }, "options": options })).await;
        assert_eq!(refusal(&payload), ("INVALID".into(), "input.options.delimiter".into()));
        let codes: Vec<_> = payload["userErrors"].as_array().expect("problems").iter().map(|problem| text(&problem["code"])).collect();
        assert_eq!(codes, ["INVALID", "INVALID", "UNSUPPORTED_FILE"]);
        assert_eq!(everything(&adviser).await["batches"]["nodes"][0]["imports"]["totalCount"], 0);
        app.stop().await;
    }
}

/// While a run is held at its first call, a second start and changes of what it writes are refused.
async fn a_running_batch_refuses_what_would_disturb_it(mode: Mode) {
    let drafter = HeldDrafter::new(0);
    let held = drafter.clone();
    let app = TestApp::start_with(mode, |surroundings| surroundings.drafters = vec![held]).await;
    let adviser = app.adviser();
    let (batch, ids) = adviser.batch_of("Acme", 1).await;
    let section = adviser.project(&ids[0]).await["sections"][0].clone();
    let run = adviser.start(&batch).await;
    let payload =
        adviser.input("startGeneration", "run { id }", json!({ "generation": { "batchId": batch, "scope": "ALL_UNAPPROVED" } })).await;
    assert_eq!(refusal(&payload), ("ALREADY_RUNNING".into(), "input.generation.batchId".into()));
    assert_eq!((&payload["run"]["id"], &payload["userErrors"][0]["retryable"]), (&json!(run), &json!(true)));
    for mutation in ["archiveBatch", "deleteBatch"] {
        assert_eq!(refused(&adviser, mutation, arguments_of(mutation), &batch).await, ("WRONG_STATE".into(), "id".into()), "{mutation}");
    }
    for mutation in ["updateProject", "approveProject", "unapproveProject"] {
        assert_eq!(refused(&adviser, mutation, arguments_of(mutation), &ids[0]).await.0, "WRONG_STATE", "{mutation}");
    }
    assert_eq!(refusal(&adviser.edit(&section, "New.").await).0, "WRONG_STATE");
    drafter.permits.add_permits(100);
    assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
    assert_eq!(refused(&adviser, "cancelGeneration", arguments_of("cancelGeneration"), &run).await, ("WRONG_STATE".into(), "runId".into()));
    assert_eq!(refused(&adviser, "startGeneration", arguments_of("startGeneration"), &batch).await.0, "WRONG_STATE", "nothing is missing");
    let query = "query($id: ID!) { batch(id: $id) { runs { totalCount } } }";
    assert_eq!(adviser.run(query, json!({ "id": batch })).await["batch"]["runs"]["totalCount"], 1);
    app.stop().await;
}

#[tokio::test]
async fn a_running_batch_refuses_what_would_disturb_it_on_sqlite() {
    a_running_batch_refuses_what_would_disturb_it(Mode::Embedded).await;
}

#[tokio::test]
async fn a_running_batch_refuses_what_would_disturb_it_on_postgres() {
    if has_postgres() {
        a_running_batch_refuses_what_would_disturb_it(Mode::ScaledOut).await;
    }
}
