//! The service as its users meet it: through the SDK, without a socket, and through presigned URLs.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{path::Path, time::Duration};

use aws_sdk_s3::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    error::ProvideErrorMetadata,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use folder_s3::{Body, FolderS3};
use http::StatusCode;

const MIB: usize = 1 << 20;

fn client(service: &FolderS3) -> Client {
    Client::from_conf(
        Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(service.http_client())
            .endpoint_url("http://127.0.0.1:8080")
            .force_path_style(true)
            .region(Region::from_static("local"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .build(),
    )
}

async fn open(folder: &Path) -> (FolderS3, Client) {
    let service = FolderS3::open(folder, "key", "secret").unwrap();
    let client = client(&service);
    client.create_bucket().bucket("box").send().await.unwrap();
    (service, client)
}

async fn put(client: &Client, key: &str, body: impl Into<Vec<u8>>) -> String {
    let body = ByteStream::from(body.into());
    let answer = client.put_object().bucket("box").key(key).body(body).content_type("text/plain").send().await.unwrap();
    answer.e_tag.unwrap()
}

async fn get(client: &Client, key: &str) -> Option<Vec<u8>> {
    match client.get_object().bucket("box").key(key).send().await {
        Ok(answer) => Some(answer.body.collect().await.unwrap().to_vec()),
        Err(error) => {
            assert_eq!(error.code(), Some("NoSuchKey"), "{error:?}");
            None
        }
    }
}

fn data_files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("data")).unwrap().count()
}

async fn begin(client: &Client, key: &str) -> String {
    client.create_multipart_upload().bucket("box").key(key).content_type("a/b").send().await.unwrap().upload_id.unwrap()
}

async fn part(client: &Client, key: &str, upload: &str, number: i32, body: Vec<u8>) -> CompletedPart {
    let sent = client.upload_part().bucket("box").key(key).upload_id(upload).part_number(number).body(body.into()).send().await.unwrap();
    CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build()
}

async fn complete(client: &Client, key: &str, upload: &str, parts: &[CompletedPart]) -> Result<String, String> {
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
    let call = client.complete_multipart_upload().bucket("box").key(key).upload_id(upload).multipart_upload(parts);
    call.send().await.map(|answer| answer.e_tag.unwrap()).map_err(|error| error.code().unwrap_or_default().to_owned())
}

async fn follow(service: &FolderS3, url: &str) -> (StatusCode, Option<String>) {
    let uri: http::Uri = url.parse().unwrap();
    let host = uri.authority().unwrap().to_string();
    let path = uri.path_and_query().unwrap().to_string();
    let request = http::Request::get(path).header("host", host).body(Body::empty()).unwrap();
    let response = service.call(request).await;
    let disposition = response.headers().get("content-disposition").map(|value| value.to_str().unwrap().to_owned());
    (response.status(), disposition)
}

#[tokio::test]
async fn what_is_put_is_got_replaced_and_deleted_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    let first = put(&s3, "a/ü key", "one").await;
    assert_eq!(get(&s3, "a/ü key").await.unwrap(), b"one");
    let second = put(&s3, "a/ü key", "two!").await;
    assert_ne!(first, second);
    assert_eq!(get(&s3, "a/ü key").await.unwrap(), b"two!");
    assert_eq!(data_files(folder.path()), 1);
    let head = s3.head_object().bucket("box").key("a/ü key").send().await.unwrap();
    assert_eq!((head.content_length, head.content_type.as_deref()), (Some(4), Some("text/plain")));
    for _ in 0..2 {
        s3.delete_object().bucket("box").key("a/ü key").send().await.unwrap();
    }
    assert_eq!(get(&s3, "a/ü key").await, None);
    assert_eq!(data_files(folder.path()), 0);
    put(&s3, "empty", "").await;
    assert_eq!(get(&s3, "empty").await.unwrap(), b"");
    put(&s3, &"long/".repeat(200), "x").await;
    put(&s3, "../../outside", "x").await;
    assert!(!folder.path().parent().unwrap().join("outside").exists());
    assert_eq!(get(&s3, "../../outside").await.unwrap(), b"x");
}

