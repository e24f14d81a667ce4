//! Pace over a Redis of the test's own, with windows of a second or two where a test lets one pass.

use super::*;
use crate::adapters::redis::server_for_tests::RedisServer;
use std::sync::Arc;
use tokio::time::{sleep, timeout};

/// A busy machine must not make a fallback of what is to be shared.
const PATIENT: Duration = Duration::from_secs(20);
/// Longer than any test.
const LONG: Duration = Duration::from_mins(5);

fn quota(requests: u32, tokens: u32, calls: u32) -> Quota {
    Quota { requests: NonZeroU32::new(requests), tokens: NonZeroU32::new(tokens), concurrency: NonZeroU32::new(calls) }
}

async fn pace(server: &RedisServer, quota: Quota, window: Duration) -> Arc<RedisPace> {
    let redis = Redis::open_with(&server.url(), "test", PATIENT).await.unwrap();
    Arc::new(RedisPace::with_window(redis, quota, window))
}

fn taken(place: Place) -> Ticket {
    match place {
        Place::Taken(ticket) => ticket,
        Place::Wait(wait) => panic!("it must wait for {wait:?}"),
    }
}

fn wait(place: Place) -> Duration {
    match place {
        Place::Wait(wait) => wait,
        Place::Taken(ticket) => panic!("it was taken: {ticket:?}"),
    }
}

/// Waits for a place as long as that takes.
async fn insist(pace: &RedisPace, tokens: u32) -> Ticket {
    loop {
        match pace.take("p", tokens).await {
            Place::Taken(ticket) => return ticket,
            Place::Wait(wait) => sleep(wait).await,
        }
    }
}

