//! Rows of projects, their facts and the reports of their checks.

use super::batches::push_words;
use super::db::{Arg, Narrow, Sql, Tx, Word, id_list, like_text, storable};
use super::keyset::{self, SortKey, push_page};
use crate::domain::ids::{BatchId, ImportId, ProjectId, TemplateVersionId, UserId, WorkspaceId};
use crate::domain::money::Pence;
use crate::domain::paging::{Direction, KeyValue, Page, PageRequest, Position};
use crate::domain::projects::{
    Costs, Facts, Project, ProjectDraft, ProjectFilter, ProjectOrderField, ProjectParts, ProjectStatus, natural_key,
};
use crate::domain::quality::Report;
use crate::error::{Error, Result};
use crate::{narrow_row, on};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

narrow_row! {
    pub(super) struct Row, ProjectParts;
    always { id: Uuid = "p.id", batch_id: Uuid = "p.batch_id", }
    REF { external_ref: Option<String> = "p.external_ref", }
    NAME { name: String = "p.name", }
    REVISION { revision: i32 = "p.revision", }
    STATUS { status: Word<ProjectStatus> = "p.status", }
    DELETED { deleted_at: Option<DateTime<Utc>> = "p.deleted_at", }
    START { start_date: Option<NaiveDate> = "p.start_date", }
    COSTS {
        staff: i64 = "p.staff",
        externally_provided_workers: i64 = "p.externally_provided_workers",
        contracted_out: i64 = "p.contracted_out",
        consumables: i64 = "p.consumables",
        software: i64 = "p.software",
        cloud_computing: i64 = "p.cloud_computing",
        data_licences: i64 = "p.data_licences",
        clinical_trial_volunteers: i64 = "p.clinical_trial_volunteers",
        qualifying_indirect_activities: i64 = "p.qualifying_indirect_activities",
    }
    TEMPLATE { template_version_id: Uuid = "p.template_version_id", }
    PIN { aif_pinned: bool = "p.aif_pinned", }
    SCORE { score: Option<i32> = "p.score", }
    APPROVAL { approved_by: Option<Uuid> = "p.approved_by", approved_at: Option<DateTime<Utc>> = "p.approved_at", }
    IMPORT { import_id: Option<Uuid> = "p.import_id", import_row: Option<i32> = "p.import_row", }
    CREATED { created_at: DateTime<Utc> = "p.created_at", }
    UPDATED { updated_at: DateTime<Utc> = "p.updated_at", }
}

