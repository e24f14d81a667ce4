//! Use cases of projects: create, change, delete and restore them, pin them for the AIF, and what lists show.

use super::batches::lock_live;
use super::checks::{Idempotency, id_count, revision, wrong_state};
use super::core::{Core, Unit};
use super::{BulkOutcome, page_for_each, sections};
use crate::domain::actor::Actor;
use crate::domain::batches::Batch;
use crate::domain::events::{BatchEvent, MAX_EVENT_IDS};
use crate::domain::ids::{BatchId, ImportId, ProjectId, TemplateVersionId};
use crate::domain::imports::{DraftRules, Required, check_draft, problems};
use crate::domain::paging::{Direction, Page, PageArgs};
use crate::domain::projects::{
    Costs, Facts, Project, ProjectDraft, ProjectFilter, ProjectOrderField, ProjectParts, ProjectPatch, ProjectStatus,
};
use crate::domain::quality::Report;
use crate::domain::sections::{SectionParts, SectionWithText};
use crate::error::{Error, Problem, ProblemCode, Result};
use crate::repositories::db::{Tx, is_unique_violation};
use crate::repositories::projects::NewProject;
use crate::repositories::{self, batches, projects, templates};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use uuid::Uuid;

/// Most projects of a batch.
pub const MAX_PROJECTS: i32 = 100_000;

/// Use cases of projects.
#[derive(Debug, Clone)]
pub struct Projects {
    core: Core,
}

/// Oldest first: the order in which projects came, unless a list is told otherwise.
pub const DEFAULT_ORDER: &[(ProjectOrderField, Direction)] = &[(ProjectOrderField::CreatedAt, Direction::Asc)];

