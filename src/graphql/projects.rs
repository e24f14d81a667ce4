//! Projects: type, inputs, payloads, queries and mutations, approvals included.

use super::batches::{Batch, BatchPayload};
use super::connections::{Total, connection};
use super::context::{
    AttemptsOf, FactsOf, Found, PartsOfProject, ReportOf, SpendOfProject, caller, forward, load, load_all, load_required, load_root, moment,
};
use super::facts::{ProjectCosts, ProjectCostsInput, ProjectFacts, ProjectFactsInput};
use super::generations::GenerationAttemptConnection;
use super::imports::ImportJob;
use super::jobs::{BulkPayload, Money, SortDirection, UserError, settle};
use super::parts;
use super::people::{User, user};
use super::quality::QualityReport;
use super::scalars::{DateTime, EventCursor, ObjectId};
use super::sections::Section;
use super::templates::TemplateVersion;
use crate::domain::events;
use crate::domain::ids::{BatchId, ImportId, ProjectId, TemplateVersionId, UserId};
use crate::domain::paging::{Direction, PageArgs};
use crate::domain::projects::{self as domain, ProjectParts};
use crate::domain::sections::{SectionParts, SectionWithText};
use crate::error::Error;
use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use graphql_gate::{Output, Plan, relations, roots};
use std::sync::Arc;

/// State of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ProjectStatus")]
pub enum ProjectStatus {
    /// Facts only, no narrative yet.
    Draft,
    /// Waiting for a worker.
    Queued,
    /// A worker writes the narrative.
    Generating,
    /// The narrative is there and has to be reviewed.
    NeedsReview,
    /// A person approved it; sections are locked.
    Approved,
    /// The last generation failed; earlier text is kept.
    Failed,
}

/// An R&D project: facts from the client and the narrative made from them.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct Project {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// The client's reference, unique in the batch.
    external_ref: Option<String>,
    /// Name.
    name: String,
    /// Grows with every change of facts, costs, texts or status: approve what you have seen with `expectedRevision`.
    revision: i32,
    /// Status.
    status: ProjectStatus,
    /// True if deleted and not yet removed.
    deleted: bool,
    /// Qualifying expenditure by category.
    costs: ProjectCosts,
    /// True if pinned for the AIF.
    aif_pinned: bool,
    /// When it was approved.
    approved_at: Option<DateTime>,
    /// Row in the imported file, counted from 1 without the header.
    import_row: Option<i32>,
    /// When it was created.
    created_at: DateTime,
    /// When it last changed.
    updated_at: DateTime,
    #[graphql(skip)]
    project: ProjectId,
    #[graphql(skip)]
    batch: BatchId,
    #[graphql(skip)]
    template_version: TemplateVersionId,
    #[graphql(skip)]
    approved_by: Option<UserId>,
    #[graphql(skip)]
    imported_by: Option<ImportId>,
    /// Its sections, if they were read together with it.
    #[graphql(skip)]
    sections: Option<Arc<[SectionWithText]>>,
}

impl From<domain::Project> for Project {
    fn from(row: domain::Project) -> Self {
        Self {
            id: row.id.into(),
            external_ref: row.external_ref,
            name: row.name,
            revision: row.revision,
            status: row.status.into(),
            deleted: row.deleted_at.is_some(),
            costs: row.costs.into(),
            aif_pinned: row.aif_pinned,
            approved_at: moment(row.approved_at),
            import_row: row.import_row,
            created_at: DateTime(row.created_at),
            updated_at: DateTime(row.updated_at),
            project: row.id,
            batch: row.batch,
            template_version: row.template_version,
            approved_by: row.approved_by,
            imported_by: row.imported_by,
            sections: None,
        }
    }
}

impl From<(domain::Project, Option<Arc<[SectionWithText]>>)> for Project {
    fn from((row, sections): (domain::Project, Option<Arc<[SectionWithText]>>)) -> Self {
        Self { sections, ..row.into() }
    }
}

#[relations]
impl Project {
    /// The batch it belongs to.
    async fn batch(&self, ctx: &Context<'_>) -> Result<Batch> {
        Ok(load_required(ctx, self.batch).await?.into())
    }

