//! Objects by global id, and the interfaces that they share.

use super::batches::Batch;
use super::context::{caller, load};
use super::exports::Export;
use super::generations::{GenerationAttempt, GenerationRun};
use super::imports::ImportJob;
use super::jobs::{JobFailure, JobStatus};
use super::people::{User, Workspace};
use super::projects::Project;
use super::scalars::{DateTime, ObjectId};
use super::sections::{Section, SectionRevision};
use super::templates::{Template, TemplateVersion};
use crate::domain::ids::{
    AttemptId, BatchId, ExportId, GlobalId, IdKind, ImportId, ProjectId, RevisionId, RunId, SectionId, TemplateId, TemplateVersionId,
    UserId, WorkspaceId,
};
use crate::error::Error;
use async_graphql::{Context, ID, Interface, Object, Result};
use futures::future::join_all;
use graphql_gate::{Output, roots};

/// Most ids of one `nodes`.
const MAX_NODES: usize = 100;

/// Anything with a global id.
#[derive(Debug, Clone, Interface, Output)]
#[graphql(field(name = "id", ty = "&ObjectId", desc = "Opaque global id."))]
pub enum Node {
    /// A batch.
    Batch(Box<Batch>),
    /// A project.
    Project(Box<Project>),
    /// A section.
    Section(Box<Section>),
    /// A revision of a section.
    SectionRevision(SectionRevision),
    /// A template.
    Template(Template),
    /// A version of a template.
    TemplateVersion(TemplateVersion),
    /// A run.
    GenerationRun(Box<GenerationRun>),
    /// An attempt.
    GenerationAttempt(Box<GenerationAttempt>),
    /// An import.
    ImportJob(Box<ImportJob>),
    /// An export.
    Export(Box<Export>),
    /// A person.
    User(User),
    /// A practice.
    Workspace(Workspace),
}

/// Long work that runs in the background.
#[derive(Debug, Clone, Interface, Output)]
#[graphql(
    field(name = "id", ty = "&ObjectId", desc = "Opaque global id."),
    field(name = "status", ty = "&JobStatus", desc = "Where the job stands."),
    field(name = "progress", ty = "&f64", desc = "Share of the work that is finished, 0 to 1. Never goes back within one attempt."),
    field(name = "created_at", ty = "&DateTime", desc = "When the job was accepted."),
    field(name = "started_at", ty = "&Option<DateTime>", desc = "When a worker first took it."),
    field(name = "finished_at", ty = "&Option<DateTime>", desc = "When it reached a final status."),
    field(name = "created_by", ty = "Option<Result<User>>", desc = "Who asked for it."),
    field(name = "failure", ty = "&Option<JobFailure>", desc = "Why it failed or was stopped.")
)]
pub enum Job {
    /// A run.
    GenerationRun(Box<GenerationRun>),
    /// An import.
    ImportJob(Box<ImportJob>),
    /// An export.
    Export(Box<Export>),
}

async fn find(ctx: &Context<'_>, id: &ID) -> Result<Option<Node>> {
    let (services, actor) = caller(ctx)?;
    let Some(GlobalId { kind, uuid }) = GlobalId::parse(id) else { return Ok(None) };
    Ok(match kind {
        IdKind::Batch => load(ctx, BatchId(uuid)).await?.map(|row| Node::Batch(Box::new(row.into()))),
        IdKind::Project => load(ctx, ProjectId(uuid)).await?.map(|row| Node::Project(Box::new(row.into()))),
        IdKind::Section => services.sections.find(actor, SectionId(uuid)).await?.map(|row| Node::Section(Box::new(row.into()))),
        IdKind::SectionRevision => {
            services.sections.find_revision(actor, RevisionId(uuid)).await?.map(|row| Node::SectionRevision(row.into()))
        }
        IdKind::Template => load(ctx, TemplateId(uuid)).await?.map(|row| Node::Template(row.into())),
        IdKind::TemplateVersion => load(ctx, TemplateVersionId(uuid)).await?.map(|row| Node::TemplateVersion(row.into())),
        IdKind::GenerationRun => load(ctx, RunId(uuid)).await?.map(|row| Node::GenerationRun(Box::new(row.into()))),
        IdKind::GenerationAttempt => load(ctx, AttemptId(uuid)).await?.map(|row| Node::GenerationAttempt(Box::new(row.into()))),
        IdKind::ImportJob => load(ctx, ImportId(uuid)).await?.map(|row| Node::ImportJob(Box::new(row.into()))),
        IdKind::Export => services.exports.find(actor, ExportId(uuid)).await?.map(|row| Node::Export(Box::new(row.into()))),
        // a permission to send a file, not an object to look at
        IdKind::Upload => None,
        IdKind::User => load(ctx, UserId(uuid)).await?.map(|row| Node::User(row.into())),
        IdKind::Workspace => services.people.find_workspace(actor, WorkspaceId(uuid)).await?.map(|row| Node::Workspace(row.into())),
    })
}

/// Queries by global id.
#[derive(Debug, Default)]
pub struct NodesQuery;

#[roots]
#[Object]
impl NodesQuery {
    /// One object by id; null if it does not exist or is not visible.
    async fn node(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Option<Result<Node>> {
        find(ctx, &id).await.transpose()
    }

    /// Several objects, in the order of the ids; null where `node` would be null. At most 100.
    async fn nodes(&self, ctx: &Context<'_>, #[graphql(desc = "Ids; at most 100.")] ids: Vec<ID>) -> Result<Vec<Option<Node>>> {
        if ids.len() > MAX_NODES {
            return Err(Error::argument("ids", format!("At most {MAX_NODES} ids; there were {}. Send several requests.", ids.len())).into());
        }
        join_all(ids.iter().map(|id| find(ctx, id))).await.into_iter().collect()
    }
}
