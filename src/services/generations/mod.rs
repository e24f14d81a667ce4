//! Use cases of generation: start and cancel runs (`start.rs` and here), try them again (`retry.rs`), estimate them and keep
//! them within their budgets (`planning.rs`, `estimating.rs`, `budgets.rs`), write sections (`drafting.rs`, `calls.rs`), also once
//! more (`redrafting.rs`) and alone (`rewriting.rs`), settle projects and runs (`finishing.rs`). Every transaction locks the batch
//! first, then the run: one order, so no deadlock.

mod budgets;
mod calls;
mod drafting;
mod estimating;
mod finishing;
mod measure;
mod planning;
mod redrafting;
mod retry;
mod rewriting;
mod start;

pub use rewriting::Rewriting;

use super::checks::wrong_state;
use super::core::{Core, Unit};
use super::page_for_each;
use crate::adapters::events::{Bell, Topic};
use crate::domain::actor::Actor;
use crate::domain::events::BatchEvent;
use crate::domain::generations::{Attempt, AttemptStatus, PROGRESS_EVERY_MS, Run};
use crate::domain::ids::{AttemptId, BatchId, ProjectId, RunId, TemplateVersionId};
use crate::domain::jobs::JobStatus;
use crate::domain::money::Spend;
use crate::domain::paging::{Page, PageArgs};
use crate::domain::templates::TemplateVersion;
use crate::error::{Error, Result};
use crate::repositories::generations::AttemptsOf;
use crate::repositories::{batches, budgets as spend, generations, jobs, templates};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Template versions that are remembered for the workers; they never change.
const REMEMBERED_VERSIONS: usize = 256;

/// Use cases of generation.
#[derive(Debug, Clone)]
pub struct Generations {
    core: Core,
    versions: Arc<Mutex<HashMap<TemplateVersionId, Arc<TemplateVersion>>>>,
}

impl Generations {
    pub(super) fn new(core: Core) -> Self {
        Self { core, versions: Arc::default() }
    }

    /// Stops a run. What waits is taken away in this transaction; calls in flight are let go, and until they have ended
    /// the run is CANCELLING. What is finished stays.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WRONG_STATE` if the run has ended.
    pub async fn cancel(&self, actor: &Actor, id: RunId) -> Result<Run> {
        let missing = || Error::not_found("run", "runId");
        let mut unit = self.core.begin(actor.workspace).await?;
        let batch = generations::find(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?.batch;
        batches::lock_in(&mut unit.tx, actor.workspace, batch).await?.ok_or_else(missing)?;
        let mut run = generations::lock_in(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?;
        if run.status.is_final() {
            return Err(wrong_state("runId", format!("The run has ended ({}); there is nothing to stop.", run.status)));
        }
        if run.status == JobStatus::Cancelling {
            return Ok(run);
        }
        let in_flight = jobs::cancel_run_in(&mut unit.tx, id).await?;
        if in_flight == 0 {
            finishing::close_cancelled_in(&mut unit, actor, &mut run).await?;
        } else {
            let previous = Some(run.status);
            run.status = JobStatus::Cancelling;
            generations::update_in(&mut unit.tx, actor.workspace, &run).await?;
            let event = BatchEvent::RunStatusChanged { run: id, previous, status: run.status };
            unit.append(actor.workspace, batch, vec![event]).await?;
            unit.ring(Topic::Cancellations, Bell::Cancelled(id));
        }
        unit.commit().await?;
        Ok(run)
    }

    /// Runs by id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load(&self, actor: &Actor, ids: &[RunId]) -> Result<HashMap<RunId, Run>> {
        let found = generations::load(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await?;
        Ok(found.into_iter().map(|run| (run.id, run)).collect())
    }

    /// A run.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find(&self, actor: &Actor, id: RunId) -> Result<Option<Run>> {
        generations::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }

    /// The active run of a run's batch, or else the run itself.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find_current(&self, actor: &Actor, id: RunId) -> Result<Option<Run>> {
        let Some(run) = self.find(actor, id).await? else { return Ok(None) };
        let active = self.load_active(actor, &[run.batch]).await?.remove(&run.batch);
        Ok(Some(active.unwrap_or(run)))
    }

