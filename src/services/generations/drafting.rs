//! Writing of one section, the unit of paid work: a short transaction before the call, none during it, and one after it
//! that holds the text, the numbers, the events and the end of the job.

use super::measure::Measure;
use super::{Generations, budgets, finishing, progressed_now_and_then};
use crate::adapters::ai::{DraftFailure, DraftPiece, DraftRequest, Drafter, Usage};
use crate::adapters::events::{Bell, Topic};
use crate::domain::actor::Actor;
use crate::domain::answers::{self, Flaw};
use crate::domain::events::BatchEvent;
use crate::domain::generations::{Attempt, AttemptStatus, MAX_ATTEMPTS, Run};
use crate::domain::ids::{AttemptId, RevisionId};
use crate::domain::jobs::{JobFailure, JobFailureCode, JobStatus, wait_before_try};
use crate::domain::money::Spend;
use crate::domain::personal_data::{Mask, Restorer};
use crate::domain::projects::ProjectStatus;
use crate::domain::prompts::assemble;
use crate::domain::sections::{Revision, RevisionSource, Section, SectionState};
use crate::domain::templates::{char_count, word_count};
use crate::domain::work::{DraftSection, FINISH_PROJECT, FinishProject, JobEnding};
use crate::error::{Error, Result};
use crate::repositories::jobs::{ClaimedJob, NewJob};
use crate::repositories::{batches, generations, jobs, projects, sections};
use crate::services::core::Unit;
use crate::services::drafts::desk::Pen;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::sleep;
use tracing::Instrument;

/// Longest pause between two tries of the transaction after a call.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a section is written with.
struct Call {
    run: Run,
    section: Section,
    attempt: Attempt,
    request: DraftRequest,
    /// What the prompt hides of people; nothing, if the provider does not ask for it.
    mask: Mask,
}

impl Generations {
    /// Writes one section and settles its job. An error is a fault of ours: the job is then done again.
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn draft_section(&self, job: &ClaimedJob, work: DraftSection) -> Result<JobEnding> {
        let actor = Actor::system(job.workspace());
        let Some(call) = self.begin_section(&actor, job, work).await? else { return Ok(JobEnding::Done) };
        match self.measured(&call).await {
            Ok((text, usage)) => self.insist(|| self.accept(&actor, job, work, &call, &text, &usage)).await.map(|()| JobEnding::Done),
            Err(failure) => self.insist(|| self.reject(&actor, job, work, &call, &failure)).await,
        }
    }

    /// Tries the transaction after a call again as long as the database is away: what was paid for is in memory alone. A
    /// claim that was lost meanwhile ends it; so do cancellation and the end of the process, which drop the whole job.
    async fn insist<T, F: Future<Output = Result<T>> + Send>(&self, transaction: impl Fn() -> F + Send + Sync) -> Result<T> {
        let mut next = 2;
        loop {
            match transaction().await {
                Err(error) if error.is_unavailable() => {
                    let wait = wait_before_try(next, None, self.core.dice()).min(LONGEST_PAUSE);
                    tracing::warn!(%error, ?wait, "the database is away; what a call gave is kept and stored later");
                    sleep(wait).await;
                    next += 1;
                }
                ended => return ended,
            }
        }
    }

