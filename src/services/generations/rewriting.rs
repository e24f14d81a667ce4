//! Writing of one section anew, alone: asked for by a person, without a run. The attempt is there at once and the call is a
//! job, so it outlives the process. Until it has ended the project is GENERATING and closed to people, as in a run.
//!
//! There is no second draft: a person asked for this text and is about to read it.

use super::Generations;
use super::calls::{Call, Order, Prepared};
use crate::adapters::ai::{DraftFailure, Usage};
use crate::adapters::events::{Bell, Topic};
use crate::domain::actor::Actor;
use crate::domain::events::BatchEvent;
use crate::domain::generations::{AskedBy, Attempt, AttemptStatus, MAX_ATTEMPTS, MAX_INSTRUCTIONS_CHARS, NewRewriting};
use crate::domain::ids::{AttemptId, SectionId};
use crate::domain::jobs::{JobFailure, JobFailureCode, wait_before_try};
use crate::domain::projects::{Project, ProjectStatus};
use crate::domain::sections::{Section, SectionState};
use crate::domain::work::{JobEnding, REWRITE_SECTION, RewriteSection};
use crate::error::{Error, Result};
use crate::repositories::db::Tx;
use crate::repositories::jobs::{ClaimedJob, NewJob};
use crate::repositories::{attempts, batches, generations, jobs, projects, sections};
use crate::services::checks::{Idempotency, Problems, revision, wrong_state};
use crate::services::core::Unit;
use crate::services::narratives;
use crate::services::projects::{lock_project, refuse_closed};
use chrono::TimeDelta;

/// How long a call may be held back before nothing comes of it: the project is closed to people meanwhile, and there is no
/// run to cancel.
const HELD_AT_MOST: TimeDelta = TimeDelta::minutes(15);

/// A section that is being written anew.
#[derive(Debug, Clone)]
pub struct Rewriting {
    /// The section, in state GENERATING (or as it is now, for a repeated request).
    pub section: Section,
    /// The first attempt.
    pub attempt: Attempt,
}

