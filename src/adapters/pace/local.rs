//! Pace within one process: the places of the last minute, exactly. See the port for the rule.

use super::{Pace, Place, Quota, Ticket, WINDOW};
use async_trait::async_trait;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The part of the window that may be made up of the even spread, after a pause or a late wake-up.
pub(super) const SLACK: u32 = 30;
/// The shortest wait that is asked for: timers are no finer.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Pace within one process.
#[derive(Debug)]
pub struct LocalPace {
    rule: Rule,
    lanes: Mutex<HashMap<String, Lane>>,
}

impl LocalPace {
    /// A pace that keeps this quota for each provider.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::with_window(quota, WINDOW)
    }

    pub(super) fn with_window(quota: Quota, window: Duration) -> Self {
        Self { rule: Rule { quota, window }, lanes: Mutex::default() }
    }

    /// Takes a place within another quota, or says how long to wait; gives its number.
    pub(super) fn take_within(&self, quota: Quota, provider: &str, tokens: u32) -> Result<u64, Duration> {
        let rule = Rule { quota, ..self.rule };
        self.with(provider, |lane, now| lane.take(rule, now, tokens)).map_err(|wait| wait.max(SHORTEST_WAIT))
    }

    /// Notes a place that was taken elsewhere; gives its number.
    pub(super) fn note(&self, provider: &str, tokens: u32) -> u64 {
        self.with(provider, |lane, now| {
            lane.forget(self.rule, now);
            lane.push(self.rule, now, tokens)
        })
    }

    /// Takes the spread of what was taken before for passed.
    #[cfg(test)]
    pub(super) fn catch_up(&self, provider: &str) {
        self.with(provider, |lane, now| lane.next_at = now);
    }

    fn with<T>(&self, provider: &str, act: impl FnOnce(&mut Lane, Instant) -> T) -> T {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let lane = lanes.entry(provider.to_owned()).or_insert_with(|| Lane::new(now));
        act(lane, now)
    }
}

#[async_trait]
impl Pace for LocalPace {
    async fn take(&self, provider: &str, tokens: u32) -> Place {
        match self.take_within(self.rule.quota, provider, tokens) {
            Ok(number) => Place::Taken(Ticket { provider: provider.to_owned(), number, tokens, shared: None }),
            Err(wait) => Place::Wait(wait),
        }
    }

    async fn settle(&self, ticket: &Ticket, tokens: u32) {
        self.with(&ticket.provider, |lane, _| lane.settle(self.rule, ticket, tokens));
    }

    async fn pause(&self, provider: &str, how_long: Duration) {
        self.with(provider, |lane, now| lane.paused_until = lane.paused_until.max(now + how_long));
    }
}

/// What is kept, and over how long.
#[derive(Debug, Clone, Copy)]
struct Rule {
    quota: Quota,
    window: Duration,
}

/// A provider's last minute.
#[derive(Debug)]
struct Lane {
    /// Places by time, the oldest first; numbers are dense.
    places: VecDeque<(Instant, u32)>,
    /// Number of the oldest place.
    first: u64,
    /// Sum of their tokens.
    tokens: u64,
    /// When the even spread gives the next place.
    next_at: Instant,
    paused_until: Instant,
}

impl Lane {
    fn new(now: Instant) -> Self {
        Self { places: VecDeque::new(), first: 0, tokens: 0, next_at: now, paused_until: now }
    }

    /// Takes a place and gives its number, or the wait.
    fn take(&mut self, rule: Rule, now: Instant, tokens: u32) -> Result<u64, Duration> {
        self.forget(rule, now);
        let ready_at = self.next_at.max(self.paused_until).max(self.room_at(rule, now, tokens));
        if ready_at > now {
            return Err(ready_at - now);
        }
        Ok(self.push(rule, now, tokens))
    }

    /// Takes out what is older than the window.
    fn forget(&mut self, rule: Rule, now: Instant) {
        while let Some((_, tokens)) = self.places.front().copied().filter(|(at, _)| *at + rule.window <= now) {
            self.places.pop_front();
            self.first += 1;
            self.tokens -= u64::from(tokens);
        }
    }

    fn push(&mut self, rule: Rule, now: Instant, tokens: u32) -> u64 {
        let earliest = now.checked_sub(rule.window / SLACK).unwrap_or(now);
        self.next_at = self.next_at.max(earliest) + spread(rule, 1, u64::from(tokens));
        self.places.push_back((now, tokens));
        self.tokens += u64::from(tokens);
        self.first + self.places.len() as u64 - 1
    }

    /// When the minute has room for a request of so many tokens.
    fn room_at(&self, rule: Rule, now: Instant, tokens: u32) -> Instant {
        let Rule { quota, window } = rule;
        let mut room_at = now;
        if let Some(most) = quota.requests {
            let over = self.places.len().checked_sub(most.get() as usize);
            if let Some((at, _)) = over.and_then(|over| self.places.get(over)) {
                room_at = *at + window;
            }
        }
        if let Some(most) = quota.tokens {
            let mut over = (self.tokens + u64::from(tokens)).saturating_sub(u64::from(most.get()));
            for (at, freed) in &self.places {
                if over == 0 {
                    break;
                }
                room_at = room_at.max(*at + window);
                over = over.saturating_sub(u64::from(*freed));
            }
        }
        room_at
    }

