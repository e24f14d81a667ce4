//! "Fields can be merged" of the GraphQL specification (5.3.2), which async-graphql checks only in part: fields that
//! share a response key must be the same field with the same arguments if they can meet in one object, and must have
//! the same shape in any case. All fields of a key are compared at once instead of in pairs (Adameit, "Overlapping
//! fields can be merged fast"), and the work is bounded. It must not check what async-graphql checks.

use super::document::Rejection;
use super::types::{Kind, SchemaTypes, named};
use async_graphql::{
    Pos,
    parser::types::{BaseType, ExecutableDocument, Field, Selection, SelectionSet, Type},
};
use std::collections::{BTreeMap, HashSet};

/// Most fields that are compared; documents of people need a few hundred.
const MAX_WORK: u64 = 50_000;

/// Checks every operation of a document.
///
/// # Errors
/// `VALIDATION_FAILED` with the two places that conflict; `TOO_COMPLEX` if comparing would take too long.
pub fn check(document: &ExecutableDocument, types: &SchemaTypes) -> Result<(), Rejection> {
    let mut merging = Merging { document, types, work: 0 };
    for (_, operation) in document.operations.iter() {
        let mut fields = Vec::new();
        let root = types.root(operation.node.ty);
        merging.collect(&operation.node.selection_set.node, Some(root), &mut HashSet::new(), &mut fields)?;
        merging.same_shape(&fields)?;
        merging.same_field(&fields)?;
    }
    Ok(())
}

/// A field with the type that it is selected on; none for introspection types.
#[derive(Clone, Copy)]
struct Selected<'a> {
    parent: Option<&'a str>,
    field: &'a Field,
    ty: Option<&'a Type>,
    position: Pos,
}

struct Merging<'a> {
    document: &'a ExecutableDocument,
    types: &'a SchemaTypes,
    work: u64,
}

impl<'a> Merging<'a> {
    fn collect(
        &mut self,
        set: &'a SelectionSet,
        parent: Option<&'a str>,
        visited: &mut HashSet<&'a str>,
        found: &mut Vec<Selected<'a>>,
    ) -> Result<(), Rejection> {
        for item in &set.items {
            self.work += 1;
            if self.work > MAX_WORK {
                return Err(Rejection::too_complex("Too many fields share their names. Use fewer fragments.", MAX_WORK, self.work));
            }
            match &item.node {
                Selection::Field(field) => {
                    let ty = self.types.field(parent, &field.node.name.node).map(|shape| &shape.ty);
                    found.push(Selected { parent, field: &field.node, ty, position: field.pos });
                }
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map_or(parent, |condition| Some(condition.node.on.node.as_str()));
                    self.collect(&fragment.node.selection_set.node, on, visited, found)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    if let (true, Some(fragment)) = (visited.insert(name), self.document.fragments.get(name)) {
                        let on = Some(fragment.node.type_condition.node.on.node.as_str());
                        self.collect(&fragment.node.selection_set.node, on, visited, found)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Selections below all of these fields, which are one set in the answer.
    fn children(&mut self, fields: &[Selected<'a>]) -> Result<Vec<Selected<'a>>, Rejection> {
        let (mut found, mut visited) = (Vec::new(), HashSet::new());
        for selected in fields {
            self.collect(&selected.field.selection_set.node, selected.ty.map(named), &mut visited, &mut found)?;
        }
        Ok(found)
    }

    fn same_shape(&mut self, fields: &[Selected<'a>]) -> Result<(), Rejection> {
        for (key, group) in by_key(fields) {
            for other in &group[1..] {
                if let (Some(one), Some(two)) = (group[0].ty, other.ty)
                    && !self.is_same_shape(one, two)
                {
                    return Err(conflict(key, &format!("they return conflicting types \"{one}\" and \"{two}\""), &group[0], other));
                }
            }
            let children = self.children(&group)?;
            self.same_shape(&children)?;
        }
        Ok(())
    }

    fn is_same_shape(&self, one: &Type, two: &Type) -> bool {
        one.nullable == two.nullable
            && match (&one.base, &two.base) {
                (BaseType::List(one), BaseType::List(two)) => self.is_same_shape(one, two),
                (BaseType::Named(one), BaseType::Named(two)) => {
                    let is_leaf = |name| self.types.kind(Some(name)) == Kind::Leaf;
                    one == two || !(is_leaf(one) || is_leaf(two))
                }
                _ => false,
            }
    }

    fn same_field(&mut self, fields: &[Selected<'a>]) -> Result<(), Rejection> {
        for (key, group) in by_key(fields) {
            // An object has one concrete type: fields of different object types never meet, those of an interface meet all.
            let (anywhere, concrete): (Vec<_>, Vec<_>) =
                group.into_iter().partition(|selected| self.types.kind(selected.parent) == Kind::Abstract);
            let mut meeting: BTreeMap<Option<&str>, Vec<Selected<'a>>> = BTreeMap::new();
            for selected in concrete {
                meeting.entry(selected.parent).or_default().push(selected);
            }
            let mut groups: Vec<_> = meeting.into_values().collect();
            for together in &mut groups {
                together.extend(&anywhere);
            }
            if groups.is_empty() {
                groups.push(anywhere);
            }
            for together in groups {
                let first = &together[0];
                for other in &together[1..] {
                    let (one, two) = (&first.field.name.node, &other.field.name.node);
                    if one != two {
                        return Err(conflict(key, &format!("\"{one}\" and \"{two}\" are different fields"), first, other));
                    }
                    if !has_same_arguments(first.field, other.field) {
                        return Err(conflict(key, "they have differing arguments", first, other));
                    }
                }
                let children = self.children(&together)?;
                self.same_field(&children)?;
            }
        }
        Ok(())
    }
}

fn by_key<'a>(fields: &[Selected<'a>]) -> BTreeMap<&'a str, Vec<Selected<'a>>> {
    let mut groups: BTreeMap<&str, Vec<Selected<'a>>> = BTreeMap::new();
    for selected in fields {
        groups.entry(selected.field.response_key().node.as_str()).or_default().push(*selected);
    }
    groups
}

fn has_same_arguments(one: &Field, two: &Field) -> bool {
    one.arguments.len() == two.arguments.len()
        && one.arguments.iter().all(|(name, value)| two.get_argument(&name.node).is_some_and(|other| other.node == value.node))
}

fn conflict(key: &str, reason: &str, one: &Selected, two: &Selected) -> Rejection {
    let message = format!(
        "Fields \"{key:.60}\" conflict because {reason}. Use different aliases on the fields to fetch both if this was intentional."
    );
    Rejection::invalid(message, vec![one.position, two.position])
}
