//! The composition root: from settings to a running process, and back to nothing in order. The only place that names
//! concrete adapters, the real clock and the real source of ids. It must not hold business rules.

use crate::adapters::ai::bedrock::{self, Bedrock};
use crate::adapters::ai::guarded::{Guarded, Threshold};
use crate::adapters::ai::offline::Offline;
use crate::adapters::ai::openai::{self, OpenAi};
use crate::adapters::ai::timed::{Patience, Timed};
use crate::adapters::ai::{Drafter, Model, ModelInfo};
use crate::adapters::events::local::LocalBus;
use crate::adapters::pace::Quota;
use crate::adapters::pace::local::LocalPace;
use crate::adapters::storage::{EmbeddedObjects, ObjectStore, S3Store};
use crate::config::{AiSettings, Config, Provider};
use crate::domain::money::Spend;
use crate::error::{Error, Result};
use crate::graphql::ApiSettings;
use crate::http::{HttpSettings, HttpState, LocalToken, ObjectService};
use crate::identity::{Identity, LocalIssuer};
use crate::repositories::db::Db;
use crate::repositories::jobs;
use crate::services::Services;
use crate::services::core::{Clock, Core, IdSource};
use crate::services::imports::MAX_INLINE_BYTES;
use crate::services::pacing::Paced;
use crate::workers::{WorkerSettings, Workers};
use chrono::{DateTime, Utc};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// File whose lock says that a process uses the data folder.
const LOCK_FILE: &str = "lock";
/// The embedded database in the data folder.
const DATABASE_FILE: &str = "claimwright.db";
/// Longest time that a query or a mutation may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for the connections to the database to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a local token is valid unless somebody says otherwise.
pub const TOKEN_VALID: Duration = Duration::from_hours(12);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roles {
    /// Answers requests and does jobs.
    #[default]
    All,
    /// Answers requests only.
    Api,
    /// Does jobs only.
    Workers,
}

impl Roles {
    const fn answers(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    const fn works(self) -> bool {
        matches!(self, Self::All | Self::Workers)
    }
}

/// What a test may choose and a process takes as it is.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Clock,
    /// New ids.
    pub ids: IdSource,
    /// What writes sections, the default one first.
    pub drafters: Vec<Arc<dyn Drafter>>,
}

impl Surroundings {
    /// The real clock, ids that sort by time, and the configured provider before the offline one, which is always there:
    /// runs that began with it can end with it.
    ///
    /// # Errors
    /// If the client of the provider cannot be made.
    #[expect(clippy::disallowed_methods, reason = "the one place where the ambient source of ids is injected")]
    pub fn real(config: &Config) -> Result<Self> {
        let mut drafters: Vec<Arc<dyn Drafter>> = open_provider(&config.ai)?.into_iter().collect();
        drafters.push(Arc::new(Offline::new(config.offline_delay)));
        Ok(Self { clock: Arc::new(now), ids: Arc::new(Uuid::now_v7), drafters })
    }
}

/// A running process. Dropped, it drains without being waited for.
pub struct App {
    address: Option<SocketAddr>,
    core: Core,
    services: Services,
    issuer: Arc<LocalIssuer>,
    parts: Vec<JoinHandle<Result<()>>>,
    _drains: DropGuard,
    /// Held as long as anything uses the data folder.
    _lock: Option<File>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("address", &self.address).finish_non_exhaustive()
    }
}

impl App {
    /// Starts what the settings say. When it returns, requests are answered and jobs are done.
    ///
    /// # Errors
    /// If the data folder is in use, the address is taken, or the database or the file store cannot be reached.
    pub async fn start(config: &Config, roles: Roles) -> Result<Self> {
        Self::start_in(config, roles, Surroundings::real(config)?).await
    }