/// When Redis says that the places were taken, in microseconds, the oldest first.
async fn times(server: &RedisServer) -> Vec<u64> {
    let all: Vec<String> = server.ask(&["HVALS", "test:pace:{p}:minute"]).await;
    let mut times: Vec<u64> = all.iter().filter_map(|value| value.split_once(' ')?.0.parse().ok()).collect();
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_have_one_minute_and_never_more_in_any_of_it() {
    let Some(server) = RedisServer::start().await else { return };
    let window = Duration::from_secs(2);
    let paces = [pace(&server, quota(20, 0, 0), window).await, pace(&server, quota(20, 0, 0), window).await];
    let takers = paces.iter().map(|pace| {
        let pace = Arc::clone(pace);
        tokio::spawn(async move {
            let mut all = Vec::new();
            for _ in 0..25 {
                let ticket = insist(&pace, 1).await;
                all.push(ticket.shared.and_then(|shared| shared.number).expect("it is shared"));
            }
            all
        })
    });
    let begun = Instant::now();
    let mut numbers: Vec<u64> = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        numbers.extend(taker.await.unwrap());
    }
    assert!(begun.elapsed() >= window * 2, "fifty within {:?}", begun.elapsed());
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "each place is given once: {numbers:?}");
    assert!(times(&server).await.len() <= 20, "places of before the window are forgotten");
    assert!(paces.iter().all(|pace| !pace.is_alone() && pace.sharers.load(Ordering::Relaxed) == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_set_right_in_either_direction_for_everybody() {
    let Some(server) = RedisServer::start().await else { return };
    let paces = [pace(&server, quota(0, 1_000, 0), LONG).await, pace(&server, quota(0, 1_000, 0), LONG).await];
    let ticket = taken(paces[0].take("p", 1_000).await);
    assert!(wait(paces[1].take("p", 1).await) > Duration::from_mins(4), "the minute is full");
    paces[0].settle(&ticket, 0).await;
    let second = taken(paces[1].take("p", 1).await);
    paces[1].settle(&second, 1_000).await;
    assert!(wait(paces[0].take("p", 1).await) > Duration::from_mins(4), "what was used in the end counts");
    assert!(matches!(paces[0].take("other", 1_000).await, Place::Taken(_)), "another provider has a minute of its own");
    let ttl: i64 = server.ask(&["PTTL", "test:pace:{p}:minute"]).await;
    assert!((1..=i64::try_from(LONG.as_millis()).unwrap() * 3 + 1_000).contains(&ttl), "{ttl}");
    assert!(server.ask::<i64>(&["PTTL", "test:pace:{p}:who"]).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_spread_over_the_minute() {
    let Some(server) = RedisServer::start().await else { return };
    let pace = pace(&server, quota(10, 100, 0), LONG).await;
    taken(pace.take("p", 50).await);
    let gap = wait(pace.take("p", 1).await);
    assert!(gap > LONG / 3 && gap <= LONG / 2, "{gap:?}");
    assert!(wait(pace.take("p", 51).await) > LONG / 2, "the minute has no room for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_whose_minute_is_over_is_not_settled_any_more() {
    let Some(server) = RedisServer::start().await else { return };
    let pace = pace(&server, quota(0, 100, 0), Duration::from_secs(1)).await;
    let first = taken(pace.take("p", 100).await);
    let second = insist(&pace, 100).await;
    pace.settle(&first, 0).await;
    assert_eq!(server.ask::<i64>(&["HGET", "test:pace:{p}:minute", "tokens"]).await, 100);
    assert_ne!(first.shared, second.shared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_for_all_processes_and_is_not_ended_by_a_shorter_one() {
    let Some(server) = RedisServer::start().await else { return };
    let paces = [pace(&server, quota(0, 0, 0), LONG).await, pace(&server, quota(0, 0, 0), LONG).await];
    paces[0].pause("p", Duration::from_mins(2)).await;
    paces[1].pause("p", Duration::from_secs(1)).await;
    for pace in &paces {
        assert!(wait(pace.take("p", 1).await) > Duration::from_secs(100));
    }
    taken(paces[0].take("other", 1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_are_open_than_allowed_and_those_of_the_dead_come_back() {
    let Some(server) = RedisServer::start().await else { return };
    let paces = [pace(&server, quota(0, 0, 3), LONG).await, pace(&server, quota(0, 0, 3), LONG).await];
    let first = taken(paces[0].take("p", 1).await);
    taken(paces[0].take("p", 1).await);
    taken(paces[1].take("p", 1).await);
    assert_eq!(wait(paces[1].take("p", 1).await), BUSY);
    paces[0].leave(&first);
    paces[0].leave(&first);
    timeout(PATIENT, insist(&paces[1], 1)).await.expect("a call has ended");
    assert_eq!(wait(paces[0].take("p", 1).await), BUSY, "and was counted once");
    assert_eq!((paces[0].leases.open("p"), paces[1].leases.open("p")), (1, 2));

    // as if nobody had renewed them: what has run out is open to others
    let mut run_out = vec!["ZADD".to_owned(), "test:pace:{p}:calls".to_owned()];
    for member in server.ask::<Vec<String>>(&["ZRANGE", "test:pace:{p}:calls", "0", "-1"]).await {
        run_out.extend(["1".to_owned(), member]);
    }
    server.ask::<i64>(&run_out.iter().map(String::as_str).collect::<Vec<_>>()).await;
    taken(paces[0].take("p", 1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_renewed_even_in_a_redis_that_has_forgotten_them() {
    let Some(server) = RedisServer::start().await else { return };
    let pace = pace(&server, quota(0, 0, 3), LONG).await;
    taken(pace.take("p", 1).await);
    server.ask::<i64>(&["DEL", "test:pace:{p}:calls"]).await;
    pace.leases.renew_now(&pace.redis, pace.process).await.unwrap();
    let calls: Vec<String> = server.ask(&["ZRANGE", "test:pace:{p}:calls", "0", "-1"]).await;
    assert_eq!(calls, [leases::name(pace.process, 0)]);
    let ttl: i64 = server.ask(&["PTTL", "test:pace:{p}:calls"]).await;
    assert!((1..=30_000).contains(&ttl), "{ttl}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_keeps_to_its_part_and_tells_what_it_took_when_it_is_back() {
    let Some(mut server) = RedisServer::start().await else { return };
    let paces = [pace(&server, quota(0, 1_000, 4), LONG).await, pace(&server, quota(0, 1_000, 4), LONG).await];
    let mine = taken(paces[0].take("p", 100).await);
    paces[0].settle(&mine, 100).await;
    wait(paces[1].take("p", 1_000).await);
    wait(paces[0].take("p", 1_000).await);
    assert_eq!(paces[0].sharers.load(Ordering::Relaxed), 2);
    server.kill();
    // a part is 500, of which 100 are gone
    paces[0].own.catch_up("p");
    assert!(wait(paces[0].take("p", 401).await) > Duration::from_mins(1));
    assert!(paces[0].is_alone() && !paces[0].is_shared.load(Ordering::Relaxed));

    assert!(server.restart().await);
    paces[0].redis.watch().wait_for(|up| *up).await.unwrap();
    assert!(paces[0].is_alone(), "for a window it goes on like that");
    paces[0].own.catch_up("p");
    let told = taken(paces[0].take("p", 400).await);
    assert!(told.shared.and_then(|shared| shared.number).is_some(), "Redis hears of it");
    let tokens: i64 = server.ask(&["HGET", "test:pace:{p}:minute", "tokens"]).await;
    assert_eq!(tokens, 400);
    assert!(wait(paces[0].take("p", 1).await) > Duration::from_mins(1), "the part is used up");
}