    /// The active runs of several batches.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_active(&self, actor: &Actor, batches: &[BatchId]) -> Result<HashMap<BatchId, Run>> {
        generations::load_active(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batches).await
    }

    /// A page of the runs of each of several batches, newest first, in one statement whatever their number.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn load_pages(&self, actor: &Actor, batches: &[BatchId], page: &PageArgs) -> Result<HashMap<BatchId, Page<Run>>> {
        let request = page.check(generations::ORDER)?;
        let pages = generations::load_pages(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batches, &request).await?;
        Ok(page_for_each(batches, pages, &request))
    }

    /// Number of a batch's runs.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count(&self, actor: &Actor, batch: BatchId) -> Result<i64> {
        generations::count(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batch).await
    }

    /// What all calls for several projects cost together.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_spend_of_projects(&self, actor: &Actor, ids: &[ProjectId]) -> Result<HashMap<ProjectId, Spend>> {
        spend::load_spend_of_projects(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await
    }

    /// What all calls for several batches cost together.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_spend_of_batches(&self, actor: &Actor, ids: &[BatchId]) -> Result<HashMap<BatchId, Spend>> {
        spend::load_spend_of_batches(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await
    }

    /// Attempts by id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_attempts(&self, actor: &Actor, ids: &[AttemptId]) -> Result<HashMap<AttemptId, Attempt>> {
        let found = generations::load_attempts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await?;
        Ok(found.into_iter().map(|attempt| (attempt.id, attempt)).collect())
    }

    /// A page of the attempts of each of several projects, newest first, in one statement whatever their number.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn load_attempt_pages(
        &self,
        actor: &Actor,
        projects: &[ProjectId],
        page: &PageArgs,
    ) -> Result<HashMap<ProjectId, Page<Attempt>>> {
        let request = page.check(generations::ATTEMPT_ORDER)?;
        let pages =
            generations::load_attempt_pages(&mut self.core.db.read(actor.workspace).await?, actor.workspace, projects, &request).await?;
        Ok(page_for_each(projects, pages, &request))
    }

    /// A page of a run's attempts, newest first, with these outcomes if given.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn list_attempts_of_run(
        &self,
        actor: &Actor,
        run: RunId,
        status: Option<&[AttemptStatus]>,
        page: &PageArgs,
    ) -> Result<Page<Attempt>> {
        self.list_attempts(actor, AttemptsOf::Run(run, status), page).await
    }

    async fn list_attempts(&self, actor: &Actor, of: AttemptsOf<'_>, page: &PageArgs) -> Result<Page<Attempt>> {
        let request = page.check(generations::ATTEMPT_ORDER)?;
        generations::list_attempts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, of, &request).await
    }

    /// Number of a project's attempts.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count_attempts_of_project(&self, actor: &Actor, project: ProjectId) -> Result<i64> {
        generations::count_attempts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, AttemptsOf::Project(project)).await
    }

    /// Number of a run's attempts with these outcomes.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count_attempts_of_run(&self, actor: &Actor, run: RunId, status: Option<&[AttemptStatus]>) -> Result<i64> {
        generations::count_attempts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, AttemptsOf::Run(run, status)).await
    }

    /// Providers and models that can be used here.
    #[must_use]
    pub fn models(&self) -> Vec<(&'static str, crate::adapters::ai::ModelInfo)> {
        let of = |drafter: &Arc<dyn crate::adapters::ai::Drafter>| {
            let profile = drafter.profile();
            profile.models.into_iter().map(move |model| (profile.provider, model)).collect::<Vec<_>>()
        };
        self.core.drafters.iter().flat_map(of).collect()
    }

    /// A version of a template, remembered.
    async fn version(&self, actor: &Actor, id: TemplateVersionId) -> Result<Arc<TemplateVersion>> {
        if let Some(known) = self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(known));
        }
        let found = templates::load_versions(&mut self.core.db.read(actor.workspace).await?, actor.workspace, &[id]).await?.pop();
        let version = Arc::new(found.ok_or_else(|| Error::internal("a run without its template version"))?);
        let mut all = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_VERSIONS {
            all.clear();
        }
        all.insert(id, Arc::clone(&version));
        Ok(version)
    }
}

/// The event of a run's numbers.
fn progressed(run: &Run, unit: &Unit) -> BatchEvent {
    BatchEvent::RunProgressed {
        run: run.id,
        progress: run.progress(),
        counts: run.counts,
        spend: run.spend,
        estimated_finish_at: run.estimated_finish_at(unit.now),
    }
}

/// The event of a run's numbers if the last one is long enough ago: the throttle is where events are appended, so
/// nothing is ever dropped on the way to a watcher.
fn progressed_now_and_then(run: &mut Run, unit: &Unit) -> Option<BatchEvent> {
    if run.progressed_at.is_some_and(|last| (unit.now - last).num_milliseconds() < PROGRESS_EVERY_MS) {
        return None;
    }
    run.progressed_at = Some(unit.now);
    Some(progressed(run, unit))
}
