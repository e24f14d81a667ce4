//! What tokens are accepted, and the attacks that are not.

use super::*;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use std::{
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};
use uuid::Uuid;

const NOW: i64 = 1_750_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn clock(seconds: i64) -> Clock {
    Arc::new(move || at(seconds))
}

/// The local issuer and, for tokens that it would not make, its key.
struct Fixture {
    identity: Identity,
    issuer: Arc<LocalIssuer>,
    key: EncodingKey,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Arc::new(LocalIssuer::open(folder.path()).unwrap());
        let key = EncodingKey::from_rsa_pem(&std::fs::read(folder.path().join("issuer-key.pem")).unwrap()).unwrap();
        Self { identity: Identity::local(issuer.clone(), clock(NOW)), issuer, key, _folder: folder }
    }

    fn kid(&self) -> String {
        self.issuer.jwks()["keys"][0]["kid"].as_str().unwrap().to_owned()
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.kid()), ..Header::new(Algorithm::RS256) }
    }

    /// A good id token with some claims changed; null removes one.
    fn token(&self, changes: &Value) -> String {
        jsonwebtoken::encode(&self.header(), &claims(changes), &self.key).unwrap()
    }

    /// A token with this very header, signed with the issuer's key over exactly these bytes.
    fn raw(&self, header: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(&claims(&json!({})).into()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::RS256).unwrap();
        format!("{message}.{signature}")
    }

    async fn refusal(&self, token: &str) -> IdentityError {
        self.identity.verify(token).await.expect_err(token)
    }
}

fn claims(changes: &Value) -> Map<String, Value> {
    let mut claims = json!({
        "iss": LocalIssuer::ISSUER, "aud": LocalIssuer::CLIENT_ID, "sub": "someone", "token_use": "id", "exp": NOW + 60, "iat": NOW,
    });
    let all = claims.as_object_mut().unwrap();
    all.extend(changes.as_object().unwrap().clone());
    all.retain(|_, value| !value.is_null());
    all.clone()
}

