//! How a cell's text becomes a date, an amount, a number of years or a state. It must not guess: what can be read in
//! no way or in two ways is said.

use super::DateOrder;
use crate::domain::money::{MAX_PENCE, Pence};
use crate::domain::projects::WorkStatus;
use chrono::{Datelike, Days, NaiveDate};
use rust_decimal::Decimal;

/// How certain the reading of a date is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// There is one way only, and it says nothing about other dates.
    Plain,
    /// Day and month could be exchanged; the order that was given decided.
    Ambiguous,
    /// Day and month can be read in the given order only, so the file keeps that order.
    Confirming,
}

/// A date that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadDate {
    /// The date.
    pub date: NaiveDate,
    /// How certain that is.
    pub reading: Reading,
}

/// Days from which on a number is taken for a date of a spreadsheet: 1 January 1955 to 2 February 2119.
const SERIALS: std::ops::RangeInclusive<u64> = 20_090..=80_022;

/// Reads `2026-03-31`, `31/03/2026` (by `order`), `31 Mar 2026`, `March 31, 2026` and a spreadsheet's serial number.
///
/// # Errors
/// A sentence that says why not and what to write.
pub fn parse_date(text: &str, order: DateOrder) -> Result<ReadDate, String> {
    let unread = || format!("`{}` is not a date. Write 2026-03-31 or 31/03/2026.", super::quoted(text));
    let plain = |date| ReadDate { date, reading: Reading::Plain };
    let text = without_midnight(text.trim());
    if let Some(date) = serial(text) {
        return Ok(plain(date));
    }
    let parts: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || matches!(c, '/' | '-' | '.' | ',' | '\u{2010}'..='\u{2013}'))
        .filter(|part| !part.is_empty())
        .collect();
    let [first, second, third] = parts[..] else { return Err(unread()) };
    if let Some(month) = month_named(second) {
        let (day, year) = if first.len() == 4 && number(first).is_some() { (third, first) } else { (first, third) };
        return date(year, month, ordinal(day)).map(plain).ok_or_else(unread);
    }
    if let Some(month) = month_named(first) {
        return date(third, month, ordinal(second)).map(plain).ok_or_else(unread);
    }
    let Some(b) = ordinal(second) else { return Err(unread()) };
    if first.len() == 4 || (order == DateOrder::Ymd && third.len() != 4) {
        return date(first, b, ordinal(third)).map(plain).ok_or_else(unread);
    }
    let Some(a) = ordinal(first) else { return Err(unread()) };
    let (day, month, other) = if order == DateOrder::Mdy { (b, a, DateOrder::Dmy) } else { (a, b, DateOrder::Mdy) };
    if let Some(found) = date(third, month, Some(day)) {
        let reading = match (day, month) {
            (day, month) if day == month => Reading::Plain,
            (day, _) if day <= 12 => Reading::Ambiguous,
            _ => Reading::Confirming,
        };
        return Ok(ReadDate { date: found, reading });
    }
    if date(third, day, Some(month)).is_some() {
        return Err(format!(
            "`{}` is not a date in the order {order}; it would be one in the order {other}. Write 2026-03-31, or say the order in `dateOrder`.",
            super::quoted(text)
        ));
    }
    Err(unread())
}

/// Spreadsheets write dates as date and midnight; any other time of day is not a date.
fn without_midnight(text: &str) -> &str {
    for midnight in [" 00:00:00", "T00:00:00", "T00:00:00Z", " 00:00", "T00:00:00.000Z", " 0:00"] {
        if let Some(date) = text.strip_suffix(midnight) {
            return date;
        }
    }
    text
}

fn serial(text: &str) -> Option<NaiveDate> {
    let days: u64 = text.strip_suffix(".0").unwrap_or(text).parse().ok()?;
    if !SERIALS.contains(&days) {
        return None;
    }
    // Day 1 is 1 January 1900, but spreadsheets count a 29 February 1900 that never was.
    NaiveDate::from_ymd_opt(1899, 12, 30)?.checked_add_days(Days::new(days))
}

