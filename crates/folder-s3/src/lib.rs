//! A durable S3 service over a local folder, inside the process that uses it.
//!
//! [`FolderS3`] speaks S3 (Signature V4, path style) without a socket: [`FolderS3::http_client`] is handed to
//! `aws-sdk-s3` in place of an HTTPS client, and [`FolderS3::call`] answers the requests that a web server receives for
//! presigned URLs. A program therefore has one code path for a bucket in the cloud and for a folder.
//!
//! **Durability.** Data files are never overwritten. One small JSON file per object says which data files the object is
//! made of, and renaming that file into place is the commit: a kill or a power cut at any moment leaves the old object or
//! the new one, whole. Data, JSON and the folders that hold them are flushed before a request is answered.
//! Completing a multipart upload may be repeated if its answer was lost.
//!
//! **What is there:** create and head bucket; put, get (with ranges), head, delete and list (version 2, without
//! delimiters) of objects; multipart uploads with their listing; `If-Match` and `If-None-Match` of a put; the CRC and SHA
//! checksums that the SDK sends; presigned URLs. Everything else answers `NotImplemented`. Listing reads one small file
//! per object of the bucket, so it suits folders of thousands of objects, not of millions.
//!
//! **One process per folder**, by an exclusive lock on the file `lock` in it.

mod checksum;
mod connector;
mod service;
mod store;
mod sweep;
mod uploads;

use std::{io, path::PathBuf, sync::Arc};

use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use store::Store;

pub use aws_smithy_runtime_api::client::http::SharedHttpClient;
pub use s3s::Body;

/// An S3 service over a folder. Clones share it; the folder is free again when the last clone, and the last client that
/// was made with [`FolderS3::http_client`], is dropped.
#[derive(Debug, Clone)]
pub struct FolderS3 {
    service: S3Service,
}

impl FolderS3 {
    /// Opens the folder, creating it if need be, and removes what earlier crashes left behind (data that no object refers
    /// to and uploads that were never completed, if older than a day). Requests must be signed with the given key.
    ///
    /// It reads every object's JSON file and blocks meanwhile: call it at the start.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if another process (or another `FolderS3`) has the folder open, else what the file
    /// system says.
    pub fn open(root: impl Into<PathBuf>, access_key: &str, secret_key: &str) -> io::Result<Self> {
        let store = Arc::new(Store::open(root.into())?);
        let mut builder = S3ServiceBuilder::new(service::FolderService::new(store));
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        Ok(Self { service: builder.build() })
    }

    /// A client for the configuration of `aws-sdk-s3` that hands requests to this service without a socket. Use it with
    /// path style; the endpoint may be any base URL, and presigned URLs will start with it.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(connector::InProcess::new(self.service.clone()))
    }

    /// Answers a request as a server would. The path must be the one that was signed: `/bucket/key`.
    /// Make the body with [`Body::http_body_unsync`]; what cannot be answered otherwise is a plain 500.
    pub async fn call(&self, request: http::Request<Body>) -> http::Response<Body> {
        let response = self.service.call(request).await.unwrap_or_else(|error| {
            tracing::error!(?error, "a request of the store was not answered");
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        });
        let status = response.status();
        // Whoever can reach the store can be refused by it: that is no news.
        if status.is_client_error() || status.is_server_error() {
            tracing::debug!(status = status.as_u16(), "a request of the store was refused");
        }
        response
    }
}
