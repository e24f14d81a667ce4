//! Pace over all processes that share a Redis, by its clock: the places of the last minute stand there, and a lease for
//! each call that is open. See the port for the rule, and `redis/*.lua` for the steps, each of which nothing comes between.
//!
//! Every process also keeps books of its own. Without Redis each goes on by itself with its part of the quota, as many as
//! have asked lately, says so in a metric, and tells Redis what it has taken for a minute once it is back: a Redis that came
//! back empty must not be filled twice.

mod leases;

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;

use super::local::{LocalPace, SHORTEST_WAIT, SLACK};
use super::{Pace, Place, Quota, Shared, Ticket, WINDOW};
use crate::adapters::redis::{Failure, Redis};
use async_trait::async_trait;
use deadpool_redis::redis::Script;
use leases::{LEASE, Leases};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Pause before it is asked again whether fewer calls are open: nobody knows when one will end.
const BUSY: Duration = Duration::from_millis(20);

/// Pace over all processes that share a Redis; all must have the same quota.
#[derive(Debug)]
pub struct RedisPace {
    redis: Redis,
    quota: Quota,
    window: Duration,
    process: Uuid,
    take: Script,
    settle: Script,
    pause: Script,
    /// What this process has taken itself.
    own: LocalPace,
    leases: Leases,
    /// How many processes have asked within the window.
    sharers: AtomicU32,
    is_shared: AtomicBool,
    alone_until: Mutex<Option<Instant>>,
}

/// Whether a place is asked for or told of.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Asks,
    Tells,
}

impl RedisPace {
    /// A pace that keeps this quota for each provider, over all that have the same Redis and prefix.
    #[must_use]
    pub fn new(redis: Redis, quota: Quota) -> Self {
        Self::with_window(redis, quota, WINDOW)
    }

    fn with_window(redis: Redis, quota: Quota, window: Duration) -> Self {
        metrics::gauge!("claimwright_pace_shared").set(1.0);
        let process = Uuid::new_v4();
        Self {
            leases: Leases::new(redis.clone(), process),
            redis,
            quota,
            window,
            process,
            take: Script::new(include_str!("redis/take.lua")),
            settle: Script::new(include_str!("redis/settle.lua")),
            pause: Script::new(include_str!("redis/pause.lua")),
            own: LocalPace::with_window(quota, window),
            sharers: AtomicU32::new(1),
            is_shared: AtomicBool::new(true),
            alone_until: Mutex::default(),
        }
    }

    /// A key of a provider; the braces keep all of one provider's in the same place of a cluster.
    fn key(&self, provider: &str, rest: &str) -> String {
        self.redis.name(&format!("pace:{{{provider}}}:{rest}"))
    }

    /// Takes a place in Redis, or tells it of one that was taken without it; gives the number or the wait.
    async fn take_shared(&self, provider: &str, tokens: u32, lease: u64, manner: Manner) -> Result<Result<u64, Duration>, Failure> {
        let mut call = self.take.key(self.key(provider, "minute"));
        call.key(self.key(provider, "who")).key(leases::key(&self.redis, provider));
        call.arg(most(self.quota.requests)).arg(most(self.quota.tokens)).arg(most(self.quota.concurrency)).arg(micros(self.window));
        call.arg(micros(self.window / SLACK)).arg(micros(LEASE)).arg(micros(BUSY)).arg(self.process.to_string());
        call.arg(leases::name(self.process, lease)).arg(tokens).arg(u8::from(manner == Manner::Tells));
        let call = &call;
        let answer = self.redis.run(|mut connection| async move { call.invoke_async::<(bool, u64, u32)>(&mut connection).await });
        let (is_taken, number, sharers) = answer.await?;
        self.sharers.store(sharers.max(1), Ordering::Relaxed);
        if is_taken && self.quota.concurrency.is_some() {
            self.leases.hold(provider, lease);
        }
        Ok(if is_taken { Ok(number) } else { Err(Duration::from_micros(number).max(SHORTEST_WAIT)) })
    }

