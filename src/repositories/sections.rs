//! Rows of sections and their revisions. Sections are narrow; texts are read only where they are asked for.

use super::db::{Arg, Narrow, Sql, Tx, Word, id_list};
use super::keyset::{SortKey, group_pages, grouped, pages_of_parents};
use super::projects;
use crate::domain::ids::{AttemptId, ProjectId, RevisionId, SectionId, UserId, WorkspaceId};
use crate::domain::paging::{KeyValue, Page, PageRequest, Position};
use crate::domain::projects::{Project, ProjectParts};
use crate::domain::sections::{Revision, RevisionSource, Section, SectionParts, SectionState, SectionWithText};
use crate::domain::templates::Limits;
use crate::error::{Error, Result};
use crate::{narrow_row, on};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

narrow_row! {
    struct Row, SectionParts;
    always { project_id: Uuid = "s.project_id", }
    ID { id: Uuid = "s.id", }
    KEY { key: String = "s.key", }
    TITLE { title: String = "s.title", }
    PLACE { position: i32 = "s.position", required: bool = "s.required", }
    STATE { state: Word<SectionState> = "s.state", source: Option<Word<RevisionSource>> = "s.source", }
    REVISION { revision: i32 = "s.revision", }
    WORDS { word_count: i32 = "s.word_count", }
    CHARACTERS { char_count: i32 = "s.char_count", }
    LIMITS { min_words: i32 = "s.min_words", max_words: i32 = "s.max_words", max_chars: i32 = "s.max_chars", }
    TEXT { text: Option<String> = "r.text", }
}

/// All but the text.
const NARROW: SectionParts = SectionParts::all().difference(SectionParts::TEXT);

/// What a statement joins to have these parts.
const fn joins(parts: SectionParts) -> &'static str {
    if parts.contains(SectionParts::TEXT) { " LEFT JOIN section_revisions r ON r.section_id = s.id AND r.number = s.revision" } else { "" }
}

impl Row {
    fn with_text(mut self, parts: SectionParts) -> SectionWithText {
        let text = parts.contains(SectionParts::TEXT).then(|| self.text.take().unwrap_or_default().into());
        SectionWithText { section: self.into(), text }
    }
}

impl From<Row> for Section {
    fn from(row: Row) -> Self {
        Self {
            id: SectionId(row.id),
            project: ProjectId(row.project_id),
            key: row.key,
            title: row.title,
            position: row.position,
            required: row.required,
            state: row.state.0,
            source: row.source.map(|word| word.0),
            revision: row.revision,
            word_count: row.word_count,
            char_count: row.char_count,
            limits: Limits { min_words: row.min_words, max_words: row.max_words, max_chars: row.max_chars },
        }
    }
}

/// Adds sections or, where the project has one of the same key, gives it the title, place and limits anew.
///
/// # Errors
/// As the database says.
pub async fn lay_out_in(tx: &mut Tx, workspace: WorkspaceId, sections: &[Section]) -> Result<()> {
    #[derive(Serialize)]
    struct Insert<'a> {
        id: String,
        project: String,
        key: &'a str,
        title: &'a str,
        position: i32,
        required: i32,
        limits: Limits,
    }
    for chunk in sections.chunks(2_000) {
        let rows: Vec<Insert> = chunk
            .iter()
            .map(|s| Insert {
                id: s.id.0.simple().to_string(),
                project: s.project.0.simple().to_string(),
                key: &s.key,
                title: &s.title,
                position: s.position,
                required: s.required.into(),
                limits: s.limits,
            })
            .collect();
        let sql = tx.sql(
            "INSERT INTO sections (id, workspace_id, project_id, key, title, position, required, state, revision, word_count, char_count,
                min_words, max_words, max_chars)
             SELECT x.id, $1, x.project, x.key, x.title, x.position, x.required = 1, 'EMPTY', 0, 0, 0, (x.limits ->> 'min_words')::int,
                (x.limits ->> 'max_words')::int, (x.limits ->> 'max_chars')::int
             FROM jsonb_to_recordset($2) AS x(id uuid, project uuid, key text, title text, position int, required int, limits jsonb)
             WHERE true
             ON CONFLICT (project_id, key) DO UPDATE SET title = excluded.title, position = excluded.position, required = excluded.required,
                min_words = excluded.min_words, max_words = excluded.max_words, max_chars = excluded.max_chars",
            "INSERT INTO sections (id, workspace_id, project_id, key, title, position, required, state, revision, word_count, char_count,
                min_words, max_words, max_chars)
             SELECT unhex(value ->> 'id'), $1, unhex(value ->> 'project'), value ->> 'key', value ->> 'title', value ->> 'position',
                value ->> 'required', 'EMPTY', 0, 0, 0, value ->> '$.limits.min_words', value ->> '$.limits.max_words',
                value ->> '$.limits.max_chars'
             FROM json_each($2)
             WHERE true
             ON CONFLICT (project_id, key) DO UPDATE SET title = excluded.title, position = excluded.position, required = excluded.required,
                min_words = excluded.min_words, max_words = excluded.max_words, max_chars = excluded.max_chars",
        );
        on!(tx, c => sqlx::query(sql).bind(workspace.0).bind(Json(&rows)).execute(c).await.map(drop)?);
    }
    Ok(())
}

