//! Tenant isolation by generation: documents are made from the schema for every field that returns an object and for
//! every place that takes an id, and asked by a stranger with the id of every kind of object. `tenancy` says what exactly
//! each root field answers; this says that nothing was forgotten, now and when the schema grows.

mod lists;
mod schema;

use crate::on_both;
use crate::support::Client;
use crate::support::socket::Socket;
use crate::tenancy::{Ids, SECRET, furnish, inventory};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schema::{Argument, Schema, named};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Foreign ids of every kind, a cursor, and ids without their kind, as a client may choose them for a new object.
fn foreign(ids: &Ids) -> Vec<String> {
    let bare = |id: &String| {
        let bytes = URL_SAFE_NO_PAD.decode(id).expect("base64");
        String::from_utf8(bytes).expect("text").split_once(':').expect("a kind").1.to_owned()
    };
    let nodes = ids.nodes().into_iter().cloned();
    nodes.chain([ids.cursor.clone(), bare(&ids.batch), bare(&ids.project), bare(&ids.template)]).collect()
}

/// The asker's own id for an argument that is not the one under test, from its name and that of the root field.
fn own_id(own: &Ids, root: &str, argument: &str) -> String {
    let about = if matches!(argument, "id" | "ids") { root } else { argument };
    let about = about.to_lowercase();
    let kinds = [
        ("section", &own.section),
        ("project", &own.project),
        ("template", &own.template),
        ("export", &own.export),
        ("import", &own.import),
        ("run", &own.run),
    ];
    kinds.into_iter().find(|(word, _)| about.contains(word)).map_or(&own.batch, |(_, id)| id).clone()
}

/// A document for a root field with an id at a place, and its variables.
fn document(
    schema: &Schema,
    kind: &str,
    root: &schema::Field,
    place: &[String],
    id: &str,
    own: &Ids,
    seen: &mut BTreeSet<String>,
) -> (String, Value) {
    let values: Vec<(&Argument, Value)> = root
        .arguments
        .iter()
        .filter_map(|argument| Some((argument, schema.value(argument, place, id, &|name| own_id(own, &root.name, name))?)))
        .collect();
    let list = |item: &dyn Fn(&Argument) -> String| {
        let all: Vec<String> = values.iter().map(|(argument, _)| item(argument)).collect();
        if all.is_empty() { String::new() } else { format!("({})", all.join(", ")) }
    };
    let (declared, passed) =
        (list(&|argument| format!("${}: {}", argument.name, argument.ty)), list(&|argument| format!("{0}: ${0}", argument.name)));
    let selection = schema.selection(named(&root.ty), seen);
    let variables: Map<String, Value> = values.iter().map(|(argument, value)| (argument.name.clone(), value.clone())).collect();
    (format!("{kind}{declared} {{ {}{passed} {selection} }}", root.name), Value::Object(variables))
}

/// What must not be in an answer to a stranger: the owner's words, and ids that were not in the question.
fn leaks(answer: &Value, question: &Value, ids: &[String]) -> Option<String> {
    let (answer, question) = (answer.to_string(), question.to_string());
    let leaked = |text: &String| answer.contains(text.as_str()) && !question.contains(text.as_str());
    if answer.contains(SECRET) { Some(SECRET.into()) } else { ids.iter().find(|id| leaked(id)).cloned() }
}

fn short(answer: &Value) -> String {
    answer.to_string().chars().take(400).collect()
}

/// An error of the document itself would mean that nothing was tried.
fn is_refused_as_a_whole(answer: &Value) -> bool {
    answer["errors"].as_array().is_some_and(|errors| errors.iter().any(|error| error.get("path").is_none()))
}

/// Asks for every root field of a type with every id at every place; gives what went wrong and how many were asked.
async fn ask_everything(
    stranger: &Client,
    schema: &Schema,
    kind: &str,
    ids: &[String],
    own: &Ids,
    seen: &mut BTreeSet<String>,
) -> (Vec<String>, usize) {
    let (mut wrong, mut asked) = (Vec::new(), 0);
    let (type_name, mut socket) = (kind[..1].to_uppercase() + &kind[1..], stranger.socket().await);
    for root in schema.fields(&type_name) {
        let mut places: Vec<Vec<String>> = root.arguments.iter().flat_map(|argument| schema.id_places(argument)).collect();
        if places.is_empty() {
            places.push(Vec::new());
        }
        for place in places {
            for id in ids {
                asked += 1;
                let (text, variables) = document(schema, kind, root, &place, id, own, seen);
                let answer = if kind == "subscription" {
                    first_of(&mut socket, asked, &text, &variables).await
                } else {
                    stranger.send(&text, variables.clone()).await.1
                };
                let problem = match leaks(&answer, &variables, ids) {
                    Some(leak) => Some(format!("leaks {leak}")),
                    None if is_refused_as_a_whole(&answer) => Some("was not understood".to_owned()),
                    None => answer["errors"].to_string().contains("\"INTERNAL\"").then(|| "is a fault".to_owned()),
                };
                wrong.extend(
                    problem.map(|problem| format!("{}.{} {problem}: {variables}\n  {}", root.name, place.join("."), short(&answer))),
                );
                if place.is_empty() {
                    break;
                }
            }
        }
    }
    (wrong, asked)
}

