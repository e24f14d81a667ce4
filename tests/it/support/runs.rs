//! Steps of generation and of watching it that several files of tests need.

use super::client::{Client, START};
use super::socket::Events;
use super::{accepted, refused};
use serde_json::{Value, json};

/// Every event of a batch with the fields of its own.
pub const EVENTS: &str = "subscription($id: ID!, $after: EventCursor) { batchProgress(batchId: $id, after: $after) { __typename \
    ... on StreamEvent { cursor sequence occurredAt } \
    ... on BatchSnapshot { batch { id name } projectCounts { total draft queued generating needsReview failed } activeRun { id status } } \
    ... on BatchChanged { batch { id name } } \
    ... on RunStatusChanged { previousRunStatus runStatus run { id } } \
    ... on RunProgressed { runId progress runCounts { total queued running succeeded failed cancelled skipped } } \
    ... on ProjectStatusChanged { previousProjectStatus projectStatus project { id } failure { code message retryable } } \
    ... on ProjectScored { projectId score errorCount warningCount } \
    ... on ProjectsAdded { count projectIds } \
    ... on ProjectsRemoved { projectIds } \
    ... on StreamLagged { droppedCount } \
    ... on StreamEnded { reason } } }";

const RUN: &str = "query($id: ID!, $attempts: [AttemptStatus!]) { node(id: $id) { ... on GenerationRun { id status progress scope provider model \
    editedSections createdAt startedAt finishedAt failure { code message retryable } cost { amount currency } createdBy { email } batch { id } \
    counts { total queued running succeeded failed cancelled skipped } templateVersion { number template { key } } \
    attempts(first: 100, status: $attempts) { totalCount nodes { id number status sectionKey provider model promptHash inputTokens outputTokens \
    startedAt finishedAt failure { code message retryable } cost { amount } project { id } run { id } templateVersion { number } } } } } }";

const NARRATIVE: &str = "query($id: ID!) { project(id: $id) { id name status revision deleted templateVersion { number template { key } } \
    quality { score issues { code severity } } sections { id key state revision text wordCount charCount \
    revisions(first: 10) { nodes { number source note text author { email } attempt { id sectionKey } } } } } }";

const BATCH: &str = "query($id: ID!) { batch(id: $id) { eventCursor activity meanScore activeRun { id status } runs { totalCount } \
    counts { total draft queued generating needsReview approved failed } } }";

impl Client {
    /// Starts a run as told; gives its id.
    pub async fn start_with(&self, generation: Value) -> String {
        let data = self.run(START, json!({ "input": { "generation": generation } })).await;
        accepted(&data, "startGeneration")["run"]["id"].as_str().expect("an id").to_owned()
    }

    /// A run that may not start; gives the code.
    pub async fn refused_start(&self, generation: Value) -> String {
        let data = self.run(START, json!({ "input": { "generation": generation } })).await;
        refused(&data, "startGeneration").to_owned()
    }

    /// Starts a run as told and waits for its end; gives its id and final status.
    pub async fn generate(&self, generation: Value) -> (String, String) {
        let batch = generation["batchId"].as_str().expect("a batch").to_owned();
        let run = self.start_with(generation).await;
        let status = self.follow_run(&batch, &run).await;
        (run, status)
    }

    /// Stops a run; gives it as the answer has it.
    pub async fn cancel(&self, run: &str) -> Value {
        let query = "mutation($id: ID!) { cancelGeneration(runId: $id) { run { id status counts { total queued running succeeded failed \
            cancelled skipped } } userErrors { code message field } } }";
        let data = self.run(query, json!({ "id": run })).await;
        accepted(&data, "cancelGeneration")["run"].clone()
    }

    /// A run with its attempts (at most 100).
    pub async fn run_of(&self, run: &str) -> Value {
        self.run(RUN, json!({ "id": run })).await["node"].clone()
    }

    /// Attempts of a run (at most 100) with this outcome.
    pub async fn attempts(&self, run: &str, status: &str) -> Vec<Value> {
        let data = self.run(RUN, json!({ "id": run, "attempts": [status] })).await;
        data["node"]["attempts"]["nodes"].as_array().expect("attempts").clone()
    }

