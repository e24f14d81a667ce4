//! Leases on calls that are open, over all processes: each runs out unless the process that holds it renews it, so those of
//! a process that died come back by themselves. It must not know of places in the minute.

use crate::adapters::redis::{Failure, Redis};
use deadpool_redis::redis::Script;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How long a lease holds without being renewed.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// How often leases are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Renews by the clock of Redis; what it had forgotten it knows again.
const RENEW: &str = r"
local time = redis.call('TIME')
local until_then = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[1]))
for at = 2, #ARGV do redis.call('ZADD', KEYS[1], until_then, ARGV[at]) end
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[1]) / 1000))
";

type Held = HashMap<String, HashSet<u64>>;

/// The leases of this process.
#[derive(Debug)]
pub(super) struct Leases {
    last: AtomicU64,
    held: Arc<Mutex<Held>>,
    left: mpsc::UnboundedSender<(String, u64)>,
    _keeper: AbortOnDropHandle<()>,
}

/// The key of a provider's leases.
pub(super) fn key(redis: &Redis, provider: &str) -> String {
    redis.name(&format!("pace:{{{provider}}}:calls"))
}

/// The name of a lease among those of all processes.
pub(super) fn name(process: Uuid, lease: u64) -> String {
    format!("{process}:{lease}")
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leases {
    /// Leases of a process; a task renews them as long as this lives.
    pub(super) fn new(redis: Redis, process: Uuid) -> Self {
        let held = Arc::<Mutex<Held>>::default();
        let (left, leaving) = mpsc::unbounded_channel();
        let keeper = AbortOnDropHandle::new(tokio::spawn(keep(redis, process, Arc::clone(&held), leaving)));
        Self { last: AtomicU64::new(0), held, left, _keeper: keeper }
    }

    #[cfg(test)]
    pub(super) async fn renew_now(&self, redis: &Redis, process: Uuid) -> Result<(), Failure> {
        renew(redis, &Script::new(RENEW), process, &self.held).await
    }

    /// A number for a lease.
    pub(super) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that a call is open.
    pub(super) fn hold(&self, provider: &str, lease: u64) {
        lock(&self.held).entry(provider.to_owned()).or_default().insert(lease);
    }

    /// Calls of this process that are open.
    pub(super) fn open(&self, provider: &str) -> usize {
        lock(&self.held).get(provider).map_or(0, HashSet::len)
    }

    /// Gives a lease back. Without waiting, because a call that is dropped cannot wait.
    pub(super) fn leave(&self, provider: &str, lease: u64) {
        let was_held = lock(&self.held).get_mut(provider).is_some_and(|leases| leases.remove(&lease));
        if was_held {
            // the keeper ends with this alone
            drop(self.left.send((provider.to_owned(), lease)));
        }
    }
}

/// Gives back what is left and renews the rest. One after the other, so that nothing is renewed after it was given back.
async fn keep(redis: Redis, process: Uuid, held: Arc<Mutex<Held>>, mut leaving: mpsc::UnboundedReceiver<(String, u64)>) {
    let renewal = Script::new(RENEW);
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            left = leaving.recv() => match left {
                Some((provider, lease)) => give_back(&redis, &provider, &name(process, lease)).await,
                None => return,
            },
            _ = ticks.tick() => renew(&redis, &renewal, process, &held).await,
        };
        if let Err(failure) = done {
            tracing::debug!(%failure, "leases on calls run out by themselves");
        }
    }
}

async fn give_back(redis: &Redis, provider: &str, lease: &str) -> Result<(), Failure> {
    let mut command = deadpool_redis::redis::cmd("ZREM");
    command.arg(key(redis, provider)).arg(lease);
    let command = &command;
    redis.run(|mut connection| async move { command.exec_async(&mut connection).await }).await
}

async fn renew(redis: &Redis, renewal: &Script, process: Uuid, held: &Mutex<Held>) -> Result<(), Failure> {
    let all: Vec<(String, Vec<u64>)> =
        lock(held).iter().map(|(provider, leases)| (provider.clone(), leases.iter().copied().collect())).collect();
    for (provider, leases) in all.into_iter().filter(|(_, leases)| !leases.is_empty()) {
        let mut call = renewal.key(key(redis, &provider));
        call.arg(u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX));
        for lease in leases {
            call.arg(name(process, lease));
        }
        let call = &call;
        redis.run(|mut connection| async move { call.invoke_async::<()>(&mut connection).await }).await?;
    }
    Ok(())
}
