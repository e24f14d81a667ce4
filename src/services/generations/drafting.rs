//! Writing of one section, the unit of paid work: a short transaction before the call, none during it, and one after it
//! that holds the text, the numbers, the events and the end of the job.

use super::calls::{Call, Order};
use super::measure::Measure;
use super::{Generations, budgets, finishing, progressed_now_and_then};
use crate::adapters::ai::{DraftFailure, DraftPiece, Usage};
use crate::adapters::events::{Bell, Topic};
use crate::domain::actor::Actor;
use crate::domain::answers::{self, Flaw};
use crate::domain::events::BatchEvent;
use crate::domain::generations::{MAX_ATTEMPTS, MAX_LOST_ATTEMPTS, Run};
use crate::domain::ids::AttemptId;
use crate::domain::jobs::{JobFailure, JobFailureCode, JobStatus, wait_before_try};
use crate::domain::money::Spend;
use crate::domain::personal_data::Restorer;
use crate::domain::projects::ProjectStatus;
use crate::domain::sections::SectionState;
use crate::domain::work::{DraftSection, FINISH_PROJECT, FinishProject, JobEnding};
use crate::error::{Error, Result};
use crate::repositories::jobs::{ClaimedJob, NewJob};
use crate::repositories::{attempts, batches, generations, jobs, projects, sections};
use crate::services::core::Unit;
use crate::services::drafts::desk::Pen;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::sleep;
use tracing::Instrument;

