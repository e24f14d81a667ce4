//! Money: exact amounts, never a float. Expenditure is kept in whole pence; what models cost is kept in
//! millionths of a US dollar ("spend"). It must not know currencies beyond these two.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// An amount in pence sterling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pence(pub i64);

/// Largest amount that is accepted: ten billion pounds.
pub const MAX_PENCE: i64 = 1_000_000_000_000;

impl Pence {
    /// The amount in pounds with two decimals.
    #[must_use]
    pub fn pounds(self) -> Decimal {
        Decimal::new(self.0, 2)
    }

    /// Reads pounds; `None` if there is a fraction of a penny or the amount is beyond [`MAX_PENCE`].
    #[must_use]
    pub fn from_pounds(pounds: Decimal) -> Option<Self> {
        let pence = pounds.checked_mul(Decimal::ONE_HUNDRED)?.normalize();
        if pence.scale() > 0 {
            return None;
        }
        let pence = i64::try_from(pence.mantissa()).ok()?;
        (pence.abs() <= MAX_PENCE).then_some(Self(pence))
    }
}

/// Largest budget that is accepted: a hundred million dollars, in millionths.
const MAX_SPEND: i64 = 100_000_000_000_000;

/// What calls of models cost, in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spend(pub i64);

impl Spend {
    /// The amount in dollars with six decimals.
    #[must_use]
    pub fn dollars(self) -> Decimal {
        Decimal::new(self.0, 6)
    }

    /// Reads dollars; `None` if there is a fraction of a millionth, or the amount is negative or beyond a hundred million.
    #[must_use]
    pub fn from_dollars(dollars: Decimal) -> Option<Self> {
        let micros = dollars.checked_mul(Decimal::from(1_000_000))?.normalize();
        if micros.scale() > 0 {
            return None;
        }
        let micros = i64::try_from(micros.mantissa()).ok()?;
        (0..=MAX_SPEND).contains(&micros).then_some(Self(micros))
    }
}

/// For messages, such as `12.5 USD`.
impl std::fmt::Display for Spend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} USD", self.dollars().normalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pounds_become_pence_exactly_or_not_at_all() {
        assert_eq!(Pence::from_pounds("148200.00".parse().unwrap()), Some(Pence(14_820_000)));
        assert_eq!(Pence::from_pounds("0.1".parse().unwrap()), Some(Pence(10)));
        assert_eq!(Pence::from_pounds("0.001".parse().unwrap()), None);
        assert_eq!(Pence::from_pounds("99999999999".parse().unwrap()), None);
        assert_eq!(Pence(5).pounds().to_string(), "0.05");
    }

    #[test]
    fn dollars_become_millionths_exactly_or_not_at_all() {
        let read = |text: &str| Spend::from_dollars(text.parse().unwrap());
        assert_eq!((read("12.5"), read("0.000001"), read("0")), (Some(Spend(12_500_000)), Some(Spend(1)), Some(Spend(0))));
        assert_eq!((read("0.0000001"), read("-1"), read("100000001")), (None, None, None));
    }
}
