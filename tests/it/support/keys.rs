//! An issuer in a test's own hands: key pairs, tokens with any claims, and a server of public keys that can change them,
//! fall ill, and counts how often it is asked.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use claimwright::identity::LocalIssuer;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A key pair.
pub struct Key {
    id: String,
    private: EncodingKey,
    public: Value,
}

impl Key {
    /// Makes one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let public = LocalIssuer::open(folder.path()).expect("a key pair").jwks()["keys"][0].clone();
        let pem = std::fs::read(folder.path().join("issuer-key.pem")).expect("the key");
        let id = public["kid"].as_str().expect("an id").to_owned();
        Self { id, private: EncodingKey::from_rsa_pem(&pem).expect("a key"), public }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.id, claims)
    }

    /// A token with these claims that says it was signed by another key.
    pub fn sign_as(&self, id: &str, claims: &Value) -> String {
        encode(&Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::RS256) }, claims, &self.private).expect("a token")
    }
}

/// What the server answers (nothing: it is ill), and how often it was asked.
struct Answers {
    document: Mutex<Option<Value>>,
    asked: watch::Sender<usize>,
}

/// A server of public keys. Dropped, it ends.
pub struct KeyServer {
    url: String,
    answers: Arc<Answers>,
    _ends: DropGuard,
}

impl KeyServer {
    /// Starts one that is ill until keys are published.
    pub async fn start() -> Self {
        let answers = Arc::new(Answers { document: Mutex::default(), asked: watch::Sender::new(0) });
        let routes = Router::new().route("/keys", get(answer)).with_state(Arc::clone(&answers));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let end = CancellationToken::new();
        let serving = axum::serve(listener, routes).with_graceful_shutdown(end.clone().cancelled_owned());
        tokio::spawn(async move { serving.await });
        Self { url, answers, _ends: end.drop_guard() }
    }

    /// Where the keys are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves these keys from now on.
    pub fn publish(&self, keys: &[&Key]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
        *self.answers.document.lock().expect("unpoisoned") = Some(json!({ "keys": keys }));
    }

    /// Answers nothing but errors from now on.
    pub fn fall_ill(&self) {
        *self.answers.document.lock().expect("unpoisoned") = None;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        *self.answers.asked.borrow()
    }

    /// Waits until it was asked so often.
    pub async fn was_asked(&self, times: usize) {
        let mut asked = self.answers.asked.subscribe();
        tokio::time::timeout(super::PATIENCE, asked.wait_for(|count| *count >= times)).await.expect("in time").expect("the server runs");
    }
}

async fn answer(State(answers): State<Arc<Answers>>) -> Result<Json<Value>, StatusCode> {
    let document = answers.document.lock().expect("unpoisoned").clone();
    answers.asked.send_modify(|count| *count += 1);
    document.map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}
