//! What clients rely on: the committed schema is the one that is served, codes do not change unnoticed, and every
//! operation that this repository ships is valid.

use crate::support::{Client, Mode, TestApp, root};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[test]
fn the_committed_schema_is_the_one_that_is_served() {
    let committed = std::fs::read_to_string(root().join("schema.graphql")).unwrap_or_default();
    let is_fresh = committed.trim_end() == claimwright::graphql::sdl().trim_end();
    assert!(is_fresh, "schema.graphql is missing or stale. Run: make schema");
}

/// The values of an enum, in one line each.
fn values(schema: &Value, name: &str) -> String {
    let all = schema["types"].as_array().expect("types");
    let found = all.iter().find(|kind| kind["name"] == name).unwrap_or_else(|| panic!("no enum {name}"));
    let mut values: Vec<&str> =
        found["enumValues"].as_array().expect("values").iter().map(|value| value["name"].as_str().expect("a name")).collect();
    values.sort_unstable();
    values.join("\n")
}

async fn schema(client: &Client) -> Value {
    let query = "{ __schema { types { name kind fields { name description args { name description } } inputFields { name description } \
        enumValues { name description } description } } }";
    client.run(query, json!({})).await["__schema"].clone()
}

#[tokio::test]
async fn codes_that_clients_branch_on_change_only_on_purpose() {
    let app = TestApp::start(Mode::Embedded).await;
    let schema = schema(&app.anonymous()).await;
    insta::assert_snapshot!(values(&schema, "RequestErrorCode"), @r"
    FORBIDDEN
    INTERNAL
    NOT_FOUND
    PARSE_FAILED
    PAYLOAD_TOO_LARGE
    PERSISTED_QUERY_NOT_FOUND
    RATE_LIMITED
    TIMEOUT
    TOO_COMPLEX
    UNAUTHENTICATED
    UNAVAILABLE
    VALIDATION_FAILED
    ");
    insta::assert_snapshot!(values(&schema, "UserErrorCode"), @r"
    ALREADY_RUNNING
    BLOCKING_ISSUES
    IDEMPOTENCY_KEY_REUSED
    INVALID
    NOT_FOUND
    OVER_BUDGET
    REQUIRED
    REVISION_CONFLICT
    TAKEN
    TEMPLATE_UNUSABLE
    TOO_LONG
    TOO_MANY
    UNSUPPORTED_FILE
    UPLOAD_MISSING
    WRONG_STATE
    ");
    insta::assert_snapshot!(values(&schema, "JobFailureCode"), @r"
    BUDGET_EXCEEDED
    FILE_UNREADABLE
    INTERNAL
    PROVIDER_BAD_ANSWER
    PROVIDER_RATE_LIMITED
    PROVIDER_REFUSED
    PROVIDER_UNAVAILABLE
    STORAGE_FAILED
    TIMED_OUT
    WORKER_LOST
    ");
    let info = app.anonymous().run("{ apiInfo { requestErrorCodes } }", json!({})).await;
    let mut told: Vec<&str> = info["apiInfo"]["requestErrorCodes"].as_array().expect("codes").iter().filter_map(Value::as_str).collect();
    told.sort_unstable();
    assert_eq!(told.join("\n"), values(&schema, "RequestErrorCode"), "apiInfo tells all of them");
    app.stop().await;
}

#[tokio::test]
async fn everything_in_the_schema_is_described() {
    let app = TestApp::start(Mode::Embedded).await;
    let schema = schema(&app.anonymous()).await;
    let is_blank = |item: &Value| item["description"].as_str().is_none_or(|text| text.trim().is_empty());
    let mut blank = Vec::new();
    for kind in schema["types"].as_array().expect("types") {
        let name = kind["name"].as_str().expect("a name");
        let is_foreign = name.starts_with("__") || ["Subscription", "String", "Int", "Float", "Boolean", "ID"].contains(&name);
        if !is_foreign && is_blank(kind) {
            blank.push(name.to_owned());
        }
        for list in ["fields", "inputFields", "enumValues"].iter().filter(|_| !name.starts_with("__")) {
            for member in kind[*list].as_array().into_iter().flatten() {
                let member_name = format!("{name}.{}", member["name"].as_str().expect("a name"));
                let arguments = member["args"].as_array().into_iter().flatten().filter(|argument| is_blank(argument));
                blank.extend(arguments.map(|argument| format!("{member_name}({})", argument["name"].as_str().expect("a name"))));
                if is_blank(member) {
                    blank.push(member_name);
                }
            }
        }
    }
    assert!(blank.is_empty(), "without a description: {blank:#?}");
    app.stop().await;
}

fn documents_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "graphql")).collect();
    found.sort();
    found
}

/// Has a document validated without executing it: an operation beside it is the one that runs.
async fn validate(client: &Client, document: &str) -> Value {
    let query = format!("{document}\nquery OnlyValidate {{ __typename }}");
    let request = reqwest::Client::new().post(format!("{}/graphql", client.url())).bearer_auth(client.token().expect("a token"));
    let request = request.json(&json!({ "query": query, "operationName": "OnlyValidate" }));
    request.send().await.expect("an answer").json().await.expect("JSON")
}

#[tokio::test]
async fn every_operation_of_the_client_and_the_playground_is_valid() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let broken = validate(&adviser, "query Broken { viewer { shoeSize } }").await;
    assert!(broken["errors"][0]["message"].as_str().is_some_and(|text| text.contains("shoeSize")), "this test can fail: {broken}");
    for folder in ["src/client/operations", "playground/queries"] {
        let documents = documents_in(&root().join(folder));
        assert!(documents.len() > 10, "{folder} has {} documents", documents.len());
        for path in documents {
            let answer = validate(&adviser, &std::fs::read_to_string(&path).expect("read")).await;
            assert_eq!(
                (&answer["data"], &answer["errors"]),
                (&json!({ "__typename": "Query" }), &Value::Null),
                "{}: {answer}",
                path.display()
            );
        }
    }
    app.stop().await;
}
