//! One handler for each kind of job: its payload, and the service that does it and settles it in its own transaction.

use crate::domain::work::{
    DELETE_OBJECTS, DRAFT_SECTION, DeleteObjects, DraftSection, FINISH_PROJECT, FINISH_RUN, FinishProject, FinishRun, IMPORT_PROJECTS,
    ImportProjects, JobEnding, REWRITE_SECTION, RewriteSection, WRITE_EXPORT, WriteExport,
};
use crate::error::Error;
use crate::repositories::jobs::ClaimedJob;
use crate::services::Services;
use serde::de::DeserializeOwned;

/// Why a job is not settled.
#[derive(Debug)]
pub(super) enum Failure {
    /// It will never be done: its payload cannot be read.
    Unreadable(String),
    /// A fault of ours: it may be done again.
    Fault(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

/// Does a job.
pub(super) async fn handle(services: &Services, job: &ClaimedJob) -> Result<JobEnding, Failure> {
    match job.kind.as_str() {
        DRAFT_SECTION => return Ok(services.generations.draft_section(job, read::<DraftSection>(job)?).await?),
        REWRITE_SECTION => return Ok(services.generations.rewrite_section(job, read::<RewriteSection>(job)?).await?),
        FINISH_PROJECT => services.generations.finish_project(job, read::<FinishProject>(job)?).await?,
        FINISH_RUN => services.generations.finish_run(job, read::<FinishRun>(job)?).await?,
        IMPORT_PROJECTS => services.imports.run(job, read::<ImportProjects>(job)?).await?,
        WRITE_EXPORT => services.exports.run(job, read::<WriteExport>(job)?).await?,
        DELETE_OBJECTS => services.exports.delete_objects(job, read::<DeleteObjects>(job)?).await?,
        // queued by a newer version, whose workers know it: it must not be lost while both are running
        unknown => return Err(Failure::Fault(Error::internal(format!("this version has no handler for {unknown}")))),
    }
    Ok(JobEnding::Done)
}

/// Ends a job whose handler panicked: doing it again would only repeat that, and whoever waits for it must be told.
pub(super) async fn give_up(services: &Services, job: &ClaimedJob) -> Result<(), Failure> {
    match job.kind.as_str() {
        DRAFT_SECTION => services.generations.give_up_section(job, read::<DraftSection>(job)?).await?,
        REWRITE_SECTION => services.generations.give_up_rewriting(job, &read::<RewriteSection>(job)?).await?,
        FINISH_PROJECT => services.generations.give_up_project(job, read::<FinishProject>(job)?).await?,
        IMPORT_PROJECTS => services.imports.give_up(job, read::<ImportProjects>(job)?).await?,
        WRITE_EXPORT => services.exports.give_up(job, read::<WriteExport>(job)?).await?,
        _ => return Err(Failure::Unreadable("the handler panicked".into())),
    }
    Ok(())
}

/// The payload of a job.
pub(super) fn read<P: DeserializeOwned>(job: &ClaimedJob) -> Result<P, Failure> {
    P::deserialize(&job.payload).map_err(|error| Failure::Unreadable(format!("its payload cannot be read: {error}")))
}