impl Projects {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Adds a project to a batch.
    ///
    /// # Errors
    /// Problems of the input; `NOT_FOUND`, `WRONG_STATE` (of the batch), `TAKEN` (reference or chosen id).
    pub async fn create(
        &self,
        actor: &Actor,
        batch: BatchId,
        id: Option<String>,
        mut draft: ProjectDraft,
        key: Option<String>,
    ) -> Result<Project> {
        let idempotency = Idempotency::new(key, &(batch, &id, &draft))?;
        let mut unit = self.core.begin(actor.workspace).await?;
        let new_id = match id.as_deref().map(Uuid::parse_str) {
            None => self.core.new_id(),
            Some(Ok(id)) if !id.is_nil() => id,
            Some(_) => return Err(Error::refused(ProblemCode::Invalid, "input.id", "An id that you choose is a bare UUID.")),
        };
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, "createProject", new_id).await? {
            return self.find(actor, ProjectId(earlier)).await?.ok_or_else(|| Error::not_found("project", ""));
        }
        let batch = lock_live(&mut unit, actor, batch, "input.batchId").await?;
        if batch.project_count >= MAX_PROJECTS {
            return Err(Error::refused(ProblemCode::TooMany, "input.batchId", format!("A batch has at most {MAX_PROJECTS} projects.")));
        }
        let found = problems(&check_draft(&mut draft, &draft_rules(&batch, unit.now, Required::NameOnly)), "input");
        if !found.is_empty() {
            return Err(Error::Refused(found));
        }
        if let Some(reference) = &draft.external_ref
            && projects::find_by_ref(&mut unit.tx, actor.workspace, batch.id, reference).await?.is_some()
        {
            let message = "Another project of the batch has this reference. Choose another one.";
            return Err(Error::refused(ProblemCode::Taken, "input.externalRef", message));
        }
        let new = NewProject { id: ProjectId(new_id), draft, import_row: None };
        add_in(&mut unit, &self.core, actor, &batch, None, std::slice::from_ref(&new)).await.map_err(|error| match error {
            // references are unique under the batch's lock, so it is the id
            AddError::Taken => Error::refused(ProblemCode::Taken, "input.id", "This id is in use. Choose another UUID."),
            AddError::Other(error) => error,
        })?;
        let project = projects::find(&mut unit.tx, actor.workspace, new.id).await?;
        unit.commit().await?;
        project.ok_or_else(|| Error::internal("a project vanished after it was created"))
    }

    /// Changes a project; what the patch leaves out stays.
    ///
    /// # Errors
    /// Problems of the input; `NOT_FOUND`, `REVISION_CONFLICT`, `WRONG_STATE`, `TAKEN`.
    pub async fn update(&self, actor: &Actor, id: ProjectId, expected: Option<i32>, patch: ProjectPatch) -> Result<Project> {
        let mut unit = self.core.begin(actor.workspace).await?;
        let (batch, before) = lock_project(&mut unit, actor, id, "input.id").await?;
        revision(expected, before.revision, "input.expectedRevision")?;
        refuse_closed(&before, "input.id")?;
        let facts_before = projects::load_facts(&mut unit.tx, actor.workspace, &[id]).await?.remove(&id).unwrap_or_default();
        let mut draft = ProjectDraft {
            external_ref: patch.external_ref.unwrap_or_else(|| before.external_ref.clone()),
            name: patch.name.map_or_else(|| before.name.clone(), Option::unwrap_or_default),
            facts: patch.facts.map_or_else(|| facts_before.clone(), |facts| facts.apply(facts_before.clone())),
            costs: patch.costs.map_or(before.costs, |costs| costs.apply(&before.costs)),
        };
        let found = problems(&check_draft(&mut draft, &draft_rules(&batch, unit.now, Required::NameOnly)), "input");
        if !found.is_empty() {
            return Err(Error::Refused(found));
        }
        let mut project = before.clone();
        (project.external_ref, project.name, project.costs) = (draft.external_ref, draft.name, draft.costs);
        project.start_date = draft.facts.start_date;
        if project == before && draft.facts == facts_before {
            return Ok(before);
        }
        project.revision += 1;
        project.updated_at = unit.now;
        projects::update_in(&mut unit.tx, actor.workspace, &project, Some(&draft.facts))
            .await
            .map_err(|e| taken(e, "input.externalRef"))?;
        let more = project.costs.total().0 - before.costs.total().0;
        batches::add_projects_in(&mut unit.tx, batch.id, 0, more, unit.now).await?;
        unit.append(actor.workspace, batch.id, vec![changed(&project)]).await?;
        unit.commit().await?;
        Ok(project)
    }

    /// Deletes projects; those that cannot be are named with the reason.
    ///
    /// # Errors
    /// `TOO_MANY` or `REQUIRED` for the number of ids.
    pub async fn delete(&self, actor: &Actor, ids: &[ProjectId]) -> Result<BulkOutcome<ProjectId>> {
        self.set_deleted(actor, ids, true).await
    }

    /// Brings back deleted projects; those that cannot be are named with the reason.
    ///
    /// # Errors
    /// `TOO_MANY` or `REQUIRED` for the number of ids.
    pub async fn restore(&self, actor: &Actor, ids: &[ProjectId]) -> Result<BulkOutcome<ProjectId>> {
        self.set_deleted(actor, ids, false).await
    }

    async fn set_deleted(&self, actor: &Actor, ids: &[ProjectId], deleted: bool) -> Result<BulkOutcome<ProjectId>> {
        id_count(ids.len())?;
        let mut outcome = BulkOutcome::default();
        let found = self.load(actor, ids).await?;
        let mut by_batch: HashMap<BatchId, Vec<ProjectId>> = HashMap::new();
        for (place, id) in ids.iter().enumerate() {
            match found.get(id) {
                Some(project) if !ids[..place].contains(id) => by_batch.entry(project.batch).or_default().push(*id),
                Some(_) => {}
                None => outcome.fail(*id, Error::not_found("project", "ids"))?,
            }
        }
        for (batch, ids) in by_batch {
            let mut unit = self.core.begin(actor.workspace).await?;
            if let Err(error) = lock_live(&mut unit, actor, batch, "ids").await {
                outcome.fail_all(&ids, error)?;
                continue;
            }
            let (mut count, mut expenditure, mut moved) = (0, 0, Vec::new());
            for mut project in projects::load(&mut unit.tx, actor.workspace, &ids, ProjectParts::all()).await? {
                if project.deleted_at.is_some() == deleted {
                    outcome.done.push(project.id);
                    continue;
                }
                if !deleted
                    && let Some(reference) = &project.external_ref
                    && projects::find_by_ref(&mut unit.tx, actor.workspace, batch, reference).await?.is_some()
                {
                    let message = format!("Another project of the batch has the reference `{reference}` by now. Change that one first.");
                    outcome.fail(project.id, Error::refused(ProblemCode::Taken, "ids", message))?;
                    continue;
                }
                project.deleted_at = deleted.then_some(unit.now);
                project.revision += 1;
                project.updated_at = unit.now;
                projects::update_in(&mut unit.tx, actor.workspace, &project, None).await?;
                count += 1;
                expenditure += project.costs.total().0;
                moved.push(project.id);
            }
            if moved.is_empty() {
                continue;
            }
            let sign = if deleted { -1 } else { 1 };
            batches::add_projects_in(&mut unit.tx, batch, sign * count, sign * expenditure, unit.now).await?;
            let event = if deleted {
                BatchEvent::ProjectsRemoved { projects: moved.clone() }
            } else {
                BatchEvent::ProjectsAdded { count: i32::try_from(count).unwrap_or(i32::MAX), projects: moved.clone() }
            };
            unit.append(actor.workspace, batch, vec![event]).await?;
            unit.commit().await?;
            outcome.done.extend(moved);
        }
        outcome.in_order_of(ids);
        Ok(outcome)
    }

    /// Pins projects for the AIF selection, or takes pins away.
    ///
    /// # Errors
    /// `NOT_FOUND` for the batch or a project that is not in it; `WRONG_STATE`.
    pub async fn pin(&self, actor: &Actor, batch: BatchId, pin: &[ProjectId], unpin: &[ProjectId]) -> Result<Batch> {
        id_count(pin.len() + unpin.len())?;
        let mut unit = self.core.begin(actor.workspace).await?;
        let batch = lock_live(&mut unit, actor, batch, "batchId").await?;
        let mut changed = false;
        for (ids, pinned, field) in [(pin, true, "pin"), (unpin, false, "unpin")] {
            for id in ids {
                let found = projects::find(&mut unit.tx, actor.workspace, *id).await?;
                let found = found.filter(|project| project.batch == batch.id && project.deleted_at.is_none());
                let mut project = found.ok_or_else(|| Error::not_found("project of this batch", field))?;
                if project.aif_pinned != pinned {
                    project.aif_pinned = pinned;
                    project.revision += 1;
                    project.updated_at = unit.now;
                    projects::update_in(&mut unit.tx, actor.workspace, &project, None).await?;
                    changed = true;
                }
            }
        }
        if changed {
            unit.append(actor.workspace, batch.id, vec![BatchEvent::BatchChanged]).await?;
        }
        let batch = batches::find(&mut unit.tx, actor.workspace, batch.id).await?.ok_or_else(|| Error::not_found("batch", "batchId"))?;
        unit.commit().await?;
        Ok(batch)
    }

    /// A project, deleted ones too.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find(&self, actor: &Actor, id: ProjectId) -> Result<Option<Project>> {
        projects::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }

    /// A project that is not deleted, by the client's reference.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find_by_ref(&self, actor: &Actor, batch: BatchId, external_ref: &str) -> Result<Option<Project>> {
        projects::find_by_ref(&mut self.core.db.read(actor.workspace).await?, actor.workspace, batch, external_ref).await
    }

    /// Projects by id, deleted ones too.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load(&self, actor: &Actor, ids: &[ProjectId]) -> Result<HashMap<ProjectId, Project>> {
        self.load_parts(actor, ids, ProjectParts::all()).await
    }

    /// The same, of which at least these parts are read.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_parts(&self, actor: &Actor, ids: &[ProjectId], parts: ProjectParts) -> Result<HashMap<ProjectId, Project>> {
        let found = projects::load(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids, parts).await?;
        Ok(found.into_iter().map(|project| (project.id, project)).collect())
    }

    /// The same, each with its sections in the order of its template, of which at least these parts are read.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_with_sections(
        &self,
        actor: &Actor,
        ids: &[ProjectId],
        parts: (ProjectParts, SectionParts),
    ) -> Result<Vec<(Project, Vec<SectionWithText>)>> {
        repositories::sections::load_with_projects(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids, parts).await
    }

    /// Facts of several projects.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_facts(&self, actor: &Actor, ids: &[ProjectId]) -> Result<HashMap<ProjectId, Facts>> {
        projects::load_facts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await
    }

    /// Reports of the last checks, with their times.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_reports(&self, actor: &Actor, ids: &[ProjectId]) -> Result<HashMap<ProjectId, (Report, DateTime<Utc>)>> {
        projects::load_reports(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await
    }

    /// A page of projects, of which at least these parts are read.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn list(
        &self,
        actor: &Actor,
        filter: &ProjectFilter,
        order: &[(ProjectOrderField, Direction)],
        page: &PageArgs,
        parts: ProjectParts,
    ) -> Result<Page<Project>> {
        let order = if order.is_empty() { DEFAULT_ORDER } else { order };
        let request = page.check(&projects::order_name(order))?;
        projects::list(&mut self.core.db.read(actor.workspace).await?, actor.workspace, filter, order, &request, parts).await
    }

    /// A page of the projects of each of several batches, of which at least these parts are read, in one statement whatever
    /// their number.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn load_pages(
        &self,
        actor: &Actor,
        batches: &[BatchId],
        filter: &ProjectFilter,
        order: &[(ProjectOrderField, Direction)],
        page: &PageArgs,
        parts: ProjectParts,
    ) -> Result<HashMap<BatchId, Page<Project>>> {
        let order = if order.is_empty() { DEFAULT_ORDER } else { order };
        let request = page.check(&projects::order_name(order))?;
        let mut reader = self.core.db.read(actor.workspace).await?;
        let pages = projects::load_pages(&mut reader, actor.workspace, batches, filter, order, &request, parts).await?;
        Ok(page_for_each(batches, pages, &request))
    }

    /// Number of projects that match.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count(&self, actor: &Actor, filter: &ProjectFilter) -> Result<i64> {
        projects::count(&mut self.core.db.read(actor.workspace).await?, actor.workspace, filter).await
    }
}

