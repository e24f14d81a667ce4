//! A list of ids as one value of a statement: an array on `PostgreSQL`, a JSON text on `SQLite`, which has no arrays. It must
//! not know whose ids they are.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo};
use sqlx::{Encode, Postgres, Sqlite, Type};
use uuid::Uuid;

/// Ids for [`super::Tx::in_ids`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdList(Vec<Uuid>);

/// Collects ids.
#[must_use]
pub fn id_list<I: IntoIterator<Item = Uuid>>(ids: I) -> IdList {
    IdList(ids.into_iter().collect())
}

impl IdList {
    /// The id, if it is one.
    #[must_use]
    pub fn only(&self) -> Option<Uuid> {
        if let [id] = self.0[..] { Some(id) } else { None }
    }
}

impl Type<Postgres> for IdList {
    fn type_info() -> PgTypeInfo {
        <Vec<Uuid> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for IdList {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <Vec<Uuid> as Encode<Postgres>>::encode_by_ref(&self.0, buffer)
    }
}

impl Type<Sqlite> for IdList {
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for IdList {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        let mut text = String::with_capacity(2 + self.0.len() * 35);
        text.push('[');
        for id in &self.0 {
            if text.len() > 1 {
                text.push(',');
            }
            text.push('"');
            text.push_str(id.simple().encode_lower(&mut Uuid::encode_buffer()));
            text.push('"');
        }
        text.push(']');
        <String as Encode<Sqlite>>::encode(text, buffer)
    }
}
