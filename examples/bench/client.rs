//! A client that costs little, and the CPU that the process takes while it asks. CPU time comes from the operating system.

use crate::Outcome;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const ROUNDS: usize = 5;
/// No new round begins after this, so that dear requests do not take for ever.
const ENOUGH: Duration = Duration::from_secs(2);

/// One connection, one request at a time.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// A connection to a server.
    pub async fn connect(address: SocketAddr) -> Outcome<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address).await?)))
    }

    /// Whom it is connected to.
    pub fn peer(&self) -> Outcome<SocketAddr> {
        Ok(self.0.get_ref().peer_addr()?)
    }

    /// Sends a request and reads the body of its answer.
    pub async fn ask(&mut self, request: &str) -> Outcome<Vec<u8>> {
        self.0.get_mut().write_all(request.as_bytes()).await?;
        let (mut line, mut length, mut is_chunked) = (String::new(), 0, false);
        loop {
            line.clear();
            self.0.read_line(&mut line).await?;
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            is_chunked |= lower.starts_with("transfer-encoding: chunked");
            if line == "\r\n" {
                break;
            }
            if line.is_empty() {
                return Err("the connection was closed".into());
            }
        }
        if is_chunked {
            return self.chunks().await;
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok(body)
    }

    /// A body whose length is not known before, as compressed ones are.
    async fn chunks(&mut self) -> Outcome<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim(), 16)?;
            let start = body.len();
            // the line's end that follows is read with it
            body.resize(start + length + 2, 0);
            self.0.read_exact(&mut body[start..]).await?;
            body.truncate(start + length);
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

/// CPU time of this process in ticks of 10 ms, user and system.
pub fn ticks() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok(fields.get(11).ok_or("stat")?.parse::<f64>()? + fields.get(12).ok_or("stat")?.parse::<f64>()?)
}

/// CPU of a request in milliseconds, the least of several rounds.
pub async fn cost(client: &mut Client, request: &str, requests: usize) -> Outcome<f64> {
    cost_of_each(client, |_| request.to_owned(), requests).await
}

/// The same of requests that differ by a number.
pub async fn cost_of_each(client: &mut Client, request: impl Fn(usize) -> String, requests: usize) -> Outcome<f64> {
    let (mut least, begun) = (f64::MAX, Instant::now());
    for round in 0..ROUNDS {
        if round > 0 && begun.elapsed() > ENOUGH {
            break;
        }
        let before = ticks()?;
        for number in 0..requests {
            client.ask(&request(round * requests + number)).await?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let each = (ticks()? - before) * 10.0 / requests as f64;
        least = least.min(each);
    }
    Ok(least)
}

/// A POST request to the API.
pub fn post(token: &str, body: &Value) -> String {
    post_accepting(token, body, "identity")
}

/// A POST request whose answer may be compressed.
pub fn post_accepting(token: &str, body: &Value, encoding: &str) -> String {
    let body = body.to_string();
    format!(
        "POST /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         accept-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
