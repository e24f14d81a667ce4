//! AIF selections: of a batch, and for plain numbers.

use super::jobs::Money;
use super::projects::Project;
use super::scalars::Decimal;
use crate::domain::aif as domain;
use crate::domain::money::Pence;
use crate::domain::projects::ProjectStatus;
use crate::error::Error;
use crate::services::narratives::{BatchSelection, plain_count};
use async_graphql::{Enum, InputObject, Object, Result, SimpleObject};
use graphql_gate::{Output, roots};

/// Rule of the additional information form that applies, by the number of projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::AifRule")]
pub enum AifRule {
    /// 1 to 3 projects: describe all.
    All,
    /// 4 to 10 projects: describe projects with at least 50% of qualifying expenditure, at least 3.
    #[graphql(name = "HALF_MIN3")]
    HalfMin3,
    /// 11 or more: at least 50%, at least 3 and at most 10.
    #[graphql(name = "HALF_3_10")]
    Half3To10,
    /// 11 or more and the 10 largest do not reach 50%: describe the 10 largest (or a representative mix).
    #[graphql(name = "TOP_10")]
    Top10,
}

/// Things to look at before relying on a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::AifWarning")]
pub enum AifWarning {
    /// A project has no qualifying expenditure.
    ProjectWithoutExpenditure,
    /// The rule fell back to the 10 largest; HMRC accepts a representative mix if they do not represent the work.
    CheckRepresentative,
    /// A pin does not fit the rule and was left out.
    PinIgnoredByRule,
    /// The projects carry different claim references: the rule applies to each claim separately, so keep one batch per claim.
    SeveralClaims,
    /// The accounting period is missing or longer than 12 months.
    CheckAccountingPeriod,
}

/// Why no selection is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::AifBlocker")]
pub enum AifBlocker {
    /// There is no project.
    NoProjects,
    /// A project has negative expenditure.
    NegativeExpenditure,
    /// All expenditure is zero.
    NoQualifyingExpenditure,
    /// More than 10 projects are pinned.
    TooManyPinned,
    /// With these pins 50% cannot be reached within 10 projects.
    PinsPreventHalf,
}

/// A project in a selection.
#[derive(Debug, SimpleObject, Output)]
pub struct AifSelectedProject {
    /// The project.
    project: Project,
    /// Its qualifying expenditure.
    expenditure: Money,
    /// Its share in percent.
    share_percent: Decimal,
    /// Rank by expenditure, 1 is the largest.
    rank: i32,
    /// True if the practice pinned it.
    pinned: bool,
}

/// Which projects have to be described.
#[derive(Debug, SimpleObject, Output)]
pub struct AifSelection {
    /// Rule that applies; null if `blockedBy` is set.
    rule: Option<AifRule>,
    /// Why no selection is possible.
    blocked_by: Option<AifBlocker>,
    /// Number of projects of the claim.
    project_count: i32,
    /// Qualifying expenditure of the claim.
    total_expenditure: Money,
    /// Selected projects, largest first.
    selected: Vec<AifSelectedProject>,
    /// Qualifying expenditure of the selected projects.
    selected_expenditure: Money,
    /// Share of the selected projects in percent, two decimals.
    coverage_percent: Decimal,
    /// True if the rule is met.
    satisfied: bool,
    /// Selected projects whose narrative is not yet approved.
    not_ready: Vec<Project>,
    /// Things to look at.
    warnings: Vec<AifWarning>,
}

impl From<BatchSelection> for AifSelection {
    fn from(found: BatchSelection) -> Self {
        let BatchSelection { projects, selection } = found;
        let total: i64 = projects.iter().map(|project| project.costs.total().0).sum();
        let chosen: Vec<_> = selection.selected.iter().zip(&selection.ranks).map(|(index, rank)| (&projects[*index], *rank)).collect();
        let chosen_total: i64 = chosen.iter().map(|(project, _)| project.costs.total().0).sum();
        let selected = chosen.iter().map(|(project, rank)| AifSelectedProject {
            project: Project::from((*project).clone()),
            expenditure: project.costs.total().into(),
            share_percent: Decimal(domain::share_percent(project.costs.total().pounds(), selection.total)),
            rank: *rank,
            pinned: project.aif_pinned,
        });
        let not_ready = chosen.iter().filter(|(project, _)| project.status != ProjectStatus::Approved);
        Self {
            rule: selection.rule.map(AifRule::from),
            blocked_by: selection.blocked_by.map(AifBlocker::from),
            project_count: i32::try_from(projects.len()).unwrap_or(i32::MAX),
            total_expenditure: Pence(total).into(),
            selected: selected.collect(),
            selected_expenditure: Pence(chosen_total).into(),
            coverage_percent: Decimal(selection.coverage_percent),
            satisfied: selection.satisfied,
            not_ready: not_ready.map(|(project, _)| Project::from((*project).clone())).collect(),
            warnings: selection.warnings.into_iter().map(AifWarning::from).collect(),
        }
    }
}

/// Result of an AIF selection for plain numbers.
#[derive(Debug, SimpleObject, Output)]
pub struct AifPlainSelection {
    /// Rule that applies; null if `blockedBy` is set.
    rule: Option<AifRule>,
    /// Why no selection is possible.
    blocked_by: Option<AifBlocker>,
    /// References, largest first.
    selected: Vec<String>,
    /// Share in percent.
    coverage_percent: Decimal,
    /// True if the rule is met.
    satisfied: bool,
    /// Things to look at.
    warnings: Vec<AifWarning>,
}

/// Numbers for an AIF selection.
#[derive(Debug, InputObject)]
pub struct AifSelectionInput {
    /// Projects.
    projects: Vec<AifProjectInput>,
    /// References that must be in the selection.
    pinned: Option<Vec<String>>,
}

/// A project by its number only.
#[derive(Debug, InputObject)]
pub struct AifProjectInput {
    /// Reference.
    #[graphql(name = "ref")]
    reference: String,
    /// Qualifying expenditure in GBP.
    expenditure: Decimal,
}

/// Queries of AIF selections.
#[derive(Debug, Default)]
pub struct AifQuery;

#[roots]
#[Object]
impl AifQuery {
    /// Work out an AIF selection for plain numbers, without a batch.
    async fn aif_selection_for(&self, #[graphql(desc = "What to do.")] input: AifSelectionInput) -> Result<AifPlainSelection> {
        plain_count(input.projects.len())?;
        let pinned = input.pinned.unwrap_or_default();
        if let Some(unknown) = pinned.iter().find(|pin| input.projects.iter().all(|project| project.reference != **pin)) {
            let short: String = unknown.chars().take(60).collect();
            return Err(Error::argument("input", format!("`pinned` names `{short}`, which is not among `projects`.")).into());
        }
        let candidates: Vec<domain::Candidate> = input
            .projects
            .iter()
            .map(|project| domain::Candidate {
                reference: project.reference.clone(),
                name: String::new(),
                expenditure: project.expenditure.0,
                pinned: pinned.contains(&project.reference),
                claim_ref: None,
            })
            .collect();
        let selection = domain::select(&candidates);
        Ok(AifPlainSelection {
            rule: selection.rule.map(AifRule::from),
            blocked_by: selection.blocked_by.map(AifBlocker::from),
            selected: selection.selected.iter().map(|index| candidates[*index].reference.clone()).collect(),
            coverage_percent: Decimal(selection.coverage_percent),
            satisfied: selection.satisfied,
            warnings: selection.warnings.into_iter().map(AifWarning::from).collect(),
        })
    }
}
