//! Use cases of exports: accept one, write its document in the background, and give links to it.

use super::checks::{Idempotency, wrong_state};
use super::core::{Core, Unit};
use super::narratives::{nothing_to_do, select_aif_in};
use super::page_for_each;
use crate::adapters::events::{Bell, Topic};
use crate::domain::actor::Actor;
use crate::domain::batches::Batch;
use crate::domain::exports::{
    ExportDocument, ExportFormat, ExportJob, ExportOptions, ExportProject, ExportSection, KEEP_DAYS, LINK_MINUTES, Skipped, file_name,
};
use crate::domain::ids::{BatchId, ExportId, ProjectId};
use crate::domain::jobs::{JobFailure, JobFailureCode, JobStatus};
use crate::domain::paging::{Page, PageArgs};
use crate::domain::projects::{Project, ProjectStatus};
use crate::domain::work::{DELETE_OBJECTS, DeleteObjects, WRITE_EXPORT, WriteExport};
use crate::error::{Error, Result};
use crate::render::{csv_writer, docx};
use crate::repositories::db::{Scope, Tx};
use crate::repositories::jobs::{ClaimedJob, NewJob};
use crate::repositories::{batches, exports, jobs, projects, sections, templates};
use crate::services::checks::sha256_hex;
use bytes::Bytes;
use chrono::{DateTime, Days, Utc};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Projects that are read at once, and after which watchers are told.
const CHUNK: usize = 100;
/// How the texts came about, for the reader of a document.
const PROVENANCE: &str =
    "Drafted with Claimwright from facts that the client gave. Whether a project qualifies is the adviser's judgement.";

/// Use cases of exports.
#[derive(Debug, Clone)]
pub struct Exports {
    core: Core,
}

