//! Limits of a document, checked before anything walks it: its size once fragments are expanded, depth, aliases,
//! directives, forged literals. Linear in the size of the document, because the size of every fragment
//! is computed once; it must not be affected by what the schema looks like.

use super::document::{Rejection, is_forged_literal};
use crate::graphql::info::MAX_DEPTH;
use async_graphql::{
    Positioned,
    parser::types::{Directive, ExecutableDocument, Selection, SelectionSet},
};
use async_graphql_value::{ConstValue, Value};
use std::collections::HashMap;

/// Deepest nesting of selections, fragments included: what walks a document may recurse that deep.
pub const MAX_NESTING: u64 = 40;
/// Most selections once fragments are expanded.
pub const MAX_SELECTIONS: u64 = 2_000;
/// Most aliases in a document.
pub const MAX_ALIASES: u64 = 60;
/// Most directives on one node.
pub const MAX_DIRECTIVES: usize = 4;
/// Checks the limits.
///
/// # Errors
/// `TOO_COMPLEX` with the limit, or `VALIDATION_FAILED` for cycles and forged values.
pub fn check(document: &ExecutableDocument) -> Result<(), Rejection> {
    let mut guard = Guard { document, sizes: HashMap::new(), aliases: 0 };
    let mut selections = 0_u64;
    for (_, operation) in document.operations.iter() {
        directives(&operation.node.directives)?;
        for variable in &operation.node.variable_definitions {
            directives(&variable.node.directives)?;
            if let Some(default) = &variable.node.default_value {
                constant(&default.node)?;
            }
        }
        let size = guard.selection_set(&operation.node.selection_set.node, 0)?;
        within_nesting(size.height)?;
        within_depth(size.depth)?;
        selections = selections.saturating_add(size.selections);
    }
    for name in document.fragments.keys() {
        within_nesting(guard.fragment(name, 0)?.height)?;
    }
    if selections > MAX_SELECTIONS {
        return Err(Rejection::too_complex("The query selects too many fields. Split it or ask for less.", MAX_SELECTIONS, selections));
    }
    if guard.aliases > MAX_ALIASES {
        return Err(Rejection::too_complex("The document has too many aliases.", MAX_ALIASES, guard.aliases));
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Size {
    selections: u64,
    /// Fields and fragments below each other.
    height: u64,
    /// Fields below each other.
    depth: u64,
}

struct Guard<'a> {
    document: &'a ExecutableDocument,
    /// Size of each fragment; none while it is being computed.
    sizes: HashMap<&'a str, Option<Size>>,
    aliases: u64,
}

impl<'a> Guard<'a> {
    fn selection_set(&mut self, set: &'a SelectionSet, nesting: u64) -> Result<Size, Rejection> {
        within_nesting(nesting)?;
        let mut total = Size::default();
        for item in &set.items {
            directives(item.node.directives())?;
            let inner = match &item.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    self.aliases += u64::from(field.alias.is_some());
                    field.arguments.iter().try_for_each(|(_, argument)| literal(&argument.node))?;
                    if field.name.node == "__typename" {
                        known_directives_only(&field.directives)?;
                    }
                    self.selection_set(&field.selection_set.node, nesting + 1)?
                }
                Selection::InlineFragment(fragment) => self.selection_set(&fragment.node.selection_set.node, nesting + 1)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, nesting + 1)?,
            };
            total.selections = total.selections.saturating_add(inner.selections).saturating_add(1);
            total.height = total.height.max(inner.height + 1);
            total.depth = total.depth.max(inner.depth + u64::from(matches!(item.node, Selection::Field(_))));
        }
        Ok(total)
    }

    fn fragment(&mut self, name: &'a str, nesting: u64) -> Result<Size, Rejection> {
        match self.sizes.get(name) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(Rejection::invalid(format!("The fragment \"{name:.60}\" contains itself."), Vec::new())),
            None => {}
        }
        // An unknown fragment is the schema's to report.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Size::default()) };
        self.sizes.insert(name, None);
        directives(&fragment.node.directives)?;
        let size = self.selection_set(&fragment.node.selection_set.node, nesting)?;
        self.sizes.insert(name, Some(size));
        Ok(size)
    }
}

fn within_nesting(nesting: u64) -> Result<(), Rejection> {
    if nesting > MAX_NESTING { Err(Rejection::too_complex("The query is nested too deep.", MAX_NESTING, nesting)) } else { Ok(()) }
}

fn within_depth(depth: u64) -> Result<(), Rejection> {
    let limit = MAX_DEPTH as u64;
    if depth > limit { Err(Rejection::too_complex("The query is nested too deep.", limit, depth)) } else { Ok(()) }
}

