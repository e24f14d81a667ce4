//! The store over S3's API: the one code path for S3 itself, for compatible services and for the embedded store. It
//! decides nothing about what is stored.

use super::{ObjectEntry, ObjectInfo, ObjectStore, PresignedPut, attachment, random};
use crate::error::{Error, FaultCode, Result};
use aws_config::{BehaviorVersion, meta::region::RegionProviderChain, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::Credentials,
    error::{DisplayErrorContext, SdkError},
    operation::{get_object::GetObjectError, head_bucket::HeadBucketError},
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{error::Error as StdError, time::Duration};

/// Files larger than this, in bytes, go in parts of this size: a part that fails is sent again, not the whole file.
const PART: usize = 8 << 20;
/// Longest time to reach the service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time to send a request and get the head of its answer: enough for a part at 1 MB a second.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a call with all its tries: below that of a request, so that callers are told which dependency is down.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
/// Tries of a call, the first included.
const ATTEMPTS: u32 = 3;
/// Metadata that tells from which upload in parts a file came.
const MARK: &str = "claimwright-upload";
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Encryption of stored files by the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEncryption {
    /// By S3's own keys.
    Aes256,
    /// By keys of KMS: the named one, or AWS's own.
    Kms(Option<String>),
}

impl ServerEncryption {
    const fn method(&self) -> ServerSideEncryption {
        match self {
            Self::Aes256 => ServerSideEncryption::Aes256,
            Self::Kms(_) => ServerSideEncryption::AwsKms,
        }
    }

    fn key(&self) -> Option<String> {
        match self {
            Self::Aes256 => None,
            Self::Kms(key) => key.clone(),
        }
    }
}

/// Where a bucket is and how it is used.
#[derive(Debug, Clone, Default)]
pub struct BucketSettings {
    /// Name.
    pub bucket: String,
    /// Base URL of a compatible service; AWS if absent.
    pub endpoint: Option<String>,
    /// Address the bucket by the path, not by the host name.
    pub path_style: bool,
    /// Encryption that is asked for; the bucket's own if absent.
    pub encryption: Option<ServerEncryption>,
    /// Credentials; found in the usual ways (`AWS_*`, profiles, roles) if absent.
    pub credentials: Option<Credentials>,
}

/// A bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    encryption: Option<ServerEncryption>,
    /// Keys in one answer of a list; the service's own choice if absent.
    list_page: Option<i32>,
}

impl S3Store {
    /// The bucket as this client sees it.
    #[must_use]
    pub fn new(client: Client, bucket: impl Into<String>, encryption: Option<ServerEncryption>) -> Self {
        Self { client, bucket: bucket.into(), encryption, list_page: None }
    }

    /// The bucket of these settings, which must be there.
    ///
    /// # Errors
    /// UNAVAILABLE if the bucket cannot be reached or used, with a sentence that says why.
    pub async fn connect(settings: BucketSettings) -> Result<Self> {
        let store = Self::open(settings).await;
        match store.client.head_bucket().bucket(&store.bucket).send().await {
            Ok(_) => Ok(store),
            Err(error) => Err(unusable(&store.bucket, error)),
        }
    }

