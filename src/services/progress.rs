//! Live progress: streams of what happens, without loss and in order. The table is the truth; bells only say when to
//! look. A watcher that cannot keep up is told so and gets a fresh start; nothing is buffered for it.

mod looks;

use super::core::Core;
use crate::adapters::events::{Bell, Listener, Topic};
use crate::domain::actor::Actor;
use crate::domain::events::{EventCursor, StoredEvent};
use crate::domain::exports::ExportJob;
use crate::domain::ids::{BatchId, ExportId, ImportId};
use crate::domain::imports::ImportJob;
use crate::error::{Error, FaultCode, Result};
use crate::repositories::{batches, events, exports, imports};
use chrono::{DateTime, Utc};
use futures::{FutureExt, Stream};
use looks::{Looks, Seen};
use std::sync::Arc;
use std::time::Duration;

/// Events that are read from the table at once: what a replay keeps in memory.
const READ_AT_ONCE: i64 = 200;
/// How often the table is looked at even if no bell has rung.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A live watcher that is this far behind …
const LAG_EVENTS: i64 = 256;
/// … with events this old has not kept up.
const LAG_AGE: chrono::Duration = chrono::Duration::seconds(5);

/// Use cases of live progress.
#[derive(Debug, Clone)]
pub struct Progress {
    core: Core,
    looks: Looks,
}

/// Where a watcher of a batch begins.
#[derive(Debug, Clone)]
pub enum Start {
    /// After a cursor of the client's, or with a snapshot.
    After(Option<String>),
    /// Behind the last event that the watcher was told: it goes on, and may be told that it has lagged.
    Behind(i64),
    /// The same of one who watches for many: it tells every event however late it is, because the many are told by
    /// themselves if they lag.
    ForAll(i64),
}

impl Start {
    fn known_until(&self, id: BatchId) -> Result<Option<i64>> {
        match self {
            Self::After(None) => Ok(None),
            Self::After(Some(text)) => Ok(Some(EventCursor::parse(text, id.0)?.sequence)),
            Self::Behind(sequence) | Self::ForAll(sequence) => Ok(Some(*sequence)),
        }
    }
}

/// What a watcher of a batch gets.
#[derive(Debug, Clone)]
pub enum BatchItem {
    /// The present state is to be read; everything up to the sequence is contained in it.
    Snapshot {
        /// Sequence of the newest event that is contained.
        sequence: i64,
        /// When it was taken.
        at: DateTime<Utc>,
    },
    /// An event.
    Event(Arc<StoredEvent>),
    /// The watcher was too slow; a snapshot follows.
    Lagged {
        /// Sequence of the last event that was sent.
        sequence: i64,
        /// How many events are left out.
        dropped: i64,
        /// When it was noticed.
        at: DateTime<Utc>,
    },
    /// The stream ends.
    Ended {
        /// Sequence of the last event that was sent.
        sequence: i64,
        /// Why.
        reason: EndReason,
        /// When.
        at: DateTime<Utc>,
    },
}

crate::word_enum! {
    /// Why a stream ends.
    pub enum EndReason {
        /// The job that was followed is finished.
        Finished = "FINISHED",
        /// The object was deleted.
        Deleted = "DELETED",
        /// The caller may no longer see it, or the token has expired.
        NotAllowed = "NOT_ALLOWED",
        /// The server shuts down.
        ShuttingDown = "SHUTTING_DOWN",
    }
}

/// Why a watcher woke up.
pub(super) enum Woken {
    /// A bell.
    Bell(Bell),
    /// It is time to look at the table.
    Look,
    /// The stream has to end.
    End(EndReason),
}

impl Progress {
    pub(super) fn new(core: Core) -> Self {
        Self { core, looks: Looks::default() }
    }

