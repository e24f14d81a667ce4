//! From a client's operation to one that may be executed: parse, guard, choose the operation, work out its cost, fill in
//! variables. What does not depend on variables is done once for each text. It is shared by HTTP and WebSocket and must
//! know neither. What async-graphql checks itself is left to it.

mod operation;
mod template;

pub use operation::{Incoming, Operation, is_forged_literal};
pub use template::Template;

use super::{
    coercion,
    cost::{MAX_LISTS, MAX_SEARCHES, Plan},
    guard, introspection, merging, roots, tokens, typename,
    types::SchemaTypes,
};
use crate::{
    error::FaultCode,
    graphql::{AppSchema, Direct, info::MAX_COMPLEXITY},
};
use async_graphql::{
    Data, Name, Pos, Positioned, Request, Response, Value, Variables,
    parser::{
        Error as ParseError, parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, VariableDefinition},
    },
};
use graphql_gate::{MergedRoots, Plans, verdict::Verdict};
use moka::future::Cache;
use std::sync::Arc;

/// Longest document, in bytes.
pub const MAX_DOCUMENT: usize = 16 << 10;
/// Most text of documents that are remembered as accepted, in bytes. Parsed, they take up to fifty times as much.
const MAX_REMEMBERED: u64 = 512 << 10;
/// What a short document counts for, in bytes of text.
const OVERHEAD: usize = 64;

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

/// What a document is checked against, and the documents that have passed.
#[derive(Debug)]
pub struct Rules {
    introspection: bool,
    types: SchemaTypes,
    accepted: Cache<String, Arc<Accepted>>,
}

impl Rules {
    /// Rules of a schema; `introspection` says whether it is answered.
    pub fn new(types: SchemaTypes, introspection: bool) -> Self {
        let weight = |text: &String, _: &Arc<Accepted>| u32::try_from(text.len() + OVERHEAD).unwrap_or(u32::MAX);
        Self { introspection, types, accepted: Cache::builder().max_capacity(MAX_REMEMBERED).weigher(weight).build() }
    }
}

impl Rules {
    /// True if the schema may be told to everybody; what is wrong with a document tells some of it.
    pub const fn tell_the_schema(&self) -> bool {
        self.introspection
    }
}

/// A document that has passed every check that does not depend on variables, for one of its operations.
#[derive(Debug)]
struct Accepted {
    document: ExecutableDocument,
    /// Name of the operation, if it has one.
    name: Option<Name>,
    /// True if the document has no other operation.
    is_sole: bool,
    kind: OperationType,
    public: bool,
    plan: Plan,
    variables: Vec<Positioned<VariableDefinition>>,
    root: Root,
    /// What async-graphql's validation said of it. No type or field depends on who asks.
    verdict: Verdict,
    /// What its fields ask for, unless that depends on variables.
    plans: Option<Arc<Plans>>,
    /// How subscribers who ask for the same are told apart from others, for a stream whose events are written once for all.
    shared: Option<Shared>,
}

/// What the root of a document is like.
#[derive(Debug, PartialEq, Eq)]
enum Root {
    /// So simple that it runs directly, once validation has said that the document is valid.
    Simple,
    /// async-graphql's executor runs it.
    Other,
    /// A key is repeated, on conditions: the answers have to be merged.
    Repeated,
}

/// See [`Accepted`].
#[derive(Debug)]
struct Shared {
    /// The variable that says where the stream begins and nothing else.
    resumed_by: Option<Name>,
}

/// An operation that may be executed.
#[derive(Debug)]
pub struct Prepared {
    request: Request,
    accepted: Arc<Accepted>,
    /// How its events are written for all who ask for the same, if they may be.
    pub template: Option<Arc<Template>>,
    /// Query, mutation or subscription.
    pub kind: OperationType,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// True if it is answered without a token.
    pub public: bool,
    /// What it costs, in points; not more than is ever allowed.
    pub cost: u64,
}

/// Checks a request and fills in its variables.
///
/// # Errors
/// A request error: syntax, limits, unknown operation, rules of the specification, missing variables, cost.
pub async fn prepare(request: Request, rules: &Rules) -> Result<Prepared, Rejection> {
    let is_asked_for =
        |accepted: &Arc<Accepted>| request.operation_name.as_deref().is_none_or(|name| accepted.name.as_deref() == Some(name));
    let accepted = if let Some(accepted) = rules.accepted.get(request.query.as_str()).await.filter(is_asked_for) {
        accepted
    } else {
        let accepted = Arc::new(accept(&request.query, request.operation_name.as_deref(), rules)?);
        if accepted.is_sole {
            rules.accepted.insert(request.query.clone(), Arc::clone(&accepted)).await;
        }
        accepted
    };
    finish(request, accepted, &rules.types)
}

