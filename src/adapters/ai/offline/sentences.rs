//! Reads facts as people type them into paragraphs of plain sentences, and cuts sentences to a length.
//! It must not change a word, a number or a name: only marks of layout go.

/// Paragraphs of sentences.
pub(super) type Paragraphs = Vec<Vec<String>>;

/// Words after which a sentence may be joined to a colon in lower case without harm to a name or a formula.
const LOWERED: &[&str] = &[
    "A",
    "After",
    "All",
    "Although",
    "An",
    "And",
    "As",
    "At",
    "Because",
    "Before",
    "Both",
    "By",
    "Each",
    "Every",
    "For",
    "From",
    "How",
    "If",
    "In",
    "It",
    "Its",
    "Most",
    "No",
    "None",
    "Not",
    "On",
    "One",
    "Only",
    "Our",
    "Several",
    "Some",
    "That",
    "The",
    "Their",
    "There",
    "These",
    "They",
    "This",
    "Those",
    "Three",
    "To",
    "Two",
    "Uncertain",
    "Unclear",
    "Under",
    "Unknown",
    "Using",
    "We",
    "What",
    "When",
    "Where",
    "Whether",
    "Which",
    "While",
    "Why",
    "With",
    "Without",
];

/// Abbreviations whose full stop ends no sentence.
const ABBREVIATIONS: &[&str] =
    &["e.g", "i.e", "approx", "cf", "vs", "al", "fig", "figs", "no", "nos", "eq", "dr", "mr", "mrs", "prof", "ltd"];

/// Tags that a text pasted from elsewhere may bring along; anything else in angle brackets is left as it is.
const TAGS: &[&str] =
    &["a", "b", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "i", "li", "ol", "p", "pre", "span", "strong", "sub", "sup", "u", "ul"];

/// Words that say that nothing is said yet.
const EMPTY_WORDS: &[&str] =
    &["", "tbc", "tba", "tbd", "todo", "n/a", "na", "nil", "none", "unknown", "to be confirmed", "to be advised", "to be completed"];

/// True if a fact says nothing: blank, or a word such as `TBC`.
pub(super) fn says_nothing(fact: &str) -> bool {
    let bare = fact.trim().trim_matches(|c: char| !c.is_alphanumeric());
    bare.len() <= 20 && EMPTY_WORDS.contains(&bare.to_ascii_lowercase().as_str())
}

/// Reads a fact. Bullets, headings and emphasis go; wrapped lines are joined; each item of a list becomes a sentence;
/// sentences that only hold a place (`TBC`, `[insert …]`) are left out.
pub(super) fn paragraphs(fact: &str) -> Paragraphs {
    let mut found: Paragraphs = vec![Vec::new()];
    let mut run = String::new();
    let unix = fact.replace("\r\n", "\n");
    for line in unix.split(['\n', '\r', '\u{2028}', '\u{2029}']) {
        let line = line.trim();
        let (line, bullet) = without_marker(line);
        let line = plain(line);
        if line.is_empty() || bullet || starts_with_number(&line) || is_complete(&run) {
            end_run(&mut run, &mut found);
        }
        if line.is_empty() {
            found.push(Vec::new());
        } else {
            if !run.is_empty() {
                run.push(' ');
            }
            run.push_str(&line);
        }
    }
    end_run(&mut run, &mut found);
    found.retain(|paragraph| !paragraph.is_empty());
    found
}

/// One line of plain words, such as a name or a role, without a full stop at its end.
pub(super) fn line(fact: &str) -> String {
    plain(without_marker(fact.trim()).0).trim_end_matches(['.', ',', ';', ':']).to_owned()
}

/// The sentence without capital at its start, if its first word can bear that.
pub(super) fn lowered(sentence: &str) -> String {
    let first = sentence.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if LOWERED.contains(&first) { with_first(sentence, |c| c.to_ascii_lowercase()) } else { sentence.to_owned() }
}

/// The sentence without the number of an item of a list before it.
pub(super) fn unnumbered(sentence: &str) -> &str {
    if starts_with_number(sentence) {
        sentence.split_once(char::is_whitespace).map_or(sentence, |(_, rest)| rest.trim_start())
    } else {
        sentence
    }
}

/// Words of a text.
pub(super) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Letters and digits in lower case, words divided by one blank: what remains when layout is ignored.
pub(super) fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        out.push(' ');
        out.extend(word.chars().flat_map(char::to_lowercase));
    }
    out.push(' ');
    out
}