    /// Like [`App::start`], with a clock, ids and providers of the caller's choice.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_in(config: &Config, roles: Roles, surroundings: Surroundings) -> Result<Self> {
        let lock = if config.is_embedded() { Some(lock_folder(&config.data_dir)?) } else { None };
        let listener = if roles.answers() { Some(listen(config.address()).await?) } else { None };
        let address = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(Error::internal)?;
        let public_url = config.public_url.clone().unwrap_or_else(|| Config::url_of(address.unwrap_or(config.address())));

        let db = open_db(config).await?;
        if config.database_url.is_none() {
            // the lock says that whoever had claims is gone
            let returned = jobs::release_all(&db).await?;
            if returned > 0 {
                tracing::warn!(jobs = returned, "jobs that were in flight at the last end are done again");
            }
        }
        let (store, objects) = open_store(config, &public_url).await?;
        let issuer = open_issuer(config).await?;
        let core = Core {
            db,
            bus: Arc::new(LocalBus::default()),
            store,
            drafters: surroundings.drafters,
            clock: surroundings.clock,
            ids: surroundings.ids,
            wake: Arc::default(),
            shutdown: CancellationToken::new(),
        };
        let services = Services::new(&core);
        let mut parts = Vec::new();
        if let Some(listener) = listener {
            let state = HttpState {
                schema: crate::graphql::schema(services.clone(), ApiSettings { introspection: config.introspection }),
                identity: Arc::new(Identity::local(Arc::clone(&issuer), Arc::clone(&core.clock))),
                services: services.clone(),
                settings: Arc::new(http_settings(config, public_url, &issuer, &core.clock)),
                shutdown: core.shutdown.clone(),
            };
            let router = crate::http::router(state, objects)?;
            let serving = crate::http::serve(listener, router, core.shutdown.clone(), config.shutdown_grace);
            parts.push(spawn_part(&core.shutdown, serving));
        }
        if roles.works() {
            let settings = WorkerSettings {
                concurrency: config.worker_concurrency,
                beat: config.job_beat,
                dead_after: config.job_dead_after,
                grace: config.shutdown_grace,
            };
            let working = Workers::new(core.clone(), services.clone(), settings).run(core.shutdown.clone());
            parts.push(spawn_part(&core.shutdown, working));
        }
        let drains = core.shutdown.clone().drop_guard();
        Ok(Self { address, core, services, issuer, parts, _drains: drains, _lock: lock })
    }

    /// The address that requests are answered at; none for workers alone.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Base URL at which this machine reaches the process; none for workers alone.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        self.address.map(Config::url_of)
    }

    /// The use cases.
    #[must_use]
    pub const fn services(&self) -> &Services {
        &self.services
    }

    /// The database.
    #[must_use]
    pub const fn db(&self) -> &Db {
        &self.core.db
    }

    /// A token of the local issuer.
    ///
    /// # Errors
    /// INVALID for an email or a workspace that cannot be one.
    pub fn token(&self, email: Option<&str>, workspace: Option<&str>, ttl: Duration) -> Result<String> {
        self.issuer.issue(email, workspace, ttl, self.core.now())
    }

    /// Waits until the process begins to drain, be it because a part of it has failed.
    pub async fn draining(&self) {
        self.core.shutdown.cancelled().await;
    }

    /// Drains: nothing new is accepted or claimed, watchers are told to come back, what is in flight has the grace
    /// period to end, and the rest is given back.
    ///
    /// # Errors
    /// What ended a part of the process before it was told to, or kept it from draining.
    pub async fn stop(mut self) -> Result<()> {
        self.core.shutdown.cancel();
        let mut ended = Ok(());
        for part in self.parts.drain(..) {
            ended = ended.and(part.await.map_err(Error::internal).flatten());
        }
        if timeout(CLOSE_TIMEOUT, self.core.db.close()).await.is_err() {
            tracing::warn!("connections to the database were still in use at the end");
        }
        ended
    }
}

/// Brings the tables of the database up to date, and does nothing more.
///
/// # Errors
/// If the data folder is in use, the database cannot be reached, or a migration fails.
pub async fn migrate(config: &Config) -> Result<()> {
    let _lock = if config.database_url.is_none() { Some(lock_folder(&config.data_dir)?) } else { None };
    open_db(config).await?.close().await;
    Ok(())
}

