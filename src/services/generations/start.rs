//! Start of a run: one transaction holds the run, its jobs, the projects' new status and the events that tell of it.

use super::Generations;
use crate::domain::actor::Actor;
use crate::domain::batches::Batch;
use crate::domain::events::BatchEvent;
use crate::domain::generations::{EditedSectionPolicy, GenerationScope, MAX_INSTRUCTIONS_CHARS, NewRun, Run, RunCounts};
use crate::domain::ids::{ProjectId, RunId};
use crate::domain::jobs::JobStatus;
use crate::domain::money::Spend;
use crate::domain::projects::{Project, ProjectStatus};
use crate::domain::sections::{Section, SectionState};
use crate::domain::templates::TemplateVersion;
use crate::domain::work::{DRAFT_SECTION, DraftSection, FINISH_PROJECT, FinishProject};
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::db::{Tx, is_unique_violation};
use crate::repositories::jobs::NewJob;
use crate::repositories::{generations, projects, sections, templates};
use crate::services::batches::lock_live;
use crate::services::checks::{Idempotency, Problems};
use crate::services::core::Unit;
use crate::services::{narratives, sections as section_cases};
use std::collections::{HashMap, HashSet};

/// Most projects that can be listed in one start.
pub(super) const MAX_LISTED: usize = 10_000;

impl Generations {
    /// Starts generation over a batch.
    ///
    /// # Errors
    /// Problems of the input; `NOT_FOUND`, `ALREADY_RUNNING`, `TEMPLATE_UNUSABLE`; `WRONG_STATE` if nothing is to be done.
    pub async fn start(&self, actor: &Actor, new: NewRun, key: Option<String>) -> Result<Run> {
        let idempotency = Idempotency::new(key, &new)?;
        let mut problems = Problems::default();
        let instructions = problems.optional("input.generation.instructions", new.instructions.clone(), MAX_INSTRUCTIONS_CHARS);
        let (provider, model) = self.choose_model(&mut problems, &new);
        if new.scope == GenerationScope::Listed && new.projects.is_empty() {
            problems.add(ProblemCode::Required, "input.generation.projectIds", "The scope LISTED needs the projects in `projectIds`.");
        }
        if new.scope != GenerationScope::Listed && !new.projects.is_empty() {
            problems.add(ProblemCode::Invalid, "input.generation.projectIds", "`projectIds` belongs to the scope LISTED only.");
        }
        if new.projects.len() > MAX_LISTED {
            problems.add(
                ProblemCode::TooMany,
                "input.generation.projectIds",
                format!("At most {MAX_LISTED} projects; use a scope instead."),
            );
        }
        problems.check()?;

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
        refuse_in_work(
            &chosen,
            if new.scope == GenerationScope::Listed { "input.generation.projectIds" } else { "input.generation.scope" },
        )?;
        self.lay_out(&mut unit, actor, &chosen, &version).await?;
        let plan = plan(&mut unit.tx, actor, &chosen, &new).await?;
        if plan.is_empty() {
            return Err(narratives::nothing_to_do("input.generation.scope", nothing_to_write(new.scope)));
        }
        let total = count(plan.len());
        let run = Run {
            id,
            batch: batch.id,
            status: JobStatus::Queued,
            scope: new.scope,
            template_version: version.id,
            provider,
            model,
            edited_sections: new.edited_sections,
            instructions,
            counts: RunCounts { total, queued: total, ..RunCounts::default() },
            sections_total: count(plan.iter().map(|(_, sections)| sections.len()).sum()),
            sections_done: 0,
            spend: Spend(0),
            progressed_at: None,
            created_at: unit.now,
            started_at: None,
            finished_at: None,
            created_by: actor.user,
            failure: None,
        };
        launch_in(&mut unit, actor, &run, &plan, "input.generation.batchId").await?;
        unit.commit().await?;
        Ok(run)
    }

