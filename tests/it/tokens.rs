//! Tokens and the front door over HTTP and sockets: who is let in, and what is refused before anything is executed.
//! Which database stands behind makes no difference here, so `SQLite` alone is used.

use crate::support::socket::Socket;
use crate::support::{Client, Mode, TestApp};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claimwright::identity::LocalIssuer;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const API_INFO: &str = "{ apiInfo { version } }";
const VIEWER: &str = "{ viewer { user { email } workspace { id } } }";

/// Signs tokens with the server's own key, so that one thing at a time can be wrong with them.
struct Forge {
    key: EncodingKey,
    kid: String,
    now: i64,
}

impl Forge {
    fn of(app: &TestApp, jwks: &Value) -> Self {
        let pem = std::fs::read(app.folder().join("data/issuer-key.pem")).expect("the key");
        let kid = jwks["keys"][0]["kid"].as_str().expect("a key id").to_owned();
        let good = app.token(Duration::from_hours(1));
        let claims = URL_SAFE_NO_PAD.decode(good.split('.').nth(1).expect("claims")).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        Self { key: EncodingKey::from_rsa_pem(&pem).expect("a key"), kid, now: claims["iat"].as_i64().expect("a time") }
    }

    fn claims(&self) -> Value {
        json!({ "iss": LocalIssuer::ISSUER, "aud": LocalIssuer::CLIENT_ID, "sub": "0193", "token_use": "id", "exp": self.now + 600,
            "email": "someone@practice.example", "name": "Someone" })
    }

