//! Root fields of an operation, found through fragments: who may ask for them, that a subscription has one, and the
//! form in which async-graphql runs a subscription. It relies on the guard having bounded the document.

use super::document::Rejection;
use crate::graphql::following;
use async_graphql::{
    Name, Positioned,
    parser::types::{Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet},
};
use async_graphql_value::Value;
use std::collections::HashSet;

/// True for root fields that are answered without a token.
pub fn is_public(name: &str) -> bool {
    matches!(name, "apiInfo" | "__typename" | "__schema" | "__type")
}

/// Every root field of an operation, those in fragments included, whatever `@skip` and `@include` say.
pub fn fields<'a>(document: &'a ExecutableDocument, operation: &'a OperationDefinition) -> Vec<&'a Positioned<Field>> {
    let mut found = Vec::new();
    collect(document, &operation.selection_set.node, &mut found);
    found
}

fn collect<'a>(document: &'a ExecutableDocument, set: &'a SelectionSet, found: &mut Vec<&'a Positioned<Field>>) {
    for item in &set.items {
        match &item.node {
            Selection::Field(field) => found.push(field),
            Selection::InlineFragment(fragment) => collect(document, &fragment.node.selection_set.node, found),
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect(document, &fragment.node.selection_set.node, found);
                }
            }
        }
    }
}

/// "Single root field" of the specification (5.2.3.1): one field, no introspection, neither `@skip` nor `@include`.
///
/// # Errors
/// `VALIDATION_FAILED` otherwise.
pub fn check_single(fields: &[&Positioned<Field>]) -> Result<(), Rejection> {
    let positions = || fields.iter().map(|field| field.pos).take(5).collect();
    let keys: HashSet<&str> = fields.iter().map(|field| field.node.response_key().node.as_str()).collect();
    if keys.len() != 1 {
        return Err(Rejection::invalid("A subscription must select exactly one root field.", positions()));
    }
    if fields.iter().any(|field| field.node.name.node.starts_with("__")) {
        return Err(Rejection::invalid("A subscription must not select an introspection field at its root.", positions()));
    }
    let conditional = |field: &&Positioned<Field>| {
        field.node.directives.iter().any(|directive| matches!(directive.node.name.node.as_str(), "skip" | "include"))
    };
    if fields.iter().any(conditional) {
        return Err(Rejection::invalid("The root field of a subscription must not have @skip or @include.", positions()));
    }
    Ok(())
}

/// The root field of a subscription whose events may be written once for all who ask for the same.
pub fn shared_stream<'a>(fields: &[&'a Positioned<Field>]) -> Option<&'a Field> {
    fields.first().map(|field| &field.node).filter(|field| field.name.node == following::SHARED)
}

/// The variable that a stream is taken up after, if that is all that it is used for: then it does not show in events.
pub fn resumed_by(document: &ExecutableDocument, field: &Field) -> Option<Name> {
    let (_, value) = field.arguments.iter().find(|(name, _)| name.node == following::RESUMED_BY)?;
    let Value::Variable(name) = &value.node else { return None };
    let operations = document.operations.iter().map(|(_, operation)| &operation.node);
    let sets = operations.map(|operation| (&operation.directives, &operation.selection_set.node));
    let fragments = document.fragments.values().map(|fragment| (&fragment.node.directives, &fragment.node.selection_set.node));
    let uses: usize = sets.chain(fragments).map(|(directives, set)| uses_in_directives(name, directives) + uses_in_set(name, set)).sum();
    (uses == 1).then(|| name.clone())
}

fn uses_in_set(name: &Name, set: &SelectionSet) -> usize {
    let of = |selection: &Selection| match selection {
        Selection::Field(field) => {
            let arguments: usize = field.node.arguments.iter().map(|(_, value)| uses_in_value(name, &value.node)).sum();
            arguments + uses_in_set(name, &field.node.selection_set.node)
        }
        Selection::FragmentSpread(_) => 0,
        Selection::InlineFragment(fragment) => uses_in_set(name, &fragment.node.selection_set.node),
    };
    set.items.iter().map(|item| of(&item.node) + uses_in_directives(name, item.node.directives())).sum()
}

