//! `bench reads`: what requests cost the server and `PostgreSQL`, beside the floors that are written by hand. Product and floors
//! are processes of their own on the same database; they take turns, round by round, and only their ratios are quoted.

use crate::client::{Client, post};
use crate::load::{Measured, Middle, load};
use crate::postgres::Postgres;
use crate::processes::{Product, Server, bound, free_port};
use crate::report::{Bar, Part, ratio};
use crate::seed::{self, READ, WRITTEN, workspace};
use crate::{FLOOR, Outcome};
use claimwright::domain::ids::{BatchId, ProjectId};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::fmt::Write;
use std::time::Duration;
use uuid::Uuid;

/// How long each is asked in a round.
const LONG: Duration = Duration::from_millis(1_500);
/// Before the first round.
const WARM: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;

/// Who answers: the product, by hand, by hand without row-level security, JSON made by `PostgreSQL`.
const TARGETS: [&str; 4] = ["product", "hand", "free", "json"];

/// A question, as GraphQL and as a route of the floors.
struct Case {
    name: &'static str,
    goal: Option<f64>,
    query: &'static str,
    /// Route, and the kind of object whose id comes behind it.
    route: &'static str,
    token: String,
    workspace: Uuid,
    /// Ids that connections take in turn.
    ids: Vec<Uuid>,
}

impl Case {
    fn is_written(&self) -> bool {
        self.route == "rename"
    }

    fn global(&self, id: Uuid) -> String {
        if self.is_written() { BatchId(id).global() } else { ProjectId(id).global() }
    }

