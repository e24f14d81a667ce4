//! Live progress to many sockets beside a hand-written fan-out of the same frames: all sockets on one batch, and one batch
//! each. Server and fan-out are processes of their own, made anew for every line, so that CPU and memory are theirs alone.
//! Events are caused by the public API; what the same mutations cost without a listener is taken off.
//!
//! Each socket is two open files, one here and one there: `ulimit -n` must allow for `BENCH_SOCKETS` (a comma list).

mod fanout;
mod listener;

use crate::Outcome;
use crate::client::{Client, post};
use crate::report::{Bar, Part};
use claimwright::app::{App, Roles, TOKEN_VALID};
use claimwright::config::Config;
use claimwright::telemetry::{self, LogSettings};
use futures::{StreamExt, TryStreamExt, stream};
use listener::{Board, Listener};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What this program is called with to be one of the two; it lives until its standard input ends.
pub const SERVER: &str = "--sockets-server";
pub const FANOUT: &str = "--sockets-fanout";

const SIZES: &str = "100,1000,5000";
/// Sockets that are opened at once.
const OPENED_AT_ONCE: usize = 64;
/// Deliveries of a phase, about; and at least and at most so many events.
const DELIVERIES: usize = 100_000;
const EVENTS: std::ops::RangeInclusive<usize> = 40..=400;
/// Events of a phase where each goes to one socket.
const EVENTS_OF_EACH: usize = 2_000;
/// Events that are on their way at once in a burst.
const BURST: usize = 8;
/// How long the last deliveries of a phase are waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long idle sockets are watched before their memory is looked at: what opening them took for a moment is given back to the
/// system after ten seconds.
const IDLE: Duration = Duration::from_secs(12);
const DOCUMENT: &str = "subscription Watch($id: ID!, $after: EventCursor) { batchProgress(batchId: $id, after: $after) { __typename \
    ... on StreamEvent { sequence cursor occurredAt } ... on BatchSnapshot { batch { id name } projectCounts { total draft needsReview } } \
    ... on BatchChanged { batch { id name } } ... on RunProgressed { progress } ... on ProjectStatusChanged { projectStatus project { id name } } } }";
const RENAME: &str = "mutation($id: ID!, $name: String!) { renameBatch(id: $id, name: $name) { userErrors { code } } }";

/// What sockets listen to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    OneBatch,
    OneEach,
}

/// The server, in a child process.
pub async fn serve() -> Outcome<()> {
    drop(telemetry::start(&LogSettings { json: true, filter: "error".into() }, None)?);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let most = "50000".to_owned();
    let most_of = ["MAX_SOCKETS_PER_PERSON", "MAX_STREAMS_PER_PERSON"].map(|name| (name, most.clone()));
    let settings: HashMap<&str, String> = [("DATA_DIR", data), ("PORT", "0".to_owned())].into_iter().chain(most_of).collect();
    let config = Config::from_env(|name| settings.get(name).cloned()).map_err(|problems| problems.join("\n"))?;
    let app = App::start(&config, Roles::Api).await?;
    let hello = json!({ "address": app.address().ok_or("no address")?, "token": app.token(None, None, TOKEN_VALID)? });
    until_told_to_end(&hello).await?;
    Ok(app.stop().await?)
}

/// The fan-out, in a child process.
pub async fn serve_fanout() -> Outcome<()> {
    let hello = json!({ "address": fanout::start().await?, "token": "none" });
    until_told_to_end(&hello).await
}

async fn until_told_to_end(hello: &Value) -> Outcome<()> {
    std::io::Write::write_all(&mut std::io::stdout(), format!("{hello}\n").as_bytes())?;
    tokio::task::spawn_blocking(|| std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new())).await??;
    Ok(())
}

/// A child process that is measured.
struct Server {
    child: Child,
    pid: u32,
    address: SocketAddr,
    token: String,
}

impl Server {
    async fn start(kind: &str) -> Outcome<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).arg(kind).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (pid, output) = (child.id().ok_or("no process")?, child.stdout.take().ok_or("no output")?);
        let mut hello = String::new();
        BufReader::new(output).read_line(&mut hello).await?;
        let hello: Value = serde_json::from_str(&hello)?;
        let text = |name: &str| hello[name].as_str().ok_or("no hello");
        Ok(Self { child, pid, address: text("address")?.parse()?, token: text("token")?.to_owned() })
    }

    /// CPU time so far, in microseconds; the system counts in steps of 10 ms.
    fn cpu(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        Ok((fields.get(11).ok_or("stat")?.parse::<f64>()? + fields.get(12).ok_or("stat")?.parse::<f64>()?) * 10_000.0)
    }

    /// Memory of its own that is resident, in KiB: not the pages of the program, of which the first socket needs more.
    fn memory(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("status")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    async fn stop(mut self) -> Outcome<()> {
        drop(self.child.stdin.take());
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// Causes events of topics, one after the other.
struct Cause<'s> {
    server: &'s Server,
    client: Client,
    is_product: bool,
    /// A frame's payload of the product, for the fan-out to send the like of.
    like: &'s str,
    sequences: HashMap<usize, i64>,
}

impl Cause<'_> {
    async fn event(&mut self, topic: usize, id: &str, board: Option<&Board>) -> Outcome<()> {
        let next = self.sequences.entry(topic).or_default();
        *next += 1;
        let name = format!("Batch {topic} {:06}", *next);
        let request = if self.is_product {
            post(&self.server.token, &json!({ "query": RENAME, "variables": { "id": id, "name": name } }))
        } else {
            fanout::publish(id, &listener::with_sequence(self.like, *next))
        };
        if let Some(board) = board {
            board.sending(topic, *next);
        }
        let answer = self.client.ask(&request).await?;
        if self.is_product && !String::from_utf8_lossy(&answer).contains("\"userErrors\":[]") {
            return Err(String::from_utf8_lossy(&answer).into_owned().into());
        }
        Ok(())
    }
}

