//! Use cases: authorise, open the transaction, call the rules, write rows, jobs and events as one, commit. The only
//! place where a transaction begins. Nothing here knows GraphQL or HTTP.

pub mod batches;
pub mod checks;
pub mod core;
pub mod drafts;
pub mod exports;
pub mod generations;
pub mod health;
pub mod imports;
pub mod migrate_data;
pub mod narratives;
pub mod pacing;
pub mod people;
pub mod persisted;
pub mod progress;
pub mod projects;
pub mod rate_limits;
pub mod sections;
pub mod templates;
pub mod upkeep;
pub mod uploads;

use crate::domain::paging::{Page, PageRequest};
use crate::error::{Error, Problem, Result};
use std::collections::HashMap;
use std::hash::Hash;

/// Every use case of the product. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Services {
    /// People and workspaces.
    pub people: people::People,
    /// Batches.
    pub batches: batches::Batches,
    /// Projects.
    pub projects: projects::Projects,
    /// Sections and approvals.
    pub sections: sections::Sections,
    /// Templates.
    pub templates: templates::Templates,
    /// Runs of generation.
    pub generations: generations::Generations,
    /// Files that are sent beside a request.
    pub uploads: uploads::Uploads,
    /// Imports.
    pub imports: imports::Imports,
    /// Exports.
    pub exports: exports::Exports,
    /// Checks and AIF selections.
    pub narratives: narratives::Narratives,
    /// Live progress.
    pub progress: progress::Progress,
    /// Texts while they are written.
    pub drafts: drafts::Drafts,
    /// Rate limits.
    pub rate_limits: rate_limits::RateLimits,
    /// Documents that clients send by their hash.
    pub persisted: persisted::PersistedDocuments,
    /// Whether the service can work.
    pub health: health::Health,
    /// What has to be done from time to time.
    pub upkeep: upkeep::Upkeep,
}

impl Services {
    /// All services on one core.
    #[must_use]
    pub fn new(core: &core::Core) -> Self {
        let batches = batches::Batches::new(core.clone());
        let exports = exports::Exports::new(core.clone());
        let uploads = uploads::Uploads::new(core.clone());
        Self {
            people: people::People::new(core.clone()),
            projects: projects::Projects::new(core.clone()),
            sections: sections::Sections::new(core.clone()),
            templates: templates::Templates::new(core.clone()),
            generations: generations::Generations::new(core.clone()),
            imports: imports::Imports::new(core.clone(), uploads.clone()),
            exports: exports.clone(),
            narratives: narratives::Narratives::new(core.clone()),
            progress: progress::Progress::new(core.clone()),
            drafts: drafts::Drafts::new(core.clone()),
            rate_limits: rate_limits::RateLimits::new(core.clone()),
            persisted: persisted::PersistedDocuments::new(core.clone()),
            health: health::Health::new(core),
            upkeep: upkeep::Upkeep::new(core.clone(), batches.clone(), exports, uploads.clone()),
            batches,
            uploads,
        }
    }
}

/// The page of each parent; an empty one for those that have none.
fn page_for_each<K: Copy + Eq + Hash, T>(parents: &[K], mut pages: HashMap<K, Page<T>>, request: &PageRequest) -> HashMap<K, Page<T>> {
    for parent in parents {
        pages.entry(*parent).or_insert_with(|| Page::from_rows(Vec::new(), request));
    }
    pages
}

/// What became of each of several objects.
#[derive(Debug)]
pub struct BulkOutcome<Id> {
    /// Objects that were changed.
    pub done: Vec<Id>,
    /// Objects that were not, with the reason.
    pub failed: Vec<(Id, Problem)>,
}

impl<Id> Default for BulkOutcome<Id> {
    fn default() -> Self {
        Self { done: Vec::new(), failed: Vec::new() }
    }
}

impl<Id: Copy + PartialEq> BulkOutcome<Id> {
    /// Notes why an object was not changed; a fault ends the whole request.
    fn fail(&mut self, id: Id, error: Error) -> Result<()> {
        match error {
            Error::Refused(problems) => self.failed.extend(problems.into_iter().next().map(|problem| (id, problem))),
            fault @ Error::Fault(_) => return Err(fault),
        }
        Ok(())
    }

    /// Notes the same reason for several objects.
    fn fail_all(&mut self, ids: &[Id], error: Error) -> Result<()> {
        match error {
            Error::Refused(problems) => {
                if let Some(problem) = problems.into_iter().next() {
                    self.failed.extend(ids.iter().map(|id| (*id, problem.clone())));
                }
                Ok(())
            }
            fault @ Error::Fault(_) => Err(fault),
        }
    }

    /// Puts the answers into the order of the request.
    fn in_order_of(&mut self, ids: &[Id]) {
        let place = |id: &Id| ids.iter().position(|asked| asked == id);
        self.done.sort_by_key(place);
        self.failed.sort_by_key(|(id, _)| place(id));
    }
}
