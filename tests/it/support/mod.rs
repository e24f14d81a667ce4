//! What tests stand on: a running application on a database of its own, and clients that speak its public API.

pub mod calls;
pub mod client;
pub mod dictated;
pub mod drafter;
pub mod drafts;
pub mod exactness;
pub mod followers;
pub mod keys;
pub mod moto;
pub mod pair;
pub mod process;
pub mod providers;
pub mod raw;
pub mod runs;
pub mod servers;
pub mod socket;

use claimwright::app::{App, Roles, Surroundings};
use claimwright::config::Config;
pub use client::Client;
use drafter::HeldDrafter;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A way in which a test runs the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `SQLite` and all else in process, in the test's own folder.
    Embedded,
    /// On a database of the test's own on the `PostgreSQL` server of `TEST_DATABASE_URL`, and on the Redis server of
    /// `TEST_REDIS_URL`, if there is one, under a prefix of the test's own.
    ScaledOut,
}

/// Declares tests that run in both modes: `on_both! { async fn a_sentence(app: TestApp) { … } }`.
#[macro_export]
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($app:ident: TestApp) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                async fn behaviour($app: $crate::support::TestApp) $body

                #[tokio::test]
                $(#[$meta])*
                async fn embedded() {
                    behaviour($crate::support::TestApp::start($crate::support::Mode::Embedded).await).await;
                }

                #[tokio::test]
                $(#[$meta])*
                async fn scaled_out() {
                    if $crate::support::has_postgres() {
                        behaviour($crate::support::TestApp::start($crate::support::Mode::ScaledOut).await).await;
                    }
                }
            }
        )*
    };
}

