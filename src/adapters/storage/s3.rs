//! The store over S3's API: the one code path for S3 itself, for compatible services and for the embedded store. It
//! decides nothing about what is stored.

use super::{ObjectStore, attachment};
use crate::error::{Error, FaultCode, Result};
use aws_config::BehaviorVersion;
use aws_sdk_s3::{
    Client,
    error::{DisplayErrorContext, SdkError},
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use std::{error::Error as StdError, time::Duration};

/// Files larger than this, in bytes, go in parts of this size: a part that fails is sent again, not the whole file.
const PART: usize = 8 << 20;

/// A bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
}

impl S3Store {
    /// The bucket as this client sees it.
    #[must_use]
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// The bucket in S3, with credentials and region from the environment in the usual ways (`AWS_*`, profiles, roles).
    /// `endpoint` is the base URL of a compatible service, which is then addressed in path style.
    ///
    /// # Errors
    /// UNAVAILABLE if the bucket cannot be reached or used.
    pub async fn connect(bucket: &str, endpoint: Option<&str>) -> Result<Self> {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = aws_sdk_s3::config::Builder::from(&loader.load().await).force_path_style(endpoint.is_some()).build();
        let store = Self::new(Client::from_conf(config), bucket);
        store.client.head_bucket().bucket(bucket).send().await.map_err(failed)?;
        Ok(store)
    }

    /// Creates the bucket if need be; on a store of one's own this may be repeated.
    pub(super) async fn create_bucket(&self) -> Result<()> {
        self.client.create_bucket().bucket(&self.bucket).send().await.map(drop).map_err(failed)
    }

    async fn put_in_parts(&self, key: &str, upload: &str, mut bytes: Bytes) -> Result<()> {
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
        call.multipart_upload(parts).send().await.map(drop).map_err(failed)
    }
}

#[async_trait::async_trait]
impl ObjectStore for S3Store {
    async fn put(&self, key: &str, bytes: Bytes, content_type: &str, disposition: Option<&str>) -> Result<()> {
        let disposition = disposition.map(str::to_owned);
        if bytes.len() <= PART {
            let call = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes));
            return call.content_type(content_type).set_content_disposition(disposition).send().await.map(drop).map_err(failed);
        }
        let call = self.client.create_multipart_upload().bucket(&self.bucket).key(key).content_type(content_type);
        let begun = call.set_content_disposition(disposition).send().await.map_err(failed)?;
        let upload = begun.upload_id.ok_or_else(|| Error::internal("the file store began an upload without an id"))?;
        let sent = self.put_in_parts(key, &upload, bytes).await;
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
            if error.as_service_error().is_some_and(aws_sdk_s3::operation::get_object::GetObjectError::is_no_such_key) {
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

    async fn presign_get(&self, key: &str, file_name: &str, valid_for: Duration) -> Result<String> {
        let config = PresigningConfig::expires_in(valid_for).map_err(Error::internal)?;
        let call = self.client.get_object().bucket(&self.bucket).key(key).response_content_disposition(attachment(file_name));
        let request = call.presigned(config).await.map_err(failed)?;
        Ok(request.uri().to_owned())
    }
}

const UNREACHABLE: &str = "The file store cannot be reached.";

/// Tells an unreachable store from a fault; the whole chain of causes goes to the log.
fn failed<E, R>(error: SdkError<E, R>) -> Error
where
    E: StdError + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let unreachable = matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
    let cause = DisplayErrorContext(error).to_string();
    if unreachable { Error::unavailable(UNREACHABLE, cause) } else { Error::internal(cause) }
}
