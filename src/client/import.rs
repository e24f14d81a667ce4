//! `claimwright import FILE`: the whole job from a terminal. The order of the steps and what is said about them; how a
//! run is followed stands in `watch.rs`, how documents are fetched in `export.rs`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::answers::{Batch, BatchAnswer, BatchScores, ImportIssues, ImportJob, JobStatus, NodeAnswer, Run};
use super::api::{Api, accepted, decode, fresh_key};
use super::documents::{BATCH_SCORES, CREATE_BATCH, IMPORT_PROGRESS, IMPORT_PROJECTS, LOAD_IMPORT, START_GENERATION};
use super::export::{Format, export};
use super::failures::{ClientError, UserError};
use super::outcome::Outcome;
use super::progress::{Console, share_of};
use super::stream::{Events, Resumes};
use super::watch::{find_batch, follow_run, say_run};

/// How many names are tried for a batch that is named after its file.
const NAMES_TRIED: u32 = 100;
/// Characters of a batch's name, with room for a suffix below the API's 200.
const NAME_CHARS: usize = 190;
const ISSUES_SHOWN: usize = 10;

/// Options of `import`.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportOptions {
    /// File with one project a row (CSV in UTF-8)
    pub file: PathBuf,
    /// Name of the new batch; that of the file if absent, with a number if it is in use
    #[arg(long)]
    pub name: Option<String>,
    /// Import into this batch (id or exact name) and make no new one
    #[arg(long, value_name = "BATCH", conflicts_with = "name")]
    pub batch: Option<String>,
    /// Start writing the narratives of projects that have none
    #[arg(long)]
    pub generate: bool,
    /// Follow the run until it is final (with --generate)
    #[arg(long)]
    pub watch: bool,
    /// Save the documents in this folder; waits for the run first
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    /// Formats of the documents, with commas or repeated
    #[arg(long = "format", value_name = "FORMAT", value_enum, value_delimiter = ',', ignore_case = true, default_value = "docx")]
    pub formats: Vec<Format>,
}

