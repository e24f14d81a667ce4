//! Runs documents that async-graphql has validated before and that are simple at their root, without its executor: that
//! prepares the document anew for every request, asks every extension at every step, and boxes and moves each root field.
//! What the fields say is still said by its resolvers and by the gate. It must not know how documents are remembered.

use crate::failures;
use async_graphql::extensions::Extensions;
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet};
use async_graphql::resolver_utils::ContainerType;
use async_graphql::{
    Context, ContextSelectionSet, EmptyMutation, EmptySubscription, Name, Object, ObjectType, Positioned, QueryEnv, QueryEnvInner, Request,
    Response, Schema, SchemaEnv, ServerResult, SubscriptionType, Value,
};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Takes out what the executor has made for a request, to make the like of it.
#[derive(Debug)]
pub(crate) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Slot<T> {
    fn empty() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The root of a schema without extensions, which says so.
struct Bare;

#[Object]
impl Bare {
    async fn bare(&self, ctx: &Context<'_>) -> bool {
        ctx.data_opt::<Slot<Extensions>>().is_some_and(|slot| {
            slot.put(ctx.query_env.extensions.clone());
            true
        })
    }
}

/// Data of a request that is [run](Direct::run) directly and has one root field: whatever that asks for, no other field beside it does.
#[derive(Debug, Clone, Copy)]
pub struct OnlyRoot;

/// Runs documents of a schema of which [`runs`] is true, by the same resolvers.
///
/// No extension is asked, and nothing is validated: give it only documents whose [`Verdict`](crate::verdict::Verdict) is known, with
/// variables that were coerced. Errors of fields are marked with their path ([`failures::settle`] takes the marks away).
pub struct Direct<Q, M> {
    schema: SchemaEnv,
    extensions: Extensions,
    query: Q,
    mutation: M,
}

impl<Q, M> std::fmt::Debug for Direct<Q, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl<Q: ObjectType + 'static, M: ObjectType + 'static> Direct<Q, M> {
    /// For a schema that has the extension [`Verdicts`](crate::verdict::Verdicts), and its roots once more; none if it lacks that.
    pub fn of<S: SubscriptionType + 'static>(schema: &Schema<Q, M, S>, query: Q, mutation: M) -> Option<Self> {
        let (env, extensions) = (Slot::empty(), Slot::empty());
        // neither waits for anything
        schema.execute(Request::new("{__typename}").data(env.clone())).now_or_never()?;
        let bare = Schema::new(Bare, EmptyMutation, EmptySubscription);
        bare.execute(Request::new("{bare}").data(extensions.clone())).now_or_never()?;
        Some(Self { schema: env.take()?, extensions: extensions.take()?, query, mutation })
    }

    /// Runs the only operation of a document; of the request, the variables, uploads and data count.
    pub async fn run(&self, document: &ExecutableDocument, mut request: Request) -> Response {
        let Some((_, operation)) = document.operations.iter().next() else { return Response::default() };
        let (kind, set) = (operation.node.ty, &operation.node.selection_set);
        let definition = OperationDefinition {
            ty: kind,
            variable_definitions: operation.node.variable_definitions.clone(),
            directives: Vec::new(),
            // nobody looks for it here: it comes with the context
            selection_set: Positioned::new(SelectionSet::default(), set.pos),
        };
        if set.node.items.len() == 1 {
            request.data.insert(OnlyRoot);
        }
        let env = QueryEnv::new(QueryEnvInner {
            extensions: self.extensions.clone(),
            variables: request.variables,
            operation_name: request.operation_name,
            operation: Positioned::new(definition, operation.pos),
            fragments: document.fragments.clone(),
            uploads: request.uploads,
            session_data: Arc::default(),
            query_data: Arc::new(request.data),
            http_headers: Mutex::default(),
            introspection_mode: request.introspection_mode,
            errors: Mutex::default(),
        });
        let ctx = env.create_context(&self.schema, None, set, None);
        let answered = match kind {
            OperationType::Mutation => one_after_the_other(&ctx, &self.mutation).await,
            _ => at_once(&ctx, &self.query).await,
        };
        let mut response = answered.map_or_else(|error| Response::from_errors(vec![error]), |fields| Response::new(Value::Object(fields)));
        response.errors.append(&mut env.errors.lock().unwrap_or_else(PoisonError::into_inner));
        response
    }
}

