//! Plans that are kept with their document, so that they are compiled once and not for every request that sends it. It must not
//! know what a plan says.

use crate::Output;
use crate::plan::{Compiler, Fields, Plan};
use async_graphql::parser::types::{Directive, ExecutableDocument, Selection, SelectionSet};
use async_graphql::{ContextSelectionSet, Pos, Positioned, ServerResult, parser::types::Field};
use async_graphql_value::Value;
use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The plans of one document: data of each request that sends it. They take no more than its parsed form, some times.
#[derive(Default)]
pub struct Plans(Mutex<HashMap<Place, Arc<Plan>>>);

/// Where a field stands, and of which type it is: below an interface the same field may be of several.
type Place = (Pos, &'static str);

impl Plans {
    /// Room for the plans of a document, as it is executed; none if what they say depends on variables: if one stands in a
    /// directive, or in an argument anywhere but at the root.
    #[must_use]
    pub fn of(document: &ExecutableDocument) -> Option<Self> {
        let mut operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
        let mut fragments = document.fragments.values();
        let depends =
            operations.any(|set| depends(set, true)) || fragments.any(|fragment| depends(&fragment.node.selection_set.node, false));
        (!depends).then(Self::default)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Place, Arc<Plan>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plans").field("known", &self.known().len()).finish()
    }
}

/// The plan of a field that is about to be answered.
pub(crate) fn plan<T: Output>(set: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Arc<Plan>> {
    let compile = || T::compile(&Compiler::new(set), &Fields::one(field)).map(Arc::new);
    let Some(plans) = set.data_opt::<Arc<Plans>>() else { return compile() };
    let place = (field.pos, type_name::<T>());
    let known = plans.known().get(&place).map(Arc::clone);
    if let Some(known) = known {
        return Ok(known);
    }
    let plan = compile()?;
    plans.known().insert(place, Arc::clone(&plan));
    Ok(plan)
}

fn depends(set: &SelectionSet, is_root: bool) -> bool {
    set.items.iter().any(|item| {
        item.node.directives().iter().any(directive_depends)
            || match &item.node {
                Selection::Field(field) => {
                    let mut arguments = field.node.arguments.iter();
                    (!is_root && arguments.any(|(_, value)| is_variable(&value.node))) || depends(&field.node.selection_set.node, false)
                }
                Selection::InlineFragment(fragment) => depends(&fragment.node.selection_set.node, is_root),
                // looked at by itself
                Selection::FragmentSpread(_) => false,
            }
    })
}

fn directive_depends(directive: &Positioned<Directive>) -> bool {
    directive.node.arguments.iter().any(|(_, value)| is_variable(&value.node))
}

fn is_variable(value: &Value) -> bool {
    match value {
        Value::Variable(_) => true,
        Value::List(items) => items.iter().any(is_variable),
        Value::Object(fields) => fields.values().any(is_variable),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    fn keeps(query: &str) -> bool {
        Plans::of(&parse_query(query).unwrap()).is_some()
    }

    #[test]
    fn plans_are_kept_only_where_no_variable_decides_what_they_say() {
        for constant in [
            "{ a { b(n: 1) @skip(if: false) { c } } }",
            "query($n: Int) { a(n: $n, in: { x: [$n] }) { b } ... { a2: a(n: $n) { b } } }",
            "{ ...f } fragment f on Query { a(n: 1) { b } }",
        ] {
            assert!(keeps(constant), "{constant}");
        }
        for dependent in [
            "query($n: Int) { a { b(n: $n) { c } } }",
            "query($n: Int) { a { b(in: { x: [1, $n] }) { c } } }",
            "query($y: Boolean!) { a @include(if: $y) { b } }",
            "query($y: Boolean!) { a { ... @skip(if: $y) { b } } }",
            "query($y: Boolean!) { a { ...f @skip(if: $y) } } fragment f on A { b }",
            "query($n: Int) { ...f } fragment f on Query { a(n: $n) { b } }",
            "query A { a { b } } query B($n: Int) { a { b(n: $n) } }",
        ] {
            assert!(!keeps(dependent), "{dependent}");
        }
    }
}
