//! Multipart uploads: every part is a data file of its own, and completing an upload makes an object that refers to them,
//! so nothing is copied and the commit is the object's. And the two listings.

use std::path::{Path, PathBuf};

use s3s::{
    S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, ListMultipartUploadsInput, ListMultipartUploadsOutput,
        ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, Object as Listed, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    checksum::Claimed,
    service::{FolderService, condition, disk, headers, signed, timestamp},
    store::{Object, Part, Upload, hex, now_ms},
};

/// Every part but the last must have this many bytes, as in S3, so that what works here works there.
const SMALLEST_PART: u64 = 5 << 20;
const PAGE: i32 = 1000;

impl FolderService {
    /// The folder of an upload of this object.
    async fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<(PathBuf, Upload)> {
        let path = self.store.upload_path(id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let upload: Upload = self.store.read(&path.join("upload.json")).await.map_err(disk)?.ok_or_else(|| s3_error!(NoSuchUpload))?;
        if upload.bucket == bucket && upload.key == key { Ok((path, upload)) } else { Err(s3_error!(NoSuchUpload)) }
    }

    pub async fn begin_upload(&self, input: CreateMultipartUploadInput) -> S3Result<CreateMultipartUploadOutput> {
        self.object_path(&input.bucket, &input.key)?;
        let id = Uuid::now_v7().to_string();
        let path = self.store.upload_path(&id).ok_or_else(|| s3_error!(InternalError))?;
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            headers: headers(input.content_type, input.content_disposition, input.content_encoding, input.cache_control, input.metadata),
            started_ms: now_ms(),
        };
        self.store.create_folder(path.clone()).await.map_err(disk)?;
        self.store.commit(path.join("upload.json"), &upload).await.map_err(disk)?;
        Ok(CreateMultipartUploadOutput { bucket: Some(input.bucket), key: Some(input.key), upload_id: Some(id), ..Default::default() })
    }

    pub async fn receive_part(&self, input: UploadPartInput, claimed: Claimed) -> S3Result<UploadPartOutput> {
        if !(1..=10_000).contains(&input.part_number) {
            return Err(s3_error!(InvalidArgument, "part numbers are 1 to 10000"));
        }
        let (folder, _) = self.upload(&input.bucket, &input.key, &input.upload_id).await?;
        let draft = self.receive(input.body, claimed).await?;
        let part = Part { segment: draft.segment.clone(), etag: draft.etag.clone() };
        let path = part_path(&folder, input.part_number);
        let change = self.store.change_upload(&folder).await;
        // It may have ended meanwhile; what an object is made of must not be replaced under it.
        self.upload(&input.bucket, &input.key, &input.upload_id).await?;
        if self.completed(&self.object_path(&input.bucket, &input.key)?, &input.upload_id).await?.is_some() {
            return Err(s3_error!(NoSuchUpload));
        }
        let old: Option<Part> = self.store.read(&path).await.map_err(disk)?;
        self.store.commit(path, &part).await.map_err(disk)?;
        drop(change);
        draft.keep();
        self.store.discard(old.map(|old| old.segment)).await;
        Ok(UploadPartOutput { e_tag: Some(ETag::Strong(part.etag)), ..Default::default() })
    }

