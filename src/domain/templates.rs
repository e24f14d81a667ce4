//! Templates: the sections of a narrative, in versions that never change. Pure values and their rules.

use super::ids::{TemplateId, TemplateVersionId, UserId};
use super::projects::FACT_NAMES;
use crate::error::{Problem, ProblemCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Key of the template that a batch follows unless it names another.
pub const DEFAULT_TEMPLATE_KEY: &str = "aif-project-description";
/// Most sections of a template.
pub const MAX_SECTIONS: usize = 30;
/// Most characters of a section (the AIF's limit for an answer; domain rules E, "Length").
pub const MAX_SECTION_CHARS: i32 = 20_000;
/// Most characters of instructions or guidance.
pub const MAX_GUIDANCE_CHARS: usize = 4_000;

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Id.
    pub id: TemplateId,
    /// Stable key, unique in the workspace.
    pub key: String,
    /// Name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// True if it came with the product.
    pub built_in: bool,
    /// When it was archived.
    pub archived_at: Option<DateTime<Utc>>,
    /// Newest version.
    pub current_version: TemplateVersionId,
    /// Number of the newest version.
    pub current_number: i32,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A version of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// Id.
    pub id: TemplateVersionId,
    /// The template.
    pub template: TemplateId,
    /// Number, from 1.
    pub number: i32,
    /// Sections in order.
    pub sections: Vec<TemplateSection>,
    /// Instructions for all sections.
    pub instructions: Option<String>,
    /// What changed.
    pub note: Option<String>,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A section of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateSection {
    /// Key, unique in the template, lower case with underscores.
    pub key: String,
    /// Title.
    pub title: String,
    /// Instructions for the writer, person or model.
    pub guidance: String,
    /// Question of the additional information form that it answers.
    pub aif_question: Option<String>,
    /// Facts that it may use, by column name; all if empty.
    #[serde(default)]
    pub source_facts: Vec<String>,
    /// True if it must have text.
    pub required: bool,
    /// Limits.
    pub limits: Limits,
}

/// Limits of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Fewest words.
    pub min_words: i32,
    /// Most words.
    pub max_words: i32,
    /// Most characters (Unicode scalar values).
    pub max_chars: i32,
}

/// Which templates.
#[derive(Debug, Clone, Default)]
pub struct TemplateFilter {
    /// Text in name, key or description.
    pub text: Option<String>,
    /// Archived ones too.
    pub include_archived: bool,
    /// Built-in ones only, or own ones only.
    pub built_in: Option<bool>,
}

/// A new template, as asked for.
#[derive(Debug, Clone, Serialize)]
pub struct NewTemplate {
    /// Name.
    pub name: String,
    /// Key; made from the name if absent.
    pub key: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Instructions for all sections.
    pub instructions: Option<String>,
    /// Sections.
    pub sections: Vec<TemplateSection>,
}

/// Changes of a template, which make a new version: the outer `None` leaves a value, the inner one clears it.
#[derive(Debug, Clone, Default)]
pub struct TemplatePatch {
    /// Name; null is refused.
    pub name: Option<Option<String>>,
    /// What it is for.
    pub description: Option<Option<String>>,
    /// Instructions for all sections.
    pub instructions: Option<Option<String>>,
    /// All sections of the new version; null is refused.
    pub sections: Option<Option<Vec<TemplateSection>>>,
    /// What changed.
    pub note: Option<String>,
}

/// Words of a text: what is divided by white space.
#[must_use]
pub fn word_count(text: &str) -> i32 {
    i32::try_from(text.split_whitespace().count()).unwrap_or(i32::MAX)
}

/// Characters of a text: Unicode scalar values.
#[must_use]
pub fn char_count(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}

/// A key made from a name: lower case, words joined by hyphens.
#[must_use]
pub fn key_from_name(name: &str) -> String {
    let words: Vec<String> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    let key: String = words.join("-").chars().take(80).collect();
    if key.is_empty() { "template".into() } else { key.trim_end_matches('-').into() }
}

/// Control characters that no text needs; a database may refuse them.
fn is_unwanted_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

