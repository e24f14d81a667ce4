//! `claimwright watch BATCH`, and following a run for `import`: reads `batchProgress` until one run is final. The run's
//! final numbers are asked for afterwards, so that what is printed is never a guess from events.

use serde_json::{Value, json};

use super::Connection;
use super::answers::{Batch, BatchAnswer, BatchRuns, BatchesAnswer, JobStatus, NodeAnswer, Run, RunCounts};
use super::api::{Api, decode};
use super::documents::{BATCH_PROGRESS, FIND_BATCH, FIND_BATCHES_BY_TEXT, LOAD_RUN, NEWEST_RUN};
use super::failures::ClientError;
use super::outcome::Outcome;
use super::progress::{Console, Progress};
use super::stream::{Events, Resumes};

/// Options of `watch`.
#[derive(Debug, Clone, clap::Args)]
pub struct WatchOptions {
    /// Id or exact name of the batch
    pub batch: String,
}

/// Follows the active run of a batch until it is final. Without one it ends at once with the status of the newest run;
/// a batch that never had a run is no failure.
///
/// # Errors
/// The batch cannot be found or followed. How the run ended is told by the outcome.
pub async fn watch(connection: &Connection, options: &WatchOptions, out: &Console) -> Result<Outcome, ClientError> {
    watch_with(&Api::new(connection)?, options, out).await
}

pub(super) async fn watch_with(api: &Api, options: &WatchOptions, out: &Console) -> Result<Outcome, ClientError> {
    let batch = find_batch(api, &options.batch).await?;
    let answer: BatchAnswer<BatchRuns> = api.ask(NEWEST_RUN, &json!({ "id": batch.id })).await?;
    let BatchRuns { active_run, runs } = answer.batch.ok_or_else(|| no_batch(&options.batch))?;
    let newest = active_run.or_else(|| runs.nodes.into_iter().next());
    let mut outcome = Outcome::of(batch);
    let Some(run) = newest else {
        out.say(&format!("Batch \"{}\" has no run.", outcome.batch.name));
        return Ok(outcome);
    };
    let run = if run.status.is_final() {
        out.say(&format!("No run of batch \"{}\" is active; this was the newest.", outcome.batch.name));
        run
    } else {
        follow_run(api, &outcome.batch.id, &run.id, out).await?
    };
    say_run(&run, out);
    outcome.run = Some(run.into());
    Ok(outcome)
}

/// A batch by its id or its exact name.
pub(super) async fn find_batch(api: &Api, wanted: &str) -> Result<Batch, ClientError> {
    let answer: BatchAnswer<Batch> = api.ask(FIND_BATCH, &json!({ "id": wanted })).await?;
    if let Some(batch) = answer.batch {
        return Ok(batch);
    }
    let answer: BatchesAnswer = api.ask(FIND_BATCHES_BY_TEXT, &json!({ "text": wanted })).await?;
    answer.batches.nodes.into_iter().find(|batch| batch.name == wanted).ok_or_else(|| no_batch(wanted))
}

/// Follows a run until it is final, across lost connections and restarts of the server.
pub(super) async fn follow_run(api: &Api, batch_id: &str, run_id: &str, out: &Console) -> Result<Run, ClientError> {
    let mut progress = out.progress("Drafting", "projects");
    let mut events = Events::new(api, BATCH_PROGRESS, "batchProgress", batch_id, Resumes::AfterCursor);
    loop {
        let event = events.next().await?;
        let look = match event {
            Some(event) => note_event(event, run_id, &mut progress, out)?,
            None => Look::AtRun,
        };
        if look == Look::AtRun {
            let run = load_run(api, run_id).await?;
            show(&mut progress, &run.counts);
            if run.status.is_final() {
                events.close().await;
                return Ok(run);
            }
        }
        if events.is_closed() {
            events.ended_too_early().await?;
        }
    }
}

/// What an event tells to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Go on listening.
    AtEvents,
    /// Ask for the run: it is final, or it is not clear from the event.
    AtRun,
}

fn note_event(mut event: Value, run_id: &str, progress: &mut Progress<'_>, out: &Console) -> Result<Look, ClientError> {
    match event["__typename"].as_str().unwrap_or_default() {
        "BatchSnapshot" => match decode::<Option<Run>>(event["activeRun"].take())? {
            Some(run) if run.id == run_id => {
                show(progress, &run.counts);
                note_pause(run.status, out);
            }
            _ => return Ok(Look::AtRun),
        },
        "RunProgressed" if event["runId"] == run_id => show(progress, &decode(event["runCounts"].take())?),
        "RunStatusChanged" if event["run"]["id"] == run_id => {
            let status: JobStatus = decode(event["runStatus"].take())?;
            note_pause(status, out);
            if status.is_final() {
                return Ok(Look::AtRun);
            }
        }
        "StreamLagged" => out.note(&format!("{} events were left out; going on with the present state.", event["droppedCount"])),
        "StreamEnded" => match event["reason"].as_str().unwrap_or_default() {
            "DELETED" => return Err(ClientError::Ended("The batch was deleted, and its run ended with it.".into())),
            "NOT_ALLOWED" => {
                let sentence = "The token has expired or the batch may no longer be seen; the run goes on without being followed.";
                return Err(ClientError::Ended(sentence.into()));
            }
            _ => return Ok(Look::AtRun),
        },
        _ => {}
    }
    Ok(Look::AtEvents)
}

fn note_pause(status: JobStatus, out: &Console) {
    if status == JobStatus::PausedBudget {
        out.note("The run has reached its budget cap and is paused; `resumeGeneration` goes on with it.");
    }
}

fn show(progress: &mut Progress<'_>, counts: &RunCounts) {
    progress.update(counts.done(), counts.total, counts.failed);
}

/// Prints how a run ended.
pub(super) fn say_run(run: &Run, out: &Console) {
    let RunCounts { total, succeeded, failed, cancelled, skipped } = run.counts;
    let mut parts =
        vec![format!("Run {}: {}", run.id, run.status), format!("{succeeded} of {total} projects written"), format!("{failed} failed")];
    parts.extend(
        [(cancelled, "cancelled"), (skipped, "skipped")]
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}")),
    );
    out.say(&parts.join(", "));
}

async fn load_run(api: &Api, id: &str) -> Result<Run, ClientError> {
    let answer: NodeAnswer<Run> = api.ask(LOAD_RUN, &json!({ "id": id })).await?;
    answer.node.ok_or_else(|| ClientError::Ended("The run no longer exists; its batch may have been deleted.".into()))
}

fn no_batch(wanted: &str) -> ClientError {
    ClientError::Fault {
        code: "NOT_FOUND".into(),
        message: format!("There is no batch with the id or name \"{wanted}\"."),
        retry_after: None,
    }
}
