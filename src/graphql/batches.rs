//! Batches: type, inputs, payloads, queries and mutations.

use super::aif::AifSelection;
use super::connections::{Total, connection};
use super::context::{
    ActiveRunOf, ExportsOf, ImportsOf, PartsOfBatch, RunsOf, SpendOfBatch, SummaryOf, caller, forward, load, load_required, load_root,
    moment,
};
use super::exports::ExportConnection;
use super::generations::{GenerationRun, GenerationRunConnection};
use super::imports::ImportJobConnection;
use super::jobs::{DeletePayload, Money, SortDirection, UserError, settle};
use super::parts;
use super::people::{User, user};
use super::projects::{ProjectConnection, ProjectFilter, ProjectOrder};
use super::scalars::{Date, DateTime, EventCursor, ObjectId};
use super::templates::Template;
use crate::domain::batches as domain;
use crate::domain::events;
use crate::domain::ids::{BatchId, TemplateId, UserId};
use crate::domain::paging::{Direction, PageArgs};
use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use graphql_gate::{Output, Plan, relations, roots};

/// State of a batch in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::BatchLifecycle")]
pub enum BatchLifecycle {
    /// In use.
    Active,
    /// Out of the way, read-only.
    Archived,
}

/// What goes on in a batch, derived from its projects and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::BatchActivity")]
pub enum BatchActivity {
    /// No project yet.
    Empty,
    /// Nothing is running and something is not yet generated.
    Ready,
    /// An import is running.
    Importing,
    /// A run is queued or running, or a single section is being written.
    Generating,
    /// Paused by a budget cap.
    Paused,
    /// Everything is generated; something is not yet approved.
    InReview,
    /// Everything is approved.
    Approved,
}

/// Relief that a claim is made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ReliefScheme")]
pub enum ReliefScheme {
    /// Merged scheme R&D expenditure credit (accounting periods beginning on or after 1 April 2024).
    MergedRdec,
    /// Enhanced R&D intensive support (same periods, loss-making R&D-intensive SMEs).
    Eris,
    /// Old SME relief (periods beginning before 1 April 2024).
    SmeLegacy,
    /// Old expenditure credit (periods beginning before 1 April 2024).
    RdecLegacy,
}

/// The claim that a batch is for.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct ClaimDetails {
    /// Claimant company.
    company_name: Option<String>,
    /// First day of the accounting period.
    accounting_period_start: Option<Date>,
    /// Last day of the accounting period.
    accounting_period_end: Option<Date>,
    /// Relief claimed.
    scheme: Option<ReliefScheme>,
    /// True if the company must or may need to send a claim notification (first claim, or none in the last three years).
    notification_required: Option<bool>,
    /// Last day for the claim notification: six months after the end of the period of account. Worked out for periods of 12 months; check long periods.
    notification_due_by: Option<Date>,
    /// Last day to claim: two years after the end of the period of account.
    claim_due_by: Option<Date>,
}

impl From<&domain::Claim> for ClaimDetails {
    fn from(claim: &domain::Claim) -> Self {
        Self {
            company_name: claim.company_name.clone(),
            accounting_period_start: claim.period_start.map(Date),
            accounting_period_end: claim.period_end.map(Date),
            scheme: claim.scheme.map(ReliefScheme::from),
            notification_required: claim.notification_required,
            notification_due_by: claim.notification_due().map(Date),
            claim_due_by: claim.claim_due().map(Date),
        }
    }
}

/// Number of projects by status.
#[derive(Debug, Clone, Copy, SimpleObject, Output)]
pub struct ProjectCounts {
    /// All projects that are not deleted.
    total: i32,
    /// Not yet generated.
    draft: i32,
    /// Waiting for a worker.
    queued: i32,
    /// Being generated.
    generating: i32,
    /// Generated, to be reviewed.
    needs_review: i32,
    /// Approved.
    approved: i32,
    /// Last generation failed.
    failed: i32,
    /// Projects with an open issue of severity ERROR.
    with_errors: i32,
}

