//! Processes that can be killed, a provider that counts, and one run over a small batch: what is done to them, and what
//! must be true of them in the end.

use crate::support::process::{Server, settings};
use crate::support::providers::books::{Bookkeeper, Call, Moment};
use crate::support::providers::openai::{TEXT, USAGE};
use crate::support::runs::{dense_sequences, is_end_of};
use crate::support::{Client, Mode, PATIENCE, create_database, drop_database, redis_settings, row, server_url};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// Projects of the batch, of seven sections each.
const PROJECTS: usize = 14;
/// Jobs that a process does at once.
const CALLS_AT_ONCE: usize = 3;
/// Pause of the provider before each piece of an answer.
const PAUSE: Duration = Duration::from_millis(4);
/// How often it is asked whether the run is over while a moment is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Millionths of a dollar for one answer, at the prices that are set.
const COST: i64 = 2 * USAGE.0 as i64 + 8 * USAGE.1 as i64;

/// A process that works, in its present life.
struct Worker {
    /// `serve` where there is one process, else `worker`.
    role: &'static str,
    data: PathBuf,
    life: usize,
    server: Option<Server>,
}

impl Worker {
    /// The key by which the provider knows it: another one in every life.
    fn key(&self, place: usize) -> String {
        format!("worker-{place}-life-{}", self.life)
    }
}

/// What a kill hit: who died, and what had been committed by then.
struct Kill {
    caller: String,
    committed: HashSet<String>,
}

/// What a run gave.
pub struct Ended {
    pub sections: usize,
    pub calls: usize,
    pub hit: usize,
    pub hit_when_answered: usize,
    pub lost: usize,
}

/// Everything that a run needs.
pub struct World {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
    database: Option<String>,
    books: Bookkeeper,
    /// Answers where the workers do not.
    api: Option<Server>,
    workers: Vec<Worker>,
    kills: Vec<Kill>,
    /// What those who were killed had logged.
    logs: Vec<String>,
    batch: String,
    run: String,
    beginning: Value,
}