impl Exports {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Accepts an export; it is written in the background.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WRONG_STATE` for a deleted batch or if no project would be in it.
    pub async fn create(
        &self,
        actor: &Actor,
        batch: BatchId,
        format: ExportFormat,
        mut options: ExportOptions,
        key: Option<String>,
    ) -> Result<ExportJob> {
        options.filter.batch = Some(batch);
        let idempotency = Idempotency::new(key, &(batch, format, &options))?;
        let mut unit = self.core.begin(actor.workspace).await?;
        let id = ExportId(self.core.new_id());
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, "createExport", id.0).await? {
            let found = exports::find(&mut unit.tx, actor.workspace, ExportId(earlier)).await?;
            return found.ok_or_else(|| Error::not_found("export", ""));
        }
        let found = batches::lock_in(&mut unit.tx, actor.workspace, batch).await?;
        let batch = found.ok_or_else(|| Error::not_found("batch", "input.batchId"))?;
        if batch.deleted_at.is_some() {
            return Err(wrong_state("input.batchId", "The batch is deleted. Restore it first."));
        }
        let (chosen, skipped) = choose_in(&mut unit.tx, actor, &batch, &options).await?;
        if chosen.is_empty() {
            let message = if skipped.is_empty() {
                "No project fits the filter; there is nothing to export."
            } else {
                "No project is approved; there is nothing to export. Approve projects first, or set `approvedOnly` to false for drafts."
            };
            return Err(nothing_to_do("input.filter", message));
        }
        let export = ExportJob {
            id,
            batch: batch.id,
            status: JobStatus::Queued,
            format,
            options,
            project_count: i32::try_from(chosen.len()).unwrap_or(i32::MAX),
            processed_count: 0,
            skipped,
            file_name: None,
            object_key: None,
            bytes: None,
            sha256: None,
            expires_at: None,
            sequence: 1,
            failure: None,
            created_by: actor.user,
            created_at: unit.now,
            started_at: None,
            finished_at: None,
        };
        exports::create_in(&mut unit.tx, actor.workspace, &export).await?;
        unit.enqueue(actor.workspace, None, &[NewJob { kind: WRITE_EXPORT, payload: WriteExport { export: id } }]).await?;
        unit.commit().await?;
        Ok(export)
    }

    /// Writes the document of an export. Done again after a crash, it writes the same object anew.
    ///
    /// # Errors
    /// As the database or the store says; a lost claim. The job is then done again.
    pub async fn run(&self, job: &ClaimedJob, work: WriteExport) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let mut read = self.core.db.read(actor.workspace).await?;
        let export = exports::find(&mut read, actor.workspace, work.export).await?.filter(|export| !export.status.is_final());
        let batch = match &export {
            Some(export) => batches::find(&mut read, actor.workspace, export.batch).await?,
            None => None,
        };
        let (Some(mut export), Some(batch)) = (export, batch) else {
            let mut unit = self.core.begin(actor.workspace).await?;
            jobs::finish_in(&mut unit.tx, job).await?;
            return unit.commit().await;
        };
        let (chosen, skipped) = choose_in(&mut read, &actor, &batch, &export.options).await?;
        drop(read);
        export.status = JobStatus::Running;
        export.started_at = export.started_at.or_else(|| Some(self.core.now()));
        (export.project_count, export.processed_count) = (i32::try_from(chosen.len()).unwrap_or(i32::MAX), 0);
        export.skipped = skipped;
        self.save(&actor, job, &mut export, false).await?;
        if chosen.is_empty() {
            export.status = JobStatus::Failed;
            export.failure = Some(JobFailure::new(JobFailureCode::Internal, "The projects were deleted or taken back meanwhile."));
            return self.save(&actor, job, &mut export, true).await;
        }
        let mut document = self.document(&batch, &export);
        for projects in chosen.chunks(CHUNK) {
            document.projects.extend(self.load_chunk(&actor, projects).await?);
            export.processed_count += i32::try_from(projects.len()).unwrap_or(i32::MAX);
            self.save(&actor, job, &mut export, false).await?;
        }
        let format = export.format;
        let write = move || match format {
            ExportFormat::Docx => docx::write(&document),
            ExportFormat::Csv => csv_writer::projects(&document),
        };
        let file = tokio::task::spawn_blocking(write).await.map_err(Error::internal)??;
        let key = format!("exports/{}/{}.{}", actor.workspace.0, export.id.0, format.extension());
        export.bytes = Some(i64::try_from(file.len()).unwrap_or(i64::MAX));
        export.sha256 = Some(sha256_hex(&file));
        export.file_name = Some(file_name(&batch.name, format));
        self.core.store.put(&key, Bytes::from(file), format.content_type(), None).await?;
        export.object_key = Some(key);
        export.status = JobStatus::Succeeded;
        self.save(&actor, job, &mut export, true).await
    }

    /// Gives up an export whose work ended in a fault that doing it again would only repeat (a panic).
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn give_up(&self, job: &ClaimedJob, work: WriteExport) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let found = exports::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, work.export).await?;
        let Some(mut export) = found.filter(|export| !export.status.is_final()) else {
            let mut unit = self.core.begin(actor.workspace).await?;
            jobs::finish_in(&mut unit.tx, job).await?;
            return unit.commit().await;
        };
        export.status = JobStatus::Failed;
        export.failure = Some(JobFailure::new(JobFailureCode::Internal, "A fault in this service; the document was not written."));
        self.save(&actor, job, &mut export, true).await
    }

    fn document(&self, batch: &Batch, export: &ExportJob) -> ExportDocument {
        ExportDocument {
            batch_name: batch.name.clone(),
            company_name: batch.claim.company_name.clone(),
            period: batch.claim.period_start.zip(batch.claim.period_end),
            scheme: batch.claim.scheme.map(|scheme| scheme.label().to_owned()),
            generated_at: self.core.now(),
            approved_only: export.options.approved_only,
            provenance: Some(PROVENANCE.to_owned()),
            projects: Vec::new(),
        }
    }

    async fn load_chunk(&self, actor: &Actor, chosen: &[Project]) -> Result<Vec<ExportProject>> {
        let mut tx = self.core.db.read(actor.workspace).await?;
        let workspace = actor.workspace;
        let ids: Vec<ProjectId> = chosen.iter().map(|project| project.id).collect();
        let mut facts = projects::load_facts(&mut tx, workspace, &ids).await?;
        let mut rows = sections::load_for_projects(&mut tx, workspace, &ids).await?;
        let section_ids: Vec<_> = rows.values().flatten().filter(|section| section.revision > 0).map(|section| section.id).collect();
        let mut texts = sections::load_texts(&mut tx, workspace, &section_ids).await?;
        let versions: HashSet<_> = chosen.iter().map(|project| project.template_version).collect();
        let versions: Vec<_> = versions.into_iter().collect();
        let versions = templates::load_versions(&mut tx, workspace, &versions).await?;
        let questions: HashMap<_, _> = versions
            .iter()
            .flat_map(|version| version.sections.iter().map(|section| ((version.id, section.key.as_str()), section.aif_question.clone())))
            .collect();
        let mut written = Vec::with_capacity(chosen.len());
        for project in chosen {
            let facts = facts.remove(&project.id).unwrap_or_default();
            let sections = rows.remove(&project.id).unwrap_or_default().into_iter().map(|section| ExportSection {
                aif_question: questions.get(&(project.template_version, section.key.as_str())).cloned().flatten(),
                text: texts.remove(&section.id).unwrap_or_default(),
                key: section.key,
                title: section.title,
            });
            written.push(ExportProject {
                external_ref: project.external_ref.clone(),
                name: project.name.clone(),
                status: project.status,
                score: project.score,
                expenditure: project.costs.total(),
                costs: project.costs,
                claim_ref: facts.claim_ref,
                field_of_science: facts.field_of_science,
                sub_field: facts.sub_field,
                start_date: facts.start_date,
                end_date: facts.end_date,
                work_status: facts.work_status,
                sections: sections.collect(),
            });
        }
        Ok(written)
    }

    /// Stores an export as the next of its changes and tells watchers; the last one ends the job.
    async fn save(&self, actor: &Actor, job: &ClaimedJob, export: &mut ExportJob, last: bool) -> Result<()> {
        let mut unit = self.core.begin(actor.workspace).await?;
        if last {
            jobs::finish_in(&mut unit.tx, job).await?;
            export.finished_at = Some(unit.now);
            export.expires_at = unit.now.checked_add_days(Days::new(KEEP_DAYS));
        } else {
            jobs::hold_in(&mut unit.tx, job).await?;
        }
        export.sequence += 1;
        exports::update_in(&mut unit.tx, actor.workspace, export).await?;
        unit.ring(Topic::Export(export.id), Bell::Changed);
        unit.commit().await?;
        if last {
            let labels = [("format", export.format.as_str()), ("outcome", export.status.as_str())];
            metrics::counter!("claimwright_exports_total", &labels).increment(1);
        }
        Ok(())
    }

    /// A short-lived link to the file, with the moment when it stops working; none until there is a file.
    ///
    /// # Errors
    /// As the store says.
    pub async fn download_url(&self, export: &ExportJob) -> Result<Option<(String, DateTime<Utc>)>> {
        let (Some(key), Some(name)) = (&export.object_key, &export.file_name) else { return Ok(None) };
        let valid_for = Duration::from_secs(LINK_MINUTES * 60);
        let url = self.core.store.presign_get(key, name, valid_for).await?;
        Ok(Some((url, self.core.now() + valid_for)))
    }

    /// Takes files away from exports that have expired; gives their number.
    ///
    /// # Errors
    /// As the database says.
    pub async fn expire(&self) -> Result<usize> {
        let mut unit: Unit = self.core.begin(Scope::Everything).await?;
        let now = unit.now;
        let keys = exports::expire_in(&mut unit.tx, now).await?;
        let count = keys.len();
        if count > 0 {
            let nobody = crate::domain::ids::WorkspaceId(uuid::Uuid::nil());
            unit.enqueue(nobody, None, &[NewJob { kind: DELETE_OBJECTS, payload: DeleteObjects { keys } }]).await?;
        }
        unit.commit().await?;
        Ok(count)
    }

    /// Deletes objects that nothing refers to any more.
    ///
    /// # Errors
    /// As the store says; the job is then done again.
    pub async fn delete_objects(&self, job: &ClaimedJob, work: DeleteObjects) -> Result<()> {
        for key in &work.keys {
            self.core.store.delete(key).await?;
        }
        jobs::finish(&self.core.db, job).await
    }

    /// An export.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find(&self, actor: &Actor, id: ExportId) -> Result<Option<ExportJob>> {
        exports::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }

    /// A page of the exports of each of several batches, newest first, in one statement whatever their number.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn load_pages(&self, actor: &Actor, batches: &[BatchId], page: &PageArgs) -> Result<HashMap<BatchId, Page<ExportJob>>> {
        let request = page.check(exports::ORDER)?;
        let pages = exports::load_pages(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batches, &request).await?;
        Ok(page_for_each(batches, pages, &request))
    }

    /// Number of a batch's exports.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count(&self, actor: &Actor, batch: BatchId) -> Result<i64> {
        exports::count(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batch).await
    }
}

/// The projects of an export and those that are left out, with reasons.
async fn choose_in(tx: &mut Tx, actor: &Actor, batch: &Batch, options: &ExportOptions) -> Result<(Vec<Project>, Vec<Skipped>)> {
    let fitting: HashSet<ProjectId> = projects::list_ids(tx, actor.workspace, &options.filter, i64::MAX).await?.into_iter().collect();
    let all = if options.aif_selection_only {
        let found = select_aif_in(tx, actor, batch).await?;
        found.selection.selected.iter().filter_map(|index| found.projects.get(*index).cloned()).collect()
    } else {
        projects::list_all(tx, actor.workspace, batch.id).await?
    };
    let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
    for project in all.into_iter().filter(|project| fitting.contains(&project.id)) {
        if options.approved_only && project.status != ProjectStatus::Approved {
            skipped.push(Skipped { project: project.id, reason: format!("Not approved ({}).", project.status) });
        } else {
            chosen.push(project);
        }
    }
    Ok((chosen, skipped))
}
