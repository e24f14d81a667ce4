//! Whether values are of the types that the schema wants: "Values of Correct Type" and "All Variable Usages Are Allowed"
//! for literals, and the coercion of variables. async-graphql accepts some values here that it finds wrong only when a
//! field is executed (a number beyond 32 bits, a day that is none), and the specification calls both a request error. It
//! must not change a value. Names of what a client sent are shortened in messages, values are not repeated.

use super::{
    document::{Rejection, is_forged_literal},
    types::{FieldShape, Input, InputShape, SchemaTypes, named},
};
use crate::graphql::scalars;
use async_graphql::{
    Name, Pos, Positioned,
    parser::types::{BaseType, Directive, ExecutableDocument, OperationDefinition, Selection, SelectionSet, Type, VariableDefinition},
};
use async_graphql_value::{ConstValue, Number, Value, indexmap::IndexMap};
use std::collections::{HashMap, HashSet};

/// Most of the path to a value that is told, in characters.
const MAX_PATH: usize = 120;

/// Checks every literal of a document, and that variables of the chosen operation stand where their types fit.
///
/// # Errors
/// `VALIDATION_FAILED` with the place in the document.
pub fn check_literals(document: &ExecutableDocument, chosen: &OperationDefinition, types: &SchemaTypes) -> Result<(), Rejection> {
    let variables = chosen.variable_definitions.iter().map(|definition| (&definition.node.name.node, &definition.node)).collect();
    let mut walk = Walk { document, types, variables, seen: HashSet::new() };
    walk.selections(&chosen.selection_set.node, Some(types.root(chosen.ty)))?;
    // variables belong to their operation: of others, only literals are looked at
    walk.variables.clear();
    for (_, operation) in document.operations.iter() {
        for definition in &operation.node.variable_definitions {
            let variable = &definition.node;
            if let Some(default) = &variable.default_value {
                let check = Check { types, variables: None, is_literal: true };
                check.value(&variable.var_type.node, &default.node).map_err(|fault| fault.of_variable(definition))?;
            }
        }
        if !std::ptr::eq(&raw const operation.node, chosen) {
            walk.selections(&operation.node.selection_set.node, Some(types.root(operation.node.ty)))?;
        }
    }
    document.fragments.keys().try_for_each(|name| walk.fragment(name))
}

/// Checks the value that a client gave for a variable.
///
/// # Errors
/// `VALIDATION_FAILED` with the place of the variable in the document.
pub fn check_variable(definition: &Positioned<VariableDefinition>, value: &ConstValue, types: &SchemaTypes) -> Result<(), Rejection> {
    let check = Check { types, variables: None, is_literal: false };
    check.value(&definition.node.var_type.node, value).map_err(|fault| fault.of_variable(definition))
}

/// Goes through selections. The guard has bounded their depth, and fragments are gone through once each.
struct Walk<'a> {
    document: &'a ExecutableDocument,
    types: &'a SchemaTypes,
    variables: HashMap<&'a Name, &'a VariableDefinition>,
    /// Fragments that were gone through.
    seen: HashSet<&'a Name>,
}

impl<'a> Walk<'a> {
    fn fragment(&mut self, name: &'a Name) -> Result<(), Rejection> {
        match self.document.fragments.get(name) {
            Some(fragment) if self.seen.insert(name) => {
                let on = fragment.node.type_condition.node.on.node.as_str();
                self.selections(&fragment.node.selection_set.node, Some(on))
            }
            _ => Ok(()),
        }
    }