    fn settle(&mut self, rule: Rule, ticket: &Ticket, tokens: u32) {
        let index = ticket.number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(place) = index.and_then(|index| self.places.get_mut(index)) else { return };
        let before = std::mem::replace(&mut place.1, tokens);
        self.tokens = self.tokens + u64::from(tokens) - u64::from(before);
        let by_tokens = Rule { quota: Quota { requests: None, ..rule.quota }, ..rule };
        if tokens >= before {
            self.next_at += spread(by_tokens, 0, u64::from(tokens - before));
        } else {
            let back = spread(by_tokens, 0, u64::from(before - tokens));
            self.next_at = self.next_at.checked_sub(back).unwrap_or(self.next_at);
        }
    }
}

/// The time that so many requests and tokens take at an even rate.
fn spread(rule: Rule, requests: u64, tokens: u64) -> Duration {
    let share = |amount: u64, most: Option<std::num::NonZeroU32>| {
        let nanos = |most: u32| u128::from(amount) * rule.window.as_nanos() / u128::from(most);
        most.map_or(Duration::ZERO, |most| Duration::from_nanos(u64::try_from(nanos(most.get())).unwrap_or(u64::MAX)))
    };
    share(requests, rule.quota.requests).max(share(tokens, rule.quota.tokens))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use tokio::time::sleep;

    fn quota(requests: u32, tokens: u32) -> Quota {
        Quota { requests: NonZeroU32::new(requests), tokens: NonZeroU32::new(tokens), concurrency: None }
    }

    /// Takes places for ten minutes as fast as they are given, calls that take as many tokens as `size` says and are
    /// settled at `used`; gives when each was given, in milliseconds, and its tokens.
    async fn ten_minutes(pace: &LocalPace, size: impl Fn(usize) -> (u32, u32)) -> Vec<(u128, u32)> {
        let begin = Instant::now();
        let mut given = Vec::new();
        while begin.elapsed() < WINDOW * 10 {
            let (estimated, used) = size(given.len());
            match pace.take("p", estimated).await {
                Place::Taken(ticket) => {
                    given.push((begin.elapsed().as_millis(), used));
                    pace.settle(&ticket, used).await;
                }
                Place::Wait(wait) => sleep(wait).await,
            }
        }
        given
    }

    /// The most that was given in any 60 seconds: requests and tokens.
    fn most_in_a_minute(given: &[(u128, u32)]) -> (usize, u64) {
        let window = |from: u128| given.iter().filter(move |(at, _)| *at >= from && *at < from + 60_000);
        let starts = given.iter().map(|(at, _)| *at);
        let counts = starts.map(|from| (window(from).count(), window(from).map(|(_, tokens)| u64::from(*tokens)).sum::<u64>()));
        counts.fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)))
    }

    #[tokio::test(start_paused = true)]
    async fn requests_use_the_whole_minute_and_never_more() {
        let given = ten_minutes(&LocalPace::new(quota(120, 0)), |_| (5_000, 5_000)).await;
        assert!(most_in_a_minute(&given).0 <= 120, "{:?}", most_in_a_minute(&given));
        assert!(given.len() >= 1_140, "{} of 1200 in ten minutes", given.len());
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_kept_by_what_was_used_and_not_by_the_estimate() {
        // sizes of 1,000 to 2,900, estimated at half more
        let size = |n: usize| {
            let used = 1_000 + u32::try_from(n * 733 % 1_900).unwrap();
            (used + used / 2, used)
        };
        let given = ten_minutes(&LocalPace::new(quota(0, 100_000)), size).await;
        let (_, most) = most_in_a_minute(&given);
        let all: u64 = given.iter().map(|(_, tokens)| u64::from(*tokens)).sum();
        assert!(most <= 102_000, "{most} in a minute");
        assert!(all >= 950_000, "{all} of 1000000 in ten minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_larger_than_the_minute_goes_alone() {
        let pace = LocalPace::new(quota(0, 1_000));
        assert!(matches!(pace.take("p", 5_000).await, Place::Taken(_)));
        let Place::Wait(wait) = pace.take("p", 1).await else { panic!("beside it") };
        assert!(wait >= WINDOW, "{wait:?}");
        sleep(wait).await;
        assert!(matches!(pace.take("p", 1).await, Place::Taken(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_one_provider_and_is_not_ended_by_a_shorter_one() {
        let pace = LocalPace::new(Quota::default());
        pace.pause("p", Duration::from_secs(30)).await;
        pace.pause("p", Duration::from_secs(1)).await;
        assert_eq!(pace.take("p", 1).await, Place::Wait(Duration::from_secs(30)));
        assert!(matches!(pace.take("other", 1).await, Place::Taken(_)));
        sleep(Duration::from_secs(30)).await;
        assert!(matches!(pace.take("p", 1).await, Place::Taken(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_of_long_ago_is_not_settled_any_more() {
        let pace = LocalPace::new(quota(0, 1_000));
        let Place::Taken(old) = pace.take("p", 1_000).await else { panic!("free") };
        sleep(WINDOW * 2).await;
        let Place::Taken(_) = pace.take("p", 1_000).await else { panic!("free again") };
        pace.settle(&old, 0).await;
        assert!(matches!(pace.take("p", 1_000).await, Place::Wait(_)));
    }
}