    /// The text of a request to one of [`TARGETS`]; `fresh` never comes again.
    fn request(&self, target: usize, connection: usize, fresh: u64) -> String {
        let id = self.ids.get(connection % self.ids.len().max(1)).copied();
        let name = format!("Renamed {connection} {fresh:016}");
        if target == 0 {
            let variables = match id {
                Some(id) if self.is_written() => json!({ "id": self.global(id), "name": name }),
                Some(id) => json!({ "id": self.global(id) }),
                None => json!({}),
            };
            return post(&self.token, &json!({ "query": self.query, "variables": variables }));
        }
        let id = id.map(|id| format!("/{id}")).unwrap_or_default();
        let path = format!("/{}/{}/{}{id}", TARGETS[target], self.workspace, self.route);
        if self.is_written() {
            let body = json!({ "name": name }).to_string();
            let length = body.len();
            return format!(
                "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    }
}

async fn cases(postgres: &Postgres, product: &Product) -> Outcome<Vec<Case>> {
    let mut connection = PgConnection::connect(&postgres.url()).await?;
    let projects: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM projects WHERE workspace_id = $1 ORDER BY id")
        .bind(workspace(READ))
        .fetch_all(&mut connection)
        .await?;
    let batches: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM batches WHERE workspace_id = $1 ORDER BY id")
        .bind(workspace(WRITTEN))
        .fetch_all(&mut connection)
        .await?;
    let read = |name, goal, route, query, ids| -> Outcome<Case> {
        Ok(Case { name, goal, query, route, token: product.token(READ)?, workspace: workspace(READ), ids })
    };
    Ok(vec![
        read("`{__typename}`", None, "typename", "{__typename}", vec![])?,
        read(
            "list: 20 batches",
            Some(1.2),
            "list",
            "{ batches(first: 20) { nodes { id name externalRef revision lifecycle } pageInfo { hasNextPage hasPreviousPage } } }",
            vec![],
        )?,
        read(
            "nested: 10 batches x 20 projects x 5 sections",
            Some(1.2),
            "nested",
            "{ batches(first: 10) { nodes { id name projects(first: 20) { nodes { id name status sections { key wordCount } } } } } }",
            vec![],
        )?,
        read(
            "one project with five texts of 4,000 characters",
            Some(1.2),
            "texts",
            "query($id: ID!) { project(id: $id) { id name status sections { key text wordCount } } }",
            projects,
        )?,
        Case {
            name: "mutation: rename a batch, with its event",
            goal: Some(1.4),
            query: "mutation($id: ID!, $name: String!) { renameBatch(id: $id, name: $name) { batch { id name revision } userErrors { code } } }",
            route: "rename",
            token: product.token(WRITTEN)?,
            workspace: workspace(WRITTEN),
            ids: batches,
        },
    ])
}

/// Lengths of the answers of all targets, which must have the same data.
async fn compare(case: &Case, servers: [&Server; 4]) -> Outcome<[usize; 4]> {
    let (mut lengths, mut first) = ([0; 4], Value::Null);
    for (target, server) in servers.into_iter().enumerate() {
        let answer = Client::connect(server.address).await?.ask(&case.request(target, 0, 0)).await?;
        lengths[target] = answer.len();
        let text = || String::from_utf8_lossy(&answer).into_owned();
        let mut data = serde_json::from_slice::<Value>(&answer).map_err(|_| text())?["data"].take();
        if let Some(batch) = data.get_mut("renameBatch").and_then(|payload| payload.get_mut("batch")).and_then(Value::as_object_mut) {
            batch.remove("revision").ok_or_else(text)?;
        }
        if target == 0 {
            first = data;
        } else if data != first || data.is_null() {
            return Err(format!("{}: {} answers {data}, the product {first}", case.name, TARGETS[target]).into());
        }
    }
    Ok(lengths)
}

/// A case with what was measured of each target in each round.
struct Row {
    name: &'static str,
    goal: Option<f64>,
    bytes: usize,
    rounds: Vec<[Measured; 4]>,
}

impl Row {
    /// The ratio of the product to a floor, round by round.
    fn ratio(&self, floor: usize, value: impl Fn(&Measured) -> f64) -> Middle {
        Middle::of(self.rounds.iter().map(|round| value(&round[0]) / value(&round[floor])))
    }

    fn value(&self, target: usize, value: impl Fn(&Measured) -> f64) -> f64 {
        Middle::of(self.rounds.iter().map(|round| value(&round[target]))).median
    }
}

/// Measures all of it.
pub async fn run(rounds: Option<usize>) -> Outcome<Part> {
    let Some(postgres) = Postgres::start().await? else {
        return Err("reads are NOT measured: PostgreSQL is not installed (POSTGRES_BIN)".into());
    };
    let product = Product::find()?;
    seed::fill(&postgres, &product).await?;
    let url = postgres.url();
    let served = product.start("api", &[("DATABASE_URL", &url)]).await?;
    let port = free_port()?;
    let by_hand = Server::start(bound(&std::env::current_exe()?).args([FLOOR, &url, &port.to_string()]), port).await?;
    let servers = [&served, &by_hand, &by_hand, &by_hand];

    let cases = cases(&postgres, &product).await?;
    let mut rows: Vec<Row> = Vec::new();
    let mut expected = Vec::new();
    for case in &cases {
        let lengths = compare(case, servers).await?;
        for (target, server) in servers.into_iter().enumerate() {
            load(server, None, &|connection, fresh| case.request(target, connection, fresh), lengths[target], WARM).await?;
        }
        rows.push(Row { name: case.name, goal: case.goal, bytes: lengths[1], rounds: Vec::new() });
        expected.push(lengths);
    }
    for round in 0..rounds.unwrap_or(ROUNDS) {
        for ((case, lengths), row) in cases.iter().zip(&expected).zip(&mut rows) {
            let mut all = [None; 4];
            // neither is always the one that finds the caches cold
            for turn in 0..TARGETS.len() {
                let target = (turn + round) % TARGETS.len();
                let request = |connection, fresh| case.request(target, connection, fresh);
                all[target] = Some(load(servers[target], Some(&postgres), &request, lengths[target], LONG).await?);
            }
            let [Some(served), Some(hand), Some(free), Some(json)] = all else { return Err("a target was left out".into()) };
            row.rounds.push([served, hand, free, json]);
        }
    }
    describe(&rows)
}

fn describe(rows: &[Row]) -> Outcome<Part> {
    let mut text = String::from(
        "| | bytes | server, to by hand | to by hand without row security | to PostgreSQL's JSON | PostgreSQL, to by hand | both, to by hand | p99/p50, to by hand | goal (server) |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut bars = Vec::new();
    for row in rows {
        let server = row.ratio(1, |m| m.server);
        let database = row.ratio(1, |m| m.postgres);
        // without a statement there is nothing to compare
        let has_statements = row.value(1, |m| m.postgres) > 0.005;
        writeln!(
            text,
            "| {} | {} | **{}** | {} | {} | {} | {} | {} | {} |",
            row.name,
            row.bytes,
            ratio(server),
            ratio(row.ratio(2, |m| m.server)),
            ratio(row.ratio(3, |m| m.server)),
            if has_statements { ratio(database) } else { "–".into() },
            if has_statements { ratio(row.ratio(1, |m| m.server + m.postgres)) } else { "–".into() },
            ratio(row.ratio(1, |m| m.p99 / m.p50)),
            row.goal.map_or("–".into(), |goal| format!("{goal}"))
        )?;
        bars.push(Bar { label: row.name.replace('`', ""), value: server.median, goal: row.goal });
    }
    let mut plain = format!(
        "\n{:<48} {:<8} {:>8} {:>9} {:>9} {:>8} {:>8} {:>9}\n",
        "", "", "requests", "server ms", "PostgreSQL", "p50 ms", "p99 ms", "spread"
    );
    for row in rows {
        for (target, name) in TARGETS.iter().enumerate() {
            let spread = Middle::of(row.rounds.iter().map(|round| round[target].server));
            writeln!(
                plain,
                "{:<48} {:<8} {:8} {:9.3} {:10.3} {:8.2} {:8.2} {:8.0} %",
                if target == 0 { row.name } else { "" },
                name,
                row.rounds.iter().map(|round| round[target].requests).sum::<usize>(),
                spread.median,
                row.value(target, |m| m.postgres),
                row.value(target, |m| m.p50),
                row.value(target, |m| m.p99),
                (spread.most - spread.least) / spread.median * 100.0
            )?;
        }
    }
    Ok(Part { name: "reads", title: "CPU of the server for a request, by hand = 1", table: text, plain, bars })
}
