//! A `PostgreSQL` server of the bench's own, on a data folder below `target` that is kept between runs, and the CPU that it
//! takes. It must not know any table.

use crate::Outcome;
use crate::processes::{Child, cpu_with_children, free_port};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Settings of a small production server; what is committed is on the disk.
const SETTINGS: &[&str] = &["listen_addresses=127.0.0.1", "shared_buffers=512MB", "max_connections=200", "max_wal_size=4GB", "jit=off"];
/// Longest wait for the server to answer, recovery included.
const PATIENCE: Duration = Duration::from_mins(1);
const DATABASE: &str = "claimwright";

/// A running server. Stopped when dropped; its folder stays.
pub struct Postgres {
    server: Child,
    port: u16,
}

impl Postgres {
    /// Starts the server; none if there is no `PostgreSQL` on this machine.
    pub async fn start() -> Outcome<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let folder = folder()?;
        if !folder.join("PG_VERSION").exists() {
            let mut initdb = as_postgres(&programs.join("initdb"), &[]);
            initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D"]).arg(&folder);
            let made = initdb.current_dir("/").stdin(Stdio::null()).output()?;
            if !made.status.success() {
                return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
            }
        }
        let port = free_port()?;
        // a fast stop, should the bench be killed
        let mut command = as_postgres(&programs.join("postgres"), &["--pdeathsig", "INT"]);
        command.arg("-D").arg(&folder).arg("-k").arg(&folder).args(["-p", &port.to_string()]);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let log = std::fs::File::create(folder.with_extension("log"))?;
        let server = Child::start(command.current_dir("/").stdout(Stdio::null()).stderr(log), "INT")?;
        let started = Self { server, port };
        let (url, begun) = (started.url_of("postgres"), Instant::now());
        while let Err(error) = PgConnection::connect(&url).await {
            if begun.elapsed() > PATIENCE {
                return Err(format!("PostgreSQL does not answer: {error}; see {}", folder.with_extension("log").display()).into());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(Some(started))
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Where the database is.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// Makes the database anew, empty.
    pub async fn recreate(&self) -> Outcome<()> {
        self.recreate_named(DATABASE).await.map(drop)
    }

    /// Makes another database anew, empty; gives its address.
    pub async fn recreate_named(&self, name: &str) -> Outcome<String> {
        let mut connection = PgConnection::connect(&self.url_of("postgres")).await?;
        connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        Ok(self.url_of(name))
    }

    /// CPU of all processes of the server, of those too that have ended.
    pub fn cpu(&self) -> Outcome<Duration> {
        cpu_with_children(self.server.id())
    }
}

/// The folder of the newest version that is installed, or `POSTGRES_BIN`.
fn programs() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("POSTGRES_BIN") {
        return Some(given.into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Some(format!("/usr/lib/postgresql/{}/bin", versions.max()?).into())
}

/// Who builds as root has `PostgreSQL` run as its own user, because it refuses to run as root.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn as_postgres(program: &Path, options: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(options);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--inh-caps=-all"]);
    } else if options.is_empty() {
        return Command::new(program);
    }
    command.arg(program);
    command
}

/// The data folder: below `target`, or in the folder for temporary files if the user postgres cannot come there.
fn folder() -> Outcome<PathBuf> {
    let target = crate::processes::target()?;
    let passes = as_postgres(Path::new("test"), &[]).arg("-x").arg(&target).status().is_ok_and(|status| status.success());
    let folder = if passes { target.join("bench-postgres/data") } else { std::env::temp_dir().join("claimwright-bench-postgres/data") };
    let above = folder.parent().ok_or("no folder")?;
    if !above.exists() {
        std::fs::create_dir_all(above)?;
        if is_root() {
            Command::new("chown").arg("postgres").arg(above).status()?;
        }
    }
    Ok(folder)
}
