//! Stub servers of providers that speak their true wire formats and misbehave as told: what each request is answered with
//! is a list of steps on the bare connection. They know nothing of the product.

pub mod bedrock;
pub mod books;
pub mod openai;

use super::PATIENCE;
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends bytes as they are.
    Send(Vec<u8>),
    /// Sends nothing more until the client goes away.
    Hang,
    /// Ends the connection.
    Close,
    /// Lets time pass, for a slow answer.
    Pause(Duration),
    /// Does something at this point of the answer.
    Do(Action),
    /// Waits until the test lets it go on.
    Gate(Arc<Semaphore>),
}

/// What a test wants to happen at a point of an answer.
#[derive(Clone)]
pub struct Action(pub Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Action")
    }
}

/// What a request is answered with.
pub type Reply = Vec<Step>;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path and query.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Value,
}

impl Request {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A running stub.
pub struct Stub {
    /// Base URL without a path.
    pub url: String,
    state: Arc<State>,
    serving: tokio::task::JoinHandle<()>,
}

struct State {
    requests: Mutex<Vec<Request>>,
    script: Mutex<VecDeque<Reply>>,
    otherwise: Box<dyn Fn(&Request) -> Reply + Send + Sync>,
    aborted: AtomicUsize,
    changed: Notify,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    /// Starts a stub that answers with these replies, one a request, and then with what `otherwise` says.
    pub async fn start(script: Vec<Reply>, otherwise: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State {
            requests: Mutex::default(),
            script: Mutex::new(script.into()),
            otherwise: Box::new(otherwise),
            aborted: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&shared)));
            }
        });
        Self { url, state, serving }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("unpoisoned").clone()
    }

    /// Waits until so many requests have come.
    pub async fn has_been_asked(&self, wanted: usize) {
        self.reaches(|| self.requests().len() >= wanted, "requests").await;
    }

    /// Waits until so many clients went away from an answer that hung.
    pub async fn has_aborted(&self, wanted: usize) {
        self.reaches(|| self.state.aborted.load(Ordering::SeqCst) >= wanted, "clients that went away").await;
    }

    async fn reaches(&self, is_reached: impl Fn() -> bool, what: &str) {
        let reached = async {
            loop {
                let mut changed = std::pin::pin!(self.state.changed.notified());
                changed.as_mut().enable();
                if is_reached() {
                    return;
                }
                changed.await;
            }
        };
        assert!(timeout(PATIENCE, reached).await.is_ok(), "too few {what}");
    }
}

async fn serve(mut connection: TcpStream, state: Arc<State>) {
    while let Some(request) = read_request(&mut connection).await {
        let scripted = state.script.lock().expect("unpoisoned").pop_front();
        let reply = scripted.unwrap_or_else(|| (state.otherwise)(&request));
        state.requests.lock().expect("unpoisoned").push(request);
        state.changed.notify_waiters();
        for step in reply {
            match step {
                Step::Send(bytes) => {
                    if connection.write_all(&bytes).await.is_err() || connection.flush().await.is_err() {
                        return;
                    }
                }
                Step::Hang => {
                    let mut rest = [0; 1024];
                    while connection.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                    state.aborted.fetch_add(1, Ordering::SeqCst);
                    state.changed.notify_waiters();
                    return;
                }
                Step::Close => return,
                Step::Pause(duration) => tokio::time::sleep(duration).await,
                Step::Do(action) => (action.0)(),
                Step::Gate(gate) => gate.acquire().await.expect("open").forget(),
            }
        }
    }
}

async fn read_request(connection: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let (mut end, mut length) = (None, 0);
    loop {
        if end.is_none() {
            end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            let head = String::from_utf8_lossy(&bytes[..end.unwrap_or(0)]).to_ascii_lowercase();
            length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok()).unwrap_or(0);
        }
        if let Some(end) = end.filter(|end| bytes.len() >= end + length) {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut lines = head.lines();
            let target = lines.next()?.split(' ').nth(1)?.to_owned();
            let headers = lines.filter_map(|line| line.split_once(':'));
            let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
            return Some(Request { target, headers, body: serde_json::from_slice(&bytes[end..]).unwrap_or(Value::Null) });
        }
        let mut more = [0; 4_096];
        match connection.read(&mut more).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&more[..read]),
            _ => return None,
        }
    }
}

/// A whole answer.
pub fn respond(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut head = format!("HTTP/1.1 {status} Stub\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("written");
    }
    vec![Step::Send([head.as_bytes(), b"\r\n", body].concat())]
}

/// The beginning of an answer in chunks.
pub fn begin(headers: &[(&str, &str)]) -> Step {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    Step::Send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{lines}\r\n").into_bytes())
}

/// A chunk of such an answer.
pub fn chunk(bytes: &[u8]) -> Step {
    Step::Send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

/// The proper end of such an answer.
pub fn end() -> Step {
    Step::Send(b"0\r\n\r\n".to_vec())
}

/// A server whose certificate nobody trusts; gives its base URL. It lives as long as the test's process.
pub fn start_untrusted() -> String {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_slice(include_bytes!("untrusted.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("untrusted-key.pem")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).expect("a configuration"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let Ok(mut session) = rustls::ServerConnection::new(Arc::clone(&config)) else { return };
            while session.is_handshaking() && session.complete_io(&mut connection).is_ok() {}
        }
    });
    url
}

/// A server that answers whatever comes without TLS; gives an https URL. It lives as long as the test's process.
pub fn start_without_tls() -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _greeting = connection.read(&mut [0; 1024]);
            let _answer = connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    url
}

/// An address where nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}