    fn selections(&mut self, set: &'a SelectionSet, parent: Option<&str>) -> Result<(), Rejection> {
        for item in &set.items {
            item.node.directives().iter().try_for_each(|directive| self.condition(&directive.node))?;
            match &item.node {
                Selection::Field(field) => {
                    let types = self.types;
                    let shape = types.field(parent, &field.node.name.node);
                    if let Some(shape) = shape {
                        self.arguments(&field.node.arguments, shape)?;
                    }
                    self.selections(&field.node.selection_set.node, shape.map(|shape| named(&shape.ty)))?;
                }
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map_or(parent, |condition| Some(condition.node.on.node.as_str()));
                    self.selections(&fragment.node.selection_set.node, on)?;
                }
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            }
        }
        Ok(())
    }

    /// `if` of `@skip` and `@include`, the only directives that there are.
    fn condition(&self, directive: &Directive) -> Result<(), Rejection> {
        let check = Check { types: self.types, variables: Some(&self.variables), is_literal: true };
        let boolean = Type { base: BaseType::Named(Name::new("Boolean")), nullable: false };
        let mut conditions = directive.arguments.iter().filter(|(name, _)| name.node == "if");
        conditions
            .try_for_each(|(name, value)| check.value(&boolean, &value.node).map_err(|fault| fault.of_argument(&name.node, value.pos)))
    }

    fn arguments(&self, given: &[(Positioned<Name>, Positioned<Value>)], shape: &FieldShape) -> Result<(), Rejection> {
        let check = Check { types: self.types, variables: Some(&self.variables), is_literal: true };
        given.iter().try_for_each(|(name, value)| match shape.arguments.get(name.node.as_str()) {
            Some(argument) => check.place(argument, &value.node).map_err(|fault| fault.of_argument(&name.node, value.pos)),
            // an argument that is not known is async-graphql's to report
            None => Ok(()),
        })
    }
}

/// Why a value is not of its type, and where in it.
struct Fault {
    /// From the inside to the outside.
    path: Vec<String>,
    reason: String,
}

impl Fault {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }

    fn below(mut self, step: impl Into<String>) -> Self {
        self.path.push(step.into());
        self
    }

    fn of_variable(self, definition: &Positioned<VariableDefinition>) -> Rejection {
        self.rejection(&format!("Variable \"${}", definition.node.name.node), definition.pos)
    }

    fn of_argument(self, name: &Name, position: Pos) -> Rejection {
        self.rejection(&format!("Argument \"{name}"), position)
    }

    fn rejection(self, start: &str, position: Pos) -> Rejection {
        let path = self.path.into_iter().rev().fold(String::new(), |path, step| path + "." + &step);
        let place: String = format!("{start}{path}").chars().take(MAX_PATH).collect();
        Rejection::invalid(format!("{place}\" {}", self.reason), vec![position])
    }
}

/// A value as literals and variables both have it.
enum View<'v, V> {
    Variable(&'v Name),
    Null,
    Number(&'v Number),
    Text(&'v str),
    Boolean,
    Enum(&'v str),
    List(&'v [V]),
    Object(&'v IndexMap<Name, V>),
    Other,
}

trait Viewed: Sized {
    fn view(&self) -> View<'_, Self>;
}

impl Viewed for Value {
    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Variable(name) => View::Variable(name),
            Self::Null => View::Null,
            Self::Number(number) => View::Number(number),
            Self::String(text) => View::Text(text),
            Self::Boolean(_) => View::Boolean,
            Self::Enum(name) => View::Enum(name),
            Self::List(items) => View::List(items),
            Self::Object(fields) => View::Object(fields),
            Self::Binary(_) => View::Other,
        }
    }
}

impl Viewed for ConstValue {
    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Null => View::Null,
            Self::Number(number) => View::Number(number),
            Self::String(text) => View::Text(text),
            Self::Boolean(_) => View::Boolean,
            Self::Enum(name) => View::Enum(name),
            Self::List(items) => View::List(items),
            Self::Object(fields) => View::Object(fields),
            Self::Binary(_) => View::Other,
        }
    }
}

/// Checks values. Recursion is bounded by the types, none of which contains itself, and by lists, whose types are finite.
struct Check<'a> {
    types: &'a SchemaTypes,
    /// Variables that may stand in the value.
    variables: Option<&'a HashMap<&'a Name, &'a VariableDefinition>>,
    /// Enums are names in a document and strings in JSON.
    is_literal: bool,
}

