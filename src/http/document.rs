//! From a client's operation to one that may be executed: parse, guard, choose the operation, fill in variables. It is
//! shared by HTTP and WebSocket and must know neither. What async-graphql checks itself is left to it.

use super::{guard, merging, merging::SchemaTypes, roots, typename};
use crate::error::{Error, FaultCode, Result};
use async_graphql::{
    Pos, Request, Value, Variables,
    parser::{
        Error as ParseError, parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
    },
};
use serde::Deserialize;

/// Longest document, in bytes.
pub const MAX_DOCUMENT: usize = 16 << 10;
/// Prefix by which async-graphql passes uploads in variables. From a client it would make a resolver panic.
const UPLOAD_MARK: &str = "#__graphql_file__:";

/// An operation as clients send it, in any transport.
#[derive(Debug, Default, Deserialize)]
pub struct Operation {
    /// The document.
    pub query: Option<String>,
    /// Which operation of the document; empty is none.
    #[serde(rename = "operationName")]
    pub name: Option<String>,
    /// Values of variables.
    pub variables: Option<serde_json::Map<String, serde_json::Value>>,
    /// Accepted as the specification asks; nothing reads it.
    #[serde(rename = "extensions")]
    _extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Operation {
    /// Reads the JSON form. A derived struct refuses duplicate keys and wrong types; the check of the first byte
    /// refuses arrays, hence batches.
    ///
    /// # Errors
    /// `PARSE_FAILED` if this is not a GraphQL request in JSON.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        // RFC 8259 lets parsers ignore a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
        let operation = if is_object { serde_json::from_slice(bytes).ok() } else { None };
        operation.ok_or_else(|| Error::fault(FaultCode::ParseFailed, "The body must be one GraphQL request in JSON: {\"query\": \"…\"}."))
    }

    /// The request that async-graphql understands.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` if the document is missing or a variable pretends to be an upload.
    pub fn into_request(self) -> Result<Request> {
        let query = self.query.ok_or_else(|| Error::fault(FaultCode::ValidationFailed, "The request has no `query`."))?;
        let variables = self.variables.unwrap_or_default();
        if variables.values().any(is_forged) {
            return Err(Error::fault(FaultCode::ValidationFailed, "A variable holds a reserved value."));
        }
        let mut request = Request::new(query).variables(Variables::from_json(serde_json::Value::Object(variables)));
        request.operation_name = self.name.filter(|name| !name.is_empty());
        Ok(request)
    }
}

fn is_forged(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.starts_with(UPLOAD_MARK),
        serde_json::Value::Array(items) => items.iter().any(is_forged),
        serde_json::Value::Object(fields) => fields.values().any(is_forged),
        _ => false,
    }
}

/// True if a literal of a document pretends to be an upload.
pub fn is_forged_literal(text: &str) -> bool {
    text.starts_with(UPLOAD_MARK)
}

/// Why a document is not executed: a request error of the GraphQL specification.
#[derive(Debug)]
pub struct Rejection {
    /// Public code.
    pub code: FaultCode,
    /// A sentence for people.
    pub message: String,
    /// Where in the document.
    pub locations: Vec<Pos>,
    /// The limit that was passed and by what.
    pub exceeded: Option<(u64, u64)>,
}

impl Rejection {
    /// The document or its variables are not valid.
    pub fn invalid(message: impl Into<String>, locations: Vec<Pos>) -> Self {
        Self { code: FaultCode::ValidationFailed, message: message.into(), locations, exceeded: None }
    }

    /// A limit is passed.
    pub fn too_complex(message: impl Into<String>, limit: u64, actual: u64) -> Self {
        Self { code: FaultCode::TooComplex, message: message.into(), locations: Vec::new(), exceeded: Some((limit, actual)) }
    }
}

/// What a document is checked against.
#[derive(Debug)]
pub struct Rules {
    /// Answer introspection.
    pub introspection: bool,
    /// Types of fields, for the rule that fields can be merged.
    pub types: SchemaTypes,
}

/// An operation that may be executed.
#[derive(Debug)]
pub struct Prepared {
    /// The request, with its parsed document; the session's data is still to be put in.
    pub request: Request,
    /// Query, mutation or subscription.
    pub kind: OperationType,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// True if it is answered without a token.
    pub public: bool,
}

/// Checks a request and fills in its variables.
///
/// # Errors
/// A request error: syntax, limits, unknown operation, rules of the specification, missing variables.
pub fn prepare(mut request: Request, rules: &Rules) -> Result<Prepared, Rejection> {
    if request.query.len() > MAX_DOCUMENT {
        let message = format!("The document is longer than {MAX_DOCUMENT} bytes. Pass data in variables.");
        return Err(Rejection::too_complex(message, MAX_DOCUMENT as u64, request.query.len() as u64));
    }
    let mut document = parse_query(&request.query).map_err(|error| syntax_error(&error))?;
    guard::check(&document)?;
    let (name, operation) = choose(&document, request.operation_name.as_deref())?;
    let name = name.map(str::to_owned);
    let fields = roots::fields(&document, operation);
    if !rules.introspection && fields.iter().any(|field| matches!(field.node.name.node.as_str(), "__schema" | "__type")) {
        return Err(Rejection::invalid("Introspection is off on this server.", Vec::new()));
    }
    if operation.ty == OperationType::Subscription {
        roots::check_single(&fields)?;
    }
    merging::check(&document, &rules.types)?;
    fill_in(operation, &mut request.variables)?;
    let kind = operation.ty;
    let public = kind == OperationType::Query && fields.iter().all(|field| roots::is_public(&field.node.name.node));
    if kind == OperationType::Subscription {
        roots::lift(&mut document, request.operation_name.as_deref(), rules.types.subscription());
    }
    typename::mend(&mut document)?;
    request.set_parsed_query(document);
    Ok(Prepared { request, kind, name, public })
}

