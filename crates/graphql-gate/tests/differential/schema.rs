//! A schema with everything that a gate knows. Data is made from numbers, so both executors see the same.

use async_graphql::{Context, Enum, Error, ID, Interface, Object, Result, Schema, SimpleObject, Subscription, Union};
use futures_util::{Stream, stream};
use graphql_gate::verdict::Verdicts;
use graphql_gate::{ANYTHING, Gate, Output, Plan, relations};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// Loads of relations so far.
    pub static LOADS: Cell<usize> = const { Cell::new(0) };
}

fn loaded() {
    LOADS.with(|loads| loads.set(loads.get() + 1));
}

#[derive(Clone, Copy, PartialEq, Eq, Enum, Output)]
pub enum Kind {
    Fiction,
    #[graphql(name = "NON_FICTION")]
    NonFiction,
}

#[derive(Clone, SimpleObject, Output)]
pub struct Address {
    city: String,
    country: Option<String>,
}

#[derive(Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct Author {
    id: ID,
    name: String,
    kind: Kind,
    rating: Option<f64>,
    tags: Vec<Vec<Option<i32>>>,
    score2: i64,
    address: Address,
    maybe_address: Option<Address>,
    #[graphql(skip)]
    number: u32,
}

impl Author {
    fn new(number: u32) -> Self {
        Self {
            id: ID(format!("a{number}")),
            name: format!("Author \"{number}\"\n\u{1}é"),
            kind: if number.is_multiple_of(2) { Kind::NonFiction } else { Kind::Fiction },
            rating: (!number.is_multiple_of(3)).then(|| f64::from(number) / 3.0),
            tags: vec![vec![Some(1), None], vec![]],
            score2: i64::from(number) * 10_000_000_000,
            address: Address { city: "Leeds".into(), country: None },
            maybe_address: number.is_multiple_of(2).then(|| Address { city: "York".into(), country: Some("UK".into()) }),
            number,
        }
    }
}

#[derive(Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct Book {
    id: ID,
    title: String,
    pages: i32,
    #[graphql(skip)]
    author_number: u32,
}

impl Book {
    fn of(author: u32, n: u32) -> Self {
        Self { id: ID(format!("b{author}-{n}")), title: format!("Book {n} of {author}"), pages: 100, author_number: author }
    }
}

#[derive(Clone, SimpleObject, Output)]
pub struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[derive(Clone, SimpleObject, Output)]
pub struct BookEdge {
    cursor: String,
    node: Book,
}

#[derive(Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct BookConnection {
    edges: Vec<BookEdge>,
    nodes: Vec<Book>,
    page_info: PageInfo,
    #[graphql(skip)]
    total: i32,
}

#[relations]
impl BookConnection {
    /// For one row, and not async.
    fn total_count(&self) -> i32 {
        self.total
    }
}

#[relations]
impl Author {
    /// For all rows, with an argument and a selection.
    async fn books(authors: &[&Self], _ctx: &Context<'_>, selection: &Plan, #[graphql(default = 2)] first: u32) -> Result<Vec<Vec<Book>>> {
        loaded();
        // what is not asked for need not be loaded
        let pages = if selection.names().any(|name| matches!(name, "pages" | ANYTHING)) { 100 } else { -1 };
        let book = |author: &Self, n| Book { pages, ..Book::of(author.number, n) };
        Ok(authors.iter().map(|author| (0..first).map(|n| book(author, n)).collect()).collect())
    }

    async fn shelf(
        authors: &[&Self],
        _ctx: &Context<'_>,
        first: Option<u32>,
        #[graphql(default_with = "String::from(\"C\")")] prefix: String,
    ) -> Result<Vec<BookConnection>> {
        loaded();
        let of = |author: &&Self| {
            let books: Vec<Book> =
                (0..first.unwrap_or(3)).map(|n| Book { title: format!("{prefix}{n}"), ..Book::of(author.number, n) }).collect();
            BookConnection {
                edges: books.iter().map(|node| BookEdge { cursor: node.id.to_string(), node: node.clone() }).collect(),
                page_info: PageInfo { has_next_page: false, end_cursor: books.last().map(|book| book.id.to_string()) },
                total: i32::try_from(books.len()).unwrap_or(0),
                nodes: books,
            }
        };
        Ok(authors.iter().map(of).collect())
    }

