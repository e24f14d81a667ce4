//! The templates that come with the product, as plain data. Limits, questions and guidance follow the product's domain
//! rules (C, E and F: the additional information form, the DSIT guidelines and HMRC's `GfC3`). It must not store them.
//!
//! Sections of the same purpose have the same key in every template, so that texts carry over from one to another.

use super::templates::{DEFAULT_TEMPLATE_KEY, Limits, MAX_SECTION_CHARS, TemplateSection};

/// A template that comes with the product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltIn {
    /// Stable key.
    pub key: &'static str,
    /// Name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// Instructions for all sections.
    pub instructions: Option<&'static str>,
    /// Sections in order.
    pub sections: Vec<TemplateSection>,
}

/// All built-in templates; the first is the one that a batch follows unless it names another.
#[must_use]
pub fn built_in() -> Vec<BuiltIn> {
    vec![project_description(), technical_report(), software_project(), client_summary()]
}

/// A section as it stands in the tables below.
struct Row {
    key: &'static str,
    title: &'static str,
    question: Option<&'static str>,
    facts: &'static [&'static str],
    words: (i32, i32),
    guidance: &'static str,
}

impl Row {
    fn section(&self) -> TemplateSection {
        TemplateSection {
            key: self.key.into(),
            title: self.title.into(),
            guidance: self.guidance.into(),
            aif_question: self.question.map(Into::into),
            source_facts: self.facts.iter().map(|&name| name.into()).collect(),
            required: true,
            limits: Limits { min_words: self.words.0, max_words: self.words.1, max_chars: MAX_SECTION_CHARS },
        }
    }

    fn guided(self, guidance: &'static str) -> TemplateSection {
        Self { guidance, ..self }.section()
    }

    fn asked_nothing(self) -> TemplateSection {
        Self { question: None, ..self }.section()
    }
}

const PLAIN: &str = "Plain English and British spelling, plain text, the past tense for what was done. Name the field and sub-field \
    in the same words throughout. Figures with their units, as recorded. No names of people, no selling. Where the facts are silent, say so.";

const FIELD: Row = Row {
    key: "field_of_science",
    title: "Field of science or technology",
    question: Some("What is the main field of science or technology?"),
    facts: &["field_of_science", "sub_field", "sector", "advance_sought", "uncertainties"],
    words: (12, 120),
    guidance: "One or two sentences: the field and the sub-field, and how the project belongs to it. “Engineering” or “software” alone is too \
        vague. One field only, in the same words as in all other sections. The company's industry is not its field of science. Arts, \
        humanities and social sciences, including economics, do not qualify.",
};

const BASELINE: Row = Row {
    key: "baseline",
    title: "Baseline",
    question: Some("What was the baseline level of science or technology that the company planned to advance?"),
    facts: &["field_of_science", "sub_field", "start_date", "baseline", "advance_sought", "uncertainties", "work_undertaken"],
    words: (40, 500),
    guidance: "The state of knowledge or capability in the field at the start date: named prior art (methods, products, standards, \
        publications) with its measured limits, and where that knowledge stopped. From the view of the field, not of the company: not what \
        its old product could do or what was new to its team. Do not write that no viable alternative exists without naming the \
        alternatives and what each lacks.",
};

const ADVANCE: Row = Row {
    key: "advance",
    title: "Advance sought",
    question: Some("What advance in that scientific or technological knowledge did the company aim to achieve?"),
    facts: &["field_of_science", "sub_field", "baseline", "advance_sought", "uncertainties", "outcome"],
    words: (25, 400),
    guidance: "The knowledge or capability that the field would have afterwards and did not have before, with a target figure that can be \
        measured against the baseline. Knowledge in the field, not a product, its features or its sales. An advance that failed was still \
        sought.",
};

const UNCERTAINTIES: Row = Row {
    key: "uncertainties",
    title: "Scientific or technological uncertainties",
    question: Some("What scientific or technological uncertainties did the company face?"),
    facts: &["field_of_science", "sub_field", "start_date", "baseline", "advance_sought", "uncertainties", "work_undertaken", "outcome"],
    words: (45, 600),
    guidance: "One after the other: what was not known (whether something is possible, or how to achieve it in practice), and why a \
        competent professional could not readily deduce it from what was public: no published result, theory that assumes other conditions, \
        interactions that could not be predicted. Difficulty, time, budget, staff and demand are not uncertainties.",
};

