//! Typed settings from environment variables, and the table that documents them. Only `main` and `app` read it. It must
//! not touch anything but the values that it is given and the file of models that one of them names.

mod ai;
mod reader;
mod variables;

pub use ai::{AiSettings, ModelSettings, Provider};
pub use variables::{VARIABLES, help};

use ipnet::IpNet;
use reader::Reader;
use secrecy::{ExposeSecret, SecretString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A Redis server.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where it is; may hold a password.
    pub url: SecretString,
    /// What keys and channels begin with.
    pub prefix: String,
}

/// Server-side encryption of a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// S3's own keys.
    Aes256,
    /// Keys of KMS: the named one, or AWS's own.
    Kms(Option<String>),
}

/// A bucket in S3 or in a compatible service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// Base URL of a compatible service; AWS if absent.
    pub endpoint: Option<String>,
    /// Address the bucket by the path, not by the host name.
    pub path_style: bool,
    /// Encryption that is asked for; the bucket's own if absent.
    pub encryption: Option<Encryption>,
    /// Tell the bucket to expire exports and uploads.
    pub lifecycle: bool,
}

/// A user pool whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CognitoSettings {
    /// The exact `iss`.
    pub issuer: String,
    /// Where its public keys are.
    pub jwks_url: String,
    /// App clients that a token may be for.
    pub client_ids: Vec<String>,
}

