//! Runs and attempts: types, inputs, payloads and mutations.

use super::batches::Batch;
use super::budgets::{Budget, GenerationEstimate};
use super::connections::{Total, connection};
use super::context::{caller, forward, load_required, moment};
use super::jobs::{JobFailure, JobStatus, Money, MoneyInput, UserError, settle};
use super::people::{User, user};
use super::projects::Project;
use super::scalars::{DateTime, ObjectId};
use super::templates::TemplateVersion;
use crate::domain::generations as domain;
use crate::domain::ids::{BatchId, ProjectId, RunId, TemplateId};
use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use graphql_gate::{Output, relations, roots};

/// Which projects of a batch a run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::GenerationScope")]
pub enum GenerationScope {
    /// Projects without a narrative.
    Missing,
    /// Projects whose last generation failed.
    Failed,
    /// Projects in the AIF selection.
    AifSelection,
    /// All that are not approved.
    AllUnapproved,
    /// The projects listed in `projectIds`.
    Listed,
}

/// What to do with text that a person has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::EditedSectionPolicy")]
pub enum EditedSectionPolicy {
    /// Keep it; write the other sections.
    Keep,
    /// Write it anew; the changed text stays as a revision.
    Replace,
}

/// Numbers of a run.
#[derive(Debug, Clone, Copy, SimpleObject, Output)]
pub struct RunCounts {
    /// Projects in the run.
    total: i32,
    /// Waiting.
    queued: i32,
    /// In work.
    running: i32,
    /// Written.
    succeeded: i32,
    /// Failed for good.
    failed: i32,
    /// Not done because of cancellation.
    cancelled: i32,
    /// Not done because they were approved or deleted meanwhile.
    skipped: i32,
}

impl From<domain::RunCounts> for RunCounts {
    fn from(counts: domain::RunCounts) -> Self {
        let domain::RunCounts { total, queued, running, succeeded, failed, cancelled, skipped } = counts;
        Self { total, queued, running, succeeded, failed, cancelled, skipped }
    }
}

/// A run of generation over a batch.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct GenerationRun {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Where the run stands.
    pub(super) status: JobStatus,
    /// Share of the work that is finished, 0 to 1.
    pub(super) progress: f64,
    /// Scope that was asked for.
    scope: GenerationScope,
    /// Provider key.
    provider: String,
    /// Model name.
    model: String,
    /// Policy for changed text.
    edited_sections: EditedSectionPolicy,
    /// Numbers.
    counts: RunCounts,
    /// Cost so far.
    cost: Money,
    /// When it was accepted.
    pub(super) created_at: DateTime,
    /// When a worker first took it.
    pub(super) started_at: Option<DateTime>,
    /// When it reached a final status.
    pub(super) finished_at: Option<DateTime>,
    /// Why it failed or was stopped.
    pub(super) failure: Option<JobFailure>,
    #[graphql(skip)]
    row: domain::Run,
}

impl From<domain::Run> for GenerationRun {
    fn from(row: domain::Run) -> Self {
        Self {
            id: row.id.into(),
            status: row.status.into(),
            progress: row.progress(),
            scope: row.scope.into(),
            provider: row.provider.clone(),
            model: row.model.clone(),
            edited_sections: row.edited_sections.into(),
            counts: row.counts.into(),
            cost: row.spend.into(),
            created_at: DateTime(row.created_at),
            started_at: moment(row.started_at),
            finished_at: moment(row.finished_at),
            failure: row.failure.clone().map(JobFailure::from),
            row,
        }
    }
}

#[relations]
impl GenerationRun {
    /// The batch.
    async fn batch(&self, ctx: &Context<'_>) -> Result<Batch> {
        Ok(load_required(ctx, self.row.batch).await?.into())
    }

    /// Template version used.
    async fn template_version(&self, ctx: &Context<'_>) -> Result<TemplateVersion> {
        Ok(load_required(ctx, self.row.template_version).await?.into())
    }

    /// Estimate when it was started.
    async fn estimate(&self) -> GenerationEstimate {
        self.row.estimate.clone().unwrap_or_default().into()
    }

    /// Cap of this run; null without one.
    async fn budget(&self) -> Option<Budget> {
        self.row.budget().map(Budget::from)
    }

