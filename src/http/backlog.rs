//! The answers of all connections that are not taken yet, in bytes. When they are many, whoever takes nothing is cut much
//! sooner, so that deaf peers cannot fill the memory, however many they are. It must not know what is answered.

use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::time::Duration;

/// Longest time in which a peer takes nothing of its answer while too much waits for peers. Whoever waits for a peer asks
/// again how long it may, as often as this.
pub const HURRIED: Duration = Duration::from_secs(1);

/// An extension of a response: what its text takes in bytes, which lasts as long as any piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub usize);

/// What waits in this process. Clones share it.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    waiting: AtomicUsize,
    /// It was said that too much waits.
    is_said: AtomicBool,
}

/// An answer that waits, until it and all its pieces are dropped.
#[derive(Debug, Clone)]
pub struct Waiting {
    _counted: Arc<Counted>,
}

#[derive(Debug)]
struct Counted {
    backlog: Backlog,
    bytes: usize,
}

impl Backlog {
    /// Of which so many bytes may wait before peers are hurried.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, waiting: AtomicUsize::new(0), is_said: AtomicBool::new(false) }))
    }

    /// Counts an answer.
    pub fn add(&self, bytes: usize) -> Waiting {
        let waiting = self.0.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting > self.0.most && !self.0.is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(waiting, "clients do not take their answers; whoever takes nothing for a second is cut");
        }
        Waiting { _counted: Arc::new(Counted { backlog: self.clone(), bytes }) }
    }

    /// How long a peer may take nothing now, of this much time.
    pub fn patience(&self, usual: Duration) -> Duration {
        if self.0.waiting.load(Ordering::Relaxed) > self.0.most { usual.min(HURRIED) } else { usual }
    }
}

impl Waiting {
    /// A piece of the answer, for a writer that may keep it.
    pub fn piece(&self, bytes: Bytes) -> Bytes {
        struct Piece {
            bytes: Bytes,
            _waiting: Waiting,
        }

        impl AsRef<[u8]> for Piece {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }

        Bytes::from_owner(Piece { bytes, _waiting: self.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let left = self.backlog.0.waiting.fetch_sub(self.bytes, Ordering::Relaxed) - self.bytes;
        // not each time that it goes up and down a little
        if left <= self.backlog.0.most / 2 {
            self.backlog.0.is_said.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(30);

    #[test]
    fn patience_is_shorter_only_while_too_much_waits() {
        let backlog = Backlog::new(100);
        let first = backlog.add(60);
        assert_eq!(backlog.patience(USUAL), USUAL);
        let (second, third) = (backlog.add(41), backlog.add(1000));
        assert_eq!((backlog.patience(USUAL), backlog.patience(HURRIED / 2)), (HURRIED, HURRIED / 2));
        drop(third);
        assert_eq!(backlog.patience(USUAL), HURRIED, "still a byte too many");
        drop((first, second));
        assert_eq!((backlog.patience(USUAL), backlog.0.waiting.load(Ordering::Relaxed)), (USUAL, 0));
    }

    #[test]
    fn an_answer_waits_as_long_as_a_piece_of_it() {
        let backlog = Backlog::new(1);
        let answer = backlog.add(5);
        let piece = answer.piece(Bytes::from_static(b"hello")).split_off(3);
        drop(answer);
        assert_eq!((&*piece, backlog.patience(USUAL)), (&b"lo"[..], HURRIED), "a writer has it");
        drop(piece);
        assert_eq!(backlog.patience(USUAL), USUAL);
    }
}