/// What was measured of one line.
#[derive(Debug, Default, Clone)]
struct Measured {
    idle_kib: f64,
    idle_cpu: f64,
    paced_cpu: f64,
    burst_cpu: f64,
    burst_rate: f64,
    p50: f64,
    p99: f64,
    lost: usize,
    lagged: usize,
    frame: String,
}

async fn ids(server: &Server, is_product: bool, count: usize) -> Outcome<Vec<String>> {
    let mut client = Client::connect(server.address).await?;
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        if !is_product {
            ids.push(format!("{number:064}"));
            continue;
        }
        let create = "mutation($name: String!) { createBatch(input: { name: $name }) { batch { id } } }";
        let answer =
            client.ask(&post(&server.token, &json!({ "query": create, "variables": { "name": format!("Batch {number}") } }))).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ids.push(answer["data"]["createBatch"]["batch"]["id"].as_str().ok_or("no batch")?.to_owned());
    }
    Ok(ids)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
async fn measure(shape: Shape, sockets: usize, like: Option<&str>) -> Outcome<Measured> {
    let is_product = like.is_none();
    let server = Server::start(if is_product { SERVER } else { FANOUT }).await?;
    // the last one has no listener
    let ids = Arc::new(ids(&server, is_product, if shape == Shape::OneBatch { 2 } else { sockets + 1 }).await?);
    let topics = ids.len() - 1;
    let mut cause = Cause {
        server: &server,
        client: Client::connect(server.address).await?,
        is_product,
        like: like.unwrap_or_default(),
        sequences: HashMap::new(),
    };
    for _ in 0..20 {
        cause.event(topics, &ids[topics], None).await?;
    }
    // what the first one makes the process set up counts for none of them
    let unheard = Arc::new(Board::new(topics + 1));
    drop(Listener::open(server.address, &server.token, DOCUMENT, topics, &ids[topics], unheard).await?);
    cause.event(topics, &ids[topics], None).await?;
    let mut measured = Measured::default();
    let before = server.memory()?;
    let board = Arc::new(Board::new(topics));
    let open = |number: usize| {
        let (ids, board, token, address) = (Arc::clone(&ids), Arc::clone(&board), server.token.clone(), server.address);
        async move { Listener::open(address, &token, DOCUMENT, number % topics, &ids[number % topics], board).await }
    };
    let listeners: Vec<Listener> = stream::iter((0..sockets).map(open)).buffer_unordered(OPENED_AT_ONCE).try_collect().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cpu = server.cpu()?;
    tokio::time::sleep(IDLE).await;
    measured.idle_cpu = (server.cpu()? - cpu) / IDLE.as_secs_f64() / sockets as f64;
    measured.idle_kib = (server.memory()? - before) / sockets as f64;

    let (each, events) = match shape {
        Shape::OneBatch => (sockets, (DELIVERIES / sockets).clamp(*EVENTS.start(), *EVENTS.end())),
        Shape::OneEach => (1, EVENTS_OF_EACH),
    };
    // idle connections are closed after a while
    cause.client = Client::connect(server.address).await?;
    // what the causes cost by themselves
    let cpu = server.cpu()?;
    let alone = events.max(400);
    for _ in 0..alone {
        cause.event(topics, &ids[topics], None).await?;
    }
    let cause_cpu = (server.cpu()? - cpu) / alone as f64;
    for listener in &listeners {
        cause.sequences.insert(listener.topic, listener.sequence);
    }
    let listening: Vec<_> = listeners.into_iter().map(|listener| tokio::spawn(listener.listen())).collect();

    let mut expected = 0;
    for (most_open, is_paced) in [(1, true), (BURST, false)] {
        let (cpu, begun, first) = (server.cpu()?, Instant::now(), expected);
        if !is_paced {
            board.forget_times();
        }
        for number in 0..events {
            board.has_received((expected + each).saturating_sub(most_open * each), PATIENCE).await;
            let topic = number % topics;
            cause.event(topic, &ids[topic], Some(&board)).await?;
            expected += each;
        }
        board.has_received(expected, PATIENCE).await;
        let deliveries = (expected - first) as f64;
        let cost = (server.cpu()? - cpu - cause_cpu * events as f64) / deliveries;
        if is_paced {
            measured.paced_cpu = cost;
            (measured.p50, measured.p99) = board.percentiles();
        } else {
            measured.burst_cpu = cost;
            measured.burst_rate = deliveries / begun.elapsed().as_secs_f64();
        }
    }
    measured.lost = board.lost() + expected.saturating_sub(board.received());
    measured.lagged = board.lagged();
    for task in listening {
        task.abort();
    }
    measured.frame = board.frame();
    server.stop().await?;
    Ok(measured)
}

