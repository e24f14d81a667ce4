//! Use cases of batches: create, change, archive, delete and restore them, and what lists of them show.

use super::checks::{Idempotency, Problems, revision, wrong_state};
use super::core::{Core, Unit};
use crate::adapters::events::{Bell, Topic};
use crate::domain::actor::Actor;
use crate::domain::batches::{
    Batch, BatchFilter, BatchOrderField, BatchParts, BatchPatch, BatchSummary, Claim, MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS, NewBatch,
    RESTORE_DAYS,
};
use crate::domain::events::BatchEvent;
use crate::domain::ids::{BatchId, TemplateId};
use crate::domain::paging::{Direction, Page, PageArgs};
use crate::domain::projects::MAX_REF_CHARS;
use crate::domain::templates::DEFAULT_TEMPLATE_KEY;
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::db::{Scope, Tx, is_unique_violation};
use crate::repositories::{batches, exports, generations, imports, jobs, projects, templates};
use chrono::{DateTime, Days, Utc};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// Use cases of batches.
#[derive(Debug, Clone)]
pub struct Batches {
    core: Core,
}

/// Newest first: what lists show unless they are told otherwise.
pub const DEFAULT_ORDER: &[(BatchOrderField, Direction)] = &[(BatchOrderField::CreatedAt, Direction::Desc)];

