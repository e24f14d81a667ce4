//! Personal data in facts: what looks like it, and a mask that replaces it by placeholders before a prompt leaves and puts
//! it back into the answer. Pure. It must not promise more than it does: patterns find what has the form of an address or
//! a number, and names where the text says that they are names; a name alone in a sentence is not found.
//!
//! Each text that is replaced has a placeholder of its own (`[PERSON-1]`), the same for the whole prompt, so what comes back
//! is exactly what went in. The same facts always give the same placeholders.

use super::projects::Facts;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a valid pattern"));
    };
}

pattern!(EMAIL, r"(?i-u)[a-z0-9._%+-]{0,64}[a-z0-9_%+-]@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*\.[a-z]{2,24}");
pattern!(INSURANCE_NUMBER, r"(?-u)\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b");
pattern!(TELEPHONE, r"(?-u)(?:\+44 ?(?:\(0\) ?)?|\b0)[1-37][0-9]{1,4}[ -]?[0-9]{3,4}[ -]?[0-9]{3,4}\b");
// up to four words that begin with a capital, after a title; the name without the title is the group
pattern!(
    TITLE_AND_NAME,
    r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Dame)\.? (\p{Lu}(?:\.|[\p{L}'’-]+)(?: \p{Lu}(?:\.|[\p{L}'’-]+)){0,3})"
);
// two or three capitalised words that somebody is said to have done something
pattern!(
    DONE_BY,
    r"\b(?i:led|managed|supervised|directed|headed|overseen|written|interviewed|mentored|employed) by (?:(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Dame)\.? )?(\p{Lu}[\p{L}'’-]+(?: \p{Lu}\.)?(?: \p{Lu}[\p{L}'’-]+){1,2})"
);
// `Name: Jane Example`, `our lead engineer is called Jane Example`
pattern!(
    CALLED,
    r"\b(?i:name|contact|engineer|scientist|lead|manager|director|professional)(?i:: | is | is called | named |, )(?:(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Dame)\.? )?(\p{Lu}[\p{L}'’-]+(?: \p{Lu}\.)?(?: \p{Lu}[\p{L}'’-]+){1,2})"
);
// `Jane Example, lead engineer`: at the beginning of what is said of the competent professional
pattern!(
    NAME_FIRST,
    r"^(?:(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Dame)\.? )?(\p{Lu}[\p{L}'’-]+(?: \p{Lu}\.)?(?: \p{Lu}[\p{L}'’-]+){1,2})(?:,| \(| [-–—] )"
);
// headings of extra columns whose values are names of people
pattern!(
    NAME_HEADING,
    r"(?i)^(?:(?:first|last|full|sur|given|family|middle)[ _-]?names?|surname|contact(?: person)?|.*\b(?:person|professional|engineer|scientist|researcher|lead|manager|director|inventor|author|employee|staff|contact|adviser|advisor|witness)(?:'s)?[ _-]names?)$"
);
// what a model makes of a placeholder: it may lose its brackets or its capitals
pattern!(PLACEHOLDER, r"(?i)\[?\b(PERSON|EMAIL|PHONE|NINO)-([0-9]{1,4})\b\]?");

/// Words that begin names of roles and organisations, not of people.
const NOT_NAMES: &[&str] = &[
    "Academy",
    "Analyst",
    "Architect",
    "Associate",
    "Association",
    "Bachelor",
    "Chartered",
    "Chemist",
    "Chief",
    "College",
    "Company",
    "Consultant",
    "Corporation",
    "Council",
    "Department",
    "Deputy",
    "Developer",
    "Director",
    "Doctor",
    "Electrical",
    "Engineer",
    "Engineering",
    "Executive",
    "Faculty",
    "Fellow",
    "Founder",
    "Group",
    "Head",
    "Incorporated",
    "Institute",
    "Institution",
    "Junior",
    "Laboratories",
    "Laboratory",
    "Lead",
    "Limited",
    "Ltd",
    "Machine",
    "Manager",
    "Managing",
    "Manufacturing",
    "Master",
    "Mechanical",
    "Medical",
    "Member",
    "National",
    "Officer",
    "Operations",
    "Physicist",
    "Polymer",
    "Principal",
    "Process",
    "Product",
    "Professor",
    "Programme",
    "Project",
    "Quality",
    "Research",
    "Royal",
    "School",
    "Science",
    "Scientist",
    "Senior",
    "Society",
    "Software",
    "Staff",
    "Systems",
    "Team",
    "Technical",
    "Technology",
    "The",
    "University",
];

