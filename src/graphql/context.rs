//! What a resolver has at hand: the caller and the services, and the loaders, which are made anew for every operation
//! with the actor inside and ask the services' batch methods, so that no loader can pass by a rule.

use super::loads::{AtOnce, Loads};
use super::scalars;
use crate::domain::actor::Actor;
use crate::domain::batches::{Batch, BatchParts, BatchSummary};
use crate::domain::exports::ExportJob;
use crate::domain::generations::{Attempt, Run};
use crate::domain::ids::{AttemptId, BatchId, ImportId, ProjectId, RunId, SectionId, TemplateId, TemplateVersionId, UserId};
use crate::domain::imports::ImportJob;
use crate::domain::money::Spend;
use crate::domain::paging::{Page, PageArgs};
use crate::domain::people::User;
use crate::domain::projects::{Facts, Project, ProjectParts};
use crate::domain::quality::Report;
use crate::domain::sections::{Revision, SectionParts, SectionWithText};
use crate::domain::templates::{Template, TemplateVersion};
use crate::error::{Error, Fault, FaultCode, Result};
use crate::services::Services;
use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::{Context, Data};
use chrono::Utc;
use graphql_gate::direct::OnlyRoot;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::slice;
use std::sync::Arc;

/// What belongs to one operation: put into its request data. Its loads run only while [`Loads::drive`] runs the operation.
#[must_use]
pub fn session(services: &Services, actor: Option<Actor>, loads: &Loads) -> Data {
    let mut data = Data::default();
    if let Some(actor) = actor {
        let reader = Reader { services: services.clone(), actor: actor.clone() };
        // no limit of keys: the complexity of the operation is one
        data.insert(DataLoader::new(reader, loads.clone(), AtOnce).max_batch_size(usize::MAX));
        data.insert(actor);
    }
    data
}

/// The services and the caller of a resolver.
///
/// # Errors
/// `UNAUTHENTICATED` without a caller; the front refuses such requests before, so this is the second lock.
pub fn caller<'c>(ctx: &Context<'c>) -> Result<(&'c Services, &'c Actor)> {
    let missing = || Error::fault(FaultCode::Unauthenticated, "This needs a token.");
    let actor = ctx.data_opt::<Actor>().ok_or_else(missing)?;
    let services = ctx.data_opt::<Services>().ok_or_else(|| Error::internal("the schema has no services"))?;
    Ok((services, actor))
}

fn loader<'c>(ctx: &Context<'c>) -> Result<&'c DataLoader<Reader>> {
    ctx.data_opt().ok_or_else(|| Error::fault(FaultCode::Unauthenticated, "This needs a token."))
}

