//! Which projects of a claim have to be described in the additional information form (domain rules A and E, "Which
//! projects"). Pure and exact: no rounding decides anything. It must not know how projects are stored or shown.

use crate::word_enum;
use chrono::{Datelike, Months, NaiveDate};
use rust_decimal::Decimal;
use std::collections::BTreeSet;

/// Up to this many projects are all described.
const ALL_UP_TO: usize = 3;
/// Fewest projects of a selection by share.
const FEWEST: usize = 3;
/// Most projects of a selection, and most pins.
pub const MOST: usize = 10;
/// Places of a [`Decimal`] at most.
const PLACES: u32 = 28;
/// Units of a fraction in a whole.
const WHOLE: i128 = 10_i128.pow(PLACES);

word_enum! {
    /// Which projects have to be described.
    pub enum AifRule {
        /// 1 to 3 projects: describe all.
        All = "ALL",
        /// 4 to 10 projects: describe projects with at least 50% of qualifying expenditure, at least 3.
        HalfMin3 = "HALF_MIN3",
        /// 11 or more: at least 50%, at least 3 and at most 10.
        Half3To10 = "HALF_3_10",
        /// 11 or more and the 10 largest do not reach 50%: describe the 10 largest (or a representative mix).
        Top10 = "TOP_10",
    }
}

word_enum! {
    /// Why no selection is possible.
    pub enum AifBlocker {
        /// There is no project.
        NoProjects = "NO_PROJECTS",
        /// A project has negative expenditure.
        NegativeExpenditure = "NEGATIVE_EXPENDITURE",
        /// All expenditure is zero.
        NoQualifyingExpenditure = "NO_QUALIFYING_EXPENDITURE",
        /// More than 10 projects are pinned.
        TooManyPinned = "TOO_MANY_PINNED",
        /// With these pins 50% cannot be reached within 10 projects.
        PinsPreventHalf = "PINS_PREVENT_HALF",
    }
}

word_enum! {
    /// Things to look at before relying on a selection.
    pub enum AifWarning {
        /// A project has no qualifying expenditure.
        ProjectWithoutExpenditure = "PROJECT_WITHOUT_EXPENDITURE",
        /// The rule fell back to the 10 largest; a representative mix is accepted if they do not represent the work.
        CheckRepresentative = "CHECK_REPRESENTATIVE",
        /// A pin does not fit the rule and was left out.
        PinIgnoredByRule = "PIN_IGNORED_BY_RULE",
        /// The projects carry different claim references: the rule applies to each claim separately.
        SeveralClaims = "SEVERAL_CLAIMS",
        /// The accounting period is missing or longer than 12 months.
        CheckAccountingPeriod = "CHECK_ACCOUNTING_PERIOD",
    }
}

/// A project of the claim, as far as the selection needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The client's reference; breaks ties.
    pub reference: String,
    /// Name; breaks ties of the reference.
    pub name: String,
    /// Qualifying expenditure in pounds, of any scale.
    pub expenditure: Decimal,
    /// True if the practice wants it in the selection.
    pub pinned: bool,
    /// The client's own reference for the claim, if it has one.
    pub claim_ref: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Rule that applies; none if blocked.
    pub rule: Option<AifRule>,
    /// Why nothing could be selected.
    pub blocked_by: Option<AifBlocker>,
    /// Indexes of the selected candidates in the input, largest expenditure first; empty if blocked.
    pub selected: Vec<usize>,
    /// Rank of each of `selected` among all candidates by expenditure, from 1.
    pub ranks: Vec<i32>,
    /// Expenditure of all candidates in pounds.
    pub total: Decimal,
    /// Expenditure of the selected candidates in pounds.
    pub selected_total: Decimal,
    /// Share of the selected candidates in percent, two decimals, half up; zero if blocked.
    pub coverage_percent: Decimal,
    /// True if the rule is met; false if blocked.
    pub satisfied: bool,
    /// Things to look at, each once, in the order of declaration.
    pub warnings: Vec<AifWarning>,
}