const WORK: Row = Row {
    key: "work_undertaken",
    title: "Work undertaken",
    question: Some("How did the project seek to overcome these uncertainties?"),
    facts: &[
        "field_of_science",
        "start_date",
        "end_date",
        "status",
        "baseline",
        "advance_sought",
        "uncertainties",
        "work_undertaken",
        "outcome",
    ],
    words: (60, 500),
    guidance: "For each uncertainty, with month and year: what was tried, what was measured, what failed, and what was changed because of it. \
        A systematic plan with failures left in. No routine work such as deployment, training or cosmetic design. All dates lie within \
        the project.",
};

const OUTCOME: Row = Row {
    key: "outcome",
    title: "Outcome",
    question: None,
    facts: &["field_of_science", "end_date", "status", "advance_sought", "uncertainties", "outcome"],
    words: (12, 300),
    guidance: "For each uncertainty: resolved, resolved in part, or not resolved, and the result that shows it. How far the advance was reached \
        against its target. Failure is fine and is told plainly. If the work goes on, what is still open at the end of the period.",
};

const PROFESSIONAL: Row = Row {
    key: "competent_professional",
    title: "Competent professional",
    question: None,
    facts: &["field_of_science", "competent_professional_role", "competent_professional_qualifications", "competent_professional_years"],
    words: (8, 150),
    guidance: "Role, qualifications and years of experience in the field of the person on whose judgement the narrative rests. No name. The \
        role is technical: not finance, sales or project management. The form does not ask for it; HMRC does in compliance checks.",
};

fn project_description() -> BuiltIn {
    BuiltIn {
        key: DEFAULT_TEMPLATE_KEY,
        name: "AIF project description",
        description: "The description of a project for HMRC's additional information form: its five questions, the outcome, and the competent \
            professional for the file.",
        instructions: Some(PLAIN),
        sections: [FIELD, BASELINE, ADVANCE, UNCERTAINTIES, WORK, OUTCOME, PROFESSIONAL].iter().map(Row::section).collect(),
    }
}

const SUMMARY: Row = Row {
    key: "summary",
    title: "Summary",
    question: None,
    facts: &["field_of_science", "baseline", "advance_sought", "uncertainties", "work_undertaken", "outcome"],
    words: (30, 250),
    guidance: "The project in a paragraph or two for a reader who reads nothing else: where knowledge stood, what was sought, what was \
        uncertain, what was done, what came of it. In other words than the sections that follow; no figure that is not in them.",
};

const PLAN: Row = Row {
    key: "project_plan",
    title: "Plan of the project",
    question: None,
    facts: &["start_date", "end_date", "status", "advance_sought", "uncertainties", "work_undertaken", "outcome"],
    words: (25, 300),
    guidance: "The method or plan by which the project went about its uncertainties: its stages in order, with dates, and what each was to \
        settle. A project in the sense of the guidelines has a plan; say how it was changed when results required it. The results \
        themselves belong to the next section.",
};

const BOUNDARIES: Row = Row {
    key: "boundaries",
    title: "Start, end and boundaries of the R&D",
    question: None,
    facts: &["start_date", "end_date", "status", "uncertainties", "work_undertaken", "outcome"],
    words: (20, 250),
    guidance: "When the work to resolve uncertainty began and what marked it; when it ended, or why it goes on; what of the wider commercial \
        project lies outside. R&D ends when the uncertainty is resolved or the work on it stops, not when the product is sold.",
};

fn technical_report() -> BuiltIn {
    BuiltIn {
        key: "technical-report",
        name: "Full technical report",
        description: "A technical report for the file and for HMRC's questions: the AIF's answers in full, with a summary, the plan, and the \
            boundaries of the R&D.",
        instructions: Some(PLAIN),
        sections: vec![
            SUMMARY.section(),
            FIELD.section(),
            BASELINE.section(),
            ADVANCE.section(),
            UNCERTAINTIES.section(),
            PLAN.section(),
            WORK.section(),
            OUTCOME.section(),
            BOUNDARIES.section(),
            PROFESSIONAL.section(),
        ],
    }
}

