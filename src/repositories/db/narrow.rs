//! Rows that are read in part: a list of which two columns are asked for does not read twenty. Columns come in groups, and a
//! group that is left out has the default of its type. It must not know any table.

use super::unspanned::unspanned;
use super::{Conn, Sql, Timed, Tx};
use crate::error::Result;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Decode, Row, Type, ValueRef};
use std::str::FromStr;

/// A row of which groups of columns may be left out. [`narrow_row!`] declares one.
pub trait Narrow: Sized + Send {
    /// Names the groups.
    type Parts: Copy + Send;

    /// The columns of these groups, for a `SELECT`.
    fn columns(parts: Self::Parts) -> String;

    /// Reads what was selected by [`Narrow::columns`] with the same groups, from the column that is next.
    ///
    /// # Errors
    /// If a column has another type.
    fn from_postgres(row: &PgRow, next: &mut usize, parts: Self::Parts) -> sqlx::Result<Self>;

    /// Reads what was selected by [`Narrow::columns`] with the same groups, from the column that is next.
    ///
    /// # Errors
    /// If a column has another type.
    fn from_sqlite(row: &SqliteRow, next: &mut usize, parts: Self::Parts) -> sqlx::Result<Self>;
}

/// A row, and the one of another table that was joined to it, if there is any.
impl<A: Narrow, B: Narrow> Narrow for (A, Option<B>) {
    type Parts = (A::Parts, B::Parts);

    fn columns((of_a, of_b): Self::Parts) -> String {
        format!("{}, {}", A::columns(of_a), B::columns(of_b))
    }

    fn from_postgres(row: &PgRow, next: &mut usize, (of_a, of_b): Self::Parts) -> sqlx::Result<Self> {
        let a = A::from_postgres(row, next, of_a)?;
        let is_alone = row.try_get_raw(*next)?.is_null();
        Ok((a, if is_alone { None } else { Some(B::from_postgres(row, next, of_b)?) }))
    }

    fn from_sqlite(row: &SqliteRow, next: &mut usize, (of_a, of_b): Self::Parts) -> sqlx::Result<Self> {
        let a = A::from_sqlite(row, next, of_a)?;
        let is_alone = row.try_get_raw(*next)?.is_null();
        Ok((a, if is_alone { None } else { Some(B::from_sqlite(row, next, of_b)?) }))
    }
}

/// A row whose columns are read by their place.
pub trait Placed: Row {
    /// The value of a column.
    ///
    /// # Errors
    /// If it has another type.
    fn at<'r, T>(&'r self, place: usize) -> sqlx::Result<T>
    where
        T: Decode<'r, Self::Database> + Type<Self::Database>;
}

impl Placed for PgRow {
    /// What type a column has follows from the statement alone. So it is compared where tests run, which read them all, and not for
    /// each value of each row again: that was a twentieth of a list.
    fn at<'r, T>(&'r self, place: usize) -> sqlx::Result<T>
    where
        T: Decode<'r, Self::Database> + Type<Self::Database>,
    {
        if cfg!(debug_assertions) { self.try_get(place) } else { self.try_get_unchecked(place) }
    }
}

impl Placed for SqliteRow {
    fn at<'r, T>(&'r self, place: usize) -> sqlx::Result<T>
    where
        T: Decode<'r, Self::Database> + Type<Self::Database>,
    {
        self.try_get(place)
    }
}

impl Sql {
    /// Runs it and reads all rows, of which these groups were selected first.
    ///
    /// # Errors
    /// As the database says.
    pub async fn fetch_parts<R: Narrow>(self, tx: &mut Tx, parts: R::Parts) -> Result<Vec<R>> {
        let (text, args) = self.take();
        let _until_it_ends = Timed::statement();
        let rows: sqlx::Result<Vec<R>> = match tx.conn() {
            Conn::Postgres(c) => {
                let rows = unspanned(sqlx::query_with(AssertSqlSafe(text), super::sql::for_postgres(args)?).fetch_all(c)).await?;
                tx.ended();
                read_all(rows, |row| R::from_postgres(row, &mut 0, parts))
            }
            Conn::Sqlite(c) => {
                let rows = unspanned(sqlx::query_with(AssertSqlSafe(text), super::sql::for_sqlite(args)?).fetch_all(c)).await?;
                read_all(rows, |row| R::from_sqlite(row, &mut 0, parts))
            }
        };
        Ok(rows?)
    }
}

