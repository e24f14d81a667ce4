//! Attacks on sockets: pages of other origins, frames that are none, messages without measure, tokens that end.

use super::signatures::Forge;
use super::{assert_alive, authority, connect, listen, send};
use crate::support::socket::Socket;
use crate::support::{Mode, PATIENCE, TestApp};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

const KEY: &str =
    "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: graphql-transport-ws\r\n";

/// A handshake with these header lines besides; the connection stays as it is afterwards.
fn handshake(host: &str, headers: &str) -> String {
    format!("GET /graphql HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n{KEY}{headers}\r\n")
}

async fn open(app: &TestApp) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{}/graphql", authority(&app.url())).into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a header"));
    client_async(request, connect(&app.url()).await).await.expect("a socket").0
}

/// What the socket is closed with; pings and answers before it are passed over.
async fn close_code(socket: &mut WebSocketStream<TcpStream>) -> Option<u16> {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("an end in time") {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_socket_however_its_origin_is_spelt() {
    let app = TestApp::start(Mode::Embedded).await;
    let (url, own) = (app.url(), authority(&app.url()).to_owned());
    for origins in [
        "origin: https://evil.example\r\n".to_owned(),
        "origin: null\r\n".to_owned(),
        format!("origin: http://{own}.evil.example\r\n"),
        format!("origin: http://{own}@evil.example\r\n"),
        format!("origin: http://evil.example/{own}\r\n"),
        format!("origin: {url}0\r\n"),
        format!("origin: ws://{own}\r\n"),
        format!("origin: {url}\r\norigin: https://evil.example\r\n"),
        format!("origin: https://evil.example\r\norigin: {url}\r\n"),
        "origin: \r\n".to_owned(),
    ] {
        let answer = send(&url, handshake(&own, &origins).replace("connection: upgrade", "connection: upgrade, close").as_bytes()).await;
        assert_eq!(answer.status(), Some(403), "{origins}: {answer:?}");
    }
    // an origin that agrees with a rebound host is not the server's own
    let answer = send(&url, handshake("evil.example", "origin: http://evil.example\r\n").as_bytes()).await;
    assert_eq!(answer.status(), Some(403), "{answer:?}");
    app.stop().await;
}

#[tokio::test]
async fn no_compression_is_agreed_on_so_that_small_frames_stay_small() {
    let app = TestApp::start(Mode::Embedded).await;
    let mut stream = connect(&app.url()).await;
    let asked = handshake(authority(&app.url()), "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n");
    stream.write_all(asked.as_bytes()).await.expect("written");
    // a frame that says it is compressed is none
    stream.write_all(&[0xC1, 0x81, 0, 0, 0, 0, b'{']).await.expect("written");
    let answer = listen(&mut stream).await;
    assert!(answer.status() == Some(101) && !answer.head().contains("sec-websocket-extensions"), "{answer:?}");
    app.stop().await;
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_socket_and_nothing_else() {
    let app = TestApp::start(Mode::Embedded).await;
    let own = authority(&app.url()).to_owned();
    let unmasked: &[u8] = &[0x81, 0x02, b'{', b'}'];
    let reserved: &[u8] = &[0x83, 0x80, 0, 0, 0, 0];
    let endless: &[u8] = &[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    let control: &[u8] = &[0x89, 0xFE, 0x01, 0x00, 0, 0, 0, 0];
    let continued: &[u8] = &[0x80, 0x80, 0, 0, 0, 0];
    for (what, frame) in
        [("unmasked", unmasked), ("reserved", reserved), ("endless", endless), ("a long ping", control), ("continued", continued)]
    {
        let mut stream = connect(&app.url()).await;
        stream.write_all(handshake(&own, "").as_bytes()).await.expect("written");
        stream.write_all(frame).await.expect("written");
        let answer = listen(&mut stream).await;
        assert_eq!(answer.status(), Some(101), "{what}: {answer:?}");
    }
    for (what, message, code) in [
        ("a message of 2 MB", Message::text("x".repeat(2 << 20)), 1009),
        ("binary", Message::binary(vec![0; 10]), 4400),
        ("no JSON", Message::text("hello"), 4400),
        ("an unknown type", Message::text(r#"{"type":"__proto__"}"#), 4400),
        ("deep JSON", Message::text(format!(r#"{{"type":"ping","payload":{{"a":{}1{}}}}}"#, "[".repeat(50_000), "]".repeat(50_000))), 4400),
        ("an operation before its time", Message::text(r#"{"type":"subscribe","id":"1","payload":{"query":"{ __typename }"}}"#), 4401),
        ("a token that is none", Message::text(r#"{"type":"connection_init","payload":{"token":"x"}}"#), 4403),
    ] {
        let mut socket = open(&app).await;
        // a server that has seen enough stops reading
        drop(socket.send(message).await);
        assert_eq!(close_code(&mut socket).await, Some(code), "{what}");
    }
    assert_alive(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_told_as_such() {
    let app = TestApp::start(Mode::Embedded).await;
    let mut stream = connect(&app.url()).await;
    stream.write_all(handshake(authority(&app.url()), "").as_bytes()).await.expect("written");
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xC0, 0x80]).await.expect("written");
    let mut bytes = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes);
    drop(timeout(PATIENCE, read).await.expect("an end in time"));
    let close = bytes.windows(4).any(|frame| frame[0] == 0x88 && frame[2..4] == 1007_u16.to_be_bytes());
    assert!(close, "{:?}", String::from_utf8_lossy(&bytes));
    app.stop().await;
}

#[tokio::test]
async fn a_socket_ends_with_its_token_and_what_runs_on_it_too() {
    let app = TestApp::start(Mode::Embedded).await;
    let batch = app.adviser().create_batch("Acme").await;
    // ended, but within the leeway of five seconds, in which a token serves as before
    let forge = Forge::of(&app);
    let mut socket = Socket::connect(&app.url(), Some(&forge.claiming(json!({ "exp": forge.now() - 2 })))).await;
    let query = "subscription($id: ID!) { batchProgress(batchId: $id) { __typename } }";
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": query, "variables": { "id": batch } } })).await;
    assert_eq!(socket.receive().await.expect("an event")["payload"]["data"]["batchProgress"]["__typename"], "BatchSnapshot");
    let mut last = Vec::new();
    let code = loop {
        match socket.receive().await {
            Ok(message) => last.push(message),
            Err(code) => break code,
        }
    };
    assert_eq!(code, Some(4403), "{last:?}");
    let data = |message: &Value| message["payload"]["data"].to_string();
    assert!(last.iter().map(data).all(|data| !data.contains("BatchChanged")), "{last:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_handshake_of_another_version_is_told_the_right_one_and_a_key_that_is_none_is_refused() {
    let app = TestApp::start(Mode::Embedded).await;
    let (url, own) = (app.url(), authority(&app.url()).to_owned());
    let good = handshake(&own, "").replace("connection: upgrade", "connection: upgrade, close");
    for version in ["8", "7", "0", "14", "13, 8", "x"] {
        let answer = send(&url, good.replace("version: 13", &format!("version: {version}")).as_bytes()).await;
        let head = answer.head();
        assert!(answer.status() == Some(426) && head.contains("\r\nsec-websocket-version: 13"), "{version}: {answer:?}");
        assert!(head.contains("\r\nupgrade: websocket"), "{version}: {answer:?}");
    }
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for other in ["", "x", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZSE=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ!=="] {
        let answer = send(&url, good.replace(key, other).as_bytes()).await;
        assert_eq!(answer.status(), Some(400), "{other}: {answer:?}");
    }
    let twice = good.replace("\r\nsec-websocket-key", &format!("\r\nsec-websocket-key: {key}\r\nsec-websocket-key"));
    assert_eq!(send(&url, twice.as_bytes()).await.status(), Some(400));
    app.stop().await;
}

#[tokio::test]
async fn a_second_token_does_not_prolong_or_change_a_socket() {
    let app = TestApp::start(Mode::Embedded).await;
    let mut socket = Socket::connect(&app.url(), app.adviser().token()).await;
    let other = app.stranger();
    socket.send(json!({ "type": "connection_init", "payload": { "token": other.token() } })).await;
    assert_eq!(socket.receive().await, Err(Some(4429)));
    app.stop().await;
}

#[tokio::test]
async fn the_server_pings_and_gives_up_who_says_nothing_and_nobody_else() {
    let app = TestApp::start_with(Mode::Embedded, |surroundings| {
        surroundings.patience.ping = Duration::from_millis(100);
        surroundings.patience.silence = Duration::from_secs(2);
    })
    .await;
    let token = app.adviser().token().expect("a token").to_owned();
    let init = json!({ "type": "connection_init", "payload": { "token": token } }).to_string();
    // this one answers pings, as every library does by itself, and says nothing else
    let mut alive = open(&app).await;
    alive.send(Message::text(init.clone())).await.expect("sent");
    let mut pings = 0;
    while pings < 40 {
        match timeout(PATIENCE, alive.next()).await.expect("a frame in time") {
            Some(Ok(Message::Ping(_))) => pings += 1,
            Some(Ok(Message::Text(text))) => assert!(text.contains("connection_ack") || text.contains("ping"), "{text}"),
            other => panic!("after {pings} pings: {other:?}"),
        }
    }
    // and this one is only there
    let mut silent = connect(&app.url()).await;
    let mut frame = vec![0x81, 0xFE];
    frame.extend(u16::try_from(init.len()).expect("a short message").to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(init.as_bytes());
    silent.write_all(handshake(authority(&app.url()), "").as_bytes()).await.expect("written");
    silent.write_all(&frame).await.expect("written");
    let heard = listen(&mut silent).await;
    assert!(heard.0.contains("connection_ack"), "{heard:?}");
    assert!(heard.0.matches('\u{0}').count() >= 5, "it was pinged before: {heard:?}");
    app.stop().await;
}
