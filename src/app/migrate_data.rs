//! The composition of `claimwright migrate-data`: opens what is embedded and where it goes, in an order in which nothing is
//! lost by a failure. What moves, and how it is counted, is the use case's business.

use super::storage::bucket_settings;
use super::{DATABASE_FILE, lock_folder};
use crate::adapters::storage::{EmbeddedObjects, S3Store};
use crate::config::Config;
use crate::error::{Error, FaultCode, Result};
use crate::repositories::db::Db;
use crate::services::migrate_data::{self, MovedFiles, MovedTable, Say};

/// What [`migrate_data`] has moved.
#[derive(Debug)]
pub struct Migrated {
    /// Tables, if the database moved.
    pub tables: Option<Vec<MovedTable>>,
    /// Files, if they moved.
    pub files: Option<MovedFiles>,
}

/// Moves what is embedded in the data folder to `PostgreSQL`, to the bucket, or to both, as the settings say. Files go
/// first, and the rows are committed last: until then, nothing can be seen of it and it can be tried again.
///
/// # Errors
/// If there is nothing to move or nowhere to move it to, if the data folder is in use, if the target database has
/// workspaces, or if what has arrived is not what was sent.
pub async fn migrate_data(config: &Config, say: Say<'_>) -> Result<Migrated> {
    let refused = |message: String| Error::fault(FaultCode::Unavailable, message);
    if config.database_url.is_none() && config.s3.is_none() {
        return Err(refused("Say where the data shall go: set DATABASE_URL, S3_BUCKET, or both.".into()));
    }
    let path = config.data_dir.join(DATABASE_FILE);
    if !path.is_file() {
        return Err(refused(format!(
            "There is no embedded database in {}. Set DATA_DIR to the folder to move.",
            config.data_dir.display()
        )));
    }
    let _lock = lock_folder(&config.data_dir)?;
    let source = Db::open_file(&path).await?;
    let target = match config.database_url() {
        Some(url) => Some(Db::open(url, config.database_pool).await?),
        None => None,
    };
    if let Some(target) = &target {
        // a look only, before anything is sent: files may take hours, and no transaction should
        drop(migrate_data::reserve(target).await?);
    }
    let mut migrated = Migrated { tables: None, files: None };
    if let Some(s3) = &config.s3 {
        // links are signed for it, and none are made here
        let objects = EmbeddedObjects::open(&config.data_dir, "http://localhost").await?;
        let bucket = S3Store::connect(bucket_settings(s3)).await?;
        migrated.files = Some(migrate_data::copy_files(&objects.store(), &bucket, say).await?);
    }
    if let Some(target) = target {
        let mut tx = migrate_data::reserve(&target).await?;
        migrated.tables = Some(migrate_data::copy_rows(&source, &mut tx, say).await?);
        tx.commit().await?;
        target.close().await;
    }
    source.close().await;
    Ok(migrated)
}
