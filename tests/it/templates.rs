//! Templates: create, change (a new version), copy, archive, restore and delete.

use crate::on_both;
use crate::support::Client;
use crate::support::calls::{done, refusal, text, texts};
use crate::support::client::START;
use crate::support::row;
use serde_json::{Value, json};

const FIELDS: &str = "template { id key name description builtIn archived currentVersion { number instructions note \
    sections { key title required sourceFacts limits { minWords maxWords maxChars } } } }";
const FIND: &str = "query($by: TemplateBy!) { template(by: $by) { id key archived currentVersion { number } version(number: 1) { sections { title } } \
    versions { totalCount nodes { number note sections { title } } } } }";

fn sections() -> Value {
    json!([
        { "key": "baseline", "title": "Where knowledge stood", "guidance": "Say what was known.", "sourceFacts": ["baseline"] },
        { "key": "outcome", "title": "What came of it", "guidance": "Say what came of it.", "minWords": 5, "maxWords": 90, "required": false },
    ])
}

async fn create(client: &Client, name: &str) -> String {
    let payload = client.input("createTemplate", FIELDS, json!({ "name": name, "sections": sections() })).await;
    text(&done(&payload)["template"]["id"])
}

async fn duplicate(client: &Client, id: &str, name: &str, key: Option<&str>) -> Value {
    let values = json!({ "id": id, "name": name, "key": key });
    client.change("duplicateTemplate(id: $id, name: $name, key: $key)", "$id: ID!, $name: String!, $key: String", FIELDS, values).await
}

async fn find(client: &Client, by: Value) -> Value {
    client.run(FIND, json!({ "by": by })).await["template"].clone()
}

async fn keys(client: &Client, filter: Value) -> Vec<String> {
    let query = "query($filter: TemplateFilter) { templates(filter: $filter) { totalCount nodes { key } } }";
    let list = client.run(query, json!({ "filter": filter })).await["templates"].clone();
    let keys = texts(&list["nodes"], "key");
    assert_eq!(list["totalCount"], keys.len());
    keys
}

