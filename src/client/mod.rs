//! The terminal client of the public API: imports a file, follows runs, fetches documents. It speaks GraphQL over HTTP
//! and WebSocket like any other client and must not use anything else of this crate.
//!
//! Results go to stdout, progress and failures to stderr, both through [`Console`].
//!
//! Exit codes, also of [`conclude`]:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; the run, if one was followed, ended SUCCEEDED |
//! | 1 | refused by the server, or a file of this machine cannot be used |
//! | 2 | wrong address, token or option |
//! | 3 | PARTIAL: some rows were refused, or some projects failed |
//! | 4 | FAILED |
//! | 5 | CANCELLED |
//! | 6 | the server cannot be reached, or the connection was lost for good |
//! | 7 | what was followed was deleted, or may no longer be seen |

mod answers;
mod api;
mod documents;
mod export;
mod failures;
mod import;
mod outcome;
mod progress;
mod socket;
mod stream;
mod watch;

#[cfg(test)]
mod scenarios;

pub use answers::{Batch, JobStatus, RunCounts};
pub use documents::{DOCUMENTS, Document};
pub use export::{Format, SavedExport};
pub use failures::{ClientError, UserError};
pub use import::{ImportOptions, import};
pub use outcome::{ImportEnd, Outcome, RunEnd, conclude};
pub use progress::Console;
pub use watch::{WatchOptions, watch};

/// Which server, and as whom.
#[derive(Clone)]
pub struct Connection {
    /// Address, such as `http://127.0.0.1:8080` (`CLAIMWRIGHT_URL`).
    pub url: String,
    /// Bearer token (`CLAIMWRIGHT_TOKEN`).
    pub token: String,
}

impl Connection {
    /// Where a server listens that was told nothing.
    pub const DEFAULT_URL: &'static str = "http://127.0.0.1:8080";
}

impl std::fmt::Debug for Connection {
    /// Leaves out the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).finish_non_exhaustive()
    }
}
