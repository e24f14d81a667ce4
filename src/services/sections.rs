//! Use cases of sections: edit a text, bring an earlier one back, approve what was read, and the check behind it.

use super::checks::{id_count, revision, wrong_state};
use super::core::{Core, Unit};
use super::projects::{lock_project, refuse_closed};
use super::{BulkOutcome, narratives, page_for_each};
use crate::domain::actor::Actor;
use crate::domain::events::BatchEvent;
use crate::domain::ids::{ProjectId, RevisionId, SectionId};
use crate::domain::paging::{Page, PageArgs};
use crate::domain::projects::{Project, ProjectStatus};
use crate::domain::quality::Report;
use crate::domain::sections::{Revision, RevisionSource, Section, SectionParts, SectionState, SectionWithText};
use crate::domain::templates::{TemplateVersion, char_count, word_count};
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::{audit, projects, sections};
use std::collections::HashMap;

const MAX_NOTE_CHARS: usize = 2_000;

/// Use cases of sections.
#[derive(Debug, Clone)]
pub struct Sections {
    core: Core,
}

/// A changed section with the check of its project.
#[derive(Debug, Clone)]
pub struct ChangedSection {
    /// The section after the change.
    pub section: Section,
    /// The check of the whole project after it.
    pub report: Report,
}

/// A person's change of a text.
struct Change<'a> {
    section: SectionId,
    expected: Option<i32>,
    source: RevisionSource,
    text: NewText<'a>,
    note: Option<String>,
    field: &'a str,
}

enum NewText<'a> {
    Written(&'a str),
    Revision(i32),
}