/// True if a reader might take a part of the sentence for a sentence of its own (`approx. 40 …`).
pub(super) fn has_inner_end(sentence: &str) -> bool {
    let mut chars = sentence.chars().peekable();
    while let Some(c) = chars.next() {
        if matches!(c, '.' | '!' | '?') && chars.peek().is_some_and(|next| next.is_whitespace()) {
            return true;
        }
    }
    false
}

/// A sentence that is too long by itself, cut at the end of a clause if there is one, else after a word.
pub(super) fn clipped(sentence: &str, max_words: usize, max_chars: usize) -> String {
    let mut kept: Vec<&str> = sentence.split_whitespace().take(max_words.max(1)).collect();
    while kept.len() > 1 && kept.iter().map(|word| word.chars().count() + 1).sum::<usize>() > max_chars {
        kept.pop();
    }
    let clause = kept.iter().rposition(|word| word.ends_with([',', ';', ':'])).filter(|at| *at >= kept.len() / 2);
    if let Some(at) = clause {
        kept.truncate(at + 1);
    }
    let text = kept.join(" ");
    let text: String = text.trim_end_matches(['.', ',', ';', ':', '!', '?']).chars().take(max_chars.saturating_sub(1)).collect();
    text + "."
}

fn end_run(run: &mut String, found: &mut Paragraphs) {
    if let Some(paragraph) = found.last_mut() {
        paragraph.extend(split(run).filter(|sentence| !holds_a_place(sentence)).map(finished));
    }
    run.clear();
}

/// Divides a run of text at the ends of its sentences.
fn split(run: &str) -> impl Iterator<Item = &str> {
    let mut rest = run.trim();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = sentence_end(rest).unwrap_or(rest.len());
        let (sentence, after) = rest.split_at(end);
        rest = after.trim_start();
        Some(sentence.trim_end())
    })
}

/// Byte after the first sentence of a text; none if it is the only one.
fn sentence_end(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !matches!(c, '.' | '!' | '?') {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some((next, closer)) = chars.next_if(|(_, next)| matches!(next, '.' | '!' | '?' | ')' | ']' | '"' | '\'' | '”' | '’'))
        {
            end = next + closer.len_utf8();
        }
        let after = &text[end..];
        let next = after.trim_start();
        let starts = next.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit() || matches!(c, '"' | '\'' | '(' | '[' | '“' | '‘'));
        if after.len() == next.len() || !starts {
            continue;
        }
        let word = text[..at].rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
        let abbreviated = c == '.' && (ABBREVIATIONS.contains(&word.to_ascii_lowercase().as_str()) || is_initial(word));
        let list_number = starts_with_number(text) && !text[..at].contains(char::is_whitespace);
        if !abbreviated && !list_number {
            return Some(end);
        }
    }
    None
}

fn is_initial(word: &str) -> bool {
    word.len() == 1 && word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// True for `1. `, `2) `, `(3) `, `a) ` at the start.
pub(super) fn starts_with_number(line: &str) -> bool {
    let Some((marker, _)) = line.split_once(char::is_whitespace) else { return false };
    let Some(inner) = marker.strip_suffix(['.', ')']) else { return false };
    let inner = inner.strip_prefix('(').unwrap_or(inner);
    let letter = marker.ends_with(')') && inner.len() == 1 && inner.starts_with(|c: char| c.is_ascii_lowercase());
    letter || (!inner.is_empty() && inner.len() <= 2 && inner.bytes().all(|b| b.is_ascii_digit()))
}

/// Takes bullets, marks of quotation and headings off a line.
fn without_marker(line: &str) -> (&str, bool) {
    let heading = line.trim_start_matches('#');
    if heading.len() < line.len() && heading.starts_with(char::is_whitespace) {
        return (heading.trim_start(), true);
    }
    match line.split_once(char::is_whitespace) {
        Some(("-" | "*" | "+" | "•" | "·" | "◦" | "▪" | "–" | "—" | ">", rest)) => (rest.trim_start(), true),
        _ => (line, false),
    }
}

/// One line of words: white space collapsed, control characters, emphasis, code marks and tags gone.
fn plain(line: &str) -> String {
    let untagged = without_tags(line);
    let mut out = String::with_capacity(untagged.len());
    for word in untagged.split(|c: char| c.is_whitespace() || c.is_control()) {
        let word = without_emphasis(word);
        if !word.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.extend(word.chars().filter(|c| *c != '`' && !c.is_control()));
        }
    }
    out
}

