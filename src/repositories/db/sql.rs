//! Statements that are put together at run time. It must not hold the text of any.

use super::unspanned::unspanned;
use super::{BothRow, Conn, IdList, Timed, Tx, id_list, storable};
use crate::error::{Error, Result};
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe};
use uuid::Uuid;

/// A value of a built statement.
#[derive(Debug, Clone)]
pub enum Arg {
    /// An id.
    Id(Uuid),
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A moment.
    Time(chrono::DateTime<chrono::Utc>),
    /// A day.
    Date(chrono::NaiveDate),
    /// Some ids.
    Ids(IdList),
}

/// A statement that is put together at run time, from constant pieces and bound values.
#[derive(Debug, Default)]
pub struct Sql {
    text: String,
    args: Vec<Arg>,
}

impl Sql {
    /// A statement that begins with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), args: Vec::new() }
    }

    /// Appends text, never a value.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// The same statement with text in front.
    #[must_use]
    pub fn before(self, text: &str) -> Self {
        Self { text: format!("{text}{}", self.text), args: self.args }
    }

    /// Appends the place of a value and binds it.
    pub fn bind(&mut self, value: Arg) -> &mut Self {
        let place = format!("${}", self.place(value));
        self.push(&place)
    }

    /// Appends `AND column is one of these ids`.
    pub fn push_ids(&mut self, tx: &Tx, column: &str, ids: impl IntoIterator<Item = Uuid>) -> &mut Self {
        let ids = id_list(ids);
        if let Some(id) = ids.only() {
            return self.push(&format!(" AND {column} = ")).bind(Arg::Id(id));
        }
        let place = self.place(Arg::Ids(ids));
        let condition = tx.in_ids(column, place);
        self.push(" AND ").push(&condition)
    }

    /// Binds a value and gives the number of its place.
    pub fn place(&mut self, value: Arg) -> usize {
        self.args.push(match value {
            Arg::Text(text) => Arg::Text(storable(&text).into_owned()),
            other => other,
        });
        self.args.len()
    }

    /// Runs it and reads all rows.
    ///
    /// # Errors
    /// As the database says.
    pub async fn fetch_all<R: BothRow>(self, tx: &mut Tx) -> Result<Vec<R>> {
        let (text, args) = self.take();
        let _until_it_ends = Timed::statement();
        let rows = match tx.conn() {
            Conn::Postgres(c) => unspanned(sqlx::query_as_with(AssertSqlSafe(text), for_postgres(args)?).fetch_all(c)).await?,
            Conn::Sqlite(c) => unspanned(sqlx::query_as_with(AssertSqlSafe(text), for_sqlite(args)?).fetch_all(c)).await?,
        };
        tx.ended();
        Ok(rows)
    }

    pub(super) fn take(self) -> (String, Vec<Arg>) {
        (self.text, self.args)
    }

    /// Runs it and reads one whole number.
    ///
    /// # Errors
    /// As the database says.
    pub async fn fetch_count(self, tx: &mut Tx) -> Result<i64> {
        Ok(self.fetch_all::<(i64,)>(tx).await?.first().map_or(0, |row| row.0))
    }
}

pub(super) fn for_postgres(args: Vec<Arg>) -> Result<PgArguments> {
    args.into_iter().try_fold(PgArguments::default(), |mut all, arg| add_to_postgres(&mut all, arg).map(|()| all))
}

pub(super) fn for_sqlite(args: Vec<Arg>) -> Result<SqliteArguments> {
    args.into_iter().try_fold(SqliteArguments::default(), |mut all, arg| add_to_sqlite(&mut all, arg).map(|()| all))
}

fn add_to_postgres(all: &mut PgArguments, arg: Arg) -> Result<()> {
    match arg {
        Arg::Id(value) => all.add(value),
        Arg::Text(value) => all.add(value),
        Arg::Int(value) => all.add(value),
        Arg::Time(value) => all.add(value),
        Arg::Date(value) => all.add(value),
        Arg::Ids(value) => all.add(value),
    }
    .map_err(Error::internal)
}

fn add_to_sqlite(all: &mut SqliteArguments, arg: Arg) -> Result<()> {
    match arg {
        Arg::Id(value) => all.add(value),
        Arg::Text(value) => all.add(value),
        Arg::Int(value) => all.add(value),
        Arg::Time(value) => all.add(value),
        Arg::Date(value) => all.add(value),
        Arg::Ids(value) => all.add(value),
    }
    .map_err(Error::internal)
}
