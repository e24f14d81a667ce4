//! The port to the file store, and what any store needs to name a download safely. Services see [`ObjectStore`] only;
//! which store is behind it is decided in one place.

mod embedded;
mod lifecycle;
mod s3;

pub use embedded::EmbeddedObjects;
pub use lifecycle::Expiry;
pub use s3::{BucketSettings, S3Store, ServerEncryption};

use crate::error::{Error, FaultCode, Result};
use bytes::Bytes;
use std::time::Duration;

/// Keeps files under keys such as `exports/{workspace}/{id}.zip`. Keys are made by this service, never by a client.
#[async_trait::async_trait]
pub trait ObjectStore: Send + Sync {
    /// Stores a file, replacing what was there; readers see the old one or the new one, whole.
    ///
    /// # Errors
    /// UNAVAILABLE if the store cannot be reached, else INTERNAL.
    async fn put(&self, key: &str, bytes: Bytes, content_type: &str, disposition: Option<&str>) -> Result<()>;

    /// Reads a whole file.
    ///
    /// # Errors
    /// One that satisfies [`is_missing`] if there is no such file; UNAVAILABLE or INTERNAL otherwise.
    async fn get(&self, key: &str) -> Result<Bytes>;

    /// Removes a file; it is not an error if there is none.
    ///
    /// # Errors
    /// UNAVAILABLE if the store cannot be reached, else INTERNAL.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Asks whether the store can be used at the moment.
    ///
    /// # Errors
    /// UNAVAILABLE if the store cannot be reached, else INTERNAL.
    async fn reach(&self) -> Result<()>;

    /// What is known of a file without reading it; none if there is no such file.
    ///
    /// # Errors
    /// UNAVAILABLE if the store cannot be reached, else INTERNAL.
    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>>;

    /// Every file whose key begins so, in the order of the keys.
    ///
    /// # Errors
    /// UNAVAILABLE if the store cannot be reached, else INTERNAL.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>>;

    /// A request that stores a file of this type and of exactly this size, for whoever has it, for as long as `valid_for`
    /// (at most seven days). The store refuses another type, another size and, if `sha256` (in hex) is given, other bytes.
    ///
    /// # Errors
    /// INTERNAL if no request can be made, or if `sha256` is not one.
    async fn presign_put(
        &self,
        key: &str,
        content_type: &str,
        bytes: i64,
        sha256: Option<&str>,
        valid_for: Duration,
    ) -> Result<PresignedPut>;

    /// A link that downloads the file under a name, for whoever has the link, for as long as `valid_for` (at most seven
    /// days). Nobody checks that the file exists.
    ///
    /// # Errors
    /// INTERNAL if no link can be made.
    async fn presign_get(&self, key: &str, file_name: &str, valid_for: Duration) -> Result<String>;
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Size in bytes.
    pub bytes: i64,
    /// Media type that it was stored with.
    pub content_type: Option<String>,
    /// `Content-Disposition` that it was stored with.
    pub disposition: Option<String>,
}

/// A file in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Key.
    pub key: String,
    /// Size in bytes.
    pub bytes: i64,
}

/// A request that stores a file without a token: its signature is the permission.
#[derive(Debug, Clone)]
pub struct PresignedPut {
    /// Address.
    pub url: String,
    /// HTTP method.
    pub method: String,
    /// Headers that have to be sent as they are. `Host` and `Content-Length`, which are signed too, are not among them:
    /// every HTTP client sends them by itself, and browsers let nobody set them.
    pub headers: Vec<(String, String)>,
}

/// True if an error of [`ObjectStore::get`] says that there is no such file.
#[must_use]
pub fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Fault(fault) if fault.code == FaultCode::NotFound)
}

/// The `Content-Disposition` that makes a browser save a file under a name (RFC 6266), whatever is in the name: a plain
/// form for old clients and, if that loses something, the exact one. Folders and control characters are taken out.
#[must_use]
pub fn attachment(file_name: &str) -> String {
    let name: String = file_name.chars().map(|c| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c }).take(150).collect();
    let name = name.trim_matches([' ', '.']);
    let name = if name.is_empty() { "download" } else { name };
    let plain: String = name.chars().map(|c| if c.is_ascii() && !matches!(c, '"' | '%') { c } else { '_' }).collect();
    let mut header = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        header.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            // The bytes that RFC 8187 lets stand as they are.
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                header.push(char::from(byte));
            } else {
                header.extend(['%', hex_digit(byte >> 4), hex_digit(byte)]);
            }
        }
    }
    header
}

/// The hexadecimal digit of the lower half of a byte.
fn hex_digit(byte: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(byte & 15)])
}

/// 160 random bits in hexadecimal.
fn random() -> std::io::Result<String> {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| std::io::Error::other("no random numbers"))?;
    Ok(bytes.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(*byte)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        for (name, header) in [
            ("claims 2026.zip", "attachment; filename=\"claims 2026.zip\""),
            ("Café \"A\".docx", "attachment; filename=\"Caf_ _A_.docx\"; filename*=UTF-8''Caf%C3%A9%20%22A%22.docx"),
            ("../../etc/passwd", "attachment; filename=\"_.._etc_passwd\""),
            ("a\r\nSet-Cookie: x", "attachment; filename=\"a__Set-Cookie: x\""),
            ("100%.csv", "attachment; filename=\"100_.csv\"; filename*=UTF-8''100%25.csv"),
            (" . ", "attachment; filename=\"download\""),
        ] {
            assert_eq!(attachment(name), header);
        }
        assert!(attachment(&"ü".repeat(5000)).len() < 1200);
    }
}
