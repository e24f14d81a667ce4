//! What checks of a document have to know of the schema, read from the SDL once: kinds of types, types of fields, and how
//! many items a field may answer. What is not in the SDL (introspection) counts as one object. It must not check anything.

use crate::{
    domain::paging,
    error::{Error, Result},
};
use async_graphql::parser::{
    parse_schema,
    types::{BaseType, FieldDefinition, OperationType, Type, TypeKind, TypeSystemDefinition},
};
use async_graphql_value::ConstValue;
use std::collections::{HashMap, HashSet};

/// Kinds of types and shapes of their fields.
#[derive(Debug)]
pub struct SchemaTypes {
    types: HashMap<String, Shape>,
    roots: [String; 3],
}

#[derive(Debug)]
struct Shape {
    kind: Kind,
    fields: HashMap<String, FieldShape>,
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
        let mut definitions = Vec::new();
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
                    definitions.push((definition.node.name.node.to_string(), kind, fields));
                }
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        let composite: HashSet<String> =
            definitions.iter().filter(|(_, kind, _)| *kind != Kind::Leaf).map(|(name, _, _)| name.clone()).collect();
        let mut types = HashMap::new();
        for (name, kind, fields) in definitions {
            let shape = |field: FieldDefinition| FieldShape { items: items(&name, &field, &composite), ty: field.ty.node };
            let fields = fields.into_iter().map(|field| (field.node.name.node.to_string(), shape(field.node))).collect();
            types.insert(name, Shape { kind, fields });
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

    /// Kind of a type.
    pub fn kind(&self, name: Option<&str>) -> Kind {
        name.and_then(|name| self.types.get(name)).map_or(Kind::Object, |shape| shape.kind)
    }
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
