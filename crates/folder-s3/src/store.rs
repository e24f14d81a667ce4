//! The files: where they are, how they are written so that a rename is the commit, and how they are read. It knows what
//! an object and an upload are made of, but nothing of requests.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
    sync::{Mutex, MutexGuard},
};
use uuid::Uuid;

/// Data that nothing refers to and uploads are left alone for this long: they may still be in progress elsewhere in time.
const STALE_AFTER: Duration = Duration::from_hours(24);
/// So many files of an object are opened before its first byte is sent, so that replacing it does not cut the reader off.
const OPENED_AHEAD: usize = 64;
const CHUNK: usize = 64 << 10;

/// What a client said about an object, given back as it came.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Headers {
    pub content_type: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub cache_control: Option<String>,
    pub user: BTreeMap<String, String>,
}

/// A data file and its size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub file: String,
    pub size: u64,
}

/// An object; its JSON file is what makes it exist.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Object {
    pub key: String,
    pub size: u64,
    pub etag: String,
    pub headers: Headers,
    pub segments: Vec<Segment>,
    /// The upload that it came from, so that a repeated completion is recognised.
    pub upload: Option<String>,
    pub modified_ms: u64,
}

/// A multipart upload that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    pub bucket: String,
    pub key: String,
    pub headers: Headers,
    pub started_ms: u64,
}

/// A part of an upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    pub segment: Segment,
    pub etag: String,
}

/// A data file that is removed again unless it is kept: whatever fails between writing and committing leaves nothing.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    pub segment: Segment,
    pub etag: String,
    kept: bool,
}

impl Draft {
    /// Tells that something refers to the file now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The folder.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Changes of one object happen one after the other, and so do those of one upload. A lock is chosen by a hash, so
    /// these are two sets: completing an upload holds one of each, the upload's first.
    objects: Vec<Mutex<()>>,
    uploads: Vec<Mutex<()>>,
    /// Held for as long as the store lives.
    _lock: File,
}

impl Store {
    /// Opens the folder, takes its lock and sweeps it.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        for folder in ["data", "objects", "uploads", "tmp"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, format!("the folder {} is in use by another process", root.display()))
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        let locks = || (0..64).map(|_| Mutex::default()).collect();
        let store = Self { root, objects: locks(), uploads: locks(), _lock: lock };
        store.sweep(SystemTime::now().checked_sub(STALE_AFTER).unwrap_or(SystemTime::UNIX_EPOCH))?;
        Ok(store)
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder with the JSON files of a bucket's objects; none for a name that could leave the store.
    pub fn bucket_path(&self, bucket: &str) -> Option<PathBuf> {
        let plain = bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        (plain && bucket.starts_with(|c: char| c.is_ascii_alphanumeric())).then(|| self.root.join("objects").join(bucket))
    }

    /// Where an object's JSON file is; keys may be long and hold anything, so their hash is the name.
    pub fn object_path(&self, bucket: &str, key: &str) -> Option<PathBuf> {
        Some(self.bucket_path(bucket)?.join(hex(&Sha256::digest(key.as_bytes())) + ".json"))
    }

    /// The folder of an upload; none for what is not an id that was given out.
    pub fn upload_path(&self, id: &str) -> Option<PathBuf> {
        Some(self.root.join("uploads").join(Uuid::parse_str(id).ok()?.to_string()))
    }