impl From<domain::BatchSummary> for ProjectCounts {
    fn from(summary: domain::BatchSummary) -> Self {
        Self {
            total: summary.total(),
            draft: summary.draft,
            queued: summary.queued,
            generating: summary.generating,
            needs_review: summary.needs_review,
            approved: summary.approved,
            failed: summary.failed,
            with_errors: summary.with_errors,
        }
    }
}

/// A set of projects that are handled together, normally one claim of one company.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct Batch {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Name, unique among the batches of the workspace that are neither archived nor deleted.
    name: String,
    /// Free text.
    description: Option<String>,
    /// The practice's own reference.
    external_ref: Option<String>,
    /// Grows with every change; pass it as `expectedRevision`.
    revision: i32,
    /// Archive state.
    lifecycle: BatchLifecycle,
    /// The claim.
    claim: Option<ClaimDetails>,
    /// Qualifying expenditure of all projects.
    total_qualifying_expenditure: Money,
    /// When it was created.
    created_at: DateTime,
    /// When it last changed.
    updated_at: DateTime,
    /// When a deleted batch is removed for good.
    purge_after: Option<DateTime>,
    #[graphql(skip)]
    batch: BatchId,
    #[graphql(skip)]
    event_sequence: i64,
    #[graphql(skip)]
    template: TemplateId,
    #[graphql(skip)]
    created_by: Option<UserId>,
}

impl From<domain::Batch> for Batch {
    fn from(row: domain::Batch) -> Self {
        Self {
            id: row.id.into(),
            lifecycle: row.lifecycle().into(),
            name: row.name,
            description: row.description,
            external_ref: row.external_ref,
            revision: row.revision,
            claim: (!row.claim.is_empty()).then(|| ClaimDetails::from(&row.claim)),
            total_qualifying_expenditure: row.expenditure.into(),
            created_at: DateTime(row.created_at),
            updated_at: DateTime(row.updated_at),
            purge_after: moment(row.purge_after),
            batch: row.id,
            event_sequence: row.event_sequence,
            template: row.template,
            created_by: row.created_by,
        }
    }
}

#[relations]
impl Batch {
    /// Position in the event stream that matches this answer: subscribe `after` it to miss nothing.
    fn event_cursor(&self) -> EventCursor {
        EventCursor(events::EventCursor { stream: self.batch.0, sequence: self.event_sequence }.to_string())
    }

    /// What goes on.
    async fn activity(&self, ctx: &Context<'_>) -> Result<BatchActivity> {
        Ok(load_required(ctx, SummaryOf(self.batch)).await?.activity().into())
    }

    /// Template used unless a run says otherwise.
    async fn template(&self, ctx: &Context<'_>) -> Option<Result<Template>> {
        Some(load_required(ctx, self.template).await.map(Template::from).map_err(Into::into))
    }

    /// Number of projects by status.
    async fn counts(&self, ctx: &Context<'_>) -> Result<ProjectCounts> {
        Ok(load_required(ctx, SummaryOf(self.batch)).await?.into())
    }

    /// What models have cost for this batch, all runs and single sections together.
    async fn generation_cost(&self, ctx: &Context<'_>) -> Result<Money> {
        Ok(load_required(ctx, SpendOfBatch(self.batch)).await?.into())
    }

