//! The command line: reads arguments and settings, starts what they ask for, turns its end into an exit code. It must
//! not decide anything else. Results go to stdout, logs and complaints to stderr.

use claimwright::app::{self, App, Roles, TOKEN_VALID};
use claimwright::client::{self, Connection, Console, ImportOptions, WatchOptions};
use claimwright::config::{self, Config, LogFormat};
use claimwright::error::{Error, FaultCode, Result};
use claimwright::telemetry::{self, LogSettings, QUIET, Telemetry, TraceSettings};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use secrecy::ExposeSecret;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit code of a wrong configuration, and of wrong arguments.
const MISCONFIGURED: u8 = 2;
/// Exit code of a process that was interrupted twice.
const INTERRUPTED: u8 = 130;
/// The one line that is logged when all is well.
const READY: &str = "claimwright::ready";
/// In the data folder: the first run was done.
const FIRST_RUN_MARKER: &str = "first-run-done";
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Drafts UK R&D tax relief claims in bulk, behind a GraphQL API.
#[derive(Parser)]
#[command(name = "claimwright", version)]
struct Cli {
    /// `serve` if absent
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests and do jobs (the default)
    Serve(ServeOptions),
    /// Answer requests only
    Api,
    /// Do jobs only
    Worker,
    /// Bring the tables of the database up to date
    Migrate,
    /// Move what is embedded in `DATA_DIR` to `DATABASE_URL`, to `S3_BUCKET`, or to both; no server may be running
    MigrateData,
    /// Print the GraphQL schema
    Schema,
    /// Print a bearer token of the local issuer, with or without a server running; not with Cognito
    Token(TokenOptions),
    /// Import a file of projects into a batch; can have it written, followed and exported
    Import(ImportOptions),
    /// Follow the run of a batch until it ends
    Watch(WatchOptions),
    /// Ask a server whether it is ready: exit code 0 if it is, else 1
    Healthcheck,
}

#[derive(Args, Default)]
struct ServeOptions {
    /// The first time on a data folder, do the whole job with this file of projects; then always say what to try next
    #[arg(long, value_name = "FILE")]
    first_run: Option<PathBuf>,
}

#[derive(Args)]
struct TokenOptions {
    /// Email of the person; the playground's person if absent
    #[arg(long)]
    email: Option<String>,
    /// Name of the workspace (1 to 64 characters); the playground's if absent
    #[arg(long)]
    workspace: Option<String>,
    /// Seconds that the token is valid
    #[arg(long, value_name = "SECONDS", default_value_t = TOKEN_VALID.as_secs(), value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    ttl: u64,
}

/// Stack of a thread that answers requests, in bytes: the deepest query that is allowed needs about a fifth of it in a
/// debug build.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build() {
        Ok(runtime) => runtime.block_on(obey()),
        Err(error) => {
            complain(&format!("The process cannot start its threads: {error}."));
            ExitCode::FAILURE
        }
    }
}

async fn obey() -> ExitCode {
    // an error means that one is installed, which is all that is wanted
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let matches = Cli::command().after_help(config::help()).get_matches();
    let command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command.unwrap_or_else(|| Command::Serve(ServeOptions::default())),
        Err(error) => error.exit(),
    };
    if matches!(command, Command::Schema) {
        return print(&claimwright::graphql::sdl());
    }
    let config = match Config::from_env(|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(problems) => {
            complain("The configuration is wrong:");
            for problem in &problems {
                complain(&format!("  {problem}"));
            }
            return ExitCode::from(MISCONFIGURED);
        }
    };
    let telemetry = match start_telemetry(&config) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            complain(&explain(&error));
            return ExitCode::FAILURE;
        }
    };
    let ended = match command {
        Command::Serve(options) => run(&config, Roles::All, options.first_run.as_deref()).await,
        Command::Api => run(&config, Roles::Api, None).await,
        Command::Worker => run(&config, Roles::Workers, None).await,
        Command::Migrate => app::migrate(&config).await.map(|()| ExitCode::SUCCESS),
        Command::MigrateData => migrate_data(&config).await,
        Command::Schema => Ok(ExitCode::SUCCESS),
        Command::Token(options) => token(&config, &options),
        Command::Import(options) => import(&config, &options).await,
        Command::Watch(options) => watch(&config, &options).await,
        Command::Healthcheck => Ok(healthcheck(&config).await),
    };
    telemetry.end().await;
    ended.unwrap_or_else(|error| {
        complain(&explain(&error));
        ExitCode::FAILURE
    })
}

