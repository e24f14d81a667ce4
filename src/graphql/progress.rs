//! Subscriptions: live progress as typed events.

use super::batches::{Batch, ProjectCounts};
use super::context::{ActiveRunOf, SummaryOf, caller, load, load_required, moment};
use super::drafts::{DraftDelta, DraftFailed, DraftSectionFinished, DraftSnapshot, ProjectDraftEvent, draft_event};
use super::exports::Export;
use super::following::{Behind, Course, Given};
use super::generations::{GenerationRun, RunCounts};
use super::imports::ImportJob;
use super::jobs::{JobFailure, JobStatus, Money};
use super::projects::{Project, ProjectStatus};
use super::scalars::{DateTime, EventCursor};
use crate::domain::events::{self, BatchEvent, StoredEvent};
use crate::domain::ids::{BatchId, ExportId, ImportId, ProjectId, RunId};
use crate::services::progress::{self as domain, BatchItem, Start};
use async_graphql::{Context, Enum, ID, Interface, Result, SimpleObject, Subscription, Union};
use futures::{Stream, StreamExt, stream};
use graphql_gate::{Gate, Output, relations};
use std::future::ready;
use uuid::Uuid;

/// What all events have.
#[derive(Debug, Interface, Output)]
#[graphql(
    field(name = "cursor", ty = "&EventCursor", desc = "Position; pass the last one as `after`."),
    field(
        name = "sequence",
        ty = "&i32",
        desc = "Grows by one per event of the stream. A snapshot, `StreamLagged` and `StreamEnded` carry the sequence of the last event and use up none."
    ),
    field(name = "occurred_at", ty = "&DateTime", desc = "When it happened.")
)]
pub enum StreamEvent {
    /// See the type.
    BatchSnapshot(BatchSnapshot),
    /// See the type.
    BatchChanged(BatchChanged),
    /// See the type.
    RunStatusChanged(RunStatusChanged),
    /// See the type.
    RunProgressed(RunProgressed),
    /// See the type.
    ProjectStatusChanged(ProjectStatusChanged),
    /// See the type.
    ProjectScored(ProjectScored),
    /// See the type.
    ProjectsAdded(ProjectsAdded),
    /// See the type.
    ProjectsRemoved(ProjectsRemoved),
    /// See the type.
    StreamLagged(StreamLagged),
    /// See the type.
    StreamEnded(StreamEnded),
    /// See the type.
    DraftSnapshot(DraftSnapshot),
    /// See the type.
    DraftDelta(DraftDelta),
    /// See the type.
    DraftSectionFinished(DraftSectionFinished),
    /// See the type.
    DraftFailed(DraftFailed),
    /// See the type.
    ImportProgressEvent(ImportProgressEvent),
    /// See the type.
    ExportProgressEvent(ExportProgressEvent),
}

/// Events of a batch.
#[derive(Debug, Union, Output)]
pub enum BatchProgressEvent {
    /// The present state.
    BatchSnapshot(BatchSnapshot),
    /// The batch changed.
    BatchChanged(BatchChanged),
    /// A run came into another status.
    RunStatusChanged(RunStatusChanged),
    /// Numbers of a run changed.
    RunProgressed(RunProgressed),
    /// A project came into another status.
    ProjectStatusChanged(ProjectStatusChanged),
    /// A project was checked.
    ProjectScored(ProjectScored),
    /// Projects were added.
    ProjectsAdded(ProjectsAdded),
    /// Projects were deleted.
    ProjectsRemoved(ProjectsRemoved),
    /// The client was too slow.
    StreamLagged(StreamLagged),
    /// The stream ends.
    StreamEnded(StreamEnded),
}