    /// What goes on in a batch: a snapshot, or what was missed after a cursor, then every event in order. With the stream
    /// comes the number of events that there were when it began.
    ///
    /// # Errors
    /// `NOT_FOUND`; `VALIDATION_FAILED` for a cursor of another stream. The stream itself may fail as the database says.
    pub async fn watch_batch(
        &self,
        actor: Actor,
        id: BatchId,
        start: Start,
    ) -> Result<(i64, impl Stream<Item = Result<BatchItem>> + Send + 'static + use<>)> {
        let core = self.core.clone();
        // listen before looking: what happens in between is then heard
        let mut listener = core.bus.subscribe(Topic::Batch(id)).await;
        let mut look = self.looks.at(&core, actor.workspace, id);
        let found = batches::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await?;
        // who had followed it is told that it has gone
        if found.is_none() && matches!(start, Start::After(_)) {
            return Err(not_found("batch"));
        }
        let known_until = start.known_until(id)?;
        let had = found.as_ref().map_or(known_until.unwrap_or_default(), |batch| batch.event_sequence);
        if known_until.is_some_and(|sequence| sequence > had) {
            return Err(Error::argument("after", "`after` is ahead of this stream; take it from an event or from `eventCursor`."));
        }
        let is_gone = found.is_none_or(|batch| batch.deleted_at.is_some());
        let items = async_stream::try_stream! {
            if is_gone {
                let sequence = if matches!(start, Start::After(_)) { had } else { known_until.unwrap_or(had) };
                yield BatchItem::Ended { sequence, reason: EndReason::Deleted, at: core.now() };
                return;
            }
            // what is older than this is told however old it is
            let (mut last, asked_for) = match (start, known_until) {
                (Start::Behind(sequence), _) => (sequence, sequence),
                (Start::ForAll(sequence), _) => (sequence, i64::MAX),
                (Start::After(_), Some(sequence)) if has_all_after(&core, &actor, id, sequence, had).await? => (sequence, had),
                (Start::After(_), _) => {
                    yield BatchItem::Snapshot { sequence: had, at: core.now() };
                    (had, had)
                }
            };
            let mut behind = last < had;
            loop {
                // a replay may be longer than what is read at once
                while std::mem::take(&mut behind) {
                    let missed = events::list_after(&mut core.db.read(actor.workspace).await?, actor.workspace, id, last, READ_AT_ONCE).await?;
                    let Some(first) = missed.first() else { break };
                    behind = true;
                    if last >= asked_for && core.now() - first.occurred_at > LAG_AGE {
                        let batch = batches::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await?;
                        let newest = batch.map_or(last, |batch| batch.event_sequence);
                        if newest - last > LAG_EVENTS {
                            yield BatchItem::Lagged { sequence: last, dropped: newest - last, at: core.now() };
                            yield BatchItem::Snapshot { sequence: newest, at: core.now() };
                            last = newest;
                            continue;
                        }
                    }
                    for event in missed {
                        last = event.sequence;
                        if last > had {
                            measure_lag(&core, &event);
                        }
                        yield BatchItem::Event(Arc::new(event));
                    }
                }
                let woken = tokio::select! {
                    biased;
                    woken = heard(&core, &actor, listener.as_mut()) => woken,
                    seen = look.changed() => match seen {
                        Seen::Head(sequence) => {
                            behind = sequence > last;
                            continue;
                        }
                        Seen::Gone | Seen::Failed(_) => Woken::Look,
                    },
                };
                match woken {
                    Woken::Bell(Bell::Event(event)) if event.sequence == last + 1 => {
                        last = event.sequence;
                        measure_lag(&core, &event);
                        yield BatchItem::Event(event);
                    }
                    Woken::Bell(Bell::Event(event)) => behind = event.sequence > last,
                    Woken::Bell(Bell::Deleted) => {
                        yield BatchItem::Ended { sequence: last, reason: EndReason::Deleted, at: core.now() };
                        return;
                    }
                    Woken::Bell(_) => behind = true,
                    Woken::Look => match batches::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await? {
                        Some(batch) if batch.deleted_at.is_none() => behind = batch.event_sequence > last,
                        _ => {
                            yield BatchItem::Ended { sequence: last, reason: EndReason::Deleted, at: core.now() };
                            return;
                        }
                    },
                    Woken::End(reason) => {
                        yield BatchItem::Ended { sequence: last, reason, at: core.now() };
                        return;
                    }
                }
            }
        };
        Ok((had, items))
    }