fn number(text: &str) -> Option<u32> {
    (text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// A day or month such as `31` or `31st`.
fn ordinal(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
    number(digits).filter(|_| digits.len() <= 2)
}

fn month_named(text: &str) -> Option<u32> {
    const MONTHS: [&str; 12] =
        ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
    let lower = text.trim_end_matches('.').to_ascii_lowercase();
    let found =
        MONTHS.iter().position(|month| lower.len() >= 3 && (month.starts_with(&lower) || (lower == "sept" && *month == "september")));
    found.and_then(|index| u32::try_from(index + 1).ok())
}

fn date(year: &str, month: u32, day: Option<u32>) -> Option<NaiveDate> {
    let year = match year.len() {
        4 => i32::try_from(number(year)?).ok()?,
        2 => 2000 + i32::try_from(number(year)?).ok()?,
        _ => return None,
    };
    NaiveDate::from_ymd_opt(year, month, day?).filter(|date| date.year() > 1000)
}

/// How amounts are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmountStyle {
    /// Decimal point: `1,234.50`.
    Point,
    /// A file separated by semicolons, whose amounts may be `1.234,50` or `1,234.50`: the last mark that is not
    /// followed by exactly three digits divides pounds from pence.
    PointOrComma,
}

/// Reads an amount in pounds: `£1,234.50`, `(500)` and `500-` as negative, `-` alone as zero.
///
/// # Errors
/// A sentence that says why not and what to write.
pub fn parse_amount(text: &str, style: AmountStyle) -> Result<Pence, String> {
    let unread = |why: &str| format!("`{}` is not an amount{why}. Write it in pounds, such as 1234.50.", super::quoted(text));
    let upper = text.trim().to_uppercase();
    let mut bare: String = upper.replace("GBP", "").chars().filter(|c| !c.is_whitespace() && *c != '£').collect();
    bare = bare.replace(['\u{2212}', '\u{2013}'], "-");
    let mut negative = false;
    if let Some(inside) = bare.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        negative = true;
        bare = inside.to_owned();
    } else if let Some(rest) = bare.strip_prefix('-').or_else(|| bare.strip_suffix('-')) {
        if rest.is_empty() {
            // Accounting formats show nothing as a dash.
            return Ok(Pence(0));
        }
        negative = true;
        bare = rest.to_owned();
    }
    let plain = match style {
        AmountStyle::Point => point_style(&bare),
        AmountStyle::PointOrComma => point_style(&bare).or_else(|| point_style(&exchanged(&bare))),
    };
    let plain = plain.ok_or_else(|| unread(""))?;
    let pounds: Decimal = plain.parse().map_err(|_| unread(""))?;
    let Some(Pence(pence)) = Pence::from_pounds(pounds) else {
        let largest = Pence(MAX_PENCE).pounds().normalize();
        return Err(unread(&format!(": it has a fraction of a penny or is above {largest}")));
    };
    Ok(Pence(if negative { -pence } else { pence }))
}

/// The same amount with points for commas and commas for points.
fn exchanged(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ',' => '.',
            '.' => ',',
            c => c,
        })
        .collect()
}

