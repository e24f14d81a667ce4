//! Number grounding: every number over 3 and every date of the text must be among the project's facts, costs or name,
//! and dates must lie within the project (domain rules F, table; HMRC's guideline for
//! compliance number 3 asks for what is specific and was written at the time). It must not judge whether a fact is true.

use super::lexer::{Currency, Kind, Number, Token, Value, number_words, tokens};
use super::{Finding, Narrative, SectionText, ValidationCode, excerpt, report};
use chrono::{Datelike, Months, NaiveDate};
use std::collections::HashSet;

/// Numbers up to this one need no source.
const FREE_UP_TO: u128 = 3;
/// Largest number that can be the marker of a list or "Uncertainty 4".
const LAST_MARKER: u128 = 20;
/// Words that a marker follows, in the singular.
const NUMBERED: [&str; 12] =
    ["uncertainty", "step", "phase", "stage", "section", "table", "figure", "fig", "question", "item", "task", "hypothesis"];

/// What the text may draw on.
pub(super) struct Source {
    numbers: HashSet<Value>,
    dotted: HashSet<String>,
    days: HashSet<NaiveDate>,
    months: HashSet<(i32, u32)>,
    days_of_months: HashSet<(u32, u32)>,
    /// Costs and their total in pence, without zeros.
    amounts: Vec<u128>,
    start: Option<NaiveDate>,
    end: Option<NaiveDate>,
}

/// How many numbers and dates were checked.
pub(super) struct Tally {
    pub grounded: usize,
    pub checked: usize,
}

impl Source {
    pub(super) fn of(narrative: &Narrative) -> Self {
        let Narrative { name, facts, costs, .. } = *narrative;
        let mut source = Self {
            numbers: HashSet::new(),
            dotted: HashSet::new(),
            days: HashSet::new(),
            months: HashSet::new(),
            days_of_months: HashSet::new(),
            amounts: Vec::new(),
            start: facts.start_date,
            end: facts.end_date,
        };
        for text in facts.texts().into_iter().map(|(_, text)| text).chain(facts.extra.values().map(String::as_str)).chain([name]) {
            source.read(text);
        }
        for day in [facts.start_date, facts.end_date].into_iter().flatten() {
            source.add_day(day);
        }
        if let Some(years) = facts.competent_professional_years.and_then(|years| u128::try_from(years).ok()) {
            source.add(Value::whole(years));
        }
        let costs = costs.categories().map(|(_, pence)| pence).into_iter().chain([costs.qualifying_indirect_activities, costs.total()]);
        for pence in costs.filter_map(|pence| u128::try_from(pence.0).ok()).filter(|&pence| pence > 0) {
            source.add(Value { digits: pence, exponent: -2 });
            // Pounds without pence are written both rounded and cut.
            source.add(Value::whole(pence / 100));
            source.add(Value::whole((pence + 50) / 100));
            source.amounts.push(pence);
        }
        source
    }

    fn add(&mut self, value: Value) {
        self.numbers.insert(value.normal());
    }

    fn add_year(&mut self, year: i32) {
        self.numbers.extend(u128::try_from(year).ok().map(|year| Value::whole(year).normal()));
    }

    fn add_day(&mut self, day: NaiveDate) {
        self.days.insert(day);
        self.days_of_months.insert((day.day(), day.month()));
        self.months.insert((day.year(), day.month()));
        self.add_year(day.year());
    }

    /// Reads a fact: in doubt more counts as said than less, so that text that repeats a fact raises no alarm.
    fn read(&mut self, text: &str) {
        for token in tokens(text) {
            match token.kind {
                Kind::Number(number) => {
                    self.add(number.plain);
                    self.numbers.extend(number.multiplied.map(Value::normal));
                }
                Kind::Dotted { digits, .. } => {
                    self.dotted.insert(digits);
                }
                Kind::Day(day) => {
                    self.add_day(day);
                    self.add(Value::whole(day.day().into()));
                }
                Kind::Month { year, month } => {
                    self.months.insert((year, month));
                    self.add_year(year);
                }
                Kind::DayOfMonth { day, month } => {
                    self.days_of_months.insert((day, month));
                    self.add(Value::whole(day.into()));
                }
                Kind::TwoYears(year) => {
                    self.add_year(year);
                    self.add_year(year + 1);
                }
            }
        }
        self.numbers.extend(number_words(text).into_iter().map(|number| Value::whole(number).normal()));
    }

