//! `make bench`: what the server costs beside what the same would cost by hand, and how pace is kept. Read ratios, not
//! numbers: machines differ and are noisy. `bench pace` measures the pace alone.

mod client;
mod front;
mod nested;
mod pace;
mod short;
mod sockets;

use claimwright::app::{App, Roles, TOKEN_VALID};
use claimwright::config::Config;
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The server that is measured, on a data folder of its own.
struct Bench {
    address: SocketAddr,
    token: String,
    data: PathBuf,
}

/// A process on a data folder of its own, which lasts as long as the folder is held.
async fn open(roles: Roles) -> Outcome<(App, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let settings = HashMap::from([("DATA_DIR", folder.path().join("data").to_string_lossy().into_owned()), ("PORT", "0".to_owned())]);
    let config = Config::from_env(|name| settings.get(name).cloned()).map_err(|problems| problems.join("\n"))?;
    Ok((App::start(&config, roles).await?, folder))
}

/// Names of parts as arguments run these alone.
#[tokio::main]
async fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match wanted.first().map(String::as_str) {
        Some(sockets::SERVER) => return sockets::serve().await,
        Some(sockets::FANOUT) => return sockets::serve_fanout().await,
        _ => {}
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| part == name);
    let say = |part: String| writeln!(std::io::stdout(), "{part}");
    if is_wanted("front") || is_wanted("nested") {
        let (app, folder) = open(Roles::Api).await?;
        let (address, token) = (app.address().ok_or("no address")?, app.token(None, None, TOKEN_VALID)?);
        let bench = Bench { address, token, data: folder.path().join("data") };
        if is_wanted("front") {
            say(front::run(&bench).await?)?;
        }
        if is_wanted("nested") {
            say(nested::run(&bench).await?)?;
        }
        app.stop().await?;
    }
    if is_wanted("short") {
        say(short::run().await?)?;
    }
    if is_wanted("sockets") {
        let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
        say(sockets::run(rounds).await?)?;
    }
    if is_wanted("pace") {
        say(pace::run().await?)?;
    }
    Ok(())
}
