//! Reads: what they cost in statements, objects by id, and where an error of a field goes.

use crate::on_both;
use crate::support::{Client, Mode, PATIENCE, TestApp, accepted, has_postgres};
use claimwright::app::Roles;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Statements of [`NESTED`], whatever it finds: batches, the pages of projects of all of them, and of all these facts,
/// reports, and sections with their texts. The caller is remembered since the first request.
const NESTED_STATEMENTS: u64 = 5;
const NESTED: &str = "{ batches(first: 10) { nodes { name projects(first: 20) { nodes { name status facts { baseline workStatus } \
    quality { score issues { code } } sections { key state text } } } } } }";
const APPROVE: &str = "mutation($id: ID!) { approveProject(id: $id) { project { status } userErrors { code message } } }";

/// A workspace with batches of so many projects; one project of each batch has a narrative.
async fn fill(client: &Client, batches: usize, projects: usize) {
    for number in 1..=batches {
        let (batch, ids) = client.batch_of(&format!("Batch {number}"), projects).await;
        if number <= 2 {
            let (_, status) = client.generate(json!({ "batchId": batch, "scope": "LISTED", "projectIds": [ids[0]] })).await;
            assert_eq!(status, "SUCCEEDED");
        }
    }
}

/// Statements of a query and how many projects it gave.
async fn statements_of(app: &TestApp, client: &Client, query: &str) -> (u64, usize) {
    client.run(query, json!({})).await; // whoever is seen for the first time is stored
    let before = app.statements();
    let data = client.run(query, json!({})).await;
    let statements = app.statements() - before;
    let batches = data["batches"]["nodes"].as_array().expect("batches");
    (statements, batches.iter().map(|batch| batch["projects"]["nodes"].as_array().expect("projects").len()).sum())
}

async fn a_nested_read_costs_the_same_statements_for_many_as_for_few(mode: Mode) {
    let app = TestApp::start(mode).await;
    fill(&app.member("few@practice.example", "few"), 2, 2).await;
    fill(&app.member("many@practice.example", "many"), 10, 20).await;
    // without workers, whose looks at the queue would be counted too
    let app = app.restart_as(Roles::Api).await;
    let (few, many) = (app.member("few@practice.example", "few"), app.member("many@practice.example", "many"));
    let few = statements_of(&app, &few, NESTED).await;
    let many = statements_of(&app, &many, NESTED).await;
    assert_eq!((few.1, many.1), (4, 200));
    assert_eq!(few.0, many.0, "statements grow with depth, never with rows: {few:?}, {many:?}");
    assert_eq!(few.0, NESTED_STATEMENTS);
    app.stop().await;
}

async fn counts_and_links_back_cost_one_statement_for_all_rows(mode: Mode) {
    let app = TestApp::start(mode).await;
    fill(&app.member("few@practice.example", "few"), 2, 2).await;
    fill(&app.member("many@practice.example", "many"), 8, 6).await;
    let app = app.restart_as(Roles::Api).await;
    let query = "{ batches(first: 10) { nodes { activity counts { total needsReview } meanScore activeRun { id } template { key } \
        createdBy { email } projects(first: 20) { nodes { batch { name } templateVersion { number } importedBy { id fileName } } } } } }";
    let few = statements_of(&app, &app.member("few@practice.example", "few"), query).await;
    let many = statements_of(&app, &app.member("many@practice.example", "many"), query).await;
    assert_eq!((few.1, many.1), (4, 48));
    assert_eq!(few.0, many.0, "statements grow with depth, never with rows");
    app.stop().await;
}

/// A query keeps the connection that it reads over: with fewer connections than operations, nobody may wait for a connection
/// that is kept by somebody who waits for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_share_few_connections_and_all_are_answered() {
    if !has_postgres() {
        return;
    }
    let app = TestApp::start_on(Mode::ScaledOut, &[("DATABASE_POOL", "3")], |_| {}).await;
    for number in 1..=3 {
        app.adviser().batch_of(&format!("Batch {number}"), 4).await;
    }
    let app = app.restart_as(Roles::Api).await;
    let client = app.adviser();
    let wide = "{ templates { nodes { key } } batches(first: 10) { nodes { counts { total } meanScore createdBy { email } \
        projects { nodes { batch { name } facts { baseline } quality { score } sections { text } } } } } }";
    let asked = (0..12).map(|number| {
        let client = &client;
        async move {
            if number % 3 == 0 {
                return client.create_batch(&format!("Meanwhile {number}")).await;
            }
            client.run(wide, json!({})).await["batches"]["nodes"].as_array().expect("batches").len().to_string()
        }
    });
    let answers = timeout(PATIENCE, join_all(asked)).await.expect("nobody waits for ever");
    assert!(answers.iter().all(|answer| !answer.is_empty() && answer != "0"), "{answers:?}");
    app.stop().await;
}