/// The value of a key, by the loader that is shared by all of its kind in this operation.
///
/// # Errors
/// As the service says.
pub async fn load<K>(ctx: &Context<'_>, key: K) -> Result<Option<<Reader as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Reader: Loader<K, Error = Shared>,
{
    Ok(loader(ctx)?.load_one(key).await?)
}

/// As [`load`], for a root field. If that is the only one of its operation, nobody else can ask for the like, and nobody is waited for.
///
/// # Errors
/// As the service says.
pub async fn load_root<K>(ctx: &Context<'_>, key: K) -> Result<Option<<Reader as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Reader: Loader<K, Error = Shared>,
{
    if ctx.data_opt::<OnlyRoot>().is_none() {
        return load(ctx, key).await;
    }
    Ok(loader(ctx)?.loader().load(slice::from_ref(&key)).await?.remove(&key))
}

/// What was found for the rows of a level. A row may occur twice in it; only then is a value copied.
#[derive(Debug)]
pub struct Found<K, V> {
    values: HashMap<K, V>,
    /// How many rows are left of each key; empty where each has one.
    rows: HashMap<K, usize>,
}

impl<K: Hash + Eq, V: Clone> Found<K, V> {
    /// What was found for these keys.
    pub fn new(keys: impl Iterator<Item = K>, values: HashMap<K, V>) -> Self {
        let (mut rows, mut count) = (HashMap::with_capacity(keys.size_hint().0), 0);
        for key in keys {
            *rows.entry(key).or_default() += 1;
            count += 1;
        }
        if rows.len() == count {
            rows = HashMap::new();
        }
        Self { values, rows }
    }

    /// The value for a row with this key.
    pub fn take(&mut self, key: &K) -> Option<V> {
        if let Some(left) = self.rows.get_mut(key).filter(|left| **left > 1) {
            *left -= 1;
            return self.values.get(key).cloned();
        }
        self.values.remove(key)
    }
}

/// The values of the keys of all rows of a level, in one call of a service. What does not exist is left out.
///
/// # Errors
/// As the service says.
pub async fn load_all<K>(ctx: &Context<'_>, keys: impl Iterator<Item = K> + Clone) -> Result<Found<K, <Reader as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Reader: Loader<K, Error = Shared>,
{
    // by the loader: what several fields of a level ask for is one statement
    let found = loader(ctx)?.load_many(keys.clone()).await?;
    Ok(Found::new(keys, found))
}

/// As [`load`], for what must be there.
///
/// # Errors
/// `INTERNAL` if it is not; as the service says.
pub async fn load_required<K>(ctx: &Context<'_>, key: K) -> Result<<Reader as Loader<K>>::Value>
where
    K: Send + Sync + Hash + Eq + Clone + std::fmt::Debug + 'static,
    Reader: Loader<K, Error = Shared>,
{
    let name = format!("{key:?}");
    load(ctx, key).await?.ok_or_else(|| Error::internal(format!("{name} is referred to and does not exist")))
}

/// An error that several waiting resolvers share.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Error>);

impl From<Error> for Shared {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<Shared> for Error {
    fn from(shared: Shared) -> Self {
        match &*shared.0 {
            Self::Refused(problems) => Self::Refused(problems.clone()),
            Self::Fault(fault) => Self::Fault(Fault {
                code: fault.code,
                message: fault.message.clone(),
                argument: fault.argument,
                source: fault.source.as_ref().map(|source| source.to_string().into()),
            }),
        }
    }
}

/// Reads for one operation.
#[derive(Debug)]
pub struct Reader {
    services: Services,
    actor: Actor,
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub $inner);
    };
}

key! {
    /// Sums over a batch's projects.
    SummaryOf(BatchId)
}
key! {
    /// The active run of a batch.
    ActiveRunOf(BatchId)
}
key! {
    /// What the calls for a batch cost.
    SpendOfBatch(BatchId)
}
key! {
    /// What the calls for a project cost.
    SpendOfProject(ProjectId)
}
key! {
    /// Facts of a project.
    FactsOf(ProjectId)
}
key! {
    /// Report of a project's last check.
    ReportOf(ProjectId)
}
key! {
    /// Newest text of a section.
    TextOf(SectionId)
}

/// A loader whose keys are ids and whose values come from one batch method of a service.
macro_rules! loader {
    ($key:ident($id:ty), $value:ty, $this:ident, $ids:ident => $call:expr) => {
        impl Loader<$key> for Reader {
            type Value = $value;
            type Error = Shared;

            async fn load(&self, keys: &[$key]) -> Result<HashMap<$key, $value>, Shared> {
                let $this = self;
                let $ids: &Vec<$id> = &keys.iter().map(|key| key.0).collect();
                let found: HashMap<$id, $value> = $call.await?;
                Ok(found.into_iter().map(|(id, value)| ($key(id), value)).collect())
            }
        }
    };
    ($key:ty, $value:ty, $this:ident, $ids:ident => $call:expr) => {
        impl Loader<$key> for Reader {
            type Value = $value;
            type Error = Shared;

            async fn load(&self, $ids: &[$key]) -> Result<HashMap<$key, $value>, Shared> {
                let $this = self;
                Ok($call.await?)
            }
        }
    };
}

/// Parts of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartsOfBatch(pub BatchId, pub BatchParts);

/// What several fields ask for is one statement.
impl Loader<PartsOfBatch> for Reader {
    type Value = Batch;
    type Error = Shared;

    async fn load(&self, keys: &[PartsOfBatch]) -> Result<HashMap<PartsOfBatch, Batch>, Shared> {
        let ids: HashSet<BatchId> = keys.iter().map(|key| key.0).collect();
        let parts = keys.iter().map(|key| key.1).collect();
        let found = self.services.batches.load_parts(&self.actor, &Vec::from_iter(ids), parts).await?;
        Ok(of_keys(keys, found, |key| key.0))
    }
}

/// Parts of a project, and of its sections if they are to be read with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartsOfProject(pub ProjectId, pub ProjectParts, pub Option<SectionParts>);

impl Loader<PartsOfProject> for Reader {
    type Value = (Project, Option<Arc<[SectionWithText]>>);
    type Error = Shared;

    async fn load(&self, keys: &[PartsOfProject]) -> Result<HashMap<PartsOfProject, Self::Value>, Shared> {
        let (services, actor) = (&self.services.projects, &self.actor);
        let ids: HashSet<ProjectId> = keys.iter().map(|key| key.0).collect();
        let (ids, parts) = (Vec::from_iter(ids), keys.iter().map(|key| key.1).collect());
        let of_sections = keys.iter().filter_map(|key| key.2).reduce(|all, more| all | more);
        let found: HashMap<ProjectId, Self::Value> = if let Some(of_sections) = of_sections {
            let found = services.load_with_sections(actor, &ids, (parts, of_sections)).await?;
            found.into_iter().map(|(project, sections)| (project.id, (project, Some(sections.into())))).collect()
        } else {
            let found = services.load_parts(actor, &ids, parts).await?;
            found.into_iter().map(|(id, project)| (id, (project, None))).collect()
        };
        Ok(of_keys(keys, found, |key| key.0))
    }
}

/// What was found, by the keys that asked for it; copied only if several have asked for the same.
fn of_keys<K: Hash + Eq + Copy, I: Hash + Eq, V: Clone>(keys: &[K], found: HashMap<I, V>, id: impl Fn(&K) -> I) -> HashMap<K, V> {
    let mut found = Found::new(keys.iter().map(&id), found);
    keys.iter().filter_map(|key| found.take(&id(key)).map(|row| (*key, row))).collect()
}

loader!(BatchId, Batch, me, ids => me.services.batches.load(&me.actor, ids));
loader!(ProjectId, Project, me, ids => me.services.projects.load(&me.actor, ids));
loader!(TemplateId, Template, me, ids => me.services.templates.load(&me.actor, ids));
loader!(TemplateVersionId, TemplateVersion, me, ids => me.services.templates.load_versions(&me.actor, ids));
loader!(UserId, User, me, ids => me.services.people.load_users(&me.actor, ids));
loader!(RunId, Run, me, ids => me.services.generations.load(&me.actor, ids));
loader!(AttemptId, Attempt, me, ids => me.services.generations.load_attempts(&me.actor, ids));
loader!(ImportId, ImportJob, me, ids => me.services.imports.load(&me.actor, ids));
loader!(SummaryOf(BatchId), BatchSummary, me, ids => me.services.batches.load_summaries(&me.actor, ids));
loader!(ActiveRunOf(BatchId), Run, me, ids => me.services.generations.load_active(&me.actor, ids));
loader!(SpendOfBatch(BatchId), Spend, me, ids => me.services.generations.load_spend_of_batches(&me.actor, ids));
loader!(SpendOfProject(ProjectId), Spend, me, ids => me.services.generations.load_spend_of_projects(&me.actor, ids));
loader!(FactsOf(ProjectId), Facts, me, ids => me.services.projects.load_facts(&me.actor, ids));
loader!(ReportOf(ProjectId), (Report, chrono::DateTime<Utc>), me, ids => me.services.projects.load_reports(&me.actor, ids));
loader!(TextOf(SectionId), String, me, ids => me.services.sections.load_texts(&me.actor, ids));

/// Declares the key of a page under a parent, and the loader that reads the pages of all parents of a level together.
macro_rules! pages {
    ($(#[$doc:meta])* $key:ident($id:ty), $row:ty, $this:ident, $ids:ident, $page:ident => $call:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $key(pub $id, pub PageArgs);

        impl Loader<$key> for Reader {
            type Value = Page<$row>;
            type Error = Shared;

            async fn load(&self, keys: &[$key]) -> Result<HashMap<$key, Page<$row>>, Shared> {
                let $this = self;
                let mut lists: HashMap<&PageArgs, Vec<$id>> = HashMap::new();
                for key in keys {
                    lists.entry(&key.1).or_default().push(key.0);
                }
                let mut found = HashMap::new();
                for ($page, $ids) in lists {
                    let pages = $call.await?;
                    found.extend(pages.into_iter().map(|(id, rows)| ($key(id, $page.clone()), rows)));
                }
                Ok(found)
            }
        }
    };
}

pages! {
    /// Runs of a batch.
    RunsOf(BatchId), Run, me, ids, page => me.services.generations.load_pages(&me.actor, &ids, page)
}
pages! {
    /// Imports of a batch.
    ImportsOf(BatchId), ImportJob, me, ids, page => me.services.imports.load_pages(&me.actor, &ids, page)
}
pages! {
    /// Exports of a batch.
    ExportsOf(BatchId), ExportJob, me, ids, page => me.services.exports.load_pages(&me.actor, &ids, page)
}
pages! {
    /// Attempts of a project.
    AttemptsOf(ProjectId), Attempt, me, ids, page => me.services.generations.load_attempt_pages(&me.actor, &ids, page)
}
pages! {
    /// Revisions of a section.
    RevisionsOf(SectionId), Revision, me, ids, page => me.services.sections.load_revision_pages(&me.actor, &ids, page)
}
pages! {
    /// Versions of a template.
    VersionsOf(TemplateId), TemplateVersion, me, ids, page => me.services.templates.load_version_pages(&me.actor, &ids, page)
}

/// Arguments of a list that is paged forward only.
#[must_use]
pub fn forward(first: Option<i32>, after: Option<String>) -> PageArgs {
    PageArgs { first, after, ..PageArgs::default() }
}

/// A moment that may be absent.
#[must_use]
pub fn moment(at: Option<chrono::DateTime<Utc>>) -> Option<scalars::DateTime> {
    at.map(scalars::DateTime)
}