/// True if a text holds what looks like personal data.
#[must_use]
pub fn is_suspected(text: &str) -> bool {
    text.contains('@') && EMAIL.is_match(text)
        || TITLE_AND_NAME.is_match(text)
        || TELEPHONE.is_match(text)
        || INSURANCE_NUMBER.is_match(text)
}

/// Kinds of personal data, as placeholders call them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Person,
    Email,
    Phone,
    InsuranceNumber,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Person => "PERSON",
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::InsuranceNumber => "NINO",
        }
    }
}

/// What is replaced by what.
#[derive(Clone, Default)]
pub struct Mask {
    /// What is hidden and its placeholder without brackets, in the order in which they were found.
    pairs: Vec<(String, String)>,
    /// Finds what is hidden, the longest first; none if there is nothing to hide.
    finder: Option<Regex>,
}

/// What it hides must not be shown.
impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("hidden", &self.pairs.len()).finish_non_exhaustive()
    }
}

impl Mask {
    /// A mask for all personal data in a project's facts and in other texts of the same prompt.
    #[must_use]
    pub fn of(facts: &Facts, others: &[&str]) -> Self {
        let texts = facts.texts();
        let extra = facts.extra.values().map(String::as_str);
        let all: Vec<&str> = others.iter().copied().chain(texts.iter().map(|(_, text)| *text)).chain(extra).collect();
        let mut found = Found::new(&all);
        for (heading, value) in &facts.extra {
            if NAME_HEADING.is_match(heading.trim()) && value.chars().count() <= 100 {
                found.add(Kind::Person, value.trim());
            }
        }
        for (name, text) in &texts {
            if name.starts_with("competent_professional") {
                found.names(&NAME_FIRST, text);
            }
        }
        for text in all {
            found.search(text);
        }
        found.mask()
    }

    /// True if there is nothing to hide.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// A text with placeholders.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let Some(finder) = &self.finder else { return text.to_owned() };
        let replaced = finder.replace_all(text, |found: &regex::Captures<'_>| {
            let pair = self.pairs.iter().find(|(hidden, _)| *hidden == found[0]);
            pair.map_or_else(|| found[0].to_owned(), |(_, placeholder)| format!("[{placeholder}]"))
        });
        replaced.into_owned()
    }

    /// Facts with placeholders. Headings of extra columns stay.
    #[must_use]
    pub fn hide_facts(&self, facts: &Facts) -> Facts {
        if self.is_empty() {
            return facts.clone();
        }
        let hide = |text: &Option<String>| text.as_deref().map(|text| self.hide(text));
        Facts {
            sector: hide(&facts.sector),
            field_of_science: hide(&facts.field_of_science),
            sub_field: hide(&facts.sub_field),
            start_date: facts.start_date,
            end_date: facts.end_date,
            work_status: facts.work_status,
            baseline: hide(&facts.baseline),
            advance_sought: hide(&facts.advance_sought),
            uncertainties: hide(&facts.uncertainties),
            work_undertaken: hide(&facts.work_undertaken),
            outcome: hide(&facts.outcome),
            competent_professional_role: hide(&facts.competent_professional_role),
            competent_professional_qualifications: hide(&facts.competent_professional_qualifications),
            competent_professional_years: facts.competent_professional_years,
            claim_ref: hide(&facts.claim_ref),
            extra: facts.extra.iter().map(|(heading, text)| (heading.clone(), self.hide(text))).collect(),
        }
    }

    /// A text with what stood there before the placeholders. One that nobody made stays.
    #[must_use]
    pub fn restore(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let restored = PLACEHOLDER.replace_all(text, |found: &regex::Captures<'_>| {
            let name = format!("{}-{}", found[1].to_uppercase(), &found[2]);
            let pair = self.pairs.iter().find(|(_, placeholder)| *placeholder == name);
            pair.map_or_else(|| found[0].to_owned(), |(hidden, _)| hidden.clone())
        });
        restored.into_owned()
    }
}

