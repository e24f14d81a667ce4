//! All SQL of the product, for both databases. Rows in, domain values out; nothing here decides anything or calls out.
//!
//! Every function takes the session first. Those that write end in `_in`: they join the caller's transaction. Every
//! statement on a tenant's rows filters by workspace, but for what hangs on a run, import or job that was read by its workspace in
//! the same transaction, and for upkeep, which serves all.

pub mod attempts;
pub mod audit;
pub mod batches;
pub mod budgets;
pub mod db;
pub mod drafts;
pub mod events;
pub mod exports;
pub mod generations;
pub mod idempotency;
pub mod imports;
pub mod jobs;
pub mod keyset;
pub mod migrate_data;
pub mod people;
pub mod projects;
pub mod sections;
pub mod templates;
pub mod uploads;