    fn choose_model(&self, problems: &mut Problems, new: &NewRun) -> (String, String) {
        let known: Vec<_> = self.models();
        let of_provider: Vec<_> =
            known.iter().filter(|(provider, _)| new.provider.as_deref().is_none_or(|name| name == *provider)).collect();
        let Some((provider, default)) = of_provider.first() else {
            let names: HashSet<_> = known.iter().map(|(provider, _)| *provider).collect();
            let message = format!("This provider is not configured; there is {}.", names.into_iter().collect::<Vec<_>>().join(", "));
            problems.add(ProblemCode::Invalid, "input.generation.provider", message);
            return (String::new(), String::new());
        };
        let model = new.model.clone().unwrap_or_else(|| default.model.clone());
        if !of_provider.iter().any(|(name, info)| name == provider && info.model == model) {
            let names: Vec<_> = of_provider.iter().map(|(_, info)| info.model.as_str()).collect();
            problems.add(
                ProblemCode::Invalid,
                "input.generation.model",
                format!("This model is not configured; there is {}.", names.join(", ")),
            );
        }
        ((*provider).to_owned(), model)
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

/// The projects that a scope means, none of them approved.
async fn choose_projects(tx: &mut Tx, actor: &Actor, batch: &Batch, new: &NewRun) -> Result<Vec<Project>> {
    if new.scope == GenerationScope::AifSelection {
        let found = narratives::select_aif_in(tx, actor, batch).await?;
        let chosen = found.selection.selected.iter().filter_map(|index| found.projects.get(*index).cloned());
        return Ok(chosen.filter(|project| project.status != ProjectStatus::Approved).collect());
    }
    let all = projects::list_all(tx, actor.workspace, batch.id).await?;
    if new.scope == GenerationScope::Listed {
        let by_id: HashMap<ProjectId, &Project> = all.iter().map(|project| (project.id, project)).collect();
        let field = "input.generation.projectIds";
        let (mut chosen, mut seen) = (Vec::new(), HashSet::new());
        for id in new.projects.iter().filter(|id| seen.insert(**id)) {
            let project = by_id.get(id).ok_or_else(|| Error::not_found("project of this batch", field))?;
            if project.status == ProjectStatus::Approved {
                let message = format!("`{}` is approved and locked. Take back the approval first, or leave it out.", project.name);
                return Err(Error::refused(ProblemCode::WrongState, field, message));
            }
            chosen.push((*project).clone());
        }
        return Ok(chosen);
    }
    let wanted = |status: ProjectStatus| match new.scope {
        GenerationScope::Missing => status == ProjectStatus::Draft,
        GenerationScope::Failed => status == ProjectStatus::Failed,
        _ => status != ProjectStatus::Approved,
    };
    Ok(all.into_iter().filter(|project| wanted(project.status)).collect())
}

/// The sections that are to be written of each project; projects without any are left out.
async fn plan<'p>(tx: &mut Tx, actor: &Actor, chosen: &'p [Project], new: &NewRun) -> Result<Vec<(&'p Project, Vec<Section>)>> {
    let ids: Vec<ProjectId> = chosen.iter().map(|project| project.id).collect();
    let mut rows = sections::load_for_projects(tx, actor.workspace, &ids).await?;
    let mut plan = Vec::with_capacity(chosen.len());
    for project in chosen {
        let rows = rows.remove(&project.id).unwrap_or_default();
        // a narrative that was begun is completed: what is paid for is not paid for again
        let completing = matches!(new.scope, GenerationScope::Missing | GenerationScope::Failed) && rows.iter().any(|s| s.revision == 0);
        let keep = |s: &Section| new.edited_sections == EditedSectionPolicy::Keep && s.state == SectionState::Edited;
        let to_write: Vec<Section> = rows.into_iter().filter(|s| if completing { s.revision == 0 } else { !keep(s) }).collect();
        if !to_write.is_empty() {
            plan.push((project, to_write));
        }
    }
    Ok(plan)
}

async fn version_for(tx: &mut Tx, actor: &Actor, batch: &Batch, new: &NewRun) -> Result<TemplateVersion> {
    let field = "input.generation.templateId";
    let id = new.template.unwrap_or(batch.template);
    let template = templates::find(tx, actor.workspace, id).await?.ok_or_else(|| Error::not_found("template", field))?;
    // a batch keeps the template that it has, archived or not
    if template.archived_at.is_some() && id != batch.template {
        let message = format!("The template `{}` is archived. Restore it or name another one.", template.key);
        return Err(Error::refused(ProblemCode::TemplateUnusable, field, message));
    }
    let version = templates::load_versions(tx, actor.workspace, &[template.current_version]).await?.pop();
    version.ok_or_else(|| Error::internal("a template without its version"))
}

pub(super) fn already_running(field: &str) -> Error {
    let message = "A run of this batch is queued or running. Wait for it to end, or cancel it.";
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
