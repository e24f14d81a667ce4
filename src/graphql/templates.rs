//! Templates and their versions: types, inputs, payloads, queries and mutations.

use super::connections::{Total, connection};
use super::context::{VersionsOf, caller, forward, load_required};
use super::jobs::{DeletePayload, UserError, settle};
use super::people::{User, user};
use super::scalars::{DateTime, ObjectId};
use super::sections::SectionLimits;
use crate::domain::ids::TemplateId;
use crate::domain::templates as domain;
use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, OneofObject, Result, SimpleObject};
use graphql_gate::{Output, relations, roots};

/// A template: the sections of a narrative. Changing it makes a new version; old narratives keep theirs.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct Template {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Stable key, such as `aif-project-description`.
    key: String,
    /// Name.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// True if it came with the product; duplicate it to change it.
    built_in: bool,
    /// True if archived.
    archived: bool,
    /// When it was created.
    created_at: DateTime,
    /// When it last changed.
    updated_at: DateTime,
    #[graphql(skip)]
    row: domain::Template,
}

impl From<domain::Template> for Template {
    fn from(row: domain::Template) -> Self {
        Self {
            id: row.id.into(),
            key: row.key.clone(),
            name: row.name.clone(),
            description: row.description.clone(),
            built_in: row.built_in,
            archived: row.archived_at.is_some(),
            created_at: DateTime(row.created_at),
            updated_at: DateTime(row.updated_at),
            row,
        }
    }
}

#[relations]
impl Template {
    /// Newest version.
    async fn current_version(&self, ctx: &Context<'_>) -> Result<TemplateVersion> {
        Ok(load_required(ctx, self.row.current_version).await?.into())
    }

    /// One version.
    async fn version(&self, ctx: &Context<'_>, #[graphql(desc = "Number of the version.")] number: i32) -> Option<Result<TemplateVersion>> {
        let find = async {
            let (services, actor) = caller(ctx)?;
            services.templates.find_version(actor, self.row.id, number).await
        };
        find.await.map_err(Into::into).map(|version| version.map(TemplateVersion::from)).transpose()
    }

    /// All versions, newest first.
    async fn versions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(20)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<TemplateVersionConnection> {
        let page = load_required(ctx, VersionsOf(self.row.id, forward(first, after))).await?;
        Ok(TemplateVersionConnection::new(page, Total::Known(self.row.current_number)))
    }
}

/// A version of a template. Never changes.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct TemplateVersion {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Number, from 1.
    number: i32,
    /// Sections in order.
    sections: Vec<TemplateSection>,
    /// Instructions for all sections.
    instructions: Option<String>,
    /// What changed.
    note: Option<String>,
    /// When.
    created_at: DateTime,
    #[graphql(skip)]
    row: domain::TemplateVersion,
}

impl From<domain::TemplateVersion> for TemplateVersion {
    fn from(row: domain::TemplateVersion) -> Self {
        Self {
            id: row.id.into(),
            number: row.number,
            sections: row.sections.iter().cloned().map(TemplateSection::from).collect(),
            instructions: row.instructions.clone(),
            note: row.note.clone(),
            created_at: DateTime(row.created_at),
            row,
        }
    }
}

#[relations]
impl TemplateVersion {
    /// The template.
    async fn template(&self, ctx: &Context<'_>) -> Result<Template> {
        Ok(load_required(ctx, self.row.template).await?.into())
    }

    /// Who made it.
    async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        user(ctx, self.row.created_by).await.transpose()
    }
}

/// A section of a template.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct TemplateSection {
    /// Key, unique in the template, lower case with underscores.
    key: String,
    /// Title.
    title: String,
    /// Instructions for the writer, person or model.
    guidance: String,
    /// Question of the additional information form that it answers, if any.
    aif_question: Option<String>,
    /// Facts that it may use.
    source_facts: Vec<String>,
    /// True if it must have text.
    required: bool,
    /// Limits.
    limits: SectionLimits,
}