    pub async fn complete_upload(&self, input: CompleteMultipartUploadInput) -> S3Result<CompleteMultipartUploadOutput> {
        let path = self.object_path(&input.bucket, &input.key)?;
        let done = |etag: String| CompleteMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        };
        if let Some(etag) = self.completed(&path, &input.upload_id).await? {
            return Ok(done(etag));
        }
        let (folder, upload) = self.upload(&input.bucket, &input.key, &input.upload_id).await?;
        let change = self.store.change_upload(&folder).await;
        // Somebody else may have completed it while this call waited.
        if let Some(etag) = self.completed(&path, &input.upload_id).await? {
            return Ok(done(etag));
        }
        let named = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref()).unwrap_or_default();
        let parts = self.parts(&folder, named).await?;
        let mut hash = Sha256::new();
        for part in &parts {
            hash.update(part.etag.as_bytes());
        }
        let object = Object {
            key: upload.key,
            size: parts.iter().map(|part| part.segment.size).sum(),
            etag: format!("{}-{}", hex(&hash.finalize()[..16]), parts.len()),
            headers: upload.headers,
            segments: parts.into_iter().map(|part| part.segment).collect(),
            upload: Some(input.upload_id.clone()),
            modified_ms: now_ms(),
        };
        self.replace(path, &object, |old| condition(old, input.if_match.as_ref(), input.if_none_match.as_ref())).await?;
        // After the commit the folder says nothing that the object does not; parts that were left out are swept later.
        let _ = tokio::fs::remove_dir_all(&folder).await;
        drop(change);
        Ok(done(object.etag))
    }

    /// The object's tag if it came from this upload: the answer of an earlier call was lost.
    async fn completed(&self, path: &Path, upload: &str) -> S3Result<Option<String>> {
        let object: Option<Object> = self.store.read(path).await.map_err(disk)?;
        Ok(object.filter(|object| object.upload.as_deref() == Some(upload)).map(|object| object.etag))
    }

    async fn parts(&self, folder: &Path, named: &[CompletedPart]) -> S3Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::with_capacity(named.len());
        let mut last = 0;
        for part in named {
            let number = part.part_number.ok_or_else(|| s3_error!(InvalidPart))?;
            if number <= last {
                return Err(s3_error!(InvalidPartOrder));
            }
            last = number;
            let found: Part = self.store.read(&part_path(folder, number)).await.map_err(disk)?.ok_or_else(|| s3_error!(InvalidPart))?;
            // The data is gone if the object that this upload once became was replaced or deleted since.
            let same = part.e_tag.as_ref().is_none_or(|etag| etag.value() == found.etag);
            if !same || !self.store.has(&found.segment).await {
                return Err(s3_error!(InvalidPart));
            }
            parts.push(found);
        }
        match parts.split_last() {
            None => Err(s3_error!(InvalidPart)),
            Some((_, others)) if others.iter().any(|part| part.segment.size < SMALLEST_PART) => Err(s3_error!(EntityTooSmall)),
            Some(_) => Ok(parts),
        }
    }

    pub async fn abort_upload(&self, input: &AbortMultipartUploadInput) -> S3Result<AbortMultipartUploadOutput> {
        let (folder, _) = self.upload(&input.bucket, &input.key, &input.upload_id).await?;
        let change = self.store.change_upload(&folder).await;
        // If the object was made of these parts, removing them would destroy it.
        if self.completed(&self.object_path(&input.bucket, &input.key)?, &input.upload_id).await?.is_some() {
            return Err(s3_error!(NoSuchUpload));
        }
        let parts: Vec<Part> = self.read_all(&folder, "upload.json").await?;
        tokio::fs::remove_dir_all(&folder).await.map_err(disk)?;
        drop(change);
        self.store.discard(parts.into_iter().map(|part| part.segment)).await;
        Ok(AbortMultipartUploadOutput::default())
    }

    pub async fn list_uploads(&self, input: ListMultipartUploadsInput) -> S3Result<ListMultipartUploadsOutput> {
        let mut uploads = Vec::new();
        let mut folders = tokio::fs::read_dir(self.store.folder("uploads")).await.map_err(disk)?;
        while let Some(folder) = folders.next_entry().await.map_err(disk)? {
            let Some(upload) = self.store.read::<Upload>(&folder.path().join("upload.json")).await.map_err(disk)? else { continue };
            let id = folder.file_name().to_string_lossy().into_owned();
            let path = self.object_path(&input.bucket, &upload.key)?;
            if upload.bucket == input.bucket && self.completed(&path, &id).await?.is_none() {
                uploads.push(MultipartUpload {
                    key: Some(upload.key),
                    upload_id: Some(id),
                    initiated: Some(timestamp(upload.started_ms)),
                    ..Default::default()
                });
            }
        }
        uploads.sort_by(|a, b| (&a.key, &a.upload_id).cmp(&(&b.key, &b.upload_id)));
        Ok(ListMultipartUploadsOutput { bucket: Some(input.bucket), uploads: Some(uploads), ..Default::default() })
    }

    pub async fn list(&self, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "listing with a delimiter"));
        }
        self.object_path(&input.bucket, "")?;
        let folder = self.store.bucket_path(&input.bucket).ok_or_else(|| s3_error!(InvalidBucketName))?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let after = input.continuation_token.as_deref().or(input.start_after.as_deref()).unwrap_or_default();
        let limit = input.max_keys.unwrap_or(PAGE).clamp(1, PAGE);
        let page = usize::try_from(limit).unwrap_or_default();
        let mut objects: Vec<Object> = self.read_all(&folder, "").await?;
        objects.retain(|object| object.key.starts_with(prefix) && object.key.as_str() > after);
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        let more = objects.len() > page;
        objects.truncate(page);
        Ok(ListObjectsV2Output {
            key_count: i32::try_from(objects.len()).ok(),
            max_keys: Some(limit),
            is_truncated: Some(more),
            next_continuation_token: objects.last().filter(|_| more).map(|object| object.key.clone()),
            contents: Some(objects.into_iter().map(listed).collect()),
            name: Some(input.bucket),
            prefix: input.prefix,
            ..Default::default()
        })
    }

    /// Every JSON file of a folder but one; those that vanish meanwhile are left out.
    async fn read_all<T: DeserializeOwned>(&self, folder: &Path, but: &str) -> S3Result<Vec<T>> {
        let mut all = Vec::new();
        let mut entries = tokio::fs::read_dir(folder).await.map_err(disk)?;
        while let Some(entry) = entries.next_entry().await.map_err(disk)? {
            if entry.file_name() != but {
                all.extend(self.store.read(&entry.path()).await.map_err(disk)?);
            }
        }
        Ok(all)
    }
}

fn part_path(folder: &Path, number: i32) -> PathBuf {
    folder.join(format!("{number}.json"))
}

fn listed(object: Object) -> Listed {
    Listed {
        key: Some(object.key),
        size: Some(signed(object.size)),
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modified_ms)),
        ..Default::default()
    }
}
