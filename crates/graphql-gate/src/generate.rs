//! Random documents for a schema, to compare two ways of answering them: nested selections, fragments of both kinds,
//! aliases, repeated fields, directives, variables. All are valid: keys say which field of which type with which arguments
//! they are, so that fields can merge. The same seed, or the same bytes, give the same documents.

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

/// A document with its variables, as JSON.
#[derive(Debug, Clone)]
pub struct Document {
    /// The text.
    pub text: String,
    /// Its variables: booleans for directives, and those of arguments.
    pub variables: String,
}

impl Document {
    /// One without variables.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { text: text.to_owned(), variables: "{}".to_owned() }
    }
}

/// A variable that the values of arguments may name.
#[derive(Debug, Clone)]
pub struct Variable {
    /// With its dollar sign.
    pub name: &'static str,
    /// Its type, and what it is if nothing is sent.
    pub declared: &'static str,
    /// What is sent, as JSON.
    pub sent: Option<String>,
}

/// Gives a value for an argument, in GraphQL's notation: by type and field, and the name and type of the argument. `None`
/// leaves it out; the field is not asked for if it is required.
pub type Values<'v> = dyn FnMut(&str, &str, &str, &str) -> Option<String> + 'v;

#[derive(Clone)]
struct Field {
    name: String,
    ty: Type,
    arguments: Vec<(String, Type, bool)>,
}

/// Makes documents.
#[derive(Clone)]
pub struct Generator {
    fields: BTreeMap<String, Vec<Field>>,
    /// Types of interfaces and unions.
    possible: BTreeMap<String, Vec<String>>,
    choices: Choices,
    fragments: Vec<String>,
    /// Fields are left out once the document has so many.
    left: usize,
    /// Fields, by name, that are never asked for.
    pub leave_out: BTreeSet<String>,
    /// Whether a key may occur more than once in an object.
    pub repeats: bool,
    /// Whether there are directives.
    pub directives: bool,
    /// Variables for arguments; those that are named are declared.
    pub variables: Vec<Variable>,
}

/// What a generator chooses by.
#[derive(Clone)]
enum Choices {
    Seed(u64),
    Bytes(VecDeque<u8>),
}