/// Longest pause between two tries of the transaction after a call.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
    pub(super) async fn insist<T, F: Future<Output = Result<T>> + Send>(&self, transaction: impl Fn() -> F + Send + Sync) -> Result<T> {
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
        let earlier = attempts::find_earlier(&mut unit.tx, actor.workspace, run.id.into(), section.id).await?;
        attempts::close_lost_attempts_in(&mut unit.tx, actor.workspace, run.id.into(), section.id, now).await?;
        budgets::release(&mut run, earlier.reserved);
        let errors = if work.redraft { self.errors_in(&mut unit.tx, actor, project.id, &section.key).await? } else { Vec::new() };
        let is_hopeless = earlier.number >= MAX_LOST_ATTEMPTS;
        if project.deleted_at.is_some() || is_hopeless || (work.redraft && errors.is_empty()) {
            sections::set_state_in(&mut unit.tx, actor.workspace, section.id, SectionState::at_rest(section.source)).await?;
            if is_hopeless {
                let failure = JobFailure::new(JobFailureCode::WorkerLost, "The process that wrote the section ended too often.");
                attempts::give_up_lost_in(&mut unit.tx, actor.workspace, run.id.into(), section.id, &failure).await?;
            }
            // should a deleted project be restored before the run ends with it, it has not been written
            let failed = project.deleted_at.is_some() || is_hopeless;
            self.settle_section(&mut unit, actor, job, work, &mut run, failed).await?;
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
        let facts = facts.remove(&project.id).unwrap_or_default();
        let errors_before = errors.len();
        let order = Order { provider: &run.provider, model: &run.model, wish: run.instructions.clone(), findings: errors };
        let prepared = self.prepare(&version, &section, &project, facts, order)?;
        let most = self.most_of_call(&run, &prepared.request.prompt, &prepared.request.section);
        if work.redraft && run.budget().is_some_and(|budget| !budget.has_room_for(most)) {
            // the first text is good enough to be read: no run is paused for a second one
            sections::set_state_in(&mut unit.tx, actor.workspace, section.id, SectionState::at_rest(section.source)).await?;
            self.settle_section(&mut unit, actor, job, work, &mut run, false).await?;
            unit.commit().await?;
            return Ok(None);
        }
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
        let mut attempt = prepared.attempt(AttemptId(self.core.new_id()), run.id.into(), &section, earlier.number + 1, unit.now);
        attempt.reserved = run.cap.map(|_| most);
        generations::create_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
        section.state = SectionState::Generating;
        sections::set_state_in(&mut unit.tx, actor.workspace, section.id, section.state).await?;
        unit.append(actor.workspace, work.batch, events).await?;
        unit.commit().await?;
        Ok(Some(prepared.call(section, attempt, errors_before)))
    }

    /// Calls the provider and says what came of it, in metrics and in the trace.
    pub(super) async fn measured(&self, call: &Call) -> Result<(String, Usage), DraftFailure> {
        let measure = Measure::begin(&call.attempt.provider, &call.attempt.model);
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
        let drafter = self.core.drafter(Some(&call.attempt.provider));
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
        let (mut unit, mut run) = self.reopen(actor, work).await?;
        // whoever has the claim now writes this revision: a collision with theirs would look like a fault
        jobs::hold_in(&mut unit.tx, job).await?;
        let spend = if self.is_worse_in(&mut unit.tx, actor, call, text).await? {
            self.set_aside_in(&mut unit, actor, call, usage).await?
        } else {
            let spend = self.keep_text_in(&mut unit, actor, call, run.created_by, text, usage).await?;
            let now = unit.now;
            projects::touch_in(&mut unit.tx, actor.workspace, work.project, now).await?;
            spend
        };
        budgets::charge(&mut run, &call.attempt, spend);
        self.settle_section(&mut unit, actor, job, work, &mut run, false).await?;
        unit.commit().await
    }

    /// Notes a failed attempt: it is tried again later, or the section has failed for good. What it took is paid for. A
    /// call that was held back is no attempt: the job waits, and nothing else has happened.
    async fn reject(&self, actor: &Actor, job: &ClaimedJob, work: DraftSection, call: &Call, failure: &DraftFailure) -> Result<JobEnding> {
        let (section, attempt) = (&call.section, &call.attempt);
        let (mut unit, mut run) = self.reopen(actor, work).await?;
        let dice = self.core.dice();
        let wait = wait_before_try(attempt.number + 1, failure.retry_after, dice);
        if failure.held && run.status == JobStatus::Running {
            generations::forget_attempt_in(&mut unit.tx, actor.workspace, attempt.id).await?;
            if run.cap.is_some() {
                budgets::charge(&mut run, attempt, Spend(0));
                generations::update_in(&mut unit.tx, actor.workspace, &run).await?;
            }
            let now = unit.now;
            jobs::retry_in(&mut unit.tx, job, wait, now).await?;
            budgets::go_on_in(&mut unit, &run).await?;
            unit.commit().await?;
            return Ok(JobEnding::Retried);
        }
        let again = failure.retryable && attempt.number < MAX_ATTEMPTS && run.status == JobStatus::Running;
        let spend = self.note_failure_in(&mut unit, actor, attempt, again, failure).await?;
        budgets::charge(&mut run, attempt, spend);
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
        // a section was counted when it had its first text, and a second draft that fails leaves it that one
        let remaining = generations::settle_section_in(&mut unit.tx, work.run, work.project, failed && !work.redraft).await?;
        run.sections_done += i32::from(!work.redraft);
        if run.status == JobStatus::Cancelling {
            return finishing::close_if_let_go_in(unit, actor, run).await;
        }
        let event = progressed_now_and_then(run, unit);
        generations::update_in(&mut unit.tx, actor.workspace, run).await?;
        unit.append(actor.workspace, work.batch, event.into_iter().collect()).await?;
        if remaining.sections_left == 0 {
            let payload = FinishProject { batch: work.batch, run: work.run, project: work.project, redrafted: work.redraft };
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
        let earlier = attempts::find_earlier(&mut unit.tx, actor.workspace, work.run.into(), work.section).await?;
        budgets::release(&mut run, earlier.reserved);
        attempts::fail_attempts_in(&mut unit.tx, actor.workspace, work.run.into(), work.section, &failure, now).await?;
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
        attempts::cancel_attempts_in(&mut unit.tx, actor.workspace, work.run.into(), work.section, now).await?;
        if run.status.is_final() {
            return Ok(());
        }
        finishing::close_if_let_go_in(unit, actor, run).await
    }
}