impl Sections {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Changes the text of a section.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REVISION_CONFLICT`, `WRONG_STATE`, `TOO_LONG`.
    pub async fn edit(&self, actor: &Actor, section: SectionId, text: &str, expected: i32, note: Option<String>) -> Result<ChangedSection> {
        let expected = Some(expected);
        let change = Change { section, expected, source: RevisionSource::Person, text: NewText::Written(text), note, field: "input" };
        self.change(actor, change).await
    }

    /// Brings back an earlier text, as a new revision.
    ///
    /// # Errors
    /// `NOT_FOUND` (of the section or the revision), `REVISION_CONFLICT`, `WRONG_STATE`.
    pub async fn restore_revision(&self, actor: &Actor, section: SectionId, number: i32, expected: Option<i32>) -> Result<ChangedSection> {
        let note = Some(format!("Revision {number} brought back."));
        let change = Change { section, expected, source: RevisionSource::Restore, text: NewText::Revision(number), note, field: "" };
        self.change(actor, change).await
    }

    async fn change(&self, actor: &Actor, change: Change<'_>) -> Result<ChangedSection> {
        let at = |name: &str| if change.field.is_empty() { name.to_owned() } else { format!("{}.{name}", change.field) };
        let missing = || Error::not_found("section", &at("sectionId"));
        let mut unit = self.core.begin(actor.workspace).await?;
        let found = sections::find(&mut unit.tx, actor.workspace, change.section).await?.ok_or_else(missing)?;
        let (batch, mut project) = lock_project(&mut unit, actor, found.project, &at("sectionId")).await?;
        // read again under the batch's lock: what was read before it may have changed
        let mut section = sections::find(&mut unit.tx, actor.workspace, change.section).await?.ok_or_else(missing)?;
        refuse_closed(&project, &at("sectionId"))?;
        revision(change.expected, section.revision, &at("expectedRevision"))?;
        let text = match change.text {
            NewText::Written(text) => text.trim().replace("\r\n", "\n"),
            NewText::Revision(number) => {
                let found = sections::find_revision(&mut unit.tx, actor.workspace, section.id, number).await?;
                found.ok_or_else(|| Error::not_found("revision of this section", &at("number")))?.text
            }
        };
        let chars = char_count(&text);
        if chars > section.limits.max_chars {
            let message = format!("The text has {chars} characters; at most {} are allowed. Shorten it.", section.limits.max_chars);
            return Err(Error::refused(ProblemCode::TooLong, &at("text"), message));
        }
        let mut problems = super::checks::Problems::default();
        let note = problems.optional(&at("note"), change.note, MAX_NOTE_CHARS);
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            problems.add(ProblemCode::Invalid, &at("text"), "The text has control characters; remove them.");
        }
        problems.check()?;
        section.revision += 1;
        (section.source, section.state) = (Some(change.source), SectionState::Edited);
        (section.word_count, section.char_count) = (word_count(&text), chars);
        let revision = Revision {
            id: RevisionId(self.core.new_id()),
            section: section.id,
            number: section.revision,
            text,
            source: change.source,
            author: actor.user,
            attempt: None,
            note,
            created_at: unit.now,
        };
        sections::create_revision_in(&mut unit.tx, actor.workspace, &revision).await?;
        sections::update_in(&mut unit.tx, actor.workspace, &section).await?;

        let checked = narratives::check_in(&mut unit.tx, actor, &project).await?;
        let now = unit.now;
        projects::save_report_in(&mut unit.tx, actor.workspace, project.id, &checked.report, now).await?;
        let before = project.status;
        // a draft that a person has completed is as good as a generated one
        if matches!(before, ProjectStatus::Draft | ProjectStatus::Failed) && checked.complete {
            project.status = ProjectStatus::NeedsReview;
        }
        project.revision += 1;
        project.updated_at = now;
        projects::update_in(&mut unit.tx, actor.workspace, &project, None).await?;
        let events = vec![
            BatchEvent::ProjectStatusChanged { project: project.id, previous: Some(before), status: project.status, failure: None },
            narratives::scored(project.id, &checked.report),
        ];
        unit.append(actor.workspace, batch.id, events).await?;
        unit.commit().await?;
        Ok(ChangedSection { section, report: checked.report })
    }

    /// Approves a project and locks its sections.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REVISION_CONFLICT`, `WRONG_STATE`; `BLOCKING_ISSUES` naming what has to be settled first.
    pub async fn approve(&self, actor: &Actor, id: ProjectId, expected: Option<i32>, note: Option<String>) -> Result<Project> {
        let mut problems = super::checks::Problems::default();
        let note = problems.optional("note", note, MAX_NOTE_CHARS);
        problems.check()?;
        let mut unit = self.core.begin(actor.workspace).await?;
        let (batch, mut project) = lock_project(&mut unit, actor, id, "id").await?;
        revision(expected, project.revision, "expectedRevision")?;
        match project.status {
            ProjectStatus::Approved => return Ok(project),
            status if status.is_in_work() => return refuse_closed(&project, "id").map(|()| project),
            ProjectStatus::Draft => {
                return Err(wrong_state("id", "The project has no complete narrative yet. Generate it, or write its required sections."));
            }
            _ => {}
        }
        let checked = narratives::check_in(&mut unit.tx, actor, &project).await?;
        let blocking: Vec<String> = checked.report.blocking().map(narratives::sentence).collect();
        if !blocking.is_empty() {
            let shown = blocking.iter().take(5).cloned().collect::<Vec<_>>().join(" ");
            let message = format!("{} must be settled before approval: {shown} Edit the sections, then approve.", blocking.len());
            return Err(Error::refused(ProblemCode::BlockingIssues, "id", message));
        }
        let before = project.status;
        project.status = ProjectStatus::Approved;
        (project.approved_by, project.approved_at) = (actor.user, Some(unit.now));
        project.revision += 1;
        project.updated_at = unit.now;
        let now = unit.now;
        projects::save_report_in(&mut unit.tx, actor.workspace, id, &checked.report, now).await?;
        projects::update_in(&mut unit.tx, actor.workspace, &project, None).await?;
        project.score = Some(checked.report.score);
        sections::set_locked_in(&mut unit.tx, actor.workspace, id, true).await?;
        audit::record_in(&mut unit.tx, self.core.new_id(), actor, "approveProject", id.0, note.as_deref(), now).await?;
        let event = BatchEvent::ProjectStatusChanged { project: id, previous: Some(before), status: project.status, failure: None };
        unit.append(actor.workspace, batch.id, vec![event]).await?;
        unit.commit().await?;
        Ok(project)
    }

