//! The bus of many processes, over a real server that is killed and comes back empty.

use super::*;
use crate::adapters::redis::server_for_tests::RedisServer;
use crate::domain::events::{BatchEvent, StoredEvent};
use crate::domain::ids::BatchId;

/// A busy machine must not make a loss of what is only slow.
const PATIENT: Duration = Duration::from_secs(20);

async fn bus(server: &RedisServer) -> RedisBus {
    let redis = Redis::open_with(&server.url(), "test", PATIENT).await.unwrap();
    RedisBus::new(redis, Arc::new(DateTime::<Utc>::default))
}

fn topic(number: u128) -> Topic {
    Topic::Batch(BatchId(Uuid::from_u128(number)))
}

fn event(sequence: i64) -> Bell {
    Bell::Event(Arc::new(StoredEvent { sequence, occurred_at: DateTime::default(), event: BatchEvent::BatchChanged }))
}

async fn next(listener: &mut Box<dyn Listener>) -> Bell {
    timeout(PATIENT, listener.next()).await.expect("a bell").expect("an open bus")
}

async fn next_sequence(listener: &mut Box<dyn Listener>) -> i64 {
    match next(listener).await {
        Bell::Event(event) => event.sequence,
        other => panic!("{other:?}"),
    }
}

async fn until(listener: &mut Box<dyn Listener>, wanted: impl Fn(&Bell) -> bool) {
    while !wanted(&next(listener).await) {}
}

/// Asks the server until it answers so.
async fn until_answered(server: &RedisServer, words: &[&str], wanted: &[&str]) {
    let asking = async { while server.ask::<Vec<String>>(words).await != wanted {} };
    timeout(PATIENT, asking).await.unwrap_or_else(|_| panic!("{words:?} is never answered by {wanted:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_hear_each_other_in_order_and_themselves_once() {
    let Some(server) = RedisServer::start().await else { return };
    let (one, two) = (bus(&server).await, bus(&server).await);
    let (mut here, mut there) = (one.subscribe(topic(1)).await, two.subscribe(topic(1)).await);
    // fewer at a time than wait for a listener
    for round in 0..10 {
        for sequence in (0..10).map(|n| 10 * round + n) {
            one.publish(topic(1), vec![event(2 * sequence), event(2 * sequence + 1)]).await;
            one.publish(topic(2), vec![Bell::Deleted]).await;
        }
        for sequence in (0..20).map(|n| 20 * round + n) {
            assert_eq!((next_sequence(&mut there).await, next_sequence(&mut here).await), (sequence, sequence));
        }
    }
    two.publish(topic(1), vec![Bell::Deleted]).await;
    assert!(matches!(next(&mut here).await, Bell::Deleted), "its own bells do not come back before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_listeners_of_a_process_share_one_connection_and_every_event() {
    let Some(server) = RedisServer::start().await else { return };
    let (one, two) = (bus(&server).await, bus(&server).await);
    let mut listeners = Vec::new();
    for number in 0..100 {
        listeners.push(one.subscribe(topic(number / 2)).await);
    }
    let subscribers: String = server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    assert_eq!(subscribers.lines().count(), 1, "{subscribers}");
    let channels: Vec<String> = server.ask(&["PUBSUB", "CHANNELS", "*"]).await;
    assert_eq!(channels.len(), 50);
    let channel = one.hub.channel(topic(7));
    until_answered(&server, &["PUBSUB", "NUMSUB", &channel], &[&channel, "1"]).await;

    two.publish(topic(7), vec![event(1)]).await;
    let (first, second) = (next(&mut listeners[14]).await, next(&mut listeners[15]).await);
    assert!(matches!((first, second), (Bell::Event(first), Bell::Event(second)) if Arc::ptr_eq(&first, &second)));

    drop(listeners.remove(15));
    two.publish(topic(7), vec![event(2)]).await;
    assert_eq!(next_sequence(&mut listeners[14]).await, 2, "one of two has gone");
    listeners.truncate(2);
    until_answered(&server, &["PUBSUB", "CHANNELS", "*"], &[&one.hub.channel(topic(0))]).await;
    drop(listeners);
    until_answered(&server, &["PUBSUB", "CHANNELS", "*"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_comes_back_empty_and_everybody_looks_at_the_table() {
    let Some(mut server) = RedisServer::start().await else { return };
    let (one, two) = (bus(&server).await, bus(&server).await);
    let (mut here, mut there) = (one.subscribe(topic(1)).await, two.subscribe(topic(1)).await);
    one.publish(topic(1), vec![event(1)]).await;
    assert_eq!((next_sequence(&mut here).await, next_sequence(&mut there).await), (1, 1));

    server.kill();
    // none of these waits for the server: it comes back only after them
    for sequence in 2..=100 {
        one.publish(topic(1), vec![event(sequence)]).await;
        assert_eq!(next_sequence(&mut here).await, sequence, "within the process nothing is lost");
    }
    let mut meanwhile = two.subscribe(topic(2)).await;
    one.flush().await;
    assert!(one.hub.redis.check().await.is_err());

    assert!(server.restart().await);
    for listener in [&mut here, &mut there, &mut meanwhile] {
        until(listener, |bell| matches!(bell, Bell::Missed)).await;
    }
    timeout(PATIENT, one.hub.redis.watch().wait_for(|up| *up)).await.unwrap().unwrap();
    one.publish(topic(1), vec![event(101)]).await;
    one.publish(topic(2), vec![event(1)]).await;
    until(&mut there, |bell| matches!(bell, Bell::Event(event) if event.sequence == 101)).await;
    until(&mut meanwhile, |bell| matches!(bell, Bell::Event(_))).await;
    one.hub.redis.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_on_the_way_or_cannot_be_read_is_replaced_by_a_look_at_the_table() {
    let Some(server) = RedisServer::start().await else { return };
    let (one, two) = (bus(&server).await, bus(&server).await);
    let mut there = two.subscribe(topic(1)).await;
    let _: i64 = server.ask(&["PUBLISH", &two.hub.channel(topic(1)), r#"{"bells":["of a newer version"]}"#]).await;
    assert!(matches!(next(&mut there).await, Bell::Missed));

    one.hub.owe(topic(1), 3);
    one.publish(topic(2), vec![Bell::Changed]).await;
    assert!(matches!(next(&mut there).await, Bell::Missed));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_bells_of_a_process_are_heard_after_its_end() {
    let Some(server) = RedisServer::start().await else { return };
    let (one, two) = (bus(&server).await, bus(&server).await);
    let (mut here, mut there) = (one.subscribe(topic(1)).await, two.subscribe(topic(1)).await);
    one.publish(topic(1), vec![event(1)]).await;
    one.flush().await;
    drop(one);
    assert_eq!((next_sequence(&mut here).await, next_sequence(&mut there).await), (1, 1));
    let ended = timeout(PATIENT, here.next()).await.unwrap();
    assert!(ended.is_none(), "{ended:?}");
}
