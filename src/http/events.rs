//! graphql-sse in distinct-connections mode: one operation, one response of `text/event-stream` on the same address. It
//! owns the framing and how a stream ends: with `complete` only if the operation did, so that clients come back when the
//! server drains or their token ends. A client that goes away drops the body, and with it the work.

use super::{
    Front, RequestId,
    document::Prepared,
    execution::{self, Told},
    observe::Observation,
    respond::Charged,
    sharing,
};
use crate::domain::actor::Actor;
use async_graphql::parser::types::OperationType;
use async_stream::stream;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, interval_at, sleep};

/// How often a quiet stream shows that it is alive; proxies cut silent ones after 30 seconds or more.
const HEARTBEAT: Duration = Duration::from_secs(12);
/// Time that a subscription gets to say why it ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A comment: it makes clients and proxies see the head at once, and carries nothing.
const BEAT: &str = ":\n\n";
/// The empty `data` lets `EventSource` see the event.
const COMPLETE: &str = "event: complete\ndata: \n\n";

/// Answers with the results of an operation.
pub fn answer(
    front: &Arc<Front>,
    prepared: Prepared,
    actor: Option<Actor>,
    charged: Charged,
    request: RequestId,
    seen: Observation,
) -> Response {
    let is_subscription = prepared.kind == OperationType::Subscription;
    let expires_at = actor.as_ref().and_then(|actor| actor.expires_at);
    let (front_of_end, front_of_check) = (Arc::clone(front), Arc::clone(front));
    let end = End {
        comes: async move { comes(&front_of_end, expires_at).await },
        has_come: move || front_of_check.state.shutdown.is_cancelled() || expires_at.is_some_and(|at| at <= now(&front_of_check)),
    };
    let mut head = HeaderMap::new();
    charged.write(&mut head);
    let steps = sharing::to_the_end(execution::run(Arc::clone(front), prepared, actor, charged, request, seen));
    let mut response = respond(Body::from_stream(framed(steps, end, is_subscription).map(Ok::<_, Infallible>)));
    response.headers_mut().extend(head);
    response
}

/// Answers with the errors, in JSON, of an operation that is not executed: the protocol has them in an event.
pub fn refuse(errors: &str) -> Response {
    respond(Body::from(format!("{BEAT}{}{COMPLETE}", next(&errors_only(errors)))))
}

/// When a stream has to end by itself: the process drains, or the token ends.
struct End<F, C> {
    /// Ready then.
    comes: F,
    /// True from then on. An operation may notice it a moment earlier than `comes` does.
    has_come: C,
}

