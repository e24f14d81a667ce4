//! Answers that go through the gate are those of async-graphql's own executor, to the byte: every query of the client and
//! the playground, and generated ones over the whole schema, asked of one batch with runs, texts, an import and an export.

use crate::on_both;
use crate::support::TestApp;
use crate::support::client::Client;
use async_graphql::{Request, Response, Variables};
use claimwright::domain::actor::Actor;
use claimwright::domain::ids::{UserId, WorkspaceId};
use claimwright::graphql::loads::Loads;
use claimwright::graphql::{ApiSettings, AppSchema, Direct, context, direct, schema, sdl};
use graphql_gate::direct::runs;
use graphql_gate::generate::Generator;
use graphql_gate::verdict::Verdict;
use graphql_gate::{MergedRoots, Stock, failures, respond};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Generated documents for each database.
const DOCUMENTS: u64 = 400;

struct Both<'a> {
    app: &'a TestApp,
    schema: AppSchema,
    direct: Direct,
    /// How many answers came without async-graphql's executor.
    directly: AtomicUsize,
    actor: Actor,
}

impl<'a> Both<'a> {
    async fn new(app: &'a TestApp, adviser: &Client) -> Self {
        let viewer = adviser.run("{ viewer { user { id } workspace { id } } }", json!({})).await["viewer"].clone();
        let id = |of: &str| viewer[of]["id"].as_str().expect("an id").to_owned();
        let mut actor = Actor::system(WorkspaceId::from_global(&id("workspace")));
        actor.user = Some(UserId::from_global(&id("user")));
        let schema = schema(app.services().clone(), ApiSettings { introspection: true });
        let direct = direct(&schema).expect("the extension");
        Self { app, schema, direct, directly: AtomicUsize::default(), actor }
    }

    fn request(&self, text: &str, variables: &Value, loads: &Loads) -> Request {
        let mut request = Request::new(text).variables(Variables::from_json(variables.clone()));
        request.data = context::session(self.app.services(), Some(self.actor.clone()), loads);
        request
    }

    async fn answer(&self, text: &str, variables: &Value, stock: bool) -> String {
        let loads = Loads::default();
        let mut request = self.request(text, variables, &loads);
        if stock {
            request = request.data(Stock);
        } else if let Ok(document) = async_graphql::parser::parse_query(text)
            && document.operations.iter().any(|(_, operation)| respond::repeats_a_root_key(&document, &operation.node))
        {
            request = request.data(MergedRoots);
        }
        written(loads.drive(self.schema.execute(request)).await)
    }

    /// The answer without async-graphql's executor, if the document is valid and simple enough.
    async fn directly(&self, text: &str, variables: &Value) -> Option<String> {
        let document = async_graphql::parser::parse_query(text).ok().filter(runs)?;
        let (loads, verdict) = (Loads::default(), Verdict::default());
        loads.drive(self.schema.execute(self.request(text, variables, &loads).data(verdict.clone()))).await;
        if !verdict.is_known() {
            return None;
        }
        self.directly.fetch_add(1, Ordering::Relaxed);
        let loads = Loads::default();
        let running = Box::pin(self.direct.run(&document, self.request(text, variables, &loads)));
        Some(written(loads.drive(running).await))
    }

    /// Asks all; gives the answer.
    async fn same(&self, text: &str, variables: &Value) -> String {
        let (gated, stock) = (self.answer(text, variables, false).await, self.answer(text, variables, true).await);
        assert_alike(text, &gated, &stock);
        if let Some(direct) = self.directly(text, variables).await {
            assert_alike(text, &direct, &stock);
        }
        gated
    }
}

fn assert_alike(text: &str, gated: &str, stock: &str) {
    let at = gated.bytes().zip(stock.bytes()).position(|(a, b)| a != b).unwrap_or(gated.len().min(stock.len()));
    let around = |text: &str| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(150)..text.len().min(at + 250)]).into_owned();
    assert!(gated == stock, "{text}\ngate:  …{}…\nstock: …{}…", around(gated), around(stock));
}

