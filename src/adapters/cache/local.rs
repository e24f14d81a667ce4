//! The cache of one process, bounded in bytes; every entry has a time of its own.

use super::Cache;
use async_trait::async_trait;
use bytes::Bytes;
use moka::Expiry;
use std::time::{Duration, Instant};

/// What an entry takes besides its key and value, in bytes: a guess at the bookkeeping.
const OVERHEAD: usize = 128;

/// The cache of one process.
#[derive(Debug)]
pub struct LocalCache(moka::future::Cache<String, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    value: Bytes,
    ttl: Duration,
}

/// Every entry lives as long as it was put for.
struct OwnTime;

impl Expiry<String, Entry> for OwnTime {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(&self, _: &String, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.ttl)
    }
}

impl LocalCache {
    /// An empty cache that keeps so many bytes at most.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let weight = |key: &String, entry: &Entry| u32::try_from(key.len() + entry.value.len() + OVERHEAD).unwrap_or(u32::MAX);
        Self(moka::future::Cache::builder().max_capacity(max_bytes).weigher(weight).expire_after(OwnTime).build())
    }
}

#[async_trait]
impl Cache for LocalCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        self.0.get(key).await.map(|entry| entry.value)
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) {
        self.0.insert(key.to_owned(), Entry { value, ttl }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn what_was_put_last_is_there_until_its_time_has_come() {
        let cache = LocalCache::new(1 << 20);
        cache.put("a", Bytes::from_static(b"old"), Duration::ZERO).await;
        assert_eq!(cache.get("a").await, None);
        cache.put("a", Bytes::from_static(b"new"), LONG).await;
        assert_eq!(cache.get("a").await.as_deref(), Some(&b"new"[..]));
        assert_eq!(cache.get("b").await, None);
        cache.put("a", Bytes::from_static(b"gone"), Duration::ZERO).await;
        assert_eq!(cache.get("a").await, None, "an update brings its own time");
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes() {
        let cache = LocalCache::new(64 << 10);
        for key in 0..100 {
            cache.put(&key.to_string(), vec![0; 8 << 10].into(), LONG).await;
        }
        cache.0.run_pending_tasks().await;
        assert!(cache.0.weighted_size() <= 64 << 10, "{}", cache.0.weighted_size());
        assert!(cache.0.entry_count() > 0, "something is kept all the same");
        cache.put("huge", vec![0; 65 << 10].into(), LONG).await;
        cache.0.run_pending_tasks().await;
        assert_eq!(cache.get("huge").await, None);
    }
}