/// The rules that a project's values are checked by, in a batch.
pub(super) fn draft_rules(batch: &Batch, now: DateTime<Utc>, required: Required) -> DraftRules {
    let period = batch.claim.period_start.zip(batch.claim.period_end);
    DraftRules { required, period, today: now.date_naive() }
}

/// Why projects could not be added.
#[derive(Debug)]
pub(super) enum AddError {
    /// A reference or id is in use.
    Taken,
    /// Anything else.
    Other(Error),
}

impl From<Error> for AddError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Adds projects with empty sections to a locked batch, counts them and tells watchers.
pub(super) async fn add_in(
    unit: &mut Unit,
    core: &Core,
    actor: &Actor,
    batch: &Batch,
    import: Option<ImportId>,
    new: &[NewProject],
) -> Result<(), AddError> {
    if new.is_empty() {
        return Ok(());
    }
    let version = current_version(&mut unit.tx, actor, batch).await?;
    let now = unit.now;
    projects::create_in(&mut unit.tx, actor.workspace, batch.id, version.id, import, new, now)
        .await
        .map_err(|error| if is_unique_violation(&error) { AddError::Taken } else { AddError::Other(error.into()) })?;
    let ids: Vec<ProjectId> = new.iter().map(|new| new.id).collect();
    sections::lay_out_in(unit, core, actor, &ids, &version).await?;
    let expenditure = new.iter().map(|new| Costs::total(&new.draft.costs).0).sum();
    let count = i64::try_from(new.len()).unwrap_or(i64::MAX);
    batches::add_projects_in(&mut unit.tx, batch.id, count, expenditure, now).await?;
    let projects = ids.into_iter().take(MAX_EVENT_IDS).collect();
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    unit.append(actor.workspace, batch.id, vec![BatchEvent::ProjectsAdded { count, projects }]).await?;
    Ok(())
}

