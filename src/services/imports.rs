//! Use cases of imports: accept what was sent, read it in the background, and store its projects in chunks, each of
//! which is settled for good: a crash repeats none and loses none.

use super::batches::lock_live;
use super::checks::{Idempotency, Problems, wrong_state};
use super::core::{Core, Unit};
use super::page_for_each;
use super::projects::{AddError, add_in, draft_rules};
use super::uploads::Uploads;
use crate::adapters::events::{Bell, Topic};
use crate::adapters::storage;
use crate::domain::actor::Actor;
use crate::domain::batches::Batch;
use crate::domain::ids::{BatchId, ImportId, ProjectId};
use crate::domain::imports::{
    CHUNK_ROWS, Finding, ImportDuplicatePolicy, ImportErrorPolicy, ImportIssue, ImportIssueCode, ImportJob, ImportSource, IssueFilter,
    MAX_IMPORT_ROWS, NewImport, PREVIEW_ROWS, ReadRow, Required, SourceKind, check_rows,
};
use crate::domain::jobs::{JobFailure, JobFailureCode, JobStatus};
use crate::domain::paging::{Page, PageArgs};
use crate::domain::projects::ProjectDraft;
use crate::domain::quality::IssueSeverity;
use crate::domain::work::{IMPORT_PROJECTS, ImportProjects};
use crate::error::{Error, ProblemCode, Result};
use crate::render::{csv_reader, csv_writer};
use crate::repositories::jobs::{ClaimedJob, NewJob};
use crate::repositories::projects::NewProject;
use crate::repositories::{batches, imports, jobs, projects};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;

/// Largest file in a request, in bytes.
pub const MAX_INLINE_BYTES: usize = 16 << 20;
const MAX_FILE_NAME_CHARS: usize = 255;
/// What idempotency keys of imports belong to.
const MUTATION: &str = "importProjects";
/// Minutes that the link to the refused rows is valid.
const LINK_VALID: Duration = Duration::from_mins(15);

/// Use cases of imports.
#[derive(Debug, Clone)]
pub struct Imports {
    core: Core,
    uploads: Uploads,
}

/// What was read: the same for a file and for rows of the API.
struct Read {
    detected: Option<crate::domain::imports::DetectedFile>,
    columns: Vec<crate::domain::imports::ColumnMatch>,
    headings: Vec<String>,
    rows: Vec<ReadRow>,
    file_issues: Vec<ImportIssue>,
}

impl Imports {
    pub(super) const fn new(core: Core, uploads: Uploads) -> Self {
        Self { core, uploads }
    }

