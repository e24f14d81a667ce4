//! The behaviour of the product, through its public API: one binary, one file per concept. Every behaviour runs on
//! `SQLite` and, where there is one, on `PostgreSQL`, from the same code.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails where it stands")]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
#![expect(clippy::needless_pass_by_value, clippy::format_collect, reason = "tests read better with `json!` as an argument and short texts")]

mod support;

mod architecture;
mod bad_input;
mod batches;
mod client;
mod contract;
mod crash;
mod exports;
mod generations;
mod idempotency;
mod imports;
mod lists;
mod narratives;
mod playground;
mod progress;
mod projects;
mod providers;
mod reads;
mod sections;
mod templates;
mod tenancy;
mod tokens;
