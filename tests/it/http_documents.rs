//! Documents that mean what the specification says, through the public API: what is mentioned twice is done once, variables
//! belong to their operation, and what a stock parser or executor would let pass is refused before anything is done.

use crate::support::{Mode, TestApp, accepted};
use serde_json::{Value, json};

/// The answer to a request body without a token, and its status.
async fn anonymous(app: &TestApp, body: Value) -> (u16, Value) {
    let response = reqwest::Client::new().post(format!("{}/graphql", app.url())).json(&body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_root_field_that_is_mentioned_twice_is_done_once() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let twice = "mutation($name: String!) { a: createBatch(input: { name: $name }) { batch { id } } ...f } \
        fragment f on Mutation { a: createBatch(input: { name: $name }) { batch { name } userErrors { code } } }";
    let data = adviser.run(twice, json!({ "name": "Acme" })).await;
    let made = &data["a"];
    assert_eq!((&made["batch"]["name"], &made["userErrors"]), (&json!("Acme"), &json!([])), "{data}");
    assert!(made["batch"]["id"].is_string(), "{data}");
    let all = adviser
        .run(
            "{ batches { totalCount } ...f } fragment f on Query { batches { nodes { name } } batches { pageInfo { hasNextPage } } }",
            json!({}),
        )
        .await;
    let expected = json!({ "totalCount": 1, "nodes": [{ "name": "Acme" }], "pageInfo": { "hasNextPage": false } });
    assert_eq!(all, json!({ "batches": expected }));

    // which of the two it would be cannot be said before the variables are known: of a query both are asked for and merged
    let conditional = "query($on: Boolean!) { batches { totalCount } batches @include(if: $on) { nodes { name } } }";
    assert_eq!(adviser.run(conditional, json!({ "on": true })).await["batches"], json!({ "totalCount": 1, "nodes": [{ "name": "Acme" }] }));
    assert_eq!(adviser.run(conditional, json!({ "on": false })).await["batches"], json!({ "totalCount": 1 }));
    let change = "mutation($on: Boolean!) { createBatch(input: { name: \"B\" }) { batch { id } } \
        createBatch(input: { name: \"B\" }) @include(if: $on) { batch { name } } }";
    assert_eq!(adviser.fail(change, json!({ "on": false })).await["extensions"]["code"], "VALIDATION_FAILED");
    assert_eq!(adviser.run("{ batches { totalCount } }", json!({})).await["batches"]["totalCount"], 1, "nothing was done");
    app.stop().await;
}

#[tokio::test]
async fn each_operation_of_a_document_has_its_own_variables() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let document = "query Page($v: Int) { batches(first: $v) { totalCount } } query One($v: ID!) { batch(id: $v) { ...name } } \
        mutation Make($input: CreateBatchInput!) { createBatch(input: $input) { batch { name } userErrors { code } } } \
        mutation Change($input: UpdateBatchInput!) { updateBatch(input: $input) { batch { name } userErrors { code } } } \
        fragment name on Batch { name }";
    let ask = async |name: &str, variables: Value| {
        let body = json!({ "query": document, "operationName": name, "variables": variables });
        let request = reqwest::Client::new().post(format!("{}/graphql", app.url())).bearer_auth(adviser.token().expect("a token"));
        let answer: Value = request.json(&body).send().await.expect("an answer").json().await.expect("JSON");
        assert!(answer.get("errors").is_none(), "{name}: {answer}");
        answer["data"].clone()
    };
    assert_eq!(ask("Page", json!({ "v": 1 })).await["batches"]["totalCount"], 1);
    assert_eq!(ask("One", json!({ "v": batch })).await["batch"]["name"], "Acme");
    assert_eq!(accepted(&ask("Make", json!({ "input": { "name": "Other" } })).await, "createBatch")["batch"]["name"], "Other");
    let changed = ask("Change", json!({ "input": { "id": batch, "description": "d" } })).await;
    assert_eq!(accepted(&changed, "updateBatch")["batch"]["name"], "Acme");
    app.stop().await;
}

#[tokio::test]
async fn what_the_specification_does_not_have_is_refused_before_anything_is_done() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let cases = [
        ("mutation { createBatch(input: { name: \"a\", name: \"b\" }) { batch { id } } }", "VALIDATION_FAILED"),
        ("query($a: Boolean) { apiInfo @skip(if: $a) { version } }", "VALIDATION_FAILED"),
        (
            "mutation($b: ID!, $t: String) { importProjects(input: { batchId: $b, source: { text: $t } }) { userErrors { code } } }",
            "VALIDATION_FAILED",
        ),
        ("query () { apiInfo { version } }", "PARSE_FAILED"),
        ("{ apiInfo { version } ...on } fragment on on Query { apiInfo { version } }", "PARSE_FAILED"),
    ];
    for (query, code) in cases {
        let error = adviser.fail(query, json!({ "b": "x" })).await;
        assert_eq!((&error["extensions"]["code"], error.get("path")), (&json!(code), None), "{query}: {error}");
    }
    assert_eq!(adviser.run("{ batches { totalCount } }", json!({})).await["batches"]["totalCount"], 0);

    let create = r#"mutation { createBatch(input: { name: "\ud83d\ude00 \u{1F600} \u00e9" }) { batch { name } userErrors { code } } }"#;
    assert_eq!(accepted(&adviser.run(create, json!({})).await, "createBatch")["batch"]["name"], "😀 😀 é");
    app.stop().await;
}

#[tokio::test]
async fn a_document_reads_so_many_lists_and_searches_fewer() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let lists = |count: usize, arguments: &str| {
        let each = |n| format!(" a{n}: projects(first: 1{arguments}) {{ totalCount }}");
        format!("{{{}}}", (0..count).map(each).collect::<String>())
    };
    adviser.run(&lists(30, ""), json!({})).await;
    let error = adviser.fail(&lists(31, ""), json!({})).await;
    assert_eq!(error["extensions"], json!({ "code": "TOO_COMPLEX", "limit": 30, "actual": 31 }), "{error}");
    let search = ", filter: { text: \"x\" }";
    adviser.run(&lists(4, search), json!({})).await;
    let error = adviser.fail(&lists(5, search), json!({})).await;
    assert_eq!(error["extensions"], json!({ "code": "TOO_COMPLEX", "limit": 4, "actual": 5 }), "{error}");
    app.stop().await;
}

#[tokio::test]
async fn the_schema_is_told_to_tools_and_not_for_each_of_its_parts() {
    let app = TestApp::start(Mode::Embedded).await;
    let part = "types { fields { args { type { ...b ofType { ...b } } } type { ...b ofType { ...b ofType { ...b } } } } }";
    let bomb = format!(
        "{{ a: __schema {{ {part} }} b: __schema {{ {part} }} c: __schema {{ {part} }} d: __schema {{ {part} }} }} \
        fragment b on __Type {{ name description enumValues {{ name description }} fields {{ name args {{ name type {{ name ofType {{ name }} }} }} \
        type {{ name ofType {{ name ofType {{ name }} }} }} }} }}"
    );
    assert!(bomb.len() < 1_000);
    let (status, answer) = anonymous(&app, json!({ "query": bomb })).await;
    assert_eq!((status, &answer["errors"][0]["extensions"]["code"]), (200, &json!("TOO_COMPLEX")), "{answer}");
    let (_, answer) =
        anonymous(&app, json!({ "query": "{ __type(name: \"Batch\") { fields { name type { name fields { name } } } } }" })).await;
    assert!(answer["data"]["__type"]["fields"].as_array().is_some_and(|fields| fields.len() > 10), "{answer}");
    app.stop().await;
}