/// Takes `**` off the ends of a word, never out of its middle: `2**8` is a number.
fn without_emphasis(word: &str) -> String {
    let word = word.trim_start_matches("**");
    let body = word.trim_end_matches(['.', ',', ';', ':', ')', '!', '?']);
    match body.strip_suffix("**") {
        Some(inner) => format!("{inner}{}", &word[body.len()..]),
        None => word.to_owned(),
    }
}

fn without_tags(line: &str) -> std::borrow::Cow<'_, str> {
    if !line.contains('<') {
        return line.into();
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(open) = rest.find('<') {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let tag = from.find('>').filter(|close| {
            let name = from[1..*close].trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            TAGS.contains(&name.to_ascii_lowercase().as_str())
        });
        if let Some(close) = tag {
            out.push(' ');
            rest = &from[close + 1..];
        } else {
            out.push('<');
            rest = &from[1..];
        }
    }
    out.push_str(rest);
    out.into()
}

fn is_complete(run: &str) -> bool {
    run.trim_end_matches([')', '"', '”', '’']).ends_with(['.', '!', '?', ':', ';'])
}

fn holds_a_place(sentence: &str) -> bool {
    let lower = sentence.to_ascii_lowercase();
    lower.contains("[insert")
        || lower.contains("lorem ipsum")
        || lower.contains("to be confirmed")
        || lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word, "tbc" | "tba" | "tbd"))
}

/// With a full stop at its end and, where that harms nothing, a capital at its start.
fn finished(sentence: &str) -> String {
    let first = sentence.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let raise = first.len() > 1 && first.bytes().all(|b| b.is_ascii_lowercase());
    let trimmed = sentence.trim_end_matches([',', ';']);
    let mut out = if raise { with_first(trimmed, |c| c.to_ascii_uppercase()) } else { trimmed.to_owned() };
    if !is_complete(&out) {
        out.push('.');
    }
    out
}

fn with_first(text: &str, change: impl Fn(char) -> char) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| std::iter::once(change(first)).chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_are_joined_and_items_of_a_list_become_sentences() {
        let read = paragraphs(
            "Three glazes were tried\nat 1,060 °C.\n\n- the first crazed\n- the second ran;\n\n## Result\n1. it held. 2 of 5 broke",
        );
        let expected: Paragraphs = vec![
            vec!["Three glazes were tried at 1,060 °C.".into()],
            vec!["The first crazed.".into(), "The second ran.".into()],
            vec!["Result.".into(), "1. it held.".into(), "2 of 5 broke.".into()],
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn an_abbreviation_or_a_decimal_point_ends_no_sentence() {
        let read = paragraphs("Alloys, e.g. 6082, failed at approx. 3.5 MPa. J. Smith (see Fig. 2) reported it. Then (at last.) It held!");
        let expected =
            ["Alloys, e.g. 6082, failed at approx. 3.5 MPa.", "J. Smith (see Fig. 2) reported it.", "Then (at last.)", "It held!"];
        assert_eq!(read[0], expected);
    }

    #[test]
    fn layout_goes_and_numbers_stay() {
        let read = paragraphs("**Bold** claim of 2**8 states, `x<y` and <b>5</b> < 6; pH 7");
        assert_eq!(read[0], ["Bold claim of 2**8 states, x<y and 5 < 6; pH 7."]);
    }

    #[test]
    fn what_only_holds_a_place_is_not_said() {
        assert!(says_nothing(" TBC. ") && says_nothing("n/a") && says_nothing("[unknown]") && says_nothing("—"));
        assert!(!says_nothing("It failed."));
        assert_eq!(paragraphs("It held. Figures TBC. [INSERT table]"), vec![vec!["It held.".to_owned()]]);
    }

    #[test]
    fn a_sentence_is_cut_at_a_clause_and_never_above_the_limits() {
        assert_eq!(clipped("One two three four, five six seven.", 5, 100), "One two three four.");
        assert_eq!(clipped("One two three.", 9, 9), "One two.");
        assert_eq!(clipped("Incomprehensibilities.", 9, 6), "Incom.");
    }
}