    /// The facts that a narrative may use.
    async fn facts(projects: &[&Self], ctx: &Context<'_>) -> Result<Vec<ProjectFacts>> {
        let mut facts = load_all(ctx, projects.iter().map(|project| FactsOf(project.project))).await?;
        let missing = || Error::internal("a project without its facts");
        let of = |project: &&Self| Ok(facts.take(&FactsOf(project.project)).ok_or_else(missing)?.into());
        projects.iter().map(of).collect()
    }

    /// Template and version that the narrative follows.
    async fn template_version(&self, ctx: &Context<'_>) -> Option<Result<TemplateVersion>> {
        Some(load_required(ctx, self.template_version).await.map(TemplateVersion::from).map_err(Into::into))
    }

    /// Sections in the order of the template.
    async fn sections(projects: &[&Self], ctx: &Context<'_>, selection: &Plan) -> Result<Vec<Vec<Section>>> {
        sections_of(projects, ctx, parts::of_section(selection)).await
    }

    /// One section.
    async fn section(
        projects: &[&Self],
        ctx: &Context<'_>,
        selection: &Plan,
        #[graphql(desc = "Key of the section.")] key: String,
    ) -> Result<Vec<Option<Section>>> {
        let all = sections_of(projects, ctx, parts::of_section(selection) | SectionParts::KEY).await?;
        Ok(all.into_iter().map(|sections| sections.into_iter().find(|section| section.key == key)).collect())
    }

    /// Result of the last check; null before the first.
    async fn quality(projects: &[&Self], ctx: &Context<'_>) -> Result<Vec<Option<QualityReport>>> {
        let mut reports = load_all(ctx, projects.iter().map(|project| ReportOf(project.project))).await?;
        let of = |project: &&Self| reports.take(&ReportOf(project.project)).map(|(report, at)| QualityReport::of(report, at));
        Ok(projects.iter().map(of).collect())
    }

    /// What models have cost for this project, all attempts together.
    async fn generation_cost(&self, ctx: &Context<'_>) -> Result<Money> {
        Ok(load_required(ctx, SpendOfProject(self.project)).await?.into())
    }

    /// Runs and attempts that concerned this project, newest first.
    async fn attempts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(20)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<GenerationAttemptConnection> {
        let page = load_required(ctx, AttemptsOf(self.project, forward(first, after))).await?;
        Ok(GenerationAttemptConnection::new(page, Total::AttemptsOfProject(self.project)))
    }

    /// Who approved it.
    async fn approved_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        user(ctx, self.approved_by).await.transpose()
    }

    /// Where it came from.
    async fn imported_by(&self, ctx: &Context<'_>) -> Option<Result<ImportJob>> {
        let import = self.imported_by?;
        load(ctx, import).await.map_err(Into::into).map(|import| import.map(ImportJob::from)).transpose()
    }

    /// Position in the event stream that matches this answer.
    async fn event_cursor(&self, ctx: &Context<'_>) -> Result<EventCursor> {
        let batch = load_required(ctx, self.batch).await?;
        Ok(EventCursor(events::EventCursor { stream: batch.id.0, sequence: batch.event_sequence }.to_string()))
    }
}

/// Sections of each of several projects, in one statement unless they were read with them.
async fn sections_of(projects: &[&Project], ctx: &Context<'_>, parts: SectionParts) -> Result<Vec<Vec<Section>>> {
    let own = |sections: &[SectionWithText]| sections.iter().cloned().map(Section::from).collect();
    let known: Option<Vec<Vec<Section>>> = projects.iter().map(|project| project.sections.as_deref().map(own)).collect();
    if let Some(known) = known {
        return Ok(known);
    }
    let (services, actor) = caller(ctx)?;
    let ids: Vec<ProjectId> = projects.iter().map(|project| project.project).collect();
    let mut found = Found::new(ids.iter().copied(), services.sections.load_parts(actor, &ids, parts).await?);
    let of = |id| found.take(id).unwrap_or_default().into_iter().map(Section::from).collect();
    Ok(ids.iter().map(of).collect())
}

connection! {
    /// Connection of projects.
    ProjectConnection,
    /// Edge to a project.
    ProjectEdge, "The project.", Project, domain::Project
}

