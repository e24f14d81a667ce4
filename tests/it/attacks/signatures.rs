//! Tokens that try to choose how they are checked: the header names a key of the attacker's, the encoding is bent, the
//! claims are of strange types. `tokens` has the plain cases; these are the ones that libraries have fallen for.

use super::code;
use crate::on_both;
use crate::support::{Client, Mode, TestApp};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use claimwright::identity::LocalIssuer;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::time::Duration;

const VIEWER: &str = "{ viewer { user { displayName } workspace { id } } }";

/// Signs whatever header and claims it is given, with the server's key or another.
pub struct Forge {
    own: EncodingKey,
    other: EncodingKey,
    kid: String,
    claims: Value,
}

impl Forge {
    pub fn of(app: &TestApp) -> Self {
        let pem = |path: &std::path::Path| EncodingKey::from_rsa_pem(&std::fs::read(path).expect("a key")).expect("a key");
        let other = tempfile::tempdir().expect("a folder");
        drop(LocalIssuer::open(other.path()).expect("an issuer"));
        let good = app.token(Duration::from_hours(1));
        let part = |n: usize| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(good.split('.').nth(n).expect("a part")).expect("base64")).expect("JSON")
        };
        Self {
            own: pem(&app.folder().join("data/issuer-key.pem")),
            other: pem(&other.path().join("issuer-key.pem")),
            kid: part(0)["kid"].as_str().expect("a key id").to_owned(),
            claims: part(1),
        }
    }

    /// The server's time, as its tokens tell it.
    pub fn now(&self) -> i64 {
        self.claims["iat"].as_i64().expect("a time")
    }

    fn sign(key: &EncodingKey, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, Algorithm::RS256).expect("a signature");
        format!("{signed}.{signature}")
    }

    fn header(&self, more: Value) -> String {
        let mut header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid });
        more.as_object().expect("an object").iter().for_each(|(name, value)| header[name] = value.clone());
        header.to_string()
    }

    /// With the server's own key: only the header is wrong.
    fn headed(&self, more: Value) -> String {
        Self::sign(&self.own, &self.header(more), &self.claims.to_string())
    }

    /// With the server's own key: only the claims are wrong.
    pub fn claiming(&self, more: Value) -> String {
        let mut claims = self.claims.clone();
        more.as_object().expect("an object").iter().for_each(|(name, value)| claims[name] = value.clone());
        Self::sign(&self.own, &self.header(json!({})), &claims.to_string())
    }

    /// With a key of the attacker's, which the header brings or points at.
    fn bringing(&self, more: Value) -> String {
        Self::sign(&self.other, &self.header(more), &self.claims.to_string())
    }
}

