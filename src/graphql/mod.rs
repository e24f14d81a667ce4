//! The GraphQL schema: types, inputs, payloads and the roots merged from one piece per concept. A resolver is one call
//! of a service plus a conversion. Nothing here imports repositories or knows HTTP.

pub mod aif;
pub mod batches;
pub mod budgets;
pub mod connections;
pub mod context;
pub mod drafts;
pub mod exports;
pub mod facts;
pub mod failures;
pub mod following;
pub mod generations;
pub mod imports;
pub mod info;
pub mod jobs;
pub mod loads;
pub mod nodes;
pub mod parts;
pub mod people;
pub mod progress;
pub mod projects;
pub mod quality;
pub mod rate_limits;
pub mod scalars;
pub mod sections;
pub mod templates;
pub mod uploads;

use crate::error::{Error, Result};
use crate::services::Services;
use async_graphql::{MergedObject, SDLExportOptions, Schema};

/// Everything that can be read.
#[derive(Debug, Default, MergedObject)]
pub struct Query(
    people::PeopleQuery,
    nodes::NodesQuery,
    batches::BatchesQuery,
    projects::ProjectsQuery,
    templates::TemplatesQuery,
    quality::QualityQuery,
    aif::AifQuery,
    info::InfoQuery,
    rate_limits::RateLimitsQuery,
    budgets::BudgetsQuery,
);

/// Everything that can be changed. Inputs that create something or start work accept `idempotencyKey`: for 24 hours the
/// same key with the same input gives the first answer again; with another input `IDEMPOTENCY_KEY_REUSED`.
#[derive(Debug, Default, MergedObject)]
pub struct Mutation(
    batches::BatchesMutation,
    uploads::UploadsMutation,
    imports::ImportsMutation,
    projects::ProjectsMutation,
    templates::TemplatesMutation,
    generations::GenerationsMutation,
    sections::SectionsMutation,
    exports::ExportsMutation,
);

/// The executable schema.
pub type AppSchema = Schema<Query, Mutation, progress::SubscriptionRoot>;

/// What runs simple documents of the schema without async-graphql's executor.
pub type Direct = graphql_gate::direct::Direct<Query, Mutation>;

/// What runs simple documents of a schema.
///
/// # Errors
/// INTERNAL if the schema lacks its extension.
pub fn direct(schema: &AppSchema) -> Result<Direct> {
    Direct::of(schema, Query::default(), Mutation::default()).ok_or_else(|| Error::internal("the schema lacks its extension"))
}

/// What of the schema is configured.
#[derive(Debug, Clone, Copy)]
pub struct ApiSettings {
    /// Answer introspection and suggest names for misspelt fields.
    pub introspection: bool,
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, progress::SubscriptionRoot> {
    Schema::build(Query::default(), Mutation::default(), progress::SubscriptionRoot)
        // no field returns these interfaces, and without this they would vanish from the schema
        .register_output_type::<nodes::Job>()
        .register_output_type::<progress::StreamEvent>()
        .extension(failures::ErrorPaths)
}

/// The schema over the services.
#[must_use]
pub fn schema(services: Services, settings: ApiSettings) -> AppSchema {
    let builder = builder().data(services);
    if settings.introspection { builder.finish() } else { builder.disable_introspection().disable_suggestions().finish() }
}

/// The schema without anything behind it: for what is decided before a resolver asks a service.
#[cfg(any(test, fuzzing))]
#[must_use]
pub fn without_services() -> AppSchema {
    builder().finish()
}

/// The schema in SDL: what `schema.graphql` holds.
#[must_use]
pub fn sdl() -> String {
    let options = SDLExportOptions::new().include_specified_by().sorted_fields().sorted_arguments().sorted_enum_items();
    builder().finish().sdl_with_options(options)
}
