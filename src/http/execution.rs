//! Runs one operation as a stream, for the transports that answer as results come: sockets and event streams. It gives
//! finished JSON and must not know how that is framed. Dropping the stream ends the work behind it.

use super::{
    Front, RequestId, admission,
    document::{Operation, Prepared, Rejection},
    graphql::{operation_span, timed_out},
    observe::Observation,
    quotas::Full,
    respond::{self, Charged, Outcome, PublicError},
};
use crate::{
    domain::actor::Actor,
    error::{Error, FaultCode},
    graphql::{context, loads::Loads},
    services::rate_limits::Caller,
};
use async_graphql::parser::types::OperationType;
use async_stream::stream;
use futures::{FutureExt, Stream, StreamExt};
use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc};
use tracing::Instrument;

/// What an operation gives. The last step is one of the others.
#[derive(Debug)]
pub enum Step {
    /// A result in JSON.
    Result(String),
    /// A list of errors in JSON: the operation was refused or broke.
    Errors(String),
    /// The same of a subscription that was running: an event could not be told whole, because something that it needs is
    /// down. A client that takes the stream up again after the last event that it has seen misses nothing.
    Lost(String),
    /// The operation has ended.
    Done {
        /// It was a subscription, which a client may take up again.
        is_subscription: bool,
    },
}

/// Checks an operation, lets its caller pay, and runs it.
pub fn serve(front: Arc<Front>, operation: Operation, actor: Actor, request: RequestId) -> impl Stream<Item = Step> + Send + 'static {
    stream! {
        let mut seen = Observation::begin("websocket");
        let admitted = AssertUnwindSafe(admit(&front, operation, &actor, &request, &mut seen)).catch_unwind().await;
        let admitted = admitted.unwrap_or_else(|_| {
            seen.fail(FaultCode::Internal);
            Err(described(&respond::internal("checking an operation panicked"), &request))
        });
        match admitted {
            Ok((prepared, charged)) => {
                let mut steps = pin!(run(front, prepared, Some(actor), charged, request, seen));
                while let Some(step) = steps.next().await {
                    yield step;
                }
            }
            Err(errors) => yield Step::Errors(errors),
        }
    }
}

/// Checks an operation and lets its caller pay; the errors are a list in JSON.
async fn admit(
    front: &Front,
    operation: Operation,
    actor: &Actor,
    request: &RequestId,
    seen: &mut Observation,
) -> Result<(Prepared, Charged), String> {
    let incoming = operation.into_incoming().map_err(|error| {
        seen.fail(respond::public_code(&error));
        described(&error, request)
    })?;
    let (prepared, hash) = admission::check(front, incoming).await.map_err(|rejection| {
        seen.fail(rejection.code);
        respond::list(&[rejection.into()])
    })?;
    let charged = admission::pay(front, Caller::Person(actor.clone()), &prepared, hash).await.map_err(|unpaid| {
        seen.fail(unpaid.code());
        respond::list(&[unpaid.into()])
    })?;
    Ok((prepared, charged))
}

fn described(error: &Error, request: &RequestId) -> String {
    respond::list(&[PublicError::of(error, request)])
}

/// Why a stream cannot be followed now; the errors are a list in JSON.
fn no_place(full: Full, request: &RequestId) -> (FaultCode, String) {
    match full {
        Full::Person(most) => {
            let message = format!("A person may follow {most} streams at once. Complete one first.");
            let rejection = Rejection::too_complex(message, most as u64, most as u64 + 1);
            (FaultCode::TooComplex, respond::list(&[rejection.into()]))
        }
        Full::Process => {
            let error = Error::fault(FaultCode::Unavailable, "Too many streams are followed here. Try again later.");
            (FaultCode::Unavailable, described(&error, request))
        }
    }
}

/// Runs an operation that was checked. A panic in a resolver and one that never ends give errors too.
pub fn run(
    front: Arc<Front>,
    prepared: Prepared,
    actor: Option<Actor>,
    charged: Charged,
    request: RequestId,
    mut seen: Observation,
) -> impl Stream<Item = Step> + Send + 'static {
    stream! {
        let is_subscription = prepared.kind == OperationType::Subscription;
        seen.execute(&front.names, &prepared, actor.is_some());
        let person = actor.as_ref().and_then(|actor| actor.user).filter(|_| is_subscription);
        let place = match person.map(|person| front.places.stream_of(person)).transpose() {
            Ok(place) => place,
            Err(full) => {
                let (code, errors) = no_place(full, &request);
                seen.fail(code);
                yield Step::Errors(errors);
                return;
            }
        };
        let span = operation_span(&prepared, &request);
        let loads = Loads::default();
        let mut data = context::session(&front.state.services, actor, &loads);
        data.insert(charged.charge.clone());
        let operation = prepared.into_request(data);
        let mut responses = front.state.schema.execute_stream(operation);
        let mut is_first = true;
        let last = loop {
            let next = AssertUnwindSafe(loads.drive(responses.next())).catch_unwind().instrument(span.clone());
            let next = if is_subscription { Ok(next.await) } else { tokio::time::timeout(front.state.settings.request_timeout, next).await };
            if let Ok(Ok(Some(response))) = &next {
                seen.result(response);
            }
            let failed = match next {
                Ok(Ok(None)) => break Step::Done { is_subscription },
                Ok(Ok(Some(response))) if is_subscription && is_first && respond::is_refusal(&response) => {
                    break Step::Errors(respond::finish_refused(response, &request));
                }
                Ok(Ok(Some(response))) if is_subscription && respond::is_unavailable(&response) => {
                    break Step::Lost(respond::finish_refused(response, &request));
                }
                Ok(Ok(Some(mut response))) => {
                    // a stream is paid for at its beginning; its events cost nothing
                    if !is_subscription {
                        charged.extend(&mut response);
                    }
                    match respond::finish(response, &request) {
                        Outcome::Result(result) => {
                            is_first = false;
                            yield Step::Result(result);
                            continue;
                        }
                        Outcome::Errors(errors) => break Step::Errors(errors),
                    }
                }
                Ok(Err(_)) => respond::internal("an operation panicked"),
                Err(_) => timed_out(),
            };
            seen.fail(respond::public_code(&failed));
            break Step::Errors(described(&failed, &request));
        };
        // before the last step, after which a client may begin the next
        drop((responses, place));
        yield last;
    }
}