    /// Accepts an import; it is done in the background.
    ///
    /// # Errors
    /// Problems of the options; `NOT_FOUND`, `WRONG_STATE` (of the batch), `TOO_MANY`, `UNSUPPORTED_FILE`, `UPLOAD_MISSING`.
    pub async fn create(&self, actor: &Actor, new: NewImport, key: Option<String>) -> Result<ImportJob> {
        let mut new = new;
        for (heading, _) in &mut new.options.columns {
            heading.retain(|c| !c.is_control());
        }
        let mut problems = Problems::default();
        problems.extend(new.options.problems("input.options"));
        let mut upload = None;
        let (kind, file_name, bytes) = match new.source {
            ImportSource::Upload(id) => {
                upload = Some(id);
                (SourceKind::File, None, format!("upload {}", id.0).into_bytes())
            }
            ImportSource::File { name, bytes } => {
                if bytes.len() > MAX_INLINE_BYTES {
                    let message = format!("The file has {} bytes; at most {MAX_INLINE_BYTES} are allowed. Divide it.", bytes.len());
                    problems.add(ProblemCode::TooLong, "input.source", message);
                }
                (SourceKind::File, problems.optional("input.source.file", name, MAX_FILE_NAME_CHARS), bytes)
            }
            ImportSource::Rows(rows) => {
                if rows.is_empty() {
                    problems.add(ProblemCode::Required, "input.source.rows", "Give at least one row.");
                }
                if rows.len() > MAX_IMPORT_ROWS {
                    let message = format!("There are {} rows; at most {MAX_IMPORT_ROWS} are allowed. Divide them.", rows.len());
                    problems.add(ProblemCode::TooMany, "input.source.rows", message);
                }
                (SourceKind::Rows, None, serde_json::to_vec(&rows).map_err(Error::internal)?)
            }
        };
        problems.check()?;
        let settings = (new.batch, &new.options, new.error_policy, new.on_duplicate, new.dry_run, kind, &file_name);
        let mut hashed = serde_json::to_vec(&settings).map_err(Error::internal)?;
        hashed.extend_from_slice(&bytes);
        let idempotency = Idempotency::of_bytes(key, &hashed)?;
        let mut read = self.core.db.read(actor.workspace).await?;
        if upload.is_some()
            && let Some(earlier) = idempotency.find(&mut read, actor.workspace, MUTATION).await?
        {
            // the file of a repeated request may have expired meanwhile
            let found = imports::find(&mut read, actor.workspace, ImportId(earlier)).await?;
            return found.ok_or_else(|| Error::not_found("import", ""));
        }

        // checked before anything is stored, and again under the lock
        match batches::find(&mut read, actor.workspace, new.batch).await? {
            Some(batch) if batch.deleted_at.is_none() && batch.archived_at.is_none() => {}
            Some(_) => return Err(wrong_state("input.batchId", "The batch is archived or deleted. Restore it first.")),
            None => return Err(Error::not_found("batch", "input.batchId")),
        }
        drop(read);
        let (bytes, file_name, _turn) = match upload {
            // a copy of its own: uploads expire, and may be imported again meanwhile
            Some(id) => {
                let arrived = self.uploads.fetch(actor, id, "input.source.uploadId").await?;
                (arrived.bytes, Some(arrived.upload.file_name), Some(arrived.turn))
            }
            None => (Bytes::from(bytes), file_name, None),
        };
        let id = ImportId(self.core.new_id());
        let source_key = format!("imports/{}/{}/source", actor.workspace.0, id.0);
        self.core.store.put(&source_key, bytes, "application/octet-stream", None).await?;
        let job = ImportJob {
            id,
            batch: new.batch,
            status: JobStatus::Queued,
            dry_run: new.dry_run,
            file_name,
            source_key: source_key.clone(),
            source_kind: kind,
            options: new.options,
            error_policy: new.error_policy,
            on_duplicate: new.on_duplicate,
            detected: None,
            columns: Vec::new(),
            preview: Vec::new(),
            row_count: 0,
            processed_count: 0,
            accepted_count: 0,
            rejected_count: 0,
            rejected_key: None,
            sequence: 1,
            failure: None,
            created_by: actor.user,
            created_at: self.core.now(),
            started_at: None,
            finished_at: None,
        };
        match self.accept(actor, job, &idempotency).await {
            Ok(job) if job.id == id => Ok(job),
            answer => {
                // refused, or a repeat: what was stored for it is of no use
                if let Err(error) = self.core.store.delete(&source_key).await {
                    tracing::warn!(%error, key = %source_key, "an object that nothing refers to stays behind");
                }
                answer
            }
        }
    }

