//! Lists of batches and projects: filters, every order in both directions, and pages that add up whatever happens meanwhile.

use crate::on_both;
use crate::support::calls::{done, text, texts};
use crate::support::drafter::HeldDrafter;
use crate::support::{Client, Mode, TestApp, has_postgres, row};
use serde_json::{Value, json};

const BATCHES: &str = "query($first: Int, $after: String, $last: Int, $before: String, $filter: BatchFilter, $orderBy: [BatchOrder!]) { \
    list: batches(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy) { totalCount \
    nodes { id name activity createdAt updatedAt counts { total } totalQualifyingExpenditure { amount } claim { notificationDueBy } } \
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";
const PROJECTS: &str = "query($first: Int, $after: String, $last: Int, $before: String, $filter: ProjectFilter, $orderBy: [ProjectOrder!]) { \
    list: projects(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy) { totalCount \
    nodes { id name externalRef status createdAt updatedAt costs { total } facts { startDate } quality { score } } \
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

async fn page(client: &Client, query: &str, arguments: &Value, more: Value) -> Value {
    let mut values = arguments.clone();
    for (name, value) in more.as_object().expect("an object") {
        values[name] = value.clone();
    }
    let list = client.run(query, values).await["list"].clone();
    let edges: Vec<_> = list["edges"].as_array().expect("edges").iter().map(|edge| text(&edge["node"]["id"])).collect();
    assert_eq!(edges, texts(&list["nodes"], "id"));
    list
}

/// The whole list, which must fit a page.
async fn whole(client: &Client, query: &str, arguments: &Value) -> Value {
    let list = page(client, query, arguments, json!({ "first": 100 })).await;
    let info = &list["pageInfo"];
    assert_eq!((&info["hasNextPage"], &info["hasPreviousPage"]), (&json!(false), &json!(false)));
    assert_eq!(list["totalCount"], texts(&list["nodes"], "id").len());
    list
}

/// Ids of the list, page by page from the start.
async fn forward(client: &Client, query: &str, arguments: &Value, size: i32) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), Value::Null);
    loop {
        let list = page(client, query, arguments, json!({ "first": size, "after": after })).await;
        assert_eq!(list["pageInfo"]["hasPreviousPage"], !after.is_null());
        ids.extend(texts(&list["nodes"], "id"));
        if list["pageInfo"]["hasNextPage"] == false {
            return ids;
        }
        after = list["pageInfo"]["endCursor"].clone();
    }
}

/// Ids of the list, page by page from the end, put into the order of the list.
async fn backward(client: &Client, query: &str, arguments: &Value, size: i32) -> Vec<String> {
    let (mut ids, mut before) = (Vec::new(), Value::Null);
    loop {
        let list = page(client, query, arguments, json!({ "last": size, "before": before })).await;
        assert_eq!(list["pageInfo"]["hasNextPage"], !before.is_null());
        ids.splice(0..0, texts(&list["nodes"], "id"));
        if list["pageInfo"]["hasPreviousPage"] == false {
            return ids;
        }
        before = list["pageInfo"]["startCursor"].clone();
    }
}

/// The values that a list is sorted by; numbers are padded so that they compare as texts.
fn keys(list: &Value, key: impl Fn(&Value) -> Option<String>) -> Vec<Option<String>> {
    list["nodes"].as_array().expect("nodes").iter().map(key).collect()
}

/// Asserts that values are in order; those that are absent come last in either direction.
fn assert_sorted(values: &[Option<String>], direction: &str, field: &str) {
    let there: Vec<_> = values.iter().map_while(Option::as_ref).collect();
    assert!(values[there.len()..].iter().all(Option::is_none), "{field} {direction}: {values:?}");
    let sorted = if direction == "ASC" { there.is_sorted() } else { there.iter().rev().is_sorted() };
    assert!(sorted, "{field} {direction}: {values:?}");
}

