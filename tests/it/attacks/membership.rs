//! What membership is: the workspace that a token names, for as long as the token is valid. Who is taken out of a
//! practice gets no new token for it, keeps nothing by a token for another, and what they have ends with the old one.

use crate::on_both;
use crate::support::socket::Socket;
use serde_json::{Value, json};

on_both! {
    async fn a_person_who_was_moved_to_another_practice_sees_nothing_of_the_first(app: TestApp) {
        let before = app.member("mover@practice.example", "practice");
        let (batch, projects) = before.batch_of("Sealed Orchid", 1).await;
        let export = before.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false })).await;
        let after = app.member("mover@practice.example", "elsewhere");
        let query = "query($batch: ID!, $ids: [ID!]!) { viewer { workspace { id } } batch(id: $batch) { id } nodes(ids: $ids) { id } \
            batches { totalCount } projects { totalCount } }";
        let variables = json!({ "batch": batch, "ids": [batch, projects[0], export["id"]] });
        let seen = after.run(query, variables.clone()).await;
        let nothing = json!({ "totalCount": 0 });
        assert_eq!((&seen["batch"], &seen["nodes"], &seen["batches"], &seen["projects"]), (&Value::Null, &json!([null, null, null]), &nothing, &nothing));
        let old = before.run(query, variables).await;
        assert_ne!(old["viewer"]["workspace"], seen["viewer"]["workspace"]);
        assert_eq!(old["batch"]["id"], batch, "the first token is good until it ends");
        for mutation in ["deleteBatch", "archiveBatch"] {
            let payload = after.change(&format!("{mutation}(id: $id)"), "$id: ID!", "__typename", json!({ "id": batch })).await;
            assert_eq!(payload["userErrors"][0]["code"], "NOT_FOUND");
        }
        let mut socket = after.socket().await;
        let mut events = socket.subscribe("subscription($id: ID!) { batchProgress(batchId: $id) { __typename } }", json!({ "id": batch })).await;
        assert_eq!(events.next_or_errors().await.expect_err("refused")[0]["extensions"]["code"], "NOT_FOUND");
        app.stop().await;
    }

    async fn a_stream_hears_nothing_of_another_practice_though_the_person_is_the_same(app: TestApp) {
        let (one, other) = (app.member("mover@practice.example", "practice"), app.member("mover@practice.example", "elsewhere"));
        let (mine, theirs) = (one.create_batch("Mine").await, other.create_batch("Sealed Orchid").await);
        let mut socket = Socket::connect(&app.url(), one.token()).await;
        let query = "subscription($id: ID!) { batchProgress(batchId: $id) { __typename ... on BatchSnapshot { batch { name } } ... on BatchChanged { batch { name } } } }";
        let mut events = socket.subscribe(query, json!({ "id": mine })).await;
        assert_eq!(events.next().await.expect("a snapshot")["batchProgress"]["batch"]["name"], "Mine");
        other.renamed(&theirs, "Sealed Orchid 2").await;
        one.renamed(&mine, "Mine 2").await;
        assert_eq!(events.next().await.expect("an event")["batchProgress"], json!({ "__typename": "BatchChanged", "batch": { "name": "Mine 2" } }));
        app.stop().await;
    }
}
