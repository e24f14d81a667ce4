//! The end of projects and runs: check and score, count, and close what was cancelled.

use super::{Generations, progressed, progressed_now_and_then};
use crate::domain::actor::Actor;
use crate::domain::events::BatchEvent;
use crate::domain::generations::Run;
use crate::domain::ids::ProjectId;
use crate::domain::jobs::{JobFailure, JobFailureCode, JobStatus};
use crate::domain::money::Spend;
use crate::domain::projects::{ProjectParts, ProjectStatus};
use crate::domain::work::{FINISH_RUN, FinishProject, FinishRun};
use crate::error::{Error, Result};
use crate::repositories::jobs::{ClaimedJob, NewJob};
use crate::repositories::{attempts, batches, generations, jobs, projects, sections};
use crate::services::core::Unit;
use crate::services::narratives;
use std::collections::HashSet;

impl Generations {
    /// Checks and scores a project whose sections are all settled; the last one of a run queues the run's end.
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn finish_project(&self, job: &ClaimedJob, work: FinishProject) -> Result<()> {
        self.end_project(job, work, None).await
    }

    /// Gives up a project whose check ended in a fault that doing it again would only repeat (a panic): it has failed.
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn give_up_project(&self, job: &ClaimedJob, work: FinishProject) -> Result<()> {
        let failure = JobFailure::new(JobFailureCode::Internal, "A fault in this service; the narrative was written and not checked.");
        self.end_project(job, work, Some(failure)).await
    }

    async fn end_project(&self, job: &ClaimedJob, work: FinishProject, fault: Option<JobFailure>) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let workspace = actor.workspace;
        let mut unit = self.core.begin(actor.workspace).await?;
        batches::lock_in(&mut unit.tx, workspace, work.batch).await?;
        let run = generations::lock_in(&mut unit.tx, workspace, work.run).await?;
        let project = projects::find(&mut unit.tx, workspace, work.project).await?;
        jobs::finish_in(&mut unit.tx, job).await?;
        let (Some(mut run), Some(project)) = (run, project) else { return unit.commit().await };
        if run.status == JobStatus::Cancelling {
            close_if_let_go_in(&mut unit, &actor, &mut run).await?;
            return unit.commit().await;
        }
        let mut events = Vec::new();
        let state = if project.deleted_at.is_some() {
            run.counts.skipped += 1;
            sections::settle_in(&mut unit.tx, workspace, project.id).await?;
            // should it be restored, what is written need not be paid for again
            let is_complete = sections::list_incomplete(&mut unit.tx, workspace, &[project.id]).await?.is_empty();
            let status = if is_complete { ProjectStatus::NeedsReview } else { ProjectStatus::Draft };
            let now = unit.now;
            projects::set_status_in(&mut unit.tx, workspace, &[project.id], status, now).await?;
            "SKIPPED"
        } else {
            let remaining = generations::find_remaining(&mut unit.tx, run.id, project.id).await?;
            let failed = fault.is_some() || remaining.is_some_and(|remaining| remaining.sections_failed > 0);
            let status = if failed { ProjectStatus::Failed } else { ProjectStatus::NeedsReview };
            let now = unit.now;
            let mut scored = None;
            if fault.is_none() {
                let checked = narratives::check_in(&mut unit.tx, &actor, &project).await?;
                projects::save_report_in(&mut unit.tx, workspace, project.id, &checked.report, now).await?;
                scored = Some(narratives::scored(project.id, &checked.report));
                if !work.redrafted && self.redraft_in(&mut unit, &actor, &run, &project, &checked.report).await? {
                    unit.append(workspace, work.batch, scored.into_iter().collect()).await?;
                    return unit.commit().await;
                }
            }
            let failure = match fault {
                None if failed => generations::find_failure(&mut unit.tx, workspace, run.id, Some(project.id)).await?,
                fault => fault,
            };
            projects::set_status_in(&mut unit.tx, workspace, &[project.id], status, now).await?;
            events.push(BatchEvent::ProjectStatusChanged { project: project.id, previous: Some(project.status), status, failure });
            events.extend(scored);
            if failed {
                run.counts.failed += 1;
                "FAILED"
            } else {
                run.counts.succeeded += 1;
                "SUCCEEDED"
            }
        };
        // a project that was deleted before any section was begun is still counted as waiting
        if generations::move_project_in(&mut unit.tx, run.id, project.id, &["RUNNING"], state).await? {
            run.counts.running -= 1;
        } else if generations::move_project_in(&mut unit.tx, run.id, project.id, &["QUEUED"], state).await? {
            run.counts.queued -= 1;
        }
        if run.counts.queued + run.counts.running == 0 {
            let payload = FinishRun { batch: work.batch, run: run.id };
            unit.enqueue(workspace, Some(run.id), &[NewJob { kind: FINISH_RUN, payload }]).await?;
        }
        events.extend(progressed_now_and_then(&mut run, &unit));
        generations::update_in(&mut unit.tx, workspace, &run).await?;
        unit.append(workspace, work.batch, events).await?;
        unit.commit().await
    }

    /// Ends a run whose projects are all settled.
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn finish_run(&self, job: &ClaimedJob, work: FinishRun) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let mut unit = self.core.begin(actor.workspace).await?;
        batches::lock_in(&mut unit.tx, actor.workspace, work.batch).await?;
        let run = generations::lock_in(&mut unit.tx, actor.workspace, work.run).await?;
        jobs::finish_in(&mut unit.tx, job).await?;
        let Some(mut run) = run else { return unit.commit().await };
        if run.status == JobStatus::Cancelling {
            close_if_let_go_in(&mut unit, &actor, &mut run).await?;
            return unit.commit().await;
        }
        let previous = Some(run.status);
        run.status = run.counts.outcome();
        run.finished_at = Some(unit.now);
        if run.counts.failed > 0 {
            let cause = generations::find_failure(&mut unit.tx, actor.workspace, run.id, None).await?;
            let message = format!("{} of {} projects could not be written.", run.counts.failed, run.counts.total);
            run.failure = Some(match cause {
                Some(cause) => JobFailure { message: format!("{message} {}", cause.message), ..cause },
                None => JobFailure::new(JobFailureCode::Internal, message),
            });
        }
        end_in(&mut unit, &actor, &mut run, previous, Vec::new()).await?;
        unit.commit().await
    }
}

