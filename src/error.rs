//! The one error of the service: what a caller may know, split from what only the log may know.
//! A leaf that every layer may use. It knows neither GraphQL nor HTTP; they convert it last, in one place each.

use std::fmt;

/// Result of everything that can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Cause of an [`Error`], for the log only.
pub type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why something was not done.
#[derive(Debug)]
pub enum Error {
    /// Expected problems that the caller can act on (`userErrors` of a payload). Nothing was changed.
    Refused(Vec<Problem>),
    /// Everything else: a top-level error with a code from a closed list.
    Fault(Fault),
}

/// A fault: the code and the sentence are public, the source is not.
#[derive(Debug)]
pub struct Fault {
    /// Public, stable code.
    pub code: FaultCode,
    /// A sentence for people, without secrets.
    pub message: String,
    /// Argument of a query that is at fault, such as `after`.
    pub argument: Option<&'static str>,
    /// The cause, for the log.
    pub source: Option<Source>,
}

/// A problem that the caller can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable code; clients branch on it.
    pub code: ProblemCode,
    /// A sentence that says what is wrong and what to do.
    pub message: String,
    /// Path in the input, such as `["input", "name"]`; empty if it concerns the whole request.
    pub field: Vec<String>,
    /// True if the same request may succeed later without a change.
    pub retryable: bool,
}

/// Implements `as_str`, `Display` and `FromStr` for an enum whose values are stored and sent as upper-case words.
#[macro_export]
macro_rules! word_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that is stored and sent.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::error::Error::internal(format!(concat!("no ", stringify!($name), " is called {:?}"), word))),
                }
            }
        }
    };
}

word_enum! {
    /// Codes of top-level errors (`RequestErrorCode` in the schema).
    pub enum FaultCode {
        /// No valid token.
        Unauthenticated = "UNAUTHENTICATED",
        /// The token is valid but this is not allowed.
        Forbidden = "FORBIDDEN",
        /// The document cannot be parsed.
        ParseFailed = "PARSE_FAILED",
        /// The document, its variables or an argument are not valid.
        ValidationFailed = "VALIDATION_FAILED",
        /// The query is too deep or too complex.
        TooComplex = "TOO_COMPLEX",
        /// Too many requests; trying again later helps.
        RateLimited = "RATE_LIMITED",
        /// No document is kept under the hash that was sent in place of one.
        PersistedQueryNotFound = "PERSISTED_QUERY_NOT_FOUND",
        /// The body is larger than allowed.
        PayloadTooLarge = "PAYLOAD_TOO_LARGE",
        /// A subscription's object does not exist or is not visible.
        NotFound = "NOT_FOUND",
        /// The request took too long.
        Timeout = "TIMEOUT",
        /// A dependency is down.
        Unavailable = "UNAVAILABLE",
        /// A fault in this service.
        Internal = "INTERNAL",
    }
}

word_enum! {
    /// Codes of problems that the caller can act on (`UserErrorCode` in the schema).
    pub enum ProblemCode {
        /// A value is missing.
        Required = "REQUIRED",
        /// A value is malformed or out of range.
        Invalid = "INVALID",
        /// A text is longer than allowed.
        TooLong = "TOO_LONG",
        /// Too many items in one request.
        TooMany = "TOO_MANY",
        /// The object does not exist or is not visible to the caller.
        NotFound = "NOT_FOUND",
        /// A name, reference or id is already in use.
        Taken = "TAKEN",
        /// `expectedRevision` is not the current revision.
        RevisionConflict = "REVISION_CONFLICT",
        /// The object is in a state in which this is not possible.
        WrongState = "WRONG_STATE",
        /// Another run of this batch is queued, running or paused.
        AlreadyRunning = "ALREADY_RUNNING",
        /// The estimate is above the budget cap.
        OverBudget = "OVER_BUDGET",
        /// The same idempotency key was used with another input.
        IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
        /// Issues that block approval are open.
        BlockingIssues = "BLOCKING_ISSUES",
        /// The file is of a kind that cannot be read.
        UnsupportedFile = "UNSUPPORTED_FILE",
        /// The upload has expired or never arrived.
        UploadMissing = "UPLOAD_MISSING",
        /// The template lacks what is needed or is archived.
        TemplateUnusable = "TEMPLATE_UNUSABLE",
    }
}

impl Error {
    /// A fault of this service: the text and the cause go to the log, the client sees a reference only.
    pub fn internal(cause: impl Into<Source>) -> Self {
        Self::Fault(Fault {
            code: FaultCode::Internal,
            message: "Something went wrong.".into(),
            argument: None,
            source: Some(cause.into()),
        })
    }

    /// A dependency cannot be reached; trying again may help.
    pub fn unavailable(message: impl Into<String>, cause: impl Into<Source>) -> Self {
        Self::Fault(Fault { code: FaultCode::Unavailable, message: message.into(), argument: None, source: Some(cause.into()) })
    }

    /// True if a dependency could not be reached, so that the same may work in a moment.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Fault(Fault { code: FaultCode::Unavailable, .. }))
    }

    /// A fault with a public code and sentence.
    pub fn fault(code: FaultCode, message: impl Into<String>) -> Self {
        Self::Fault(Fault { code, message: message.into(), argument: None, source: None })
    }

    /// A query's argument is not valid (page too large, malformed cursor).
    pub fn argument(name: &'static str, message: impl Into<String>) -> Self {
        Self::Fault(Fault { code: FaultCode::ValidationFailed, message: message.into(), argument: Some(name), source: None })
    }

    /// One problem; `field` is a path with dots, such as `input.name`, or empty for the whole request.
    pub fn refused(code: ProblemCode, field: &str, message: impl Into<String>) -> Self {
        Self::Refused(vec![Problem::new(code, field, message)])
    }

    /// The object does not exist or is not visible.
    #[must_use]
    pub fn not_found(what: &str, field: &str) -> Self {
        Self::refused(ProblemCode::NotFound, field, format!("There is no such {what}. Check the id; it may have been deleted."))
    }
}

impl Problem {
    /// A problem; `field` is a path with dots, such as `input.name`, or empty for the whole request.
    pub fn new(code: ProblemCode, field: &str, message: impl Into<String>) -> Self {
        let field = field.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Self { code, message: message.into(), field, retryable: matches!(code, ProblemCode::AlreadyRunning) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(problems) => {
                let all: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.code, p.message)).collect();
                f.write_str(&all.join("; "))
            }
            Self::Fault(fault) => match &fault.source {
                Some(source) => write!(f, "{}: {} ({source})", fault.code, fault.message),
                None => write!(f, "{}: {}", fault.code, fault.message),
            },
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Fault(Fault { source: Some(source), .. }) => Some(&**source),
            _ => None,
        }
    }
}
