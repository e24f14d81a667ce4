//! `bench jobs`: how fast one process queues and drains 10,000 jobs, on `PostgreSQL` and on `SQLite`. Jobs that do nothing go
//! through the product's own workers; those with an effect are done by a loop of the benchmark over the same functions of the
//! queue, because no job of the product has so small a one: a row of the audit log.

use crate::client::ticks;
use crate::load::{Middle, millis};
use crate::postgres::Postgres;
use crate::report::{Bar, Part};
use crate::{Outcome, open_with};
use claimwright::app::{Roles, Surroundings};
use claimwright::domain::actor::Actor;
use claimwright::domain::ids::WorkspaceId;
use claimwright::domain::work::{DELETE_OBJECTS, DeleteObjects};
use claimwright::repositories::audit;
use claimwright::repositories::db::{Db, Scope};
use claimwright::repositories::jobs::{self, ClaimedJob, NewJob};
use claimwright::services::core::LANE;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const JOBS: usize = 10_000;
/// Jobs at the same time, in the product's workers and in the loop: `WORKER_CONCURRENCY`.
const AT_ONCE: usize = 32;
/// A lane that no worker of the product looks at.
const OWN_LANE: &str = "bench";
const ROUNDS: usize = 3;

/// What some jobs took.
#[derive(Debug, Clone, Copy)]
struct Took {
    /// From the first to the last, by the clock.
    long: Duration,
    /// CPU of this process.
    cpu: Duration,
    /// CPU of `PostgreSQL`.
    database: Duration,
    jobs: usize,
}

/// What has been taken at a moment.
struct Clocks<'p> {
    postgres: Option<&'p Postgres>,
    begun: Instant,
    cpu: Duration,
    database: Duration,
}

impl<'p> Clocks<'p> {
    fn start(postgres: Option<&'p Postgres>) -> Outcome<Self> {
        Ok(Self { postgres, begun: Instant::now(), cpu: cpu()?, database: database(postgres)? })
    }

    fn stop(&self, jobs: usize) -> Outcome<Took> {
        let (long, cpu, database) = (self.begun.elapsed(), cpu()?, database(self.postgres)?);
        Ok(Took { long, cpu: cpu.saturating_sub(self.cpu), database: database.saturating_sub(self.database), jobs })
    }
}

fn database(postgres: Option<&Postgres>) -> Outcome<Duration> {
    postgres.map_or(Ok(Duration::ZERO), Postgres::cpu)
}

impl Took {
    fn jobs(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let jobs = self.jobs as f64;
        jobs
    }

    fn per_second(self) -> f64 {
        self.jobs() / self.long.as_secs_f64()
    }

    /// Milliseconds of a CPU time for a job.
    fn each(self, time: Duration) -> f64 {
        millis(time) / self.jobs()
    }
}

fn cpu() -> Outcome<Duration> {
    Ok(Duration::from_secs_f64(ticks()? / 100.0))
}

async fn enqueue(db: &Db, postgres: Option<&Postgres>, lane: &str) -> Outcome<Took> {
    let workspace = WorkspaceId(Uuid::nil());
    let all: Vec<NewJob<DeleteObjects>> =
        (0..JOBS).map(|_| NewJob { kind: DELETE_OBJECTS, payload: DeleteObjects { keys: vec![] } }).collect();
    let clocks = Clocks::start(postgres)?;
    let mut tx = db.begin(Scope::Everything).await?;
    jobs::enqueue_in(&mut tx, lane, workspace, None, &all, None, (Surroundings::real().clock)()).await?;
    tx.commit().await?;
    clocks.stop(JOBS)
}

async fn left(db: &Db, lane: &str) -> Outcome<usize> {
    let depths = jobs::depths(db).await?;
    Ok(depths.iter().filter(|depth| depth.lane == lane).map(|depth| usize::try_from(depth.jobs).unwrap_or(0)).sum())
}

/// Drained by the product's workers, which run in this process. From the first look that finds fewer jobs, so that the time
/// until they notice is not in it.
async fn by_workers(db: &Db, postgres: Option<&Postgres>) -> Outcome<(Took, Took)> {
    let queued = enqueue(db, postgres, LANE).await?;
    while left(db, LANE).await? == JOBS {
        sleep(Duration::from_millis(5)).await;
    }
    let (clocks, jobs) = (Clocks::start(postgres)?, left(db, LANE).await?);
    while jobs::any_ready(db, LANE).await? {
        sleep(Duration::from_millis(20)).await;
    }
    while left(db, LANE).await? > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    Ok((queued, clocks.stop(jobs)?))
}