/// Reads each row and lets go of it. Collected, results would make room for themselves again and again.
fn read_all<D, R>(rows: Vec<D>, read: impl Fn(&D) -> sqlx::Result<R>) -> sqlx::Result<Vec<R>> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        all.push(read(&row)?);
    }
    Ok(all)
}

/// A word of an enum, read without a text of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Word<T>(pub T);

impl<D: sqlx::Database, T> sqlx::Type<D> for Word<T>
where
    str: sqlx::Type<D>,
{
    fn type_info() -> D::TypeInfo {
        <str as sqlx::Type<D>>::type_info()
    }

    fn compatible(ty: &D::TypeInfo) -> bool {
        <str as sqlx::Type<D>>::compatible(ty)
    }
}

impl<'r, D: sqlx::Database, T: FromStr> sqlx::Decode<'r, D> for Word<T>
where
    &'r str: sqlx::Decode<'r, D>,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn decode(value: D::ValueRef<'r>) -> std::result::Result<Self, sqlx::error::BoxDynError> {
        Ok(Self(<&str as sqlx::Decode<D>>::decode(value)?.parse()?))
    }
}

/// Declares a row with its groups of columns: those that are always read, then one block for each flag of the parts.
#[macro_export]
macro_rules! narrow_row {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident, $parts:ty;
        always { $($always:ident: $always_ty:ty = $always_column:literal,)* }
        $($part:ident { $($field:ident: $ty:ty = $column:literal,)* })*
    ) => {
        $(#[$doc])*
        $vis struct $name { $($always: $always_ty,)* $($($field: $ty,)*)* }

        impl $name {
            fn read<'r, R: $crate::repositories::db::Placed>(row: &'r R, next: &mut usize, parts: $parts) -> sqlx::Result<Self>
            where
                $($always_ty: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*
                $($($ty: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*)*
            {
                let mut place = || {
                    let place = *next;
                    *next += 1;
                    place
                };
                $(let $always: $always_ty = row.at(place())?;)*
                $($(let $field: $ty;)*)*
                $(
                    if parts.contains(<$parts>::$part) {
                        $($field = row.at(place())?;)*
                    } else {
                        $($field = Default::default();)*
                    }
                )*
                Ok(Self { $($always,)* $($($field,)*)* })
            }
        }

        impl<'r, R: $crate::repositories::db::Placed> sqlx::FromRow<'r, R> for $name
        where
            $($always_ty: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*
            $($($ty: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*)*
        {
            fn from_row(row: &'r R) -> sqlx::Result<Self> {
                Self::read(row, &mut 0, <$parts>::all())
            }
        }

        impl $crate::repositories::db::Narrow for $name {
            type Parts = $parts;

            fn columns(parts: $parts) -> String {
                // most have room in this without growing again and again
                let mut columns = String::with_capacity(512);
                $(columns.push_str(concat!($always_column, ", "));)*
                columns.truncate(columns.len() - 2);
                $(
                    if parts.contains(<$parts>::$part) {
                        $(columns.push_str(concat!(", ", $column));)*
                    }
                )*
                columns
            }

            fn from_postgres(row: &sqlx::postgres::PgRow, next: &mut usize, parts: $parts) -> sqlx::Result<Self> {
                Self::read(row, next, parts)
            }

            fn from_sqlite(row: &sqlx::sqlite::SqliteRow, next: &mut usize, parts: $parts) -> sqlx::Result<Self> {
                Self::read(row, next, parts)
            }
        }
    };
}