#[tokio::test]
async fn a_token_that_was_accepted_is_refused_once_it_ends() {
    let Fixture { issuer, _folder, .. } = Fixture::new();
    let now = Arc::new(AtomicI64::new(NOW));
    let told = Arc::clone(&now);
    let identity = Identity::local(issuer.clone(), Arc::new(move || at(told.load(Ordering::SeqCst))));
    let token = issuer.issue(None, None, Duration::from_mins(1), at(NOW)).unwrap();
    let first = identity.verify(&token).await.unwrap();
    assert_eq!(identity.verify(&token).await.unwrap(), first);
    let (message, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
    assert!(matches!(identity.verify(&forged).await, Err(IdentityError::BadSignature(_))), "the same claims");
    now.store(NOW + 66, Ordering::SeqCst);
    assert_eq!(identity.verify(&token).await, Err(IdentityError::Expired));
}

/// Keys that can be replaced.
struct Turning(std::sync::Mutex<Value>);

#[async_trait::async_trait]
impl KeySource for Turning {
    async fn document(&self) -> crate::error::Result<Value> {
        Ok(self.0.lock().unwrap().clone())
    }
}

#[tokio::test]
async fn a_token_that_was_accepted_is_refused_once_its_key_is_taken_back_or_replaced() {
    let (one, other) = (Fixture::new(), Fixture::new());
    let source = Arc::new(Turning(one.issuer.jwks().into()));
    let trust = Trust { issuer: LocalIssuer::ISSUER.into(), client_ids: vec![LocalIssuer::CLIENT_ID.into()] };
    let identity = Identity::new(trust, source.clone(), clock(NOW));
    let token = one.issuer.issue(None, None, Duration::from_mins(1), at(NOW)).unwrap();
    identity.verify(&token).await.unwrap();
    identity.refresh_keys().await.unwrap();
    identity.verify(&token).await.unwrap();

    let mut replaced = other.issuer.jwks();
    replaced["keys"][0]["kid"] = one.kid().into();
    for keys in [replaced, other.issuer.jwks()] {
        *source.0.lock().unwrap() = keys;
        identity.refresh_keys().await.unwrap();
        assert!(matches!(identity.verify(&token).await, Err(IdentityError::BadSignature(_))));
    }
}

#[tokio::test]
async fn a_token_without_options_is_always_the_same_person_in_the_same_workspace() {
    let one = Fixture::new();
    let other = Fixture::new();
    let mut seen = Vec::new();
    for fixture in [&one, &other] {
        let token = fixture.issuer.issue(None, None, Duration::from_mins(1), at(NOW)).unwrap();
        seen.push(fixture.identity.verify(&token).await.unwrap());
    }
    assert_eq!(seen[0], seen[1]);
    let person = &seen[0];
    assert_eq!(person.issuer, "https://claimwright.local");
    assert_eq!((person.email.as_deref(), person.name.as_deref()), (Some("adviser@claimwright.local"), Some("adviser")));
    assert_eq!(person.expires_at, at(NOW + 65), "what is accepted within the leeway serves within it");
    assert!(person.workspace.is_some());
    assert!(Uuid::parse_str(&person.subject).is_ok());
    let token = one.issuer.issue(None, None, Duration::from_mins(1), at(NOW)).unwrap();
    assert!(matches!(other.refusal(&token).await, IdentityError::BadSignature(_)), "another folder's key");
}

#[tokio::test]
async fn email_and_workspace_decide_person_and_tenant() {
    let fixture = Fixture::new();
    let person = async |email: &str, workspace: &str| {
        let token = fixture.issuer.issue(Some(email), Some(workspace), Duration::from_mins(1), at(NOW)).unwrap();
        fixture.identity.verify(&token).await.unwrap()
    };
    let ann = person("Ann@example.org", "north").await;
    assert_eq!(ann, person("ann@example.org", "north").await);
    assert_eq!(ann.subject, person("ann@example.org", "south").await.subject);
    assert_ne!(ann.workspace, person("ann@example.org", "south").await.workspace);
    let bob = person("bob@example.org", "north").await;
    assert_ne!(ann.subject, bob.subject);
    assert_eq!(ann.workspace, bob.workspace);
    for (email, workspace) in [("ann@example.org", ""), ("ann@example.org", &*"w".repeat(65)), ("ann", "north"), ("", "north"), ("@", "w")]
    {
        let refused = fixture.issuer.issue(Some(email), Some(workspace), Duration::from_mins(1), at(NOW));
        assert!(matches!(refused, Err(Error::Refused(_))), "{email} {workspace}");
    }
    assert!(fixture.issuer.issue(None, Some(&"ü".repeat(64)), Duration::from_mins(1), at(NOW)).is_ok());
}

#[tokio::test]
async fn id_and_access_tokens_are_accepted_when_they_are_for_one_of_the_clients() {
    let fixture = Fixture::new();
    let trust = Trust { issuer: LocalIssuer::ISSUER.into(), client_ids: vec!["other".into(), "web".into()] };
    let identity = Identity::new(trust, fixture.issuer.clone(), clock(NOW));
    for changes in [
        json!({"aud": "web"}),
        json!({"aud": "other"}),
        json!({"token_use": "access", "aud": null, "client_id": "web"}),
        json!({"aud": "web", "exp": 1_750_000_000.5, "nbf": NOW}),
    ] {
        let person = identity.verify(&fixture.token(&changes)).await.unwrap();
        assert_eq!((person.subject.as_str(), person.workspace), ("someone", None), "{changes}");
    }
    assert!(matches!(identity.verify(&fixture.token(&json!({}))).await, Err(IdentityError::BadClaims(_))));
}

#[tokio::test]
async fn expiry_and_beginning_have_five_seconds_of_leeway() {
    let fixture = Fixture::new();
    for (changes, good) in [
        (json!({"exp": NOW - 4}), true),
        (json!({"exp": NOW - 5}), false),
        (json!({"nbf": NOW + 5}), true),
        (json!({"nbf": NOW + 6}), false),
    ] {
        assert_eq!(fixture.identity.verify(&fixture.token(&changes)).await.is_ok(), good, "{changes}");
    }
    assert_eq!(fixture.refusal(&fixture.token(&json!({"exp": NOW - 60}))).await, IdentityError::Expired);
}

#[tokio::test]
async fn claims_that_are_missing_wrong_or_of_another_type_are_refused() {
    let fixture = Fixture::new();
    for changes in [
        json!({"iss": null}),
        json!({"iss": "https://elsewhere.example"}),
        json!({"iss": format!("{}/", LocalIssuer::ISSUER)}),
        json!({"iss": [LocalIssuer::ISSUER]}),
        json!({"iss": [LocalIssuer::ISSUER, "https://elsewhere.example"]}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"aud": null}),
        json!({"aud": "elsewhere"}),
        json!({"aud": [LocalIssuer::CLIENT_ID, "elsewhere"]}),
        json!({"aud": null, "client_id": LocalIssuer::CLIENT_ID}),
        json!({"token_use": null}),
        json!({"token_use": "refresh"}),
        json!({"token_use": "access"}),
        json!({"token_use": "access", "client_id": "elsewhere"}),
        json!({"exp": null}),
        json!({"exp": "never"}),
        json!({"exp": -1}),
        json!({"exp": 1e300}),
        json!({"nbf": "now"}),
        json!({"nbf": NOW + 3600}),
        json!({"custom:workspace_id": "default"}),
        json!({"custom:workspace_id": ""}),
    ] {
        let refusal = fixture.refusal(&fixture.token(&changes)).await;
        assert!(matches!(refusal, IdentityError::BadClaims(_)), "{changes}: {refusal:?}");
    }
}