/// Takes the lesser of two: what is more is noise of others.
fn least(mut one: Measured, other: &Measured) -> Measured {
    for (a, b) in [
        (&mut one.idle_kib, other.idle_kib),
        (&mut one.idle_cpu, other.idle_cpu),
        (&mut one.paced_cpu, other.paced_cpu),
        (&mut one.burst_cpu, other.burst_cpu),
        (&mut one.p50, other.p50),
        (&mut one.p99, other.p99),
    ] {
        *a = a.min(b);
    }
    one.burst_rate = one.burst_rate.max(other.burst_rate);
    (one.lost, one.lagged) = (one.lost.max(other.lost), one.lagged.max(other.lagged));
    one
}

fn line(name: &str, sockets: usize, m: &Measured) -> String {
    format!(
        "{sockets:>6} {name:<22} {:>9.1} {:>9.1} {:>11.0} {:>8.1} {:>8.1} {:>9.1} {:>10.2} {:>5} {:>6}\n",
        m.paced_cpu, m.burst_cpu, m.burst_rate, m.p50, m.p99, m.idle_kib, m.idle_cpu, m.lost, m.lagged
    )
}

/// A row of the table that is filed.
fn row(shape: Shape, sockets: usize, server: &Measured, fanout: &Measured) -> String {
    let ratio = |one: f64, other: f64| if other > 0.0 { format!("{:.2}", one / other) } else { "–".into() };
    format!(
        "| {} | {sockets} | **{}** | {} | {} | {:.0} | {:.1} | {:.1} | {:.2} | {} |\n",
        if shape == Shape::OneBatch { "all on one batch" } else { "one batch each" },
        ratio(server.paced_cpu, fanout.paced_cpu),
        ratio(server.burst_cpu, fanout.burst_cpu),
        ratio(server.p99 / server.p50, fanout.p99 / fanout.p50),
        server.burst_rate,
        server.idle_kib,
        fanout.idle_kib,
        server.idle_cpu,
        server.lost
    )
}

/// Most files that this process may have open.
fn most_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find(|line| line.starts_with("Max open files"))?.split_whitespace().nth(3)?.parse().ok()
}

/// Measures all sizes; `rounds` times, of which the best counts.
pub async fn run(rounds: usize) -> Outcome<Part> {
    let sizes = std::env::var("BENCH_SOCKETS").unwrap_or_else(|_| SIZES.into());
    let sizes: Vec<usize> = sizes.split(',').map(|size| size.trim().parse()).collect::<Result<_, _>>()?;
    let mut table = String::from(
        "| | sockets | CPU of a delivery, paced, to the fan-out | in bursts, to the fan-out | p99/p50, to the fan-out | deliveries a second | \
         KiB of an idle socket | of the fan-out | idle CPU, µs/s | lost |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let (mut plain, mut bars) = (String::new(), Vec::new());
    for shape in [Shape::OneBatch, Shape::OneEach] {
        writeln!(
            plain,
            "\n{:>6} {:<22} {:>9} {:>9} {:>11} {:>8} {:>8} {:>9} {:>10} {:>5} {:>6}",
            "", "", "paced µs", "burst µs", "deliv. / s", "p50 ms", "p99 ms", "KiB/sock", "idle µs/s", "lost", "lagged"
        )?;
        for &sockets in &sizes {
            if most_files().is_some_and(|most| most < sockets + 500) {
                writeln!(
                    plain,
                    "{sockets:>6} not measured: too few files may be open; raise the limit with `ulimit -n {}`",
                    sockets + 500
                )?;
                continue;
            }
            let mut server = measure(shape, sockets, None).await?;
            let like = server.frame.clone();
            let mut fanout = measure(shape, sockets, Some(&like)).await?;
            for _ in 1..rounds {
                server = least(server, &measure(shape, sockets, None).await?);
                fanout = least(fanout, &measure(shape, sockets, Some(&like)).await?);
            }
            plain += &line("claimwright", sockets, &server);
            plain += &line("hand-written fan-out", sockets, &fanout);
            table += &row(shape, sockets, &server, &fanout);
            if shape == Shape::OneBatch && fanout.paced_cpu > 0.0 {
                let goal = (sockets >= 1_000).then_some(1.3);
                bars.push(Bar { label: format!("to {sockets} sockets on one batch"), value: server.paced_cpu / fanout.paced_cpu, goal });
            }
        }
    }
    Ok(Part { name: "sockets", title: "CPU of a delivery, hand-written fan-out = 1", table, plain, bars })
}