/// On several threads, as the server runs: there is no chance in it.
mod a_nested_read_costs_the_same_statements_for_many_as_for_few {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn embedded() {
        Box::pin(super::a_nested_read_costs_the_same_statements_for_many_as_for_few(Mode::Embedded)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn scaled_out() {
        if has_postgres() {
            Box::pin(super::a_nested_read_costs_the_same_statements_for_many_as_for_few(Mode::ScaledOut)).await;
        }
    }
}

/// On several threads, as the server runs: there is no chance in it.
mod counts_and_links_back_cost_one_statement_for_all_rows {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn embedded() {
        Box::pin(super::counts_and_links_back_cost_one_statement_for_all_rows(Mode::Embedded)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn scaled_out() {
        if has_postgres() {
            Box::pin(super::counts_and_links_back_cost_one_statement_for_all_rows(Mode::ScaledOut)).await;
        }
    }
}

on_both! {
    async fn projects_by_their_ids_are_read_with_their_sections_in_one_statement(app: TestApp) {
        let client = app.adviser();
        let (batch, _) = client.batch_of("Acme", 3).await;
        let (_, status) = client.generate(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        assert_eq!(status, "SUCCEEDED");
        let (_, empty) = client.batch_of("Empty", 1).await;
        // without workers, whose looks at the queue would be counted too
        let app = app.restart_as(Roles::Api).await;
        let client = app.adviser();
        let by_list = "query($id: ID!) { batch(id: $id) { projects { nodes { id name sections { key state text } } } } }";
        let data = client.run(by_list, json!({ "id": batch })).await;
        let listed = data["batch"]["projects"]["nodes"].as_array().expect("projects");
        let keys: Vec<&Value> = listed[0]["sections"].as_array().expect("sections").iter().map(|section| &section["key"]).collect();
        assert!(keys.len() > 2, "{keys:?}");
        let variables = json!({ "a": listed[0]["id"], "b": listed[1]["id"], "c": empty[0], "d": batch });
        let query = format!(
            "query($a: ID!, $b: ID!, $c: ID!, $d: ID!) {{ a: project(id: $a) {{ id name sections {{ key state text }} }} b: project(id: $b) {{                 last: section(key: {}) {{ text }} none: section(key: \"nothing\") {{ text }} sections {{ key }} }}                 c: project(id: $c) {{ deleted sections {{ text wordCount }} }} d: project(id: $d) {{ sections {{ key }} }} }}",
            keys[keys.len() - 1]
        );
        let ask = async |query: &str, variables: &Value| {
            let before = app.statements();
            let data = client.run(query, variables.clone()).await;
            assert_eq!(app.statements() - before, 1, "{query}");
            data
        };
        let data = ask(&query, &variables).await;
        // what was validated before runs without async-graphql's executor
        assert_eq!(ask(&query, &variables).await, data);
        let alone = "query($id: ID!) { project(id: $id) { id name sections { key state text } } }";
        for _ in 0..2 {
            assert_eq!(ask(alone, &json!({ "id": listed[2]["id"] })).await["project"], listed[2]);
            assert_eq!(ask(alone, &json!({ "id": batch })).await["project"], Value::Null);
        }
        assert_eq!(data["a"], listed[0]);
        let (b, sections) = (&data["b"], listed[1]["sections"].as_array().expect("sections"));
        assert_eq!(b["last"]["text"], sections[sections.len() - 1]["text"]);
        assert_eq!(b["none"], Value::Null);
        assert_eq!(b["sections"].as_array().expect("sections").iter().map(|section| &section["key"]).collect::<Vec<_>>(), keys);
        let unwritten = json!({ "text": "", "wordCount": 0 });
        assert_eq!(data["c"], json!({ "deleted": false, "sections": vec![unwritten; keys.len()] }));
        assert_eq!(data["d"], Value::Null, "the id of something else");
        app.stop().await;
    }

    async fn a_change_of_a_batch_is_stored_with_its_event(app: TestApp) {
        let batch = app.adviser().create_batch("Acme").await;
        let app = app.restart_as(Roles::Api).await;
        let client = app.adviser();
        let rename = "mutation($id: ID!, $name: String!) { renameBatch(id: $id, name: $name) { batch { name revision eventCursor } } }";
        let first = client.run(rename, json!({ "id": batch, "name": "Acme 1" })).await;
        let before = app.statements();
        let second = client.run(rename, json!({ "id": batch, "name": "Acme 2" })).await;
        let statements = app.statements() - before;
        assert!(statements <= 3, "the lock, and the change with its event: {statements}");
        let (first, second) = (&first["renameBatch"]["batch"], &second["renameBatch"]["batch"]);
        assert_eq!(second["revision"].as_i64(), first["revision"].as_i64().map(|revision| revision + 1));
        assert_ne!(second["eventCursor"], first["eventCursor"]);
        let read = client.run("query($id: ID!) { batch(id: $id) { name revision eventCursor } }", json!({ "id": batch })).await;
        assert_eq!(read["batch"], *second);
        app.stop().await;
    }

    async fn every_kind_of_object_is_found_by_its_id(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 1).await;
        accepted(&adviser.run(APPROVE, json!({ "id": projects[0] })).await, "approveProject");
        let export = "mutation($input: CreateExportInput!) { createExport(input: $input) { export { id } userErrors { code message } } }";
        let data = adviser.run(export, json!({ "input": { "batchId": batch, "format": "CSV" } })).await;
        let export = accepted(&data, "createExport")["export"]["id"].clone();
        let query = "query($batch: ID!, $project: ID!) { viewer { user { id } workspace { id } } \
            batch(id: $batch) { id template { id currentVersion { id } } runs { nodes { id attempts(first: 1) { nodes { id } } } } imports { nodes { id } } } \
            project(id: $project) { id sections { id revisions { nodes { id } } } } }";
        let data = adviser.run(query, json!({ "batch": batch, "project": projects[0] })).await;
        let (b, p) = (&data["batch"], &data["project"]);
        let run = &b["runs"]["nodes"][0];
        let kinds = [
            ("Batch", &b["id"]),
            ("Project", &p["id"]),
            ("Section", &p["sections"][0]["id"]),
            ("SectionRevision", &p["sections"][0]["revisions"]["nodes"][0]["id"]),
            ("Template", &b["template"]["id"]),
            ("TemplateVersion", &b["template"]["currentVersion"]["id"]),
            ("GenerationRun", &run["id"]),
            ("GenerationAttempt", &run["attempts"]["nodes"][0]["id"]),
            ("ImportJob", &b["imports"]["nodes"][0]["id"]),
            ("Export", &export),
            ("User", &data["viewer"]["user"]["id"]),
            ("Workspace", &data["viewer"]["workspace"]["id"]),
        ];
        let schema = adviser.run("{ __type(name: \"Node\") { possibleTypes { name } } }", json!({})).await;
        let mut possible: Vec<_> = schema["__type"]["possibleTypes"].as_array().expect("types").iter().map(|kind| kind["name"].as_str().expect("a name")).collect();
        let mut tested: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
        possible.sort_unstable();
        tested.sort_unstable();
        assert_eq!(tested, possible, "a kind of node that is not tested here");
        for (kind, id) in kinds {
            let node = adviser.run("query($id: ID!) { node(id: $id) { __typename id } }", json!({ "id": id })).await;
            assert_eq!(node["node"], json!({ "__typename": kind, "id": id }));
        }
        let mut ids: Vec<Value> = kinds.iter().rev().map(|(_, id)| (*id).clone()).collect();
        let mut expected: Vec<Value> = kinds.iter().rev().map(|(kind, id)| json!({ "__typename": kind, "id": id })).collect();
        for (place, nothing) in [(3, "nonsense"), (7, "")] {
            ids.insert(place, json!(nothing));
            expected.insert(place, json!(null));
        }
        ids.push(kinds[0].1.clone()); // twice the same is answered twice
        expected.push(json!({ "__typename": "Batch", "id": kinds[0].1 }));
        let query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }";
        assert_eq!(adviser.run(query, json!({ "ids": ids })).await["nodes"], json!(expected));
        let nothing = app.stranger().run(query, json!({ "ids": ids })).await;
        assert!(nothing["nodes"].as_array().expect("nodes").iter().all(Value::is_null), "{nothing}");
        let error = adviser.fail(query, json!({ "ids": vec![batch; 101] })).await;
        assert_eq!((&error["extensions"]["code"], &error["extensions"]["argument"]), (&json!("VALIDATION_FAILED"), &json!("ids")));
        app.stop().await;
    }