#[tokio::test]
async fn another_algorithm_is_refused_even_with_the_right_key() {
    let fixture = Fixture::new();
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_string(&claims(&json!({}))).unwrap());
    for alg in ["none", "None", "NONE", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": fixture.kid()}).to_string());
        for signature in ["", "AAAA"] {
            let refusal = fixture.refusal(&format!("{header}.{payload}.{signature}")).await;
            assert!(matches!(refusal, IdentityError::Malformed(_)), "{alg}: {refusal:?}");
        }
    }
    let modulus = fixture.issuer.jwks()["keys"][0]["n"].as_str().unwrap().to_owned();
    let public = URL_SAFE_NO_PAD.decode(&modulus).unwrap();
    for secret in [modulus.as_bytes(), &public] {
        let header = Header { kid: Some(fixture.kid()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims(&json!({})), &EncodingKey::from_secret(secret)).unwrap();
        assert!(matches!(fixture.refusal(&token).await, IdentityError::Malformed(_)));
    }
    let header = Header { kid: Some(fixture.kid()), ..Header::new(Algorithm::RS512) };
    let token = jsonwebtoken::encode(&header, &claims(&json!({})), &fixture.key).unwrap();
    assert!(matches!(fixture.refusal(&token).await, IdentityError::Malformed(_)));
}

