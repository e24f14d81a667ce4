//! People who watch a text being written: they put it together from what they are told, and notice whatever does not fit.

use super::socket::{Events, Socket};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Every event of a project's texts with the fields of its own.
pub const DRAFTS: &str = "subscription($id: ID!, $after: EventCursor) { projectDraft(projectId: $id, after: $after) { __typename \
    ... on StreamEvent { cursor sequence occurredAt } \
    ... on DraftSnapshot { project { id name } sections { key text state } } \
    ... on DraftDelta { sectionKey attemptId offset text } \
    ... on DraftSectionFinished { section { key state revision text } } \
    ... on DraftFailed { failedSectionKey willRetry failure { code message retryable } } \
    ... on StreamLagged { droppedCount } \
    ... on StreamEnded { reason } } }";

/// What somebody sees who watches.
pub struct Page<'s> {
    events: Events<'s>,
    /// Texts by the keys of their sections.
    pub texts: BTreeMap<String, String>,
    attempts: BTreeMap<String, String>,
    /// How many pieces came for each section.
    pub pieces: BTreeMap<String, usize>,
    /// Sequence of the last event.
    pub sequence: i64,
    /// Cursor of the last event.
    pub cursor: Value,
}

impl<'s> Page<'s> {
    /// Watches a project; gives the snapshot too, which comes first.
    pub async fn open(socket: &'s mut Socket, project: &str, after: &Value) -> (Self, Value) {
        let events = socket.subscribe(DRAFTS, json!({ "id": project, "after": after })).await;
        let (texts, attempts, pieces) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut page = Self { events, texts, attempts, pieces, sequence: -1, cursor: Value::Null };
        let snapshot = page.next().await;
        assert_eq!((&snapshot["__typename"], &snapshot["project"]["id"]), (&json!("DraftSnapshot"), &json!(project)), "{snapshot}");
        (page, snapshot)
    }

    /// The next event, of which all that it says is taken over.
    pub async fn next(&mut self) -> Value {
        self.next_or_end().await.expect("an event")
    }

    /// The same, or none once the operation is complete.
    pub async fn next_or_end(&mut self) -> Option<Value> {
        let event = self.events.next().await?["projectDraft"].clone();
        let sequence = event["sequence"].as_i64().expect("a sequence");
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("a text: {event}")).to_owned();
        let kind = text(&event["__typename"]);
        match kind.as_str() {
            "DraftSnapshot" => {
                assert!(sequence >= self.sequence, "it goes back: {event}");
                let sections = event["sections"].as_array().expect("sections");
                self.texts = sections.iter().map(|section| (text(&section["key"]), text(&section["text"]))).collect();
                self.attempts.clear();
            }
            "StreamLagged" | "StreamEnded" => assert_eq!(sequence, self.sequence, "{event}"),
            _ => assert_eq!(sequence, self.sequence + 1, "a gap or a repetition: {event}"),
        }
        if kind == "DraftDelta" {
            let (key, attempt) = (text(&event["sectionKey"]), text(&event["attemptId"]));
            let known = self.texts.entry(key.clone()).or_default();
            if event["offset"] == 0 && self.attempts.get(&key) != Some(&attempt) {
                known.clear();
            } else {
                assert!(self.attempts.get(&key).is_none_or(|before| *before == attempt), "another attempt begins in the middle: {event}");
            }
            assert_eq!(event["offset"].as_u64(), Some(known.chars().count() as u64), "it does not fit: {event}");
            assert!(event["text"] != "", "nothing new: {event}");
            known.push_str(&text(&event["text"]));
            self.attempts.insert(key.clone(), attempt);
            *self.pieces.entry(key).or_default() += 1;
        }
        if kind == "DraftSectionFinished" {
            let key = text(&event["section"]["key"]);
            self.attempts.remove(&key);
            self.texts.insert(key, text(&event["section"]["text"]));
        }
        self.sequence = sequence;
        self.cursor = event["cursor"].clone();
        Some(event)
    }

    /// Waits until a section has this text, by pieces alone; gives the first of them.
    pub async fn reads(&mut self, key: &str, text: &str) -> Value {
        let mut first = None;
        loop {
            let event = self.next().await;
            assert_eq!((&event["__typename"], &event["sectionKey"]), (&json!("DraftDelta"), &json!(key)), "{event}");
            let first = first.get_or_insert(event).clone();
            let so_far = &self.texts[key];
            if so_far == text {
                return first;
            }
            assert!(text.starts_with(so_far.as_str()), "{so_far:?} is not the beginning of {text:?}");
        }
    }

    /// The next event has to be of this kind.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let event = self.next().await;
        assert_eq!(event["__typename"], kind, "{event}");
        event
    }

    /// The next event is the end, for this reason.
    pub async fn ends_with(&mut self, reason: &str) {
        assert_eq!(self.expect("StreamEnded").await["reason"], reason);
    }

    /// The errors that a subscription is refused with.
    pub async fn refused(socket: &mut Socket, project: &str, after: &Value) -> Value {
        let mut events = socket.subscribe(DRAFTS, json!({ "id": project, "after": after })).await;
        events.next_or_errors().await.expect_err("refused")
    }
}
