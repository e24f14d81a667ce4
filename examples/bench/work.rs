//! `bench imports` and `bench generation`: 100,000 rows read from ten files, and 1,000 projects written by the offline provider
//! without delay, by the server in a process of its own on either database, asked over its API.

use crate::Outcome;
use crate::client::{Client, post};
use crate::load::millis;
use crate::postgres::Postgres;
use crate::processes::{Product, Server};
use crate::report::Part;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const FILES: usize = 10;
/// As many as one import takes.
const ROWS: usize = 10_000;
const PROJECTS: usize = 1_000;
/// The provider that is built in takes no time of its own.
const SETTINGS: &[(&str, &str)] = &[("AI_PROVIDER", "offline"), ("OFFLINE_DELAY_MS", "0")];

const BASELINE: &str = "Published glazes for stoneware crazed when they were cooled faster than 120 °C an hour, and suppliers gave no data for \
    firing above 1,240 °C. Trials that were known from the literature had used kilns with one burner and clay of one kind.";
const ADVANCE: &str = "The project sought a method to predict crazing from the expansion of body and glaze within 5 % at cooling rates up to \
    300 °C an hour, which no published model did for bodies with more than 20 % recycled clay.";
const UNCERTAINTIES: &str = "It was uncertain whether the expansion of recycled clay could be known before firing, because its quartz varied \
    between loads, and whether a glaze with less than 12 % boric oxide would still melt evenly at the edges of the ware.";
const WORK: &str = "In the first quarter 48 test tiles were fired at four cooling rates and their expansion was measured. A model was fitted to \
    the results, failed for bodies with more than 15 % recycled clay, and was extended by a term for quartz that was measured by diffraction.";

/// A file of projects, about a kilobyte a row.
fn file(rows: usize) -> Outcome<String> {
    let mut text = String::from(
        "external_ref,project_name,sector,field_of_science,start_date,baseline,advance_sought,uncertainties,work_undertaken,staff_costs\n",
    );
    for row in 0..rows {
        writeln!(
            text,
            "P-{row},Glaze {row},Ceramics,Materials science,2025-04-07,\"{BASELINE}\",\"{ADVANCE}\",\"{UNCERTAINTIES}\",\"{WORK}\",{}.50",
            10_000 + row
        )?;
    }
    Ok(text)
}

/// A server with somebody who asks it.
struct Scene<'p> {
    server: Server,
    postgres: Option<&'p Postgres>,
    client: Client,
    token: String,
}

impl<'p> Scene<'p> {
    async fn open(product: &Product, postgres: Option<&'p Postgres>, more: &[(&str, &str)]) -> Outcome<Self> {
        let url = match postgres {
            Some(postgres) => Some(postgres.recreate_named("bench_work").await?),
            None => None,
        };
        let settings: Vec<(&str, &str)> =
            SETTINGS.iter().chain(more).copied().chain(url.as_deref().map(|url| ("DATABASE_URL", url))).collect();
        let server = product.start("serve", &settings).await?;
        let client = Client::connect(server.address).await?;
        Ok(Self { server, postgres, client, token: product.token("bench-work")? })
    }

    async fn ask(&mut self, query: &str, variables: &Value) -> Outcome<Value> {
        let answer = self.client.ask(&post(&self.token, &json!({ "query": query, "variables": variables }))).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let data = answer["data"].as_object().and_then(|data| data.values().next()).filter(|_| answer.get("errors").is_none());
        let data = data.ok_or_else(|| answer.to_string())?;
        match data.get("userErrors").and_then(Value::as_array) {
            Some(problems) if !problems.is_empty() => Err(answer.to_string().into()),
            _ => Ok(data.clone()),
        }
    }

    async fn batch(&mut self, name: &str) -> Outcome<Value> {
        let create = "mutation($name: String!) { createBatch(input: { name: $name }) { batch { id } userErrors { message } } }";
        Ok(self.ask(create, &json!({ "name": name })).await?["batch"]["id"].clone())
    }

    /// Imports a file; gives the id of the import.
    async fn import(&mut self, batch: &Value, text: &str) -> Outcome<Value> {
        let import = "mutation($b: ID!, $text: String!) { importProjects(input: { batchId: $b, source: { text: $text } }) { import { id } userErrors { message } } }";
        Ok(self.ask(import, &json!({ "b": batch, "text": text })).await?["import"]["id"].clone())
    }

    /// Waits until a job has ended well; gives how often the server had no time to say so.
    async fn end(&mut self, id: &Value, pause: Duration) -> Outcome<usize> {
        let mut unavailable = 0;
        loop {
            let job = match self.ask("query($id: ID!) { node(id: $id) { ... on Job { status } } }", &json!({ "id": id })).await {
                Err(error) if error.to_string().contains("UNAVAILABLE") => {
                    unavailable += 1;
                    continue;
                }
                answered => answered?,
            };
            match job["status"].as_str() {
                Some("SUCCEEDED") => return Ok(unavailable),
                Some("QUEUED" | "RUNNING") => sleep(pause).await,
                _ => return Err(format!("a job ended as {job}").into()),
            }
        }
    }

