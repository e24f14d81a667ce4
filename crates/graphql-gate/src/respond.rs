//! Writes responses. async-graphql's own way would clone and parse the texts of gates again; here they are copied.

use crate::gate::RAW;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Response, Value};
use serde::Serialize;
use std::collections::HashSet;

/// A response as JSON, with what serde would write: data first.
#[must_use]
pub fn to_string(response: &Response) -> String {
    let mut out = Vec::with_capacity(size(&response.data) + 64);
    out.extend_from_slice(b"{\"data\":");
    write_value(&response.data, &mut out);
    if !response.extensions.is_empty() {
        out.extend_from_slice(b",\"extensions\":");
        write_as_serde_does(&response.extensions, &mut out);
    }
    if !response.errors.is_empty() {
        out.extend_from_slice(b",\"errors\":");
        write_as_serde_does(&response.errors, &mut out);
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

/// The JSON text of what a gate has answered, as it stands in a response.
#[must_use]
pub fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Object(fields) if fields.len() == 1 => match fields.get(RAW) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + 4 + size(value)).sum(),
        Value::List(values) => values.iter().map(size).sum(),
        _ => 8,
    }
}

/// Writing into memory does not fail, and keys are texts here; what could not be written is null.
fn write_as_serde_does(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

pub(crate) fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            if let Some(text) = text_of(value) {
                return out.extend_from_slice(text.as_bytes());
            }
            out.push(b'{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_as_serde_does(key.as_str(), out);
                out.push(b':');
                write_value(value, out);
            }
            out.push(b'}');
        }
        Value::List(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(value, out);
            }
            out.push(b']');
        }
        value => write_as_serde_does(value, out),
    }
}

/// True if one key with a selection occurs twice at the root of an operation, fragments included: then the request needs
/// [`crate::MergedRoots`]. Further down a gate merges by itself.
#[must_use]
pub fn repeats_a_root_key(document: &ExecutableDocument, operation: &OperationDefinition) -> bool {
    fn walk<'a>(
        document: &'a ExecutableDocument,
        set: &'a SelectionSet,
        keys: &mut HashSet<&'a str>,
        spreads: &mut HashSet<&'a str>,
    ) -> bool {
        set.items.iter().any(|selection| match &selection.node {
            Selection::Field(field) => {
                !field.node.selection_set.node.items.is_empty() && !keys.insert(field.node.response_key().node.as_str())
            }
            Selection::FragmentSpread(spread) => {
                let name = spread.node.fragment_name.node.as_str();
                // spread a second time, all its keys are repeated; a circle is no document that is executed
                let fragment = document.fragments.get(name);
                fragment.is_some_and(|fragment| !spreads.insert(name) || walk(document, &fragment.node.selection_set.node, keys, spreads))
            }
            Selection::InlineFragment(fragment) => walk(document, &fragment.node.selection_set.node, keys, spreads),
        })
    }
    walk(document, &operation.selection_set.node, &mut HashSet::new(), &mut HashSet::new())
}