impl From<Row> for Project {
    fn from(row: Row) -> Self {
        Self {
            id: ProjectId(row.id),
            batch: BatchId(row.batch_id),
            external_ref: row.external_ref,
            name: row.name,
            revision: row.revision,
            status: row.status.0,
            deleted_at: row.deleted_at,
            start_date: row.start_date,
            costs: Costs {
                staff: Pence(row.staff),
                externally_provided_workers: Pence(row.externally_provided_workers),
                contracted_out: Pence(row.contracted_out),
                consumables: Pence(row.consumables),
                software: Pence(row.software),
                cloud_computing: Pence(row.cloud_computing),
                data_licences: Pence(row.data_licences),
                clinical_trial_volunteers: Pence(row.clinical_trial_volunteers),
                qualifying_indirect_activities: Pence(row.qualifying_indirect_activities),
            },
            template_version: TemplateVersionId(row.template_version_id),
            aif_pinned: row.aif_pinned,
            score: row.score,
            approved_by: row.approved_by.map(UserId),
            approved_at: row.approved_at,
            imported_by: row.import_id.map(ImportId),
            import_row: row.import_row,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

fn columns() -> String {
    Row::columns(ProjectParts::all())
}

/// A project that is about to be stored.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// Id.
    pub id: ProjectId,
    /// Checked values.
    pub draft: ProjectDraft,
    /// Data row of the import.
    pub import_row: Option<i32>,
}

fn search_text(name: &str, external_ref: Option<&str>, facts: &Facts) -> String {
    let mut parts = vec![name];
    parts.extend(external_ref);
    parts.extend(facts.texts().iter().map(|(_, text)| *text));
    parts.join("\n").to_lowercase()
}

/// Adds projects with their facts, in two statements for every 500.
///
/// # Errors
/// As the database says; a unique violation means that a reference or id is taken.
pub async fn create_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batch: BatchId,
    version: TemplateVersionId,
    import: Option<ImportId>,
    projects: &[NewProject],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    #[derive(Serialize)]
    struct Insert<'a> {
        id: String,
        external_ref: Option<&'a str>,
        ref_key: String,
        name: &'a str,
        name_key: String,
        sector_key: Option<String>,
        claim_ref: Option<&'a str>,
        start_date: Option<NaiveDate>,
        #[serde(flatten)]
        costs: &'a Costs,
        total: i64,
        import_row: Option<i32>,
        facts: &'a Facts,
        search: String,
    }
    for chunk in projects.chunks(500) {
        let rows: Vec<Insert> = chunk
            .iter()
            .map(|new| {
                let ProjectDraft { external_ref, name, facts, costs } = &new.draft;
                Insert {
                    id: new.id.0.simple().to_string(),
                    external_ref: external_ref.as_deref(),
                    ref_key: natural_key(external_ref.as_deref().unwrap_or_default()),
                    name,
                    name_key: name.to_lowercase(),
                    sector_key: facts.sector.as_deref().map(str::to_lowercase),
                    claim_ref: facts.claim_ref.as_deref(),
                    start_date: facts.start_date,
                    costs,
                    total: costs.total().0,
                    import_row: new.import_row,
                    facts,
                    search: search_text(name, external_ref.as_deref(), facts),
                }
            })
            .collect();
        let sql = tx.sql(
            "INSERT INTO projects (id, workspace_id, batch_id, external_ref, ref_key, name, name_key, revision, status, status_rank,
                sector_key, claim_ref, start_date, staff, externally_provided_workers, contracted_out, consumables, software,
                cloud_computing, data_licences, clinical_trial_volunteers, qualifying_indirect_activities, expenditure_pence,
                template_version_id, aif_pinned, error_count, warning_count, import_id, import_row, created_at, updated_at)
             SELECT x.id, $1, $2, x.external_ref, x.ref_key, x.name, x.name_key, 1, 'DRAFT', 0, x.sector_key, x.claim_ref, x.start_date,
                x.staff, x.externally_provided_workers, x.contracted_out, x.consumables, x.software, x.cloud_computing, x.data_licences,
                x.clinical_trial_volunteers, x.qualifying_indirect_activities, x.total, $3, false, 0, 0, $4, x.import_row, $5, $5
             FROM jsonb_to_recordset($6) AS x(id uuid, external_ref text, ref_key text, name text, name_key text, sector_key text,
                claim_ref text, start_date date, staff bigint, externally_provided_workers bigint, contracted_out bigint,
                consumables bigint, software bigint, cloud_computing bigint, data_licences bigint, clinical_trial_volunteers bigint,
                qualifying_indirect_activities bigint, total bigint, import_row int)",
            "INSERT INTO projects (id, workspace_id, batch_id, external_ref, ref_key, name, name_key, revision, status, status_rank,
                sector_key, claim_ref, start_date, staff, externally_provided_workers, contracted_out, consumables, software,
                cloud_computing, data_licences, clinical_trial_volunteers, qualifying_indirect_activities, expenditure_pence,
                template_version_id, aif_pinned, error_count, warning_count, import_id, import_row, created_at, updated_at)
             SELECT unhex(value ->> 'id'), $1, $2, value ->> 'external_ref', value ->> 'ref_key', value ->> 'name', value ->> 'name_key',
                1, 'DRAFT', 0, value ->> 'sector_key', value ->> 'claim_ref', value ->> 'start_date', value ->> 'staff',
                value ->> 'externally_provided_workers', value ->> 'contracted_out', value ->> 'consumables', value ->> 'software',
                value ->> 'cloud_computing', value ->> 'data_licences', value ->> 'clinical_trial_volunteers',
                value ->> 'qualifying_indirect_activities', value ->> 'total', $3, false, 0, 0, $4, value ->> 'import_row', $5, $5
             FROM json_each($6)",
        );
        on!(tx, c => sqlx::query(sql).bind(workspace.0).bind(batch.0).bind(version.0).bind(import.map(|i| i.0)).bind(now).bind(Json(&rows))
            .execute(c).await.map(drop)?);
        let sql = tx.sql(
            "INSERT INTO project_facts (project_id, workspace_id, facts, search)
             SELECT x.id, $1, x.facts, x.search FROM jsonb_to_recordset($2) AS x(id uuid, facts jsonb, search text)",
            "INSERT INTO project_facts (project_id, workspace_id, facts, search)
             SELECT unhex(value ->> 'id'), $1, value -> 'facts', value ->> 'search' FROM json_each($2)",
        );
        on!(tx, c => sqlx::query(sql).bind(workspace.0).bind(Json(&rows)).execute(c).await.map(drop)?);
    }
    Ok(())
}

