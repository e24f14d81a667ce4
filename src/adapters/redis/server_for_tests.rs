//! A Redis server of a test's own, on a free port, that keeps nothing: killed and started again, it is empty.

use deadpool_redis::redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, cmd};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server; killed when dropped.
pub(in crate::adapters) struct RedisServer {
    binary: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one; `None`, said loudly, if no `redis-server` is installed.
    pub(in crate::adapters) async fn start() -> Option<Self> {
        let Some(binary) = binary() else {
            #[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
            {
                eprintln!("!!! No redis-server (REDIS_SERVER, PATH): what goes over Redis is NOT tested. !!!");
            }
            return None;
        };
        let mut server = Self { binary, folder: tempfile::tempdir().unwrap(), port: 0, child: None };
        for _ in 0..20 {
            // below those that outgoing connections are given, one of which might hold it when the server comes back
            let dice = uuid::Uuid::new_v4();
            server.port = 15_000 + u16::from_be_bytes([dice.as_bytes()[0], dice.as_bytes()[1]]) % 15_000;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, server.port)).is_ok() && server.restart().await {
                return Some(server);
            }
        }
        panic!("redis-server does not start");
    }

    /// Kills it with SIGKILL.
    pub(in crate::adapters) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it on the same port, empty; false if it ends at once.
    pub(in crate::adapters) async fn restart(&mut self) -> bool {
        self.kill();
        let port = self.port.to_string();
        let mut child = Command::new(&self.binary)
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // another server may have taken the port first: only what this process says counts
        let own = format!("process_id:{}\r\n", child.id());
        while child.try_wait().unwrap().is_none() {
            if self.try_ask::<String>(&["INFO", "server"]).await.is_ok_and(|answer| answer.contains(&own)) {
                self.child = Some(child);
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// Sends it a signal, such as `STOP`.
    pub(in crate::adapters) fn signal(&self, name: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &process]).status().unwrap().success());
    }

    pub(in crate::adapters) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What the server answers, asked on a connection that nobody else uses.
    pub(in crate::adapters) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let client = Client::open(self.url())?;
        let patient = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("REDIS_SERVER") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|file| file.is_file())
}