impl From<domain::TemplateSection> for TemplateSection {
    fn from(section: domain::TemplateSection) -> Self {
        Self {
            key: section.key,
            title: section.title,
            guidance: section.guidance,
            aif_question: section.aif_question,
            source_facts: section.source_facts,
            required: section.required,
            limits: section.limits.into(),
        }
    }
}

connection! {
    /// Connection of templates.
    TemplateConnection,
    /// Edge to a template.
    TemplateEdge, "The template.", Template, domain::Template
}

connection! {
    /// Connection of template versions.
    TemplateVersionConnection,
    /// Edge to a template version.
    TemplateVersionEdge, "The version.", TemplateVersion, domain::TemplateVersion
}

/// Which templates.
#[derive(Debug, InputObject)]
pub struct TemplateFilter {
    /// Text in name, key or description.
    text: Option<String>,
    /// Archived ones too.
    #[graphql(default_with = "Some(false)")]
    include_archived: Option<bool>,
    /// Built-in ones only, or own ones only.
    built_in: Option<bool>,
}

impl From<TemplateFilter> for domain::TemplateFilter {
    fn from(filter: TemplateFilter) -> Self {
        let text = filter.text.filter(|text| !text.trim().is_empty());
        Self { text, include_archived: filter.include_archived.unwrap_or(false), built_in: filter.built_in }
    }
}

/// A template by exactly one of these.
#[derive(Debug, OneofObject)]
pub enum TemplateBy {
    /// Id.
    Id(ID),
    /// Key.
    Key(String),
}

/// A section of a template.
#[derive(Debug, InputObject)]
pub struct TemplateSectionInput {
    /// Key.
    key: String,
    /// Title.
    title: String,
    /// Instructions.
    guidance: String,
    /// Question of the form.
    aif_question: Option<String>,
    /// Facts that it may use; all if absent.
    source_facts: Option<Vec<String>>,
    /// True if it must have text.
    #[graphql(default = true)]
    required: bool,
    /// Fewest words.
    #[graphql(default = 0)]
    min_words: i32,
    /// Most words.
    #[graphql(default = 500)]
    max_words: i32,
    /// Most characters.
    #[graphql(default = 20000)]
    max_chars: i32,
}

impl From<TemplateSectionInput> for domain::TemplateSection {
    fn from(input: TemplateSectionInput) -> Self {
        Self {
            key: input.key,
            title: input.title,
            guidance: input.guidance,
            aif_question: input.aif_question,
            source_facts: input.source_facts.unwrap_or_default(),
            required: input.required,
            limits: domain::Limits { min_words: input.min_words, max_words: input.max_words, max_chars: input.max_chars },
        }
    }
}

/// A new template.
#[derive(Debug, InputObject)]
pub struct CreateTemplateInput {
    /// Name.
    name: String,
    /// Key; made from the name if absent.
    key: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// Instructions for all sections.
    instructions: Option<String>,
    /// Sections, 1 to 30.
    sections: Vec<TemplateSectionInput>,
    /// Makes repeats harmless.
    idempotency_key: Option<String>,
}

/// Changes of a template.
#[derive(Debug, InputObject)]
pub struct UpdateTemplateInput {
    /// The template.
    pub(super) id: ID,
    /// Refuse if the newest version is another one.
    expected_version: Option<i32>,
    /// Name.
    name: MaybeUndefined<String>,
    /// What it is for.
    description: MaybeUndefined<String>,
    /// Instructions for all sections.
    instructions: MaybeUndefined<String>,
    /// All sections of the new version.
    sections: MaybeUndefined<Vec<TemplateSectionInput>>,
    /// What changed.
    note: Option<String>,
}

/// Answer about a template.
#[derive(Debug, SimpleObject, Output)]
pub struct TemplatePayload {
    /// The template; the current one if refused; null if not found.
    template: Option<Template>,
    /// Problems.
    user_errors: Vec<UserError>,
}

async fn payload(ctx: &Context<'_>, id: Option<TemplateId>, result: crate::error::Result<domain::Template>) -> Result<TemplatePayload> {
    let (template, user_errors) = settle(result)?;
    let template = match (template, id) {
        (Some(template), _) => Some(template),
        (None, Some(id)) => {
            let (services, actor) = caller(ctx)?;
            services.templates.find(actor, id).await?
        }
        (None, None) => None,
    };
    Ok(TemplatePayload { template: template.map(Template::from), user_errors })
}

