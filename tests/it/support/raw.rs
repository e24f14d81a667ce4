//! Bytes on a connection, where what is sent must be exactly what the test says and nothing that a library adds.

use super::PATIENCE;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {bytes:?}"));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).expect("a status");
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Self { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Opens a connection to the server of a URL.
pub async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.expect("a connection")
}

/// The head of a request, which ends with the lines that are given.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{lines}")
}

/// Sends a request with these headers and no others but `host`, `content-length` and `connection`.
pub async fn exchange(url: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = connect(url).await;
    let mut request = head(method, target, headers).into_bytes();
    let length = if method == "POST" || !body.is_empty() { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    request.extend_from_slice(format!("{length}connection: close\r\n\r\n").as_bytes());
    request.extend_from_slice(body);
    stream.write_all(&request).await.expect("sent");
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time").expect("an answer");
    Answer::parse(&bytes)
}

/// What a socket gives.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Message(Value),
    /// The server's close frame: its code and reason.
    Closed(u16, String),
    /// The connection ended without one.
    Gone,
}

/// A socket on which frames are sent as they are and nothing is answered by itself but pings of the WebSocket.
pub struct RawSocket {
    stream: WebSocketStream<TcpStream>,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
}

impl RawSocket {
    /// Opens a socket that offers these subprotocols, or none.
    pub async fn open(url: &str, offers: &str) -> Self {
        let mut stream = connect(url).await;
        let offers = if offers.is_empty() { String::new() } else { format!("sec-websocket-protocol: {offers}\r\n") };
        let upgrade =
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        stream.write_all(format!("{}{upgrade}{offers}\r\n", head("GET", "/graphql", &[])).as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(PATIENCE, stream.read_u8()).await.expect("an answer in time").expect("an answer"));
        }
        let answer = Answer::parse(&answer);
        assert_eq!(answer.status, 101, "{answer:?}");
        let protocol = Some(answer.header("sec-websocket-protocol").to_owned()).filter(|name| !name.is_empty());
        Self { stream: WebSocketStream::from_raw_socket(stream, Role::Client, None).await, protocol }
    }

    pub async fn send(&mut self, message: Value) {
        self.frame(Message::text(message.to_string())).await;
    }

    pub async fn frame(&mut self, message: Message) {
        self.stream.send(message).await.expect("sent");
    }

    /// Bytes past the library, which would refuse to send them.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("sent");
    }

    /// The next message or the end.
    pub async fn next(&mut self) -> Heard {
        loop {
            match timeout(PATIENCE, self.stream.next()).await.expect("something in time") {
                Some(Ok(Message::Text(text))) => return Heard::Message(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(Some(frame)))) => return Heard::Closed(frame.code.into(), frame.reason.as_str().to_owned()),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Heard::Gone,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message as it was sent; the end fails the test.
    pub async fn text(&mut self) -> String {
        loop {
            match timeout(PATIENCE, self.stream.next()).await.expect("something in time") {
                Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                end => panic!("the socket ended: {end:?}"),
            }
        }
    }

    /// The next message; the end fails the test.
    pub async fn message(&mut self) -> Value {
        match self.next().await {
            Heard::Message(message) => message,
            end => panic!("the socket ended: {end:?}"),
        }
    }

    /// The close frame; messages before it are passed over.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Heard::Message(_) => {}
                Heard::Closed(code, reason) => return (code, reason),
                Heard::Gone => panic!("the socket ended without a close frame"),
            }
        }
    }
}
