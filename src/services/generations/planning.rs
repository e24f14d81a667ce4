//! What a run would do: the projects that its scope means, and the sections of each that are to be written. It decides and
//! reads; it must not write, so that an estimate can ask it too.

use super::Generations;
use crate::domain::actor::Actor;
use crate::domain::batches::Batch;
use crate::domain::budgets::BlockedProject;
use crate::domain::generations::{EditedSectionPolicy, GenerationScope, MAX_INSTRUCTIONS_CHARS, NewRun};
use crate::domain::ids::ProjectId;
use crate::domain::projects::{Project, ProjectStatus};
use crate::domain::sections::{Section, SectionState};
use crate::domain::templates::{TemplateSection, TemplateVersion};
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::db::Tx;
use crate::repositories::{projects, templates};
use crate::services::checks::Problems;
use crate::services::narratives;
use std::collections::{HashMap, HashSet};

/// Most projects that can be listed in one start.
pub(super) const MAX_LISTED: usize = 10_000;

/// What was asked for, checked.
pub(super) struct Wanted {
    pub provider: String,
    pub model: String,
    pub instructions: Option<String>,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Plan<'p> {
    /// Projects with the sections to be written of each; none without any.
    pub writes: Vec<(&'p Project, Vec<&'p TemplateSection>)>,
    /// Projects in scope that are not written, with reasons.
    pub blocked: Vec<BlockedProject>,
}

impl Plan<'_> {
    /// Number of all sections to be written.
    pub fn sections(&self) -> usize {
        self.writes.iter().map(|(_, sections)| sections.len()).sum()
    }

    pub fn block(&mut self, project: ProjectId, reason: impl Into<String>) {
        self.blocked.push(BlockedProject { project, reason: reason.into() });
    }
}

impl Generations {
    /// Checks what can be checked without the database.
    pub(super) fn check_wanted(&self, new: &NewRun) -> Result<Wanted> {
        let mut problems = Problems::default();
        let instructions = problems.optional("input.generation.instructions", new.instructions.clone(), MAX_INSTRUCTIONS_CHARS);
        let (provider, model) = self.choose_model(&mut problems, new);
        let field = "input.generation.projectIds";
        if new.scope == GenerationScope::Listed && new.projects.is_empty() {
            problems.add(ProblemCode::Required, field, "The scope LISTED needs the projects in `projectIds`.");
        }
        if new.scope != GenerationScope::Listed && !new.projects.is_empty() {
            problems.add(ProblemCode::Invalid, field, "`projectIds` belongs to the scope LISTED only.");
        }
        if new.projects.len() > MAX_LISTED {
            problems.add(ProblemCode::TooMany, field, format!("At most {MAX_LISTED} projects; use a scope instead."));
        }
        problems.check()?;
        Ok(Wanted { provider, model, instructions })
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
}

/// The projects that a scope means; only listed ones may be approved.
pub(super) async fn choose_projects(tx: &mut Tx, actor: &Actor, batch: &Batch, new: &NewRun) -> Result<Vec<Project>> {
    if new.scope == GenerationScope::AifSelection {
        let found = narratives::select_aif_in(tx, actor, batch).await?;
        let chosen = found.selection.selected.iter().filter_map(|index| found.projects.get(*index).cloned());
        return Ok(chosen.filter(|project| project.status != ProjectStatus::Approved).collect());
    }
    let all = projects::list_all(tx, actor.workspace, batch.id).await?;
    if new.scope == GenerationScope::Listed {
        let by_id: HashMap<ProjectId, &Project> = all.iter().map(|project| (project.id, project)).collect();
        let mut seen = HashSet::new();
        let chosen = new.projects.iter().filter(|id| seen.insert(**id)).map(|id| {
            let project = by_id.get(id).ok_or_else(|| Error::not_found("project of this batch", "input.generation.projectIds"))?;
            Ok((*project).clone())
        });
        return chosen.collect();
    }
    let wanted = |status: ProjectStatus| match new.scope {
        GenerationScope::Missing => status == ProjectStatus::Draft,
        GenerationScope::Failed => status == ProjectStatus::Failed,
        _ => status != ProjectStatus::Approved,
    };
    Ok(all.into_iter().filter(|project| wanted(project.status)).collect())
}

/// The sections that are to be written of each project, by the rows that it has (of this version or an earlier one).
pub(super) fn plan<'p>(
    chosen: &'p [Project],
    rows: &HashMap<ProjectId, Vec<Section>>,
    version: &'p TemplateVersion,
    new: &NewRun,
) -> Plan<'p> {
    let mut plan = Plan::default();
    for project in chosen {
        if project.status == ProjectStatus::Approved {
            plan.block(project.id, "It is approved and locked. Take back the approval first.");
            continue;
        }
        let rows = rows.get(&project.id).map_or(&[][..], Vec::as_slice);
        let row_of = |section: &TemplateSection| rows.iter().find(|row| row.key == section.key);
        let is_empty = |section: &TemplateSection| row_of(section).is_none_or(|row| row.revision == 0);
        // a narrative that was begun is completed: what is paid for is not paid for again
        let completing = matches!(new.scope, GenerationScope::Missing | GenerationScope::Failed) && version.sections.iter().any(is_empty);
        let is_kept = |section: &TemplateSection| {
            new.edited_sections == EditedSectionPolicy::Keep && row_of(section).is_some_and(|row| row.state == SectionState::Edited)
        };
        let is_written = |section: &&TemplateSection| if completing { is_empty(section) } else { !is_kept(section) };
        let to_write: Vec<_> = version.sections.iter().filter(is_written).collect();
        if to_write.is_empty() {
            plan.block(project.id, "All its texts are edited and kept. Choose REPLACE in `editedSections` to write them anew.");
        } else {
            plan.writes.push((project, to_write));
        }
    }
    plan
}

/// The version of a template that a run uses.
pub(super) async fn version_for(tx: &mut Tx, actor: &Actor, batch: &Batch, new: &NewRun) -> Result<TemplateVersion> {
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
