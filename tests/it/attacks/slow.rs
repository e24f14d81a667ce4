//! Clients that hold a connection by being slow. How long the server waits is a setting of the test, so nobody waits for
//! real quarters of a minute.

use super::{assert_alive, authority, connect, listen};
use crate::support::calls::{done, text};
use crate::support::{Mode, PATIENCE, TestApp};
use claimwright::app::Patience;
use claimwright::repositories::db::Scope;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{interval, timeout};

const SHORT: Duration = Duration::from_millis(150);
/// As few places as may be, so that whoever holds one for ever is noticed.
const FEW: [(&str, &str); 2] = [("MAX_CONNECTIONS", "3"), ("MAX_SOCKETS", "2")];
/// A question without a token whose answer is long.
const LONG: &str =
    "/graphql?query=%7B__schema%7Btypes%7Bname%20description%20fields%7Bname%20description%20args%7Bname%20description%7D%7D%7D%7D%7D";

async fn impatient() -> TestApp {
    TestApp::start_with(Mode::Embedded, |surroundings| {
        surroundings.patience.head = SHORT;
        surroundings.patience.body = SHORT;
    })
    .await
}

/// Whoever sends a little now and then is cut nonetheless.
async fn assert_cut_though_it_drips(mut stream: TcpStream, drop_of: &[u8]) {
    let (mut reader, mut writer) = stream.split();
    let mut drip = interval(SHORT / 10);
    let drips = async {
        loop {
            drip.tick().await;
            if writer.write_all(drop_of).await.is_err() {
                return;
            }
        }
    };
    let mut nothing = Vec::new();
    let ended = async { drop(reader.read_to_end(&mut nothing).await) };
    let cut = async {
        tokio::select! { () = drips => {}, () = ended => {} }
    };
    timeout(PATIENCE, cut).await.expect("the connection is cut though bytes come");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let app = impatient().await;
    let own = authority(&app.url()).to_owned();
    let half = format!("GET /graphql HTTP/1.1\r\nhost: {own}\r\nx-half: ");
    // those that begin with P could become HTTP/2, and the last one is, but for its first frame
    let of_http_2 = ["P", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    for begun in ["", "G", "GET /graphql HTTP/1.1\r\n", &half].into_iter().chain(of_http_2) {
        let mut stream = connect(&app.url()).await;
        stream.write_all(begun.as_bytes()).await.expect("written");
        let answer = listen(&mut stream).await;
        assert!(answer.status().is_none_or(|status| status == 408), "{begun:?}: {answer:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_all_the_same() {
    let app = impatient().await;
    let mut stream = connect(&app.url()).await;
    stream.write_all(b"GET /graphql HTTP/1.1\r\n").await.expect("written");
    assert_cut_though_it_drips(stream, b"x-a: b\r\n").await;
    app.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408() {
    let app = impatient().await;
    let own = authority(&app.url()).to_owned();
    for (framing, begun) in [("content-length: 1000", "{\"query\": \""), ("transfer-encoding: chunked", "5\r\n{\"que\r\n")] {
        let mut stream = connect(&app.url()).await;
        let head = format!(
            "POST /graphql HTTP/1.1\r\nhost: {own}\r\ncontent-type: application/json\r\nconnection: close\r\n{framing}\r\n\r\n{begun}"
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        let answer = listen(&mut stream).await;
        assert!(answer.status() == Some(408) && answer.0.contains("TIMEOUT"), "{framing}: {answer:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_honest_clients_are_served_meanwhile() {
    let app = impatient().await;
    let own = authority(&app.url()).to_owned();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect(&app.url()).await);
    }
    assert_alive(&app).await;
    for stream in &mut idle {
        assert_eq!(listen(stream).await.0, "", "nothing was asked");
    }
    let mut kept = connect(&app.url()).await;
    kept.write_all(format!("GET /health HTTP/1.1\r\nhost: {own}\r\n\r\n").as_bytes()).await.expect("written");
    let answer = listen(&mut kept).await;
    assert_eq!((answer.status(), answer.answers()), (Some(200), 1), "answered, then closed for want of another request");
    app.stop().await;
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_given_up_with_504() {
    let app = TestApp::start_with(Mode::Embedded, |surroundings| surroundings.patience.request = Duration::from_secs(3)).await;
    let adviser = app.adviser();
    adviser.run("{ viewer { user { id } } }", json!({})).await;
    // the only writer is somebody else's until the test is over
    let writer = app.app().db().begin(Scope::Everything).await.expect("a transaction");
    let (status, answer) = adviser.send("mutation { createBatch(input: { name: \"Late\" }) { batch { id } } }", json!({})).await;
    assert_eq!((status, super::code(&answer)), (504, "TIMEOUT"), "{answer}");
    drop(writer);
    app.stop().await;
}

#[tokio::test]
async fn connections_have_a_number_and_who_comes_beyond_waits_for_the_next_that_is_free() {
    let app = TestApp::start_on(Mode::Embedded, &FEW, |_| {}).await;
    let request = format!("GET /health HTTP/1.1\r\nhost: {}\r\n\r\n", authority(&app.url()));
    let mut buffer = [0; 4096];
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&app.url()).await;
        stream.write_all(request.as_bytes()).await.expect("written");
        assert!(stream.read(&mut buffer).await.expect("an answer") > 0);
        held.push(stream);
    }
    let mut beyond = connect(&app.url()).await;
    beyond.write_all(request.as_bytes()).await.expect("written");
    // the server goes on with those that it has, many times over, and does not come to the one beyond
    for _ in 0..50 {
        for stream in &mut held {
            stream.write_all(request.as_bytes()).await.expect("written");
            assert!(stream.read(&mut buffer).await.expect("an answer") > 0);
        }
    }
    assert!(beyond.try_read(&mut buffer).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "answered beyond the limit");
    drop(held.pop());
    let answered = timeout(PATIENCE, beyond.read(&mut buffer)).await.expect("its turn comes").expect("an answer");
    assert!(String::from_utf8_lossy(&buffer[..answered]).starts_with("HTTP/1.1 200"));
    drop((held, beyond));
    app.stop().await;
}

#[tokio::test]
async fn silent_connections_cannot_hold_all_places() {
    let app = TestApp::start_on(Mode::Embedded, &FEW, |surroundings| surroundings.patience.head = SHORT).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(connect(&app.url()).await);
    }
    timeout(PATIENCE, assert_alive(&app)).await.expect("honest clients have their turn");
    drop(silent);
    app.stop().await;
}

#[tokio::test]
async fn connections_of_http_2_that_ask_for_nothing_more_cannot_hold_all_places() {
    let app = TestApp::start_on(Mode::Embedded, &FEW, |surroundings| surroundings.patience.head = SHORT).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        // it answers the server's pings by itself, and keeps its connection for the next question, which never comes
        let client = reqwest::Client::builder().http2_prior_knowledge().pool_idle_timeout(None).build().expect("a client");
        assert_eq!(client.get(format!("{}/health", app.url())).send().await.expect("an answer").version(), reqwest::Version::HTTP_2);
        kept.push(client);
    }
    timeout(PATIENCE, assert_alive(&app)).await.expect("honest clients have their turn");
    // who was asked to leave comes back
    let again = kept[0].get(format!("{}/health", app.url())).send().await.expect("an answer");
    assert_eq!(again.status(), 200);
    drop(kept);
    app.stop().await;
}

/// Three clients take all places and read nothing.
async fn assert_unread_answers_are_not_kept(choose: impl FnOnce(&mut Patience)) {
    let app = TestApp::start_on(Mode::Embedded, &FEW, |surroundings| choose(&mut surroundings.patience)).await;
    let own = authority(&app.url()).to_owned();
    let request = format!("GET {LONG} HTTP/1.1\r\nhost: {own}\r\naccept: application/json\r\n\r\n");
    let mut deaf = Vec::new();
    for _ in 0..3 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let mut stream = socket.connect(own.parse().expect("an address")).await.expect("a connection");
        // more than the kernels of both sides take
        stream.write_all(request.repeat(60).as_bytes()).await.expect("written");
        deaf.push(stream);
    }
    timeout(PATIENCE, assert_alive(&app)).await.expect("honest clients have their turn");
    drop(deaf);
    app.stop().await;
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_kept() {
    assert_unread_answers_are_not_kept(|patience| patience.write = SHORT).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_kept_for_long_while_many_wait() {
    // of usual patience nobody here would see the end
    assert_unread_answers_are_not_kept(|patience| (patience.write, patience.unread) = (PATIENCE * 10, 150 << 10)).await;
}

#[tokio::test]
async fn answers_for_which_a_client_of_http_2_makes_no_room_are_not_kept() {
    let app = TestApp::start_on(Mode::Embedded, &FEW, |surroundings| surroundings.patience.write = SHORT).await;
    let mut deaf = Vec::new();
    for _ in 0..3 {
        let client = reqwest::Client::builder().http2_prior_knowledge().http2_initial_stream_window_size(0).build().expect("a client");
        let answer = client.get(format!("{}{LONG}", app.url())).send().await.expect("a head");
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
        deaf.push((client, answer));
    }
    timeout(PATIENCE, assert_alive(&app)).await.expect("honest clients have their turn");
    drop(deaf);
    app.stop().await;
}

/// A connection on which a file of a thousand bytes has begun to come.
async fn begun_upload(app: &TestApp) -> TcpStream {
    let announced = json!({ "fileName": "slow.csv", "contentType": "text/csv", "bytes": 1000 });
    let payload = app.adviser().input("createUpload", "target { url method headers { key value } }", announced).await;
    let target = &done(&payload)["target"];
    let url = text(&target["url"]);
    let path = url.split_once(authority(&app.url())).expect("on this server").1;
    let mut head = format!("{} {path} HTTP/1.1\r\nhost: {}\r\n", text(&target["method"]), authority(&app.url()));
    for header in target["headers"].as_array().expect("headers") {
        head.extend([text(&header["key"]), ": ".into(), text(&header["value"]), "\r\n".into()]);
    }
    if !head.to_lowercase().contains("content-length") {
        head += "content-length: 1000\r\n";
    }
    let mut stream = connect(&app.url()).await;
    stream.write_all(format!("{head}\r\na,b").as_bytes()).await.expect("written");
    stream
}

#[tokio::test]
async fn answers_that_wait_fill_no_memory_because_many_of_them_wait_for_a_second_only() {
    // of usual patience nobody here would see the end
    let app = TestApp::start_with(Mode::Embedded, |surroundings| {
        surroundings.patience.write = PATIENCE * 10;
        surroundings.patience.unread = 150 << 10;
    })
    .await;
    let own = authority(&app.url()).to_owned();
    let client = || reqwest::Client::builder().http2_prior_knowledge().http2_initial_stream_window_size(0).build().expect("a client");
    let deaf = client();
    let held = deaf.get(format!("{}{LONG}", app.url())).send().await.expect("a head");
    // alone it may wait; with a second one it is too much
    assert_alive(&app).await;
    let second = client();
    let other = second.get(format!("{}{LONG}", app.url())).send().await.expect("a head");
    // when one has gone, what is left is little enough again
    let gone = async {
        tokio::select! { read = held.bytes() => read, read = other.bytes() => read }
    };
    let cut = timeout(PATIENCE, gone).await.expect("not both are kept");
    assert!(cut.is_err(), "the connection was cut");
    // whoever takes something now and then is no worse off
    let mut honest = connect(&app.url()).await;
    honest.write_all(format!("GET {LONG} HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n").as_bytes()).await.expect("written");
    assert_eq!(listen(&mut honest).await.status(), Some(200));
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_stops_coming_is_not_waited_for() {
    let app = impatient().await;
    let answer = listen(&mut begun_upload(&app).await).await;
    assert!(answer.status().is_none_or(|status| (400..500).contains(&status)), "{answer:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_comes_byte_by_byte_is_cut_all_the_same() {
    let app = TestApp::start_with(Mode::Embedded, |surroundings| surroundings.patience.upload = SHORT * 3).await;
    let stream = begun_upload(&app).await;
    assert_cut_though_it_drips(stream, b"c").await;
    app.stop().await;
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_given_up_on_sockets_and_event_streams_too() {
    let app = TestApp::start_with(Mode::Embedded, |surroundings| surroundings.patience.request = Duration::from_secs(2)).await;
    let adviser = app.adviser();
    adviser.run("{ viewer { user { id } } }", json!({})).await;
    let mut socket = adviser.socket().await;
    let writer = app.app().db().begin(Scope::Everything).await.expect("a transaction");
    let late = "mutation { createBatch(input: { name: \"Late\" }) { batch { id } } }";
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": late } })).await;
    assert_eq!(super::refused_on(&mut socket, "a late mutation").await, "TIMEOUT");
    let stream = reqwest::Client::new().post(format!("{}/graphql", app.url())).header("accept", "text/event-stream");
    let stream = stream.bearer_auth(adviser.token().expect("a token")).json(&json!({ "query": late })).send().await.expect("an answer");
    let text = stream.text().await.expect("a stream");
    assert!(text.contains("\"TIMEOUT\"") && text.ends_with("event: complete\ndata: \n\n"), "{text}");
    drop(writer);
    // what was given up has left nothing, and the socket goes on
    socket.send(json!({ "id": "2", "type": "subscribe", "payload": { "query": "{ batches { totalCount } }" } })).await;
    assert_eq!(socket.receive().await.expect("an answer")["payload"]["data"]["batches"]["totalCount"], 0);
    app.stop().await;
}
