//! graphql-transport-ws: one session per socket. It owns the handshake, the map of running operations, the close codes
//! and the bounded way out, so that a slow reader holds its own streams back and nothing else. What a message is,
//! `protocol` knows; what an event is, the schema.

use super::{
    Front, RequestId, auth,
    document::{self, Operation, Prepared},
    graphql::{MAX_ANONYMOUS_BODY, operation_span, timed_out},
    hosts,
    negotiate::Media,
    observe::{Observation, Open},
    protocol,
    protocol::ClientMessage,
    quotas::Place,
    respond::{self, Outcome, PublicError, Refused, Reply},
    server::Connection,
};
use crate::{
    domain::actor::Actor,
    error::{Error, FaultCode},
    graphql::{context, loads::Loads},
};
use async_graphql::parser::types::OperationType;
use axum::{
    extract::{
        FromRequestParts, Request, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    response::Response,
};
use futures::{FutureExt, Sink, SinkExt, StreamExt, stream::SplitSink};
use http::{HeaderMap, StatusCode, header};
use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, Sleep, sleep_until},
};
use tokio_tungstenite::tungstenite;
use tracing::Instrument;

const PROTOCOL: &str = "graphql-transport-ws";
/// Longest time from opening a socket to `connection_init`.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that open subscriptions get to say why they end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Longest time for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a quiet socket is pinged, and when a silent one is given up. A client that only reads slowly answers late.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_mins(3);
/// Most operations that run on one socket.
const MAX_OPERATIONS: usize = 100;
/// Messages that wait for a slow reader; its streams wait behind them.
const MAX_QUEUED: usize = 64;

/// Why the server closes. graphql-ws retries on 4403, 4408 and on 1012 and 1013, and gives up on the others.
type Close = (u16, &'static str);
const INVALID_MESSAGE: Close = (4400, "Invalid message received");
const NOT_INITIALISED: Close = (4401, "Unauthorized");
const FORBIDDEN: Close = (4403, "Forbidden");
const INIT_TIMED_OUT: Close = (4408, "Connection initialisation timeout");
const ID_IN_USE: Close = (4409, "Subscriber already exists");
const INITIALISED_TWICE: Close = (4429, "Too many initialisation requests");
const RESTARTING: Close = (1012, "The server restarts");
const TRY_LATER: Close = (1013, "Try again later");
const TOO_MANY_SOCKETS: Close = (1013, "Too many connections of one person; close one and try again");

/// True if a request wants to become a socket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
}

/// Answers the upgrade and lets a session run. Nothing is asked of a token yet: browsers cannot send headers here.
pub async fn upgrade(front: Arc<Front>, request: Request, id: RequestId) -> Response {
    let reply = Reply { media: Media::Json, request: id.clone() };
    let (mut parts, _) = request.into_parts();
    if !hosts::may_connect(&parts.uri, &parts.headers, &front.state.settings) {
        return reply.refuse(&Error::fault(FaultCode::Forbidden, "This origin may not connect.").into());
    }
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return reply.refuse(&Refused::invalid(StatusCode::BAD_REQUEST, "This is not a WebSocket handshake."));
    };
    if !upgrade.requested_protocols().any(|offered| offered == PROTOCOL) {
        return reply.refuse(&Refused::invalid(StatusCode::BAD_REQUEST, "The subprotocol must be graphql-transport-ws."));
    }
    let Some(place) = front.places.socket() else {
        tracing::warn!(most = front.places.quotas().sockets, "a socket was refused, because as many as may be are open");
        return reply.refuse(&Error::fault(FaultCode::Unavailable, "Too many sockets are open. Try again later.").into());
    };
    // Held until the session ends, so that draining waits for it.
    let connection = parts.extensions.get::<Connection>().cloned();
    upgrade.protocols([PROTOCOL]).max_message_size(MAX_ANONYMOUS_BODY).max_frame_size(MAX_ANONYMOUS_BODY).on_upgrade(async move |socket| {
        let _open = Open::socket();
        let span = tracing::error_span!(parent: None, "socket", request_id = id.as_str());
        Session::new(front, id).run(socket).instrument(span).await;
        drop((connection, place));
    })
}

/// What an operation hands to its session.
enum Output {
    /// One message; more will follow.
    Next(String),
    /// The last message: `complete`, or `error` (which no `complete` follows).
    Last(String),
}