impl ImportOptions {
    /// Imports a file into a new batch and does nothing more.
    #[must_use]
    pub fn of(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), name: None, batch: None, generate: false, watch: false, export: None, formats: vec![Format::Docx] }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    create_batch: CreatedPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreatedPayload {
    batch: Option<Batch>,
    user_errors: Vec<UserError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Imported {
    import_projects: ImportedPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportedPayload {
    import: Option<ImportJob>,
    user_errors: Vec<UserError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    start_generation: StartedPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartedPayload {
    run: Option<Run>,
    user_errors: Vec<UserError>,
}

/// Imports a file, and as asked for: starts generation, follows it, saves the documents. Results are printed as they
/// come; what is merely incomplete is told by the outcome.
///
/// # Errors
/// A step was refused or left nothing to go on with.
pub async fn import(connection: &Connection, options: &ImportOptions, out: &Console) -> Result<Outcome, ClientError> {
    import_with(&Api::new(connection)?, options, out).await
}

pub(super) async fn import_with(api: &Api, options: &ImportOptions, out: &Console) -> Result<Outcome, ClientError> {
    check_places(options).await?;
    let batch = match &options.batch {
        Some(batch) => find_batch(api, batch).await?,
        None => create_batch(api, options).await?,
    };
    out.say(&format!("Batch {} \"{}\"", batch.id, batch.name));
    let mut outcome = Outcome::of(batch);
    let id = outcome.batch.id.clone();
    outcome.import = Some(import_file(api, &id, options, out).await?.into());

    if options.generate {
        let run = start(api, &id).await?;
        out.say(&format!("Run {} over {} projects", run.id, run.counts.total));
        if options.watch || options.export.is_some() {
            let run = if run.status.is_final() { run } else { follow_run(api, &id, &run.id, out).await? };
            say_run(&run, out);
            say_scores(api, &id, out).await?;
            outcome.run = Some(run.into());
        } else {
            out.say(&format!("Follow it with: claimwright watch {id}"));
            outcome.run = Some(run.into());
        }
    }
    if let Some(directory) = &options.export {
        match outcome.run.as_ref().map(|run| run.status) {
            Some(status @ (JobStatus::Failed | JobStatus::Cancelled)) => {
                out.note(&format!("Nothing is exported because the run ended {status}."));
            }
            _ => {
                for (position, format) in options.formats.iter().enumerate() {
                    if !options.formats[..position].contains(format) {
                        let saved = export(api, &id, *format, directory, out).await?;
                        out.say(&format!("Saved {}", saved.path.display()));
                        outcome.exports.push(saved);
                    }
                }
            }
        }
    }
    Ok(outcome)
}

/// Everything on this machine that can stop the job is looked at before the server is asked for anything.
async fn check_places(options: &ImportOptions) -> Result<(), ClientError> {
    let file = options.file.display();
    let metadata = async { tokio::fs::File::open(&options.file).await?.metadata().await }.await;
    match metadata {
        Err(error) => return Err(ClientError::Local(format!("{file} cannot be read: {error}."))),
        Ok(metadata) if !metadata.is_file() => return Err(ClientError::Local(format!("{file} is not a file."))),
        Ok(_) => {}
    }
    if let Some(directory) = &options.export {
        let failed = |error| ClientError::Local(format!("The folder {} cannot be made: {error}.", directory.display()));
        tokio::fs::create_dir_all(directory).await.map_err(failed)?;
    }
    Ok(())
}

async fn create_batch(api: &Api, options: &ImportOptions) -> Result<Batch, ClientError> {
    if let Some(name) = &options.name {
        return create_named(api, name).await;
    }
    let name = name_from(&options.file);
    let mut number = 1;
    loop {
        let candidate = if number == 1 { name.clone() } else { format!("{name} {number}") };
        match create_named(api, &candidate).await {
            Err(error) if error.is_name_taken() && number < NAMES_TRIED => number += 1,
            created => return created,
        }
    }
}

async fn create_named(api: &Api, name: &str) -> Result<Batch, ClientError> {
    let input = json!({ "input": { "name": name, "idempotencyKey": fresh_key() } });
    let Created { create_batch: payload } = api.ask(CREATE_BATCH, &input).await?;
    accepted(payload.user_errors)?;
    payload.batch.ok_or_else(|| nothing("batch"))
}

async fn import_file(api: &Api, batch_id: &str, options: &ImportOptions, out: &Console) -> Result<ImportJob, ClientError> {
    let input = json!({ "input": { "batchId": batch_id, "source": { "file": null }, "idempotencyKey": fresh_key() } });
    let Imported { import_projects: payload } = api.ask_with_file(IMPORT_PROJECTS, &input, "input.source.file", &options.file).await?;
    accepted(payload.user_errors)?;
    let begun = payload.import.ok_or_else(|| nothing("import"))?;
    if !begun.status.is_final() {
        follow_import(api, &begun.id, out).await?;
    }
    let mut job = load_import(api, &begun.id).await?;
    say_import(&job, out);
    if let Some(issues) = job.issues.take() {
        say_issues(&issues, out);
    }
    if matches!(job.status, JobStatus::Failed | JobStatus::Cancelled) {
        let why = job.failure.map_or_else(|| ".".to_owned(), |failure| format!(": {failure}."));
        let message = format!("The import ended {}{why} Put it right and import again with --batch {batch_id}.", job.status);
        return Err(ClientError::Job { status: job.status, message });
    }
    Ok(job)
}

async fn follow_import(api: &Api, id: &str, out: &Console) -> Result<(), ClientError> {
    let mut progress = out.progress("Importing", "rows");
    let mut events = Events::new(api, IMPORT_PROGRESS, "importProgress", id, Resumes::FromPresent);
    loop {
        let job = match events.next().await? {
            Some(mut event) => decode::<ImportJob>(event["import"].take())?,
            None => load_import(api, id).await?,
        };
        progress.update(share_of(job.progress, job.row_count), job.row_count, job.rejected_count);
        if job.status.is_final() {
            events.close().await;
            return Ok(());
        }
        if events.is_closed() {
            events.ended_too_early().await?;
        }
    }
}

async fn load_import(api: &Api, id: &str) -> Result<ImportJob, ClientError> {
    let answer: NodeAnswer<ImportJob> = api.ask(LOAD_IMPORT, &json!({ "id": id })).await?;
    answer.node.ok_or_else(|| ClientError::Ended("The import no longer exists; its batch may have been deleted.".into()))
}

async fn start(api: &Api, batch_id: &str) -> Result<Run, ClientError> {
    let input = json!({ "input": { "generation": { "batchId": batch_id }, "idempotencyKey": fresh_key() } });
    let Started { start_generation: payload } = api.ask(START_GENERATION, &input).await?;
    accepted(payload.user_errors)?;
    payload.run.ok_or_else(|| nothing("run"))
}

fn say_import(job: &ImportJob, out: &Console) {
    out.say(&format!(
        "Import {}: {}, {} of {} rows accepted, {} refused",
        job.id, job.status, job.accepted_count, job.row_count, job.rejected_count
    ));
}

fn say_issues(issues: &ImportIssues, out: &Console) {
    for issue in issues.nodes.iter().take(ISSUES_SHOWN) {
        let place = match (issue.row, &issue.column) {
            (Some(row), Some(column)) => format!("row {row}, {column}"),
            (Some(row), None) => format!("row {row}"),
            (None, Some(column)) => format!("whole file, {column}"),
            (None, None) => "whole file".to_owned(),
        };
        out.say(&format!("  {} {place}: {} ({})", issue.severity, issue.message, issue.code));
    }
    let shown = issues.nodes.len().min(ISSUES_SHOWN);
    if issues.total_count > shown {
        out.say(&format!("  and {} more", issues.total_count - shown));
    }
}

async fn say_scores(api: &Api, batch_id: &str, out: &Console) -> Result<(), ClientError> {
    let answer: BatchAnswer<BatchScores> = api.ask(BATCH_SCORES, &json!({ "id": batch_id })).await?;
    if let Some(BatchScores { mean_score, counts }) = answer.batch {
        let mean = mean_score.map_or_else(|| "No score yet".to_owned(), |score| format!("Mean score {score:.1} of 100"));
        out.say(&format!(
            "{mean}; {} of {} projects with open errors; {} to review, {} approved, {} failed",
            counts.with_errors, counts.total, counts.needs_review, counts.approved, counts.failed
        ));
    }
    Ok(())
}

fn nothing(what: &str) -> ClientError {
    ClientError::Unexpected(format!("The server accepted the request and gave no {what} back."))
}

fn name_from(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let words: Vec<_> = stem.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let name: String = words.join(" ").chars().take(NAME_CHARS).collect();
    if name.is_empty() { "Import".into() } else { name }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: ImportOptions,
    }

    fn parse(arguments: &[&str]) -> Result<ImportOptions, clap::Error> {
        Command::try_parse_from(["import"].iter().chain(arguments)).map(|command| command.options)
    }

    #[test]
    fn formats_may_be_repeated_or_separated_by_commas() {
        assert_eq!(parse(&["a.csv"]).unwrap().formats, [Format::Docx]);
        assert_eq!(parse(&["a.csv", "--format", "docx,CSV"]).unwrap().formats, [Format::Docx, Format::Csv]);
        assert_eq!(parse(&["a.csv", "--format", "csv", "--format", "docx"]).unwrap().formats, [Format::Csv, Format::Docx]);
        assert!(parse(&["a.csv", "--format", "odt"]).is_err());
    }

    #[test]
    fn a_batch_that_exists_cannot_be_given_a_name() {
        assert!(parse(&["a.csv", "--batch", "x", "--name", "y"]).is_err());
        assert!(parse(&["a.csv", "--generate", "--watch", "--export", "out"]).unwrap().watch);
    }

    #[test]
    fn a_batch_is_named_after_its_file() {
        assert_eq!(name_from(Path::new("/tmp/Acme  2026\tclaims.csv")), "Acme 2026 claims");
        assert_eq!(name_from(Path::new("/")), "Import");
        assert_eq!(name_from(Path::new(&"x".repeat(250))).len(), NAME_CHARS);
    }
}
