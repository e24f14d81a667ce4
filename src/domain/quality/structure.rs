//! Structural rules: is every section there, within its limits, plain, finished and said once (domain rules F, table;
//! the limit of characters is E, "Length"). It must not judge what a text says.

use super::super::templates::{char_count, word_count};
use super::{Finding, Narrative, SectionText, ValidationCode, clip, excerpt, report};
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Fewest words of a sentence that counts as duplicated.
const DUPLICATE_WORDS: usize = 8;

/// Words in brackets that only a placeholder begins with. `[Figure 3]` or `[12]` are citations.
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        "",
        &[
            r"[\[{<](?i:\s*(?:insert|enter|your|tb[acd]|todo|placeholder|describe|fill in|please|to be (?:added|advised|completed|confirmed|determined|inserted|provided|supplied))\b[^\]}>\n]{0,120}[\]}>])",
            r"\[(?i:\s*(?:company|client|project|product|employee)?[ _-]?(?:name|date|amount|number|value|percentage|figure|details?|company|client|month|year|xx+)\s*)\]",
            r"\{\{[^}\n]{0,80}\}\}",
            r"\b(?:TB[CD]|tb[cd])\b",
            r"\b(?:TODO|FIXME|XXX+)\b",
            r"£\s?X+\b",
            r"\bXX+\s?%",
            r"\?{3,}",
            r"_{4,}",
            r"\b(?i:lorem ipsum|placeholder text)\b",
            r"\b(?i:insert (?:text|names?|dates?|figures?|details|numbers?|descriptions?|values?) here)\b",
        ],
    )
});

/// What models say around a text. Narrow on purpose: it blocks approval, and projects about language models exist.
static ASSISTANT: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        "(?im)",
        &[
            r"^\s*(?:sure|certainly|absolutely|of course)(?:!|[,.:]? (?:here(?:'s|’s| is| are)|i(?:'ll|’ll|'d|’d| will| can)|happy to|let me)\b)",
            r"^\s*here(?:'s|’s| is| are) (?:the|a|an|your|my) (?:[a-z-]+ ){0,3}(?:draft|version|section|narrative|text|rewrite|summary|description|response|answer|paragraph)s?\b[^.\n]{0,80}:",
            r"\blet me know (?:if|whether|what|how|when|should)\b",
            r"\bi hope (?:this|that|it) helps\b",
            r"\bfeel free to (?:ask|reach|adjust|edit|modify|change|let me|contact me)\b",
            r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)(?: language model| assistant| model)?,? i\b",
            r"\bi(?:'m|’m| am) (?:sorry, but|unable to (?:provide|access|verify|generate)|(?:just |only )?an ai\b|a language model)",
            r"\bi (?:cannot|can't|can’t|don't|don’t|do not) (?:provide|assist|help with|browse|have access|have enough information)\b",
            r"\b(?:would you like|do you want) me to\b",
            r"\bi(?:'ve|’ve| have) (?:drafted|rewritten|redrafted|kept) (?:the|this|your|a|it)\b",
            r"\b(?:i am|i'm|i’m|i'd be|i’d be|i would be) happy to (?:help|assist|revise|adjust|expand|refine)\b",
            r"\bplease provide (?:me\b|(?:more|additional|further) (?:details|information|context))",
            r"\b(?:information|facts|details|data|context) (?:that )?you(?:'ve|’ve| have)? (?:provided|supplied|shared|gave)\b",
            r"</?think(?:ing)?>",
            r"\[end of (?:section|draft|narrative|response|text)\]",
            r"^\s*\(?word count:? *[0-9]+",
        ],
    )
});

/// Markdown and HTML. Lists with hyphens are ordinary plain text; `2**8`, `__init__` and `x<b` are not formatting.
static FORMATTING: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        "(?m)",
        &[
            r"^[ \t]{0,3}#{1,6}[ \t]+\S",
            r"^[ \t]*\*[ \t]+\S",
            r"^[ \t]*(?:-{3,}|\*{3,}|={3,})[ \t]*$",
            r"^[ \t]*>[ \t]+\S",
            r"^[ \t]*\|[^\n]*\|[ \t]*$",
            r"(?:^|[\s(])\*\*[^\s*][^*\n]*\*\*",
            r"(?:^|[\s(])\*[^\s*][^*\n]*[^\s*]\*(?:[\s).,;:!?]|$)",
            r"(?:^|[\s(])__[^\s_][^_\n]*\s[^_\n]*__",
            r"```",
            r"`[^`\n]+`",
            r"\[[^\]\n]+\]\((?:https?:|mailto:|/|#)[^)\n]*\)",
            r"</?(?i:p|br|hr|b|i|u|em|strong|ul|ol|li|div|span|h[1-6]|a|table|tr|td|th|code|pre|sub|sup|img|script|style|html|body)(?:\s+[A-Za-z-]+=[^>\n]*)?\s*/?>",
            r"&(?:nbsp|amp|lt|gt|quot|apos|pound|ndash|mdash|#[0-9]{1,5});",
        ],
    )
});

/// One expression for all patterns. `\b` becomes the ASCII kind: the Unicode kind makes the engine slow on any text with
/// a pound sign or a curly quote.
#[expect(clippy::expect_used, reason = "the patterns are constants and a test compiles them")]
fn compile(flags: &str, patterns: &[&str]) -> Regex {
    let any = patterns.join("|").replace(r"\b", r"(?-u:\b)");
    Regex::new(&format!("{flags}(?:{any})")).expect("a constant pattern")
}

/// True if there is nothing to read: no letter and no digit.
pub(super) fn is_blank(text: &str) -> bool {
    !text.chars().any(char::is_alphanumeric)
}

