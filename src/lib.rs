//! Claimwright: a GraphQL backend that drafts UK R&D tax relief claims in bulk.
//!
//! The map, from the outside in. Imports run in one direction only, and `tests/it/architecture.rs` enforces it.

pub mod app;
pub mod client;
pub mod config;
pub mod telemetry;

pub mod graphql;
pub mod http;
pub mod identity;
pub mod workers;

pub mod services;

pub mod adapters;
pub mod render;
pub mod repositories;

pub mod domain;
pub mod error;
pub mod trace;