/// Selects the projects to be described. The answer does not depend on the order of the input. Among candidates that
/// are alike in expenditure, reference and name a pinned one comes first. Warnings do not include
/// [`AifWarning::CheckAccountingPeriod`]: see [`period_warning`].
#[must_use]
pub fn select(candidates: &[Candidate]) -> Selection {
    let ranking = ranking(candidates);
    let mut warnings = input_warnings(candidates);
    let (rule, blocked_by, selected) = match choose(candidates, &ranking) {
        Ok((rule, selected)) => (Some(rule), None, selected),
        Err(blocker) => (None, Some(blocker), Vec::new()),
    };
    if rule == Some(AifRule::Top10) {
        warnings.push(AifWarning::CheckRepresentative);
    }
    if rule.is_some() && candidates.iter().filter(|c| c.pinned).count() > selected.iter().filter(|&&i| candidates[i].pinned).count() {
        warnings.push(AifWarning::PinIgnoredByRule);
    }
    warnings.sort_unstable();

    let ranks = selected
        .iter()
        .map(|index| ranking.iter().position(|ranked| ranked == index).map_or(0, |at| i32::try_from(at + 1).unwrap_or(i32::MAX)))
        .collect();
    let chosen = selected.iter().map(|&index| candidates[index].expenditure);
    Selection {
        rule,
        blocked_by,
        coverage_percent: percent(Exact::sum(chosen.clone()), Exact::sum(candidates.iter().map(|c| c.expenditure))),
        total: decimal_sum(candidates.iter().map(|c| c.expenditure)),
        selected_total: decimal_sum(chosen),
        ranks,
        selected,
        satisfied: rule.is_some(),
        warnings,
    }
}

/// Share of one project in percent: 0 to 100 with two decimals, rounded half up; zero where there is no total.
#[must_use]
pub fn share_percent(expenditure: Decimal, total: Decimal) -> Decimal {
    percent(Exact::of(expenditure), Exact::of(total))
}

/// The warning about an accounting period that is missing, reversed or longer than 12 months (one form per accounting
/// period; domain rules E). Both days belong to the period.
#[must_use]
pub fn period_warning(start: Option<NaiveDate>, end: Option<NaiveDate>) -> Option<AifWarning> {
    let fits = match (start, end) {
        (Some(start), Some(end)) => end >= start && last_day_of_year_from(start).is_some_and(|last| end <= last),
        _ => false,
    };
    (!fits).then_some(AifWarning::CheckAccountingPeriod)
}

fn last_day_of_year_from(start: NaiveDate) -> Option<NaiveDate> {
    let next = start.checked_add_months(Months::new(12))?;
    // Twelve months from 29 February end on the 28th: the day that chrono clamps to is then itself the last one.
    if next.day() == start.day() { next.pred_opt() } else { Some(next) }
}

/// Indexes by expenditure, largest first; ties by reference, then name, then pinned first.
fn ranking(candidates: &[Candidate]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&candidates[a], &candidates[b]);
        (b.expenditure.cmp(&a.expenditure))
            .then_with(|| a.reference.cmp(&b.reference))
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| b.pinned.cmp(&a.pinned))
    });
    order
}

fn input_warnings(candidates: &[Candidate]) -> Vec<AifWarning> {
    let mut warnings = Vec::new();
    if candidates.iter().any(|c| c.expenditure.is_zero()) {
        warnings.push(AifWarning::ProjectWithoutExpenditure);
    }
    let claims: BTreeSet<&str> =
        candidates.iter().filter_map(|c| c.claim_ref.as_deref()).map(str::trim).filter(|c| !c.is_empty()).collect();
    if claims.len() > 1 {
        warnings.push(AifWarning::SeveralClaims);
    }
    warnings
}

