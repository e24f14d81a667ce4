//! `make bench`: what the server costs beside what the same would cost by hand, and how pace is kept. Read ratios, not
//! numbers: machines differ and are noisy. `bench pace` measures the pace alone.

mod client;
mod front;
mod nested;
mod pace;

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

#[tokio::main]
async fn main() -> Outcome<()> {
    if std::env::args().nth(1).as_deref() == Some("pace") {
        return Ok(writeln!(std::io::stdout(), "{}", pace::run().await?)?);
    }
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let settings = HashMap::from([("DATA_DIR", data.to_string_lossy().into_owned()), ("PORT", "0".to_owned())]);
    let config = Config::from_env(|name| settings.get(name).cloned()).map_err(|problems| problems.join("\n"))?;
    let app = App::start(&config, Roles::Api).await?;
    let bench = Bench { address: app.address().ok_or("no address")?, token: app.token(None, None, TOKEN_VALID)?, data };
    for part in [front::run(&bench).await?, nested::run(&bench).await?] {
        writeln!(std::io::stdout(), "{part}")?;
    }
    app.stop().await?;
    writeln!(std::io::stdout(), "{}", pace::run().await?)?;
    Ok(())
}
