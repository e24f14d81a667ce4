//! Events of a text that is written, as the schema has them. The subscription itself stands with the others in
//! `progress.rs`.

use super::context::load_required;
use super::jobs::JobFailure;
use super::progress::{Head, StreamEnded, StreamLagged, event, head};
use super::projects::Project;
use super::scalars::{DateTime, EventCursor};
use super::sections::{Section, SectionState};
use crate::domain::ids::ProjectId;
use crate::services::drafts::{self as domain, DraftItem, DraftNews};
use async_graphql::{Context, ID, Result, SimpleObject, Union};
use graphql_gate::{Output, relations};

/// Events of a text that is written.
#[derive(Debug, Union, Output)]
pub enum ProjectDraftEvent {
    /// All sections as they are now.
    DraftSnapshot(DraftSnapshot),
    /// More text.
    DraftDelta(DraftDelta),
    /// A section is finished and stored.
    DraftSectionFinished(DraftSectionFinished),
    /// Writing failed.
    DraftFailed(DraftFailed),
    /// The client was too slow.
    StreamLagged(StreamLagged),
    /// The stream ends.
    StreamEnded(StreamEnded),
}

event! {
    /// All sections as they are now. It comes first, after `StreamLagged`, and when a section goes back to its stored text:
    /// it replaces everything that was shown.
    #[graphql(complex)]
    DraftSnapshot {
        /// Texts, with what was written so far.
        sections: Vec<DraftSection>,
    } { project_id: ProjectId }
}

#[relations]
impl DraftSnapshot {
    /// The project.
    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        Ok(load_required(ctx, self.project_id).await?.into())
    }
}

/// A text that is written.
#[derive(Debug, SimpleObject, Output)]
pub struct DraftSection {
    /// Key of the section.
    key: String,
    /// Text so far.
    text: String,
    /// State.
    state: SectionState,
}

impl From<domain::SectionNow> for DraftSection {
    fn from(section: domain::SectionNow) -> Self {
        Self { key: section.key, text: section.text, state: section.state.into() }
    }
}

event! {
    /// More text. Small pieces are joined for up to 100 ms.
    DraftDelta {
        /// Key of the section.
        section_key: String,
        /// The attempt; a new one starts the section anew.
        attempt_id: ID,
        /// Where the text goes, in Unicode scalar values from the start of the section.
        offset: i32,
        /// The text.
        text: String,
    }
}

event! {
    /// A section is finished and stored, or its text was changed by a person.
    DraftSectionFinished {
        /// The section as stored; replaces all pieces.
        section: Section,
    }
}

event! {
    /// Writing failed. Earlier text is kept.
    DraftFailed {
        /// Section; null for all.
        failed_section_key: Option<String>,
        /// Why.
        failure: JobFailure,
        /// True if it will be tried again without being asked.
        will_retry: bool,
    }
}

/// An item of a project's stream as a GraphQL event.
pub(super) fn draft_event(project_id: ProjectId, item: DraftItem) -> ProjectDraftEvent {
    let head = head(project_id.0, item.sequence, item.at);
    match item.what {
        DraftNews::Snapshot(sections) => {
            let Head { cursor, sequence, occurred_at } = head;
            let sections = sections.into_iter().map(DraftSection::from).collect();
            ProjectDraftEvent::DraftSnapshot(DraftSnapshot { cursor, sequence, occurred_at, sections, project_id })
        }
        DraftNews::More { section_key, attempt, offset, text } => {
            let Head { cursor, sequence, occurred_at } = head;
            let (attempt_id, offset) = (attempt.global().into(), i32::try_from(offset).unwrap_or(i32::MAX));
            ProjectDraftEvent::DraftDelta(DraftDelta { cursor, sequence, occurred_at, section_key, attempt_id, offset, text })
        }
        DraftNews::Stored(section) => {
            let Head { cursor, sequence, occurred_at } = head;
            ProjectDraftEvent::DraftSectionFinished(DraftSectionFinished { cursor, sequence, occurred_at, section: section.into() })
        }
        DraftNews::Failed { section_key, failure, will_retry } => {
            let Head { cursor, sequence, occurred_at } = head;
            let (failed_section_key, failure) = (Some(section_key), failure.into());
            ProjectDraftEvent::DraftFailed(DraftFailed { cursor, sequence, occurred_at, failed_section_key, failure, will_retry })
        }
        DraftNews::Lagged(dropped) => ProjectDraftEvent::StreamLagged(StreamLagged::new(head, dropped)),
        DraftNews::Ended(reason) => ProjectDraftEvent::StreamEnded(StreamEnded::new(head, reason)),
    }
}
