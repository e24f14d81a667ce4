//! Watchers in another process than the one that writes, with Redis between them: it is all the same to them, also while
//! Redis is away and after it has come back empty.

use super::{KEY, only};
use crate::support::dictated::DictatedDrafter;
use crate::support::drafts::Page;
use crate::support::pair::Pair;
use crate::support::servers::OwnRedis;
use crate::support::{Client, accepted, row};
use serde_json::{Value, json};

/// A batch of one project with one section, without an import: each process has a folder of its own, so the file of one
/// cannot be read by the other.
async fn one_section(client: &Client) -> (String, String) {
    let template = client.template_of("One section", &[KEY]).await;
    let id = |value: &Value| value.as_str().expect("an id").to_owned();
    let query = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } userErrors { code message } } }";
    let data = client.run(query, json!({ "input": { "name": "Acme", "templateId": template } })).await;
    let batch = id(&accepted(&data, "createBatch")["batch"]["id"]);
    let query = "mutation($input: CreateProjectInput!) { createProject(input: $input) { project { id } userErrors { code message } } }";
    let data = client.run(query, json!({ "input": { "batchId": batch, "name": "Project 1", "facts": row(1)["facts"] } })).await;
    let project = id(&accepted(&data, "createProject")["project"]["id"]);
    (batch, project)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_seen_from_every_process_and_heals_after_redis_was_away() {
    let Some(mut redis) = OwnRedis::start().await else { return };
    let (provider, mut calls) = DictatedDrafter::new(false);
    let chosen = provider.clone();
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str())];
    let Some(pair) = Box::pin(Pair::start_with(&settings, |surroundings| surroundings.drafters = vec![chosen.clone()])).await else {
        return;
    };
    let clients = [Pair::client(&pair.apps[0]), Pair::client(&pair.apps[1])];
    let (batch, project) = one_section(&clients[0]).await;
    let (mut here, mut there) = (clients[0].socket().await, clients[1].socket().await);
    let (mut one, _) = Page::open(&mut here, &project, &Value::Null).await;
    let (mut two, _) = Page::open(&mut there, &project, &Value::Null).await;
    clients[1].start(&batch).await;
    let call = calls.next().await;
    call.say("The kiln ");
    one.reads(KEY, "The kiln ").await;
    two.reads(KEY, "The kiln ").await;

    // whichever process writes, one of these comes late to the other
    for client in &clients {
        let mut socket = client.socket().await;
        let (_, snapshot) = Page::open(&mut socket, &project, &Value::Null).await;
        assert_eq!(snapshot["sections"], only(KEY, "The kiln ", "GENERATING"));
    }

    // what is written while Redis is away is seen where it is written; the other gets it as soon as Redis is back
    redis.kill().await;
    call.say("held ");
    let near = tokio::select! {
        _ = one.reads(KEY, "The kiln held ") => 0,
        _ = two.reads(KEY, "The kiln held ") => 1,
    };
    redis.come_back().await;
    let far = if near == 0 { &mut two } else { &mut one };
    far.reads(KEY, "The kiln held ").await;
    call.say("15 °C.");
    one.reads(KEY, "The kiln held 15 °C.").await;
    two.reads(KEY, "The kiln held 15 °C.").await;

    // a text that is stored while Redis is away is found in the table
    redis.kill().await;
    call.finish();
    for page in [&mut one, &mut two] {
        assert_eq!(page.expect("DraftSectionFinished").await["section"]["text"], "The kiln held 15 °C.");
    }
    redis.come_back().await;
    drop((here, there));
    Box::pin(pair.stop()).await;
}
