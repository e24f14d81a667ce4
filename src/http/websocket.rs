//! One session per socket, in either dialect of GraphQL over WebSocket. It owns the map of running operations, when the
//! socket is closed and why, and the bounded way out, so that a slow reader holds its own streams back and nothing else.
//! An operation runs in a task of its own, until its events come from a group: from then on the session takes them itself.
//! What a message is, `dialect` knows; what an event is, the schema.

use super::{
    Front, RequestId, admission, auth,
    closing::Close,
    dialect::{ClientMessage, Dialect, Envelope},
    document::{Operation, Rejection},
    execution::{self, Step, Told},
    frames::{MAX_QUEUED, Outbox, Received},
    groups::Turn,
    handshake::CLOSE_TIMEOUT,
    quotas::Place,
    respond::{self, PublicError},
    sharing::Membership,
};
use crate::{
    domain::actor::Actor,
    error::{Error, FaultCode},
    services::progress::EndReason,
};
use axum::extract::ws::{Message, WebSocket};
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use std::{
    collections::HashMap,
    future::poll_fn,
    net::IpAddr,
    ops::ControlFlow,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// Time that open subscriptions get to say why they end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Most operations that run on one socket.
const MAX_OPERATIONS: usize = 100;
/// Events of a group that are written together.
const AT_ONCE: usize = 16;

/// Runs a session with a client at an address until the socket is closed.
pub async fn serve(front: Arc<Front>, id: RequestId, dialect: Dialect, address: IpAddr, socket: WebSocket) {
    let (queue, outputs) = mpsc::channel(MAX_QUEUED);
    Session::new(front, id, dialect, address, queue).run(socket, outputs).await;
}

/// A step of an operation, with the operation that it is from. Ids may be used again, serials are not.
struct Outgoing {
    id: String,
    serial: u64,
    step: Step,
}

/// A running operation; dropping it ends its work.
struct Running {
    serial: u64,
    envelope: Envelope,
    work: Work,
}

enum Work {
    /// In a task of its own, which ends with this.
    Task { _task: AbortOnDropHandle<()> },
    /// Its events come from a group.
    Member(Box<Membership>),
}

/// How far a session is. Each state ends by itself at a moment.
enum Phase {
    /// Waits for `connection_init`.
    Opening,
    /// Serves an actor until the token ends.
    Serving(Actor),
    /// Lets open operations say their last words.
    Ending(Close),
}

struct Session {
    front: Arc<Front>,
    id: RequestId,
    dialect: Dialect,
    address: IpAddr,
    phase: Phase,
    phase_ends: Instant,
    operations: HashMap<String, Running>,
    serial: u64,
    /// The last operation that a group told something.
    served: u64,
    // boxed, because a channel has room for many of them from the start
    queue: mpsc::Sender<Box<Outgoing>>,
    outbox: Outbox,
    heard: Instant,
    /// When the peer is pinged next.
    pinged_at: Instant,
    /// The person's place among the sockets that one may have.
    place: Option<Place>,
}

impl Session {
    fn new(front: Arc<Front>, id: RequestId, dialect: Dialect, address: IpAddr, queue: mpsc::Sender<Box<Outgoing>>) -> Self {
        let (now, init_timeout, every) = (Instant::now(), front.state.settings.socket_init_timeout, front.state.settings.socket_ping);
        Self {
            front,
            id,
            dialect,
            address,
            phase: Phase::Opening,
            phase_ends: now + init_timeout,
            operations: HashMap::new(),
            serial: 0,
            served: 0,
            queue,
            outbox: Outbox::default(),
            heard: now,
            pinged_at: now + every,
            place: None,
        }
    }

    async fn run(mut self, socket: WebSocket, mut outputs: mpsc::Receiver<Box<Outgoing>>) {
        let (mut sink, mut stream) = socket.split();
        let shutdown = self.front.state.shutdown.clone();
        // once: all sockets wait for it on one list, behind one lock
        let mut is_shut_down = pin!(shutdown.cancelled());
        let mut alarm = pin!(sleep_until(self.next_moment()));
        let close = loop {
            if let Phase::Ending(close) = &self.phase
                && self.operations.is_empty()
                && self.outbox.is_empty()
            {
                break Some(close.clone());
            }
            if alarm.deadline() != self.next_moment() {
                alarm.as_mut().reset(self.next_moment());
            }
            tokio::select! {
                () = &mut alarm => match self.at_the_moment() {
                    ControlFlow::Break(close) => break close,
                    ControlFlow::Continue(()) => {}
                },
                () = &mut is_shut_down, if !matches!(self.phase, Phase::Ending(_)) => self.begin_ending(Close::RESTARTING),
                written = poll_fn(|context| self.poll_write(&mut sink, context)) => if written.is_err() { break None },
                Some(outgoing) = outputs.recv(), if self.outbox.is_empty() => self.forward(*outgoing),
                received = stream.next(), if self.outbox.has_room() => {
                    self.heard = Instant::now();
                    match received.map(Received::from) {
                        Some(Received::Text(text)) => {
                            // A fault in here must not look like a lost connection.
                            let handled = AssertUnwindSafe(self.handle(&text)).catch_unwind().await;
                            if let Some(close) = handled.unwrap_or(Err(Close::INTERNAL)).err().and_then(|close| self.leave(close)) {
                                break Some(close);
                            }
                        }
                        Some(Received::Nothing) => {}
                        Some(Received::Unusable(close)) => break close,
                        None => break None,
                    }
                }
            }
        };
        self.operations.clear();
        let closing = async {
            if let Some(close) = close {
                sink.send(Message::Close(Some(close.frame()))).await.ok();
            }
            while let Some(Ok(_)) = stream.next().await {}
        };
        // The peer may never answer; what matters has been sent.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, closing).await);
    }

    /// When something is to be done that nobody asks for.
    fn next_moment(&self) -> Instant {
        self.phase_ends.min(self.pinged_at)
    }

    /// Does it, or says that the socket is to be closed, and why if the peer is to know.
    fn at_the_moment(&mut self) -> ControlFlow<Option<Close>> {
        let now = Instant::now();
        if self.phase_ends <= now
            && let Some(close) = self.end_phase()
        {
            return ControlFlow::Break(Some(close));
        }
        if self.pinged_at <= now {
            if self.heard.elapsed() > self.front.state.settings.socket_silence {
                return ControlFlow::Break(None);
            }
            self.pinged_at = now + self.front.state.settings.socket_ping;
            if self.outbox.is_empty() {
                self.outbox.push(Message::Ping(bytes::Bytes::new()));
                self.outbox.push_text(self.dialect.heartbeat());
            }
        }
        ControlFlow::Continue(())
    }

    /// Writes what waits, and then what groups tell for as long as the socket takes it. Comes to an end if others may be asked
    /// again now that nothing waits any more, or if an operation or the session has ended.
    fn poll_write<S: Sink<Message> + Unpin>(&mut self, sink: &mut S, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let standing = |session: &Self| (session.operations.len(), matches!(session.phase, Phase::Ending(_)));
        let (has_waited, before) = (!self.outbox.is_flushed(), standing(self));
        loop {
            ready!(self.outbox.poll_write(sink, context))?;
            if has_waited || standing(self) != before {
                return Poll::Ready(Ok(()));
            }
            let (serial, turn) = ready!(self.poll_turn(context));
            self.take_turns(serial, turn);
        }
    }

    /// What comes next from any group, with the serial of its operation: of those behind the one that was served last first, so
    /// that all have their turn.
    fn poll_turn(&mut self, context: &Context<'_>) -> Poll<(u64, Turn)> {
        for is_behind in [true, false] {
            for running in self.operations.values_mut().filter(|running| (running.serial > self.served) == is_behind) {
                if let Work::Member(membership) = &mut running.work
                    && let Poll::Ready(turn) = membership.poll_next(context)
                {
                    return Poll::Ready((running.serial, turn));
                }
            }
        }
        Poll::Pending
    }

    fn end_phase(&mut self) -> Option<Close> {
        match &self.phase {
            Phase::Opening => self.leave(Close::INIT_TIMED_OUT),
            Phase::Serving(_) => {
                self.begin_ending(Close::FORBIDDEN);
                let members = self.operations.iter().filter(|(_, running)| matches!(running.work, Work::Member(_)));
                for (id, serial) in members.map(|(id, running)| (id.clone(), running.serial)).collect::<Vec<_>>() {
                    self.end_member(id, serial);
                }
                None
            }
            Phase::Ending(close) => Some(close.clone()),
        }
    }

    /// Leaves at once, or as soon as the peer has been told, if the dialect has words for that.
    fn leave(&mut self, close: Close) -> Option<Close> {
        let is_told = close == Close::NORMAL || matches!(self.phase, Phase::Ending(_));
        let farewell = if is_told { None } else { self.dialect.farewell(close.reason()) };
        let Some(farewell) = farewell else { return Some(close) };
        self.operations.clear();
        self.outbox.push_text(farewell);
        self.begin_ending(close);
        None
    }

    fn begin_ending(&mut self, close: Close) {
        self.phase = Phase::Ending(close);
        self.phase_ends = Instant::now() + LAST_WORDS;
    }

    async fn handle(&mut self, text: &str) -> Result<(), Close> {
        let message = match self.dialect.decode(text) {
            Ok(message) => message,
            Err(invalid) => {
                let answer = self.dialect.invalid(&invalid).ok_or_else(|| Close::invalid(invalid.reason))?;
                self.outbox.push_text(answer);
                return Ok(());
            }
        };
        match message {
            // boxed: an open socket would keep room for it as long as it lives
            ClientMessage::Init(payload) => Box::pin(self.initialise(payload.as_ref())).await,
            ClientMessage::Ping(payload) => {
                self.outbox.push_text(super::protocol::pong(payload));
                Ok(())
            }
            ClientMessage::Pong => Ok(()),
            ClientMessage::Complete(id) => {
                if let (Some(_), Some(answer)) = (self.operations.remove(&id), self.dialect.completed(&id)) {
                    self.outbox.push_text(answer);
                }
                Ok(())
            }
            ClientMessage::Terminate => Err(Close::NORMAL),
            ClientMessage::Subscribe(id, operation) => self.subscribe(id, operation),
        }
    }

    async fn initialise(&mut self, payload: Option<&serde_json::Value>) -> Result<(), Close> {
        match &self.phase {
            Phase::Opening => {}
            Phase::Serving(_) => return Err(Close::INITIALISED_TWICE),
            Phase::Ending(close) => return Err(close.clone()),
        }
        let token = auth::init_token(payload).ok_or(Close::FORBIDDEN)?;
        let (principal, actor) = match auth::sign_in(&self.front.state, token).await {
            Ok(signed_in) => signed_in,
            Err(error) => return Err(self.not_signed_in(&error).await),
        };
        if let Some(person) = actor.user {
            self.place = Some(self.front.places.socket_of(person).ok_or(Close::TOO_MANY_SOCKETS)?);
        }
        let left = (principal.expires_at - self.front.state.services.progress.now()).to_std().unwrap_or_default();
        self.phase = Phase::Serving(actor);
        self.phase_ends = Instant::now() + left;
        self.dialect.ack().into_iter().for_each(|message| self.outbox.push_text(message));
        Ok(())
    }

    /// How the socket is closed if its token is not accepted.
    async fn not_signed_in(&self, error: &Error) -> Close {
        // Describing the error logs its cause.
        PublicError::of(error, &self.id);
        if admission::count_failed_sign_in(&self.front, self.address, error).await.is_some() {
            return Close::TRY_LATER;
        }
        match error {
            Error::Fault(fault) if matches!(fault.code, FaultCode::Unauthenticated | FaultCode::Forbidden) => Close::FORBIDDEN,
            Error::Fault(fault) if fault.code != FaultCode::Internal => Close::TRY_LATER,
            _ => Close::INTERNAL,
        }
    }

    fn subscribe(&mut self, id: String, operation: Operation) -> Result<(), Close> {
        let actor = match &self.phase {
            Phase::Opening => return Err(Close::UNAUTHORISED),
            Phase::Serving(actor) => actor.clone(),
            Phase::Ending(_) => {
                self.refuse(&id, &Error::fault(FaultCode::Unavailable, "The connection is being closed. Connect again."));
                return Ok(());
            }
        };
        if self.dialect.replaces() {
            self.operations.remove(&id);
        } else if self.operations.contains_key(&id) {
            return Err(Close::id_in_use(&id));
        }
        if self.operations.len() >= MAX_OPERATIONS {
            let message = format!("A connection may run {MAX_OPERATIONS} operations at once. Complete one first.");
            let rejection = Rejection::too_complex(message, MAX_OPERATIONS as u64, self.operations.len() as u64 + 1);
            self.outbox.push_text(self.dialect.error(&id, &respond::list(&[rejection.into()])));
            return Ok(());
        }
        self.start(id, operation, actor);
        Ok(())
    }

    fn refuse(&mut self, id: &str, error: &Error) {
        self.outbox.push_text(self.dialect.error(id, &respond::list(&[PublicError::of(error, &self.id)])));
    }

    fn start(&mut self, id: String, operation: Operation, actor: Actor) {
        self.serial += 1;
        let serial = self.serial;
        let steps = execution::serve(Arc::clone(&self.front), operation, actor, self.id.operation(serial));
        let (envelope, work) = (self.dialect.envelope(&id), self.in_task(&id, serial, steps));
        self.operations.insert(id, Running { serial, envelope, work });
    }

    fn in_task(&self, id: &str, serial: u64, steps: impl Stream<Item = Step> + Send + 'static) -> Work {
        let (queue, id) = (self.queue.clone(), id.to_owned());
        let task = tokio::spawn(async move {
            let mut steps = std::pin::pin!(steps);
            // The queue is bounded: when the reader is slow, the operation waits here. It is closed once the session is over.
            while let Some(step) = steps.next().await {
                if queue.send(Box::new(Outgoing { id: id.clone(), serial, step })).await.is_err() {
                    return;
                }
            }
        });
        Work::Task { _task: AbortOnDropHandle::new(task) }
    }

    /// Puts what an operation gives on its way, unless the client has completed it meanwhile.
    fn forward(&mut self, Outgoing { id, serial, step }: Outgoing) {
        let Some(running) = self.operations.get_mut(&id).filter(|running| running.serial == serial) else { return };
        match step {
            Step::Told(told) => self.tell(&id, &told),
            Step::Joined(membership) => {
                running.work = Work::Member(membership);
                // it comes too late to be told with the others
                if matches!(&self.phase, Phase::Ending(close) if *close == Close::FORBIDDEN) {
                    self.end_member(id, serial);
                }
            }
        }
    }

    /// Puts what an operation is told on its way.
    fn tell(&mut self, id: &str, told: &Told) {
        match told {
            Told::Result(result) => {
                if let Some(running) = self.operations.get(id) {
                    self.outbox.push_text(running.envelope.around(result));
                }
            }
            Told::Errors(errors) | Told::Lost(errors) => {
                self.operations.remove(id);
                self.outbox.push_text(self.dialect.error(id, errors));
            }
            Told::Done { is_subscription } => {
                self.operations.remove(id);
                // A subscription that ends together with the session is not complete: its client is to come back for it.
                if !(*is_subscription && self.is_over()) {
                    self.outbox.push_text(self.dialect.complete(id));
                }
            }
        }
    }

    /// Puts what a group tells an operation on its way, together with what else is there already.
    fn take_turns(&mut self, serial: u64, turn: Turn) {
        let Some((id, running)) = self.operations.iter_mut().find(|(_, running)| running.serial == serial) else { return };
        let Work::Member(membership) = &mut running.work else { return };
        if let (Phase::Serving(actor), Turn::Frame(frame)) = (&self.phase, &turn)
            && actor.expires_at.is_some_and(|at| at <= self.front.state.services.progress.now())
        {
            // nothing is told after the token's end, and the end says what was told last
            membership.take_back(frame);
            self.end_phase();
            return;
        }
        self.served = serial;
        let mut next = Some(turn);
        for taken in 1..=AT_ONCE {
            let frame = match next {
                Some(Turn::Frame(frame)) => frame,
                Some(Turn::FallenOut) => {
                    let id = id.clone();
                    return self.leave_group(id, serial, |membership| membership.go_on().boxed());
                }
                None => return,
            };
            let Told::Result(result) = &frame.told else {
                let id = id.clone();
                return self.tell(&id, &frame.told);
            };
            self.outbox.push_text(running.envelope.around(result));
            next = if taken < AT_ONCE && self.outbox.has_room() { membership.next_now() } else { None };
        }
    }

    /// An operation goes on in a task of its own.
    fn leave_group(&mut self, id: String, serial: u64, steps: impl FnOnce(Membership) -> futures::stream::BoxStream<'static, Step>) {
        match self.operations.remove(&id) {
            Some(Running { envelope, work: Work::Member(membership), .. }) => {
                let work = self.in_task(&id, serial, steps(*membership));
                self.operations.insert(id, Running { serial, envelope, work });
            }
            Some(running) => drop(self.operations.insert(id, running)),
            None => {}
        }
    }

    /// The token of an operation has ended that is told by a group.
    fn end_member(&mut self, id: String, serial: u64) {
        self.leave_group(id, serial, |membership| membership.end(EndReason::NotAllowed).boxed());
    }

    fn has_ended(&self, actor: &Actor) -> bool {
        actor.expires_at.is_some_and(|at| at <= self.front.state.services.progress.now())
    }

    /// True if the session ends, whether or not the loop has come to it.
    fn is_over(&self) -> bool {
        match &self.phase {
            Phase::Opening => false,
            Phase::Serving(actor) => self.front.state.shutdown.is_cancelled() || self.has_ended(actor),
            Phase::Ending(_) => true,
        }
    }
}
