//! The behaviour of the product, through its public API: one binary, one file per concept. Every behaviour runs
//! embedded (`SQLite`, all else in process) and, where their servers are, scaled out (`PostgreSQL` and Redis), from the
//! same code.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails where it stands")]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
#![expect(clippy::needless_pass_by_value, clippy::format_collect, reason = "tests read better with `json!` as an argument and short texts")]

mod support;

mod architecture;
mod attacks;
mod bad_input;
mod batches;
mod chaos;
mod client;
mod clients;
mod cognito;
mod connections;
mod contract;
mod corpora;
mod crash;
mod documents;
mod drafts;
mod event_streams;
mod exports;
mod gate;
mod generations;
mod http_documents;
mod http_protocol;
mod idempotency;
mod imports;
mod isolation;
mod limits;
mod lists;
mod migrate_data;
mod narratives;
mod operations;
mod persisted;
mod playground;
mod progress;
mod projects;
mod providers;
mod reads;
mod row_security;
mod scaled_out;
mod sections;
mod sharing;
mod socket_protocol;
mod storage;
mod templates;
mod tenancy;
mod tokens;
mod uploads;
