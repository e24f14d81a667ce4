//! Budgets and estimates: types, and the query that asks what a run would cost.

use super::context::{caller, load_required};
use super::generations::GenerationInput;
use super::jobs::Money;
use super::projects::Project;
use super::quality::ValidationCode;
use crate::domain::budgets as domain;
use crate::domain::money::Spend;
use async_graphql::{Context, Object, Result, SimpleObject};
use graphql_gate::{Output, relations, roots};

/// A cap on AI cost.
#[derive(Debug, Clone, Copy, SimpleObject, Output)]
pub struct Budget {
    /// The cap.
    cap: Money,
    /// Cost so far in the period of the cap.
    spent: Money,
    /// Cost reserved for runs in progress: what the calls in flight may cost at most.
    reserved: Money,
    /// What is left.
    remaining: Money,
}

impl From<domain::Budget> for Budget {
    fn from(budget: domain::Budget) -> Self {
        let domain::Budget { cap, spent, reserved } = budget;
        Self { cap: cap.into(), spent: spent.into(), reserved: reserved.into(), remaining: budget.remaining().into() }
    }
}

/// What a run would cost.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct GenerationEstimate {
    /// Projects that would be written.
    project_count: i32,
    /// Projects in scope that cannot be written, with reasons; at most 100.
    blocked: Vec<BlockedProject>,
    /// Tokens to be sent.
    input_tokens: i32,
    /// Tokens expected.
    output_tokens: i32,
    /// Expected cost.
    expected_cost: Money,
    /// Cost if every answer is as long as allowed and every try is used: what a budget cap is held against.
    maximum_cost: Money,
    /// Expected time in seconds at the present load.
    expected_seconds: i32,
    /// True if the maximum is within all caps.
    within_budget: bool,
    /// The cap that is nearest; null if there is none.
    limiting_budget: Option<Budget>,
}

impl From<domain::Estimate> for GenerationEstimate {
    fn from(estimate: domain::Estimate) -> Self {
        let number = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
        let within_budget = estimate.is_within_budget();
        let budget = |cap| domain::Budget { cap, spent: Spend(0), reserved: Spend(0) }.into();
        Self {
            project_count: estimate.projects,
            blocked: estimate.blocked.into_iter().map(|row| BlockedProject { code: None, reason: row.reason.clone(), row }).collect(),
            input_tokens: number(estimate.input_tokens),
            output_tokens: number(estimate.output_tokens),
            expected_cost: estimate.expected.into(),
            maximum_cost: estimate.maximum.into(),
            expected_seconds: number(estimate.seconds),
            within_budget,
            limiting_budget: estimate.cap.map(budget),
        }
    }
}

/// A project that cannot be written.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct BlockedProject {
    /// Why, and what to do.
    reason: String,
    /// Code of the rule, if a rule stands in the way.
    code: Option<ValidationCode>,
    #[graphql(skip)]
    row: domain::BlockedProject,
}

#[relations]
impl BlockedProject {
    /// The project.
    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        Ok(load_required(ctx, self.row.project).await?.into())
    }
}

/// Queries about what generation costs.
#[derive(Debug, Default)]
pub struct BudgetsQuery;

#[roots]
#[Object]
impl BudgetsQuery {
    /// What a run would cost. Nothing is started.
    async fn estimate_generation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: GenerationInput,
    ) -> Result<GenerationEstimate> {
        let (services, actor) = caller(ctx)?;
        Ok(services.generations.estimate(actor, &input.into()).await?.into())
    }
}