/// The operation that is meant, with its name.
fn choose<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<(Option<&'a str>, &'a OperationDefinition), Rejection> {
    let unknown = |name: &str| Rejection::invalid(format!("The document has no operation named {name:.60}."), Vec::new());
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Ok((None, &operation.node)),
        (DocumentOperations::Single(_), Some(name)) => Err(unknown(name)),
        (DocumentOperations::Multiple(all), Some(name)) => {
            let found = all.get_key_value(name).map(|(name, operation)| (Some(name.as_str()), &operation.node));
            found.ok_or_else(|| unknown(name))
        }
        (DocumentOperations::Multiple(all), None) => match (all.iter().next(), all.len()) {
            (Some((name, operation)), 1) => Ok((Some(name.as_str()), &operation.node)),
            _ => Err(Rejection::invalid("The document has several operations; name one in `operationName`.", Vec::new())),
        },
    }
}

/// The part of `CoerceVariableValues` that async-graphql leaves out: defaults become values (else `@skip` and
/// `@include` ignore them), and a missing or null required variable is a request error.
fn fill_in(operation: &OperationDefinition, variables: &mut Variables) -> Result<(), Rejection> {
    for definition in &operation.variable_definitions {
        let (variable, position) = (&definition.node, definition.pos);
        let name = &variable.name.node;
        if let (false, Some(default)) = (variables.contains_key(name), &variable.default_value) {
            variables.insert(name.clone(), default.node.clone());
        }
        if !variable.var_type.node.nullable && matches!(variables.get(name), None | Some(Value::Null)) {
            let message = format!("Variable \"${name}\" of required type \"{}\" was not provided.", variable.var_type.node);
            return Err(Rejection::invalid(message, vec![position]));
        }
    }
    Ok(())
}

