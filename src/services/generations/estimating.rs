//! What a run would cost and how long it would take, before it is started. Nothing is written, no provider is called.
//!
//! Tokens are counted by the same rule as those of a call, but without assembling every prompt: what a section's prompt
//! has besides the facts is counted once, and each fact once for its project.

use super::Generations;
use super::planning::{Plan, Wanted, choose_projects, plan, version_for};
use crate::adapters::ai::{estimated_tokens, expected_tokens};
use crate::domain::actor::Actor;
use crate::domain::budgets::{Estimate, MAX_BLOCKED};
use crate::domain::generations::{MAX_ATTEMPTS, NewRun};
use crate::domain::ids::ProjectId;
use crate::domain::money::Spend;
use crate::domain::projects::{Costs, Facts, Project};
use crate::domain::prompts::assemble;
use crate::domain::templates::{TemplateSection, TemplateVersion};
use crate::error::{Error, Result};
use crate::repositories::db::Tx;
use crate::repositories::{batches, budgets, jobs, projects, sections};
use crate::services::core::LANE;
use std::collections::{HashMap, HashSet};

/// Projects whose facts are read at once.
const READ_AT_ONCE: usize = 500;
/// Tokens that a fact takes besides its text: its name and the marks of JSON.
const TOKENS_OF_A_NAME: i64 = 6;
/// What a call takes where nothing is known: its first token after this many seconds, …
const FIRST_TOKEN_SECONDS: f64 = 1.0;
/// … then so many tokens in a second, …
const TOKENS_PER_SECOND: f64 = 60.0;
/// … and so many calls at a time (`AI_CONCURRENCY`'s default).
const CALLS_AT_A_TIME: f64 = 8.0;
/// What a section takes that is composed here, in seconds.
const COMPOSED_SECONDS: f64 = 0.02;

impl Generations {
    /// What a run would cost. Nothing is started.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` naming `input` for whatever would keep the run from being planned.
    pub async fn estimate(&self, actor: &Actor, new: &NewRun) -> Result<Estimate> {
        self.estimate_for_start(actor, new).await.map_err(|error| match error {
            Error::Refused(problems) => {
                let messages: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
                Error::argument("input", messages.join(" "))
            }
            fault @ Error::Fault(_) => fault,
        })
    }

    /// The estimate of a start that was refused for its budget.
    ///
    /// # Errors
    /// The problems that a start would have.
    pub async fn estimate_for_start(&self, actor: &Actor, new: &NewRun) -> Result<Estimate> {
        let wanted = self.check_wanted(new)?;
        let mut tx = self.core.db.read(actor.workspace).await?;
        let batch = batches::find(&mut tx, actor.workspace, new.batch).await?.filter(|batch| batch.deleted_at.is_none());
        let batch = batch.ok_or_else(|| Error::not_found("batch", "input.generation.batchId"))?;
        let version = version_for(&mut tx, actor, &batch, new).await?;
        let chosen = choose_projects(&mut tx, actor, &batch, new).await?;
        let ids: Vec<ProjectId> = chosen.iter().map(|project| project.id).collect();
        let rows = sections::load_for_projects(&mut tx, actor.workspace, &ids).await?;
        let mut plan = plan(&chosen, &rows, &version, new);
        self.estimate_in(&mut tx, actor, &wanted, &version, &mut plan, new.cap).await
    }

    /// Estimates a plan. Projects whose facts do not fit into the model are moved to those that cannot be written.
    pub(super) async fn estimate_in(
        &self,
        tx: &mut Tx,
        actor: &Actor,
        wanted: &Wanted,
        version: &TemplateVersion,
        plan: &mut Plan<'_>,
        cap: Option<Spend>,
    ) -> Result<Estimate> {
        let model = self.model(&wanted.provider, &wanted.model).ok_or_else(|| Error::internal("a model that is not configured"))?;
        let bare = bare_prompts(version, wanted.instructions.as_deref());
        let mut estimate = Estimate { cap, ..Estimate::default() };
        let mut longest_answers = 0;
        let mut too_large = HashMap::new();
        for chunk in plan.writes.chunks(READ_AT_ONCE) {
            let ids: Vec<ProjectId> = chunk.iter().map(|(project, _)| project.id).collect();
            let facts = projects::load_facts(tx, actor.workspace, &ids).await?;
            let none = Facts::default();
            for (project, sections) in chunk {
                let sizes = Sizes::of(project, facts.get(&project.id).unwrap_or(&none));
                let sent = |section: &TemplateSection| bare.get(section.key.as_str()).unwrap_or(&0) + sizes.of_section(section);
                let largest = sections.iter().map(|section| sent(section)).max().unwrap_or_default();
                if largest >= i64::from(model.context_tokens) {
                    too_large.insert(project.id, largest);
                    continue;
                }
                estimate.projects += 1;
                for section in sections {
                    estimate.input_tokens += sent(section);
                    estimate.output_tokens += i64::from(expected_tokens(section));
                    longest_answers += i64::from(model.output_limit(section));
                }
            }
        }
        for (project, tokens) in &too_large {
            let most = model.context_tokens;
            let reason = format!("Its facts make a prompt of about {tokens} tokens; {} takes {most}. Shorten them.", model.model);
            plan.block(*project, reason);
        }
        plan.writes.retain(|(project, _)| !too_large.contains_key(&project.id));
        plan.blocked.truncate(MAX_BLOCKED);
        estimate.blocked.clone_from(&plan.blocked);
        let tries = i64::from(MAX_ATTEMPTS);
        estimate.expected = model.most_spend(estimate.input_tokens, estimate.output_tokens);
        estimate.maximum = model.most_spend(estimate.input_tokens.saturating_mul(tries), longest_answers.saturating_mul(tries));
        estimate.seconds = self.expected_seconds(tx, actor, wanted, plan.sections(), estimate.output_tokens).await?;
        Ok(estimate)
    }