/// An answer as text. async-graphql's own executor executes a field that is repeated under one key as often as it is
/// repeated, and reports its failure as often: once is enough.
fn written(mut response: Response) -> String {
    response.errors.iter_mut().for_each(failures::settle);
    response.errors.sort_by_key(|error| serde_json::to_string(&(&error.path, &error.message)).expect("texts"));
    response.errors.dedup_by_key(|error| serde_json::to_string(&(&error.path, &error.message)).expect("texts"));
    respond::to_string(&response)
}

on_both! {
    async fn what_the_gate_answers_is_what_the_stock_executor_answers(app: TestApp) {
        let adviser = app.adviser();
        let (batch, projects) = adviser.generated("Acme", 3).await;
        let data = adviser
            .run(
                "query($id: ID!) { batch(id: $id) { template { id } runs { nodes { id attempts(first: 3) { nodes { id } } } } imports { nodes { id } } \
                    projects(first: 1) { nodes { sections { id revisions { nodes { id } } } } } } }",
                json!({ "id": batch }),
            )
            .await["batch"]
            .clone();
        let export = adviser.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false })).await;
        let mut ids = vec![batch.clone(), "bm90aGluZw".to_owned(), export["id"].as_str().expect("an id").to_owned()];
        ids.extend(projects.iter().cloned());
        collect_ids(&data, &mut ids);
        assert!(ids.len() > 12, "{ids:?}");

        let both = Both::new(&app, &adviser).await;
        let everything = json!({ "id": batch, "projectId": projects[0], "ids": projects, "text": "Acme" });
        let document = "query($id: ID!) { batch(id: $id) { id name projects(first: 2) { edges { cursor node { id name status sections { key text } } } \
            nodes { facts { baseline } quality { score issues { code } } } totalCount pageInfo { endCursor } } } }";
        assert!(both.same(document, &everything).await.contains("\"score\":"));

        // a batch that occurs once for each of its projects
        let document = "{ projects(first: 3) { nodes { batch { name projects(first: 2) { nodes { name sections { key } } totalCount } } } } }";
        assert_eq!(both.same(document, &everything).await.matches("\"totalCount\":3").count(), 3);

        let sdl = sdl();
        let (mut with_data, mut longest) = (0, 0);
        for seed in 0..DOCUMENTS {
            let mut generator = Generator::new(&sdl, seed).expect("a schema");
            // signed anew, with the time, whenever it is asked for
            // a third are so simple that they run directly
            (generator.directives, generator.repeats) = (seed % 3 != 0, seed % 3 != 0);
            generator.leave_out = ["downloadUrl", "downloadUrlExpiresAt", "rejectedRowsUrl"].map(str::to_owned).into();
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut values = |ty: &str, field: &str, argument: &str, _: &str| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let pick = |list: &[String]| format!("\"{}\"", list[usize::try_from(state >> 8).unwrap_or_default() % list.len()]);
                match (ty, field, argument) {
                    ("Query", "batch", "id") => Some(format!("\"{batch}\"")),
                    ("Query", "project", "id") => Some(pick(&projects)),
                    (_, _, "id") => Some(pick(&ids)),
                    (_, _, "ids") => Some(format!("[{}, {}]", pick(&ids), pick(&projects))),
                    (_, _, "key") => Some("\"baseline\"".to_owned()),
                    (_, _, "first") if !matches!(field, "node") => Some((state % 3 + 1).to_string()),
                    _ => None,
                }
            };
            let roots = ["batch", "batches", "project", "projects", "templates", "node", "nodes", "viewer", "apiInfo"];
            let document = generator.query("Query", &roots, 5, 60, &mut values);
            let answer = both.same(&document.text, &serde_json::from_str(&document.variables).expect("JSON")).await;
            with_data += usize::from(answer.starts_with("{\"data\":{"));
            longest = longest.max(answer.len());
        }
        let directly = both.directly.into_inner();
        assert!(directly > 80, "{directly} ran without async-graphql's executor");
        assert!(with_data > 200 && longest > 4_000, "{with_data} with data, the longest of {longest} bytes");
        app.stop().await;
    }
}

/// Everything that is called `id` in an answer.
fn collect_ids(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match value.as_str().filter(|_| key == "id") {
            Some(id) => ids.push(id.to_owned()),
            None => collect_ids(value, ids),
        }),
        Value::Array(items) => items.iter().for_each(|item| collect_ids(item, ids)),
        _ => {}
    }
}
