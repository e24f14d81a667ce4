//! The answers of all connections that are not taken yet, in bytes. When they are many, whoever takes nothing is cut much
//! sooner, so that deaf peers cannot fill the memory, however many they are. It must not know what is answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Longest time in which a peer takes nothing of its answer while too much waits for peers.
const HURRIED: Duration = Duration::from_secs(1);

/// An extension of a response: what its text takes in bytes, which a compressor keeps until all is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub usize);

/// What waits in this process. Clones share it.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    waiting: AtomicUsize,
    /// Decides which of two that come at once is said last.
    telling: Mutex<()>,
    is_too_much: watch::Sender<bool>,
}

/// An answer that waits, until it is dropped.
#[derive(Debug)]
pub struct Waiting {
    backlog: Backlog,
    bytes: usize,
}

impl Backlog {
    /// Of which so many bytes may wait before peers are hurried.
    pub fn new(most: usize) -> Self {
        let (is_too_much, _) = watch::channel(false);
        Self(Arc::new(Shared { most, waiting: AtomicUsize::new(0), telling: Mutex::default(), is_too_much }))
    }

    /// Counts an answer.
    pub fn add(&self, bytes: usize) -> Waiting {
        if self.0.waiting.fetch_add(bytes, Ordering::AcqRel) + bytes > self.0.most {
            self.tell();
        }
        Waiting { backlog: self.clone(), bytes }
    }

    /// Tells when it becomes too much, and when that is over.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.is_too_much.subscribe()
    }

    fn tell(&self) {
        let _one_at_a_time = self.0.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.0.waiting.load(Ordering::Acquire);
        let is_too_much = waiting > self.0.most;
        let has_changed = self.0.is_too_much.send_if_modified(|told| std::mem::replace(told, is_too_much) != is_too_much);
        if has_changed && is_too_much {
            tracing::warn!(waiting, "clients do not take their answers; whoever takes nothing for a second is cut");
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let before = self.backlog.0.waiting.fetch_sub(self.bytes, Ordering::AcqRel);
        if before > self.backlog.0.most && before - self.bytes <= self.backlog.0.most {
            self.backlog.tell();
        }
    }
}

/// How long a peer may take nothing, of this much time, as things are.
pub fn patience(is_too_much: bool, usual: Duration) -> Duration {
    if is_too_much { usual.min(HURRIED) } else { usual }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_when_too_much_waits_and_when_that_is_over() {
        let backlog = Backlog::new(100);
        let mut told = backlog.watch();
        let mut now = || told.has_changed().unwrap().then(|| *told.borrow_and_update());
        let first = backlog.add(60);
        assert_eq!(now(), None);
        let (second, third) = (backlog.add(41), backlog.add(1000));
        assert_eq!(now(), Some(true));
        drop(third);
        assert_eq!(now(), None, "still a byte too many");
        drop(second);
        assert_eq!(now(), Some(false));
        drop(first);
        assert_eq!((now(), backlog.0.waiting.load(Ordering::Relaxed)), (None, 0));
    }

    #[test]
    fn patience_is_shorter_only_while_too_much_waits() {
        let usual = Duration::from_secs(30);
        assert_eq!((patience(false, usual), patience(true, usual)), (usual, HURRIED));
        assert_eq!(patience(true, HURRIED / 2), HURRIED / 2);
    }
}
