//! What a run may spend: every call under a cap reserves what it may cost at most before it is made, and gives back what it
//! did not take. A run whose next call does not fit waits for the calls in flight, and pauses when there is none. It must
//! not call a provider.
//!
//! Jobs that have to wait are put aside in the queue rather than tried again and again. Whenever a call of the run ends,
//! a few of them are let go on: one for the room that became free, and one to find out whether there is more.

use super::{Generations, progressed};
use crate::adapters::ai::{ModelInfo, estimated_tokens};
use crate::domain::actor::Actor;
use crate::domain::events::BatchEvent;
use crate::domain::generations::{Attempt, Run};
use crate::domain::ids::RunId;
use crate::domain::jobs::{JobFailure, JobFailureCode, JobStatus};
use crate::domain::money::Spend;
use crate::domain::prompts::Prompt;
use crate::domain::templates::TemplateSection;
use crate::domain::work::DRAFT_SECTION;
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::jobs::ClaimedJob;
use crate::repositories::{batches, generations, jobs};
use crate::services::checks::wrong_state;
use crate::services::core::Unit;

/// Jobs that are let go on when a call has ended.
const GO_ON: i64 = 2;

impl Generations {
    /// Goes on with a run that was paused by its cap, with a higher one.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WRONG_STATE` if it is not paused; `REQUIRED` without a cap; `OVER_BUDGET` for one that is not higher.
    pub async fn resume(&self, actor: &Actor, id: RunId, cap: Option<Spend>) -> Result<Run> {
        let missing = || Error::not_found("run", "runId");
        let mut unit = self.core.begin(actor.workspace).await?;
        let batch = generations::find(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?.batch;
        batches::lock_in(&mut unit.tx, actor.workspace, batch).await?.ok_or_else(missing)?;
        let mut run = generations::lock_in(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?;
        if run.status != JobStatus::PausedBudget {
            return Err(wrong_state("runId", format!("The run is not paused ({}); there is nothing to resume.", run.status)));
        }
        let before = run.cap.unwrap_or_default();
        let Some(cap) = cap else {
            let message = format!("The cap of {before} is used up. Give a higher one.");
            return Err(Error::refused(ProblemCode::Required, "budgetCap", message));
        };
        if cap <= before {
            let message = format!("The new cap must be above the old one of {before}, of which {} are spent.", run.spend);
            return Err(Error::refused(ProblemCode::OverBudget, "budgetCap", message));
        }
        run.cap = Some(cap);
        run.failure = None;
        run.status = if run.started_at.is_some() { JobStatus::Running } else { JobStatus::Queued };
        generations::update_in(&mut unit.tx, actor.workspace, &run).await?;
        unit.unpark(run.id, i64::MAX).await?;
        let event = BatchEvent::RunStatusChanged { run: run.id, previous: Some(JobStatus::PausedBudget), status: run.status };
        unit.append(actor.workspace, batch, vec![event]).await?;
        unit.commit().await?;
        Ok(run)
    }

    /// What a model of a provider is known to cost and to hold, if it is still configured.
    pub(super) fn model(&self, provider: &str, model: &str) -> Option<ModelInfo> {
        self.models().into_iter().find(|(name, info)| *name == provider && info.model == model).map(|(_, info)| info)
    }

    /// What a call for a section may cost at most.
    pub(super) fn most_of_call(&self, run: &Run, prompt: &Prompt, section: &TemplateSection) -> Spend {
        let sent = most_tokens(prompt.system) + most_tokens(&prompt.user);
        let model = self.model(&run.provider, &run.model);
        model.map_or(Spend(0), |model| model.most_spend(sent, model.output_limit(section).into()))
    }
}

/// Tokens of a text at most: as estimated, and one for every character that is no ASCII, as of scripts without spaces.
fn most_tokens(text: &str) -> i64 {
    let (ascii, other) =
        text.chars().fold((0_i64, 0_i64), |(ascii, other), c| if c.is_ascii() { (ascii + 1, other) } else { (ascii, other + 1) });
    i64::from(estimated_tokens(text)).max(ascii / 4 + other)
}

/// Reserves what a call may cost at most, if its run has a cap. If there is no room the job is put aside, and false is given:
/// then the caller has only to commit.
pub(super) async fn reserve_in(unit: &mut Unit, actor: &Actor, job: &ClaimedJob, run: &mut Run, most: Spend) -> Result<bool> {
    let Some(budget) = run.budget() else { return Ok(true) };
    if budget.has_room_for(most) {
        run.reserved.0 += most.0;
        return Ok(true);
    }
    jobs::park_in(&mut unit.tx, job).await?;
    jobs::park_run_in(&mut unit.tx, run.id, DRAFT_SECTION).await?;
    if run.reserved.0 > 0 {
        // what is in flight may take less than it has reserved: its end decides
        generations::update_in(&mut unit.tx, actor.workspace, run).await?;
        return Ok(false);
    }
    let previous = Some(run.status);
    run.status = JobStatus::PausedBudget;
    let message = format!(
        "The cap of {} does not allow the next call, which may cost {most}; {} are spent. Resume with a higher cap.",
        budget.cap, budget.spent
    );
    run.failure = Some(JobFailure::new(JobFailureCode::BudgetExceeded, message));
    run.progressed_at = Some(unit.now);
    generations::update_in(&mut unit.tx, actor.workspace, run).await?;
    let events = vec![progressed(run, unit), BatchEvent::RunStatusChanged { run: run.id, previous, status: run.status }];
    unit.append(actor.workspace, run.batch, events).await?;
    Ok(false)
}

/// Takes back what is reserved for a call that has ended, and adds what it cost.
pub(super) fn charge(run: &mut Run, attempt: &Attempt, spend: Spend) {
    run.spend.0 += spend.0;
    release(run, attempt.reserved.unwrap_or_default());
}

/// Takes back what is reserved.
pub(super) fn release(run: &mut Run, reserved: Spend) {
    run.reserved.0 = (run.reserved.0 - reserved.0).max(0);
}

/// A call of a run under a cap has ended: lets a few of those go on that wait for room.
pub(super) async fn go_on_in(unit: &mut Unit, run: &Run) -> Result<()> {
    if run.cap.is_some() && run.status == JobStatus::Running { unit.unpark(run.id, GO_ON).await } else { Ok(()) }
}
