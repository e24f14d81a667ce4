//! Second drafts: a section that a run has written and that breaks a rule is written once more, with what was found in the
//! prompt, before a person has to see it. Once for a project and run; the better of both texts stays.
//!
//! A second draft is a job like the first, with the same tries and budgets. It is no progress: the section was counted when
//! it had a text. If it fails, or breaks more rules than the first, the first stays, and the project has not failed by it.

use super::Generations;
use super::calls::Call;
use crate::adapters::ai::{DraftFailure, Usage};
use crate::domain::actor::Actor;
use crate::domain::generations::Run;
use crate::domain::ids::ProjectId;
use crate::domain::jobs::JobFailureCode;
use crate::domain::money::Spend;
use crate::domain::projects::Project;
use crate::domain::quality::{Finding, IssueSeverity, Report};
use crate::domain::sections::SectionState;
use crate::domain::work::{DRAFT_SECTION, DraftSection};
use crate::error::{Error, Result};
use crate::repositories::db::Tx;
use crate::repositories::jobs::NewJob;
use crate::repositories::{attempts, projects, sections};
use crate::services::core::Unit;
use crate::services::narratives;
use std::collections::HashSet;

impl Generations {
    /// Queues second drafts of the sections that this run has written with a model and that break a rule; false if there are none.
    pub(super) async fn redraft_in(&self, unit: &mut Unit, actor: &Actor, run: &Run, project: &Project, report: &Report) -> Result<bool> {
        // what is composed from the facts would be the same text again
        let writes_anew = self.core.drafter(Some(&run.provider)).is_ok_and(|drafter| drafter.profile().provenance.is_none());
        if !self.core.redraft || !writes_anew {
            return Ok(false);
        }
        let broken: HashSet<&str> =
            report.findings.iter().filter(|found| is_error(found)).filter_map(|found| found.section_key.as_deref()).collect();
        if broken.is_empty() {
            return Ok(false);
        }
        let written = attempts::list_written(&mut unit.tx, actor.workspace, run.id, project.id).await?;
        let all = sections::load_for_projects(&mut unit.tx, actor.workspace, &[project.id]).await?.remove(&project.id).unwrap_or_default();
        let again = all.into_iter().filter(|section| broken.contains(section.key.as_str()) && written.contains(&section.id));
        let jobs: Vec<NewJob<DraftSection>> = again
            .map(|section| {
                let payload = DraftSection { batch: run.batch, run: run.id, project: project.id, section: section.id, redraft: true };
                NewJob { kind: DRAFT_SECTION, payload }
            })
            .collect();
        if jobs.is_empty() {
            return Ok(false);
        }
        let count = i32::try_from(jobs.len()).map_err(Error::internal)?;
        attempts::reopen_sections_in(&mut unit.tx, run.id, project.id, count).await?;
        unit.enqueue(actor.workspace, Some(run.id), &jobs).await?;
        Ok(true)
    }

    /// The errors that the last check found in a section, as sentences for a prompt.
    pub(super) async fn errors_in(&self, tx: &mut Tx, actor: &Actor, project: ProjectId, key: &str) -> Result<Vec<String>> {
        let report = projects::load_reports(tx, actor.workspace, &[project]).await?.remove(&project);
        let findings = report.map(|(report, _)| report.findings).unwrap_or_default();
        let of_section = findings.into_iter().filter(|found| is_error(found) && found.section_key.as_deref() == Some(key));
        Ok(of_section.map(|found| format!("{} {}", found.message, found.suggestion.unwrap_or_default()).trim_end().to_owned()).collect())
    }

    /// True if a second draft breaks more rules than the first.
    pub(super) async fn is_worse_in(&self, tx: &mut Tx, actor: &Actor, call: &Call, text: &str) -> Result<bool> {
        if call.errors_before == 0 {
            return Ok(false);
        }
        let project = projects::find(tx, actor.workspace, call.section.project).await?;
        let project = project.ok_or_else(|| Error::internal("a section without its project"))?;
        let checked = narratives::check_with_in(tx, actor, &project, Some((&call.section.key, text))).await?;
        let of_section = |found: &&Finding| is_error(found) && found.section_key.as_deref() == Some(call.section.key.as_str());
        Ok(checked.report.findings.iter().filter(of_section).count() > call.errors_before)
    }

    /// Leaves a second draft aside: the section keeps the text that it has. Gives what the call cost.
    pub(super) async fn set_aside_in(&self, unit: &mut Unit, actor: &Actor, call: &Call, usage: &Usage) -> Result<Spend> {
        let Call { section, attempt, .. } = call;
        let state = SectionState::at_rest(section.source);
        sections::set_state_in(&mut unit.tx, actor.workspace, section.id, state).await?;
        let message = "The second draft broke more rules than the first, which was kept.";
        let failure = DraftFailure::new(JobFailureCode::ProviderBadAnswer, message).lasting().having_taken(usage.clone());
        self.note_failure_in(unit, actor, attempt, false, &failure).await
    }
}

fn is_error(found: &Finding) -> bool {
    found.severity == IssueSeverity::Error
}
