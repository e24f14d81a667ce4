//! The check of a narrative: structure of its sections and grounding of its numbers and dates (domain rules F, table).
//! A pure function of texts, facts, costs and template: the same input gives the same report. It must not guess at
//! eligibility: a score says how finished a text is, not whether a project qualifies.

mod grounding;
mod lexer;
mod structure;

use super::projects::{Costs, Facts};
use super::templates::{TemplateSection, word_count};
use crate::word_enum;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Version of the rules; grows with every change that can change a report.
pub const RULES_VERSION: &str = "1";
/// Most findings of one code in one section: more would not help anybody.
const MOST_OF_A_KIND: usize = 20;
/// Most characters of an excerpt.
const EXCERPT_CHARS: usize = 160;

word_enum! {
    /// How bad a finding is; ordered from good to know to worst.
    pub enum IssueSeverity {
        /// Good to know.
        Info = "INFO",
        /// Should be looked at.
        Warning = "WARNING",
        /// Must be settled before approval, or shown as wrong.
        Error = "ERROR",
    }
}

word_enum! {
    /// What a check finds.
    pub enum ValidationCode {
        /// A required section has no text.
        SectionMissing = "SECTION_MISSING",
        /// A section has fewer words than its minimum.
        SectionTooShort = "SECTION_TOO_SHORT",
        /// A section has more words than its maximum.
        SectionTooLong = "SECTION_TOO_LONG",
        /// A section has more characters than the form accepts.
        SectionOverLimit = "SECTION_OVER_LIMIT",
        /// A placeholder such as `[INSERT]` is left.
        PlaceholderText = "PLACEHOLDER_TEXT",
        /// Talk of an assistant is left, such as "Sure! Here is".
        AssistantTalk = "ASSISTANT_TALK",
        /// Markdown or HTML in text that has to be plain.
        FormattingNotPlain = "FORMATTING_NOT_PLAIN",
        /// The same sentence stands in two sections.
        DuplicatedText = "DUPLICATED_TEXT",
        /// A number or a date that is not among the facts.
        NumberNotInSource = "NUMBER_NOT_IN_SOURCE",
        /// A date that is not among the facts and lies outside the project.
        DateOutsideProject = "DATE_OUTSIDE_PROJECT",
    }
}

word_enum! {
    /// Aspects that are scored.
    pub enum QualityDimension {
        /// All sections, within limits, plain text.
        Completeness = "COMPLETENESS",
        /// Numbers and dates agree with the facts.
        Grounding = "GROUNDING",
        /// Free of talk and repetition.
        Language = "LANGUAGE",
    }
}

impl ValidationCode {
    /// Severity (domain rules F, table).
    #[must_use]
    pub const fn severity(self) -> IssueSeverity {
        match self {
            Self::SectionTooShort | Self::SectionTooLong | Self::FormattingNotPlain | Self::DuplicatedText => IssueSeverity::Warning,
            Self::SectionMissing
            | Self::SectionOverLimit
            | Self::PlaceholderText
            | Self::AssistantTalk
            | Self::NumberNotInSource
            | Self::DateOutsideProject => IssueSeverity::Error,
        }
    }

    /// True if it must be fixed, or dismissed with a reason, before approval: the errors of structure and grounding.
    #[must_use]
    pub const fn blocks_approval(self) -> bool {
        matches!(
            self,
            Self::SectionMissing
                | Self::SectionOverLimit
                | Self::PlaceholderText
                | Self::AssistantTalk
                | Self::NumberNotInSource
                | Self::DateOutsideProject
        )
    }

    /// Aspect whose score it lowers.
    #[must_use]
    pub const fn dimension(self) -> QualityDimension {
        match self {
            Self::SectionMissing
            | Self::SectionTooShort
            | Self::SectionTooLong
            | Self::SectionOverLimit
            | Self::PlaceholderText
            | Self::FormattingNotPlain => QualityDimension::Completeness,
            Self::NumberNotInSource | Self::DateOutsideProject => QualityDimension::Grounding,
            Self::AssistantTalk | Self::DuplicatedText => QualityDimension::Language,
        }
    }
}

impl IssueSeverity {
    /// Points that a finding takes from its aspect. Our own choice.
    const fn penalty(self) -> i32 {
        match self {
            Self::Info => 2,
            Self::Warning => 8,
            Self::Error => 20,
        }
    }
}

impl QualityDimension {
    /// Weight in percent of the whole; all of them sum to 100. Our own choice.
    const fn weight(self) -> i32 {
        match self {
            Self::Completeness | Self::Grounding => 40,
            Self::Language => 20,
        }
    }
}

/// A section of the template with its text; an empty text where there is none.
#[derive(Debug, Clone, Copy)]
pub struct SectionText<'a> {
    /// The section: key, title, limits.
    pub section: &'a TemplateSection,
    /// Its text.
    pub text: &'a str,
}

/// What is checked: every section of the template, in order, and what the text may draw on.
#[derive(Debug, Clone, Copy)]
pub struct Narrative<'a> {
    /// Name of the project.
    pub name: &'a str,
    /// Sections.
    pub sections: &'a [SectionText<'a>],
    /// Facts.
    pub facts: &'a Facts,
    /// Costs.
    pub costs: &'a Costs,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub code: ValidationCode,
    /// How bad.
    pub severity: IssueSeverity,
    /// Section, if it concerns one.
    pub section_key: Option<String>,
    /// A sentence for people. The same thing in the same section has the same sentence, wherever it stands in the text.
    pub message: String,
    /// What to do.
    pub suggestion: Option<String>,
    /// Words of the text that show it, with some around them.
    pub excerpt: Option<String>,
}

