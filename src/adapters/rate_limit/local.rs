//! Rate limits of one process. Its own meter rather than governor's: governor's keyed limiter can neither look without
//! taking nor say how long a refused cost has to wait, keeps every key until it is swept by hand, and takes no clock of
//! tokio's, so that a test could not let time pass.

use super::{Decision, Meter, Quota, RateLimiter};
use async_trait::async_trait;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Keys that are remembered at most: some 20 MB. Beyond it, the key that was used longest ago begins anew.
const MOST_KEYS: u64 = 100_000;
/// Longer than a key matters, because the cache's clock is not the one that is measured with.
const SLACK: Duration = Duration::from_secs(1);

/// Rate limits of one process.
#[derive(Debug)]
pub struct LocalLimiter {
    quota: Quota,
    started: Instant,
    meters: Cache<String, Arc<Mutex<Meter>>>,
}

impl LocalLimiter {
    /// A limiter whose keys are all untouched.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::with_keys(quota, MOST_KEYS)
    }

    fn with_keys(quota: Quota, most_keys: u64) -> Self {
        // least recently used: who comes first must not keep the others out, each of whose requests would begin anew
        let meters = Cache::builder()
            .max_capacity(most_keys)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(quota.memory().saturating_add(SLACK))
            .build();
        Self { quota, started: Instant::now(), meters }
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn take(&self, key: &str, cost: u32) -> Decision {
        let meter = self.meters.get_with_by_ref(key, async { Arc::default() }).await;
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        // inside the lock, so that time never steps back for a key
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.quota.take(&mut meter, now, cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn quota(per_second: u32, burst: u32) -> Quota {
        Quota { per_second: NonZeroU32::new(per_second).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_have_points_of_their_own_that_come_back_with_time() {
        let limiter = LocalLimiter::new(quota(2, 4));
        assert!(limiter.take("a", 4).await.allowed);
        let refused = limiter.take("a", 1).await;
        assert!(!refused.allowed);
        assert!(limiter.take("b", 4).await.allowed);
        tokio::time::advance(refused.retry_after).await;
        assert!(limiter.take("a", 1).await.allowed);
        assert!(!limiter.take("a", 1).await.allowed);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_at_the_same_time_never_gets_more_than_the_burst() {
        let limiter = Arc::new(LocalLimiter::new(quota(1, 50)));
        let takes: Vec<_> = (0..200)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move { limiter.take("a", 1).await.allowed })
            })
            .collect();
        let mut allowed = 0;
        for take in takes {
            allowed += usize::from(take.await.unwrap());
        }
        assert_eq!(allowed, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_without_end_are_not_kept_without_bound() {
        let limiter = LocalLimiter::with_keys(quota(1, 5), 100);
        for key in 0..1_000 {
            limiter.take(&key.to_string(), 1).await;
        }
        limiter.meters.run_pending_tasks().await;
        assert!(limiter.meters.entry_count() <= 100, "{}", limiter.meters.entry_count());
        assert_eq!(limiter.take("999", 0).await.remaining, 4, "the newest key is remembered");
    }
}
