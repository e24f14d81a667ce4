//! Attacks, through the public API of a running application: what must be refused is refused with its code, nothing is
//! half-done, and the server goes on. `arsenal` holds what is fired over HTTP; `endurance` fires all of it at one
//! process again and again and looks at its memory.

mod arsenal;
mod documents;
mod endurance;
mod failures;
mod injection;
mod membership;
mod origins;
mod panics;
mod quotas;
mod signatures;
mod slow;
mod sockets;
mod transport;
mod uploads;

use crate::support::socket::Socket;
use crate::support::{PATIENCE, TestApp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What came back on a connection, as it came.
#[derive(Debug)]
pub struct Raw(pub String);

impl Raw {
    /// The status of the first answer; none if the connection was just closed.
    pub fn status(&self) -> Option<u16> {
        self.0.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    /// The head of the first answer, in lower case.
    pub fn head(&self) -> String {
        self.0.split("\r\n\r\n").next().unwrap_or_default().to_lowercase()
    }

    /// How many answers there are.
    pub fn answers(&self) -> usize {
        self.0.matches("HTTP/1.1 ").count()
    }
}

/// `host:port` of a base URL.
pub fn authority(url: &str) -> &str {
    url.rsplit("//").next().expect("an address").trim_end_matches('/')
}

/// A connection to a server.
pub async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(authority(url)).await.expect("a connection")
}

/// Everything that the server says on a connection until it ends it.
pub async fn listen(stream: &mut TcpStream) -> Raw {
    let mut bytes = Vec::new();
    // a reset is an end like another
    drop(timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server ends the connection"));
    Raw(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sends bytes as they are, which should ask for `connection: close`.
pub async fn send(url: &str, bytes: &[u8]) -> Raw {
    let mut stream = connect(url).await;
    // a server that refuses may close before it has read everything
    drop(stream.write_all(bytes).await);
    listen(&mut stream).await
}

/// The code of the first error of a body.
pub fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

/// The code with which a socket refuses its last operation: as an `error`, or as a result that is null and then over.
pub async fn refused_on(socket: &mut Socket, what: &str) -> String {
    let answer = socket.receive().await.unwrap_or_else(|close| panic!("{what}: closed with {close:?}"));
    let errors = match answer["type"].as_str() {
        Some("error") => &answer["payload"],
        Some("next") if answer["payload"]["data"].is_null() => {
            assert_eq!(socket.receive().await.expect("an end")["type"], "complete", "{what}");
            &answer["payload"]["errors"]
        }
        _ => panic!("{what}: {answer}"),
    };
    errors[0]["extensions"]["code"].as_str().unwrap_or_default().to_owned()
}

/// The server answers, and nothing that it answers is a fault of its own.
pub async fn assert_alive(app: &TestApp) {
    let (status, body) = app.adviser().send("{ viewer { workspace { id } } batches { totalCount } }", json!({})).await;
    assert!(status == 200 && body["data"]["viewer"]["workspace"]["id"].is_string(), "{status}: {body}");
}