/// Score of one aspect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DimensionScore {
    /// Aspect.
    pub dimension: QualityDimension,
    /// 0 to 100.
    pub score: i32,
    /// Weight in the whole, 0 to 1.
    pub weight: f64,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// 0 to 100.
    pub score: i32,
    /// Score by aspect.
    pub dimensions: Vec<DimensionScore>,
    /// What was found, worst first, then in the order of the narrative.
    pub findings: Vec<Finding>,
    /// Share of the checked numbers and dates that are among the facts, 0 to 1 with four decimals; 1 if there are none.
    pub grounded_share: f64,
    /// Words of all sections.
    pub word_count: i32,
    /// [`RULES_VERSION`] of the check.
    pub rules_version: String,
}

impl Report {
    /// Number of errors.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.findings.iter().filter(|found| found.severity == IssueSeverity::Error).count()
    }

    /// Number of warnings.
    #[must_use]
    pub fn warning_count(&self) -> usize {
        self.findings.iter().filter(|found| found.severity == IssueSeverity::Warning).count()
    }

    /// Findings that block approval until they are fixed, or dismissed with a reason.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|found| found.code.blocks_approval())
    }
}

/// Checks a narrative.
#[must_use]
pub fn check(narrative: &Narrative) -> Report {
    let mut findings = Vec::new();
    let source = grounding::Source::of(narrative);
    let abbreviations = structure::Abbreviations::of(narrative);
    let (mut grounded, mut checked) = (0_usize, 0_usize);
    for part in narrative.sections {
        structure::check(part, &abbreviations, &mut findings);
        let tally = grounding::check(part, &source, &mut findings);
        grounded += tally.grounded;
        checked += tally.checked;
    }
    structure::check_duplicates(narrative.sections, &mut findings);
    findings.sort_by_key(|found| Reverse(found.severity));

    let dimensions = scores(narrative, &findings);
    let points: i32 = dimensions.iter().map(|each| each.score * each.dimension.weight()).sum();
    Report {
        score: (points + 50) / 100,
        dimensions,
        findings,
        grounded_share: share(grounded, checked),
        word_count: narrative.sections.iter().fold(0, |sum, part| sum.saturating_add(word_count(part.text))),
        rules_version: RULES_VERSION.into(),
    }
}

/// Each aspect starts at 100 and loses points by finding. What is not written can neither be grounded nor be well put,
/// so those aspects are worth the share of required sections that have text; a narrative without any text scores 0.
fn scores(narrative: &Narrative, findings: &[Finding]) -> Vec<DimensionScore> {
    let needed = |part: &&SectionText| part.section.required;
    let any_required = narrative.sections.iter().any(|part| part.section.required);
    let counted: Vec<&SectionText> = narrative.sections.iter().filter(|part| !any_required || needed(part)).collect();
    let written = counted.iter().filter(|part| !structure::is_blank(part.text)).count();
    let nothing = narrative.sections.iter().all(|part| structure::is_blank(part.text));
    QualityDimension::ALL
        .iter()
        .map(|&dimension| {
            let lost: i32 = findings.iter().filter(|f| f.code.dimension() == dimension).map(|f| f.severity.penalty()).sum();
            let left = usize::try_from(100 - lost).unwrap_or(0);
            let score = match dimension {
                _ if nothing => 0,
                QualityDimension::Completeness => left,
                QualityDimension::Grounding | QualityDimension::Language => left * written / counted.len().max(1),
            };
            DimensionScore { dimension, score: i32::try_from(score).unwrap_or(0), weight: f64::from(dimension.weight()) / 100.0 }
        })
        .collect()
}

/// Four decimals, downwards: 1 means all.
fn share(grounded: usize, checked: usize) -> f64 {
    let parts = (grounded * 10_000).checked_div(checked).unwrap_or(10_000);
    f64::from(u32::try_from(parts).unwrap_or(0)) / 10_000.0
}

/// Adds a finding about a section, unless the same one is there or there are enough of its kind.
fn report(findings: &mut Vec<Finding>, part: &SectionText, code: ValidationCode, message: String, advice: &str, excerpt: Option<String>) {
    let key = Some(part.section.key.as_str());
    let alike = findings.iter().filter(|found| found.code == code && found.section_key.as_deref() == key);
    if alike.clone().any(|found| found.message == message) || alike.count() >= MOST_OF_A_KIND {
        return;
    }
    findings.push(Finding {
        code,
        severity: code.severity(),
        section_key: key.map(str::to_owned),
        message,
        suggestion: Some(advice.to_owned()),
        excerpt,
    });
}

/// The words from `start` to `end` (bytes, on character boundaries) with up to four words on each side, on one line.
fn excerpt(text: &str, start: usize, end: usize) -> String {
    const AROUND: usize = 4;
    let (before, after) = (text.get(..start).unwrap_or(""), text.get(end..).unwrap_or(""));
    let from = before.char_indices().rev().filter(|(_, c)| c.is_whitespace()).nth(AROUND).map_or(0, |(at, c)| at + c.len_utf8());
    let to = after.char_indices().filter(|(_, c)| c.is_whitespace()).nth(AROUND).map_or(text.len(), |(at, _)| end + at);
    let line = text.get(from..to).unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ");
    clip(&line)
}

/// At most [`EXCERPT_CHARS`] characters.
fn clip(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
