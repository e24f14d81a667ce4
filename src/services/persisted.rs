//! Documents that clients send by their hash once they have sent them whole (automatic persisted queries). They are kept
//! in the shared cache for a day. A hash proves what it stands for, so nobody can put another document in its place; whether
//! a document may run is decided anew each time. Where documents are registered, these alone may run.

use super::core::Core;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

/// How long a document is kept after it was sent whole.
pub const KEPT: Duration = Duration::from_hours(24);

/// The documents that alone may run.
#[derive(Debug, Default)]
pub struct Registered(HashMap<DocumentHash, String>);

impl Registered {
    /// These documents, whatever clients call them.
    #[must_use]
    pub fn of(documents: impl IntoIterator<Item = String>) -> Self {
        Self(documents.into_iter().map(|document| (DocumentHash::of(&document), document)).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none, so that nothing may run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// SHA-256 of a document's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DocumentHash([u8; 32]);

impl DocumentHash {
    /// The hash of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn key(self) -> String {
        self.0.iter().fold("document:".to_owned(), |mut key, byte| {
            // Writing to a string cannot fail.
            write!(key, "{byte:02x}").ok();
            key
        })
    }
}

/// Use cases of persisted documents.
#[derive(Debug, Clone)]
pub struct PersistedDocuments {
    core: Core,
}

impl PersistedDocuments {
    pub(super) const fn new(core: Core) -> Self {
        Self { core }
    }

    /// True if only registered documents may run.
    #[must_use]
    pub fn only_registered(&self) -> bool {
        self.core.registered.is_some()
    }

    /// The registered document of a hash.
    #[must_use]
    pub fn find_registered(&self, hash: DocumentHash) -> Option<&str> {
        self.core.registered.as_ref()?.0.get(&hash).map(String::as_str)
    }

    /// The document of a hash; `None` if it is not kept (any more), or if that cannot be told at the moment.
    pub async fn find(&self, hash: DocumentHash) -> Option<String> {
        let bytes = self.core.cache.get(&hash.key()).await?;
        // The cache is shared: what comes from it is believed only if it is what was asked for.
        let text = std::str::from_utf8(&bytes).ok()?;
        (DocumentHash::of(text) == hash).then(|| text.to_owned())
    }

    /// Keeps a document under its hash. The caller has compared the two.
    pub async fn keep(&self, hash: DocumentHash, text: &str) {
        self.core.cache.put(&hash.key(), Bytes::copy_from_slice(text.as_bytes()), KEPT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_hexadecimal_digits_in_either_case() {
        let text = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";
        assert_eq!(DocumentHash::parse(text), Some(DocumentHash::of("{__typename}")));
        assert_eq!(DocumentHash::parse(&text.to_uppercase()), DocumentHash::parse(text));
        assert_eq!(DocumentHash::of("{__typename}").key(), format!("document:{text}"));
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32), &format!("{text}0"), &format!("+{}", &text[1..])] {
            assert_eq!(DocumentHash::parse(bad), None, "{bad}");
        }
    }
}
