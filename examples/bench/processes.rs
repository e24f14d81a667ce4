//! Processes that are measured from outside, and the CPU that the operating system says they took.

use crate::Outcome;
use crate::client::Client;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A tick of `/proc`: `USER_HZ` is 100 on every architecture that the product is built for.
const TICK: Duration = Duration::from_millis(10);
/// Longest wait for a server to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A child process, told to end when dropped.
pub struct Child {
    process: std::process::Child,
    farewell: &'static str,
}

impl Child {
    /// Starts a process that a signal of this name ends.
    pub fn start(command: &mut Command, farewell: &'static str) -> Outcome<Self> {
        Ok(Self { process: command.stdin(Stdio::null()).spawn()?, farewell })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // it may have ended by itself
        drop(Command::new("kill").arg(format!("-{}", self.farewell)).arg(self.id().to_string()).stderr(Stdio::null()).status());
        drop(self.process.wait());
    }
}

/// A server in a process of its own.
pub struct Server {
    /// Where it answers.
    pub address: SocketAddr,
    child: Child,
}

/// Programs and folders of the product.
pub struct Product {
    program: PathBuf,
    data: tempfile::TempDir,
}

impl Product {
    /// The server that was built beside this benchmark, or the one that `BENCH_SERVER` names.
    pub fn find() -> Outcome<Self> {
        if let Some(named) = std::env::var_os("BENCH_SERVER") {
            return Ok(Self { program: named.into(), data: tempfile::tempdir()? });
        }
        let (program, library) = (built()?.join("claimwright"), built()?.join("libclaimwright.rlib"));
        let age = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified());
        match (age(&program), age(&library)) {
            (Ok(program), Ok(library)) if program < library => Err("the server is older than the benchmark"),
            (Err(_), _) => Err("there is no server beside the benchmark"),
            _ => Ok(()),
        }
        .map_err(|why| format!("{why}: build both in one command, as `make bench` does"))?;
        Ok(Self { program, data: tempfile::tempdir()? })
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = bound(&self.program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("DATA_DIR", folder).env("RUST_LOG", "error");
        command
    }

    /// A token for a workspace.
    pub fn token(&self, workspace: &str) -> Outcome<String> {
        let made = self.command(self.data.path()).args(["token", "--workspace", workspace, "--ttl", "86400"]).output()?;
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    /// Starts it in a role (`serve` or `api`) with these settings and waits until it is ready.
    pub async fn start(&self, role: &str, settings: &[(&str, &str)]) -> Outcome<Server> {
        let port = free_port()?;
        let mut command = self.command(self.data.path());
        command.arg(role).env("PORT", port.to_string()).envs(settings.iter().copied());
        Server::start(&mut command, port).await
    }
}

impl Server {
    /// Starts a process that listens on a port, and waits until it is ready.
    pub async fn start(command: &mut Command, port: u16) -> Outcome<Self> {
        let child = Child::start(command, "TERM")?;
        let server = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), child };
        let begun = Instant::now();
        loop {
            if let Ok(mut client) = Client::connect(server.address).await
                && client.ask("GET /health/ready HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.is_ok()
            {
                return Ok(server);
            }
            if begun.elapsed() > PATIENCE {
                return Err("a server that was started does not answer".into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// CPU that it took so far.
    pub fn cpu(&self) -> Outcome<Duration> {
        Ok(stat(self.child.id())?.own)
    }

    /// Memory of its own that it holds, in bytes: not the pages of the program.
    pub fn own_memory(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
    }
}

/// A program that is told to end when this one does, should it be killed.
pub fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

/// A free port, by the kernel's choice.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The folder of what was built with this benchmark.
fn built() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().and_then(Path::parent).ok_or("no folder")?.to_owned())
}

/// The folder `target`.
pub fn target() -> Outcome<PathBuf> {
    Ok(built()?.parent().ok_or("no folder")?.to_owned())
}

struct Stat {
    parent: u32,
    own: Duration,
    /// Its own and that of children that have ended.
    all: Duration,
}

fn stat(process: u32) -> Outcome<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // the name in brackets may hold anything; what follows are numbers, from the third field on
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |number: usize| -> Outcome<u32> { Ok(fields.get(number - 3).ok_or("stat")?.parse()?) };
    let own = TICK * (ticks(14)? + ticks(15)?);
    Ok(Stat { parent: ticks(4)?, own, all: own + TICK * (ticks(16)? + ticks(17)?) })
}

/// CPU of a process, its children, and those that it had.
pub fn cpu_with_children(process: u32) -> Outcome<Duration> {
    let mut sum = stat(process)?.all;
    for entry in std::fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // one that has ended meanwhile is counted with its parent
        if let Ok(child) = stat(id)
            && child.parent == process
        {
            sum += child.own;
        }
    }
    Ok(sum)
}