/// A token of the data folder's issuer, whether or not a server is running. Makes the key pair if there is none.
///
/// # Errors
/// If the data folder cannot be used; INVALID for an email or a workspace that cannot be one.
pub fn local_token(config: &Config, email: Option<&str>, workspace: Option<&str>, ttl: Duration) -> Result<String> {
    create_folder(&config.data_dir)?;
    LocalIssuer::open(&config.data_dir)?.issue(email, workspace, ttl, now())
}

/// The present moment, in the microseconds that both databases keep.
#[expect(clippy::disallowed_methods, reason = "the one place where the ambient clock is injected")]
fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}

/// A part that ends by itself, be it by a panic, takes the process with it: half of one would only look alive.
fn spawn_part(shutdown: &CancellationToken, part: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<Result<()>> {
    let ends_all = shutdown.clone().drop_guard();
    tokio::spawn(async move {
        let _ends_all = ends_all;
        part.await
    })
}

/// The configured provider with all that stands around it; none if it is the offline one. From the outside in: the circuit
/// breaker and the limit of concurrency, the pace, the time-outs, the provider. So nobody waits for a place in the minute
/// at a provider that is down, and a wait for a place does not count as silence.
fn open_provider(ai: &AiSettings) -> Result<Option<Arc<dyn Drafter>>> {
    for model in ai.models.iter().filter(|model| !model.is_priced) {
        tracing::warn!(model = model.model, "nobody said what this model costs: it is counted as free (AI_MODELS_FILE)");
    }
    let models = ai.models.iter().map(|model| Model {
        info: ModelInfo {
            model: model.model.clone(),
            input_price_per_million: Spend(model.input_price),
            output_price_per_million: Spend(model.output_price),
            context_tokens: model.context_tokens,
            streams: true,
        },
        max_output_tokens: model.max_output_tokens,
        temperature: model.temperature,
    });
    let (models, mask_personal_data) = (models.collect(), ai.mask_personal_data);
    let provider: Arc<dyn Drafter> = match &ai.provider {
        Provider::Offline => return Ok(None),
        Provider::OpenAi { base_url, api_key } => {
            Arc::new(OpenAi::new(openai::Settings { base_url: base_url.clone(), api_key: api_key.clone(), models, mask_personal_data })?)
        }
        Provider::Bedrock { endpoint, guardrail } => Arc::new(Bedrock::new(bedrock::Settings {
            endpoint: endpoint.clone(),
            region: None,
            guardrail: guardrail.clone(),
            models,
            mask_personal_data,
        })),
    };
    let timed = Arc::new(Timed::new(provider, Patience { first: ai.timeout, idle: ai.idle_timeout }));
    let quota = Quota { requests: NonZeroU32::new(ai.requests_per_minute), tokens: NonZeroU32::new(ai.tokens_per_minute) };
    let paced = Arc::new(Paced::new(timed, Arc::new(LocalPace::new(quota))));
    Ok(Some(Arc::new(Guarded::new(paced, ai.concurrency, Threshold::default()))))
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|cause| {
        Error::unavailable(format!("The server cannot listen on {address}. Set HOST and PORT to an address that is free."), cause)
    })
}

async fn open_db(config: &Config) -> Result<Db> {
    match config.database_url() {
        Some(url) => Db::open(url, config.database_pool).await,
        None => Db::open_file(&config.data_dir.join(DATABASE_FILE)).await,
    }
}

async fn open_store(config: &Config, public_url: &str) -> Result<(Arc<dyn ObjectStore>, Option<ObjectService>)> {
    if let Some(s3) = &config.s3 {
        return Ok((Arc::new(S3Store::connect(&s3.bucket, s3.endpoint.as_deref()).await?), None));
    }
    let objects = EmbeddedObjects::open(&config.data_dir, public_url).await?;
    Ok((Arc::new(objects.store()), Some(objects.service())))
}

