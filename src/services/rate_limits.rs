//! Rate limits in cost points: whose points an operation takes, and where the caller stands afterwards. What an operation
//! costs is decided where its document is known.

use super::core::{Core, Limit};
use crate::domain::actor::Actor;
use chrono::{DateTime, TimeDelta, Utc};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Whose points are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A person, from wherever.
    Person(Actor),
    /// Whoever calls from an address without a token.
    Address(IpAddr),
    /// Whoever tries tokens from an address that are no good.
    SignIn(IpAddr),
}

/// Where a caller stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Points when full.
    pub limit: u32,
    /// Points left.
    pub remaining: u32,
    /// Points that come back each second.
    pub restore_per_second: u32,
    /// How long it takes until all points are there again, if nothing else is taken.
    pub full_after: Duration,
    /// When all points are there again, if nothing else is taken.
    pub reset_at: DateTime<Utc>,
    /// If the points were not taken: how long to wait for them.
    pub refused: Option<Duration>,
}

/// Use cases of rate limits.
#[derive(Debug, Clone)]
pub struct RateLimits {
    core: Core,
}

impl RateLimits {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// Most points that a person can have; none without a limit.
    #[must_use]
    pub fn most_points_of_a_person(&self) -> Option<u32> {
        self.core.limits.as_ref().map(|limits| limits.person.quota.burst.get())
    }

    /// Takes the points of an operation, or none of them if there are too few; 0 only looks. `None` if there is no limit.
    /// A cost above `limit` is never allowed. Never fails: what cannot be counted together is counted by this process.
    pub async fn take(&self, caller: &Caller, cost: u64) -> Option<Allowance> {
        let limit = self.limit(caller)?;
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let decision = limit.limiter.take(&caller.key(), cost).await;
        if !decision.allowed {
            metrics::counter!("claimwright_rate_limited_total", "by" => caller.kind()).increment(1);
        }
        let now = self.core.now();
        let reset_at = TimeDelta::from_std(decision.full_after).ok().and_then(|pause| now.checked_add_signed(pause));
        Some(Allowance {
            limit: decision.limit,
            remaining: decision.remaining,
            restore_per_second: limit.quota.per_second.get(),
            full_after: decision.full_after,
            reset_at: reset_at.unwrap_or(now),
            refused: (!decision.allowed).then_some(decision.retry_after),
        })
    }

    /// Most points that a caller can have; none without a limit.
    #[must_use]
    pub fn most_points(&self, caller: &Caller) -> Option<u32> {
        self.limit(caller).map(|limit| limit.quota.burst.get())
    }

    fn limit(&self, caller: &Caller) -> Option<&Limit> {
        let limits = self.core.limits.as_ref()?;
        Some(match caller {
            Caller::Person(_) => &limits.person,
            Caller::Address(_) | Caller::SignIn(_) => &limits.address,
        })
    }
}

impl Caller {
    /// What the caller is limited as, a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Person(_) => "person",
            Self::Address(_) => "address",
            Self::SignIn(_) => "sign_in",
        }
    }

    /// No two kinds share a key.
    fn key(&self) -> String {
        match self {
            Self::Person(actor) => match actor.user {
                Some(user) => format!("person:{}", user.0),
                None => format!("workspace:{}", actor.workspace.0),
            },
            Self::Address(address) => format!("address:{}", network(*address)),
            Self::SignIn(address) => format!("sign-in:{}", network(*address)),
        }
    }
}

/// A provider gives a customer a whole /64 of IPv6, so that counts as one address.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{UserId, WorkspaceId};
    use uuid::Uuid;

    #[test]
    fn a_person_is_never_limited_as_an_address() {
        let user = UserId(Uuid::from_u128(1));
        let person = Caller::Person(Actor { user: Some(user), workspace: WorkspaceId(Uuid::nil()), expires_at: None });
        assert_eq!(person.key(), format!("person:{}", Uuid::from_u128(1)));
    }

    #[test]
    fn a_customers_whole_network_is_one_address() {
        let key = |text: &str| Caller::Address(text.parse().unwrap()).key();
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::2"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        let address = "192.0.2.1".parse().unwrap();
        assert_ne!(Caller::Address(address).key(), Caller::SignIn(address).key(), "failures take nothing from who has no token");
    }
}
