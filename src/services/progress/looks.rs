//! One look at the table for all who watch batches in this process: every two seconds a statement for each workspace and
//! some hundred batches, however many watch. It says where streams stand, so that a lost bell is healed; what happened in
//! them is read by whoever is behind.

use super::LOOK_EVERY;
use crate::domain::batches::BatchParts;
use crate::domain::ids::{BatchId, WorkspaceId};
use crate::error::Result;
use crate::repositories::batches;
use crate::services::core::Core;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch::{Receiver, Sender};

/// Batches that one statement looks at.
const AT_ONCE: usize = 500;

/// What was seen of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Sequence of its last event.
    Head(i64),
    /// It is deleted.
    Gone,
    /// It could not be looked at, the so-many-th time.
    Failed(u64),
}

/// All looks of the process.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    batches: HashMap<(WorkspaceId, BatchId), Sender<Option<Seen>>>,
    /// Somebody looks.
    is_looked_at: bool,
}

/// That a batch is looked at, until this is dropped.
#[derive(Debug)]
pub(super) struct Look {
    key: (WorkspaceId, BatchId),
    looks: Looks,
    seen: Option<Receiver<Option<Seen>>>,
}

impl Looks {
    /// Has a batch looked at from now on.
    pub(super) fn at(&self, core: &Core, workspace: WorkspaceId, batch: BatchId) -> Look {
        let key = (workspace, batch);
        let mut watched = self.lock();
        let seen = watched.batches.entry(key).or_insert_with(|| Sender::new(None)).subscribe();
        if !std::mem::replace(&mut watched.is_looked_at, true) {
            let looking = Looking { looks: self.clone(), has_stopped: false };
            drop(tokio::spawn(core.shutdown.clone().run_until_cancelled_owned(keep_looking(core.clone(), looking))));
        }
        Look { key, looks: self.clone(), seen: Some(seen) }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be looked at, by workspace; none if nobody watches any more.
    fn wanted(&self) -> Option<HashMap<WorkspaceId, Vec<BatchId>>> {
        let mut watched = self.lock();
        if watched.batches.is_empty() {
            watched.is_looked_at = false;
            return None;
        }
        let mut wanted: HashMap<WorkspaceId, Vec<BatchId>> = HashMap::new();
        for (workspace, batch) in watched.batches.keys() {
            wanted.entry(*workspace).or_default().push(*batch);
        }
        Some(wanted)
    }

    /// Tells those who watch, if it is news.
    fn tell(&self, workspace: WorkspaceId, batches: &[BatchId], seen: impl Fn(BatchId) -> Seen) {
        let watched = self.lock();
        for batch in batches {
            if let Some(sender) = watched.batches.get(&(workspace, *batch)) {
                let seen = Some(seen(*batch));
                sender.send_if_modified(|before| std::mem::replace(before, seen) != seen);
            }
        }
    }
}

impl Look {
    /// What was seen, if it is news.
    pub(super) async fn changed(&mut self) -> Seen {
        if let Some(seen) = &mut self.seen {
            while seen.changed().await.is_ok() {
                if let Some(seen) = *seen.borrow_and_update() {
                    return seen;
                }
            }
        }
        // the sender lives as long as this
        std::future::pending().await
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut watched = self.looks.lock();
        self.seen = None;
        if watched.batches.get(&self.key).is_some_and(|sender| sender.receiver_count() == 0) {
            watched.batches.remove(&self.key);
        }
    }
}

/// Whoever looks. If it breaks off, another begins with the next who watches.
struct Looking {
    looks: Looks,
    has_stopped: bool,
}

impl Drop for Looking {
    fn drop(&mut self) {
        // who has stopped has said so, and another may look since
        if !self.has_stopped {
            self.looks.lock().is_looked_at = false;
        }
    }
}

async fn keep_looking(core: Core, mut looking: Looking) {
    for round in 0.. {
        tokio::time::sleep(LOOK_EVERY).await;
        let looks = &looking.looks;
        let Some(wanted) = looks.wanted() else {
            looking.has_stopped = true;
            return;
        };
        for (workspace, all) in wanted {
            for some in all.chunks(AT_ONCE) {
                match heads(&core, workspace, some).await {
                    Ok(heads) => looks.tell(workspace, some, |batch| heads.get(&batch).map_or(Seen::Gone, |head| Seen::Head(*head))),
                    Err(error) => {
                        tracing::debug!(%error, "batches cannot be looked at");
                        looks.tell(workspace, some, |_| Seen::Failed(round));
                    }
                }
            }
        }
    }
}

/// Sequences of the last events of those that are not deleted.
async fn heads(core: &Core, workspace: WorkspaceId, ids: &[BatchId]) -> Result<HashMap<BatchId, i64>> {
    let found = batches::load(&mut core.db.read(workspace).await?, workspace, ids, BatchParts::EVENTS | BatchParts::LIFECYCLE).await?;
    Ok(found.into_iter().filter(|batch| batch.deleted_at.is_none()).map(|batch| (batch.id, batch.event_sequence)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use uuid::Uuid;

    fn look(looks: &Looks, batch: u128) -> Look {
        let key = (WorkspaceId(Uuid::nil()), BatchId(Uuid::from_u128(batch)));
        let seen = looks.lock().batches.entry(key).or_insert_with(|| Sender::new(None)).subscribe();
        Look { key, looks: looks.clone(), seen: Some(seen) }
    }

    #[test]
    fn only_news_are_told_and_nobody_is_looked_at_for_nobody() {
        let looks = Looks::default();
        looks.lock().is_looked_at = true;
        let (mut one, two) = (look(&looks, 1), look(&looks, 1));
        let workspace = WorkspaceId(Uuid::nil());
        let wanted = looks.wanted().unwrap().remove(&workspace).unwrap();
        assert_eq!(wanted, [BatchId(Uuid::from_u128(1))]);
        assert!(one.changed().now_or_never().is_none());
        looks.tell(workspace, &wanted, |_| Seen::Head(3));
        assert_eq!(one.changed().now_or_never(), Some(Seen::Head(3)));
        looks.tell(workspace, &wanted, |_| Seen::Head(3));
        assert!(one.changed().now_or_never().is_none());
        looks.tell(workspace, &wanted, |_| Seen::Gone);
        assert_eq!(one.changed().now_or_never(), Some(Seen::Gone));
        for round in 1..=2 {
            looks.tell(workspace, &wanted, |_| Seen::Failed(round));
            assert_eq!(one.changed().now_or_never(), Some(Seen::Failed(round)), "each failure is news");
        }
        drop(one);
        assert!(looks.wanted().is_some(), "another watches");
        drop(two);
        assert!(looks.wanted().is_none() && !looks.lock().is_looked_at);
    }
}
