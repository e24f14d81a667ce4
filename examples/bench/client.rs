//! A client that costs little, and the CPU that the process takes while it asks. CPU time comes from the operating system.

use crate::Outcome;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const ROUNDS: usize = 5;
const REQUESTS: usize = 200;

/// One connection, one request at a time.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// A connection to a server.
    pub async fn connect(address: SocketAddr) -> Outcome<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address).await?)))
    }

    /// Sends a request and reads the body of its answer.
    pub async fn ask(&mut self, request: &str) -> Outcome<Vec<u8>> {
        self.0.get_mut().write_all(request.as_bytes()).await?;
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            self.0.read_line(&mut line).await?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok(body)
    }
}

/// CPU time of this process in ticks of 10 ms, user and system.
fn ticks() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok(fields.get(11).ok_or("stat")?.parse::<f64>()? + fields.get(12).ok_or("stat")?.parse::<f64>()?)
}

/// CPU of a request in milliseconds, the least of several rounds.
pub async fn cost(client: &mut Client, request: &str) -> Outcome<f64> {
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let before = ticks()?;
        for _ in 0..REQUESTS {
            client.ask(request).await?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let each = (ticks()? - before) * 10.0 / REQUESTS as f64;
        least = least.min(each);
    }
    Ok(least)
}

/// A POST request to the API.
pub fn post(token: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