fn software_project() -> BuiltIn {
    BuiltIn {
        key: "software-project",
        name: "Software project",
        description: "The AIF project description with guidance for software: computer science rather than product features, system \
            uncertainty, and what does not count.",
        instructions: Some(PLAIN),
        sections: vec![
            FIELD.guided(
                "One or two sentences: computer science or another science, and the sub-field (such as distributed systems, compilers, computer \
                 vision, information retrieval, cryptography). “Software”, “IT”, “AI” or the name of a market is not a field. If the software \
                 serves another field, name the one in which the advance is sought, and keep to it in all sections.",
            ),
            BASELINE.guided(
                "What published algorithms, frameworks, protocols and products could do at the start date, with measured limits: throughput, \
                 latency, accuracy, size, consistency. Name them with their versions where the facts do. Then where they stopped short. Not what \
                 the company's earlier system lacked, nor that its team had not used a technique before.",
            ),
            ADVANCE.guided(
                "The capability or knowledge in computer science that was sought, with a target that can be measured: a bound, a rate, an error, a \
                 guarantee. Not a list of features, not a new user interface, not the first use of a known technique in a new business.",
            ),
            UNCERTAINTIES.guided(
                "For each: what could not be known beforehand, and why a competent professional could not deduce it from documentation, \
                 publications or a routine trial. System uncertainty counts where it comes from how components behave together at the scale or \
                 under the constraints named; joining components to an established pattern has little or none. Bugs, unclear requirements, \
                 deadlines and choosing between libraries are not uncertainties.",
            ),
            WORK.guided(
                "For each uncertainty, with month and year: the hypothesis, the prototype or experiment, the data set or load, what was measured, \
                 what failed, and what was changed. Leave out ordinary development: forms, reports, configuration, migration, user testing, \
                 deployment, fixing of ordinary faults.",
            ),
            OUTCOME.guided(
                "For each uncertainty: resolved, resolved in part, or not resolved, with the measurement that shows it against the target. Delivery \
                 of the product is not an outcome in this sense. Approaches that were given up belong here too.",
            ),
            PROFESSIONAL.guided(
                "Role, qualifications and years of experience in the named sub-field. No name. A software architect, principal engineer or \
                 researcher in that sub-field is credible; a product owner, project manager or head of sales is not.",
            ),
        ],
    }
}

fn client_summary() -> BuiltIn {
    BuiltIn {
        key: "client-summary",
        name: "Summary for the client",
        description: "Short texts for the client's own reading: what is claimed and why, and which facts are still needed. Not for HMRC.",
        instructions: Some(
            "For a director without a technical background, in short sentences. Plain text, British spelling. Explain terms of the field at first \
             use if the facts do. No advice on whether the project qualifies, no promise of an amount.",
        ),
        sections: vec![
            Row { title: "The project in short", words: (20, 200), ..SUMMARY }.guided(
                "What the project set out to find and what came of it, in a few sentences that a director can check against memory.",
            ),
            Row { title: "Why it was hard", words: (20, 200), ..UNCERTAINTIES }.asked_nothing(),
            Row { words: (12, 150), ..OUTCOME }.guided(
                "Which questions were answered, which in part, which not, with the result that shows it. No outlook on sales.",
            ),
            Row {
                key: "open_points",
                title: "What we still need from you",
                question: None,
                facts: &[],
                words: (5, 120),
                guidance: "The points of the narrative on which the facts are silent or unclear, as a short list in sentences: dates, baseline with \
                    figures, reasons why the answer was not deducible, failures, outcome, the competent professional. Nothing else.",
            }
            .section(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::templates::section_problems;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn every_built_in_template_obeys_the_rules_of_templates() {
        let all = built_in();
        for template in &all {
            assert_eq!(section_problems(&template.sections, "sections"), [], "{}", template.key);
            assert!(template.sections.iter().all(|section| !section.guidance.contains("  ")), "{}", template.key);
        }
        assert_eq!(all[0].key, DEFAULT_TEMPLATE_KEY);
        assert_eq!(all.iter().map(|template| template.key).collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn the_default_template_answers_the_five_questions_in_their_order() {
        let sections = built_in().remove(0).sections;
        let asked: Vec<_> = sections.iter().filter(|section| section.aif_question.is_some()).map(|section| section.key.as_str()).collect();
        assert_eq!(asked, ["field_of_science", "baseline", "advance", "uncertainties", "work_undertaken"]);
        let words: Vec<_> = sections.iter().map(|section| (section.limits.min_words, section.limits.max_words)).collect();
        assert_eq!(words, [(12, 120), (40, 500), (25, 400), (45, 600), (60, 500), (12, 300), (8, 150)]);
    }

    #[test]
    fn a_key_means_the_same_facts_in_every_template() {
        let mut facts: HashMap<String, Vec<String>> = HashMap::new();
        for section in built_in().into_iter().flat_map(|template| template.sections) {
            let first = facts.entry(section.key.clone()).or_insert_with(|| section.source_facts.clone());
            assert_eq!(*first, section.source_facts, "{}", section.key);
        }
    }
}
