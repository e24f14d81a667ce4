//! Sections of a narrative and the texts that they have or had. Pure values and rules.

use super::ids::{AttemptId, ProjectId, RevisionId, SectionId, UserId};
use super::templates::Limits;
use crate::word_enum;
use chrono::{DateTime, Utc};

word_enum! {
    /// State of a section.
    pub enum SectionState {
        /// No text.
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