/// True if a document may be [`run`](Direct::run): it has one operation, no subscription, no directive anywhere, and at its root
/// nothing but fields under keys of their own, none of introspection.
#[must_use]
pub fn runs(document: &ExecutableDocument) -> bool {
    let mut operations = document.operations.iter();
    let (Some((_, operation)), None) = (operations.next(), operations.next()) else { return false };
    let (operation, mut keys) = (&operation.node, HashSet::new());
    let mut root = operation.selection_set.node.items.iter();
    let is_simple = root.all(|item| match &item.node {
        Selection::Field(field) => {
            let name = field.node.name.node.as_str();
            (name == "__typename" || !name.starts_with("__")) && keys.insert(field.node.response_key().node.as_str())
        }
        Selection::FragmentSpread(_) | Selection::InlineFragment(_) => false,
    });
    let fragments = document.fragments.values();
    is_simple
        && operation.ty != OperationType::Subscription
        && operation.directives.is_empty()
        && operation.variable_definitions.iter().all(|variable| variable.node.directives.is_empty())
        && has_no_directive(&operation.selection_set.node)
        && fragments
            .map(|fragment| &fragment.node)
            .all(|fragment| fragment.directives.is_empty() && has_no_directive(&fragment.selection_set.node))
}

fn has_no_directive(set: &SelectionSet) -> bool {
    set.items.iter().all(|item| {
        item.node.directives().is_empty()
            && match &item.node {
                Selection::Field(field) => has_no_directive(&field.node.selection_set.node),
                Selection::InlineFragment(fragment) => has_no_directive(&fragment.node.selection_set.node),
                Selection::FragmentSpread(_) => true,
            }
    })
}

type Answers = ServerResult<IndexMap<Name, Value>>;

async fn at_once<T: ObjectType>(ctx: &ContextSelectionSet<'_>, root: &T) -> Answers {
    if ctx.item.node.items.len() < 2 {
        return one_after_the_other(ctx, root).await;
    }
    // boxed, or each would be moved with all that it may ever hold
    let answers = fields(ctx.item).map(|field| Box::pin(answer(ctx, root, field)));
    Ok(try_join_all(answers).await?.into_iter().collect())
}

async fn one_after_the_other<T: ObjectType>(ctx: &ContextSelectionSet<'_>, root: &T) -> Answers {
    let mut answers = IndexMap::with_capacity(ctx.item.node.items.len());
    for field in fields(ctx.item) {
        let (key, value) = answer(ctx, root, field).await?;
        answers.insert(key, value);
    }
    Ok(answers)
}

fn fields(set: &Positioned<SelectionSet>) -> impl Iterator<Item = &Positioned<Field>> {
    set.node.items.iter().filter_map(|item| match &item.node {
        Selection::Field(field) => Some(field),
        _ => None,
    })
}

async fn answer<T: ObjectType>(ctx: &ContextSelectionSet<'_>, root: &T, field: &Positioned<Field>) -> ServerResult<(Name, Value)> {
    let key = field.node.response_key().node.clone();
    if field.node.name.node == "__typename" {
        return Ok((key, Value::String(root.introspection_type_name().into_owned())));
    }
    let ctx = ctx.with_field(field);
    let answer = ContainerType::resolve_field(root, &ctx).await;
    let marked = |error| failures::marked(error, || ctx.path_node.as_ref().map(failures::path_of).unwrap_or_default());
    Ok((key, answer.map_err(marked)?.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    #[test]
    fn only_what_is_simple_at_its_root_runs() {
        let runs = |query: &str| runs(&parse_query(query).unwrap());
        for simple in [
            "{ a { b ...f ... on B { c } } other: a(n: 1) { b } __typename } fragment f on A { b { c } b { d } }",
            "query Named($n: Int = 1) { a(n: $n) }",
            "mutation { a { b } c }",
        ] {
            assert!(runs(simple), "{simple}");
        }
        for other in [
            "subscription { a }",
            "query A { a } query B { b }",
            "{ a a }",
            "{ a { b } x: a a: c }",
            "{ ... { a } }",
            "{ ...f } fragment f on Query { a }",
            "{ __schema { types { name } } }",
            "{ x: __type(name: \"A\") { name } }",
            "query @d { a }",
            "query($n: Int @d) { a(n: $n) }",
            "{ a @skip(if: false) }",
            "{ a { b { c @include(if: true) } } }",
            "{ a { ... @skip(if: true) { b } } }",
            "{ a { ...f @skip(if: true) } } fragment f on A { b }",
            "{ a { ...f } } fragment f on A @d { b }",
            "{ a { ...f } } fragment f on A { b @skip(if: true) }",
        ] {
            assert!(!runs(other), "{other}");
        }
    }

    #[test]
    fn a_schema_that_cannot_say_what_was_validated_runs_nothing() {
        let schema = Schema::new(Bare, EmptyMutation, EmptySubscription);
        assert!(Direct::of(&schema, Bare, EmptyMutation).is_none());
    }
}