/// Drained by a loop like the workers': claims what there is room for, and ends each job by itself.
async fn by_loop(db: &Db, postgres: Option<&Postgres>, has_effect: bool) -> Outcome<Took> {
    enqueue(db, postgres, OWN_LANE).await?;
    let (worker, slots, tasks) = (Uuid::new_v4(), Arc::new(Semaphore::new(AT_ONCE)), TaskTracker::new());
    let clocks = Clocks::start(postgres)?;
    loop {
        let mut permits = vec![Arc::clone(&slots).acquire_owned().await?];
        while let Ok(permit) = Arc::clone(&slots).try_acquire_owned() {
            permits.push(permit);
        }
        let claimed = jobs::claim(db, OWN_LANE, worker, i64::try_from(permits.len())?).await?;
        if claimed.is_empty() {
            break;
        }
        for (job, permit) in claimed.into_iter().zip(permits) {
            let db = db.clone();
            tasks.spawn(async move {
                let done = end(&db, &job, has_effect).await;
                drop(permit);
                done
            });
        }
    }
    tasks.close();
    tasks.wait().await;
    let took = clocks.stop(JOBS)?;
    match left(db, OWN_LANE).await? {
        0 => Ok(took),
        left => Err(format!("{left} jobs were not ended").into()),
    }
}

async fn end(db: &Db, job: &ClaimedJob, has_effect: bool) -> claimwright::error::Result<()> {
    if !has_effect {
        return jobs::finish(db, job).await;
    }
    let mut tx = db.begin(job.workspace()).await?;
    let now = (Surroundings::real().clock)();
    audit::record_in(&mut tx, Uuid::new_v4(), &Actor::system(job.workspace()), "bench", job.id, None, now).await?;
    jobs::finish_in(&mut tx, job).await?;
    tx.commit().await
}

/// Measures both databases.
pub async fn run(postgres: Option<&Postgres>) -> Outcome<Part> {
    let mut table = String::from(
        "| | database | a second | CPU of the process for a job | CPU of PostgreSQL for a job | goal, a second |\n\
         |---|---|---:|---:|---:|---:|\n",
    );
    let mut bars = Vec::new();
    let databases = [("PostgreSQL", postgres), ("SQLite", None)];
    for (database, server) in databases {
        if server.is_none() && database == "PostgreSQL" {
            continue;
        }
        let url = match server {
            Some(server) => Some(server.recreate_named("bench_jobs").await?),
            None => None,
        };
        let concurrency = AT_ONCE.to_string();
        let settings: Vec<(&'static str, &str)> =
            [("WORKER_CONCURRENCY", concurrency.as_str())].into_iter().chain(url.as_deref().map(|url| ("DATABASE_URL", url))).collect();
        let (app, _folder) = open_with(Roles::Workers, &settings).await?;
        let mut all: [Vec<Took>; 4] = Default::default();
        for _ in 0..ROUNDS {
            let (queued, drained) = by_workers(app.db(), server).await?;
            all[0].push(queued);
            all[1].push(drained);
        }
        app.stop().await?;
        let (app, _folder) = open_with(Roles::Api, &settings).await?;
        for _ in 0..ROUNDS {
            all[2].push(by_loop(app.db(), server, false).await?);
            all[3].push(by_loop(app.db(), server, true).await?);
        }
        app.stop().await?;
        let rows = [
            ("queued, in one transaction", None),
            ("drained by the workers, no effect", Some((5_000.0, "no effect"))),
            ("drained by a loop, no effect", None),
            ("drained by a loop, a row and the job's end in one transaction", Some((2_500.0, "with an effect"))),
        ];
        for ((name, goal), took) in rows.into_iter().zip(&all) {
            let rate = Middle::of(took.iter().map(|took| took.per_second()));
            let each = |time: fn(&Took) -> Duration| Middle::of(took.iter().map(|took| took.each(time(took)))).median;
            let postgres = server.map_or("in the process's".into(), |_| format!("{:.3} ms", each(|took| took.database)));
            writeln!(
                table,
                "| {name} | {database} | **{:.0}** ({:.0}–{:.0}) | {:.3} ms | {postgres} | {} |",
                rate.median,
                rate.least,
                rate.most,
                each(|took| took.cpu),
                goal.map_or("–".into(), |(goal, _)| format!("{goal:.0}"))
            )?;
            if let Some((goal, short)) = goal {
                bars.push(Bar { label: format!("{short}, {database}"), value: goal / rate.median, goal: Some(1.0) });
            }
        }
    }
    Ok(Part { name: "jobs", title: "Time for a job, the goal = 1", table, plain: String::new(), bars })
}
