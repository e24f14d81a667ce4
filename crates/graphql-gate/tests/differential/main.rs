//! A gate answers what async-graphql's own executor answers, to the byte. A test schema with everything that a gate knows;
//! documents by hand and by the thousand.

#![expect(clippy::expect_used, reason = "a test fails where it stands")]

mod compare;
mod deviations;
mod schema;

use async_graphql::Request;
use compare::{assert_same, document, text};
use graphql_gate::Stock;
use graphql_gate::generate::{Document, Generator};
use schema::schema;

async fn same(query: &str) -> String {
    assert_same(&Document::of(query)).await
}

#[tokio::test]
async fn plain_fields_lists_nulls_words_and_escapes() {
    let answer = same("{ author(id: 1) { id name __typename kind rating tags score2 t: __typename } none: author(id: 99) { name } }").await;
    assert!(answer.contains("\"none\":null") && answer.contains("\"kind\":\"FICTION\""), "{answer}");
    same("{ authors(first: 5) { n: name n2: name rating tags kind address { city country } maybeAddress { city } } }").await;
}

#[tokio::test]
async fn relations_with_arguments_under_several_keys() {
    same("{ authors(first: 3) { books { title } two: books(first: 2) { title } one: books(first: 1) { pages } none: books(first: 0) { title } } }").await;
    same("query($n: Int! = 2) { authors(first: 2) { books(first: $n) { title author { name books(first: 1) { title } } } } }").await;
    same("{ authors(first: 2) { shelf(first: 2, prefix: \"A\\\"x\") { edges { cursor node { title } } nodes { title } pageInfo { hasNextPage endCursor } totalCount } } }").await;
}

#[tokio::test]
async fn rows_that_occur_more_than_once_in_a_level() {
    let answer = same("{ authors(first: 2) { books { author { name shelf { totalCount nodes { title } } best { title } } } } }").await;
    assert_eq!(answer.matches("\"totalCount\":3").count(), 4, "{answer}");
}

#[tokio::test]
async fn fragments_merging_and_directives() {
    same("{ author(id: 1) { ...A ...A ... { name } ... on Author @skip(if: true) { rating } } } fragment A on Author { name ...B books(first: 1) { title } } fragment B on Author { id books(first: 1) { pages title } }").await;
    same("{ author(id: 1) { books(first: 2) { title } ... on Author { books(first: 2) { author { id } } } books(first: 2) { author { name } } } }").await;
    same("{ author(id: 1) { name } author(id: 1) { id books(first: 1) { title } } ...R } fragment R on Query { author(id: 1) { books(first: 1) { pages } } }").await;
}

#[tokio::test]
async fn interfaces_and_unions() {
    same("{ nodes { __typename id ... on Author { name books(first: 1) { title } } ... on Book { title author { name } } ...N } } fragment N on Node { id ... on Book { pages } }").await;
    same("{ search { __typename ... on Author { friends { name } } ... on Book { title } } author(id: 2) { found { ... on Node { id } ... on Author { name books(first: 1) { author { id } } } } } }").await;
}

#[tokio::test]
async fn failures_are_null_where_they_may_be_and_go_up_where_not() {
    let answer = same("{ authors(first: 4) { id best { title } } }").await;
    assert!(answer.contains("\"best\":null") && answer.contains("no best"), "{answer}");
    let answer = same("{ authors(first: 4) { id must } }").await;
    assert!(answer.starts_with("{\"data\":null"), "{answer}");
    let answer = same("{ maybeAuthors { id must } ok: author(id: 3) { name } }").await;
    assert!(answer.contains("\"path\":[\"maybeAuthors\",1,\"must\"]"), "{answer}");
    same("{ author(id: 1) { maybeFriend { name must } friends { name } } }").await;
    same("{ author(id: 1) { maybeFriend { best { title } must second: must best2: best { pages } } } }").await;
    same("{ author(id: 2) { broken { title } name } }").await;
    same("{ author(id: 2) { brokenMaybe { title } name } }").await;
}

