//! The cache that all processes share: what this process has is looked at first, then Redis. A value that another
//! process has replaced may be read here until its time is over, so it is for what does not change under its key.

use super::Cache;
use super::local::LocalCache;
use crate::adapters::redis::{Failure, Redis};
use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::{cmd, pipe};
use std::time::Duration;

/// The cache that all processes share.
#[derive(Debug)]
pub struct RedisCache {
    redis: Redis,
    near: LocalCache,
}

impl RedisCache {
    /// A cache over Redis, with so many bytes of it at most in this process.
    #[must_use]
    pub fn new(redis: Redis, max_bytes_near: u64) -> Self {
        Self { redis, near: LocalCache::new(max_bytes_near) }
    }

    fn name(&self, key: &str) -> String {
        self.redis.name(&format!("cache:{key}"))
    }

    /// What Redis has, and how long it will.
    async fn find_shared(&self, key: &str) -> Result<Option<(Bytes, Duration)>, Failure> {
        let mut ask = pipe();
        let name = self.name(key);
        ask.cmd("GET").arg(&name).cmd("PTTL").arg(&name);
        let ask = &ask;
        let (value, ttl): (Option<Vec<u8>>, i64) =
            self.redis.run(|mut connection| async move { ask.query_async(&mut connection).await }).await?;
        // it may have gone between the two; without a time it is not ours
        Ok(value.zip(u64::try_from(ttl).ok().filter(|ttl| *ttl > 0)).map(|(value, ttl)| (value.into(), Duration::from_millis(ttl))))
    }

    async fn put_shared(&self, key: &str, value: &Bytes, ttl: Duration) -> Result<(), Failure> {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX.unsigned_abs() / 2);
        let mut put = cmd("SET");
        put.arg(self.name(key)).arg(&value[..]).arg("PX").arg(ttl);
        let put = &put;
        self.redis.run(|mut connection| async move { put.query_async(&mut connection).await }).await
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        if let Some(value) = self.near.get(key).await {
            return Some(value);
        }
        match self.find_shared(key).await {
            Ok(found) => {
                let (value, ttl) = found?;
                self.near.put(key, value.clone(), ttl).await;
                Some(value)
            }
            Err(failure) => {
                count(&failure);
                None
            }
        }
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) {
        if let Err(failure) = self.put_shared(key, &value, ttl).await {
            count(&failure);
        }
        self.near.put(key, value, ttl).await;
    }
}

/// A failure is a miss, and says so where somebody may look.
fn count(failure: &Failure) {
    metrics::counter!("claimwright_cache_failures_total").increment(1);
    tracing::debug!(%failure, "the shared cache was not reached");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::redis::server_for_tests::RedisServer;

    const LONG: Duration = Duration::from_mins(1);

    async fn cache(server: &RedisServer) -> RedisCache {
        RedisCache::new(Redis::open_with(&server.url(), "test", Duration::from_secs(20)).await.unwrap(), 1 << 20)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_one_process_puts_another_gets_for_the_time_that_is_left() {
        let Some(server) = RedisServer::start().await else { return };
        let (one, two) = (cache(&server).await, cache(&server).await);
        assert_eq!(two.get("a").await, None);
        one.put("a", Bytes::from_static(b"\0value\xff"), LONG).await;
        assert_eq!(two.get("a").await.as_deref(), Some(&b"\0value\xff"[..]));
        let ttl: i64 = server.ask(&["PTTL", "test:cache:a"]).await;
        assert!((1..=60_000).contains(&ttl), "{ttl}");

        let _: i64 = server.ask(&["DEL", "test:cache:a"]).await;
        assert!(two.get("a").await.is_some(), "it is near by now");
        assert_eq!(cache(&server).await.get("a").await, None);
        let _: () = server.ask(&["SET", "test:cache:b", "not ours"]).await;
        assert_eq!(one.get("b").await, None, "what would stay for ever is not what was put");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_redis_what_is_not_near_is_a_miss() {
        let Some(mut server) = RedisServer::start().await else { return };
        let (one, two) = (cache(&server).await, cache(&server).await);
        one.put("a", Bytes::from_static(b"1"), LONG).await;
        server.kill();
        assert_eq!(two.get("a").await, None);
        assert!(one.get("a").await.is_some());
        two.put("b", Bytes::from_static(b"2"), LONG).await;
        assert!(two.get("b").await.is_some(), "the process goes on by itself");

        assert!(server.restart().await);
        two.redis.watch().wait_for(|up| *up).await.unwrap();
        assert_eq!(two.get("a").await, None, "Redis came back empty");
        two.put("a", Bytes::from_static(b"3"), LONG).await;
        assert_eq!(cache(&server).await.get("a").await.as_deref(), Some(&b"3"[..]));
    }
}