/// Queries of templates.
#[derive(Debug, Default)]
pub struct TemplatesQuery;

#[roots]
#[Object]
impl TemplatesQuery {
    /// One template, by id or by key.
    async fn template(&self, ctx: &Context<'_>, #[graphql(desc = "How to find it.")] by: TemplateBy) -> Option<Result<Template>> {
        let find = async {
            let (services, actor) = caller(ctx)?;
            match by {
                TemplateBy::Id(id) => services.templates.find(actor, TemplateId::from_global(&id)).await,
                TemplateBy::Key(key) => services.templates.find_by_key(actor, &key).await,
            }
        };
        find.await.map_err(Into::into).map(|template| template.map(Template::from)).transpose()
    }

    /// Templates of the workspace, built-in ones included.
    async fn templates(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(50)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "Which items; all that are visible if absent.")] filter: Option<TemplateFilter>,
    ) -> Result<TemplateConnection> {
        let (services, actor) = caller(ctx)?;
        let filter = filter.map(domain::TemplateFilter::from).unwrap_or_default();
        let page = services.templates.list(actor, &filter, &forward(first, after)).await?;
        Ok(TemplateConnection::new(page, Total::Templates(filter)))
    }
}

/// Mutations of templates.
#[derive(Debug, Default)]
pub struct TemplatesMutation;

#[roots]
#[Object]
impl TemplatesMutation {
    /// Create a template.
    async fn create_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: CreateTemplateInput,
    ) -> Result<TemplatePayload> {
        let (services, actor) = caller(ctx)?;
        let new = domain::NewTemplate {
            name: input.name,
            key: input.key,
            description: input.description,
            instructions: input.instructions,
            sections: input.sections.into_iter().map(Into::into).collect(),
        };
        payload(ctx, None, services.templates.create(actor, new, input.idempotency_key).await).await
    }

    /// Change a template: makes a new version.
    async fn update_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: UpdateTemplateInput,
    ) -> Result<TemplatePayload> {
        let (services, actor) = caller(ctx)?;
        let id = TemplateId::from_global(&input.id);
        let sections = input.sections.map_value(|all| all.into_iter().map(domain::TemplateSection::from).collect::<Vec<_>>());
        let patch = domain::TemplatePatch {
            name: input.name.into(),
            description: input.description.into(),
            instructions: input.instructions.into(),
            sections: sections.into(),
            note: input.note,
        };
        payload(ctx, Some(id), services.templates.update(actor, id, input.expected_version, patch).await).await
    }

    /// Copy a template, built-in ones too.
    async fn duplicate_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the object.")] id: ID,
        #[graphql(desc = "Name of the copy.")] name: String,
        #[graphql(desc = "Key of the copy; made from the name if absent.")] key: Option<String>,
    ) -> Result<TemplatePayload> {
        let (services, actor) = caller(ctx)?;
        payload(ctx, None, services.templates.duplicate(actor, TemplateId::from_global(&id), name, key).await).await
    }

    /// Archive a template. Batches that use it keep their version.
    async fn archive_template(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Result<TemplatePayload> {
        let (services, actor) = caller(ctx)?;
        let id = TemplateId::from_global(&id);
        payload(ctx, Some(id), services.templates.set_archived(actor, id, true).await).await
    }

    /// Bring back an archived template.
    async fn restore_template(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Result<TemplatePayload> {
        let (services, actor) = caller(ctx)?;
        let id = TemplateId::from_global(&id);
        payload(ctx, Some(id), services.templates.set_archived(actor, id, false).await).await
    }

    /// Delete a template that was never used.
    async fn delete_template(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Result<DeletePayload> {
        let (services, actor) = caller(ctx)?;
        let id = TemplateId::from_global(&id);
        let (deleted, user_errors) = settle(services.templates.delete(actor, id).await)?;
        Ok(DeletePayload { deleted_id: deleted.map(|()| id.global().into()), purge_after: None, user_errors })
    }
}