    async fn the_viewer_is_the_bearer_of_the_token(app: TestApp) {
        let query = "{ viewer { user { id email displayName } workspace { id name } } }";
        let (one, two) = (app.adviser().run(query, json!({})).await, app.member("colleague@practice.example", "practice").run(query, json!({})).await);
        assert_eq!(one["viewer"]["user"]["email"], "adviser@practice.example");
        assert_eq!(two["viewer"]["user"]["email"], "colleague@practice.example");
        assert_eq!(one["viewer"]["workspace"], two["viewer"]["workspace"], "a practice is shared");
        assert_ne!(one["viewer"]["user"]["id"], two["viewer"]["user"]["id"]);
        let other = app.stranger().run(query, json!({})).await;
        assert_ne!(one["viewer"]["workspace"]["id"], other["viewer"]["workspace"]["id"]);
        app.stop().await;
    }

    async fn without_a_token_only_the_server_speaks_of_itself(app: TestApp) {
        let anonymous = app.anonymous();
        let query = "{ __typename apiInfo { version schemaVersion rulesVersion maxPageSize maxDepth maxComplexity maxImportRows maxSectionChars \
            maxInlineUploadBytes eventRetentionHours models { provider model streams contextTokens inputPricePerMillion { amount currency } } \
            requestErrorCodes } }";
        let info = anonymous.run(query, json!({})).await["apiInfo"].clone();
        assert_eq!((&info["version"], &info["maxPageSize"], &info["maxSectionChars"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(100), &json!(20_000)));
        assert_eq!((&info["models"][0]["provider"], &info["models"][0]["model"]), (&json!("offline"), &json!("offline-composer-1")));
        assert_eq!(info["models"][0]["inputPricePerMillion"]["currency"], "USD");
        assert!(info["requestErrorCodes"].as_array().is_some_and(|codes| codes.contains(&json!("UNAUTHENTICATED"))));
        for query in ["{ viewer { user { id } } }", "{ apiInfo { version } batches { totalCount } }", "mutation { createBatch(input: { name: \"x\" }) { batch { id } } }"] {
            let (status, body) = anonymous.send(query, json!({})).await;
            assert_eq!((status, &body["errors"][0]["extensions"]["code"]), (401, &json!("UNAUTHENTICATED")), "{query}");
            assert!(body["data"].is_null(), "the whole request is refused: {body}");
        }
        app.stop().await;
    }

    async fn an_error_nulls_the_nearest_field_that_may_be_null(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let other = adviser.create_batch("Other").await;
        // `projects` is required, `batch` is not
        let query = "query($id: ID!) { batch(id: $id) { name projects(first: 101) { totalCount } } apiInfo { maxPageSize } }";
        let (status, body) = adviser.send(query, json!({ "id": batch })).await;
        assert_eq!((status, &body["data"]), (200, &json!({ "batch": null, "apiInfo": { "maxPageSize": 100 } })));
        assert_eq!(body["errors"].as_array().map(Vec::len), Some(1));
        let error = &body["errors"][0];
        assert_eq!((&error["path"], &error["extensions"]["code"], &error["extensions"]["argument"]),
            (&json!(["batch", "projects"]), &json!("VALIDATION_FAILED"), &json!("first")));
        assert!(error["message"].as_str().is_some_and(|message| message.contains("100")), "{error}");

        // items of `nodes` may be null, each for itself
        let query = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on Batch { name projects(after: \"nonsense\") { totalCount } } ... on Workspace { name } } \
            viewer { workspace { id } } }";
        let workspace = adviser.run("{ viewer { workspace { id } } }", json!({})).await["viewer"]["workspace"]["id"].clone();
        let (_, body) = adviser.send(query, json!({ "ids": [batch, workspace, other] })).await;
        let nodes = &body["data"]["nodes"];
        assert!(nodes[0].is_null() && nodes[1]["name"].is_string() && nodes[2].is_null(), "{body}");
        let mut paths: Vec<String> = body["errors"].as_array().expect("errors").iter().map(|error| error["path"].to_string()).collect();
        paths.sort();
        assert_eq!(paths, [r#"["nodes",0,"projects"]"#, r#"["nodes",2,"projects"]"#]);

        // nothing on the way may be null: the whole answer is
        let (_, body) = adviser.send("{ apiInfo { version } batches { nodes { projects(last: 0) { totalCount } } } }", json!({})).await;
        assert_eq!(body["data"], json!(null), "{body}");
        assert_eq!(body["errors"][0]["extensions"]["code"], "VALIDATION_FAILED");

        // what does not exist is null and no error
        let (_, body) = adviser.send("{ batch(id: \"nonsense\") { name } project(id: \"\") { name } node(id: \"x\") { id } }", json!({})).await;
        assert_eq!((&body["data"], body.get("errors")), (&json!({ "batch": null, "project": null, "node": null }), None));
        app.stop().await;
    }
}
