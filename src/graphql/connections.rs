//! Relay connections: the page as it was read, and the number of all items, which is counted only where it is asked for.

use super::context::caller;
use super::scalars::Cursor;
use crate::domain::batches::BatchFilter;
use crate::domain::generations::AttemptStatus;
use crate::domain::ids::{BatchId, ImportId, ProjectId, RunId, SectionId};
use crate::domain::imports::IssueFilter;
use crate::domain::paging::Page;
use crate::domain::projects::ProjectFilter;
use crate::domain::templates::TemplateFilter;
use crate::error::Result;
use async_graphql::{Context, SimpleObject};
use graphql_gate::Output;

/// Relay page information.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct PageInfo {
    /// True if there is more after `endCursor`.
    has_next_page: bool,
    /// True if there is more before `startCursor`.
    has_previous_page: bool,
    /// Cursor of the first edge.
    start_cursor: Option<Cursor>,
    /// Cursor of the last edge.
    end_cursor: Option<Cursor>,
}

impl PageInfo {
    /// Information about a page.
    #[must_use]
    pub fn of<T>(page: &Page<T>) -> Self {
        Self {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: page.rows.first().map(|(_, at)| Cursor(at.clone())),
            end_cursor: page.rows.last().map(|(_, at)| Cursor(at.clone())),
        }
    }
}

/// What a connection counts when its `totalCount` is asked for.
#[derive(Debug, Clone)]
pub enum Total {
    /// Batches that match.
    Batches(BatchFilter),
    /// Projects that match.
    Projects(Box<ProjectFilter>),
    /// Templates that match.
    Templates(TemplateFilter),
    /// Known already.
    Known(i32),
    /// Runs of a batch.
    Runs(BatchId),
    /// Imports of a batch.
    Imports(BatchId),
    /// Exports of a batch.
    Exports(BatchId),
    /// Attempts of a project.
    AttemptsOfProject(ProjectId),
    /// Attempts of a run with these outcomes.
    AttemptsOfRun(RunId, Option<Vec<AttemptStatus>>),
    /// Revisions of a section.
    Revisions(SectionId),
    /// Issues of an import that match.
    ImportIssues(ImportId, IssueFilter),
}

impl Total {
    /// Counts.
    ///
    /// # Errors
    /// As the service says.
    pub async fn count(&self, ctx: &Context<'_>) -> Result<i32> {
        let (services, actor) = caller(ctx)?;
        let count = match self {
            Self::Known(count) => return Ok(*count),
            Self::Batches(filter) => services.batches.count(actor, filter).await?,
            Self::Projects(filter) => services.projects.count(actor, filter).await?,
            Self::Templates(filter) => services.templates.count(actor, filter).await?,
            Self::Runs(batch) => services.generations.count(actor, *batch).await?,
            Self::Imports(batch) => services.imports.count(actor, *batch).await?,
            Self::Exports(batch) => services.exports.count(actor, *batch).await?,
            Self::AttemptsOfProject(project) => services.generations.count_attempts_of_project(actor, *project).await?,
            Self::AttemptsOfRun(run, status) => services.generations.count_attempts_of_run(actor, *run, status.as_deref()).await?,
            Self::Revisions(section) => services.sections.count_revisions(actor, *section).await?,
            Self::ImportIssues(import, filter) => services.imports.count_issues(actor, *import, filter).await?,
        };
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }
}

/// Declares a connection and its edge over a GraphQL type that is made from a domain value.
macro_rules! connection {
    ($(#[$doc:meta])* $name:ident, $(#[$edge_doc:meta])* $edge:ident, $node_doc:literal, $node:ty, $row:ty) => {
        $(#[$doc])*
        #[derive(Debug, async_graphql::SimpleObject, graphql_gate::Output)]
        #[graphql(complex)]
        pub struct $name {
            /// Page information.
            page_info: $crate::graphql::connections::PageInfo,
            #[graphql(skip)]
            rows: Vec<(std::sync::Arc<$node>, $crate::domain::paging::Position)>,
            #[graphql(skip)]
            total: $crate::graphql::connections::Total,
        }

        impl $name {
            /// A connection over a page.
            pub fn new(page: $crate::domain::paging::Page<$row>, total: $crate::graphql::connections::Total) -> Self {
                let page_info = $crate::graphql::connections::PageInfo::of(&page);
                let rows = page.rows.into_iter().map(|(row, at)| (std::sync::Arc::new(<$node>::from(row)), at)).collect();
                Self { page_info, rows, total }
            }
        }

        #[graphql_gate::relations]
        impl $name {
            /// Edges.
            fn edges(&self) -> Vec<$edge> {
                self.rows.iter().map(|(node, at)| $edge { cursor: $crate::graphql::scalars::Cursor(at.clone()), node: std::sync::Arc::clone(node) }).collect()
            }

            /// The nodes, without cursors.
            fn nodes(&self) -> Vec<std::sync::Arc<$node>> {
                self.rows.iter().map(|(node, _)| std::sync::Arc::clone(node)).collect()
            }

            /// Number of all items that match.
            async fn total_count(&self, ctx: &async_graphql::Context<'_>) -> async_graphql::Result<i32> {
                Ok(self.total.count(ctx).await?)
            }
        }

        $(#[$edge_doc])*
        #[derive(Debug, async_graphql::SimpleObject, graphql_gate::Output)]
        pub struct $edge {
            /// Cursor.
            cursor: $crate::graphql::scalars::Cursor,
            #[doc = $node_doc]
            node: std::sync::Arc<$node>,
        }
    };
}
pub(super) use connection;