impl World {
    /// Starts all processes and a run: one that does everything on `SQLite`, one that answers and two that work on
    /// `PostgreSQL`.
    pub async fn start(mode: Mode) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let books = Bookkeeper::start(TEXT, PAUSE).await;
        let models = folder.path().join("models.json");
        let list = json!([{ "model": "stub-1", "inputPricePerMillion": "2.00", "outputPricePerMillion": "8.00", "contextTokens": 64_000 }]);
        std::fs::write(&models, list.to_string()).expect("written");
        let mut settings = settings(&[
            ("AI_PROVIDER", "openai"),
            ("AI_BASE_URL", &format!("{}/v1", books.stub.url)),
            ("AI_MODELS_FILE", models.to_str().expect("a path")),
            ("WORKER_CONCURRENCY", &CALLS_AT_ONCE.to_string()),
            ("SHUTDOWN_GRACE", "5"),
            // a live process must not be taken for a dead one on a busy machine: its sections would be asked for twice
            ("JOB_BEAT_MS", "500"),
            ("JOB_DEAD_AFTER_MS", "20000"),
        ]);
        let database = if mode == Mode::ScaledOut { Some(create_database().await) } else { None };
        settings.extend(database.iter().map(|name| ("DATABASE_URL".to_owned(), server_url(name))));
        settings.extend(database.iter().flat_map(|name| redis_settings(name)));
        let worker = |role, name: &str| Worker { role, data: folder.path().join(name), life: 0, server: None };
        let workers = match mode {
            Mode::Embedded => vec![worker("serve", "data")],
            Mode::ScaledOut => vec![worker("worker", "one"), worker("worker", "two")],
        };
        let mut world = Self {
            folder,
            settings,
            database,
            books,
            api: None,
            workers,
            kills: Vec::new(),
            logs: Vec::new(),
            batch: String::new(),
            run: String::new(),
            beginning: Value::Null,
        };
        if mode == Mode::ScaledOut {
            let with_key = [&world.settings[..], &[("AI_API_KEY".to_owned(), "api".to_owned())]].concat();
            world.api = Some(Server::start_as("api", &world.folder.path().join("api"), &with_key).await);
        }
        for place in 0..world.workers.len() {
            world.revive(place).await;
        }
        let adviser = world.adviser();
        world.batch = adviser.create_batch("Drafted in chaos").await;
        for number in 1..=PROJECTS {
            // not imported: there is no store that all processes share
            adviser.create_project(&world.batch, row(number)).await;
        }
        world.beginning = adviser.batch_now(&world.batch).await["eventCursor"].clone();
        world.run = adviser.start(&world.batch).await;
        world
    }

    fn adviser(&self) -> Client {
        let answers = self.api.as_ref().or(self.workers[0].server.as_ref());
        answers.expect("a process that answers").adviser()
    }

    /// Starts a worker in a new life.
    async fn revive(&mut self, place: usize) {
        let worker = &mut self.workers[place];
        worker.life += 1;
        let more = [&self.settings[..], &[("AI_API_KEY".to_owned(), worker.key(place))]].concat();
        worker.server = Some(Server::start_as(worker.role, &worker.data, &more).await);
    }

    /// Waits for a moment to come for the n-th time; gives who was calling, or none if the run was over before.
    pub async fn comes(&self, moment: Moment, n: usize) -> Option<String> {
        let mut trap = self.books.trap(moment, n);
        let came = async {
            loop {
                match timeout(LOOK_AGAIN, &mut trap).await {
                    Ok(caller) => return Some(caller.expect("the trap is armed")),
                    Err(_) if self.sections("(0, 1, 2)").await == 0 => return None,
                    Err(_) => {}
                }
            }
        };
        let came = timeout(PATIENCE, came).await;
        came.unwrap_or_else(|_| panic!("{moment:?} did not come {n} times, and the run does not go on"))
    }

    /// Kills whoever calls by this key and starts it again on the same data.
    pub async fn kill(&mut self, caller: &str) {
        let place = (0..self.workers.len()).find(|place| self.workers[*place].key(*place) == caller).expect("somebody who lives");
        let server = self.workers[place].server.take().expect("it lives");
        self.logs.push(server.log());
        server.kill().await;
        let committed = self.texts("SELECT prompt_hash FROM attempts WHERE status = 'SUCCEEDED'").await.into_iter().collect();
        self.kills.push(Kill { caller: caller.to_owned(), committed });
        self.revive(place).await;
    }

    /// Sections that will be asked for from now on without anybody's claim having to run out first.
    pub async fn sections_to_come(&self) -> usize {
        self.sections(if self.database.is_some() { "(0)" } else { "(0, 2)" }).await
    }

    /// Sections whose job is in one of these states.
    async fn sections(&self, states: &str) -> usize {
        self.texts(&format!("SELECT kind FROM job_queue WHERE kind = 'draft_section' AND state IN {states}")).await.len()
    }

    /// Texts from the database, asked beside the product, for what its API would only tell later.
    async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        if let Some(name) = &self.database {
            let mut connection = PgConnection::connect(&server_url(name)).await.expect("PostgreSQL answers");
            return sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("rows");
        }
        let path = self.folder.path().join("data/claimwright.db");
        let mut connection = SqliteConnection::connect(path.to_str().expect("a path")).await.expect("the file opens");
        sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("rows")
    }

    /// Waits for the end of the run, asserts all that must be true then, and stops everything.
    pub async fn ends(mut self) -> Ended {
        let adviser = self.adviser();
        assert_eq!(adviser.follow_run(&self.batch, &self.run).await, "SUCCEEDED");
        let sections = adviser.has_each_section_once(&self.batch, PROJECTS).await;
        let lost = adviser.has_a_run_that_adds_up(&self.run, PROJECTS, sections).await;
        let events = adviser.events_until(&self.batch, &self.beginning, is_end_of(&self.run)).await;
        dense_sequences(&events);
        assert_eq!(events.iter().filter(|event| event["__typename"] == "ProjectScored").count(), PROJECTS);
        self.has_spent_what_its_attempts_took(&adviser, sections).await;
        let ended = self.has_asked_again_only_for_what_was_hit(sections, lost).await;
        for server in self.workers.iter_mut().filter_map(|worker| worker.server.take()).chain(self.api.take()) {
            assert!(server.terminate().await.success());
        }
        if let Some(name) = &self.database {
            drop_database(name).await;
        }
        ended
    }

    async fn has_spent_what_its_attempts_took(&self, adviser: &Client, sections: usize) {
        let dollars = |value: &Value| value["amount"].as_str().expect("an amount").parse::<Decimal>().expect("a decimal");
        let written = adviser.attempts(&self.run, "SUCCEEDED").await;
        let of_each: HashSet<&str> = written.iter().map(|attempt| attempt["promptHash"].as_str().expect("a hash")).collect();
        assert_eq!((written.len(), of_each.len()), (sections, sections), "one attempt succeeded for each section");
        let sum: Decimal = written.iter().map(|attempt| dollars(&attempt["cost"])).sum();
        assert_eq!(sum, Decimal::new(COST * i64::try_from(sections).expect("few"), 6));
        assert_eq!(dollars(&adviser.run_of(&self.run).await["cost"]), sum);
        let paid =
            "SELECT prompt_hash FROM attempts WHERE status <> 'SUCCEEDED' AND (spend_micros IS NOT NULL OR input_tokens IS NOT NULL)";
        assert!(self.texts(paid).await.is_empty(), "what was lost was not counted by the provider");
    }

    /// The law: a section is asked for once, and once more for each kill at which it was in flight, from the request to
    /// the commit.
    async fn has_asked_again_only_for_what_was_hit(&self, sections: usize, lost: usize) -> Ended {
        let calls = self.books.calls();
        let mut hits: HashMap<&str, usize> = HashMap::new();
        let (mut hit, mut hit_when_answered) = (0, 0);
        for kill in &self.kills {
            let open: Vec<&Call> =
                calls.iter().filter(|call| call.caller == kill.caller && !kill.committed.contains(&call.prompt)).collect();
            assert!(open.len() <= CALLS_AT_ONCE, "{} calls of one process were in flight", open.len());
            hit += open.len();
            hit_when_answered += open.iter().filter(|call| call.answered).count();
            for call in open {
                *hits.entry(&call.prompt).or_default() += 1;
            }
        }
        let mut asked: HashMap<&str, usize> = HashMap::new();
        for call in &calls {
            *asked.entry(&call.prompt).or_default() += 1;
        }
        assert_eq!(asked.len(), sections, "every section was asked for");
        for (prompt, asked) in asked {
            let allowed = 1 + hits.get(prompt).copied().unwrap_or_default();
            let logs =
                || [self.logs.clone(), self.workers.iter().filter_map(|worker| Some(worker.server.as_ref()?.log())).collect()].concat();
            assert!(
                asked <= allowed,
                "asked {asked} times for a section that was in flight at {} kills:\n{}",
                allowed - 1,
                logs().join("\n")
            );
        }
        Ended { sections, calls: calls.len(), hit, hit_when_answered, lost }
    }
}