/// The newest version of a batch's template.
pub(super) async fn current_version(tx: &mut Tx, actor: &Actor, batch: &Batch) -> Result<crate::domain::templates::TemplateVersion> {
    let template = templates::find(tx, actor.workspace, batch.template).await?;
    let id: TemplateVersionId = template.ok_or_else(|| Error::internal("a batch without its template"))?.current_version;
    let version = templates::load_versions(tx, actor.workspace, &[id]).await?.pop();
    version.ok_or_else(|| Error::internal("a template without its version"))
}

/// A project that is not deleted, with its batch locked and in use.
pub(super) async fn lock_project(unit: &mut Unit, actor: &Actor, id: ProjectId, field: &str) -> Result<(Batch, Project)> {
    let missing = || Error::not_found("project", field);
    let batch = projects::find(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?.batch;
    let batch = lock_live(unit, actor, batch, field).await?;
    // read again under the batch's lock: what was read before it may have changed
    let project = projects::find(&mut unit.tx, actor.workspace, id).await?.ok_or_else(missing)?;
    match project.deleted_at {
        None => Ok((batch, project)),
        Some(_) => Err(wrong_state(field, "The project is deleted. Restore it first.")),
    }
}

/// Refuses changes of facts and texts that are closed to people: approved, or in the hands of a run.
pub(super) fn refuse_closed(project: &Project, field: &str) -> Result<()> {
    match project.status {
        ProjectStatus::Approved => Err(wrong_state(field, "The project is approved and locked. Take back the approval first.")),
        status if status.is_in_work() => Err(wrong_state(field, "The project is being written. Wait for that to end, or cancel its run.")),
        _ => Ok(()),
    }
}

/// The event of a project whose facts or texts changed.
pub(super) fn changed(project: &Project) -> BatchEvent {
    BatchEvent::ProjectStatusChanged { project: project.id, previous: Some(project.status), status: project.status, failure: None }
}

fn taken(error: sqlx::Error, field: &str) -> Error {
    if is_unique_violation(&error) {
        let problem = Problem::new(ProblemCode::Taken, field, "Another project of the batch has this reference. Choose another one.");
        return Error::Refused(vec![problem]);
    }
    error.into()
}
