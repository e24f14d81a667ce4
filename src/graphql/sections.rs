//! Sections and their revisions: types, inputs, payloads and mutations.

use super::connections::{Total, connection};
use super::context::{RevisionsOf, TextOf, caller, forward, load, load_all, load_required};
use super::generations::GenerationAttempt;
use super::jobs::{UserError, settle};
use super::people::{User, user};
use super::projects::Project;
use super::quality::QualityReport;
use super::scalars::{DateTime, ObjectId};
use crate::domain::generations::NewRewriting;
use crate::domain::ids::{ProjectId, SectionId};
use crate::domain::{sections as domain, templates};
use crate::services::sections::ChangedSection;
use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use graphql_gate::{Output, relations, roots};
use std::sync::Arc;

/// State of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::SectionState")]
pub enum SectionState {
    /// No text.
    Empty,
    /// Being written.
    Generating,
    /// Written by a model, untouched since.
    Generated,
    /// Changed by a person.
    Edited,
    /// Locked by approval.
    Locked,
}

/// Limits of a section.
#[derive(Debug, Clone, Copy, SimpleObject, Output)]
pub struct SectionLimits {
    /// Fewest words.
    min_words: i32,
    /// Most words.
    max_words: i32,
    /// Most characters.
    max_chars: i32,
}

impl From<templates::Limits> for SectionLimits {
    fn from(limits: templates::Limits) -> Self {
        Self { min_words: limits.min_words, max_words: limits.max_words, max_chars: limits.max_chars }
    }
}

/// A section of a narrative.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct Section {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Key in the template, such as `uncertainties`.
    pub(super) key: String,
    /// Title in the template.
    title: String,
    /// State.
    state: SectionState,
    /// Grows with every change of text; pass it as `expectedRevision`.
    revision: i32,
    /// Words.
    word_count: i32,
    /// Characters (Unicode scalar values).
    char_count: i32,
    /// Limits from the template.
    limits: SectionLimits,
    #[graphql(skip)]
    section: SectionId,
    #[graphql(skip)]
    project: ProjectId,
    /// The newest text, if it was read together with the section.
    #[graphql(skip)]
    text: Option<Arc<str>>,
}

impl From<domain::Section> for Section {
    fn from(row: domain::Section) -> Self {
        Self {
            id: row.id.into(),
            key: row.key,
            title: row.title,
            state: row.state.into(),
            revision: row.revision,
            word_count: row.word_count,
            char_count: row.char_count,
            limits: row.limits.into(),
            section: row.id,
            project: row.project,
            text: None,
        }
    }
}

impl From<domain::SectionWithText> for Section {
    fn from(row: domain::SectionWithText) -> Self {
        Self { text: row.text, ..row.section.into() }
    }
}

#[relations]
impl Section {
    /// The project.
    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        Ok(load_required(ctx, self.project).await?.into())
    }

    /// Plain text; paragraphs are divided by a blank line.
    async fn text(sections: &[&Self], ctx: &Context<'_>) -> Result<Vec<Arc<str>>> {
        let written = sections.iter().filter(|section| section.text.is_none() && section.revision > 0);
        let mut texts = load_all(ctx, written.map(|section| TextOf(section.section))).await?;
        let mut read = |section: &Self| texts.take(&TextOf(section.section)).unwrap_or_default().into();
        let of = |section: &&Self| section.text.clone().unwrap_or_else(|| read(section));
        Ok(sections.iter().map(of).collect())
    }

    /// Earlier and current texts, newest first.
    async fn revisions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(20)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<SectionRevisionConnection> {
        let page = load_required(ctx, RevisionsOf(self.section, forward(first, after))).await?;
        Ok(SectionRevisionConnection::new(page, Total::Revisions(self.section)))
    }
}

/// Where a revision came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::RevisionSource")]
pub enum RevisionSource {
    /// A model wrote it.
    Model,
    /// A person wrote it.
    Person,
    /// An earlier revision was brought back.
    Restore,
}

/// A text that a section has or had.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct SectionRevision {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Number, from 1.
    number: i32,
    /// The text.
    text: String,
    /// Where it came from.
    source: RevisionSource,
    /// Why it was changed, or how it came about.
    note: Option<String>,
    /// When.
    created_at: DateTime,
    #[graphql(skip)]
    row: domain::Revision,
}

impl From<domain::Revision> for SectionRevision {
    fn from(row: domain::Revision) -> Self {
        Self {
            id: row.id.into(),
            number: row.number,
            text: row.text.clone(),
            source: row.source.into(),
            note: row.note.clone(),
            created_at: DateTime(row.created_at),
            row,
        }
    }
}