    fn has(&self, value: Value) -> bool {
        self.numbers.contains(&value.normal())
    }

    /// A year of the facts, or one from the project's first to its last.
    fn has_year(&self, year: i32) -> bool {
        let within = matches!((self.start, self.end), (Some(start), Some(end)) if (start.year()..=end.year()).contains(&year));
        within || u128::try_from(year).is_ok_and(|year| self.has(Value::whole(year)))
    }

    fn has_number(&self, token: &Token, number: &Number) -> bool {
        let year = (token.end - token.start == 4 && number.plain.exponent == 0 && number.currency == Currency::None)
            .then(|| i32::try_from(number.plain.digits).ok())
            .flatten();
        self.has(number.multiplied.unwrap_or(number.plain)) || year.is_some_and(|year| self.has_year(year)) || self.has_rounded(number)
    }

    /// Pounds that are a cost, rounded: `£148.2k` to the place that is written, with two digits that count or more;
    /// `£148,200` to the last digit that is not zero, with three or more (`£150,000` is too coarse).
    fn has_rounded(&self, number: &Number) -> bool {
        let (written, fewest) = match number.multiplied {
            Some(value) => (value, 10),
            None => (number.plain.normal(), 100),
        };
        let unit = u32::try_from(written.exponent + 2).ok().and_then(|power| 10_u128.checked_pow(power));
        let Some(unit) = unit.filter(|&unit| number.currency == Currency::Sterling && unit >= 100 && written.digits >= fewest) else {
            return false;
        };
        self.amounts.iter().any(|pence| (pence + unit / 2) / unit == written.digits)
    }

    fn is_outside(&self, first: NaiveDate, last: NaiveDate) -> bool {
        self.start.is_some_and(|start| last < start) || self.end.is_some_and(|end| first > end)
    }

    /// The project's time for people.
    fn period(&self) -> String {
        let day = |date: NaiveDate| date.format("%-d %B %Y").to_string();
        match (self.start, self.end) {
            (Some(start), Some(end)) => format!("from {} to {}", day(start), day(end)),
            (Some(start), None) => format!("from {} on", day(start)),
            (None, Some(end)) => format!("until {}", day(end)),
            (None, None) => "at an unknown time".into(),
        }
    }
}

/// Verdict about a number or date.
enum Verdict {
    Free,
    Grounded,
    NotInSource,
    Outside,
}

/// Checks one section.
pub(super) fn check(part: &SectionText, source: &Source, findings: &mut Vec<Finding>) -> Tally {
    let mut tally = Tally { grounded: 0, checked: 0 };
    let mut markers = Markers { text: part.text, last_inline: 0, last_end: None };
    for token in tokens(part.text) {
        let verdict = judge(&token, source, &mut markers);
        let title = &part.section.title;
        let written = || part.text[token.start..token.end].split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = || Some(excerpt(part.text, token.start, token.end));
        match verdict {
            Verdict::Free => continue,
            Verdict::Grounded => tally.grounded += 1,
            Verdict::NotInSource => {
                let message = format!("“{}” in “{title}” is not among the project's facts and costs.", written());
                let advice = "Check it against the client's records: correct the text, or add the figure or date to the facts.";
                report(findings, part, ValidationCode::NumberNotInSource, message, advice, shown());
            }
            Verdict::Outside => {
                let (written, period) = (written(), source.period());
                let message = format!("“{written}” in “{title}” is not among the facts and lies outside the project, which ran {period}.");
                let advice = "Correct the date in the text, or the project's dates and facts.";
                report(findings, part, ValidationCode::DateOutsideProject, message, advice, shown());
            }
        }
        tally.checked += 1;
    }
    tally
}