/// Which projects.
#[derive(Debug, Clone, InputObject)]
pub struct ProjectFilter {
    /// These ids only.
    ids: Option<Vec<ID>>,
    /// Statuses.
    status: Option<Vec<ProjectStatus>>,
    /// Text in name, reference or facts.
    text: Option<String>,
    /// Sectors, without regard to case.
    sector: Option<Vec<String>>,
    /// References of claims.
    claim_ref: Option<Vec<String>>,
    /// Score below.
    score_below: Option<i32>,
    /// Changed at or after.
    updated_since: Option<DateTime>,
    /// Include deleted projects.
    #[graphql(default_with = "Some(false)")]
    include_deleted: Option<bool>,
}

impl From<ProjectFilter> for domain::ProjectFilter {
    fn from(filter: ProjectFilter) -> Self {
        Self {
            batch: None,
            batches: None,
            import: None,
            ids: filter.ids.map(|ids| ids.iter().map(|id| ProjectId::from_global(id)).collect()),
            status: filter.status.map(|all| all.into_iter().map(Into::into).collect()),
            text: filter.text.filter(|text| !text.trim().is_empty()),
            sector: filter.sector,
            claim_ref: filter.claim_ref,
            score_below: filter.score_below,
            updated_since: filter.updated_since.map(|at| at.0),
            include_deleted: filter.include_deleted.unwrap_or(false),
        }
    }
}

/// Order of projects.
#[derive(Debug, Clone, InputObject)]
pub struct ProjectOrder {
    /// What to sort by.
    field: ProjectOrderField,
    /// Direction.
    #[graphql(default_with = "SortDirection::Asc")]
    direction: SortDirection,
}

/// What projects can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ProjectOrderField")]
pub enum ProjectOrderField {
    /// Name, without regard to case.
    Name,
    /// Reference, numbers in natural order.
    ExternalRef,
    /// Status, in the order of work.
    Status,
    /// Quality score; never checked comes last.
    Score,
    /// Qualifying expenditure.
    Expenditure,
    /// First day of the work.
    StartDate,
    /// Creation.
    CreatedAt,
    /// Last change.
    UpdatedAt,
}

fn order(order_by: Option<Vec<ProjectOrder>>) -> Vec<(domain::ProjectOrderField, Direction)> {
    order_by.unwrap_or_default().into_iter().map(|order| (order.field.into(), order.direction.into())).collect()
}

/// Projects of several batches, in one statement.
pub(super) async fn lists_of_batches(
    ctx: &Context<'_>,
    batches: &[BatchId],
    filter: Option<ProjectFilter>,
    order_by: Option<Vec<ProjectOrder>>,
    page: PageArgs,
    parts: ProjectParts,
) -> Result<Vec<ProjectConnection>> {
    let (services, actor) = caller(ctx)?;
    let filter = filter.map(domain::ProjectFilter::from).unwrap_or_default();
    let pages = services.projects.load_pages(actor, batches, &filter, &order(order_by), &page, parts).await?;
    let mut pages = Found::new(batches.iter().copied(), pages);
    let missing = || Error::internal("a batch without its page of projects");
    let connection = |batch: &BatchId| {
        let total = Total::Projects(Box::new(domain::ProjectFilter { batch: Some(*batch), ..filter.clone() }));
        Ok(ProjectConnection::new(pages.take(batch).ok_or_else(missing)?, total))
    };
    batches.iter().map(connection).collect()
}

/// A row of an import.
#[derive(Debug, InputObject)]
pub struct ProjectRowInput {
    /// Reference.
    external_ref: Option<String>,
    /// Name.
    name: String,
    /// Facts.
    facts: ProjectFactsInput,
    /// Costs.
    costs: Option<ProjectCostsInput>,
}

impl ProjectRowInput {
    /// The values of a new project; `at` is the path of the row.
    ///
    /// # Errors
    /// `INVALID` for an amount with a fraction of a penny.
    pub fn into_draft(self, at: &str) -> crate::error::Result<domain::ProjectDraft> {
        let costs = self.costs.unwrap_or_default().patch(at)?.apply(&domain::Costs::default());
        Ok(domain::ProjectDraft { external_ref: self.external_ref, name: self.name, facts: self.facts.into_facts(), costs })
    }
}