    /// The bucket of these settings; nobody asks whether it is there.
    async fn open(settings: BucketSettings) -> Self {
        let region = RegionProviderChain::default_provider();
        // a compatible service needs no region, and the signature has to name one
        let region = if settings.endpoint.is_some() { region.or_else("us-east-1") } else { region };
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).operation_timeout(CALL_TIMEOUT);
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(region)
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE));
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(credentials) = settings.credentials {
            loader = loader.credentials_provider(credentials);
        }
        let config = aws_sdk_s3::config::Builder::from(&loader.load().await).force_path_style(settings.path_style).build();
        Self::new(Client::from_conf(config), settings.bucket, settings.encryption)
    }

    /// The same bucket, listed so many keys at a time (1 to 1000).
    #[must_use]
    pub fn listed_by(mut self, keys: i32) -> Self {
        self.list_page = Some(keys);
        self
    }

    /// The client and the name of the bucket.
    pub(super) fn parts(&self) -> (&Client, &str) {
        (&self.client, &self.bucket)
    }

    /// Creates the bucket if need be; on a store of one's own this may be repeated.
    pub(super) async fn create_bucket(&self) -> Result<()> {
        self.client.create_bucket().bucket(&self.bucket).send().await.map(drop).map_err(failed)
    }

    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        (self.encryption.as_ref().map(ServerEncryption::method), self.encryption.as_ref().and_then(ServerEncryption::key))
    }

    async fn put_in_parts(&self, key: &str, upload: &str, mark: &str, mut bytes: Bytes) -> Result<()> {
        let mut parts = Vec::new();
        for number in 1.. {
            if bytes.is_empty() {
                break;
            }
            let part = bytes.split_to(bytes.len().min(PART));
            let call = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(upload).part_number(number);
            let sent = call.body(ByteStream::from(part)).send().await.map_err(failed)?;
            parts.push(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(sent.e_tag)
                    .set_checksum_crc32(sent.checksum_crc32)
                    .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
                    .build(),
            );
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let call = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        match call.multipart_upload(parts).send().await {
            Ok(_) => Ok(()),
            // an upload is completed once: after an answer that was lost or cannot be read, the file itself tells
            Err(_) if self.is_marked(key, mark).await => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// True if the file came from the upload with this mark.
    async fn is_marked(&self, key: &str, mark: &str) -> bool {
        let found = self.client.head_object().bucket(&self.bucket).key(key).send().await;
        found.is_ok_and(|found| found.metadata.is_some_and(|all| all.get(MARK).is_some_and(|found| found == mark)))
    }
}

#[async_trait::async_trait]
impl ObjectStore for S3Store {
    async fn put(&self, key: &str, bytes: Bytes, content_type: &str, disposition: Option<&str>) -> Result<()> {
        let disposition = disposition.map(str::to_owned);
        let (method, kms_key) = self.encryption();
        if bytes.len() <= PART {
            let call = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes));
            let call = call.set_server_side_encryption(method).set_ssekms_key_id(kms_key);
            return call.content_type(content_type).set_content_disposition(disposition).send().await.map(drop).map_err(failed);
        }
        let call = self.client.create_multipart_upload().bucket(&self.bucket).key(key).content_type(content_type);
        let mark = random().map_err(Error::internal)?;
        let call = call.set_server_side_encryption(method).set_ssekms_key_id(kms_key).metadata(MARK, &mark);
        let begun = call.set_content_disposition(disposition).send().await.map_err(failed)?;
        let upload = begun.upload_id.ok_or_else(|| Error::internal("the file store began an upload without an id"))?;
        let sent = self.put_in_parts(key, &upload, &mark, bytes).await;
        if sent.is_err() {
            let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(&upload).send().await;
            if let Err(error) = abort {
                tracing::warn!(error = %DisplayErrorContext(error), "a failed upload could not be aborted; its parts stay until they expire");
            }
        }
        sent
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let answer = self.client.get_object().bucket(&self.bucket).key(key).send().await.map_err(|error| {
            if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) {
                Error::fault(FaultCode::NotFound, "There is no such file.")
            } else {
                failed(error)
            }
        })?;
        let body = answer.body.collect().await.map_err(|error| Error::unavailable(UNREACHABLE, error))?;
        Ok(body.into_bytes())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.client.delete_object().bucket(&self.bucket).key(key).send().await.map(drop).map_err(failed)
    }

    async fn reach(&self) -> Result<()> {
        self.client.head_bucket().bucket(&self.bucket).send().await.map(drop).map_err(failed)
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(found) => Ok(Some(ObjectInfo {
                bytes: found.content_length.unwrap_or_default(),
                content_type: found.content_type,
                disposition: found.content_disposition,
            })),
            // the answer to this question has no body, so the status is all that is known
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 404) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let call = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).set_max_keys(self.list_page);
        let mut pages = call.into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let found = page.map_err(failed)?.contents.unwrap_or_default();
            all.extend(
                found.into_iter().filter_map(|object| Some(ObjectEntry { key: object.key?, bytes: object.size.unwrap_or_default() })),
            );
        }
        Ok(all)
    }

    async fn presign_put(
        &self,
        key: &str,
        content_type: &str,
        bytes: i64,
        sha256: Option<&str>,
        valid_for: Duration,
    ) -> Result<PresignedPut> {
        let config = PresigningConfig::expires_in(valid_for).map_err(Error::internal)?;
        let checksum = sha256.map(base64_of_hex).transpose()?;
        let (method, kms_key) = self.encryption();
        let call = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type).content_length(bytes);
        let call = call.set_checksum_sha256(checksum).set_server_side_encryption(method).set_ssekms_key_id(kms_key);
        let request = call.presigned(config).await.map_err(failed)?;
        let is_asked_for = |name: &str| !name.eq_ignore_ascii_case("host") && !name.eq_ignore_ascii_case("content-length");
        let headers = request.headers().filter(|(name, _)| is_asked_for(name));
        Ok(PresignedPut {
            url: request.uri().to_owned(),
            method: request.method().to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
    }

    async fn presign_get(&self, key: &str, file_name: &str, valid_for: Duration) -> Result<String> {
        let config = PresigningConfig::expires_in(valid_for).map_err(Error::internal)?;
        let call = self.client.get_object().bucket(&self.bucket).key(key).response_content_disposition(attachment(file_name));
        let request = call.presigned(config).await.map_err(failed)?;
        Ok(request.uri().to_owned())
    }
}

