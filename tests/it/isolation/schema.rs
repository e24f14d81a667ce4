//! The schema as a test needs it: fields with their types, smallest inputs, selections that take everything. Read from
//! the SDL, so that whatever is added to the schema is tried without anybody remembering it.

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Places of ids: scalars that name an object or a position in its stream.
const IDS: [&str; 2] = ["ID", "EventCursor"];
/// How many objects deep a selection goes below its root. What is deeper is tried from the id of its own parent.
const DEPTH: usize = 3;

pub struct Argument {
    pub name: String,
    pub ty: Type,
    optional: bool,
}

pub struct Field {
    pub name: String,
    pub ty: Type,
    pub arguments: Vec<Argument>,
}

struct Input {
    one_of: bool,
    fields: Vec<Argument>,
}

/// Types by name.
pub struct Schema {
    objects: BTreeMap<String, Vec<Field>>,
    /// Members of unions and implementations of interfaces.
    members: BTreeMap<String, Vec<String>>,
    inputs: BTreeMap<String, Input>,
    enums: BTreeMap<String, String>,
}

pub fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => named(inner),
    }
}

fn argument(definition: &InputValueDefinition) -> Argument {
    let ty = definition.ty.node.clone();
    Argument { name: definition.name.node.to_string(), optional: ty.nullable || definition.default_value.is_some(), ty }
}

fn field(definition: &FieldDefinition) -> Field {
    let arguments = definition.arguments.iter().map(|item| argument(&item.node)).collect();
    Field { name: definition.name.node.to_string(), ty: definition.ty.node.clone(), arguments }
}

