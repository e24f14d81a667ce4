//! Use cases of templates: create, change (a new version), copy, archive, restore, delete, and what lists show.

use super::checks::{Idempotency, Problems, wrong_state};
use super::core::Core;
use super::page_for_each;
use crate::domain::actor::Actor;
use crate::domain::ids::{TemplateId, TemplateVersionId};
use crate::domain::paging::{Page, PageArgs};
use crate::domain::templates::{
    MAX_GUIDANCE_CHARS, NewTemplate, Template, TemplateFilter, TemplatePatch, TemplateVersion, key_from_name, section_problems,
};
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::db::is_unique_violation;
use crate::repositories::templates;
use std::collections::HashMap;

const MAX_NAME_CHARS: usize = 200;
const MAX_KEY_CHARS: usize = 80;
const MAX_DESCRIPTION_CHARS: usize = 2_000;

/// Use cases of templates.
#[derive(Debug, Clone)]
pub struct Templates {
    core: Core,
}

impl Templates {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Creates a template with its first version.
    ///
    /// # Errors
    /// Problems of the input; `TAKEN` if the key is in use.
    pub async fn create(&self, actor: &Actor, new: NewTemplate, key: Option<String>) -> Result<Template> {
        self.create_as(actor, "createTemplate", new, "input", key).await
    }

    /// Copies the newest version of a template, a built-in one too.
    ///
    /// # Errors
    /// `NOT_FOUND`; problems of the name and key; `TAKEN`.
    pub async fn duplicate(&self, actor: &Actor, id: TemplateId, name: String, key: Option<String>) -> Result<Template> {
        let source = self.find(actor, id).await?.ok_or_else(|| Error::not_found("template", "id"))?;
        let version = self.load_versions(actor, &[source.current_version]).await?.remove(&source.current_version);
        let version = version.ok_or_else(|| Error::internal("a template without its version"))?;
        let new =
            NewTemplate { name, key, description: source.description, instructions: version.instructions, sections: version.sections };
        self.create_as(actor, "duplicateTemplate", new, "", None).await
    }

    async fn create_as(&self, actor: &Actor, mutation: &str, new: NewTemplate, at: &str, key: Option<String>) -> Result<Template> {
        let field = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        let idempotency = Idempotency::new(key, &new)?;
        let mut problems = Problems::default();
        let name = problems.required(&field("name"), &new.name, MAX_NAME_CHARS);
        let chosen = problems.optional(&field("key"), new.key, MAX_KEY_CHARS);
        if chosen.as_deref().is_some_and(|key| !key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')) {
            problems.add(ProblemCode::Invalid, &field("key"), "A key is made of lower-case letters, digits and hyphens.");
        }
        let description = problems.optional(&field("description"), new.description, MAX_DESCRIPTION_CHARS);
        let instructions = problems.optional(&field("instructions"), new.instructions, MAX_GUIDANCE_CHARS);
        problems.extend(section_problems(&new.sections, &field("sections")));
        problems.check()?;

        let mut unit = self.core.begin(actor.workspace).await?;
        let id = self.core.new_id();
        if let Some(earlier) = idempotency.claim_in(&mut unit, actor.workspace, mutation, id).await? {
            let found = self.find(actor, TemplateId(earlier)).await?;
            return found.ok_or_else(|| Error::not_found("template", ""));
        }
        let template = Template {
            id: TemplateId(id),
            key: chosen.unwrap_or_else(|| key_from_name(&name)),
            name,
            description,
            built_in: false,
            archived_at: None,
            current_version: TemplateVersionId(self.core.new_id()),
            current_number: 1,
            created_at: unit.now,
            updated_at: unit.now,
        };
        templates::create_in(&mut unit.tx, actor.workspace, &template).await.map_err(|error| {
            if is_unique_violation(&error) {
                let message = format!("Another template has the key `{}`. Choose another key.", template.key);
                Error::refused(ProblemCode::Taken, &field("key"), message)
            } else {
                error.into()
            }
        })?;
        let version = TemplateVersion {
            id: template.current_version,
            template: template.id,
            number: 1,
            sections: new.sections,
            instructions,
            note: None,
            created_by: actor.user,
            created_at: unit.now,
        };
        templates::create_version_in(&mut unit.tx, actor.workspace, &version).await?;
        unit.commit().await?;
        Ok(template)
    }

