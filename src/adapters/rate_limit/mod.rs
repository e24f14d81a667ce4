//! The port to rate limits in cost points, and the arithmetic that both implementations share: GCRA in the form of a
//! leaky bucket that is a meter (ITU-T I.371 gives both forms and shows them equal), because a level in millionths of a
//! point is exact in whole numbers at any rate. It must not know what a key or a point stands for.

pub mod local;
pub mod redis;

use async_trait::async_trait;
use std::num::NonZeroU32;
use std::time::Duration;

/// Millionths of a point in a point. A rate in points a second is then one in millionths a microsecond.
const MILLIONTHS: u64 = 1_000_000;

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Points that come back in a second.
    pub per_second: NonZeroU32,
    /// Points that may be taken at once after a pause.
    pub burst: NonZeroU32,
}

/// The answer of a limiter, and where the key stands after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// True if the points were taken. If false, none was.
    pub allowed: bool,
    /// Points that may be taken at once after a pause: the burst.
    pub limit: u32,
    /// Whole points that are left now.
    pub remaining: u32,
    /// How long to wait before the same cost is allowed; zero if it was. A cost above the limit never is, and the wait
    /// is then that until the limit is full, so compare with `limit` first.
    pub retry_after: Duration,
    /// How long it takes, with nothing else taken, until the whole burst is there again.
    pub full_after: Duration,
}

/// Takes points of a key.
#[async_trait]
pub trait RateLimiter: std::fmt::Debug + Send + Sync {
    /// Takes all the points or none; a cost of 0 only looks. Never fails and waits for a shared store only briefly.
    /// Keys may end up in a shared store: give ids, never tokens.
    async fn take(&self, key: &str, cost: u32) -> Decision;
}

/// How full a bucket was, and when.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    /// Millionths of points that were taken and have not come back.
    level: u64,
    /// Microseconds of any clock.
    at: u64,
}

impl Quota {
    /// The longest that a key matters: after it, untouched, it is as if it had never been used.
    #[must_use]
    pub fn memory(self) -> Duration {
        self.time_to_leak(self.most())
    }

    /// Takes what is allowed from a bucket.
    fn take(self, meter: &mut Meter, now: u64, cost: u32) -> Decision {
        let leaked = now.saturating_sub(meter.at).saturating_mul(u64::from(self.per_second.get()));
        let level = meter.level.saturating_sub(leaked);
        let filled = level + u64::from(cost) * MILLIONTHS;
        let allowed = filled <= self.most();
        *meter = Meter { level: if allowed { filled } else { level }, at: now };
        self.decision(allowed, meter.level, cost)
    }

    /// What is told of a bucket after an attempt to take from it.
    fn decision(self, allowed: bool, level: u64, cost: u32) -> Decision {
        let full_after = self.time_to_leak(level);
        let over = (level + u64::from(cost) * MILLIONTHS).saturating_sub(self.most());
        let retry_after = if allowed { Duration::ZERO } else { self.time_to_leak(over).min(full_after) };
        let remaining = u32::try_from(self.most().saturating_sub(level) / MILLIONTHS).unwrap_or(u32::MAX);
        Decision { allowed, limit: self.burst.get(), remaining, retry_after, full_after }
    }

    /// The level of a full bucket.
    fn most(self) -> u64 {
        u64::from(self.burst.get()) * MILLIONTHS
    }

    fn time_to_leak(self, level: u64) -> Duration {
        Duration::from_micros(level.div_ceil(u64::from(self.per_second.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn quota(per_second: u32, burst: u32) -> Quota {
        Quota { per_second: NonZeroU32::new(per_second).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
    }

    #[test]
    fn points_come_back_at_the_rate_up_to_the_burst() {
        let (quota, mut meter) = (quota(10, 30), Meter::default());
        assert_eq!(quota.take(&mut meter, 0, 30).remaining, 0);
        let refused = quota.take(&mut meter, 0, 5);
        assert!(!refused.allowed);
        assert_eq!((refused.retry_after, refused.full_after), (Duration::from_millis(500), Duration::from_secs(3)));
        assert!(!quota.take(&mut meter, SECOND / 2 - 1, 5).allowed);
        assert!(quota.take(&mut meter, SECOND / 2, 5).allowed);
        assert_eq!(quota.take(&mut meter, 3600 * SECOND, 0).remaining, 30);
    }

    #[test]
    fn a_rate_that_divides_nothing_is_exact() {
        let (quota, mut meter) = (quota(7, 3), Meter::default());
        let taken = (0..60 * SECOND).step_by(1_001).filter(|now| quota.take(&mut meter, *now, 1).allowed).count();
        assert_eq!(taken, 3 + 7 * 60 - 1, "the burst, and what came back in the minute but its last seventh of a second");
    }

    #[test]
    fn looking_takes_nothing_and_what_is_refused_takes_nothing() {
        let (quota, mut meter) = (quota(1, 10), Meter::default());
        assert_eq!(quota.take(&mut meter, 0, 0).remaining, 10);
        assert!(!quota.take(&mut meter, 0, 11).allowed);
        assert_eq!(quota.take(&mut meter, 0, 10).remaining, 0);
        assert!(quota.take(&mut meter, 0, 0).allowed, "looking is always allowed");
    }

    #[test]
    fn a_cost_above_the_burst_is_refused_with_a_wait_that_ends() {
        let (quota, mut meter) = (quota(2, 10), Meter::default());
        quota.take(&mut meter, 0, 4);
        let refused = quota.take(&mut meter, 0, u32::MAX);
        assert!(!refused.allowed && refused.limit == 10);
        assert_eq!(refused.retry_after, Duration::from_secs(2));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_and_takes_nothing() {
        let (quota, mut meter) = (quota(1, 10), Meter::default());
        quota.take(&mut meter, 100 * SECOND, 4);
        assert_eq!(quota.take(&mut meter, 50 * SECOND, 0).remaining, 6);
        assert_eq!(quota.take(&mut meter, 51 * SECOND, 0).remaining, 7);
    }
}
