//! `__typename`, which async-graphql passes over when it validates: what must not stand there is refused, and directives
//! are put into a form that it sees, or a variable that is used nowhere else would count as unused. It relies on the
//! guard having bounded the document.

use super::document::Rejection;
use async_graphql::{
    Positioned,
    parser::types::{DocumentOperations, ExecutableDocument, InlineFragment, Selection, SelectionSet},
};

/// Writes `__typename @include(if: $on)` as `... @include(if: $on) { __typename }`, which says the same.
///
/// # Errors
/// `VALIDATION_FAILED` if `__typename` has arguments or a selection.
pub fn mend(document: &mut ExecutableDocument) -> Result<(), Rejection> {
    match &mut document.operations {
        DocumentOperations::Single(operation) => walk(&mut operation.node.selection_set.node)?,
        DocumentOperations::Multiple(all) => {
            all.values_mut().try_for_each(|operation| walk(&mut operation.node.selection_set.node))?;
        }
    }
    document.fragments.values_mut().try_for_each(|fragment| walk(&mut fragment.node.selection_set.node))
}

fn walk(set: &mut SelectionSet) -> Result<(), Rejection> {
    for item in &mut set.items {
        match &mut item.node {
            Selection::Field(field)
                if field.node.name.node == "__typename"
                    && !(field.node.arguments.is_empty() && field.node.selection_set.node.items.is_empty()) =>
            {
                return Err(Rejection::invalid("\"__typename\" has neither arguments nor a selection.", vec![field.pos]));
            }
            Selection::Field(field) if field.node.name.node == "__typename" && !field.node.directives.is_empty() => {
                let directives = std::mem::take(&mut field.node.directives);
                let items = vec![Positioned::new(Selection::Field(field.clone()), item.pos)];
                let selection_set = Positioned::new(SelectionSet { items }, item.pos);
                let fragment = InlineFragment { type_condition: None, directives, selection_set };
                item.node = Selection::InlineFragment(Positioned::new(fragment, item.pos));
            }
            Selection::Field(field) => walk(&mut field.node.selection_set.node)?,
            Selection::InlineFragment(fragment) => walk(&mut fragment.node.selection_set.node)?,
            Selection::FragmentSpread(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Request, Schema, parser::parse_query};

    struct Query;

    #[Object]
    impl Query {
        async fn a(&self) -> i32 {
            1
        }
    }

    async fn answer(query: &str) -> String {
        let mut request = Request::new(query);
        let mut document = parse_query(query).unwrap();
        mend(&mut document).unwrap();
        request.set_parsed_query(document);
        serde_json::to_string(&Schema::new(Query, EmptyMutation, EmptySubscription).execute(request).await).unwrap()
    }

    #[tokio::test]
    async fn directives_of_typename_use_their_variables_and_keep_their_place() {
        let query = "query($on: Boolean = false) { a t: __typename @skip(if: $on) ...f b: a } fragment f on Query { u: __typename @include(if: true) }";
        assert_eq!(answer(query).await, r#"{"data":{"a":1,"t":"Query","u":"Query","b":1}}"#);
        assert_eq!(answer("{ a __typename @skip(if: true) }").await, r#"{"data":{"a":1}}"#);
        assert!(answer("{ __typename @nothing }").await.contains("Unknown directive"));
    }

    #[test]
    fn typename_is_a_leaf_without_arguments() {
        for query in ["{ __typename { x } }", "{ a ...f } fragment f on Query { __typename(x: 1) }"] {
            assert!(mend(&mut parse_query(query).unwrap()).is_err(), "{query}");
        }
    }
}
