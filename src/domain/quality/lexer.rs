//! Finds the numbers and dates of a text, in the ways that British English writes them. It knows nothing of facts or
//! rules, so that a text and its source are read in exactly the same way.

use chrono::NaiveDate;

/// Years that a date may have; other numbers of four digits are just numbers.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2100;
const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
/// A decimal without sign: `digits` × 10^`exponent`. Digits beyond 38 saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Value {
    pub digits: u128,
    pub exponent: i32,
}

impl Value {
    pub(super) const fn whole(number: u128) -> Self {
        Self { digits: number, exponent: 0 }
    }

    /// Without trailing zeros, so that equal values are equal.
    pub(super) const fn normal(mut self) -> Self {
        if self.digits == 0 {
            return Self { digits: 0, exponent: 0 };
        }
        while self.digits.is_multiple_of(10) {
            self.digits /= 10;
            self.exponent = self.exponent.saturating_add(1);
        }
        self
    }

    /// Times 10^`power`.
    const fn scaled(self, power: i32) -> Self {
        Self { digits: self.digits, exponent: self.exponent.saturating_add(power) }
    }

    /// True if it is more than `bound`.
    pub(super) fn is_over(self, bound: u128) -> bool {
        let Self { digits, exponent } = self;
        let power = 10_u128.checked_pow(exponent.unsigned_abs());
        match power {
            Some(power) if exponent >= 0 => digits.saturating_mul(power) > bound,
            Some(power) => digits > bound.saturating_mul(power),
            None => exponent > 0 && digits > 0,
        }
    }
}

/// Sign of money before or word of money after a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Currency {
    None,
    Sterling,
    Other,
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    /// As it is written, without multiplier; not normalised.
    pub plain: Value,
    /// With its multiplier, if it has one: `£1.2m`, `3 million`, `40k`.
    pub multiplied: Option<Value>,
    pub currency: Currency,
    /// Part of a name such as `CO2`, `v1.4` or `COVID-19`.
    pub in_name: bool,
}

/// What stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Number(Number),
    /// Digits with several points, such as a version: compared as they stand.
    Dotted {
        digits: String,
        in_name: bool,
    },
    Day(NaiveDate),
    Month {
        year: i32,
        month: u32,
    },
    /// `14 March` without a year.
    DayOfMonth {
        day: u32,
        month: u32,
    },
    /// `2024/25`: a year and the one after.
    TwoYears(i32),
}

/// A number or date and its place in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

/// Numbers and dates in figures, in order.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let lexer = Lexer { text, bytes: text.as_bytes() };
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = lexer.bytes.get(at) {
        let token = if byte.is_ascii_digit() {
            let after_name = found.last().is_some_and(|last| {
                let named = matches!(last.kind, Kind::Number(Number { in_name: true, .. }) | Kind::Dotted { in_name: true, .. });
                named && last.end + 1 == at && b"-./:".contains(&lexer.bytes[at - 1])
            });
            Some(lexer.figure(at, after_name))
        } else if byte.is_ascii_alphabetic() {
            let end = lexer.word_end(at);
            let token = lexer.month_first(at, end);
            if token.is_none() {
                at = end;
                continue;
            }
            token
        } else {
            None
        };
        match token {
            Some(token) => {
                at = token.end.max(at + 1);
                found.push(token);
            }
            None => at += 1,
        }
    }
    found
}

/// Numbers that are written as words: `twelve`, `twenty-five`, `two hundred`.
pub(super) fn number_words(text: &str) -> Vec<u128> {
    let mut found = Vec::new();
    let mut before: Option<u128> = None;
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let value = match word_value(word) {
            Some(WordValue::Unit(unit)) => Some(match before {
                Some(tens @ (20 | 30 | 40 | 50 | 60 | 70 | 80 | 90)) if (1..10).contains(&unit) => tens + unit,
                _ => unit,
            }),
            Some(WordValue::Scale(scale)) => Some(before.unwrap_or(1).saturating_mul(scale)),
            None => None,
        };
        found.extend(value);
        before = value;
    }
    found
}

enum WordValue {
    Unit(u128),
    Scale(u128),
}

fn word_value(word: &str) -> Option<WordValue> {
    const LONGEST: usize = 9;
    let mut lower = [0; LONGEST];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    let value = match &*lower {
        b"four" => 4,
        b"five" => 5,
        b"six" => 6,
        b"seven" => 7,
        b"eight" => 8,
        b"nine" => 9,
        b"ten" => 10,
        b"eleven" => 11,
        b"twelve" => 12,
        b"thirteen" => 13,
        b"fourteen" => 14,
        b"fifteen" => 15,
        b"sixteen" => 16,
        b"seventeen" => 17,
        b"eighteen" => 18,
        b"nineteen" => 19,
        b"twenty" => 20,
        b"thirty" => 30,
        b"forty" => 40,
        b"fifty" => 50,
        b"sixty" => 60,
        b"seventy" => 70,
        b"eighty" => 80,
        b"ninety" => 90,
        b"one" => 1,
        b"two" => 2,
        b"three" => 3,
        b"dozen" => return Some(WordValue::Scale(12)),
        b"hundred" => return Some(WordValue::Scale(100)),
        b"thousand" => return Some(WordValue::Scale(1_000)),
        b"million" => return Some(WordValue::Scale(1_000_000)),
        _ => return None,
    };
    Some(WordValue::Unit(value))
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
}

