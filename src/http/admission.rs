//! What every operation passes before it runs, in any transport: its document is found and checked, and its caller pays
//! for it. It must not know transports.

use super::{
    Front,
    document::{self, Incoming, Prepared, Rejection},
    respond::{Charged, PublicError},
};
use crate::{
    error::{Error, FaultCode},
    graphql::rate_limits::Charge,
    identity::is_of_a_bad_token,
    services::{
        persisted::DocumentHash,
        rate_limits::{Allowance, Caller},
    },
};
use async_graphql::Request;
use std::{net::IpAddr, time::Duration};

/// What a token that nobody issued costs the address that it comes from, in points.
pub const FAILED_SIGN_IN_COST: u64 = 10;

/// What it costs to have a document kept, besides running it, in points.
pub const KEEP_COST: u64 = 10;

/// Why an operation may not run now.
#[derive(Debug)]
pub enum Unpaid {
    /// It costs more than the caller can ever have.
    TooComplex(Rejection),
    /// The caller has to wait so long.
    Limited(Charged, Duration),
}

impl Unpaid {
    /// The public code.
    pub const fn code(&self) -> FaultCode {
        match self {
            Self::TooComplex(rejection) => rejection.code,
            Self::Limited(..) => FaultCode::RateLimited,
        }
    }
}

impl From<Unpaid> for PublicError {
    fn from(unpaid: Unpaid) -> Self {
        match unpaid {
            Unpaid::TooComplex(rejection) => rejection.into(),
            Unpaid::Limited(_, pause) => Self::rate_limited(pause),
        }
    }
}

/// Finds and checks a document. The hash that comes back is the one to keep it under, once it is paid for.
///
/// # Errors
/// `PERSISTED_QUERY_NOT_FOUND` for an unknown hash: the client sends the document with its hash next. As
/// [`document::prepare`] says.
pub async fn check(front: &Front, incoming: Incoming) -> Result<(Prepared, Option<DocumentHash>), Rejection> {
    let (request, hash) = find(front, incoming).await?;
    Ok((document::prepare(request, &front.rules).await?, hash))
}

/// Finds the document if only its hash was sent, and compares the two if both were. Where documents are registered,
/// nothing but these is found.
async fn find(front: &Front, incoming: Incoming) -> Result<(Request, Option<DocumentHash>), Rejection> {
    let Incoming { mut request, hash } = incoming;
    let persisted = &front.state.services.persisted;
    if hash.is_none() && !persisted.only_registered() {
        return Ok((request, None));
    }
    let own = (!request.query.is_empty()).then(|| DocumentHash::of(&request.query));
    if own.is_some() && hash.is_some() && own != hash {
        return Err(Rejection::invalid("`persistedQuery.sha256Hash` is not the SHA-256 of the document.", Vec::new()));
    }
    if persisted.only_registered() {
        let registered = own.or(hash).and_then(|hash| persisted.find_registered(hash));
        request.query = registered.ok_or_else(|| unknown("Only registered documents may run here, and this one is not."))?.to_owned();
        return Ok((request, None));
    }
    let Some(hash) = hash else { return Ok((request, None)) };
    if own.is_none() {
        // Clients of the protocol know this message, some by its words.
        request.query = persisted.find(hash).await.ok_or_else(|| unknown("PersistedQueryNotFound"))?;
        return Ok((request, None));
    }
    Ok((request, Some(hash)))
}

fn unknown(message: &str) -> Rejection {
    Rejection { code: FaultCode::PersistedQueryNotFound, ..Rejection::invalid(message, Vec::new()) }
}

/// Takes what a failed sign-in costs from its address. Only who presents a bad token ever has to wait for that: good tokens
/// are let in from the same address, one that has ended is no failure, and callers without a token have a purse of their
/// own. Gives what was charged and how long to wait, if the address has used up its failures.
pub async fn count_failed_sign_in(front: &Front, address: IpAddr, error: &Error) -> Option<(Charged, Duration)> {
    if !is_of_a_bad_token(error) {
        return None;
    }
    let services = &front.state.services;
    let caller = Caller::SignIn(address);
    // a burst of less than one failure still allows one
    let cost = services.rate_limits.most_points(&caller).map_or(0, |most| FAILED_SIGN_IN_COST.min(most.into()));
    let allowance = services.rate_limits.take(&caller, cost).await?;
    let pause = allowance.refused?;
    let charge = Charge { cost, allowance: Some(allowance), at: services.progress.now() };
    Some((Charged { charge, policy: caller.kind() }, pause))
}

/// Takes what an operation costs from its caller. Then, because it has passed every check but those of the schema, its
/// document is kept under the hash that came with it.
///
/// # Errors
/// If the caller cannot pay; nothing was taken.
pub async fn pay(front: &Front, caller: Caller, prepared: &Prepared, hash: Option<DocumentHash>) -> Result<Charged, Unpaid> {
    let services = &front.state.services;
    // even what reads nothing is an answer; who asks how much is left must get one with an empty purse
    let least = u64::from(matches!(caller, Caller::Address(_)));
    let cost = prepared.cost.max(least) + if hash.is_some() { KEEP_COST } else { 0 };
    if let Some(most) = services.rate_limits.most_points(&caller)
        && cost > u64::from(most)
    {
        let message = "The operation costs more than the rate limit ever allows. Ask for smaller pages or fewer fields.";
        return Err(Unpaid::TooComplex(Rejection::too_complex(message, most.into(), cost)));
    }
    let allowance = services.rate_limits.take(&caller, cost).await;
    let refused = allowance.as_ref().and_then(|allowance: &Allowance| allowance.refused);
    let charge = Charge { cost, allowance, at: services.progress.now() };
    let charged = Charged { charge, policy: caller.kind() };
    if let Some(pause) = refused {
        return Err(Unpaid::Limited(charged, pause));
    }
    if let Some(hash) = hash {
        services.persisted.keep(hash, prepared.text()).await;
    }
    Ok(charged)
}