/// A new project.
#[derive(Debug, InputObject)]
pub struct CreateProjectInput {
    /// The batch.
    batch_id: ID,
    /// Id chosen by the client, a UUID.
    id: Option<ID>,
    /// Reference, unique in the batch.
    external_ref: Option<String>,
    /// Name, 1 to 500 characters.
    name: String,
    /// Facts.
    facts: Option<ProjectFactsInput>,
    /// Costs.
    costs: Option<ProjectCostsInput>,
    /// Makes repeats harmless.
    idempotency_key: Option<String>,
}

/// Changes of a project.
#[derive(Debug, InputObject)]
pub struct UpdateProjectInput {
    /// The project.
    pub(super) id: ID,
    /// Refuse if the project is at another revision.
    expected_revision: Option<i32>,
    /// Reference; null clears.
    external_ref: MaybeUndefined<String>,
    /// Name.
    name: MaybeUndefined<String>,
    /// Facts; absent ones stay, null clears.
    facts: Option<ProjectFactsInput>,
    /// Costs; absent ones stay.
    costs: Option<ProjectCostsInput>,
}

/// Answer about a project.
#[derive(Debug, SimpleObject, Output)]
pub struct ProjectPayload {
    /// The project after the change; the current one if refused; null if not found.
    project: Option<Project>,
    /// Problems.
    user_errors: Vec<UserError>,
}

async fn payload(ctx: &Context<'_>, id: Option<ProjectId>, result: crate::error::Result<domain::Project>) -> Result<ProjectPayload> {
    let (project, user_errors) = settle(result)?;
    let project = match (project, id) {
        (Some(project), _) => Some(project),
        (None, Some(id)) => {
            let (services, actor) = caller(ctx)?;
            services.projects.find(actor, id).await?
        }
        (None, None) => None,
    };
    Ok(ProjectPayload { project: project.map(Project::from), user_errors })
}

fn ids(ids: &[ID]) -> Vec<ProjectId> {
    ids.iter().map(|id| ProjectId::from_global(id)).collect()
}

/// Queries of projects.
#[derive(Debug, Default)]
pub struct ProjectsQuery;

#[roots]
#[Object]
impl ProjectsQuery {
    /// One project.
    async fn project(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the object.")] id: ID) -> Option<Result<Project>> {
        let find = async {
            let selection = graphql_gate::selection::<Project>(ctx)?;
            let key = PartsOfProject(ProjectId::from_global(&id), parts::of_project(&selection), parts::of_sections(&selection));
            load_root(ctx, key).await.map_err(async_graphql::Error::from)
        };
        find.await.map(|project| project.map(Project::from)).transpose()
    }

    /// One project by the client's reference.
    async fn project_by_ref(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the batch.")] batch_id: ID,
        #[graphql(desc = "The client's reference.")] external_ref: String,
    ) -> Option<Result<Project>> {
        let find = async {
            let (services, actor) = caller(ctx)?;
            services.projects.find_by_ref(actor, BatchId::from_global(&batch_id), &external_ref).await
        };
        find.await.map_err(Into::into).map(|project| project.map(Project::from)).transpose()
    }

    /// Projects of all batches that are not deleted.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection")]
    async fn projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most this many, from the end; 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which items; all that are visible if absent.")] filter: Option<ProjectFilter>,
        #[graphql(desc = "Order; later entries break ties.")] order_by: Option<Vec<ProjectOrder>>,
    ) -> Result<ProjectConnection> {
        let (services, actor) = caller(ctx)?;
        let filter = filter.map(domain::ProjectFilter::from).unwrap_or_default();
        let selection = graphql_gate::selection::<ProjectConnection>(ctx)?;
        let parts = parts::of_projects(&selection);
        let page = services.projects.list(actor, &filter, &order(order_by), &PageArgs { first, after, last, before }, parts).await?;
        Ok(ProjectConnection::new(page, Total::Projects(Box::new(filter))))
    }
}

/// Mutations of projects.
#[derive(Debug, Default)]
pub struct ProjectsMutation;