impl Lexer<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn digits_end(&self, at: usize) -> usize {
        at + self.bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn word_end(&self, at: usize) -> usize {
        at + self.bytes.iter().skip(at).take_while(|byte| byte.is_ascii_alphabetic()).count()
    }

    fn number(&self, from: usize, to: usize) -> Option<i32> {
        self.text.get(from..to)?.parse().ok()
    }

    /// Behind white space, also the kind that does not break.
    fn skip_space(&self, mut at: usize) -> usize {
        loop {
            at += match self.bytes.get(at..).unwrap_or(&[]) {
                [b' ' | b'\t' | b'\n' | b'\r', ..] => 1,
                [0xc2, 0xa0, ..] => 2,
                [0xe2, 0x80, 0xaf | 0x89, ..] => 3,
                _ => return at,
            }
        }
    }

    /// Behind a word, in any case, that ends where letters end.
    fn skip_word(&self, at: usize, word: &str) -> Option<usize> {
        let end = at + word.len();
        (self.bytes.get(at..end)?.eq_ignore_ascii_case(word.as_bytes()) && !self.byte(end).is_ascii_alphanumeric()).then_some(end)
    }

    /// A name of a month and where it ends, with the point of an abbreviation.
    fn month_at(&self, at: usize) -> Option<(u32, usize)> {
        if !b"jfmasond".contains(&self.byte(at).to_ascii_lowercase()) {
            return None;
        }
        let end = self.word_end(at);
        let word = self.bytes.get(at..end).filter(|word| (3..=9).contains(&word.len()))?;
        let index = MONTHS.iter().position(|name| name.as_bytes()[..3].eq_ignore_ascii_case(&word[..3]))?;
        let before = self.text.get(..at)?.chars().next_back();
        if before.is_some_and(char::is_alphanumeric) || self.byte(end).is_ascii_digit() {
            return None;
        }
        let known = word.len() == 3 || word.eq_ignore_ascii_case(MONTHS[index].as_bytes()) || word.eq_ignore_ascii_case(b"sept");
        let end = if word.len() <= 4 && self.byte(end) == b'.' && self.byte(end + 1).is_ascii_whitespace() { end + 1 } else { end };
        Some((u32::try_from(index + 1).ok().filter(|_| known)?, end))
    }

    /// A year of four digits that is not part of a longer number.
    fn year_at(&self, at: usize) -> Option<(i32, usize)> {
        let end = self.digits_end(at);
        let longer = matches!(self.byte(end), b'.' | b',') && self.byte(end + 1).is_ascii_digit();
        (end - at == 4 && !longer).then_some(())?;
        Some((self.number(at, end).filter(|year| YEARS.contains(year))?, end))
    }

    /// A year behind a month: `March 2026`, `March, 2026`, `March of 2026`.
    fn year_behind(&self, at: usize) -> Option<(i32, usize)> {
        let mut at = self.skip_space(at);
        if self.byte(at) == b',' {
            at = self.skip_space(at + 1);
        }
        self.year_at(self.skip_word(at, "of").map_or(at, |end| self.skip_space(end)))
    }

    /// A day of one or two digits, with or without `st`, `nd`, `rd`, `th`.
    fn day_at(&self, at: usize) -> Option<(u32, usize)> {
        let end = self.digits_end(at);
        let day = self.number(at, end).filter(|day| end - at <= 2 && (1..=31).contains(day))?;
        let behind = ["st", "nd", "rd", "th"].iter().find_map(|ordinal| self.skip_word(end, ordinal)).unwrap_or(end);
        let longer = matches!(self.byte(behind), b'.' | b',') && self.byte(behind + 1).is_ascii_digit();
        (!longer && !self.byte(behind).is_ascii_alphanumeric()).then_some((u32::try_from(day).ok()?, behind))
    }

