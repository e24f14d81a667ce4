//! `kill -9` at random moments of drafting, against a provider that counts: whatever dies and whenever, no section is
//! asked for again that was not in flight, nothing is written twice, and everything that counts agrees. `CHAOS_KILLS` is the
//! number of kills for each database (`make chaos` takes 200), `CHAOS_SEED` repeats a series.

mod delivery;
mod world;

use crate::support::providers::books::Moment;
use crate::support::{Mode, has_postgres};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;
use world::World;

/// Kills for each database unless `CHAOS_KILLS` says otherwise.
const KILLS: usize = 15;
/// Most kills of one run: it must have an end.
const MOST_OF_A_RUN: usize = 15;
/// Sections that must be left for a kill, so that its moment comes.
const LEAST_LEFT: usize = 12;
/// Most of the same moments that are let pass before a kill.
const MOST_PASSED: usize = 5;
/// After an answer's end: longest time until the kill, which thus falls before, into or after the commit.
const AFTER_ANSWER_MS: usize = 40;

/// Dice that fall the same way for the same seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn from_surroundings() -> Self {
        let given = std::env::var("CHAOS_SEED").ok().map(|seed| seed.parse().expect("CHAOS_SEED is a number"));
        Self(given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0))
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % n as u64).expect("below n")
    }
}

/// What all runs of a test gave.
#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    kills: BTreeMap<Moment, usize>,
    sections: usize,
    calls: usize,
    /// Calls in flight at a kill: sent, and not committed.
    hit: usize,
    /// Those among them whose whole answer had been sent: paid for and lost.
    hit_when_answered: usize,
    /// Attempts that were lost with a worker.
    lost: usize,
}

impl Tally {
    fn kills(&self) -> usize {
        self.kills.values().sum()
    }
}

/// Kills until so many have been done, over as many runs as that takes.
async fn survives(mode: Mode) {
    let wanted = std::env::var("CHAOS_KILLS").ok().map_or(KILLS, |kills| kills.parse().expect("CHAOS_KILLS is a number"));
    let mut dice = Dice::from_surroundings();
    eprintln!("chaos on {mode:?}: CHAOS_SEED={} CHAOS_KILLS={wanted}", dice.0);
    let mut tally = Tally::default();
    while tally.kills() < wanted {
        let most = (wanted - tally.kills()).min(MOST_OF_A_RUN);
        run(mode, &mut dice, most, &mut tally).await;
        eprintln!("chaos on {mode:?}: {tally:?}");
        assert!(tally.runs <= wanted, "runs go by without a kill");
    }
    assert_eq!(tally.kills(), wanted);
}

/// One run, killed at random moments and then left to end.
async fn run(mode: Mode, dice: &mut Dice, most: usize, tally: &mut Tally) {
    let mut world = World::start(mode).await;
    for _ in 0..most {
        if world.sections_to_come().await < LEAST_LEFT {
            break;
        }
        let passed = 1 + dice.below(MOST_PASSED);
        let (moment, n) = match dice.below(3) {
            0 => (Moment::Asked, passed),
            1 => (Moment::Told, passed * (1 + dice.below(6))),
            _ => (Moment::Answered, passed),
        };
        // on a busy machine the run may be over before a kill: another one is begun
        let Some(caller) = world.comes(moment, n).await else { break };
        if moment == Moment::Answered {
            sleep(Duration::from_millis(dice.below(AFTER_ANSWER_MS) as u64)).await;
        }
        world.kill(&caller).await;
        *tally.kills.entry(moment).or_default() += 1;
    }
    let ended = world.ends().await;
    tally.runs += 1;
    tally.sections += ended.sections;
    tally.calls += ended.calls;
    tally.hit += ended.hit;
    tally.hit_when_answered += ended.hit_when_answered;
    tally.lost += ended.lost;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_in_flight_at_a_kill_is_asked_for_again_embedded() {
    survives(Mode::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_in_flight_at_a_kill_is_asked_for_again_scaled_out() {
    if has_postgres() {
        survives(Mode::ScaledOut).await;
    }
}