/// Takes all sections of these projects out of the template's order; their texts stay, in case a later template has them.
///
/// # Errors
/// As the database says.
pub async fn take_out_in(tx: &mut Tx, workspace: WorkspaceId, projects: &[ProjectId]) -> Result<()> {
    let sql = format!("UPDATE sections SET position = -1 WHERE workspace_id = $1 AND {}", tx.in_ids("project_id", 2));
    let list = id_list(projects.iter().map(|id| id.0));
    on!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(workspace.0).bind(list).execute(c).await.map(drop)?);
    Ok(())
}

/// Stores the state, source, revision and size of a section.
///
/// # Errors
/// As the database says.
pub async fn update_in(tx: &mut Tx, workspace: WorkspaceId, section: &Section) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE sections SET state = $3, source = $4, revision = $5, word_count = $6, char_count = $7 WHERE id = $1 AND workspace_id = $2")
        .bind(section.id.0).bind(workspace.0).bind(section.state.as_str()).bind(section.source.map(super::super::domain::sections::RevisionSource::as_str)).bind(section.revision)
        .bind(section.word_count).bind(section.char_count).execute(c).await.map(drop)?);
    Ok(())
}

/// Puts all sections of a project that have text into LOCKED, or back to the state that their newest text gives them.
///
/// # Errors
/// As the database says.
pub async fn set_locked_in(tx: &mut Tx, workspace: WorkspaceId, project: ProjectId, locked: bool) -> Result<()> {
    let sql = if locked {
        "UPDATE sections SET state = 'LOCKED' WHERE project_id = $1 AND workspace_id = $2"
    } else {
        "UPDATE sections SET state = CASE WHEN source IS NULL THEN 'EMPTY' WHEN source = 'MODEL' THEN 'GENERATED' ELSE 'EDITED' END
         WHERE project_id = $1 AND workspace_id = $2"
    };
    on!(tx, c => sqlx::query(sql).bind(project.0).bind(workspace.0).execute(c).await.map(drop)?);
    Ok(())
}

/// Puts sections of a project that are being written back to the state that their newest text gives them.
///
/// # Errors
/// As the database says.
pub async fn settle_in(tx: &mut Tx, workspace: WorkspaceId, project: ProjectId) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE sections SET state = CASE WHEN source IS NULL THEN 'EMPTY' WHEN source = 'MODEL' THEN 'GENERATED' ELSE 'EDITED' END
         WHERE project_id = $1 AND workspace_id = $2 AND state = 'GENERATING'")
        .bind(project.0).bind(workspace.0).execute(c).await.map(drop)?);
    Ok(())
}

/// Puts one section into a state.
///
/// # Errors
/// As the database says.
pub async fn set_state_in(tx: &mut Tx, workspace: WorkspaceId, id: SectionId, state: SectionState) -> Result<()> {
    on!(tx, c => sqlx::query("UPDATE sections SET state = $3 WHERE id = $1 AND workspace_id = $2")
        .bind(id.0).bind(workspace.0).bind(state.as_str()).execute(c).await.map(drop)?);
    Ok(())
}