async fn open_issuer(config: &Config) -> Result<Arc<LocalIssuer>> {
    create_folder(&config.data_dir)?;
    let folder = config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || LocalIssuer::open(&folder)).await;
    opened.map_err(Error::internal).flatten().map(Arc::new)
}

fn http_settings(config: &Config, public_url: String, issuer: &Arc<LocalIssuer>, clock: &Clock) -> HttpSettings {
    let (issuer, clock) = (Arc::clone(issuer), Arc::clone(clock));
    let fresh: LocalToken = Arc::new(move || {
        issuer.issue(None, None, TOKEN_VALID, clock()).unwrap_or_else(|error| {
            tracing::error!(%error, "the playground got no token");
            String::new()
        })
    });
    // behind a public name is a proxy, for which everybody looks like this machine
    let is_public = config.public_url.as_deref().is_some_and(|url| !crate::config::is_loopback_url(url));
    HttpSettings {
        public_url,
        allowed_origins: config.frontend_urls.clone(),
        loopback_only: config.is_local(),
        introspection: config.introspection,
        playground: config.playground,
        max_inline_upload_bytes: MAX_INLINE_BYTES,
        request_timeout: REQUEST_TIMEOUT,
        playground_token: (!is_public).then_some(fresh),
    }
}

/// Makes the data folder, for this user alone.
fn create_folder(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|cause| unusable(folder, cause))
}

/// Makes sure that this process is the only one that uses the data folder, as long as the file is open.
fn lock_folder(folder: &Path) -> Result<File> {
    create_folder(folder)?;
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(LOCK_FILE));
    let file = opened.map_err(|cause| unusable(folder, cause))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!(
                "Another process of Claimwright uses the data folder {}. Stop it, or choose another DATA_DIR (and PORT); \
                 for several processes set DATABASE_URL and S3_BUCKET.",
                folder.display()
            );
            Err(Error::fault(crate::error::FaultCode::Unavailable, message))
        }
        Err(TryLockError::Error(cause)) => Err(unusable(folder, cause)),
    }
}

fn unusable(folder: &Path, cause: std::io::Error) -> Error {
    Error::unavailable(format!("The data folder {} cannot be used. Set DATA_DIR to one that can be written.", folder.display()), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_on_a_data_folder_is_told_so_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/data");
        let first = lock_folder(&path).unwrap();
        let refused = lock_folder(&path).unwrap_err().to_string();
        assert!(refused.contains("Another process") && refused.contains("DATA_DIR"), "{refused}");
        drop(first);
        lock_folder(&path).unwrap();
    }

    #[test]
    fn a_token_can_be_made_while_a_server_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().to_str().unwrap().to_owned();
        let config = Config::from_env(|name| (name == "DATA_DIR").then(|| data_dir.clone())).unwrap();
        let _server = lock_folder(folder.path()).unwrap();
        let token = local_token(&config, None, None, TOKEN_VALID).unwrap();
        assert_eq!(token.split('.').count(), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_runs_on_a_free_port_and_leaves_its_folder_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().to_str().unwrap().to_owned();
        let lookup = |name: &str| match name {
            "DATA_DIR" => Some(data_dir.clone()),
            "PORT" => Some("0".to_owned()),
            _ => None,
        };
        let config = Config::from_env(lookup).unwrap();
        for _ in 0..2 {
            let app = App::start(&config, Roles::All).await.unwrap();
            assert_ne!(app.address().unwrap().port(), 0);
            app.services().health.check().await.unwrap();
            let ready = reqwest::get(format!("{}/health/ready", app.url().unwrap())).await.unwrap();
            assert_eq!(ready.status(), 200);
            let busy = App::start(&config, Roles::Workers).await.unwrap_err();
            assert!(busy.to_string().contains("Another process"), "{busy}");
            app.stop().await.unwrap();
        }
    }
}
