//! What all background work and all payloads share: states, failures, money, problems.

use super::scalars::Decimal;
use crate::domain::money::{Pence, Spend};
use crate::domain::{jobs, paging};
use crate::error::{self, Error, Problem, ProblemCode};
use async_graphql::{Enum, InputObject, SimpleObject};
use graphql_gate::Output;

/// State of a job. SUCCEEDED, PARTIAL, FAILED and CANCELLED are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "jobs::JobStatus")]
pub enum JobStatus {
    /// Accepted, waiting for a worker.
    Queued,
    /// A worker is on it.
    Running,
    /// Stopped because a budget cap was reached; `resumeGeneration` goes on.
    PausedBudget,
    /// Cancellation was asked for; work in flight is being let go.
    Cancelling,
    /// Everything was done.
    Succeeded,
    /// Finished, but some items failed.
    Partial,
    /// Nothing useful was done.
    Failed,
    /// Stopped on request. What was finished before is kept.
    Cancelled,
}

/// Causes of failure of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "jobs::JobFailureCode")]
pub enum JobFailureCode {
    /// The AI provider refused or limited the request.
    ProviderRateLimited,
    /// The AI provider could not be reached or answered with a server error.
    ProviderUnavailable,
    /// The AI provider rejected the content.
    ProviderRefused,
    /// The answer of the provider could not be read.
    ProviderBadAnswer,
    /// The time limit of the job ran out.
    TimedOut,
    /// A budget cap was reached.
    BudgetExceeded,
    /// The file could not be read.
    FileUnreadable,
    /// Object storage failed.
    StorageFailed,
    /// A worker died more often than the job may be tried.
    WorkerLost,
    /// A fault in this service; reported with a reference.
    Internal,
}

/// Why a job failed.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct JobFailure {
    /// Stable code.
    code: JobFailureCode,
    /// A sentence for people, without secrets or stack traces.
    message: String,
    /// True if trying again without a change can help.
    retryable: bool,
}

impl From<jobs::JobFailure> for JobFailure {
    fn from(failure: jobs::JobFailure) -> Self {
        Self { code: failure.code.into(), message: failure.message, retryable: failure.retryable }
    }
}

/// Currencies that the API reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
pub enum CurrencyCode {
    /// Pound sterling; used for qualifying expenditure.
    #[graphql(name = "GBP")]
    Gbp,
    /// US dollar; used for most provider prices.
    #[graphql(name = "USD")]
    Usd,
}

/// An amount of money.
#[derive(Debug, Clone, Copy, SimpleObject, Output)]
pub struct Money {
    /// Exact amount.
    amount: Decimal,
    /// ISO 4217 code.
    currency: CurrencyCode,
}

impl From<Pence> for Money {
    fn from(pence: Pence) -> Self {
        Self { amount: pence.into(), currency: CurrencyCode::Gbp }
    }
}

impl From<Spend> for Money {
    fn from(spend: Spend) -> Self {
        Self { amount: Decimal(spend.dollars()), currency: CurrencyCode::Usd }
    }
}

/// An amount of money given by a client.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct MoneyInput {
    /// Exact amount, zero or more.
    amount: Decimal,
    /// ISO 4217 code.
    currency: CurrencyCode,
}

impl MoneyInput {
    /// An amount of AI cost, which is kept in dollars.
    ///
    /// # Errors
    /// `INVALID` for another currency, a negative amount or one with fractions of a millionth.
    pub fn spend(self, field: &str) -> crate::error::Result<Spend> {
        if self.currency != CurrencyCode::Usd {
            let message = "Costs of models are kept in US dollars; give the amount in USD.";
            return Err(Error::refused(ProblemCode::Invalid, &format!("{field}.currency"), message));
        }
        let message = "Give an amount from 0 to 100000000 dollars with at most six decimals.";
        Spend::from_dollars(self.amount.0).ok_or_else(|| Error::refused(ProblemCode::Invalid, &format!("{field}.amount"), message))
    }
}

/// Direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "paging::Direction")]
pub enum SortDirection {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// Codes of problems that the caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "error::ProblemCode")]
pub enum UserErrorCode {
    /// A value is missing.
    Required,
    /// A value is malformed or out of range.
    Invalid,
    /// A text is longer than allowed.
    TooLong,
    /// Too many items in one request.
    TooMany,
    /// The object does not exist or is not visible to the caller.
    NotFound,
    /// A name, reference or id is already in use.
    Taken,
    /// `expectedRevision` is not the current revision; the payload carries the current object.
    RevisionConflict,
    /// The object is in a state in which this is not possible, for example approved or archived.
    WrongState,
    /// Another run of this batch is queued, running or paused.
    AlreadyRunning,
    /// The estimate is above the budget cap.
    OverBudget,
    /// The same idempotency key was used with another input.
    IdempotencyKeyReused,
    /// Issues that block approval are open.
    BlockingIssues,
    /// The file is of a kind that cannot be read.
    UnsupportedFile,
    /// The upload has expired or never arrived, or another file than the announced one has arrived.
    UploadMissing,
    /// The template lacks what is needed or is archived.
    TemplateUnusable,
}

/// Codes in `extensions.code` of top-level errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "error::FaultCode")]
pub enum RequestErrorCode {
    /// No valid token.
    Unauthenticated,
    /// The token is valid but this is not allowed.
    Forbidden,
    /// The document cannot be parsed.
    ParseFailed,
    /// The document does not fit the schema, the variables do not fit the document, or an argument is not valid (`extensions.argument`).
    ValidationFailed,
    /// The query is too deep or too complex; `extensions.limit` and `extensions.actual` say by how much.
    TooComplex,
    /// Too many requests; see `extensions.retryAfterMs`.
    RateLimited,
    /// No document is kept under this hash: send it together with its hash.
    PersistedQueryNotFound,
    /// The body is larger than allowed.
    PayloadTooLarge,
    /// A subscription's object does not exist or is not visible. (Queries answer null, mutations a `userErrors` entry.)
    NotFound,
    /// The request took too long.
    Timeout,
    /// A dependency is down; try again.
    Unavailable,
    /// A fault in this service; `extensions.reference` identifies it.
    Internal,
}

/// A problem that the caller can act on.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct UserError {
    /// Stable code; branch on this.
    code: UserErrorCode,
    /// A sentence for people.
    message: String,
    /// Path in the input, such as `["input", "costs", "staff"]`; null if it concerns the whole request.
    field: Option<Vec<String>>,
    /// True if the same request may succeed later without a change.
    retryable: bool,
}

impl UserError {
    /// True if a budget stands in the way.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.code == UserErrorCode::OverBudget
    }
}

impl From<Problem> for UserError {
    fn from(problem: Problem) -> Self {
        let field = (!problem.field.is_empty()).then_some(problem.field);
        Self { code: problem.code.into(), message: problem.message, field, retryable: problem.retryable }
    }
}

/// What a mutation answers: the value, or the problems that the caller can act on; a fault stays an error.
///
/// # Errors
/// The fault.
pub fn settle<T>(result: crate::error::Result<T>) -> crate::error::Result<(Option<T>, Vec<UserError>)> {
    match result {
        Ok(value) => Ok((Some(value), Vec::new())),
        Err(Error::Refused(problems)) => Ok((None, problems.into_iter().map(UserError::from).collect())),
        Err(fault @ Error::Fault(_)) => Err(fault),
    }
}

/// Answer about several objects. This one may be done in part.
#[derive(Debug, SimpleObject, Output)]
pub struct BulkPayload {
    /// Ids that were changed.
    done: Vec<async_graphql::ID>,
    /// Ids that were not, with reasons.
    failed: Vec<BulkFailure>,
    /// Problems of the whole request; if there are any, `done` is empty.
    user_errors: Vec<UserError>,
}

/// An object that was not changed.
#[derive(Debug, SimpleObject, Output)]
pub struct BulkFailure {
    /// Id.
    id: async_graphql::ID,
    /// Why.
    error: UserError,
}

impl BulkPayload {
    /// The answer to a request about projects. Ids come back as they were given, so that a client finds its own.
    ///
    /// # Errors
    /// The fault, if it was one.
    pub fn of_projects(
        asked: &[async_graphql::ID],
        result: crate::error::Result<crate::services::BulkOutcome<crate::domain::ids::ProjectId>>,
    ) -> crate::error::Result<Self> {
        let (outcome, user_errors) = settle(result)?;
        let outcome = outcome.unwrap_or_default();
        let given = |id: crate::domain::ids::ProjectId| -> Vec<async_graphql::ID> {
            let same = |text: &&async_graphql::ID| crate::domain::ids::ProjectId::from_global(text) == id;
            asked.iter().filter(same).cloned().collect()
        };
        let mut failed = Vec::new();
        for (id, problem) in outcome.failed {
            for id in given(id) {
                if !failed.iter().any(|known: &BulkFailure| known.id == id) {
                    failed.push(BulkFailure { id, error: problem.clone().into() });
                }
            }
        }
        let done = outcome.done.into_iter().map(|id| id.global().into()).collect();
        Ok(Self { done, failed, user_errors })
    }
}

/// Answer about a deletion.
#[derive(Debug, SimpleObject, Output)]
pub struct DeletePayload {
    /// Id of what was deleted.
    pub deleted_id: Option<async_graphql::ID>,
    /// When it will be removed for good; null if it was.
    pub purge_after: Option<super::scalars::DateTime>,
    /// Problems.
    pub user_errors: Vec<UserError>,
}
