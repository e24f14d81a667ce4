//! Start of a run: one transaction holds the run, its jobs, the projects' new status and the events that tell of it.

use super::Generations;
use super::planning::{choose_projects, plan, version_for};
use crate::domain::actor::Actor;
use crate::domain::budgets::Estimate;
use crate::domain::events::BatchEvent;
use crate::domain::generations::{GenerationScope, NewRun, Run, RunCounts};
use crate::domain::ids::{ProjectId, RunId};
use crate::domain::jobs::JobStatus;
use crate::domain::money::Spend;
use crate::domain::projects::{Project, ProjectStatus};
use crate::domain::sections::Section;
use crate::domain::templates::TemplateVersion;
use crate::domain::work::{DRAFT_SECTION, DraftSection, FINISH_PROJECT, FinishProject};
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::db::is_unique_violation;
use crate::repositories::jobs::NewJob;
use crate::repositories::{generations, projects, sections};
use crate::services::batches::lock_live;
use crate::services::checks::Idempotency;
use crate::services::core::Unit;
use crate::services::{narratives, sections as section_cases};
use std::collections::HashMap;

impl Generations {
    /// Starts generation over a batch.
    ///
    /// # Errors
    /// Problems of the input; `NOT_FOUND`, `ALREADY_RUNNING`, `TEMPLATE_UNUSABLE`; `WRONG_STATE` if nothing is to be done.
    pub async fn start(&self, actor: &Actor, new: NewRun, key: Option<String>) -> Result<Run> {
        let idempotency = Idempotency::new(key, &new)?;
        let wanted = self.check_wanted(&new)?;
        let mut unit = self.core.begin(actor.workspace).await?;
        let id = RunId(self.core.new_id());
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, "startGeneration", id.0).await? {
            let found = generations::find(&mut unit.tx, actor.workspace, RunId(earlier)).await?;
            return found.ok_or_else(|| Error::not_found("run", ""));
        }
        let batch = lock_live(&mut unit, actor, new.batch, "input.generation.batchId").await?;
        if generations::load_active(&mut unit.tx, actor.workspace, &[batch.id]).await?.contains_key(&batch.id) {
            return Err(already_running("input.generation.batchId"));
        }
        if batch.project_count == 0 && new.scope != GenerationScope::Listed {
            let message = "The batch has no projects. Import some; if you did, `imports` of the batch says what was wrong with the file.";
            return Err(narratives::nothing_to_do("input.generation.batchId", message));
        }
        let version = version_for(&mut unit.tx, actor, &batch, &new).await?;
        let chosen = choose_projects(&mut unit.tx, actor, &batch, &new).await?;
        if let Some(project) = chosen.iter().find(|project| project.status == ProjectStatus::Approved) {
            let message = format!("`{}` is approved and locked. Take back the approval first, or leave it out.", project.name);
            return Err(Error::refused(ProblemCode::WrongState, "input.generation.projectIds", message));
        }
        let listed = new.scope == GenerationScope::Listed;
        refuse_in_work(&chosen, if listed { "input.generation.projectIds" } else { "input.generation.scope" })?;
        self.lay_out(&mut unit, actor, &chosen, &version).await?;
        let ids: Vec<ProjectId> = chosen.iter().map(|project| project.id).collect();
        let rows = sections::load_for_projects(&mut unit.tx, actor.workspace, &ids).await?;
        let mut plan = plan(&chosen, &rows, &version, &new);
        let estimate = self.estimate_in(&mut unit.tx, actor, &wanted, &version, &mut plan, new.cap).await?;
        if plan.writes.is_empty() {
            let reason = plan.blocked.first().filter(|_| new.scope == GenerationScope::Listed).map(|blocked| blocked.reason.as_str());
            return Err(narratives::nothing_to_do("input.generation.scope", reason.unwrap_or_else(|| nothing_to_write(new.scope))));
        }
        if !estimate.is_within_budget() && !new.allow_pause {
            return Err(over_budget(&estimate));
        }
        let total = count(plan.writes.len());
        let run = Run {
            id,
            batch: batch.id,
            status: JobStatus::Queued,
            scope: new.scope,
            template_version: version.id,
            provider: wanted.provider,
            model: wanted.model,
            edited_sections: new.edited_sections,
            instructions: wanted.instructions,
            counts: RunCounts { total, queued: total, ..RunCounts::default() },
            sections_total: count(plan.sections()),
            sections_done: 0,
            spend: Spend(0),
            reserved: Spend(0),
            cap: new.cap,
            estimate: Some(estimate),
            progressed_at: None,
            created_at: unit.now,
            started_at: None,
            finished_at: None,
            created_by: actor.user,
            failure: None,
        };
        let mut sections_of: HashMap<(ProjectId, String), Section> =
            rows.into_values().flatten().map(|section| ((section.project, section.key.clone()), section)).collect();
        let mut written = Vec::with_capacity(plan.writes.len());
        for (project, wanted) in &plan.writes {
            let rows = wanted.iter().map(|section| sections_of.remove(&(project.id, section.key.clone())));
            let rows: Option<Vec<Section>> = rows.collect();
            written.push((*project, rows.ok_or_else(|| Error::internal("a project without a section of its template"))?));
        }
        launch_in(&mut unit, actor, &run, &written, "input.generation.batchId").await?;
        unit.commit().await?;
        Ok(run)
    }

    /// Gives projects that follow another template version the sections of this one.
    pub(super) async fn lay_out(&self, unit: &mut Unit, actor: &Actor, chosen: &[Project], version: &TemplateVersion) -> Result<()> {
        let moved: Vec<ProjectId> = chosen.iter().filter(|p| p.template_version != version.id).map(|p| p.id).collect();
        if moved.is_empty() {
            return Ok(());
        }
        sections::take_out_in(&mut unit.tx, actor.workspace, &moved).await?;
        projects::set_version_in(&mut unit.tx, actor.workspace, &moved, version.id).await?;
        for ids in moved.chunks(500) {
            section_cases::lay_out_in(unit, &self.core, actor, ids, version).await?;
        }
        Ok(())
    }
}