/// Declares an event type: the fields that all events have, then its own, then what only its resolvers see.
macro_rules! event {
    (
        $(#[$meta:meta])* $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $ty:ty),* $(,)?
        } $({ $($hidden:ident: $hidden_ty:ty),* })?
    ) => {
        #[derive(Debug, SimpleObject, Output)]
        $(#[$meta])*
        pub struct $name {
            /// Position; pass the last one as `after`.
            pub(super) cursor: EventCursor,
            /// Grows by one per event of the stream. A snapshot, `StreamLagged` and `StreamEnded` carry the sequence of the last event and use up none.
            pub(super) sequence: i32,
            /// When it happened.
            pub(super) occurred_at: DateTime,
            $($(#[$field_doc])* $field: $ty,)*
            $($(#[graphql(skip)] $hidden: $hidden_ty,)*)?
        }
    };
}
pub(super) use event;

event! {
    /// The present state of a batch; everything before its cursor is contained in it.
    #[graphql(complex)]
    BatchSnapshot {} { batch_id: BatchId }
}

#[relations]
impl BatchSnapshot {
    /// The batch.
    async fn batch(&self, ctx: &Context<'_>) -> Result<Batch> {
        Ok(load_required(ctx, self.batch_id).await?.into())
    }

    /// Number of projects by status.
    async fn project_counts(&self, ctx: &Context<'_>) -> Result<ProjectCounts> {
        Ok(load_required(ctx, SummaryOf(self.batch_id)).await?.into())
    }

    /// The run in progress, if any.
    async fn active_run(&self, ctx: &Context<'_>) -> Option<Result<GenerationRun>> {
        load(ctx, ActiveRunOf(self.batch_id)).await.map_err(Into::into).map(|run| run.map(GenerationRun::from)).transpose()
    }
}

event! {
    /// A batch was renamed, archived or otherwise changed.
    #[graphql(complex)]
    BatchChanged {} { batch_id: BatchId }
}

#[relations]
impl BatchChanged {
    /// The batch.
    async fn batch(&self, ctx: &Context<'_>) -> Result<Batch> {
        Ok(load_required(ctx, self.batch_id).await?.into())
    }
}

event! {
    /// A run came into another status.
    #[graphql(complex)]
    RunStatusChanged {
        /// Status before.
        previous_run_status: Option<JobStatus>,
        /// Status now.
        run_status: JobStatus,
    } { run_id: RunId }
}

#[relations]
impl RunStatusChanged {
    /// The run.
    async fn run(&self, ctx: &Context<'_>) -> Result<GenerationRun> {
        Ok(load_required(ctx, self.run_id).await?.into())
    }
}

event! {
    /// Numbers of a run changed. Sent at most twice a second; the last one of a run is always sent.
    RunProgressed {
        /// Id of the run.
        run_id: ID,
        /// Share that is finished.
        progress: f64,
        /// Numbers.
        run_counts: RunCounts,
        /// Cost so far.
        cost: Money,
        /// Guess of when it will be finished.
        estimated_finish_at: Option<DateTime>,
    }
}

event! {
    /// A project came into another status, or its facts or texts changed (then both statuses are the same).
    #[graphql(complex)]
    ProjectStatusChanged {
        /// Status before.
        previous_project_status: Option<ProjectStatus>,
        /// Status now.
        project_status: ProjectStatus,
        /// Why, if it failed.
        failure: Option<JobFailure>,
    } { project_id: ProjectId }
}

#[relations]
impl ProjectStatusChanged {
    /// The project.
    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        Ok(load_required(ctx, self.project_id).await?.into())
    }
}

event! {
    /// A project was checked.
    ProjectScored {
        /// Id of the project.
        project_id: ID,
        /// 0 to 100.
        score: i32,
        /// Open issues of severity ERROR.
        error_count: i32,
        /// Open issues of severity WARNING.
        warning_count: i32,
    }
}

event! {
    /// Projects were added.
    ProjectsAdded {
        /// How many.
        count: i32,
        /// Their ids, at most 100; load the list again if there are more.
        project_ids: Vec<ID>,
    }
}

event! {
    /// Projects were deleted or moved away.
    ProjectsRemoved {
        /// Their ids.
        project_ids: Vec<ID>,
    }
}

event! {
    /// The client was too slow; a snapshot follows.
    StreamLagged {
        /// How many events were left out.
        dropped_count: i32,
    }
}

event! {
    /// The stream ends; the server closes it after this event.
    StreamEnded {
        /// Why.
        reason: StreamEndReason,
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::EndReason")]
pub enum StreamEndReason {
    /// The job that was followed is finished.
    Finished,
    /// The object was deleted.
    Deleted,
    /// The caller may no longer see it, or the token has expired.
    NotAllowed,
    /// The server shuts down; connect again.
    ShuttingDown,
}

event! {
    /// Progress of an import: sent on every change, the first at once, the last when it is finished.
    ImportProgressEvent {
        /// The import.
        import: ImportJob,
    }
}

event! {
    /// Progress of an export: sent on every change, the first at once, the last when it is finished.
    ExportProgressEvent {
        /// The export.
        export: Export,
    }
}

/// What every event begins with.
pub(super) struct Head {
    pub(super) cursor: EventCursor,
    pub(super) sequence: i32,
    pub(super) occurred_at: DateTime,
}

impl StreamLagged {
    /// So many events were left out.
    pub(super) fn new(Head { cursor, sequence, occurred_at }: Head, dropped: i64) -> Self {
        Self { cursor, sequence, occurred_at, dropped_count: i32::try_from(dropped).unwrap_or(i32::MAX) }
    }
}

impl StreamEnded {
    /// The stream ends for this reason.
    pub(super) fn new(Head { cursor, sequence, occurred_at }: Head, reason: domain::EndReason) -> Self {
        Self { cursor, sequence, occurred_at, reason: reason.into() }
    }
}

pub(super) fn head(stream: Uuid, sequence: i64, at: chrono::DateTime<chrono::Utc>) -> Head {
    let cursor = EventCursor(events::EventCursor { stream, sequence }.to_string());
    Head { cursor, sequence: i32::try_from(sequence).unwrap_or(i32::MAX), occurred_at: DateTime(at) }
}

fn project_ids(ids: &[ProjectId]) -> Vec<ID> {
    ids.iter().map(|id| id.global().into()).collect()
}

/// An item of a batch's stream as a GraphQL event.
fn batch_event(batch_id: BatchId, item: BatchItem) -> BatchProgressEvent {
    match item {
        BatchItem::Snapshot { sequence, at } => {
            let Head { cursor, sequence, occurred_at } = head(batch_id.0, sequence, at);
            BatchProgressEvent::BatchSnapshot(BatchSnapshot { cursor, sequence, occurred_at, batch_id })
        }
        BatchItem::Lagged { sequence, dropped, at } => {
            BatchProgressEvent::StreamLagged(StreamLagged::new(head(batch_id.0, sequence, at), dropped))
        }
        BatchItem::Ended { sequence, reason, at } => {
            BatchProgressEvent::StreamEnded(StreamEnded::new(head(batch_id.0, sequence, at), reason))
        }
        BatchItem::Event(stored) => stored_event(batch_id, &stored),
    }
}

fn stored_event(batch_id: BatchId, stored: &StoredEvent) -> BatchProgressEvent {
    let Head { cursor, sequence, occurred_at } = head(batch_id.0, stored.sequence, stored.occurred_at);
    match &stored.event {
        BatchEvent::BatchChanged => BatchProgressEvent::BatchChanged(BatchChanged { cursor, sequence, occurred_at, batch_id }),
        BatchEvent::RunStatusChanged { run, previous, status } => BatchProgressEvent::RunStatusChanged(RunStatusChanged {
            cursor,
            sequence,
            occurred_at,
            previous_run_status: previous.map(JobStatus::from),
            run_status: (*status).into(),
            run_id: *run,
        }),
        BatchEvent::RunProgressed { run, progress, counts, spend, estimated_finish_at } => {
            BatchProgressEvent::RunProgressed(RunProgressed {
                cursor,
                sequence,
                occurred_at,
                run_id: run.global().into(),
                progress: *progress,
                run_counts: (*counts).into(),
                cost: (*spend).into(),
                estimated_finish_at: moment(*estimated_finish_at),
            })
        }
        BatchEvent::ProjectStatusChanged { project, previous, status, failure } => {
            BatchProgressEvent::ProjectStatusChanged(ProjectStatusChanged {
                cursor,
                sequence,
                occurred_at,
                previous_project_status: previous.map(ProjectStatus::from),
                project_status: (*status).into(),
                failure: failure.clone().map(JobFailure::from),
                project_id: *project,
            })
        }
        BatchEvent::ProjectScored { project, score, errors, warnings } => BatchProgressEvent::ProjectScored(ProjectScored {
            cursor,
            sequence,
            occurred_at,
            project_id: project.global().into(),
            score: *score,
            error_count: *errors,
            warning_count: *warnings,
        }),
        BatchEvent::ProjectsAdded { count, projects } => BatchProgressEvent::ProjectsAdded(ProjectsAdded {
            cursor,
            sequence,
            occurred_at,
            count: *count,
            project_ids: project_ids(projects),
        }),
        BatchEvent::ProjectsRemoved { projects } => {
            BatchProgressEvent::ProjectsRemoved(ProjectsRemoved { cursor, sequence, occurred_at, project_ids: project_ids(projects) })
        }
    }
}

/// Live progress over graphql-transport-ws.
///
/// - Without `after` the first event is a snapshot of the present state; with `after` the missed events come first, in
///   order, without gaps; if `after` is older than the retention, a snapshot comes instead.
/// - The change from replay to live loses nothing and repeats nothing. `sequence` grows by one per event in a stream.
/// - A client that reads too slowly gets `StreamLagged` and then a snapshot, never silent loss.
/// - Authorisation is checked at the start and ends with the token; a stream of something that is deleted or taken away
///   ends with `StreamEnded`. `batchProgress` and `projectDraft` stay open across runs. `importProgress` and
///   `exportProgress` carry one type and complete after the event in which their job is final.
#[derive(Debug, Default)]
pub struct SubscriptionRoot;

#[Subscription(name = "Subscription")]
impl SubscriptionRoot {
    /// What goes on in a batch.
    async fn batch_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the batch.")] batch_id: ID,
        #[graphql(desc = "Last cursor that was seen; absent for a snapshot of the present.")] after: Option<EventCursor>,
    ) -> Result<impl Stream<Item = Result<Gate<BatchProgressEvent>>> + use<>> {
        let (services, actor) = caller(ctx)?;
        let id = BatchId::from_global(&batch_id);
        if let Some(item) = ctx.data_opt::<Given>().and_then(Given::take) {
            return Ok(stream::once(ready(item)).map(move |item| Ok(Gate(batch_event(id, item?)))).left_stream());
        }
        let start = match ctx.data_opt::<Behind>() {
            Some(Behind(sequence)) => Start::Behind(*sequence),
            None => Start::After(after.map(|cursor| cursor.0)),
        };
        let (had, items) = services.progress.watch_batch(actor.clone(), id, start).await?;
        let course = ctx.data_opt::<Course>().cloned();
        let told = items.map(move |item| {
            let item = item?;
            if let Some(course) = &course {
                course.note(id, had, &item);
            }
            Ok(Gate(batch_event(id, item)))
        });
        Ok(told.right_stream())
    }

    /// The text of a project while it is written: first a snapshot with all texts so far, then what is added to them, what
    /// is stored (by people too) and what fails. With or without `after` it begins with a snapshot, in which everything is
    /// that was written in between; the sequence goes on behind the cursor. It stays open across runs.
    async fn project_draft(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the project.")] project_id: ID,
        #[graphql(desc = "Last cursor that was seen; absent for a snapshot of the present.")] after: Option<EventCursor>,
    ) -> Result<impl Stream<Item = Result<Gate<ProjectDraftEvent>>> + use<>> {
        let (services, actor) = caller(ctx)?;
        let id = ProjectId::from_global(&project_id);
        let items = services.drafts.watch(actor.clone(), id, after.map(|cursor| cursor.0)).await?;
        Ok(items.map(move |item| Ok(Gate(draft_event(id, item?)))))
    }

    /// Progress of an import.
    async fn import_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the import.")] import_id: ID,
    ) -> Result<impl Stream<Item = Result<Gate<ImportProgressEvent>>> + use<>> {
        let (services, actor) = caller(ctx)?;
        let progress = services.progress.clone();
        let imports = progress.watch_import(actor.clone(), ImportId::from_global(&import_id)).await?;
        Ok(imports.map(move |import| {
            let import = ImportJob::from(import?);
            let Head { cursor, sequence, occurred_at } = head(import.stream(), import.sequence(), progress.now());
            Ok(Gate(ImportProgressEvent { cursor, sequence, occurred_at, import }))
        }))
    }

    /// Progress of an export.
    async fn export_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the export.")] export_id: ID,
    ) -> Result<impl Stream<Item = Result<Gate<ExportProgressEvent>>> + use<>> {
        let (services, actor) = caller(ctx)?;
        let progress = services.progress.clone();
        let exports = progress.watch_export(actor.clone(), ExportId::from_global(&export_id)).await?;
        Ok(exports.map(move |export| {
            let export = Export::from(export?);
            let Head { cursor, sequence, occurred_at } = head(export.stream(), export.sequence(), progress.now());
            Ok(Gate(ExportProgressEvent { cursor, sequence, occurred_at, export }))
        }))
    }
}