/// The parser's message quotes the whole line of the document; its last line says what was expected.
fn syntax_error(error: &ParseError) -> Rejection {
    let text = error.to_string();
    let reason: String = text.lines().last().unwrap_or_default().trim().trim_start_matches("= ").chars().take(120).collect();
    // the parser's own limit of nesting: the document may be well-formed, it is only too deep
    let is_too_deep = reason.contains("recursion limit");
    Rejection {
        code: if is_too_deep { FaultCode::TooComplex } else { FaultCode::ParseFailed },
        message: if is_too_deep { "The document is nested too deep.".into() } else { format!("Syntax error: {reason}") },
        locations: error.positions().take(1).collect(),
        exceeded: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SDL: &str = "
        type Query { hello: String! apiInfo: Info! pet: Pet dogs: [Dog!]! }
        type Mutation { save: String! }
        type Subscription { ticks(n: Int): Int! other: Int! }
        type Info { version: String! }
        interface Pet { name: String! }
        type Dog implements Pet { name: String! bark: String! age: Int! owner: Info }
        type Cat implements Pet { name: String! meow: String! age: String! owner: Info }
    ";

    fn rules(introspection: bool) -> Rules {
        Rules { introspection, types: SchemaTypes::of(SDL).unwrap() }
    }

    fn prepared(query: &str, variables: serde_json::Value) -> Result<Prepared, Rejection> {
        prepare(Request::new(query).variables(Variables::from_json(variables)), &rules(true))
    }

    fn code(query: &str) -> Option<FaultCode> {
        prepared(query, json!({})).err().map(|rejection| rejection.code)
    }

    #[test]
    fn a_request_in_json_is_one_object_without_duplicate_keys() {
        assert!(Operation::from_json(br#" {"query":"{a}","operationName":null,"extensions":{"a":1},"other":1}"#).is_ok());
        for text in [r"[]", r#"["{a}",null,null,null]"#, r#"[{"query":"{a}"}]"#, r#"{"query":1}"#, r#"{"query":"{a}","query":"{b}"}"#, ""] {
            assert!(Operation::from_json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Operation::from_json(b"{}").unwrap().into_request().is_err());
    }

    #[test]
    fn a_forged_upload_is_refused_wherever_it_hides() {
        for variables in [json!({"f": "#__graphql_file__:0"}), json!({"f": {"g": ["#__graphql_file__:abc"]}})] {
            let operation = Operation::from_json(json!({"query": "{a}", "variables": variables}).to_string().as_bytes()).unwrap();
            assert!(operation.into_request().is_err());
        }
        assert_eq!(code(r##"mutation { save(f: {g: ["#__graphql_file__:0"]}) }"##), Some(FaultCode::ValidationFailed));
        assert_eq!(code(r#"mutation($f: Upload = "\u0023__graphql_file__:0") { save(f: $f) }"#), Some(FaultCode::ValidationFailed));
    }

    #[test]
    fn defaults_of_variables_become_values_and_required_ones_must_be_there() {
        let prepared_one = prepared("query($a: Boolean = true) { hello @include(if: $a) }", json!({})).unwrap();
        assert_eq!(prepared_one.request.variables.get("a"), Some(&Value::Boolean(true)));
        let given = prepared("query($a: Boolean = true) { hello @include(if: $a) }", json!({"a": null})).unwrap();
        assert_eq!(given.request.variables.get("a"), Some(&Value::Null));
        for variables in [json!({}), json!({"a": null})] {
            let rejection = prepared("query($a: Int!) { hello(a: $a) }", variables).unwrap_err();
            assert_eq!(rejection.message, "Variable \"$a\" of required type \"Int!\" was not provided.");
        }
    }

    #[test]
    fn only_public_root_fields_are_answered_without_a_token() {
        let is_public = |query: &str| prepared(query, json!({})).unwrap().public;
        assert!(is_public("{ apiInfo { version } __typename __schema { queryType { name } } __type(name: \"A\") { name } }"));
        assert!(is_public("{ ...f } fragment f on Query { ... { apiInfo { version } } }"));
        assert!(!is_public("{ apiInfo { version } hello }"));
        assert!(!is_public("{ ...f } fragment f on Query { apiInfo: hello }"));
        assert!(!is_public("{ apiInfo { version } hello @skip(if: true) }"));
        assert!(!is_public("mutation { apiInfo }"));
    }

    #[test]
    fn the_operation_is_chosen_by_name() {
        let two = "query a { hello } mutation b { save }";
        let named = |query: &str, name: &str| prepare(Request::new(query).operation_name(name), &rules(true));
        assert_eq!(named(two, "b").unwrap().kind, OperationType::Mutation);
        assert!(named(two, "c").is_err());
        assert!(named("{ hello }", "c").is_err());
        assert_eq!(code(two), Some(FaultCode::ValidationFailed));
        assert_eq!(code("query a { hello }"), None);
    }

    #[test]
    fn syntax_errors_do_not_quote_the_document() {
        let rejection = prepared("{ secretsecret( }", json!({})).unwrap_err();
        assert_eq!(rejection.code, FaultCode::ParseFailed);
        assert!(!rejection.message.contains("secretsecret") && rejection.locations.len() == 1, "{rejection:?}");
    }

    #[test]
    fn a_long_document_is_refused_before_it_is_parsed() {
        assert_eq!(code(&format!("{{ hello }} #{}", "x".repeat(MAX_DOCUMENT))), Some(FaultCode::TooComplex));
    }

    #[test]
    fn introspection_is_refused_when_it_is_off() {
        let closed = |query: &str| prepare(Request::new(query), &rules(false)).is_err();
        assert!(closed("{ ...f } fragment f on Query { x: __schema { queryType { name } } }"));
        assert!(!closed("{ __typename hello }"));
    }

    #[test]
    fn a_subscription_has_one_root_field() {
        assert_eq!(code("subscription { ticks other }"), Some(FaultCode::ValidationFailed));
        assert_eq!(code("subscription { ...f } fragment f on Subscription { ticks other }"), Some(FaultCode::ValidationFailed));
        assert_eq!(code("subscription { __typename }"), Some(FaultCode::ValidationFailed));
        assert_eq!(code("subscription { ticks @skip(if: false) }"), Some(FaultCode::ValidationFailed));
        assert_eq!(code("subscription { ticks }"), None);
        assert_eq!(code("subscription { ticks ...f } fragment f on Subscription { ticks }"), None);
    }

    #[test]
    fn fields_that_cannot_be_merged_are_refused() {
        let bad = [
            "{ x: hello x: apiInfo { version } }",
            "{ dogs { x: name ... on Dog { x: bark } } }",
            "{ dogs { x: name ... on Pet { x: bark } } }",
            "{ pet { ... on Dog { age } ... on Cat { age } } }",
            "{ dogs { owner { v: version } } dogs { owner { v: __typename } } }",
            "subscription { ticks(n: 1) ticks(n: 2) }",
        ];
        for query in bad {
            assert_eq!(code(query), Some(FaultCode::ValidationFailed), "{query}");
        }
        let good = [
            "{ pet { ... on Dog { x: bark } ... on Cat { x: meow } } }",
            "{ hello hello dogs { name ...f } } fragment f on Dog { name ... on Pet { name } }",
            "{ __schema { types { name fields { name type { name ofType { name } } } } } }",
            "{ pet { ... on Dog { owner { version } } ... on Cat { owner { version v: version } } } }",
        ];
        for query in good {
            assert!(prepared(query, json!({})).is_ok(), "{query}: {:?}", prepared(query, json!({})).err());
        }
    }
}
