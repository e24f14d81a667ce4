//! Writes responses. async-graphql's own way would clone and parse the texts of gates again; here they are copied.

use crate::gate::RAW;
use crate::write::string;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Response, Value};
use serde::Serialize;
use std::collections::HashSet;

/// Room for what whoever sends a response may add to it.
const SPARE: usize = 256;

/// A response as JSON, with what serde would write: data first.
#[must_use]
pub fn to_string(response: &Response) -> String {
    let mut out = String::with_capacity(size(&response.data) + SPARE);
    out.push_str("{\"data\":");
    write_value(&response.data, &mut out);
    if !response.extensions.is_empty() {
        out.push_str(",\"extensions\":");
        write_as_serde_does(&response.extensions, &mut out);
    }
    if !response.errors.is_empty() {
        out.push_str(",\"errors\":");
        write_as_serde_does(&response.errors, &mut out);
    }
    out.push('}');
    out
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

/// Keys are texts here; what could not be written is null.
fn write_as_serde_does(value: &(impl Serialize + ?Sized), out: &mut String) {
    out.push_str(serde_json::to_string(value).as_deref().unwrap_or("null"));
}

pub(crate) fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            if let Some(text) = text_of(value) {
                return out.push_str(text);
            }
            out.push('{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(out, key);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
        Value::List(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(value, out);
            }
            out.push(']');
        }
        Value::String(text) => string(out, text),
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
