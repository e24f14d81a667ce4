//! The port to the event bus: bells between whoever changes something and whoever watches it. The bus is a hint, never
//! the truth: a bell may be lost, and whoever needs to know reads the table.

mod interests;
pub mod local;
pub mod redis;
mod wire;

use crate::domain::drafts::TextPiece;
use crate::domain::events::StoredEvent;
use crate::domain::ids::{BatchId, ExportId, ImportId, ProjectId, RunId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What bells are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Progress of a batch.
    Batch(BatchId),
    /// Progress of an import.
    Import(ImportId),
    /// Progress of an export.
    Export(ExportId),
    /// Texts of a project while they are written.
    Draft(ProjectId),
    /// Projects whose texts somebody wants to see while they are written.
    DraftWishes,
    /// Runs that are to be let go.
    Cancellations,
}

/// A bell. Processes of two versions ring each other's during an upgrade: add kinds, rename none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bell {
    /// An event of a batch, shared by all who listen in this process.
    Event(Arc<StoredEvent>),
    /// Something changed: look at the table.
    Changed,
    /// The object was deleted.
    Deleted,
    /// A run is to be let go.
    Cancelled(RunId),
    /// Text of a section that is being written, shared by all who listen in this process.
    Piece(Arc<TextPiece>),
    /// Somebody wants to see what is written of a project.
    Wanted {
        /// The project.
        project: ProjectId,
        /// From the beginning, and not only what is new.
        whole: bool,
    },
    /// Bells were missed: look at the table.
    Missed,
    /// So many bells were missed because whoever listens is slow. Rung within a process only.
    Overflowed(u64),
}

/// The bus.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Rings a bell after a commit. Never fails: a lost bell is healed by the table.
    async fn publish(&self, topic: Topic, bells: Vec<Bell>);

    /// Listens from now on.
    async fn subscribe(&self, topic: Topic) -> Box<dyn Listener>;
}

/// One who listens.
#[async_trait]
pub trait Listener: Send {
    /// The next bell; `None` once the bus is closed. May be dropped and called again without loss.
    async fn next(&mut self) -> Option<Bell>;
}