fn uses_in_directives(name: &Name, directives: &[Positioned<Directive>]) -> usize {
    directives.iter().flat_map(|directive| &directive.node.arguments).map(|(_, value)| uses_in_value(name, &value.node)).sum()
}

fn uses_in_value(name: &Name, value: &Value) -> usize {
    match value {
        Value::Variable(variable) => usize::from(variable == name),
        Value::List(values) => values.iter().map(|value| uses_in_value(name, value)).sum(),
        Value::Object(fields) => fields.values().map(|value| uses_in_value(name, value)).sum(),
        _ => 0,
    }
}

/// Moves root fields out of fragments and makes one of several mentions of a field: async-graphql ignores fragments at the
/// root of a subscription, and runs a field once for each mention. False if something is in the way: a directive, or a
/// fragment that is not on the root type. Then the document stays as it is.
pub fn lift(document: &mut ExecutableDocument, name: Option<&str>, root_type: &str) -> bool {
    let before = reachable(document);
    let Some(merged) = chosen(&mut document.operations, name).cloned().and_then(|operation| merged_root(document, &operation, root_type))
    else {
        return false;
    };
    if let Some(operation) = chosen(&mut document.operations, name) {
        let as_selection = |field: Positioned<Field>| {
            let position = field.pos;
            Positioned::new(Selection::Field(field), position)
        };
        operation.selection_set.node.items = merged.into_iter().map(as_selection).collect();
    }
    // A fragment that only led to the root would now count as unused; one that never was used still should.
    let after = reachable(document);
    document.fragments.retain(|fragment, _| after.contains(fragment) || !before.contains(fragment));
    true
}

fn chosen<'a>(operations: &'a mut DocumentOperations, name: Option<&str>) -> Option<&'a mut OperationDefinition> {
    let operation = match operations {
        DocumentOperations::Single(operation) => operation,
        DocumentOperations::Multiple(all) => match name {
            Some(name) => all.get_mut(name)?,
            None => all.values_mut().next()?,
        },
    };
    Some(&mut operation.node)
}

/// The root fields, one for each key, in the order of their first mention.
fn merged_root(document: &ExecutableDocument, operation: &OperationDefinition, root_type: &str) -> Option<Vec<Positioned<Field>>> {
    if !is_liftable(document, &operation.selection_set.node, root_type) {
        return None;
    }
    let mut merged: Vec<Positioned<Field>> = Vec::new();
    for field in fields(document, operation) {
        let key = &field.node.response_key().node;
        match merged.iter_mut().find(|known| known.node.response_key().node == *key) {
            // which of the two would be skipped cannot be said of one field
            Some(known) if !(known.node.directives.is_empty() && field.node.directives.is_empty()) => return None,
            Some(known) => known.node.selection_set.node.items.extend(field.node.selection_set.node.items.iter().cloned()),
            None => merged.push(field.clone()),
        }
    }
    Some(merged)
}

fn is_liftable(document: &ExecutableDocument, set: &SelectionSet, root_type: &str) -> bool {
    set.items.iter().all(|item| match &item.node {
        Selection::Field(_) => true,
        selection if !selection.directives().is_empty() => false,
        Selection::InlineFragment(fragment) => {
            fragment.node.type_condition.as_ref().is_none_or(|condition| condition.node.on.node == root_type)
                && is_liftable(document, &fragment.node.selection_set.node, root_type)
        }
        Selection::FragmentSpread(spread) => document.fragments.get(&spread.node.fragment_name.node).is_some_and(|fragment| {
            fragment.node.type_condition.node.on.node == root_type && is_liftable(document, &fragment.node.selection_set.node, root_type)
        }),
    })
}