#[relations]
impl SectionRevision {
    /// Who wrote it or asked for it.
    async fn author(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        user(ctx, self.row.author).await.transpose()
    }

    /// The attempt that wrote it.
    async fn attempt(&self, ctx: &Context<'_>) -> Option<Result<GenerationAttempt>> {
        let attempt = self.row.attempt?;
        load(ctx, attempt).await.map_err(Into::into).map(|attempt| attempt.map(GenerationAttempt::from)).transpose()
    }
}

connection! {
    /// Connection of section revisions.
    SectionRevisionConnection,
    /// Edge to a section revision.
    SectionRevisionEdge, "The revision.", SectionRevision, domain::Revision
}

/// A section to be written anew.
#[derive(Debug, InputObject)]
pub struct RegenerateSectionInput {
    /// The section.
    section_id: ID,
    /// Wish, such as 'explain why the answer could not be deduced'; limited to 2,000 characters.
    wish: Option<String>,
    /// Refuse if the section is at another revision.
    expected_revision: Option<i32>,
    /// Makes repeats harmless.
    idempotency_key: Option<String>,
}

/// Answer about a section that is being written anew.
#[derive(Debug, SimpleObject, Output)]
pub struct RegenerateSectionPayload {
    /// The section, in state GENERATING; the current one if refused.
    section: Option<Section>,
    /// The attempt; follow it with `projectDraft`. A try that fails is followed by another attempt.
    attempt: Option<GenerationAttempt>,
    /// Problems.
    user_errors: Vec<UserError>,
}

/// A change of text.
#[derive(Debug, InputObject)]
pub struct EditSectionInput {
    /// The section.
    section_id: ID,
    /// The whole new text.
    text: String,
    /// Refuse if the section is at another revision.
    expected_revision: i32,
    /// Why.
    note: Option<String>,
}

/// Answer about a section.
#[derive(Debug, SimpleObject, Output)]
pub struct SectionPayload {
    /// The section; the current one if refused.
    section: Option<Section>,
    /// The project's check after the change.
    quality: Option<QualityReport>,
    /// Problems.
    user_errors: Vec<UserError>,
}

async fn payload(ctx: &Context<'_>, id: SectionId, result: crate::error::Result<ChangedSection>) -> Result<SectionPayload> {
    let (services, actor) = caller(ctx)?;
    let (changed, user_errors) = settle(result)?;
    Ok(if let Some(ChangedSection { section, report }) = changed {
        let quality = Some(QualityReport::of(report, services.progress.now()));
        SectionPayload { section: Some(section.into()), quality, user_errors }
    } else {
        let section = services.sections.find(actor, id).await?.map(Section::from);
        SectionPayload { section, quality: None, user_errors }
    })
}

/// Mutations of sections.
#[derive(Debug, Default)]
pub struct SectionsMutation;

#[roots]
#[Object]
impl SectionsMutation {
    /// Write one section anew, with a wish if given. It is written with the model that wrote it last, if that is still
    /// configured. Until it has ended its project is GENERATING; the earlier text stays as a revision, and stays the current
    /// one if nothing comes of it.
    async fn regenerate_section(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: RegenerateSectionInput,
    ) -> Result<RegenerateSectionPayload> {
        let (services, actor) = caller(ctx)?;
        let id = SectionId::from_global(&input.section_id);
        let new = NewRewriting { section: id, wish: input.wish, expected: input.expected_revision };
        let (rewriting, user_errors) = settle(services.generations.rewrite(actor, new, input.idempotency_key).await)?;
        let (section, attempt) = match rewriting {
            Some(rewriting) => (Some(rewriting.section), Some(rewriting.attempt.into())),
            None => (services.sections.find(actor, id).await?, None),
        };
        Ok(RegenerateSectionPayload { section: section.map(Section::from), attempt, user_errors })
    }

    /// Change the text of a section.
    async fn edit_section(&self, ctx: &Context<'_>, #[graphql(desc = "What to do.")] input: EditSectionInput) -> Result<SectionPayload> {
        let (services, actor) = caller(ctx)?;
        let id = SectionId::from_global(&input.section_id);
        payload(ctx, id, services.sections.edit(actor, id, &input.text, input.expected_revision, input.note).await).await
    }

    /// Bring back an earlier text.
    async fn restore_section_revision(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the section.")] section_id: ID,
        #[graphql(desc = "Number of the version or revision.")] number: i32,
        #[graphql(desc = "Refuse with REVISION_CONFLICT if the object is at another revision.")] expected_revision: Option<i32>,
    ) -> Result<SectionPayload> {
        let (services, actor) = caller(ctx)?;
        let id = SectionId::from_global(&section_id);
        payload(ctx, id, services.sections.restore_revision(actor, id, number, expected_revision).await).await
    }
}
