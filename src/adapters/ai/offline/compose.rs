//! Fits what a section says to its limits: shortened at the ends of sentences, helped out where it is short. It must
//! not decide what a section says.

use super::purposes;
use super::sentences::{Paragraphs, clipped, starts_with_number, words};
use super::view::View;
use crate::domain::projects::Facts;
use crate::domain::templates::TemplateSection;

/// Words after which a long paragraph is divided.
const PARAGRAPH_WORDS: usize = 90;

/// The text of a section: plain, paragraphs divided by blank lines, never empty.
pub(super) fn compose(section: &TemplateSection, facts: &Facts, project_name: &str) -> String {
    let view = View { facts, allowed: &section.source_facts };
    purposes::written(&view, section, project_name).fitted(section)
}

/// A text before it is fitted to its limits.
#[derive(Default)]
pub(super) struct Composition {
    /// Leads in; the first to go when there is little room.
    pub(super) lead: Vec<String>,
    /// The facts themselves.
    pub(super) body: Paragraphs,
    /// Sentences that help out a short text, in the order of their worth.
    pub(super) helpers: Vec<String>,
    /// What to say if even these leave it short; empty if the text says so already.
    pub(super) no_more: String,
}

impl Composition {
    fn fitted(self, section: &TemplateSection) -> String {
        let limit = |value: i32| usize::try_from(value).unwrap_or(0);
        let (min, max) = (limit(section.limits.min_words), limit(section.limits.max_words));
        let mut page = Page { text: String::new(), words: 0, chars: 0, max_words: max, max_chars: limit(section.limits.max_chars) };
        let first = self.body.first().and_then(|paragraph| paragraph.first()).cloned();
        let lead_words: usize = self.lead.iter().map(|sentence| words(sentence)).sum();
        if first.as_ref().is_none_or(|first| lead_words + words(first) <= max) {
            page.add_all(&self.lead);
        }
        let divided = divided(self.body);
        if divided.len() > 1 && page.words > 0 {
            page.end_paragraph();
        }
        let mut whole = true;
        for (index, paragraph) in divided.iter().enumerate() {
            if index > 0 {
                page.end_paragraph();
            }
            whole = page.add_all(paragraph);
            if !whole {
                break;
            }
        }
        if whole && page.words < min {
            page.end_paragraph();
            for helper in &self.helpers {
                if page.words < min {
                    page.add(helper);
                }
            }
            if page.words < min && !self.no_more.is_empty() {
                page.add(&self.no_more);
            }
        }
        if page.words == 0 {
            let only = first.as_ref().or(self.lead.first()).unwrap_or(&self.no_more);
            return clipped(only, max, page.max_chars);
        }
        page.text.truncate(page.text.trim_end().len());
        page.text
    }
}

/// A text that grows as long as there is room.
struct Page {
    text: String,
    words: usize,
    chars: usize,
    max_words: usize,
    max_chars: usize,
}

impl Page {
    /// Adds a sentence; false if there is no room for it.
    fn add(&mut self, sentence: &str) -> bool {
        // One more for the blank, and one for a paragraph's end that may stand before it.
        let (words, chars) = (words(sentence), sentence.chars().count() + 2);
        if self.words + words > self.max_words || self.chars + chars > self.max_chars {
            return false;
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push(' ');
        }
        self.text.push_str(sentence);
        self.words += words;
        self.chars += chars;
        true
    }

    fn add_all(&mut self, sentences: &[String]) -> bool {
        sentences.iter().all(|sentence| self.add(sentence))
    }

    fn end_paragraph(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push_str("\n\n");
        }
    }
}

/// Divides paragraphs at the items of a numbered list, and where they are too long to read at one go.
fn divided(body: Paragraphs) -> Paragraphs {
    let mut out = Paragraphs::with_capacity(body.len());
    for paragraph in body {
        let is_list = paragraph.iter().filter(|sentence| starts_with_number(sentence)).count() > 1;
        let (mut current, mut length) = (Vec::new(), 0);
        let mut left: usize = paragraph.iter().map(|sentence| words(sentence)).sum();
        for sentence in paragraph {
            let item = is_list && starts_with_number(&sentence);
            let long = length >= PARAGRAPH_WORDS && left >= PARAGRAPH_WORDS / 3;
            if (item || long) && !current.is_empty() {
                out.push(std::mem::take(&mut current));
                length = 0;
            }
            length += words(&sentence);
            left -= words(&sentence);
            current.push(sentence);
        }
        out.push(current);
    }
    out
}