impl Generations {
    /// Writes one section anew, with a wish if given. It answers before the text is written.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REVISION_CONFLICT`, `WRONG_STATE`; `TOO_LONG` or `INVALID` for the wish.
    pub async fn rewrite(&self, actor: &Actor, new: NewRewriting, key: Option<String>) -> Result<Rewriting> {
        const SECTION: &str = "input.sectionId";
        let idempotency = Idempotency::new(key, &new)?;
        let mut problems = Problems::default();
        let wish = problems.optional("input.wish", new.wish.clone(), MAX_INSTRUCTIONS_CHARS);
        problems.check()?;
        let missing = || Error::not_found("section", SECTION);
        let mut unit = self.core.begin(actor.workspace).await?;
        let first = AttemptId(self.core.new_id());
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, "regenerateSection", first.0).await? {
            return find_rewriting(&mut unit.tx, actor, AttemptId(earlier), new.section).await;
        }
        let found = sections::find(&mut unit.tx, actor.workspace, new.section).await?.ok_or_else(missing)?;
        let of = projects::find(&mut unit.tx, actor.workspace, found.project).await?.filter(|project| project.deleted_at.is_none());
        let of = of.ok_or_else(missing)?;
        let (batch, project) = lock_project(&mut unit, actor, of.id, SECTION).await?;
        // read again under the batch's lock: what was read before it may have changed
        let mut section = sections::find(&mut unit.tx, actor.workspace, new.section).await?.ok_or_else(missing)?;
        refuse_closed(&project, SECTION)?;
        revision(new.expected, section.revision, "input.expectedRevision")?;
        if section.position < 0 {
            return Err(wrong_state(SECTION, "The section is not part of the project's template any more; its text is kept as it is."));
        }
        let (provider, model) = self.choice_for(&mut unit.tx, actor, section.id).await?;
        let author = actor.user;
        let (asked_at, before) = (unit.now, project.status);
        let work = RewriteSection {
            batch: batch.id,
            project: project.id,
            section: section.id,
            first,
            asked_at,
            author,
            provider,
            model,
            wish,
            before,
        };
        let prepared = self.prepare_rewriting(&mut unit.tx, actor, &work, &project, &section).await?;
        let attempt = prepared.attempt(first, AskedBy::Rewriting(first), &section, 1, asked_at);
        generations::create_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
        section.state = SectionState::Generating;
        sections::set_state_in(&mut unit.tx, actor.workspace, section.id, section.state).await?;
        unit.enqueue(actor.workspace, None, &[NewJob { kind: REWRITE_SECTION, payload: work }]).await?;
        move_to(&mut unit, actor, &project, ProjectStatus::Generating, None).await?;
        unit.commit().await?;
        Ok(Rewriting { section, attempt })
    }

    /// Provider and model: those that the section was last written with, because somebody chose them (facts may not be
    /// meant for another provider), as far as they are configured.
    async fn choice_for(&self, tx: &mut Tx, actor: &Actor, section: SectionId) -> Result<(String, String)> {
        let known = self.models();
        let last = attempts::find_last_choice(tx, actor.workspace, section).await?;
        let same = last.as_ref().and_then(|(provider, model)| {
            let mut of_provider = known.iter().filter(|(name, _)| name == provider);
            of_provider.clone().find(|(_, info)| info.model == *model).or_else(|| of_provider.next())
        });
        let (provider, info) = same.or_else(|| known.first()).ok_or_else(|| Error::internal("no provider is configured"))?;
        Ok(((*provider).to_owned(), info.model.clone()))
    }

    async fn prepare_rewriting(
        &self,
        tx: &mut Tx,
        actor: &Actor,
        work: &RewriteSection,
        project: &Project,
        section: &Section,
    ) -> Result<Prepared> {
        let facts = projects::load_facts(tx, actor.workspace, &[project.id]).await?.remove(&project.id).unwrap_or_default();
        let version = self.version(actor, project.template_version).await?;
        let order = Order { provider: &work.provider, model: &work.model, wish: work.wish.clone(), findings: Vec::new() };
        self.prepare(&version, section, project, facts, order)
    }

    /// Writes the section and settles its job. An error is a fault of ours: the job is then done again.
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn rewrite_section(&self, job: &ClaimedJob, work: RewriteSection) -> Result<JobEnding> {
        let actor = Actor::system(job.workspace());
        let Some(call) = self.begin_rewriting(&actor, job, &work).await? else { return Ok(JobEnding::Done) };
        match self.measured(&call).await {
            Ok((text, usage)) => {
                self.insist(|| self.accept_rewriting(&actor, job, &work, &call, &text, &usage)).await.map(|()| JobEnding::Done)
            }
            Err(failure) => self.insist(|| self.reject_rewriting(&actor, job, &work, &call, &failure)).await,
        }
    }

    /// Notes that the call is made, unless there is nothing left to write for.
    async fn begin_rewriting(&self, actor: &Actor, job: &ClaimedJob, work: &RewriteSection) -> Result<Option<Call>> {
        let Some((mut unit, project, section)) = self.reopen_rewriting(actor, job, work).await? else { return Ok(None) };
        let asked_by = AskedBy::Rewriting(work.first);
        if project.deleted_at.is_some() {
            let now = unit.now;
            attempts::cancel_attempts_in(&mut unit.tx, actor.workspace, asked_by, section.id, now).await?;
            self.end_unwritten(unit, actor, job, work, &project, &section, None).await?;
            return Ok(None);
        }
        let newest = attempts::find_newest_of_rewriting(&mut unit.tx, actor.workspace, work.first).await?;
        let waiting = newest.filter(|newest| newest.status == AttemptStatus::Running && newest.started_at == work.asked_at);
        let prepared = self.prepare_rewriting(&mut unit.tx, actor, work, &project, &section).await?;
        let now = unit.now;
        let attempt = if let Some(waiting) = waiting {
            let attempt = prepared.attempt(waiting.id, asked_by, &section, waiting.number, now);
            attempts::begin_in(&mut unit.tx, actor.workspace, &attempt).await?;
            attempt
        } else {
            let earlier = attempts::find_earlier(&mut unit.tx, actor.workspace, asked_by, section.id).await?;
            attempts::close_lost_attempts_in(&mut unit.tx, actor.workspace, asked_by, section.id, now).await?;
            let attempt = prepared.attempt(AttemptId(self.core.new_id()), asked_by, &section, earlier.number + 1, now);
            generations::create_attempt_in(&mut unit.tx, actor.workspace, &attempt).await?;
            attempt
        };
        unit.commit().await?;
        Ok(Some(prepared.call(section, attempt, 0)))
    }

    /// Stores the text, as a new revision, with all that follows from it.
    async fn accept_rewriting(
        &self,
        actor: &Actor,
        job: &ClaimedJob,
        work: &RewriteSection,
        call: &Call,
        text: &str,
        usage: &Usage,
    ) -> Result<()> {
        let Some((mut unit, project, _)) = self.reopen_rewriting(actor, job, work).await? else { return Ok(()) };
        jobs::hold_in(&mut unit.tx, job).await?;
        self.keep_text_in(&mut unit, actor, call, work.author, text, usage).await?;
        jobs::finish_in(&mut unit.tx, job).await?;
        let checked = narratives::check_in(&mut unit.tx, actor, &project).await?;
        let now = unit.now;
        projects::save_report_in(&mut unit.tx, actor.workspace, project.id, &checked.report, now).await?;
        // a draft that is complete by this text is as good as one that a run has written
        let unfinished = matches!(work.before, ProjectStatus::Draft | ProjectStatus::Failed) && !checked.complete;
        let status = if unfinished { work.before } else { ProjectStatus::NeedsReview };
        move_to(&mut unit, actor, &project, status, None).await?;
        if project.deleted_at.is_none() {
            unit.append(actor.workspace, work.batch, vec![narratives::scored(project.id, &checked.report)]).await?;
        }
        unit.commit().await
    }

    /// Notes a failed attempt: it is tried again later, or the section keeps the text that it has. A call that was held
    /// back is no attempt, for a while.
    async fn reject_rewriting(
        &self,
        actor: &Actor,
        job: &ClaimedJob,
        work: &RewriteSection,
        call: &Call,
        failure: &DraftFailure,
    ) -> Result<JobEnding> {
        let Some((mut unit, project, section)) = self.reopen_rewriting(actor, job, work).await? else { return Ok(JobEnding::Done) };
        let mut attempt = call.attempt.clone();
        let wait = wait_before_try(attempt.number + 1, failure.retry_after, self.core.dice());
        let now = unit.now;
        let left = (work.asked_at + HELD_AT_MOST - now).to_std().unwrap_or_default();
        if failure.held && !left.is_zero() {
            let wait = wait.min(left);
            attempt.started_at = work.asked_at;
            attempts::begin_in(&mut unit.tx, actor.workspace, &attempt).await?;
            jobs::retry_in(&mut unit.tx, job, wait, now).await?;
            unit.commit().await?;
            return Ok(JobEnding::Retried);
        }
        let again = failure.retryable && !failure.held && attempt.number < MAX_ATTEMPTS;
        let why = JobFailure::from(failure.clone());
        self.note_failure_in(&mut unit, actor, &attempt, again, failure).await?;
        if again {
            jobs::retry_in(&mut unit.tx, job, wait, now).await?;
            unit.commit().await?;
            return Ok(JobEnding::Retried);
        }
        self.end_unwritten(unit, actor, job, work, &project, &section, Some(why)).await?;
        Ok(JobEnding::Failed)
    }

    /// Gives up a rewriting that ended in a fault that doing it again would only repeat (a panic).
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn give_up_rewriting(&self, job: &ClaimedJob, work: &RewriteSection) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let Some((mut unit, project, section)) = self.reopen_rewriting(&actor, job, work).await? else { return Ok(()) };
        let now = unit.now;
        let failure = JobFailure::new(JobFailureCode::Internal, "A fault in this service; the section was not written.");
        let asked_by = AskedBy::Rewriting(work.first);
        attempts::fail_attempts_in(&mut unit.tx, actor.workspace, asked_by, section.id, &failure, now).await?;
        self.end_unwritten(unit, &actor, job, work, &project, &section, Some(failure)).await
    }

    /// The project and the section under the batch's lock. If they were removed for good meanwhile, the job has ended.
    async fn reopen_rewriting(&self, actor: &Actor, job: &ClaimedJob, work: &RewriteSection) -> Result<Option<(Unit, Project, Section)>> {
        let mut unit = self.core.begin(actor.workspace).await?;
        unit.ring(Topic::Draft(work.project), Bell::Changed);
        batches::lock_in(&mut unit.tx, actor.workspace, work.batch).await?;
        let project = projects::find(&mut unit.tx, actor.workspace, work.project).await?;
        let section = sections::find(&mut unit.tx, actor.workspace, work.section).await?;
        let (Some(project), Some(section)) = (project, section) else {
            jobs::finish_in(&mut unit.tx, job).await?;
            unit.commit().await?;
            return Ok(None);
        };
        Ok(Some((unit, project, section)))
    }

    /// Ends a rewriting of which nothing came: section and project are again what they were.
    #[expect(clippy::too_many_arguments, reason = "what a rewriting is about, once read, is not read again")]
    async fn end_unwritten(
        &self,
        mut unit: Unit,
        actor: &Actor,
        job: &ClaimedJob,
        work: &RewriteSection,
        project: &Project,
        section: &Section,
        failure: Option<JobFailure>,
    ) -> Result<()> {
        jobs::finish_in(&mut unit.tx, job).await?;
        let state = SectionState::at_rest(section.source);
        sections::set_state_in(&mut unit.tx, actor.workspace, section.id, state).await?;
        move_to(&mut unit, actor, project, work.before, failure).await?;
        unit.commit().await
    }
}

/// Moves a project to another status and tells it, unless the project is deleted: then nobody sees it.
async fn move_to(unit: &mut Unit, actor: &Actor, project: &Project, status: ProjectStatus, failure: Option<JobFailure>) -> Result<()> {
    let now = unit.now;
    projects::set_status_in(&mut unit.tx, actor.workspace, &[project.id], status, now).await?;
    if project.deleted_at.is_some() {
        return Ok(());
    }
    let event = BatchEvent::ProjectStatusChanged { project: project.id, previous: Some(project.status), status, failure };
    unit.append(actor.workspace, project.batch, vec![event]).await
}

/// What a repeated request is answered with: the same section and attempt, as they are now.
async fn find_rewriting(tx: &mut Tx, actor: &Actor, first: AttemptId, section: SectionId) -> Result<Rewriting> {
    let missing = || Error::not_found("section", "input.sectionId");
    let section = sections::find(tx, actor.workspace, section).await?.ok_or_else(missing)?;
    let attempt = generations::load_attempts(tx, actor.workspace, &[first]).await?.pop().ok_or_else(missing)?;
    Ok(Rewriting { section, attempt })
}
