//! Progress events of a batch, as they are stored and published: what happened, by id. Positions in the stream are
//! opaque cursors. It must not know how events travel.

use super::generations::RunCounts;
use super::ids::{ProjectId, RunId};
use super::jobs::{JobFailure, JobStatus};
use super::money::Spend;
use super::projects::ProjectStatus;
use crate::error::{Error, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most ids that one event names.
pub const MAX_EVENT_IDS: usize = 100;
/// Hours that events can be replayed.
pub const RETENTION_HOURS: i32 = 168;

/// What happened in a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BatchEvent {
    /// The batch was renamed, archived or otherwise changed.
    BatchChanged,
    /// A run came into another status.
    RunStatusChanged {
        /// The run.
        run: RunId,
        /// Status before; none for a new run.
        previous: Option<JobStatus>,
        /// Status now.
        status: JobStatus,
    },
    /// Numbers of a run changed.
    RunProgressed {
        /// The run.
        run: RunId,
        /// Share that is finished, 0 to 1.
        progress: f64,
        /// Numbers.
        counts: RunCounts,
        /// Spend so far.
        spend: Spend,
        /// Guess of when it will be finished.
        estimated_finish_at: Option<DateTime<Utc>>,
    },
    /// A project came into another status.
    ProjectStatusChanged {
        /// The project.
        project: ProjectId,
        /// Status before; none for a new project.
        previous: Option<ProjectStatus>,
        /// Status now.
        status: ProjectStatus,
        /// Why, if it failed.
        failure: Option<JobFailure>,
    },
    /// A project was checked.
    ProjectScored {
        /// The project.
        project: ProjectId,
        /// 0 to 100.
        score: i32,
        /// Findings of severity ERROR.
        errors: i32,
        /// Findings of severity WARNING.
        warnings: i32,
    },
    /// Projects were added.
    ProjectsAdded {
        /// How many.
        count: i32,
        /// Their ids, at most [`MAX_EVENT_IDS`].
        projects: Vec<ProjectId>,
    },
    /// Projects were deleted.
    ProjectsRemoved {
        /// Their ids.
        projects: Vec<ProjectId>,
    },
}

/// An event with its place in the stream of its batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Dense per batch, from 1.
    pub sequence: i64,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What happened.
    pub event: BatchEvent,
}

/// Position in an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    /// What the stream is of: a batch, an import or an export.
    pub stream: Uuid,
    /// Sequence of the last event that is contained.
    pub sequence: i64,
}

impl EventCursor {
    /// Reads a cursor of the given stream.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` naming `after` if it is malformed or of another stream.
    pub fn parse(text: &str, stream: Uuid) -> Result<Self> {
        let read = || {
            let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
            let (id, sequence) = bytes.split_at(16);
            let cursor = Self { stream: Uuid::from_slice(id).ok()?, sequence: i64::from_be_bytes(sequence.try_into().ok()?) };
            (cursor.stream == stream && cursor.sequence >= 0).then_some(cursor)
        };
        read()
            .ok_or_else(|| Error::argument("after", "`after` is not a cursor of this stream; take it from an event or from `eventCursor`."))
    }
}

impl std::fmt::Display for EventCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [0_u8; 24];
        bytes[..16].copy_from_slice(self.stream.as_bytes());
        bytes[16..].copy_from_slice(&self.sequence.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_stream() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let cursor = EventCursor { stream: mine, sequence: 41 };
        assert_eq!(EventCursor::parse(&cursor.to_string(), mine).unwrap(), cursor);
        assert!(EventCursor::parse(&cursor.to_string(), other).is_err());
        assert!(EventCursor::parse("abc", mine).is_err());
    }
}