impl Generator {
    /// For a schema in SDL.
    ///
    /// # Errors
    /// As the parser says.
    pub fn new(sdl: &str, seed: u64) -> Result<Self, async_graphql::parser::Error> {
        let (mut fields, mut possible) = (BTreeMap::new(), BTreeMap::<String, Vec<String>>::new());
        for definition in parse_schema(sdl)?.definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let name = definition.node.name.node.to_string();
            match definition.node.kind {
                TypeKind::Object(object) => {
                    for interface in &object.implements {
                        possible.entry(interface.node.to_string()).or_default().push(name.clone());
                    }
                    fields.insert(name, object.fields.iter().map(|field| Field::of(&field.node)).collect());
                }
                TypeKind::Interface(interface) => {
                    fields.insert(name, interface.fields.iter().map(|field| Field::of(&field.node)).collect());
                }
                TypeKind::Union(union) => {
                    possible.insert(name.clone(), union.members.iter().map(|member| member.node.to_string()).collect());
                    fields.insert(name, Vec::new());
                }
                TypeKind::Scalar | TypeKind::Enum(_) | TypeKind::InputObject(_) => {}
            }
        }
        Ok(Self {
            fields,
            possible,
            choices: Choices::Seed(seed.wrapping_mul(2).wrapping_add(1)),
            fragments: Vec::new(),
            left: 0,
            leave_out: BTreeSet::new(),
            repeats: true,
            directives: true,
            variables: Vec::new(),
        })
    }

    /// The same with a byte for every choice, as a fuzzer has them; after the last one little is chosen.
    #[must_use]
    pub fn by_bytes(&self, bytes: &[u8]) -> Self {
        Self { choices: Choices::Bytes(bytes.iter().copied().collect()), ..self.clone() }
    }

    /// A query (of the root `Mutation`, a mutation) over these fields of a root type, so deep at most and of about so many fields.
    pub fn query(&mut self, root: &str, of: &[&str], depth: usize, size: usize, values: &mut Values<'_>) -> Document {
        self.fragments.clear();
        self.left = size;
        let mut body = String::new();
        let (start, count) = (self.below(of.len()), 1 + self.below(3.min(of.len())));
        for n in 0..count {
            let name = if self.repeats { of[self.below(of.len())] } else { of[(start + n) % of.len()] };
            self.field(root, name, depth, &mut body, values);
        }
        let fragments = self.fragments.concat();
        let is_name = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let is_in = |text: &str, name: &str| text.match_indices(name).any(|(at, _)| !is_name(text.as_bytes().get(at + name.len())));
        let used = |name: &str| is_in(&body, name) || is_in(&fragments, name);
        let on = (used("$on") && self.chance(2)).then(|| self.chance(2).to_string());
        let directives = [
            Variable { name: "$on", declared: "Boolean! = true", sent: on },
            Variable { name: "$off", declared: "Boolean! = false", sent: None },
        ];
        let variables: Vec<_> = directives.iter().chain(&self.variables).filter(|variable| used(variable.name)).collect();
        let declared: Vec<_> = variables.iter().map(|variable| format!("{}: {}", variable.name, variable.declared)).collect();
        let declared = if declared.is_empty() { String::new() } else { format!("({})", declared.join(", ")) };
        let sent = |variable: &&Variable| Some(format!("\"{}\":{}", &variable.name[1..], variable.sent.as_deref()?));
        let sent: Vec<_> = variables.iter().filter_map(sent).collect();
        let operation = if root == "Mutation" { "mutation" } else { "query" };
        let text = format!("{operation} Q{declared} {{ {body}}} {fragments}");
        Document { text, variables: format!("{{{}}}", sent.join(",")) }
    }

    fn selection(&mut self, ty: &str, depth: usize, out: &mut String, values: &mut Values<'_>) {
        out.push_str("{ ");
        let start = out.len();
        let names: Vec<String> = self.fields.get(ty).into_iter().flatten().map(|field| field.name.clone()).collect();
        for name in &names {
            if self.left > 0 && self.chance(2) {
                self.field(ty, name, depth, out, values);
                if self.repeats && self.chance(8) {
                    self.field(ty, name, depth, out, values);
                }
            }
        }
        for member in self.possible.get(ty).cloned().unwrap_or_default() {
            if self.chance(2) || (!self.repeats && !names.is_empty()) {
                continue;
            }
            let mut inner = String::new();
            self.selection(&member, depth, &mut inner, values);
            self.spread(&member, &inner, out);
        }
        if self.repeats && self.left > 0 && self.chance(6) && names.len() > 1 {
            self.left -= 1;
            let mut inner = String::new();
            self.selection(ty, depth, &mut inner, values);
            self.spread(ty, &inner, out);
        }
        if out.len() == start || self.chance(5) {
            out.push_str("__typename ");
        }
        out.push_str("} ");
    }

    fn spread(&mut self, ty: &str, selection: &str, out: &mut String) {
        let directive = self.directive();
        if self.chance(2) {
            let name = format!("F{}", self.fragments.len());
            self.fragments.push(format!("fragment {name} on {ty} {selection} "));
            let _ = write!(out, "...{name} {directive}");
            if self.repeats && self.chance(3) {
                let _ = write!(out, "...{name} ");
            }
        } else {
            let _ = write!(out, "... on {ty} {directive}{selection}");
        }
    }

    fn directive(&mut self) -> &'static str {
        match self.below(14) {
            _ if !self.directives => "",
            0 => "@include(if: $on) ",
            1 => "@skip(if: $off) ",
            2 => "@skip(if: $on) ",
            3 => "@include(if: true) ",
            4 => "@skip(if: true) ",
            _ => "",
        }
    }

    fn field(&mut self, ty: &str, name: &str, depth: usize, out: &mut String, values: &mut Values<'_>) {
        if self.leave_out.contains(name) {
            return;
        }
        let Some(field) = self.fields.get(ty).and_then(|fields| fields.iter().find(|field| field.name == name)) else { return };
        let inner = innermost(&field.ty).to_owned();
        let is_composite = self.fields.contains_key(&inner);
        if is_composite && depth == 0 {
            return;
        }
        let declared: Vec<(String, Type, bool)> = field.arguments.clone();
        let mut arguments = Vec::new();
        for (argument, argument_type, is_required) in declared {
            match values(ty, name, &argument, &argument_type.to_string()) {
                Some(value) => arguments.push(format!("{argument}: {value}")),
                None if is_required => return,
                None => {}
            }
        }
        self.left = self.left.saturating_sub(1);
        let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
        // the same key always means the same field with the same arguments
        let key: BTreeSet<u32> = arguments.bytes().zip(1_u32..).map(|(byte, at)| u32::from(byte) * 131 * at).collect();
        let key = key.into_iter().fold(7_u32, |all, one| all.wrapping_mul(31).wrapping_add(one));
        let is_plain = arguments.is_empty() && self.chance(3);
        if is_plain && !self.possible.values().flatten().any(|member| member == ty) {
            let _ = write!(out, "{name} {}", self.directive());
        } else {
            let directive = self.directive();
            let _ = write!(out, "{name}_{ty}_{key}: {name}{arguments} {directive}");
        }
        if is_composite {
            self.selection(&inner, depth - 1, out, values);
        }
    }

    fn next(&mut self) -> u64 {
        match &mut self.choices {
            Choices::Seed(state) => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                *state
            }
            // of `chance`, no
            Choices::Bytes(bytes) => bytes.pop_front().map_or(1, u64::from),
        }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap_or_default()
    }

    /// True once in `n` times.
    pub fn chance(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

impl Field {
    fn of(field: &FieldDefinition) -> Self {
        let argument = |argument: &InputValueDefinition| {
            let is_required = !argument.ty.node.nullable && argument.default_value.is_none();
            (argument.name.node.to_string(), argument.ty.node.clone(), is_required)
        };
        Self {
            name: field.name.node.to_string(),
            ty: field.ty.node.clone(),
            arguments: field.arguments.iter().map(|declared| argument(&declared.node)).collect(),
        }
    }
}

fn innermost(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => innermost(inner),
    }
}