    /// By what the workspace's last runs with this model took; shared with whatever runs are busy now.
    async fn expected_seconds(&self, tx: &mut Tx, actor: &Actor, wanted: &Wanted, sections: usize, output_tokens: i64) -> Result<i64> {
        if sections == 0 {
            return Ok(0);
        }
        #[expect(clippy::cast_precision_loss, reason = "a guess of seconds")]
        let (sections, output_tokens) = (sections as f64, output_tokens as f64);
        let composed = self.core.drafter(Some(&wanted.provider)).is_ok_and(|drafter| drafter.profile().provenance.is_some());
        let each = match budgets::find_seconds_per_section(tx, actor.workspace, &wanted.provider, &wanted.model).await? {
            Some(seconds) => seconds,
            None if composed => COMPOSED_SECONDS,
            None => (FIRST_TOKEN_SECONDS + output_tokens / sections / TOKENS_PER_SECOND) / CALLS_AT_A_TIME,
        };
        #[expect(clippy::cast_precision_loss, reason = "a handful of runs")]
        let runs = jobs::count_busy_runs(tx, LANE).await? as f64 + 1.0;
        #[expect(clippy::cast_possible_truncation, reason = "bounded")]
        let seconds = (sections * each * runs).ceil().clamp(1.0, f64::from(i32::MAX)) as i64;
        Ok(seconds)
    }
}

/// Tokens of each section's prompt without any facts.
fn bare_prompts<'v>(version: &'v TemplateVersion, instructions: Option<&str>) -> HashMap<&'v str, i64> {
    let size = |section: &'v TemplateSection| {
        let prompt = assemble(section, version.instructions.as_deref(), "", &Facts::default(), &Costs::default(), instructions);
        let tokens = i64::from(estimated_tokens(prompt.system)) + i64::from(estimated_tokens(&prompt.user));
        (section.key.as_str(), tokens)
    };
    version.sections.iter().map(size).collect()
}

/// Tokens of a project's facts.
struct Sizes {
    name: i64,
    by_fact: Vec<(&'static str, i64)>,
    /// What only a section sees that may use everything.
    other: i64,
}

impl Sizes {
    fn of(project: &Project, facts: &Facts) -> Self {
        let tokens = |text: &str| i64::from(estimated_tokens(text)) + TOKENS_OF_A_NAME;
        let by_fact = facts.texts().into_iter().map(|(name, text)| (name, tokens(text))).collect();
        let extra: i64 = facts.extra.iter().map(|(heading, text)| tokens(heading) + tokens(text)).sum();
        let costs = project.costs.categories().iter().filter(|(_, pence)| pence.0 != 0).count();
        let costs = i64::try_from(costs).unwrap_or_default() * 2 * TOKENS_OF_A_NAME;
        Self { name: tokens(&project.name), by_fact, other: extra + costs }
    }

    fn of_section(&self, section: &TemplateSection) -> i64 {
        let may_use: HashSet<&str> = section.source_facts.iter().map(String::as_str).collect();
        let all = may_use.is_empty();
        let facts: i64 = self.by_fact.iter().filter(|(name, _)| all || may_use.contains(name)).map(|(_, tokens)| tokens).sum();
        self.name + facts + if all { self.other } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::builtin_templates::built_in;

    fn facts(words: usize) -> Facts {
        let text = |word: &str| Some(vec![word; words].join(" "));
        Facts { baseline: text("cone"), uncertainties: text("glaze"), outcome: text("kiln"), ..Facts::default() }
    }

    #[test]
    fn an_estimate_of_a_prompt_is_within_a_tenth_of_what_is_sent() {
        let template = &built_in()[0];
        for words in [0, 40, 400] {
            let facts = facts(words);
            for section in &template.sections {
                let sent = assemble(section, None, "Kiln glaze", &facts, &Costs::default(), None);
                let sent = estimated_tokens(sent.system) + estimated_tokens(&sent.user);
                let bare = assemble(section, None, "", &Facts::default(), &Costs::default(), None);
                let by_fact = facts.texts().into_iter().map(|(name, text)| (name, i64::from(estimated_tokens(text)) + TOKENS_OF_A_NAME));
                let sizes = Sizes { name: 2 + TOKENS_OF_A_NAME, by_fact: by_fact.collect(), other: 0 };
                let guess = i64::from(estimated_tokens(bare.system) + estimated_tokens(&bare.user)) + sizes.of_section(section);
                let off = (guess - i64::from(sent)).abs();
                assert!(off * 10 <= i64::from(sent), "{}: {guess} for {sent}", section.key);
            }
        }
    }
}
