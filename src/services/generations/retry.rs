//! Another try of the projects that a run could not write, as a run of its own with the same choices. Only what is missing
//! is written: what succeeded was paid for.

use super::Generations;
use super::planning::{MAX_LISTED, Plan, Wanted};
use super::start::{already_running, count, launch_in};
use crate::domain::actor::Actor;
use crate::domain::generations::{EditedSectionPolicy, GenerationScope, Run, RunCounts};
use crate::domain::ids::{ProjectId, RunId};
use crate::domain::jobs::JobStatus;
use crate::domain::money::Spend;
use crate::domain::projects::{Project, ProjectParts, ProjectStatus};
use crate::domain::sections::{Section, SectionState};
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::{attempts, generations, projects, sections};
use crate::services::batches::lock_live;
use crate::services::checks::{Idempotency, Problems, wrong_state};
use crate::services::core::Unit;
use crate::services::narratives::nothing_to_do;
use std::collections::{HashMap, HashSet};

impl Generations {
    /// Tries the failed projects of a run again (all of them, or those listed), as a new run.
    ///
    /// # Errors
    /// `NOT_FOUND` for the run or a listed project; `ALREADY_RUNNING`; `WRONG_STATE` for what has not failed, if nothing is
    /// to be done, or if the run's model is not configured any more.
    pub async fn retry(&self, actor: &Actor, id: RunId, listed: Option<Vec<ProjectId>>, key: Option<String>) -> Result<Run> {
        let idempotency = Idempotency::of_arguments(key, &(id, &listed))?;
        if listed.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::refused(
                ProblemCode::Required,
                "projectIds",
                "Give at least one project, or leave `projectIds` out for all.",
            ));
        }
        if listed.as_ref().is_some_and(|listed| listed.len() > MAX_LISTED) {
            return Err(Error::refused(
                ProblemCode::TooMany,
                "projectIds",
                format!("At most {MAX_LISTED} projects; leave `projectIds` out for all."),
            ));
        }
        let missing = || Error::not_found("run", "runId");
        let mut unit = self.core.begin(actor.workspace).await?;
        let new_id = RunId(self.core.new_id());
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, "retryFailed", new_id.0).await? {
            let found = generations::find(&mut unit.tx, actor.workspace, RunId(earlier)).await?;
            return found.ok_or_else(|| Error::not_found("run", ""));
        }
        let batch = generations::find(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?.batch;
        lock_live(&mut unit, actor, batch, "runId").await?;
        if generations::load_active(&mut unit.tx, actor.workspace, &[batch]).await?.contains_key(&batch) {
            return Err(already_running("runId"));
        }
        let earlier = generations::lock_in(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?;
        if !self.models().iter().any(|(provider, info)| *provider == earlier.provider && info.model == earlier.model) {
            let message = format!(
                "The model {} of {} is not configured any more. Start a run with the scope FAILED and another model.",
                earlier.model, earlier.provider
            );
            return Err(wrong_state("runId", message));
        }
        let chosen = failed_projects(&mut unit, actor, &earlier, listed.as_deref()).await?;
        let version = self.version(actor, earlier.template_version).await?;
        self.lay_out(&mut unit, actor, &chosen, &version).await?;
        let plan = plan(&mut unit, actor, &chosen, &earlier).await?;
        let wanted =
            Wanted { provider: earlier.provider.clone(), model: earlier.model.clone(), instructions: earlier.instructions.clone() };
        let of = |all: &[Section]| version.sections.iter().filter(|wanted| all.iter().any(|section| section.key == wanted.key)).collect();
        let mut planned = Plan { writes: plan.iter().map(|(project, all)| (*project, of(all))).collect(), blocked: Vec::new() };
        let estimate = self.estimate_in(&mut unit.tx, actor, &wanted, &version, &mut planned, earlier.cap).await?;
        let total = count(plan.len());
        let run = Run {
            id: new_id,
            status: JobStatus::Queued,
            scope: GenerationScope::Failed,
            counts: RunCounts { total, queued: total, ..RunCounts::default() },
            sections_total: count(plan.iter().map(|(_, sections)| sections.len()).sum()),
            sections_done: 0,
            spend: Spend(0),
            reserved: Spend(0),
            estimate: Some(estimate),
            progressed_at: None,
            created_at: unit.now,
            started_at: None,
            finished_at: None,
            created_by: actor.user,
            failure: None,
            // what was chosen for the earlier run holds for this one
            ..earlier
        };
        launch_in(&mut unit, actor, &run, &plan, "runId").await?;
        unit.commit().await?;
        Ok(run)
    }
}

/// The projects of a run that failed in it and are failed still; if some are listed, exactly those.
async fn failed_projects(unit: &mut Unit, actor: &Actor, run: &Run, listed: Option<&[ProjectId]>) -> Result<Vec<Project>> {
    let ids = attempts::list_failed_projects(&mut unit.tx, run.id).await?;
    let found = projects::load(&mut unit.tx, actor.workspace, &ids, ProjectParts::all()).await?;
    let mut failed: HashMap<ProjectId, Project> = found
        .into_iter()
        .filter(|project| project.status == ProjectStatus::Failed && project.deleted_at.is_none())
        .map(|project| (project.id, project))
        .collect();
    let Some(listed) = listed else {
        if failed.is_empty() {
            return Err(nothing_to_do("runId", "No project of this run is failed; there is nothing to try again."));
        }
        return Ok(ids.iter().filter_map(|id| failed.remove(id)).collect());
    };
    let (mut problems, mut chosen, mut seen) = (Problems::default(), Vec::new(), HashSet::new());
    let known: HashMap<ProjectId, Project> = projects::load(&mut unit.tx, actor.workspace, listed, ProjectParts::all())
        .await?
        .into_iter()
        .map(|project| (project.id, project))
        .collect();
    for (place, id) in listed.iter().enumerate().filter(|(_, id)| seen.insert(**id)) {
        let field = format!("projectIds.{place}");
        match (failed.remove(id), known.get(id).filter(|project| project.batch == run.batch)) {
            (Some(project), _) => chosen.push(project),
            (None, None) => problems.add(ProblemCode::NotFound, &field, "There is no such project in the batch of this run."),
            (None, Some(project)) => {
                let why = if project.deleted_at.is_some() { "is deleted" } else { "has not failed in this run, or is not failed any more" };
                problems.add(ProblemCode::WrongState, &field, format!("`{}` {why}. Leave it out.", project.name));
            }
        }
    }
    problems.check()?;
    Ok(chosen)
}

/// The sections that failed in the run or have no text. A project that has all its texts and failed by a fault of ours has
/// none of them: it is only checked again.
async fn plan<'p>(unit: &mut Unit, actor: &Actor, chosen: &'p [Project], run: &Run) -> Result<Vec<(&'p Project, Vec<Section>)>> {
    let ids: Vec<ProjectId> = chosen.iter().map(|project| project.id).collect();
    let failed = attempts::list_failed_sections(&mut unit.tx, actor.workspace, run.id).await?;
    let mut rows = sections::load_for_projects(&mut unit.tx, actor.workspace, &ids).await?;
    let keep = |section: &Section| run.edited_sections == EditedSectionPolicy::Keep && section.state == SectionState::Edited;
    let of = |all: Vec<Section>| -> Vec<Section> {
        all.into_iter().filter(|section| section.revision == 0 || failed.contains(&section.id) && !keep(section)).collect()
    };
    Ok(chosen.iter().map(|project| (project, of(rows.remove(&project.id).unwrap_or_default()))).collect())
}