impl Batches {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Creates a batch.
    ///
    /// # Errors
    /// Problems of the input; `TAKEN` if the name or the chosen id is in use; `TEMPLATE_UNUSABLE`.
    pub async fn create(&self, actor: &Actor, new: NewBatch, key: Option<String>) -> Result<Batch> {
        let idempotency = Idempotency::new(key, &new)?;
        let mut problems = Problems::default();
        let id = match new.id.as_deref().map(Uuid::parse_str) {
            None => self.core.new_id(),
            Some(Ok(id)) if !id.is_nil() => id,
            Some(_) => {
                problems.add(ProblemCode::Invalid, "input.id", "An id that you choose is a bare UUID, such as one of version 7.");
                Uuid::nil()
            }
        };
        let name = problems.required("input.name", &new.name, MAX_NAME_CHARS);
        let description = problems.optional("input.description", new.description, MAX_DESCRIPTION_CHARS);
        let external_ref = problems.optional("input.externalRef", new.external_ref, MAX_REF_CHARS);
        let claim = check_claim(&mut problems, new.claim);
        problems.check()?;

        let mut unit = self.core.begin(actor.workspace).await?;
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, "createBatch", id).await? {
            return self.get(actor, BatchId(earlier)).await;
        }
        let template = usable_template(&mut unit.tx, actor, new.template, "input.templateId").await?;
        let batch = Batch {
            id: BatchId(id),
            name,
            description,
            external_ref,
            revision: 1,
            archived_at: None,
            deleted_at: None,
            purge_after: None,
            claim,
            template,
            project_count: 0,
            expenditure: crate::domain::money::Pence(0),
            event_sequence: 0,
            created_by: actor.user,
            created_at: unit.now,
            updated_at: unit.now,
        };
        batches::create_in(&mut unit.tx, actor.workspace, &batch).await.map_err(|error| taken(error, "input.name", "input.id"))?;
        unit.commit().await?;
        Ok(batch)
    }

    /// Changes a batch; what the patch leaves out stays.
    ///
    /// # Errors
    /// Problems of the input; `NOT_FOUND`, `REVISION_CONFLICT`, `WRONG_STATE`, `TAKEN`, `TEMPLATE_UNUSABLE`.
    pub async fn update(&self, actor: &Actor, id: BatchId, expected: Option<i32>, patch: BatchPatch, at: &str) -> Result<Batch> {
        let field = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        let mut unit = self.core.begin(actor.workspace).await?;
        let before = lock_live(&mut unit, actor, id, &field("id")).await?;
        revision(expected, before.revision, &field("expectedRevision"))?;
        let mut batch = before.clone();
        let mut problems = Problems::default();
        if let Some(name) = patch.name {
            batch.name = problems.required(&field("name"), name.as_deref().unwrap_or_default(), MAX_NAME_CHARS);
        }
        if let Some(description) = patch.description {
            batch.description = problems.optional(&field("description"), description, MAX_DESCRIPTION_CHARS);
        }
        if let Some(external_ref) = patch.external_ref {
            batch.external_ref = problems.optional(&field("externalRef"), external_ref, MAX_REF_CHARS);
        }
        if let Some(claim) = patch.claim {
            batch.claim = check_claim(&mut problems, claim.apply(&before.claim));
        }
        if patch.template == Some(None) {
            problems.add(ProblemCode::Required, &field("templateId"), "A batch needs a template; name another one.");
        }
        problems.check()?;
        if let Some(Some(template)) = patch.template
            && template != before.template
        {
            batch.template = usable_template(&mut unit.tx, actor, Some(template), &field("templateId")).await?;
        }
        if batch == before {
            return Ok(before);
        }
        self.save(unit, actor, batch, &field("name")).await
    }

    /// Stores a changed batch: its revision grows and watchers are told.
    async fn save(&self, mut unit: Unit, actor: &Actor, mut batch: Batch, name_field: &str) -> Result<Batch> {
        batch.revision += 1;
        batch.updated_at = unit.now;
        let told = batches::update_telling_in(&mut unit.tx, actor.workspace, &batch, BatchEvent::BatchChanged).await;
        let event = told.map_err(|error| taken(error, name_field, name_field))?;
        batch.event_sequence = event.sequence;
        unit.ring(Topic::Batch(batch.id), Bell::Event(Arc::new(event)));
        unit.commit().await?;
        Ok(batch)
    }

    /// Puts a batch out of the way.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WRONG_STATE` while something runs in it.
    pub async fn archive(&self, actor: &Actor, id: BatchId) -> Result<Batch> {
        let mut unit = self.core.begin(actor.workspace).await?;
        let mut batch = lock_not_deleted(&mut unit, actor, id, "id").await?;
        if batch.archived_at.is_some() {
            return Ok(batch);
        }
        refuse_while_busy(&mut unit.tx, actor, id, "archived").await?;
        batch.archived_at = Some(unit.now);
        self.save(unit, actor, batch, "id").await
    }

    /// Brings back an archived or deleted batch.
    ///
    /// # Errors
    /// `NOT_FOUND`; `TAKEN` if another batch has its name by now.
    pub async fn restore(&self, actor: &Actor, id: BatchId) -> Result<Batch> {
        let mut unit = self.core.begin(actor.workspace).await?;
        let mut batch = batches::lock_in(&mut unit.tx, actor.workspace, id).await?.ok_or_else(|| Error::not_found("batch", "id"))?;
        if batch.archived_at.is_none() && batch.deleted_at.is_none() {
            return Ok(batch);
        }
        (batch.archived_at, batch.deleted_at, batch.purge_after) = (None, None, None);
        self.save(unit, actor, batch, "id").await
    }

    /// Deletes a batch: for a while it can be restored, unless it is removed for good at once.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WRONG_STATE` while something runs in it.
    pub async fn delete(&self, actor: &Actor, id: BatchId, permanently: bool) -> Result<Option<DateTime<Utc>>> {
        let mut unit = self.core.begin(actor.workspace).await?;
        let mut batch = batches::lock_in(&mut unit.tx, actor.workspace, id).await?.ok_or_else(|| Error::not_found("batch", "id"))?;
        refuse_while_busy(&mut unit.tx, actor, id, "deleted").await?;
        if permanently {
            remove_in(&mut unit, actor, id).await?;
            unit.ring(Topic::Batch(id), Bell::Deleted);
            unit.commit().await?;
            return Ok(None);
        }
        if batch.deleted_at.is_none() {
            batch.deleted_at = Some(unit.now);
            batch.purge_after = unit.now.checked_add_days(Days::new(RESTORE_DAYS));
            batch.revision += 1;
            batch.updated_at = unit.now;
            batches::update_in(&mut unit.tx, actor.workspace, &batch).await?;
            unit.ring(Topic::Batch(id), Bell::Deleted);
            unit.commit().await?;
        }
        Ok(batch.purge_after)
    }

    /// Removes batches of all workspaces for good whose time to be restored is over; gives their number.
    ///
    /// # Errors
    /// As the database says.
    pub async fn purge(&self) -> Result<usize> {
        let due = batches::list_to_purge(&mut self.core.db.read(Scope::Everything).await?, self.core.now()).await?;
        for (workspace, id) in &due {
            let mut unit = self.core.begin(*workspace).await?;
            remove_in(&mut unit, &Actor::system(*workspace), *id).await?;
            unit.commit().await?;
        }
        Ok(due.len())
    }

    /// A batch, deleted ones too.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find(&self, actor: &Actor, id: BatchId) -> Result<Option<Batch>> {
        batches::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }

    async fn get(&self, actor: &Actor, id: BatchId) -> Result<Batch> {
        self.find(actor, id).await?.ok_or_else(|| Error::not_found("batch", ""))
    }

    /// Batches by id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load(&self, actor: &Actor, ids: &[BatchId]) -> Result<HashMap<BatchId, Batch>> {
        self.load_parts(actor, ids, BatchParts::all()).await
    }

    /// The same, of which at least these parts are read.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_parts(&self, actor: &Actor, ids: &[BatchId], parts: BatchParts) -> Result<HashMap<BatchId, Batch>> {
        let found = batches::load(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids, parts).await?;
        Ok(found.into_iter().map(|batch| (batch.id, batch)).collect())
    }

    /// A page of batches that are not deleted, of which at least these parts are read.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn list(
        &self,
        actor: &Actor,
        filter: &BatchFilter,
        order: &[(BatchOrderField, Direction)],
        page: &PageArgs,
        parts: BatchParts,
    ) -> Result<Page<Batch>> {
        let order = if order.is_empty() { DEFAULT_ORDER } else { order };
        let request = page.check(&batches::order_name(order))?;
        batches::list(&mut self.core.db.read(actor.workspace).await?, actor, filter, order, &request, parts).await
    }

    /// Number of batches that match.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count(&self, actor: &Actor, filter: &BatchFilter) -> Result<i64> {
        batches::count(&mut self.core.db.read(actor.workspace).await?, actor, filter).await
    }

    /// Sums over the projects of several batches.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_summaries(&self, actor: &Actor, ids: &[BatchId]) -> Result<HashMap<BatchId, BatchSummary>> {
        batches::load_summaries(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await
    }
}

