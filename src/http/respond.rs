//! The one place that turns errors and results into what clients see: public errors with codes, status codes, bodies
//! and headers. What only the log may know is logged here, once, with the request id. It must not execute anything.

use super::{RequestId, backlog::Length, document::Rejection, negotiate::Media};
use crate::{
    error::{Error, FaultCode, Problem, ProblemCode},
    graphql::{failures, rate_limits::Charge},
};
use async_graphql::{ErrorExtensionValues, Pos, ServerError, Value};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::{borrow::Cow, fmt::Write, time::Duration};

/// Most errors of a request error, and of a result: no amplification.
const MAX_REQUEST_ERRORS: usize = 5;
const MAX_FIELD_ERRORS: usize = 50;
/// Longest message of an error, in characters.
const MAX_MESSAGE: usize = 300;

/// Where the caller stands (draft-ietf-httpapi-ratelimit-headers-11); units are cost points.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// How much is allowed, and in which time it comes back.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// An error as clients see it.
#[derive(Debug, Serialize)]
pub struct PublicError {
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locations: Vec<Pos>,
    extensions: Extensions,
}

#[derive(Debug, Serialize)]
struct Extensions {
    code: FaultCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<u64>,
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl PublicError {
    fn new(code: FaultCode, message: &str) -> Self {
        let extensions = Extensions { code, argument: None, reference: None, limit: None, actual: None, retry_after_ms: None };
        Self { message: shortened(message), locations: Vec::new(), extensions }
    }

    /// The caller has used up what the rate limit allows, and has to wait so long.
    pub fn rate_limited(pause: Duration) -> Self {
        let ms = u64::try_from(pause.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        let message = format!("The rate limit is used up. Try again in {}.{:03} seconds, or ask for less.", ms / 1_000, ms % 1_000);
        let mut public = Self::new(FaultCode::RateLimited, &message);
        public.extensions.retry_after_ms = Some(ms);
        public
    }

    /// The public side of an error. The cause of INTERNAL and UNAVAILABLE goes to the log.
    pub fn of(error: &Error, request: &RequestId) -> Self {
        let fault = match error {
            Error::Fault(fault) => fault,
            Error::Refused(problems) => {
                let message = problems.first().map_or("The request was refused.", |problem| &problem.message);
                return Self::new(code_of_problems(problems), message);
            }
        };
        let mut public = Self::new(fault.code, &fault.message);
        public.extensions.argument = fault.argument;
        let cause = fault.source.as_deref().map(|source| causes(source)).unwrap_or_default();
        match fault.code {
            FaultCode::Internal => {
                tracing::error!(reference = request.as_str(), cause, "a request failed");
                public.extensions.reference = Some(request.as_str().to_owned());
            }
            FaultCode::Unavailable => tracing::warn!(reference = request.as_str(), cause, "a dependency is down"),
            _ => {}
        }
        public
    }
}

impl From<Rejection> for PublicError {
    fn from(rejection: Rejection) -> Self {
        let mut public = Self::new(rejection.code, &rejection.message);
        public.locations = rejection.locations;
        if let Some((limit, actual)) = rejection.exceeded {
            // Numbers in JSON are exact up to 2^53 only, and a bomb's size is beyond that.
            public.extensions.limit = Some(limit);
            public.extensions.actual = Some(actual.min(u64::from(u32::MAX)));
        }
        public
    }
}

/// A fault with everything that led to it, for the log.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn shortened(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// The error of a panic or of a result that cannot be written.
pub fn internal(cause: &'static str) -> Error {
    Error::internal(cause)
}

/// A result that is ready to be sent.
pub enum Outcome {
    /// Raised before execution (or a refused subscription): a list of errors in JSON, and there is no data.
    Errors(String),
    /// Executed: the whole result in JSON.
    Result(String),
}

/// Gives every error its code, hides what is not public and writes JSON. Never by way of `serde_json::Value`: its maps
/// are sorted, and a result keeps the order of the selection.
pub fn finish(mut response: async_graphql::Response, request: &RequestId) -> Outcome {
    let is_request_error = is_request_error(&response);
    response.errors.truncate(if is_request_error { MAX_REQUEST_ERRORS } else { MAX_FIELD_ERRORS });
    response.errors.iter_mut().for_each(|error| publish(error, request));
    let written = if is_request_error { serde_json::to_string(&response.errors) } else { Ok(graphql_gate::respond::to_string(&response)) };
    match written {
        Ok(text) if is_request_error => Outcome::Errors(text),
        Ok(text) => Outcome::Result(text),
        Err(error) => Outcome::Errors(list(&[PublicError::of(&Error::internal(error), request)])),
    }
}

/// The errors of a refused subscription in JSON: they keep their path, which does not make them an event.
pub fn finish_refused(mut response: async_graphql::Response, request: &RequestId) -> String {
    if response.errors.is_empty() {
        return list(&[PublicError::of(&internal("a refusal without errors"), request)]);
    }
    response.errors.truncate(MAX_REQUEST_ERRORS);
    response.errors.iter_mut().for_each(|error| publish(error, request));
    serde_json::to_string(&response.errors).unwrap_or_else(|error| list(&[PublicError::of(&Error::internal(error), request)]))
}

/// A list of errors in JSON.
pub fn list(errors: &[PublicError]) -> String {
    serde_json::to_string(errors).unwrap_or_else(|_| "[]".to_owned())
}

/// Raised before execution: there are errors, no data, and no error belongs to a field.
fn is_request_error(response: &async_graphql::Response) -> bool {
    matches!(response.data, Value::Null) && !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty())
}

/// True if the first answer of a subscription says that it will not start: no data, and an error that came up before a
/// field of an event was executed. An event whose root was nulled looks the same but for that.
pub fn is_refusal(response: &async_graphql::Response) -> bool {
    matches!(response.data, Value::Null) && response.errors.iter().any(|error| !failures::is_of_a_field(error))
}

/// True if a field failed because something that the service needs is down.
pub fn is_unavailable(response: &async_graphql::Response) -> bool {
    response.errors.iter().any(|error| code_of(error) == FaultCode::Unavailable)
}

/// Completes an error of async-graphql, which has a code only if a resolver gave it one.
fn publish(error: &mut ServerError, request: &RequestId) {
    failures::settle(error);
    if error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some()) {
        error.message = shortened(&error.message);
        return;
    }
    let public = if let Some(known) = error.source::<Error>() {
        PublicError::of(known, request)
    } else if error.source.is_some() {
        // A foreign error that came up by `?`: its text is not meant for clients.
        PublicError::of(&Error::internal(error.message.clone()), request)
    } else {
        PublicError::new(FaultCode::ValidationFailed, &error.message)
    };
    let mut extensions = error.extensions.take().unwrap_or_default();
    fill(&mut extensions, &public.extensions);
    error.message = public.message;
    error.extensions = Some(extensions);
}