/// What does not depend on variables.
fn accept(text: &str, name: Option<&str>, rules: &Rules) -> Result<Accepted, Rejection> {
    if text.len() > MAX_DOCUMENT {
        let message = format!("The document is longer than {MAX_DOCUMENT} bytes. Pass data in variables.");
        return Err(Rejection::too_complex(message, MAX_DOCUMENT as u64, text.len() as u64));
    }
    let read = tokens::check(text)?;
    let mut document = parse_query(&*read).map_err(|error| syntax_error(&error, text))?;
    guard::check(&document)?;
    introspection::check(&document, &rules.types)?;
    let (own_name, operation) = choose(&document, name)?;
    let fields = roots::fields(&document, operation);
    if !rules.introspection && fields.iter().any(|field| matches!(field.node.name.node.as_str(), "__schema" | "__type")) {
        return Err(Rejection::invalid("Introspection is off on this server.", Vec::new()));
    }
    let kind = operation.ty;
    if kind == OperationType::Subscription {
        roots::check_single(&fields)?;
    }
    merging::check(&document, &rules.types)?;
    coercion::check_literals(&document, operation, &rules.types)?;
    let public = kind == OperationType::Query && fields.iter().all(|field| roots::is_public(&field.node.name.node));
    let mut repeats_a_key = graphql_gate::respond::repeats_a_root_key(&document, operation);
    let shared = roots::shared_stream(&fields).map(|field| Shared { resumed_by: roots::resumed_by(&document, field) });
    let shared = shared.filter(|_| kind == OperationType::Subscription);
    let (own_name, variables) = (own_name.cloned(), operation.variable_definitions.clone());
    if repeats_a_key || kind == OperationType::Subscription {
        repeats_a_key = !roots::lift(&mut document, name, rules.types.root(kind)) && repeats_a_key;
    }
    if repeats_a_key && kind == OperationType::Mutation {
        let message =
            "A root field of a mutation is mentioned several times under one name, and a directive says whether. Mention it once.";
        return Err(Rejection::invalid(message, Vec::new()));
    }
    let plan = Plan::of(&document, choose(&document, name)?.1, &rules.types);
    typename::mend(&mut document)?;
    let is_sole = document.operations.iter().count() == 1;
    let root = match (repeats_a_key, graphql_gate::direct::runs(&document)) {
        (true, _) => Root::Repeated,
        (false, true) => Root::Simple,
        (false, false) => Root::Other,
    };
    let (verdict, plans) = (Verdict::default(), Plans::of(&document).map(Arc::new));
    Ok(Accepted { document, name: own_name, is_sole, kind, public, plan, variables, root, verdict, plans, shared })
}

/// What depends on variables.
fn finish(mut request: Request, accepted: Arc<Accepted>, types: &SchemaTypes) -> Result<Prepared, Rejection> {
    fill_in(&accepted.variables, &mut request.variables, types)?;
    let cost = accepted.plan.cost(&request.variables);
    if cost > MAX_COMPLEXITY as u64 {
        let message = "The operation costs too much: a field costs a point, times the items of the pages it is in. Ask for smaller pages or fewer fields.";
        return Err(Rejection::too_complex(message, MAX_COMPLEXITY as u64, cost));
    }
    let (pages, searches) = (accepted.plan.pages(), accepted.plan.searches(&request.variables));
    if pages > MAX_LISTS {
        let message = format!("The operation reads {pages} lists; {MAX_LISTS} are read at once. Ask in several operations.");
        return Err(Rejection::too_complex(message, MAX_LISTS, pages));
    }
    if searches > MAX_SEARCHES {
        let message =
            format!("The operation searches {searches} lists for a text; {MAX_SEARCHES} are searched at once. Ask in several operations.");
        return Err(Rejection::too_complex(message, MAX_SEARCHES, searches));
    }
    let name = accepted.name.as_ref().map(ToString::to_string);
    let template = accepted.shared.as_ref().map(|shared| Arc::new(Template::new(&accepted, shared, &request)));
    Ok(Prepared { request, template, kind: accepted.kind, name, public: accepted.public, cost, accepted })
}

impl Prepared {
    /// The text of the document.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.request.query
    }

    /// Executes it with this data; not a subscription.
    pub async fn execute(mut self, schema: &AppSchema, direct: &Direct, data: Data) -> Response {
        if self.accepted.root != Root::Simple || !self.accepted.verdict.is_known() {
            return Box::pin(schema.execute(self.into_request(data))).await;
        }
        self.provide(data);
        direct.run(&self.accepted.document, self.request).await
    }

    /// The request with its parsed document, to be executed with this data.
    #[must_use]
    pub fn into_request(mut self, data: Data) -> Request {
        self.provide(data);
        // async-graphql takes the document for itself; its names and texts are shared, so this is cheaper than to parse
        self.request.set_parsed_query(self.accepted.document.clone());
        self.request.data.insert(self.accepted.verdict.clone());
        if self.accepted.root == Root::Repeated { self.request.data(MergedRoots) } else { self.request }
    }

    fn provide(&mut self, data: Data) {
        self.request.data = data;
        if let Some(plans) = &self.accepted.plans {
            self.request.data.insert(Arc::clone(plans));
        }
    }
}

