//! Why a command of the client did not do what was asked: one sentence and one exit code. It must not show debug
//! output, tokens or presigned addresses; what servers say is cleaned of control characters where it is printed.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::answers::JobStatus;

/// A problem that the server names in `userErrors`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UserError {
    /// Stable code.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Path in the input; empty if it concerns the whole request.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub field: Vec<String>,
}

/// Why a command ended without its result.
#[derive(Debug)]
pub enum ClientError {
    /// The address, the token or an option cannot be used. Exit code 2.
    Configuration(String),
    /// A file or folder of this machine cannot be used. Exit code 1.
    Local(String),
    /// The server refused the request for reasons that the caller can act on. Exit code 1.
    Refused(Vec<UserError>),
    /// The server answered with a top-level error. Exit code 1.
    Fault {
        /// `extensions.code`; empty if there was none.
        code: String,
        /// A sentence for people.
        message: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The server answers something that is not this API. Exit code 1.
    Unexpected(String),
    /// The server cannot be reached, or the connection was lost for good. Exit code 6.
    Unreachable(String),
    /// What was followed is gone, or may no longer be seen. Exit code 7.
    Ended(String),
    /// A job reached a final status other than SUCCEEDED and left nothing to go on with. Exit code of the status.
    Job {
        /// The final status.
        status: JobStatus,
        /// A sentence for people.
        message: String,
    },
}

impl ClientError {
    /// Exit code of the process; the list stands in [`super`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Local(_) | Self::Refused(_) | Self::Fault { .. } | Self::Unexpected(_) => 1,
            Self::Unreachable(_) => 6,
            Self::Ended(_) => 7,
            Self::Job { status, .. } => status.exit_code().max(1),
        }
    }

    /// True if the same request may succeed a little later.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Fault { code, .. } => matches!(code.as_str(), "UNAVAILABLE" | "TIMEOUT" | "RATE_LIMITED"),
            _ => false,
        }
    }

    /// How long the server wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fault { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// True if the server refused because the name of the new object is in use.
    pub(super) fn is_name_taken(&self) -> bool {
        matches!(self, Self::Refused(errors) if errors.iter().any(|error| error.code == "TAKEN"))
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field.join("."))?;
        }
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(message)
            | Self::Local(message)
            | Self::Unexpected(message)
            | Self::Unreachable(message)
            | Self::Ended(message)
            | Self::Job { message, .. } => f.write_str(message),
            Self::Refused(errors) => {
                let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("; "))
            }
            Self::Fault { code, message, .. } if code == "UNAUTHENTICATED" => {
                write!(f, "{message} Set CLAIMWRIGHT_TOKEN to a valid token; `claimwright token` prints one for the local server.")
            }
            Self::Fault { code, message, .. } if code.is_empty() => f.write_str(message),
            Self::Fault { code, message, .. } => write!(f, "{message} ({code})"),
        }
    }
}

impl std::error::Error for ClientError {}

/// An error of a GraphQL answer, as sent.
#[derive(Debug, Deserialize)]
pub(super) struct GraphqlError {
    message: String,
    #[serde(default)]
    extensions: Option<Extensions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Extensions {
    code: Option<String>,
    retry_after_ms: Option<u64>,
    reference: Option<String>,
}

impl From<GraphqlError> for ClientError {
    fn from(error: GraphqlError) -> Self {
        let Extensions { code, retry_after_ms, reference } = error.extensions.unwrap_or_default();
        let message = match reference {
            Some(reference) => format!("{} The server's log has the cause under {reference}.", error.message),
            None => error.message,
        };
        Self::Fault { code: code.unwrap_or_default(), message, retry_after: retry_after_ms.map(Duration::from_millis) }
    }
}

/// The deepest cause of an error: the only part of a chain that tells people something.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_errors_are_shown_with_their_field_paths() {
        let errors: Vec<UserError> = serde_json::from_str(
            r#"[{"code":"TAKEN","message":"Another batch has this name.","field":["input","name"]},
                {"code":"WRONG_STATE","message":"The batch is archived.","field":null}]"#,
        )
        .unwrap();
        let error = ClientError::Refused(errors);
        assert_eq!(error.to_string(), "input.name: Another batch has this name. (TAKEN); The batch is archived. (WRONG_STATE)");
        assert!(error.is_name_taken());
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_rate_limit_is_waited_for_and_a_bad_token_is_not() {
        let limited: GraphqlError =
            serde_json::from_str(r#"{"message":"Too fast.","extensions":{"code":"RATE_LIMITED","retryAfterMs":1500}}"#).unwrap();
        let limited = ClientError::from(limited);
        assert!(limited.passes());
        assert_eq!(limited.retry_after(), Some(Duration::from_millis(1500)));
        let refused: GraphqlError = serde_json::from_str(r#"{"message":"No.","extensions":{"code":"UNAUTHENTICATED"}}"#).unwrap();
        assert!(!ClientError::from(refused).passes());
    }
}