#[tokio::test]
async fn a_range_is_answered_and_one_beyond_the_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    put(&s3, "k", "0123456789").await;
    for (range, expected, content_range) in [("bytes=2-4", "234", "bytes 2-4/10"), ("bytes=-3", "789", "bytes 7-9/10")] {
        let answer = s3.get_object().bucket("box").key("k").range(range).send().await.unwrap();
        assert_eq!(answer.content_range.as_deref(), Some(content_range));
        assert_eq!(answer.body.collect().await.unwrap().to_vec(), expected.as_bytes());
    }
    let error = s3.get_object().bucket("box").key("k").range("bytes=10-").send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidRange"));
}

#[tokio::test]
async fn a_listing_is_sorted_and_continues_where_a_page_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    for key in ["b/2", "a", "b/1", "b/3"] {
        put(&s3, key, key).await;
    }
    let page = s3.list_objects_v2().bucket("box").prefix("b/").max_keys(2).send().await.unwrap();
    let keys: Vec<_> = page.contents().iter().map(|object| object.key().unwrap()).collect();
    assert_eq!(keys, ["b/1", "b/2"]);
    let token = page.next_continuation_token().unwrap();
    let rest = s3.list_objects_v2().bucket("box").prefix("b/").continuation_token(token).send().await.unwrap();
    let keys: Vec<_> = rest.contents().iter().map(|object| object.key().unwrap()).collect();
    assert_eq!((keys, rest.is_truncated()), (vec!["b/3"], Some(false)));
}

#[tokio::test]
async fn a_completed_upload_is_one_object_and_completing_it_again_gives_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (service, s3) = open(folder.path()).await;
    let upload = begin(&s3, "big").await;
    part(&s3, "big", &upload, 1, vec![0; 5 * MIB]).await;
    let parts = [part(&s3, "big", &upload, 1, vec![1; 5 * MIB]).await, part(&s3, "big", &upload, 7, vec![2; 3]).await];
    assert_eq!(data_files(folder.path()), 2);
    assert_eq!(s3.list_multipart_uploads().bucket("box").send().await.unwrap().uploads().len(), 1);
    assert_eq!(get(&s3, "big").await, None);
    let etag = complete(&s3, "big", &upload, &parts).await.unwrap();
    assert_eq!(complete(&s3, "big", &upload, &parts).await.unwrap(), etag);
    assert!(s3.list_multipart_uploads().bucket("box").send().await.unwrap().uploads().is_empty());
    drop((service, s3));

    let (_service, s3) = open(folder.path()).await;
    assert_eq!(complete(&s3, "big", &upload, &parts).await.unwrap(), etag);
    let across = s3.get_object().bucket("box").key("big").range("bytes=5242879-5242881").send().await.unwrap();
    assert_eq!(across.content_type.as_deref(), Some("a/b"));
    assert_eq!(across.body.collect().await.unwrap().to_vec(), [1, 2, 2]);
    s3.delete_object().bucket("box").key("big").send().await.unwrap();
    assert_eq!(data_files(folder.path()), 0);
    assert_eq!(complete(&s3, "big", &upload, &parts).await.unwrap_err(), "NoSuchUpload");
}

#[tokio::test]
async fn a_wrong_completion_is_refused_and_an_aborted_upload_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    let upload = begin(&s3, "k").await;
    let parts = [part(&s3, "k", &upload, 1, vec![1; 10]).await, part(&s3, "k", &upload, 2, vec![2; 10]).await];
    assert_eq!(complete(&s3, "k", &upload, &parts).await.unwrap_err(), "EntityTooSmall");
    assert_eq!(complete(&s3, "k", &upload, &[parts[1].clone(), parts[0].clone()]).await.unwrap_err(), "InvalidPartOrder");
    let stale = CompletedPart::builder().part_number(1).e_tag("other").build();
    assert_eq!(complete(&s3, "k", &upload, &[stale]).await.unwrap_err(), "InvalidPart");
    assert_eq!(complete(&s3, "another", &upload, &parts).await.unwrap_err(), "NoSuchUpload");
    s3.abort_multipart_upload().bucket("box").key("k").upload_id(&upload).send().await.unwrap();
    assert_eq!(data_files(folder.path()), 0);
    assert_eq!(complete(&s3, "k", &upload, &parts).await.unwrap_err(), "NoSuchUpload");
}

