//! Rows of templates and their versions.

use super::db::{Arg, Sql, Tx, id_list, like_text, storable};
use super::keyset::{SortKey, group_pages, pages_of_parents, push_page};
use crate::domain::ids::{TemplateId, TemplateVersionId, UserId, WorkspaceId};
use crate::domain::paging::{KeyValue, Page, PageRequest, Position};
use crate::domain::templates::{Template, TemplateFilter, TemplateSection, TemplateVersion};
use crate::error::Result;
use crate::on;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

const COLUMNS: &str =
    "t.id, t.key, t.name, t.description, t.built_in, t.archived_at, t.current_version_id, t.current_number, t.created_at, t.updated_at";
const VERSION_COLUMNS: &str = "id, template_id, number, sections, instructions, note, created_by, created_at";
/// Name of the order of templates.
pub const ORDER: &str = "templates:mu";
/// Name of the order of a template's versions.
pub const VERSION_ORDER: &str = "template-versions:n";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    key: String,
    name: String,
    description: Option<String>,
    built_in: bool,
    archived_at: Option<DateTime<Utc>>,
    current_version_id: Uuid,
    current_number: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Template {
    fn from(row: Row) -> Self {
        Self {
            id: TemplateId(row.id),
            key: row.key,
            name: row.name,
            description: row.description,
            built_in: row.built_in,
            archived_at: row.archived_at,
            current_version: TemplateVersionId(row.current_version_id),
            current_number: row.current_number,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[derive(sqlx::FromRow)]
struct VersionRow {
    id: Uuid,
    template_id: Uuid,
    number: i32,
    sections: Json<Vec<TemplateSection>>,
    instructions: Option<String>,
    note: Option<String>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl From<VersionRow> for TemplateVersion {
    fn from(row: VersionRow) -> Self {
        Self {
            id: TemplateVersionId(row.id),
            template: TemplateId(row.template_id),
            number: row.number,
            sections: row.sections.0,
            instructions: row.instructions,
            note: row.note,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
        }
    }
}

fn search_text(template: &Template) -> String {
    format!("{}\n{}\n{}", template.name, template.key, template.description.as_deref().unwrap_or_default()).to_lowercase()
}

/// Adds a template (its version follows by [`create_version_in`]).
///
/// # Errors
/// As the database says; a unique violation means that the key is taken.
pub async fn create_in(tx: &mut Tx, workspace: WorkspaceId, template: &Template) -> Result<(), sqlx::Error> {
    on!(tx, c => sqlx::query(
        "INSERT INTO templates (id, workspace_id, key, name, description, search, built_in, archived_at, current_version_id, current_number,
            created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(template.id.0).bind(workspace.0).bind(&template.key).bind(&template.name).bind(&template.description)
        .bind(search_text(template)).bind(template.built_in).bind(template.archived_at).bind(template.current_version.0)
        .bind(template.current_number).bind(template.created_at).bind(template.updated_at).execute(c).await.map(drop))
}

/// Stores name, description, archive mark and newest version of a template.
///
/// # Errors
/// As the database says.
pub async fn update_in(tx: &mut Tx, workspace: WorkspaceId, template: &Template) -> Result<()> {
    on!(tx, c => sqlx::query(
        "UPDATE templates SET name = $3, description = $4, search = $5, archived_at = $6, current_version_id = $7, current_number = $8,
            updated_at = $9 WHERE id = $1 AND workspace_id = $2")
        .bind(template.id.0).bind(workspace.0).bind(&template.name).bind(&template.description).bind(search_text(template))
        .bind(template.archived_at).bind(template.current_version.0).bind(template.current_number).bind(template.updated_at)
        .execute(c).await.map(drop)?);
    Ok(())
}

/// Adds a version.
///
/// # Errors
/// As the database says.
pub async fn create_version_in(tx: &mut Tx, workspace: WorkspaceId, version: &TemplateVersion) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO template_versions (id, workspace_id, template_id, number, sections, instructions, note, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(version.id.0).bind(workspace.0).bind(version.template.0).bind(version.number).bind(Json(&version.sections))
        .bind(&version.instructions).bind(&version.note).bind(version.created_by.map(|u| u.0)).bind(version.created_at)
        .execute(c).await.map(drop)?);
    Ok(())
}

/// Removes a template with its versions.
///
/// # Errors
/// As the database says.
pub async fn delete_in(tx: &mut Tx, workspace: WorkspaceId, id: TemplateId) -> Result<()> {
    on!(tx, c => sqlx::query("DELETE FROM templates WHERE id = $1 AND workspace_id = $2").bind(id.0).bind(workspace.0).execute(c).await.map(drop)?);
    Ok(())
}

/// True if a batch, project or run refers to the template.
///
/// # Errors
/// As the database says.
pub async fn is_used(tx: &mut Tx, workspace: WorkspaceId, id: TemplateId) -> Result<bool> {
    let used: Option<i32> = on!(tx, c => sqlx::query_scalar(
        "SELECT 1 FROM batches WHERE workspace_id = $2 AND template_id = $1
         UNION ALL SELECT 1 FROM projects p JOIN template_versions v ON v.id = p.template_version_id WHERE v.workspace_id = $2 AND v.template_id = $1
         UNION ALL SELECT 1 FROM runs r JOIN template_versions v ON v.id = r.template_version_id WHERE v.workspace_id = $2 AND v.template_id = $1
         LIMIT 1")
        .bind(id.0).bind(workspace.0).fetch_optional(c).await?);
    Ok(used.is_some())
}

/// A template.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: TemplateId) -> Result<Option<Template>> {
    Ok(load(tx, workspace, &[id]).await?.pop())
}

/// A template, locked until the end of the transaction.
///
/// # Errors
/// As the database says.
pub async fn lock_in(tx: &mut Tx, workspace: WorkspaceId, id: TemplateId) -> Result<Option<Template>> {
    let sql = format!("SELECT {COLUMNS} FROM templates t WHERE t.id = $1 AND t.workspace_id = $2{}", tx.for_update());
    let row: Option<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).bind(workspace.0).fetch_optional(c).await?);
    Ok(row.map(Template::from))
}

/// A template by its key.
///
/// # Errors
/// As the database says.
pub async fn find_by_key(tx: &mut Tx, workspace: WorkspaceId, key: &str) -> Result<Option<Template>> {
    let key = storable(key);
    let sql = format!("SELECT {COLUMNS} FROM templates t WHERE t.key = $1 AND t.workspace_id = $2");
    let row: Option<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(&*key).bind(workspace.0).fetch_optional(c).await?);
    Ok(row.map(Template::from))
}

/// Templates by id.
///
/// # Errors
/// As the database says.
pub async fn load(tx: &mut Tx, workspace: WorkspaceId, ids: &[TemplateId]) -> Result<Vec<Template>> {
    let sql = format!("SELECT {COLUMNS} FROM templates t WHERE t.workspace_id = $1 AND {}", tx.in_ids("t.id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    Ok(rows.into_iter().map(Template::from).collect())
}

/// Versions by id.
///
/// # Errors
/// As the database says.
pub async fn load_versions(tx: &mut Tx, workspace: WorkspaceId, ids: &[TemplateVersionId]) -> Result<Vec<TemplateVersion>> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM template_versions WHERE workspace_id = $1 AND {}", tx.in_ids("id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<VersionRow> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    Ok(rows.into_iter().map(TemplateVersion::from).collect())
}

/// A version by its number.
///
/// # Errors
/// As the database says.
pub async fn find_version(tx: &mut Tx, workspace: WorkspaceId, template: TemplateId, number: i32) -> Result<Option<TemplateVersion>> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM template_versions WHERE template_id = $1 AND workspace_id = $2 AND number = $3");
    let row: Option<VersionRow> =
        on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(template.0).bind(workspace.0).bind(number).fetch_optional(c).await?);
    Ok(row.map(TemplateVersion::from))
}

/// A page of the workspace's templates: built-in ones first, then by name.
///
/// # Errors
/// As the database says.
pub async fn list(tx: &mut Tx, workspace: WorkspaceId, filter: &TemplateFilter, request: &PageRequest) -> Result<Page<Template>> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS}"));
    push_filter(&mut sql, workspace, filter);
    // the order of creation puts the built-in ones first, in the order in which the product lists them
    push_page(&mut sql, &[SortKey::asc("t.created_at"), SortKey::asc("t.id")], request);
    let rows: Vec<Row> = sql.fetch_all(tx).await?;
    let at = |t: &Template| Position::by_time(ORDER, t.created_at, t.id.0);
    Ok(Page::from_rows(rows.into_iter().map(Template::from).map(|t| (at(&t), t)).map(|(at, t)| (t, at)).collect(), request))
}

