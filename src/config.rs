//! Typed settings from environment variables, and the table that documents them. Only `main` and `app` read it. It must
//! not touch anything but the values that it is given.

use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Every variable: name, default, description. `--help` and the documentation are made from it.
pub const VARIABLES: &[(&str, &str, &str)] = &[
    ("HOST", "127.0.0.1", "Address to listen on; 0.0.0.0 or :: for all."),
    ("PORT", "8080", "Port to listen on; 0 takes a free one."),
    ("DATA_DIR", "./data", "Folder of the embedded database, files and keys."),
    ("DATABASE_URL", "SQLite in DATA_DIR", "PostgreSQL 15 or newer (postgres://…), so that several processes can work together."),
    ("S3_BUCKET", "files in DATA_DIR", "Bucket for files; credentials and region come from AWS_* as usual."),
    ("S3_ENDPOINT_URL", "AWS", "Base URL of a service that is compatible with S3 (with S3_BUCKET)."),
    ("PUBLIC_URL", "http://HOST:PORT", "Base URL at which clients reach this server, without a path; links begin with it."),
    ("FRONTEND_URL", "the playground's own", "Origins of browser applications that may call the API, separated by commas."),
    (
        "ALLOW_LOCAL_ISSUER",
        "off",
        "on lets the local token issuer serve another address than loopback: whoever has DATA_DIR can make tokens.",
    ),
    ("AI_PROVIDER", "offline", "What writes narratives; this version has offline, which composes them from the facts without a model."),
    ("OFFLINE_DELAY_MS", "0", "Milliseconds that the offline provider takes for a section, so that progress can be watched."),
    ("WORKER_CONCURRENCY", "twice the cores, at least 4", "Jobs that one process does at the same time (1 to 1024)."),
    ("SHUTDOWN_GRACE", "25", "Seconds that requests and jobs in flight have to end after SIGTERM."),
    ("JOB_BEAT_MS", "10000", "Milliseconds between two signs of life of a worker process."),
    ("JOB_DEAD_AFTER_MS", "45000", "Milliseconds without a sign of life after which its jobs go to others; at least two beats."),
    ("INTROSPECTION", "on", "on or off: whether the schema can be asked for."),
    ("PLAYGROUND", "on", "on or off: whether / serves the playground."),
    ("LOG_FORMAT", "text", "text or json; logs go to stderr and hold no tokens, variables or narratives."),
    ("RUST_LOG", "warn", "What is logged, such as info or claimwright=debug."),
    ("CLAIMWRIGHT_URL", "the local server", "Server that import, watch and healthcheck talk to."),
    ("CLAIMWRIGHT_TOKEN", "a token from DATA_DIR", "Bearer token for import and watch."),
];

/// Variables of the design that this version does not know yet. To ignore them would be to do something else than what
/// was asked for, such as to accept local tokens where Cognito was configured.
const LATER: &[&str] = &[
    "REDIS_URL",
    "COGNITO_USER_POOL_ID",
    "COGNITO_CLIENT_ID",
    "COGNITO_ISSUER_URL",
    "COGNITO_JWKS_URL",
    "AI_BASE_URL",
    "AI_API_KEY",
    "AI_MODEL",
    "RATE_LIMIT_PER_SECOND",
    "RATE_LIMIT_BURST",
];
/// Those among them whose value 0 asks for what this version does.
const OFF_AT_ZERO: &[&str] = &["RATE_LIMIT_PER_SECOND", "RATE_LIMIT_BURST"];

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A bucket in S3 or in a compatible service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// Base URL of a compatible service; AWS if absent.
    pub endpoint: Option<String>,
}

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Folder of what is embedded.
    pub data_dir: PathBuf,
    /// `PostgreSQL`; the embedded database if absent.
    pub database_url: Option<SecretString>,
    /// Bucket for files; the embedded store if absent.
    pub s3: Option<S3Settings>,
    /// Base URL at which clients reach this server, without a slash at its end; the bound address if absent.
    pub public_url: Option<String>,
    /// Origins of browser applications.
    pub frontend_urls: Vec<String>,
    /// What the offline provider takes for a section.
    pub offline_delay: Duration,
    /// Jobs at the same time.
    pub worker_concurrency: usize,
    /// What requests and jobs in flight have to end.
    pub shutdown_grace: Duration,
    /// Time between two signs of life.
    pub job_beat: Duration,
    /// Time without one after which a process counts as dead.
    pub job_dead_after: Duration,
    /// Whether introspection is answered.
    pub introspection: bool,
    /// Whether the playground is served.
    pub playground: bool,
    /// How logs are written.
    pub log_format: LogFormat,
    /// What is logged, if that was said.
    pub log_filter: Option<String>,
    /// Server that the commands of the client talk to; the local one if absent.
    pub client_url: Option<String>,
    /// Token of the commands of the client; one of the local issuer if absent.
    pub client_token: Option<SecretString>,
}