#[tokio::test]
async fn a_leftover_of_a_completed_upload_cannot_harm_its_object() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    let upload = begin(&s3, "k").await;
    let parts = [part(&s3, "k", &upload, 1, b"whole".to_vec()).await];
    let uploads = folder.path().join("uploads").join(&upload);
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in ["upload.json", "1.json"] {
        std::fs::copy(uploads.join(file), copy.join(file)).unwrap();
    }
    complete(&s3, "k", &upload, &parts).await.unwrap();
    // As if the process had been killed after the commit.
    std::fs::rename(&copy, &uploads).unwrap();
    let again = s3.upload_part().bucket("box").key("k").upload_id(&upload).part_number(1).body(b"other".to_vec().into()).send().await;
    assert_eq!(again.unwrap_err().code(), Some("NoSuchUpload"));
    let abort = s3.abort_multipart_upload().bucket("box").key("k").upload_id(&upload).send().await;
    assert_eq!(abort.unwrap_err().code(), Some("NoSuchUpload"));
    assert_eq!(get(&s3, "k").await.unwrap(), b"whole");
    s3.delete_object().bucket("box").key("k").send().await.unwrap();
    assert_eq!(complete(&s3, "k", &upload, &parts).await.unwrap_err(), "InvalidPart");
}

#[tokio::test]
async fn what_was_written_but_not_committed_leaves_the_old_object() {
    let folder = tempfile::tempdir().unwrap();
    let (service, s3) = open(folder.path()).await;
    put(&s3, "k", "old").await;
    drop((service, s3));
    // What a kill between writing and committing leaves: new data that nothing refers to, and an unfinished JSON file.
    std::fs::write(folder.path().join("data/half"), "new, cut o").unwrap();
    std::fs::write(folder.path().join("tmp/half"), "{\"key\":").unwrap();
    let (_service, s3) = open(folder.path()).await;
    assert_eq!(get(&s3, "k").await.unwrap(), b"old");
    assert!(!folder.path().join("tmp/half").exists());
    assert!(folder.path().join("data/half").exists(), "it is younger than a day");
}

#[tokio::test]
async fn the_start_sweeps_what_is_old_and_unused_only() {
    let folder = tempfile::tempdir().unwrap();
    let (service, s3) = open(folder.path()).await;
    put(&s3, "kept", "kept").await;
    let fresh = begin(&s3, "fresh").await;
    part(&s3, "fresh", &fresh, 1, vec![1]).await;
    let stale = begin(&s3, "stale").await;
    part(&s3, "stale", &stale, 1, vec![1]).await;
    std::fs::write(folder.path().join("data/orphan"), "x").unwrap();
    drop((service, s3));
    let json = folder.path().join("uploads").join(&stale).join("upload.json");
    let mut upload: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    upload["started_ms"] = 0.into();
    std::fs::write(&json, upload.to_string()).unwrap();
    let two_days_ago = std::time::SystemTime::now() - Duration::from_hours(48);
    for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
        std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_modified(two_days_ago).unwrap();
    }
    let broken = folder.path().join("objects/box/broken.json");
    std::fs::write(&broken, "{").unwrap();
    drop(open(folder.path()).await);
    assert_eq!(data_files(folder.path()), 4, "an object that cannot be read might refer to any of them");
    std::fs::remove_file(broken).unwrap();
    let (_service, s3) = open(folder.path()).await;
    assert_eq!(data_files(folder.path()), 2);
    assert_eq!(get(&s3, "kept").await.unwrap(), b"kept");
    assert!(!folder.path().join("uploads").join(stale).exists());
    assert!(folder.path().join("uploads").join(fresh).exists());
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let first = FolderS3::open(folder.path(), "key", "secret").unwrap();
    let error = FolderS3::open(folder.path(), "key", "secret").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    drop(first);
    FolderS3::open(folder.path(), "key", "secret").unwrap();
}

