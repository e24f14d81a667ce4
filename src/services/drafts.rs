//! Texts of a project while they are written, for those who watch. What is stored (texts, states, failures) is read from
//! the tables and compared with what was read before; what is not stored yet comes over the bus in pieces and nowhere
//! else. It must not store anything, nor keep more of a watcher than the texts that are being written.
//!
//! Pieces say where they go, so nothing depends on hearing each of them: what is heard twice is skipped, and where there
//! is a gap, or somebody comes late, the writer is asked for the whole text so far (`Bell::Wanted`), wherever it is; what
//! was missing is then sent as one piece. So a lost bell costs time and no text. The same question tells writers that
//! somebody watches: as long as nobody does, nothing is published (`desk.rs`).
//!
//! Sequences are not stored. They grow by one per event as everywhere, and begin where no earlier stream of the project
//! can have come to: at the time that was spent on writing, in units that events are never sent faster than.

pub mod desk;
mod watcher;

use super::core::Core;
use super::progress::{EndReason, Woken, next, not_found};
use crate::adapters::events::{Bell, Listener, Topic};
use crate::domain::actor::Actor;
use crate::domain::events::{BatchEvent, EventCursor};
use crate::domain::ids::{AttemptId, ProjectId};
use crate::domain::jobs::JobFailure;
use crate::domain::sections::{Section, SectionState};
use crate::error::Result;
use crate::repositories::projects;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::Stream;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use watcher::Watcher;

/// How long a snapshot waits for writers to say what they have written so far.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Use cases of texts while they are written.
#[derive(Debug, Clone)]
pub struct Drafts {
    core: Core,
}

/// What a watcher of a project's texts gets, with its place in the stream.
#[derive(Debug, Clone)]
pub struct DraftItem {
    /// Sequence of the event; of the last one for what is none.
    pub sequence: i64,
    /// When it was sent.
    pub at: DateTime<Utc>,
    /// What happened.
    pub what: DraftNews,
}

/// What happened to a project's texts.
#[derive(Debug, Clone)]
pub enum DraftNews {
    /// All texts as they are now.
    Snapshot(Vec<SectionNow>),
    /// More text.
    More {
        /// Key of the section.
        section_key: String,
        /// The attempt that writes.
        attempt: AttemptId,
        /// Where it goes, in Unicode scalar values.
        offset: usize,
        /// The text.
        text: String,
    },
    /// A text was stored.
    Stored(Section),
    /// An attempt failed.
    Failed {
        /// Key of the section.
        section_key: String,
        /// Why.
        failure: JobFailure,
        /// True if it is tried again.
        will_retry: bool,
    },
    /// The watcher was too slow: so many events are left out, and a snapshot follows.
    Lagged(i64),
    /// The stream ends.
    Ended(EndReason),
}

/// A section with its text so far.
#[derive(Clone)]
pub struct SectionNow {
    /// Key of the section.
    pub key: String,
    /// The text.
    pub text: String,
    /// State.
    pub state: SectionState,
}

