//! The file store, the same tests on two implementations of S3: the embedded one, behind a web server as in the product,
//! and moto's. And what only a bucket of somebody else can do.

use crate::support::moto::Moto;
use axum::Router;
use bytes::Bytes;
use claimwright::adapters::storage::{
    BucketSettings, EmbeddedObjects, Expiry, ObjectEntry, ObjectStore, PresignedPut, S3Store, ServerEncryption, is_missing,
};
use claimwright::error::{Error, FaultCode};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const BUCKET: &str = "claims";
const MINUTE: Duration = Duration::from_mins(1);

/// A store and what keeps it alive.
struct TestStore {
    store: S3Store,
    /// False for moto, which lets every request in, and does not know `response-content-disposition`.
    is_strict: bool,
    served: Option<(JoinHandle<()>, tempfile::TempDir)>,
    _moto: Option<Moto>,
}

impl TestStore {
    async fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let objects = EmbeddedObjects::open(folder.path(), &url).await.expect("the store opens");
        let router = Router::new().route_service("/claimwright/{*key}", objects.service());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { store: objects.store(), is_strict: true, served: Some((serving, folder)), _moto: None }
    }

    async fn moto() -> Option<Self> {
        let moto = Moto::start().await?;
        moto.create_bucket(BUCKET).await;
        let store = S3Store::connect(moto.settings(BUCKET)).await.expect("the bucket is there");
        Some(Self { store, is_strict: false, served: None, _moto: Some(moto) })
    }

    fn stop(self) {
        if let Some((serving, _)) = self.served {
            serving.abort();
        }
    }
}

/// Declares tests that run on both implementations.
macro_rules! on_both_stores {
    ($(async fn $name:ident($test:ident: TestStore) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                async fn behaviour($test: TestStore) $body

                #[tokio::test]
                async fn embedded() {
                    behaviour(TestStore::embedded().await).await;
                }

                #[tokio::test]
                async fn moto() {
                    if let Some(test) = TestStore::moto().await {
                        behaviour(test).await;
                    }
                }
            }
        )*
    };
}

fn noise(size: usize) -> Bytes {
    (0..size).map(|n| u8::try_from(n % 251).expect("small")).collect::<Vec<_>>().into()
}

fn sha256_of(bytes: &[u8]) -> String {
    claimwright::services::checks::sha256_hex(bytes)
}

/// Sends a file as any HTTP client would: the told headers and nothing more. Gives the status.
async fn send(put: &PresignedPut, body: impl Into<reqwest::Body>) -> u16 {
    let method = put.method.parse().expect("a method");
    let mut request = reqwest::Client::new().request(method, &put.url);
    for (name, value) in &put.headers {
        request = request.header(name, value);
    }
    request.body(body).send().await.expect("an answer").status().as_u16()
}