/// Stores a project's name, reference, facts, costs, template version, status, approval, pin and deletion mark.
///
/// # Errors
/// As the database says; a unique violation means that the reference is taken.
pub async fn update_in(tx: &mut Tx, workspace: WorkspaceId, project: &Project, facts: Option<&Facts>) -> Result<(), sqlx::Error> {
    let costs = &project.costs;
    on!(tx, c => sqlx::query(
        "UPDATE projects SET external_ref = $3, ref_key = $4, name = $5, name_key = $6, revision = $7, status = $8, status_rank = $9,
            deleted_at = $10, staff = $11, externally_provided_workers = $12, contracted_out = $13, consumables = $14, software = $15,
            cloud_computing = $16, data_licences = $17, clinical_trial_volunteers = $18, qualifying_indirect_activities = $19,
            expenditure_pence = $20, template_version_id = $21, aif_pinned = $22, approved_by = $23, approved_at = $24, updated_at = $25
         WHERE id = $1 AND workspace_id = $2")
        .bind(project.id.0).bind(workspace.0).bind(&project.external_ref)
        .bind(natural_key(project.external_ref.as_deref().unwrap_or_default())).bind(&project.name).bind(project.name.to_lowercase())
        .bind(project.revision).bind(project.status.as_str()).bind(project.status.rank()).bind(project.deleted_at)
        .bind(costs.staff.0).bind(costs.externally_provided_workers.0).bind(costs.contracted_out.0).bind(costs.consumables.0)
        .bind(costs.software.0).bind(costs.cloud_computing.0).bind(costs.data_licences.0).bind(costs.clinical_trial_volunteers.0)
        .bind(costs.qualifying_indirect_activities.0).bind(costs.total().0).bind(project.template_version.0).bind(project.aif_pinned)
        .bind(project.approved_by.map(|u| u.0)).bind(project.approved_at).bind(project.updated_at)
        .execute(c).await.map(drop)?);
    if let Some(facts) = facts {
        on!(tx, c => sqlx::query("UPDATE projects SET sector_key = $3, claim_ref = $4, start_date = $5 WHERE id = $1 AND workspace_id = $2")
            .bind(project.id.0).bind(workspace.0).bind(facts.sector.as_deref().map(str::to_lowercase)).bind(&facts.claim_ref)
            .bind(facts.start_date).execute(c).await.map(drop)?);
        on!(tx, c => sqlx::query("UPDATE project_facts SET facts = $3, search = $4 WHERE project_id = $1 AND workspace_id = $2")
            .bind(project.id.0).bind(workspace.0).bind(Json(facts))
            .bind(search_text(&project.name, project.external_ref.as_deref(), facts)).execute(c).await.map(drop)?);
    }
    Ok(())
}

/// Moves projects that are in one of these statuses to another; gives the ids and statuses that they had.
///
/// # Errors
/// As the database says.
pub async fn set_status_in(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ids: &[ProjectId],
    status: ProjectStatus,
    now: DateTime<Utc>,
) -> Result<()> {
    let sql = format!(
        "UPDATE projects SET status = $2, status_rank = $3, revision = revision + 1, updated_at = $4 WHERE workspace_id = $1 AND {}",
        tx.in_ids("id", 5)
    );
    let list = id_list(ids.iter().map(|id| id.0));
    on!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(workspace.0).bind(status.as_str()).bind(status.rank()).bind(now).bind(list)
        .execute(c).await.map(drop)?);
    Ok(())
}

/// Lets projects follow another template version.
///
/// # Errors
/// As the database says.
pub async fn set_version_in(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId], version: TemplateVersionId) -> Result<()> {
    let sql = format!("UPDATE projects SET template_version_id = $2 WHERE workspace_id = $1 AND {}", tx.in_ids("id", 3));
    let list = id_list(ids.iter().map(|id| id.0));
    on!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(workspace.0).bind(version.0).bind(list).execute(c).await.map(drop)?);
    Ok(())
}

