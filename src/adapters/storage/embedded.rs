//! The embedded store: an S3 service over `objects` in the data folder, reached by the SDK without a socket and by
//! browsers through presigned links on this server. It must not do what a bucket would not.

use super::{S3Store, random};
use crate::error::{Error, Result};
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
};
use axum::{extract::Request, response::Response};
use folder_s3::{Body, FolderS3};
use http::{HeaderValue, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};
use tower::util::BoxCloneSyncService;

/// Bucket of the embedded store, and therefore the first part of the paths of its links.
const BUCKET: &str = "claimwright";
const KEY_FILE: &str = "objects-key.json";
const LOCK_FILE: &str = "objects-key.lock";

/// The embedded store of a data folder. Clones share it.
#[derive(Debug, Clone)]
pub struct EmbeddedObjects {
    service: FolderS3,
    store: S3Store,
    /// Host that links are signed for.
    host: HeaderValue,
}

/// The key that requests and links are signed with. It is kept so that links survive a restart.
#[derive(Serialize, Deserialize)]
struct SigningKey {
    id: String,
    secret: String,
}

impl EmbeddedObjects {
    /// Opens the store of a data folder. `public_url` is where browsers reach this server, without a path, such as
    /// `http://127.0.0.1:8080`: links begin with it.
    ///
    /// # Errors
    /// INTERNAL if the folder cannot be used, is in use by another process, or if `public_url` is not a URL with a host
    /// and without a path.
    pub async fn open(data_dir: &Path, public_url: &str) -> Result<Self> {
        let url: Uri = public_url.parse().map_err(Error::internal)?;
        let host = url.authority().filter(|_| url.scheme().is_some() && url.path() == "/" && url.query().is_none());
        let host = host.ok_or_else(|| Error::internal(format!("{public_url} is not a base URL")))?;
        let host = HeaderValue::from_str(host.as_str()).map_err(Error::internal)?;
        let folder = data_dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let key = signing_key(&folder)?;
            Ok((FolderS3::open(folder.join("objects"), &key.id, &key.secret)?, key))
        });
        let (service, key) = opened
            .await
            .map_err(Error::internal)?
            .map_err(|error: io::Error| Error::internal(format!("the files in {}: {error}", data_dir.display())))?;
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(service.http_client())
            .endpoint_url(public_url.trim_end_matches('/'))
            .force_path_style(true)
            .region(Region::from_static("local"))
            .credentials_provider(Credentials::new(key.id, key.secret, None, None, "data folder"));
        let store = S3Store::new(Client::from_conf(config.build()), BUCKET, None);
        store.create_bucket().await?;
        Ok(Self { service, store, host })
    }

    /// The store for services.
    #[must_use]
    pub fn store(&self) -> S3Store {
        self.store.clone()
    }

    /// What answers presigned links, for the route `/claimwright/{*key}`. It needs no token; the signature is the
    /// permission.
    #[must_use]
    pub fn service(&self) -> BoxCloneSyncService<Request, Response, Infallible> {
        let objects = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request| {
            let objects = objects.clone();
            async move { Ok(objects.answer(request).await) }
        }))
    }

    async fn answer(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        // The signature covers the host, and a proxy in front may have changed it: links are always signed for this one.
        let Ok(path) = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse() else {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        parts.uri = path;
        parts.headers.insert(header::HOST, self.host.clone());
        let request = http::Request::from_parts(parts, Body::http_body_unsync(body));
        let mut response = self.service.call(request).await.map(axum::body::Body::new);
        let headers = response.headers_mut();
        // A stored file is data, whatever it says it is.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        response
    }
}

/// Reads the key, making it first if there is none.
fn signing_key(folder: &Path) -> io::Result<SigningKey> {
    fs::create_dir_all(folder)?;
    let path = folder.join(KEY_FILE);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(LOCK_FILE))?;
    lock.lock()?;
    match fs::read(&path) {
        Ok(bytes) => return Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let key = SigningKey { id: random()?, secret: random()? };
    let new = folder.join(format!("{KEY_FILE}.new"));
    // What a killed process left here may be half written or have other permissions.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(&key)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ObjectStore, is_missing},
        *,
    };
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use std::{os::unix::fs::PermissionsExt, time::Duration};
    use tower::ServiceExt;

    const URL: &str = "http://127.0.0.1:8080";

    async fn follow(objects: &EmbeddedObjects, link: &str) -> (StatusCode, http::HeaderMap, Bytes) {
        let path = link.strip_prefix(URL).expect("links begin with the public URL");
        // A proxy's idea of the host.
        let request = Request::get(path).header("host", "backend:1234").body(axum::body::Body::empty()).unwrap();
        let response = objects.service().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn what_is_put_is_got_until_it_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedObjects::open(folder.path(), URL).await.unwrap().store();
        for size in [0, 10, 8 << 20, (8 << 20) + 1, (20 << 20) + 7] {
            let bytes: Bytes = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>().into();
            store.put("exports/a b.bin", bytes.clone(), "application/octet-stream", Some("attachment")).await.unwrap();
            assert!(store.get("exports/a b.bin").await.unwrap() == bytes, "{size}");
        }
        for _ in 0..2 {
            store.delete("exports/a b.bin").await.unwrap();
        }
        assert!(is_missing(&store.get("exports/a b.bin").await.unwrap_err()));
        assert!(store.presign_get("k", "k", Duration::from_hours(24 * 8)).await.is_err());
    }

    #[tokio::test]
    async fn a_link_downloads_under_its_name_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let objects = EmbeddedObjects::open(folder.path(), URL).await.unwrap();
        objects.store().put("x/1.html", Bytes::from_static(b"<script>"), "text/html", None).await.unwrap();
        let link = objects.store().presign_get("x/1.html", "Café.html", Duration::from_mins(1)).await.unwrap();
        let busy = EmbeddedObjects::open(folder.path(), URL).await.unwrap_err();
        assert!(busy.to_string().contains("in use by another process"), "{busy}");
        drop(objects);
        let objects = EmbeddedObjects::open(folder.path(), URL).await.unwrap();
        let (status, headers, body) = follow(&objects, &link).await;
        assert_eq!((status, &*body), (StatusCode::OK, &b"<script>"[..]));
        assert_eq!(headers["content-disposition"], "attachment; filename=\"Caf_.html\"; filename*=UTF-8''Caf%C3%A9.html");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_link_that_was_changed_or_not_signed_is_forbidden() {
        let folder = tempfile::tempdir().unwrap();
        let objects = EmbeddedObjects::open(folder.path(), URL).await.unwrap();
        for key in ["mine", "yours"] {
            objects.store().put(key, Bytes::from_static(b"x"), "text/plain", None).await.unwrap();
        }
        let link = objects.store().presign_get("mine", "mine.txt", Duration::from_mins(1)).await.unwrap();
        assert_eq!(follow(&objects, &link).await.0, StatusCode::OK);
        for link in [link.replace("/mine?", "/yours?"), link.replace("mine.txt", "x.exe"), link.replace("=60&", "=600&")] {
            assert_eq!(follow(&objects, &link).await.0, StatusCode::FORBIDDEN, "{link}");
        }
        assert_eq!(follow(&objects, &format!("{URL}/claimwright/mine")).await.0, StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_base_url_with_a_path_or_without_a_host_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for url in ["http://h/path", "/", "h", ""] {
            assert!(EmbeddedObjects::open(folder.path(), url).await.is_err(), "{url}");
        }
    }
}
