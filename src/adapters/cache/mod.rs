//! The port to caches: bytes by key for some time. What is in them can be had again, so a failure is a miss; whoever
//! uses one must be right without it.

pub mod local;
pub mod redis;

use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// A cache. Keys are the caller's to make unique: begin them with what they are of, such as `document:`.
#[async_trait]
pub trait Cache: std::fmt::Debug + Send + Sync {
    /// What is kept for a key; `None` if nothing is, or if it cannot be told at the moment.
    async fn get(&self, key: &str) -> Option<Bytes>;

    /// Keeps a value for some time, in place of what was there; it may be forgotten before.
    async fn put(&self, key: &str, value: Bytes, ttl: Duration);
}