    /// Takes a place within the part of the quota that is this process's, and tells Redis if it listens.
    async fn take_alone(&self, provider: &str, tokens: u32, lease: u64) -> Place {
        let quota = self.quota.share(self.sharers.load(Ordering::Relaxed));
        if quota.concurrency.is_some_and(|most| self.leases.open(provider) >= most.get() as usize) {
            return Place::Wait(BUSY);
        }
        let number = match self.own.take_within(quota, provider, tokens) {
            Ok(number) => number,
            Err(wait) => return Place::Wait(wait),
        };
        if quota.concurrency.is_some() {
            self.leases.hold(provider, lease);
        }
        let told = self.take_shared(provider, tokens, lease, Manner::Tells).await;
        let told = told.inspect_err(|failure| self.note_alone(failure)).ok().and_then(Result::ok);
        Place::Taken(Ticket { provider: provider.to_owned(), number, tokens, shared: Some(Shared { number: told, lease }) })
    }

    fn is_alone(&self) -> bool {
        let until = *self.alone_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Redis did not answer: for a window from now on this process keeps to its part.
    fn note_alone(&self, failure: &Failure) {
        metrics::counter!("claimwright_pace_fallbacks_total").increment(1);
        tracing::debug!(%failure, "paced by this process alone");
        *self.alone_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + self.window);
        self.note_shared(false);
    }

    fn note_shared(&self, is_shared: bool) {
        if self.is_shared.swap(is_shared, Ordering::Relaxed) != is_shared {
            metrics::gauge!("claimwright_pace_shared").set(f64::from(u8::from(is_shared)));
        }
    }
}

#[async_trait]
impl Pace for RedisPace {
    async fn take(&self, provider: &str, tokens: u32) -> Place {
        let lease = self.leases.next();
        if self.is_alone() {
            return self.take_alone(provider, tokens, lease).await;
        }
        match self.take_shared(provider, tokens, lease, Manner::Asks).await {
            Ok(answer) => {
                self.note_shared(true);
                match answer {
                    Err(wait) => Place::Wait(wait),
                    Ok(shared) => {
                        let number = self.own.note(provider, tokens);
                        let shared = Some(Shared { number: Some(shared), lease });
                        Place::Taken(Ticket { provider: provider.to_owned(), number, tokens, shared })
                    }
                }
            }
            Err(failure) => {
                self.note_alone(&failure);
                self.take_alone(provider, tokens, lease).await
            }
        }
    }

    async fn settle(&self, ticket: &Ticket, tokens: u32) {
        self.own.settle(ticket, tokens).await;
        let Some(number) = ticket.shared.and_then(|shared| shared.number) else { return };
        let mut call = self.settle.key(self.key(&ticket.provider, "minute"));
        call.arg(most(self.quota.tokens)).arg(micros(self.window)).arg(number).arg(tokens);
        let call = &call;
        let settled = self.redis.run(|mut connection| async move { call.invoke_async::<()>(&mut connection).await }).await;
        settled.unwrap_or_else(|failure| self.note_alone(&failure));
    }

    fn leave(&self, ticket: &Ticket) {
        if let Some(shared) = ticket.shared {
            self.leases.leave(&ticket.provider, shared.lease);
        }
    }

    async fn pause(&self, provider: &str, how_long: Duration) {
        self.own.pause(provider, how_long).await;
        let mut call = self.pause.key(self.key(provider, "minute"));
        call.arg(micros(how_long)).arg(micros(self.window));
        let call = &call;
        let paused = self.redis.run(|mut connection| async move { call.invoke_async::<()>(&mut connection).await }).await;
        paused.unwrap_or_else(|failure| self.note_alone(&failure));
    }
}

/// A limit for a script: 0 is none.
fn most(limit: Option<NonZeroU32>) -> u32 {
    limit.map_or(0, NonZeroU32::get)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(1 << 50)
}