impl Check<'_> {
    /// A value at an argument or a field of an object.
    fn place<V: Viewed>(&self, place: &InputShape, value: &V) -> Result<(), Fault> {
        match value.view() {
            View::Variable(name) => self.usage(name, &place.ty, place.has_default),
            _ => self.value(&place.ty, value),
        }
    }

    fn value<V: Viewed>(&self, ty: &Type, value: &V) -> Result<(), Fault> {
        match (value.view(), &ty.base) {
            (View::Variable(name), _) => self.usage(name, ty, false),
            (View::Null, _) if ty.nullable => Ok(()),
            (View::Null, _) => Err(Fault::new(format!("must not be null: its type is {ty}."))),
            (View::List(items), BaseType::List(inner)) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| self.value(inner, item).map_err(|fault| fault.below(index.to_string()))),
            // one item stands for a list of one
            (_, BaseType::List(inner)) => self.value(inner, value),
            (_, BaseType::Named(name)) => match self.types.input(name) {
                Some(Input::Scalar(scalar)) => {
                    scalar_fault(scalar, value, self.is_literal).map_or(Ok(()), |reason| Err(Fault::new(reason)))
                }
                Some(Input::Enum(names)) => self.one_of_names(name, names, value),
                Some(Input::Object { fields, one_of }) => self.object(name, fields, *one_of, value),
                // a type that is not of inputs is async-graphql's to report
                None => Ok(()),
            },
        }
    }

    fn one_of_names<V: Viewed>(&self, ty: &str, names: &HashSet<String>, value: &V) -> Result<(), Fault> {
        let is_one = match value.view() {
            View::Enum(name) => names.contains(name),
            View::Text(name) => !self.is_literal && names.contains(name),
            _ => false,
        };
        if is_one { Ok(()) } else { Err(Fault::new(format!("must be a value of the enum {ty}."))) }
    }

    fn object<V: Viewed>(&self, ty: &str, fields: &HashMap<String, InputShape>, one_of: bool, value: &V) -> Result<(), Fault> {
        let View::Object(given) = value.view() else { return Err(Fault::new(format!("must be an object of the type {ty}."))) };
        for (name, value) in given {
            let Some(field) = fields.get(name.as_str()) else {
                return Err(Fault::new(format!("is not a field of {ty}.")).below(format!("{name:.60}")));
            };
            // of "exactly one, and not null" a variable must be sure
            let fault = match value.view() {
                View::Variable(variable) if one_of => self.usage(variable, &Type { base: field.ty.base.clone(), nullable: false }, false),
                _ => self.place(field, value),
            };
            fault.map_err(|fault| fault.below(name.as_str()))?;
        }
        if let Some((name, field)) = fields.iter().find(|(name, field)| field.is_required() && !given.contains_key(name.as_str())) {
            return Err(Fault::new(format!("is missing: its type is {}.", field.ty)).below(name));
        }
        let is_one = given.len() == 1 && given.values().all(|value| !matches!(value.view(), View::Null));
        if one_of && !is_one { Err(Fault::new(format!("must have exactly one field of {ty}, and not null."))) } else { Ok(()) }
    }

    /// `IsVariableUsageAllowed` of the specification. What the variable holds is checked by its own type.
    fn usage(&self, name: &Name, place: &Type, has_default: bool) -> Result<(), Fault> {
        // a variable that is not defined is async-graphql's to report, as are those of other operations
        let Some(definition) = self.variables.and_then(|variables| variables.get(name)) else { return Ok(()) };
        let own = &definition.var_type.node;
        let has_value = has_default || definition.default_value.as_ref().is_some_and(|default| !matches!(default.node, ConstValue::Null));
        let fits = if place.nullable || !own.nullable { fits(own, place) } else { has_value && base_fits(&own.base, &place.base) };
        if fits { Ok(()) } else { Err(Fault::new(format!("is of the type {place}, and the variable \"${name:.60}\" of another: {own}."))) }
    }
}

/// `AreTypesCompatible` of the specification.
fn fits(own: &Type, place: &Type) -> bool {
    (place.nullable || !own.nullable) && base_fits(&own.base, &place.base)
}