/// Counts a change of a project's texts: its revision grows.
///
/// # Errors
/// As the database says.
pub async fn touch_in(tx: &mut Tx, workspace: WorkspaceId, id: ProjectId, now: DateTime<Utc>) -> Result<()> {
    on!(tx, c => sqlx::query("UPDATE projects SET revision = revision + 1, updated_at = $3 WHERE id = $1 AND workspace_id = $2")
        .bind(id.0).bind(workspace.0).bind(now).execute(c).await.map(drop)?);
    Ok(())
}

/// Stores the report of a check.
///
/// # Errors
/// As the database says.
pub async fn save_report_in(tx: &mut Tx, workspace: WorkspaceId, id: ProjectId, report: &Report, now: DateTime<Utc>) -> Result<()> {
    on!(tx, c => sqlx::query(
        "INSERT INTO project_reports (project_id, workspace_id, report, checked_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (project_id) DO UPDATE SET report = excluded.report, checked_at = excluded.checked_at")
        .bind(id.0).bind(workspace.0).bind(Json(report)).bind(now).execute(c).await.map(drop)?);
    on!(tx, c => sqlx::query("UPDATE projects SET score = $3, error_count = $4, warning_count = $5 WHERE id = $1 AND workspace_id = $2")
        .bind(id.0).bind(workspace.0).bind(report.score)
            .bind(i32::try_from(report.error_count()).unwrap_or(i32::MAX)).bind(i32::try_from(report.warning_count()).unwrap_or(i32::MAX)).execute(c).await.map(drop)?);
    Ok(())
}

/// True if a project of a batch that is not deleted is queued or being written.
///
/// # Errors
/// As the database says.
pub async fn is_any_in_work(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<bool> {
    let sql = "SELECT 1 FROM projects WHERE batch_id = $1 AND workspace_id = $2 AND deleted_at IS NULL AND status IN ('QUEUED', 'GENERATING') LIMIT 1";
    let found: Option<i32> = on!(tx, c => sqlx::query_scalar(sql).bind(batch.0).bind(workspace.0).fetch_optional(c).await?);
    Ok(found.is_some())
}

/// A project, deleted ones too.
///
/// # Errors
/// As the database says.
pub async fn find(tx: &mut Tx, workspace: WorkspaceId, id: ProjectId) -> Result<Option<Project>> {
    Ok(load(tx, workspace, &[id], ProjectParts::all()).await?.pop())
}

/// A project that is not deleted, by the client's reference.
///
/// # Errors
/// As the database says.
pub async fn find_by_ref(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId, external_ref: &str) -> Result<Option<Project>> {
    let external_ref = storable(external_ref);
    let sql = format!(
        "SELECT {} FROM projects p WHERE p.workspace_id = $1 AND p.batch_id = $2 AND p.external_ref = $3 AND p.deleted_at IS NULL",
        columns()
    );
    let row: Option<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(batch.0).bind(&*external_ref)
        .fetch_optional(c).await?);
    Ok(row.map(Project::from))
}

/// Projects by id, deleted ones too, in no particular order, of which these parts are read.
///
/// # Errors
/// As the database says.
pub async fn load(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId], parts: ProjectParts) -> Result<Vec<Project>> {
    let mut sql = Sql::new(format!("SELECT {} FROM projects p WHERE p.workspace_id = ", Row::columns(parts)));
    sql.bind(Arg::Id(workspace.0)).push_ids(tx, "p.id", ids.iter().map(|id| id.0));
    Ok(sql.fetch_parts::<Row>(tx, parts).await?.into_iter().map(Project::from).collect())
}

/// Every project of a batch that is not deleted, oldest first.
///
/// # Errors
/// As the database says.
pub async fn list_all(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<Vec<Project>> {
    let sql = format!(
        "SELECT {} FROM projects p WHERE p.workspace_id = $1 AND p.batch_id = $2 AND p.deleted_at IS NULL ORDER BY p.created_at, p.id",
        columns()
    );
    let rows: Vec<Row> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(batch.0).fetch_all(c).await?);
    Ok(rows.into_iter().map(Project::from).collect())
}