on_both_stores! {
    async fn what_is_put_is_got_until_it_is_deleted(test: TestStore) {
        let store = &test.store;
        for size in [0, 10, 8 << 20, (20 << 20) + 7] {
            let bytes = noise(size);
            store.put("exports/a b.bin", bytes.clone(), "application/zip", Some("attachment")).await.expect("stored");
            assert!(store.get("exports/a b.bin").await.expect("there") == bytes, "{size}");
            let info = store.head("exports/a b.bin").await.expect("an answer").expect("there");
            assert_eq!(usize::try_from(info.bytes), Ok(size));
            assert_eq!((info.content_type.as_deref(), info.disposition.as_deref()), (Some("application/zip"), Some("attachment")));
        }
        for _ in 0..2 {
            store.delete("exports/a b.bin").await.expect("deleted");
        }
        assert!(is_missing(&store.get("exports/a b.bin").await.expect_err("gone")));
        assert_eq!(store.head("exports/a b.bin").await.expect("an answer"), None);
        test.stop();
    }

    async fn a_list_goes_on_beyond_its_first_page(test: TestStore) {
        let store = test.store.clone().listed_by(3);
        for number in 0..8 {
            store.put(&format!("exports/{number}"), noise(number), "text/plain", None).await.expect("stored");
        }
        store.put("imports/x", noise(1), "text/plain", None).await.expect("stored");
        let expected: Vec<_> = (0..8).map(|n| ObjectEntry { key: format!("exports/{n}"), bytes: n }).collect();
        assert_eq!(store.list("exports/").await.expect("a list"), expected);
        assert_eq!(store.list("").await.expect("a list").len(), 9);
        assert_eq!(store.list("nothing/").await.expect("a list"), []);
        test.stop();
    }

    async fn a_link_downloads_under_a_name_that_cannot_break_out_of_its_header(test: TestStore) {
        test.store.put("exports/1.csv", Bytes::from_static(b"a,b"), "text/csv", None).await.expect("stored");
        let link = test.store.presign_get("exports/1.csv", "Caf\u{e9} \"x\"\r\nSet-Cookie: a.csv", MINUTE).await.expect("a link");
        let answer = reqwest::get(&link).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("set-cookie"));
        let disposition = "attachment; filename=\"Caf_ _x___Set-Cookie: a.csv\"; filename*=UTF-8''Caf%C3%A9%20%22x%22__Set-Cookie%3A%20a.csv";
        let asked_for = reqwest::Url::parse(&link).expect("a URL");
        let asked_for = asked_for.query_pairs().find(|(name, _)| name == "response-content-disposition").expect("it is asked for").1;
        assert_eq!(asked_for, disposition);
        if test.is_strict {
            assert_eq!(answer.headers()["content-disposition"], disposition);
        }
        assert_eq!(answer.text().await.expect("a body"), "a,b");
        if test.is_strict {
            let forged = link.replace("exports/1.csv", "exports/2.csv");
            assert_eq!(reqwest::get(forged).await.expect("an answer").status(), 403);
        }
        test.stop();
    }

    async fn a_plain_client_stores_what_was_signed_and_nothing_else(test: TestStore) {
        let bytes = noise(100_000);
        let put = test.store.presign_put("uploads/1", "text/csv", 100_000, Some(&sha256_of(&bytes)), MINUTE).await.expect("a request");
        if test.is_strict {
            let retyped = |kind: &str| PresignedPut {
                headers: put.headers.iter().map(|(name, value)| (name.clone(), if name == "content-type" { kind } else { value }.to_owned())).collect(),
                ..put.clone()
            };
            let without_checksum =
                PresignedPut { headers: put.headers.iter().filter(|(name, _)| name == "content-type").cloned().collect(), ..put.clone() };
            assert_eq!(send(&put, noise(99_999)).await, 403, "too small");
            assert_eq!(send(&put, noise(100_001)).await, 403, "too large");
            assert_eq!(send(&retyped("text/html"), bytes.clone()).await, 403, "another type");
            assert_eq!(send(&without_checksum, bytes.clone()).await, 403, "no checksum");
            let mut other = bytes.to_vec();
            other[5] ^= 1;
            assert_eq!(send(&put, other).await, 400, "other bytes");
            let elsewhere = PresignedPut { url: put.url.replace("uploads/1", "uploads/2"), ..put.clone() };
            assert_eq!(send(&elsewhere, bytes.clone()).await, 403, "another key");
            assert_eq!(test.store.list("").await.expect("a list"), [], "nothing was stored");
        }
        assert_eq!(send(&put, bytes.clone()).await, 200);
        assert!(test.store.get("uploads/1").await.expect("there") == bytes);
        assert_eq!(test.store.head("uploads/1").await.expect("an answer").expect("there").content_type.as_deref(), Some("text/csv"));
        test.stop();
    }
}

fn code(error: Error) -> (FaultCode, String) {
    match error {
        Error::Fault(fault) => (fault.code, fault.message),
        Error::Refused(problems) => panic!("not a fault: {problems:?}"),
    }
}

#[tokio::test]
async fn a_bucket_that_is_missing_or_away_is_said_at_the_start() {
    if let Some(moto) = Moto::start().await {
        let (missing, message) = code(S3Store::connect(moto.settings("nowhere")).await.expect_err("no bucket"));
        assert_eq!(missing, FaultCode::Unavailable);
        assert!(message.contains("There is no bucket nowhere") && message.contains("S3_BUCKET"), "{message}");
    }
    // a port that nobody listens at
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = Some(format!("http://{}", listener.local_addr().expect("an address")));
    drop(listener);
    let credentials = Some(aws_sdk_s3::config::Credentials::new("id", "secret", None, None, "test"));
    let away = BucketSettings { bucket: BUCKET.into(), endpoint, path_style: true, encryption: None, credentials };
    let (away, message) = code(S3Store::connect(away).await.expect_err("nobody is there"));
    assert_eq!(away, FaultCode::Unavailable);
    assert!(message.contains("cannot be reached"), "{message}");
}