/// Technical abbreviations that look like placeholders and are explained in the narrative or its facts: "thermal
/// barrier coating (TBC)".
pub(super) struct Abbreviations(Vec<String>);

impl Abbreviations {
    pub(super) fn of(narrative: &Narrative) -> Self {
        let texts = narrative.sections.iter().map(|part| part.text).chain(narrative.facts.texts().into_iter().map(|(_, text)| text));
        let mut known = Vec::new();
        for text in texts {
            for (at, _) in text.match_indices("(TB") {
                let Some(short) = text[at + 1..].split(')').next().filter(|short| matches!(*short, "TBC" | "TBD")) else { continue };
                let words: Vec<&str> = text[..at].split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
                let initials: String = words.iter().rev().take(short.len()).rev().filter_map(|word| word.chars().next()).collect();
                if initials.eq_ignore_ascii_case(short) {
                    known.push(short.to_owned());
                }
            }
        }
        Self(known)
    }

    fn explains(&self, word: &str) -> bool {
        self.0.iter().any(|known| known == word)
    }
}

/// Checks one section.
pub(super) fn check(part: &SectionText, abbreviations: &Abbreviations, findings: &mut Vec<Finding>) {
    let title = &part.section.title;
    if is_blank(part.text) {
        if part.section.required {
            let message = format!("“{title}” has no text, and it is required.");
            report(findings, part, ValidationCode::SectionMissing, message, "Write or generate this section.", None);
        }
        return;
    }
    check_limits(part, findings);
    for found in PLACEHOLDER.find_iter(part.text).filter(|found| !abbreviations.explains(found.as_str())) {
        let message = format!("The placeholder “{}” is left in “{title}”.", clip(found.as_str().trim()));
        let shown = excerpt(part.text, found.start(), found.end());
        report(findings, part, ValidationCode::PlaceholderText, message, "Replace it with what is meant, or take it out.", Some(shown));
    }
    for found in ASSISTANT.find_iter(part.text) {
        let message = format!("“{}” in “{title}” is talk of an assistant, not part of the narrative.", clip(found.as_str().trim()));
        let shown = excerpt(part.text, found.start(), found.end());
        report(findings, part, ValidationCode::AssistantTalk, message, "Take these words out.", Some(shown));
    }
    if may_be_formatted(part.text)
        && let Some(found) = FORMATTING.find(part.text)
    {
        let message = format!("“{title}” has Markdown or HTML; the form takes plain text only.");
        let shown = excerpt(part.text, found.start(), found.end());
        report(findings, part, ValidationCode::FormattingNotPlain, message, "Take the marks out and keep the words.", Some(shown));
    }
}

/// Most texts have none of the bytes that every mark needs, and looking for them is cheaper than the expression.
fn may_be_formatted(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'#' | b'*' | b'=' | b'>' | b'|' | b'_' | b'`' | b'[' | b'<' | b'&')) || text.contains("---")
}

fn check_limits(part: &SectionText, findings: &mut Vec<Finding>) {
    let (title, limits) = (&part.section.title, part.section.limits);
    let (words, chars) = (word_count(part.text), char_count(part.text));
    if words < limits.min_words {
        let message = format!("“{title}” has {words} words; at least {} are expected.", limits.min_words);
        report(findings, part, ValidationCode::SectionTooShort, message, "Add what the facts say about this question.", None);
    }
    if words > limits.max_words {
        let message = format!("“{title}” has {words} words; at most {} are expected.", limits.max_words);
        report(findings, part, ValidationCode::SectionTooLong, message, "Shorten it: reviewers have little time for each answer.", None);
    }
    if chars > limits.max_chars {
        let message = format!("“{title}” has {chars} characters; the form accepts {}.", limits.max_chars);
        report(findings, part, ValidationCode::SectionOverLimit, message, "Shorten it: the form would refuse this answer.", None);
    }
}

/// Sentences of eight words or more that stand in two sections; reported once, in the later section.
pub(super) fn check_duplicates(sections: &[SectionText], findings: &mut Vec<Finding>) {
    let mut first_seen: HashMap<String, usize> = HashMap::new();
    for (at, part) in sections.iter().enumerate() {
        for sentence in sentences(part.text) {
            let Some(words) = comparable(sentence) else { continue };
            let first = *first_seen.entry(words).or_insert(at);
            if first == at {
                continue;
            }
            let line = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
            let beginning = line.split(' ').take(DUPLICATE_WORDS).collect::<Vec<_>>().join(" ");
            let message = format!(
                "The sentence that begins “{}” stands in “{}” and in “{}”.",
                clip(&beginning),
                sections[first].section.title,
                part.section.title
            );
            report(findings, part, ValidationCode::DuplicatedText, message, "Say it once, where it belongs.", Some(clip(&line)));
        }
    }
}

/// The words in lower case without marks; none if they are too few to count.
fn comparable(sentence: &str) -> Option<String> {
    let mut words = String::with_capacity(sentence.len());
    let mut count = 0;
    for word in sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if word.is_ascii() {
            words.extend(word.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
        } else {
            words.push_str(&word.to_lowercase());
        }
        words.push(' ');
        count += 1;
    }
    (count >= DUPLICATE_WORDS).then_some(words)
}

/// Sentences end with a line, or with a stop that white space follows: the point of 3.5 ends nothing.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| {
        let mut from = 0;
        let ends = line.match_indices(['.', '!', '?']).map(|(at, stop)| at + stop.len());
        let ends: Vec<usize> = ends.filter(|&end| line[end..].starts_with(char::is_whitespace)).chain([line.len()]).collect();
        ends.into_iter().map(move |end| {
            let sentence = &line[from..end];
            from = end;
            sentence
        })
    })
}