fn choose<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<(Option<&'a Name>, &'a OperationDefinition), Rejection> {
    let unknown = |name: &str| Rejection::invalid(format!("The document has no operation named {name:.60}."), Vec::new());
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Ok((None, &operation.node)),
        (DocumentOperations::Single(_), Some(name)) => Err(unknown(name)),
        (DocumentOperations::Multiple(all), Some(name)) => {
            all.get_key_value(name).map(|(name, operation)| (Some(name), &operation.node)).ok_or_else(|| unknown(name))
        }
        (DocumentOperations::Multiple(all), None) => match (all.iter().next(), all.len()) {
            (Some((name, operation)), 1) => Ok((Some(name), &operation.node)),
            _ => Err(Rejection::invalid("The document has several operations; name one in `operationName`.", Vec::new())),
        },
    }
}

/// The part of `CoerceVariableValues` that async-graphql leaves out: defaults become values (else `@skip` and
/// `@include` ignore them), and a missing or null required variable is a request error, as is a value of another type.
fn fill_in(definitions: &[Positioned<VariableDefinition>], variables: &mut Variables, types: &SchemaTypes) -> Result<(), Rejection> {
    for definition in definitions {
        let (variable, position) = (&definition.node, definition.pos);
        let name = &variable.name.node;
        let is_given = variables.contains_key(name);
        if let (false, Some(default)) = (is_given, &variable.default_value) {
            variables.insert(name.clone(), default.node.clone());
        }
        if !variable.var_type.node.nullable && matches!(variables.get(name), None | Some(Value::Null)) {
            let message = format!("Variable \"${name}\" of required type \"{}\" was not provided.", variable.var_type.node);
            return Err(Rejection::invalid(message, vec![position]));
        }
        if let Some(value) = is_given.then(|| variables.get(name)).flatten() {
            coercion::check_variable(definition, value, types)?;
        }
    }
    Ok(())
}

/// The parser's message quotes the whole line of the document; its last line says what was expected.
fn syntax_error(error: &ParseError, text: &str) -> Rejection {
    let whole = error.to_string();
    let reason: String = whole.lines().last().unwrap_or_default().trim().trim_start_matches("= ").chars().take(120).collect();
    // the parser's own limits of nesting: the document may be well-formed, it is only too deep
    let is_too_deep = reason.contains("recursion limit") || reason.contains("stack limit");
    Rejection {
        code: if is_too_deep { FaultCode::TooComplex } else { FaultCode::ParseFailed },
        message: if is_too_deep { "The document is nested too deep.".into() } else { format!("Syntax error: {reason}") },
        locations: error.positions().take(1).collect(),
        exceeded: is_too_deep.then(|| (guard::MAX_NESTING, nesting(text).max(guard::MAX_NESTING + 1))),
    }
}