/// As `on_both!` for tests that start the application themselves: `on_each! { async fn a_sentence(mode: Mode) { … } }`.
#[macro_export]
macro_rules! on_each {
    ($($(#[$meta:meta])* async fn $name:ident($mode:ident: Mode) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                async fn behaviour($mode: $crate::support::Mode) $body

                #[tokio::test]
                $(#[$meta])*
                async fn embedded() {
                    behaviour($crate::support::Mode::Embedded).await;
                }

                #[tokio::test]
                $(#[$meta])*
                async fn scaled_out() {
                    if $crate::support::has_postgres() {
                        behaviour($crate::support::Mode::ScaledOut).await;
                    }
                }
            }
        )*
    };
}

/// True if there is a `PostgreSQL` server to test on; `tests/with-services` says so loudly if not.
pub fn has_postgres() -> bool {
    std::env::var_os("TEST_DATABASE_URL").is_some()
}

/// A running application on a database and a folder of its own.
pub struct TestApp {
    app: Box<App>,
    config: Config,
    folder: tempfile::TempDir,
    database: Option<String>,
}

impl TestApp {
    /// Starts everything, with the offline provider.
    pub async fn start(mode: Mode) -> Self {
        Self::start_with(mode, |_| {}).await
    }

    /// Starts everything, with the surroundings that the test chooses.
    pub async fn start_with(mode: Mode, choose: impl FnOnce(&mut Surroundings)) -> Self {
        // boxed: a future of the whole start in every test is too much for a stack
        Box::pin(Self::start_on(mode, &[], choose)).await
    }

    /// Starts everything, with more settings and with the surroundings that the test chooses.
    pub async fn start_on(mode: Mode, settings: &[(&str, &str)], choose: impl FnOnce(&mut Surroundings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (config, database) = configure(folder.path(), mode, settings).await;
        let mut surroundings = Surroundings::real();
        choose(&mut surroundings);
        let app = App::start_in(&config, Roles::All, surroundings).await.expect("the application starts");
        Self { app: Box::new(app), config, folder, database }
    }

    /// Starts everything with a provider that lets so many calls through until the test allows more.
    pub async fn start_held(mode: Mode, permits: usize) -> (Self, Arc<HeldDrafter>) {
        let drafter = HeldDrafter::new(permits);
        let provider = Arc::clone(&drafter);
        let app = Self::start_with(mode, |surroundings| surroundings.drafters = vec![provider]).await;
        (app, drafter)
    }

    /// Stops and starts again on the same data, as after a deployment.
    pub async fn restart(self) -> Self {
        self.restart_as(Roles::All).await
    }

    /// Stops and starts again on the same data, to do only this.
    pub async fn restart_as(self, roles: Roles) -> Self {
        let Self { app, config, folder, database } = self;
        Box::pin(app.stop()).await.expect("the application stops");
        let app = App::start(&config, roles).await.expect("the application starts again");
        Self { app: Box::new(app), config, folder, database }
    }

    /// The use cases behind the API.
    pub fn services(&self) -> &claimwright::services::Services {
        self.app.services()
    }

    /// The adviser of the default practice.
    pub fn adviser(&self) -> Client {
        self.member("adviser@practice.example", "practice")
    }

    /// A person of another practice: must never see anything of the adviser's.
    pub fn stranger(&self) -> Client {
        self.member("stranger@other.example", "other")
    }

    /// A person of a practice.
    pub fn member(&self, email: &str, workspace: &str) -> Client {
        let token = self.app.token(Some(email), Some(workspace), Duration::from_hours(1)).expect("a token");
        Client::new(self.url(), Some(token))
    }

    /// Somebody without a token.
    pub fn anonymous(&self) -> Client {
        Client::new(self.url(), None)
    }

    /// A token that ends after so long.
    pub fn token(&self, ttl: Duration) -> String {
        self.app.token(Some("adviser@practice.example"), Some("practice"), ttl).expect("a token")
    }

    /// Base URL.
    pub fn url(&self) -> String {
        self.app.url().expect("an address")
    }

    /// The application.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The name of the test's own database on the server of `TEST_DATABASE_URL`, if it has one.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Statements that were sent to the database so far.
    pub fn statements(&self) -> u64 {
        self.app.db().statements()
    }

    /// Stops everything and removes the test's database.
    pub async fn stop(self) {
        Box::pin(self.app.stop()).await.expect("the application stops");
        if let Some(name) = self.database {
            drop_database(&name).await;
        }
    }
}

/// Makes an empty database on the server of `TEST_DATABASE_URL`; gives its name.
pub async fn create_database() -> String {
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    sql(&format!("CREATE DATABASE {name}")).await;
    name
}

/// Removes a database, whoever is still connected.
pub async fn drop_database(name: &str) {
    sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
}

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Settings of a test's own application; for `PostgreSQL` with a new database, whose name comes back too.
pub async fn configure(folder: &Path, mode: Mode, settings: &[(&str, &str)]) -> (Config, Option<String>) {
    let mut variables: Vec<(String, String)> = vec![
        ("PORT".into(), "0".into()),
        ("DATA_DIR".into(), folder.join("data").to_str().expect("a path").into()),
        ("WORKER_CONCURRENCY".into(), "4".into()),
        ("SHUTDOWN_GRACE".into(), "5".into()),
    ];
    let mut name = None;
    if mode == Mode::ScaledOut {
        let database = create_database().await;
        variables.push(("DATABASE_URL".into(), server_url(&database)));
        variables.extend(redis_settings(&database));
        name = Some(database);
    }
    variables.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let lookup = |name: &str| variables.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    (Config::from_env(lookup).expect("settings"), name)
}

/// Settings that let a test share the Redis server of `TEST_REDIS_URL` with others, under a prefix of its own; none if
/// there is no such server.
pub fn redis_settings(prefix: &str) -> Vec<(String, String)> {
    let Ok(url) = std::env::var("TEST_REDIS_URL") else { return Vec::new() };
    vec![("REDIS_URL".into(), url), ("REDIS_PREFIX".into(), prefix.into())]
}

/// The URL of a database on the server of `TEST_DATABASE_URL`.
pub fn server_url(database: &str) -> String {
    let url = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL");
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{database}")
}

/// Runs a statement as the administrator of the server of `TEST_DATABASE_URL`.
pub async fn sql(statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut admin().await).await.expect("the statement runs");
}

async fn admin() -> PgConnection {
    PgConnection::connect(&std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL")).await.expect("PostgreSQL answers")
}

/// Rows as `importProjects` takes them, numbered from 1, with facts that make good narratives.
pub fn rows(count: usize) -> Value {
    (1..=count).map(row).collect()
}

/// One row.
pub fn row(number: usize) -> Value {
    json!({
        "externalRef": format!("P-{number}"),
        "name": format!("Project {number}"),
        "facts": {
            "sector": "Manufacturing",
            "fieldOfScience": "Materials engineering",
            "subField": "Polymer processing",
            "startDate": "2025-05-01",
            "endDate": "2026-02-28",
            "workStatus": "COMPLETED",
            "baseline": "Published work reported that commercial extruders hold the melt temperature within 6 degrees at 40 kg per hour. \
                The standard test ISO 1133 gives melt flow with an error of 8 percent for filled polymers. No published method keeps the \
                temperature within 2 degrees when recycled feed varies from batch to batch, and suppliers of the equipment state this limit.",
            "advanceSought": "To hold the melt temperature within 2 degrees at 40 kg per hour for recycled feed that varies by 30 percent in \
                viscosity, which is beyond what the field reports for any extruder of this size.",
            "uncertainties": "1. It was not known whether melt viscosity could be estimated from screw torque within 5 percent, because theory \
                assumes a constant composition. 2. It was uncertain whether a controller could act within 4 seconds without oscillation, since \
                the delay of the heated zones was not characterised in any published model.",
            "workUndertaken": "In June 2025 the team measured torque and viscosity for 24 blends and found an error of 11 percent. In September 2025 \
                a model with two lags was fitted; it failed above 35 kg per hour. In January 2026 the model was changed to include feed moisture \
                and the error fell to 4 percent over 18 trials.",
            "outcome": "The first uncertainty was resolved: viscosity is estimated within 4 percent. The second was resolved in part: the controller \
                holds 2 degrees up to 38 kg per hour.",
            "competentProfessionalRole": "Lead process engineer",
            "competentProfessionalQualifications": "Chartered engineer with a doctorate in polymer processing",
            "competentProfessionalYears": 14
        },
        "costs": { "staff": format!("{}.00", 40_000 + number * 100), "consumables": "5200.50", "software": "1300.00" }
    })
}

/// The payload of a mutation that must have no problems.
pub fn accepted<'a>(data: &'a Value, mutation: &str) -> &'a Value {
    let payload = &data[mutation];
    assert_eq!(payload["userErrors"], json!([]), "{mutation} was refused");
    payload
}

/// The code of the first problem of a mutation that must be refused.
pub fn refused<'a>(data: &'a Value, mutation: &str) -> &'a str {
    let problem = &data[mutation]["userErrors"][0];
    assert!(problem["message"].as_str().is_some_and(|message| message.len() > 10), "no sentence: {data}");
    problem["code"].as_str().unwrap_or_else(|| panic!("{mutation} was not refused: {data}"))
}