/// The rule and the selected indexes in the order of `ranking`.
fn choose(candidates: &[Candidate], ranking: &[usize]) -> Result<(AifRule, Vec<usize>), AifBlocker> {
    if candidates.is_empty() {
        return Err(AifBlocker::NoProjects);
    }
    if candidates.iter().any(|c| c.expenditure < Decimal::ZERO) {
        return Err(AifBlocker::NegativeExpenditure);
    }
    if candidates.iter().all(|c| c.expenditure.is_zero()) {
        return Err(AifBlocker::NoQualifyingExpenditure);
    }
    if candidates.len() <= ALL_UP_TO {
        return Ok((AifRule::All, ranking.to_vec()));
    }
    if candidates.iter().filter(|c| c.pinned).count() > MOST {
        return Err(AifBlocker::TooManyPinned);
    }
    let total = Exact::sum(candidates.iter().map(|c| c.expenditure));
    let is_half = |chosen: &[usize]| Exact::sum(chosen.iter().map(|&index| candidates[index].expenditure)).times(2) >= total;
    let rule = if candidates.len() <= MOST { AifRule::HalfMin3 } else { AifRule::Half3To10 };
    if rule == AifRule::Half3To10 && !is_half(&ranking[..MOST]) {
        return Ok((AifRule::Top10, ranking[..MOST].to_vec()));
    }
    let (pinned, others): (Vec<usize>, Vec<usize>) = ranking.iter().partition(|&&index| candidates[index].pinned);
    let mut chosen = pinned;
    let mut others = others.into_iter();
    while chosen.len() < FEWEST || !is_half(&chosen) {
        match others.next() {
            Some(next) if chosen.len() < MOST => chosen.push(next),
            _ => return Err(AifBlocker::PinsPreventHalf),
        }
    }
    Ok((rule, ranking.iter().copied().filter(|index| chosen.contains(index)).collect()))
}

/// A sum of decimals without rounding: `Decimal` itself rounds when 96 bits do not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Exact {
    whole: i128,
    /// In units of 10^-28, 0 to 10^28 - 1.
    fraction: i128,
}

impl Exact {
    const ZERO: Self = Self { whole: 0, fraction: 0 };

    fn of(value: Decimal) -> Self {
        let unit = 10_i128.pow(value.scale().min(PLACES));
        let mantissa = value.mantissa();
        Self { whole: mantissa.div_euclid(unit), fraction: mantissa.rem_euclid(unit) * (WHOLE / unit) }
    }

    fn sum(values: impl Iterator<Item = Decimal>) -> Self {
        values.map(Self::of).fold(Self::ZERO, |sum, next| {
            let fraction = sum.fraction + next.fraction;
            let whole = sum.whole.saturating_add(next.whole).saturating_add(fraction / WHOLE);
            Self { whole, fraction: fraction % WHOLE }
        })
    }

    /// For small factors: a fraction times 20,000 is far from the bounds of 128 bits.
    fn times(self, factor: i32) -> Self {
        let fraction = self.fraction * i128::from(factor);
        let whole = self.whole.saturating_mul(factor.into()).saturating_add(fraction.div_euclid(WHOLE));
        Self { whole, fraction: fraction.rem_euclid(WHOLE) }
    }
}

/// The largest number of hundredths of a percent that, less a half, is not above the true share: rounding half up
/// without a division.
fn percent(part: Exact, total: Exact) -> Decimal {
    let scaled = part.times(20_000);
    let (mut low, mut high) = (0, if total > Exact::ZERO { 10_000 } else { 0 });
    while low < high {
        let middle = (low + high + 1) / 2;
        if total.times(2 * middle - 1) <= scaled { low = middle } else { high = middle - 1 }
    }
    Decimal::new(low.into(), 2)
}

