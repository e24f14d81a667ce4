//! "Fields can be merged" of the GraphQL specification (5.3.2), which async-graphql checks only in part: fields that
//! share a response key must be the same field with the same arguments if they can meet in one object, and must have
//! the same shape in any case. All fields of a key are compared at once instead of in pairs (Adameit, "Overlapping
//! fields can be merged fast"), and the work is bounded. It must not check what async-graphql checks.

use super::document::Rejection;
use crate::error::{Error, Result};
use async_graphql::{
    Pos,
    parser::{
        parse_schema,
        types::{BaseType, ExecutableDocument, Field, OperationType, Selection, SelectionSet, Type, TypeKind, TypeSystemDefinition},
    },
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most fields that are compared; documents of people need a few hundred.
const MAX_WORK: u64 = 50_000;

/// Kinds of types and types of their fields, read from the SDL. What is not in it (introspection) counts as one object.
#[derive(Debug)]
pub struct SchemaTypes {
    types: HashMap<String, Shape>,
    roots: [String; 3],
}

#[derive(Debug)]
struct Shape {
    kind: Kind,
    fields: HashMap<String, Type>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Abstract,
    Leaf,
}

impl SchemaTypes {
    /// Reads the SDL.
    ///
    /// # Errors
    /// INTERNAL if it is not SDL.
    pub fn of(sdl: &str) -> Result<Self> {
        let document = parse_schema(sdl).map_err(Error::internal)?;
        let mut roots = ["Query", "Mutation", "Subscription"].map(str::to_owned);
        let mut types = HashMap::new();
        for definition in document.definitions {
            match definition {
                TypeSystemDefinition::Schema(schema) => {
                    let given = [schema.node.query, schema.node.mutation, schema.node.subscription];
                    roots.iter_mut().zip(given).for_each(|(root, name)| {
                        if let Some(name) = name {
                            name.node.as_str().clone_into(root);
                        }
                    });
                }
                TypeSystemDefinition::Type(definition) => {
                    let (kind, fields) = match definition.node.kind {
                        TypeKind::Object(object) => (Kind::Object, object.fields),
                        TypeKind::Interface(interface) => (Kind::Abstract, interface.fields),
                        TypeKind::Union(_) => (Kind::Abstract, Vec::new()),
                        TypeKind::Scalar | TypeKind::Enum(_) | TypeKind::InputObject(_) => (Kind::Leaf, Vec::new()),
                    };
                    let fields = fields.into_iter().map(|field| (field.node.name.node.to_string(), field.node.ty.node)).collect();
                    types.insert(definition.node.name.node.to_string(), Shape { kind, fields });
                }
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        for scalar in ["Int", "Float", "String", "Boolean", "ID"] {
            types.entry(scalar.to_owned()).or_insert(Shape { kind: Kind::Leaf, fields: HashMap::new() });
        }
        Ok(Self { types, roots })
    }

    /// Name of the subscription root.
    pub fn subscription(&self) -> &str {
        &self.roots[2]
    }

    fn root(&self, kind: OperationType) -> &str {
        let [query, mutation, subscription] = &self.roots;
        match kind {
            OperationType::Query => query,
            OperationType::Mutation => mutation,
            OperationType::Subscription => subscription,
        }
    }

    fn field(&self, parent: Option<&str>, name: &str) -> Option<&Type> {
        self.types.get(parent?)?.fields.get(name)
    }

    fn kind(&self, name: Option<&str>) -> Kind {
        name.and_then(|name| self.types.get(name)).map_or(Kind::Object, |shape| shape.kind)
    }
}

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
                    let ty = self.types.field(parent, &field.node.name.node);
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

fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => named(inner),
    }
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