fn judge(token: &Token, source: &Source, markers: &mut Markers) -> Verdict {
    let known = |known: bool| if known { Verdict::Grounded } else { Verdict::NotInSource };
    let dated = |known: bool, first: NaiveDate, last: NaiveDate| match known {
        true => Verdict::Grounded,
        false if source.is_outside(first, last) => Verdict::Outside,
        false => Verdict::NotInSource,
    };
    match &token.kind {
        Kind::Number(number) => {
            let is_marker = markers.is_marker(token, number);
            let value = number.multiplied.unwrap_or(number.plain);
            if number.in_name || is_marker || !value.is_over(FREE_UP_TO) { Verdict::Free } else { known(source.has_number(token, number)) }
        }
        Kind::Dotted { in_name, .. } if *in_name || markers.begins_line(token.start) => Verdict::Free,
        Kind::Dotted { digits, .. } => known(source.dotted.contains(digits)),
        Kind::Day(day) => dated(source.days.contains(day), *day, *day),
        Kind::Month { year, month } => {
            let first = NaiveDate::from_ymd_opt(*year, *month, 1).unwrap_or_default();
            let last = first.checked_add_months(Months::new(1)).and_then(|next| next.pred_opt()).unwrap_or(first);
            dated(source.months.contains(&(*year, *month)), first, last)
        }
        Kind::DayOfMonth { day, month } => {
            let value = Value::whole(u128::from(*day));
            known(source.days_of_months.contains(&(*day, *month)) || source.has(value) || !value.is_over(FREE_UP_TO))
        }
        Kind::TwoYears(year) => known(source.has_year(*year) && source.has_year(*year + 1)),
    }
}

/// Tells the markers of lists from numbers that claim something.
struct Markers<'a> {
    text: &'a str,
    /// Last number of a list inside a line that counts up from 1.
    last_inline: u128,
    /// End of the last marker behind a word such as "Uncertainty", for "Uncertainties 4 and 5".
    last_end: Option<usize>,
}

impl Markers<'_> {
    /// True if only white space, a bullet or a bracket stands before it on its line.
    fn begins_line(&self, start: usize) -> bool {
        let line = self.text[..start].rsplit('\n').next().unwrap_or("");
        line.chars().all(|c| c.is_whitespace() || matches!(c, '(' | '[' | '#' | '*' | '-' | '•'))
    }

    fn is_marker(&mut self, token: &Token, number: &Number) -> bool {
        let digits = number.plain.digits;
        if number.plain.exponent != 0 || number.multiplied.is_some() || number.currency != Currency::None || digits > LAST_MARKER {
            return false;
        }
        let (before, after) = (&self.text[..token.start], &self.text[token.end..]);
        let stop = after.chars().next().filter(|c| matches!(c, '.' | ')' | ':' | ']'));
        let stopped = stop.is_some_and(|stop| after[stop.len_utf8()..].chars().next().is_none_or(char::is_whitespace));
        if stopped && stop != Some(':') && digits == self.last_inline + 1 {
            self.last_inline = digits;
            return true;
        }
        if before.ends_with('(') && after.starts_with(')') || stopped && self.begins_line(token.start) {
            return true;
        }
        let word = before.trim_end_matches([' ', '\u{a0}', '.']);
        let word = &word
            [word.rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |at| at + word[at..].chars().next().map_or(1, char::len_utf8))..];
        let singular = if word.eq_ignore_ascii_case("uncertainties") { "uncertainty" } else { word.trim_end_matches(['s', 'S']) };
        let is_one_of = |word: &str| NUMBERED.iter().any(|known| known.eq_ignore_ascii_case(word));
        let plural = !is_one_of(word) && is_one_of(singular);
        let named = word.len() < before.len() && (plural || is_one_of(word));
        let chained = self
            .last_end
            .is_some_and(|end| matches!(self.text[end..token.start].trim(), "and" | "," | ", and" | "to" | "-" | "–" | "or" | "&"));
        // Only a plural goes on: in "step 2, 15 samples" the second number is a claim.
        let goes_on = chained || named && plural;
        self.last_end = goes_on.then_some(token.end);
        named || chained
    }
}