/// For showing; sums beyond what a `Decimal` holds become its largest value.
fn decimal_sum(values: impl Iterator<Item = Decimal>) -> Decimal {
    values.fold(Decimal::ZERO, |sum, next| sum.checked_add(next).unwrap_or(Decimal::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(reference: &str, pounds: &str) -> Candidate {
        Candidate {
            reference: reference.into(),
            name: "Project".into(),
            expenditure: pounds.parse().unwrap(),
            pinned: false,
            claim_ref: None,
        }
    }

    fn projects(pounds: &[&str]) -> Vec<Candidate> {
        pounds.iter().enumerate().map(|(at, pounds)| project(&format!("P{at:02}"), pounds)).collect()
    }

    fn equal(count: usize, pounds: &str) -> Vec<Candidate> {
        projects(&vec![pounds; count])
    }

    fn pin(mut candidates: Vec<Candidate>, pins: &[usize]) -> Vec<Candidate> {
        for &at in pins {
            candidates[at].pinned = true;
        }
        candidates
    }

    fn percent_of(selection: &Selection) -> String {
        selection.coverage_percent.to_string()
    }

    fn day(text: &str) -> Option<NaiveDate> {
        text.parse().ok()
    }

    #[test]
    fn nothing_negative_and_all_zero_are_blocked() {
        let none = select(&[]);
        assert_eq!((none.rule, none.blocked_by, none.satisfied), (None, Some(AifBlocker::NoProjects), false));
        assert_eq!((percent_of(&none), none.selected.len(), none.total), ("0.00".into(), 0, Decimal::ZERO));
        let negative = select(&projects(&["100", "-0.01"]));
        assert_eq!(negative.blocked_by, Some(AifBlocker::NegativeExpenditure));
        assert_eq!((negative.total.to_string(), percent_of(&negative)), ("99.99".into(), "0.00".into()));
        assert_eq!(select(&projects(&["0", "-0", "0.00"])).blocked_by, Some(AifBlocker::NoQualifyingExpenditure));
        assert_eq!(select(&projects(&["0", "-5"])).blocked_by, Some(AifBlocker::NegativeExpenditure));
    }

    #[test]
    fn up_to_three_projects_are_all_described_largest_first() {
        for (pounds, order) in [(vec!["5"], vec![0]), (vec!["1", "2"], vec![1, 0]), (vec!["1", "3", "2"], vec![1, 2, 0])] {
            let found = select(&projects(&pounds));
            assert_eq!((found.rule, &found.selected, found.satisfied), (Some(AifRule::All), &order, true));
            assert_eq!((percent_of(&found), found.warnings.len()), ("100.00".into(), 0));
        }
        let with_zero = select(&projects(&["1", "0"]));
        assert_eq!((with_zero.selected.len(), with_zero.warnings), (2, vec![AifWarning::ProjectWithoutExpenditure]));
    }

    #[test]
    fn four_to_ten_projects_need_half_and_at_least_three() {
        let one_large = select(&projects(&["10", "970", "10", "10"]));
        assert_eq!((one_large.rule, one_large.selected), (Some(AifRule::HalfMin3), vec![1, 0, 2]));
        let even = select(&equal(10, "7.77"));
        assert_eq!((even.rule, even.selected.len(), even.coverage_percent.to_string()), (Some(AifRule::HalfMin3), 5, "50.00".into()));
        assert_eq!(select(&equal(9, "1")).selected.len(), 5);
    }

    #[test]
    fn exactly_half_counts_and_a_hair_less_does_not_whatever_the_rounded_figure_says() {
        let exact = select(&projects(&["20", "15", "15", "14", "13", "12", "11"]));
        assert_eq!((exact.selected.len(), percent_of(&exact)), (3, "50.00".into()));
        let mut short = projects(&["20", "15", "15", "14", "13", "12", "11"]);
        short[6].expenditure = "11.000000000000000000000000001".parse().unwrap();
        assert_eq!(select(&short).selected.len(), 4);
        // Three projects hold 49.9999 %, which is shown as 50.00 %, and yet a fourth is needed.
        let hair = select(&projects(&["166667", "166666", "166666", "125001", "125000", "125000", "125000"]));
        assert_eq!((hair.selected.len(), percent_of(&hair)), (4, "62.50".into()));
    }

    #[test]
    fn eleven_projects_change_the_rule() {
        assert_eq!(select(&equal(10, "1")).rule, Some(AifRule::HalfMin3));
        let eleven = select(&equal(11, "1"));
        assert_eq!((eleven.rule, eleven.selected.len(), percent_of(&eleven)), (Some(AifRule::Half3To10), 6, "54.55".into()));
        let twenty = select(&equal(20, "1"));
        assert_eq!((twenty.rule, twenty.selected.len(), percent_of(&twenty)), (Some(AifRule::Half3To10), 10, "50.00".into()));
        let more = select(&equal(21, "1"));
        assert_eq!((more.rule, more.selected, more.satisfied), (Some(AifRule::Top10), (0..10).collect(), true));
        assert_eq!((more.coverage_percent.to_string(), more.warnings), ("47.62".into(), vec![AifWarning::CheckRepresentative]));
    }

    #[test]
    fn ties_are_broken_by_reference_then_name() {
        let mut tied = vec![project("B", "1"), project("A", "1"), project("C", "2"), project("A", "1"), project("D", "9")];
        tied[1].name = "Zeta".into();
        tied[3].name = "Alpha".into();
        let found = select(&tied);
        assert_eq!((found.selected, found.ranks), (vec![4, 2, 3], vec![1, 2, 3]));
    }

    #[test]
    fn pins_come_first_and_count_towards_the_rule() {
        let pinned = select(&pin(projects(&["50", "20", "10", "10", "5", "5"]), &[5]));
        assert_eq!((pinned.selected, pinned.ranks), (vec![0, 1, 5], vec![1, 2, 6]));
        let many = select(&pin(equal(10, "1"), &[9, 8, 7, 6, 5, 4]));
        assert_eq!((many.selected, many.warnings.len()), (vec![4, 5, 6, 7, 8, 9], 0));
        let all = select(&pin(projects(&["1", "2", "3"]), &[0]));
        assert_eq!((all.rule, all.selected), (Some(AifRule::All), vec![2, 1, 0]));
    }

    #[test]
    fn ten_pins_are_allowed_and_eleven_are_not() {
        let ten = select(&pin(equal(12, "1"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!((ten.rule, ten.selected.len()), (Some(AifRule::Half3To10), 10));
        let eleven = select(&pin(equal(12, "1"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        assert_eq!((eleven.rule, eleven.blocked_by), (None, Some(AifBlocker::TooManyPinned)));
        assert_eq!(select(&pin(equal(10, "1"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])).selected.len(), 10);
    }

    #[test]
    fn pins_that_prevent_half_are_told_apart_from_pins_that_the_rule_cannot_use() {
        // 20 equal projects and a small one: without the pin the ten largest hold half of it less a hair.
        let mut close = equal(20, "1");
        close[19].expenditure = "0.5".parse().unwrap();
        let blocked = select(&pin(close.clone(), &[19]));
        assert_eq!((blocked.rule, blocked.blocked_by), (None, Some(AifBlocker::PinsPreventHalf)));
        assert_eq!((blocked.selected.len(), blocked.satisfied), (0, false));
        assert_eq!(select(&pin(close, &[3])).rule, Some(AifRule::Half3To10));

        let ignored = select(&pin(equal(30, "1"), &[3, 29]));
        assert_eq!((ignored.rule, ignored.selected), (Some(AifRule::Top10), (0..10).collect()));
        assert_eq!(ignored.warnings, [AifWarning::CheckRepresentative, AifWarning::PinIgnoredByRule]);
        assert_eq!(select(&pin(equal(30, "1"), &[3])).warnings, [AifWarning::CheckRepresentative]);
    }

    #[test]
    fn several_claims_are_warned_of() {
        let mut mixed = projects(&["1", "2", "3"]);
        mixed[0].claim_ref = Some("A".into());
        mixed[1].claim_ref = Some(" A ".into());
        mixed[2].claim_ref = Some(String::new());
        assert!(select(&mixed).warnings.is_empty());
        mixed[2].claim_ref = Some("B".into());
        assert_eq!(select(&mixed).warnings, [AifWarning::SeveralClaims]);
    }

    #[test]
    fn shares_have_two_decimals_rounded_half_up() {
        let share = |part: &str, total: &str| share_percent(part.parse().unwrap(), total.parse().unwrap()).to_string();
        assert_eq!(share("1", "3"), "33.33");
        assert_eq!(share("2", "3"), "66.67");
        assert_eq!(share("1", "80000"), "0.00");
        assert_eq!(share("1", "20000"), "0.01");
        assert_eq!(share("0.12345", "100"), "0.12");
        assert_eq!(share("0.125", "100"), "0.13");
        assert_eq!(share("7", "7"), "100.00");
        for (part, total) in [("0", "0"), ("1", "0"), ("-1", "5"), ("1", "-0.5"), ("1", "-5")] {
            assert_eq!(share(part, total), "0.00", "{part} of {total}");
        }
    }

    #[test]
    fn the_largest_and_the_finest_decimals_are_summed_exactly_and_never_panic() {
        let huge = Decimal::MAX.to_string();
        let found = select(&projects(&[&huge, &huge, "0.0000000000000000000000000001", &huge, &huge, &huge, &huge]));
        assert_eq!((found.selected.len(), percent_of(&found), found.total), (4, "66.67".into(), Decimal::MAX));
    }

    #[test]
    fn a_period_of_twelve_months_passes_and_a_day_more_does_not() {
        let warned = Some(AifWarning::CheckAccountingPeriod);
        for (start, end, expected) in [
            (day("2025-04-01"), day("2026-03-31"), None),
            (day("2025-04-01"), day("2026-04-01"), warned),
            (day("2025-04-01"), day("2025-04-01"), None),
            (day("2023-03-01"), day("2024-02-29"), None),
            (day("2024-02-29"), day("2025-02-28"), None),
            (day("2024-02-29"), day("2025-03-01"), warned),
            (day("2025-04-01"), day("2025-03-31"), warned),
            (None, day("2026-03-31"), warned),
            (day("2025-04-01"), None, warned),
            (None, None, warned),
        ] {
            assert_eq!(period_warning(start, end), expected, "{start:?} to {end:?}");
        }
    }

    /// Numbers that look random and are the same in every run.
    struct Sequence(u64);

    impl Sequence {
        fn below(&mut self, bound: u64) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((self.0 >> 33) % bound).unwrap()
        }
    }

    #[test]
    fn in_any_order_the_answer_is_the_same_and_follows_the_rule() {
        let mut random = Sequence(7);
        for round in 0..2_000 {
            let count = 1 + random.below(26);
            let mut claim: Vec<Candidate> =
                (0..count).map(|at| project(&format!("P{at:02}"), &format!("{}.{:02}", random.below(40), random.below(3)))).collect();
            for _ in 0..random.below(4) {
                let at = random.below(count as u64);
                claim[at].pinned = true;
            }
            let first = select(&claim);
            let references = |claim: &[Candidate], found: &Selection| -> Vec<String> {
                found.selected.iter().map(|&at| claim[at].reference.clone()).collect()
            };
            let mut shuffled = claim.clone();
            for at in (1..count).rev() {
                shuffled.swap(at, random.below(at as u64 + 1));
            }
            let second = select(&shuffled);
            assert_eq!(references(&claim, &first), references(&shuffled, &second), "round {round}");
            assert_eq!(Selection { selected: vec![], ..first.clone() }, Selection { selected: vec![], ..second }, "round {round}");

            let half = first.selected_total * Decimal::TWO >= first.total;
            let size = first.selected.len();
            match first.rule {
                Some(AifRule::All) => assert!(size == count && count <= 3),
                Some(AifRule::HalfMin3) => assert!((4..=10).contains(&count) && size >= 3 && half),
                Some(AifRule::Half3To10) => assert!(count > 10 && (3..=10).contains(&size) && half),
                Some(AifRule::Top10) => assert!(count > 10 && size == 10 && first.warnings.contains(&AifWarning::CheckRepresentative)),
                None => assert!(first.blocked_by.is_some() && size == 0),
            }
            if matches!(first.rule, Some(AifRule::All | AifRule::HalfMin3 | AifRule::Half3To10)) {
                assert!(claim.iter().enumerate().all(|(at, project)| !project.pinned || first.selected.contains(&at)), "round {round}");
            }
            // Nothing is selected that could be left out, except pins.
            if let (Some(AifRule::HalfMin3 | AifRule::Half3To10), Some(last)) =
                (first.rule, first.selected.iter().rev().find(|&&at| !claim[at].pinned))
            {
                let without = first.selected_total - claim[*last].expenditure;
                assert!(size == 3 || without * Decimal::TWO < first.total, "round {round}");
            }
        }
    }
}
