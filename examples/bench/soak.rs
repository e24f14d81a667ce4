//! `make soak`: mixed load for ten minutes (`SOAK_SECONDS`) on the server in a process of its own, and the memory that it holds.
//! What may be remembered of documents is filled before, because until then memory grows as it should. Fails if it holds a tenth
//! more in the second half than in the first. By hand only: it proves nothing in less time.

use crate::Outcome;
use crate::client::{Client, post};
use crate::processes::Product;
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Connections that ask all the time.
const CONNECTIONS: usize = 8;
const BATCHES: usize = 10;
const PROJECTS: usize = 20;
/// Documents that are sent before the first look, more than are remembered.
const DOCUMENTS: usize = 8_000;
/// Most that the second half may add.
const GROWTH: f64 = 0.10;

async fn asked(client: &mut Client, token: &str, query: &str, variables: Value) -> Outcome<Value> {
    let answer = client.ask(&post(token, &json!({ "query": query, "variables": variables }))).await?;
    let mut answer: Value = serde_json::from_slice(&answer)?;
    if answer.get("errors").is_some() {
        return Err(answer.to_string().into());
    }
    Ok(answer["data"].take())
}

async fn fill(client: &mut Client, token: &str) -> Outcome<Vec<Value>> {
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        let create = "mutation($n: String!) { createBatch(input: { name: $n }) { batch { id } } }";
        let made = asked(client, token, create, json!({ "n": format!("Batch {batch}") })).await?;
        let id = made["createBatch"]["batch"]["id"].clone();
        for project in 0..PROJECTS {
            let create = "mutation($i: CreateProjectInput!) { createProject(input: $i) { project { id } } }";
            let facts = json!({ "baseline": "Nobody knew.", "advanceSought": "To know.", "uncertainties": "Whether it can be known." });
            let input = json!({ "batchId": id, "name": format!("Project {project}"), "facts": facts });
            asked(client, token, create, json!({ "i": input })).await?;
        }
        batches.push(id);
    }
    for number in 0..DOCUMENTS {
        asked(client, token, &new_document("f", number), json!({})).await?;
    }
    Ok(batches)
}

/// A document that nobody has sent before.
fn new_document(from: &str, number: impl std::fmt::Display) -> String {
    format!("{{ {from}{number}: batches(first: 5) {{ nodes {{ id name activity }} }} }}")
}

/// What one connection does again and again: reads of all shapes, documents that nobody has sent before, refusals, changes, and
/// now and then a run.
async fn keep_asking(mut client: Client, token: String, batches: Vec<Value>, place: usize, until: Instant) -> Outcome<u64> {
    let mut asked_for = 0;
    while Instant::now() < until {
        for step in 0..20_usize {
            let batch = &batches[(place + step) % batches.len()];
            let (query, variables) = match step {
                0..=5 => ("{ batches(first: 10) { nodes { id name projects(first: 20) { nodes { id name status sections { key wordCount } } } } } }".to_owned(), json!({})),
                6..=9 => ("query($b: ID!) { batch(id: $b) { projects(first: 20) { totalCount nodes { id sections { key text } } } } }".to_owned(), json!({ "b": batch })),
                10..=12 => (new_document(&format!("a{place}_"), asked_for), json!({})),
                13 => (format!("{{ nonsense{asked_for} }}"), json!({})),
                14 => ("query($b: ID!) { batch(id: $b) { counts { total } meanScore runs(first: 5) { nodes { id status } } } }".to_owned(), json!({ "b": batch })),
                15 => ("{ __typename }".to_owned(), json!({})),
                16 if place == 0 => (
                    "mutation($b: ID!) { startGeneration(input: { generation: { batchId: $b, scope: ALL_UNAPPROVED, editedSections: REPLACE } }) { run { id } userErrors { code } } }".to_owned(),
                    json!({ "b": batch }),
                ),
                _ => ("mutation($b: ID!, $n: String!) { renameBatch(id: $b, name: $n) { batch { revision } } }".to_owned(), json!({ "b": batch, "n": format!("Batch {place} {asked_for}") })),
            };
            client.ask(&post(&token, &json!({ "query": query, "variables": variables }))).await?;
            asked_for += 1;
        }
        // a connection of its own now and then, as clients come and go
        client = Client::connect(client.peer()?).await?;
    }
    Ok(asked_for)
}

/// Runs the load and says what it found.
pub async fn run() -> Outcome<()> {
    let seconds: u64 = std::env::var("SOAK_SECONDS").ok().map_or(Ok(600), |text| text.parse())?;
    let product = Product::find()?;
    let server = product.start("serve", &[]).await?;
    let token = product.token("soak")?;
    let batches = fill(&mut Client::connect(server.address).await?, &token).await?;
    let (begun, long) = (Instant::now(), Duration::from_secs(seconds));
    let mut tasks = Vec::new();
    for place in 0..CONNECTIONS {
        let client = Client::connect(server.address).await?;
        tasks.push(tokio::spawn(keep_asking(client, token.clone(), batches.clone(), place, begun + long)));
    }
    // at least ten looks, so that a short run says something too
    let pause = Duration::from_mins(1).min(long / 10).max(Duration::from_secs(1));
    let mut seen = Vec::new();
    while begun.elapsed() < long {
        sleep(pause).await;
        let held = server.own_memory()?;
        writeln!(std::io::stdout(), "{:6} s {:8.1} MiB", begun.elapsed().as_secs(), mebibytes(held))?;
        seen.push(held);
    }
    let mut asked_for = 0;
    for task in tasks {
        asked_for += task.await??;
    }
    let half = seen.len() / 2;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    // what was held at most in the first half has been needed; only what comes on top is growth
    let (first, second) = (mebibytes(most(&seen[..half])), mebibytes(most(&seen[half..])));
    let growth = second / first - 1.0;
    writeln!(
        std::io::stdout(),
        "{asked_for} requests in {seconds} s; at most {first:.1} MiB in the first half, {second:.1} in the second: {:+.1} %",
        growth * 100.0
    )?;
    if growth > GROWTH {
        return Err(format!("memory grew by more than {:.0} % in the second half", GROWTH * 100.0).into());
    }
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
