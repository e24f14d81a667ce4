//! Claimwright: a GraphQL backend that drafts UK R&D tax relief claims in bulk.
//!
//! The map, from the inside out; imports run in one direction only, and `tests/it/architecture.rs` enforces it.

pub mod adapters;
pub mod domain;
pub mod error;
pub mod identity;
pub mod render;
pub mod repositories;
pub mod services;
