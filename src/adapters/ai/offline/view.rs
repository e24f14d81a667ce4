//! The facts as one section may see them: restricted to its source facts, without those that say nothing, and quoted
//! so that no other section can hold the same sentence. It must not choose what a section says.

use super::sentences::{self, has_inner_end, lowered, unnumbered, words};
use crate::domain::projects::{Facts, WorkStatus};
use chrono::NaiveDate;

/// Most words of a field or a name that is mentioned in passing.
pub(super) const MENTION_WORDS: usize = 12;

/// The facts that a section may use.
pub(super) struct View<'a> {
    pub(super) facts: &'a Facts,
    pub(super) allowed: &'a [String],
}

impl View<'_> {
    pub(super) fn may_use(&self, name: &str) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|allowed| allowed == name)
    }

    /// A text fact that may be used and says something.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let text = text_fact(self.facts, name)?;
        (self.may_use(name) && !sentences::says_nothing(text)).then_some(text)
    }

    pub(super) fn line(&self, name: &str) -> Option<String> {
        self.text(name).map(sentences::line).filter(|line| !line.is_empty())
    }

    /// `, in the field of X`, always followed by a comma or a full stop, so that the field is the same words throughout.
    pub(super) fn in_field(&self) -> String {
        match self.line("field_of_science") {
            Some(field) if words(&field) <= MENTION_WORDS && !has_inner_end(&field) => format!(" in the field of {field}"),
            _ => String::new(),
        }
    }

    pub(super) fn start(&self) -> Option<String> {
        self.facts.start_date.filter(|_| self.may_use("start_date")).map(month)
    }

    pub(super) fn end(&self) -> Option<String> {
        self.facts.end_date.filter(|_| self.may_use("end_date")).map(month)
    }

    pub(super) fn status(&self) -> Option<WorkStatus> {
        self.facts.work_status.filter(|_| self.may_use("status"))
    }

    /// A sentence of a fact under words that say where it comes from; none if no sentence can be quoted alone.
    pub(super) fn quote(&self, (name, before): (&str, &str), last: bool) -> Option<String> {
        let all = sentences::paragraphs(self.text(name)?);
        let mut fitting =
            all.iter().flatten().map(|sentence| unnumbered(sentence)).filter(|one| !has_inner_end(one) && !one.ends_with(':'));
        let sentence = if last { fitting.next_back() } else { fitting.next() };
        sentence.map(|sentence| format!("{before} {}", lowered(sentence)))
    }

    pub(super) fn quotes(&self, all: &[(&str, &str)]) -> Vec<String> {
        all.iter().filter_map(|one| self.quote(*one, false)).collect()
    }
}

pub(super) fn text_fact<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    match name {
        "sector" => &facts.sector,
        "field_of_science" => &facts.field_of_science,
        "sub_field" => &facts.sub_field,
        "baseline" => &facts.baseline,
        "advance_sought" => &facts.advance_sought,
        "uncertainties" => &facts.uncertainties,
        "work_undertaken" => &facts.work_undertaken,
        "outcome" => &facts.outcome,
        "competent_professional_role" => &facts.competent_professional_role,
        "competent_professional_qualifications" => &facts.competent_professional_qualifications,
        "claim_ref" => &facts.claim_ref,
        _ => &None,
    }
    .as_deref()
}

fn month(date: NaiveDate) -> String {
    date.format("%B %Y").to_string()
}

/// What a fact is called in a sentence.
pub(super) fn label(fact: &str) -> &'static str {
    match fact {
        "sector" => "sector",
        "field_of_science" => "field of science or technology",
        "sub_field" => "sub-field",
        "baseline" => "baseline",
        "advance_sought" => "advance sought",
        "uncertainties" => "uncertainties",
        "work_undertaken" => "work undertaken",
        "outcome" => "outcome",
        "competent_professional_role" => "role of the competent professional",
        "competent_professional_qualifications" => "qualifications of the competent professional",
        _ => "reference of the claim",
    }
}
