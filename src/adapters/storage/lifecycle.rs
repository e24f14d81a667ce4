//! Rules that a bucket follows by itself: what expires and when. Other rules of the bucket are not touched. It must not
//! know what is kept for how long; that is said to it.

use super::S3Store;
use super::s3::failed;
use crate::error::{Error, Result};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};

/// Days after which an upload in parts that was never completed is given up. Only those below our own prefixes: the bucket
/// may be others' too.
const ABORT_DAYS: i32 = 2;

/// What a bucket shall do with the files below a prefix.
#[derive(Debug, Clone, Copy)]
pub struct Expiry {
    /// Name of the rule: it replaces the rule of this name.
    pub id: &'static str,
    /// What the keys begin with.
    pub prefix: &'static str,
    /// Days after which a file is removed; never if absent, then only parts of uncompleted uploads are.
    pub days: Option<i32>,
}

impl Expiry {
    fn rule(self) -> Result<LifecycleRule> {
        let expiration = self.days.map(|days| LifecycleExpiration::builder().days(days).build());
        LifecycleRule::builder()
            .id(self.id)
            .filter(LifecycleRuleFilter::builder().prefix(self.prefix).build())
            .status(ExpirationStatus::Enabled)
            .set_expiration(expiration)
            .abort_incomplete_multipart_upload(AbortIncompleteMultipartUpload::builder().days_after_initiation(ABORT_DAYS).build())
            .build()
            .map_err(Error::internal)
    }
}

impl S3Store {
    /// Makes sure that the bucket has these rules, beside whatever rules it has. Several processes may do so at once: each
    /// writes the same.
    ///
    /// # Errors
    /// If the rules may not be read or written, or the service has none; the bucket works without them.
    pub async fn ensure_lifecycle(&self, wanted: &[Expiry]) -> Result<()> {
        let ours = wanted.iter().map(|expiry| expiry.rule()).collect::<Result<Vec<_>>>()?;
        let (client, bucket) = self.parts();
        let (found, smallest) = match client.get_bucket_lifecycle_configuration().bucket(bucket).send().await {
            Ok(answer) => (answer.rules.unwrap_or_default(), answer.transition_default_minimum_object_size),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => (Vec::new(), None),
            Err(error) => return Err(failed(error)),
        };
        if ours.iter().all(|rule| found.contains(rule)) {
            return Ok(());
        }
        let is_ours = |rule: &LifecycleRule| wanted.iter().any(|expiry| rule.id() == Some(expiry.id));
        let rules = found.into_iter().filter(|rule| !is_ours(rule)).chain(ours).collect();
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().map_err(Error::internal)?;
        let call = client.put_bucket_lifecycle_configuration().bucket(bucket).lifecycle_configuration(rules);
        call.set_transition_default_minimum_object_size(smallest).send().await.map(drop).map_err(failed)
    }
}
