//! A call of a provider for one section, whoever asked for it: what it is made with, and what is stored of how it ended.
//! It must not know runs nor jobs.

use super::Generations;
use crate::adapters::ai::{DraftFailure, DraftRequest, Drafter, Usage};
use crate::domain::actor::Actor;
use crate::domain::generations::{AskedBy, Attempt, AttemptStatus};
use crate::domain::ids::{AttemptId, RevisionId, TemplateVersionId, UserId};
use crate::domain::jobs::JobFailure;
use crate::domain::money::Spend;
use crate::domain::personal_data::Mask;
use crate::domain::projects::{Facts, Project};
use crate::domain::prompts::assemble_again;
use crate::domain::sections::{Revision, RevisionSource, Section, SectionState};
use crate::domain::templates::{TemplateVersion, char_count, word_count};
use crate::error::{Error, Result};
use crate::repositories::{generations, sections};
use crate::services::core::Unit;
use chrono::{DateTime, Utc};

/// What a section is written with.
pub(super) struct Call {
    pub section: Section,
    pub attempt: Attempt,
    pub request: DraftRequest,
    /// What the prompt hides of people; nothing, if the provider does not ask for it.
    pub mask: Mask,
    /// Errors in the text that a second draft is to replace; 0 for any other call.
    pub errors_before: usize,
}

/// What is chosen for a call beside the project and its section.
pub(super) struct Order<'a> {
    pub provider: &'a str,
    pub model: &'a str,
    /// What a person wishes.
    pub wish: Option<String>,
    /// What was found in an earlier draft, as sentences.
    pub findings: Vec<String>,
}

/// What the provider is sent for a section, and what goes with that.
pub(super) struct Prepared {
    pub request: DraftRequest,
    mask: Mask,
    provider: String,
    version: TemplateVersionId,
}

impl Generations {
    /// What the provider is sent for a section, and what that hides of people.
    pub(super) fn prepare(
        &self,
        version: &TemplateVersion,
        section: &Section,
        project: &Project,
        facts: Facts,
        order: Order<'_>,
    ) -> Result<Prepared> {
        let template_section = version.sections.iter().find(|s| s.key == section.key).cloned();
        let template_section = template_section.ok_or_else(|| Error::internal("a section that its template does not have"))?;
        let Order { provider, model, wish, findings } = order;
        let masks = self.core.drafter(Some(provider)).is_ok_and(|drafter| drafter.profile().masks_personal_data);
        let typed: Vec<&str> =
            [project.name.as_str(), wish.as_deref().unwrap_or_default()].into_iter().chain(findings.iter().map(String::as_str)).collect();
        let mask = if masks { Mask::of(&facts, &typed) } else { Mask::default() };
        let findings: Vec<String> = findings.iter().map(|finding| mask.hide(finding)).collect();
        let prompt = assemble_again(
            &template_section,
            version.instructions.as_deref(),
            &mask.hide(&project.name),
            &mask.hide_facts(&facts),
            &project.costs,
            wish.as_deref().map(|wish| mask.hide(wish)).as_deref(),
            &findings,
        );
        let request = DraftRequest {
            model: model.to_owned(),
            prompt,
            section: template_section,
            facts,
            costs: project.costs,
            project_name: project.name.clone(),
            wish,
        };
        Ok(Prepared { request, mask, provider: provider.to_owned(), version: version.id })
    }

    /// A text is accepted: it becomes the newest of its section, and the attempt has succeeded. Gives what it cost.
    pub(super) async fn keep_text_in(
        &self,
        unit: &mut Unit,
        actor: &Actor,
        call: &Call,
        author: Option<UserId>,
        text: &str,
        usage: &Usage,
    ) -> Result<Spend> {
        let (mut section, mut attempt) = (call.section.clone(), call.attempt.clone());
        let drafter = self.core.drafter(Some(&attempt.provider))?;
        let spend = spend(&**drafter, &attempt.model, usage);
        section.revision += 1;
        (section.source, section.state) = (Some(RevisionSource::Model), SectionState::Generated);
        (section.word_count, section.char_count) = (word_count(text), char_count(text));
        let revision = Revision {
            id: RevisionId(self.core.new_id()),
            section: section.id,
            number: section.revision,
            text: text.to_owned(),
            source: RevisionSource::Model,
            author,
            attempt: Some(attempt.id),
            note: drafter.profile().provenance.map(str::to_owned),
            created_at: unit.now,
        };
        sections::create_revision_in(&mut unit.tx, actor.workspace, &revision).await?;
        sections::update_in(&mut unit.tx, actor.workspace, &section).await?;
        attempt.status = AttemptStatus::Succeeded;
        attempt.model.clone_from(&usage.model);
        (attempt.input_tokens, attempt.output_tokens, attempt.spend) = (Some(usage.input_tokens), Some(usage.output_tokens), Some(spend));
        attempt.finished_at = Some(unit.now);
        generations::update_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
        Ok(spend)
    }

    /// A call has failed, and is tried again or not. What it took is paid for all the same: gives what it cost.
    pub(super) async fn note_failure_in(
        &self,
        unit: &mut Unit,
        actor: &Actor,
        attempt: &Attempt,
        again: bool,
        failure: &DraftFailure,
    ) -> Result<Spend> {
        let mut attempt = attempt.clone();
        attempt.status = if again { AttemptStatus::Retrying } else { AttemptStatus::Failed };
        attempt.finished_at = Some(unit.now);
        let mut cost = Spend(0);
        if let Some(usage) = &failure.usage {
            cost = spend(&**self.core.drafter(Some(&attempt.provider))?, &attempt.model, usage);
            (attempt.input_tokens, attempt.output_tokens, attempt.spend) =
                (Some(usage.input_tokens), Some(usage.output_tokens), Some(cost));
            attempt.model.clone_from(&usage.model);
        }
        attempt.failure = Some(JobFailure::from(failure.clone()));
        generations::update_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
        Ok(cost)
    }
}

impl Prepared {
    /// An attempt whose call is about to be made.
    pub(super) fn attempt(&self, id: AttemptId, asked_by: AskedBy, section: &Section, number: i32, now: DateTime<Utc>) -> Attempt {
        Attempt {
            id,
            asked_by,
            project: section.project,
            section: section.id,
            section_key: section.key.clone(),
            number,
            status: AttemptStatus::Running,
            provider: self.provider.clone(),
            model: self.request.model.clone(),
            template_version: self.version,
            prompt_hash: self.request.prompt.hash.clone(),
            input_tokens: None,
            output_tokens: None,
            spend: None,
            reserved: None,
            failure: None,
            started_at: now,
            finished_at: None,
        }
    }

    /// The call of an attempt.
    pub(super) fn call(self, section: Section, attempt: Attempt, errors_before: usize) -> Call {
        Call { section, attempt, request: self.request, mask: self.mask, errors_before }
    }
}

/// What a call cost; nothing if the model has no price any more.
fn spend(drafter: &dyn Drafter, model: &str, usage: &Usage) -> Spend {
    let price = drafter.profile().models.into_iter().find(|info| info.model == model);
    price.map_or(Spend(0), |info| info.spend(usage))
}
