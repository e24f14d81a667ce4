//! How well two processes' worth of pace keep one quota over Redis, and how much of it they use while there is work: the
//! product's own `Paced` and `RedisPace`, twice, each with connections of its own, around a provider that only takes time.

use crate::Outcome;
use async_trait::async_trait;
use claimwright::adapters::ai::{DraftFailure, DraftPiece, DraftRequest, DraftStream, Drafter, Profile, Usage};
use claimwright::adapters::pace::redis::RedisPace;
use claimwright::adapters::pace::{Quota, WINDOW};
use claimwright::adapters::redis::Redis;
use claimwright::domain::projects::{Costs, Facts};
use claimwright::domain::prompts::assemble;
use claimwright::domain::templates::{Limits, TemplateSection};
use claimwright::services::pacing::Paced;
use futures::{StreamExt, stream};
use std::fmt::Write;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{sleep, sleep_until};

/// How long there is work.
const LONG: Duration = Duration::from_secs(130);
/// Calls that each process would like to have open.
const CALLERS: usize = 30;

/// A call as the provider saw it.
struct Seen {
    begun: Instant,
    ended: Option<Instant>,
    tokens: u32,
}

/// Takes one to three seconds and 900 to 2,700 tokens for a section, and notes both.
struct Slow {
    name: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn lock(seen: &Mutex<Vec<Seen>>) -> std::sync::MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Drafter for Slow {
    fn profile(&self) -> Profile {
        Profile { provider: self.name, models: vec![], provenance: None, masks_personal_data: false }
    }

    async fn draft(&self, _: DraftRequest) -> Result<DraftStream, DraftFailure> {
        let (place, dice) = {
            let mut seen = lock(&self.seen);
            // spread evenly over its range, and never the same in a row
            let dice = u32::try_from(seen.len() % 1_000).unwrap_or(0) * 619 % 1_000;
            seen.push(Seen { begun: Instant::now(), ended: None, tokens: 900 + dice * 9 / 5 });
            (seen.len() - 1, dice)
        };
        let seen = Arc::clone(&self.seen);
        Ok(Box::pin(stream::once(async move {
            sleep(Duration::from_millis(1_000 + u64::from(dice) * 2)).await;
            let mut seen = lock(&seen);
            seen[place].ended = Some(Instant::now());
            let tokens = i32::try_from(seen[place].tokens).unwrap_or(0);
            let usage = Usage {
                input_tokens: tokens / 4 * 3,
                output_tokens: tokens - tokens / 4 * 3,
                model: "m".into(),
                estimated: false,
                headroom: None,
            };
            Ok(DraftPiece::Finished(usage))
        })))
    }
}

fn request() -> DraftRequest {
    let section = TemplateSection {
        key: "baseline".into(),
        title: "Baseline".into(),
        guidance: "Name what was published.".into(),
        aif_question: None,
        source_facts: vec![],
        required: true,
        limits: Limits { min_words: 50, max_words: 300, max_chars: 2_500 },
    };
    let (facts, costs) = (Facts::default(), Costs::default());
    let prompt = assemble(&section, None, "Glaze", &facts, &costs, None);
    DraftRequest { model: "m".into(), prompt, section, facts, costs, project_name: "Glaze".into(), wish: None }
}

/// A quota, and what the provider saw of two processes that keep it.
struct Scene {
    name: &'static str,
    quota: Quota,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scene {
    fn new(name: &'static str, requests: u32, tokens: u32, calls: u32) -> Self {
        let quota = Quota { requests: NonZeroU32::new(requests), tokens: NonZeroU32::new(tokens), concurrency: NonZeroU32::new(calls) };
        Self { name, quota, seen: Arc::default() }
    }

    /// Lets two processes call as much as they may.
    async fn play(&self, url: &str, until: tokio::time::Instant) -> Outcome<()> {
        let mut callers = Vec::new();
        for _ in 0..2 {
            let redis = Redis::open(url, "bench").await?;
            let provider = Arc::new(Slow { name: self.name, seen: Arc::clone(&self.seen) });
            let paced = Arc::new(Paced::new(provider, Arc::new(RedisPace::new(redis, self.quota))));
            for _ in 0..CALLERS {
                let paced = Arc::clone(&paced);
                callers.push(tokio::spawn(async move {
                    loop {
                        match paced.draft(request()).await {
                            Ok(mut pieces) => while pieces.next().await.is_some() {},
                            Err(failure) => sleep(failure.retry_after.unwrap_or(WINDOW / 60)).await,
                        }
                    }
                }));
            }
        }
        sleep_until(until).await;
        for caller in callers {
            caller.abort();
        }
        Ok(())
    }

    /// The fullest window and the whole, as shares of the quota.
    fn tell(&self, begun: Instant) -> Outcome<String> {
        let seen = lock(&self.seen);
        let mut text = String::new();
        let allowed = |most: u32| f64::from(most) * LONG.as_secs_f64() / WINDOW.as_secs_f64();
        let mut line = |what: &str, kept: f64, used: f64| {
            writeln!(text, "{:<16} {what:<9} fullest {:6.1} %   used {:6.1} %", self.name, kept * 100.0, used * 100.0)
        };
        let sums = |weight: fn(&Seen) -> u32| {
            let within =
                |from: Instant| seen.iter().filter(|call| call.begun >= from && call.begun < from + WINDOW).map(weight).sum::<u32>();
            (seen.iter().map(|call| within(call.begun)).max().unwrap_or(0), seen.iter().map(weight).sum::<u32>())
        };
        if let Some(most) = self.quota.requests.map(NonZeroU32::get) {
            let (fullest, all) = sums(|_| 1);
            line("requests", f64::from(fullest) / f64::from(most), f64::from(all) / allowed(most))?;
        }
        if let Some(most) = self.quota.tokens.map(NonZeroU32::get) {
            let (fullest, all) = sums(|call| call.tokens);
            line("tokens", f64::from(fullest) / f64::from(most), f64::from(all) / allowed(most))?;
        }
        if let Some(most) = self.quota.concurrency.map(NonZeroU32::get) {
            let end = begun + LONG;
            let open = |at: Instant| seen.iter().filter(|call| call.begun <= at && call.ended.is_none_or(|ended| ended > at)).count();
            let fullest = seen.iter().map(|call| open(call.begun)).max().unwrap_or(0);
            let busy: f64 = seen.iter().map(|call| (call.ended.unwrap_or(end) - call.begun).as_secs_f64()).sum();
            #[expect(clippy::cast_precision_loss, reason = "a few")]
            line("calls", fullest as f64 / f64::from(most), busy / (f64::from(most) * LONG.as_secs_f64()))?;
        }
        Ok(text)
    }
}

/// A Redis server of the bench's own, killed when dropped.
struct OwnRedis(Child, u16);

impl OwnRedis {
    fn start() -> Outcome<Option<Self>> {
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok().map(|child| Self(child, port)))
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        // it may have ended by itself
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Measures requests, tokens and calls at the same time, each with a provider of its own.
pub async fn run() -> Outcome<String> {
    let Some(server) = OwnRedis::start()? else {
        return Ok("pace over Redis: NOT measured, there is no redis-server (REDIS_SERVER)\n".into());
    };
    let url = format!("redis://127.0.0.1:{}", server.1);
    while Redis::open(&url, "bench").await?.check().await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
    // the first call of a process loads the scripts, and nobody is late for its second
    let scenes = [Scene::new("requests", 600, 0, 0), Scene::new("tokens", 0, 300_000, 0), Scene::new("calls", 0, 0, 10)];
    let begun = Instant::now();
    let until = tokio::time::Instant::from_std(begun + LONG);
    futures::future::try_join_all(scenes.iter().map(|scene| scene.play(&url, until))).await?;
    let mut text = format!(
        "pace of two processes over Redis for {} s: what the fullest 60 s had and how much was used, of what the quota allows\n",
        LONG.as_secs()
    );
    for scene in &scenes {
        text += &scene.tell(begun)?;
    }
    Ok(text)
}