    /// The year that a month shares with a later one: `March and 2 June 2025`.
    fn shared_year(&self, mut at: usize) -> Option<i32> {
        for _ in 0..12 {
            at = self.skip_space(at);
            if self.byte(at) == b',' {
                at = self.skip_space(at + 1);
            }
            let joined = ["and", "to", "until", "till", "or", "through"].iter().find_map(|word| self.skip_word(at, word));
            let dashed =
                ["-", "–", "—", "/", "&"].iter().find(|dash| self.bytes.get(at..).is_some_and(|rest| rest.starts_with(dash.as_bytes())));
            at = self.skip_space(joined.unwrap_or_else(|| at + dashed.map_or(0, |dash| dash.len())));
            if let Some((_, end)) = self.day_at(at) {
                at = self.skip_space(end);
            }
            let (_, end) = self.month_at(at)?;
            if let Some((year, _)) = self.year_behind(end) {
                return Some(year);
            }
            at = end;
        }
        None
    }

    /// A date that begins with the name of a month.
    fn month_first(&self, start: usize, word_end: usize) -> Option<Token> {
        let (month, end) = self.month_at(start)?;
        if let Some((year, end)) = self.year_behind(end) {
            return Some(Token { start, end, kind: Kind::Month { year, month } });
        }
        if let Some((day, day_end)) = self.day_at(self.skip_space(end)) {
            if let Some((year, end)) = self.year_behind(day_end)
                && let Some(date) = NaiveDate::from_ymd_opt(year, month, day)
            {
                return Some(Token { start, end, kind: Kind::Day(date) });
            }
            // "may 20 units" is a verb.
            if self.byte(start).is_ascii_uppercase() && self.byte(day_end) != b'%' && self.shared_year(end).is_none() {
                return Some(Token { start, end: day_end, kind: Kind::DayOfMonth { day, month } });
            }
        }
        let year = self.shared_year(end)?;
        Some(Token { start, end: word_end, kind: Kind::Month { year, month } })
    }

    /// What begins with a digit.
    fn figure(&self, start: usize, after_name: bool) -> Token {
        let in_name = after_name || self.in_name(start);
        let dated = if in_name { None } else { self.numeric_date(start).or_else(|| self.day_first(start)) };
        match dated {
            Some((kind, end)) => Token { start, end, kind },
            None => self.plain_number(start, in_name),
        }
    }

    /// `14 March 2026`, `14th of March 2026`, `14 March`.
    fn day_first(&self, start: usize) -> Option<(Kind, usize)> {
        let (day, end) = self.day_at(start)?;
        let mut at = self.skip_space(end);
        if let Some(end) = self.skip_word(at, "of") {
            at = self.skip_space(end);
        }
        let (month, end) = self.month_at(at)?;
        let (year, end) = match self.year_behind(end) {
            Some((year, end)) => (Some(year), end),
            None => (self.shared_year(end), end),
        };
        match year {
            Some(year) => Some((Kind::Day(NaiveDate::from_ymd_opt(year, month, day)?), end)),
            None => self.byte(at).is_ascii_uppercase().then_some((Kind::DayOfMonth { day, month }, end)),
        }
    }

    /// `2026-03-31`, `2026-03`, `2024/25`, `31/03/2026`, `31/03/26`, `31.03.2026`, `03/2026`.
    fn numeric_date(&self, start: usize) -> Option<(Kind, usize)> {
        let first_end = self.digits_end(start);
        let mark = self.byte(first_end);
        let second_end = self.digits_end(first_end + 1);
        let (first, second) = (self.number(start, first_end)?, self.number(first_end + 1, second_end));
        let (first_length, second_length) = (first_end - start, second_end - first_end - 1);
        if first_length == 4 && YEARS.contains(&first) {
            let dash = if self.text.get(first_end..)?.starts_with('–') { '–'.len_utf8() } else { 1 };
            let short_end = self.digits_end(first_end + dash);
            let short = self.number(first_end + dash, short_end).filter(|_| short_end - first_end - dash == 2);
            let third_end = self.digits_end(second_end + 1);
            if mark == b'-' && second_length == 2 && self.byte(second_end) == b'-' && third_end - second_end == 3 {
                let (month, day) = (u32::try_from(second?).ok()?, u32::try_from(self.number(second_end + 1, third_end)?).ok()?);
                return Some((Kind::Day(NaiveDate::from_ymd_opt(first, month, day)?), third_end));
            }
            if (matches!(mark, b'/' | b'-') || dash > 1) && short == Some((first + 1) % 100) {
                return Some((Kind::TwoYears(first), short_end));
            }
            let month = u32::try_from(short?).ok().filter(|month| mark == b'-' && (1..=12).contains(month))?;
            return Some((Kind::Month { year: first, month }, short_end));
        }
        if !matches!(mark, b'/' | b'.') || !(1..=2).contains(&first_length) {
            return None;
        }
        let (first, second) = (u32::try_from(first).ok()?, second?);
        if mark == b'/' && second_length == 4 && YEARS.contains(&second) && (1..=12).contains(&first) {
            return Some((Kind::Month { year: second, month: first }, second_end));
        }
        let third_end = self.digits_end(second_end + 1);
        let third = self.number(second_end + 1, third_end).filter(|_| self.byte(second_end) == mark && second_length <= 2)?;
        let year = match third_end - second_end - 1 {
            4 => third,
            2 if mark == b'/' => 2000 + third,
            _ => return None,
        };
        let date = NaiveDate::from_ymd_opt(year, u32::try_from(second).ok()?, first)?;
        YEARS.contains(&year).then_some((Kind::Day(date), third_end))
    }