/// Number of templates that match.
///
/// # Errors
/// As the database says.
pub async fn count(tx: &mut Tx, workspace: WorkspaceId, filter: &TemplateFilter) -> Result<i64> {
    let mut sql = Sql::new("SELECT count(*)");
    push_filter(&mut sql, workspace, filter);
    sql.fetch_count(tx).await
}

fn push_filter(sql: &mut Sql, workspace: WorkspaceId, filter: &TemplateFilter) {
    sql.push(" FROM templates t WHERE t.workspace_id = ").bind(Arg::Id(workspace.0));
    if !filter.include_archived {
        sql.push(" AND t.archived_at IS NULL");
    }
    match filter.built_in {
        Some(true) => drop(sql.push(" AND t.built_in")),
        Some(false) => drop(sql.push(" AND NOT t.built_in")),
        None => {}
    }
    if let Some(text) = &filter.text {
        sql.push(" AND t.search LIKE ").bind(Arg::Text(format!("%{}%", like_text(text)))).push(" ESCAPE '\\'");
    }
}

/// A page of the versions of each of several templates, newest first.
///
/// # Errors
/// As the database says.
pub async fn load_version_pages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    templates: &[TemplateId],
    request: &PageRequest,
) -> Result<HashMap<TemplateId, Page<TemplateVersion>>> {
    let mut from = Sql::new(" FROM template_versions WHERE workspace_id = ");
    from.bind(Arg::Id(workspace.0));
    from.push_ids(tx, "template_id", templates.iter().map(|id| id.0));
    let keys = [SortKey::desc("CAST(number AS bigint)")];
    let rows: Vec<VersionRow> = pages_of_parents(VERSION_COLUMNS, from, "template_id", &keys, request).fetch_all(tx).await?;
    let placed = rows.into_iter().map(TemplateVersion::from).map(|version| {
        let at = Position::new(VERSION_ORDER, vec![KeyValue::Int(version.number.into())]);
        (version.template, version, at)
    });
    Ok(group_pages(placed.collect(), request))
}
