//! moto's server: an implementation of AWS's interfaces that this product has nothing in common with, as a process of the
//! test's own. It checks no signatures, so what depends on them is proven elsewhere.

use super::PATIENCE;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use claimwright::adapters::storage::BucketSettings;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Credentials that it takes, as it takes any.
const KEY: (&str, &str) = ("test-key", "test-secret");

/// A server. Dropped, it is killed.
pub struct Moto {
    _process: Child,
    url: String,
}

impl Moto {
    /// Starts one on a free port: `MOTO_SERVER`, or `moto_server` in PATH. None if there is none, which is said loudly.
    pub async fn start() -> Option<Self> {
        let program = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "moto_server".into());
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let Ok(mut process) = command.spawn() else {
            eprintln!("!!! {program} cannot be started (pip install 'moto[server]', MOTO_SERVER): NOT tested on a second S3. !!!");
            return None;
        };
        let mut lines = BufReader::new(process.stderr.take().expect("stderr")).lines();
        let told = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if let Some((_, url)) = line.split_once("Running on ") {
                    return url.trim().to_owned();
                }
            }
            panic!("{program} ended before it was ready");
        });
        let url = told.await.expect("it is ready in time");
        // it logs every request, and would wait for a full pipe
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { _process: process, url })
    }

    /// A plain client, to look at what the product did.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .force_path_style(true)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new(KEY.0, KEY.1, None, None, "test"));
        Client::from_conf(config.build())
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, bucket: &str) {
        self.client().create_bucket().bucket(bucket).send().await.expect("a bucket");
    }

    /// Settings of the adapter for a bucket.
    pub fn settings(&self, bucket: &str) -> BucketSettings {
        BucketSettings {
            bucket: bucket.into(),
            endpoint: Some(self.url.clone()),
            path_style: true,
            encryption: None,
            credentials: Some(Credentials::new(KEY.0, KEY.1, None, None, "test")),
        }
    }

    /// Settings of the product for a bucket.
    pub fn variables(&self, bucket: &str) -> Vec<(String, String)> {
        super::process::settings(&[
            ("S3_BUCKET", bucket),
            ("S3_ENDPOINT_URL", &self.url),
            ("AWS_ACCESS_KEY_ID", KEY.0),
            ("AWS_SECRET_ACCESS_KEY", KEY.1),
            ("AWS_REGION", "us-east-1"),
        ])
    }
}
