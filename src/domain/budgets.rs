//! Budgets of runs and estimates of what they cost. Pure values and arithmetic, in millionths of a US dollar; it must not
//! know prices or prompts.

use super::ids::ProjectId;
use super::money::Spend;
use serde::{Deserialize, Serialize};

/// Most projects that a stored estimate names as blocked.
pub const MAX_BLOCKED: usize = 100;

/// A cap on what is spent, and how far it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The cap.
    pub cap: Spend,
    /// Spent so far.
    pub spent: Spend,
    /// What calls in flight may cost at most.
    pub reserved: Spend,
}

impl Budget {
    /// What is neither spent nor reserved; never below zero.
    #[must_use]
    pub fn remaining(&self) -> Spend {
        Spend((self.cap.0 - self.spent.0 - self.reserved.0).max(0))
    }

    /// True if a call that costs so much at most fits beside what is spent and reserved.
    #[must_use]
    pub fn has_room_for(&self, call: Spend) -> bool {
        self.remaining() >= call
    }
}

/// What a run would cost, or was thought to cost when it was started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// Projects that would be written.
    pub projects: i32,
    /// Projects in scope that cannot be written, at most [`MAX_BLOCKED`] of them.
    pub blocked: Vec<BlockedProject>,
    /// Tokens to be sent.
    pub input_tokens: i64,
    /// Tokens expected.
    pub output_tokens: i64,
    /// If every section takes one call of the expected length.
    pub expected: Spend,
    /// If every answer is as long as allowed and every try is used.
    pub maximum: Spend,
    /// Expected time, in seconds.
    pub seconds: i64,
    /// The cap that it was held against, if there was one.
    pub cap: Option<Spend>,
}

impl Estimate {
    /// True if the maximum is within the cap.
    #[must_use]
    pub fn is_within_budget(&self) -> bool {
        self.cap.is_none_or(|cap| self.maximum <= cap)
    }
}

/// A project that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedProject {
    /// The project.
    pub project: ProjectId,
    /// Why, and what to do.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_cannot_be_spent_a_second_time() {
        let budget = Budget { cap: Spend(100), spent: Spend(40), reserved: Spend(50) };
        assert_eq!(budget.remaining(), Spend(10));
        assert!(budget.has_room_for(Spend(10)) && !budget.has_room_for(Spend(11)));
        let overshot = Budget { spent: Spend(120), ..budget };
        assert_eq!(overshot.remaining(), Spend(0));
        assert!(overshot.has_room_for(Spend(0)), "what is free needs no room");
    }

    #[test]
    fn an_estimate_without_a_cap_is_within_it() {
        let estimate = Estimate { maximum: Spend(10), ..Estimate::default() };
        assert!(estimate.is_within_budget());
        assert!(Estimate { cap: Some(Spend(10)), ..estimate.clone() }.is_within_budget());
        assert!(!Estimate { cap: Some(Spend(9)), ..estimate }.is_within_budget());
    }
}
