//! GraphQL answers at the cost of hand-written code, on an unforked [`async_graphql`].
//!
//! Its executor pays a boxed future, a context and a map entry for every field. A *gate* pays them once for a whole tree:
//!
//! 1. the selection set below a field is compiled to a [`Plan`]: fragments, aliases, type conditions and arguments are
//!    dealt with once, not for every row ([`plan`]);
//! 2. relations are loaded level by level, for all objects of a level at once, whatever lies between them: lists,
//!    connections, interfaces ([`load`]);
//! 3. everything is written as JSON text, with nulls and errors as the specification says ([`write`]);
//! 4. async-graphql carries the text through its executor ([`gate`]), and [`respond`] copies it into the response.
//!
//! Parsing, validation, introspection, the SDL, arguments, root fields and subscriptions stay async-graphql's. A type needs
//! a second derive beside async-graphql's own, which reads the same attributes, so that names cannot drift:
//!
//! ```
//! use async_graphql::{Context, EmptyMutation, EmptySubscription, Object, Result, Schema, SimpleObject};
//! use graphql_gate::{Gate, Output, relations};
//!
//! #[derive(SimpleObject, Output)]
//! #[graphql(complex)]
//! struct Author {
//!     name: String,
//!     #[graphql(skip)]
//!     id: u32,
//! }
//!
//! #[derive(SimpleObject, Output)]
//! struct Book {
//!     title: String,
//! }
//!
//! #[relations]
//! impl Author {
//!     /// Books of this author: one look at the shelf for all authors of a level.
//!     async fn books(authors: &[&Self], _ctx: &Context<'_>, #[graphql(default = 2)] first: u32) -> Result<Vec<Vec<Book>>> {
//!         let of = |author: &&Self| (0..first).map(|n| Book { title: format!("{}'s no. {}", author.name, author.id + n) }).collect();
//!         Ok(authors.iter().map(of).collect())
//!     }
//! }
//!
//! struct Query;
//!
//! #[Object]
//! impl Query {
//!     async fn authors(&self) -> Gate<Vec<Author>> {
//!         Gate((1..=2).map(|id| Author { name: format!("Author {id}"), id }).collect())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let schema = Schema::build(Query, EmptyMutation, EmptySubscription).finish();
//! let response = schema.execute("{ authors { name books(first: 1) { title } } }").await;
//! assert_eq!(
//!     graphql_gate::respond::to_string(&response),
//!     r#"{"data":{"authors":[{"name":"Author 1","books":[{"title":"Author 1's no. 1"}]},{"name":"Author 2","books":[{"title":"Author 2's no. 2"}]}]}}"#
//! );
//! # }
//! ```
//!
//! What a gate does not do: field guards, custom directives, `visible` by request and extensions do not run inside it, so
//! authorise where the data comes from. It relies on a few hidden parts of async-graphql and is pinned to one version.

pub mod failures;
pub mod gate;
pub mod generate;
pub mod load;
pub mod output;
pub mod plan;
pub mod respond;
pub mod verdict;
pub mod write;

#[doc(hidden)]
pub mod hidden;

pub use gate::{Gate, MergedRoots, Stock};
/// Implements [`trait@Output`] for an object, an interface, a union, an enum or a scalar, by async-graphql's attributes.
///
/// - on a struct beside `SimpleObject`: every field that the schema has; with `#[graphql(complex)]` also the methods
///   under [`macro@relations`];
/// - on an enum beside `Interface` or `Union`: by the variant;
/// - on an enum beside `Enum`: `#[gate(word)]`;
/// - on a type that is a `ScalarType`: `#[gate(scalar)]`.
pub use graphql_gate_derive::Output;
/// Declares the fields of an object that are not in its struct, as async-graphql's `ComplexObject` does, for the schema and
/// for the gate. A method begins either with `&self`, for one object, or with `rows: &[&Self]`, for all objects of a level:
/// then it gives a `Result<Vec<T>>` with one `T` for each row, in their order. Next comes `ctx: &Context<'_>`, which is that of
/// the root field; then, if wished, `selection: &Plan`, what is asked of `T`; then the arguments of the field.
pub use graphql_gate_derive::relations;
/// Above async-graphql's `Object`, for a root: every answer goes through a [`Gate`], as if its method gave one.
pub use graphql_gate_derive::roots;
pub use output::Output;
pub use plan::{ANYTHING, Plan, selection};