/// A section.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: SectionId) -> Result<Option<Section>> {
    let mut sql = Sql::new(format!("SELECT {} FROM sections s WHERE s.workspace_id = ", Row::columns(NARROW)));
    sql.bind(Arg::Id(workspace.0)).push(" AND s.id = ").bind(Arg::Id(id.0));
    Ok(sql.fetch_parts::<Row>(tx, NARROW).await?.pop().map(Section::from))
}

/// Sections of several projects that are in their template, in its order.
///
/// # Errors
/// As the database says.
pub async fn load_for_projects(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId]) -> Result<HashMap<ProjectId, Vec<Section>>> {
    let rows = rows_of(tx, workspace, ids, NARROW).await?.into_iter().map(Section::from);
    Ok(grouped(rows.map(|section| (section.project, section)), ids.len()))
}

/// As [`load_for_projects`], of which these parts are read.
///
/// # Errors
/// As the database says.
pub async fn load_parts(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ids: &[ProjectId],
    parts: SectionParts,
) -> Result<HashMap<ProjectId, Vec<SectionWithText>>> {
    let rows = rows_of(tx, workspace, ids, parts).await?.into_iter();
    Ok(grouped(rows.map(|row| (ProjectId(row.project_id), row.with_text(parts))), ids.len()))
}

async fn rows_of(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId], parts: SectionParts) -> Result<Vec<Row>> {
    let mut sql = Sql::new(format!("SELECT {} FROM sections s{} WHERE s.workspace_id = ", Row::columns(parts), joins(parts)));
    sql.bind(Arg::Id(workspace.0)).push_ids(tx, "s.project_id", ids.iter().map(|id| id.0));
    sql.push(" AND s.position >= 0 ORDER BY s.project_id, s.position");
    sql.fetch_parts(tx, parts).await
}

/// Projects by id, deleted ones too, each with its sections that are in its template, in its order, in one statement. Of
/// projects and sections these parts are read.
///
/// # Errors
/// As the database says.
pub async fn load_with_projects(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ids: &[ProjectId],
    parts: (ProjectParts, SectionParts),
) -> Result<Vec<(Project, Vec<SectionWithText>)>> {
    type Joined = (projects::Row, Option<Row>);
    let mut sql = Sql::new(format!(
        "SELECT {} FROM projects p LEFT JOIN sections s ON s.project_id = p.id AND s.workspace_id = p.workspace_id AND s.position >= 0{}
         WHERE p.workspace_id = ",
        Joined::columns(parts),
        joins(parts.1)
    ));
    sql.bind(Arg::Id(workspace.0)).push_ids(tx, "p.id", ids.iter().map(|id| id.0));
    sql.push(" ORDER BY p.id, s.position");
    let mut found: Vec<(Project, Vec<SectionWithText>)> = Vec::with_capacity(ids.len());
    for (project, section) in sql.fetch_parts::<Joined>(tx, parts).await? {
        let (project, section) = (Project::from(project), section.map(|row| row.with_text(parts.1)));
        match found.last_mut() {
            Some((known, sections)) if known.id == project.id => sections.extend(section),
            _ => found.push((project, section.into_iter().collect())),
        }
    }
    Ok(found)
}

/// Those of these projects that lack the text of a required section.
///
/// # Errors
/// As the database says.
pub async fn list_incomplete(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId]) -> Result<Vec<ProjectId>> {
    let sql = format!(
        "SELECT DISTINCT project_id FROM sections WHERE workspace_id = $1 AND {} AND position >= 0 AND required AND revision = 0",
        tx.in_ids("project_id", 2)
    );
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<(Uuid,)> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| ProjectId(id)).collect())
}

/// Newest texts of several sections; those without one are absent.
///
/// # Errors
/// As the database says.
pub async fn load_texts(tx: &mut Tx, workspace: WorkspaceId, ids: &[SectionId]) -> Result<HashMap<SectionId, String>> {
    let sql = format!(
        "SELECT s.id, r.text FROM sections s JOIN section_revisions r ON r.section_id = s.id AND r.number = s.revision
         WHERE s.workspace_id = $1 AND {}",
        tx.in_ids("s.id", 2)
    );
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<(Uuid, String)> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id, text)| (SectionId(id), text)).collect())
}