/// How deep brackets are nested, roughly: those in strings count too.
fn nesting(text: &str) -> u64 {
    let (mut depth, mut deepest) = (0_u64, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::super::cost::UNKNOWN_ITEMS;
    use super::*;
    use crate::services::persisted::DocumentHash;
    use serde_json::json;

    const SDL: &str = "
        type Query { hello: String! apiInfo: Info! pet: Pet dogs: [Dog!]! kennel(first: Int = 100): DogConnection! }
        type DogConnection { nodes: [Dog!]! }
        type Mutation { save: String! }
        type Subscription { ticks(n: Int): Int! other: Int! }
        type Info { version: String! }
        interface Pet { name: String! }
        type Dog implements Pet { name: String! bark: String! age: Int! owner: Info }
        type Cat implements Pet { name: String! meow: String! age: String! owner: Info }
    ";

    fn rules(introspection: bool) -> Rules {
        Rules::new(SchemaTypes::of(SDL).unwrap(), introspection)
    }

    fn prepared_by(request: Request, rules: &Rules) -> Result<Prepared, Rejection> {
        futures::executor::block_on(prepare(request, rules))
    }

    fn prepared(query: &str, variables: serde_json::Value) -> Result<Prepared, Rejection> {
        prepared_by(Request::new(query).variables(Variables::from_json(variables)), &rules(true))
    }

    fn code(query: &str) -> Option<FaultCode> {
        prepared(query, json!({})).err().map(|rejection| rejection.code)
    }

    #[test]
    fn a_forged_upload_is_refused_wherever_it_hides() {
        for variables in [json!({"f": "#__graphql_file__:0"}), json!({"f": {"g": ["#__graphql_file__:abc"]}})] {
            let operation = Operation::from_json(json!({"query": "{a}", "variables": variables}).to_string().as_bytes()).unwrap();
            assert!(operation.into_incoming().is_err());
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
        let named = |query: &str, name: &str| prepared_by(Request::new(query).operation_name(name), &rules(true));
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
    fn a_document_that_was_accepted_is_remembered_for_its_own_operation_alone() {
        let rules = rules(true);
        let named = |name: Option<&str>| {
            let request =
                Request::new("query a($a: Boolean!) { hello @include(if: $a) }").variables(Variables::from_json(json!({"a": true})));
            prepared_by(name.into_iter().fold(request, Request::operation_name), &rules)
        };
        for name in [None, Some("a"), None] {
            assert_eq!(named(name).unwrap().cost, 1);
            assert!(named(Some("b")).is_err());
        }
        assert!(rules.accepted.contains_key("query a($a: Boolean!) { hello @include(if: $a) }"));
        let two =
            |name: &str| prepared_by(Request::new("query a { hello } mutation b { save }").operation_name(name), &rules).unwrap().kind;
        assert_eq!((two("a"), two("b")), (OperationType::Query, OperationType::Mutation));
    }

    #[test]
    fn an_operation_that_costs_too_much_is_refused_with_the_numbers() {
        let query = "query($n: Int) { dogs(first: $n) { name owner { version } } }";
        assert_eq!(prepared(query, json!({})).unwrap().cost, 1 + UNKNOWN_ITEMS * 3);
        let aliases = (0..50).fold(String::new(), |all, index| all + &format!(" a{index}: dogs {{ name owner {{ version }} }}"));
        assert_eq!(prepared(&format!("{{{aliases}}}"), json!({})).unwrap().cost, 50 * (1 + UNKNOWN_ITEMS * 3));
        let wide = format!("{{ kennel {{ nodes {{ {} }} }} }}", "name ".repeat(600));
        let rejection = prepared(&wide, json!({})).unwrap_err();
        assert_eq!((rejection.code, rejection.exceeded), (FaultCode::TooComplex, Some((MAX_COMPLEXITY as u64, 60_002))));
    }

    #[test]
    fn every_operation_of_the_client_and_the_playground_is_cheap_enough_for_everybody() {
        let rules = Rules::new(SchemaTypes::of(&crate::graphql::sdl()).unwrap(), true);
        let mut seen = 0;
        for folder in ["src/client/operations", "playground/queries"] {
            for entry in std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|end| end != "graphql") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for (name, _) in parse_query(&text).unwrap().operations.iter() {
                    let accepted =
                        accept(&text, name.map(Name::as_str), &rules).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
                    let cost = accepted.plan.cost(&Variables::default());
                    assert!(cost > 0 && cost < MAX_COMPLEXITY as u64 / 2, "{}: {cost}", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn the_hash_of_a_document_is_read_or_refused() {
        let hash = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";
        let incoming = |body: serde_json::Value| Operation::from_json(body.to_string().as_bytes()).unwrap().into_incoming();
        let persisted = |version: u32, hash: &str| json!({"persistedQuery": {"version": version, "sha256Hash": hash}});
        assert_eq!(incoming(json!({"extensions": persisted(1, hash)})).unwrap().hash, DocumentHash::parse(hash));
        assert_eq!(incoming(json!({"query": "", "extensions": persisted(1, hash)})).unwrap().request.query, "");
        assert_eq!(incoming(json!({"query": "{a}", "extensions": {"persistedQuery": null, "other": 1}})).unwrap().hash, None);
        for extensions in [persisted(2, hash), persisted(1, "x"), json!({"persistedQuery": {}}), json!({"persistedQuery": hash})] {
            assert!(incoming(json!({"query": "{a}", "extensions": extensions})).is_err(), "{extensions}");
        }
        assert!(incoming(json!({"extensions": {}})).is_err());
    }

    #[test]
    fn what_the_parser_finds_too_deep_says_how_deep() {
        let rejection = prepared(&format!("{}a{}", "{a".repeat(900), "}".repeat(900)), json!({})).unwrap_err();
        assert_eq!((rejection.code, rejection.exceeded), (FaultCode::TooComplex, Some((40, 900))), "{}", rejection.message);
    }

    #[test]
    fn introspection_is_refused_when_it_is_off() {
        let closed = |query: &str| prepared_by(Request::new(query), &rules(false)).is_err();
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