    /// For one row; fails for some, and may.
    async fn best(&self) -> Option<Result<Book>> {
        match self.number % 3 {
            0 => None,
            1 => Some(Err(Error::new("no best"))),
            _ => Some(Ok(Book::of(self.number, 0))),
        }
    }

    /// Fails for some, and may not.
    async fn must(&self, _ctx: &Context<'_>) -> Result<i32> {
        if self.number % 3 == 1 { Err(Error::new("it must")) } else { Ok(1) }
    }

    async fn friends(&self) -> Vec<Author> {
        (self.number + 1..self.number + 3).map(Author::new).collect()
    }

    async fn maybe_friend(authors: &[&Self], _ctx: &Context<'_>, #[graphql(default = 3)] after: u32) -> Result<Vec<Option<Author>>> {
        Ok(authors.iter().map(|author| (author.number < 5).then(|| Author::new(author.number + after))).collect())
    }

    /// Not finite for most, which the specification makes a failure.
    fn odds(&self) -> f64 {
        1.0 / f64::from(self.number % 2)
    }

    /// The same where it may be null, as 32 bits.
    fn maybe_odds(&self) -> Vec<Option<f32>> {
        vec![Some(if self.number > 0 { f32::NAN } else { 0.5 }), Some(1.1), None, Some(f32::MIN_POSITIVE), Some(-0.0), Some(1e21)]
    }

    /// Fails for some, and is null for the others.
    async fn memo(&self) -> Result<Option<String>> {
        if self.number % 3 == 1 { Err(Error::new("no memo")) } else { Ok(None) }
    }

    /// Fails for all rows at once, and may not.
    async fn broken(authors: &[&Self], _ctx: &Context<'_>) -> Result<Vec<Vec<Book>>> {
        Err(Error::new(if authors.is_empty() { "nobody" } else { "the shelf is broken" }))
    }

    /// Fails for all rows at once, and may.
    async fn broken_maybe(_authors: &[&Self], _ctx: &Context<'_>) -> Result<Vec<Option<Vec<Book>>>> {
        Err(Error::new("the shelf is broken"))
    }

    /// An interface behind a relation, in lists that may be null.
    async fn near(authors: &[&Self], _ctx: &Context<'_>) -> Result<Vec<Option<Vec<Option<Node>>>>> {
        loaded();
        let near = |author: &&Self| {
            let n = author.number;
            let nodes = vec![Some(Node::Book(Book::of(n, 1))), None, Some(Node::Author(Box::new(Author::new(n + 1))))];
            (n % 4 < 3).then_some(nodes)
        };
        Ok(authors.iter().map(near).collect())
    }

    /// A relation that an interface has.
    async fn weight(authors: &[&Self], _ctx: &Context<'_>, #[graphql(default = 1)] times: u32) -> Result<Vec<u32>> {
        loaded();
        Ok(authors.iter().map(|author| author.number * times).collect())
    }

    async fn found(&self) -> Vec<Found> {
        vec![Found::Book(Book::of(self.number, 7)), Found::Author(Author::new(self.number + 1))]
    }

    #[graphql(skip)]
    pub fn is_not_a_field(&self) -> bool {
        self.number > 0
    }
}

#[relations]
impl Book {
    async fn author(books: &[&Self], _ctx: &Context<'_>) -> Result<Vec<Author>> {
        loaded();
        Ok(books.iter().map(|book| Author::new(book.author_number)).collect())
    }

    async fn weight(&self, #[graphql(default = 1)] times: u32) -> Result<u32> {
        Ok((7 + self.author_number) * times)
    }
}

#[derive(Interface, Output)]
#[graphql(field(name = "id", ty = "&ID"), field(name = "weight", ty = "u32", arg(name = "times", ty = "u32", default = 1)))]
pub enum Node {
    Author(Box<Author>),
    Book(Book),
}

#[derive(Union, Output)]
pub enum Found {
    Author(Author),
    Book(Book),
}

