//! The composition root: from settings to a running process, and back to nothing in order. The only place that names
//! concrete adapters, the real clock and the real source of ids. It must not hold business rules.

mod documents;
mod migrate_data;
mod provider;
mod sharing;
mod storage;

pub use migrate_data::{Migrated, migrate_data};

use crate::adapters::ai::Drafter;
use crate::adapters::events::EventBus;
use crate::adapters::events::local::LocalBus;
use crate::adapters::events::redis::RedisBus;
use crate::adapters::redis::Redis;
use crate::config::Config;
use crate::error::{Error, FaultCode, ProblemCode, Result};
use crate::graphql::ApiSettings;
use crate::http::{HttpSettings, HttpState, LocalToken, MetricsText, OpsState, Quotas, Timing};
use crate::identity::{Identity, LocalIssuer, RemoteKeys, Trust};
use crate::repositories::db::Db;
use crate::repositories::jobs;
use crate::services::Services;
use crate::services::core::{Clock, Core, IdSource, Parts};
use crate::services::drafts::desk::Desk;
use crate::services::health::Check;
use crate::services::imports::MAX_INLINE_BYTES;
use crate::telemetry::Metrics;
use crate::workers::{WorkerSettings, Workers};
use chrono::{DateTime, Utc};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::net::SocketAddr;
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
/// Time that probes in flight have at the very end.
const OPS_GRACE: Duration = Duration::from_secs(1);
/// Most connections of probes and scrapers.
const OPS_CONNECTIONS: usize = 100;
/// Longest time for the connections to the database to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for the last bells to leave for other processes; whoever misses them looks at the table.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
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

/// Longest time for the head of a request to arrive, and for an idle connection to stay open.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time for a body to arrive; of a body of the file store, for its next piece.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for the whole of a body of the file store, which a byte now and then would hold for ever.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(15);
/// Longest time in which a client takes nothing of what is written for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of answers that wait for clients before that becomes a second.
const MAX_UNREAD: usize = 64 << 20;
/// Longest time that a query or a mutation may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the peer of a socket is pinged, and when a silent one is given up. A client that only reads slowly answers late.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_mins(3);

/// How long requests may take, and how much may wait meanwhile. A test that waits for the end of one chooses less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the head of a request to arrive, and for an idle connection to stay open.
    pub head: Duration,
    /// For the body of a request to arrive; of one of the file store, for its next piece.
    pub body: Duration,
    /// For the whole of a body of the file store.
    pub upload: Duration,
    /// For a client to take something of what is written for it.
    pub write: Duration,
    /// Bytes of answers that wait for clients, before these are hurried.
    pub unread: usize,
    /// For a query or a mutation to be answered.
    pub request: Duration,
    /// Between two pings of a socket.
    pub ping: Duration,
    /// For the peer of a socket to say anything at all.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: HEADER_TIMEOUT,
            body: BODY_TIMEOUT,
            upload: UPLOAD_TIMEOUT,
            write: WRITE_TIMEOUT,
            unread: MAX_UNREAD,
            request: REQUEST_TIMEOUT,
            ping: PING_INTERVAL,
            silence: SILENCE,
        }
    }
}

/// What a test may choose and a process takes as it is.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Clock,
    /// New ids.
    pub ids: IdSource,
    /// What writes sections, the default one first; if there are none, what the settings say.
    pub drafters: Vec<Arc<dyn Drafter>>,
    /// How long requests may take.
    pub patience: Patience,
}

impl Surroundings {
    /// The real clock, ids that sort by time, and the providers that the settings say.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the ambient source of ids is injected")]
    pub fn real() -> Self {
        Self { clock: Arc::new(now), ids: Arc::new(Uuid::now_v7), drafters: Vec::new(), patience: Patience::default() }
    }
}

/// A running process. Dropped, it drains without being waited for.
pub struct App {
    address: Option<SocketAddr>,
    core: Core,
    services: Services,
    /// None if tokens come from a user pool.
    issuer: Option<Arc<LocalIssuer>>,
    parts: Vec<JoinHandle<Result<()>>>,
    /// The bus, if its bells leave the process.
    shared_bus: Option<Arc<RedisBus>>,
    ops: Option<OpsPart>,
    _drains: DropGuard,
    /// Held as long as anything uses the data folder.
    _lock: Option<File>,
}

