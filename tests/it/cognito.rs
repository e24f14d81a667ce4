//! Tokens of AWS Cognito in place of the local issuer's: issued by an independent implementation (moto's server), and by
//! an issuer of the test's own that changes its keys, falls ill and counts how often it is asked.

use crate::on_each;
use crate::support::calls::text;
use crate::support::keys::{Key, KeyServer};
use crate::support::process::{run, settings};
use crate::support::servers::OwnMoto;
use crate::support::{Client, Mode, PATIENCE, TestApp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claimwright::app::Surroundings;
use futures::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use uuid::Uuid;

const VIEWER: &str = "{ viewer { user { id email displayName } workspace { id name } } }";
const PASSWORD: &str = "Correct-Horse-7";
/// The pool of the test's own issuer.
const POOL: &str = "eu-west-2_OwnIssuer";
const ISSUER: &str = "https://cognito-idp.eu-west-2.amazonaws.com/eu-west-2_OwnIssuer";
const CLIENT: &str = "web";
const NOW: i64 = 1_900_000_000;

async fn viewer(app: &TestApp, token: &str) -> Value {
    Client::new(app.url(), Some(token.to_owned())).run(VIEWER, json!({})).await["viewer"].clone()
}

/// Status, code and message of what is answered to a token.
async fn refusal(app: &TestApp, token: &str) -> (u16, String, String) {
    let (status, body) = Client::new(app.url(), Some(token.to_owned())).send(VIEWER, json!({})).await;
    let error = &body["errors"][0];
    (status, text(&error["extensions"]["code"]), text(&error["message"]))
}

async fn assert_refused(app: &TestApp, token: &str, word: &str) {
    let (status, code, message) = refusal(app, token).await;
    assert_eq!((status, code.as_str()), (401, "UNAUTHENTICATED"), "{message}");
    assert!(message.to_lowercase().contains(word), "not told apart by \"{word}\": {message}");
}

/// A pool at moto's with a client and a person, who belongs to a workspace.
struct Pool<'m> {
    moto: &'m OwnMoto,
    id: String,
    client: String,
}

/// What signing in gives.
struct Tokens {
    id: String,
    access: String,
}

impl<'m> Pool<'m> {
    async fn create(moto: &'m OwnMoto, workspace: Uuid) -> Self {
        let schema = json!([{ "Name": "workspace_id", "AttributeDataType": "String", "Mutable": true }]);
        let pool = moto.cognito("CreateUserPool", json!({ "PoolName": "practices", "Schema": schema })).await;
        let id = text(&pool["UserPool"]["Id"]);
        let attributes = json!([{ "Name": "email", "Value": "ann@practice.example" }, { "Name": "name", "Value": "Ann Other" },
            { "Name": "custom:workspace_id", "Value": workspace }]);
        let person = json!({ "UserPoolId": id, "Username": "ann", "MessageAction": "SUPPRESS", "UserAttributes": attributes });
        moto.cognito("AdminCreateUser", person).await;
        let password = json!({ "UserPoolId": id, "Username": "ann", "Password": PASSWORD, "Permanent": true });
        moto.cognito("AdminSetUserPassword", password).await;
        let client = Self::create_client(moto, &id).await;
        Self { moto, id, client }
    }

    async fn create_client(moto: &OwnMoto, pool: &str) -> String {
        let input = json!({ "UserPoolId": pool, "ClientName": "web", "ReadAttributes": ["email", "name", "custom:workspace_id"],
            "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"] });
        text(&moto.cognito("CreateUserPoolClient", input).await["UserPoolClient"]["ClientId"])
    }

    async fn sign_in(&self, client: &str) -> Tokens {
        let input =
            json!({ "ClientId": client, "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": { "USERNAME": "ann", "PASSWORD": PASSWORD } });
        let answer = self.moto.cognito("InitiateAuth", input).await;
        let token = |name: &str| text(&answer["AuthenticationResult"][name]);
        Tokens { id: token("IdToken"), access: token("AccessToken") }
    }

    /// Issuer and client follow from the pool, as at AWS; only the keys are elsewhere.
    fn settings(&self) -> Vec<(&str, String)> {
        let keys = format!("{}/{}/.well-known/jwks.json", self.moto.url(), self.id);
        vec![
            ("COGNITO_USER_POOL_ID", self.id.clone()),
            ("COGNITO_CLIENT_ID", format!("another, {}", self.client)),
            ("COGNITO_JWKS_URL", keys),
        ]
    }
}

