//! Ports to the world with their implementations side by side: each folder's `mod.rs` is the trait. They do not import
//! each other and decide nothing.

pub mod ai;
pub mod cache;
pub mod events;
pub mod pace;
pub mod rate_limit;
pub mod redis;
pub mod storage;
