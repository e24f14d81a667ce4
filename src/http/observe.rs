//! What is measured of every operation, whatever the transport: how it ended, how long it took, what is open. Names of
//! operations are the client's text, so only so many of them become labels. It must not change what is answered.

use super::document::Prepared;
use super::respond;
use crate::error::FaultCode;
use async_graphql::{Response, Value, parser::types::OperationType};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// Most names of operations that become labels; the rest are `other`.
const MAX_NAMES: usize = 200;
/// Labels of what has no name, and of names that are none.
const ANONYMOUS: &str = "anonymous";
const OTHER: &str = "other";
/// The transport and the outcome of most operations.
const HTTP: &str = "http";
const GOOD: &str = "ok";
/// Longest such name, in bytes.
const MAX_NAME: usize = 64;

/// Names of operations that are labels, in the order in which they came. Callers without a token add none.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<String, Arc<Meters>>>);

/// What is measured of the operations of one name. Finding a metric by its labels takes longer than what many operations do,
/// so each is found once.
#[derive(Debug)]
struct Meters {
    operation: String,
    requests: Histogram,
    resolvers: Histogram,
    /// Those by HTTP that ended well, which most do.
    good: OnceLock<Counter>,
}

impl Names {
    fn meters(&self, name: Option<&str>, is_known_caller: bool) -> Arc<Meters> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut label = name.unwrap_or(ANONYMOUS);
        let is_new = !all.contains_key(label);
        if is_new && label != ANONYMOUS && (!is_known_caller || all.len() >= MAX_NAMES || label.len() > MAX_NAME) {
            label = OTHER;
        }
        if let Some(meters) = all.get(label) {
            return Arc::clone(meters);
        }
        let meters = Arc::new(Meters::new(label));
        all.insert(label.to_owned(), Arc::clone(&meters));
        meters
    }
}

impl Meters {
    fn new(operation: &str) -> Self {
        let operation = operation.to_owned();
        let requests = histogram!("claimwright_request_duration_seconds", "operation" => operation.clone());
        let resolvers = histogram!("claimwright_resolvers_duration_seconds", "operation" => operation.clone());
        Self { operation, requests, resolvers, good: OnceLock::new() }
    }

    fn count(&self, transport: &'static str, outcome: &'static str) {
        let counter = || {
            let labels = [("transport", transport.to_owned()), ("operation", self.operation.clone()), ("outcome", outcome.to_owned())];
            counter!("claimwright_requests_total", &labels)
        };
        if transport == HTTP && outcome == GOOD { self.good.get_or_init(counter).increment(1) } else { counter().increment(1) }
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
    meters: Option<Arc<Meters>>,
    outcome: Option<&'static str>,
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
            meters: None,
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
        self.meters = Some(names.meters(prepared.name.as_deref(), is_known_caller));
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
            Some(error) => respond::code_of(error).as_str(),
            None if self.is_mutation && has_user_errors(&response.data) => "user_error",
            None => GOOD,
        });
    }

    /// It was told an event that was executed for many; with the code of its first error, if it has one.
    pub fn told(&mut self, failed: Option<FaultCode>) {
        self.outcome = Some(failed.map_or(GOOD, FaultCode::as_str));
    }

    /// It was refused or failed.
    pub fn fail(&mut self, code: FaultCode) {
        self.outcome = Some(code.as_str());
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
        let meters = self.meters.take().unwrap_or_else(|| Arc::new(Meters::new("unknown")));
        let unsaid = if self.subscription.is_some() { GOOD } else { "abandoned" };
        meters.count(self.transport, self.outcome.unwrap_or(unsaid));
        if self.subscription.is_some() {
            return;
        }
        if let Some(resolvers) = self.resolvers {
            meters.resolvers.record(resolvers);
        }
        meters.requests.record(self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::value;
    use std::collections::HashSet;

    #[test]
    fn hostile_names_share_one_label() {
        let names = Names::default();
        let label = |name: Option<&str>| names.meters(name, true).operation.clone();
        let labels: HashSet<String> = (0..1_000).map(|n| label(Some(&format!("Operation{n}")))).collect();
        assert_eq!(labels.len(), MAX_NAMES + 1);
        assert!(labels.contains("other"));
        assert_eq!(label(Some("Operation7")), "Operation7", "who came first stays");
        assert_eq!(label(None), "anonymous");
    }

    #[test]
    fn callers_without_a_token_take_no_place() {
        let names = Names::default();
        let label = |name: &str, is_known| names.meters(Some(name), is_known).operation.clone();
        assert_eq!(label("Mine", false), "other");
        assert_eq!(label(&"x".repeat(MAX_NAME + 1), true), "other");
        assert_eq!(label("Mine", true), "Mine");
        assert_eq!(label("Mine", false), "Mine");
    }

    #[test]
    fn a_payload_with_problems_is_told_from_one_without() {
        assert!(has_user_errors(&value!({ "createBatch": { "batch": null, "userErrors": [{ "code": "INVALID" }] } })));
        assert!(!has_user_errors(&value!({ "createBatch": { "batch": { "id": "x" }, "userErrors": [] } })));
        assert!(!has_user_errors(&value!({ "viewer": null })));
    }
}
