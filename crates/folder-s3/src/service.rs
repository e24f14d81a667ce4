//! The S3 operations on buckets and objects over the files of [`Store`]; those on uploads are in `uploads`. It decides
//! what S3 answers; how files are made durable is the store's business.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
        CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
        DeleteObjectOutput, ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
        HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsV2Input, ListObjectsV2Output, Metadata,
        PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use crate::{
    checksum::Claimed,
    store::{Draft, Headers, Object, Store, WriteError, now_ms},
};

/// S3 over a folder.
#[derive(Debug, Clone)]
pub struct FolderService {
    pub store: Arc<Store>,
}

impl FolderService {
    pub const fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    pub fn object_path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let path = self.store.object_path(bucket, key).ok_or_else(|| s3_error!(InvalidBucketName))?;
        if path.parent().is_some_and(Path::is_dir) { Ok(path) } else { Err(s3_error!(NoSuchBucket)) }
    }

    async fn object(&self, bucket: &str, key: &str) -> S3Result<Object> {
        let path = self.object_path(bucket, key)?;
        self.store.read(&path).await.map_err(disk)?.ok_or_else(|| s3_error!(NoSuchKey))
    }

    pub async fn receive(&self, body: Option<StreamingBlob>, mut claimed: Claimed) -> S3Result<Draft> {
        let body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let draft = self.store.write(body, |chunk| claimed.update(chunk)).await.map_err(|error| match error {
            WriteError::Disk(error) => disk(error),
            WriteError::Body(error) => S3Error::with_source(S3ErrorCode::IncompleteBody, error),
        })?;
        claimed.verify()?;
        Ok(draft)
    }

    /// Makes an object what its JSON file says from now on. `allowed` sees what was there before.
    pub async fn replace(&self, path: PathBuf, new: &Object, allowed: impl FnOnce(Option<&Object>) -> S3Result<()>) -> S3Result<()> {
        let change = self.store.change_object(&path).await;
        let old: Option<Object> = self.store.read(&path).await.map_err(disk)?;
        allowed(old.as_ref())?;
        self.store.commit(path, new).await.map_err(disk)?;
        drop(change);
        self.store.discard(old.into_iter().flat_map(|old| old.segments)).await;
        Ok(())
    }
}

#[async_trait]
impl S3 for FolderService {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let path = self.store.bucket_path(&request.input.bucket).ok_or_else(|| s3_error!(InvalidBucketName))?;
        self.store.create_folder(path).await.map_err(disk)?;
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.object_path(&request.input.bucket, "")?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let claimed = Claimed::of(&request);
        let input = request.input;
        let path = self.object_path(&input.bucket, &input.key)?;
        let draft = self.receive(input.body, claimed).await?;
        let object = Object {
            key: input.key,
            size: draft.segment.size,
            etag: draft.etag.clone(),
            headers: headers(input.content_type, input.content_disposition, input.content_encoding, input.cache_control, input.metadata),
            segments: vec![draft.segment.clone()],
            upload: None,
            modified_ms: now_ms(),
        };
        self.replace(path, &object, |old| condition(old, input.if_match.as_ref(), input.if_none_match.as_ref())).await?;
        draft.keep();
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(object.etag)), ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        // Replaced between reading its JSON and opening its data: the new one is there already.
        for _ in 0..3 {
            let object = self.object(&input.bucket, &input.key).await?;
            let range = input.range.as_ref().map(|range| range.check(object.size)).transpose()?;
            let (start, end) = range.as_ref().map_or((0, object.size), |range| (range.start, range.end));
            let stream = match self.store.stream(&object.segments, start, end - start).await {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(disk(error)),
            };
            return Ok(S3Response::new(GetObjectOutput {
                body: Some(StreamingBlob::wrap(stream)),
                content_length: Some(signed(end - start)),
                content_range: range.map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, object.size)),
                accept_ranges: Some("bytes".into()),
                content_type: object.headers.content_type,
                content_disposition: object.headers.content_disposition,
                content_encoding: object.headers.content_encoding,
                cache_control: object.headers.cache_control,
                metadata: Some(object.headers.user.into_iter().collect()),
                e_tag: Some(ETag::Strong(object.etag)),
                last_modified: Some(timestamp(object.modified_ms)),
                ..Default::default()
            }));
        }
        tracing::error!(key = input.key, "the data of an object is missing");
        Err(s3_error!(InternalError, "the data of this object is missing"))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.object(&request.input.bucket, &request.input.key).await?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(signed(object.size)),
            accept_ranges: Some("bytes".into()),
            content_type: object.headers.content_type,
            content_disposition: object.headers.content_disposition,
            content_encoding: object.headers.content_encoding,
            cache_control: object.headers.cache_control,
            metadata: Some(object.headers.user.into_iter().collect()),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(timestamp(object.modified_ms)),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let path = self.object_path(&request.input.bucket, &request.input.key)?;
        let change = self.store.change_object(&path).await;
        if let Some(object) = self.store.read::<Object>(&path).await.map_err(disk)? {
            self.store.remove(path).await.map_err(disk)?;
            drop(change);
            self.store.discard(object.segments).await;
        }
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.list(request.input).await.map(S3Response::new)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin_upload(request.input).await.map(S3Response::new)
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let claimed = Claimed::of(&request);
        self.receive_part(request.input, claimed).await.map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete_upload(request.input).await.map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort_upload(&request.input).await.map(S3Response::new)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.list_uploads(request.input).await.map(S3Response::new)
    }
}

/// Checks `If-Match` and `If-None-Match` of a write.
pub fn condition(old: Option<&Object>, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
    let same = |condition: &ETagCondition| {
        old.is_some_and(|old| condition.is_any() || condition.as_etag().is_some_and(|etag| etag.as_strong() == Some(old.etag.as_str())))
    };
    if if_match.is_none_or(same) && !if_none_match.is_some_and(same) { Ok(()) } else { Err(s3_error!(PreconditionFailed)) }
}

/// What a client says about an object, without what is about the transfer only.
pub fn headers(
    content_type: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    cache_control: Option<String>,
    user: Option<Metadata>,
) -> Headers {
    let content_encoding = content_encoding
        .map(|all| all.split(',').map(str::trim).filter(|one| !one.is_empty() && *one != "aws-chunked").collect::<Vec<_>>().join(", "))
        .filter(|rest| !rest.is_empty());
    Headers { content_type, content_disposition, content_encoding, cache_control, user: user.unwrap_or_default().into_iter().collect() }
}

/// What a request is answered whose files could not be read or written: the one failure that is the store's own.
pub fn disk(error: io::Error) -> S3Error {
    tracing::error!(%error, "the files of the store cannot be used");
    S3Error::internal_error(error)
}

pub fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
}
