//! Lists: those of ids, in which a stranger mixes its own with another practice's, and those that are read from a cursor
//! of another practice.

use super::{foreign, leaks};
use crate::on_both;
use crate::tenancy::{SECRET, furnish, inventory};
use serde_json::{Value, json};

on_both! {
    async fn lists_that_mix_own_and_foreign_ids_do_their_own_part_and_tell_nothing_of_the_rest(app: TestApp) {
        let (owner, stranger) = (app.adviser(), app.stranger());
        let ids = furnish(&owner, SECRET).await;
        let own = furnish(&stranger, "Own Maple").await;
        let (before, all) = (inventory(&owner, &ids).await, foreign(&ids));
        let mixed = json!([own.project, ids.project, own.batch, ids.batch, ids.template, own.template]);
        let data = stranger.run("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": mixed })).await;
        let expected = json!([{ "id": own.project }, null, { "id": own.batch }, null, null, { "id": own.template }]);
        assert_eq!(data["nodes"], expected);
        let projects = json!([own.project, ids.project]);
        let query = "query($ids: [ID!]) { projects(filter: { ids: $ids }) { totalCount nodes { id } } }";
        let data = stranger.run(query, json!({ "ids": projects })).await;
        assert_eq!(data["projects"], json!({ "totalCount": 1, "nodes": [{ "id": own.project }] }));
        for mutation in ["approveProjects", "deleteProjects", "restoreProjects"] {
            let text = format!("mutation($ids: [ID!]!) {{ {mutation}(ids: $ids) {{ done failed {{ id error {{ code }} }} userErrors {{ code }} }} }}");
            let payload = stranger.run(&text, json!({ "ids": projects })).await[mutation].clone();
            let failed = payload["failed"].as_array().expect("a list");
            assert!(failed.contains(&json!({ "id": ids.project, "error": { "code": "NOT_FOUND" } })), "{mutation}: {payload}");
            assert!(payload["done"].as_array().expect("a list").iter().all(|id| *id == own.project), "{mutation}: {payload}");
            if mutation != "approveProjects" {
                assert_eq!(payload["done"], json!([own.project]), "{mutation}: {payload}");
            }
        }
        // what is done for all of a list or for none
        for (text, variables) in [
            ("mutation($id: ID!, $ids: [ID!]) { pinAifProjects(batchId: $id, pin: $ids) { batch { id } userErrors { code } } }", json!({ "id": own.batch, "ids": projects })),
            ("mutation($id: ID!, $ids: [ID!]) { pinAifProjects(batchId: $id, unpin: $ids) { batch { id } userErrors { code } } }", json!({ "id": own.batch, "ids": projects })),
            ("mutation($id: ID!, $ids: [ID!]) { retryFailed(runId: $id, projectIds: $ids) { run { id } userErrors { code } } }", json!({ "id": own.run, "ids": projects })),
            ("mutation($id: ID!, $ids: [ID!]!) { startGeneration(input: { generation: { batchId: $id, scope: LISTED, projectIds: $ids } }) { run { id } userErrors { code } } }", json!({ "id": own.batch, "ids": projects })),
        ] {
            let (_, answer) = stranger.send(text, variables.clone()).await;
            let payload = answer["data"].as_object().and_then(|data| data.values().next()).unwrap_or(&Value::Null);
            let is_refused = payload["userErrors"].as_array().is_some_and(|errors| !errors.is_empty());
            assert!(is_refused && leaks(&answer, &variables, &all).is_none() && !answer.to_string().contains("INTERNAL"), "{text}: {answer}");
        }
        assert_eq!(inventory(&owner, &ids).await, before, "the stranger changed something");
        app.stop().await;
    }

    async fn a_cursor_of_another_practice_is_a_place_in_the_own_list_and_no_more(app: TestApp) {
        let (owner, stranger) = (app.adviser(), app.stranger());
        let own_first = furnish(&stranger, "Own Maple").await;
        let ids = furnish(&owner, SECRET).await;
        furnish(&stranger, "Own Birch").await;
        let all = foreign(&ids);
        let cursors = "{ batches { edges { cursor } } projects { edges { cursor } } templates { edges { cursor } } }";
        let theirs = owner.run(cursors, json!({})).await;
        let mut tried = 0;
        for list in ["batches", "projects", "templates"] {
            for cursor in theirs[list]["edges"].as_array().expect("edges").iter().map(|edge| &edge["cursor"]) {
                // templates are listed forwards alone
                let sides: &[&str] = if list == "templates" { &["after"] } else { &["after", "before"] };
                for side in sides {
                    let size = if *side == "after" { "first" } else { "last" };
                    let text = format!("query($c: String) {{ {list}({size}: 50, {side}: $c) {{ totalCount edges {{ cursor node {{ id name }} }} }} }}");
                    let (_, answer) = stranger.send(&text, json!({ "c": cursor })).await;
                    assert_eq!(leaks(&answer, &json!({ "c": cursor }), &all), None, "{list} {side}: {answer}");
                    assert!(answer["data"][list]["totalCount"].is_u64(), "{list} {side}: {answer}");
                    tried += 1;
                }
            }
        }
        assert!(tried >= 5, "only {tried}");
        let text = "query($id: ID!, $c: String) { batch(id: $id) { projects(first: 50, after: $c) { nodes { id name } } } }";
        let variables = json!({ "id": own_first.batch, "c": theirs["projects"]["edges"][0]["cursor"] });
        let (_, answer) = stranger.send(text, variables.clone()).await;
        assert_eq!(leaks(&answer, &variables, &all), None, "{answer}");
        app.stop().await;
    }
}
