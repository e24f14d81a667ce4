//! Sections of a narrative and the texts that they have or had. Pure values and rules.

use super::ids::{AttemptId, ProjectId, RevisionId, SectionId, UserId};
use super::templates::Limits;
use crate::word_enum;
use chrono::{DateTime, Utc};
use std::sync::Arc;

word_enum! {
    /// State of a section.
    #[derive(Default)]
    pub enum SectionState {
        /// No text.
        #[default]
        Empty = "EMPTY",
        /// Being written.
        Generating = "GENERATING",
        /// Written by a model, untouched since.
        Generated = "GENERATED",
        /// Changed by a person.
        Edited = "EDITED",
        /// Locked by approval.
        Locked = "LOCKED",
    }
}

word_enum! {
    /// Where a text came from.
    pub enum RevisionSource {
        /// A model wrote it.
        Model = "MODEL",
        /// A person wrote it.
        Person = "PERSON",
        /// An earlier revision was brought back.
        Restore = "RESTORE",
    }
}

impl SectionState {
    /// The state of a section that nobody is writing, from the source of its newest text.
    #[must_use]
    pub const fn at_rest(newest: Option<RevisionSource>) -> Self {
        match newest {
            None => Self::Empty,
            Some(RevisionSource::Model) => Self::Generated,
            Some(RevisionSource::Person | RevisionSource::Restore) => Self::Edited,
        }
    }
}

/// A section, without its text (texts are loaded where asked for).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Id.
    pub id: SectionId,
    /// The project.
    pub project: ProjectId,
    /// Key in the template.
    pub key: String,
    /// Title in the template.
    pub title: String,
    /// Place in the template, from 0.
    pub position: i32,
    /// True if it must have text.
    pub required: bool,
    /// State.
    pub state: SectionState,
    /// Source of the newest text; none while it has none.
    pub source: Option<RevisionSource>,
    /// Number of the newest revision; 0 while it has none.
    pub revision: i32,
    /// Words.
    pub word_count: i32,
    /// Characters.
    pub char_count: i32,
    /// Limits from the template.
    pub limits: Limits,
}

bitflags::bitflags! {
    /// Parts of a section that a read may leave out; they then have the default of their type. The project is always read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct SectionParts: u16 {
        /// Id.
        const ID = 1;
        /// Key.
        const KEY = 1 << 1;
        /// Title.
        const TITLE = 1 << 2;
        /// Place, and whether it is required.
        const PLACE = 1 << 3;
        /// State and source.
        const STATE = 1 << 4;
        /// Revision.
        const REVISION = 1 << 5;
        /// Words.
        const WORDS = 1 << 6;
        /// Characters.
        const CHARACTERS = 1 << 7;
        /// Limits.
        const LIMITS = 1 << 8;
        /// The newest text, which is long.
        const TEXT = 1 << 9;
    }
}

/// A section with its newest text.
#[derive(Clone)]
pub struct SectionWithText {
    /// The section.
    pub section: Section,
    /// The text; none if it was left out, and empty while there is none.
    pub text: Option<Arc<str>>,
}

/// A narrative must not reach a log.
impl std::fmt::Debug for SectionWithText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SectionWithText").field("section", &self.section).finish_non_exhaustive()
    }
}

/// A text that a section has or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Id.
    pub id: RevisionId,
    /// The section.
    pub section: SectionId,
    /// Number, from 1.
    pub number: i32,
    /// The text.
    pub text: String,
    /// Where it came from.
    pub source: RevisionSource,
    /// Who wrote it or asked for it.
    pub author: Option<UserId>,
    /// The attempt that wrote it.
    pub attempt: Option<AttemptId>,
    /// Why it was changed.
    pub note: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}
