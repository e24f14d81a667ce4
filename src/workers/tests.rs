//! The worker loop against a real database: what is queued is done once, cancelled calls are aborted, and a process
//! that ends gives back what it holds.

use super::*;
use crate::adapters::ai::offline::Offline;
use crate::adapters::ai::{DraftFailure, DraftRequest, DraftStream, Drafter, Profile};
use crate::adapters::cache::local::LocalCache;
use crate::adapters::events::local::LocalBus;
use crate::adapters::events::{Bell, Listener};
use crate::adapters::storage::{ObjectEntry, ObjectInfo, ObjectStore, PresignedPut};
use crate::domain::actor::{Actor, Principal};
use crate::domain::batches::NewBatch;
use crate::domain::drafts::TextPiece;
use crate::domain::events::BatchEvent;
use crate::domain::generations::{EditedSectionPolicy, GenerationScope, NewRun, Run};
use crate::domain::ids::BatchId;
use crate::domain::jobs::JobStatus;
use crate::domain::money::Spend;
use crate::domain::paging::PageArgs;
use crate::domain::projects::ProjectDraft;
use crate::on;
use crate::repositories::db::{Db, Scope};
use crate::services::core::{Clock, Core, IdSource, Parts};
use crate::services::drafts::DraftNews;
use crate::services::drafts::desk::Desk;
use bytes::Bytes;
use chrono::Utc;
use futures::StreamExt;
use tokio::sync::Notify;

/// A store that nothing asks for.
struct NoStore;

#[async_trait::async_trait]
impl ObjectStore for NoStore {
    async fn put(&self, _: &str, _: Bytes, _: &str, _: Option<&str>) -> Result<()> {
        Err(Error::internal("not in this test"))
    }

    async fn get(&self, _: &str) -> Result<Bytes> {
        Err(Error::internal("not in this test"))
    }

    async fn delete(&self, _: &str) -> Result<()> {
        Err(Error::internal("not in this test"))
    }

    async fn reach(&self) -> Result<()> {
        Err(Error::internal("not in this test"))
    }

    async fn head(&self, _: &str) -> Result<Option<ObjectInfo>> {
        Err(Error::internal("not in this test"))
    }

    async fn list(&self, _: &str) -> Result<Vec<ObjectEntry>> {
        Err(Error::internal("not in this test"))
    }

    async fn presign_put(&self, _: &str, _: &str, _: i64, _: Option<&str>, _: Duration) -> Result<PresignedPut> {
        Err(Error::internal("not in this test"))
    }

    async fn presign_get(&self, _: &str, _: &str, _: Duration) -> Result<String> {
        Err(Error::internal("not in this test"))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Hangs,
    Panics,
}

/// A provider that never answers: its calls begin, and end only when they are dropped.
struct Stubborn {
    manner: Manner,
    begun: Arc<Notify>,
    dropped: Arc<Notify>,
}

struct RingsWhenDropped(Arc<Notify>);

impl Drop for RingsWhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait::async_trait]
impl Drafter for Stubborn {
    fn profile(&self) -> Profile {
        Profile { provider: "stubborn", provenance: None, ..Offline::default().profile() }
    }

    async fn draft(&self, _: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let _call = RingsWhenDropped(Arc::clone(&self.dropped));
        self.begun.notify_one();
        assert!(self.manner == Manner::Hangs, "as this test wants it");
        std::future::pending().await
    }
}

struct World {
    _folder: tempfile::TempDir,
    core: Core,
    services: Services,
    actor: Actor,
    batch: BatchId,
    bells: Box<dyn Listener>,
}

#[expect(clippy::disallowed_methods, reason = "these tests run in real time")]
fn real_time() -> (Clock, IdSource) {
    (Arc::new(Utc::now), Arc::new(Uuid::now_v7))
}

