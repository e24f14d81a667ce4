//! The product as a process: a server that can be killed, and commands that are run to their end. Settings come from
//! the test alone; nothing of the surrounding environment but PATH is passed on.

use super::{Client, PATIENCE, root};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The executable that is tested.
pub fn executable() -> PathBuf {
    option_env!("CARGO_BIN_EXE_claimwright").map_or_else(|| root().join("target/debug/claimwright"), PathBuf::from)
}

/// A command of the product, with a data folder and more settings.
pub fn command<S: AsRef<OsStr>>(arguments: &[S], data: &Path, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(executable());
    command.args(arguments).env_clear().env("DATA_DIR", data).current_dir(data.parent().expect("a folder around the data"));
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn run<S: AsRef<OsStr>>(arguments: &[S], data: &Path, settings: &[(String, String)]) -> Finished {
    let output = timeout(PATIENCE, command(arguments, data, settings).output()).await.expect("the command ends").expect("the command runs");
    Finished::from(output)
}

/// Settings from pairs.
pub fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its results.
    pub stdout: String,
    /// Its complaints and its progress.
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A server in a process of its own, on a free port. Dropped, it is killed.
pub struct Server {
    process: Child,
    url: String,
    token: String,
    log: watch::Sender<String>,
    reading: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one on a data folder and waits until it says where it is ready.
    pub async fn start(data: &Path, more: &[(String, String)]) -> Self {
        Self::start_as("serve", data, more).await
    }

    /// The same in one role: `serve`, `api`, or `worker`, which has no address.
    pub async fn start_as(role: &str, data: &Path, more: &[(String, String)]) -> Self {
        let mut with_port = settings(&[("PORT", "0")]);
        with_port.extend_from_slice(more);
        let mut process = command(&[role], data, &with_port).spawn().expect("the server starts");
        let mut lines = BufReader::new(process.stderr.take().expect("stderr")).lines();
        let log = watch::Sender::new(String::new());
        let url = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if let Some((_, url)) = line.split_once("ready at ") {
                    // in a line of JSON a quotation mark ends it
                    return url.split(['"', ' ']).next().unwrap_or_default().to_owned();
                }
                if line.ends_with("ready, doing jobs") {
                    return String::new();
                }
                log.send_modify(|log| log.push_str(&(line + "\n")));
            }
            panic!("the server ended before it was ready:\n{}", log.borrow().as_str());
        });
        let url = url.await.expect("the server is ready in time");
        let written = log.clone();
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                written.send_modify(|log| log.push_str(&(line + "\n")));
            }
        });
        let token = run(&["token"], data, &[]).await.stdout.trim().to_owned();
        Self { process, url, token, log, reading: Some(reading) }
    }

    /// Base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The default person of the local issuer.
    pub fn adviser(&self) -> Client {
        Client::new(self.url.clone(), Some(self.token.clone()))
    }

    /// What was logged after the server was ready, and before.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until something was logged so often.
    pub async fn has_logged(&self, what: &str, times: usize) {
        let mut log = self.log.subscribe();
        let logged = timeout(PATIENCE, log.wait_for(|log| log.matches(what).count() >= times)).await.is_ok_and(|waited| waited.is_ok());
        assert!(logged, "not {times} times \"{what}\":\n{}", self.log());
    }

    /// What was logged from beginning to end: the server is stopped for that.
    pub async fn log_to_the_end(mut self) -> String {
        let reading = self.reading.take().expect("the log is read");
        let log = self.log.clone();
        self.terminate().await;
        timeout(PATIENCE, reading).await.expect("the log ends in time").expect("the log is read");
        log.borrow().clone()
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.process.id().expect("the process runs")
    }

    /// `kill -9`: nothing is said, nothing is saved.
    pub async fn kill(mut self) {
        self.process.kill().await.expect("the process is killed");
    }

    /// SIGTERM; gives how the process ended.
    pub async fn terminate(self) -> ExitStatus {
        self.drain().await.0
    }

    /// SIGTERM; gives how the process ended and what it logged.
    pub async fn drain(mut self) -> (ExitStatus, String) {
        let id = self.process.id().expect("the process runs").to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status().await.expect("sh runs");
        assert!(sent.success(), "SIGTERM was not sent");
        let ended = timeout(PATIENCE, self.process.wait()).await.expect("the server drains in time").expect("an exit status");
        (ended, self.log())
    }
}