fn borrowed<'s>(settings: &'s [(&'s str, String)]) -> Vec<(&'s str, &'s str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

on_each! {
    async fn tokens_of_an_independent_cognito_are_accepted_and_say_who_somebody_is(mode: Mode) {
        let Some(moto) = OwnMoto::start().await else { return };
        let workspace = Uuid::new_v4();
        let pool = Pool::create(&moto, workspace).await;
        let app = TestApp::start_on(mode, &borrowed(&pool.settings()), |_| {}).await;
        let Tokens { id, access } = pool.sign_in(&pool.client).await;

        let unknown = viewer(&app, &access).await;
        assert_eq!(unknown["user"]["email"], Value::Null, "an access token carries no email");
        let known = viewer(&app, &id).await;
        assert_eq!((&known["user"]["email"], &known["user"]["displayName"]), (&json!("ann@practice.example"), &json!("Ann Other")));
        assert_ne!(known["workspace"]["id"], unknown["workspace"]["id"], "the id token names the practice");
        assert_eq!(viewer(&app, &access).await, known, "and from then on the access token is for it too");
        let client = Client::new(app.url(), Some(access.clone()));
        let (batch, _) = client.generated("Drafted by an access token", 1).await;
        let seen = Client::new(app.url(), Some(id)).batch_now(&batch).await;
        assert_eq!(seen["counts"]["needsReview"], 1);

        let app = Box::pin(app.restart()).await;
        assert_eq!(viewer(&app, &access).await, known, "the practice is stored, not only remembered");
        app.stop().await;
    }

    async fn a_person_who_moves_is_followed_by_access_tokens_and_never_moved_back_by_an_old_token(mode: Mode) {
        let (server, key) = (KeyServer::start().await, Key::new());
        server.publish(&[&key]);
        let app = TestApp::start_on(mode, &own_settings(&server), fixed_clock(&Arc::new(AtomicI64::new(NOW)))).await;
        let (north, south) = (Uuid::new_v4(), Uuid::new_v4());
        let id = |workspace: Uuid, end: i64| {
            key.sign(&claims(json!({ "aud": CLIENT, "token_use": "id", "exp": NOW + end, "email": "ann@practice.example",
                "custom:workspace_id": workspace })))
        };
        let access = key.sign(&claims(json!({ "client_id": CLIENT, "token_use": "access" })));
        let first = viewer(&app, &id(north, 100)).await["workspace"]["id"].clone();
        assert_eq!(viewer(&app, &access).await["workspace"]["id"], first);
        let second = viewer(&app, &id(south, 200)).await["workspace"]["id"].clone();
        assert_ne!(first, second);
        assert_eq!(viewer(&app, &access).await["workspace"]["id"], second);
        assert_eq!(viewer(&app, &id(north, 100)).await["workspace"]["id"], first, "a token that names a practice is for that one");
        assert_eq!(viewer(&app, &access).await["workspace"]["id"], second, "but it is an old one");
        assert_eq!(viewer(&app, &id(north, 300)).await["workspace"]["id"], first);
        assert_eq!(viewer(&app, &access).await["workspace"]["id"], first, "and back again by a new one");
        app.stop().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_token_of_cognito_is_told_apart() {
    let Some(moto) = OwnMoto::start().await else { return };
    let pool = Pool::create(&moto, Uuid::new_v4()).await;
    let other_client = Pool::create_client(&moto, &pool.id).await;
    let other_pool = Pool::create(&moto, Uuid::new_v4()).await;
    let good = pool.sign_in(&pool.client).await;
    let now = Arc::new(AtomicI64::new(issued_at(&good.id)));
    let app = TestApp::start_on(Mode::Embedded, &borrowed(&pool.settings()), fixed_clock(&now)).await;
    for token in [&good.id, &good.access] {
        assert!(viewer(&app, token).await["workspace"]["id"].is_string());
        let (head, _) = token.rsplit_once('.').expect("a signature");
        assert_refused(&app, &format!("{head}.AAAA"), "signature").await;
    }
    for strange in [pool.sign_in(&other_client).await, other_pool.sign_in(&other_pool.client).await] {
        assert_refused(&app, &strange.id, "claims").await;
        assert_refused(&app, &strange.access, "claims").await;
    }
    now.fetch_add(7_200, Ordering::SeqCst);
    assert_refused(&app, &good.id, "expired").await;
    assert_refused(&app, &good.access, "expired").await;
    app.stop().await;
}

fn issued_at(token: &str) -> i64 {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64");
    serde_json::from_slice::<Value>(&claims).expect("JSON")["iat"].as_i64().expect("a moment")
}

fn own_settings(server: &KeyServer) -> Vec<(&str, &str)> {
    vec![("COGNITO_USER_POOL_ID", POOL), ("COGNITO_CLIENT_ID", CLIENT), ("COGNITO_JWKS_URL", server.url())]
}

/// A clock that stands still at a moment until the test moves it.
fn fixed_clock(seconds: &Arc<AtomicI64>) -> impl FnOnce(&mut Surroundings) {
    let seconds = Arc::clone(seconds);
    move |surroundings| {
        surroundings.clock = Arc::new(move || chrono::DateTime::from_timestamp(seconds.load(Ordering::SeqCst), 0).expect("a moment"));
    }
}

fn claims(more: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "sub": "0193", "exp": NOW + 600 });
    claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    claims
}

fn id_claims() -> Value {
    claims(json!({ "aud": CLIENT, "token_use": "id", "email": "ann@practice.example" }))
}

#[tokio::test]
async fn keys_change_without_a_restart_and_stay_in_use_while_the_issuer_is_down() {
    let (server, first, second) = (KeyServer::start().await, Key::new(), Key::new());
    server.publish(&[&first]);
    let now = Arc::new(AtomicI64::new(NOW));
    let app = TestApp::start_on(Mode::Embedded, &own_settings(&server), fixed_clock(&now)).await;
    let (old, new) = (first.sign(&id_claims()), second.sign(&id_claims()));
    let known = viewer(&app, &old).await;
    assert_refused(&app, &new, "signature").await;

    server.publish(&[&first, &second]);
    now.fetch_add(6, Ordering::SeqCst);
    assert_eq!(viewer(&app, &new).await, known, "the new key is found when it is first needed");
    assert_eq!(viewer(&app, &old).await, known);

    server.fall_ill();
    now.fetch_add(6, Ordering::SeqCst);
    assert_refused(&app, &Key::new().sign(&id_claims()), "signature").await;
    for token in [&old, &new] {
        assert_eq!(viewer(&app, token).await, known, "keys are used stale while the issuer is down");
    }

    server.publish(&[&second]);
    now.fetch_add(6, Ordering::SeqCst);
    assert_refused(&app, &Key::new().sign(&id_claims()), "signature").await;
    assert_refused(&app, &old, "signature").await;
    assert_eq!(viewer(&app, &new).await, known, "what the issuer took back is not accepted any more");
    app.stop().await;
}

#[tokio::test]
async fn a_server_starts_while_the_issuer_is_down_and_lets_people_in_as_soon_as_it_is_back() {
    let (server, key) = (KeyServer::start().await, Key::new());
    let app = TestApp::start_on(Mode::Embedded, &own_settings(&server), fixed_clock(&Arc::new(AtomicI64::new(NOW)))).await;
    let token = key.sign(&id_claims());
    let (status, code, message) = refusal(&app, &token).await;
    assert_eq!((status, code.as_str()), (503, "UNAVAILABLE"), "nothing can be said about the token: {message}");
    assert_eq!(app.anonymous().send("{ apiInfo { version } }", json!({})).await.0, 200);
    server.publish(&[&key]);
    // the clock stands still, so no token asks again: the server does by itself
    server.was_asked(server.asked() + 1).await;
    let let_in = async {
        while Client::new(app.url(), Some(token.clone())).send(VIEWER, json!({})).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, let_in).await.expect("let in");
    app.stop().await;
}

#[tokio::test]
async fn a_thousand_unknown_keys_ask_the_issuer_once() {
    let (server, key) = (KeyServer::start().await, Key::new());
    server.publish(&[&key]);
    let now = Arc::new(AtomicI64::new(NOW));
    let app = TestApp::start_on(Mode::Embedded, &own_settings(&server), fixed_clock(&now)).await;
    viewer(&app, &key.sign(&id_claims())).await;
    let asked = server.asked();
    assert!((1..=2).contains(&asked), "the start asks, and perhaps the first token: {asked}");
    now.fetch_add(6, Ordering::SeqCst);
    let client = Client::new(app.url(), None);
    for hundred in 0..10 {
        let tokens = (0..100).map(|n| key.sign_as(&format!("unknown {hundred} {n}"), &id_claims()));
        let answers = join_all(tokens.map(|token| {
            let client = client.with_token(token);
            async move { client.send(VIEWER, json!({})).await.0 }
        }));
        assert_eq!(answers.await, [401; 100]);
    }
    assert_eq!(server.asked(), asked + 1);
    assert!(viewer(&app, &key.sign(&id_claims())).await["user"]["id"].is_string(), "and who is known goes in");
    app.stop().await;
}

#[tokio::test]
async fn nothing_of_the_local_issuer_is_left_beside_cognito() {
    let (server, key) = (KeyServer::start().await, Key::new());
    server.publish(&[&key]);
    let more = [&own_settings(&server)[..], &[("PLAYGROUND", "on")]].concat();
    let app = TestApp::start_on(Mode::Embedded, &more, fixed_clock(&Arc::new(AtomicI64::new(NOW)))).await;
    assert_eq!(app.anonymous().download(&format!("{}/.well-known/jwks.json", app.url())).await.0, 404);
    let (status, page) = app.anonymous().download(&format!("{}/", app.url())).await;
    assert!(status == 200 && !String::from_utf8_lossy(&page).contains("eyJ"), "the page has a token");
    assert!(!app.folder().join("data/issuer-key.pem").exists(), "a key was made that nobody needs");
    app.stop().await;

    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let pool = settings(&own_settings(&server));
    std::fs::write(folder.path().join("rows.csv"), "Project name\nOne\n").expect("written");
    for arguments in [&["token"][..], &["import", "rows.csv"], &["watch", "Acme"]] {
        let refused = run(arguments, &data, &pool).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(refused.stderr.contains("Cognito") && refused.stderr.contains("CLAIMWRIGHT_TOKEN"), "{arguments:?}: {}", refused.stderr);
    }
    assert!(!data.join("issuer-key.pem").exists());
}