fn over_budget(estimate: &Estimate) -> Error {
    let cap = estimate.cap.unwrap_or_default();
    let message = format!(
        "The run may cost up to {} ({} expected), which is above the cap of {cap}. Raise the cap, write fewer projects, or set \
         `allowPause` to start anyway and pause when the cap is reached.",
        estimate.maximum, estimate.expected
    );
    Error::refused(ProblemCode::OverBudget, "input.budgetCap", message)
}

/// Stores a run with all that it is going to do: its projects, one job for each section, and the events. A project
/// without a section to write is only checked and scored.
pub(super) async fn launch_in(unit: &mut Unit, actor: &Actor, run: &Run, plan: &[(&Project, Vec<Section>)], field: &str) -> Result<()> {
    let (id, batch) = (run.id, run.batch);
    generations::create_in(&mut unit.tx, actor.workspace, run)
        .await
        .map_err(|error| if is_unique_violation(&error) { already_running(field) } else { error.into() })?;
    let per_project: Vec<_> = plan.iter().map(|(project, sections)| (project.id, count(sections.len()))).collect();
    generations::add_projects_in(&mut unit.tx, actor.workspace, id, &per_project).await?;
    let ids: Vec<_> = plan.iter().map(|(project, _)| project.id).collect();
    let now = unit.now;
    projects::set_status_in(&mut unit.tx, actor.workspace, &ids, ProjectStatus::Queued, now).await?;
    let draft = |project: ProjectId, section: &Section| NewJob {
        kind: DRAFT_SECTION,
        payload: DraftSection { batch, run: id, project, section: section.id, redraft: false },
    };
    let jobs: Vec<_> = plan.iter().flat_map(|(project, all)| all.iter().map(|section| draft(project.id, section))).collect();
    unit.enqueue(actor.workspace, Some(id), &jobs).await?;
    let finish = |project: ProjectId| NewJob { kind: FINISH_PROJECT, payload: FinishProject { batch, run: id, project, redrafted: false } };
    let written: Vec<_> = plan.iter().filter(|(_, all)| all.is_empty()).map(|(project, _)| finish(project.id)).collect();
    if !written.is_empty() {
        unit.enqueue(actor.workspace, Some(id), &written).await?;
    }
    let mut events = vec![BatchEvent::RunStatusChanged { run: id, previous: None, status: run.status }];
    events.extend(plan.iter().map(|(project, _)| BatchEvent::ProjectStatusChanged {
        project: project.id,
        previous: Some(project.status),
        status: ProjectStatus::Queued,
        failure: None,
    }));
    unit.append(actor.workspace, batch, events).await
}

pub(super) fn already_running(field: &str) -> Error {
    let message = "A run of this batch is queued, running or paused. Wait for it to end, or cancel it.";
    Error::refused(ProblemCode::AlreadyRunning, field, message)
}

/// Refuses a project in which a single section is being written. (No run is active where this is asked.)
fn refuse_in_work(chosen: &[Project], field: &str) -> Result<()> {
    let Some(project) = chosen.iter().find(|project| project.status.is_in_work()) else { return Ok(()) };
    let message = format!("A section of `{}` is being written. Wait for that to end, then start again.", project.name);
    Err(Error::refused(ProblemCode::WrongState, field, message))
}

const fn nothing_to_write(scope: GenerationScope) -> &'static str {
    match scope {
        GenerationScope::Missing => "Every project has a narrative; nothing is missing. Choose another scope to write them anew.",
        GenerationScope::Failed => "No project has failed; there is nothing to write again.",
        GenerationScope::AifSelection => "The AIF selection has no project that is not approved. Look at `aifSelection` of the batch.",
        GenerationScope::AllUnapproved => "The batch has no project that is not approved, or all its texts are edited and kept.",
        GenerationScope::Listed => "The listed projects have no section to write: their texts are edited and kept.",
    }
}

pub(super) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