#[tokio::test]
async fn an_argument_that_cannot_be_read_fails_its_field_only() {
    let answer = same("{ maybeAuthors { id books(first: -1) { title } } ok: author(id: 3) { name } }").await;
    assert!(answer.contains("\"maybeAuthors\":[null,null,null,null],\"ok\":{"), "{answer}");
    assert!(answer.contains("\"locations\":[{\"line\":1,\"column\":34}],\"path\":[\"maybeAuthors\",1,\"books\"]"), "{answer}");
    same("query($n: Int = -1) { author(id: 2) { name maybeFriend { id books(first: $n) { title author { name } } } } }").await;
    same("{ author(id: 2) { name maybeFriend { name friends { id shelf(first: -1) { totalCount } } } } }").await;
    same("{ nodes { id ... on Author { books(first: -1) { pages } } } }").await;
    same(
        "{ authors(first: 0) { books(first: -1) { title } } author(id: 2) { books(first: 0) { author { books(first: -1) { title } } } } }",
    )
    .await;
}

#[tokio::test]
async fn mutations_and_subscriptions() {
    use futures_util::StreamExt;
    same("mutation { a: rename(id: 1, name: \"x\") { author { name books(first: 1) { title } } problems } b: rename(id: 99, name: \"y\") { author { name } problems } }").await;
    let query = "subscription { ticks { __typename ... on Ticked { n author { name books(first: 2) { title } } } ... on Ended { why } } }";
    let stock: Vec<_> = schema().execute_stream(Request::new(query).data(Stock)).map(text).collect().await;
    let gated: Vec<_> = schema().execute_stream(query).map(text).collect().await;
    assert_eq!((&gated, gated.len()), (&stock, 3));
}

#[tokio::test]
async fn a_level_is_loaded_at_once_however_many_rows_it_has() {
    let loads = |query: &'static str| async move {
        schema::LOADS.with(|loads| loads.set(0));
        let response = schema().execute(query).await;
        assert!(response.errors.is_empty(), "{:?}", response.errors);
        schema::LOADS.with(std::cell::Cell::get)
    };
    assert_eq!(loads("{ authors(first: 1) { books(first: 3) { author { books(first: 2) { title } } } } }").await, 3);
    assert_eq!(loads("{ authors(first: 9) { books(first: 3) { author { books(first: 2) { title } } } } }").await, 3);
    assert_eq!(
        loads("{ authors(first: 9) { shelf(first: 3) { edges { node { author { name } } } nodes { author { name } } } } }").await,
        3
    );
}

#[tokio::test]
async fn thousands_of_documents_are_answered_alike() {
    let sdl = schema().sdl();
    let (mut with_data, mut with_errors, mut refused) = (0, 0, 0);
    let count = 2_000_u64;
    for seed in 0..count {
        let mut at = seed;
        let arguments = move || {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            at >> 33
        };
        let mut generator = Generator::new(&sdl, seed).expect("a schema");
        generator.directives = seed % 3 != 0;
        let document = document(generator, seed % 2 == 1, arguments);
        let gated = assert_same(&document).await;
        with_data += usize::from(!gated.starts_with("{\"data\":null"));
        with_errors += usize::from(gated.contains("\"path\""));
        refused += usize::from(gated.contains("\"locations\"") && !gated.contains("\"path\""));
    }
    // async-graphql takes skipped fields out before it looks for variables that nobody uses
    assert!(refused * 4 < usize::try_from(count).expect("small"), "{refused} of {count} were refused");
    let directly = compare::DIRECTLY.load(std::sync::atomic::Ordering::Relaxed);
    assert!(directly > 300, "{directly} of {count} ran without async-graphql's executor");
    assert!(with_data > 1_000 && with_errors > 300, "{with_data} with data and {with_errors} with errors of {count}");
}

/// What the fuzzer begins at.
#[tokio::test]
async fn the_corpus_of_the_fuzzer_is_answered_alike() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/documents");
    let (mut count, mut with_data) = (0, 0);
    for entry in std::fs::read_dir(corpus).expect("a corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        let (mode, bytes) = bytes.split_first().expect("a mode");
        let gated = assert_same(&compare::of_bytes(bytes, mode % 2 == 1)).await;
        count += 1;
        with_data += usize::from(gated.starts_with("{\"data\":{"));
    }
    assert!(count > 5 && with_data > 3, "{with_data} with data of {count}");
}

/// What the fuzzer of texts begins at.
#[test]
fn the_corpus_of_texts_is_written_as_serde_writes_it() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/strings");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("a corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let expected = format!("{{\"data\":{}}}", serde_json::to_string(&text).expect("a text"));
        assert_eq!(graphql_gate::respond::to_string(&async_graphql::Response::new(async_graphql::Value::String(text))), expected);
        count += 1;
    }
    assert!(count > 0);
}