    /// Every change of an import that is seen, the present state first; ends after the one in which it is final.
    ///
    /// # Errors
    /// `NOT_FOUND`. The stream itself may fail as the database says.
    pub async fn watch_import(&self, actor: Actor, id: ImportId) -> Result<impl Stream<Item = Result<ImportJob>> + Send + 'static + use<>> {
        let core = self.core.clone();
        let mut listener = core.bus.subscribe(Topic::Import(id)).await;
        let first =
            imports::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await?.ok_or_else(|| not_found("import"))?;
        Ok(async_stream::try_stream! {
            let (mut last, mut ended) = (first.sequence, first.status.is_final());
            yield first;
            while !ended {
                if let Woken::End(_) = next(&core, &actor, listener.as_mut()).await {
                    return;
                }
                let Some(now) = imports::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await? else { return };
                if now.sequence > last {
                    (last, ended) = (now.sequence, now.status.is_final());
                    yield now;
                }
            }
        })
    }

    /// Every change of an export that is seen, the present state first; ends after the one in which it is final.
    ///
    /// # Errors
    /// `NOT_FOUND`. The stream itself may fail as the database says.
    pub async fn watch_export(&self, actor: Actor, id: ExportId) -> Result<impl Stream<Item = Result<ExportJob>> + Send + 'static + use<>> {
        let core = self.core.clone();
        let mut listener = core.bus.subscribe(Topic::Export(id)).await;
        let first =
            exports::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await?.ok_or_else(|| not_found("export"))?;
        Ok(async_stream::try_stream! {
            let (mut last, mut ended) = (first.sequence, first.status.is_final());
            yield first;
            while !ended {
                if let Woken::End(_) = next(&core, &actor, listener.as_mut()).await {
                    return;
                }
                let Some(now) = exports::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await? else { return };
                if now.sequence > last {
                    (last, ended) = (now.sequence, now.status.is_final());
                    yield now;
                }
            }
        })
    }

    /// The moment that events which are not stored are stamped with.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.core.now()
    }
}

/// Notes how long a live event was on its way; clocks of two machines may differ by more than that.
fn measure_lag(core: &Core, event: &StoredEvent) {
    let lag = (core.now() - event.occurred_at).to_std().unwrap_or_default();
    metrics::histogram!("claimwright_events_lag_seconds").record(lag);
}

/// True if every event after a sequence is still there.
async fn has_all_after(core: &Core, actor: &Actor, id: BatchId, sequence: i64, head: i64) -> Result<bool> {
    if sequence == head {
        return Ok(true);
    }
    let next = events::list_after(&mut core.db.read(actor.workspace).await?, actor.workspace, id, sequence, 1).await?;
    Ok(next.first().is_some_and(|event| event.sequence == sequence + 1))
}

/// Waits for a bell, for the time to look anyway, or for the end of the watcher's permission or of the process.
pub(super) async fn next(core: &Core, actor: &Actor, listener: &mut dyn Listener) -> Woken {
    tokio::select! {
        biased;
        woken = heard(core, actor, listener) => woken,
        () = tokio::time::sleep(LOOK_EVERY) => Woken::Look,
    }
}

/// The same of one who is told when to look.
async fn heard(core: &Core, actor: &Actor, listener: &mut dyn Listener) -> Woken {
    let expiry = match actor.expires_at {
        Some(at) => tokio::time::sleep((at - core.now()).to_std().unwrap_or_default()).left_future(),
        None => std::future::pending().right_future(),
    };
    tokio::select! {
        biased;
        () = core.shutdown.cancelled() => Woken::End(EndReason::ShuttingDown),
        () = expiry => Woken::End(EndReason::NotAllowed),
        bell = listener.next() => if let Some(bell) = bell {
            Woken::Bell(bell)
        } else {
            // the bus is closed: the table is still there
            tokio::time::sleep(LOOK_EVERY).await;
            Woken::Look
        },
    }
}

pub(super) fn not_found(what: &str) -> Error {
    Error::fault(FaultCode::NotFound, format!("There is no such {what}. Check the id; it may have been deleted."))
}