    /// A token whose claims differ from good ones like this; `null` takes one away.
    fn with(&self, changes: Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().expect("an object") {
            if value.is_null() {
                claims.as_object_mut().expect("an object").remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        self.sign(&claims, &self.key, Algorithm::RS256)
    }

    fn sign(&self, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
        encode(&Header { kid: Some(self.kid.clone()), ..Header::new(algorithm) }, claims, key).expect("a token")
    }
}

async fn jwks(app: &TestApp) -> Value {
    let response = reqwest::get(format!("{}/.well-known/jwks.json", app.url())).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

/// The server's public key in every way in which it is written: who takes it for the secret of HS256 takes one of these.
fn public_key(app: &TestApp, keys: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let pem = std::fs::read_to_string(app.folder().join("data/issuer-key.pem")).expect("the key");
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("base64");
    let pair = KeyPair::from_pkcs8(&der).expect("a key pair");
    let pkcs1 = pair.public_key().as_ref().to_vec();
    let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("DER").as_ref().to_vec();
    let wrapped = |label: &str, der: &[u8], end: &str| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----{end}", lines.join("\n")).into_bytes()
    };
    vec![
        ("HS256 with the PEM", wrapped("PUBLIC KEY", &spki, "\n")),
        ("HS256 with the PEM without its last line break", wrapped("PUBLIC KEY", &spki, "")),
        ("HS256 with the PEM of PKCS 1", wrapped("RSA PUBLIC KEY", &pkcs1, "\n")),
        ("HS256 with the DER", spki),
        ("HS256 with the DER of PKCS 1", pkcs1),
        ("HS256 with the JWK", keys["keys"][0].to_string().into_bytes()),
        ("HS256 with the JWKS", keys.to_string().into_bytes()),
        ("HS256 with nothing", Vec::new()),
    ]
}

/// Every kind of token that must not be accepted.
async fn bad_tokens(app: &TestApp) -> Vec<(&'static str, String)> {
    let keys = jwks(app).await;
    let forge = Forge::of(app, &keys);
    let other = tempfile::tempdir().expect("a folder");
    let now = chrono::DateTime::from_timestamp(forge.now, 0).expect("a time");
    let stranger = LocalIssuer::open(other.path()).expect("an issuer");
    let other_key = EncodingKey::from_rsa_pem(&std::fs::read(other.path().join("issuer-key.pem")).expect("a key")).expect("a key");
    let good = app.token(Duration::from_hours(1));
    let parts: Vec<&str> = good.split('.').collect();
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let modulus = keys["keys"][0]["n"].as_str().expect("a modulus");
    let spellings = public_key(app, &keys);
    let symmetric = spellings
        .into_iter()
        .map(|(what, secret)| (what, forge.sign(&forge.claims(), &EncodingKey::from_secret(&secret), Algorithm::HS256)));
    let own = encoded(&json!({ "alg": "none", "typ": "JWT", "kid": forge.kid }));
    let mut claims = forge.claims();
    claims["custom:workspace_id"] = json!("not a uuid");
    let others = vec![
        ("not a token", "secret".into()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("a header that is not JSON", format!("e30x.{}.{}", parts[1], parts[2])),
        ("claims of somebody else under a good signature", format!("{}.{}.{}", parts[0], encoded(&forge.claims()), parts[2])),
        ("alg none", format!("{own}.{}.", encoded(&forge.claims()))),
        ("alg none with a signature", format!("{own}.{}.{}", parts[1], parts[2])),
        ("HS256 with the public key", forge.sign(&forge.claims(), &EncodingKey::from_secret(modulus.as_bytes()), Algorithm::HS256)),
        ("HS256 with the decoded public key", {
            let secret = URL_SAFE_NO_PAD.decode(modulus).expect("base64");
            forge.sign(&forge.claims(), &EncodingKey::from_secret(&secret), Algorithm::HS256)
        }),
        ("RS512 with the right key", forge.sign(&forge.claims(), &forge.key, Algorithm::RS512)),
        ("another issuer's key", stranger.issue(None, None, Duration::from_hours(1), now).expect("a token")),
        ("another key under our key's id", forge.sign(&forge.claims(), &other_key, Algorithm::RS256)),
        ("expired", forge.with(json!({ "exp": forge.now - 60 }))),
        ("without an end", forge.with(json!({ "exp": null }))),
        ("not valid yet", forge.with(json!({ "nbf": forge.now + 600 }))),
        ("another issuer", forge.with(json!({ "iss": "https://evil.example" }))),
        ("another client", forge.with(json!({ "aud": "another" }))),
        ("several clients", forge.with(json!({ "aud": [LocalIssuer::CLIENT_ID, "another"] }))),
        ("an access token without its client", forge.with(json!({ "token_use": "access" }))),
        ("a refresh token", forge.with(json!({ "token_use": "refresh" }))),
        ("nobody", forge.with(json!({ "sub": "" }))),
        ("a workspace that is none", forge.sign(&claims, &forge.key, Algorithm::RS256)),
        ("longer than 8 KB", "a".repeat(9_000)),
        ("a good one with 9 KB behind it", format!("{good}{}", "a".repeat(9_000))),
    ];
    others.into_iter().chain(symmetric).collect()
}

async fn post(app: &TestApp, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{}/graphql", app.url())).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn body(query: &str) -> String {
    json!({ "query": query }).to_string()
}

fn code(body: &Value) -> &Value {
    &body["errors"][0]["extensions"]["code"]
}

#[tokio::test]
async fn a_bad_token_is_refused_even_where_none_is_needed_and_is_not_repeated() {
    let app = TestApp::start(Mode::Embedded).await;
    for (what, token) in bad_tokens(&app).await {
        let client = Client::new(app.url(), Some(token.clone()));
        for query in [API_INFO, VIEWER] {
            let (status, body) = client.send(query, json!({})).await;
            assert_eq!((status, code(&body)), (401, &json!("UNAUTHENTICATED")), "{what}: {body}");
            assert!(body["data"].is_null() && body["errors"][0]["message"].as_str().is_some_and(|text| text.len() > 10), "{what}: {body}");
            assert!(!body.to_string().contains(&token), "{what}: the token is in the answer");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_told_apart() {
    let app = TestApp::start(Mode::Embedded).await;
    let mut told = Vec::new();
    for (what, token) in bad_tokens(&app).await {
        if ["expired", "another client", "another key under our key's id", "two parts"].contains(&what) {
            let (_, body) = Client::new(app.url(), Some(token)).send(VIEWER, json!({})).await;
            let message = body["errors"][0]["message"].as_str().expect("a message").to_lowercase();
            told.push((
                what,
                ["expired", "claims", "signature", "malformed"].into_iter().filter(|word| message.contains(word)).collect::<Vec<_>>(),
            ));
        }
    }
    let expected = [
        ("two parts", vec!["malformed"]),
        ("another key under our key's id", vec!["signature"]),
        ("expired", vec!["expired"]),
        ("another client", vec!["claims"]),
    ];
    assert_eq!(told, expected);
    app.stop().await;
}

#[tokio::test]
async fn a_socket_without_a_good_token_is_closed_with_4403() {
    let app = TestApp::start(Mode::Embedded).await;
    let mut payloads: Vec<(String, Value)> =
        bad_tokens(&app).await.into_iter().map(|(what, token)| (what.into(), json!({ "token": token }))).collect();
    let good = app.token(Duration::from_hours(1));
    payloads.extend([
        ("no payload".into(), Value::Null),
        ("an empty payload".into(), json!({})),
        ("a token without its scheme".into(), json!({ "Authorization": good })),
        ("another scheme".into(), json!({ "Authorization": format!("Basic {good}") })),
        ("a list".into(), json!({ "token": [good] })),
    ]);
    for (what, payload) in payloads {
        let mut socket = Socket::open(&app.url()).await;
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.receive().await, Err(Some(4403)), "{what}");
    }
    let mut early = Socket::open(&app.url()).await;
    early.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": API_INFO } })).await;
    assert_eq!(early.receive().await, Err(Some(4401)), "nothing is answered before the token");
    app.stop().await;
}

#[tokio::test]
async fn good_tokens_are_accepted_in_every_form_that_clients_use() {
    let app = TestApp::start(Mode::Embedded).await;
    let forge = Forge::of(&app, &jwks(&app).await);
    let access = forge.with(json!({ "token_use": "access", "client_id": LocalIssuer::CLIENT_ID, "aud": null }));
    for token in [app.token(Duration::from_hours(1)), access, forge.with(json!({ "exp": forge.now - 1 }))] {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let (status, answer) = post(&app, &[JSON, ("authorization", &format!("{scheme} {token}"))], &body(VIEWER)).await;
            assert!(status == 200 && answer["data"]["viewer"]["workspace"]["id"].is_string(), "{scheme}: {answer}");
        }
    }
    let token = app.token(Duration::from_hours(1));
    for payload in [
        json!({ "Authorization": format!("Bearer {token}") }),
        json!({ "authorization": format!("bearer {token}") }),
        json!({ "token": token }),
    ] {
        let mut socket = Socket::open(&app.url()).await;
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.receive().await.expect("an answer")["type"], "connection_ack");
    }
    app.stop().await;
}

#[tokio::test]
async fn authorization_that_is_not_one_bearer_token_is_refused() {
    let app = TestApp::start(Mode::Embedded).await;
    let good = format!("Bearer {}", app.token(Duration::from_hours(1)));
    let good = good.as_str();
    let authorization = |value| -> (&str, &str) { ("authorization", value) };
    let cases: [&[(&str, &str)]; 5] = [
        &[JSON, authorization(good), authorization(good)],
        &[JSON, authorization(good), authorization("Bearer x")],
        &[JSON, authorization("Basic dXNlcjpwYXNz")],
        &[JSON, authorization("Bearer")],
        &[JSON, authorization("")],
    ];
    for headers in cases {
        let (status, answer) = post(&app, headers, &body(API_INFO)).await;
        assert_eq!((status, code(&answer)), (401, &json!("UNAUTHENTICATED")), "{headers:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn the_public_keys_are_served_and_nothing_of_the_private_one() {
    let app = TestApp::start(Mode::Embedded).await;
    let keys = jwks(&app).await;
    let [key] = keys["keys"].as_array().expect("keys").as_slice() else { panic!("not one key: {keys}") };
    let names: Vec<&str> = ["kty", "alg", "use"].into_iter().filter_map(|name| key[name].as_str()).collect();
    assert_eq!(names, ["RSA", "RS256", "sig"]);
    assert!(
        key["kid"].as_str().is_some_and(|kid| !kid.is_empty()) && key["n"].as_str().is_some_and(|n| n.len() > 300) && key["e"] == "AQAB"
    );
    assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|name| key.get(*name).is_none()), "a private part: {key}");
    app.stop().await;
}

#[tokio::test]
async fn only_loopback_names_are_served() {
    let app = TestApp::start(Mode::Embedded).await;
    let token = format!("Bearer {}", app.token(Duration::from_hours(1)));
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"] {
        for path in ["/", "/graphql", "/health", "/.well-known/jwks.json", "/claimwright/exports/x"] {
            let response = reqwest::Client::new()
                .get(format!("{}{path}", app.url()))
                .header("host", host)
                .header("authorization", &token)
                .send()
                .await;
            let response = response.expect("an answer");
            assert_eq!(response.status(), 403, "{host}{path}");
            assert!(!response.text().await.expect("text").contains("eyJ"), "{host}{path}: a token was given away");
        }
        let (status, answer) = post(&app, &[JSON, ("host", host), ("authorization", &token)], &body(VIEWER)).await;
        assert_eq!((status, code(&answer)), (403, &json!("FORBIDDEN")));
        assert_eq!(handshake(&app.url(), &[("host", host)]).await, Err(403));
    }
    let port = app.url().rsplit_once(':').expect("a port").1.to_owned();
    for host in ["localhost".to_owned(), format!("LOCALHOST:{port}"), "127.0.0.1".to_owned(), "[::1]:1".to_owned()] {
        let (status, _) = post(&app, &[JSON, ("host", &host), ("authorization", &token)], &body(VIEWER)).await;
        assert_eq!(status, 200, "{host}");
    }
    app.stop().await;
}

/// Opens a socket with these headers; gives the status that it was refused with.
async fn handshake(url: &str, headers: &[(&'static str, &str)]) -> Result<(), u16> {
    let mut request = format!("{}/graphql", url.replacen("http", "ws", 1)).into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a header"));
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    match connect_async(request).await {
        Ok(_) => Ok(()),
        Err(SocketError::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("no answer: {other}"),
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_open_a_socket() {
    let app = TestApp::start(Mode::Embedded).await;
    let url = app.url();
    for origin in ["https://evil.example", "http://127.0.0.1:1", "null"] {
        assert_eq!(handshake(&url, &[("origin", origin)]).await, Err(403), "{origin}");
    }
    assert_eq!(handshake(&url, &[("origin", &url)]).await, Ok(()));
    assert_eq!(handshake(&url, &[]).await, Ok(()));
    // pages of another origin may not read answers either
    let asked = reqwest::Client::new().post(format!("{url}/graphql")).header("origin", "https://evil.example").header(JSON.0, JSON.1);
    let answer = asked.body(body(API_INFO)).send().await.expect("an answer");
    assert_eq!(answer.headers().get("access-control-allow-origin"), None);
    app.stop().await;
}

#[tokio::test]
async fn requests_that_a_foreign_page_could_send_by_itself_change_nothing() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let bearer = format!("Bearer {}", adviser.token().expect("a token"));
    let create = "mutation { createBatch(input: { name: \"Forged\" }) { batch { id } userErrors { code } } }";
    let url = reqwest::Url::parse_with_params(&format!("{}/graphql", app.url()), [("query", create)]).expect("a URL");
    let response = reqwest::Client::new().get(url).header("authorization", &bearer).send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), response.headers()["allow"].to_str().expect("text")), (405, "POST"));
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/graphql", "text/plain; application/json"] {
        let (status, _) = post(&app, &[("content-type", content_type), ("authorization", &bearer)], &body(create)).await;
        assert_eq!(status, 415, "{content_type}");
    }
    let form = || reqwest::multipart::Form::new().text("operations", body(create)).text("map", "{}");
    let send = |request: reqwest::RequestBuilder| async { request.send().await.expect("an answer").status().as_u16() };
    let request = || reqwest::Client::new().post(format!("{}/graphql", app.url())).multipart(form());
    assert_eq!(send(request().header("authorization", &bearer)).await, 400, "no header that forces a preflight");
    assert_eq!(send(request().header("graphql-require-preflight", "1")).await, 401, "no token");
    let data = adviser.run("{ batches { totalCount } }", json!({})).await;
    assert_eq!(data["batches"]["totalCount"], 0);

    let query = reqwest::Url::parse_with_params(&format!("{}/graphql", app.url()), [("query", VIEWER)]).expect("a URL");
    assert_eq!(send(reqwest::Client::new().get(query).header("authorization", &bearer)).await, 200, "queries may be GET");
    assert_eq!(send(reqwest::Client::new().delete(format!("{}/graphql", app.url())).header("authorization", &bearer)).await, 405);
    app.stop().await;
}

#[tokio::test]
async fn documents_that_grow_when_they_are_expanded_are_refused_at_once() {
    let app = TestApp::start(Mode::Embedded).await;
    let anonymous = app.anonymous();
    let doubling: String = (0..60).map(|n| format!(" fragment f{n} on Query {{ ...f{} ...f{} }}", n + 1, n + 1)).collect();
    let bomb = format!("{{ ...f0 }}{doubling} fragment f60 on Query {{ __typename }}");
    let inline = format!("{{ {}__typename{} }}", "... { ".repeat(500), " }".repeat(500));
    let aliases = format!("{{ {} }}", (0..500).map(|n| format!("a{n}: apiInfo {{ version }} ")).collect::<String>());
    let introspection = format!("{{ __schema {{ types {{ {}name{} }} }} }}", "fields { type { ".repeat(12), " } }".repeat(12));
    let directives = format!("{{ apiInfo {} {{ version }} }}", "@include(if: true) ".repeat(200));
    let long = format!("{{ apiInfo {{ version }} }} # {}", "x".repeat(20_000));
    for (what, query) in [
        ("doubling fragments", bomb),
        ("inline fragments", inline),
        ("aliases", aliases),
        ("introspection", introspection),
        ("directives", directives),
        ("a long document", long),
        ("a cycle", "{ ...f } fragment f on Query { ...f }".into()),
    ] {
        let begun = Instant::now();
        let (status, answer) = anonymous.send(&query, json!({})).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{what} took {:?}", begun.elapsed());
        let expected = if what == "a cycle" { "VALIDATION_FAILED" } else { "TOO_COMPLEX" };
        assert_eq!((code(&answer), &answer["data"]), (&json!(expected), &Value::Null), "{what}: {answer}");
        assert!(status == 400 || status == 200, "{what}: {status}");
    }
    let braces = "{ a ".repeat(4_000);
    let (_, answer) = anonymous.send(&braces, json!({})).await;
    assert!(["PARSE_FAILED", "TOO_COMPLEX"].contains(&code(&answer).as_str().unwrap_or_default()), "{answer}");
    assert_eq!(anonymous.send(API_INFO, json!({})).await.0, 200, "and the server goes on");
    app.stop().await;
}

#[tokio::test]
async fn a_text_that_pretends_to_be_an_uploaded_file_is_refused() {
    let app = TestApp::start(Mode::Embedded).await;
    let adviser = app.adviser();
    let batch = adviser.create_batch("Acme").await;
    let query = "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code } } }";
    let forged = json!({ "input": { "batchId": batch, "source": { "file": "#__graphql_file__:0" } } });
    let (_, in_variables) = adviser.send(query, forged.clone()).await;
    let literal = format!(
        "mutation {{ importProjects(input: {{ batchId: \"{batch}\", source: {{ file: \"#__graphql_file__:0\" }} }}) {{ import {{ id }} }} }}"
    );
    let (_, in_document) = adviser.send(&literal, json!({})).await;
    let as_default = "mutation($id: ID!, $f: Upload = \"#__graphql_file__:0\") { importProjects(input: { batchId: $id, source: { file: $f } }) { import { id } } }";
    let (_, in_default) = adviser.send(as_default, json!({ "id": batch })).await;
    for answer in [in_variables, in_document, in_default] {
        assert_eq!(code(&answer), "VALIDATION_FAILED", "{answer}");
        assert!(answer["data"].is_null(), "{answer}");
    }
    let mut socket = adviser.socket().await;
    let mut events = socket.subscribe(query, forged).await;
    assert_eq!(events.next_or_errors().await.expect_err("refused")[0]["extensions"]["code"], "VALIDATION_FAILED");
    let data = adviser.run("query($id: ID!) { batch(id: $id) { imports { totalCount } } }", json!({ "id": batch })).await;
    assert_eq!(data["batch"]["imports"]["totalCount"], 0);
    app.stop().await;
}

#[tokio::test]
async fn health_is_told_without_a_token() {
    let app = TestApp::start(Mode::Embedded).await;
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", app.url())).await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(get("/health").await, (200, json!({ "status": "healthy", "version": env!("CARGO_PKG_VERSION") })));
    assert_eq!(get("/health/live").await.0, 200);
    assert_eq!(get("/health/ready").await.0, 200);
    assert_eq!(get("/no/such/path").await.0, 404);
    let (status, body) = app.anonymous().send("{ __typename }", json!({})).await;
    assert_eq!((status, &body["data"]), (200, &json!({ "__typename": "Query" })));
    let (status, _) = app.anonymous().send("{ __schema { queryType { name } } }", json!({})).await;
    assert_eq!(status, 200, "introspection is on without Cognito");
    app.stop().await;
}