    /// Mean quality score of generated projects, 0 to 100.
    async fn mean_score(&self, ctx: &Context<'_>) -> Option<Result<f64>> {
        match load_required(ctx, SummaryOf(self.batch)).await {
            Ok(summary) => summary.mean_score.map(Ok),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Projects.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection")]
    async fn projects(
        batches: &[&Self],
        ctx: &Context<'_>,
        selection: &Plan,
        #[graphql(desc = "At most this many, from the start; 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most this many, from the end; 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which items; all that are visible if absent.")] filter: Option<ProjectFilter>,
        #[graphql(desc = "Order; later entries break ties.")] order_by: Option<Vec<ProjectOrder>>,
    ) -> Result<Vec<ProjectConnection>> {
        let ids: Vec<BatchId> = batches.iter().map(|batch| batch.batch).collect();
        super::projects::lists_of_batches(
            ctx,
            &ids,
            filter,
            order_by,
            PageArgs { first, after, last, before },
            parts::of_projects(selection),
        )
        .await
    }

    /// Runs, newest first.
    async fn runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(20)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<GenerationRunConnection> {
        let page = load_required(ctx, RunsOf(self.batch, forward(first, after))).await?;
        Ok(GenerationRunConnection::new(page, Total::Runs(self.batch)))
    }

    /// The run that is queued or running, if any.
    async fn active_run(&self, ctx: &Context<'_>) -> Option<Result<GenerationRun>> {
        load(ctx, ActiveRunOf(self.batch)).await.map_err(Into::into).map(|run| run.map(GenerationRun::from)).transpose()
    }

    /// Imports, newest first.
    async fn imports(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(20)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<ImportJobConnection> {
        let page = load_required(ctx, ImportsOf(self.batch, forward(first, after))).await?;
        Ok(ImportJobConnection::new(page, Total::Imports(self.batch)))
    }

    /// Exports, newest first.
    async fn exports(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(20)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<ExportConnection> {
        let page = load_required(ctx, ExportsOf(self.batch, forward(first, after))).await?;
        Ok(ExportConnection::new(page, Total::Exports(self.batch)))
    }

    /// Which projects have to be described in the additional information form, by the practice's pins and the rule.
    async fn aif_selection(&self, ctx: &Context<'_>) -> Result<AifSelection> {
        let (services, actor) = caller(ctx)?;
        let batch = load_required(ctx, self.batch).await?;
        Ok(services.narratives.select_aif(actor, &batch).await?.into())
    }

    /// Who created it.
    async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        user(ctx, self.created_by).await.transpose()
    }
}

connection! {
    /// Connection of batches.
    BatchConnection,
    /// Edge to a batch.
    BatchEdge, "The batch.", Batch, domain::Batch
}

/// Which batches.
#[derive(Debug, InputObject)]
pub struct BatchFilter {
    /// Archive states; ACTIVE only if absent.
    lifecycle: Option<Vec<BatchLifecycle>>,
    /// Activities.
    activity: Option<Vec<BatchActivity>>,
    /// Text in name, description, reference or company name.
    text: Option<String>,
    /// Schemes.
    scheme: Option<Vec<ReliefScheme>>,
    /// Changed at or after.
    updated_since: Option<DateTime>,
    /// Notification due on or before.
    notification_due_before: Option<Date>,
}

impl From<BatchFilter> for domain::BatchFilter {
    fn from(filter: BatchFilter) -> Self {
        Self {
            lifecycle: filter.lifecycle.map(|all| all.into_iter().map(Into::into).collect()),
            activity: filter.activity.map(|all| all.into_iter().map(Into::into).collect()),
            text: filter.text.filter(|text| !text.trim().is_empty()),
            scheme: filter.scheme.map(|all| all.into_iter().map(Into::into).collect()),
            updated_since: filter.updated_since.map(|at| at.0),
            notification_due_before: filter.notification_due_before.map(|day| day.0),
        }
    }
}

/// Order of batches.
#[derive(Debug, InputObject)]
pub struct BatchOrder {
    /// What to sort by.
    field: BatchOrderField,
    /// Direction.
    #[graphql(default_with = "SortDirection::Asc")]
    direction: SortDirection,
}

/// What batches can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::BatchOrderField")]
pub enum BatchOrderField {
    /// Name, without regard to case.
    Name,
    /// Creation.
    CreatedAt,
    /// Last change.
    UpdatedAt,
    /// Number of projects.
    ProjectCount,
    /// Qualifying expenditure.
    Expenditure,
    /// Notification date; batches without one come last.
    NotificationDue,
}

/// The claim of a batch.
#[derive(Debug, InputObject)]
pub struct ClaimDetailsInput {
    /// Claimant company.
    company_name: MaybeUndefined<String>,
    /// First day of the accounting period.
    accounting_period_start: MaybeUndefined<Date>,
    /// Last day of the accounting period.
    accounting_period_end: MaybeUndefined<Date>,
    /// Relief claimed.
    scheme: MaybeUndefined<ReliefScheme>,
    /// Whether a claim notification is needed.
    notification_required: MaybeUndefined<bool>,
}

impl From<ClaimDetailsInput> for domain::ClaimPatch {
    fn from(input: ClaimDetailsInput) -> Self {
        Self {
            company_name: input.company_name.into(),
            period_start: input.accounting_period_start.map_value(|day| day.0).into(),
            period_end: input.accounting_period_end.map_value(|day| day.0).into(),
            scheme: input.scheme.map_value(Into::into).into(),
            notification_required: input.notification_required.into(),
        }
    }
}

/// A new batch.
#[derive(Debug, InputObject)]
pub struct CreateBatchInput {
    /// Id chosen by the client, a UUID.
    id: Option<ID>,
    /// Name, 1 to 200 characters.
    name: String,
    /// Free text.
    description: Option<String>,
    /// The practice's own reference.
    external_ref: Option<String>,
    /// The claim.
    claim: Option<ClaimDetailsInput>,
    /// Template; the default if absent.
    template_id: Option<ID>,
    /// Makes repeats harmless.
    idempotency_key: Option<String>,
}

/// Changes of a batch.
#[derive(Debug, InputObject)]
pub struct UpdateBatchInput {
    /// The batch.
    pub(super) id: ID,
    /// Refuse if the batch is at another revision.
    expected_revision: Option<i32>,
    /// Name.
    name: MaybeUndefined<String>,
    /// Free text; null clears.
    description: MaybeUndefined<String>,
    /// Reference; null clears.
    external_ref: MaybeUndefined<String>,
    /// The claim; fields that are absent stay, null clears.
    claim: MaybeUndefined<ClaimDetailsInput>,
    /// Template.
    template_id: MaybeUndefined<ID>,
}

/// Answer about a batch.
#[derive(Debug, SimpleObject, Output)]
pub struct BatchPayload {
    /// The batch after the change; the current one if refused; null if not found.
    batch: Option<Batch>,
    /// Problems.
    user_errors: Vec<UserError>,
}

/// The payload of a result; if it was refused, with the batch as it is.
pub(super) async fn payload(ctx: &Context<'_>, id: Option<BatchId>, result: crate::error::Result<domain::Batch>) -> Result<BatchPayload> {
    let (batch, user_errors) = settle(result)?;
    let batch = match (batch, id) {
        (Some(batch), _) => Some(batch),
        (None, Some(id)) => {
            let (services, actor) = caller(ctx)?;
            services.batches.find(actor, id).await?
        }
        (None, None) => None,
    };
    Ok(BatchPayload { batch: batch.map(Batch::from), user_errors })
}

/// Queries of batches.
#[derive(Debug, Default)]
pub struct BatchesQuery;

#[roots]
#[Object]
impl BatchesQuery {
    /// One batch.
    async fn batch(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Option<Result<Batch>> {
        let find = async {
            let selection = graphql_gate::selection::<Batch>(ctx)?;
            let parts = parts::of_batch(&selection);
            load_root(ctx, PartsOfBatch(BatchId::from_global(&id), parts)).await.map_err(async_graphql::Error::from)
        };
        find.await.map(|batch| batch.map(Batch::from)).transpose()
    }

    /// Batches of the workspace, newest first unless ordered; archived ones only where the filter asks for them.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection")]
    async fn batches(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most this many, from the end; 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which items; all that are visible if absent.")] filter: Option<BatchFilter>,
        #[graphql(desc = "Order; later entries break ties.")] order_by: Option<Vec<BatchOrder>>,
    ) -> Result<BatchConnection> {
        let (services, actor) = caller(ctx)?;
        let filter = filter.map(domain::BatchFilter::from).unwrap_or_default();
        let order: Vec<(domain::BatchOrderField, Direction)> =
            order_by.unwrap_or_default().into_iter().map(|order| (order.field.into(), order.direction.into())).collect();
        let selection = graphql_gate::selection::<BatchConnection>(ctx)?;
        let parts = parts::of_batches(&selection);
        let page = services.batches.list(actor, &filter, &order, &PageArgs { first, after, last, before }, parts).await?;
        Ok(BatchConnection::new(page, Total::Batches(filter)))
    }
}

/// Mutations of batches.
#[derive(Debug, Default)]
pub struct BatchesMutation;

#[roots]
#[Object]
impl BatchesMutation {
    /// Create a batch.
    async fn create_batch(&self, ctx: &Context<'_>, #[graphql(desc = "What to do.")] input: CreateBatchInput) -> Result<BatchPayload> {
        let (services, actor) = caller(ctx)?;
        let claim = input.claim.map(domain::ClaimPatch::from).unwrap_or_default().apply(&domain::Claim::default());
        let new = domain::NewBatch {
            id: input.id.map(|id| id.0),
            name: input.name,
            description: input.description,
            external_ref: input.external_ref,
            claim,
            template: input.template_id.map(|id| TemplateId::from_global(&id)),
        };
        payload(ctx, None, services.batches.create(actor, new, input.idempotency_key).await).await
    }

    /// Rename a batch.
    async fn rename_batch(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the object.")] id: ID,
        #[graphql(desc = "Name.")] name: String,
        #[graphql(desc = "Refuse with REVISION_CONFLICT if the object is at another revision.")] expected_revision: Option<i32>,
    ) -> Result<BatchPayload> {
        let (services, actor) = caller(ctx)?;
        let id = BatchId::from_global(&id);
        let patch = domain::BatchPatch { name: Some(Some(name)), ..domain::BatchPatch::default() };
        payload(ctx, Some(id), services.batches.update(actor, id, expected_revision, patch, "").await).await
    }

    /// Change a batch; absent fields stay.
    async fn update_batch(&self, ctx: &Context<'_>, #[graphql(desc = "What to do.")] input: UpdateBatchInput) -> Result<BatchPayload> {
        let (services, actor) = caller(ctx)?;
        let id = BatchId::from_global(&input.id);
        let claim = match input.claim {
            MaybeUndefined::Undefined => None,
            // null clears the whole claim
            MaybeUndefined::Null => Some(domain::ClaimPatch::cleared()),
            MaybeUndefined::Value(claim) => Some(claim.into()),
        };
        let patch = domain::BatchPatch {
            name: input.name.into(),
            description: input.description.into(),
            external_ref: input.external_ref.into(),
            claim,
            template: input.template_id.map_value(|id| TemplateId::from_global(&id)).into(),
        };
        payload(ctx, Some(id), services.batches.update(actor, id, input.expected_revision, patch, "input").await).await
    }

    /// Put a batch out of the way. Not while something runs in it.
    async fn archive_batch(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Result<BatchPayload> {
        let (services, actor) = caller(ctx)?;
        let id = BatchId::from_global(&id);
        payload(ctx, Some(id), services.batches.archive(actor, id).await).await
    }

    /// Bring back an archived or deleted batch.
    async fn restore_batch(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Result<BatchPayload> {
        let (services, actor) = caller(ctx)?;
        let id = BatchId::from_global(&id);
        payload(ctx, Some(id), services.batches.restore(actor, id).await).await
    }

    /// Delete a batch. It can be restored until `purgeAfter`; `permanently` removes it and its files at once.
    async fn delete_batch(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the object.")] id: ID,
        #[graphql(desc = "True to remove for good at once.", default_with = "Some(false)")] permanently: Option<bool>,
    ) -> Result<DeletePayload> {
        let (services, actor) = caller(ctx)?;
        let id = BatchId::from_global(&id);
        let (purge_after, user_errors) = settle(services.batches.delete(actor, id, permanently.unwrap_or(false)).await)?;
        let deleted_id = purge_after.is_some().then(|| id.global().into());
        Ok(DeletePayload { deleted_id, purge_after: moment(purge_after.flatten()), user_errors })
    }
}
