//! Pure types and rules of the product. Nothing here does I/O, knows SQL or knows GraphQL.

pub mod actor;
pub mod ids;
pub mod money;
pub mod projects;
pub mod templates;