/// Output with the operation that it is from. Ids may be used again, serials are not.
struct Outgoing {
    id: String,
    serial: u64,
    output: Output,
}

/// A running operation; dropping it ends its work.
struct Running {
    serial: u64,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
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
    phase: Phase,
    phase_ends: Pin<Box<Sleep>>,
    operations: HashMap<String, Running>,
    serial: u64,
    queue: mpsc::Sender<Outgoing>,
    outputs: mpsc::Receiver<Outgoing>,
    outbox: Outbox,
    heard: Instant,
    /// The person's place among the sockets that one may have.
    place: Option<Place>,
}

impl Session {
    fn new(front: Arc<Front>, id: RequestId) -> Self {
        let (queue, outputs) = mpsc::channel(MAX_QUEUED);
        let now = Instant::now();
        Self {
            front,
            id,
            phase: Phase::Opening,
            phase_ends: Box::pin(sleep_until(now + INIT_TIMEOUT)),
            operations: HashMap::new(),
            serial: 0,
            queue,
            outputs,
            outbox: Outbox::default(),
            heard: now,
            place: None,
        }
    }

    async fn run(mut self, socket: WebSocket) {
        let (mut sink, mut stream) = socket.split();
        let shutdown = self.front.state.shutdown.clone();
        let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        let close = loop {
            if let Phase::Ending(close) = self.phase
                && self.operations.is_empty()
                && self.outbox.is_empty()
            {
                break Some(close);
            }
            tokio::select! {
                () = &mut self.phase_ends => if let Some(close) = self.end_phase() { break Some(close) },
                () = shutdown.cancelled(), if !matches!(self.phase, Phase::Ending(_)) => self.begin_ending(RESTARTING),
                written = self.outbox.write(&mut sink), if !self.outbox.is_flushed() => if written.is_err() { break None },
                Some(outgoing) = self.outputs.recv(), if self.outbox.is_empty() => self.forward(outgoing),
                received = stream.next(), if self.outbox.has_room() => {
                    self.heard = Instant::now();
                    match received.map(text_of) {
                        Some(Received::Text(text)) => if let Err(close) = self.handle(&text).await { break Some(close) },
                        Some(Received::Nothing) => {}
                        Some(Received::Unusable(close)) => break close,
                        None => break None,
                    }
                }
                _ = ping.tick() => {
                    if self.heard.elapsed() > SILENCE { break None }
                    if self.outbox.is_empty() { self.outbox.push(Message::Ping(bytes::Bytes::new())) }
                }
            }
        };
        self.operations.clear();
        let closing = async {
            if let Some((code, reason)) = close {
                sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.ok();
            }
            while let Some(Ok(_)) = stream.next().await {}
        };
        // The peer may never answer; what matters has been sent.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, closing).await);
    }

    fn end_phase(&mut self) -> Option<Close> {
        match self.phase {
            Phase::Opening => Some(INIT_TIMED_OUT),
            Phase::Serving(_) => {
                self.begin_ending(FORBIDDEN);
                None
            }
            Phase::Ending(close) => Some(close),
        }
    }

    fn begin_ending(&mut self, close: Close) {
        self.phase = Phase::Ending(close);
        self.phase_ends.as_mut().reset(Instant::now() + LAST_WORDS);
    }

    async fn handle(&mut self, text: &str) -> Result<(), Close> {
        match protocol::decode(text).ok_or(INVALID_MESSAGE)? {
            ClientMessage::Init(payload) => self.initialise(payload.as_ref()).await,
            ClientMessage::Ping(payload) => {
                self.outbox.push_text(protocol::pong(payload));
                Ok(())
            }
            ClientMessage::Pong => Ok(()),
            ClientMessage::Complete(id) => {
                self.operations.remove(&id);
                Ok(())
            }
            ClientMessage::Subscribe(id, operation) => self.subscribe(id, operation),
        }
    }