#[tokio::test]
async fn a_body_that_is_not_what_its_checksum_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    let call = s3.put_object().bucket("box").key("k").body(b"body".to_vec().into());
    let error = call.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_crc32("AAAAAA==").send().await.unwrap_err();
    assert_eq!(error.code(), Some("BadDigest"));
    assert_eq!(get(&s3, "k").await, None);
    assert_eq!(data_files(folder.path()), 0);
    for algorithm in [ChecksumAlgorithm::Crc32C, ChecksumAlgorithm::Crc64Nvme, ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Sha256] {
        s3.put_object().bucket("box").key("k").body(b"body".to_vec().into()).checksum_algorithm(algorithm).send().await.unwrap();
    }
}

#[tokio::test]
async fn a_conditional_put_sees_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    let etag = put(&s3, "k", "one").await;
    let new = s3.put_object().bucket("box").key("k").body(b"two".to_vec().into()).if_none_match("*").send().await;
    assert_eq!(new.unwrap_err().code(), Some("PreconditionFailed"));
    s3.put_object().bucket("box").key("k").body(b"two".to_vec().into()).if_match(&etag).send().await.unwrap();
    let stale = s3.put_object().bucket("box").key("k").body(b"three".to_vec().into()).if_match(&etag).send().await;
    assert_eq!(stale.unwrap_err().code(), Some("PreconditionFailed"));
    assert_eq!(get(&s3, "k").await.unwrap(), b"two");
}

#[tokio::test]
async fn readers_and_writers_of_one_key_see_whole_objects() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, s3) = open(folder.path()).await;
    put(&s3, "k", vec![0; 300_000]).await;
    let writers = (1..=8_u8).map(|n| {
        let s3 = s3.clone();
        tokio::spawn(async move { drop(put(&s3, "k", vec![n; 300_000]).await) })
    });
    let readers = (0..16).map(|_| {
        let s3 = s3.clone();
        tokio::spawn(async move {
            let body = get(&s3, "k").await.unwrap();
            assert!(body.len() == 300_000 && body.iter().all(|byte| *byte == body[0]));
        })
    });
    for task in writers.chain(readers).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(data_files(folder.path()), 1);
}

#[tokio::test]
async fn a_presigned_url_works_until_it_expires_and_only_as_it_was_signed() {
    let folder = tempfile::tempdir().unwrap();
    let (service, s3) = open(folder.path()).await;
    put(&s3, "a b.txt", "text").await;
    let sign = async |config: PresigningConfig| {
        let call = s3.get_object().bucket("box").key("a b.txt").response_content_disposition("attachment; filename=\"x.txt\"");
        call.presigned(config).await.unwrap().uri().to_owned()
    };
    let url = sign(PresigningConfig::expires_in(Duration::from_mins(1)).unwrap()).await;
    assert!(url.starts_with("http://127.0.0.1:8080/box/a%20b.txt?"), "{url}");
    assert_eq!(follow(&service, &url).await, (StatusCode::OK, Some("attachment; filename=\"x.txt\"".into())));
    let an_hour_ago = std::time::SystemTime::now() - Duration::from_hours(1);
    let expired = PresigningConfig::builder().start_time(an_hour_ago).expires_in(Duration::from_mins(59)).build().unwrap();
    assert_eq!(follow(&service, &sign(expired).await).await.0, StatusCode::FORBIDDEN);
    for (from, to) in
        [("x.txt", "y.exe"), ("a%20b.txt", "c.txt"), ("X-Amz-Expires=60", "X-Amz-Expires=600"), ("//127.0.0.1", "//127.0.0.2")]
    {
        assert!(url.contains(from), "{url}");
        assert_eq!(follow(&service, &url.replace(from, to)).await.0, StatusCode::FORBIDDEN, "{from} to {to}");
    }
    assert_eq!(follow(&service, url.split('?').next().unwrap()).await.0, StatusCode::FORBIDDEN);
}