/// What was found so far.
struct Found {
    pairs: Vec<(String, String)>,
    counts: HashMap<Kind, usize>,
    /// Names of placeholders that stand in the texts already.
    taken: Vec<String>,
}

impl Found {
    fn new(texts: &[&str]) -> Self {
        let of = |text| PLACEHOLDER.captures_iter(text).map(|found| format!("{}-{}", found[1].to_uppercase(), &found[2]));
        Self { pairs: Vec::new(), counts: HashMap::new(), taken: texts.iter().flat_map(|text| of(text)).collect() }
    }

    fn add(&mut self, kind: Kind, text: &str) {
        // a letter alone is no name, and would be hidden everywhere
        if text.chars().filter(|c| c.is_alphanumeric()).count() < 2 || self.pairs.iter().any(|(hidden, _)| hidden == text) {
            return;
        }
        let count = self.counts.entry(kind).or_default();
        let name = loop {
            *count += 1;
            let name = format!("{}-{count}", kind.word());
            if !self.taken.contains(&name) {
                break name;
            }
        };
        self.pairs.push((text.to_owned(), name));
    }

    /// Adds names that a pattern has in its group, without what is a role or an organisation.
    fn names(&mut self, pattern: &Regex, text: &str) {
        for found in pattern.captures_iter(text).filter_map(|found| found.get(1)) {
            let name = found.as_str();
            if name.split(' ').all(|word| !NOT_NAMES.contains(&word)) {
                self.add(Kind::Person, name);
                // later the surname stands alone
                if let Some((_, surname)) = name.rsplit_once(' ').filter(|(_, surname)| surname.chars().count() > 2) {
                    self.add(Kind::Person, surname);
                }
            }
        }
    }

    fn search(&mut self, text: &str) {
        if text.contains('@') {
            EMAIL.find_iter(text).for_each(|found| self.add(Kind::Email, found.as_str()));
        }
        INSURANCE_NUMBER.find_iter(text).for_each(|found| self.add(Kind::InsuranceNumber, found.as_str()));
        TELEPHONE.find_iter(text).for_each(|found| self.add(Kind::Phone, found.as_str()));
        for pattern in [&TITLE_AND_NAME, &DONE_BY, &CALLED] {
            self.names(pattern, text);
        }
    }

    fn mask(self) -> Mask {
        let mut longest_first: Vec<&str> = self.pairs.iter().map(|(hidden, _)| hidden.as_str()).collect();
        longest_first.sort_by_key(|hidden| std::cmp::Reverse(hidden.len()));
        // whole words only: `Ann` is not in `Annealing`
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let whole = longest_first.iter().map(|hidden| {
            let (before, after) = (is_word(hidden.chars().next()), is_word(hidden.chars().next_back()));
            let edge = |there: bool| if there { r"\b" } else { "" };
            format!("{}{}{}", edge(before), regex::escape(hidden), edge(after))
        });
        let finder = (!self.pairs.is_empty()).then(|| Regex::new(&whole.collect::<Vec<_>>().join("|")).ok()).flatten();
        Mask { pairs: self.pairs, finder }
    }
}

/// Puts back what was hidden while a text comes in pieces, whose borders may lie within a placeholder.
#[derive(Debug)]
pub struct Restorer<'m> {
    mask: &'m Mask,
    /// The last word, as long as it may go on.
    held: String,
}

/// Longest word that is held: no placeholder is longer.
const LONGEST_HELD: usize = 64;

impl<'m> Restorer<'m> {
    /// Puts back what this mask hides.
    #[must_use]
    pub const fn new(mask: &'m Mask) -> Self {
        Self { mask, held: String::new() }
    }

    /// What can be shown after a further piece.
    pub fn push(&mut self, piece: &str) -> String {
        if self.mask.is_empty() {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        let blank = self.held.char_indices().rev().find(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8());
        let end = if self.held.len() - blank.unwrap_or(0) > LONGEST_HELD { self.held.len() } else { blank.unwrap_or(0) };
        let rest = self.held.split_off(end);
        self.mask.restore(&std::mem::replace(&mut self.held, rest))
    }

    /// What is left at the end.
    #[must_use]
    pub fn finish(self) -> String {
        self.mask.restore(&self.held)
    }
}

#[cfg(test)]
mod tests;