fn directives(all: &[Positioned<Directive>]) -> Result<(), Rejection> {
    if all.len() > MAX_DIRECTIVES {
        return Err(Rejection::too_complex("There are too many directives in one place.", MAX_DIRECTIVES as u64, all.len() as u64));
    }
    all.iter().flat_map(|directive| &directive.node.arguments).try_for_each(|(_, argument)| literal(&argument.node))
}

/// async-graphql validates directives everywhere but on `__typename`.
fn known_directives_only(all: &[Positioned<Directive>]) -> Result<(), Rejection> {
    match all.iter().find(|directive| !matches!(directive.node.name.node.as_str(), "skip" | "include")) {
        Some(unknown) => Err(Rejection::invalid(format!("Unknown directive \"@{:.60}\".", unknown.node.name.node), vec![unknown.pos])),
        None => Ok(()),
    }
}

fn literal(value: &Value) -> Result<(), Rejection> {
    match value {
        Value::String(text) if is_forged_literal(text) => Err(forged()),
        Value::List(items) => items.iter().try_for_each(literal),
        Value::Object(fields) => fields.values().try_for_each(literal),
        _ => Ok(()),
    }
}

fn constant(value: &ConstValue) -> Result<(), Rejection> {
    match value {
        ConstValue::String(text) if is_forged_literal(text) => Err(forged()),
        ConstValue::List(items) => items.iter().try_for_each(constant),
        ConstValue::Object(fields) => fields.values().try_for_each(constant),
        _ => Ok(()),
    }
}

fn forged() -> Rejection {
    Rejection::invalid("A value in the document is reserved. Send files as a multipart request.", Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FaultCode;
    use async_graphql::parser::parse_query;
    use std::fmt::Write;

    fn code(query: &str) -> Option<FaultCode> {
        check(&parse_query(query).unwrap()).err().map(|rejection| rejection.code)
    }

    #[test]
    fn a_fragment_bomb_is_refused_at_once() {
        let mut bomb = "{ ...a0 }".to_owned();
        for level in 0..30 {
            let next = level + 1;
            write!(bomb, " fragment a{level} on Query {{ ...a{next} ...a{next} }}").unwrap();
        }
        bomb.push_str(" fragment a30 on Query { __typename }");
        assert_eq!(code(&bomb), Some(FaultCode::TooComplex));
    }

    #[test]
    fn a_chain_of_fragments_is_deep_in_whatever_order_it_is_measured() {
        let mut chain = "{ a0: x }".to_owned();
        for level in 0..60 {
            write!(chain, " fragment a{level} on Query {{ ...a{} }}", level + 1).unwrap();
        }
        chain.push_str(" fragment a60 on Query { __typename }");
        assert_eq!(code(&chain), Some(FaultCode::TooComplex));
    }

    #[test]
    fn cycles_of_fragments_are_refused() {
        assert_eq!(code("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"), Some(FaultCode::ValidationFailed));
        assert_eq!(code("{ x } fragment a on Query { y { ...a } }"), Some(FaultCode::ValidationFailed));
    }

    #[test]
    fn too_many_fields_aliases_and_directives_are_refused_with_the_limit() {
        let aliases = |count: usize| (0..count).fold(String::new(), |all, index| all + &format!(" a{index}: __typename"));
        assert_eq!(code(&format!("{{{}}}", aliases(60))), None);
        let rejection = check(&parse_query(format!("{{{}}}", aliases(61))).unwrap()).unwrap_err();
        assert_eq!(rejection.exceeded, Some((60, 61)));
        assert_eq!(code(&format!("{{{}}}", " a".repeat(2_001))), Some(FaultCode::TooComplex));
        assert_eq!(code(&format!("{{ a{} }}", " @skip(if: false)".repeat(5))), Some(FaultCode::TooComplex));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let exceeded = |query: String| check(&parse_query(query).unwrap()).err().and_then(|rejection| rejection.exceeded);
        let nested = |fields: usize| "{a".repeat(fields) + &"}".repeat(fields);
        assert_eq!(exceeded(nested(15)), None);
        assert_eq!(exceeded(nested(16)), Some((15, 16)));
        assert_eq!(exceeded(nested(45)), Some((40, 41)));
        // fragments are no fields
        let fragments = |count: usize| format!("{}a{}", "{...".repeat(count), "}".repeat(count));
        assert_eq!(exceeded(fragments(20)), None);
        assert_eq!(exceeded(fragments(45)), Some((40, 41)));
    }

    #[test]
    fn an_unknown_directive_on_typename_is_refused() {
        assert_eq!(code("{ __typename @nope }"), Some(FaultCode::ValidationFailed));
        assert_eq!(code("{ __typename @skip(if: false) }"), None);
    }
}
