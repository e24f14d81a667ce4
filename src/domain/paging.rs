//! Keyset paging: arguments of a Relay connection, opaque cursors, pages. Never an offset: a page starts behind the
//! sort values of the last row that was seen, so rows that come and go do not shift it. It must not know SQL.

use crate::error::{Error, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most items in one page.
pub const MAX_PAGE_SIZE: i32 = 100;
/// Items in a page if neither `first` nor `last` is given.
pub const DEFAULT_PAGE_SIZE: i32 = 20;

/// Arguments of a connection as the client gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PageArgs {
    /// At most this many, from the start.
    pub first: Option<i32>,
    /// Only what comes after this cursor.
    pub after: Option<String>,
    /// At most this many, from the end.
    pub last: Option<i32>,
    /// Only what comes before this cursor.
    pub before: Option<String>,
}

/// A checked request for a page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRequest {
    /// At most this many rows.
    pub limit: i64,
    /// True to take them from the end.
    pub backward: bool,
    /// Only rows after this position.
    pub after: Option<Position>,
    /// Only rows before this position.
    pub before: Option<Position>,
}

/// Sort values of a row, the last of which is its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The order that the values belong to.
    order: Arc<str>,
    /// Values in the order of the sort keys.
    pub values: Vec<KeyValue>,
}

/// A value of a sort key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyValue {
    /// A text.
    #[serde(rename = "t")]
    Text(String),
    /// A whole number.
    #[serde(rename = "n")]
    Int(i64),
    /// A moment, in microseconds since 1970.
    #[serde(rename = "m")]
    Micros(i64),
    /// An id.
    #[serde(rename = "u")]
    Id(uuid::Uuid),
}

/// Last moment that a cursor may hold: the end of the year 9999.
const MAX_MICROS: i64 = 253_402_300_799_999_999;

impl KeyValue {
    /// The letter that names of orders use for the kind.
    const fn kind(&self) -> char {
        match self {
            Self::Text(_) => 't',
            Self::Int(_) => 'n',
            Self::Micros(_) => 'm',
            Self::Id(_) => 'u',
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Text(text) => !text.contains('\0'),
            Self::Micros(micros) => (0..=MAX_MICROS).contains(micros),
            Self::Int(_) | Self::Id(_) => true,
        }
    }
}

/// Direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Rows with their positions, in the order asked for.
    pub rows: Vec<(T, Position)>,
    /// True if there is more after the last row.
    pub has_next: bool,
    /// True if there is more before the first row.
    pub has_previous: bool,
}

impl PageArgs {
    /// Checks the arguments for a list in the named order. The name ends in a colon and the kinds of the sort values, a
    /// letter each, such as `runs:mu`.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` naming the argument: both `first` and `last`, a size outside 1 to 100, a cursor that is
    /// malformed or of another order.
    pub fn check(&self, order: &str) -> Result<PageRequest> {
        let (size, name, backward) = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(Error::argument("last", "Give either `first` or `last`, not both.")),
            (None, Some(last)) => (last, "last", true),
            (first, None) => (first.unwrap_or(DEFAULT_PAGE_SIZE), "first", false),
        };
        if !(1..=MAX_PAGE_SIZE).contains(&size) {
            return Err(Error::argument(name, format!("`{name}` is 1 to {MAX_PAGE_SIZE}; it was {size}. Ask for more pages instead.")));
        }
        let read = |text: &Option<String>, argument| text.as_deref().map(|text| Position::parse(text, order, argument)).transpose();
        Ok(PageRequest { limit: size.into(), backward, after: read(&self.after, "after")?, before: read(&self.before, "before")? })
    }
}

impl Position {
    /// The position of a row in the named order.
    #[must_use]
    pub fn new(order: impl Into<Arc<str>>, values: Vec<KeyValue>) -> Self {
        Self { order: order.into(), values }
    }

    /// The position of a row in an order by a moment, ties broken by id.
    #[must_use]
    pub fn by_time(order: impl Into<Arc<str>>, at: chrono::DateTime<chrono::Utc>, id: uuid::Uuid) -> Self {
        Self::new(order, vec![KeyValue::Micros(at.timestamp_micros()), KeyValue::Id(id)])
    }

    /// The opaque cursor.
    #[must_use]
    pub fn cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn parse(cursor: &str, order: &str, argument: &'static str) -> Result<Self> {
        let bad = || {
            Error::argument(argument, format!("`{argument}` is not a cursor of this list and order; take one from `pageInfo` or an edge."))
        };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
        let position: Self = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if *position.order == *order && position.fits() { Ok(position) } else { Err(bad()) }
    }

    /// True if the values are of the kinds that the order's name ends in, and such as a row may have: a cursor comes
    /// from outside and may be forged.
    fn fits(&self) -> bool {
        let kinds: String = self.values.iter().map(KeyValue::kind).collect();
        self.order.rsplit_once(':').is_some_and(|(_, expected)| expected == kinds) && self.values.iter().all(KeyValue::is_sound)
    }
}

impl<T> Page<T> {
    /// A page from up to `limit + 1` rows that were read in the direction of the request.
    #[must_use]
    pub fn from_rows(mut rows: Vec<(T, Position)>, request: &PageRequest) -> Self {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        if request.backward {
            rows.reverse();
            Self { rows, has_next: request.before.is_some(), has_previous: more }
        } else {
            Self { rows, has_next: more, has_previous: request.after.is_some() }
        }
    }

    /// The page with its rows converted.
    #[must_use]
    pub fn map<U>(self, mut convert: impl FnMut(T) -> U) -> Page<U> {
        let rows = self.rows.into_iter().map(|(row, at)| (convert(row), at)).collect();
        Page { rows, has_next: self.has_next, has_previous: self.has_previous }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    fn refused(args: &PageArgs) -> &'static str {
        match args.check("name:tu") {
            Err(Error::Fault(Fault { argument: Some(name), .. })) => name,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_cursor_is_good_for_its_own_order_only() {
        let at = Position::new("name:tu", vec![KeyValue::Text("a".into()), KeyValue::Id(uuid::Uuid::nil())]);
        let args = PageArgs { after: Some(at.cursor()), ..PageArgs::default() };
        assert_eq!(args.check("name:tu").unwrap().after, Some(at));
        assert!(args.check("created:mu").is_err());
        let forged = Position::new("name:tu", vec![KeyValue::Id(uuid::Uuid::nil())]);
        assert!(PageArgs { after: Some(forged.cursor()), ..PageArgs::default() }.check("name:tu").is_err());
    }

    #[test]
    fn wrong_arguments_are_named() {
        assert_eq!(refused(&PageArgs { first: Some(101), ..PageArgs::default() }), "first");
        assert_eq!(refused(&PageArgs { last: Some(0), ..PageArgs::default() }), "last");
        assert_eq!(refused(&PageArgs { first: Some(1), last: Some(1), ..PageArgs::default() }), "last");
        assert_eq!(refused(&PageArgs { before: Some("x".into()), ..PageArgs::default() }), "before");
    }
}
