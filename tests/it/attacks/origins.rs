//! Where callers come from: the address that limits count by, behind proxies and without, and what tokens that nobody
//! issued cost it.

use super::code;
use super::signatures::Forge;
use crate::support::pair::Pair;
use crate::support::raw::{Answer, exchange};
use crate::support::socket::Socket;
use crate::support::{Mode, TestApp};
use serde_json::{Value, json};

/// An address has a tenth: 100 points, of which one comes back in a second.
const LIMITED: [(&str, &str); 2] = [("RATE_LIMIT_PER_SECOND", "10"), ("RATE_LIMIT_BURST", "1000")];

async fn limited(proxies: &'static str) -> TestApp {
    let settings = [LIMITED[0], LIMITED[1], ("TRUSTED_PROXIES", proxies)];
    TestApp::start_on(Mode::Embedded, &settings, |_| {}).await
}

async fn ask(app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    exchange(&app.url(), "POST", "/graphql", &headers, br#"{"query":"{ apiInfo { version } }"}"#).await
}

/// The points that are left to whoever asks like this; a question costs two.
async fn left(app: &TestApp, forwarded: &[&str]) -> u32 {
    let headers: Vec<_> = forwarded.iter().map(|line| ("x-forwarded-for", *line)).collect();
    let answer = ask(app, &headers).await;
    let told = answer.header("ratelimit").to_owned();
    let points = told.strip_prefix("\"address\";r=").and_then(|rest| rest.split(';').next()).and_then(|points| points.parse().ok());
    points.unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn behind_a_trusted_proxy_every_client_has_a_purse_of_its_own_and_none_can_choose_it() {
    let app = limited("127.0.0.0/8, 10.0.0.0/8").await;
    assert_eq!(left(&app, &["198.51.100.1"]).await, 98);
    assert!(left(&app, &["198.51.100.1"]).await < 98, "the same client");
    assert_eq!(left(&app, &["198.51.100.2"]).await, 98, "another");
    assert_eq!(left(&app, &["2001:db8:1:2::1"]).await, 98);
    assert!(left(&app, &["2001:db8:1:2:ffff::9"]).await < 98, "a customer's network is one address");
    // what the client itself wrote stands further left, or in a line before
    for forged in [&["203.0.113.5, 198.51.100.2"][..], &["10.0.0.9, 198.51.100.2, 10.0.0.1"], &["203.0.113.6", "198.51.100.2"]] {
        assert!(left(&app, forged).await < 98, "{forged:?}");
    }
    // an entry that is no address was written by nobody who is trusted: that is the proxy itself
    assert_eq!(left(&app, &["198.51.100.77, unknown"]).await, 98);
    assert!(left(&app, &[]).await < 98, "the proxy");
    assert!(left(&app, &["198.51.100.78, x"]).await < 98, "the proxy again");
    let other_header = ask(&app, &[("forwarded", "for=198.51.100.99")]).await;
    assert!(!other_header.header("ratelimit").contains("r=98;"), "{other_header:?}");
    app.stop().await;
}

#[tokio::test]
async fn who_is_no_trusted_proxy_is_who_connects_whatever_it_says() {
    for proxies in ["", "10.0.0.0/8"] {
        let app = limited(proxies).await;
        let mut before = 101;
        for forged in [&[][..], &["198.51.100.1"], &["10.0.0.1"], &["127.0.0.1"], &["198.51.100.2, 10.0.0.1"]] {
            let now = left(&app, forged).await;
            assert!(now < before, "{forged:?} is the same caller: {before}, then {now}");
            before = now;
        }
        app.stop().await;
    }
}

/// The close code of a session that begins with this token; none if it is let in.
async fn session(app: &TestApp, token: &str) -> Option<u16> {
    let mut socket = Socket::open(&app.url()).await;
    socket.send(json!({ "type": "connection_init", "payload": { "token": token } })).await;
    socket.receive().await.err().flatten()
}

#[tokio::test]
async fn who_guesses_tokens_has_to_wait_and_nobody_else_at_the_address_does() {
    let app = limited("").await;
    let (adviser, ended) = (app.adviser(), Forge::of(&app).claiming(json!({ "exp": 1_700_000_000 })));
    let good = adviser.token().expect("a token").to_owned();
    let try_with = async |token: &str| ask(&app, &[("authorization", &format!("Bearer {token}"))]).await;
    let guess = format!("{}x", &good[..good.len() - 9]);
    let mut refused = 0;
    let limited = loop {
        let answer = try_with(&guess).await;
        if answer.status != 401 {
            break answer;
        }
        refused += 1;
    };
    assert!((10..=15).contains(&refused), "100 points at 10 each: {refused}");
    let body: Value = limited.json();
    assert_eq!((limited.status, code(&body)), (429, "RATE_LIMITED"), "{body}");
    assert!(limited.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=10).contains(&seconds)), "{limited:?}");
    assert!(limited.header("ratelimit-policy").starts_with("\"sign_in\";q=100;"), "{limited:?}");
    // whatever the guess looks like, and on a socket too
    assert_eq!(try_with(&"x".repeat(9_000)).await.status, 429);
    assert_eq!(session(&app, &guess).await, Some(1013));
    // a good token, none at all, and one that has ended are as ever
    assert_eq!(try_with(&good).await.status, 200);
    assert_eq!(session(&app, &good).await, None);
    assert_eq!(ask(&app, &[]).await.status, 200);
    assert_eq!(try_with(&ended).await.status, 401, "its client has to know that it needs a new one");
    app.stop().await;
}

#[tokio::test]
async fn two_processes_on_one_redis_share_what_an_address_has_and_what_its_failures_cost() {
    let Some(pair) = Pair::start(&LIMITED).await else { return };
    let urls: Vec<String> = pair.apps.iter().map(|app| app.url().expect("an address")).collect();
    let question = br#"{"query":"{ apiInfo { version } }"}"#;
    let asked = async |url: &str, token: Option<&str>| {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        exchange(url, "POST", "/graphql", &headers, question).await
    };
    // 100 points, 2 for each question and one back in a second: neither half of the questions would use them up alone
    let mut answered = 0;
    while asked(&urls[answered % 2], None).await.status == 200 {
        answered += 1;
        assert!(answered < 90, "two purses");
    }
    assert!(answered >= 50, "{answered}");
    for url in &urls {
        assert_eq!(asked(url, None).await.status, 429);
    }
    let mut refused = 0;
    while asked(&urls[refused % 2], Some("x.y.z")).await.status == 401 {
        refused += 1;
        assert!(refused < 18, "two purses");
    }
    assert!(refused >= 10, "{refused}");
    for url in &urls {
        assert_eq!(asked(url, Some("x.y.z")).await.status, 429);
    }
    pair.stop().await;
}