/// Adds a revision.
///
/// # Errors
/// As the database says; a unique violation means that the number is given.
pub async fn create_revision_in(tx: &mut Tx, workspace: WorkspaceId, revision: &Revision) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO section_revisions (id, workspace_id, section_id, number, text, source, author_id, attempt_id, note, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
        .bind(revision.id.0).bind(workspace.0).bind(revision.section.0).bind(revision.number).bind(&revision.text)
        .bind(revision.source.as_str()).bind(revision.author.map(|u| u.0)).bind(revision.attempt.map(|a| a.0)).bind(&revision.note)
        .bind(revision.created_at).execute(c).await.map(drop)?);
    Ok(())
}

const REVISION_COLUMNS: &str = "id, section_id, number, text, source, author_id, attempt_id, note, created_at";

#[derive(sqlx::FromRow)]
struct RevisionRow {
    id: Uuid,
    section_id: Uuid,
    number: i32,
    text: String,
    source: String,
    author_id: Option<Uuid>,
    attempt_id: Option<Uuid>,
    note: Option<String>,
    created_at: DateTime<Utc>,
}

impl TryFrom<RevisionRow> for Revision {
    type Error = Error;

    fn try_from(row: RevisionRow) -> Result<Self> {
        Ok(Self {
            id: RevisionId(row.id),
            section: SectionId(row.section_id),
            number: row.number,
            text: row.text,
            source: row.source.parse()?,
            author: row.author_id.map(UserId),
            attempt: row.attempt_id.map(AttemptId),
            note: row.note,
            created_at: row.created_at,
        })
    }
}

/// A revision by its number.
///
/// # Errors
/// As the database says.
pub async fn find_revision(tx: &mut Tx, workspace: WorkspaceId, section: SectionId, number: i32) -> Result<Option<Revision>> {
    let sql = format!("SELECT {REVISION_COLUMNS} FROM section_revisions WHERE section_id = $1 AND workspace_id = $2 AND number = $3");
    let row: Option<RevisionRow> =
        on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(section.0).bind(workspace.0).bind(number).fetch_optional(c).await?);
    row.map(Revision::try_from).transpose()
}

/// A revision by its id.
///
/// # Errors
/// As the database says.
pub async fn find_revision_by_id(tx: &mut Tx, workspace: WorkspaceId, id: RevisionId) -> Result<Option<Revision>> {
    let sql = format!("SELECT {REVISION_COLUMNS} FROM section_revisions WHERE id = $1 AND workspace_id = $2");
    let row: Option<RevisionRow> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).bind(workspace.0).fetch_optional(c).await?);
    row.map(Revision::try_from).transpose()
}

/// Name of the order of a section's revisions.
pub const REVISION_ORDER: &str = "revisions:n";

/// A page of the revisions of each of several sections, newest first.
///
/// # Errors
/// As the database says.
pub async fn load_revision_pages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    sections: &[SectionId],
    request: &PageRequest,
) -> Result<HashMap<SectionId, Page<Revision>>> {
    let mut from = Sql::new(" FROM section_revisions WHERE workspace_id = ");
    from.bind(Arg::Id(workspace.0));
    from.push_ids(tx, "section_id", sections.iter().map(|id| id.0));
    let keys = [SortKey::desc("CAST(number AS bigint)")];
    let mut found = Vec::new();
    for row in pages_of_parents(REVISION_COLUMNS, from, "section_id", &keys, request).fetch_all::<RevisionRow>(tx).await? {
        let revision = Revision::try_from(row)?;
        let at = Position::new(REVISION_ORDER, vec![KeyValue::Int(revision.number.into())]);
        found.push((revision.section, revision, at));
    }
    Ok(group_pages(found, request))
}

/// Number of a section's revisions.
///
/// # Errors
/// As the database says.
pub async fn count_revisions(tx: &mut Tx, workspace: WorkspaceId, section: SectionId) -> Result<i64> {
    Ok(on!(tx, c => sqlx::query_scalar("SELECT count(*) FROM section_revisions WHERE section_id = $1 AND workspace_id = $2")
        .bind(section.0).bind(workspace.0).fetch_one(c).await?))
}
