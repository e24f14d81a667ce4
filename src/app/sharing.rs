//! What processes share over Redis, or what each keeps for itself without it: the cache, the limits, and the pace of calls
//! to a provider. Composition only.

use crate::adapters::cache::Cache;
use crate::adapters::cache::local::LocalCache;
use crate::adapters::cache::redis::RedisCache;
use crate::adapters::pace::local::LocalPace;
use crate::adapters::pace::redis::RedisPace;
use crate::adapters::pace::{self, Pace};
use crate::adapters::rate_limit::local::LocalLimiter;
use crate::adapters::rate_limit::redis::RedisLimiter;
use crate::adapters::rate_limit::{Quota, RateLimiter};
use crate::adapters::redis::Redis;
use crate::config::Config;
use crate::error::Result;
use crate::services::core::{Limit, Limits};
use secrecy::ExposeSecret;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Most bytes of what the process caches for itself.
const CACHE_BYTES: u64 = 16 << 20;
/// How much less an address may take than a person: many may be behind one, and none of them has signed in.
const ADDRESS_SHARE: u32 = 10;

pub(super) async fn open_redis(config: &Config) -> Result<Option<Redis>> {
    match &config.redis {
        Some(settings) => Redis::open(settings.url.expose_secret(), &settings.prefix).await.map(Some),
        None => Ok(None),
    }
}

pub(super) fn cache(redis: Option<&Redis>) -> Arc<dyn Cache> {
    match redis {
        Some(redis) => Arc::new(RedisCache::new(redis.clone(), CACHE_BYTES)),
        None => Arc::new(LocalCache::new(CACHE_BYTES)),
    }
}

pub(super) fn pace(redis: Option<&Redis>, quota: pace::Quota) -> Arc<dyn Pace> {
    match redis {
        Some(redis) => Arc::new(RedisPace::new(redis.clone(), quota)),
        None => Arc::new(LocalPace::new(quota)),
    }
}

pub(super) fn limits(config: &Config, redis: Option<&Redis>) -> Option<Limits> {
    let settings = config.rate_limit?;
    let limit = |share: u32| {
        let part = |points: u32| NonZeroU32::new(points / share).unwrap_or(NonZeroU32::MIN);
        let quota = Quota { per_second: part(settings.per_second), burst: part(settings.burst) };
        let limiter: Arc<dyn RateLimiter> = match redis {
            Some(redis) => Arc::new(RedisLimiter::new(redis.clone(), quota)),
            None => Arc::new(LocalLimiter::new(quota)),
        };
        Limit { quota, limiter }
    };
    Some(Limits { person: limit(1), address: limit(ADDRESS_SHARE) })
}