    /// Guess of when it will be finished.
    async fn estimated_finish_at(&self, ctx: &Context<'_>) -> Option<Result<DateTime>> {
        match caller(ctx) {
            Ok((services, _)) => moment(self.row.estimated_finish_at(services.progress.now())).map(Ok),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Attempts, newest first.
    async fn attempts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(50)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "Outcomes; all if absent.")] status: Option<Vec<AttemptStatus>>,
    ) -> Result<GenerationAttemptConnection> {
        let (services, actor) = caller(ctx)?;
        let status: Option<Vec<domain::AttemptStatus>> = status.map(|all| all.into_iter().map(Into::into).collect());
        let page = forward(first, after);
        let page = services.generations.list_attempts_of_run(actor, self.row.id, status.as_deref(), &page).await?;
        Ok(GenerationAttemptConnection::new(page, Total::AttemptsOfRun(self.row.id, status)))
    }

    /// Who started it.
    pub(super) async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        user(ctx, self.row.created_by).await.transpose()
    }
}

/// Outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::AttemptStatus")]
pub enum AttemptStatus {
    /// In work.
    Running,
    /// Text was accepted.
    Succeeded,
    /// Failed and will be tried again.
    Retrying,
    /// Failed for good.
    Failed,
    /// Stopped.
    Cancelled,
}

/// One call of a model for one project or section: the audit trail of what wrote what.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct GenerationAttempt {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Section; null if all were written in one call.
    section_key: Option<String>,
    /// Number of the try, from 1.
    number: i32,
    /// Outcome.
    status: AttemptStatus,
    /// Provider key.
    provider: String,
    /// Model name, as the provider reported it.
    model: String,
    /// SHA-256 of the prompt that was sent.
    prompt_hash: String,
    /// Tokens sent.
    input_tokens: Option<i32>,
    /// Tokens received.
    output_tokens: Option<i32>,
    /// Cost.
    cost: Option<Money>,
    /// Why it failed.
    failure: Option<JobFailure>,
    /// When it began.
    started_at: DateTime,
    /// When it ended.
    finished_at: Option<DateTime>,
    #[graphql(skip)]
    row: domain::Attempt,
}

impl From<domain::Attempt> for GenerationAttempt {
    fn from(row: domain::Attempt) -> Self {
        Self {
            id: row.id.into(),
            section_key: Some(row.section_key.clone()),
            number: row.number,
            status: row.status.into(),
            provider: row.provider.clone(),
            model: row.model.clone(),
            prompt_hash: row.prompt_hash.clone(),
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cost: row.spend.map(Money::from),
            failure: row.failure.clone().map(JobFailure::from),
            started_at: DateTime(row.started_at),
            finished_at: moment(row.finished_at),
            row,
        }
    }
}

#[relations]
impl GenerationAttempt {
    /// The run; null for a single section.
    async fn run(&self, ctx: &Context<'_>) -> Option<Result<GenerationRun>> {
        let run = self.row.asked_by.run()?;
        Some(load_required(ctx, run).await.map(GenerationRun::from).map_err(Into::into))
    }

    /// The project.
    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        Ok(load_required(ctx, self.row.project).await?.into())
    }

    /// Template version.
    async fn template_version(&self, ctx: &Context<'_>) -> Result<TemplateVersion> {
        Ok(load_required(ctx, self.row.template_version).await?.into())
    }
}

connection! {
    /// Connection of runs.
    GenerationRunConnection,
    /// Edge to a run.
    GenerationRunEdge, "The run.", GenerationRun, domain::Run
}

connection! {
    /// Connection of attempts.
    GenerationAttemptConnection,
    /// Edge to an attempt.
    GenerationAttemptEdge, "The attempt.", GenerationAttempt, domain::Attempt
}

/// What to generate and how.
#[derive(Debug, InputObject)]
pub struct GenerationInput {
    /// The batch.
    batch_id: ID,
    /// Which projects.
    #[graphql(default_with = "GenerationScope::Missing")]
    scope: GenerationScope,
    /// Projects, for the scope LISTED.
    project_ids: Option<Vec<ID>>,
    /// Template; that of the batch if absent.
    template_id: Option<ID>,
    /// Provider key; the server's if absent.
    provider: Option<String>,
    /// Model; the provider's default if absent.
    model: Option<String>,
    /// What to do with changed text.
    #[graphql(default_with = "EditedSectionPolicy::Keep")]
    edited_sections: EditedSectionPolicy,
    /// Wish for all texts, such as a tone or a spelling; limited to 2,000 characters.
    instructions: Option<String>,
}

impl From<GenerationInput> for domain::NewRun {
    fn from(input: GenerationInput) -> Self {
        Self {
            batch: BatchId::from_global(&input.batch_id),
            scope: input.scope.into(),
            projects: input.project_ids.unwrap_or_default().iter().map(|id| ProjectId::from_global(id)).collect(),
            template: input.template_id.map(|id| TemplateId::from_global(&id)),
            provider: input.provider,
            model: input.model,
            edited_sections: input.edited_sections.into(),
            instructions: input.instructions,
            cap: None,
            allow_pause: false,
        }
    }
}