    /// Notes that the section is being written, unless there is nothing left to do for it.
    async fn begin_section(&self, actor: &Actor, job: &ClaimedJob, work: DraftSection) -> Result<Option<Call>> {
        let mut facts = projects::load_facts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, &[work.project]).await?;
        let mut unit = self.core.begin(actor.workspace).await?;
        unit.ring(Topic::Draft(work.project), Bell::Changed);
        batches::lock_in(&mut unit.tx, actor.workspace, work.batch).await?;
        let run = generations::lock_in(&mut unit.tx, actor.workspace, work.run).await?;
        let project = projects::find(&mut unit.tx, actor.workspace, work.project).await?;
        let section = sections::find(&mut unit.tx, actor.workspace, work.section).await?;
        let (Some(mut run), Some(project), Some(mut section)) = (run, project, section) else {
            jobs::finish_in(&mut unit.tx, job).await?;
            unit.commit().await?;
            return Ok(None);
        };
        if run.status.is_final() || run.status == JobStatus::Cancelling {
            self.let_go_in(&mut unit, actor, job, work, &mut run).await?;
            unit.commit().await?;
            return Ok(None);
        }
        let now = unit.now;
        let earlier = generations::find_earlier(&mut unit.tx, actor.workspace, run.id, section.id).await?;
        generations::close_lost_attempts_in(&mut unit.tx, actor.workspace, run.id, section.id, now).await?;
        budgets::release(&mut run, earlier.reserved);
        if project.deleted_at.is_some() {
            self.settle_section(&mut unit, actor, job, work, &mut run, false).await?;
            unit.commit().await?;
            return Ok(None);
        }
        if run.status == JobStatus::PausedBudget {
            jobs::park_in(&mut unit.tx, job).await?;
            generations::update_in(&mut unit.tx, actor.workspace, &run).await?;
            unit.commit().await?;
            return Ok(None);
        }
        let version = self.version(actor, run.template_version).await?;
        let template_section = version.sections.iter().find(|s| s.key == section.key).cloned();
        let template_section = template_section.ok_or_else(|| Error::internal("a section that its template does not have"))?;
        let facts = facts.remove(&project.id).unwrap_or_default();
        let wish = run.instructions.clone();
        let masks = self.core.drafter(Some(&run.provider)).is_ok_and(|drafter| drafter.profile().masks_personal_data);
        let mask = if masks { Mask::of(&facts, &[&project.name, wish.as_deref().unwrap_or_default()]) } else { Mask::default() };
        let prompt = assemble(
            &template_section,
            version.instructions.as_deref(),
            &mask.hide(&project.name),
            &mask.hide_facts(&facts),
            &project.costs,
            wish.as_deref().map(|wish| mask.hide(wish)).as_deref(),
        );
        let most = self.most_of_call(&run, &prompt, &template_section);
        if !budgets::reserve_in(&mut unit, actor, job, &mut run, most).await? {
            unit.commit().await?;
            return Ok(None);
        }
        let mut events = Vec::new();
        if run.status == JobStatus::Queued {
            run.status = JobStatus::Running;
            run.started_at = Some(unit.now);
            events.push(BatchEvent::RunStatusChanged { run: run.id, previous: Some(JobStatus::Queued), status: run.status });
        }
        if generations::move_project_in(&mut unit.tx, run.id, project.id, &["QUEUED"], "RUNNING").await? {
            run.counts.queued -= 1;
            run.counts.running += 1;
            projects::set_status_in(&mut unit.tx, actor.workspace, &[project.id], ProjectStatus::Generating, now).await?;
            events.push(BatchEvent::ProjectStatusChanged {
                project: project.id,
                previous: Some(project.status),
                status: ProjectStatus::Generating,
                failure: None,
            });
        }
        if !events.is_empty() || run.cap.is_some() || earlier.reserved.0 > 0 {
            generations::update_in(&mut unit.tx, actor.workspace, &run).await?;
        }
        let attempt = Attempt {
            id: AttemptId(self.core.new_id()),
            run: run.id,
            project: project.id,
            section: section.id,
            section_key: section.key.clone(),
            number: earlier.number + 1,
            status: AttemptStatus::Running,
            provider: run.provider.clone(),
            model: run.model.clone(),
            template_version: run.template_version,
            prompt_hash: prompt.hash.clone(),
            input_tokens: None,
            output_tokens: None,
            spend: None,
            reserved: run.cap.map(|_| most),
            failure: None,
            started_at: unit.now,
            finished_at: None,
        };
        generations::create_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
        section.state = SectionState::Generating;
        sections::set_state_in(&mut unit.tx, actor.workspace, section.id, section.state).await?;
        unit.append(actor.workspace, work.batch, events).await?;
        unit.commit().await?;
        let request = DraftRequest {
            model: run.model.clone(),
            prompt,
            section: template_section,
            facts,
            costs: project.costs,
            project_name: project.name,
            wish,
        };
        Ok(Some(Call { run, section, attempt, request, mask }))
    }

    /// Calls the provider and says what came of it, in metrics and in the trace.
    async fn measured(&self, call: &Call) -> Result<(String, Usage), DraftFailure> {
        let measure = Measure::begin(&call.run.provider, &call.run.model);
        let span = measure.span.clone();
        let pen = self.core.desk.begin(&call.attempt);
        let answer = self.write(call, &pen).instrument(span).await;
        pen.finish().await;
        measure.end(&answer);
        answer
    }

    /// Calls the provider; no transaction is open meanwhile. Who watches sees the text as it comes.
    async fn write(&self, call: &Call, pen: &Pen) -> Result<(String, Usage), DraftFailure> {
        let bad = |message: &str| DraftFailure::new(JobFailureCode::ProviderBadAnswer, message);
        let drafter = self.core.drafter(Some(&call.run.provider));
        let drafter = drafter.map_err(|_| DraftFailure::new(JobFailureCode::Internal, "The provider is not configured any more."))?;
        let limit = usize::try_from(call.section.limits.max_chars).unwrap_or(usize::MAX);
        // what is composed here from the facts is in their language
        let must_be_english = drafter.profile().provenance.is_none();
        let mut stream = pen.publishing(drafter.draft(call.request.clone())).await?;
        let (mut text, mut restorer) = (String::new(), Restorer::new(&call.mask));
        while let Some(piece) = pen.publishing(stream.next()).await {
            match piece? {
                DraftPiece::Delta(delta) => {
                    let shown = restorer.push(&delta);
                    pen.push(&shown);
                    text.push_str(&shown);
                }
                DraftPiece::Finished(usage) => {
                    let shown = restorer.finish();
                    pen.push(&shown);
                    text.push_str(&shown);
                    let judged = match answers::text_of(&text, limit) {
                        Ok(text) if must_be_english && answers::is_foreign(&text) => Err(Flaw::WrongLanguage),
                        judged => judged,
                    };
                    return match judged {
                        Ok(text) => Ok((text, usage)),
                        Err(flaw) => Err(bad(flaw.message()).having_taken(usage)),
                    };
                }
            }
            // four bytes at most for a character: what is beyond this cannot fit, so do not wait for its end
            if text.len() > limit.saturating_mul(4) {
                return Err(bad(Flaw::TooLong.message()));
            }
        }
        Err(bad("The provider's answer broke off before its end."))
    }

    /// Stores a text with all that follows from it.
    async fn accept(&self, actor: &Actor, job: &ClaimedJob, work: DraftSection, call: &Call, text: &str, usage: &Usage) -> Result<()> {
        let (mut section, mut attempt) = (call.section.clone(), call.attempt.clone());
        let drafter = self.core.drafter(Some(&attempt.provider))?;
        let spend = spend(&**drafter, &attempt.model, usage);
        let provenance = drafter.profile().provenance.map(str::to_owned);
        let (mut unit, mut run) = self.reopen(actor, work).await?;
        // whoever has the claim now writes this revision: a collision with theirs would look like a fault
        jobs::hold_in(&mut unit.tx, job).await?;
        section.revision += 1;
        (section.source, section.state) = (Some(RevisionSource::Model), SectionState::Generated);
        (section.word_count, section.char_count) = (word_count(text), char_count(text));
        let revision = Revision {
            id: RevisionId(self.core.new_id()),
            section: section.id,
            number: section.revision,
            text: text.to_owned(),
            source: RevisionSource::Model,
            author: run.created_by,
            attempt: Some(attempt.id),
            note: provenance,
            created_at: unit.now,
        };
        sections::create_revision_in(&mut unit.tx, actor.workspace, &revision).await?;
        sections::update_in(&mut unit.tx, actor.workspace, &section).await?;
        attempt.status = AttemptStatus::Succeeded;
        attempt.model.clone_from(&usage.model);
        (attempt.input_tokens, attempt.output_tokens, attempt.spend) = (Some(usage.input_tokens), Some(usage.output_tokens), Some(spend));
        attempt.finished_at = Some(unit.now);
        generations::update_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
        let now = unit.now;
        projects::touch_in(&mut unit.tx, actor.workspace, work.project, now).await?;
        budgets::charge(&mut run, &attempt);
        self.settle_section(&mut unit, actor, job, work, &mut run, false).await?;
        unit.commit().await
    }

    /// Notes a failed attempt: it is tried again later, or the section has failed for good. What it took is paid for. A
    /// call that was held back is no attempt: the job waits, and nothing else has happened.
    async fn reject(&self, actor: &Actor, job: &ClaimedJob, work: DraftSection, call: &Call, failure: &DraftFailure) -> Result<JobEnding> {
        let (section, mut attempt) = (&call.section, call.attempt.clone());
        let (mut unit, mut run) = self.reopen(actor, work).await?;
        let dice = self.core.dice();
        let wait = wait_before_try(attempt.number + 1, failure.retry_after, dice);
        if failure.held && run.status == JobStatus::Running {
            generations::forget_attempt_in(&mut unit.tx, actor.workspace, attempt.id).await?;
            if run.cap.is_some() {
                budgets::release(&mut run, attempt.reserved.unwrap_or_default());
                generations::update_in(&mut unit.tx, actor.workspace, &run).await?;
            }
            let now = unit.now;
            jobs::retry_in(&mut unit.tx, job, wait, now).await?;
            budgets::go_on_in(&mut unit, &run).await?;
            unit.commit().await?;
            return Ok(JobEnding::Retried);
        }
        let again = failure.retryable && attempt.number < MAX_ATTEMPTS && run.status == JobStatus::Running;
        attempt.status = if again { AttemptStatus::Retrying } else { AttemptStatus::Failed };
        attempt.finished_at = Some(unit.now);
        if let Some(usage) = &failure.usage {
            let spend = spend(&**self.core.drafter(Some(&attempt.provider))?, &attempt.model, usage);
            (attempt.input_tokens, attempt.output_tokens, attempt.spend) =
                (Some(usage.input_tokens), Some(usage.output_tokens), Some(spend));
            attempt.model.clone_from(&usage.model);
        }
        budgets::charge(&mut run, &attempt);
        attempt.failure = Some(JobFailure::from(failure.clone()));
        generations::update_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
        if again {
            let now = unit.now;
            generations::update_in(&mut unit.tx, actor.workspace, &run).await?;
            jobs::retry_in(&mut unit.tx, job, wait, now).await?;
            budgets::go_on_in(&mut unit, &run).await?;
        } else {
            let state = SectionState::at_rest(section.source);
            sections::set_state_in(&mut unit.tx, actor.workspace, section.id, state).await?;
            self.settle_section(&mut unit, actor, job, work, &mut run, true).await?;
        }
        unit.commit().await?;
        Ok(if again { JobEnding::Retried } else { JobEnding::Failed })
    }

    async fn reopen(&self, actor: &Actor, work: DraftSection) -> Result<(Unit, Run)> {
        let mut unit = self.core.begin(actor.workspace).await?;
        unit.ring(Topic::Draft(work.project), Bell::Changed);
        batches::lock_in(&mut unit.tx, actor.workspace, work.batch).await?;
        let run = generations::lock_in(&mut unit.tx, actor.workspace, work.run).await?;
        // the batch may have been removed for good meanwhile: then there is nothing to write to
        Ok((unit, run.ok_or_else(|| Error::internal(jobs::LostClaim))?))
    }

    /// Ends the job of a section that is written, failed for good or skipped; the last one of a project queues its end.
    async fn settle_section(
        &self,
        unit: &mut Unit,
        actor: &Actor,
        job: &ClaimedJob,
        work: DraftSection,
        run: &mut Run,
        failed: bool,
    ) -> Result<()> {
        jobs::finish_in(&mut unit.tx, job).await?;
        let remaining = generations::settle_section_in(&mut unit.tx, work.run, work.project, failed).await?;
        run.sections_done += 1;
        if run.status == JobStatus::Cancelling {
            return finishing::close_if_let_go_in(unit, actor, run).await;
        }
        let event = progressed_now_and_then(run, unit);
        generations::update_in(&mut unit.tx, actor.workspace, run).await?;
        unit.append(actor.workspace, work.batch, event.into_iter().collect()).await?;
        if remaining.sections_left == 0 {
            let payload = FinishProject { batch: work.batch, run: work.run, project: work.project };
            unit.enqueue(actor.workspace, Some(work.run), &[NewJob { kind: FINISH_PROJECT, payload }]).await?;
        }
        budgets::go_on_in(unit, run).await
    }

    /// Gives up a section whose writing ended in a fault that doing it again would only repeat (a panic).
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn give_up_section(&self, job: &ClaimedJob, work: DraftSection) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let (mut unit, mut run) = self.reopen(&actor, work).await?;
        let now = unit.now;
        let failure = JobFailure::new(JobFailureCode::Internal, "A fault in this service; the section was not written.");
        let earlier = generations::find_earlier(&mut unit.tx, actor.workspace, work.run, work.section).await?;
        budgets::release(&mut run, earlier.reserved);
        generations::fail_attempts_in(&mut unit.tx, actor.workspace, work.run, work.section, &failure, now).await?;
        if let Some(section) = sections::find(&mut unit.tx, actor.workspace, work.section).await? {
            sections::set_state_in(&mut unit.tx, actor.workspace, section.id, SectionState::at_rest(section.source)).await?;
        }
        self.settle_section(&mut unit, &actor, job, work, &mut run, true).await?;
        unit.commit().await
    }

    /// Lets go of a section whose run is being cancelled: its call was aborted.
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn let_go(&self, job: &ClaimedJob, work: DraftSection) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let (mut unit, mut run) = self.reopen(&actor, work).await?;
        self.let_go_in(&mut unit, &actor, job, work, &mut run).await?;
        unit.commit().await
    }

    async fn let_go_in(&self, unit: &mut Unit, actor: &Actor, job: &ClaimedJob, work: DraftSection, run: &mut Run) -> Result<()> {
        jobs::finish_in(&mut unit.tx, job).await?;
        let now = unit.now;
        generations::cancel_attempts_in(&mut unit.tx, actor.workspace, work.run, work.section, now).await?;
        if run.status.is_final() {
            return Ok(());
        }
        finishing::close_if_let_go_in(unit, actor, run).await
    }
}

/// What a call cost; nothing if the model has no price any more.
fn spend(drafter: &dyn Drafter, model: &str, usage: &Usage) -> Spend {
    let price = drafter.profile().models.into_iter().find(|info| info.model == model);
    price.map_or(Spend(0), |info| info.spend(usage))
}