/// A batch, locked, that is neither archived nor deleted.
pub(super) async fn lock_live(unit: &mut Unit, actor: &Actor, id: BatchId, field: &str) -> Result<Batch> {
    let batch = lock_not_deleted(unit, actor, id, field).await?;
    match batch.archived_at {
        None => Ok(batch),
        Some(_) => Err(wrong_state(field, "The batch is archived and read-only. Restore it first.")),
    }
}

async fn lock_not_deleted(unit: &mut Unit, actor: &Actor, id: BatchId, field: &str) -> Result<Batch> {
    let batch = batches::lock_in(&mut unit.tx, actor.workspace, id).await?.ok_or_else(|| Error::not_found("batch", field))?;
    match batch.deleted_at {
        None => Ok(batch),
        Some(_) => Err(wrong_state(field, "The batch is deleted. Restore it first.")),
    }
}

async fn refuse_while_busy(tx: &mut Tx, actor: &Actor, id: BatchId, verb: &str) -> Result<()> {
    if generations::load_active(tx, actor.workspace, &[id]).await?.contains_key(&id) {
        return Err(wrong_state("id", format!("A run is active; a batch is {verb} when nothing runs in it. Cancel the run first.")));
    }
    if projects::is_any_in_work(tx, actor.workspace, id).await? {
        return Err(wrong_state(
            "id",
            format!("A section is being written; a batch is {verb} when nothing runs in it. Wait for that to end."),
        ));
    }
    if imports::is_active(tx, actor.workspace, id).await? {
        return Err(wrong_state("id", format!("An import is active; a batch is {verb} when nothing runs in it. Wait for it to end.")));
    }
    Ok(())
}

/// Removes a batch with all that belongs to it; its files go by a job, as storage is no part of the transaction.
async fn remove_in(unit: &mut Unit, actor: &Actor, id: BatchId) -> Result<()> {
    let runs = generations::list_ids(&mut unit.tx, actor.workspace, id).await?;
    jobs::delete_of_runs_in(&mut unit.tx, &runs).await?;
    let keys = exports::list_object_keys(&mut unit.tx, actor.workspace, id).await?;
    batches::delete_in(&mut unit.tx, actor.workspace, id).await?;
    if !keys.is_empty() {
        let payload = crate::domain::work::DeleteObjects { keys };
        unit.enqueue(actor.workspace, None, &[jobs::NewJob { kind: crate::domain::work::DELETE_OBJECTS, payload }]).await?;
    }
    Ok(())
}

async fn usable_template(tx: &mut Tx, actor: &Actor, id: Option<TemplateId>, field: &str) -> Result<TemplateId> {
    let template = if let Some(id) = id {
        templates::find(tx, actor.workspace, id).await?.ok_or_else(|| Error::not_found("template", field))?
    } else {
        let found = templates::find_by_key(tx, actor.workspace, DEFAULT_TEMPLATE_KEY).await?;
        found.ok_or_else(|| Error::internal("the default template is missing"))?
    };
    if template.archived_at.is_some() {
        let message = format!("The template `{}` is archived. Restore it or name another one.", template.key);
        return Err(Error::refused(ProblemCode::TemplateUnusable, field, message));
    }
    Ok(template.id)
}

fn check_claim(problems: &mut Problems, claim: Claim) -> Claim {
    let company_name = problems.optional("input.claim.companyName", claim.company_name, MAX_NAME_CHARS);
    if let (Some(start), Some(end)) = (claim.period_start, claim.period_end)
        && end < start
    {
        let message = format!("The accounting period ends on {end}, before it starts on {start}. Correct one of the dates.");
        problems.add(ProblemCode::Invalid, "input.claim.accountingPeriodEnd", message);
    }
    Claim { company_name, ..claim }
}

fn taken(error: sqlx::Error, name_field: &str, id_field: &str) -> Error {
    if !is_unique_violation(&error) {
        return error.into();
    }
    let which = error.as_database_error().map(|e| format!("{} {}", e.constraint().unwrap_or_default(), e.message())).unwrap_or_default();
    if which.contains("name") {
        Error::refused(ProblemCode::Taken, name_field, "Another batch has this name. Choose another one, or archive the other batch.")
    } else {
        Error::refused(ProblemCode::Taken, id_field, "This id is in use. Choose another UUID.")
    }
}