    /// A project with its narrative.
    pub async fn narrative(&self, project: &str) -> Value {
        self.run(NARRATIVE, json!({ "id": project })).await["project"].clone()
    }

    /// Statuses of projects, in their order.
    pub async fn statuses(&self, projects: &[String]) -> Vec<String> {
        let data = self.run("query($ids: [ID!]!) { nodes(ids: $ids) { ... on Project { status } } }", json!({ "ids": projects })).await;
        data["nodes"].as_array().expect("nodes").iter().map(|node| node["status"].as_str().expect("a status").to_owned()).collect()
    }

    /// What a batch says of itself.
    pub async fn batch_now(&self, batch: &str) -> Value {
        self.run(BATCH, json!({ "id": batch })).await["batch"].clone()
    }

    /// Renames a batch: an event of its stream.
    pub async fn renamed(&self, batch: &str, name: &str) {
        let query = "mutation($id: ID!, $name: String!) { renameBatch(id: $id, name: $name) { userErrors { code message } } }";
        accepted(&self.run(query, json!({ "id": batch, "name": name })).await, "renameBatch");
    }

    /// The events after a cursor, up to the first that is wanted.
    pub async fn events_until(&self, batch: &str, after: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut socket = self.socket().await;
        let mut events = socket.subscribe(EVENTS, json!({ "id": batch, "after": after })).await;
        events_until(&mut events, wanted).await
    }

    /// Waits for the first event after a cursor that is wanted; gives it.
    pub async fn wait_for(&self, batch: &str, after: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        self.events_until(batch, after, wanted).await.pop().expect("an event")
    }

    /// Creates a template with sections of these keys; gives its id.
    pub async fn template_of(&self, name: &str, keys: &[&str]) -> String {
        let query = "mutation($input: CreateTemplateInput!) { createTemplate(input: $input) { template { id } userErrors { code message field } } }";
        let data = self.run(query, json!({ "input": { "name": name, "sections": template_sections(keys) } })).await;
        accepted(&data, "createTemplate")["template"]["id"].as_str().expect("an id").to_owned()
    }

    /// A batch that follows a template, with so many projects; gives its id and theirs.
    pub async fn batch_on(&self, template: &str, name: &str, count: usize) -> (String, Vec<String>) {
        let query = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } userErrors { code message field } } }";
        let data = self.run(query, json!({ "input": { "name": name, "templateId": template } })).await;
        let batch = accepted(&data, "createBatch")["batch"]["id"].as_str().expect("an id").to_owned();
        let projects = self.import(&batch, super::rows(count)).await;
        (batch, projects)
    }
}

/// The next events of a stream, up to the first that is wanted.
pub async fn events_until(events: &mut Events<'_>, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        let event = event["batchProgress"].clone();
        let is_last = wanted(&event);
        all.push(event);
        if is_last {
            return all;
        }
    }
    panic!("the stream ended without it: {all:?}");
}

/// True for the event of a run's end.
pub fn is_end_of(run: &str) -> impl Fn(&Value) -> bool {
    move |event| event["run"]["id"] == run && matches!(event["runStatus"].as_str(), Some("SUCCEEDED" | "PARTIAL" | "FAILED" | "CANCELLED"))
}

/// Sequences of events; they must be dense.
pub fn dense_sequences(events: &[Value]) -> Vec<i64> {
    let sequences: Vec<i64> = events.iter().map(|event| event["sequence"].as_i64().expect("a sequence")).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap or a repetition: {sequences:?}");
    sequences
}

/// Sections of a template, by key.
pub fn template_sections(keys: &[&str]) -> Value {
    keys.iter().map(|key| json!({ "key": key, "title": format!("Title of {key}"), "guidance": "Say what the facts say." })).collect()
}

/// Numbers of a run: all zero but these.
pub fn counts(some: &[(&str, i32)]) -> Value {
    let mut all = json!({ "total": 0, "queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "skipped": 0 });
    for (name, count) in some {
        all[*name] = json!(count);
    }
    all
}