fn base_fits(own: &BaseType, place: &BaseType) -> bool {
    match (own, place) {
        (BaseType::Named(own), BaseType::Named(place)) => own == place,
        (BaseType::List(own), BaseType::List(place)) => fits(own, place),
        _ => false,
    }
}

/// What a value of a scalar must be, if this one is not.
fn scalar_fault<V: Viewed>(scalar: &str, value: &V, is_literal: bool) -> Option<String> {
    let view = value.view();
    let (is_right, must) = match scalar {
        "Int" => {
            let is_int = matches!(&view, View::Number(number) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()));
            (is_int, "must be an Int: a whole number from -2147483648 to 2147483647.")
        }
        "Float" => (matches!(view, View::Number(_)), "must be a Float: a number."),
        "String" => (matches!(view, View::Text(_)), "must be a String."),
        "Boolean" => (matches!(view, View::Boolean), "must be a Boolean: true or false."),
        "ID" => {
            let is_id = matches!(&view, View::Text(_)) || matches!(&view, View::Number(number) if number.is_i64());
            (is_id, "must be an ID: a string or a whole number.")
        }
        // in the variables of a multipart request a mark stands for the file
        "Upload" => {
            let is_file = !is_literal && matches!(&view, View::Text(text) if is_forged_literal(text));
            (is_file, "must be a file: send it by the multipart request specification.")
        }
        _ => {
            let hint = match view {
                View::Text(text) => scalars::fault(scalar, ConstValue::from(text)),
                View::Number(number) => scalars::fault(scalar, ConstValue::Number(number.clone())),
                // no scalar of this schema has these
                _ => scalars::fault(scalar, ConstValue::Null),
            };
            return hint.map(|hint| format!("must be of the type {scalar}. {hint}").trim_end().to_owned());
        }
    };
    (!is_right).then(|| must.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;
    use serde_json::{Value as Json, json};

    const SDL: &str = "
        type Query { a(int: Int, float: Float, text: String, is: Boolean, id: ID, day: Date, moment: DateTime, amount: Decimal,
            cursor: EventCursor, file: Upload, colour: Colour, colours: [Colour!], grid: [[Int]], must: Int! = 1, input: In,
            one: One): Int!  b: Query! }
        enum Colour { RED GREEN }
        input In { must: Int! other: Int! = 3 may: String colours: [Colour!] inner: Inner }
        input Inner { day: Date n: Int }
        input One @oneOf { a: Int b: String }
        scalar Date scalar DateTime scalar Decimal scalar EventCursor scalar Upload
    ";

    fn types() -> SchemaTypes {
        SchemaTypes::of(SDL).unwrap()
    }

    fn literal_in(query: &str) -> Result<(), String> {
        let document = parse_query(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let (_, operation) = document.operations.iter().next().unwrap();
        check_literals(&document, &operation.node, &types()).map_err(|rejection| {
            assert_eq!(rejection.locations.len(), 1);
            rejection.message
        })
    }

    #[test]
    fn variables_belong_to_their_operation() {
        let check = |query: &str, chosen: &str| {
            let document = parse_query(query).unwrap();
            let (_, operation) = document.operations.iter().find(|(name, _)| name.is_some_and(|name| name == chosen)).unwrap();
            check_literals(&document, &operation.node, &types()).map_err(|rejection| rejection.message)
        };
        let both = "query A($v: Int) { a(int: $v) b { ...f } } query B($v: ID) { a(id: $v) b { ...g } }
            fragment f on Query { a(int: $v) } fragment g on Query { a(id: $v) }";
        assert_eq!((check(both, "A"), check(both, "B")), (Ok(()), Ok(())));
        let wrong = both.replace("...f", "...g");
        assert!(check(&wrong, "A").unwrap_err().contains("\"$v\""));
        assert!(check(&both.replace("query B($v: ID)", "query B($v: ID = [])"), "A").is_err(), "literals of every operation");
    }

    #[test]
    fn a_condition_is_a_boolean_that_is_not_null() {
        assert_eq!(literal_in("query($v: Boolean! $w: Boolean = true) { a @skip(if: $v) b @include(if: true) { a } }"), Ok(()));
        for wrong in ["query($v: Boolean) { a @skip(if: $v) }", "{ a @include(if: 1) }", "{ ... @skip(if: null) { a } }"] {
            assert!(literal_in(wrong).unwrap_err().contains("\"if"), "{wrong}");
        }
    }

    #[test]
    fn a_variable_that_may_be_null_is_not_exactly_one() {
        assert!(literal_in("query($v: Int) { a(one: { a: $v }) }").unwrap_err().contains("one.a"));
        assert_eq!(literal_in("query($v: Int!) { a(one: { a: $v }) }"), Ok(()));
    }

    fn literal(argument: &str) -> Result<(), String> {
        literal_in(&format!("{{ b {{ ...f }} }} fragment f on Query {{ ... {{ a({argument}) }} }}"))
    }

    fn variable(ty: &str, value: Json) -> Result<(), String> {
        let document = parse_query(format!("query($v: {ty}) {{ b {{ __typename }} }}")).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        let value = ConstValue::from_json(value).unwrap();
        check_variable(&operation.node.variable_definitions[0], &value, &types()).map_err(|rejection| rejection.message)
    }

    #[test]
    fn literals_are_of_the_type_of_their_place() {
        let good = [
            "int: -2147483648",
            "int: null",
            "float: 1",
            "float: 1.5",
            "text: \"\"",
            "is: true",
            "id: 1",
            "id: \"x\"",
            "day: \"2026-03-31\"",
            "moment: \"2026-03-31T16:05:09Z\"",
            "amount: \"1.50\"",
            "amount: 3",
            "cursor: \"x\"",
            "colour: RED",
            "colours: [RED, GREEN]",
            "colours: RED",
            "grid: [[1, null], null]",
            "grid: 1",
            "must: 2",
            "input: {must: 1}",
            "input: {must: 1, inner: {day: null}}",
            "one: {a: 1}",
            "file: null",
            "nothing: 1",
        ];
        for argument in good {
            assert_eq!(literal(argument), Ok(()), "{argument}");
        }
        let bad = [
            "int: 2147483648",
            "int: 3000000000",
            "int: 1.5",
            "int: 1.0",
            "int: \"1\"",
            "int: true",
            "int: RED",
            "int: [1]",
            "int: {}",
            "float: \"1\"",
            "text: 1",
            "text: RED",
            "is: 1",
            "is: \"true\"",
            "id: 1.5",
            "id: true",
            "day: \"2026-02-30\"",
            "day: 20260331",
            "moment: \"2026-03-31\"",
            "amount: 1.5",
            "amount: \"1e3\"",
            "amount: RED",
            "cursor: 1",
            "file: \"x\"",
            "colour: BLUE",
            "colour: \"RED\"",
            "colours: [RED, null]",
            "colours: [RED, BLUE]",
            "grid: [[1.5]]",
            "grid: [[[1]]]",
            "must: null",
            "input: {}",
            "input: {must: null}",
            "input: {must: 1, other: null}",
            "input: {must: 1, unknown: 1}",
            "input: {must: 1, inner: {n: 3000000000}}",
            "input: [1]",
            "input: \"x\"",
            "one: {}",
            "one: {a: 1, b: \"x\"}",
            "one: {a: null}",
        ];
        for argument in bad {
            assert!(literal(argument).is_err(), "{argument}");
        }
    }

    #[test]
    fn variables_are_of_their_declared_type() {
        for (ty, value) in [
            ("Int", json!(2_147_483_647)),
            ("Int", json!(null)),
            ("Float", json!(1)),
            ("ID", json!(7)),
            ("Colour", json!("RED")),
            ("[Colour!]", json!("RED")),
            ("[Colour!]", json!(["RED"])),
            ("In", json!({"must": 1, "colours": ["GREEN"]})),
            ("One", json!({"b": "x"})),
            ("Date", json!("2026-03-31")),
            ("Upload", json!("#__graphql_file__:0")),
            ("Query", json!({"not": "of inputs"})),
        ] {
            assert_eq!(variable(ty, value.clone()), Ok(()), "{ty}: {value}");
        }
        for (ty, value) in [
            ("Int", json!(3_000_000_000_u64)),
            ("Int", json!("abc")),
            ("Int", json!(1.5)),
            ("Int", json!(true)),
            ("Int", json!([1])),
            ("Int", json!(u64::MAX)),
            ("String", json!(1)),
            ("Boolean", json!("true")),
            ("Boolean", json!(0)),
            ("ID", json!(1.5)),
            ("ID", json!({})),
            ("Float", json!("1")),
            ("Colour", json!("BLUE")),
            ("Colour", json!(1)),
            ("[Colour!]", json!(["RED", null])),
            ("[Int!]!", json!(null)),
            ("In", json!("x")),
            ("In", json!({})),
            ("In", json!({"must": 1, "x": 1})),
            ("In", json!({"must": 1, "inner": {"day": "31.3.2026"}})),
            ("One", json!({"a": 1, "b": "x"})),
            ("One", json!({"a": null})),
            ("Date", json!("2026-3-1")),
            ("DateTime", json!(0)),
            ("Decimal", json!(0.5)),
            ("Upload", json!("x")),
            ("Upload", json!(1)),
        ] {
            assert!(variable(ty, value.clone()).is_err(), "{ty}: {value}");
        }
    }

    #[test]
    fn a_message_says_where_and_what_and_repeats_no_value() {
        assert_eq!(
            literal("int: 3000000000").unwrap_err(),
            "Argument \"int\" must be an Int: a whole number from -2147483648 to 2147483647."
        );
        let message = variable("In", json!({"must": 1, "inner": {"day": "secret"}})).unwrap_err();
        assert_eq!(message, "Variable \"$v.inner.day\" must be of the type Date. Write a day as YYYY-MM-DD, such as 2026-03-31.");
        assert_eq!(
            variable("[Int]", json!([1, "x"])).unwrap_err(),
            "Variable \"$v.1\" must be an Int: a whole number from -2147483648 to 2147483647."
        );
        let long = variable("In", json!({"must": 1, "x".repeat(500): 1})).unwrap_err();
        assert!(long.len() < 160, "{long}");
    }

    #[test]
    fn defaults_of_variables_are_literals_of_their_type() {
        assert!(literal_in("query($v: Int = 3000000000) { a(int: $v) }").is_err());
        assert!(literal_in("query($v: Colour = \"RED\") { a(colour: $v) }").is_err());
        assert_eq!(literal_in("query($v: Colour = RED, $w: Int! = 2) { a(colour: $v, must: $w) }"), Ok(()));
    }

    #[test]
    fn variables_stand_where_their_type_fits() {
        for query in [
            "query($v: Int) { a(int: $v) }",
            "query($v: Int!) { a(int: $v) }",
            // the place has a default, or the variable has
            "query($v: Int) { a(must: $v) }",
            "query($v: Int = 1) { a(input: {must: $v}) }",
            "query($v: Int!) { a(input: {must: $v}) }",
            "query($v: [Colour!]!) { a(colours: $v) }",
            "query($v: Colour!) { a(colours: [$v]) }",
            "query($v: Int) { a(grid: [[$v]]) }",
        ] {
            assert_eq!(literal_in(query), Ok(()), "{query}");
        }
        for query in [
            "query($v: Float) { a(int: $v) }",
            "query($v: Decimal) { a(input: {must: 1, inner: {n: $v}}) }",
            "query($v: Int) { a(input: {must: $v}) }",
            "query($v: Colour) { a(colours: [$v]) }",
            "query($v: [Colour]) { a(colours: $v) }",
            "query($v: Colour!) { a(colours: $v) }",
            "query($v: String) { ...f } fragment f on Query { a(int: $v) }",
        ] {
            assert!(literal_in(query).is_err(), "{query}");
        }
    }
}
