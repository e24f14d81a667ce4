//! Pure types and rules of the product. Nothing here does I/O, knows SQL or knows GraphQL.

pub mod actor;
pub mod aif;
pub mod answers;
pub mod batches;
pub mod budgets;
pub mod builtin_templates;
pub mod drafts;
pub mod events;
pub mod exports;
pub mod generations;
pub mod ids;
pub mod imports;
pub mod jobs;
pub mod money;
pub mod paging;
pub mod people;
pub mod personal_data;
pub mod projects;
pub mod prompts;
pub mod quality;
pub mod sections;
pub mod templates;
pub mod uploads;
pub mod work;
