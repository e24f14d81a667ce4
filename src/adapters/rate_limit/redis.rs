//! Rate limits that all processes share, in Redis and by its clock. Without Redis each process limits by itself, says so
//! in a metric, and shares again when it is back.

use super::local::LocalLimiter;
use super::{Decision, Quota, RateLimiter};
use crate::adapters::redis::{Failure, Redis};
use async_trait::async_trait;
use deadpool_redis::redis::Script;
use std::sync::atomic::{AtomicBool, Ordering};

/// The same arithmetic as `Quota::take`, in one step that nothing comes between. All numbers are whole and below 2^53,
/// where Lua's are exact. A clock that has stepped back is noted even by a refusal, or it would have to be caught up.
const TAKE: &str = r"
local rate, most, cost = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000, tonumber(ARGV[3]) * 1000000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(kept[1] or 0), tonumber(kept[2] or now)
level = math.max(0, level - math.max(0, now - at) * rate)
local allowed = level + cost <= most
if allowed then level = level + cost end
if cost > 0 and (allowed or now < at) then
  redis.call('HSET', KEYS[1], 'level', string.format('%.0f', level), 'at', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], math.floor(level / rate / 1000) + 1000)
end
return {allowed and 1 or 0, level}
";

/// Rate limits that all processes share.
#[derive(Debug)]
pub struct RedisLimiter {
    redis: Redis,
    quota: Quota,
    script: Script,
    alone: LocalLimiter,
    is_shared: AtomicBool,
}

impl RedisLimiter {
    /// A limiter over Redis; all that take of one key must have the same quota.
    #[must_use]
    pub fn new(redis: Redis, quota: Quota) -> Self {
        metrics::gauge!("claimwright_rate_limit_shared").set(1.0);
        Self { redis, quota, script: Script::new(TAKE), alone: LocalLimiter::new(quota), is_shared: AtomicBool::new(true) }
    }

    async fn take_shared(&self, key: &str, cost: u32) -> Result<Decision, Failure> {
        let mut call = self.script.key(self.redis.name(&format!("limit:{key}")));
        call.arg(self.quota.per_second.get()).arg(self.quota.burst.get()).arg(cost);
        let call = &call;
        let taken = self.redis.run(|mut connection| async move { call.invoke_async::<(bool, u64)>(&mut connection).await }).await;
        taken.map(|(allowed, level)| self.quota.decision(allowed, level, cost))
    }

    fn note(&self, is_shared: bool) {
        if self.is_shared.swap(is_shared, Ordering::Relaxed) != is_shared {
            metrics::gauge!("claimwright_rate_limit_shared").set(f64::from(u8::from(is_shared)));
        }
    }
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn take(&self, key: &str, cost: u32) -> Decision {
        match self.take_shared(key, cost).await {
            Ok(decision) => {
                self.note(true);
                decision
            }
            Err(failure) => {
                self.note(false);
                metrics::counter!("claimwright_rate_limit_fallbacks_total").increment(1);
                tracing::debug!(%failure, "limited by this process alone");
                self.alone.take(key, cost).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::redis::server_for_tests::RedisServer;
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    /// A busy machine must not make a fallback of what is to be shared.
    const PATIENT: Duration = Duration::from_secs(20);

    async fn limiter(server: &RedisServer, patience: Duration, per_second: u32, burst: u32) -> Arc<RedisLimiter> {
        let quota = Quota { per_second: NonZeroU32::new(per_second).unwrap(), burst: NonZeroU32::new(burst).unwrap() };
        Arc::new(RedisLimiter::new(Redis::open_with(&server.url(), "test", patience).await.unwrap(), quota))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_share_a_burst_to_the_last_point() {
        let Some(server) = RedisServer::start().await else { return };
        // what comes back during the test is less than a point
        let limiters = [limiter(&server, PATIENT, 1, 100_000).await, limiter(&server, PATIENT, 1, 100_000).await];
        let first = limiters[0].take("a", 99_900).await;
        assert_eq!((first.allowed, first.limit, first.remaining), (true, 100_000, 100));
        let started = std::time::Instant::now();
        let takes: Vec<_> = (0..300)
            .map(|at| {
                let limiter = Arc::clone(&limiters[at % 2]);
                tokio::spawn(async move { limiter.take("a", 1).await })
            })
            .collect();
        let mut allowed = 0;
        for take in takes {
            allowed += u64::from(take.await.unwrap().allowed);
        }
        let came_back = started.elapsed().as_secs() + 1;
        assert!((100..=100 + came_back).contains(&allowed), "{allowed} were allowed");
        assert!(limiters.iter().all(|limiter| limiter.is_shared.load(Ordering::Relaxed)));
        assert_eq!(limiters[1].take("b", 0).await.remaining, 100_000, "another key is untouched");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn decisions_are_those_of_the_local_form_and_looking_leaves_no_trace() {
        let Some(server) = RedisServer::start().await else { return };
        let limiter = limiter(&server, PATIENT, 3, 300).await;
        let look = limiter.take("a", 0).await;
        assert_eq!((look.allowed, look.remaining, look.full_after), (true, 300, Duration::ZERO));
        assert_eq!(server.ask::<Vec<String>>(&["KEYS", "*"]).await, Vec::<String>::new());

        let above = limiter.take("a", 301).await;
        assert_eq!((above.allowed, above.limit, above.remaining), (false, 300, 300));
        assert!(limiter.take("a", 300).await.allowed);
        let refused = limiter.take("a", 30).await;
        assert!(!refused.allowed);
        assert!(refused.retry_after <= Duration::from_secs(10) && refused.full_after <= Duration::from_secs(100), "{refused:?}");
        assert!(refused.retry_after > Duration::from_secs(1) && refused.full_after > Duration::from_secs(50), "{refused:?}");
        let expires: i64 = server.ask(&["PTTL", "test:limit:a"]).await;
        assert!((1..=101_000).contains(&expires), "{expires}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_redis_each_process_limits_by_itself_until_it_is_back() {
        let Some(mut server) = RedisServer::start().await else { return };
        let limiter = limiter(&server, PATIENT, 1, 1_000).await;
        assert!(limiter.take("a", 900).await.allowed);
        server.kill();
        assert_eq!(limiter.take("a", 0).await.remaining, 1_000, "the process begins with a burst of its own");
        assert!(!limiter.is_shared.load(Ordering::Relaxed));
        assert!(limiter.take("a", 1_000).await.allowed);
        assert!(!limiter.take("a", 1_000).await.allowed, "and keeps to it");

        assert!(server.restart().await);
        limiter.redis.watch().wait_for(|up| *up).await.unwrap();
        while !limiter.is_shared.load(Ordering::Relaxed) {
            limiter.take("a", 0).await;
        }
        assert!(limiter.take("a", 1_000).await.allowed, "Redis came back empty");
    }
}
