//! Servers of a test's own, for tests that break them or fill them: `PostgreSQL` and Redis. `tests/with-services` names
//! the programs; a test whose program is not there says so and ends.

use super::PATIENCE;
use deadpool_redis::redis;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Pause between two looks at whether a server answers.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a variable names; without it the test cannot run and says so.
pub fn program(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: {variable} is not set; tests/with-services says why");
    }
    found
}

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A command that runs as somebody whom `PostgreSQL` accepts: it refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    // who owns the process owns its entry in /proc
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|owner| std::os::unix::fs::MetadataExt::uid(&owner) == 0);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--inh-caps=-all"]).arg(program);
    command
}

/// Runs a command that must succeed. Its output goes nowhere: a server that it leaves behind would keep a pipe open.
async fn must(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = timeout(PATIENCE, command.status()).await.expect("it ends in time").expect("it runs");
    assert!(ended.success(), "{command:?}: {ended}");
}

/// A `PostgreSQL` server. Dropped, it is gone.
pub struct OwnPostgres {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl OwnPostgres {
    /// Starts one; none if there is no program for it.
    pub async fn start() -> Option<Self> {
        let programs = program("POSTGRES_BIN")?;
        let folder = tempfile::tempdir().expect("a folder");
        must(Command::new("chmod").arg("777").arg(folder.path())).await;
        let server = Self { programs, folder, port: free_port() };
        let initdb = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D"];
        must(server.command("initdb").args(initdb).arg(server.data())).await;
        server.come_back().await;
        Some(server)
    }

    /// URL of the database `postgres`, as the superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops without a farewell; it stays away.
    pub async fn stop_immediate(&self) {
        must(self.command("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-m", "immediate", "stop"])).await;
    }

    /// Comes back on the same port with what was committed.
    pub async fn come_back(&self) {
        let (options, log) = (self.options(), self.folder.path().join("server.log"));
        must(self.command("pg_ctl").arg("-D").arg(self.data()).arg("-w").arg("-l").arg(log).args(["-o", &options, "start"])).await;
    }

    /// Stops without a farewell and starts again: every connection breaks, and what was committed is recovered.
    pub async fn restart_immediate(&self) {
        must(self.command("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-m", "immediate", "restart"])).await;
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn options(&self) -> String {
        let folder = self.folder.path().display();
        format!("-p {} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300", self.port)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = as_postgres(&self.programs.join(name));
        command.current_dir("/");
        command
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl").into_std();
        stop.arg("-D").arg(self.data()).args(["-m", "immediate", "stop"]).stdout(Stdio::null()).stderr(Stdio::null());
        if let Err(error) = stop.status() {
            eprintln!("a PostgreSQL server was left behind: {error}");
        }
    }
}

/// A Redis server that keeps nothing. Dropped, it is killed.
pub struct OwnRedis {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl OwnRedis {
    /// Starts one; none if there is no program for it.
    pub async fn start() -> Option<Self> {
        let program = program("REDIS_SERVER")?;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let process = Self::spawn(&program, folder.path(), port);
        let server = Self { program, folder, port, process };
        server.answers().await;
        Some(server)
    }

    /// URL of the server.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `kill -9`; it stays away.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("the process is killed");
    }

    /// Comes back on the same port, empty.
    pub async fn come_back(&mut self) {
        self.process = Self::spawn(&self.program, self.folder.path(), self.port);
        self.answers().await;
    }

    /// The answer to a command.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut connection).await
    }

    async fn answers(&self) {
        let answers = async {
            while self.ask::<String>(&["PING"]).await.is_err() {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, answers).await.expect("Redis answers in time");
    }

    fn spawn(program: &Path, folder: &Path, port: u16) -> Child {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string(), "--dir"]).arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("Redis starts")
    }
}