    /// Waits until nobody else changes the object whose JSON file this is.
    pub async fn change_object(&self, path: &Path) -> MutexGuard<'_, ()> {
        pick(&self.objects, path).lock().await
    }

    /// Waits until nobody else changes the upload whose folder this is.
    pub async fn change_upload(&self, path: &Path) -> MutexGuard<'_, ()> {
        pick(&self.uploads, path).lock().await
    }

    /// True if a data file is there in its full size.
    pub async fn has(&self, segment: &Segment) -> bool {
        tokio::fs::metadata(self.root.join("data").join(&segment.file)).await.is_ok_and(|found| found.len() == segment.size)
    }

    /// Reads a JSON file; `None` if it does not exist. One that cannot be read is an error, never an absence.
    pub async fn read<T: DeserializeOwned>(&self, path: &Path) -> io::Result<Option<T>> {
        match tokio::fs::read(path).await {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a JSON file in place of what was there, durably: afterwards it is there whole, whatever happens.
    pub async fn commit<T: Serialize>(&self, path: PathBuf, value: &T) -> io::Result<()> {
        let bytes = serde_json::to_vec(value)?;
        let tmp = self.root.join("tmp").join(Uuid::now_v7().to_string());
        blocking(move || {
            let mut file = File::create(&tmp)?;
            io::Write::write_all(&mut file, &bytes)?;
            file.sync_all()?;
            std::fs::rename(&tmp, &path).inspect_err(|_| drop(std::fs::remove_file(&tmp)))?;
            sync_parent(&path)
        })
        .await
    }

    /// Makes a folder, durably.
    pub async fn create_folder(&self, path: PathBuf) -> io::Result<()> {
        blocking(move || {
            std::fs::create_dir_all(&path)?;
            sync_parent(&path)
        })
        .await
    }

    /// Removes a JSON file, durably, so that data may go after it.
    pub async fn remove(&self, path: PathBuf) -> io::Result<()> {
        blocking(move || {
            std::fs::remove_file(&path)?;
            sync_parent(&path)
        })
        .await
    }

    /// Removes data that nothing refers to any more. What fails here is found by the next sweep.
    pub async fn discard(&self, segments: impl IntoIterator<Item = Segment>) {
        for segment in segments {
            let _ = tokio::fs::remove_file(self.root.join("data").join(segment.file)).await;
        }
    }

    /// Writes a new data file, durably. `seen` is shown every chunk.
    pub async fn write<S, E>(&self, mut body: S, mut seen: impl FnMut(&[u8])) -> Result<Draft, WriteError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let name = Uuid::now_v7().to_string();
        let path = self.root.join("data").join(&name);
        let mut file = tokio::fs::File::create(&path).await.map_err(WriteError::Disk)?;
        let mut draft = Draft { path, segment: Segment { file: name, size: 0 }, etag: String::new(), kept: false };
        let mut hash = Sha256::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(WriteError::Body)?;
            hash.update(&chunk);
            seen(&chunk);
            draft.segment.size += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(WriteError::Disk)?;
        }
        file.flush().await.map_err(WriteError::Disk)?;
        file.sync_all().await.map_err(WriteError::Disk)?;
        let path = draft.path.clone();
        blocking(move || sync_parent(&path)).await.map_err(WriteError::Disk)?;
        draft.etag = hex(&hash.finalize()[..16]);
        Ok(draft)
    }

    /// The bytes `skip..skip + take` of what the segments hold in a row. `NotFound` if the object was replaced or deleted
    /// between reading its JSON and this call: read it again.
    pub async fn stream(
        &self,
        segments: &[Segment],
        skip: u64,
        take: u64,
    ) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + Sync + use<>> {
        let mut wanted = Vec::new();
        let (mut skip, mut take) = (skip, take);
        for segment in segments {
            if skip >= segment.size {
                skip -= segment.size;
                continue;
            }
            if take == 0 {
                break;
            }
            let path = self.root.join("data").join(&segment.file);
            let open = if wanted.len() < OPENED_AHEAD { Some(tokio::fs::File::open(&path).await?) } else { None };
            let count = (segment.size - skip).min(take);
            wanted.push((path, open, skip, count));
            take -= count;
            skip = 0;
        }
        Ok(async_stream::try_stream! {
            for (path, open, skip, mut left) in wanted {
                let mut file = match open {
                    Some(file) => file,
                    None => tokio::fs::File::open(path).await?,
                };
                file.seek(io::SeekFrom::Start(skip)).await?;
                while left > 0 {
                    let mut buffer = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
                    file.read_exact(&mut buffer).await?;
                    left -= buffer.len() as u64;
                    yield Bytes::from(buffer);
                }
            }
        })
    }
}

/// Why a data file was not written.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The disk failed.
    Disk(io::Error),
    /// The body ended early or is not what its signature says.
    Body(E),
}

fn pick<'a>(locks: &'a [Mutex<()>], path: &Path) -> &'a Mutex<()> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    &locks[hash % locks.len()]
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Flushes the folder that a path is in: a rename or a new name is durable only after this.
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
