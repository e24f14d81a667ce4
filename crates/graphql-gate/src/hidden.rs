//! What the macros' output needs; not for other use.

pub use crate::load::{Column, Loader, Row, Rows, render_step};
pub use crate::plan::{Args, Compiler, FIRST_RELATION, FieldNumber, Fields, Found, Plan, Step};
pub use crate::write::{Null, Writer};
pub use async_graphql;
pub use futures_util::future::{BoxFuture, join_all};

use async_graphql::{Error, ServerError, ServerResult};

/// An object's relations, by name.
pub trait Relations: Sized + Send + Sync + 'static {
    /// Loads them; none if the type has none.
    const LOAD: Option<Loader>;

    /// Compiles one.
    ///
    /// # Errors
    /// As `compile` says.
    fn find<'a>(compiler: &Compiler<'_, 'a>, name: &str, fields: &Fields<'a>) -> ServerResult<Found>;
}

/// Rows of a known type.
pub fn rows_of<'r, T: 'static>(rows: &'r [Row<'r>]) -> Vec<&'r T> {
    rows.iter().filter_map(|row| row.downcast_ref::<T>()).collect()
}

/// The arguments of a step.
///
/// # Errors
/// Why they cannot be read.
pub fn args_of<T: 'static>(step: &Step) -> ServerResult<&T> {
    let args = step.args.as_ref().map_err(Clone::clone)?;
    args.downcast_ref().ok_or_else(|| ServerError::new("the arguments are those of another field", Some(step.pos)))
}

/// What a load for all rows gives for one of them: failures of the load are failures of each row.
pub trait OfRow<T> {
    /// From a value.
    fn value(value: T) -> Self;
    /// From a failure.
    fn failure(error: Error) -> Self;
}

impl<T> OfRow<T> for Result<T, Error> {
    fn value(value: T) -> Self {
        Ok(value)
    }

    fn failure(error: Error) -> Self {
        Err(error)
    }
}

impl<T> OfRow<Option<T>> for Option<Result<T, Error>> {
    fn value(value: Option<T>) -> Self {
        value.map(Ok)
    }

    fn failure(error: Error) -> Self {
        Some(Err(error))
    }
}

/// One value for each row.
pub fn for_each_row<T, R: OfRow<T>>(rows: usize, loaded: Result<Vec<T>, Error>) -> Vec<R> {
    match loaded {
        Ok(values) if values.len() == rows => values.into_iter().map(R::value).collect(),
        Ok(values) => {
            let error = Error::new(format!("{} values were loaded for {rows} rows", values.len()));
            (0..rows).map(|_| R::failure(error.clone())).collect()
        }
        Err(error) => (0..rows).map(|_| R::failure(error.clone())).collect(),
    }
}

/// The value of the only row.
#[must_use]
pub fn for_one_row<T, R: OfRow<T>>(loaded: Result<Vec<T>, Error>) -> R {
    for_each_row(1, loaded).pop().unwrap_or_else(|| R::failure(Error::new("no value was loaded")))
}

/// Writes a word of an enum.
pub fn write_word<T: async_graphql::resolver_utils::EnumType>(value: &T, writer: &mut Writer) {
    for item in T::items() {
        if item.value == *value {
            writer.raw("\"");
            writer.raw(item.name);
            writer.raw("\"");
            return;
        }
    }
}
