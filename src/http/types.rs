//! What checks of a document have to know of the schema, read from the SDL once: kinds of types, types of fields and of
//! their arguments, and how many items a field may answer. What is not in the SDL (introspection) counts as one object. It
//! must not check anything.

use crate::{
    domain::paging,
    error::{Error, Result},
};
use async_graphql::parser::{
    parse_schema,
    types::{BaseType, FieldDefinition, InputValueDefinition, OperationType, Type, TypeDefinition, TypeKind, TypeSystemDefinition},
};
use async_graphql_value::ConstValue;
use std::collections::{HashMap, HashSet};

/// Kinds of types and shapes of their fields.
#[derive(Debug)]
pub struct SchemaTypes {
    types: HashMap<String, Shape>,
    inputs: HashMap<String, Input>,
    roots: [String; 3],
}

#[derive(Debug)]
struct Shape {
    kind: Kind,
    fields: HashMap<String, FieldShape>,
}

/// How many of each there are in a schema.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Types; at least one.
    pub types: u64,
    /// Fields of objects and interfaces; at least one.
    pub fields: u64,
    /// Arguments of these fields.
    pub arguments: u64,
    /// Fields of input objects.
    pub input_fields: u64,
    /// Values of enums.
    pub enum_values: u64,
}

/// Kind of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An object.
    Object,
    /// An interface or a union.
    Abstract,
    /// A scalar or an enum.
    Leaf,
}

/// A field of the schema.
#[derive(Debug)]
pub struct FieldShape {
    /// Its type.
    pub ty: Type,
    /// How many objects it answers.
    pub items: Items,
    /// Its arguments.
    pub arguments: HashMap<String, InputShape>,
}

/// What values of a type of inputs look like.
#[derive(Debug)]
pub enum Input {
    /// As the scalar of this name says.
    Scalar(String),
    /// One of these names.
    Enum(HashSet<String>),
    /// An object.
    Object {
        /// Its fields.
        fields: HashMap<String, InputShape>,
        /// Exactly one of them is there and not null.
        one_of: bool,
    },
}

/// An argument or a field of an input object.
#[derive(Debug)]
pub struct InputShape {
    /// Its type.
    pub ty: Type,
    /// Whether it may be left out though it may not be null.
    pub has_default: bool,
}

impl InputShape {
    /// True if it has to be there.
    pub const fn is_required(&self) -> bool {
        !self.ty.nullable && !self.has_default
    }
}

/// How many objects a field answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    /// One, or values without fields.
    One,
    /// A connection; as many nodes or edges as the page has.
    Connection {
        /// Items if the client does not say.
        default: u64,
    },
    /// The nodes or edges of the connection that the field is in.
    OfConnection,
    /// A list that is cut by `first`.
    Page {
        /// Items if the client does not say.
        default: u64,
    },
    /// One for each of `ids`.
    Ids,
    /// A list whose length is not known before.
    Unknown,
}