async fn world(drafter: Arc<dyn Drafter>, projects: usize) -> World {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open_file(&folder.path().join("test.db")).await.unwrap();
    let (clock, ids) = real_time();
    let bus = Arc::new(LocalBus::default());
    let core = Core::from(Parts {
        db,
        desk: Arc::new(Desk::new(Arc::clone(&bus) as _)),
        bus,
        store: Arc::new(NoStore),
        cache: Arc::new(LocalCache::new(1 << 20)),
        registered: None,
        limits: None,
        drafters: vec![drafter],
        redraft: true,
        clock,
        ids,
        wake: Arc::default(),
        shutdown: CancellationToken::new(),
    });
    let services = Services::new(&core);
    let expires_at = core.now() + chrono::Duration::hours(1);
    let principal = Principal { issuer: "test".into(), subject: "one".into(), email: None, name: None, workspace: None, expires_at };
    let actor = services.people.actor_for(&principal).await.unwrap();
    let batch = services.batches.create(&actor, NewBatch { name: "Claims".into(), ..NewBatch::default() }, None).await.unwrap().id;
    for number in 0..projects {
        let draft = ProjectDraft { name: format!("Project {number}"), ..ProjectDraft::default() };
        services.projects.create(&actor, batch, None, draft, None).await.unwrap();
    }
    let bells = core.bus.subscribe(Topic::Batch(batch)).await;
    World { _folder: folder, core, services, actor, batch, bells }
}

/// A provider whose tokens cost a millionth of a dollar each.
struct Priced(Arc<dyn Drafter>);

#[async_trait::async_trait]
impl Drafter for Priced {
    fn profile(&self) -> Profile {
        let mut profile = Profile { provider: "priced", ..Offline::default().profile() };
        for model in &mut profile.models {
            (model.input_price_per_million, model.output_price_per_million) = (Spend(1_000_000), Spend(1_000_000));
        }
        profile
    }

    async fn draft(&self, request: DraftRequest) -> Result<DraftStream, DraftFailure> {
        self.0.draft(request).await
    }
}

impl World {
    async fn start_run(&self) -> Run {
        self.start_within(None).await
    }

    async fn start_within(&self, cap: Option<Spend>) -> Run {
        let new = NewRun {
            batch: self.batch,
            scope: GenerationScope::Missing,
            projects: Vec::new(),
            template: None,
            provider: None,
            model: None,
            edited_sections: EditedSectionPolicy::Keep,
            instructions: None,
            cap,
            allow_pause: true,
        };
        self.services.generations.start(&self.actor, new, None).await.unwrap()
    }

    fn workers(&self, grace: Duration) -> Workers {
        self.some_workers(3, grace)
    }

    fn some_workers(&self, concurrency: usize, grace: Duration) -> Workers {
        let settings = WorkerSettings { concurrency, beat: Duration::from_millis(50), dead_after: Duration::from_secs(20), grace };
        Workers::new(self.core.clone(), self.services.clone(), settings)
    }

    /// The status in which a run ends, or pauses.
    async fn end_of_run(&mut self) -> JobStatus {
        loop {
            let bell = timeout(Duration::from_mins(1), self.bells.next()).await.expect("the run ends").expect("the bus is open");
            if let Bell::Event(event) = bell
                && let BatchEvent::RunStatusChanged { status, .. } = event.event
                && (status.is_final() || status == JobStatus::PausedBudget)
            {
                return status;
            }
        }
    }

    /// States of all jobs, with the number of those in each.
    async fn jobs(&self) -> Vec<(i64, i64)> {
        let mut tx = self.core.db.read(Scope::Everything).await.unwrap();
        on!(tx, c => sqlx::query_as("SELECT CAST(state AS BIGINT), count(*) FROM job_queue GROUP BY state ORDER BY state")
            .fetch_all(c).await.unwrap())
    }
}