/// Closes a run that is being cancelled once no job of it is left; until then only its numbers are stored.
pub(super) async fn close_if_let_go_in(unit: &mut Unit, actor: &Actor, run: &mut Run) -> Result<()> {
    if jobs::count_of_run_in(&mut unit.tx, run.id).await? == 0 {
        close_cancelled_in(unit, actor, run).await
    } else {
        generations::update_in(&mut unit.tx, actor.workspace, run).await
    }
}

/// Ends a cancelled run: projects that it has not finished go back to what their texts make of them.
pub(super) async fn close_cancelled_in(unit: &mut Unit, actor: &Actor, run: &mut Run) -> Result<()> {
    let (workspace, now) = (actor.workspace, unit.now);
    let open = generations::list_open_projects(&mut unit.tx, run.id).await?;
    let incomplete: HashSet<ProjectId> = sections::list_incomplete(&mut unit.tx, workspace, &open).await?.into_iter().collect();
    let mut events = Vec::new();
    for (status, complete) in [(ProjectStatus::NeedsReview, true), (ProjectStatus::Draft, false)] {
        let ids: Vec<ProjectId> = open.iter().filter(|id| incomplete.contains(id) != complete).copied().collect();
        for project in projects::load(&mut unit.tx, workspace, &ids, ProjectParts::all()).await? {
            if project.deleted_at.is_none() {
                events.push(BatchEvent::ProjectStatusChanged {
                    project: project.id,
                    previous: Some(project.status),
                    status,
                    failure: None,
                });
            }
        }
        projects::set_status_in(&mut unit.tx, workspace, &ids, status, now).await?;
    }
    for project in &open {
        sections::settle_in(&mut unit.tx, workspace, *project).await?;
    }
    generations::cancel_open_projects_in(&mut unit.tx, run.id).await?;
    attempts::cancel_all_attempts_in(&mut unit.tx, workspace, run.id, now).await?;
    run.counts.cancelled += i32::try_from(open.len()).map_err(Error::internal)?;
    (run.counts.queued, run.counts.running) = (0, 0);
    let previous = Some(run.status);
    run.status = JobStatus::Cancelled;
    run.finished_at = Some(now);
    end_in(unit, actor, run, previous, events).await
}

/// Stores the end of a run, with its last numbers and its status as the last events.
async fn end_in(unit: &mut Unit, actor: &Actor, run: &mut Run, previous: Option<JobStatus>, mut events: Vec<BatchEvent>) -> Result<()> {
    run.progressed_at = Some(unit.now);
    run.reserved = Spend(0);
    generations::update_in(&mut unit.tx, actor.workspace, run).await?;
    events.push(progressed(run, unit));
    events.push(BatchEvent::RunStatusChanged { run: run.id, previous, status: run.status });
    unit.append(actor.workspace, run.batch, events).await
}
