//! The use case of `claimwright migrate-data`: everything of an embedded installation moves to `PostgreSQL`, to a bucket,
//! or to both, and is counted there. The source is read only, so it stays as a backup.

use crate::adapters::storage::{ObjectInfo, ObjectStore};
use crate::error::{Error, FaultCode, Result};
use crate::repositories::db::{Db, Scope, Tx};
use crate::repositories::migrate_data as rows;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files that are on their way at the same time.
const FILES_AT_ONCE: usize = 8;
/// Files after which a word is said about the progress.
const SAY_EVERY: usize = 100;

/// What is told on the way, a line each.
pub type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// A table that has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTable {
    /// Its name.
    pub name: &'static str,
    /// Rows, by the count of both databases.
    pub rows: i64,
}

/// Files that have moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MovedFiles {
    /// Files, by the count of both stores.
    pub files: usize,
    /// Their bytes.
    pub bytes: i64,
    /// Those that were there already, from an earlier try.
    pub known: usize,
}

/// A transaction in the target that nothing was written in yet, and that nobody else can make a workspace beside.
///
/// # Errors
/// `UNAVAILABLE` if the target has workspaces; as the database says.
pub async fn reserve(target: &Db) -> Result<Tx> {
    let mut tx = target.begin(Scope::Everything).await?;
    if rows::reserve_in(&mut tx).await? {
        return Ok(tx);
    }
    let message = "The database of DATABASE_URL has workspaces already; data can be moved only to a new one. Name an empty database.";
    Err(Error::fault(FaultCode::Unavailable, message))
}

/// Copies every row into the transaction of the target and counts them there. Nothing has happened until it is committed.
///
/// # Errors
/// INTERNAL if a count differs; as the databases say.
pub async fn copy_rows(source: &Db, target: &mut Tx, say: Say<'_>) -> Result<Vec<MovedTable>> {
    let mut source = source.read(Scope::Everything).await?;
    let mut moved = Vec::with_capacity(rows::TABLES.len());
    for name in rows::TABLES {
        let wanted = rows::count(&mut source, name).await?;
        say(&format!("{name}: {wanted} rows"));
        rows::copy_in(&mut source, target, name).await?;
        let found = rows::count(target, name).await?;
        if found != wanted {
            return Err(Error::internal(format!("{name} has {wanted} rows in the source and {found} in the target; nothing was changed")));
        }
        moved.push(MovedTable { name, rows: found });
    }
    Ok(moved)
}

/// Copies every file that is not there in its size, and looks at each in the target afterwards. It may be repeated.
///
/// # Errors
/// INTERNAL if a file is not there as it should be; as the stores say.
pub async fn copy_files(source: &dyn ObjectStore, target: &dyn ObjectStore, say: Say<'_>) -> Result<MovedFiles> {
    let files = source.list("").await?;
    say(&format!("files: {}", files.len()));
    let (total, done) = (files.len(), &AtomicUsize::new(0));
    let copies = files.iter().map(|file| async move {
        let is_there = |found: Option<ObjectInfo>| found.is_some_and(|found| found.bytes == file.bytes);
        let known = is_there(target.head(&file.key).await?);
        if !known {
            let info = source.head(&file.key).await?;
            let kind = info.as_ref().and_then(|info| info.content_type.as_deref()).unwrap_or("application/octet-stream");
            let disposition = info.as_ref().and_then(|info| info.disposition.as_deref());
            target.put(&file.key, source.get(&file.key).await?, kind, disposition).await?;
            if !is_there(target.head(&file.key).await?) {
                return Err(Error::internal(format!("{} is not in the bucket as it was stored; try again", file.key)));
            }
        }
        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(SAY_EVERY) {
            say(&format!("files: {count} of {total}"));
        }
        Ok(MovedFiles { files: 1, bytes: file.bytes, known: usize::from(known) })
    });
    let copies: Vec<_> = copies.collect();
    let add = |sum: MovedFiles, one: MovedFiles| async move {
        Ok(MovedFiles { files: sum.files + one.files, bytes: sum.bytes + one.bytes, known: sum.known + one.known })
    };
    stream::iter(copies).buffer_unordered(FILES_AT_ONCE).try_fold(MovedFiles::default(), add).await
}
