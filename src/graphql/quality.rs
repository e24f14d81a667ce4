//! Quality reports, and the check of a text that is not stored.

use super::context::caller;
use super::facts::{ProjectCostsInput, ProjectFactsInput};
use super::scalars::DateTime;
use crate::domain::ids::TemplateId;
use crate::domain::projects::Costs;
use crate::domain::quality as domain;
use crate::error::Error;
use crate::services::narratives::LooseNarrative;
use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use graphql_gate::{Output, roots};

/// How bad an issue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::IssueSeverity")]
pub enum IssueSeverity {
    /// Good to know.
    Info,
    /// Should be looked at.
    Warning,
    /// Must be settled before approval.
    Error,
}

/// What a check can find. New codes may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ValidationCode")]
pub enum ValidationCode {
    /// A required section has no text.
    SectionMissing,
    /// A section has fewer words than its minimum.
    SectionTooShort,
    /// A section has more words than its maximum.
    SectionTooLong,
    /// A section has more characters than the form accepts.
    SectionOverLimit,
    /// A placeholder such as [INSERT] is left.
    PlaceholderText,
    /// Talk of an assistant is left, such as 'Sure! Here is'.
    AssistantTalk,
    /// Markdown or HTML in text that has to be plain.
    FormattingNotPlain,
    /// The same sentence stands in two sections.
    DuplicatedText,
    /// A number that is not among the facts.
    NumberNotInSource,
    /// A date outside the project.
    DateOutsideProject,
}

/// Aspects that are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::QualityDimension")]
pub enum QualityDimension {
    /// All sections, within limits.
    Completeness,
    /// Numbers and dates agree with the facts.
    Grounding,
    /// Plain text, free of stock phrases and repetitions.
    Language,
}

/// Score of one aspect.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct DimensionScore {
    /// Aspect.
    dimension: QualityDimension,
    /// 0 to 100.
    score: i32,
    /// Weight in the whole, 0 to 1.
    weight: f64,
}

/// A finding of a check.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct CheckFinding {
    /// What was found.
    code: ValidationCode,
    /// How bad it is.
    severity: IssueSeverity,
    /// Section, if it concerns one.
    section_key: Option<String>,
    /// A sentence for people.
    message: String,
    /// Words that show it.
    excerpt: Option<String>,
}

/// Result of checking a narrative. Deterministic for the same text, facts and rules version.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct QualityReport {
    /// 0 to 100.
    score: i32,
    /// Score by aspect.
    dimensions: Vec<DimensionScore>,
    /// What was found, worst first.
    issues: Vec<CheckFinding>,
    /// Share of numbers and dates in the text that are among the facts, 0 to 1.
    grounded_share: f64,
    /// Words in all sections.
    word_count: i32,
    /// Version of the rules.
    rules_version: String,
    /// When it was checked.
    checked_at: DateTime,
}

impl QualityReport {
    /// A report of a check at a moment.
    #[must_use]
    pub fn of(report: domain::Report, at: chrono::DateTime<chrono::Utc>) -> Self {
        let dimension = |d: domain::DimensionScore| DimensionScore { dimension: d.dimension.into(), score: d.score, weight: d.weight };
        let finding = |found: domain::Finding| CheckFinding {
            code: found.code.into(),
            severity: found.severity.into(),
            section_key: found.section_key,
            message: found.message,
            excerpt: found.excerpt,
        };
        Self {
            score: report.score,
            dimensions: report.dimensions.into_iter().map(dimension).collect(),
            issues: report.findings.into_iter().map(finding).collect(),
            grounded_share: report.grounded_share,
            word_count: report.word_count,
            rules_version: report.rules_version,
            checked_at: DateTime(at),
        }
    }
}

/// A text to be checked.
#[derive(Debug, InputObject)]
pub struct CheckNarrativeInput {
    /// Sections by key.
    sections: Vec<SectionTextInput>,
    /// Facts that the text may use.
    facts: Option<ProjectFactsInput>,
    /// Costs, if the text may name them.
    costs: Option<ProjectCostsInput>,
    /// Template whose limits apply; the default if absent.
    template_id: Option<ID>,
}

/// Text of a section.
#[derive(Debug, InputObject)]
pub struct SectionTextInput {
    /// Key of the section.
    key: String,
    /// Text.
    text: String,
}

/// Queries of quality.
#[derive(Debug, Default)]
pub struct QualityQuery;

#[roots]
#[Object]
impl QualityQuery {
    /// Check a text against facts without storing anything.
    async fn check_narrative(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: CheckNarrativeInput,
    ) -> Result<QualityReport> {
        let (services, actor) = caller(ctx)?;
        let costs = input.costs.unwrap_or_default().patch("input").map_err(|error| match error {
            Error::Refused(problems) => Error::argument("input", problems.into_iter().map(|p| p.message).collect::<String>()),
            fault @ Error::Fault(_) => fault,
        })?;
        let loose = LooseNarrative {
            sections: input.sections.into_iter().map(|section| (section.key, section.text)).collect(),
            facts: input.facts.unwrap_or_default().into_facts(),
            costs: costs.apply(&Costs::default()),
            template: input.template_id.map(|id| TemplateId::from_global(&id)),
        };
        let (report, at) = services.narratives.check(actor, &loose).await?;
        Ok(QualityReport::of(report, at))
    }
}
