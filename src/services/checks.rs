//! Checks of input that several services make the same way. They collect problems, so that a person sees all at once.

use crate::error::{Error, Problem, ProblemCode, Result};
use crate::repositories::db::Tx;
use crate::repositories::idempotency::{self, KnownKey};
use crate::services::core::Unit;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use uuid::Uuid;

use crate::domain::ids::WorkspaceId;

/// Most characters of an idempotency key.
const MAX_KEY_CHARS: usize = 200;
/// Most ids in one request.
pub const MAX_IDS: usize = 100;

/// Problems found so far.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, code: ProblemCode, field: &str, message: impl Into<String>) {
        self.0.push(Problem::new(code, field, message));
    }

    /// Adds several.
    pub fn extend(&mut self, more: Vec<Problem>) {
        self.0.extend(more);
    }

    /// A trimmed text that must be there, of at most so many characters.
    pub fn required(&mut self, field: &str, text: &str, most: usize) -> String {
        let text = text.trim().to_owned();
        if text.is_empty() {
            self.add(ProblemCode::Required, field, format!("`{}` may not be empty.", last(field)));
        }
        self.length(field, &text, most);
        text
    }

    /// A trimmed text that may be absent; a blank one counts as absent.
    pub fn optional(&mut self, field: &str, text: Option<String>, most: usize) -> Option<String> {
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())?;
        self.length(field, &text, most);
        Some(text)
    }

    fn length(&mut self, field: &str, text: &str, most: usize) {
        let chars = text.chars().count();
        if chars > most {
            self.add(ProblemCode::TooLong, field, format!("`{}` has {chars} characters; at most {most} are allowed.", last(field)));
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.add(ProblemCode::Invalid, field, format!("`{}` has control characters; remove them.", last(field)));
        }
    }

    /// Refuses if anything was found.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Refused(self.0)) }
    }
}

fn last(field: &str) -> &str {
    field.rsplit('.').next().unwrap_or(field)
}

/// Refuses a request with too many ids, or none.
///
/// # Errors
/// `TOO_MANY` or `REQUIRED`.
pub fn id_count(count: usize) -> Result<()> {
    match count {
        0 => Err(Error::refused(ProblemCode::Required, "ids", "Give at least one id.")),
        n if n > MAX_IDS => {
            Err(Error::refused(ProblemCode::TooMany, "ids", format!("At most {MAX_IDS} ids in one request; there were {n}. Send several.")))
        }
        _ => Ok(()),
    }
}

/// Refuses if the object is at another revision than the caller has seen.
///
/// # Errors
/// `REVISION_CONFLICT`.
pub fn revision(expected: Option<i32>, current: i32, field: &str) -> Result<()> {
    if expected.is_none_or(|expected| expected == current) {
        return Ok(());
    }
    let message = format!("It is at revision {current} now. Look at the current state in this payload, then try again with its revision.");
    Err(Error::refused(ProblemCode::RevisionConflict, field, message))
}

/// The state in which something is not possible.
#[must_use]
pub fn wrong_state(field: &str, message: impl Into<String>) -> Error {
    Error::refused(ProblemCode::WrongState, field, message)
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A key that makes a mutation's repeats harmless, with the hash of the input.
#[derive(Debug, Clone)]
pub struct Idempotency {
    key: Option<String>,
    hash: String,
    field: &'static str,
}

impl Idempotency {
    /// The key of a request and its input, as JSON.
    ///
    /// # Errors
    /// `INVALID` for an empty or overlong key.
    pub fn new(key: Option<String>, input: &impl serde::Serialize) -> Result<Self> {
        Self::of_bytes(key, &serde_json::to_vec(input).map_err(Error::internal)?)
    }

    /// The key of a request and its input, as bytes.
    ///
    /// # Errors
    /// `INVALID` for an empty or overlong key.
    pub fn of_bytes(key: Option<String>, input: &[u8]) -> Result<Self> {
        Self::at("input.idempotencyKey", key, input)
    }

    /// The key of a request that has no input object.
    ///
    /// # Errors
    /// `INVALID` for an empty or overlong key.
    pub fn of_arguments(key: Option<String>, arguments: &impl serde::Serialize) -> Result<Self> {
        Self::at("idempotencyKey", key, &serde_json::to_vec(arguments).map_err(Error::internal)?)
    }

    fn at(field: &'static str, key: Option<String>, input: &[u8]) -> Result<Self> {
        let is_wrong = |key: &str| key.is_empty() || key.chars().count() > MAX_KEY_CHARS || key.chars().any(char::is_control);
        if key.as_deref().is_some_and(is_wrong) {
            let message = format!("An idempotency key has 1 to {MAX_KEY_CHARS} characters and no control characters.");
            return Err(Error::refused(ProblemCode::Invalid, field, message));
        }
        let hash = if key.is_some() { sha256_hex(input) } else { String::new() };
        Ok(Self { key, hash, field })
    }

    /// Takes the key for a new object. `Some(id)`: the same request was answered before with that object.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_REUSED` if it was used with another input.
    pub async fn claim_in(&self, unit: &mut Unit, workspace: WorkspaceId, mutation: &str, new_id: Uuid) -> Result<Option<Uuid>> {
        let Some(key) = &self.key else { return Ok(None) };
        let now = unit.now;
        let known = KnownKey { input_hash: self.hash.clone(), object_id: new_id };
        self.same_as(idempotency::claim_in(&mut unit.tx, workspace, mutation, key, &known, now).await?)
    }

    /// The object that the same request was answered with before, for requests that need what may be gone by now.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_REUSED` if it was used with another input.
    pub async fn find(&self, tx: &mut Tx, workspace: WorkspaceId, mutation: &str) -> Result<Option<Uuid>> {
        match &self.key {
            Some(key) => self.same_as(idempotency::find(tx, workspace, mutation, key).await?),
            None => Ok(None),
        }
    }

    fn same_as(&self, known: Option<KnownKey>) -> Result<Option<Uuid>> {
        match known {
            None => Ok(None),
            Some(known) if known.input_hash == self.hash => Ok(Some(known.object_id)),
            Some(_) => Err(Error::refused(
                ProblemCode::IdempotencyKeyReused,
                self.field,
                "This key was used with another input. Take a new key for a new request.",
            )),
        }
    }
}
