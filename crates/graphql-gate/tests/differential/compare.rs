//! Asks both executors and compares the answers. The fuzz target `documents` compares by the same.

use crate::schema::{Mutation, Query, TestSchema, schema};
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, Response, ServerError, Variables};
use graphql_gate::direct::{Direct, runs};
use graphql_gate::generate::{Document, Generator, Variable};
use graphql_gate::verdict::Verdict;
use graphql_gate::{MergedRoots, Plans, Stock, failures, respond};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

static SCHEMA: LazyLock<TestSchema> = LazyLock::new(schema);
static DIRECT: LazyLock<Direct<Query, Mutation>> = LazyLock::new(|| Direct::of(&SCHEMA, Query, Mutation).expect("the extension"));
/// How many answers came without async-graphql's executor.
pub static DIRECTLY: AtomicUsize = AtomicUsize::new(0);
static GENERATOR: LazyLock<Generator> = LazyLock::new(|| Generator::new(&SCHEMA.sdl(), 0).expect("a schema"));

/// The answer as text, errors in the order of their paths.
pub fn text(mut response: Response) -> String {
    response.errors.iter_mut().for_each(failures::settle);
    response.errors.sort_by_key(place);
    respond::to_string(&response)
}

fn place(error: &ServerError) -> String {
    serde_json::to_string(&(&error.path, &error.message)).expect("texts")
}

/// async-graphql's own executor executes a field that is repeated under one key as often as it is repeated, and reports its
/// failure as often: once is enough.
fn once_each(mut response: Response) -> Response {
    response.errors.iter_mut().for_each(failures::settle);
    let mut seen = HashSet::new();
    response.errors.retain(|error| seen.insert(place(error)));
    response
}

fn differ_at(one: &str, other: &str) -> String {
    let at = one.bytes().zip(other.bytes()).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
    let around = |text: &str| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(150)..text.len().min(at + 250)]).into_owned();
    format!("\ngate:  …{}…\nstock: …{}…", around(one), around(other))
}

/// Both answers.
pub async fn both(document: &Document) -> (String, String) {
    let parsed = async_graphql::parser::parse_query(&document.text).ok();
    let request = || {
        let variables = serde_json::from_str(&document.variables).expect("JSON");
        let mut request = Request::new(&document.text).variables(Variables::from_json(variables));
        if let Some(parsed) = &parsed {
            request.set_parsed_query(parsed.clone());
        }
        request
    };
    let repeats_a_key =
        |parsed: &ExecutableDocument| parsed.operations.iter().any(|(_, operation)| respond::repeats_a_root_key(parsed, &operation.node));
    let stock = once_each(SCHEMA.execute(request().data(Stock)).await);
    let gated = if parsed.as_ref().is_some_and(repeats_a_key) {
        // roots are executed by async-graphql
        text(once_each(SCHEMA.execute(request().data(MergedRoots)).await))
    } else {
        let verdict = Verdict::default();
        let gated = text(SCHEMA.execute(request().data(verdict.clone())).await);
        if let Some(parsed) = parsed.as_ref().filter(|parsed| verdict.is_known() && runs(parsed)) {
            let direct = text(DIRECT.run(parsed, request()).await);
            assert!(direct == gated, "directly: {} {}{}", document.text, document.variables, differ_at(&direct, &gated));
            DIRECTLY.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(plans) = parsed.as_ref().and_then(Plans::of).map(Arc::new) {
            // compiled by the first of them, and taken from there by the second
            for _ in 0..2 {
                let again = text(SCHEMA.execute(request().data(Arc::clone(&plans))).await);
                assert!(again == gated, "with kept plans: {} {}{}", document.text, document.variables, differ_at(&again, &gated));
            }
        }
        gated
    };
    (gated, text(stock))
}

/// Asks both; gives the answer.
pub async fn assert_same(document: &Document) -> String {
    let (gated, stock) = both(document).await;
    assert!(gated == stock, "{} {}{}", document.text, document.variables, differ_at(&gated, &stock));
    gated
}

/// A document by a byte for each choice: from the front for what is asked for, from the back for arguments.
pub fn of_bytes(bytes: &[u8], repeats: bool) -> Document {
    let mut arguments = bytes.iter().rev().copied();
    document(GENERATOR.by_bytes(bytes), repeats, move || arguments.next().map_or(0, u64::from))
}

/// A document over the test schema, with arguments by these choices; without those in which the stock executor breaks the
/// specification.
pub fn document(mut generator: Generator, repeats: bool, mut choose: impl FnMut() -> u64) -> Document {
    generator.repeats = repeats;
    // of these the stock executor does not see that they have failed, or not that they may be null
    generator.leave_out = ["odds", "maybeOdds", "memo"].map(str::to_owned).into();
    if repeats {
        // of a field that is repeated and fails in one of its places only, the stock executor shows the other places
        generator.leave_out.extend(["must", "broken"].map(str::to_owned));
    }
    let number = move |n: u64| n.to_string();
    generator.variables = vec![
        Variable { name: "$n", declared: "Int! = 1", sent: None },
        Variable { name: "$m", declared: "Int", sent: Some(number(choose() % 3)) },
        // cannot be read by a field that takes a number without a sign
        Variable { name: "$bad", declared: "Int! = -1", sent: None },
    ];
    let mut values = |_: &str, field: &str, argument: &str, _: &str| {
        let n = choose() % 16;
        match argument {
            // the stock executor fails what is around a nullable field, and a repeated field in one of its places
            "first" | "times" if n > 13 && !repeats && matches!(field, "books" | "shelf" | "weight") => {
                Some(if n == 14 { "-1" } else { "$bad" }.to_owned())
            }
            "first" if n > 11 && field == "shelf" => Some("$m".to_owned()),
            "first" if n > 9 => Some("$n".to_owned()),
            "first" | "after" | "times" => (n % 5).checked_sub(1).map(number),
            "id" if n > 13 => Some("$n".to_owned()),
            "id" => Some(number(n % 5 + n / 13 * 60)),
            "prefix" => (n % 5 > 2).then(|| "\"B\"".to_owned()),
            "name" => Some("\"x\"".to_owned()),
            _ => None,
        }
    };
    if generator.chance(16) {
        return generator.query("Mutation", &["rename"], 4, 40, &mut values);
    }
    generator.query("Query", &["author", "authors", "maybeAuthors", "nodes", "search", "stacks"], 4, 40, &mut values)
}