#[roots]
#[Object]
impl ProjectsMutation {
    /// Add a project.
    async fn create_project(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: CreateProjectInput,
    ) -> Result<ProjectPayload> {
        let (services, actor) = caller(ctx)?;
        let batch = BatchId::from_global(&input.batch_id);
        let facts = input.facts.unwrap_or_default();
        let row = ProjectRowInput { external_ref: input.external_ref, name: input.name, facts, costs: input.costs };
        let created = match row.into_draft("input") {
            Ok(draft) => services.projects.create(actor, batch, input.id.map(|id| id.0), draft, input.idempotency_key).await,
            Err(error) => Err(error),
        };
        payload(ctx, None, created).await
    }

    /// Change a project; absent fields stay.
    async fn update_project(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: UpdateProjectInput,
    ) -> Result<ProjectPayload> {
        let (services, actor) = caller(ctx)?;
        let id = ProjectId::from_global(&input.id);
        let updated = match input.costs.map(|costs| costs.patch("input")).transpose() {
            Ok(costs) => {
                let (external_ref, name) = (input.external_ref.into(), input.name.into());
                let patch = domain::ProjectPatch { external_ref, name, facts: input.facts.map(Into::into), costs };
                services.projects.update(actor, id, input.expected_revision, patch).await
            }
            Err(error) => Err(error),
        };
        payload(ctx, Some(id), updated).await
    }

    /// Delete projects; can be restored. At most 100.
    async fn delete_projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "ids", desc = "Ids; at most 100.")] asked: Vec<ID>,
    ) -> Result<BulkPayload> {
        let (services, actor) = caller(ctx)?;
        Ok(BulkPayload::of_projects(&asked, services.projects.delete(actor, &ids(&asked)).await)?)
    }

    /// Bring back deleted projects.
    async fn restore_projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "ids", desc = "Ids; at most 100.")] asked: Vec<ID>,
    ) -> Result<BulkPayload> {
        let (services, actor) = caller(ctx)?;
        Ok(BulkPayload::of_projects(&asked, services.projects.restore(actor, &ids(&asked)).await)?)
    }

    /// Pin projects for the AIF selection or take pins away.
    async fn pin_aif_projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the batch.")] batch_id: ID,
        #[graphql(desc = "Projects to pin.")] pin: Option<Vec<ID>>,
        #[graphql(desc = "Projects to unpin.")] unpin: Option<Vec<ID>>,
    ) -> Result<BatchPayload> {
        let (services, actor) = caller(ctx)?;
        let batch = BatchId::from_global(&batch_id);
        let (pin, unpin) = (ids(&pin.unwrap_or_default()), ids(&unpin.unwrap_or_default()));
        super::batches::payload(ctx, Some(batch), services.projects.pin(actor, batch, &pin, &unpin).await).await
    }

    /// Approve a project and lock its sections.
    async fn approve_project(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the object.")] id: ID,
        #[graphql(desc = "Refuse with REVISION_CONFLICT if the object is at another revision.")] expected_revision: Option<i32>,
        #[graphql(desc = "Note, kept in the audit log.")] note: Option<String>,
    ) -> Result<ProjectPayload> {
        let (services, actor) = caller(ctx)?;
        let id = ProjectId::from_global(&id);
        payload(ctx, Some(id), services.sections.approve(actor, id, expected_revision, note).await).await
    }

    /// Approve several. Those that cannot be approved are named in `failed`.
    async fn approve_projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "ids", desc = "Ids; at most 100.")] asked: Vec<ID>,
    ) -> Result<BulkPayload> {
        let (services, actor) = caller(ctx)?;
        Ok(BulkPayload::of_projects(&asked, services.sections.approve_all(actor, &ids(&asked)).await)?)
    }

    /// Take back an approval.
    async fn unapprove_project(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the object.")] id: ID,
        #[graphql(desc = "Reason, kept in the audit log.")] reason: String,
    ) -> Result<ProjectPayload> {
        let (services, actor) = caller(ctx)?;
        let id = ProjectId::from_global(&id);
        payload(ctx, Some(id), services.sections.unapprove(actor, id, &reason).await).await
    }
}
