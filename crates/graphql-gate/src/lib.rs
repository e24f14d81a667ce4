//! GraphQL answers at the cost of hand-written code, on an unforked [`async_graphql`].

#![doc = include_str!("../README.md")]

pub mod direct;
pub mod failures;
pub mod gate;
pub mod generate;
pub mod load;
pub mod output;
pub mod plan;
pub mod plans;
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
/// - on an enum beside `Enum`: by its words;
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
pub use plans::Plans;
