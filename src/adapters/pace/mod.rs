//! The port to pace: requests and tokens that a provider may be sent in a minute, over all processes that share an
//! implementation. It must not wait (who waits can be cancelled, and has something to say meanwhile) nor know what is sent.
//!
//! The rule that every implementation keeps: in no 60 seconds more requests begin, and no more tokens are taken, than the
//! quota says; and within the minute they are spread, because providers enforce a minute's limit in shorter pieces. Tokens
//! are taken by an estimate and set right once they are counted. Where processes share, no more calls than the quota says
//! are open at the same time.

pub mod local;
pub mod redis;

use async_trait::async_trait;
use std::num::NonZeroU32;
use std::time::Duration;

/// What a limit is counted over.
pub const WINDOW: Duration = Duration::from_mins(1);

/// How much a provider may be sent; no limit where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests in a minute.
    pub requests: Option<NonZeroU32>,
    /// Tokens in a minute, both directions.
    pub tokens: Option<NonZeroU32>,
    /// Calls at the same time, of all processes; each keeps to its own limit besides.
    pub concurrency: Option<NonZeroU32>,
}

impl Quota {
    /// The part of one of so many processes, never nothing.
    #[must_use]
    pub fn share(self, processes: u32) -> Self {
        let part = |most: NonZeroU32| NonZeroU32::new(most.get() / processes.max(1)).unwrap_or(NonZeroU32::MIN);
        Self { requests: self.requests.map(part), tokens: self.tokens.map(part), concurrency: self.concurrency.map(part) }
    }
}

/// The answer to a request for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It was taken: send the request now.
    Taken(Ticket),
    /// Nothing was taken: ask again after so long.
    Wait(Duration),
}

/// A place that was taken, to set its tokens right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The provider.
    pub provider: String,
    /// Number of the place among those of this process, unique for the provider.
    pub number: u64,
    /// Tokens that were taken.
    pub tokens: u32,
    /// What processes that share know of it.
    pub shared: Option<Shared>,
}

/// What processes that share know of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Number among the places of all; none if they could not be told.
    pub number: Option<u64>,
    /// Number of the lease on one of the calls at the same time.
    pub lease: u64,
}

/// Takes places in a provider's minute.
#[async_trait]
pub trait Pace: std::fmt::Debug + Send + Sync {
    /// Takes a place for one request of so many tokens, or says how long to wait. A request of more tokens than a minute
    /// has goes when nothing else is in the minute.
    async fn take(&self, provider: &str, tokens: u32) -> Place;

    /// Sets the tokens of a place right, in either direction; after its minute this has no effect.
    async fn settle(&self, ticket: &Ticket, tokens: u32);

    /// The call that took the place has ended or was dropped: another one may begin.
    fn leave(&self, _ticket: &Ticket) {}

    /// Gives no place for so long: the provider asked for a pause. A shorter one does not end a longer one.
    async fn pause(&self, provider: &str, how_long: Duration);
}
