//! What is measured of every operation, whatever the transport: how it ended, how long it took, what is open. Names of
//! operations are the client's text, so only so many of them become labels. It must not change what is answered.

use super::document::Prepared;
use super::respond;
use crate::error::FaultCode;
use async_graphql::{Response, Value, parser::types::OperationType};
use metrics::{Gauge, counter, gauge, histogram};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most names of operations that become labels; the rest are `other`.
const MAX_NAMES: usize = 200;
/// Longest such name, in bytes.
const MAX_NAME: usize = 64;

/// Names of operations that are labels, in the order in which they came. Callers without a token add none.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashSet<String>>);

impl Names {
    fn label(&self, name: Option<&str>, is_known_caller: bool) -> String {
        let Some(name) = name else { return "anonymous".to_owned() };
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !names.contains(name);
        if is_new && (!is_known_caller || names.len() >= MAX_NAMES || name.len() > MAX_NAME) {
            return "other".to_owned();
        }
        if is_new {
            names.insert(name.to_owned());
        }
        name.to_owned()
    }
}

/// Something that is open and counted as such until it is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// A socket.
    pub fn socket() -> Self {
        Self::of(gauge!("claimwright_sockets_open"))
    }

    /// A connection.
    pub fn connection() -> Self {
        Self::of(gauge!("claimwright_connections_open"))
    }

    fn of(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// An operation from its arrival to its end. Dropped without an outcome it was abandoned; a subscription has ended well.
pub struct Observation {
    transport: &'static str,
    begun: Instant,
    operation: Option<String>,
    outcome: Option<String>,
    resolving: Option<Instant>,
    resolvers: Option<Duration>,
    subscription: Option<Open>,
    /// Only a mutation's payload lists problems, and an answer to a query may be long.
    is_mutation: bool,
    is_handed_over: bool,
}

impl Observation {
    /// An operation has arrived by a transport: `http`, `websocket` or `event_stream`.
    pub fn begin(transport: &'static str) -> Self {
        Self {
            transport,
            begun: Instant::now(),
            operation: None,
            outcome: None,
            resolving: None,
            resolvers: None,
            subscription: None,
            is_mutation: false,
            is_handed_over: false,
        }
    }

    /// It goes on under another transport, and is counted there alone.
    pub fn hand_over(&mut self, transport: &'static str) -> Self {
        self.is_handed_over = true;
        let mut next = Self::begin(transport);
        next.begun = self.begun;
        next
    }

    /// It will be executed, for a caller with a token or without.
    pub fn execute(&mut self, names: &Names, prepared: &Prepared, is_known_caller: bool) {
        self.operation = Some(names.label(prepared.name.as_deref(), is_known_caller));
        if prepared.kind == OperationType::Subscription {
            self.subscription = Some(Open::of(gauge!("claimwright_subscriptions_open")));
        }
        self.is_mutation = prepared.kind == OperationType::Mutation;
        self.resolving = Some(Instant::now());
    }

    /// It was executed with this result (the last one, of several).
    pub fn result(&mut self, response: &Response) {
        self.resolvers = self.resolving.map(|since| since.elapsed());
        self.outcome = Some(match response.errors.first() {
            Some(error) => respond::code_of(error).to_string(),
            None if self.is_mutation && has_user_errors(&response.data) => "user_error".to_owned(),
            None => "ok".to_owned(),
        });
    }

    /// It was told an event that was executed for many; with the code of its first error, if it has one.
    pub fn told(&mut self, failed: Option<FaultCode>) {
        let outcome = failed.map_or("ok", FaultCode::as_str);
        if self.outcome.as_deref() != Some(outcome) {
            self.outcome = Some(outcome.to_owned());
        }
    }

    /// It was refused or failed.
    pub fn fail(&mut self, code: FaultCode) {
        self.outcome = Some(code.as_str().to_owned());
    }
}

/// True if a payload of a mutation lists problems under the name that it has in the schema.
fn has_user_errors(data: &Value) -> bool {
    let Value::Object(fields) = data else { return false };
    fields.values().any(|payload| match payload {
        // within a text of JSON the quotes of these words would be escaped
        payload if let Some(text) = graphql_gate::respond::text_of(payload) => text.contains("\"userErrors\":[{"),
        Value::Object(payload) => matches!(payload.get("userErrors"), Some(Value::List(problems)) if !problems.is_empty()),
        _ => false,
    })
}

impl Drop for Observation {
    fn drop(&mut self) {
        if self.is_handed_over {
            return;
        }
        let operation = self.operation.take().unwrap_or_else(|| "unknown".to_owned());
        let unsaid = if self.subscription.is_some() { "ok" } else { "abandoned" };
        let outcome = self.outcome.take().unwrap_or_else(|| unsaid.to_owned());
        let labels = [("transport", self.transport.to_owned()), ("operation", operation.clone()), ("outcome", outcome)];
        counter!("claimwright_requests_total", &labels).increment(1);
        if self.subscription.is_some() {
            return;
        }
        if let Some(resolvers) = self.resolvers {
            histogram!("claimwright_resolvers_duration_seconds", "operation" => operation.clone()).record(resolvers);
        }
        histogram!("claimwright_request_duration_seconds", "operation" => operation).record(self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::value;

    #[test]
    fn hostile_names_share_one_label() {
        let names = Names::default();
        let labels: HashSet<String> = (0..1_000).map(|n| names.label(Some(&format!("Operation{n}")), true)).collect();
        assert_eq!(labels.len(), MAX_NAMES + 1);
        assert!(labels.contains("other"));
        assert_eq!(names.label(Some("Operation7"), true), "Operation7", "who came first stays");
        assert_eq!(names.label(None, true), "anonymous");
    }

    #[test]
    fn callers_without_a_token_take_no_place() {
        let names = Names::default();
        assert_eq!(names.label(Some("Mine"), false), "other");
        assert_eq!(names.label(Some(&"x".repeat(MAX_NAME + 1)), true), "other");
        assert_eq!(names.label(Some("Mine"), true), "Mine");
        assert_eq!(names.label(Some("Mine"), false), "Mine");
    }

    #[test]
    fn a_payload_with_problems_is_told_from_one_without() {
        assert!(has_user_errors(&value!({ "createBatch": { "batch": null, "userErrors": [{ "code": "INVALID" }] } })));
        assert!(!has_user_errors(&value!({ "createBatch": { "batch": { "id": "x" }, "userErrors": [] } })));
        assert!(!has_user_errors(&value!({ "viewer": null })));
    }
}