fn stubborn(manner: Manner) -> (Arc<dyn Drafter>, Arc<Notify>, Arc<Notify>) {
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    (Arc::new(Stubborn { manner, begun: Arc::clone(&begun), dropped: Arc::clone(&dropped) }), begun, dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_written_to_its_end_and_leaves_no_job() {
    let mut world = world(Arc::new(Offline::default()), 4).await;
    let run = world.start_run().await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_secs(20)).run(stop.clone()));
    assert_eq!(world.end_of_run().await, JobStatus::Succeeded);
    stop.cancel();
    working.await.unwrap().unwrap();
    let run = world.services.generations.find(&world.actor, run.id).await.unwrap().unwrap();
    assert_eq!(run.counts.succeeded, 4);
    assert_eq!(world.jobs().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_dead_worker_left_reserved_does_not_stop_a_capped_run_for_ever() {
    let (hanging, begun, _) = stubborn(Manner::Hangs);
    let mut world = world(Arc::new(Priced(hanging)), 1).await;
    let run = world.start_within(Some(Spend(1_000_000_000))).await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.some_workers(1, Duration::ZERO).run(stop.clone()));
    timeout(Duration::from_secs(20), begun.notified()).await.unwrap();
    stop.cancel();
    working.await.unwrap().unwrap();
    let reserved = world.services.generations.find(&world.actor, run.id).await.unwrap().unwrap().reserved;
    assert!(reserved.0 > 0, "the call is still reserved for");
    // there is no room beside it, and the others have their turn first
    let mut tx = world.core.db.begin(Scope::Everything).await.unwrap();
    on!(tx, c => sqlx::query("UPDATE runs SET cap_micros = $1").bind(reserved.0 * 6 / 5).execute(c).await.map(drop).unwrap());
    on!(tx, c => sqlx::query("UPDATE job_queue SET turn = turn + 1000 WHERE attempt > 0").execute(c).await.map(drop).unwrap());
    tx.commit().await.unwrap();

    world.core = Core::from(Parts { drafters: vec![Arc::new(Priced(Arc::new(Offline::default())))], ..(*world.core).clone() });
    world.services = Services::new(&world.core);
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_secs(20)).run(stop.clone()));
    assert_eq!(world.end_of_run().await, JobStatus::PausedBudget);
    let paused = world.services.generations.find(&world.actor, run.id).await.unwrap().unwrap();
    assert!(paused.reserved.0 == 0 && paused.spend.0 > 0 && paused.spend <= paused.cap.unwrap(), "{paused:?}");
    world.services.generations.resume(&world.actor, run.id, Some(Spend(1_000_000_000))).await.unwrap();
    assert_eq!(world.end_of_run().await, JobStatus::Succeeded);
    stop.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.jobs().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_run_aborts_its_calls_at_once() {
    let (drafter, begun, dropped) = stubborn(Manner::Hangs);
    let mut world = world(drafter, 2).await;
    let run = world.start_run().await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_secs(20)).run(stop.clone()));
    begun.notified().await;
    world.services.generations.cancel(&world.actor, run.id).await.unwrap();
    dropped.notified().await;
    assert_eq!(world.end_of_run().await, JobStatus::Cancelled);
    assert_eq!(world.jobs().await, []);
    stop.cancel();
    working.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_within_the_grace_period_is_given_back() {
    let (drafter, begun, dropped) = stubborn(Manner::Hangs);
    let world = world(drafter, 1).await;
    let run = world.start_run().await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_millis(20)).run(stop.clone()));
    begun.notified().await;
    stop.cancel();
    working.await.unwrap().unwrap();
    dropped.notified().await;
    assert_eq!(world.jobs().await, [(0, i64::from(run.sections_total))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_taken_away_is_dropped_without_a_trace() {
    let (drafter, begun, dropped) = stubborn(Manner::Hangs);
    let world = world(drafter, 1).await;
    let run = world.start_run().await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_secs(20)).run(stop.clone()));
    begun.notified().await;
    let mut tx = world.core.db.begin(Scope::Everything).await.unwrap();
    jobs::delete_of_runs_in(&mut tx, &[run.id]).await.unwrap();
    tx.commit().await.unwrap();
    dropped.notified().await;
    stop.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.jobs().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_sections_panic_ends_as_failed() {
    let (drafter, _begun, _dropped) = stubborn(Manner::Panics);
    let mut world = world(drafter, 1).await;
    world.start_run().await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_secs(20)).run(stop.clone()));
    assert_eq!(world.end_of_run().await, JobStatus::Failed);
    stop.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.jobs().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_lost_process_are_done_by_another() {
    let mut world = world(Arc::new(Offline::default()), 1).await;
    world.start_run().await;
    // claimed by a process that never says that it lives
    let lost = jobs::claim(&world.core.db, LANE, world.core.new_id(), 2).await.unwrap();
    assert_eq!(lost.len(), 2);
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_secs(20)).run(stop.clone()));
    assert_eq!(world.end_of_run().await, JobStatus::Succeeded);
    stop.cancel();
    working.await.unwrap().unwrap();
}

