//! Two processes of one deployment: one database, one Redis, and a data folder each.

use super::{Client, Mode, configure, create_database, drop_database, server_url};
use claimwright::app::{App, Roles, Surroundings};
use std::time::Duration;

/// Two applications on one database and one Redis.
pub struct Pair {
    /// The applications.
    pub apps: Vec<App>,
    folders: Vec<tempfile::TempDir>,
    database: String,
}

impl Pair {
    /// Starts both with more settings; none where `TEST_DATABASE_URL` or `TEST_REDIS_URL` is missing.
    pub async fn start(more: &[(&str, &str)]) -> Option<Self> {
        Box::pin(Self::start_with(more, |_| {})).await
    }

    /// The same, with the surroundings that the test chooses.
    pub async fn start_with(more: &[(&str, &str)], choose: impl Fn(&mut Surroundings)) -> Option<Self> {
        let (Ok(_), Ok(redis)) = (std::env::var("TEST_DATABASE_URL"), std::env::var("TEST_REDIS_URL")) else {
            eprintln!("skipped: TEST_DATABASE_URL and TEST_REDIS_URL are not both set; tests/with-services says why");
            return None;
        };
        let database = create_database().await;
        let url = server_url(&database);
        let mut settings = vec![("DATABASE_URL", url.as_str()), ("REDIS_URL", redis.as_str()), ("REDIS_PREFIX", database.as_str())];
        settings.extend(more);
        let (mut apps, mut folders) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let folder = tempfile::tempdir().expect("a folder");
            let (config, _) = configure(folder.path(), Mode::Embedded, &settings).await;
            let mut surroundings = Surroundings::real();
            choose(&mut surroundings);
            apps.push(App::start_in(&config, Roles::All, surroundings).await.expect("the application starts"));
            folders.push(folder);
        }
        Some(Self { apps, folders, database })
    }

    /// The adviser of the default practice, at one of the two.
    pub fn client(app: &App) -> Client {
        let token = app.token(Some("adviser@practice.example"), Some("practice"), Duration::from_hours(1)).expect("a token");
        Client::new(app.url().expect("an address"), Some(token))
    }

    /// Stops both and removes their database.
    pub async fn stop(self) {
        for app in self.apps {
            app.stop().await.expect("the application stops");
        }
        drop(self.folders);
        drop_database(&self.database).await;
    }
}
