//! Use cases of uploads: announce a file, which is then sent to storage past this service, and fetch what has arrived.

use super::checks::{Problems, sha256_hex};
use super::core::Core;
use crate::adapters::storage;
use crate::domain::actor::Actor;
use crate::domain::ids::{UploadId, WorkspaceId};
use crate::domain::uploads::{KEEP_HOURS, LINK_MINUTES, MAX_UPLOAD_BYTES, NewUpload, REMEMBER_DAYS, Upload, UploadTarget, base_name};
use crate::domain::work::{DELETE_OBJECTS, DeleteObjects};
use crate::error::{Error, ProblemCode, Result};
use crate::repositories::db::Scope;
use crate::repositories::jobs::NewJob;
use crate::repositories::uploads;
use bytes::Bytes;
use chrono::{Duration, TimeDelta};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Files that one process holds in memory at the same time because requests ask for them; others wait.
const AT_ONCE: usize = 4;
const MAX_FILE_NAME_CHARS: usize = 255;
const MAX_CONTENT_TYPE_CHARS: usize = 200;

/// Use cases of uploads.
#[derive(Debug, Clone)]
pub struct Uploads {
    core: Core,
    turns: Arc<Semaphore>,
}

/// A file that has arrived as it was announced.
#[derive(Debug)]
pub struct Arrived {
    /// What was announced.
    pub upload: Upload,
    /// The file.
    pub bytes: Bytes,
    /// The place among the files in memory.
    pub turn: OwnedSemaphorePermit,
}

impl Uploads {
    pub(super) fn new(core: Core) -> Self {
        Self { core, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Announces a file; gives where to send it.
    ///
    /// # Errors
    /// Problems of the input; `TOO_LONG` for a file that is too large.
    pub async fn create(&self, actor: &Actor, new: NewUpload) -> Result<UploadTarget> {
        let mut problems = Problems::default();
        let file_name = problems.required("input.fileName", base_name(&new.file_name), MAX_FILE_NAME_CHARS);
        let content_type = problems.required("input.contentType", &new.content_type, MAX_CONTENT_TYPE_CHARS);
        if !content_type.is_empty() && (!content_type.is_ascii() || content_type.parse::<mime::Mime>().is_err()) {
            problems.add(ProblemCode::Invalid, "input.contentType", "`contentType` must be a media type, such as text/csv.");
        }
        if new.bytes < 1 {
            problems.add(ProblemCode::Invalid, "input.bytes", "`bytes` must be the size of the file, at least 1.");
        } else if usize::try_from(new.bytes).is_ok_and(|bytes| bytes > MAX_UPLOAD_BYTES) {
            let message = format!("The file has {} bytes; at most {MAX_UPLOAD_BYTES} are allowed. Divide it.", new.bytes);
            problems.add(ProblemCode::TooLong, "input.bytes", message);
        }
        let sha256 = new.sha256.map(|hash| hash.trim().to_ascii_lowercase());
        if sha256.as_deref().is_some_and(|hash| hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            problems.add(ProblemCode::Invalid, "input.sha256", "`sha256` must have 64 hexadecimal digits, or be absent.");
        }
        problems.check()?;

        let id = UploadId(self.core.new_id());
        let now = self.core.now();
        let key = format!("uploads/{}/{}", actor.workspace.0, id.0);
        let valid_for = std::time::Duration::from_secs(LINK_MINUTES * 60);
        let put = self.core.store.presign_put(&key, &content_type, new.bytes, sha256.as_deref(), valid_for).await?;
        let upload = Upload {
            id,
            file_name,
            content_type,
            bytes: new.bytes,
            sha256,
            object_key: Some(key),
            created_by: actor.user,
            created_at: now,
            expires_at: now + Duration::hours(KEEP_HOURS),
        };
        let mut unit = self.core.begin(actor.workspace).await?;
        uploads::create_in(&mut unit.tx, actor.workspace, &upload).await?;
        unit.commit().await?;
        Ok(UploadTarget { upload: id, url: put.url, method: put.method, headers: put.headers, expires_at: now + valid_for })
    }

    /// The file of an upload, if it has arrived as it was announced. The store checks that too where it can; not every one
    /// does.
    ///
    /// # Errors
    /// `NOT_FOUND`; `UPLOAD_MISSING` if it has expired, never arrived, or is another file; as the store says.
    pub async fn fetch(&self, actor: &Actor, id: UploadId, field: &str) -> Result<Arrived> {
        let found = uploads::find(&mut self.core.db.read(actor.workspace).await?, actor.workspace, id).await?;
        let upload = found.ok_or_else(|| Error::not_found("upload", field))?;
        let missing = |message: String| Error::refused(ProblemCode::UploadMissing, field, message);
        let expired =
            || missing(format!("The upload has expired: files are kept for {KEEP_HOURS} hours. Create one again and send the file."));
        let absent = || missing("Nothing has arrived at the address of this upload. Send the file there first.".into());
        let key = upload.object_key.as_deref().filter(|_| upload.expires_at > self.core.now()).ok_or_else(expired)?;
        let arrived = self.core.store.head(key).await?.ok_or_else(absent)?;
        if arrived.bytes != upload.bytes {
            let message = format!("{} bytes have arrived, but {} were announced. Create an upload again.", arrived.bytes, upload.bytes);
            return Err(missing(message));
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        let bytes = match self.core.store.get(key).await {
            Ok(bytes) => bytes,
            Err(error) if storage::is_missing(&error) => return Err(absent()),
            Err(error) => return Err(error),
        };
        if let Some(announced) = upload.sha256.clone() {
            let hashed = bytes.clone();
            let hash = tokio::task::spawn_blocking(move || sha256_hex(&hashed)).await.map_err(Error::internal)?;
            if hash != announced {
                return Err(missing(
                    "Another file than the announced one has arrived: its SHA-256 differs. Create an upload again.".into(),
                ));
            }
        }
        Ok(Arrived { upload, bytes, turn })
    }

    /// Takes files away from uploads that have expired, and forgets old ones; gives the number of the files.
    ///
    /// # Errors
    /// As the database says.
    pub async fn expire(&self) -> Result<usize> {
        let mut unit = self.core.begin(Scope::Everything).await?;
        let now = unit.now;
        uploads::purge_in(&mut unit.tx, now - TimeDelta::days(REMEMBER_DAYS)).await?;
        let keys = uploads::expire_in(&mut unit.tx, now).await?;
        let count = keys.len();
        if count > 0 {
            let nobody = WorkspaceId(uuid::Uuid::nil());
            unit.enqueue(nobody, None, &[NewJob { kind: DELETE_OBJECTS, payload: DeleteObjects { keys } }]).await?;
        }
        unit.commit().await?;
        Ok(count)
    }
}
