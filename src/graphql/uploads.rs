//! Uploads: files that are sent to storage beside the API.

use super::context::caller;
use super::facts::KeyValue;
use super::jobs::{UserError, settle};
use super::scalars::DateTime;
use crate::domain::uploads as domain;
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use graphql_gate::{Output, roots};

/// A file that will be sent.
#[derive(Debug, InputObject)]
pub struct CreateUploadInput {
    /// Name of the file.
    file_name: String,
    /// Media type, such as `text/csv`.
    content_type: String,
    /// Size in bytes; at most `ApiInfo.maxUploadBytes`. Nothing of another size is accepted.
    bytes: i32,
    /// SHA-256 in hex; checked on arrival.
    sha256: Option<String>,
}

/// Where to send a file: a presigned address in object storage, or a local one in the embedded set-up.
#[derive(Debug, SimpleObject, Output)]
pub struct UploadTarget {
    /// Pass it as `uploadId`. The file is kept for 24 hours and may be imported more than once.
    upload_id: ID,
    /// Address. No token is needed: whoever has the address may send this one file.
    url: String,
    /// HTTP method.
    method: String,
    /// Headers to send, beside `Content-Length`, which every client sends by itself. The body is the file and nothing else.
    headers: Vec<KeyValue>,
    /// When the address stops working.
    expires_at: DateTime,
}

impl From<domain::UploadTarget> for UploadTarget {
    fn from(target: domain::UploadTarget) -> Self {
        Self {
            upload_id: target.upload.global().into(),
            url: target.url,
            method: target.method,
            headers: target.headers.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
            expires_at: DateTime(target.expires_at),
        }
    }
}

/// Answer about an upload.
#[derive(Debug, SimpleObject, Output)]
pub struct CreateUploadPayload {
    /// Where to send the file.
    target: Option<UploadTarget>,
    /// Problems.
    user_errors: Vec<UserError>,
}

/// Mutations of uploads.
#[derive(Debug, Default)]
pub struct UploadsMutation;

#[roots]
#[Object]
impl UploadsMutation {
    /// Get an address to send a file to.
    async fn create_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: CreateUploadInput,
    ) -> Result<CreateUploadPayload> {
        let (services, actor) = caller(ctx)?;
        let new = domain::NewUpload {
            file_name: input.file_name,
            content_type: input.content_type,
            bytes: input.bytes.into(),
            sha256: input.sha256,
        };
        let (target, user_errors) = settle(services.uploads.create(actor, new).await)?;
        Ok(CreateUploadPayload { target: target.map(UploadTarget::from), user_errors })
    }
}