#[test]
fn waits_double_up_to_a_minute() {
    let waits: Vec<u64> = [0, 1, 2, 3, 6, 7, 8, i32::MAX].into_iter().map(|attempt| wait_before(attempt).as_secs()).collect();
    assert_eq!(waits, [1, 1, 2, 4, 32, 60, 60, 60]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_a_text_and_does_not_read_is_told_so_and_starts_afresh() {
    let (drafter, begun, _dropped) = stubborn(Manner::Hangs);
    let world = world(drafter, 1).await;
    world.start_run().await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(world.workers(Duration::from_millis(20)).run(stop.clone()));
    begun.notified().await;
    let page = PageArgs { first: Some(1), ..PageArgs::default() };
    let attempt = loop {
        let run = world.services.generations.load_active(&world.actor, &[world.batch]).await.unwrap()[&world.batch].id;
        let found = world.services.generations.list_attempts_of_run(&world.actor, run, None, &page).await.unwrap();
        if let Some((attempt, _)) = found.rows.into_iter().next() {
            break attempt;
        }
    };
    let mut stream = Box::pin(world.services.drafts.watch(world.actor.clone(), attempt.project, None).await.unwrap());
    let first = stream.next().await.unwrap().unwrap();
    assert!(matches!(&first.what, DraftNews::Snapshot(_)), "{first:?}");

    // more than the bus holds, while nobody reads
    let more = |offset: usize| {
        Bell::Piece(Arc::new(TextPiece { attempt: attempt.id, section_key: attempt.section_key.clone(), offset, text: "é".into() }))
    };
    world.core.bus.publish(Topic::Draft(attempt.project), (0..1_000).map(more).collect()).await;
    let lagged = stream.next().await.unwrap().unwrap();
    let DraftNews::Lagged(dropped) = lagged.what else { panic!("{lagged:?}") };
    // with what rings when other sections are begun
    assert!((1_000 - 256..1_020 - 256).contains(&dropped), "{dropped}");
    assert_eq!(lagged.sequence, first.sequence);
    let snapshot = stream.next().await.unwrap().unwrap();
    assert!(matches!(&snapshot.what, DraftNews::Snapshot(_)), "{snapshot:?}");
    // what rang between the two pushed as much out of the bus again, and was counted too
    let rang_since = snapshot.sequence - lagged.sequence - dropped;
    assert!((0..20).contains(&rang_since), "{rang_since}");
    // and what follows is told as usual
    world.core.bus.publish(Topic::Draft(attempt.project), vec![more(0)]).await;
    let next = stream.next().await.unwrap().unwrap();
    assert!(matches!(&next.what, DraftNews::More { offset: 0, text, .. } if text == "é"), "{next:?}");
    assert_eq!(next.sequence, snapshot.sequence + 1);
    drop(stream);
    stop.cancel();
    working.await.unwrap().unwrap();
}