    fn cpu(&self) -> Outcome<(Duration, Duration)> {
        Ok((self.server.cpu()?, self.postgres.map_or(Ok(Duration::ZERO), Postgres::cpu)?))
    }
}

/// A row of a table: how many things a second, and CPU for each of server and database.
fn row(
    table: &mut String,
    name: &str,
    things: usize,
    long: Duration,
    before: (Duration, Duration),
    after: (Duration, Duration),
) -> Outcome<()> {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let things = things as f64;
    let each = |from: Duration, to: Duration| millis(to.saturating_sub(from)) / things;
    let database = if name.contains("SQLite") { "in the server's".into() } else { format!("{:.3} ms", each(before.1, after.1)) };
    writeln!(table, "| {name} | {things:.0} | **{:.0}** | {:.3} ms | {database} |", things / long.as_secs_f64(), each(before.0, after.0))?;
    Ok(())
}

fn databases(postgres: Option<&Postgres>) -> Vec<(&'static str, Option<&Postgres>)> {
    postgres.map(|server| ("PostgreSQL", Some(server))).into_iter().chain([("SQLite", None)]).collect()
}

/// Imports.
pub async fn imports(postgres: Option<&Postgres>) -> Outcome<Part> {
    let mut table =
        String::from("| | rows | rows a second | CPU of the server for a row | CPU of PostgreSQL for a row |\n|---|---:|---:|---:|---:|\n");
    let text = file(ROWS)?;
    for (name, server) in databases(postgres) {
        let product = Product::find()?;
        let mut scene = Scene::open(&product, server, &[]).await?;
        let mut batches = Vec::new();
        for number in 0..FILES {
            batches.push(scene.batch(&format!("Batch {number}")).await?);
        }
        let (begun, before) = (Instant::now(), scene.cpu()?);
        let mut jobs = Vec::new();
        for batch in &batches {
            jobs.push(scene.import(batch, &text).await?);
        }
        for job in &jobs {
            scene.end(job, Duration::from_millis(50)).await?;
        }
        row(
            &mut table,
            &format!("{FILES} files of {:.1} MB, {name}", megabytes(&text)),
            FILES * ROWS,
            begun.elapsed(),
            before,
            scene.cpu()?,
        )?;
    }
    Ok(Part { name: "imports", title: "Imports", table, plain: String::new(), bars: vec![] })
}

fn megabytes(text: &str) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let bytes = text.len() as f64;
    bytes / 1e6
}

/// Generation.
pub async fn generation(postgres: Option<&Postgres>) -> Outcome<Part> {
    let mut table = String::from(
        "| | sections | sections a second | CPU of the server for a section | CPU of PostgreSQL for a section |\n|---|---:|---:|---:|---:|\n",
    );
    let mut plain = String::from("\n");
    // the product's own number of workers on two cores, and more
    for workers in ["4", "32"] {
        for (name, server) in databases(postgres) {
            let product = Product::find()?;
            let mut scene = Scene::open(&product, server, &[("WORKER_CONCURRENCY", workers)]).await?;
            let batch = scene.batch("Batch").await?;
            let import = scene.import(&batch, &file(PROJECTS)?).await?;
            scene.end(&import, Duration::from_millis(50)).await?;
            let start = "mutation($b: ID!) { startGeneration(input: { generation: { batchId: $b, scope: ALL_UNAPPROVED, editedSections: REPLACE } }) { run { id } userErrors { message } } }";
            let (begun, before) = (Instant::now(), scene.cpu()?);
            let run = scene.ask(start, &json!({ "b": batch })).await?["run"]["id"].clone();
            let unavailable = scene.end(&run, Duration::from_millis(50)).await?;
            let (long, after) = (begun.elapsed(), scene.cpu()?);
            let sections = scene
                .ask("query($b: ID!) { batch(id: $b) { projects(first: 1) { nodes { sections { id } } } } }", &json!({ "b": batch }))
                .await?;
            let each = sections["projects"]["nodes"][0]["sections"].as_array().map_or(0, Vec::len);
            row(&mut table, &format!("{PROJECTS} projects, {workers} workers, {name}"), PROJECTS * each, long, before, after)?;
            let busy =
                format!("{workers} workers, {name}: {:.1} s; questions that found the database busy: {unavailable}", long.as_secs_f64());
            // this takes long on a machine that is busy, so what is known is said at once
            writeln!(std::io::stdout(), "{busy}")?;
            writeln!(plain, "{busy}")?;
        }
    }
    Ok(Part { name: "generation", title: "Generation offline, without delay", table, plain, bars: vec![] })
}