impl Schema {
    pub fn read() -> Self {
        let mut all = Self { objects: BTreeMap::new(), members: BTreeMap::new(), inputs: BTreeMap::new(), enums: BTreeMap::new() };
        for definition in parse_schema(claimwright::graphql::sdl()).expect("SDL").definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let (name, one_of) =
                (definition.node.name.node.to_string(), definition.node.directives.iter().any(|d| d.node.name.node == "oneOf"));
            match definition.node.kind {
                TypeKind::Object(object) => {
                    for interface in object.implements {
                        all.members.entry(interface.node.to_string()).or_default().push(name.clone());
                    }
                    all.objects.insert(name, object.fields.iter().map(|item| field(&item.node)).collect());
                }
                TypeKind::Union(union) => {
                    all.members.insert(name, union.members.into_iter().map(|member| member.node.to_string()).collect());
                }
                TypeKind::InputObject(object) => {
                    let fields = object.fields.iter().map(|item| argument(&item.node)).collect();
                    all.inputs.insert(name, Input { one_of, fields });
                }
                TypeKind::Enum(words) => {
                    all.enums.insert(name, words.values[0].node.value.node.to_string());
                }
                TypeKind::Interface(_) | TypeKind::Scalar => {}
            }
        }
        all
    }

    /// Fields of an object type.
    pub fn fields(&self, of: &str) -> &[Field] {
        self.objects.get(of).map_or_else(|| panic!("no object type {of}"), Vec::as_slice)
    }

    /// Types that have an id of their own.
    pub fn nodes(&self) -> &[String] {
        &self.members["Node"]
    }

    fn is_composite(&self, ty: &Type) -> bool {
        self.objects.contains_key(named(ty)) || self.members.contains_key(named(ty))
    }

    /// Every field that returns an object or objects, as `Type.field`.
    pub fn object_fields(&self) -> BTreeSet<String> {
        let of = |(name, fields): (&String, &Vec<Field>)| -> Vec<String> {
            fields.iter().filter(|field| self.is_composite(&field.ty)).map(|field| format!("{name}.{}", field.name)).collect()
        };
        self.objects.iter().flat_map(of).collect()
    }

    /// Every place in an argument where an id is taken, as a path of names.
    pub fn id_places(&self, argument: &Argument) -> Vec<Vec<String>> {
        self.places_in(&argument.name, &argument.ty, &mut Vec::new())
    }

    fn places_in(&self, name: &str, ty: &Type, above: &mut Vec<String>) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        if IDS.contains(&named(ty)) {
            found.push(vec![name.to_owned()]);
        } else if let (Some(input), false) = (self.inputs.get(named(ty)), above.iter().any(|seen| seen == named(ty))) {
            above.push(named(ty).to_owned());
            for field in &input.fields {
                for mut place in self.places_in(&field.name, &field.ty, above) {
                    place.insert(0, name.to_owned());
                    found.push(place);
                }
            }
            above.pop();
        }
        found
    }

    /// A value for an argument: the smallest that is valid, with `id` at `place` if that is below it. Other ids are those
    /// that `own` gives for their names.
    pub fn value(&self, argument: &Argument, place: &[String], id: &str, own: &impl Fn(&str) -> String) -> Option<Value> {
        let is_on_the_way = place.first().is_some_and(|name| *name == argument.name);
        if argument.optional && !is_on_the_way {
            return None;
        }
        let inner = match named(&argument.ty) {
            name if IDS.contains(&name) => json!(if is_on_the_way { id.to_owned() } else { own(&argument.name) }),
            "Int" => json!(1),
            "Float" => json!(0.5),
            "Boolean" => json!(true),
            "Decimal" => json!("1.00"),
            "Date" => json!("2025-05-01"),
            "DateTime" => json!("2025-05-01T10:00:00.000Z"),
            name if self.enums.contains_key(name) => json!(self.enums[name]),
            name if self.inputs.contains_key(name) => {
                let Input { one_of, fields } = &self.inputs[name];
                let below = if is_on_the_way { &place[1..] } else { &[] };
                let mut object: Map<String, Value> =
                    fields.iter().filter_map(|field| Some((field.name.clone(), self.value(field, below, id, own)?))).collect();
                if *one_of && object.is_empty() {
                    let first = &fields[fields.len() - 1];
                    object.insert(first.name.clone(), json!("x"));
                }
                Value::Object(object)
            }
            _ => json!("x"),
        };
        Some(if matches!(argument.ty.base, BaseType::List(_)) { json!([inner]) } else { inner })
    }

    /// A selection of everything below a type, a few objects deep. What was selected is added to `seen`; in one document
    /// no field that returns an object is selected twice.
    pub fn selection(&self, of: &str, seen: &mut BTreeSet<String>) -> String {
        self.select(of, DEPTH, seen, &mut BTreeSet::new())
    }

    fn select(&self, of: &str, depth: usize, seen: &mut BTreeSet<String>, here: &mut BTreeSet<String>) -> String {
        let Some(members) = self.members.get(of) else {
            return format!("{{ __typename {}}}", self.select_fields(of, depth, seen, here, &mut BTreeMap::new()));
        };
        // fields of one name that differ between members cannot be asked for together
        let (mut text, mut types) = (String::from("{ __typename "), BTreeMap::new());
        for member in members {
            let fields = self.select_fields(member, depth.min(1), seen, here, &mut types);
            text.extend(["... on ", member, " { __typename ", &fields, "} "]);
        }
        text + "}"
    }

    fn select_fields(
        &self,
        of: &str,
        depth: usize,
        seen: &mut BTreeSet<String>,
        here: &mut BTreeSet<String>,
        types: &mut BTreeMap<String, String>,
    ) -> String {
        // chosen before any is gone into: what is near the root must not be used up deep below another field
        let mut chosen = Vec::new();
        for field in self.fields(of) {
            let ty = field.ty.to_string();
            let fits = *types.entry(field.name.clone()).or_insert_with(|| ty.clone()) == ty;
            if fits && (!self.is_composite(&field.ty) || depth > 0 && here.insert(format!("{of}.{}", field.name))) {
                chosen.push(field);
            }
        }
        let mut text = String::new();
        for field in chosen {
            let (key, composite) = (format!("{of}.{}", field.name), self.is_composite(&field.ty));
            let arguments: Vec<String> = field.arguments.iter().filter_map(small_argument).collect();
            let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
            text.extend([&field.name, arguments.as_str(), " "]);
            if composite {
                text += &self.select(named(&field.ty), depth - 1, seen, here);
                seen.insert(key);
            }
        }
        text
    }
}

/// Literals for arguments within a selection: one item of a page, and what is required.
fn small_argument(argument: &Argument) -> Option<String> {
    if argument.name == "first" {
        return Some("first: 1".into());
    }
    if argument.optional {
        return None;
    }
    let literal = match named(&argument.ty) {
        "Int" => "1",
        "String" => "\"baseline\"",
        other => panic!("a field takes {}: {other}, for which the test has no value", argument.name),
    };
    Some(format!("{}: {literal}", argument.name))
}