/// Objects with relations inside of one that has none.
#[derive(SimpleObject, Output)]
pub struct Stack {
    authors: Vec<Author>,
    top: Option<Arc<Author>>,
    under: Option<Box<Stack>>,
    is_high: bool,
}

impl Stack {
    fn new(high: u32) -> Self {
        Self {
            authors: (0..high).map(Author::new).collect(),
            top: high.checked_sub(1).map(|n| Arc::new(Author::new(n))),
            under: high.checked_sub(1).map(|high| Box::new(Self::new(high))),
            is_high: high > 2,
        }
    }
}

#[derive(SimpleObject, Output)]
pub struct Renamed {
    author: Option<Author>,
    problems: Vec<String>,
}

#[derive(SimpleObject, Output)]
pub struct Ticked {
    n: i32,
    author: Author,
}

#[derive(SimpleObject, Output)]
pub struct Ended {
    why: &'static str,
}

#[derive(Union, Output)]
pub enum Tick {
    Ticked(Ticked),
    Ended(Ended),
}

pub struct Query;

#[Object]
impl Query {
    async fn author(&self, id: u32) -> Gate<Option<Author>> {
        Gate(Some(Author::new(id)).filter(|author| id < 50 && (id == 0 || author.is_not_a_field())))
    }

    async fn authors(&self, #[graphql(default = 2)] first: u32) -> Result<Gate<Vec<Author>>> {
        Ok(Gate((0..first).map(Author::new).collect()))
    }

    async fn maybe_authors(&self) -> Gate<Vec<Option<Author>>> {
        Gate(vec![Some(Author::new(0)), Some(Author::new(1)), None, Some(Author::new(4))])
    }

    async fn nodes(&self) -> Gate<Vec<Option<Node>>> {
        Gate(vec![
            Some(Node::Author(Box::new(Author::new(1)))),
            None,
            Some(Node::Book(Book::of(2, 3))),
            Some(Node::Author(Box::new(Author::new(2)))),
        ])
    }

    async fn stacks(&self) -> Gate<Vec<Stack>> {
        Gate((0..3).map(Stack::new).collect())
    }

    async fn search(&self) -> Option<Result<Gate<Vec<Found>>>> {
        Some(Ok(Gate(vec![Found::Book(Book::of(1, 1)), Found::Author(Author::new(3))])))
    }
}

pub struct Mutation;

#[Object]
impl Mutation {
    async fn rename(&self, id: u32, name: String) -> Gate<Renamed> {
        let author = (id < 50).then(|| Author { name, ..Author::new(id) });
        let problems = if author.is_none() { vec!["nobody".into()] } else { vec![] };
        Gate(Renamed { author, problems })
    }
}

pub struct Subscriptions;

#[Subscription]
impl Subscriptions {
    async fn ticks(&self) -> impl Stream<Item = Gate<Tick>> + use<> {
        let tick = |n| Tick::Ticked(Ticked { n, author: Author::new(u32::try_from(n).unwrap_or(0)) });
        stream::iter([tick(1), tick(2), Tick::Ended(Ended { why: "done" })].map(Gate))
    }
}

pub type TestSchema = Schema<Query, Mutation, Subscriptions>;

pub fn schema() -> TestSchema {
    Schema::build(Query, Mutation, Subscriptions).extension(Marks).extension(Verdicts).finish()
}

/// Paths of failures in async-graphql's own executor, as a server marks them.
struct Marks;

impl async_graphql::extensions::ExtensionFactory for Marks {
    fn create(&self) -> std::sync::Arc<dyn async_graphql::extensions::Extension> {
        std::sync::Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl async_graphql::extensions::Extension for Marks {
    async fn resolve(
        &self,
        ctx: &async_graphql::extensions::ExtensionContext<'_>,
        info: async_graphql::extensions::ResolveInfo<'_>,
        next: async_graphql::extensions::NextResolve<'_>,
    ) -> async_graphql::ServerResult<Option<async_graphql::Value>> {
        let node = info.path_node;
        next.run(ctx, info).await.map_err(|error| graphql_gate::failures::marked(error, || graphql_gate::failures::path_of(node)))
    }
}