    /// True if letters, or a hyphen behind a name in capitals, stand right before.
    fn in_name(&self, start: usize) -> bool {
        let before = &self.text[..start];
        match before.chars().next_back() {
            Some(c) if c.is_alphabetic() || c == '_' => !["GBP", "USD", "EUR"].iter().any(|code| before.ends_with(code)),
            Some('-' | '\u{2011}') => {
                let name: Vec<char> = before.chars().rev().skip(1).take_while(|c| c.is_alphanumeric()).collect();
                let capitals = name.iter().filter(|c| c.is_uppercase()).count();
                capitals > 1 || (capitals == 1 && (name.len() <= 2 || name.iter().any(char::is_ascii_digit)))
            }
            _ => false,
        }
    }

    fn plain_number(&self, start: usize, in_name: bool) -> Token {
        let mut end = self.digits_end(start);
        let mut digits = String::from(&self.text[start..end]);
        if end - start <= 3 {
            while let Some(group_end) = self.group_end(end) {
                digits.push_str(&self.text[group_end - 3..group_end]);
                end = group_end;
            }
        }
        let mut exponent = 0;
        let mut points = 0;
        while self.byte(end) == b'.' && self.byte(end + 1).is_ascii_digit() {
            let next = self.digits_end(end + 1);
            digits.push_str(&self.text[end + 1..next]);
            exponent -= i32::try_from(next - end - 1).unwrap_or(i32::MAX);
            points += 1;
            end = next;
        }
        if points > 1 {
            let kind = Kind::Dotted { digits: self.text[start..end].to_owned(), in_name };
            return Token { start, end, kind };
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            let power_end = self.digits_end(end + 1 + sign);
            let power = self.number(end + 1, power_end).filter(|_| !self.byte(power_end).is_ascii_alphanumeric());
            if let Some(power) = power.filter(|power| power.abs() < 1_000) {
                exponent += power;
                end = power_end;
            }
        }
        let plain = Value { digits: digits.parse().unwrap_or(u128::MAX), exponent };
        let mut currency = self.currency_before(start);
        let (multiplied, end) = match self.multiplier(end, currency) {
            Some((power, end)) => (Some(plain.scaled(power)), end),
            None => (None, end),
        };
        let behind = self.skip_space(end);
        if ["pounds", "GBP", "sterling"].iter().any(|word| self.skip_word(behind, word).is_some()) {
            currency = Currency::Sterling;
        }
        Token { start, end, kind: Kind::Number(Number { plain, multiplied, currency, in_name }) }
    }

    /// End of a group of three digits behind a comma or a space that does not break.
    fn group_end(&self, at: usize) -> Option<usize> {
        let space = self.skip_space(at);
        let from = match self.byte(at) {
            b',' | b'\'' => at + 1,
            0xc2 | 0xe2 if space > at => space,
            _ => return None,
        };
        let end = self.digits_end(from);
        (end - from == 3).then_some(end)
    }

    fn currency_before(&self, start: usize) -> Currency {
        let before = self.text[..start].trim_end_matches([' ', '\u{a0}', '\u{202f}']);
        if before.ends_with('£') || before.ends_with("GBP") {
            Currency::Sterling
        } else if before.ends_with(['$', '€']) || before.ends_with("USD") || before.ends_with("EUR") {
            Currency::Other
        } else {
            Currency::None
        }
    }

    /// Power of ten behind a number. `m` and `K` are metres and kelvins unless money stands before.
    fn multiplier(&self, end: usize, currency: Currency) -> Option<(i32, usize)> {
        let behind = if self.byte(end) == b'-' { end + 1 } else { self.skip_space(end) };
        for (word, power) in [("thousand", 3), ("million", 6), ("billion", 9)] {
            if let Some(end) = self.skip_word(behind, word) {
                return Some((power, end));
            }
        }
        if currency != Currency::None {
            for (word, power) in [("k", 3), ("m", 6), ("mn", 6), ("bn", 9)] {
                if let Some(end) = self.skip_word(behind, word) {
                    return Some((power, end));
                }
            }
        }
        if self.byte(end) == b'k' { self.skip_word(end, "k").map(|end| (3, end)) } else { self.skip_word(end, "bn").map(|end| (9, end)) }
    }
}