/// References and lower-case names among the given ones that projects of a batch already have.
#[derive(Debug, Default)]
pub struct KnownNames {
    /// Projects by reference.
    pub references: HashMap<String, ProjectId>,
    /// Lower-case names.
    pub names: std::collections::HashSet<String>,
}

/// Looks up which references and names a batch already has, among projects that are not deleted.
///
/// # Errors
/// As the database says.
pub async fn find_known(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId, references: &[&str], names: &[String]) -> Result<KnownNames> {
    let sql = format!(
        "SELECT id, external_ref, name_key FROM projects WHERE workspace_id = $1 AND batch_id = $2 AND deleted_at IS NULL AND ({} OR {})",
        tx.in_texts("external_ref", 3),
        tx.in_texts("name_key", 4)
    );
    let references_json = serde_json::to_string(references).map_err(Error::internal)?;
    let names_json = serde_json::to_string(names).map_err(Error::internal)?;
    let rows: Vec<(Uuid, Option<String>, String)> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql))
        .bind(workspace.0).bind(batch.0).bind(references_json).bind(names_json).fetch_all(c).await?);
    let mut known = KnownNames::default();
    for (id, external_ref, name) in rows {
        known.references.extend(external_ref.map(|reference| (reference, ProjectId(id))));
        known.names.insert(name);
    }
    Ok(known)
}

/// Facts of several projects.
///
/// # Errors
/// As the database says.
pub async fn load_facts(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId]) -> Result<HashMap<ProjectId, Facts>> {
    let sql = format!("SELECT project_id, facts FROM project_facts WHERE workspace_id = $1 AND {}", tx.in_ids("project_id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<(Uuid, Json<Facts>)> = on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id, Json(facts))| (ProjectId(id), facts)).collect())
}

/// References of claims in a batch, by project; those without one are absent.
///
/// # Errors
/// As the database says.
pub async fn load_claim_refs(tx: &mut Tx, workspace: WorkspaceId, batch: BatchId) -> Result<HashMap<ProjectId, String>> {
    let rows: Vec<(Uuid, String)> = on!(tx, c => sqlx::query_as(
        "SELECT id, claim_ref FROM projects WHERE workspace_id = $1 AND batch_id = $2 AND deleted_at IS NULL AND claim_ref IS NOT NULL")
        .bind(workspace.0).bind(batch.0).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id, reference)| (ProjectId(id), reference)).collect())
}

/// Reports of the last checks, with their times.
///
/// # Errors
/// As the database says.
pub async fn load_reports(tx: &mut Tx, workspace: WorkspaceId, ids: &[ProjectId]) -> Result<HashMap<ProjectId, (Report, DateTime<Utc>)>> {
    let sql =
        format!("SELECT project_id, report, checked_at FROM project_reports WHERE workspace_id = $1 AND {}", tx.in_ids("project_id", 2));
    let list = id_list(ids.iter().map(|id| id.0));
    let rows: Vec<(Uuid, Json<Report>, DateTime<Utc>)> =
        on!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(workspace.0).bind(list).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id, Json(report), at)| (ProjectId(id), (report, at))).collect())
}

fn keys(order: &[(ProjectOrderField, Direction)]) -> (Vec<SortKey>, String) {
    let mut keys = Vec::new();
    for (field, direction) in order {
        let ascending = *direction == Direction::Asc;
        let expression = match field {
            ProjectOrderField::Name => "p.name_key",
            // its key for an absent reference is the last one: with the largest first, it has to be the first
            ProjectOrderField::ExternalRef if ascending => "p.ref_key",
            ProjectOrderField::ExternalRef => "CASE WHEN p.external_ref IS NULL THEN '' ELSE p.ref_key END",
            ProjectOrderField::Status => "CAST(p.status_rank AS bigint)",
            // what was never checked, or has no date, comes last in either direction
            ProjectOrderField::Score if ascending => "CAST(coalesce(p.score, 101) AS bigint)",
            ProjectOrderField::Score => "CAST(coalesce(p.score, -1) AS bigint)",
            ProjectOrderField::Expenditure => "p.expenditure_pence",
            ProjectOrderField::StartDate if ascending => "coalesce(CAST(p.start_date AS text), '9999-12-31')",
            ProjectOrderField::StartDate => "coalesce(CAST(p.start_date AS text), '0000-01-01')",
            ProjectOrderField::CreatedAt => "p.created_at",
            ProjectOrderField::UpdatedAt => "p.updated_at",
        };
        keys.push(SortKey { expression, direction: *direction });
    }
    let last = order.last().map_or(Direction::Asc, |(_, direction)| *direction);
    keys.push(SortKey { expression: "p.id", direction: last });
    let kind = |(field, _): &(ProjectOrderField, Direction)| match field {
        ProjectOrderField::Name | ProjectOrderField::ExternalRef | ProjectOrderField::StartDate => 't',
        ProjectOrderField::Status | ProjectOrderField::Score | ProjectOrderField::Expenditure => 'n',
        ProjectOrderField::CreatedAt | ProjectOrderField::UpdatedAt => 'm',
    };
    let kinds: String = order.iter().map(kind).chain(['u']).collect();
    (keys, format!("projects{order:?}:{kinds}"))
}