impl Config {
    /// Reads the settings. An empty variable is as one that is not set.
    ///
    /// # Errors
    /// All problems, a sentence each.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut read = Reader { lookup, problems: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let config = Self {
            host: read.host(),
            port: read.number("PORT", 8080, 0, u16::MAX),
            data_dir: read.text("DATA_DIR").unwrap_or_else(|| "./data".into()).into(),
            database_url: read.database_url(),
            s3: read.s3(),
            public_url: read.url("PUBLIC_URL"),
            frontend_urls: read.origins(),
            offline_delay: read.millis("OFFLINE_DELAY_MS", 0, 0, 600_000),
            worker_concurrency: read.number("WORKER_CONCURRENCY", cores.saturating_mul(2).max(4), 1, 1024),
            shutdown_grace: Duration::from_secs(read.number("SHUTDOWN_GRACE", 25, 0, 3_600)),
            job_beat: read.millis("JOB_BEAT_MS", 10_000, 10, 3_600_000),
            job_dead_after: read.millis("JOB_DEAD_AFTER_MS", 45_000, 20, 86_400_000),
            introspection: read.switch("INTROSPECTION", true),
            playground: read.switch("PLAYGROUND", true),
            log_format: read.log_format(),
            log_filter: read.log_filter(),
            client_url: read.text("CLAIMWRIGHT_URL"),
            client_token: read.text("CLAIMWRIGHT_TOKEN").map(Into::into),
        };
        read.check_provider();
        read.check_later();
        if config.job_dead_after < config.job_beat * 2 {
            read.problems.push("JOB_DEAD_AFTER_MS must be at least twice JOB_BEAT_MS, or busy workers would look dead.".into());
        }
        let allowed = read.switch("ALLOW_LOCAL_ISSUER", false);
        if !allowed && !config.is_local() {
            read.problems.push(format!(
                "{} would show the local token issuer to other machines. Set ALLOW_LOCAL_ISSUER=on if that is meant, or keep to loopback.",
                if config.host.is_loopback() { "PUBLIC_URL" } else { "HOST" }
            ));
        }
        if read.problems.is_empty() { Ok(config) } else { Err(read.problems) }
    }

    /// True if only this machine is served, by the address and by the public name.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host.is_loopback() && self.public_url.as_deref().is_none_or(is_loopback_url)
    }

    /// The address to listen on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Where this machine reaches a server at an address.
    #[must_use]
    pub fn url_of(address: SocketAddr) -> String {
        let ip = match address.ip() {
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, address.port()))
    }

    /// The address of the database server, for where it is opened.
    #[must_use]
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_ref().map(ExposeSecret::expose_secret)
    }

    /// True if something is kept in the data folder that only one process may use.
    #[must_use]
    pub const fn is_embedded(&self) -> bool {
        self.database_url.is_none() || self.s3.is_none()
    }
}

/// Reads values and collects what is wrong with them. Values are not repeated in problems if they may hold a secret.
struct Reader<L> {
    lookup: L,
    problems: Vec<String>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn number<N: FromStr + PartialOrd + fmt::Display + Copy>(&mut self, name: &str, default: N, least: N, most: N) -> N {
        let Some(text) = self.text(name) else { return default };
        match text.parse::<N>() {
            Ok(value) if value >= least && value <= most => value,
            _ => {
                self.problems.push(format!("{name} is \"{text}\"; it must be a whole number from {least} to {most}."));
                default
            }
        }
    }

    fn millis(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(name, default, least, most))
    }

    fn switch(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).as_deref() {
            None => default,
            Some("on") => true,
            Some("off") => false,
            Some(other) => {
                self.problems.push(format!("{name} is \"{other}\"; it must be on or off."));
                default
            }
        }
    }

    fn host(&mut self) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self.text("HOST").as_deref() {
            None | Some("localhost") => loopback,
            Some(text) => text.parse().unwrap_or_else(|_| {
                self.problems.push(format!("HOST is \"{text}\"; it must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1."));
                loopback
            }),
        }
    }

    fn database_url(&mut self) -> Option<SecretString> {
        let url = self.text("DATABASE_URL")?;
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            let problem = "DATABASE_URL must begin with postgres:// or postgresql://; without it, SQLite in DATA_DIR is used.";
            self.problems.push(problem.into());
        }
        Some(url.into())
    }

    fn s3(&mut self) -> Option<S3Settings> {
        let (bucket, endpoint) = (self.text("S3_BUCKET"), self.url("S3_ENDPOINT_URL"));
        if bucket.is_none() && endpoint.is_some() {
            self.problems.push("S3_ENDPOINT_URL has no effect without S3_BUCKET; set both or none.".into());
        }
        bucket.map(|bucket| S3Settings { bucket, endpoint })
    }

    fn url(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if !is_base_url(&text) {
            self.problems
                .push(format!("{name} must be http:// or https:// with a host and without a path, such as https://claims.example."));
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    fn origins(&mut self) -> Vec<String> {
        let text = self.text("FRONTEND_URL").unwrap_or_default();
        let origins: Vec<String> =
            text.split(',').map(|origin| origin.trim().trim_end_matches('/').to_owned()).filter(|origin| !origin.is_empty()).collect();
        for origin in origins.iter().filter(|origin| !is_base_url(origin)) {
            let problem = format!("FRONTEND_URL has \"{origin}\"; each origin must look like https://app.example, without a path.");
            self.problems.push(problem);
        }
        origins
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("LOG_FORMAT").as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                self.problems.push(format!("LOG_FORMAT is \"{other}\"; it must be text or json."));
                LogFormat::Text
            }
        }
    }

    fn log_filter(&mut self) -> Option<String> {
        let filter = self.text("RUST_LOG")?;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter) {
            self.problems.push(format!("RUST_LOG cannot be read: {error}."));
        }
        Some(filter)
    }

    fn check_provider(&mut self) {
        match self.text("AI_PROVIDER").as_deref() {
            None | Some("offline") => {}
            Some(known @ ("openai" | "bedrock")) => {
                self.problems.push(format!("AI_PROVIDER={known} is for a later version; this one has offline only."));
            }
            Some(other) => self.problems.push(format!("AI_PROVIDER is \"{other}\"; this version has offline only.")),
        }
    }

    fn check_later(&mut self) {
        for name in LATER {
            match self.text(name).as_deref() {
                None => {}
                Some("0") if OFF_AT_ZERO.contains(name) => {}
                Some(_) => self.problems.push(format!("{name} is for a later version; take it away, because nothing here would use it.")),
            }
        }
    }
}

fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    has_scheme && has_host && uri.path() == "/" && uri.query().is_none()
}

/// True if a URL is that of a server on this machine.
#[must_use]
pub fn is_loopback_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The variables, one a paragraph, for `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Environment variables:\n");
    for (name, default, description) in VARIABLES {
        text.extend(["  ", name, " [default: ", default, "]\n      ", description, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        Config::from_env(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_configured_is_one_practice_on_one_machine() {
        for variables in [&[][..], &[("PORT", ""), ("REDIS_URL", " "), ("HOST", "localhost")]] {
            let config = read(variables).unwrap();
            assert_eq!(config.address().to_string(), "127.0.0.1:8080");
            assert!(config.is_embedded() && config.is_local() && config.introspection && config.playground);
            assert!(config.worker_concurrency >= 4);
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let problems = read(&[
            ("HOST", "nowhere"),
            ("PORT", "70000"),
            ("DATABASE_URL", "mysql://u:secret@h/d"),
            ("S3_ENDPOINT_URL", "minio:9000"),
            ("PUBLIC_URL", "http://localhost/app"),
            ("FRONTEND_URL", "https://a.example, *"),
            ("INTROSPECTION", "yes"),
            ("JOB_BEAT_MS", "9000"),
            ("JOB_DEAD_AFTER_MS", "9000"),
            ("LOG_FORMAT", "xml"),
            ("RUST_LOG", "claimwright=loud"),
            ("AI_PROVIDER", "openai"),
            ("REDIS_URL", "redis://localhost"),
        ])
        .unwrap_err();
        let names = [
            "HOST",
            "PORT",
            "DATABASE_URL",
            "S3_ENDPOINT_URL must",
            "S3_ENDPOINT_URL has",
            "PUBLIC_URL",
            "FRONTEND_URL",
            "INTROSPECTION",
            "JOB_DEAD_AFTER_MS",
            "LOG_FORMAT",
            "RUST_LOG",
            "AI_PROVIDER=openai is for a later version",
            "REDIS_URL is for a later version",
        ];
        for name in names {
            assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:?}");
        }
        assert_eq!(problems.len(), names.len(), "{problems:?}");
        assert!(!problems.concat().contains("secret"));
    }

    #[test]
    fn the_local_issuer_serves_other_machines_only_when_told_to() {
        for variable in [("HOST", "0.0.0.0"), ("PUBLIC_URL", "https://claims.example")] {
            let problems = read(&[variable]).unwrap_err();
            assert!(problems[0].contains("ALLOW_LOCAL_ISSUER=on"), "{problems:?}");
            assert!(read(&[variable, ("ALLOW_LOCAL_ISSUER", "on")]).is_ok());
        }
        assert!(read(&[("HOST", "::1"), ("PUBLIC_URL", "http://localhost:3000")]).is_ok());
    }

    #[test]
    fn a_limit_that_is_switched_off_is_what_this_version_does() {
        assert!(read(&[("RATE_LIMIT_PER_SECOND", "0"), ("RATE_LIMIT_BURST", "0")]).is_ok());
        assert!(read(&[("RATE_LIMIT_PER_SECOND", "50")]).is_err());
    }

    #[test]
    fn settings_can_be_shown_without_the_password() {
        let config = read(&[("DATABASE_URL", "postgres://u:secret@h/d")]).unwrap();
        assert!(!format!("{config:?}").contains("secret"));
        assert_eq!(config.database_url(), Some("postgres://u:secret@h/d"));
    }

    #[test]
    fn all_addresses_are_reached_from_this_machine_by_loopback() {
        assert_eq!(Config::url_of("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(Config::url_of("[::]:80".parse().unwrap()), "http://[::1]:80");
    }

    #[test]
    fn help_explains_every_variable_once() {
        for (name, _, _) in VARIABLES {
            assert_eq!(help().matches(&format!("  {name} [")).count(), 1, "{name}");
        }
    }
}
