//! The local issuer: a key pair in the data folder and tokens for one machine. Its tokens are checked like anybody
//! else's; it must not know how.

use super::KeySource;
use crate::error::{Error, ProblemCode, Result};
use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use serde_json::{Value, json};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};
use uuid::Uuid;

/// File with the key pair (PKCS#8, PEM) in the data folder.
const KEY_FILE: &str = "issuer-key.pem";
/// Whoever makes the key pair holds this file's lock meanwhile.
const LOCK_FILE: &str = "issuer-key.lock";

/// Makes tokens for one machine.
pub struct LocalIssuer {
    key: EncodingKey,
    id: String,
    jwks: Value,
}

impl fmt::Debug for LocalIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIssuer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl LocalIssuer {
    /// `iss` of its tokens. It does not depend on the port, so tokens and workspaces survive a change of it.
    pub const ISSUER: &'static str = "https://claimwright.local";
    /// The client that its tokens are for.
    pub const CLIENT_ID: &'static str = "claimwright-local";
    /// The person that tokens without an email are for: the playground's.
    pub const DEFAULT_EMAIL: &'static str = "adviser@claimwright.local";
    /// The workspace that tokens without a workspace are for.
    pub const DEFAULT_WORKSPACE: &'static str = "default";

    /// Opens the issuer of a data folder; the first to do so makes its key pair, and everybody else gets the same.
    /// Blocks while a key pair is made (a tenth of a second).
    ///
    /// # Errors
    /// INTERNAL if the folder or the key file cannot be read or written.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let failed = |cause: String| Error::internal(format!("the key of the local issuer in {}: {cause}", data_dir.display()));
        let pem = key_file(data_dir).map_err(|error| failed(error.to_string()))?;
        let key = EncodingKey::from_rsa_pem(&pem).map_err(|error| failed(error.to_string()))?;
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).map_err(Error::internal)?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(Error::internal)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { key, id, jwks: json!({ "keys": [jwk] }) })
    }

    /// An id token that is valid from `now` for `ttl`. Without an email it is for the playground's person, without a
    /// workspace (1 to 64 characters) for the workspace `default`.
    ///
    /// # Errors
    /// INVALID for an email or a workspace that cannot be one.
    pub fn issue(&self, email: Option<&str>, workspace: Option<&str>, ttl: Duration, now: DateTime<Utc>) -> Result<String> {
        let email = email.unwrap_or(Self::DEFAULT_EMAIL).to_lowercase();
        let workspace = workspace.unwrap_or(Self::DEFAULT_WORKSPACE);
        if !(1..=64).contains(&workspace.chars().count()) || workspace.chars().any(char::is_control) {
            return Err(Error::refused(ProblemCode::Invalid, "workspace", "A workspace has 1 to 64 characters."));
        }
        let Some((name, _)) = email.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty() && email.len() <= 254)
        else {
            return Err(Error::refused(ProblemCode::Invalid, "email", "An email address looks like name@example.org."));
        };
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, Self::ISSUER.as_bytes());
        let issued = now.timestamp();
        let claims = json!({
            "iss": Self::ISSUER,
            "aud": Self::CLIENT_ID,
            "sub": Uuid::new_v5(&namespace, email.as_bytes()),
            "token_use": "id",
            "iat": issued,
            "exp": issued.saturating_add_unsigned(ttl.as_secs()),
            "email": email,
            "name": name,
            "custom:workspace_id": Uuid::new_v5(&namespace, workspace.as_bytes()),
        });
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(Error::internal)
    }

    /// Its public key as a JWKS document, for `/.well-known/jwks.json`.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.jwks.clone()
    }
}

#[async_trait::async_trait]
impl KeySource for LocalIssuer {
    async fn document(&self) -> Result<Value> {
        Ok(self.jwks())
    }
}

/// Reads the key file, making it first if there is none. Several processes may do this at once.
fn key_file(folder: &Path) -> io::Result<Vec<u8>> {
    fs::create_dir_all(folder)?;
    let path = folder.join(KEY_FILE);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(LOCK_FILE))?;
    lock.lock()?;
    if !path.exists() {
        let made = KeyPair::generate(KeySize::Rsa2048).and_then(|pair| pair.as_der().map(|der| pem(der.as_ref())));
        let pem = made.map_err(|_| io::Error::other("no key pair can be made"))?;
        let new = folder.join(format!("{KEY_FILE}.new"));
        // What a killed process left here may be half written or have other permissions.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()?;
    }
    fs::read(&path)
}

/// The textual form of a private key (RFC 7468): lines of 64 characters.
fn pem(pkcs8: &[u8]) -> String {
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for (n, character) in STANDARD.encode(pkcs8).chars().enumerate() {
        if n > 0 && n % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}
