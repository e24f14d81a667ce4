//! Files that are sent beside a request: what may be announced, and for how long it is kept. Pure values.

use super::ids::{UploadId, UserId};
use chrono::{DateTime, Utc};

/// Largest file, in bytes. An import holds its file in memory as bytes, as text and as rows, about four times its size at
/// the worst, and a process does several at a time: this keeps them within a gigabyte. 10,000 rows of 5,000 characters
/// fit.
pub const MAX_UPLOAD_BYTES: usize = 50 << 20;
/// Minutes that the address is valid.
pub const LINK_MINUTES: u64 = 60;
/// Hours that a file is kept: it can be imported more than once, first as a trial.
pub const KEEP_HOURS: i64 = 24;
/// Days that an upload is remembered, so that whoever comes late is told that it has expired.
pub const REMEMBER_DAYS: i64 = 30;

/// A file that will be sent.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// Name of the file.
    pub file_name: String,
    /// Media type.
    pub content_type: String,
    /// Size in bytes.
    pub bytes: i64,
    /// SHA-256 in hex.
    pub sha256: Option<String>,
}

/// A file that was announced, and may have been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Id.
    pub id: UploadId,
    /// Name of the file.
    pub file_name: String,
    /// Media type.
    pub content_type: String,
    /// Size in bytes, as announced.
    pub bytes: i64,
    /// SHA-256 in lower-case hex, as announced.
    pub sha256: Option<String>,
    /// Key of the object; none once it is removed.
    pub object_key: Option<String>,
    /// Who announced it.
    pub created_by: Option<UserId>,
    /// When it was announced.
    pub created_at: DateTime<Utc>,
    /// When the file is removed.
    pub expires_at: DateTime<Utc>,
}

/// Where and how to send a file.
#[derive(Debug, Clone)]
pub struct UploadTarget {
    /// The upload.
    pub upload: UploadId,
    /// Address.
    pub url: String,
    /// HTTP method.
    pub method: String,
    /// Headers to send, with their values.
    pub headers: Vec<(String, String)>,
    /// When the address stops working.
    pub expires_at: DateTime<Utc>,
}

/// The name of a file without the folders that some browsers and scripts send with it.
#[must_use]
pub fn base_name(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_its_name_without_folders() {
        for (sent, name) in [("a.csv", "a.csv"), ("C:\\fakepath\\a.csv", "a.csv"), ("../../etc/passwd", "passwd"), ("a/", "")] {
            assert_eq!(base_name(sent), name);
        }
    }
}