#[tokio::test]
async fn a_store_that_goes_away_makes_calls_unavailable() {
    let Some(moto) = Moto::start().await else { return };
    moto.create_bucket(BUCKET).await;
    let store = S3Store::connect(moto.settings(BUCKET)).await.expect("the bucket is there");
    drop(moto);
    assert_eq!(code(store.get("k").await.expect_err("away")).0, FaultCode::Unavailable);
    assert_eq!(code(store.head("k").await.expect_err("away")).0, FaultCode::Unavailable);
    assert_eq!(code(store.put("k", noise(9 << 20), "text/plain", None).await.expect_err("away")).0, FaultCode::Unavailable);
}

#[tokio::test]
async fn encryption_is_asked_for_with_every_way_to_store_a_file() {
    let Some(moto) = Moto::start().await else { return };
    moto.create_bucket(BUCKET).await;
    for (encryption, method, key) in
        [(ServerEncryption::Aes256, "AES256", None), (ServerEncryption::Kms(Some("key-1".into())), "aws:kms", Some("key-1"))]
    {
        let settings = BucketSettings { encryption: Some(encryption), ..moto.settings(BUCKET) };
        let store = S3Store::connect(settings).await.expect("the bucket is there");
        store.put("small", noise(10), "text/plain", None).await.expect("stored");
        store.put("large", noise(9 << 20), "text/plain", None).await.expect("stored");
        let put = store.presign_put("sent", "text/plain", 5, None, MINUTE).await.expect("a request");
        assert_eq!(send(&put, noise(5)).await, 200);
        for object in ["small", "large", "sent"] {
            let found = moto.client().head_object().bucket(BUCKET).key(object).send().await.expect("there");
            assert_eq!(found.server_side_encryption.map(|found| found.as_str().to_owned()).as_deref(), Some(method), "{object}");
            assert_eq!(found.ssekms_key_id.as_deref(), key, "{object}");
        }
    }
}

#[tokio::test]
async fn rules_of_expiry_are_added_to_those_of_the_bucket_and_replace_their_own() {
    use aws_sdk_s3::types::{
        AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
        LifecycleRuleFilter,
    };
    let Some(moto) = Moto::start().await else { return };
    moto.create_bucket(BUCKET).await;
    let rule = |id: &str, prefix: &str| {
        LifecycleRule::builder()
            .id(id)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
            .status(ExpirationStatus::Enabled)
            .expiration(LifecycleExpiration::builder().days(400).build())
            .build()
            .expect("a rule")
    };
    let theirs = [rule("logs-of-others", "logs/"), rule("claimwright-exports", "exports/")];
    let rules = BucketLifecycleConfiguration::builder().set_rules(Some(theirs.to_vec())).build().expect("rules");
    moto.client().put_bucket_lifecycle_configuration().bucket(BUCKET).lifecycle_configuration(rules).send().await.expect("set");
    let store = S3Store::connect(moto.settings(BUCKET)).await.expect("the bucket is there");
    let wanted = [
        Expiry { id: "claimwright-exports", prefix: "exports/", days: Some(8) },
        Expiry { id: "claimwright-imports", prefix: "imports/", days: None },
    ];
    for _ in 0..2 {
        store.ensure_lifecycle(&wanted).await.expect("rules are taken");
        let found = moto.client().get_bucket_lifecycle_configuration().bucket(BUCKET).send().await.expect("rules");
        let mut found: Vec<_> = found
            .rules()
            .iter()
            .map(|rule| {
                let days = rule.expiration().and_then(LifecycleExpiration::days);
                let abort = rule.abort_incomplete_multipart_upload().and_then(AbortIncompleteMultipartUpload::days_after_initiation);
                let prefix = rule.filter().and_then(|filter| filter.prefix()).unwrap_or_default().to_owned();
                (rule.id().unwrap_or_default().to_owned(), prefix, days, abort)
            })
            .collect();
        found.sort();
        let expected = [
            ("claimwright-exports", "exports/", Some(8), Some(2)),
            ("claimwright-imports", "imports/", None, Some(2)),
            ("logs-of-others", "logs/", Some(400), None),
        ];
        assert_eq!(found, expected.map(|(id, prefix, days, abort)| (id.to_owned(), prefix.to_owned(), days, abort)));
    }
}

#[tokio::test]
async fn a_store_without_rules_of_expiry_says_so_and_works() {
    let test = TestStore::embedded().await;
    let wanted = [Expiry { id: "claimwright-exports", prefix: "exports/", days: Some(8) }];
    assert!(test.store.ensure_lifecycle(&wanted).await.is_err());
    test.store.put("k", noise(1), "text/plain", None).await.expect("stored");
    test.stop();
}
