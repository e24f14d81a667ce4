//! Exports: types, inputs, payloads and the mutation.

use super::batches::Batch;
use super::connections::connection;
use super::context::{caller, load_required, moment};
use super::jobs::{JobFailure, JobStatus, UserError, settle};
use super::people::{User, user};
use super::projects::{Project, ProjectFilter};
use super::scalars::{DateTime, ObjectId};
use crate::domain::exports as domain;
use crate::domain::ids::{BatchId, ProjectId};
use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use graphql_gate::{Output, relations, roots};

/// Formats of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ExportFormat")]
pub enum ExportFormat {
    /// Word, one document for all projects.
    Docx,
    /// CSV, one row per project.
    Csv,
}

/// A project that was left out of an export.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct SkippedProject {
    /// Why.
    reason: String,
    #[graphql(skip)]
    id: ProjectId,
}

#[relations]
impl SkippedProject {
    /// The project.
    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        Ok(load_required(ctx, self.id).await?.into())
    }
}

/// An export.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct Export {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Where the export stands.
    pub(super) status: JobStatus,
    /// Share of the projects that are written, 0 to 1.
    pub(super) progress: f64,
    /// Format.
    format: ExportFormat,
    /// Number of projects.
    project_count: i32,
    /// Projects that were left out, with reasons.
    skipped: Vec<SkippedProject>,
    /// Name of the file.
    file_name: Option<String>,
    /// Size in bytes.
    bytes: Option<i32>,
    /// SHA-256 of the file.
    sha256: Option<String>,
    /// When the file is removed.
    expires_at: Option<DateTime>,
    /// When it was accepted.
    pub(super) created_at: DateTime,
    /// When a worker first took it.
    pub(super) started_at: Option<DateTime>,
    /// When it reached a final status.
    pub(super) finished_at: Option<DateTime>,
    /// Why it failed.
    pub(super) failure: Option<JobFailure>,
    #[graphql(skip)]
    row: domain::ExportJob,
}

impl From<domain::ExportJob> for Export {
    fn from(row: domain::ExportJob) -> Self {
        let skipped = |skipped: domain::Skipped| SkippedProject { reason: skipped.reason, id: skipped.project };
        Self {
            id: row.id.into(),
            status: row.status.into(),
            progress: row.progress(),
            format: row.format.into(),
            project_count: row.project_count,
            skipped: row.skipped.iter().cloned().map(skipped).collect(),
            file_name: row.file_name.clone(),
            bytes: row.bytes.map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX)),
            sha256: row.sha256.clone(),
            expires_at: moment(row.expires_at),
            created_at: DateTime(row.created_at),
            started_at: moment(row.started_at),
            finished_at: moment(row.finished_at),
            failure: row.failure.clone().map(JobFailure::from),
            row,
        }
    }
}

impl Export {
    /// Number of changes so far: the sequence of the progress stream.
    #[must_use]
    pub const fn sequence(&self) -> i64 {
        self.row.sequence
    }

    /// The id of the stream.
    #[must_use]
    pub const fn stream(&self) -> uuid::Uuid {
        self.row.id.0
    }
}

#[relations]
impl Export {
    /// The batch.
    async fn batch(&self, ctx: &Context<'_>) -> Result<Batch> {
        Ok(load_required(ctx, self.row.batch).await?.into())
    }

    /// Address to fetch the file from; new with every answer, valid for a short time. Null until finished.
    async fn download_url(&self, ctx: &Context<'_>) -> Option<Result<String>> {
        link(ctx, &self.row).await.map(|link| link.map(|(url, _)| url)).transpose()
    }

    /// When `downloadUrl` stops working.
    async fn download_url_expires_at(&self, ctx: &Context<'_>) -> Option<Result<DateTime>> {
        link(ctx, &self.row).await.map(|link| link.map(|(_, at)| DateTime(at))).transpose()
    }

    /// Who asked for it.
    pub(super) async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        user(ctx, self.row.created_by).await.transpose()
    }
}

async fn link(ctx: &Context<'_>, export: &domain::ExportJob) -> Result<Option<(String, chrono::DateTime<chrono::Utc>)>> {
    let (services, _) = caller(ctx)?;
    Ok(services.exports.download_url(export).await?)
}

connection! {
    /// Connection of exports.
    ExportConnection,
    /// Edge to an export.
    ExportEdge, "The export.", Export, domain::ExportJob
}

/// An export.
#[derive(Debug, InputObject)]
pub struct CreateExportInput {
    /// The batch.
    batch_id: ID,
    /// Format.
    format: ExportFormat,
    /// Which projects; all if absent.
    filter: Option<ProjectFilter>,
    /// True for approved projects only. If false, drafts are marked as such on every page.
    #[graphql(default = true)]
    approved_only: bool,
    /// True for the projects of the AIF selection only.
    #[graphql(default = false)]
    aif_selection_only: bool,
    /// Makes repeats harmless.
    idempotency_key: Option<String>,
}

/// Answer about an export.
#[derive(Debug, SimpleObject, Output)]
pub struct ExportPayload {
    /// The export.
    export: Option<Export>,
    /// Problems.
    user_errors: Vec<UserError>,
}

/// Mutations of exports.
#[derive(Debug, Default)]
pub struct ExportsMutation;

#[roots]
#[Object]
impl ExportsMutation {
    /// Export projects.
    async fn create_export(&self, ctx: &Context<'_>, #[graphql(desc = "What to do.")] input: CreateExportInput) -> Result<ExportPayload> {
        let (services, actor) = caller(ctx)?;
        let options = domain::ExportOptions {
            filter: input.filter.map(Into::into).unwrap_or_default(),
            approved_only: input.approved_only,
            aif_selection_only: input.aif_selection_only,
        };
        let batch = BatchId::from_global(&input.batch_id);
        let created = services.exports.create(actor, batch, input.format.into(), options, input.idempotency_key).await;
        let (export, user_errors) = settle(created)?;
        Ok(ExportPayload { export: export.map(Export::from), user_errors })
    }
}
