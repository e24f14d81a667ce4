//! Load on servers in other processes: a few connections that ask one request after the other for a while, the CPU that the
//! server and `PostgreSQL` took meanwhile, and how long answers took.

use crate::Outcome;
use crate::client::Client;
use crate::postgres::Postgres;
use crate::processes::Server;
use std::time::{Duration, Instant};

/// Connections that are kept open.
pub const CONNECTIONS: usize = 8;

/// What a while of load took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Requests that were answered.
    pub requests: usize,
    /// Milliseconds of CPU of the server for a request.
    pub server: f64,
    /// Milliseconds of CPU of `PostgreSQL` for a request.
    pub postgres: f64,
    /// Median time to an answer, in milliseconds.
    pub p50: f64,
    /// The same of the slowest in a hundred.
    pub p99: f64,
}

/// Bytes by which answers may differ in length, and the share: numbers in them grow, and texts are not all of one length.
const TOLERANCE: usize = 24;
const TOLERATED_SHARE: usize = 20;

/// Asks for so long, with [`CONNECTIONS`] at once; `request` is given the number of the connection and a number that never
/// comes again. All answers have about the length that is expected.
pub async fn load(
    server: &Server,
    postgres: Option<&Postgres>,
    request: &(impl Fn(usize, u64) -> String + Sync),
    expected: usize,
    long: Duration,
) -> Outcome<Measured> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(server.address).await?);
    }
    let database = || postgres.map_or(Ok(Duration::ZERO), Postgres::cpu);
    let (server_before, database_before) = (server.cpu()?, database()?);
    let until = Instant::now() + long;
    let asking = clients.into_iter().enumerate().map(|(place, client)| ask_until(client, place, request, expected, until));
    let times = futures::future::try_join_all(asking).await?;
    let (server_took, database_took) = (server.cpu()?.saturating_sub(server_before), database()?.saturating_sub(database_before));
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let each = |took: Duration| millis(took) / times.len().max(1) as f64;
    Ok(Measured {
        requests: times.len(),
        server: each(server_took),
        postgres: each(database_took),
        p50: millis(at(50)),
        p99: millis(at(99)),
    })
}

async fn ask_until(
    mut client: Client,
    place: usize,
    request: &(impl Fn(usize, u64) -> String + Sync),
    expected: usize,
    until: Instant,
) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let text = request(place, fresh());
        let begun = Instant::now();
        let answer = client.ask(&text).await?;
        times.push(begun.elapsed());
        if answer.len().abs_diff(expected) > TOLERANCE + expected / TOLERATED_SHARE {
            return Err(format!("an answer is not as the first: {}", String::from_utf8_lossy(&answer[..answer.len().min(500)])).into());
        }
    }
    Ok(times)
}

/// A number that never comes again, in later runs neither.
fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    (u64::from(std::process::id()) << 32) | NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A duration in milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The middle of some numbers, and how far the outermost are apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct Middle {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Middle {
    /// Of a few numbers.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = numbers.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (all.first().copied(), all.last().copied()) else { return Self::default() };
        let middle = all.len() / 2;
        let median = if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) };
        Self { median, least, most }
    }
}
