//! The contract's own scalars. Decimals never pass through a float, moments are UTC with milliseconds.

use crate::domain::ids::{GlobalId, MAX_GLOBAL};
use crate::domain::money::Pence;
use crate::domain::paging::Position;
use crate::error::{Error, ProblemCode, Result};
use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{
    ContextSelectionSet, ID, InputValueError, InputValueResult, OutputType, Positioned, Scalar, ScalarType, ServerResult, Value,
};
use chrono::{NaiveDate, SecondsFormat, Utc};
use graphql_gate::Output;
use graphql_gate::plan::Plan;
use graphql_gate::write::{Null, Writer};
use rust_decimal::Decimal as Exact;
use std::borrow::Cow;

const A_MOMENT: &str = "Write a moment as RFC 3339, such as 2026-03-31T16:05:09Z.";
const A_DAY: &str = "Write a day as YYYY-MM-DD, such as 2026-03-31.";
const A_DECIMAL: &str = "Write a decimal number as a string, such as \"148200.00\".";

/// The id of an object: an `ID` that is written in its opaque form only where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectId(GlobalId);

impl<T: Into<GlobalId>> From<T> for ObjectId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

impl Output for ObjectId {
    fn write(&self, _: &Plan, writer: &mut Writer) -> std::result::Result<(), Null> {
        writer.string(self.0.write(&mut [0; MAX_GLOBAL]));
        Ok(())
    }
}

impl OutputType for ObjectId {
    fn type_name() -> Cow<'static, str> {
        <ID as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <ID as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
        Ok(Value::String(self.0.to_string()))
    }
}

/// The cursor of a row in a connection: a `String` that is written only where it is asked for.
#[derive(Debug, Clone)]
pub struct Cursor(pub Position);

impl Output for Cursor {
    fn write(&self, _: &Plan, writer: &mut Writer) -> std::result::Result<(), Null> {
        writer.string(&self.0.cursor());
        Ok(())
    }
}

impl OutputType for Cursor {
    fn type_name() -> Cow<'static, str> {
        <String as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <String as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
        Ok(Value::String(self.0.cursor()))
    }
}

/// A moment in UTC, RFC 3339 with milliseconds, such as 2026-03-31T16:05:09.120Z.
#[derive(Debug, Clone, Copy, Output)]
#[gate(scalar)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// A moment in UTC, RFC 3339 with milliseconds, such as 2026-03-31T16:05:09.120Z.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time.html")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(moment) => Ok(Self(moment.with_timezone(&Utc))),
                Err(_) => Err(InputValueError::custom(A_MOMENT)),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// A calendar day, such as 2026-03-31.
#[derive(Debug, Clone, Copy, Output)]
#[gate(scalar)]
pub struct Date(pub NaiveDate);

/// A calendar day, such as 2026-03-31.
#[Scalar(name = "Date", specified_by_url = "https://scalars.graphql.org/andimarek/local-date.html")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
                Ok(day) if text.len() == 10 => Ok(Self(day)),
                _ => Err(InputValueError::custom(A_DAY)),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// An exact decimal number, sent as a string, such as "148200.00". Never a float.
#[derive(Debug, Clone, Copy, Output)]
#[gate(scalar)]
pub struct Decimal(pub Exact);

/// An exact decimal number, sent as a string, such as "148200.00". Never a float.
#[Scalar(name = "Decimal")]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        let parsed = match &value {
            Value::String(text) => Exact::from_str_exact(text).ok(),
            Value::Number(number) => number.as_i64().map(Exact::from),
            _ => return Err(InputValueError::expected_type(value)),
        };
        parsed.map(Self).ok_or_else(|| InputValueError::custom(A_DECIMAL))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

impl From<Pence> for Decimal {
    fn from(pence: Pence) -> Self {
        Self(pence.pounds())
    }
}

impl Decimal {
    /// The amount in pence.
    ///
    /// # Errors
    /// `INVALID` with the path if there is a fraction of a penny or the amount is beyond what is accepted.
    pub fn pence(self, field: &str) -> Result<Pence> {
        Pence::from_pounds(self.0).ok_or_else(|| {
            let message = format!("{} is not an amount in pounds with at most two decimals and ten billion at most.", self.0);
            Error::refused(ProblemCode::Invalid, field, message)
        })
    }
}

/// Opaque position in an event stream. Compare for equality only. Kept for `ApiInfo.eventRetentionHours`.
#[derive(Debug, Clone, Output)]
#[gate(scalar)]
pub struct EventCursor(pub String);

/// Opaque position in an event stream. Compare for equality only. Kept for `ApiInfo.eventRetentionHours`.
#[Scalar(name = "EventCursor")]
impl ScalarType for EventCursor {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// What to write for a scalar of this module, if a value cannot be one; empty where any text will do.
#[must_use]
pub fn fault(scalar: &str, value: Value) -> Option<&'static str> {
    let (is_one, hint) = match scalar {
        "DateTime" => (DateTime::parse(value).is_ok(), A_MOMENT),
        "Date" => (Date::parse(value).is_ok(), A_DAY),
        "Decimal" => (Decimal::parse(value).is_ok(), A_DECIMAL),
        "EventCursor" => (EventCursor::parse(value).is_ok(), ""),
        _ => (true, ""),
    };
    (!is_one).then_some(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_keeps_every_digit_and_never_comes_from_a_float() {
        let read = |value: Value| Decimal::parse(value).ok().map(|decimal| decimal.0.to_string());
        assert_eq!(read(Value::from("12345678901234567890.123")).as_deref(), Some("12345678901234567890.123"));
        assert_eq!(read(Value::from(12)).as_deref(), Some("12"));
        assert_eq!(read(Value::from(0.1)), None);
        assert_eq!(read(Value::from("1e3")), None);
    }

    #[test]
    fn what_to_write_is_said_for_what_cannot_be_read() {
        assert_eq!(fault("Date", Value::from("31.3.2026")), Some(A_DAY));
        assert_eq!(fault("Date", Value::from("2026-03-31")), None);
        assert_eq!(fault("Decimal", Value::from(0.1)), Some(A_DECIMAL));
        assert_eq!(fault("EventCursor", Value::from(1)), Some(""));
    }

    #[test]
    fn moments_are_utc_with_milliseconds() {
        let read = DateTime::parse(Value::from("2026-03-31T17:05:09.12+01:00")).ok().unwrap();
        assert_eq!(read.to_value(), Value::from("2026-03-31T16:05:09.120Z"));
        assert!(Date::parse(Value::from("2026-3-1")).is_err());
    }
}
