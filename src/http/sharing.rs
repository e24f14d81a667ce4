//! Subscribers and the groups that they join: the work of a group, which executes each event once as nobody in particular,
//! and what a member does by itself, which is to fall out, to end with its token, and to be counted. It must not know how
//! what it gives is framed.

use super::{
    Front, RequestId,
    document::Template,
    execution::{self, DONE, Execution, Step, Told},
    groups::{Frame, Key, Member, Publisher, Turn},
    observe::Observation,
    quotas::Place,
    respond,
};
use crate::{
    domain::actor::{Actor, Visibility},
    error::{FaultCode, Result},
    graphql::{
        context,
        following::{self, Behind, Course, Given},
        loads::Loads,
    },
    services::progress::{BatchItem, EndReason, Start},
};
use async_graphql::{Response, parser::types::OperationType};
use async_stream::stream;
use futures::{FutureExt, Stream, StreamExt, stream::once};
use metrics::counter;
use std::{
    future::{pending, poll_fn, ready},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};
use tracing::Instrument;

/// One who runs an operation, for as long as it runs.
pub struct Subscriber {
    /// What everything is run with.
    pub front: Arc<Front>,
    /// Who it is.
    pub actor: Option<Actor>,
    /// Identifies the operation in the log.
    pub request: RequestId,
    /// What is measured of it.
    pub seen: Observation,
    /// The person's place among the streams that one may follow.
    pub place: Option<Place>,
    /// How events of the operation are written for all who ask for the same, if they may be.
    pub template: Option<Arc<Template>>,
}

/// A subscriber whose events come from a group.
pub struct Membership {
    member: Member<Template>,
    subscriber: Box<Subscriber>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// Enters the group of those who are told the same, once the stream has come to the present. A group is founded if
    /// there is none.
    pub fn enter(&self, at: following::Place) -> Option<Member<Template>> {
        let (template, actor) = (self.template.as_ref()?, self.actor.as_ref()?);
        let visibility = actor.visibility();
        let key = Key { visibility, document: template.digest };
        let begin = |publisher| {
            let work = work(Arc::clone(&self.front), Arc::clone(template), visibility, at, publisher);
            tokio::spawn(work).abort_handle()
        };
        Some(self.front.groups.enter(key, template, at.sequence, begin))
    }
}

impl Membership {
    /// A subscriber joins the group that it has entered.
    pub fn new(member: Member<Template>, mut subscriber: Subscriber) -> Self {
        // one for all: those of each would be most of what an idle subscriber takes
        subscriber.template = Some(Arc::clone(member.common()));
        Self { member, subscriber: Box::new(subscriber) }
    }

    /// What comes next.
    pub fn poll_next(&mut self, context: &Context<'_>) -> Poll<Turn> {
        self.member.poll_next(context).map(|turn| self.noted(turn))
    }

    /// What comes next, if it is there.
    pub fn next_now(&mut self) -> Option<Turn> {
        let turn = self.member.next_now()?;
        Some(self.noted(turn))
    }

    /// What came last is not told after all.
    pub fn take_back(&mut self, frame: &Frame) {
        self.member.take_back(frame);
    }

    fn noted(&mut self, turn: Turn) -> Turn {
        if let Turn::Frame(frame) = &turn
            && !matches!(frame.told, Told::Done { .. })
        {
            self.subscriber.seen.told(frame.failed);
        }
        turn
    }

