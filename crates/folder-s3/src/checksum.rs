//! The checksums that a client sends with a body, in headers or in trailers, and their verification. `Content-MD5` is not
//! looked at: the SDK replaced it by these.

use http::{HeaderMap, HeaderName};
use s3s::{
    S3Request, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256},
    s3_error,
};

const CRC32: HeaderName = HeaderName::from_static("x-amz-checksum-crc32");
const CRC32C: HeaderName = HeaderName::from_static("x-amz-checksum-crc32c");
const CRC64: HeaderName = HeaderName::from_static("x-amz-checksum-crc64nvme");
const SHA1: HeaderName = HeaderName::from_static("x-amz-checksum-sha1");
const SHA256: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");

/// Checksums to verify once the body has been read.
pub struct Claimed {
    hasher: ChecksumHasher,
    headers: HeaderMap,
    trailers: Option<TrailingHeaders>,
}

impl Claimed {
    /// What the request claims, or announces for its trailers.
    pub fn of<T>(request: &S3Request<T>) -> Self {
        let headers = request.headers.clone();
        let announced = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let claims = |name: &HeaderName| {
            headers.contains_key(name) || announced.split(',').any(|trailer| trailer.trim().eq_ignore_ascii_case(name.as_str()))
        };
        let hasher = ChecksumHasher {
            crc32: claims(&CRC32).then(Crc32::new),
            crc32c: claims(&CRC32C).then(Crc32c::new),
            crc64nvme: claims(&CRC64).then(Crc64Nvme::new),
            sha1: claims(&SHA1).then(Sha1::new),
            sha256: claims(&SHA256).then(Sha256::new),
        };
        Self { hasher, headers, trailers: request.trailing_headers.clone() }
    }

    pub fn update(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
    }

    /// `BadDigest` if a checksum was announced and the body's is another one.
    pub fn verify(self) -> S3Result<()> {
        let trailers = self.trailers.and_then(|trailers| trailers.take()).unwrap_or_default();
        let found = self.hasher.finalize();
        let all = [
            (CRC32, found.checksum_crc32),
            (CRC32C, found.checksum_crc32c),
            (CRC64, found.checksum_crc64nvme),
            (SHA1, found.checksum_sha1),
            (SHA256, found.checksum_sha256),
        ];
        let same = all.into_iter().all(|(name, found)| {
            found.is_none_or(|found| self.headers.get(&name).or_else(|| trailers.get(&name)).is_some_and(|claimed| *claimed == found))
        });
        if same { Ok(()) } else { Err(s3_error!(BadDigest)) }
    }
}
