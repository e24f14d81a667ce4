//! Runs one operation as a stream, for the transports that answer as results come: sockets and event streams. It gives
//! finished JSON and must not know how that is framed. Dropping the stream ends the work behind it.

use super::{
    Front, RequestId, admission,
    document::{Operation, Prepared, Rejection},
    graphql::{operation_span, timed_out},
    groups::Member,
    observe::Observation,
    quotas::Full,
    respond::{self, Charged, Outcome, PublicError},
    sharing::{Membership, Subscriber},
};
use crate::{
    domain::actor::Actor,
    error::{Error, FaultCode},
    graphql::{context, following::Course, loads::Loads},
    services::rate_limits::Caller,
};
use async_graphql::{Response, parser::types::OperationType};
use async_stream::stream;
use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use metrics::counter;
use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc};
use tracing::{Instrument, Span};

/// What an operation is told, in text that may be shared. The last of it is not a result.
#[derive(Debug, Clone)]
pub enum Told {
    /// A result in JSON.
    Result(Arc<str>),
    /// A list of errors in JSON: the operation was refused or broke.
    Errors(Arc<str>),
    /// The same of a subscription that was running: an event could not be told whole, because something that it needs is
    /// down. A client that takes the stream up again after the last event that it has seen misses nothing.
    Lost(Arc<str>),
    /// The operation has ended.
    Done {
        /// It was a subscription, which a client may take up again.
        is_subscription: bool,
    },
}

impl Told {
    /// True if nothing follows.
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::Result(_))
    }
}

/// The end of a subscription.
pub const DONE: Told = Told::Done { is_subscription: true };

/// A step of an operation.
#[derive(Debug)]
pub enum Step {
    /// It is told something.
    Told(Told),
    /// It is a subscription whose events come from a group from now on. Nothing follows.
    Joined(Box<Membership>),
}

impl From<Told> for Step {
    fn from(told: Told) -> Self {
        Self::Told(told)
    }
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
            Err(errors) => yield Told::Errors(errors.into()).into(),
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

/// An error as a list in JSON.
pub fn described(error: &Error, request: &RequestId) -> String {
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
    mut prepared: Prepared,
    actor: Option<Actor>,
    charged: Charged,
    request: RequestId,
    mut seen: Observation,
) -> impl Stream<Item = Step> + Send + 'static {
    stream! {
        let kind = prepared.kind;
        seen.execute(&front.names, &prepared, actor.is_some());
        let person = actor.as_ref().and_then(|actor| actor.user).filter(|_| kind == OperationType::Subscription);
        let place = match person.map(|person| front.places.stream_of(person)).transpose() {
            Ok(place) => place,
            Err(full) => {
                let (code, errors) = no_place(full, &request);
                seen.fail(code);
                yield Told::Errors(errors.into()).into();
                return;
            }
        };
        let span = operation_span(&prepared, &request);
        let (loads, course) = (Loads::default(), Course::default());
        let mut data = context::session(&front.state.services, actor.clone(), &loads);
        data.insert(charged.charge.clone());
        data.insert(course.clone());
        let template = prepared.template.take();
        let responses = front.state.schema.execute_stream(prepared.into_request(data));
        let subscriber = Subscriber { front, actor, request, seen, place, template };
        let execution = Execution { responses, loads, course, span, charged: Some(charged), kind };
        let mut steps = pin!(follow(subscriber, execution));
        while let Some(step) = steps.next().await {
            yield step;
        }
    }
}

/// A running execution.
pub struct Execution {
    /// What it gives.
    pub responses: BoxStream<'static, Response>,
    /// What its resolvers ask for.
    pub loads: Loads,
    /// Where it stands, if it is a stream whose events may be written once for many.
    pub course: Course,
    /// Its span, for logs and traces.
    pub span: Span,
    /// What was paid for it, if that is to be told; none if it was begun before.
    pub charged: Option<Charged>,
    /// What it is. A subscription goes on after the first result.
    pub kind: OperationType,
}

/// The steps of an execution, until it ends or its subscriber joins others.
pub fn follow(mut subscriber: Subscriber, execution: Execution) -> impl Stream<Item = Step> + Send + 'static {
    stream! {
        let Execution { mut responses, loads, course, span, charged, kind } = execution;
        let is_subscription = kind == OperationType::Subscription;
        let request_timeout = subscriber.front.state.settings.request_timeout;
        let request = subscriber.request.clone();
        // what goes on was not refused
        let mut is_first = charged.is_some();
        let mut member: Option<Member<_>> = None;
        let last = loop {
            let next = AssertUnwindSafe(loads.drive(responses.next())).catch_unwind().instrument(span.clone());
            let next = if is_subscription { Ok(next.await) } else { tokio::time::timeout(request_timeout, next).await };
            if let Ok(Ok(Some(response))) = &next {
                subscriber.seen.result(response);
            }
            let failed = match next {
                Ok(Ok(None)) => break Told::Done { is_subscription },
                Ok(Ok(Some(response))) if is_subscription && is_first && respond::is_refusal(&response) => {
                    break Told::Errors(respond::finish_refused(response, &request).into());
                }
                Ok(Ok(Some(response))) => {
                    if is_subscription {
                        counter!("claimwright_subscription_events_executed_total", "for" => "one").increment(1);
                    }
                    // a stream is paid for at its beginning; its events cost nothing
                    let told =
                        if is_subscription { told_of_event(response, &request) } else { told(response, &request, charged.as_ref()) };
                    if told.is_last() {
                        break told;
                    }
                    is_first = false;
                    yield told.into();
                    let Some(at) = course.place().filter(|place| place.is_live) else { continue };
                    if member.is_none() {
                        member = subscriber.enter(at);
                    }
                    let has_all = member.as_mut().is_some_and(|member| member.was_told(at.sequence));
                    match member.take() {
                        Some(member) if has_all => {
                            drop(responses);
                            yield Step::Joined(Box::new(Membership::new(member, subscriber)));
                            return;
                        }
                        // the group is ahead by what it was when it was entered, and keeps what came since
                        waiting => member = waiting,
                    }
                    continue;
                }
                Ok(Err(_)) => respond::internal("an operation panicked"),
                Err(_) => timed_out(),
            };
            subscriber.seen.fail(respond::public_code(&failed));
            break Told::Errors(described(&failed, &request).into());
        };
        // before the last step, after which a client may begin the next
        drop((responses, member, subscriber.place.take()));
        yield last.into();
    }
}

/// What a result says, and what it cost.
fn told(response: Response, request: &RequestId, charged: Option<&Charged>) -> Told {
    match respond::finish(response, request) {
        Outcome::Result(mut result) => {
            if let Some(charged) = charged {
                charged.extend(&mut result);
            }
            Told::Result(result.into())
        }
        Outcome::Errors(errors) => Told::Errors(errors.into()),
    }
}

/// What an event says of a subscription that was not refused.
pub fn told_of_event(response: Response, request: &RequestId) -> Told {
    if respond::is_unavailable(&response) {
        return Told::Lost(respond::finish_refused(response, request).into());
    }
    told(response, request, None)
}