    /// Approves several projects; those that cannot be are named with the reason.
    ///
    /// # Errors
    /// `TOO_MANY` or `REQUIRED` for the number of ids.
    pub async fn approve_all(&self, actor: &Actor, ids: &[ProjectId]) -> Result<BulkOutcome<ProjectId>> {
        id_count(ids.len())?;
        let mut outcome = BulkOutcome::default();
        for id in ids {
            match self.approve(actor, *id, None, None).await {
                Ok(_) => outcome.done.push(*id),
                Err(error) => outcome.fail(*id, error)?,
            }
        }
        Ok(outcome)
    }

    /// Takes back an approval.
    ///
    /// # Errors
    /// `NOT_FOUND`, `WRONG_STATE`; `REQUIRED` for a blank reason.
    pub async fn unapprove(&self, actor: &Actor, id: ProjectId, reason: &str) -> Result<Project> {
        let mut problems = super::checks::Problems::default();
        let reason = problems.required("reason", reason, MAX_NOTE_CHARS);
        problems.check()?;
        let mut unit = self.core.begin(actor.workspace).await?;
        let (batch, mut project) = lock_project(&mut unit, actor, id, "id").await?;
        if project.status != ProjectStatus::Approved {
            return Err(wrong_state("id", "The project is not approved; there is nothing to take back."));
        }
        project.status = ProjectStatus::NeedsReview;
        (project.approved_by, project.approved_at) = (None, None);
        project.revision += 1;
        project.updated_at = unit.now;
        let now = unit.now;
        projects::update_in(&mut unit.tx, actor.workspace, &project, None).await?;
        sections::set_locked_in(&mut unit.tx, actor.workspace, id, false).await?;
        audit::record_in(&mut unit.tx, self.core.new_id(), actor, "unapproveProject", id.0, Some(&reason), now).await?;
        let previous = Some(ProjectStatus::Approved);
        let event = BatchEvent::ProjectStatusChanged { project: id, previous, status: project.status, failure: None };
        unit.append(actor.workspace, batch.id, vec![event]).await?;
        unit.commit().await?;
        Ok(project)
    }

    /// A section.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find(&self, actor: &Actor, id: SectionId) -> Result<Option<Section>> {
        sections::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }

    /// Sections of several projects, in the order of their templates, of which these parts are read.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_parts(
        &self,
        actor: &Actor,
        ids: &[ProjectId],
        parts: SectionParts,
    ) -> Result<HashMap<ProjectId, Vec<SectionWithText>>> {
        sections::load_parts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids, parts).await
    }

    /// Newest texts of several sections.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_texts(&self, actor: &Actor, ids: &[SectionId]) -> Result<HashMap<SectionId, String>> {
        sections::load_texts(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await
    }

    /// A page of the revisions of each of several sections, newest first, in one statement whatever their number.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for wrong paging arguments.
    pub async fn load_revision_pages(
        &self,
        actor: &Actor,
        ids: &[SectionId],
        page: &PageArgs,
    ) -> Result<HashMap<SectionId, Page<Revision>>> {
        let request = page.check(sections::REVISION_ORDER)?;
        let pages = sections::load_revision_pages(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids, &request).await?;
        Ok(page_for_each(ids, pages, &request))
    }

    /// Number of a section's revisions.
    ///
    /// # Errors
    /// As the database says.
    pub async fn count_revisions(&self, actor: &Actor, section: SectionId) -> Result<i64> {
        sections::count_revisions(&mut self.core.db.read(actor.workspace).await?, actor.workspace, section).await
    }

    /// A revision by its id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find_revision(&self, actor: &Actor, id: RevisionId) -> Result<Option<Revision>> {
        sections::find_revision_by_id(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await
    }
}

/// Gives projects the sections of a template version: what they have of the same key keeps its text.
pub(super) async fn lay_out_in(unit: &mut Unit, core: &Core, actor: &Actor, ids: &[ProjectId], version: &TemplateVersion) -> Result<()> {
    let mut rows = Vec::with_capacity(ids.len() * version.sections.len());
    for project in ids {
        for (position, section) in (0..).zip(&version.sections) {
            rows.push(Section {
                id: SectionId(core.new_id()),
                project: *project,
                key: section.key.clone(),
                title: section.title.clone(),
                position,
                required: section.required,
                state: SectionState::Empty,
                source: None,
                revision: 0,
                word_count: 0,
                char_count: 0,
                limits: section.limits,
            });
        }
    }
    sections::lay_out_in(&mut unit.tx, actor.workspace, &rows).await
}