    async fn initialise(&mut self, payload: Option<&serde_json::Value>) -> Result<(), Close> {
        match self.phase {
            Phase::Opening => {}
            Phase::Serving(_) => return Err(INITIALISED_TWICE),
            Phase::Ending(close) => return Err(close),
        }
        let token = auth::init_token(payload).ok_or(FORBIDDEN)?;
        let (principal, actor) = auth::sign_in(&self.front.state, token).await.map_err(|error| match &error {
            Error::Fault(fault) if matches!(fault.code, FaultCode::Unauthenticated | FaultCode::Forbidden) => FORBIDDEN,
            _ => {
                // Describing the error logs its cause.
                PublicError::of(&error, &self.id);
                TRY_LATER
            }
        })?;
        if let Some(person) = actor.user {
            self.place = Some(self.front.places.socket_of(person).ok_or(TOO_MANY_SOCKETS)?);
        }
        let left = (principal.expires_at - self.front.state.services.progress.now()).to_std().unwrap_or_default();
        self.phase = Phase::Serving(actor);
        self.phase_ends.as_mut().reset(Instant::now() + left);
        self.outbox.push_text(protocol::ack());
        Ok(())
    }

    fn subscribe(&mut self, id: String, operation: Operation) -> Result<(), Close> {
        let actor = match &self.phase {
            Phase::Opening => return Err(NOT_INITIALISED),
            Phase::Serving(actor) => actor.clone(),
            Phase::Ending(_) => {
                self.refuse(&id, &Error::fault(FaultCode::Unavailable, "The connection is being closed. Connect again."));
                return Ok(());
            }
        };
        if self.operations.contains_key(&id) {
            return Err(ID_IN_USE);
        }
        if self.operations.len() >= MAX_OPERATIONS {
            let message = format!("A connection may run {MAX_OPERATIONS} operations at once. Complete one first.");
            self.refuse(&id, &Error::fault(FaultCode::TooComplex, message));
            return Ok(());
        }
        let mut seen = Observation::begin("websocket");
        let request = match operation.into_request() {
            Ok(request) => request,
            Err(error) => {
                seen.fail(respond::public_code(&error));
                self.refuse(&id, &error);
                return Ok(());
            }
        };
        match document::prepare(request, &self.front.rules) {
            Ok(prepared) => {
                seen.execute(&self.front.names, &prepared, true);
                self.start(id, prepared, actor, seen);
            }
            Err(rejection) => {
                seen.fail(rejection.code);
                self.outbox.push_text(protocol::error(&id, &respond::list(&[rejection.into()])));
            }
        }
        Ok(())
    }

    fn refuse(&mut self, id: &str, error: &Error) {
        self.outbox.push_text(protocol::error(id, &respond::list(&[PublicError::of(error, &self.id)])));
    }

    fn start(&mut self, id: String, mut prepared: Prepared, actor: Actor, mut seen: Observation) {
        let person = actor.user.filter(|_| prepared.kind == OperationType::Subscription);
        let place = person.map(|person| self.front.places.stream_of(person));
        if matches!(place, Some(None)) {
            let most = self.front.places.quotas().streams_of_person;
            let message = format!("A person may follow {most} streams at once. Complete one first.");
            return self.refuse(&id, &Error::fault(FaultCode::TooComplex, message));
        }
        self.serial += 1;
        let serial = self.serial;
        let request_id = self.id.operation(serial);
        let loads = Loads::default();
        prepared.request.data = context::session(&self.front.state.services, Some(actor), &loads);
        let (front, queue, name) = (self.front.clone(), self.queue.clone(), id.clone());
        let span = operation_span(&prepared, &request_id);
        let work = async move {
            let sender = OperationOutput { id: name, serial, queue };
            let work = AssertUnwindSafe(loads.drive(execute(&front, prepared, &sender, &request_id, &mut seen))).catch_unwind().await;
            let last = work.unwrap_or_else(|_| {
                seen.fail(FaultCode::Internal);
                let error = PublicError::of(&respond::internal("an operation of a socket panicked"), &request_id);
                protocol::error(&sender.id, &respond::list(&[error]))
            });
            drop(seen);
            // before the last message, after which a client may begin the next
            drop(place);
            sender.send(Output::Last(last)).await;
        };
        let task = tokio::spawn(work.instrument(span));
        self.operations.insert(id, Running { serial, task: task.abort_handle() });
    }

