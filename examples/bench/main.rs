//! `make bench`: what the server costs beside what the same would cost by hand, and how pace is kept. Read ratios, not
//! numbers: machines differ and are noisy. Names of parts as arguments run these alone: `reads` and `jobs`, say.

mod by_hand;
mod client;
mod floor;
mod front;
mod jobs;
mod load;
mod nested;
mod pace;
mod postgres;
mod processes;
mod reads;
mod report;
mod rules;
mod seed;
mod short;
mod soak;
mod sockets;
mod work;

use claimwright::app::{App, Roles, TOKEN_VALID};
use claimwright::config::Config;
use postgres::Postgres;
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The program's own allocator, for what is measured in this process and for the floors alike.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What this program is called with to be the floor: the address of the database and a port follow.
const FLOOR: &str = "--floor";

/// The server that is measured, on a data folder of its own.
struct Bench {
    address: SocketAddr,
    token: String,
    data: PathBuf,
}

/// A process on a data folder of its own, which lasts as long as the folder is held.
async fn open(roles: Roles) -> Outcome<(App, tempfile::TempDir)> {
    open_with(roles, &[]).await
}

/// The same with more settings.
async fn open_with(roles: Roles, more: &[(&'static str, &str)]) -> Outcome<(App, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let mut settings = HashMap::from([("DATA_DIR", folder.path().join("data").to_string_lossy().into_owned()), ("PORT", "0".to_owned())]);
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let config = Config::from_env(|name| settings.get(name).cloned()).map_err(|problems| problems.join("\n"))?;
    Ok((App::start(&config, roles).await?, folder))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match wanted.first().map(String::as_str) {
        Some(sockets::SERVER) => return sockets::serve().await,
        Some(sockets::FANOUT) => return sockets::serve_fanout().await,
        _ => {}
    }
    if let [first, url, port] = wanted.as_slice()
        && first == FLOOR
    {
        return floor::serve(url, port.parse()?).await;
    }
    if wanted == ["soak"] {
        return soak::run().await;
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| part == name);
    let say = |part: String| writeln!(std::io::stdout(), "{part}");
    if is_wanted("reads") {
        reads::run(rounds()).await?.publish(say)?;
    }
    if ["jobs", "imports", "generation"].into_iter().any(is_wanted) {
        let postgres = Postgres::start().await?;
        if postgres.is_none() {
            say("PostgreSQL is not installed (POSTGRES_BIN): SQLite alone is measured\n".into())?;
        }
        let postgres = postgres.as_ref();
        if is_wanted("jobs") {
            Box::pin(jobs::run(postgres)).await?.publish(say)?;
        }
        if is_wanted("imports") {
            work::imports(postgres).await?.publish(say)?;
        }
        if is_wanted("generation") {
            work::generation(postgres).await?.publish(say)?;
        }
    }
    if is_wanted("rules") {
        rules::run()?.publish(say)?;
    }
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
        sockets::run(rounds).await?.publish(say)?;
    }
    if is_wanted("pace") {
        say(pace::run().await?)?;
    }
    Ok(())
}

/// Rounds of what is measured in turns, if somebody wants others than usual (`BENCH_ROUNDS`).
fn rounds() -> Option<usize> {
    std::env::var("BENCH_ROUNDS").ok()?.parse().ok()
}