/// The code that an error of a result has or will get, without describing it (which would log its cause).
pub fn code_of(error: &ServerError) -> FaultCode {
    if let Some(Value::String(word)) = error.extensions.as_ref().and_then(|extensions| extensions.get("code")) {
        return word.parse().unwrap_or(FaultCode::Internal);
    }
    match failures::source::<Error>(error) {
        Some(known) => public_code(known),
        None if failures::has_source(error) => FaultCode::Internal,
        None => FaultCode::ValidationFailed,
    }
}

/// The code of a request whose arguments have problems.
fn code_of_problems(problems: &[Problem]) -> FaultCode {
    let is_missing = problems.iter().any(|problem| problem.code == ProblemCode::NotFound);
    if is_missing { FaultCode::NotFound } else { FaultCode::ValidationFailed }
}

/// The code that clients see of an error.
pub fn public_code(error: &Error) -> FaultCode {
    match error {
        Error::Fault(fault) => fault.code,
        Error::Refused(problems) => code_of_problems(problems),
    }
}

fn fill(extensions: &mut ErrorExtensionValues, public: &Extensions) {
    extensions.set("code", public.code.as_str());
    if let Some(argument) = public.argument {
        extensions.set("argument", argument);
    }
    if let Some(reference) = &public.reference {
        extensions.set("reference", reference.as_str());
    }
}

/// A request that is answered with an error whatever the media type is.
#[derive(Debug)]
pub struct Refused {
    /// Status of the answer.
    pub status: StatusCode,
    /// What the client is told.
    pub error: Error,
    /// Methods that would be allowed.
    pub allow: Option<&'static str>,
}

impl Refused {
    /// A refusal that is the client's fault and has no better code.
    pub fn invalid(status: StatusCode, message: &str) -> Self {
        Self { status, error: Error::fault(FaultCode::ValidationFailed, message), allow: None }
    }