/// What a page's cursors are made of.
fn parts_of_order(order: &[(ProjectOrderField, Direction)]) -> ProjectParts {
    let part = |(field, _): &(ProjectOrderField, Direction)| match field {
        ProjectOrderField::Name => ProjectParts::NAME,
        ProjectOrderField::ExternalRef => ProjectParts::REF,
        ProjectOrderField::Status => ProjectParts::STATUS,
        ProjectOrderField::Score => ProjectParts::SCORE,
        ProjectOrderField::Expenditure => ProjectParts::COSTS,
        ProjectOrderField::StartDate => ProjectParts::START,
        ProjectOrderField::CreatedAt => ProjectParts::CREATED,
        ProjectOrderField::UpdatedAt => ProjectParts::UPDATED,
    };
    order.iter().map(part).collect()
}

fn position(project: &Project, order: &[(ProjectOrderField, Direction)], name: &Arc<str>) -> Position {
    let value = |field: &ProjectOrderField, ascending: bool| match field {
        ProjectOrderField::Name => KeyValue::Text(project.name.to_lowercase()),
        ProjectOrderField::ExternalRef => KeyValue::Text(match &project.external_ref {
            None if !ascending => String::new(),
            reference => natural_key(reference.as_deref().unwrap_or_default()),
        }),
        ProjectOrderField::Status => KeyValue::Int(project.status.rank().into()),
        ProjectOrderField::Score => KeyValue::Int(project.score.map_or(if ascending { 101 } else { -1 }, i64::from)),
        ProjectOrderField::Expenditure => KeyValue::Int(project.costs.total().0),
        ProjectOrderField::StartDate => KeyValue::Text(
            project.start_date.map_or_else(|| if ascending { "9999-12-31" } else { "0000-01-01" }.into(), |day| day.to_string()),
        ),
        ProjectOrderField::CreatedAt => KeyValue::Micros(project.created_at.timestamp_micros()),
        ProjectOrderField::UpdatedAt => KeyValue::Micros(project.updated_at.timestamp_micros()),
    };
    let values = order.iter().map(|(field, direction)| value(field, *direction == Direction::Asc));
    Position::new(Arc::clone(name), values.chain([KeyValue::Id(project.id.0)]).collect())
}

/// Name of an order, which cursors of this list carry.
#[must_use]
pub fn order_name(order: &[(ProjectOrderField, Direction)]) -> String {
    keys(order).1
}

/// A page of projects, of which these parts are read.
///
/// # Errors
/// As the database says.
pub async fn list(
    tx: &mut Tx,
    workspace: WorkspaceId,
    filter: &ProjectFilter,
    order: &[(ProjectOrderField, Direction)],
    request: &PageRequest,
    parts: ProjectParts,
) -> Result<Page<Project>> {
    let ((keys, name), parts) = (keys(order), parts | parts_of_order(order));
    let name = name.into();
    let mut sql = Sql::new(format!("SELECT {}", Row::columns(parts)));
    push_filter(&mut sql, tx, workspace, filter);
    push_page(&mut sql, &keys, request);
    let with_position = |row| {
        let project = Project::from(row);
        let at = position(&project, order, &name);
        (project, at)
    };
    let rows = sql.fetch_parts::<Row>(tx, parts).await?.into_iter().map(with_position).collect();
    Ok(Page::from_rows(rows, request))
}

