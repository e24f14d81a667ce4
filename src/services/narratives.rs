//! Use cases of whole narratives: check one that is stored or one that is not, and work out AIF selections.

use super::core::Core;
use crate::domain::actor::Actor;
use crate::domain::aif::{AifWarning, Candidate, Selection, period_warning, select};
use crate::domain::batches::Batch;
use crate::domain::events::BatchEvent;
use crate::domain::ids::{ProjectId, TemplateId};
use crate::domain::imports::quoted;
use crate::domain::projects::{Costs, Facts, Project};
use crate::domain::quality::{Finding, Narrative, Report, SectionText, check};
use crate::domain::templates::DEFAULT_TEMPLATE_KEY;
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::db::Tx;
use crate::repositories::{projects, sections, templates};
use chrono::{DateTime, Utc};

/// Most projects of an AIF selection for plain numbers.
pub const MAX_PLAIN_PROJECTS: usize = 10_000;

/// Use cases of narratives.
#[derive(Debug, Clone)]
pub struct Narratives {
    core: Core,
}

/// The AIF selection of a batch: the rule's answer over these projects.
#[derive(Debug, Clone)]
pub struct BatchSelection {
    /// Every project of the claim; the answer's indexes refer to it.
    pub projects: Vec<Project>,
    /// The answer.
    pub selection: Selection,
}

/// A text to be checked, without a project.
#[derive(Debug, Clone, Default)]
pub struct LooseNarrative {
    /// Texts by key of their section.
    pub sections: Vec<(String, String)>,
    /// Facts that the text may use.
    pub facts: Facts,
    /// Costs.
    pub costs: Costs,
    /// Template whose limits apply; the default if absent.
    pub template: Option<TemplateId>,
}

impl Narratives {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Checks a text against facts without storing anything; gives the report and the moment.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` naming the argument for an unknown template or section.
    pub async fn check(&self, actor: &Actor, loose: &LooseNarrative) -> Result<(Report, DateTime<Utc>)> {
        let mut tx = self.core.db.read(actor.workspace).await?;
        let template = match loose.template {
            Some(id) => templates::find(&mut tx, actor.workspace, id).await?,
            None => templates::find_by_key(&mut tx, actor.workspace, DEFAULT_TEMPLATE_KEY).await?,
        };
        let template = template.ok_or_else(|| Error::argument("input", "There is no such template. Check `templateId`."))?;
        let version = templates::load_versions(&mut tx, actor.workspace, &[template.current_version]).await?.pop();
        let version = version.ok_or_else(|| Error::internal("a template without its version"))?;
        if let Some((key, _)) = loose.sections.iter().find(|(key, _)| version.sections.iter().all(|section| section.key != *key)) {
            let known: Vec<_> = version.sections.iter().map(|section| section.key.as_str()).collect();
            let message = format!("The template has no section `{}`; its sections are {}.", quoted(key), known.join(", "));
            return Err(Error::argument("input", message));
        }
        let text = |key: &str| loose.sections.iter().find(|(given, _)| given == key).map_or("", |(_, text)| text.as_str());
        let parts: Vec<SectionText> = version.sections.iter().map(|section| SectionText { section, text: text(&section.key) }).collect();
        let narrative = Narrative { name: "", sections: &parts, facts: &loose.facts, costs: &loose.costs };
        Ok((check(&narrative), self.core.now()))
    }

    /// Which projects of a batch have to be described.
    ///
    /// # Errors
    /// As the database says.
    pub async fn select_aif(&self, actor: &Actor, batch: &Batch) -> Result<BatchSelection> {
        select_aif_in(&mut self.core.db.read(actor.workspace).await?, actor, batch).await
    }
}

pub(super) async fn select_aif_in(tx: &mut Tx, actor: &Actor, batch: &Batch) -> Result<BatchSelection> {
    let projects = projects::list_all(tx, actor.workspace, batch.id).await?;
    let claims = projects::load_claim_refs(tx, actor.workspace, batch.id).await?;
    let candidates: Vec<Candidate> = projects
        .iter()
        .map(|project| Candidate {
            reference: project.external_ref.clone().unwrap_or_default(),
            name: project.name.clone(),
            expenditure: project.costs.total().pounds(),
            pinned: project.aif_pinned,
            claim_ref: claims.get(&project.id).cloned(),
        })
        .collect();
    let mut selection = select(&candidates);
    let warning: Option<AifWarning> = period_warning(batch.claim.period_start, batch.claim.period_end);
    selection.warnings.extend(warning);
    Ok(BatchSelection { projects, selection })
}

/// The check of a stored narrative.
#[derive(Debug)]
pub(super) struct Checked {
    /// The report.
    pub report: Report,
    /// True if every required section has text.
    pub complete: bool,
}

/// Checks a project's narrative as it stands in the transaction.
pub(super) async fn check_in(tx: &mut Tx, actor: &Actor, project: &Project) -> Result<Checked> {
    check_with_in(tx, actor, project, None).await
}

/// The same with another text in place of that of one section, by its key.
pub(super) async fn check_with_in(tx: &mut Tx, actor: &Actor, project: &Project, other: Option<(&str, &str)>) -> Result<Checked> {
    let (workspace, id) = (actor.workspace, project.id);
    let facts = projects::load_facts(tx, workspace, &[id]).await?.remove(&id).unwrap_or_default();
    let rows = sections::load_for_projects(tx, workspace, &[id]).await?.remove(&id).unwrap_or_default();
    let ids: Vec<_> = rows.iter().filter(|row| row.revision > 0).map(|row| row.id).collect();
    let texts = sections::load_texts(tx, workspace, &ids).await?;
    let version = templates::load_versions(tx, workspace, &[project.template_version]).await?.pop();
    let version = version.ok_or_else(|| Error::internal("a project without its template version"))?;
    let text = |key: &str| match other {
        Some((replaced, text)) if replaced == key => text,
        _ => rows.iter().find(|row| row.key == key).and_then(|row| texts.get(&row.id)).map_or("", String::as_str),
    };
    let parts: Vec<SectionText> = version.sections.iter().map(|section| SectionText { section, text: text(&section.key) }).collect();
    let complete = parts.iter().all(|part| !part.section.required || !part.text.trim().is_empty());
    let report = check(&Narrative { name: &project.name, sections: &parts, facts: &facts, costs: &project.costs });
    Ok(Checked { report, complete })
}

/// The event of a check.
pub(super) fn scored(project: ProjectId, report: &Report) -> BatchEvent {
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    BatchEvent::ProjectScored {
        project,
        score: report.score,
        errors: number(report.error_count()),
        warnings: number(report.warning_count()),
    }
}

/// A finding as a sentence that names its section.
pub(super) fn sentence(finding: &Finding) -> String {
    match &finding.section_key {
        Some(key) => format!("[{key}] {}", finding.message),
        None => finding.message.clone(),
    }
}

/// Refuses a plain selection of too many projects.
///
/// # Errors
/// `VALIDATION_FAILED` naming the argument.
pub fn plain_count(count: usize) -> Result<()> {
    if count > MAX_PLAIN_PROJECTS {
        return Err(Error::argument("input", format!("At most {MAX_PLAIN_PROJECTS} projects; there were {count}.")));
    }
    Ok(())
}

/// Problem of a request that names nothing to do.
pub(super) fn nothing_to_do(field: &str, message: &str) -> Error {
    Error::refused(ProblemCode::WrongState, field, message)
}
