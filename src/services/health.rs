//! Whether the service can work at the moment, and if not, for lack of what. Everything it depends on is asked at the same
//! moment and for a short time; answers are kept for about a second, so that probes cannot load what they ask.

use super::core::Core;
use crate::adapters::storage::ObjectStore;
use crate::error::{Error, Result};
use crate::repositories::db::Db;
use async_trait::async_trait;
use futures::future::join_all;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Longest time for one answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long answers are kept.
const KEPT: Duration = Duration::from_secs(1);

/// Something that can be asked whether it works.
#[async_trait]
pub trait Check: Send + Sync {
    /// Asks.
    ///
    /// # Errors
    /// Why it does not work, for the log.
    async fn check(&self) -> Result<()>;
}

/// What comes of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything works.
    Ready,
    /// Something is down that the service goes on without, though not with everything.
    Degraded,
    /// Something is down without which nothing works.
    Unavailable,
}

/// The state of a process and of each of its dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// All in all.
    pub verdict: Verdict,
    /// Each dependency, and whether it is up.
    pub checks: Vec<(&'static str, bool)>,
}

#[derive(Clone)]
struct Dependency {
    name: &'static str,
    is_essential: bool,
    check: Arc<dyn Check>,
}

/// Use cases of health.
#[derive(Clone)]
pub struct Health {
    dependencies: Vec<Dependency>,
    /// Held while the dependencies are asked, so that one probe asks for all.
    last: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.dependencies.iter().map(|dependency| dependency.name).collect();
        f.debug_struct("Health").field("dependencies", &names).finish_non_exhaustive()
    }
}

struct Database(Db);

#[async_trait]
impl Check for Database {
    async fn check(&self) -> Result<()> {
        self.0.ping().await
    }
}

struct Storage(Arc<dyn ObjectStore>);

#[async_trait]
impl Check for Storage {
    async fn check(&self) -> Result<()> {
        self.0.reach().await
    }
}

impl Health {
    /// The database, without which nothing works, and the file store, without which everything but imports of files,
    /// exports and downloads does: taking all processes off the balancer for it would make a small outage a whole one.
    pub(super) fn new(core: &Core) -> Self {
        let database = Dependency { name: "database", is_essential: true, check: Arc::new(Database(core.db.clone())) };
        let storage = Dependency { name: "storage", is_essential: false, check: Arc::new(Storage(Arc::clone(&core.store))) };
        Self { dependencies: vec![database, storage], last: Arc::default() }
    }

    /// Asks something else too, without which the service is degraded.
    pub fn also(&mut self, name: &'static str, check: Arc<dyn Check>) {
        self.dependencies.push(Dependency { name, is_essential: false, check });
    }

    /// The state as it is or was a moment ago.
    pub async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        let before = match &*last {
            Some((at, readiness)) if at.elapsed() < KEPT => return readiness.clone(),
            Some((_, readiness)) => Some(readiness),
            None => None,
        };
        let results = join_all(self.dependencies.iter().map(Dependency::ask)).await;
        let mut readiness = Readiness { verdict: Verdict::Ready, checks: Vec::new() };
        for (dependency, result) in self.dependencies.iter().zip(results) {
            let (name, is_up) = (dependency.name, result.is_ok());
            metrics::gauge!("claimwright_dependency_up", "dependency" => name).set(if is_up { 1.0 } else { 0.0 });
            let was_up = before.is_none_or(|before| before.checks.contains(&(name, true)));
            match result {
                Err(error) if was_up => tracing::warn!(dependency = name, %error, "a dependency is down"),
                Ok(()) if !was_up => tracing::warn!(dependency = name, "a dependency is up again"),
                _ => {}
            }
            readiness.verdict = match (is_up, dependency.is_essential, readiness.verdict) {
                (false, true, _) => Verdict::Unavailable,
                (false, false, Verdict::Ready) => Verdict::Degraded,
                (_, _, so_far) => so_far,
            };
            readiness.checks.push((name, is_up));
        }
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

impl Dependency {
    async fn ask(&self) -> Result<()> {
        timeout(CHECK_TIMEOUT, self.check.check()).await.unwrap_or_else(|_| Err(Error::internal("it does not answer in time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[derive(Default)]
    struct Fake {
        is_down: AtomicBool,
        hangs: bool,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Check for Fake {
        async fn check(&self) -> Result<()> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if self.is_down.load(Ordering::SeqCst) { Err(Error::internal("down")) } else { Ok(()) }
        }
    }

    fn health(essential: &Arc<Fake>, other: &Arc<Fake>) -> Health {
        let first = Dependency { name: "database", is_essential: true, check: Arc::clone(essential) as Arc<dyn Check> };
        let mut health = Health { dependencies: vec![first], last: Arc::default() };
        health.also("redis", Arc::clone(other) as Arc<dyn Check>);
        health
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_essential_makes_the_service_unavailable() {
        let (database, redis) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let health = health(&database, &redis);
        assert_eq!(health.readiness().await, Readiness { verdict: Verdict::Ready, checks: vec![("database", true), ("redis", true)] });
        redis.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(KEPT).await;
        assert_eq!(health.readiness().await, Readiness { verdict: Verdict::Degraded, checks: vec![("database", true), ("redis", false)] });
        database.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(KEPT).await;
        let down = Readiness { verdict: Verdict::Unavailable, checks: vec![("database", false), ("redis", false)] };
        assert_eq!(health.readiness().await, down);
    }

    #[tokio::test(start_paused = true)]
    async fn many_probes_are_one_question_a_second() {
        let database = Arc::new(Fake::default());
        let health = health(&database, &Arc::default());
        join_all((0..50).map(|_| health.readiness())).await;
        assert_eq!(database.asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(KEPT).await;
        health.readiness().await;
        assert_eq!(database.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_is_down() {
        let slow = Arc::new(Fake { hangs: true, ..Fake::default() });
        assert_eq!(health(&slow, &slow).readiness().await.verdict, Verdict::Unavailable);
    }
}