/// A limit in cost points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitSettings {
    /// Points that come back each second.
    pub per_second: u32,
    /// Most points that can be saved up.
    pub burst: u32,
}

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Where health checks and metrics are answered too; the only place for workers.
    pub ops_address: Option<SocketAddr>,
    /// Folder of what is embedded.
    pub data_dir: PathBuf,
    /// `PostgreSQL`; the embedded database if absent.
    pub database_url: Option<SecretString>,
    /// Most connections to `PostgreSQL`.
    pub database_pool: u32,
    /// Redis; everything in process if absent.
    pub redis: Option<RedisSettings>,
    /// Bucket for files; the embedded store if absent.
    pub s3: Option<S3Settings>,
    /// Base URL at which clients reach this server, without a slash at its end; the bound address if absent.
    pub public_url: Option<String>,
    /// Origins of browser applications.
    pub frontend_urls: Vec<String>,
    /// User pool; the local issuer if absent.
    pub cognito: Option<CognitoSettings>,
    /// Limit of a person; none if absent.
    pub rate_limit: Option<RateLimitSettings>,
    /// File or folder of the documents that alone may run; any may if absent.
    pub registered_documents: Option<PathBuf>,
    /// What writes narratives.
    pub ai: AiSettings,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Most connections of this process, sockets included.
    pub max_connections: usize,
    /// Most sockets of this process.
    pub max_sockets: usize,
    /// Most sockets of a person in this process.
    pub max_sockets_per_person: usize,
    /// Most running subscriptions of a person in this process.
    pub max_streams_per_person: usize,
    /// Most running subscriptions of one process.
    pub max_streams: usize,
    /// Longest time from opening a socket to `connection_init`.
    pub socket_init_timeout: Duration,
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
    /// Where traces are sent; nowhere if absent.
    pub otlp_endpoint: Option<String>,
    /// Name of the service in traces.
    pub service_name: String,
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
        let cognito = read.cognito();
        let is_local_issuer = cognito.is_none();
        let config = Self {
            host: read.host(),
            port: read.number("PORT", 8080, 0, u16::MAX),
            ops_address: read.socket_address("OPS_ADDRESS"),
            data_dir: read.text("DATA_DIR").unwrap_or_else(|| "./data".into()).into(),
            database_url: read
                .connection_url("DATABASE_URL", &["postgres", "postgresql"], "without it, SQLite in DATA_DIR is used.")
                .map(Into::into),
            database_pool: read.number("DATABASE_POOL", 16, 2, 500),
            redis: read.redis(),
            s3: read.s3(),
            public_url: read.base_url("PUBLIC_URL"),
            frontend_urls: read.origins(),
            cognito,
            rate_limit: read.rate_limit(),
            registered_documents: read.text("REGISTERED_DOCUMENTS").map(Into::into),
            ai: read.ai(),
            trusted_proxies: read.networks("TRUSTED_PROXIES"),
            max_connections: read.number("MAX_CONNECTIONS", 12_000, 1, 1_000_000),
            max_sockets: read.number("MAX_SOCKETS", 10_000, 1, 1_000_000),
            max_sockets_per_person: read.number("MAX_SOCKETS_PER_PERSON", 50, 1, 100_000),
            max_streams: read.number("MAX_STREAMS", 50_000, 1, 10_000_000),
            max_streams_per_person: read.number("MAX_STREAMS_PER_PERSON", 200, 1, 100_000),
            socket_init_timeout: Duration::from_secs(read.number("SOCKET_INIT_TIMEOUT", 5, 1, 300)),
            offline_delay: read.millis("OFFLINE_DELAY_MS", 0, 0, 600_000),
            worker_concurrency: read.number("WORKER_CONCURRENCY", cores.saturating_mul(2).max(4), 1, 1024),
            shutdown_grace: Duration::from_secs(read.number("SHUTDOWN_GRACE", 25, 0, 3_600)),
            job_beat: read.millis("JOB_BEAT_MS", 10_000, 10, 3_600_000),
            job_dead_after: read.millis("JOB_DEAD_AFTER_MS", 45_000, 20, 86_400_000),
            introspection: read.switch("INTROSPECTION", is_local_issuer),
            playground: read.switch("PLAYGROUND", is_local_issuer),
            log_format: read.choice("LOG_FORMAT", LogFormat::Text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            log_filter: read.log_filter(),
            otlp_endpoint: read.base_url("OTEL_EXPORTER_OTLP_ENDPOINT"),
            service_name: read.text("OTEL_SERVICE_NAME").unwrap_or_else(|| "claimwright".into()),
            client_url: read.text("CLAIMWRIGHT_URL"),
            client_token: read.text("CLAIMWRIGHT_TOKEN").map(Into::into),
        };
        config.check_together(&mut read);
        if read.problems.is_empty() { Ok(config) } else { Err(read.problems) }
    }

    /// What is dangerous or useless only in combination.
    fn check_together<L: Fn(&str) -> Option<String>>(&self, read: &mut Reader<L>) {
        if self.job_dead_after < self.job_beat * 2 {
            read.object("JOB_DEAD_AFTER_MS must be at least twice JOB_BEAT_MS, or busy workers would look dead.");
        }
        if self.max_sockets >= self.max_connections {
            read.object(format!(
                "MAX_CONNECTIONS is {}; it must be more than MAX_SOCKETS ({}), or sockets alone could keep requests out.",
                self.max_connections, self.max_sockets
            ));
        }
        let allowed = read.switch("ALLOW_LOCAL_ISSUER", false);
        if self.cognito.is_none() && !allowed && !self.is_local() {
            read.object(format!(
                "{} would show the local token issuer to other machines. Set COGNITO_USER_POOL_ID, or ALLOW_LOCAL_ISSUER=on if that is \
                 meant, or keep to loopback.",
                if self.host.is_loopback() { "PUBLIC_URL" } else { "HOST" }
            ));
        }
        if self.redis.is_some() && self.database_url.is_none() {
            read.object(
                "REDIS_URL is for several processes, and SQLite serves one: set DATABASE_URL, such as postgres://user:password@host/claims, \
                 or take REDIS_URL away.",
            );
        }
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

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn redis(&mut self) -> Option<RedisSettings> {
        let prefix = self.text("REDIS_PREFIX").unwrap_or_else(|| "claimwright".into());
        if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte)) {
            self.object("REDIS_PREFIX must have up to 64 letters, digits, or -_:. characters, such as claimwright-test.");
        }
        let url = self.connection_url("REDIS_URL", &["redis", "rediss"], "without it, events stay in the process.")?;
        Some(RedisSettings { url: url.into(), prefix })
    }

    fn s3(&mut self) -> Option<S3Settings> {
        let (bucket, endpoint) = (self.text("S3_BUCKET"), self.base_url("S3_ENDPOINT_URL"));
        let path_style = self.choice("S3_ADDRESSING", endpoint.is_some(), &[("path", true), ("virtual", false)]);
        let lifecycle = self.switch("S3_LIFECYCLE", true);
        let encryption = self.encryption();
        if bucket.is_none() {
            for name in ["S3_ENDPOINT_URL", "S3_ADDRESSING", "S3_ENCRYPTION", "S3_LIFECYCLE"] {
                if self.text(name).is_some() {
                    self.object(format!("{name} has no effect without S3_BUCKET; set both or none."));
                }
            }
        }
        bucket.map(|bucket| S3Settings { bucket, endpoint, path_style, encryption, lifecycle })
    }

    fn encryption(&mut self) -> Option<Encryption> {
        match self.text("S3_ENCRYPTION")?.as_str() {
            "AES256" => Some(Encryption::Aes256),
            "aws:kms" => Some(Encryption::Kms(None)),
            other => {
                let key = other.strip_prefix("aws:kms:").filter(|key| !key.is_empty());
                if key.is_none() {
                    self.object("S3_ENCRYPTION must be AES256, aws:kms, or aws:kms:KEY with the id or ARN of a key.");
                }
                Some(Encryption::Kms(key.map(str::to_owned)))
            }
        }
    }

    fn cognito(&mut self) -> Option<CognitoSettings> {
        let (pool, client_ids) = (self.text("COGNITO_USER_POOL_ID"), self.list("COGNITO_CLIENT_ID"));
        let issuer = self.trusted_url("COGNITO_ISSUER_URL", "https://cognito-idp.eu-west-2.amazonaws.com/eu-west-2_AbCdEf123");
        let jwks = self.trusted_url("COGNITO_JWKS_URL", "https://keys.example/.well-known/jwks.json");
        let Some(pool) = pool else {
            for (name, is_set) in [
                ("COGNITO_CLIENT_ID", !client_ids.is_empty()),
                ("COGNITO_ISSUER_URL", issuer.is_some()),
                ("COGNITO_JWKS_URL", jwks.is_some()),
            ] {
                if is_set {
                    self.object(format!(
                        "{name} has no effect without COGNITO_USER_POOL_ID, such as eu-west-2_AbCdEf123; set both or none."
                    ));
                }
            }
            return None;
        };
        if client_ids.is_empty() {
            self.object(
                "COGNITO_CLIENT_ID is missing: name the app clients of the pool whose tokens are accepted, such as 1h57kf5cpq17m0eml12EXAMPLE.",
            );
        }
        let region = self.text("AWS_REGION").or_else(|| pool.split_once('_').map(|(region, _)| region.to_owned()));
        let issuer = issuer.or_else(|| region.map(|region| format!("https://cognito-idp.{region}.amazonaws.com/{pool}")));
        let Some(issuer) = issuer else {
            self.object(format!("COGNITO_USER_POOL_ID is \"{pool}\"; it must look like eu-west-2_AbCdEf123, or AWS_REGION must be set."));
            return None;
        };
        let jwks_url = jwks.unwrap_or_else(|| format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')));
        Some(CognitoSettings { issuer, jwks_url, client_ids })
    }

    fn rate_limit(&mut self) -> Option<RateLimitSettings> {
        let per_second: u32 = self.number("RATE_LIMIT_PER_SECOND", 0, 0, 1_000_000);
        let burst = self.number("RATE_LIMIT_BURST", per_second.saturating_mul(20), 0, 100_000_000);
        if per_second == 0 && burst > 0 {
            self.object("RATE_LIMIT_BURST has no effect without RATE_LIMIT_PER_SECOND, such as 500; set both or none.");
        }
        (per_second > 0 && burst > 0).then_some(RateLimitSettings { per_second, burst })
    }

    fn origins(&mut self) -> Vec<String> {
        let origins: Vec<String> = self.list("FRONTEND_URL").iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
        for origin in origins.iter().filter(|origin| !is_base_url(origin)) {
            self.object(format!("FRONTEND_URL has \"{origin}\"; each origin must look like https://app.example, without a path."));
        }
        origins
    }

    fn log_filter(&mut self) -> Option<String> {
        let filter = self.text("RUST_LOG")?;
        if let Err(error) = filter.parse::<tracing_subscriber::filter::Targets>() {
            self.object(format!("RUST_LOG cannot be read: {error}. It must look like info or claimwright=debug."));
        }
        Some(filter)
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
            ("AI_PROVIDER", "magic"),
            ("REDIS_URL", "http://:hidden@localhost"),
            ("REDIS_PREFIX", "a b"),
            ("OPS_ADDRESS", "9090"),
            ("S3_ENCRYPTION", "rot13"),
            ("COGNITO_USER_POOL_ID", "pool"),
            ("COGNITO_JWKS_URL", "http://keys.example/jwks.json"),
            ("RATE_LIMIT_BURST", "10"),
            ("AI_MODEL", "any"),
            ("MAX_CONNECTIONS", "10000"),
            ("TRUSTED_PROXIES", "10.0.0.0/8, 10.0.0.0/33, proxy.example, 192.0.2.1"),
            ("SOCKET_INIT_TIMEOUT", "0"),
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
            "AI_PROVIDER is",
            "REDIS_URL must",
            "REDIS_PREFIX",
            "OPS_ADDRESS",
            "S3_ENCRYPTION must",
            "S3_ENCRYPTION has",
            "COGNITO_USER_POOL_ID",
            "COGNITO_CLIENT_ID is missing",
            "COGNITO_JWKS_URL begins with http://",
            "RATE_LIMIT_BURST",
            "AI_MODEL has no effect",
            "MAX_CONNECTIONS",
            "TRUSTED_PROXIES has \"10.0.0.0/33\"",
            "TRUSTED_PROXIES has \"proxy.example\"",
            "SOCKET_INIT_TIMEOUT",
        ];
        for name in names {
            assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:?}");
        }
        assert_eq!(problems.len(), names.len(), "{problems:?}");
        assert!(!problems.concat().contains("secret") && !problems.concat().contains("hidden"));
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
    fn a_limit_of_nothing_is_none() {
        for variables in [
            &[("RATE_LIMIT_PER_SECOND", "0"), ("RATE_LIMIT_BURST", "0")][..],
            &[("RATE_LIMIT_PER_SECOND", "50"), ("RATE_LIMIT_BURST", "0")],
        ] {
            assert_eq!(read(variables).unwrap().rate_limit, None);
        }
        assert_eq!(read(&[("RATE_LIMIT_PER_SECOND", "50")]).unwrap().rate_limit, Some(RateLimitSettings { per_second: 50, burst: 1_000 }));
    }

    #[test]
    fn a_user_pool_replaces_the_local_issuer_and_closes_what_is_for_developers() {
        let pool = [("COGNITO_USER_POOL_ID", "eu-west-2_AbC"), ("COGNITO_CLIENT_ID", "one, two"), ("HOST", "0.0.0.0")];
        let config = read(&pool).unwrap();
        let cognito = config.cognito.unwrap();
        assert_eq!(cognito.issuer, "https://cognito-idp.eu-west-2.amazonaws.com/eu-west-2_AbC");
        assert_eq!(cognito.jwks_url, "https://cognito-idp.eu-west-2.amazonaws.com/eu-west-2_AbC/.well-known/jwks.json");
        assert_eq!(cognito.client_ids, ["one", "two"]);
        assert!(!config.introspection && !config.playground);
        let elsewhere = [&pool[..], &[("COGNITO_JWKS_URL", "http://127.0.0.1:5000/jwks.json"), ("PLAYGROUND", "on")]].concat();
        let config = read(&elsewhere).unwrap();
        assert_eq!(config.cognito.unwrap().jwks_url, "http://127.0.0.1:5000/jwks.json");
        assert!(config.playground);
        assert!(read(&[("COGNITO_CLIENT_ID", "one")]).unwrap_err()[0].contains("COGNITO_USER_POOL_ID"));
    }

    #[test]
    fn a_bucket_can_be_addressed_and_encrypted_as_its_service_needs() {
        let s3 = |more: &[(&str, &str)]| read(&[&[("S3_BUCKET", "b")], more].concat()).unwrap().s3.unwrap();
        assert!(!s3(&[]).path_style);
        assert!(s3(&[("S3_ENDPOINT_URL", "http://minio:9000")]).path_style);
        assert!(!s3(&[("S3_ENDPOINT_URL", "https://r2.example"), ("S3_ADDRESSING", "virtual")]).path_style);
        assert_eq!(s3(&[("S3_ENCRYPTION", "aws:kms:arn:aws:kms:x")]).encryption, Some(Encryption::Kms(Some("arn:aws:kms:x".into()))));
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks() {
        assert!(read(&[]).unwrap().trusted_proxies.is_empty());
        let proxies = read(&[("TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1, ::ffff:192.0.2.9, fd00::/8")]).unwrap().trusted_proxies;
        let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
        assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.1/32", "192.0.2.9/32", "fd00::/8"]);
    }

    #[test]
    fn redis_without_a_shared_database_is_refused() {
        assert!(read(&[("REDIS_URL", "redis://r")]).unwrap_err()[0].contains("DATABASE_URL"));
        assert!(read(&[("REDIS_URL", "redis://r"), ("DATABASE_URL", "postgres://d/c")]).is_ok());
    }

    #[test]
    fn settings_can_be_shown_without_the_password() {
        let config = read(&[("DATABASE_URL", "postgres://u:secret@h/d"), ("REDIS_URL", "redis://:secret@h")]).unwrap();
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