/// Digits with well-placed commas and at most one point, without the commas.
fn point_style(text: &str) -> Option<String> {
    let (whole, pence) = text.split_once('.').map_or((text, None), |(whole, pence)| (whole, Some(pence)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let groups: Vec<&str> = whole.split(',').collect();
    let well_placed = match groups[..] {
        [only] => digits(only),
        [first, ref rest @ ..] => first.len() <= 3 && digits(first) && rest.iter().all(|group| group.len() == 3 && digits(group)),
        [] => false,
    };
    // Three digits after a sole mark cannot be pence: `1.234` is then the other style's thousand, or nothing.
    let pence = match pence {
        None => "",
        Some(pence) if digits(pence) && (pence.len() <= 2 || pence.trim_end_matches('0').len() <= 2 && pence.len() > 3) => pence,
        Some(_) => return None,
    };
    well_placed.then(|| if pence.is_empty() { groups.concat() } else { format!("{}.{pence}", groups.concat()) })
}

/// Reads whole years, such as `12` or `12 years`.
///
/// # Errors
/// A sentence that says why not and what to write.
pub fn parse_years(text: &str) -> Result<i32, String> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = ["years", "year", "yrs", "yr"].iter().find_map(|unit| lower.strip_suffix(unit)).unwrap_or(&lower).trim();
    let bare = bare.strip_suffix(".0").unwrap_or(bare);
    bare.parse().map_err(|_| format!("`{}` is not a whole number of years. Write a number such as 12.", super::quoted(text)))
}

/// Reads a state of the work.
///
/// # Errors
/// A sentence that says what can be written.
pub fn work_status(text: &str) -> Result<WorkStatus, String> {
    match text.trim().to_ascii_lowercase().replace([' ', '-', '_'], "").as_str() {
        "completed" | "complete" | "finished" | "done" | "ended" => Ok(WorkStatus::Completed),
        "ongoing" | "inprogress" | "active" | "continuing" | "open" => Ok(WorkStatus::Ongoing),
        "abandoned" | "stopped" | "cancelled" | "canceled" | "discontinued" => Ok(WorkStatus::Abandoned),
        _ => Err(format!("`{}` is not a state of the work. Write completed, ongoing or abandoned.", super::quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(y: i32, m: u32, d: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(y, m, d).unwrap()
    }

    #[test]
    fn dates_are_read_in_all_their_spellings() {
        let march = day(2026, 3, 31);
        for text in [
            "2026-03-31",
            "2026/03/31",
            "31/03/2026",
            "31.3.26",
            "31 Mar 2026",
            "31-Mar-26",
            "31st March 2026",
            "March 31, 2026",
            "46112",
            "46112.0",
            "2026-03-31 00:00:00",
            "2026-03-31T00:00:00Z",
        ] {
            assert_eq!(parse_date(text, DateOrder::Dmy).map(|read| read.date), Ok(march), "{text}");
        }
        assert_eq!(parse_date("4 Sept 2025", DateOrder::Dmy).map(|read| read.date), Ok(day(2025, 9, 4)));
        for text in ["", "soon", "31/02/2026", "2026-13-01", "2026", "12", "1/2", "2026-03-31 14:30", "031/03/2026", "31/03/026"] {
            assert!(parse_date(text, DateOrder::Dmy).is_err(), "{text}");
        }
    }

    #[test]
    fn the_order_decides_what_can_be_read_in_two_ways() {
        let read = |text, order| parse_date(text, order).map(|read| (read.date, read.reading));
        assert_eq!(read("04/05/2025", DateOrder::Dmy), Ok((day(2025, 5, 4), Reading::Ambiguous)));
        assert_eq!(read("04/05/2025", DateOrder::Mdy), Ok((day(2025, 4, 5), Reading::Ambiguous)));
        assert_eq!(read("04/04/2025", DateOrder::Dmy), Ok((day(2025, 4, 4), Reading::Plain)));
        assert_eq!(read("25/05/2025", DateOrder::Dmy), Ok((day(2025, 5, 25), Reading::Confirming)));
        assert_eq!(read("25/05/04", DateOrder::Ymd), Ok((day(2025, 5, 4), Reading::Plain)));
        assert!(read("05/25/2025", DateOrder::Dmy).unwrap_err().contains("in the order MDY"));
    }

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        let read = |text| parse_amount(text, AmountStyle::Point).ok().map(|pence| pence.0);
        for (text, pence) in [
            ("£1,234.50", 123_450),
            ("1234.5", 123_450),
            ("1,234,567", 123_456_700),
            ("GBP 12", 1_200),
            ("(500)", -50_000),
            ("-500.10", -50_010),
            ("500-", -50_000),
            ("£ 1 234.00", 123_400),
            ("-", 0),
            ("0", 0),
            ("12.5000", 1_250),
        ] {
            assert_eq!(read(text), Some(pence), "{text}");
        }
        for text in ["", "12k", "1,23", "1.234,50", "1.234", "12.345", "1,2345", "£", "1.2.3", "12%", "1e3", "99999999999", ".5"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_comma_divides_pence_only_in_files_separated_by_semicolons() {
        let read = |text| parse_amount(text, AmountStyle::PointOrComma).ok().map(|pence| pence.0);
        for (text, pence) in
            [("1.234,50", 123_450), ("1234,5", 123_450), ("1.234", 123_400), ("1,234", 123_400), ("1,234.50", 123_450), ("12.50", 1_250)]
        {
            assert_eq!(read(text), Some(pence), "{text}");
        }
        assert_eq!(read("1.23.4"), None);
    }

    #[test]
    fn years_and_states_are_read() {
        assert_eq!(parse_years("12 years"), Ok(12));
        assert!(parse_years("twelve").is_err());
        assert_eq!(work_status(" In progress "), Ok(WorkStatus::Ongoing));
        assert!(work_status("maybe").unwrap_err().contains("ongoing"));
    }
}