#[tokio::test]
async fn only_the_issuers_own_key_counts() {
    let fixture = Fixture::new();
    let attacker = Fixture::new();
    let header = Header { kid: Some(fixture.kid()), ..Header::new(Algorithm::RS256) };
    let token = jsonwebtoken::encode(&header, &claims(&json!({})), &attacker.key).unwrap();
    assert!(matches!(fixture.refusal(&token).await, IdentityError::BadSignature(_)));
    let embedded = json!({"alg": "RS256", "kid": fixture.kid(), "jwk": attacker.issuer.jwks()["keys"][0], "jku": "https://evil.example"});
    assert!(matches!(fixture.refusal(&attacker.raw(&embedded)).await, IdentityError::BadSignature(_)));
    for kid in ["unknown", "../../etc/passwd", "' OR 1=1 --"] {
        let refusal = fixture.refusal(&fixture.raw(&json!({"alg": "RS256", "kid": kid}))).await;
        assert!(matches!(refusal, IdentityError::BadSignature(_)), "{kid}: {refusal:?}");
    }
    for header in [json!({"alg": "RS256"}), json!({"alg": "RS256", "kid": 1}), json!({"alg": "RS256", "kid": ""})] {
        assert!(matches!(fixture.refusal(&fixture.raw(&header)).await, IdentityError::Malformed(_)), "{header}");
    }
    assert!(fixture.identity.verify(&fixture.raw(&json!({"alg": "RS256", "kid": fixture.kid()}))).await.is_ok());
}

#[tokio::test]
async fn header_extensions_that_change_the_meaning_are_refused() {
    let fixture = Fixture::new();
    for (name, value) in [("crit", json!(["exp"])), ("crit", json!(null)), ("b64", json!(false)), ("zip", json!("DEF"))] {
        let mut header = json!({"alg": "RS256", "kid": fixture.kid()});
        header[name] = value;
        assert!(matches!(fixture.refusal(&fixture.raw(&header)).await, IdentityError::Malformed(_)), "{header}");
    }
}

#[tokio::test]
async fn what_is_not_a_whole_token_is_refused() {
    let fixture = Fixture::new();
    let token = fixture.token(&json!({}));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    assert_eq!(fixture.refusal("").await, IdentityError::Missing);
    let malformed = [".", "..", "...", "garbage", "a.b.c", message, &format!("{token}.x"), &format!(" {token}"), &"x".repeat(100_000)];
    for token in malformed {
        assert!(matches!(fixture.refusal(token).await, IdentityError::Malformed(_)), "{token}");
    }
    let huge = fixture.token(&json!({"padding": "x".repeat(9000)}));
    assert!(matches!(fixture.refusal(&huge).await, IdentityError::Malformed(_)));
    let other = URL_SAFE_NO_PAD.encode(serde_json::to_string(&claims(&json!({"sub": "somebody else"}))).unwrap());
    let cut = &token[..token.len() - 1];
    for token in [cut, &format!("{header}.{payload}."), &format!("{header}.{other}.{signature}"), &format!("{header}..{signature}")] {
        let refusal = fixture.refusal(token).await;
        assert!(matches!(refusal, IdentityError::BadSignature(_) | IdentityError::Malformed(_)), "{token}: {refusal:?}");
    }
}

#[test]
fn every_refusal_has_its_own_sentence_and_is_unauthenticated() {
    let all = [
        IdentityError::Missing,
        IdentityError::Malformed("x"),
        IdentityError::BadSignature("x"),
        IdentityError::Expired,
        IdentityError::BadClaims("x"),
    ];
    let sentences: std::collections::HashSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(sentences.len(), all.len());
    for error in all {
        assert!(matches!(Error::from(error), Error::Fault(fault) if fault.code == FaultCode::Unauthenticated));
    }
    let down = Error::from(IdentityError::KeysUnavailable);
    assert!(matches!(down, Error::Fault(fault) if fault.code == FaultCode::Unavailable));
}

#[test]
fn processes_that_race_for_the_key_get_the_same_one_and_nobody_else_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new/data");
    let ids: std::collections::HashSet<String> = std::thread::scope(|scope| {
        let open = || LocalIssuer::open(&data).unwrap().jwks()["keys"][0]["kid"].as_str().unwrap().to_owned();
        (0..4).map(|_| scope.spawn(open)).collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    let mode = std::fs::metadata(data.join("issuer-key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(data.join("issuer-key.pem"), "not a key").unwrap();
    assert!(LocalIssuer::open(&data).is_err());
}
