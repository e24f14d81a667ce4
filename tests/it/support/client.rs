//! A client of the GraphQL API over HTTP, and the steps of the main job that many tests begin with.

use super::socket::Socket;
use super::{accepted, rows};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// A client: an address and a token, or none.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    pub fn new(url: String, token: Option<String>) -> Self {
        Self { http: reqwest::Client::new(), url, token }
    }

    /// The same client for somebody else.
    pub fn with_token(&self, token: String) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Sends a document and gives status and body.
    pub async fn send(&self, query: &str, variables: Value) -> (u16, Value) {
        self.try_send(query, variables).await.expect("an answer in JSON")
    }

    /// The same where there may be no server at the moment, or one that ends before it has answered.
    pub async fn try_send(&self, query: &str, variables: Value) -> Option<(u16, Value)> {
        let mut request = self.http.post(format!("{}/graphql", self.url)).json(&json!({ "query": query, "variables": variables }));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.ok()?;
        Some((response.status().as_u16(), response.json().await.ok()?))
    }

    /// Runs a document that must have no errors; gives its data.
    pub async fn run(&self, query: &str, variables: Value) -> Value {
        let (_, body) = self.send(query, variables).await;
        assert!(body.get("errors").is_none(), "{query}\n{body:#}");
        body["data"].clone()
    }

    /// Runs a document that must fail; gives the first error.
    pub async fn fail(&self, query: &str, variables: Value) -> Value {
        let (_, body) = self.send(query, variables).await;
        assert!(body["errors"].is_array(), "no error: {query}\n{body:#}");
        body["errors"][0].clone()
    }

    /// Runs a document with one file, by the multipart request specification; `variable` is the file's place.
    pub async fn upload(&self, query: &str, variables: Value, variable: &str, file_name: &str, bytes: Vec<u8>) -> Value {
        let form = Form::new()
            .text("operations", json!({ "query": query, "variables": variables }).to_string())
            .text("map", json!({ "0": [variable] }).to_string())
            .part("0", Part::bytes(bytes).file_name(file_name.to_owned()));
        let mut request = self.http.post(format!("{}/graphql", self.url)).header("graphql-require-preflight", "1").multipart(form);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let body: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        assert!(body.get("errors").is_none(), "{body:#}");
        body["data"].clone()
    }

    /// Fetches an address without a token; gives status and body.
    pub async fn download(&self, url: &str) -> (u16, Vec<u8>) {
        let response = self.http.get(url).send().await.expect("an answer");
        (response.status().as_u16(), response.bytes().await.expect("a body").to_vec())
    }

    /// A socket that is signed in.
    pub async fn socket(&self) -> Socket {
        Socket::connect(&self.url, self.token.as_deref()).await
    }

    /// Creates a batch; gives its id.
    pub async fn create_batch(&self, name: &str) -> String {
        let query = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } userErrors { code message field } } }";
        let data = self.run(query, json!({ "input": { "name": name } })).await;
        accepted(&data, "createBatch")["batch"]["id"].as_str().expect("an id").to_owned()
    }

    /// Imports rows and waits for the end; gives the ids of the batch's projects, oldest first.
    pub async fn import(&self, batch: &str, rows: Value) -> Vec<String> {
        let query =
            "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code message field } } }";
        let data = self.run(query, json!({ "input": { "batchId": batch, "source": { "rows": rows } } })).await;
        let import = accepted(&data, "importProjects")["import"]["id"].as_str().expect("an id").to_owned();
        let ended = self.follow_import(&import).await;
        assert_eq!(ended["status"], "SUCCEEDED", "{ended}");
        self.project_ids(batch).await
    }

    /// Waits for the end of an import; gives it as it is then.
    pub async fn follow_import(&self, import: &str) -> Value {
        let query = "subscription($id: ID!) { importProgress(importId: $id) { sequence import { id status progress rowCount acceptedCount \
            rejectedCount rejectedRowsUrl failure { code message } issues { nodes { code severity row column message } totalCount } } } }";
        let mut socket = self.socket().await;
        let mut events = socket.subscribe(query, json!({ "id": import })).await;
        let mut last = Value::Null;
        while let Some(event) = events.next().await {
            last = event["importProgress"]["import"].clone();
        }
        last
    }

    /// Ids of a batch's projects, oldest first.
    pub async fn project_ids(&self, batch: &str) -> Vec<String> {
        let query = "query($id: ID!, $after: String) { batch(id: $id) { projects(first: 100, after: $after) { nodes { id } \
            pageInfo { hasNextPage endCursor } } } }";
        let (mut ids, mut after) = (Vec::new(), Value::Null);
        loop {
            let data = self.run(query, json!({ "id": batch, "after": after })).await;
            let page = &data["batch"]["projects"];
            ids.extend(page["nodes"].as_array().expect("nodes").iter().map(|node| node["id"].as_str().expect("an id").to_owned()));
            if page["pageInfo"]["hasNextPage"] != true {
                return ids;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }

    /// A batch with so many projects; gives its id and theirs.
    pub async fn batch_of(&self, name: &str, count: usize) -> (String, Vec<String>) {
        let batch = self.create_batch(name).await;
        let projects = self.import(&batch, rows(count)).await;
        (batch, projects)
    }

    /// Starts generation over what is missing; gives the run's id.
    pub async fn start(&self, batch: &str) -> String {
        let data = self.run(START, json!({ "input": { "generation": { "batchId": batch } } })).await;
        accepted(&data, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a run has ended; gives its final status.
    pub async fn follow_run(&self, batch: &str, run: &str) -> String {
        let query =
            "subscription($id: ID!) { batchProgress(batchId: $id) { __typename ... on RunStatusChanged { runStatus run { id } } } }";
        let mut socket = self.socket().await;
        let mut events = socket.subscribe(query, json!({ "id": batch })).await;
        // the snapshot: what happens from now on is heard, what happened before is asked for
        events.next().await.expect("a snapshot");
        let now = self.run("query($id: ID!) { node(id: $id) { ... on GenerationRun { status } } }", json!({ "id": run })).await;
        let is_final = |status: &str| matches!(status, "SUCCEEDED" | "PARTIAL" | "FAILED" | "CANCELLED");
        if let Some(status) = now["node"]["status"].as_str().filter(|status| is_final(status)) {
            return status.to_owned();
        }
        while let Some(event) = events.next().await {
            let event = &event["batchProgress"];
            if let Some(status) = event["runStatus"].as_str().filter(|status| event["run"]["id"] == run && is_final(status)) {
                return status.to_owned();
            }
        }
        panic!("the stream ended before the run");
    }

    /// A batch whose projects all have narratives; gives its id and theirs.
    pub async fn generated(&self, name: &str, count: usize) -> (String, Vec<String>) {
        let (batch, projects) = self.batch_of(name, count).await;
        let run = self.start(&batch).await;
        assert_eq!(self.follow_run(&batch, &run).await, "SUCCEEDED");
        (batch, projects)
    }
}

/// Start of a run.
pub const START: &str = "mutation($input: StartGenerationInput!) { startGeneration(input: $input) { run { id status counts { total queued } } \
    userErrors { code message field retryable } } }";
