//! Several processes over `PostgreSQL`, Redis and S3 that are the test's own: two that answer and two that work. They see
//! each other's progress; they lose nothing when one of them, Redis or `PostgreSQL` dies; and they are replaced one by one
//! under load without anybody noticing more than a connection that ends.

use crate::support::calls::{done, text};
use crate::support::drafts::Page;
use crate::support::followers::Follower;
use crate::support::moto::Moto;
use crate::support::process::{Server, settings};
use crate::support::runs::{dense_sequences, is_end_of};
use crate::support::servers::{OwnPostgres, OwnRedis, free_port};
use crate::support::{Client, PATIENCE};
use futures::future::{join, join_all};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const BUCKET: &str = "claims";
/// Jobs that each worker process does at once.
const CALLS_AT_ONCE: usize = 3;
/// Projects of a run.
const DRAFTED: usize = 12;
/// Events that are seen between two blows.
const BETWEEN_BLOWS: usize = 4;
/// What requests and jobs in flight have to end, in seconds.
const GRACE: u64 = 5;
/// How long a client waits before it tries another server.
const BACK_OFF: Duration = Duration::from_millis(20);

/// All processes, before the servers that they need: they end in this order.
struct Fleet {
    apis: Vec<Server>,
    workers: Vec<Server>,
    postgres: OwnPostgres,
    redis: OwnRedis,
    _moto: Moto,
    settings: Vec<(String, String)>,
    ports: Vec<u16>,
    data: PathBuf,
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// Starts two of each on empty servers; none if the programs for these are not there.
    async fn start(delay: &str) -> Option<Self> {
        let ((postgres, redis), moto) = join(join(OwnPostgres::start(), OwnRedis::start()), Moto::start()).await;
        let (postgres, redis, moto) = (postgres?, redis?, moto?);
        moto.create_bucket(BUCKET).await;
        let folder = tempfile::tempdir().expect("a folder");
        // nothing is kept there but the key of the local issuer, which all of them need
        let data = folder.path().join("data");
        let settings = settings(&[
            ("DATABASE_URL", &postgres.url()),
            ("REDIS_URL", &redis.url()),
            ("S3_BUCKET", BUCKET),
            ("S3_ENDPOINT_URL", moto.url()),
            ("AWS_REGION", "eu-west-2"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("JOB_BEAT_MS", "200"),
            ("JOB_DEAD_AFTER_MS", "1500"),
            ("OFFLINE_DELAY_MS", delay),
            ("WORKER_CONCURRENCY", &CALLS_AT_ONCE.to_string()),
            ("SHUTDOWN_GRACE", &GRACE.to_string()),
        ]);
        let ports = vec![free_port(), free_port()];
        let mut fleet =
            Self { apis: Vec::new(), workers: Vec::new(), postgres, redis, _moto: moto, settings, ports, data, _folder: folder };
        let (apis, workers) =
            join(join_all([fleet.start_api(0), fleet.start_api(1)]), join_all([fleet.start_worker(), fleet.start_worker()])).await;
        (fleet.apis, fleet.workers) = (apis, workers);
        Some(fleet)
    }

    /// Starts the API that has this place among them; it is always found at the same port.
    async fn start_api(&self, place: usize) -> Server {
        let more = [&self.settings[..], &[("PORT".to_owned(), self.ports[place].to_string())]].concat();
        Server::start_as("api", &self.data, &more).await
    }

    async fn start_worker(&self) -> Server {
        Server::start_as("worker", &self.data, &self.settings).await
    }

    /// The same person at one of the APIs.
    fn adviser(&self, place: usize) -> Client {
        self.apis[place].adviser()
    }

    /// The same person at both of them, this one first.
    fn both(&self, first: usize) -> Vec<Client> {
        vec![self.adviser(first), self.adviser(1 - first)]
    }

    /// Two at each API.
    async fn followers(&self, batch: &str) -> Vec<Follower> {
        join_all([0, 1, 0, 1].map(|first| Follower::start(self.both(first), batch))).await
    }

    /// Waits until Redis has a channel of a batch that two processes are subscribed to; gives its name.
    async fn channel_that_both_hear(&self) -> String {
        let heard = async {
            loop {
                let channels: Vec<String> = self.redis.ask(&["PUBSUB", "CHANNELS", "*batch*"]).await.expect("channels");
                for channel in channels {
                    let (_, subscribers): (String, usize) = self.redis.ask(&["PUBSUB", "NUMSUB", &channel]).await.expect("a number");
                    if subscribers == 2 {
                        return channel;
                    }
                }
                sleep(BACK_OFF).await;
            }
        };
        timeout(PATIENCE, heard).await.expect("both APIs are subscribed")
    }

    /// Messages that were published so far.
    async fn published(&self) -> u64 {
        let statistics: String = self.redis.ask(&["INFO", "commandstats"]).await.expect("statistics");
        let calls = statistics.split("cmdstat_publish:calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// Replaces one worker after the other.
    async fn roll_workers(&mut self) {
        for _ in 0..2 {
            drain(self.workers.remove(0)).await;
            let fresh = self.start_worker().await;
            self.workers.push(fresh);
        }
    }

    /// Replaces one API after the other.
    async fn roll_apis(&mut self) {
        for place in 0..2 {
            drain(self.apis.remove(place)).await;
            let fresh = self.start_api(place).await;
            self.apis.insert(place, fresh);
        }
    }

    async fn rest(self) {
        for server in self.apis.into_iter().chain(self.workers) {
            drain(server).await;
        }
    }
}

/// SIGTERM: the process ends by itself within its grace period, and says of nothing that it had to be cut.
async fn drain(server: Server) {
    let begun = Instant::now();
    let (ended, log) = server.drain().await;
    assert_eq!(ended.code(), Some(0), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(GRACE + 3), "it took {:?}", begun.elapsed());
    assert!(!log.contains("grace period"), "{log}");
}

/// All have seen the same, without a gap or a repetition; sockets ended only in ways after which clients come back.
fn assert_seen_once_and_in_order(all: &[Vec<Value>], followers: &[Follower]) {
    for events in all {
        dense_sequences(events);
        assert!(events.iter().all(|event| event["__typename"] != "StreamLagged" && event["__typename"] != "BatchSnapshot"));
        assert_eq!(events[0]["sequence"], all[0][0]["sequence"]);
    }
    let shortest = all.iter().map(Vec::len).min().expect("followers");
    for events in all {
        assert_eq!(events[..shortest], all[0][..shortest], "two followers saw different things");
    }
    for end in followers.iter().flat_map(Follower::ends) {
        let is_temporary =
            ["no greeting", "closed without a word", "closed 1012", "closed 1013", "ended \"SHUTTING_DOWN\""].contains(&end.as_str());
        assert!(is_temporary || end.contains("UNAVAILABLE"), "a client would not have come back: {end}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_made_anywhere_is_seen_everywhere() {
    let Some(fleet) = Fleet::start("20").await else { return };
    let (one, two) = (fleet.adviser(0), fleet.adviser(1));
    let (batch, _) = two.batch_of("Started at the other", 3).await;
    let mut followers = fleet.followers(&batch).await;
    let channel = fleet.channel_that_both_hear().await;
    let before = fleet.published().await;
    let run = two.start(&batch).await;
    let mut all = Vec::new();
    for follower in &mut followers {
        all.push(follower.until(is_end_of(&run)).await);
    }
    assert_seen_once_and_in_order(&all, &followers);
    assert!(fleet.published().await > before, "nothing went over {channel}");
    let connections = fleet.redis.ask::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]).await.expect("a list");
    assert_eq!(connections.lines().count(), 4, "one subscribed connection for each process, whatever the number of sockets: {connections}");
    assert!(followers.iter().all(|follower| follower.ends().is_empty()), "a socket ended for no reason");
    let sections = one.has_each_section_once(&batch, 3).await;
    assert_eq!(one.has_a_run_that_adds_up(&run, 3, sections).await, 0);

    let export = one.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false })).await;
    let (status, bytes) = two.download(&text(&export["downloadUrl"])).await;
    assert_eq!((status, Some(bytes.len() as u64)), (200, export["bytes"].as_u64()), "a file that a worker stored is read from S3");
    fleet.rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_a_worker_redis_and_postgresql() {
    let Some(mut fleet) = Fleet::start("400").await else { return };
    let adviser = fleet.adviser(0);
    let (batch, _) = adviser.batch_of("Drafted under fire", DRAFTED).await;
    let mut followers = fleet.followers(&batch).await;
    let run = fleet.adviser(1).start(&batch).await;

    followers[0].has_seen(BETWEEN_BLOWS).await;
    both_workers_write(&adviser, &run).await;
    fleet.workers.remove(0).kill().await;
    let seen = followers[1].count();
    followers[1].has_seen(seen + BETWEEN_BLOWS).await;
    fleet.redis.kill().await;
    let seen = followers[0].count();
    followers[0].has_seen(seen + BETWEEN_BLOWS).await;
    fleet.redis.come_back().await;
    let seen = followers[1].count();
    followers[1].has_seen(seen + BETWEEN_BLOWS).await;
    fleet.postgres.restart_immediate().await;
    let now = adviser.run_of(&run).await;
    assert_eq!(now["status"], "RUNNING", "the blows came too late to say anything");

    let mut all = Vec::new();
    for follower in &mut followers {
        all.push(follower.until(is_end_of(&run)).await);
    }
    assert_seen_once_and_in_order(&all, &followers);
    let is = |kind: &'static str| move |event: &&Value| event["__typename"] == kind;
    assert_eq!(all[0].iter().filter(is("ProjectScored")).count(), DRAFTED);
    assert_eq!(all[0].iter().filter(|event| is_end_of(&run)(event)).count(), 1);
    let sections = adviser.has_each_section_once(&batch, DRAFTED).await;
    let lost = adviser.has_a_run_that_adds_up(&run, DRAFTED, sections).await;
    // the worker's, and what could not be stored while PostgreSQL was away
    assert!((1..=3 * CALLS_AT_ONCE).contains(&lost), "{lost} sections were written again");
    fleet.rest().await;
}

/// Waits until more is being written than one worker can have in hand, so that whichever is killed loses something.
async fn both_workers_write(client: &Client, run: &str) {
    let busy = async {
        while client.attempts(run, "RUNNING").await.len() <= CALLS_AT_ONCE {
            sleep(BACK_OFF).await;
        }
    };
    timeout(PATIENCE, busy).await.expect("both workers have work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_a_text_sees_it_begin_anew_when_its_worker_is_killed() {
    let Some(mut fleet) = Fleet::start("3000").await else { return };
    let adviser = fleet.adviser(0);
    let (batch, projects) = adviser.batch_of("Watched", 1).await;
    let (mut early, mut late) = (adviser.socket().await, fleet.adviser(1).socket().await);
    let (mut page, snapshot) = Page::open(&mut early, &projects[0], &Value::Null).await;
    let sections = snapshot["sections"].as_array().expect("sections").len();
    let run = fleet.adviser(1).start(&batch).await;
    both_workers_write(&adviser, &run).await;
    while page.pieces.len() <= CALLS_AT_ONCE {
        page.next().await;
    }
    // another API, which has heard nothing so far
    let (mut other, snapshot) = Page::open(&mut late, &projects[0], &Value::Null).await;
    let begun = snapshot["sections"].as_array().expect("sections").iter().filter(|section| section["text"] != "").count();
    assert!(begun > CALLS_AT_ONCE, "both workers said what they have written so far: {snapshot}");
    fleet.workers.remove(0).kill().await;
    for page in [&mut page, &mut other] {
        let (mut finished, mut lost) = (0, 0);
        while finished < sections {
            let event = page.next().await;
            finished += usize::from(event["__typename"] == "DraftSectionFinished");
            if event["__typename"] == "DraftFailed" {
                assert_eq!((&event["failure"]["code"], &event["willRetry"]), (&json!("WORKER_LOST"), &json!(true)), "{event}");
                lost += 1;
            }
        }
        assert!((1..=CALLS_AT_ONCE).contains(&lost), "{lost} sections were begun anew");
        let stored = adviser.narrative(&projects[0]).await;
        for section in stored["sections"].as_array().expect("sections") {
            assert_eq!(page.texts[section["key"].as_str().expect("a key")], section["text"].as_str().expect("a text"));
        }
    }
    assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");
    drop((early, late));
    fleet.rest().await;
}

/// Somebody who adds one project after the other, at whichever API answers, and insists until each is accepted.
struct Adder {
    name: usize,
    batch: String,
    servers: Vec<Client>,
    ends: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Adder {
    /// Adds until it is told to end; gives the id that was answered for each reference.
    async fn run(self) -> BTreeMap<String, String> {
        let query = "mutation($input: CreateProjectInput!) { createProject(input: $input) { project { id } userErrors { code message } } }";
        let (mut all, mut turn) = (BTreeMap::new(), self.name);
        while !self.ends.load(Ordering::SeqCst) {
            let reference = format!("P-{}-{}", self.name, all.len());
            let input = json!({ "batchId": self.batch, "name": reference, "externalRef": reference, "idempotencyKey": reference });
            let insists = async {
                loop {
                    turn += 1;
                    if let Some(data) = attempt(&self.servers[turn % 2], query, &json!({ "input": input })).await {
                        return data;
                    }
                    sleep(BACK_OFF).await;
                }
            };
            let data = timeout(PATIENCE, insists).await.expect("one of the servers accepts it");
            all.insert(reference, text(&done(&data["createProject"])["project"]["id"]));
            self.accepted.fetch_add(1, Ordering::SeqCst);
        }
        all
    }
}

/// Sends a request; nothing if nobody answered or the answer is to try again. Anything else that is wrong fails the test.
async fn attempt(server: &Client, query: &str, variables: &Value) -> Option<Value> {
    let (status, body) = server.try_send(query, variables.clone()).await?;
    let Some(error) = body["errors"].get(0) else { return Some(body["data"].clone()) };
    assert_eq!(error["extensions"]["code"], "UNAVAILABLE", "{status} {body}");
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_processes_are_replaced_under_load_and_nothing_that_was_accepted_is_lost() {
    let Some(mut fleet) = Fleet::start("400").await else { return };
    let adviser = fleet.adviser(0);
    let (drafted, _) = adviser.batch_of("Drafted meanwhile", DRAFTED).await;
    let filled = adviser.create_batch("Filled meanwhile").await;
    let (mut of_run, mut of_filling) = (fleet.followers(&drafted).await, fleet.followers(&filled).await);
    let run = adviser.start(&drafted).await;
    let (ends, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let adders: Vec<_> = (0..4)
        .map(|name| {
            let (ends, accepted) = (Arc::clone(&ends), Arc::clone(&accepted));
            tokio::spawn(Adder { name, batch: filled.clone(), servers: fleet.both(0), ends, accepted }.run())
        })
        .collect();

    of_run[0].has_seen(BETWEEN_BLOWS).await;
    fleet.roll_workers().await;
    assert_eq!(adviser.run_of(&run).await["status"], "RUNNING", "the workers were replaced too late to say anything");
    fleet.roll_apis().await;
    // the new ones are under the same load for a while
    let enough = of_filling[0].count() + 20;
    of_filling[0].has_seen(enough).await;
    ends.store(true, Ordering::SeqCst);
    let mut promised = BTreeMap::new();
    for added in join_all(adders).await {
        promised.extend(added.expect("it added all"));
    }
    assert_eq!(promised.len(), accepted.load(Ordering::SeqCst));

    let adviser = fleet.adviser(1);
    let stored: BTreeSet<String> = adviser.project_ids(&filled).await.into_iter().collect();
    assert_eq!(stored, promised.values().cloned().collect(), "what was accepted is there, once");
    let end = adviser.batch_now(&filled).await["eventCursor"].clone();
    let mut all = Vec::new();
    for follower in &mut of_filling {
        all.push(follower.until(|event| event["cursor"] == end).await);
    }
    assert_seen_once_and_in_order(&all, &of_filling);
    let told = all[0].iter().flat_map(|event| event["projectIds"].as_array().into_iter().flatten()).map(text);
    assert_eq!(told.collect::<BTreeSet<_>>(), stored, "everybody was told of everything");

    let mut all = Vec::new();
    for follower in &mut of_run {
        all.push(follower.until(is_end_of(&run)).await);
    }
    assert_seen_once_and_in_order(&all, &of_run);
    let sections = adviser.has_each_section_once(&drafted, DRAFTED).await;
    assert_eq!(adviser.has_a_run_that_adds_up(&run, DRAFTED, sections).await, 0, "a worker that drains ends what it has in hand");
    fleet.rest().await;
}