on_both! {
    async fn a_template_is_created_and_found_by_id_and_by_key(app: TestApp) {
        let adviser = app.adviser();
        let new = json!({ "name": " Our short form ", "description": "For small claims.", "instructions": "Be brief.", "sections": sections() });
        let payload = adviser.input("createTemplate", FIELDS, new).await;
        let template = &done(&payload)["template"];
        assert_eq!((&template["key"], &template["name"]), (&json!("our-short-form"), &json!("Our short form")));
        assert_eq!((&template["builtIn"], &template["archived"]), (&json!(false), &json!(false)));
        let version = &template["currentVersion"];
        assert_eq!((&version["number"], &version["instructions"]), (&json!(1), &json!("Be brief.")));
        let outcome = json!({ "key": "outcome", "title": "What came of it", "required": false, "sourceFacts": [],
            "limits": { "minWords": 5, "maxWords": 90, "maxChars": 20000 } });
        assert_eq!(version["sections"][1], outcome);
        assert_eq!(version["sections"][0]["limits"], json!({ "minWords": 0, "maxWords": 500, "maxChars": 20000 }));
        for by in [json!({ "id": template["id"] }), json!({ "key": "our-short-form" })] {
            assert_eq!(find(&adviser, by).await["id"], template["id"]);
        }
        assert_eq!(find(&adviser, json!({ "key": "nonsense" })).await, Value::Null);

        let built_in = ["aif-project-description", "technical-report", "software-project", "client-summary"];
        assert_eq!(keys(&adviser, json!({ "builtIn": true })).await, built_in);
        assert_eq!(keys(&adviser, json!({ "builtIn": false })).await, ["our-short-form"]);
        assert_eq!(keys(&adviser, json!({ "text": "SMALL" })).await, ["our-short-form"]);
        assert_eq!(keys(&adviser, Value::Null).await.len(), 5);
        let payload = adviser.input("createTemplate", FIELDS, json!({ "name": "Our short form", "sections": sections() })).await;
        assert_eq!(refusal(&payload), ("TAKEN".into(), "input.key".into()));
        app.stop().await;
    }

    async fn each_problem_of_a_new_template_names_its_place(app: TestApp) {
        let adviser = app.adviser();
        let section = |change: Value| {
            let mut section = json!({ "key": "baseline", "title": "Baseline", "guidance": "Say it." });
            for (name, value) in change.as_object().expect("an object") {
                section[name] = value.clone();
            }
            section
        };
        for (sections, code, field) in [
            (json!([]), "REQUIRED", "input.sections"),
            (json!(vec![section(json!({})); 2]), "TAKEN", "input.sections.1.key"),
            (json!([section(json!({ "key": "Base line" }))]), "INVALID", "input.sections.0.key"),
            (json!([section(json!({ "title": " " }))]), "REQUIRED", "input.sections.0.title"),
            (json!([section(json!({ "title": "x".repeat(201) }))]), "TOO_LONG", "input.sections.0.title"),
            (json!([section(json!({ "title": "a\u{0}b" }))]), "INVALID", "input.sections.0.title"),
            (json!([section(json!({ "guidance": "a\u{0}b" }))]), "INVALID", "input.sections.0.guidance"),
            (json!([section(json!({ "aifQuestion": "a\u{7}b" }))]), "INVALID", "input.sections.0.aifQuestion"),
            (json!([section(json!({ "aifQuestion": "x".repeat(5_001) }))]), "TOO_LONG", "input.sections.0.aifQuestion"),
            (json!([section(json!({ "sourceFacts": ["moon"] }))]), "INVALID", "input.sections.0.sourceFacts"),
            (json!([section(json!({ "minWords": 9, "maxWords": 8 }))]), "INVALID", "input.sections.0.maxWords"),
            (json!([section(json!({ "maxChars": 20001 }))]), "INVALID", "input.sections.0.maxChars"),
        ] {
            let payload = adviser.input("createTemplate", FIELDS, json!({ "name": "Ours", "sections": sections })).await;
            assert_eq!(refusal(&payload), (code.to_owned(), field.to_owned()), "{sections}");
        }
        let payload = adviser.input("createTemplate", FIELDS, json!({ "name": "Ours", "key": "No Good", "sections": sections() })).await;
        assert_eq!(refusal(&payload), ("INVALID".into(), "input.key".into()));
        assert_eq!(keys(&adviser, json!({ "builtIn": false })).await, Vec::<String>::new());
        app.stop().await;
    }

    async fn a_change_makes_a_new_version_and_old_narratives_keep_theirs(app: TestApp) {
        let adviser = app.adviser();
        let template = create(&adviser, "Ours").await;
        let payload = adviser.input("createBatch", "batch { id }", json!({ "name": "Acme", "templateId": template })).await;
        let batch = text(&done(&payload)["batch"]["id"]);
        let old = adviser.create_project(&batch, row(1)).await;
        let run = adviser.start(&batch).await;
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let before = adviser.project(&old).await;
        assert_eq!(texts(&before["sections"], "key"), ["baseline", "outcome"]);

        let mut more = sections();
        more[0]["title"] = json!("Baseline");
        more.as_array_mut().expect("a list").push(json!({ "key": "advance", "title": "Advance", "guidance": "Say what was sought." }));
        let change = json!({ "id": template, "expectedVersion": 1, "sections": more, "note": "An advance." });
        let payload = adviser.input("updateTemplate", FIELDS, change.clone()).await;
        let version = &done(&payload)["template"]["currentVersion"];
        assert_eq!((&version["number"], &version["note"]), (&json!(2), &json!("An advance.")));
        assert_eq!(texts(&version["sections"], "title"), ["Baseline", "What came of it", "Advance"]);

        assert_eq!(adviser.project(&old).await, before, "what is written keeps its version");
        assert_eq!(before["templateVersion"], json!({ "number": 1, "template": { "id": template } }));
        let new = adviser.create_project(&batch, row(2)).await;
        let project = adviser.project(&new).await;
        assert_eq!((&project["templateVersion"]["number"], texts(&project["sections"], "key").len()), (&json!(2), 3));

        let found = find(&adviser, json!({ "id": template })).await;
        assert_eq!(texts(&found["version"]["sections"], "title"), ["Where knowledge stood", "What came of it"]);
        assert_eq!(found["versions"]["totalCount"], 2);
        let numbers: Vec<_> = found["versions"]["nodes"].as_array().expect("a list").iter().map(|version| version["number"].as_i64()).collect();
        assert_eq!(numbers, [Some(2), Some(1)]);

        let payload = adviser.input("updateTemplate", FIELDS, change).await;
        assert_eq!(refusal(&payload), ("REVISION_CONFLICT".into(), "input.expectedVersion".into()));
        assert_eq!(payload["template"]["currentVersion"]["number"], 2);

        // written anew, the old project follows the new version, and keeps what fits
        let generation = json!({ "batchId": batch, "scope": "LISTED", "projectIds": [old] });
        let data = adviser.run(START, json!({ "input": { "generation": generation } })).await;
        let run = text(&done(&data["startGeneration"])["run"]["id"]);
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
        let after = adviser.project(&old).await;
        assert_eq!((&after["templateVersion"]["number"], texts(&after["sections"], "key").len()), (&json!(2), 3));
        app.stop().await;
    }

    async fn a_built_in_template_is_changed_in_a_copy_only(app: TestApp) {
        let adviser = app.adviser();
        let built_in = text(&find(&adviser, json!({ "key": "software-project" })).await["id"]);
        let payload = adviser.input("updateTemplate", FIELDS, json!({ "id": built_in, "name": "Ours" })).await;
        assert_eq!(refusal(&payload), ("WRONG_STATE".into(), "input.id".into()));
        assert_eq!(refusal(&adviser.by_id("deleteTemplate", "deletedId", &built_in).await), ("WRONG_STATE".into(), "id".into()));

        let payload = duplicate(&adviser, &built_in, "Ours", Some("our-software")).await;
        let copy = &done(&payload)["template"];
        assert_eq!((&copy["key"], &copy["builtIn"], &copy["currentVersion"]["number"]), (&json!("our-software"), &json!(false), &json!(1)));
        assert_eq!(copy["currentVersion"]["sections"].as_array().map(Vec::len), Some(7));
        let change = json!({ "id": copy["id"], "name": "Ours, shorter", "description": null, "instructions": null });
        let payload = adviser.input("updateTemplate", FIELDS, change).await;
        let changed = &done(&payload)["template"];
        assert_eq!((&changed["name"], &changed["description"]), (&json!("Ours, shorter"), &Value::Null));
        assert_eq!((&changed["key"], &changed["currentVersion"]["instructions"]), (&json!("our-software"), &Value::Null));
        assert_eq!(changed["currentVersion"]["sections"], copy["currentVersion"]["sections"]);
        assert_eq!(refusal(&duplicate(&adviser, &built_in, "Other", Some("our-software")).await), ("TAKEN".into(), "key".into()));
        assert_eq!(refusal(&duplicate(&adviser, &built_in, " ", None).await), ("REQUIRED".into(), "name".into()));
        app.stop().await;
    }

    async fn an_archived_template_is_out_of_the_way_until_it_is_restored(app: TestApp) {
        let adviser = app.adviser();
        let template = create(&adviser, "Ours").await;
        let create_batch = async |name: &str| adviser.input("createBatch", "batch { id }", json!({ "name": name, "templateId": template })).await;
        let user = text(&done(&create_batch("User").await)["batch"]["id"]);
        let other = adviser.create_batch("Other").await;
        for batch in [&user, &other] {
            adviser.create_project(batch, row(1)).await;
        }
        for _ in 0..2 {
            assert_eq!(done(&adviser.by_id("archiveTemplate", FIELDS, &template).await)["template"]["archived"], true);
        }
        assert!(!keys(&adviser, Value::Null).await.contains(&"ours".to_owned()));
        assert!(keys(&adviser, json!({ "includeArchived": true })).await.contains(&"ours".to_owned()));
        assert_eq!(refusal(&create_batch("New").await), ("TEMPLATE_UNUSABLE".into(), "input.templateId".into()));
        let payload = adviser.input("updateBatch", "batch { id }", json!({ "id": other, "templateId": template })).await;
        assert_eq!(refusal(&payload), ("TEMPLATE_UNUSABLE".into(), "input.templateId".into()));
        let generation = json!({ "batchId": other, "templateId": template });
        let payload = adviser.input("startGeneration", "run { id }", json!({ "generation": generation })).await;
        assert_eq!(refusal(&payload), ("TEMPLATE_UNUSABLE".into(), "input.generation.templateId".into()));
        let payload = adviser.input("updateTemplate", FIELDS, json!({ "id": template, "name": "Changed" })).await;
        assert_eq!(refusal(&payload), ("WRONG_STATE".into(), "input.id".into()));
        // who uses it keeps it
        let run = adviser.start(&user).await;
        assert_eq!(adviser.follow_run(&user, &run).await, "SUCCEEDED");

        assert_eq!(done(&adviser.by_id("restoreTemplate", FIELDS, &template).await)["template"]["archived"], false);
        done(&create_batch("New").await);
        let default = text(&find(&adviser, json!({ "key": "aif-project-description" })).await["id"]);
        assert_eq!(refusal(&adviser.by_id("archiveTemplate", FIELDS, &default).await), ("WRONG_STATE".into(), "id".into()));
        app.stop().await;
    }

    async fn a_template_is_deleted_only_if_nothing_uses_it(app: TestApp) {
        let adviser = app.adviser();
        let unused = create(&adviser, "Unused").await;
        let payload = adviser.by_id("deleteTemplate", "deletedId purgeAfter", &unused).await;
        assert_eq!((&done(&payload)["deletedId"], &payload["purgeAfter"]), (&json!(unused), &Value::Null));
        assert_eq!(find(&adviser, json!({ "id": unused })).await, Value::Null);
        assert_eq!(refusal(&adviser.by_id("deleteTemplate", "deletedId", &unused).await), ("NOT_FOUND".into(), "id".into()));
        create(&adviser, "Unused").await;

        let used = create(&adviser, "Used").await;
        let payload = adviser.input("createBatch", "batch { id }", json!({ "name": "Acme", "templateId": used })).await;
        let batch = text(&done(&payload)["batch"]["id"]);
        let payload = adviser.by_id("deleteTemplate", "deletedId", &used).await;
        assert_eq!((refusal(&payload), &payload["deletedId"]), (("WRONG_STATE".into(), "id".into()), &Value::Null));
        // a narrative holds on to it even when its batch has moved on
        adviser.create_project(&batch, row(1)).await;
        let default = find(&adviser, json!({ "key": "technical-report" })).await;
        done(&adviser.input("updateBatch", "batch { id }", json!({ "id": batch, "templateId": default["id"] })).await);
        assert_eq!(refusal(&adviser.by_id("deleteTemplate", "deletedId", &used).await), ("WRONG_STATE".into(), "id".into()));
        assert_eq!(find(&adviser, json!({ "id": used })).await["id"], used);
        app.stop().await;
    }
}