/// Names of the fragments that operations lead to.
fn reachable(document: &ExecutableDocument) -> HashSet<Name> {
    fn walk(document: &ExecutableDocument, set: &SelectionSet, found: &mut HashSet<Name>) {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => walk(document, &field.node.selection_set.node, found),
                Selection::InlineFragment(fragment) => walk(document, &fragment.node.selection_set.node, found),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let (true, Some(fragment)) = (found.insert(name.clone()), document.fragments.get(name)) {
                        walk(document, &fragment.node.selection_set.node, found);
                    }
                }
            }
        }
    }
    let mut found = HashSet::new();
    document.operations.iter().for_each(|(_, operation)| walk(document, &operation.node.selection_set.node, &mut found));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    fn lifted(query: &str) -> ExecutableDocument {
        let mut document = parse_query(query).unwrap();
        lift(&mut document, None, "Subscription");
        document
    }

    #[test]
    fn several_mentions_of_a_root_field_become_one_unless_a_directive_is_in_the_way() {
        let mut document = parse_query("mutation { a(n: 1) { x } ...f b: a { y } } fragment f on Mutation { a(n: 1) { z } }").unwrap();
        assert!(lift(&mut document, None, "Mutation"));
        let (_, operation) = document.operations.iter().next().unwrap();
        let found: Vec<_> = fields(&document, &operation.node)
            .iter()
            .map(|field| (field.node.response_key().node.to_string(), field.node.selection_set.node.items.len()))
            .collect();
        assert_eq!(found, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        for kept in
            ["{ a @skip(if: false) { x } a { y } }", "{ a { x } ... @include(if: true) { a { y } } }", "{ a { x } ... on T { a { y } } }"]
        {
            assert!(!lift(&mut parse_query(kept).unwrap(), None, "Query"), "{kept}");
        }
    }

    #[test]
    fn the_root_of_a_subscription_is_lifted_out_of_fragments() {
        let query = "subscription { ...f ticks { c } } fragment f on Subscription { ... { ticks { ...g } } } fragment g on T { a } fragment h on T { a }";
        let document = lifted(query);
        let (_, operation) = document.operations.iter().next().unwrap();
        let [item] = operation.node.selection_set.node.items.as_slice() else { panic!("one root") };
        let Selection::Field(field) = &item.node else { panic!("a field") };
        assert_eq!(field.node.selection_set.node.items.len(), 2);
        let mut fragments: Vec<_> = document.fragments.keys().map(Name::as_str).collect();
        fragments.sort_unstable();
        assert_eq!(fragments, ["g", "h"], "f served its turn, g is still used, h never was");
    }

    #[test]
    fn a_cursor_is_told_from_a_variable_that_shows_in_events() {
        let resumed = |query: &str| {
            let document = parse_query(query).unwrap();
            let (_, operation) = document.operations.iter().next().unwrap();
            let fields = fields(&document, &operation.node);
            shared_stream(&fields).map(|field| resumed_by(&document, field).map(|name| name.to_string()))
        };
        let alone = "subscription($i: ID!, $a: C) { batchProgress(batchId: $i, after: $a) { ...f } } fragment f on E { x(n: $i) }";
        assert_eq!(resumed(alone), Some(Some("a".into())));
        assert_eq!(resumed("subscription { batchProgress(after: \"x\") { x } }"), Some(None), "it is in the document");
        for used in ["x(n: $a)", "x(n: [{ m: $a }])", "x @include(if: $a)", "... @skip(if: $a) { x }", "...f", "...f @d(n: $a)"] {
            let query = format!("subscription($a: C) {{ batchProgress(after: $a) {{ {used} }} }} fragment f on E {{ x(n: $a) }}");
            assert_eq!(resumed(&query), Some(None), "{used}");
        }
        assert_eq!(resumed("subscription($a: C) { projectDraft(after: $a) { x } }"), None);
    }

    #[test]
    fn a_fragment_on_another_type_is_left_for_validation() {
        let document = lifted("subscription { ...f } fragment f on Query { ticks }");
        assert_eq!(document.fragments.len(), 1);
    }
}