/// Runs until SIGTERM or SIGINT, then drains; a second one ends it at once.
async fn run(config: &Config, roles: Roles, first_run: Option<&Path>) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let app = tokio::select! {
        app = App::start(config, roles) => app?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    if let Some(address) = app.ops_address() {
        tracing::info!(target: READY, "health and metrics at {}", Config::url_of(address));
    }
    if let Some(url) = app.url() {
        tracing::info!(target: READY, "ready at {url}");
    } else {
        tracing::info!(target: READY, "ready, doing jobs");
    }
    let running = async {
        if let Some(file) = first_run {
            welcome(&app, config, file).await;
        }
        app.draining().await;
    };
    let was_asked = tokio::select! {
        () = running => false,
        () = signals.next() => true,
    };
    let stopped = tokio::select! {
        stopped = app.stop() => stopped,
        () = signals.next() => {
            complain("Stopped at once; jobs that were in flight are done again after the next start.");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    stopped?;
    // a part that ended by itself without an error is a failure all the same
    Ok(if was_asked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does the whole job once with a sample, so that a newcomer sees it; then tells what to try.
async fn welcome(app: &App, config: &Config, file: &Path) {
    let out = Console::detect();
    let Some(url) = app.url() else { return };
    let token = match app.token(None, None, TOKEN_VALID) {
        Ok(token) => token,
        Err(error) => return out.note(&format!("There is no first run. {}", explain(&error))),
    };
    let marker = config.data_dir.join(FIRST_RUN_MARKER);
    let exports = config.data_dir.join("exports");
    if !marker.exists() {
        out.say(&format!("First run: importing {}, writing its narratives, exporting them to {}.", file.display(), exports.display()));
        let options = ImportOptions { generate: true, watch: true, export: Some(exports), ..ImportOptions::of(file) };
        let ended = client::import(&Connection { url: url.clone(), token: token.clone() }, &options, &out).await;
        // what is missing is told by it; the server goes on either way
        let _ = client::conclude(&ended, &out);
        match ended {
            Ok(_) => {
                if let Err(error) = std::fs::write(&marker, "") {
                    out.note(&format!("{} cannot be written ({error}); the first run will be done again.", marker.display()));
                }
            }
            Err(_) => out.note("The first run was not finished; the server goes on without it."),
        }
    }
    let program = std::env::args().next().unwrap_or_else(|| "claimwright".into());
    out.say("");
    if config.playground {
        out.say(&format!("Playground  {url}/"));
    }
    out.say(&format!("API         {url}/graphql"));
    out.say(&format!("Token       {token}"));
    out.say("            (for 12 hours; the playground has its own)");
    out.say("Try next");
    for arguments in ["import FILE.csv --generate --watch --export out", "watch \"Name of a batch\"", "token --help", "--help"] {
        out.say(&format!("  {program} {arguments}"));
    }
    out.say("Ctrl-C ends the server; nothing is lost.");
}

/// Prints what has moved, by the counts of both sides.
async fn migrate_data(config: &Config) -> Result<ExitCode> {
    let moved = app::migrate_data(config, &|line| complain(line)).await?;
    let mut lines = vec![format!("{:<20} {:>12}", "table", "rows")];
    let tables = moved.tables.as_deref().unwrap_or_default();
    lines.extend(tables.iter().map(|table| format!("{:<20} {:>12}", table.name, table.rows)));
    if tables.is_empty() {
        lines.clear();
    }
    if let Some(files) = moved.files {
        lines.push(format!("{:<20} {:>12}   {} bytes, {} of them were there already", "files", files.files, files.bytes, files.known));
    }
    let (folder, mut set) = (config.data_dir.display(), Vec::new());
    set.extend(moved.tables.as_ref().map(|_| "DATABASE_URL"));
    set.extend(moved.files.map(|_| "S3_BUCKET"));
    let rest = if config.is_embedded() {
        format!("{folder} holds the rest of the data and the key of the local token issuer")
    } else if config.cognito.is_none() {
        format!("{folder} is not changed: keep it as a backup, and for the key of the local token issuer (issuer-key.pem)")
    } else {
        format!("{folder} is not changed: keep it as a backup")
    };
    lines.push(format!("Everything has arrived. Start with {} set as now; {rest}.", set.join(" and ")));
    Ok(print(&lines.join("\n")))
}

fn token(config: &Config, options: &TokenOptions) -> Result<ExitCode> {
    let valid = Duration::from_secs(options.ttl);
    let token = app::local_token(config, options.email.as_deref(), options.workspace.as_deref(), valid)?;
    Ok(print(&token))
}

async fn import(config: &Config, options: &ImportOptions) -> Result<ExitCode> {
    let out = Console::detect();
    let ended = client::import(&connection(config)?, options, &out).await;
    Ok(ExitCode::from(client::conclude(&ended, &out)))
}

async fn watch(config: &Config, options: &WatchOptions) -> Result<ExitCode> {
    let out = Console::detect();
    let ended = client::watch(&connection(config)?, options, &out).await;
    Ok(ExitCode::from(client::conclude(&ended, &out)))
}

/// Which server, and as whom. A token of the local issuer is made for this machine only, never sent elsewhere.
fn connection(config: &Config) -> Result<Connection> {
    let url = server_url(config);
    let token = match &config.client_token {
        Some(token) => token.expose_secret().to_owned(),
        None if config::is_loopback_url(&url) => app::local_token(config, None, None, TOKEN_VALID)?,
        None => String::new(),
    };
    Ok(Connection { url, token })
}

fn server_url(config: &Config) -> String {
    config.client_url.clone().unwrap_or_else(|| Config::url_of(config.address()))
}

async fn healthcheck(config: &Config) -> ExitCode {
    // a worker answers at OPS_ADDRESS alone
    let local = || Config::url_of(config.ops_address.unwrap_or(config.address()));
    let url = format!("{}/health/ready", config.client_url.clone().unwrap_or_else(local).trim_end_matches('/'));
    let asked = async {
        let client = reqwest::Client::builder().no_proxy().timeout(HEALTHCHECK_TIMEOUT).build()?;
        client.get(&url).send().await?.error_for_status()
    };
    match asked.await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{url} does not say that it is ready: {error}."));
            ExitCode::FAILURE
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::internal);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts logs for every command; traces only where there is something to trace.
fn start_telemetry(config: &Config) -> Result<Telemetry> {
    let filter = config.log_filter.clone().unwrap_or_else(|| QUIET.to_owned());
    let logs = LogSettings { json: config.log_format == LogFormat::Json, filter };
    let traces = config.otlp_endpoint.clone().map(|endpoint| TraceSettings { endpoint, service: config.service_name.clone() });
    telemetry::start(&logs, traces.as_ref())
}

/// Why a command failed, for people.
fn explain(error: &Error) -> String {
    match error {
        Error::Refused(problems) => problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join(" "),
        Error::Fault(fault) => match &fault.source {
            Some(source) if fault.code == FaultCode::Internal => format!("claimwright failed: {source}"),
            Some(source) => format!("{} ({source})", fault.message),
            None => fault.message.clone(),
        },
    }
}

fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) {
    // there is nobody left to tell if this fails
    let _ = writeln!(std::io::stderr(), "{text}");
}
