//! Sockets that cost the measuring process little: frames by hand, no JSON but a look for the sequence. The board counts
//! what all of them have received and how long it took.

use crate::Outcome;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Events of a topic whose times are kept.
const REMEMBERED: usize = 4_096;
const SEQUENCE: &str = "\"sequence\":";

/// What all sockets have received.
pub struct Board {
    begun: Instant,
    /// When events were sent, for each topic by sequence, in microseconds.
    sent: Vec<Box<[AtomicU64]>>,
    received: AtomicUsize,
    awaited: AtomicUsize,
    arrived: Notify,
    lost: AtomicUsize,
    lagged: AtomicUsize,
    times: Mutex<Vec<u32>>,
    frame: Mutex<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub fn new(topics: usize) -> Self {
        let remembered = if topics == 1 { REMEMBERED } else { 64 };
        let times = || (0..remembered).map(|_| AtomicU64::new(0)).collect();
        Self {
            begun: Instant::now(),
            sent: (0..topics).map(|_| times()).collect(),
            received: AtomicUsize::new(0),
            awaited: AtomicUsize::new(usize::MAX),
            arrived: Notify::new(),
            lost: AtomicUsize::new(0),
            lagged: AtomicUsize::new(0),
            times: Mutex::default(),
            frame: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn moment(&self, topic: usize, sequence: i64) -> &AtomicU64 {
        let times = &self.sent[topic];
        &times[usize::try_from(sequence).unwrap_or_default() % times.len()]
    }

    /// An event is about to be caused.
    pub fn sending(&self, topic: usize, sequence: i64) {
        self.moment(topic, sequence).store(self.now(), Ordering::Relaxed);
    }

    /// Waits until so many events were received, all sockets together; gives up after a while.
    pub async fn has_received(&self, count: usize, patience: Duration) {
        let waiting = async {
            self.awaited.store(count, Ordering::SeqCst);
            while self.received() < count {
                self.arrived.notified().await;
            }
        };
        drop(tokio::time::timeout(patience, waiting).await);
    }

    fn receive(&self, topic: usize, sequence: i64) -> u32 {
        let time = self.now().saturating_sub(self.moment(topic, sequence).load(Ordering::Relaxed));
        if self.received.fetch_add(1, Ordering::SeqCst) + 1 >= self.awaited.load(Ordering::SeqCst) {
            self.arrived.notify_one();
        }
        u32::try_from(time).unwrap_or(u32::MAX)
    }

    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }

    /// Sequences that were passed over.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    /// Times that a socket was told that it had lagged.
    pub fn lagged(&self) -> usize {
        self.lagged.load(Ordering::SeqCst)
    }

    pub fn forget_times(&self) {
        lock(&self.times).clear();
    }

    /// The median and the 99th percentile in milliseconds.
    pub fn percentiles(&self) -> (f64, f64) {
        let mut times = std::mem::take(&mut *lock(&self.times));
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| f64::from(*time) / 1_000.0);
        (at(50), at(99))
    }

    /// The payload of one frame.
    pub fn frame(&self) -> String {
        lock(&self.frame).clone()
    }
}

/// A payload with another sequence.
pub fn with_sequence(payload: &str, sequence: i64) -> String {
    let Some(at) = payload.find(SEQUENCE).map(|at| at + SEQUENCE.len()) else { return payload.to_owned() };
    let rest = payload[at..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{sequence}{rest}", &payload[..at])
}

/// A socket that has got its snapshot.
pub struct Listener {
    stream: TcpStream,
    buffer: Vec<u8>,
    board: Arc<Board>,
    /// What it listens to.
    pub topic: usize,
    /// The last sequence that it has seen.
    pub sequence: i64,
}

impl Listener {
    pub async fn open(address: SocketAddr, token: &str, document: &str, topic: usize, id: &str, board: Arc<Board>) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut listener = Self { stream, buffer: Vec::new(), board, topic, sequence: 0 };
        let handshake = "GET /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n";
        listener.stream.write_all(handshake.as_bytes()).await?;
        let end = loop {
            if let Some(end) = listener.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            listener.fill().await?;
        };
        listener.buffer.drain(..end);
        listener.send(&json!({ "type": "connection_init", "payload": { "token": token } }).to_string()).await?;
        listener.text().await?;
        let payload = json!({ "query": document, "variables": { "id": id } });
        listener.send(&json!({ "id": "1", "type": "subscribe", "payload": payload }).to_string()).await?;
        let snapshot = listener.text().await?;
        listener.sequence = sequence(&snapshot).ok_or_else(|| snapshot.clone())?;
        Ok(listener)
    }

    /// Receives until the socket ends.
    pub async fn listen(mut self) {
        let mut times = Vec::new();
        while let Ok(text) = self.text().await {
            let Some(sequence) = sequence(&text) else { continue };
            if text.contains("StreamLagged") {
                self.board.lagged.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let passed_over = usize::try_from(sequence - self.sequence - 1).unwrap_or(1);
            self.board.lost.fetch_add(passed_over, Ordering::SeqCst);
            self.sequence = sequence;
            times.push(self.board.receive(self.topic, sequence));
            if let Some(payload) = text.split_once("\"payload\":").and_then(|(_, payload)| payload.strip_suffix('}'))
                && self.topic == 0
            {
                payload.clone_into(&mut lock(&self.board.frame));
            }
            lock(&self.board.times).append(&mut times);
        }
    }

    async fn fill(&mut self) -> Outcome<()> {
        let mut bytes = [0; 2_048];
        let count = self.stream.read(&mut bytes).await?;
        if count == 0 {
            return Err("the socket was closed".into());
        }
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(())
    }

    async fn send(&mut self, text: &str) -> Outcome<()> {
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 0x7e);
                frame.extend(u16::try_from(text.len())?.to_be_bytes());
            }
        }
        // a mask of zeros changes nothing
        frame.extend([0; 4]);
        frame.extend_from_slice(text.as_bytes());
        Ok(self.stream.write_all(&frame).await?)
    }

    /// The next text; other frames are passed over.
    async fn text(&mut self) -> Outcome<String> {
        loop {
            if let Some((opcode, start, end)) = frame(&self.buffer) {
                let text = (opcode == 1).then(|| String::from_utf8_lossy(&self.buffer[start..end]).into_owned());
                self.buffer.drain(..end);
                match text {
                    Some(text) => return Ok(text),
                    None if opcode == 8 => return Err("the socket was closed".into()),
                    None => continue,
                }
            }
            self.fill().await?;
        }
    }
}

/// The first whole frame: its opcode, and where its payload begins and ends.
fn frame(buffer: &[u8]) -> Option<(u8, usize, usize)> {
    let (opcode, short) = (buffer.first()? & 0x0f, usize::from(*buffer.get(1)? & 0x7f));
    let (start, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, short),
    };
    (buffer.len() >= start + length).then_some((opcode, start, start + length))
}

fn sequence(text: &str) -> Option<i64> {
    let rest = text.split_once(SEQUENCE)?.1;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}