    /// Puts a message of an operation on its way, unless the client has completed it meanwhile.
    fn forward(&mut self, outgoing: Outgoing) {
        if self.operations.get(&outgoing.id).is_none_or(|running| running.serial != outgoing.serial) {
            return;
        }
        match outgoing.output {
            Output::Next(text) => self.outbox.push_text(text),
            Output::Last(text) => {
                self.operations.remove(&outgoing.id);
                self.outbox.push_text(text);
            }
        }
    }
}

/// The way from an operation to its session. It is bounded: when the reader is slow, the operation waits here.
struct OperationOutput {
    id: String,
    serial: u64,
    queue: mpsc::Sender<Outgoing>,
}

impl OperationOutput {
    async fn send(&self, output: Output) {
        // The session may be over; its operations are aborted then.
        self.queue.send(Outgoing { id: self.id.clone(), serial: self.serial, output }).await.ok();
    }
}

/// Runs an operation and returns its last message.
async fn execute(front: &Front, prepared: Prepared, output: &OperationOutput, request: &RequestId, seen: &mut Observation) -> String {
    let is_subscription = prepared.kind == OperationType::Subscription;
    let mut responses = front.state.schema.execute_stream(prepared.request);
    let mut is_first = true;
    loop {
        let next = if is_subscription {
            responses.next().await
        } else {
            let Ok(next) = tokio::time::timeout(front.state.settings.request_timeout, responses.next()).await else {
                seen.fail(FaultCode::Timeout);
                return protocol::error(&output.id, &respond::list(&[PublicError::of(&timed_out(), request)]));
            };
            next
        };
        let Some(response) = next else { return protocol::complete(&output.id) };
        seen.result(&response);
        if is_subscription && is_first && respond::is_refusal(&response) {
            return protocol::error(&output.id, &respond::finish_refused(response, request));
        }
        is_first = false;
        match respond::finish(response, request) {
            Outcome::Errors(errors) => return protocol::error(&output.id, &errors),
            Outcome::Result(result) => output.send(Output::Next(protocol::next(&output.id, &result))).await,
        }
    }
}

/// What came from the peer.
enum Received {
    Text(String),
    /// A frame of the WebSocket protocol itself.
    Nothing,
    Unusable(Option<Close>),
}

fn text_of(message: Result<Message, axum::Error>) -> Received {
    match message {
        Ok(Message::Text(text)) => Received::Text(text.as_str().to_owned()),
        Ok(Message::Ping(_) | Message::Pong(_)) => Received::Nothing,
        Ok(Message::Binary(_)) => Received::Unusable(Some(INVALID_MESSAGE)),
        Ok(Message::Close(_)) => Received::Unusable(None),
        Err(error) => Received::Unusable(match error.into_inner().downcast_ref::<tungstenite::Error>() {
            Some(tungstenite::Error::Utf8(_)) => Some((1007, "Invalid UTF-8")),
            Some(tungstenite::Error::Capacity(_)) => Some((1009, "Message too big")),
            Some(tungstenite::Error::Protocol(_)) => Some((1002, "Protocol error")),
            _ => None,
        }),
    }
}

/// Messages on their way to the peer. Writing is a branch of the session's loop and not a wait inside of it, so that a
/// peer that does not read cannot keep the session from noticing expiry, shutdown or `complete`.
#[derive(Default)]
struct Outbox {
    messages: VecDeque<Message>,
    unflushed: bool,
}

impl Outbox {
    fn push(&mut self, message: Message) {
        self.messages.push_back(message);
    }

    fn push_text(&mut self, text: String) {
        self.push(Message::Text(text.into()));
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn is_flushed(&self) -> bool {
        self.messages.is_empty() && !self.unflushed
    }

    /// A peer that sends but does not read is not listened to either.
    fn has_room(&self) -> bool {
        self.messages.len() < MAX_QUEUED
    }

    /// Writes what it can; safe to drop at any time, because what is not written yet stays here.
    async fn write(&mut self, sink: &mut SplitSink<WebSocket, Message>) -> Result<(), axum::Error> {
        poll_fn(|context| self.poll_write(sink, context)).await
    }

    fn poll_write<S: Sink<Message> + Unpin>(&mut self, sink: &mut S, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        while !self.messages.is_empty() {
            ready!(sink.poll_ready_unpin(context))?;
            if let Some(message) = self.messages.pop_front() {
                self.unflushed = true;
                sink.start_send_unpin(message)?;
            }
        }
        ready!(sink.poll_flush_unpin(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}
