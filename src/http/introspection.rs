//! How much of the schema a document may ask for. Introspection reads no database, but a short document can ask for the
//! whole schema for each of its parts. It relies on the guard having bounded the document, and must not answer anything.

use super::{
    document::Rejection,
    types::{Extent, SchemaTypes},
};
use async_graphql::{
    Name,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};
use std::collections::HashMap;

/// Most `__schema` and `__type` fields.
pub const MAX_INTROSPECTION_ROOTS: u32 = 4;
/// Listing fields of the introspection types may be nested less deep than this (graphql-js has the same rule).
pub const MAX_INTROSPECTION_LISTS: u32 = 3;
/// Most values of an answer, estimated: what tools ask for at their start is about half of it.
pub const MAX_INTROSPECTION_VALUES: u64 = 100_000;

/// Checks what a document asks of the schema.
///
/// # Errors
/// `TOO_COMPLEX` with the limit.
pub fn check(document: &ExecutableDocument, types: &SchemaTypes) -> Result<(), Rejection> {
    let mut asked = Asked { document, extent: types.extent(), roots: 0, fragments: HashMap::new() };
    let mut values = 0_u64;
    for (_, operation) in document.operations.iter() {
        values = values.saturating_add(asked.roots(&operation.node.selection_set.node)?);
    }
    if values > MAX_INTROSPECTION_VALUES {
        let message = "The answer would have too much of the schema. Ask for it in several operations, or for fewer of its parts.";
        return Err(Rejection::too_complex(message, MAX_INTROSPECTION_VALUES, values));
    }
    Ok(())
}

struct Asked<'a> {
    document: &'a ExecutableDocument,
    extent: Extent,
    roots: u32,
    /// Values and nested lists of fragments that were gone through.
    fragments: HashMap<&'a Name, (u64, u32)>,
}

impl<'a> Asked<'a> {
    /// Values below the introspection fields among these selections, which may stand anywhere.
    fn roots(&mut self, set: &'a SelectionSet) -> Result<u64, Rejection> {
        let mut values = 0_u64;
        for item in &set.items {
            values = values.saturating_add(match &item.node {
                Selection::Field(field) if matches!(field.node.name.node.as_str(), "__schema" | "__type") => {
                    self.roots += 1;
                    if self.roots > MAX_INTROSPECTION_ROOTS {
                        let (limit, actual) = (MAX_INTROSPECTION_ROOTS.into(), self.roots.into());
                        return Err(Rejection::too_complex("There is too much introspection in one document.", limit, actual));
                    }
                    let (values, lists) = self.below(&field.node.selection_set.node);
                    if lists >= MAX_INTROSPECTION_LISTS {
                        let (limit, actual) = ((MAX_INTROSPECTION_LISTS - 1).into(), lists.into());
                        return Err(Rejection::too_complex("Introspection is nested too deep.", limit, actual));
                    }
                    values
                }
                Selection::Field(field) => self.roots(&field.node.selection_set.node)?,
                Selection::InlineFragment(fragment) => self.roots(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => match self.document.fragments.get(&spread.node.fragment_name.node) {
                    Some(fragment) => self.roots(&fragment.node.selection_set.node)?,
                    None => 0,
                },
            });
        }
        Ok(values)
    }

    /// Values, and lists of fields or types below each other.
    fn below(&mut self, set: &'a SelectionSet) -> (u64, u32) {
        let (mut values, mut lists) = (0_u64, 0);
        for item in &set.items {
            let (inner_values, inner_lists) = match &item.node {
                Selection::Field(field) => {
                    let name = field.node.name.node.as_str();
                    let (inner, lists) = self.below(&field.node.selection_set.node);
                    let is_list = matches!(name, "fields" | "interfaces" | "possibleTypes" | "inputFields");
                    (self.items(name).saturating_mul(inner.saturating_add(1)), lists + u32::from(is_list))
                }
                Selection::InlineFragment(fragment) => self.below(&fragment.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
            };
            values = values.saturating_add(inner_values);
            lists = lists.max(inner_lists);
        }
        (values, lists)
    }

    fn fragment(&mut self, name: &'a Name) -> (u64, u32) {
        if let Some(known) = self.fragments.get(name) {
            return *known;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return (0, 0) };
        let found = self.below(&fragment.node.selection_set.node);
        self.fragments.insert(name, found);
        found
    }

    /// How many a field of the introspection types lists: the mean over the schema.
    fn items(&self, name: &str) -> u64 {
        let Extent { types, fields, arguments, input_fields, enum_values } = self.extent;
        match name {
            "types" => types,
            "fields" => fields.div_ceil(types),
            "args" => arguments.div_ceil(fields),
            "inputFields" => input_fields.div_ceil(types),
            "enumValues" => enum_values.div_ceil(types),
            "directives" => 5,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphql;
    use async_graphql::parser::parse_query;

    fn exceeded(query: &str) -> Option<(u64, u64)> {
        let types = SchemaTypes::of(&graphql::sdl()).unwrap();
        check(&parse_query(query).unwrap(), &types).err().and_then(|rejection| rejection.exceeded)
    }

    fn values(query: &str) -> u64 {
        let types = SchemaTypes::of(&graphql::sdl()).unwrap();
        let document = parse_query(query).unwrap();
        let mut asked = Asked { document: &document, extent: types.extent(), roots: 0, fragments: HashMap::new() };
        asked.roots(&document.operations.iter().next().unwrap().1.node.selection_set.node).unwrap()
    }

    /// As graphql-js' `getIntrospectionQuery` makes it, with all of its options.
    const OF_TOOLS: &str = "{ __schema { description queryType { name kind } mutationType { name kind } subscriptionType { name kind }
        types { ...FullType } directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } } } }
        fragment FullType on __Type { kind name description specifiedByURL isOneOf
            fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef }
                isDeprecated deprecationReason }
            inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
            enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
        fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
        fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType {
            kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

    #[test]
    fn what_tools_ask_for_is_answered_and_not_four_times_over() {
        let of_tools = values(OF_TOOLS);
        assert!((MAX_INTROSPECTION_VALUES / 3..MAX_INTROSPECTION_VALUES * 4 / 5).contains(&of_tools), "{of_tools}");
        assert_eq!(exceeded(OF_TOOLS), None);
        let types = "types { ...FullType }";
        let four = OF_TOOLS.replace(types, &format!("a: {types} b: {types} c: {types} d: {types}"));
        assert!(exceeded(&four).is_some_and(|(_, actual)| actual > 3 * of_tools), "{:?}", exceeded(&four));
    }

    #[test]
    fn the_schema_for_each_of_its_parts_is_too_much() {
        let bomb = "{ a: __schema { types { ...a } } b: __schema { types { ...a } } c: __schema { types { ...a } } } fragment a on __Type { fields { args { type { ...b ofType { ...b } } } type { ...b } } }
            fragment b on __Type { name description enumValues { name description } fields { name args { name type { name ofType { name } } } } }";
        assert!(exceeded(bomb).is_some());
        assert_eq!(exceeded("{ __type(name: \"Batch\") { fields { name type { name fields { name description } } } } }"), None);
    }

    #[test]
    fn circular_introspection_is_refused() {
        let query = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }";
        assert_eq!(exceeded(query), Some((2, 3)));
        assert_eq!(exceeded("{ __schema { types { fields { type { name ofType { name } } } } } }"), None);
        let many = "{ a: __schema { x } b: __schema { x } c: __schema { x } d: __schema { x } e: __schema { x } }";
        assert_eq!(exceeded(many), Some((4, 5)));
    }
}