/// A narrative must not reach a log.
impl std::fmt::Debug for SectionNow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SectionNow").field("key", &self.key).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Drafts {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// The texts of a project: a snapshot, then what is added to them, stored or given up. With or without a cursor the
    /// first item is a snapshot: what was written in between is in it.
    ///
    /// # Errors
    /// `NOT_FOUND`; `VALIDATION_FAILED` for a cursor of another stream. The stream itself may fail as the database says.
    pub async fn watch(
        &self,
        actor: Actor,
        id: ProjectId,
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<DraftItem>> + Send + 'static + use<>> {
        let core = self.core.clone();
        let project =
            projects::find(&mut core.db.read(actor.workspace).await?, actor.workspace, id).await?.ok_or_else(|| not_found("project"))?;
        let after = after.map(|text| EventCursor::parse(&text, id.0)).transpose()?.map(|cursor| cursor.sequence);
        // listen before looking: what happens in between is then heard
        let mut bells = Bells {
            project: id,
            draft: core.bus.subscribe(Topic::Draft(id)).await,
            batch: core.bus.subscribe(Topic::Batch(project.batch)).await,
        };
        Ok(async_stream::try_stream! {
            let mut watcher = Watcher::begin(core.clone(), actor.clone(), &project, after).await?;
            // what happens before the snapshot is in it
            let mut snapshot_by = Some(Instant::now() + ANSWERED_WITHIN);
            let mut woken = Woken::Look;
            loop {
                let (mut look, mut piece) = (true, None);
                match woken {
                    Woken::Bell(Bell::Piece(heard)) if watcher.knows(heard.attempt) => {
                        look = watcher.has_to_look();
                        // before a look, which may find that the attempt has ended since
                        match watcher.hear(&heard).await {
                            Some(news) if snapshot_by.is_none() => yield watcher.event(news),
                            _ => {}
                        }
                    }
                    Woken::Bell(Bell::Piece(heard)) => piece = Some(heard),
                    Woken::Bell(Bell::Overflowed(bells)) => {
                        let dropped = i64::try_from(bells).unwrap_or(i64::MAX);
                        if snapshot_by.is_none() {
                            yield watcher.item(DraftNews::Lagged(dropped));
                        }
                        watcher.start_afresh(dropped);
                        snapshot_by = Some(Instant::now() + ANSWERED_WITHIN);
                    }
                    Woken::End(reason) => {
                        yield watcher.item(DraftNews::Ended(reason));
                        return;
                    }
                    Woken::Bell(Bell::Missed) => watcher.doubt(),
                    Woken::Bell(_) | Woken::Look => {}
                }
                if look {
                    let Some(changes) = watcher.look().await? else {
                        yield watcher.item(DraftNews::Ended(EndReason::Deleted));
                        return;
                    };
                    watcher.ask_writers().await;
                    if snapshot_by.is_none() {
                        for news in changes.news {
                            yield watcher.event(news);
                        }
                        if changes.afresh {
                            yield watcher.snapshot().await?;
                        }
                    }
                }
                if let Some(piece) = piece {
                    match watcher.hear(&piece).await {
                        Some(news) if snapshot_by.is_none() => yield watcher.event(news),
                        _ => {}
                    }
                }
                if snapshot_by.is_some_and(|by| watcher.has_all_texts() || by <= Instant::now()) {
                    snapshot_by = None;
                    yield watcher.snapshot().await?;
                }
                let bell = next(&core, &actor, &mut bells);
                woken = match snapshot_by {
                    Some(by) => timeout_at(by, bell).await.unwrap_or(Woken::Look),
                    None => bell.await,
                };
            }
        })
    }
}

/// The bells of a project's texts, with those of its batch that concern it.
struct Bells {
    project: ProjectId,
    draft: Box<dyn Listener>,
    batch: Box<dyn Listener>,
}

impl Bells {
    /// True for a bell of the batch after which the project's texts may be others.
    fn concern(&self, bell: &Bell) -> bool {
        let Bell::Event(event) = bell else { return true };
        match &event.event {
            BatchEvent::ProjectStatusChanged { project, .. } => *project == self.project,
            BatchEvent::ProjectsRemoved { projects } => projects.contains(&self.project),
            // a new template lays all sections out anew
            BatchEvent::BatchChanged => true,
            _ => false,
        }
    }
}

#[async_trait]
impl Listener for Bells {
    async fn next(&mut self) -> Option<Bell> {
        loop {
            tokio::select! {
                biased;
                bell = self.draft.next() => return bell,
                bell = self.batch.next() => match bell {
                    Some(bell) if !self.concern(&bell) => {}
                    // nothing of these texts is lost with bells of the batch
                    Some(_) => return Some(Bell::Changed),
                    None => return None,
                },
            }
        }
    }
}