    async fn accept(&self, actor: &Actor, job: ImportJob, idempotency: &Idempotency) -> Result<ImportJob> {
        let mut unit = self.core.begin(actor.workspace).await?;
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, MUTATION, job.id.0).await? {
            let found = imports::find(&mut unit.tx, actor.workspace, ImportId(earlier)).await?;
            return found.ok_or_else(|| Error::not_found("import", ""));
        }
        lock_live(&mut unit, actor, job.batch, "input.batchId").await?;
        imports::create_in(&mut unit.tx, actor.workspace, &job).await?;
        let payload = ImportProjects { import: job.id };
        unit.enqueue(actor.workspace, None, &[NewJob { kind: IMPORT_PROJECTS, payload }]).await?;
        unit.append(actor.workspace, job.batch, vec![crate::domain::events::BatchEvent::BatchChanged]).await?;
        unit.commit().await?;
        Ok(job)
    }

    /// Reads what was sent and stores its projects; goes on where an earlier try was cut off.
    ///
    /// # Errors
    /// As the database or the store says; a lost claim. The job is then done again.
    pub async fn run(&self, job: &ClaimedJob, work: ImportProjects) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let found = imports::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, work.import).await?;
        let Some(mut import) = found.filter(|import| !import.status.is_final()) else { return self.drop_job(job).await };
        let batch = batches::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, import.batch).await?;
        let Some(batch) = batch else { return self.drop_job(job).await };
        let bytes = match self.core.store.get(&import.source_key).await {
            Ok(bytes) => bytes,
            Err(error) if storage::is_missing(&error) => {
                let failure = JobFailure::new(JobFailureCode::StorageFailed, "What was sent is no longer in storage. Send it again.");
                return self.end(&actor, job, import, JobStatus::Failed, Some(failure)).await;
            }
            Err(error) => return Err(error),
        };
        let read = self.read(&import, &batch, bytes).await?;
        if import.started_at.is_none() {
            import.status = JobStatus::Running;
            import.started_at = Some(self.core.now());
            import.detected = read.detected.clone();
            import.columns = read.columns.clone();
            // without the cells: they are as raw as the file, and the values that were understood are what is shown
            import.preview = read.rows.iter().take(PREVIEW_ROWS).map(|row| ReadRow { cells: Vec::new(), ..row.clone() }).collect();
            import.row_count = i32::try_from(read.rows.len()).unwrap_or(i32::MAX);
            let mut unit = self.core.begin(actor.workspace).await?;
            jobs::hold_in(&mut unit.tx, job).await?;
            imports::add_issues_in(&mut unit.tx, actor.workspace, import.id, 1, &read.file_issues).await?;
            self.save(&mut unit, &actor, &mut import).await?;
            unit.commit().await?;
        }
        if let Some(reason) = read.file_issues.iter().find(|issue| issue.is_error()) {
            let failure = JobFailure::new(JobFailureCode::FileUnreadable, reason.message.clone());
            return self.end(&actor, job, import, JobStatus::Failed, Some(failure)).await;
        }
        let done = usize::try_from(import.processed_count).unwrap_or(0);
        let all_or_nothing = import.error_policy == ImportErrorPolicy::RejectEverything || import.dry_run;
        let chunk = if all_or_nothing { read.rows.len().max(1) } else { CHUNK_ROWS };
        for rows in read.rows[done.min(read.rows.len())..].chunks(chunk) {
            self.store_chunk(&actor, job, &mut import, rows.to_vec()).await?;
        }
        self.conclude(&actor, job, import, &read).await
    }

    /// Gives up an import whose work ended in a fault that doing it again would only repeat (a panic). Rows that are
    /// stored stay.
    ///
    /// # Errors
    /// As the database says; a lost claim.
    pub async fn give_up(&self, job: &ClaimedJob, work: ImportProjects) -> Result<()> {
        let actor = Actor::system(job.workspace());
        let found = imports::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, work.import).await?;
        let Some(import) = found.filter(|import| !import.status.is_final()) else { return self.drop_job(job).await };
        let failure = JobFailure::new(JobFailureCode::Internal, "A fault in this service; the import was not finished.");
        let status = if import.accepted_count > 0 { JobStatus::Partial } else { JobStatus::Failed };
        self.end(&actor, job, import, status, Some(failure)).await
    }

    async fn read(&self, import: &ImportJob, batch: &Batch, bytes: Bytes) -> Result<Read> {
        let rules = draft_rules(batch, import.created_at, Required::ImportColumns);
        if import.source_kind == SourceKind::Rows {
            let drafts: Vec<ProjectDraft> = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            let rows = check_rows(drafts, &draft_rules(batch, import.created_at, Required::NameOnly));
            return Ok(Read { detected: None, columns: Vec::new(), headings: Vec::new(), rows, file_issues: Vec::new() });
        }
        let options = import.options.clone();
        let read = tokio::task::spawn_blocking(move || csv_reader::read(&bytes, &options, &rules)).await.map_err(Error::internal)?;
        let headings = read.headings().into_iter().map(str::to_owned).collect();
        Ok(Read { detected: Some(read.detected), columns: read.columns, headings, rows: read.rows, file_issues: read.file_issues })
    }

    /// Settles some rows in one transaction: projects, findings and the checkpoint.
    async fn store_chunk(&self, actor: &Actor, job: &ClaimedJob, import: &mut ImportJob, mut rows: Vec<ReadRow>) -> Result<()> {
        let workspace = actor.workspace;
        let mut unit = self.core.begin(actor.workspace).await?;
        let batch = lock_live(&mut unit, actor, import.batch, "batch").await?;
        jobs::hold_in(&mut unit.tx, job).await?;
        let references: Vec<&str> = rows.iter().filter_map(|row| row.draft.external_ref.as_deref()).collect();
        let names: Vec<String> = rows.iter().map(|row| row.draft.name.to_lowercase()).collect();
        let known = projects::find_known(&mut unit.tx, workspace, batch.id, &references, &names).await?;
        let (mut updates, mut skipped) = (HashMap::new(), Vec::new());
        for (index, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.accepted) {
            let reference = row.draft.external_ref.clone();
            if let Some((reference, id)) = reference.and_then(|r| known.references.get(&r).map(|id| (r, *id))) {
                match import.on_duplicate {
                    ImportDuplicatePolicy::Reject => row.add(Finding::reference_in_batch(&reference)),
                    ImportDuplicatePolicy::Update => drop(updates.insert(index, id)),
                    ImportDuplicatePolicy::Skip => {
                        row.add(Finding { severity: IssueSeverity::Info, ..Finding::reference_in_batch(&reference) });
                        skipped.push(index);
                    }
                }
            } else if known.names.contains(&row.draft.name.to_lowercase()) {
                row.add(Finding::name_in_batch(&row.draft.name));
            }
        }
        for (index, id) in &updates {
            self.refuse_locked(&mut unit, actor, *id, &mut rows[*index]).await?;
        }
        let refused = i32::try_from(rows.iter().filter(|row| !row.accepted).count()).unwrap_or(i32::MAX);
        let store = !import.dry_run && (refused == 0 || import.error_policy == ImportErrorPolicy::RejectFailedRows);
        let mut new = Vec::new();
        let mut accepted = 0;
        for (index, row) in rows.iter().enumerate().filter(|(index, row)| row.accepted && !skipped.contains(index)) {
            accepted += 1;
            match updates.get(&index) {
                _ if !store => {}
                Some(id) => self.update_existing(&mut unit, actor, &batch, *id, &row.draft).await?,
                None => new.push(NewProject { id: ProjectId(self.core.new_id()), draft: row.draft.clone(), import_row: Some(row.row) }),
            }
        }
        add_in(&mut unit, &self.core, actor, &batch, Some(import.id), &new).await.map_err(|error| match error {
            AddError::Other(error) => error,
            AddError::Taken => Error::internal("a reference was taken under the batch's lock"),
        })?;
        let first = imports::last_issue_number(&mut unit.tx, import.id).await? + 1;
        let issues: Vec<ImportIssue> = rows.iter().flat_map(|row| row.issues.iter().cloned()).collect();
        imports::add_issues_in(&mut unit.tx, workspace, import.id, first, &issues).await?;
        let nothing_stored = import.error_policy == ImportErrorPolicy::RejectEverything && refused > 0;
        import.accepted_count += if nothing_stored { 0 } else { accepted };
        import.rejected_count += refused;
        import.processed_count += i32::try_from(rows.len()).unwrap_or(i32::MAX);
        for row in rows.iter().filter(|row| !row.accepted) {
            if let Some(shown) = import.preview.iter_mut().find(|shown| shown.row == row.row) {
                shown.accepted = false;
            }
        }
        self.save(&mut unit, actor, import).await?;
        unit.commit().await
    }

    /// A project that is approved or in the hands of a run is not replaced: its row is refused.
    async fn refuse_locked(&self, unit: &mut Unit, actor: &Actor, id: ProjectId, row: &mut ReadRow) -> Result<()> {
        if let Some(project) = projects::find(&mut unit.tx, actor.workspace, id).await?
            && let Err(Error::Refused(problems)) = super::projects::refuse_closed(&project, "")
        {
            let message = problems.into_iter().next().map(|problem| problem.message).unwrap_or_default();
            row.add(Finding::new(ImportIssueCode::DuplicateReference, "external_ref", message));
        }
        Ok(())
    }

    async fn update_existing(&self, unit: &mut Unit, actor: &Actor, batch: &Batch, id: ProjectId, draft: &ProjectDraft) -> Result<()> {
        let Some(mut project) = projects::find(&mut unit.tx, actor.workspace, id).await? else { return Ok(()) };
        let more = draft.costs.total().0 - project.costs.total().0;
        project.name.clone_from(&draft.name);
        project.costs = draft.costs;
        project.start_date = draft.facts.start_date;
        project.revision += 1;
        project.updated_at = unit.now;
        projects::update_in(&mut unit.tx, actor.workspace, &project, Some(&draft.facts)).await?;
        let now = unit.now;
        batches::add_projects_in(&mut unit.tx, batch.id, 0, more, now).await?;
        unit.append(actor.workspace, batch.id, vec![super::projects::changed(&project)]).await
    }

    /// Ends an import whose rows are all settled; refused rows are offered back as a file.
    async fn conclude(&self, actor: &Actor, job: &ClaimedJob, mut import: ImportJob, read: &Read) -> Result<()> {
        let refusals = imports::list_refusals(&mut self.core.db.read(actor.workspace).await?, actor.workspace, import.id).await?;
        let mut first_reason = None;
        if !refusals.is_empty() {
            first_reason = refusals.first().map(|(row, message)| format!("Row {row}: {message}"));
            let rows = refused_rows(read, refusals);
            let headings: Vec<&str> = read.headings.iter().map(String::as_str).collect();
            let file = csv_writer::rejected_rows(&headings, &rows)?;
            let key = format!("imports/{}/{}/rejected.csv", actor.workspace.0, import.id.0);
            self.core.store.put(&key, Bytes::from(file), "text/csv; charset=utf-8", None).await?;
            import.rejected_key = Some(key);
        }
        let reason = first_reason.unwrap_or_default();
        let (status, failure) = match (import.accepted_count, import.rejected_count) {
            (_, 0) => (JobStatus::Succeeded, None),
            (0, _) => {
                let message = format!("Nothing was imported. {reason}");
                (JobStatus::Failed, Some(JobFailure::new(JobFailureCode::FileUnreadable, message)))
            }
            (_, refused) => {
                let message = format!("{refused} rows were refused; correct them in `rejectedRowsUrl` and import that file. {reason}");
                (JobStatus::Partial, Some(JobFailure::new(JobFailureCode::FileUnreadable, message)))
            }
        };
        self.end(actor, job, import, status, failure).await
    }

    async fn end(
        &self,
        actor: &Actor,
        job: &ClaimedJob,
        mut import: ImportJob,
        status: JobStatus,
        failure: Option<JobFailure>,
    ) -> Result<()> {
        let mut unit = self.core.begin(actor.workspace).await?;
        batches::lock_in(&mut unit.tx, actor.workspace, import.batch).await?;
        jobs::finish_in(&mut unit.tx, job).await?;
        (import.status, import.failure, import.finished_at) = (status, failure, Some(unit.now));
        import.started_at = import.started_at.or(import.finished_at);
        self.save(&mut unit, actor, &mut import).await?;
        unit.append(actor.workspace, import.batch, vec![crate::domain::events::BatchEvent::BatchChanged]).await?;
        unit.commit().await?;
        metrics::counter!("claimwright_imports_total", "outcome" => status.as_str()).increment(1);
        Ok(())
    }

    /// Stores an import as the next of its changes and tells watchers.
    async fn save(&self, unit: &mut Unit, actor: &Actor, import: &mut ImportJob) -> Result<()> {
        import.sequence += 1;
        imports::update_in(&mut unit.tx, actor.workspace, import).await?;
        unit.ring(Topic::Import(import.id), Bell::Changed);
        Ok(())
    }

    async fn drop_job(&self, job: &ClaimedJob) -> Result<()> {
        let mut unit = self.core.begin(job.workspace()).await?;
        jobs::finish_in(&mut unit.tx, job).await?;
        unit.commit().await
    }

    /// An import.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find(&self, actor: &Actor, id: ImportId) -> Result<Option<ImportJob>> {
        imports::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }

    /// Imports by id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load(&self, actor: &Actor, ids: &[ImportId]) -> Result<HashMap<ImportId, ImportJob>> {
        let found = imports::load(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await?;
        Ok(found.into_iter().map(|import| (import.id, import)).collect())
    }

    /// A page of the imports of each of several batches, newest first, in one statement whatever their number.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn load_pages(&self, actor: &Actor, batches: &[BatchId], page: &PageArgs) -> Result<HashMap<BatchId, Page<ImportJob>>> {
        let request = page.check(imports::ORDER)?;
        let pages = imports::load_pages(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batches, &request).await?;
        Ok(page_for_each(batches, pages, &request))
    }

    /// Number of a batch's imports.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count(&self, actor: &Actor, batch: BatchId) -> Result<i64> {
        imports::count(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batch).await
    }

    /// A page of what an import found, in file order.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn list_issues(&self, actor: &Actor, import: ImportId, filter: &IssueFilter, page: &PageArgs) -> Result<Page<ImportIssue>> {
        let request = page.check(imports::ISSUE_ORDER)?;
        imports::list_issues(&mut self.core.db.read(actor.workspace).await?, actor.workspace, import, filter, &request).await
    }

    /// Number of issues that match.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count_issues(&self, actor: &Actor, import: ImportId, filter: &IssueFilter) -> Result<i64> {
        imports::count_issues(&mut self.core.db.read(actor.workspace).await?, actor.workspace, import, filter).await
    }

    /// A link to the refused rows; none if there are none.
    ///
    /// # Errors
    /// As the store says.
    pub async fn rejected_rows_url(&self, import: &ImportJob) -> Result<Option<String>> {
        let Some(key) = &import.rejected_key else { return Ok(None) };
        self.core.store.presign_get(key, "refused-rows.csv", LINK_VALID).await.map(Some)
    }
}

/// The refused rows with the reasons that were stored: on a second try, a row that was imported before looks like a
/// duplicate of itself, so what was decided then counts.
fn refused_rows(read: &Read, refusals: Vec<(i32, String)>) -> Vec<ReadRow> {
    let mut reasons: HashMap<i32, Vec<ImportIssue>> = HashMap::new();
    for (row, message) in refusals {
        reasons.entry(row).or_default().push(ImportIssue::of_file(ImportIssueCode::RequiredValueMissing, message));
    }
    let with_reasons = |row: &ReadRow| reasons.remove(&row.row).map(|issues| ReadRow { issues, accepted: false, ..row.clone() });
    read.rows.iter().filter_map(with_reasons).collect()
}
