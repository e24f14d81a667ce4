//! Requests to `/graphql` that somebody who means harm would send, each with the codes that may come back. None of them
//! needs a token, because all must be refused before anybody is asked who they are.

use serde_json::{Value, json};
use std::iter::repeat_n;

/// A body, and what must be said of it.
pub struct Shot {
    /// What it is.
    pub what: &'static str,
    /// The body of a POST.
    pub body: Vec<u8>,
    /// The codes of which the first error must have one.
    pub codes: &'static [&'static str],
}

const COMPLEX: &[&str] = &["TOO_COMPLEX"];
const INVALID: &[&str] = &["VALIDATION_FAILED"];
/// The schema is looked at once it is known who asks.
const UNKNOWN: &[&str] = &["VALIDATION_FAILED", "UNAUTHENTICATED"];
const UNREADABLE: &[&str] = &["PARSE_FAILED"];
const DEEP: &[&str] = &["TOO_COMPLEX", "PARSE_FAILED"];

fn document(what: &'static str, query: &str, codes: &'static [&'static str]) -> Shot {
    with(what, query, json!({}), codes)
}

fn with(what: &'static str, query: &str, variables: Value, codes: &'static [&'static str]) -> Shot {
    Shot { what, body: json!({ "query": query, "variables": variables }).to_string().into_bytes(), codes }
}

fn raw(what: &'static str, body: impl Into<Vec<u8>>, codes: &'static [&'static str]) -> Shot {
    Shot { what, body: body.into(), codes }
}

fn many(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect()
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    repeat_n(open, depth).chain([inner]).chain(repeat_n(close, depth)).collect()
}

/// Too much of something: aliases, fields, directives, fragments, introspection.
pub fn overloads() -> Vec<Shot> {
    let fragments = |start: &str, body: fn(usize) -> String, depth: usize| {
        let all = many(depth, |n| format!(" fragment f{n} on Query {{ {} }}", body(n + 1)));
        format!("{{ {start} }}{all} fragment f{depth} on Query {{ __typename }}")
    };
    vec![
        document("aliases of a field", &format!("{{ {} }}", many(500, |n| format!("a{n}: apiInfo {{ version }} "))), COMPLEX),
        document("aliases of __typename", &format!("{{ {} }}", many(500, |n| format!("a{n}: __typename "))), COMPLEX),
        document("one field thousands of times", &format!("{{ viewer {{ user {{ {} }} }} }}", "id ".repeat(5_000)), COMPLEX),
        document("directives on a field", &format!("{{ apiInfo {} {{ version }} }}", "@skip(if: false) ".repeat(200)), COMPLEX),
        document("unknown directives on __typename", "{ __typename @a @b @c }", INVALID),
        document("fragments that double", &fragments("...f0", |n| format!("...f{n} ...f{n}"), 60), COMPLEX),
        document(
            "fragments that double under aliases",
            &fragments("...f0", |n| format!("a: __typename ...f{n} b: __typename ...f{n}"), 24),
            COMPLEX,
        ),
        document("inline fragments in each other", &nested("{ ... ", "{ __typename }", " }", 500), DEEP),
        document("a chain of fragments", &fragments("...f0", |n| format!("...f{n}"), 200), COMPLEX),
        document("a fragment that holds itself", "{ ...a } fragment a on Query { ...a }", INVALID),
        document(
            "fragments in a circle",
            "{ ...a } fragment a on Query { ...b } fragment b on Query { ...c } fragment c on Query { ...a }",
            INVALID,
        ),
        document(
            "a circle through fields",
            "{ viewer { ...a } } fragment a on Viewer { workspace { ...b } } fragment b on Workspace { x { ...b } }",
            INVALID,
        ),
        document("a circle that is not used", "{ __typename } fragment a on Query { ...b } fragment b on Query { ...a }", INVALID),
        document(
            "introspection in a circle",
            &format!("{{ __schema {{ types {{ {} }} }} }}", nested("fields { type { ", "name", " } }", 6)),
            COMPLEX,
        ),
        document(
            "introspection many times",
            &format!("{{ {} }}", many(40, |n| format!("a{n}: __schema {{ types {{ name }} }} "))),
            COMPLEX,
        ),
        document("a long document", &format!("{{ apiInfo {{ version }} }} # {}", "x".repeat(100_000)), COMPLEX),
        document("a long name", &format!("{{ {} }}", "n".repeat(200_000)), COMPLEX),
        document("a hundred thousand tokens", &format!("{{ {} }}", "a ".repeat(100_000)), COMPLEX),
        document("unknown fields", &format!("{{ {} }}", many(1_500, |n| format!("x{n} "))), UNKNOWN),
        document("fields that differ under one name", "{ apiInfo { v: version } apiInfo { v: schemaVersion } }", INVALID),
        document(
            "several streams in one subscription",
            "subscription { a: batchProgress(batchId: 1) { __typename } b: batchProgress(batchId: 2) { __typename } }",
            INVALID,
        ),
    ]
}

/// What is nested deep: selections, lists, objects, JSON.
pub fn depths() -> Vec<Shot> {
    let in_variables = |open: &str, close: &str, depth| {
        format!(r#"{{"query":"{{ __typename }}","variables":{{"a":{}}}}}"#, nested(open, "1", close, depth))
    };
    vec![
        document("selections", &nested("{ a ", "", "}", 4_000), DEEP),
        document("selections that are never closed", &"{ a ".repeat(4_000), DEEP),
        document("a list of lists", &format!("{{ node(id: {}) {{ id }} }}", nested("[", "", "]", 6_000)), DEEP),
        document("objects in objects", &format!("{{ node(id: {}) {{ id }} }}", nested("{a: ", "1", "}", 2_500)), DEEP),
        document(
            "a type of lists",
            &format!("query($a: {}) {{ __typename }}", nested("[", "Int", "]", 6_000)),
            &["TOO_COMPLEX", "PARSE_FAILED", "VALIDATION_FAILED"],
        ),
        raw("lists in variables", in_variables("[", "]", 50_000), UNREADABLE),
        raw("objects in variables", in_variables(r#"{"a":"#, "}", 30_000), UNREADABLE),
        raw("brackets alone", "[".repeat(200_000), UNREADABLE),
    ]
}

/// Bodies that are no request: batches, wrong types, broken text.
pub fn malformed() -> Vec<Shot> {
    let batch = |count: usize| format!("[{}]", vec![r#"{"query":"{ __typename }"}"#; count].join(","));
    vec![
        raw("a batch of ten", batch(10), UNREADABLE),
        raw("a batch of thousands", batch(3_000), UNREADABLE),
        raw("an empty batch", "[]", UNREADABLE),
        raw("fields in a list", r#"["{ __typename }", null, null, null]"#, UNREADABLE),
        raw("nothing", "", UNREADABLE),
        raw("a number", "1", UNREADABLE),
        raw("a query that is a number", r#"{"query": 1}"#, UNREADABLE),
        raw("variables that are a list", r#"{"query": "{ __typename }", "variables": []}"#, UNREADABLE),
        raw("a key twice", r#"{"query": "{ __typename }", "query": "mutation { x }"}"#, UNREADABLE),
        raw("an operation name that is an object", r#"{"query": "{ __typename }", "operationName": {}}"#, UNREADABLE),
        raw("no query", r#"{"variables": {}}"#, INVALID),
        raw("bytes that are not UTF-8", b"{\"query\": \"{ a(b: \\\"\xff\xfe\xc0\x80\\\") }\"}".to_vec(), UNREADABLE),
        raw("half a surrogate", r#"{"query": "{ a(b: \"\ud800\") }"}"#, UNREADABLE),
        raw("UTF-16", "{\"query\":\"{ a }\"}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), UNREADABLE),
        raw("half a body", r#"{"query": "{ __typename"#, UNREADABLE),
        raw("a number beyond all", r#"{"query": "{ __typename }", "variables": {"a": 1e999999}}"#, UNREADABLE),
        document("NUL in a document", "{ \u{0} __typename }", UNREADABLE),
        document("control characters in a document", "{ \u{1b}[31m __typename }", UNREADABLE),
        document("a string that is never closed", "{ node(id: \"x) { id } }", UNREADABLE),
        document(
            "half a surrogate in a document",
            "{ node(id: \"\\ud800\") { id } }",
            &["PARSE_FAILED", "VALIDATION_FAILED", "UNAUTHENTICATED"],
        ),
        document("an unknown operation", "bogus { __typename }", UNREADABLE),
        document("an empty document", "", UNREADABLE),
        document("an empty selection", "{ }", UNREADABLE),
        with(
            "a number that is no Int",
            "query($n: Int!) { apiInfo { version } batches(first: $n) { totalCount } }",
            json!({ "n": 99_999_999_999_i64 }),
            &["VALIDATION_FAILED", "UNAUTHENTICATED"],
        ),
        document(
            "a literal beyond all",
            &format!("{{ batches(first: {}) {{ totalCount }} }}", "9".repeat(4_000)),
            &["PARSE_FAILED", "VALIDATION_FAILED", "UNAUTHENTICATED"],
        ),
        document(
            "a float beyond all",
            "{ batches(first: 1e999) { totalCount } }",
            &["PARSE_FAILED", "VALIDATION_FAILED", "UNAUTHENTICATED"],
        ),
        with(
            "a variable that pretends to be a file",
            "query($a: [Upload]) { __typename }",
            json!({ "a": ["#__graphql_file__:0"] }),
            INVALID,
        ),
        with(
            "a variable that pretends to be no file",
            "query($a: String) { __typename }",
            json!({ "a": { "b": "#__graphql_file__:abc" } }),
            INVALID,
        ),
        document("a literal that pretends to be a file", "{ node(id: \"#__graphql_file__:9\") { id } }", INVALID),
        document("a default that pretends to be a file", "query($a: ID = \"\\u0023__graphql_file__:9\") { node(id: $a) { id } }", INVALID),
    ]
}

/// All of it.
pub fn all() -> Vec<Shot> {
    [overloads(), depths(), malformed()].into_iter().flatten().collect()
}

/// What the file store refuses, from somebody without a link.
pub const STORE: [(&str, &str); 10] = [
    ("GET", "/claimwright/x"),
    ("PUT", "/claimwright/x"),
    ("DELETE", "/claimwright/x"),
    ("POST", "/claimwright/x"),
    ("GET", "/claimwright/%2e%2e/%2e%2e/etc/passwd"),
    ("GET", "/claimwright/x?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=x"),
    ("PUT", "/claimwright/x?X-Amz-Signature=00&X-Amz-Date=20260101T000000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host"),
    ("GET", "/claimwright/x?list-type=2"),
    ("POST", "/claimwright/x?uploads"),
    ("GET", "/claimwright/%ff%00"),
];
