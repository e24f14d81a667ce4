//! From settings to a file store: the embedded one or a bucket, and what the bucket is told to expire. It must not know how
//! either works.

use super::Roles;
use crate::adapters::storage::{BucketSettings, EmbeddedObjects, Expiry, ObjectStore, S3Store, ServerEncryption};
use crate::config::{Config, Encryption, S3Settings};
use crate::domain::exports::KEEP_DAYS;
use crate::error::Result;
use crate::http::ObjectService;
use std::sync::Arc;

/// Opens the file store, and for an embedded one what answers its links.
pub(super) async fn open_store(config: &Config, public_url: &str, roles: Roles) -> Result<(Arc<dyn ObjectStore>, Option<ObjectService>)> {
    if let Some(s3) = &config.s3 {
        let store = S3Store::connect(bucket_settings(s3)).await?;
        if roles.works()
            && s3.lifecycle
            && let Err(error) = store.ensure_lifecycle(&expiries()).await
        {
            tracing::warn!(
                %error,
                "the bucket was not told to expire files, so it relies on this service alone; allow s3:GetLifecycleConfiguration and \
                 s3:PutLifecycleConfiguration, or set S3_LIFECYCLE=off"
            );
        }
        return Ok((Arc::new(store), None));
    }
    let objects = EmbeddedObjects::open(&config.data_dir, public_url).await?;
    Ok((Arc::new(objects.store()), Some(objects.service())))
}

/// What the adapter has to know of a bucket.
pub(super) fn bucket_settings(s3: &S3Settings) -> BucketSettings {
    BucketSettings {
        bucket: s3.bucket.clone(),
        endpoint: s3.endpoint.clone(),
        path_style: s3.path_style,
        encryption: s3.encryption.clone().map(|encryption| match encryption {
            Encryption::Aes256 => ServerEncryption::Aes256,
            Encryption::Kms(key) => ServerEncryption::Kms(key),
        }),
        credentials: None,
    }
}

/// What the bucket removes by itself. Upkeep removes the same a day earlier; this is for what it has lost sight of.
fn expiries() -> [Expiry; 3] {
    let export_days = i32::try_from(KEEP_DAYS).unwrap_or(i32::MAX - 1) + 1;
    [
        Expiry { id: "claimwright-exports", prefix: "exports/", days: Some(export_days) },
        Expiry { id: "claimwright-uploads", prefix: "uploads/", days: Some(2) },
        Expiry { id: "claimwright-imports", prefix: "imports/", days: None },
    ]
}