/// Problems of a template's sections; `at` is the path of the list in the input, such as `input.sections`.
#[must_use]
pub fn section_problems(sections: &[TemplateSection], at: &str) -> Vec<Problem> {
    use ProblemCode::{Invalid, Required, Taken, TooLong, TooMany};
    let mut found = Vec::new();
    if sections.is_empty() {
        found.push(Problem::new(Required, at, "A template needs at least one section."));
    }
    if sections.len() > MAX_SECTIONS {
        found.push(Problem::new(TooMany, at, format!("A template has at most {MAX_SECTIONS} sections; divide it into two templates.")));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, section) in sections.iter().enumerate() {
        let path = |field: &str| format!("{at}.{index}.{field}");
        let mut say = |code, field: &str, message: String| found.push(Problem::new(code, &path(field), message));
        let well_formed = section.key.starts_with(|c: char| c.is_ascii_lowercase())
            && section.key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && section.key.len() <= 60;
        if !well_formed {
            say(Invalid, "key", "A key is 1 to 60 lower-case letters, digits and underscores, and starts with a letter.".into());
        }
        if !seen.insert(section.key.as_str()) {
            say(Taken, "key", format!("Two sections have the key `{}`; keys are unique in a template.", section.key));
        }
        if section.title.trim().is_empty() {
            say(Required, "title", "A section needs a title.".into());
        }
        if section.title.chars().count() > 200 {
            say(TooLong, "title", "A title has at most 200 characters.".into());
        }
        if section.guidance.chars().count() > MAX_GUIDANCE_CHARS {
            say(TooLong, "guidance", format!("Guidance has at most {MAX_GUIDANCE_CHARS} characters."));
        }
        if section.aif_question.as_deref().is_some_and(|question| question.chars().count() > MAX_GUIDANCE_CHARS) {
            say(TooLong, "aifQuestion", format!("A question has at most {MAX_GUIDANCE_CHARS} characters."));
        }
        let texts =
            [("title", Some(&section.title)), ("guidance", Some(&section.guidance)), ("aifQuestion", section.aif_question.as_ref())];
        for (field, _) in texts.into_iter().filter(|(_, text)| text.is_some_and(|text| text.chars().any(is_unwanted_control))) {
            say(Invalid, field, format!("`{field}` has control characters; remove them."));
        }
        for fact in &section.source_facts {
            if !FACT_NAMES.contains(&fact.as_str()) {
                say(Invalid, "sourceFacts", format!("There is no fact `{fact}`; the facts are {}.", FACT_NAMES.join(", ")));
            }
        }
        let Limits { min_words, max_words, max_chars } = section.limits;
        if min_words < 0 || max_words < 1 || min_words > max_words {
            say(Invalid, "maxWords", "Limits of words: 0 or more at least, 1 or more at most, and the least not above the most.".into());
        }
        if !(1..=MAX_SECTION_CHARS).contains(&max_chars) {
            say(Invalid, "maxChars", format!("`maxChars` is 1 to {MAX_SECTION_CHARS}."));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(key: &str) -> TemplateSection {
        TemplateSection {
            key: key.into(),
            title: "Baseline".into(),
            guidance: String::new(),
            aif_question: None,
            source_facts: vec![],
            required: true,
            limits: Limits { min_words: 40, max_words: 500, max_chars: 20_000 },
        }
    }

    #[test]
    fn each_problem_of_a_section_names_its_place() {
        assert!(section_problems(&[section("baseline")], "input.sections").is_empty());
        let found = section_problems(&[section("baseline"), section("baseline")], "input.sections");
        assert_eq!(found[0].code, ProblemCode::Taken);
        assert_eq!(found[0].field, ["input", "sections", "1", "key"]);
        assert_eq!(section_problems(&[section("Base line")], "s")[0].code, ProblemCode::Invalid);
        assert_eq!(section_problems(&[], "s")[0].code, ProblemCode::Required);
    }

    #[test]
    fn a_key_is_made_from_any_name() {
        assert_eq!(key_from_name("Full technical report (2026)"), "full-technical-report-2026");
        assert_eq!(key_from_name("???"), "template");
    }
}