/// Start of a run.
#[derive(Debug, InputObject)]
pub struct StartGenerationInput {
    /// What to generate and how.
    generation: GenerationInput,
    /// Cap of this run. Refused with `OVER_BUDGET` if the maximum estimate is above it and `allowPause` is false.
    budget_cap: Option<MoneyInput>,
    /// True to start anyway and pause when the cap is reached.
    #[graphql(default = false)]
    allow_pause: bool,
    /// Makes repeats harmless. Strongly advised: a run costs money.
    idempotency_key: Option<String>,
}

/// Answer about generation.
#[derive(Debug, SimpleObject, Output)]
pub struct GenerationPayload {
    /// The run; the current one if refused; null if not found.
    run: Option<GenerationRun>,
    /// The estimate, also if refused for it.
    estimate: Option<GenerationEstimate>,
    /// Problems.
    user_errors: Vec<UserError>,
}

impl GenerationPayload {
    fn of(run: Option<domain::Run>, user_errors: Vec<UserError>) -> Self {
        let estimate = run.as_ref().and_then(|run| run.estimate.clone()).map(GenerationEstimate::from);
        Self { run: run.map(GenerationRun::from), estimate, user_errors }
    }
}

/// Mutations of generation.
#[derive(Debug, Default)]
pub struct GenerationsMutation;

#[roots]
#[Object]
impl GenerationsMutation {
    /// Start generation over a batch.
    async fn start_generation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: StartGenerationInput,
    ) -> Result<GenerationPayload> {
        let (services, actor) = caller(ctx)?;
        let batch = BatchId::from_global(&input.generation.batch_id);
        let (cap, refused) = settle(input.budget_cap.map(|cap| cap.spend("input.budgetCap")).transpose())?;
        let Some(cap) = cap else { return Ok(GenerationPayload { run: None, estimate: None, user_errors: refused }) };
        let new = domain::NewRun { cap, allow_pause: input.allow_pause, ..input.generation.into() };
        let (run, user_errors) = settle(services.generations.start(actor, new.clone(), input.idempotency_key).await)?;
        if let Some(run) = run {
            return Ok(GenerationPayload::of(Some(run), user_errors));
        }
        let active = services.generations.load_active(actor, &[batch]).await?.remove(&batch);
        let mut payload = GenerationPayload::of(active, user_errors);
        if payload.user_errors.iter().any(UserError::is_over_budget) {
            payload.estimate = Some(services.generations.estimate(actor, &new).await?.into());
        }
        Ok(payload)
    }

    /// Try the failed projects of a run again, as a new run. It keeps the choices of that run and writes only what failed in
    /// it or has no text: what succeeded is not paid for again.
    async fn retry_failed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the run.")] run_id: ID,
        #[graphql(desc = "Failed projects to try; all failed ones if absent.")] project_ids: Option<Vec<ID>>,
        #[graphql(desc = "Makes repeats harmless.")] idempotency_key: Option<String>,
    ) -> Result<GenerationPayload> {
        let (services, actor) = caller(ctx)?;
        let id = RunId::from_global(&run_id);
        let listed = project_ids.map(|ids| ids.iter().map(|id| ProjectId::from_global(id)).collect());
        let (run, user_errors) = settle(services.generations.retry(actor, id, listed, idempotency_key).await)?;
        let run = match run {
            Some(run) => Some(run),
            None => services.generations.find_current(actor, id).await?,
        };
        Ok(GenerationPayload::of(run, user_errors))
    }

    /// Stop a run. Finished projects stay; calls in flight are let go and billed only as far as the provider bills them.
    async fn cancel_generation(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the run.")] run_id: ID) -> Result<GenerationPayload> {
        let (services, actor) = caller(ctx)?;
        let id = RunId::from_global(&run_id);
        let (run, user_errors) = settle(services.generations.cancel(actor, id).await)?;
        let run = match run {
            Some(run) => Some(run),
            None => services.generations.find(actor, id).await?,
        };
        Ok(GenerationPayload::of(run, user_errors))
    }

    /// Go on with a run that was paused by a budget cap, with a new cap.
    async fn resume_generation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the run.")] run_id: ID,
        #[graphql(desc = "New cap, above the one that was reached.")] budget_cap: Option<MoneyInput>,
    ) -> Result<GenerationPayload> {
        let (services, actor) = caller(ctx)?;
        let id = RunId::from_global(&run_id);
        let resumed = match budget_cap.map(|cap| cap.spend("budgetCap")).transpose() {
            Ok(cap) => services.generations.resume(actor, id, cap).await,
            Err(refused) => Err(refused),
        };
        let (run, user_errors) = settle(resumed)?;
        let run = match run {
            Some(run) => Some(run),
            None => services.generations.find(actor, id).await?,
        };
        Ok(GenerationPayload::of(run, user_errors))
    }
}
