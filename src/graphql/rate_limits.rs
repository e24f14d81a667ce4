//! The caller's rate limit, as it stands after the operation that asks for it.

use super::scalars::DateTime;
use crate::error::Error;
use crate::services::rate_limits::Allowance;
use async_graphql::{Context, Object, Result, SimpleObject};
use chrono::Utc;
use graphql_gate::{Output, roots};

/// What an operation costs and where its caller stands; the front puts it into the operation's data.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Cost of the operation, in points.
    pub cost: u64,
    /// Where the caller stands; none without a limit.
    pub allowance: Option<Allowance>,
    /// When it was charged.
    pub at: chrono::DateTime<Utc>,
}

/// The caller's rate limit in cost points. Asking for it costs nothing. Where the server has no limit, `limit`, `remaining`
/// and `restorePerSecond` are 2147483647: there is always enough.
#[derive(Debug, SimpleObject, Output)]
pub struct RateLimit {
    /// Points when full.
    limit: i32,
    /// Points left, those of this request taken off.
    remaining: i32,
    /// Points restored each second.
    restore_per_second: i32,
    /// When the bucket will be full.
    reset_at: DateTime,
    /// Cost of this request.
    cost: i32,
}

impl From<&Charge> for RateLimit {
    fn from(charge: &Charge) -> Self {
        let number = |points: u32| i32::try_from(points).unwrap_or(i32::MAX);
        let of = |points: fn(&Allowance) -> u32| charge.allowance.as_ref().map_or(i32::MAX, |allowance| number(points(allowance)));
        Self {
            limit: of(|allowance| allowance.limit),
            remaining: of(|allowance| allowance.remaining),
            restore_per_second: of(|allowance| allowance.restore_per_second),
            reset_at: DateTime(charge.allowance.as_ref().map_or(charge.at, |allowance| allowance.reset_at)),
            cost: i32::try_from(charge.cost).unwrap_or(i32::MAX),
        }
    }
}

/// Queries about limits.
#[derive(Debug, Default)]
pub struct RateLimitsQuery;

#[roots]
#[Object]
impl RateLimitsQuery {
    /// The caller's rate limit.
    async fn rate_limit(&self, ctx: &Context<'_>) -> Result<RateLimit> {
        let charge = ctx.data_opt::<Charge>().ok_or_else(|| Error::internal("the operation was not charged"))?;
        Ok(charge.into())
    }
}
