//! Claimwright: a GraphQL backend that drafts UK R&D tax relief claims in bulk.
//!
//! The map, from the outside in; imports run in this direction only, and `tests/it/architecture.rs` enforces it.

pub mod domain;
pub mod error;