const UNREACHABLE: &str = "The file store cannot be reached.";

/// Bytes in hexadecimal, as S3 wants them.
fn base64_of_hex(hex: &str) -> Result<String> {
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    match digits {
        Some(digits) if digits.len() == 64 => Ok(STANDARD.encode(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<_>>())),
        _ => Err(Error::internal("not a SHA-256 in hexadecimal")),
    }
}

/// Tells an unreachable store from a fault; the whole chain of causes goes to the log.
pub(super) fn failed<E>(error: SdkError<E>) -> Error
where
    E: StdError + Send + Sync + 'static,
{
    let is_down = matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_))
        || error.raw_response().is_some_and(|response| response.status().is_server_error());
    let cause = DisplayErrorContext(error).to_string();
    if is_down { Error::unavailable(UNREACHABLE, cause) } else { Error::internal(cause) }
}

/// Why a process cannot start on a bucket. The answer to this question has no body, so the status is all that is known.
fn unusable(bucket: &str, error: SdkError<HeadBucketError>) -> Error {
    let message = match error.raw_response().map(|response| response.status().as_u16()) {
        Some(404) => format!("There is no bucket {bucket}. Create it, or set S3_BUCKET (and S3_ENDPOINT_URL) to one that is there."),
        Some(401 | 403) => format!("The bucket {bucket} may not be used with these credentials. Check AWS_* and the bucket's policy."),
        Some(301 | 307 | 400) => {
            format!("The bucket {bucket} is not in this region or not at this address. Check AWS_REGION and S3_ENDPOINT_URL.")
        }
        _ => format!("The bucket {bucket} cannot be reached. Check S3_BUCKET, S3_ENDPOINT_URL and AWS_*."),
    };
    Error::unavailable(message, DisplayErrorContext(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path_style: bool) -> BucketSettings {
        BucketSettings {
            bucket: "claims".into(),
            endpoint: Some("http://files.example:9000".into()),
            path_style,
            encryption: Some(ServerEncryption::Kms(Some("key-1".into()))),
            credentials: Some(Credentials::new("id", "secret", None, None, "test")),
        }
    }

    #[tokio::test]
    async fn a_bucket_is_addressed_by_path_or_by_host() {
        for (path_style, start) in [(true, "http://files.example:9000/claims/a/b?"), (false, "http://claims.files.example:9000/a/b?")] {
            let store = S3Store::open(settings(path_style)).await;
            let put = store.presign_put("a/b", "text/csv", 7, None, Duration::from_mins(1)).await.unwrap();
            let get = store.presign_get("a/b", "b.csv", Duration::from_mins(1)).await.unwrap();
            assert!(put.url.starts_with(start) && get.starts_with(start), "{put:?} {get}");
        }
    }

    #[tokio::test]
    async fn a_presigned_request_says_everything_that_has_to_be_sent() {
        let store = S3Store::open(settings(true)).await;
        let put = store.presign_put("k", "text/csv", 7, Some(&"0f".repeat(32)), Duration::from_mins(1)).await.unwrap();
        let mut headers = put.headers.clone();
        headers.sort();
        let expected = [
            ("content-type", "text/csv"),
            ("x-amz-checksum-sha256", "Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8="),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "key-1"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(put.method, "PUT");
        for signed in ["content-length", "content-type", "x-amz-checksum-sha256", "x-amz-server-side-encryption"] {
            assert!(put.url.contains(signed), "{signed} is not signed: {}", put.url);
        }
        for wrong in ["", "0f", &"zz".repeat(32)] {
            assert!(store.presign_put("k", "text/csv", 7, Some(wrong), Duration::from_mins(1)).await.is_err(), "{wrong}");
        }
    }
}
