//! A library of books in memory: what a server does with a gate, from the types to the text of the answer.
//! `cargo run -p graphql-gate --example library`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_graphql::parser::parse_query;
use async_graphql::{Context, EmptyMutation, EmptySubscription, Object, Request, Result, Schema, SimpleObject};
use graphql_gate::{ANYTHING, Gate, MergedRoots, Output, Plan, failures, relations, respond};

#[derive(SimpleObject, Output)]
#[graphql(complex)]
struct Author {
    name: String,
    #[graphql(skip)]
    id: u32,
}

#[derive(SimpleObject, Output)]
struct Book {
    title: String,
    text: String,
}

#[relations]
impl Author {
    /// Books, for all authors of a level at once: here would be one statement for a database.
    async fn books(authors: &[&Self], _ctx: &Context<'_>, selection: &Plan, #[graphql(default = 2)] first: u32) -> Result<Vec<Vec<Book>>> {
        // what is long and not asked for is not loaded
        let with_text = selection.names().any(|name| matches!(name, "text" | ANYTHING));
        let book = |author: &Self, n| Book {
            title: format!("{}'s no. {n}", author.name),
            text: if with_text { format!("Once there were {} authors …", author.id) } else { String::new() },
        };
        Ok(authors.iter().map(|author| (1..=first).map(|n| book(author, n)).collect()).collect())
    }

    /// Awards, one author at a time; a failure is null, and an error beside the data.
    async fn award(&self) -> Option<Result<String>> {
        (self.id > 1).then(|| Err("the jury has gone home".into()))
    }
}

struct Query;

#[Object]
impl Query {
    async fn authors(&self) -> Gate<Vec<Author>> {
        Gate((1..=2).map(|id| Author { name: format!("Author {id}"), id }).collect())
    }
}

type Library = Schema<Query, EmptyMutation, EmptySubscription>;

/// The answer as a server sends it.
async fn answer(library: &Library, query: &str) -> String {
    let mut request = Request::new(query);
    // async-graphql merges root fields of one key, which it cannot do with texts; a server finds this out once for a document
    if let Ok(document) = parse_query(query) {
        if document.operations.iter().any(|(_, operation)| respond::repeats_a_root_key(&document, &operation.node)) {
            request = request.data(MergedRoots);
        }
        request.set_parsed_query(document);
    }
    let mut response = library.execute(request).await;
    response.errors.iter_mut().for_each(failures::settle);
    respond::to_string(&response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let library = Schema::build(Query, EmptyMutation, EmptySubscription).finish();
    for query in [
        "{ authors { name books(first: 1) { title text } } }",
        "{ authors { name award } authors { books { title } } }",
        "{ authors { name books(first: -1) { title } } }",
    ] {
        println!("{query}\n  {}", answer(&library, query).await);
    }
}