/// The first message of a subscription, which must refuse it.
async fn first_of(socket: &mut Socket, number: usize, text: &str, variables: &Value) -> Value {
    let id = number.to_string();
    socket.send(json!({ "id": id, "type": "subscribe", "payload": { "query": text, "variables": variables } })).await;
    loop {
        let message = socket.receive().await.expect("a message");
        if message["id"] != id.as_str() {
            continue;
        }
        socket.send(json!({ "id": id, "type": "complete" })).await;
        let is_own = message["type"] == "next";
        let errors: Vec<Value> = message["payload"].as_array().cloned().unwrap_or_default();
        let not_found = errors.iter().any(|error| {
            ["NOT_FOUND", "VALIDATION_FAILED"].iter().any(|code| error["extensions"]["code"] == *code) && error.get("path").is_some()
        });
        assert!(is_own || not_found, "{text} {variables}: {message}");
        return message["payload"].clone();
    }
}

on_both! {
    async fn no_field_and_no_argument_gives_a_stranger_anything_of_another_practice(app: TestApp) {
        let (owner, stranger, schema) = (app.adviser(), app.stranger(), Schema::read());
        let ids = furnish(&owner, SECRET).await;
        let own = furnish(&stranger, "Own Maple").await;
        let all = foreign(&ids);
        let before = inventory(&owner, &ids).await;
        let (mut wrong, mut asked, mut seen) = (Vec::new(), 0, BTreeSet::new());
        // by id, everything that hangs below an object of any kind; the owner sees it, so there is something to see
        for kind in schema.nodes() {
            let selection = schema.selection(kind, &mut seen);
            let text = format!("query($id: ID!) {{ node(id: $id) {{ __typename ... on {kind} {selection} }} }}");
            let mut found = false;
            for id in &all {
                asked += 1;
                let theirs = stranger.send(&text, json!({ "id": id })).await.1;
                if (&theirs["data"], theirs.get("errors")) != (&json!({ "node": null }), None) {
                    wrong.push(format!("node({id}) as {kind}: {}", short(&theirs)));
                }
                let mine = owner.send(&text, json!({ "id": id })).await.1;
                found |= mine["data"]["node"]["__typename"] == *kind.as_str();
            }
            assert!(found, "the owner has no {kind} to try with: add one to what is furnished");
        }
        for kind in ["query", "mutation", "subscription"] {
            let (more, count) = ask_everything(&stranger, &schema, kind, &all, &own, &mut seen).await;
            wrong.extend(more);
            asked += count;
            seen.extend(schema.fields(&(kind[..1].to_uppercase() + &kind[1..])).iter().map(|field| format!("{}.{}", kind[..1].to_uppercase() + &kind[1..], field.name)));
        }
        assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
        assert!(asked > 600, "only {asked} were asked");
        let missing: Vec<String> = schema.object_fields().difference(&seen).cloned().collect();
        assert_eq!(missing, Vec::<String>::new(), "fields that return objects and were never tried");
        assert_eq!(inventory(&owner, &ids).await, before, "the stranger changed something");
        app.stop().await;
    }
}

#[test]
fn every_place_that_takes_an_id_is_found() {
    let schema = Schema::read();
    let places = |kind: &str| -> BTreeSet<String> {
        let of = |root: &schema::Field| {
            root.arguments
                .iter()
                .flat_map(|argument| schema.id_places(argument))
                .map(|place| format!("{}.{}", root.name, place.join(".")))
                .collect::<Vec<_>>()
        };
        schema.fields(kind).iter().flat_map(of).collect()
    };
    let (queries, mutations, subscriptions) = (places("Query"), places("Mutation"), places("Subscription"));
    for expected in ["node.id", "nodes.ids", "projects.filter.ids", "template.by.id", "checkNarrative.input.templateId"] {
        assert!(queries.contains(expected), "{expected} is not among {queries:?}");
    }
    for expected in
        ["updateBatch.input.templateId", "startGeneration.input.generation.projectIds", "pinAifProjects.unpin", "createBatch.input.id"]
    {
        assert!(mutations.contains(expected), "{expected} is not among {mutations:?}");
    }
    assert!(subscriptions.contains("batchProgress.after") && subscriptions.contains("importProgress.importId"), "{subscriptions:?}");
}