/// Health and metrics on an address of their own. They are answered until everything else has drained.
struct OpsPart {
    address: SocketAddr,
    serving: JoinHandle<Result<()>>,
    end: DropGuard,
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
        // large, because it holds whatever it has opened so far
        Box::pin(Self::start_in(config, roles, Surroundings::real())).await
    }

    /// Like [`App::start`], with a clock, ids and providers of the caller's choice.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_in(config: &Config, roles: Roles, surroundings: Surroundings) -> Result<Self> {
        let lock = if config.is_embedded() { Some(lock_folder(&config.data_dir)?) } else { None };
        let listener = if roles.answers() { Some(listen(config.address()).await?) } else { None };
        let ops_listener = match config.ops_address {
            Some(address) => Some(listen_at("OPS_ADDRESS", address).await?),
            None => None,
        };
        let address = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(Error::internal)?;
        let public_url = config.public_url.clone().unwrap_or_else(|| Config::url_of(address.unwrap_or(config.address())));

        let recorder = Metrics::install()?;
        let db = open_db(config).await?;
        if config.database_url.is_none() {
            // the lock says that whoever had claims is gone
            let returned = jobs::release_all(&db).await?;
            if returned > 0 {
                tracing::warn!(jobs = returned, "jobs that were in flight at the last end are done again");
            }
        }
        let (store, objects) = storage::open_store(config, &public_url, roles).await?;
        let (identity, issuer) = open_identity(config, &surroundings.clock).await?;
        let redis = sharing::open_redis(config).await?;
        let (cache, limits) = (sharing::cache(redis.as_ref()), sharing::limits(config, redis.as_ref()));
        let shared_bus = redis.clone().map(|redis| Arc::new(RedisBus::new(redis, Arc::clone(&surroundings.clock))));
        let bus: Arc<dyn EventBus> = match &shared_bus {
            Some(shared) => Arc::clone(shared) as _,
            None => Arc::new(LocalBus::default()),
        };
        let drafters = match surroundings.drafters {
            chosen if !chosen.is_empty() => chosen,
            _ => provider::open_drafters(config, redis.as_ref())?,
        };
        let core = Core::from(Parts {
            db,
            desk: Arc::new(Desk::new(Arc::clone(&bus))),
            bus,
            store,
            cache,
            registered: documents::read_registered(config)?,
            limits,
            drafters,
            redraft: config.ai.redraft,
            clock: surroundings.clock,
            ids: surroundings.ids,
            wake: Arc::default(),
            shutdown: CancellationToken::new(),
        });
        let mut services = Services::new(&core);
        if roles.answers() {
            services.health.also("identity", Arc::new(IdentityKeys(Arc::clone(&identity))));
        }
        if let Some(redis) = redis {
            services.health.also("redis", Arc::new(RedisAnswers(redis)));
        }
        drop(tokio::spawn(core.shutdown.clone().run_until_cancelled_owned(recorder.clone().keep_up())));
        let metrics = metrics_text(recorder, core.db.clone());
        let mut parts = Vec::new();
        let ops = OpsState { health: services.health.clone(), metrics: Arc::clone(&metrics), shutdown: core.shutdown.clone() };
        let ops = ops_listener.map(|listener| serve_ops(listener, ops)).transpose()?;
        if let Some(listener) = listener {
            let state = HttpState {
                schema: crate::graphql::schema(services.clone(), ApiSettings { introspection: config.introspection }),
                identity: Arc::clone(&identity),
                services: services.clone(),
                settings: Arc::new(http_settings(config, surroundings.patience, public_url, issuer.as_ref(), &core.clock)),
                metrics,
                shutdown: core.shutdown.clone(),
            };
            let site = crate::http::site(state, objects)?;
            let Patience { head, write, unread, .. } = surroundings.patience;
            let timing = Timing { connections: config.max_connections, head, write, unread, grace: config.shutdown_grace };
            let serving = crate::http::serve(listener, site, core.shutdown.clone(), timing);
            parts.push(spawn_part(&core.shutdown, serving));
            if config.cognito.is_some() {
                parts.push(spawn_part(&core.shutdown, keep_keys_fresh(identity, core.clone())));
            }
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
        Ok(Self { address, core, services, issuer, parts, shared_bus, ops, _drains: drains, _lock: lock })
    }

    /// The address that requests are answered at; none for workers alone.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The address of health and metrics alone, if there is one.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(|ops| ops.address)
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
    pub fn db(&self) -> &Db {
        &self.core.db
    }

    /// A token of the local issuer.
    ///
    /// # Errors
    /// INVALID for an email or a workspace that cannot be one; `WRONG_STATE` if tokens come from a user pool.
    pub fn token(&self, email: Option<&str>, workspace: Option<&str>, ttl: Duration) -> Result<String> {
        self.issuer.as_ref().ok_or_else(tokens_come_from_elsewhere)?.issue(email, workspace, ttl, self.core.now())
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
        if let Some(bus) = &self.shared_bus
            && timeout(FLUSH_TIMEOUT, bus.flush()).await.is_err()
        {
            tracing::warn!("the last bells did not leave the process; whoever listens elsewhere looks at the table");
        }
        if let Some(ops) = self.ops.take() {
            drop(ops.end);
            ended = ended.and(ops.serving.await.map_err(Error::internal).flatten());
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
/// If the data folder cannot be used; INVALID for an email or a workspace that cannot be one; `WRONG_STATE` if tokens
/// come from a user pool.
pub fn local_token(config: &Config, email: Option<&str>, workspace: Option<&str>, ttl: Duration) -> Result<String> {
    if config.cognito.is_some() {
        return Err(tokens_come_from_elsewhere());
    }
    create_folder(&config.data_dir)?;
    LocalIssuer::open(&config.data_dir)?.issue(email, workspace, ttl, now())
}

fn tokens_come_from_elsewhere() -> Error {
    let message = "Tokens come from Cognito (COGNITO_USER_POOL_ID): sign in there, and give the token to import and watch as \
         CLAIMWRIGHT_TOKEN.";
    Error::refused(ProblemCode::WrongState, "token", message)
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

/// Tokens can be checked as long as keys of their issuer are known, be they stale.
struct IdentityKeys(Arc<Identity>);

#[async_trait::async_trait]
impl Check for IdentityKeys {
    async fn check(&self) -> Result<()> {
        if self.0.has_keys() { Ok(()) } else { Err(Error::internal("no key of the issuer is known yet")) }
    }
}

struct RedisAnswers(Redis);

#[async_trait::async_trait]
impl Check for RedisAnswers {
    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

/// Serves health and metrics until the guard is dropped; they have a second to say their last words.
fn serve_ops(listener: TcpListener, state: OpsState) -> Result<OpsPart> {
    let address = listener.local_addr().map_err(Error::internal)?;
    let end = CancellationToken::new();
    let Patience { head, write, unread, .. } = Patience::default();
    let timing = Timing { connections: OPS_CONNECTIONS, head, write, unread, grace: OPS_GRACE };
    let serving = tokio::spawn(crate::http::serve(listener, crate::http::ops_router(state), end.clone(), timing));
    Ok(OpsPart { address, serving, end: end.drop_guard() })
}

/// The metrics, with what is only measured when somebody looks.
fn metrics_text(recorder: Metrics, db: Db) -> MetricsText {
    Arc::new(move || {
        db.observe_pools();
        recorder.render()
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    listen_at("HOST and PORT", address).await
}

async fn listen_at(variables: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|cause| {
        Error::unavailable(format!("The server cannot listen on {address}. Set {variables} to an address that is free."), cause)
    })
}

async fn open_db(config: &Config) -> Result<Db> {
    match config.database_url() {
        Some(url) => Db::open(url, config.database_pool).await,
        None => Db::open_file(&config.data_dir.join(DATABASE_FILE)).await,
    }
}

/// Who says who somebody is: the user pool, or the local issuer.
async fn open_identity(config: &Config, clock: &Clock) -> Result<(Arc<Identity>, Option<Arc<LocalIssuer>>)> {
    if let Some(cognito) = &config.cognito {
        let trust = Trust { issuer: cognito.issuer.clone(), client_ids: cognito.client_ids.clone() };
        let keys = Arc::new(RemoteKeys::new(&cognito.jwks_url)?);
        return Ok((Arc::new(Identity::new(trust, keys, Arc::clone(clock))), None));
    }
    let issuer = open_issuer(config).await?;
    Ok((Arc::new(Identity::local(Arc::clone(&issuer), Arc::clone(clock))), Some(issuer)))
}

/// Reads the keys of the user pool from time to time, until the process shuts down.
async fn keep_keys_fresh(identity: Arc<Identity>, core: Core) -> Result<()> {
    core.shutdown.run_until_cancelled(identity.keep_keys_fresh(|| core.dice())).await;
    Ok(())
}

async fn open_issuer(config: &Config) -> Result<Arc<LocalIssuer>> {
    create_folder(&config.data_dir)?;
    let folder = config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || LocalIssuer::open(&folder)).await;
    opened.map_err(Error::internal).flatten().map(Arc::new)
}

fn http_settings(
    config: &Config,
    patience: Patience,
    public_url: String,
    issuer: Option<&Arc<LocalIssuer>>,
    clock: &Clock,
) -> HttpSettings {
    let fresh = issuer.map(|issuer| -> LocalToken {
        let (issuer, clock) = (Arc::clone(issuer), Arc::clone(clock));
        Arc::new(move || {
            issuer.issue(None, None, TOKEN_VALID, clock()).unwrap_or_else(|error| {
                tracing::error!(%error, "the playground got no token");
                String::new()
            })
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
        request_timeout: patience.request,
        body_timeout: patience.body,
        upload_timeout: patience.upload,
        socket_ping: patience.ping,
        socket_silence: patience.silence,
        socket_init_timeout: config.socket_init_timeout,
        trusted_proxies: config.trusted_proxies.clone(),
        quotas: Quotas {
            sockets: config.max_sockets,
            sockets_of_person: config.max_sockets_per_person,
            streams: config.max_streams,
            streams_of_person: config.max_streams_per_person,
        },
        playground_token: fresh.filter(|_| !is_public),
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
            Err(Error::fault(FaultCode::Unavailable, message))
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
    use crate::services::health::Verdict;

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
            assert_eq!(app.services().health.readiness().await.verdict, Verdict::Ready);
            let ready = reqwest::get(format!("{}/health/ready", app.url().unwrap())).await.unwrap();
            assert_eq!(ready.status(), 200);
            let busy = App::start(&config, Roles::Workers).await.unwrap_err();
            assert!(busy.to_string().contains("Another process"), "{busy}");
            app.stop().await.unwrap();
        }
    }
}