impl SchemaTypes {
    /// Reads the SDL.
    ///
    /// # Errors
    /// INTERNAL if it is not SDL.
    pub fn of(sdl: &str) -> Result<Self> {
        let document = parse_schema(sdl).map_err(Error::internal)?;
        let mut roots = ["Query", "Mutation", "Subscription"].map(str::to_owned);
        let (mut definitions, mut inputs) = (Vec::new(), HashMap::new());
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
                    inputs.extend(input(&definition.node));
                    let (kind, fields) = match definition.node.kind {
                        TypeKind::Object(object) => (Kind::Object, object.fields),
                        TypeKind::Interface(interface) => (Kind::Abstract, interface.fields),
                        TypeKind::Union(_) => (Kind::Abstract, Vec::new()),
                        TypeKind::Scalar | TypeKind::Enum(_) | TypeKind::InputObject(_) => (Kind::Leaf, Vec::new()),
                    };
                    definitions.push((definition.node.name.node.to_string(), kind, fields));
                }
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        let composite: HashSet<String> =
            definitions.iter().filter(|(_, kind, _)| *kind != Kind::Leaf).map(|(name, _, _)| name.clone()).collect();
        let mut types = HashMap::new();
        for (name, kind, fields) in definitions {
            let shape = |field: FieldDefinition| FieldShape {
                items: items(&name, &field, &composite),
                arguments: shapes(field.arguments.iter().map(|argument| &argument.node)),
                ty: field.ty.node,
            };
            let fields = fields.into_iter().map(|field| (field.node.name.node.to_string(), shape(field.node))).collect();
            types.insert(name, Shape { kind, fields });
        }
        for scalar in ["Int", "Float", "String", "Boolean", "ID"] {
            types.entry(scalar.to_owned()).or_insert(Shape { kind: Kind::Leaf, fields: HashMap::new() });
            inputs.entry(scalar.to_owned()).or_insert(Input::Scalar(scalar.to_owned()));
        }
        Ok(Self { types, inputs, roots })
    }

    /// Name of a root.
    pub fn root(&self, kind: OperationType) -> &str {
        let [query, mutation, subscription] = &self.roots;
        match kind {
            OperationType::Query => query,
            OperationType::Mutation => mutation,
            OperationType::Subscription => subscription,
        }
    }

    /// A field of a type; none for what is not in the SDL.
    pub fn field(&self, parent: Option<&str>, name: &str) -> Option<&FieldShape> {
        self.types.get(parent?)?.fields.get(name)
    }

    /// What values of a type of inputs look like; none for any other type.
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.get(name)
    }

    /// How large the schema is.
    pub fn extent(&self) -> Extent {
        let shapes = || self.types.values().flat_map(|shape| shape.fields.values());
        let (mut input_fields, mut enum_values) = (0, 0);
        for input in self.inputs.values() {
            match input {
                Input::Object { fields, .. } => input_fields += fields.len() as u64,
                Input::Enum(values) => enum_values += values.len() as u64,
                Input::Scalar(_) => {}
            }
        }
        Extent {
            types: (self.types.len() as u64).max(1),
            fields: (shapes().count() as u64).max(1),
            arguments: shapes().map(|field| field.arguments.len() as u64).sum(),
            input_fields,
            enum_values,
        }
    }

    /// Kind of a type.
    pub fn kind(&self, name: Option<&str>) -> Kind {
        name.and_then(|name| self.types.get(name)).map_or(Kind::Object, |shape| shape.kind)
    }
}

/// A type of inputs, with its name.
fn input(definition: &TypeDefinition) -> Option<(String, Input)> {
    let name = definition.name.node.to_string();
    let input = match &definition.kind {
        TypeKind::Scalar => Input::Scalar(name.clone()),
        TypeKind::Enum(values) => Input::Enum(values.values.iter().map(|value| value.node.value.node.to_string()).collect()),
        TypeKind::InputObject(object) => Input::Object {
            fields: shapes(object.fields.iter().map(|field| &field.node)),
            one_of: definition.directives.iter().any(|directive| directive.node.name.node == "oneOf"),
        },
        TypeKind::Object(_) | TypeKind::Interface(_) | TypeKind::Union(_) => return None,
    };
    Some((name, input))
}

fn shapes<'a>(definitions: impl Iterator<Item = &'a InputValueDefinition>) -> HashMap<String, InputShape> {
    let shape =
        |definition: &InputValueDefinition| InputShape { ty: definition.ty.node.clone(), has_default: definition.default_value.is_some() };
    definitions.map(|definition| (definition.name.node.to_string(), shape(definition))).collect()
}

/// The named type inside of lists.
pub fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => named(inner),
    }
}

/// Connections are known by their name, as Relay has it.
fn items(parent: &str, field: &FieldDefinition, composite: &HashSet<String>) -> Items {
    let argument = |name: &str| field.arguments.iter().find(|argument| argument.node.name.node == name);
    let default = argument("first").and_then(|first| first.node.default_value.as_ref()).and_then(|value| match &value.node {
        ConstValue::Number(number) => number.as_u64(),
        _ => None,
    });
    let default = default.unwrap_or(u64::from(paging::DEFAULT_PAGE_SIZE.unsigned_abs()));
    let ty = &field.ty.node;
    let is_list = matches!(ty.base, BaseType::List(_));
    if named(ty).ends_with("Connection") {
        Items::Connection { default }
    } else if !is_list || !composite.contains(named(ty)) {
        Items::One
    } else if parent == "AifSelection" {
        // as many as the batch has projects
        Items::Page { default: u64::from(paging::MAX_PAGE_SIZE.unsigned_abs()) }
    } else if argument("first").is_some() {
        Items::Page { default }
    } else if argument("ids").is_some() {
        Items::Ids
    } else if parent.ends_with("Connection") {
        Items::OfConnection
    } else {
        Items::Unknown
    }
}