fn forged(app: &TestApp) -> Vec<(String, String)> {
    let forge = Forge::of(app);
    let good = app.token(Duration::from_hours(1));
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&forge.other, Algorithm::RS256).expect("a key");
    let keys = json!({ "keys": [jwk] });
    let evil = "https://evil.example/jwks.json";
    let mut all: Vec<(String, String)> = Vec::new();
    for more in [
        json!({ "jwk": jwk }),
        json!({ "jku": evil }),
        json!({ "x5u": evil }),
        json!({ "x5c": ["AAAA"] }),
        json!({ "jku": evil, "kid": "other" }),
        json!({ "keys": keys }),
        json!({ "jwk": jwk, "kid": "" }),
        json!({ "kid": "../../../dev/null" }),
        json!({ "kid": "' OR '1'='1" }),
        json!({ "kid": "issuer-key.pem" }),
    ] {
        all.push((format!("another key with {more}"), forge.bringing(more)));
    }
    for more in [
        json!({ "crit": ["exp"] }),
        json!({ "crit": [] }),
        json!({ "b64": false }),
        json!({ "b64": true, "crit": ["b64"] }),
        json!({ "zip": "DEF" }),
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": "nOnE" }),
        json!({ "alg": "rs256" }),
        json!({ "alg": "RS256 " }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "PS256" }),
        json!({ "alg": "RS1" }),
        json!({ "alg": null }),
        json!({ "alg": ["RS256"] }),
        json!({ "alg": {} }),
        json!({ "kid": null }),
        json!({ "kid": 1 }),
        json!({ "kid": ["x"] }),
        json!({ "kid": "unknown" }),
        json!({ "kid": "x".repeat(4_000) }),
    ] {
        all.push((format!("a header with {more}"), forge.headed(more)));
    }
    let now = forge.now();
    let issuer = LocalIssuer::ISSUER;
    for more in [
        json!({ "exp": now - 6 }),
        json!({ "exp": (now + 600).to_string() }),
        json!({ "exp": null }),
        json!({ "exp": -1 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": [now + 600] }),
        json!({ "exp": 253_402_300_800_i64 }),
        json!({ "nbf": now + 60 }),
        json!({ "nbf": "soon" }),
        json!({ "nbf": 1e300 }),
        json!({ "nbf": -1 }),
        json!({ "iss": null }),
        json!({ "iss": "" }),
        json!({ "iss": format!("{issuer}/") }),
        json!({ "iss": issuer.to_uppercase() }),
        json!({ "iss": format!("{issuer}.evil.example") }),
        json!({ "iss": [issuer] }),
        json!({ "iss": [issuer, "https://evil.example"] }),
        json!({ "aud": null }),
        json!({ "aud": "" }),
        json!({ "aud": [LocalIssuer::CLIENT_ID] }),
        json!({ "aud": LocalIssuer::CLIENT_ID.to_uppercase() }),
        json!({ "aud": {} }),
        json!({ "client_id": LocalIssuer::CLIENT_ID, "aud": "other" }),
        json!({ "token_use": "access" }),
        json!({ "token_use": null }),
        json!({ "token_use": "ID" }),
        json!({ "token_use": ["id"] }),
        json!({ "token_use": "refresh" }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 7 }),
        json!({ "sub": ["x"] }),
        json!({ "custom:workspace_id": "" }),
        json!({ "custom:workspace_id": 1 }),
        json!({ "custom:workspace_id": "../practice" }),
        json!({ "custom:workspace_id": ["0193"] }),
        json!({ "email": 1 }),
        json!({ "name": {} }),
    ] {
        all.push((format!("claims with {more}"), forge.claiming(more)));
    }
    let claims = forge.claims.to_string();
    let twice = |name: &str, first: &Value| claims.replacen('{', &format!("{{\"{name}\":{first},"), 1);
    all.push(("an issuer twice".into(), Forge::sign(&forge.own, &forge.header(json!({})), &twice("iss", &json!("https://evil.example")))));
    all.push(("an end twice".into(), Forge::sign(&forge.own, &forge.header(json!({})), &twice("exp", &json!(now + 9_000)))));
    all.push(("claims that are a list".into(), Forge::sign(&forge.own, &forge.header(json!({})), &format!("[{claims}]"))));
    all.push(("claims that are no text".into(), {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(forge.header(json!({}))), URL_SAFE_NO_PAD.encode(b"\xff\xfe{}"));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &forge.own, Algorithm::RS256).expect("a signature");
        format!("{signed}.{signature}")
    }));
    let parts: Vec<&str> = good.split('.').collect();
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64");
    let signature = bytes(parts[2]);
    let with = |signature: &str| format!("{}.{}.{signature}", parts[0], parts[1]);
    all.push(("a padded signature".into(), with(&URL_SAFE.encode(&signature))));
    all.push(("padded claims".into(), format!("{}.{}=.{}", parts[0], parts[1], parts[2])));
    let standard = STANDARD.encode(&signature);
    all.push(("another alphabet".into(), with(if standard.contains(['+', '/']) { &standard } else { "+/" })));
    all.push(("half a signature".into(), with(&URL_SAFE_NO_PAD.encode(&signature[..128]))));
    all.push(("a signature of zeros".into(), with(&URL_SAFE_NO_PAD.encode([0; 256]))));
    all.push(("a signature of ones".into(), with(&URL_SAFE_NO_PAD.encode([255; 256]))));
    all.push(("a signature with more behind it".into(), with(&URL_SAFE_NO_PAD.encode([signature.as_slice(), b"x"].concat()))));
    all.push(("four parts".into(), format!("{good}.x")));
    all.push(("five parts, as an encrypted token".into(), format!("{good}.x.y")));
    all.push(("two dots alone".into(), "..".into()));
    all.push(("two tokens".into(), format!("{good},{good}")));
    all.push(("a space in it".into(), good.replacen('.', " .", 1)));
    all.extend((1..good.len()).step_by(23).map(|length| (format!("the first {length} characters"), good[..length].to_owned())));
    all
}

#[tokio::test]
async fn no_token_chooses_how_it_is_checked() {
    let app = TestApp::start(Mode::Embedded).await;
    let (status, _) = Client::new(app.url(), Some(Forge::of(&app).headed(json!({})))).send(VIEWER, json!({})).await;
    assert_eq!(status, 200, "what the forge signs is good but for what is changed");
    let all = forged(&app);
    assert!(all.len() > 100, "only {} were tried", all.len());
    for (what, token) in all {
        let (status, body) = Client::new(app.url(), Some(token.clone())).send(VIEWER, json!({})).await;
        assert_eq!((status, code(&body)), (401, "UNAUTHENTICATED"), "{what}: {body}");
        let repeats = token.len() > 10 && body.to_string().contains(&token);
        assert!(!repeats && !body.to_string().contains("evil.example"), "{what}: {body}");
    }
    app.stop().await;
}

on_both! {
    async fn claims_that_a_person_writes_are_texts_and_break_nothing(app: TestApp) {
        let forge = Forge::of(&app);
        let long = "n".repeat(4_000);
        for name in ["a\u{0}b", "'; DROP TABLE users; --", "<script>alert(1)</script>", "a\r\nb", "\u{202e}txt", &long, " ", "\u{1b}[31m"] {
            let token = forge.claiming(json!({ "sub": format!("person {name:.20}"), "name": name, "email": format!("{name:.100}@x") }));
            let (status, body) = Client::new(app.url(), Some(token)).send(VIEWER, json!({})).await;
            let is_clear = status == 200 && body["data"]["viewer"]["user"]["displayName"].is_string() || status == 401;
            assert!(is_clear, "{name:?}: {status} {body}");
        }
        app.stop().await;
    }
}