    /// Goes on alone behind what it was told last.
    pub fn go_on(self) -> impl Stream<Item = Step> + Send + 'static {
        let Self { member, subscriber } = self;
        let (template, behind) = (Arc::clone(member.common()), Behind(member.last()));
        // only then does the group let go of it
        drop(member);
        let (loads, course) = (Loads::default(), Course::default());
        let mut data = context::session(&subscriber.front.state.services, subscriber.actor.clone(), &loads);
        data.insert(behind);
        data.insert(course.clone());
        let span = span(&template, &subscriber.request);
        let responses = subscriber.front.state.schema.execute_stream(template.request(data));
        execution::follow(*subscriber, Execution { responses, loads, course, span, charged: None, kind: OperationType::Subscription })
    }

    /// Says why it ends, and ends.
    pub fn end(self, reason: EndReason) -> impl Stream<Item = Step> + Send + 'static {
        stream! {
            let Self { member, subscriber } = self;
            let Subscriber { front, actor, request, mut seen, place, .. } = *subscriber;
            let item = BatchItem::Ended { sequence: member.last(), reason, at: front.state.services.progress.now() };
            let (told, failed) = show(&front, member.common(), actor, Ok(item), &request).await;
            seen.told(failed);
            // before the last words, after which a client may begin the next
            drop((member, place));
            let is_last = told.is_last();
            yield Step::Told(told);
            if !is_last {
                yield Step::Told(DONE);
            }
        }
    }

    /// When the token ends.
    fn expired(&self) -> impl Future<Output = ()> + Send + use<> {
        let now = self.subscriber.front.state.services.progress.now();
        let left = self.subscriber.actor.as_ref().and_then(|actor| actor.expires_at).map(|at| (at - now).to_std().unwrap_or_default());
        async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => pending().await,
            }
        }
    }
}

/// All that an operation is told, for a transport that does not look after memberships itself.
pub fn to_the_end(steps: impl Stream<Item = Step> + Send + 'static) -> impl Stream<Item = Told> + Send + 'static {
    stream! {
        let mut steps = steps.boxed();
        while let Some(step) = steps.next().await {
            let mut membership = match step {
                Step::Told(told) => {
                    yield told;
                    continue;
                }
                Step::Joined(membership) => membership,
            };
            let mut expired = Box::pin(membership.expired());
            steps = loop {
                let turn = poll_fn(|context| match expired.poll_unpin(context) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => membership.poll_next(context).map(Some),
                });
                match turn.await {
                    None => break membership.end(EndReason::NotAllowed).boxed(),
                    Some(Turn::FallenOut) => break membership.go_on().boxed(),
                    Some(Turn::Frame(frame)) => {
                        yield frame.told.clone();
                        if frame.told.is_last() {
                            return;
                        }
                    }
                }
            };
        }
    }
}

/// The work of a group: watches as somebody who may see what all members may see and is nothing else, and executes each
/// event once.
async fn work(front: Arc<Front>, template: Arc<Template>, visibility: Visibility, at: following::Place, group: Publisher<Template>) {
    let (actor, request, mut sequence) = (visibility.actor(), RequestId::fresh(), at.sequence);
    let begun = front.state.services.progress.watch_batch(actor.clone(), at.batch, Start::ForAll(sequence)).await;
    let items = match begun {
        Ok((_, items)) => items.left_stream(),
        Err(error) => once(ready(Err(error))).right_stream(),
    };
    let mut items = pin!(items);
    while let Some(item) = items.next().await {
        let is_event = match &item {
            Ok(BatchItem::Event(event)) => {
                sequence = event.sequence;
                true
            }
            _ => false,
        };
        let (told, failed) = show(&front, &template, Some(actor.clone()), item, &request).await;
        let is_last = told.is_last();
        if !group.publish(Frame { sequence, is_event, told, failed }) || is_last {
            return;
        }
    }
    group.publish(Frame { sequence, is_event: false, told: DONE, failed: None });
}

/// What an item of a batch's stream is to those who ask for this, and the code of its first error.
async fn show(
    front: &Front,
    template: &Template,
    actor: Option<Actor>,
    item: Result<BatchItem>,
    request: &RequestId,
) -> (Told, Option<FaultCode>) {
    counter!("claimwright_subscription_events_executed_total", "for" => "all").increment(1);
    let loads = Loads::default();
    let mut data = context::session(&front.state.services, actor, &loads);
    data.insert(Given::new(item));
    let mut responses = front.state.schema.execute_stream(template.request(data));
    let executed = AssertUnwindSafe(loads.drive(responses.next())).catch_unwind().instrument(span(template, request)).await;
    let Ok(Some(response)) = executed else {
        let error = respond::internal("an event of a subscription panicked");
        return (Told::Errors(execution::described(&error, request).into()), Some(FaultCode::Internal));
    };
    let failed = first_code(&response);
    (execution::told_of_event(response, request), failed)
}

fn first_code(response: &Response) -> Option<FaultCode> {
    response.errors.first().map(respond::code_of)
}

fn span(template: &Template, request: &RequestId) -> tracing::Span {
    super::graphql::span_of("subscription", template.name(), request)
}