    /// Changes a template: sections or instructions make a new version, old narratives keep theirs.
    ///
    /// # Errors
    /// Problems of the input; `NOT_FOUND`, `REVISION_CONFLICT`, `WRONG_STATE` for a built-in or archived one.
    pub async fn update(&self, actor: &Actor, id: TemplateId, expected: Option<i32>, patch: TemplatePatch) -> Result<Template> {
        let mut unit = self.core.begin(actor.workspace).await?;
        let found = templates::lock_in(&mut unit.tx, actor.workspace, id).await?;
        let mut template = found.ok_or_else(|| Error::not_found("template", "input.id"))?;
        if template.built_in {
            return Err(wrong_state("input.id", "A built-in template cannot be changed. Duplicate it and change the copy."));
        }
        if template.archived_at.is_some() {
            return Err(wrong_state("input.id", "The template is archived. Restore it first."));
        }
        super::checks::revision(expected, template.current_number, "input.expectedVersion")?;
        let mut problems = Problems::default();
        if let Some(name) = patch.name {
            template.name = problems.required("input.name", name.as_deref().unwrap_or_default(), MAX_NAME_CHARS);
        }
        if let Some(description) = patch.description {
            template.description = problems.optional("input.description", description, MAX_DESCRIPTION_CHARS);
        }
        let note = problems.optional("input.note", patch.note, MAX_DESCRIPTION_CHARS);
        let before = templates::load_versions(&mut unit.tx, actor.workspace, &[template.current_version]).await?.pop();
        let before = before.ok_or_else(|| Error::internal("a template without its version"))?;
        let instructions = match patch.instructions {
            Some(instructions) => problems.optional("input.instructions", instructions, MAX_GUIDANCE_CHARS),
            None => before.instructions,
        };
        let sections = match patch.sections {
            Some(sections) => sections.unwrap_or_default(),
            None => before.sections,
        };
        problems.extend(section_problems(&sections, "input.sections"));
        problems.check()?;
        template.current_version = TemplateVersionId(self.core.new_id());
        template.current_number += 1;
        template.updated_at = unit.now;
        let version = TemplateVersion {
            id: template.current_version,
            template: id,
            number: template.current_number,
            sections,
            instructions,
            note,
            created_by: actor.user,
            created_at: unit.now,
        };
        templates::create_version_in(&mut unit.tx, actor.workspace, &version).await?;
        templates::update_in(&mut unit.tx, actor.workspace, &template).await?;
        unit.commit().await?;
        Ok(template)
    }

    /// Archives a template, or brings it back; batches that use it keep their version.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WRONG_STATE` for the default template, which new batches need.
    pub async fn set_archived(&self, actor: &Actor, id: TemplateId, archived: bool) -> Result<Template> {
        let mut unit = self.core.begin(actor.workspace).await?;
        let found = templates::lock_in(&mut unit.tx, actor.workspace, id).await?;
        let mut template = found.ok_or_else(|| Error::not_found("template", "id"))?;
        if template.key == crate::domain::templates::DEFAULT_TEMPLATE_KEY && archived {
            return Err(wrong_state("id", "New batches follow this template unless they name another; it cannot be archived."));
        }
        if template.archived_at.is_some() == archived {
            return Ok(template);
        }
        template.archived_at = archived.then_some(unit.now);
        template.updated_at = unit.now;
        templates::update_in(&mut unit.tx, actor.workspace, &template).await?;
        unit.commit().await?;
        Ok(template)
    }

    /// Deletes a template that was never used.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WRONG_STATE` for a built-in or used one.
    pub async fn delete(&self, actor: &Actor, id: TemplateId) -> Result<()> {
        let mut unit = self.core.begin(actor.workspace).await?;
        let found = templates::lock_in(&mut unit.tx, actor.workspace, id).await?;
        let template = found.ok_or_else(|| Error::not_found("template", "id"))?;
        if template.built_in {
            return Err(wrong_state("id", "A built-in template cannot be deleted. Archive it instead."));
        }
        if templates::is_used(&mut unit.tx, actor.workspace, id).await? {
            return Err(wrong_state("id", "Batches or narratives use the template. Archive it instead."));
        }
        templates::delete_in(&mut unit.tx, actor.workspace, id).await?;
        unit.commit().await
    }

    /// A template.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find(&self, actor: &Actor, id: TemplateId) -> Result<Option<Template>> {
        templates::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }

    /// A template by its key.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find_by_key(&self, actor: &Actor, key: &str) -> Result<Option<Template>> {
        templates::find_by_key(&mut self.core.db.read(actor.workspace).await?, actor.workspace, key).await
    }

    /// Templates by id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load(&self, actor: &Actor, ids: &[TemplateId]) -> Result<HashMap<TemplateId, Template>> {
        let found = templates::load(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await?;
        Ok(found.into_iter().map(|template| (template.id, template)).collect())
    }

    /// Versions by id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_versions(&self, actor: &Actor, ids: &[TemplateVersionId]) -> Result<HashMap<TemplateVersionId, TemplateVersion>> {
        let found = templates::load_versions(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await?;
        Ok(found.into_iter().map(|version| (version.id, version)).collect())
    }

    /// A version by its number.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find_version(&self, actor: &Actor, template: TemplateId, number: i32) -> Result<Option<TemplateVersion>> {
        templates::find_version(&mut self.core.db.read(actor.workspace).await?, actor.workspace, template, number).await
    }

    /// A page of templates, built-in ones first.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn list(&self, actor: &Actor, filter: &TemplateFilter, page: &PageArgs) -> Result<Page<Template>> {
        let request = page.check(templates::ORDER)?;
        templates::list(&mut self.core.db.read(actor.workspace).await?, actor.workspace, filter, &request).await
    }

    /// Number of templates that match.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count(&self, actor: &Actor, filter: &TemplateFilter) -> Result<i64> {
        templates::count(&mut self.core.db.read(actor.workspace).await?, actor.workspace, filter).await
    }

    /// A page of the versions of each of several templates, newest first, in one statement whatever their number.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn load_version_pages(
        &self,
        actor: &Actor,
        ids: &[TemplateId],
        page: &PageArgs,
    ) -> Result<HashMap<TemplateId, Page<TemplateVersion>>> {
        let request = page.check(templates::VERSION_ORDER)?;
        let pages = templates::load_version_pages(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids, &request).await?;
        Ok(page_for_each(ids, pages, &request))
    }
}