/// A page of the projects of each of several batches, of which these parts are read; batches without any are absent.
///
/// # Errors
/// As the database says.
pub async fn load_pages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batches: &[BatchId],
    filter: &ProjectFilter,
    order: &[(ProjectOrderField, Direction)],
    request: &PageRequest,
    parts: ProjectParts,
) -> Result<HashMap<BatchId, Page<Project>>> {
    let ((keys, name), parts) = (keys(order), parts | parts_of_order(order));
    let name = name.into();
    let filter = ProjectFilter { batches: Some(batches.to_vec()), batch: None, ..filter.clone() };
    let mut from = Sql::new("");
    push_filter(&mut from, tx, workspace, &filter);
    let sql = keyset::pages_of_parents(&Row::columns(parts), from, "p.batch_id", &keys, request);
    let mut found = Vec::new();
    for row in sql.fetch_parts::<Row>(tx, parts).await? {
        let project = Project::from(row);
        let at = position(&project, order, &name);
        found.push((project.batch, project, at));
    }
    Ok(keyset::group_pages(found, request))
}

/// Number of projects that match.
///
/// # Errors
/// As the database says.
pub async fn count(tx: &mut Tx, workspace: WorkspaceId, filter: &ProjectFilter) -> Result<i64> {
    let mut sql = Sql::new("SELECT count(*)");
    push_filter(&mut sql, tx, workspace, filter);
    sql.fetch_count(tx).await
}

/// Ids of all projects that match, at most `limit`, oldest first.
///
/// # Errors
/// As the database says.
pub async fn list_ids(tx: &mut Tx, workspace: WorkspaceId, filter: &ProjectFilter, limit: i64) -> Result<Vec<ProjectId>> {
    let mut sql = Sql::new("SELECT p.id");
    push_filter(&mut sql, tx, workspace, filter);
    sql.push(" ORDER BY p.created_at, p.id LIMIT ").bind(Arg::Int(limit));
    Ok(sql.fetch_all::<(Uuid,)>(tx).await?.into_iter().map(|(id,)| ProjectId(id)).collect())
}

fn push_filter(sql: &mut Sql, tx: &Tx, workspace: WorkspaceId, filter: &ProjectFilter) {
    sql.push(" FROM projects p");
    if filter.text.is_some() {
        sql.push(" JOIN project_facts f ON f.project_id = p.id");
    }
    sql.push(" WHERE p.workspace_id = ").bind(Arg::Id(workspace.0));
    if let Some(batches) = &filter.batches {
        sql.push_ids(tx, "p.batch_id", batches.iter().map(|id| id.0));
    }
    match filter.batch {
        Some(batch) => drop(sql.push(" AND p.batch_id = ").bind(Arg::Id(batch.0))),
        None if filter.batches.is_some() => {}
        None => drop(sql.push(" AND EXISTS (SELECT 1 FROM batches b WHERE b.id = p.batch_id AND b.deleted_at IS NULL)")),
    }
    if !filter.include_deleted {
        sql.push(" AND p.deleted_at IS NULL");
    }
    if let Some(import) = filter.import {
        sql.push(" AND p.import_id = ").bind(Arg::Id(import.0));
    }
    if let Some(ids) = &filter.ids {
        sql.push_ids(tx, "p.id", ids.iter().map(|id| id.0));
    }
    if let Some(statuses) = &filter.status {
        push_words(sql, "p.status", statuses.iter().map(|status| status.as_str()));
    }
    if let Some(text) = &filter.text {
        sql.push(" AND f.search LIKE ").bind(Arg::Text(format!("%{}%", like_text(text)))).push(" ESCAPE '\\'");
    }
    if let Some(sectors) = &filter.sector {
        let lower: Vec<String> = sectors.iter().map(|sector| sector.to_lowercase()).collect();
        push_words(sql, "p.sector_key", lower.iter().map(String::as_str));
    }
    if let Some(references) = &filter.claim_ref {
        push_words(sql, "p.claim_ref", references.iter().map(String::as_str));
    }
    if let Some(score) = filter.score_below {
        sql.push(" AND p.score < ").bind(Arg::Int(score.into()));
    }
    if let Some(since) = filter.updated_since {
        sql.push(" AND p.updated_at >= ").bind(Arg::Time(since));
    }
}