async fn comes(front: &Front, expires_at: Option<DateTime<Utc>>) {
    let expired = async {
        match expires_at {
            Some(at) => sleep((at - now(front)).to_std().unwrap_or_default()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = front.state.shutdown.cancelled() => {}
        () = expired => {}
    }
}

fn now(front: &Front) -> DateTime<Utc> {
    front.state.services.progress.now()
}

/// The text of the stream.
fn framed(
    steps: impl Stream<Item = Told> + Send,
    end: End<impl Future<Output = ()> + Send, impl Fn() -> bool + Send>,
    is_subscription: bool,
) -> impl Stream<Item = String> + Send {
    enum Happened {
        Told(Option<Told>),
        Over,
        Beat,
    }
    stream! {
        yield BEAT.to_owned();
        let (mut steps, mut comes) = (pin!(steps), pin!(end.comes));
        let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let (mut is_over, mut ends) = (false, None);
        loop {
            let last_moment = async {
                match ends {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let happened = tokio::select! {
                biased;
                () = &mut comes, if !is_over => Happened::Over,
                () = last_moment => return,
                told = steps.next() => Happened::Told(told),
                _ = beat.tick() => Happened::Beat,
            };
            match happened {
                Happened::Told(Some(Told::Result(result))) => yield next(&result),
                Happened::Told(Some(Told::Errors(errors))) => {
                    yield next(&errors_only(&errors));
                    yield COMPLETE.to_owned();
                    return;
                }
                Happened::Told(Some(Told::Done { .. })) => {
                    // A subscription that ends together with the server or the token has not come to its end.
                    if !(is_subscription && (is_over || (end.has_come)())) {
                        yield COMPLETE.to_owned();
                    }
                    return;
                }
                // no `complete`: a client that loses the stream comes back for it, one that is told of its end does not
                Happened::Told(None | Some(Told::Lost(_))) => return,
                Happened::Over => {
                    is_over = true;
                    // A query or a mutation has its own time-out and may finish.
                    ends = is_subscription.then(|| Instant::now() + LAST_WORDS);
                }
                Happened::Beat => yield BEAT.to_owned(),
            }
        }
    }
}

/// A `next` event; the JSON has no line breaks of its own.
fn next(result: &str) -> String {
    format!("event: next\ndata: {result}\n\n")
}

fn errors_only(errors: &str) -> String {
    format!(r#"{{"errors":{errors}}}"#)
}

fn respond(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        // Nothing between here and the client may keep, change or compress it, nor wait until there is more of it.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        (header::VARY, HeaderValue::from_static("accept")),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use std::future::{pending, ready};

    fn result(json: &str) -> Told {
        Told::Result(json.into())
    }

    const DONE: Told = Told::Done { is_subscription: true };

    fn end(has_come: bool) -> End<impl Future<Output = ()> + Send, impl Fn() -> bool + Send> {
        let comes = async move { if has_come { ready(()).await } else { pending().await } };
        End { comes, has_come: move || has_come }
    }

    async fn text(steps: impl Stream<Item = Told> + Send, has_come: bool, is_subscription: bool) -> String {
        framed(steps, end(has_come), is_subscription).collect::<Vec<_>>().await.concat()
    }

    #[tokio::test]
    async fn results_are_events_and_the_last_one_says_that_it_is_complete() {
        let all = text(stream::iter([result("{\"data\":1}"), result("{\"data\":2}"), DONE]), false, true).await;
        assert_eq!(all, ":\n\nevent: next\ndata: {\"data\":1}\n\nevent: next\ndata: {\"data\":2}\n\nevent: complete\ndata: \n\n");
        let refused = text(stream::iter([Told::Errors("[{}]".into())]), false, true).await;
        assert_eq!(refused, ":\n\nevent: next\ndata: {\"errors\":[{}]}\n\nevent: complete\ndata: \n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_is_cut_off_is_not_complete_but_says_its_last_words() {
        let ends_itself = stream::iter([result("{}"), DONE]);
        assert_eq!(text(ends_itself, true, true).await, ":\n\nevent: next\ndata: {}\n\n");
        let notices_first = framed(stream::iter([DONE]), End { comes: pending(), has_come: || true }, true);
        assert_eq!(notices_first.collect::<Vec<_>>().await, [BEAT]);
        let lost = stream::iter([result("{}"), Told::Lost("[{}]".into())]);
        assert_eq!(text(lost, false, true).await, ":\n\nevent: next\ndata: {}\n\n");
        let never_ends = stream::iter([result("{}")]).chain(stream::pending());
        assert_eq!(text(never_ends, true, true).await, ":\n\nevent: next\ndata: {}\n\n");
        let query = stream::once(async {
            sleep(LAST_WORDS * 3).await;
            result("{}")
        })
        .chain(stream::iter([DONE]));
        assert_eq!(text(query, true, false).await, ":\n\nevent: next\ndata: {}\n\nevent: complete\ndata: \n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_shows_that_it_is_alive() {
        let stream = framed(stream::pending(), end(false), true);
        let began = Instant::now();
        assert_eq!(stream.take(4).collect::<Vec<_>>().await, [BEAT; 4]);
        assert_eq!(began.elapsed(), HEARTBEAT * 3);
    }
}