fn amount(value: &Value) -> String {
    format!("{:0>20}", value.as_str().expect("an amount"))
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

async fn assert_order(client: &Client, query: &str, field: &str, key: impl Fn(&Value) -> Option<String> + Copy) {
    for direction in ["ASC", "DESC"] {
        let arguments = json!({ "orderBy": [{ "field": field, "direction": direction }] });
        let list = whole(client, query, &arguments).await;
        assert_sorted(&keys(&list, key), direction, field);
        let ids = texts(&list["nodes"], "id");
        assert_eq!(forward(client, query, &arguments, 2).await, ids, "{field} {direction}");
        assert_eq!(backward(client, query, &arguments, 2).await, ids, "{field} {direction}");
    }
}

/// Names of what is listed.
async fn names(client: &Client, query: &str, filter: Value) -> Vec<String> {
    texts(&whole(client, query, &json!({ "filter": filter })).await["nodes"], "name")
}

on_both! {
    async fn batches_are_sorted_by_every_field_and_paged_both_ways(app: TestApp) {
        let adviser = app.adviser();
        let ends = [Some("2026-03-31"), None, Some("2025-12-31"), Some("2026-03-31"), None];
        for (number, (name, end)) in ["beta", "Alpha", "gamma", "Delta", "epsilon"].into_iter().zip(ends).enumerate() {
            let input = json!({ "name": name, "claim": { "accountingPeriodEnd": end } });
            let batch = text(&done(&adviser.input("createBatch", "batch { id }", input).await)["batch"]["id"]);
            for project in 0..number % 3 {
                adviser.create_project(&batch, row(10 * number + project)).await;
            }
        }
        assert_order(&adviser, BATCHES, "NAME", |batch| word(&batch["name"]).map(|name| name.to_lowercase())).await;
        assert_order(&adviser, BATCHES, "CREATED_AT", |batch| word(&batch["createdAt"])).await;
        assert_order(&adviser, BATCHES, "UPDATED_AT", |batch| word(&batch["updatedAt"])).await;
        assert_order(&adviser, BATCHES, "PROJECT_COUNT", |batch| Some(format!("{:0>9}", batch["counts"]["total"].as_i64().expect("a number")))).await;
        assert_order(&adviser, BATCHES, "EXPENDITURE", |batch| Some(amount(&batch["totalQualifyingExpenditure"]["amount"]))).await;
        assert_order(&adviser, BATCHES, "NOTIFICATION_DUE", |batch| word(&batch["claim"]["notificationDueBy"])).await;
        // later entries break ties, in directions of their own
        let arguments = json!({ "orderBy": [{ "field": "NOTIFICATION_DUE" }, { "field": "NAME", "direction": "DESC" }] });
        let list = whole(&adviser, BATCHES, &arguments).await;
        assert_eq!(texts(&list["nodes"], "name"), ["gamma", "Delta", "beta", "epsilon", "Alpha"]);
        let ids = texts(&list["nodes"], "id");
        assert_eq!(forward(&adviser, BATCHES, &arguments, 1).await, ids);
        assert_eq!(backward(&adviser, BATCHES, &arguments, 3).await, ids);
        app.stop().await;
    }

    async fn projects_are_sorted_by_every_field_and_paged_both_ways(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        for (name, reference, start, staff) in [
            ("beta", json!("P-10"), json!("2025-05-01"), "10.00"),
            ("Alpha", json!("P-2"), json!(null), "9.00"),
            ("gamma", json!(null), json!("2024-12-31"), "100.00"),
            ("Delta", json!("p-9a"), json!("2025-05-01"), "9.00"),
            ("epsilon", json!("A"), json!(null), "0.00"),
        ] {
            adviser.create_project(&batch, json!({ "name": name, "externalRef": reference, "facts": { "startDate": start }, "costs": { "staff": staff } })).await;
        }
        let ids = adviser.project_ids(&batch).await;
        adviser.write_by_hand(&ids[3]).await;
        adviser.write_by_hand(&ids[1]).await;
        let outcome = adviser.project(&ids[0]).await["sections"][5].clone();
        done(&adviser.edit(&outcome, "It works.").await);
        adviser.bulk("approveProjects", &[&ids[1]]).await;

        assert_order(&adviser, PROJECTS, "NAME", |project| word(&project["name"]).map(|name| name.to_lowercase())).await;
        let natural = |project: &Value| word(&project["externalRef"]).map(|reference| match reference.as_str() {
            "A" => "1".to_owned(),
            "P-2" => "2".to_owned(),
            "p-9a" => "3".to_owned(),
            _ => "4".to_owned(),
        });
        let by_reference = json!({ "orderBy": [{ "field": "EXTERNAL_REF" }] });
        assert_sorted(&keys(&whole(&adviser, PROJECTS, &by_reference).await, natural), "ASC", "EXTERNAL_REF");
        let work = ["DRAFT", "QUEUED", "GENERATING", "NEEDS_REVIEW", "APPROVED", "FAILED"];
        let rank = |project: &Value| work.iter().position(|status| project["status"] == *status).map(|rank| rank.to_string());
        assert_order(&adviser, PROJECTS, "STATUS", rank).await;
        let score = |project: &Value| project["quality"]["score"].as_i64().map(|score| format!("{score:0>3}"));
        assert_order(&adviser, PROJECTS, "SCORE", score).await;
        assert_order(&adviser, PROJECTS, "EXPENDITURE", |project| Some(amount(&project["costs"]["total"]))).await;
        assert_order(&adviser, PROJECTS, "START_DATE", |project| word(&project["facts"]["startDate"])).await;
        assert_order(&adviser, PROJECTS, "CREATED_AT", |project| word(&project["createdAt"])).await;
        assert_order(&adviser, PROJECTS, "UPDATED_AT", |project| word(&project["updatedAt"])).await;
        assert_order(&adviser, PROJECTS, "EXTERNAL_REF", natural).await;
        app.stop().await;
    }

    async fn pages_add_up_though_rows_come_and_go_between_them(app: TestApp) {
        let adviser = app.adviser();
        for name in ["b", "d", "f", "h", "j"] {
            adviser.create_batch(name).await;
        }
        // newest first: what comes later stands before the first page
        let first = page(&adviser, BATCHES, &json!({}), json!({ "first": 2 })).await;
        assert_eq!(texts(&first["nodes"], "name"), ["j", "h"]);
        let (new, gone) = (adviser.create_batch("k").await, text(&first["nodes"][1]["id"]));
        // the row that the cursor was taken from goes away
        done(&adviser.by_id("deleteBatch", "deletedId", &gone).await);
        let rest = page(&adviser, BATCHES, &json!({}), json!({ "first": 10, "after": first["pageInfo"]["endCursor"] })).await;
        assert_eq!(texts(&rest["nodes"], "name"), ["f", "d", "b"]);
        let before = page(&adviser, BATCHES, &json!({}), json!({ "last": 10, "before": first["pageInfo"]["endCursor"] })).await;
        assert_eq!(texts(&before["nodes"], "name"), ["k", "j"]);
        assert_eq!(before["nodes"][0]["id"], new);

        let by_name = json!({ "orderBy": [{ "field": "NAME" }] });
        let mut seen = Vec::new();
        let mut after = Value::Null;
        for name in ["a", "c", "e", "g", "i"] {
            // one before what was seen, and one behind it
            let list = page(&adviser, BATCHES, &by_name, json!({ "first": 1, "after": after })).await;
            seen.extend(texts(&list["nodes"], "name"));
            after = list["pageInfo"]["endCursor"].clone();
            adviser.create_batch(name).await;
            adviser.create_batch(&format!("{name}{name}")).await;
        }
        let list = page(&adviser, BATCHES, &by_name, json!({ "first": 100, "after": after })).await;
        seen.extend(texts(&list["nodes"], "name"));
        assert!(seen.is_sorted_by(|a, b| a < b), "none twice and in order: {seen:?}");
        assert!(["b", "d", "f", "j", "k"].iter().all(|name| seen.contains(&(*name).to_owned())), "none is missing: {seen:?}");
        app.stop().await;
    }

    async fn the_default_list_leaves_out_what_is_archived_and_has_the_newest_first(app: TestApp) {
        let adviser = app.adviser();
        let mut ids = Vec::new();
        for name in ["One", "Two", "Three", "Four"] {
            ids.push(adviser.create_batch(name).await);
        }
        done(&adviser.by_id("archiveBatch", "batch { id }", &ids[1]).await);
        done(&adviser.by_id("deleteBatch", "deletedId purgeAfter", &ids[2]).await);
        done(&adviser.rename(&ids[0], "One, renamed").await);
        assert_eq!(names(&adviser, BATCHES, Value::Null).await, ["Four", "One, renamed"]);
        assert_eq!(names(&adviser, BATCHES, json!({ "lifecycle": ["ARCHIVED"] })).await, ["Two"]);
        assert_eq!(names(&adviser, BATCHES, json!({ "lifecycle": ["ARCHIVED", "ACTIVE"] })).await, ["Four", "Two", "One, renamed"]);
        assert_eq!(names(&adviser, BATCHES, json!({ "lifecycle": [] })).await, Vec::<String>::new());
        // the usual page has twenty
        for number in 0..20 {
            adviser.create_batch(&format!("Batch {number}")).await;
        }
        let list = page(&adviser, BATCHES, &json!({}), json!({})).await;
        assert_eq!((texts(&list["nodes"], "id").len(), &list["totalCount"], &list["pageInfo"]["hasNextPage"]), (20, &json!(22), &json!(true)));
        app.stop().await;
    }

    async fn batches_are_filtered(app: TestApp) {
        let adviser = app.adviser();
        for (name, more) in [
            ("Acme 100%", json!({ "description": "First claim", "claim": { "scheme": "ERIS", "accountingPeriodEnd": "2026-03-31" } })),
            ("Beta", json!({ "externalRef": "REF_7", "claim": { "scheme": "MERGED_RDEC", "accountingPeriodEnd": "2025-12-31" } })),
            ("Gamma", json!({ "claim": { "companyName": "Übermaß Ltd" } })),
        ] {
            let mut input = more;
            input["name"] = json!(name);
            done(&adviser.input("createBatch", "batch { id }", input).await);
        }
        for (filter, expected) in [
            (json!({ "text": "acme" }), vec!["Acme 100%"]),
            (json!({ "text": "FIRST claim" }), vec!["Acme 100%"]),
            (json!({ "text": "ref_7" }), vec!["Beta"]),
            (json!({ "text": "refx7" }), vec![]),
            (json!({ "text": "0%" }), vec!["Acme 100%"]),
            (json!({ "text": "%" }), vec!["Acme 100%"]),
            (json!({ "text": "ÜBERMASS" }), vec![]),
            (json!({ "text": "übermaß" }), vec!["Gamma"]),
            (json!({ "text": "  " }), vec!["Gamma", "Beta", "Acme 100%"]),
            (json!({ "scheme": ["ERIS"] }), vec!["Acme 100%"]),
            (json!({ "scheme": ["ERIS", "MERGED_RDEC"] }), vec!["Beta", "Acme 100%"]),
            (json!({ "scheme": [] }), vec![]),
            (json!({ "notificationDueBefore": "2026-06-30" }), vec!["Beta"]),
            (json!({ "notificationDueBefore": "2026-06-29" }), vec![]),
            (json!({ "notificationDueBefore": "2026-09-30", "text": "acme" }), vec!["Acme 100%"]),
            (json!({ "updatedSince": "2020-01-01T00:00:00Z" }), vec!["Gamma", "Beta", "Acme 100%"]),
            (json!({ "updatedSince": "2999-01-01T00:00:00+01:00" }), vec![]),
        ] {
            assert_eq!(names(&adviser, BATCHES, filter.clone()).await, expected, "{filter}");
        }
        app.stop().await;
    }

    async fn projects_are_filtered(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        for (name, sector, claim, baseline) in [("Film", "Packaging", "C-1", "oxygen"), ("Pump", "WATER", "C-2", "leaks"), ("Gel", "Water", "C-1", "Oxygen too")] {
            let facts = json!({ "sector": sector, "claimRef": claim, "baseline": baseline });
            adviser.create_project(&batch, json!({ "name": name, "externalRef": format!("ref-{name}"), "facts": facts })).await;
        }
        let (other, others) = adviser.batch_of("Other", 1).await;
        let ids = adviser.project_ids(&batch).await;
        adviser.write_by_hand(&ids[0]).await;
        let outcome = adviser.project(&ids[1]).await["sections"][5].clone();
        done(&adviser.edit(&outcome, "It works.").await);
        let (low, high) = (adviser.project(&ids[1]).await, adviser.project(&ids[0]).await);
        let (low, high) = (low["quality"]["score"].as_i64().expect("a score"), high["quality"]["score"].as_i64().expect("a score"));
        assert!(low < high);
        for (filter, expected) in [
            (Value::Null, vec!["Film", "Pump", "Gel", "Project 1"]),
            (json!({ "ids": [ids[2], others[0], "nonsense"] }), vec!["Gel", "Project 1"]),
            (json!({ "ids": [] }), vec![]),
            (json!({ "status": ["NEEDS_REVIEW"] }), vec!["Film"]),
            (json!({ "status": ["DRAFT"] }), vec!["Pump", "Gel", "Project 1"]),
            (json!({ "text": "OXYGEN" }), vec!["Film", "Gel"]),
            (json!({ "text": "ref-pump" }), vec!["Pump"]),
            (json!({ "sector": ["water"] }), vec!["Pump", "Gel"]),
            (json!({ "claimRef": ["C-1"] }), vec!["Film", "Gel"]),
            (json!({ "claimRef": ["c-1"] }), vec![]),
            (json!({ "claimRef": ["C-1"], "sector": ["WATER"], "text": "gel" }), vec!["Gel"]),
            (json!({ "scoreBelow": high }), vec!["Pump"]),
            (json!({ "scoreBelow": low }), vec![]),
            (json!({ "updatedSince": "2999-01-01T00:00:00Z" }), vec![]),
        ] {
            assert_eq!(names(&adviser, PROJECTS, filter.clone()).await, expected, "{filter}");
        }
        adviser.bulk("deleteProjects", &[&ids[1]]).await;
        assert_eq!(names(&adviser, PROJECTS, json!({ "sector": ["Water"] })).await, ["Gel"]);
        assert_eq!(names(&adviser, PROJECTS, json!({ "sector": ["Water"], "includeDeleted": true })).await, ["Pump", "Gel"]);
        done(&adviser.by_id("deleteBatch", "deletedId", &other).await);
        assert_eq!(names(&adviser, PROJECTS, Value::Null).await, ["Film", "Gel"]);
        app.stop().await;
    }

    async fn the_projects_of_each_of_several_batches_are_paged(app: TestApp) {
        let adviser = app.adviser();
        let (_, first) = adviser.batch_of("One", 3).await;
        let (_, second) = adviser.batch_of("Two", 1).await;
        adviser.create_batch("Three").await;
        let query = "query($last: Int, $before: String, $after: String, $first: Int) { batches(orderBy: [{ field: CREATED_AT }]) { nodes { \
            projects(first: $first, after: $after, last: $last, before: $before, orderBy: [{ field: NAME, direction: DESC }]) { totalCount nodes { id } \
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } } }";
        let pages = async |values: Value| {
            let nodes = adviser.run(query, values).await["batches"]["nodes"].clone();
            nodes.as_array().expect("batches").iter().map(|batch| batch["projects"].clone()).collect::<Vec<_>>()
        };
        let ids = |pages: &[Value]| pages.iter().map(|page| texts(&page["nodes"], "id")).collect::<Vec<_>>();
        let start = pages(json!({ "first": 2 })).await;
        assert_eq!(ids(&start), [vec![first[2].clone(), first[1].clone()], vec![second[0].clone()], vec![]]);
        assert_eq!(start.iter().map(|page| page["totalCount"].as_i64()).collect::<Vec<_>>(), [Some(3), Some(1), Some(0)]);
        let more: Vec<_> = start.iter().map(|page| page["pageInfo"]["hasNextPage"] == true).collect();
        assert_eq!(more, [true, false, false]);
        let next = pages(json!({ "first": 2, "after": start[0]["pageInfo"]["endCursor"] })).await;
        assert_eq!(ids(&next)[0], [first[0].clone()]);
        let end = pages(json!({ "last": 2 })).await;
        assert_eq!(ids(&end), [vec![first[1].clone(), first[0].clone()], vec![second[0].clone()], vec![]]);
        let previous = pages(json!({ "last": 2, "before": end[0]["pageInfo"]["startCursor"] })).await;
        assert_eq!((ids(&previous)[0].as_slice(), &previous[0]["pageInfo"]["hasPreviousPage"]), (&first[2..], &json!(false)));
        app.stop().await;
    }
}

/// The filter by activity is a condition in SQL and the field is worked out from numbers: they must agree.
async fn activities_agree(mode: Mode) {
    let drafter = HeldDrafter::new(0);
    let held = drafter.clone();
    let app = TestApp::start_with(mode, |surroundings| surroundings.drafters = vec![held]).await;
    let adviser = app.adviser();
    adviser.create_batch("EMPTY").await;
    adviser.batch_of("READY", 2).await;
    let (_, mixed) = adviser.batch_of("READY 2", 2).await;
    adviser.write_by_hand(&mixed[0]).await;
    for name in ["IN_REVIEW", "APPROVED", "IN_REVIEW 2"] {
        let (_, ids) = adviser.batch_of(name, 2).await;
        for id in &ids {
            adviser.write_by_hand(id).await;
        }
        let approve = match name {
            "APPROVED" => 2,
            "IN_REVIEW 2" => 1,
            _ => continue,
        };
        let approved: Vec<&str> = ids.iter().take(approve).map(String::as_str).collect();
        adviser.bulk("approveProjects", &approved).await;
    }
    let (_, gone) = adviser.batch_of("EMPTY 2", 1).await;
    adviser.bulk("deleteProjects", &[&gone[0]]).await;
    let (generating, _) = adviser.batch_of("GENERATING", 1).await;
    let run = adviser.start(&generating).await;

    let all = whole(&adviser, BATCHES, &json!({})).await;
    let all = all["nodes"].as_array().expect("nodes");
    for batch in all {
        assert!(text(&batch["name"]).starts_with(&text(&batch["activity"])), "{batch}");
    }
    for activity in ["EMPTY", "READY", "IMPORTING", "GENERATING", "IN_REVIEW", "APPROVED"] {
        let expected: Vec<_> = all.iter().filter(|batch| batch["activity"] == activity).map(|batch| text(&batch["name"])).collect();
        assert_eq!(names(&adviser, BATCHES, json!({ "activity": [activity] })).await, expected, "{activity}");
        assert_eq!(expected.is_empty(), activity == "IMPORTING");
    }
    assert_eq!(names(&adviser, BATCHES, json!({ "activity": ["APPROVED", "GENERATING"] })).await, ["GENERATING", "APPROVED"]);
    assert_eq!(names(&adviser, BATCHES, json!({ "activity": [] })).await, Vec::<String>::new());
    drafter.permits.add_permits(100);
    assert_eq!(adviser.follow_run(&generating, &run).await, "SUCCEEDED");
    assert_eq!(names(&adviser, BATCHES, json!({ "activity": ["GENERATING"] })).await, Vec::<String>::new());
    app.stop().await;
}

#[tokio::test]
async fn the_filter_by_activity_agrees_with_the_field_embedded() {
    activities_agree(Mode::Embedded).await;
}

#[tokio::test]
async fn the_filter_by_activity_agrees_with_the_field_scaled_out() {
    if has_postgres() {
        activities_agree(Mode::ScaledOut).await;
    }
}