    /// The body is larger than allowed.
    pub fn too_large(limit: usize) -> Self {
        Error::fault(FaultCode::PayloadTooLarge, format!("The body is larger than {limit} bytes.")).into()
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Refused(_) => StatusCode::BAD_REQUEST,
            Error::Fault(fault) => status_of(fault.code),
        };
        Self { status, error, allow: None }
    }
}

const fn status_of(code: FaultCode) -> StatusCode {
    match code {
        FaultCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        FaultCode::Forbidden => StatusCode::FORBIDDEN,
        FaultCode::ParseFailed | FaultCode::ValidationFailed | FaultCode::TooComplex | FaultCode::PersistedQueryNotFound => {
            StatusCode::BAD_REQUEST
        }
        FaultCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        FaultCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FaultCode::NotFound => StatusCode::NOT_FOUND,
        FaultCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        FaultCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FaultCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Writes the answers of one request.
pub struct Reply {
    /// Negotiated media type.
    pub media: Media,
    /// The request's id.
    pub request: RequestId,
    /// What the operation was charged, once it was.
    pub charge: Option<Charged>,
}

impl Reply {
    /// An error that is not a result of GraphQL: the status tells.
    pub fn refuse(&self, refused: &Refused) -> Response {
        let mut response = self.errors(refused.status, &list(&[PublicError::of(&refused.error, &self.request)]));
        if let Some(methods) = refused.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if refused.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// A request error that was found before execution.
    pub fn reject(&self, rejection: Rejection) -> Response {
        self.errors(self.request_error_status(), &list(&[rejection.into()]))
    }

    /// The caller has to wait.
    pub fn limit(&self, pause: Duration) -> Response {
        let mut response = self.errors(StatusCode::TOO_MANY_REQUESTS, &list(&[PublicError::rate_limited(pause)]));
        response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(pause).into());
        response
    }

    /// The result of an execution.
    pub fn result(&self, response: async_graphql::Response) -> Response {
        match finish(response, &self.request) {
            Outcome::Errors(errors) => self.errors(self.request_error_status(), &errors),
            Outcome::Result(mut text) => {
                self.add_cost(&mut text);
                self.body(StatusCode::OK, text)
            }
        }
    }

    const fn request_error_status(&self) -> StatusCode {
        match self.media {
            Media::GraphqlResponse => StatusCode::BAD_REQUEST,
            Media::Json => StatusCode::OK,
        }
    }

    fn errors(&self, status: StatusCode, errors: &str) -> Response {
        // A value of GraphQL shows itself as GraphQL, not as JSON.
        let mut text = format!(r#"{{"errors":{errors}}}"#);
        self.add_cost(&mut text);
        self.body(status, text)
    }

    fn add_cost(&self, answer: &mut String) {
        if let Some(charged) = &self.charge {
            charged.extend(answer);
        }
    }

    fn body(&self, status: StatusCode, text: String) -> Response {
        let length = Length(text.capacity());
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response.extensions_mut().insert(length);
        let headers = response.headers_mut();
        // for all that it gets on its way out
        headers.reserve(16);
        headers.insert(header::CONTENT_TYPE, self.media.content_type());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        if let Some(charged) = &self.charge {
            charged.write(response.headers_mut());
        }
        response
    }
}

/// What an operation was charged, and as what its caller is limited.
#[derive(Debug, Clone)]
pub struct Charged {
    /// The charge.
    pub charge: Charge,
    /// Name of the policy: `person` or `address`.
    pub policy: &'static str,
}

impl Charged {
    /// Adds `extensions.cost` to the text of an answer, which has no extensions of its own: what was asked for and what of it
    /// was charged (all or nothing), and where the caller stands, which is null without a limit.
    pub fn extend(&self, answer: &mut String) {
        let allowance = self.charge.allowance.as_ref();
        let is_refused = allowance.is_some_and(|allowance| allowance.refused.is_some());
        let or_null = |value: Option<u64>| value.map_or(Cow::Borrowed("null"), |value| value.to_string().into());
        let (remaining, restore) =
            (allowance.map(|allowance| allowance.remaining), allowance.map(|allowance| allowance.restore_per_second));
        let (requested, actual) = (self.charge.cost, if is_refused { 0 } else { self.charge.cost });
        let (remaining, restore) = (or_null(remaining.map(u64::from)), or_null(restore.map(u64::from)));
        // the brace that ends it
        answer.pop();
        // a text takes everything
        let _ = write!(
            answer,
            r#","extensions":{{"cost":{{"requested":{requested},"actual":{actual},"remaining":{remaining},"restoreRate":{restore}}}}}}}"#
        );
    }

    /// Adds the `RateLimit` headers, if there is a limit.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Some(allowance) = &self.charge.allowance else { return };
        let window = allowance.limit.div_ceil(allowance.restore_per_second.max(1));
        // The same moment as `Retry-After`, as the draft asks, else that of the full bucket.
        let reset = whole_seconds(allowance.refused.unwrap_or(allowance.full_after));
        let policy = format!("\"{}\";q={};w={window}", self.policy, allowance.limit);
        let state = format!("\"{}\";r={};t={reset}", self.policy, allowance.remaining);
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Plain JSON outside of GraphQL.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, value.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::PathSegment;

    fn id() -> RequestId {
        RequestId("r1".into())
    }

    fn finished(error: ServerError) -> serde_json::Value {
        match finish(async_graphql::Response::from_errors(vec![error]), &id()) {
            Outcome::Errors(text) => serde_json::from_str::<serde_json::Value>(&text).unwrap()[0].clone(),
            Outcome::Result(text) => serde_json::from_str::<serde_json::Value>(&text).unwrap()["errors"][0].clone(),
        }
    }

    #[test]
    fn a_fault_of_the_service_shows_its_reference_and_nothing_else() {
        let mut error = ServerError::new("secret", None).with_path(vec![PathSegment::Field("a".into())]);
        error.source = Some(std::sync::Arc::new(Error::internal("secret")));
        let public = finished(error);
        assert_eq!(public["extensions"], serde_json::json!({"code": "INTERNAL", "reference": "r1"}));
        assert!(!public.to_string().contains("secret"));
    }

    #[test]
    fn a_foreign_error_is_a_fault_of_the_service() {
        let mut error = ServerError::new("secret", None);
        error.source = Some(std::sync::Arc::new(std::io::Error::other("secret")));
        assert!(!finished(error).to_string().contains("secret"));
    }

    #[test]
    fn every_error_has_a_code() {
        assert_eq!(finished(ServerError::new("Unknown field", None))["extensions"]["code"], "VALIDATION_FAILED");
        let mut error = ServerError::new("x", None);
        error.source = Some(std::sync::Arc::new(Error::argument("after", "The cursor is malformed.")));
        assert_eq!(finished(error)["extensions"], serde_json::json!({"code": "VALIDATION_FAILED", "argument": "after"}));
    }

    #[test]
    fn a_request_error_has_no_data_and_a_nulled_root_has() {
        let nulled = ServerError::new("x", None).with_path(vec![PathSegment::Field("a".into())]);
        assert!(
            matches!(finish(async_graphql::Response::from_errors(vec![nulled]), &id()), Outcome::Result(text) if text.contains(r#""data":null"#))
        );
        let refused = ServerError::new("x", None);
        assert!(matches!(finish(async_graphql::Response::from_errors(vec![refused]), &id()), Outcome::Errors(_)));
    }

    #[tokio::test]
    async fn an_answer_that_lacks_something_that_is_down_is_told_from_one_that_failed() {
        struct Query;
        #[async_graphql::Object]
        impl Query {
            async fn down(&self) -> async_graphql::Result<i32> {
                Err(async_graphql::Error::new_with_source(Error::unavailable("Try again.", "secret")))
            }
            async fn wrong(&self) -> async_graphql::Result<i32> {
                Err(async_graphql::Error::new_with_source(Error::argument("first", "Too large.")))
            }
        }
        let schema = async_graphql::Schema::build(Query, async_graphql::EmptyMutation, async_graphql::EmptySubscription);
        let schema = schema.extension(failures::ErrorPaths).finish();
        assert!(is_unavailable(&schema.execute("{ down }").await));
        assert!(!is_unavailable(&schema.execute("{ wrong }").await));
        assert!(!is_unavailable(&schema.execute("{ __typename }").await));
    }

    #[test]
    fn a_refusal_keeps_its_code() {
        let mut error = ServerError::new("x", None).with_path(vec![PathSegment::Field("a".into())]);
        error.source = Some(std::sync::Arc::new(Error::fault(FaultCode::NotFound, "There is no such batch.")));
        let response = async_graphql::Response::from_errors(vec![error]);
        assert!(is_refusal(&response));
        assert!(finish_refused(response, &id()).contains("NOT_FOUND"));
    }
}
