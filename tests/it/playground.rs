//! The playground: its page, and its prepared operations in order through the API, as a person would click through them.
//! In a real browser it is driven by `npm run e2e`, where there is one.

use crate::on_both;
use crate::support::{Client, Mode, TestApp, root};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A prepared operation, as `playground/README.md` defines them.
struct Prepared {
    name: String,
    query: String,
    variables: Map<String, Value>,
    /// Name, path in the answer, and whether what is known already stays.
    remembers: Vec<(String, String, bool)>,
}

fn prepared() -> Vec<Prepared> {
    let folder = root().join("playground/queries");
    let entries = std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "graphql")).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Prepared {
    let query = std::fs::read_to_string(path).expect("read");
    let variables = std::fs::read_to_string(path.with_extension("variables.json"));
    let rules = query.lines().filter_map(|line| line.strip_prefix("# Remembers: "));
    let remembers = rules.map(|rule| {
        let (name, path) = rule.split_once('=').expect("name = path");
        let keeps = name.trim_end().ends_with('?');
        (name.trim_end_matches([' ', '?']).to_owned(), path.trim().replace('.', "/"), keeps)
    });
    Prepared {
        name: path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned(),
        remembers: remembers.collect(),
        variables: variables.map_or_else(|_| Map::new(), |text| serde_json::from_str(&text).expect("an object")),
        query,
    }
}

/// Fills variables as `playground/src/memory.ts` does.
fn filled(prepared: &Prepared, memory: &Map<String, Value>) -> Value {
    let fill = |(name, value): (&String, &Value)| {
        let value = match value.as_str() {
            Some(text) if text.contains("{time}") => json!(text.replace("{time}", "2026-04-01 12:00:00")),
            _ => memory.get(name).unwrap_or(value).clone(),
        };
        (name.clone(), value)
    };
    Value::Object(prepared.variables.iter().map(fill).collect())
}

fn remember(prepared: &Prepared, answer: &Value, memory: &mut Map<String, Value>) {
    for (name, path, keeps) in &prepared.remembers {
        let value = answer.pointer(&format!("/{path}")).unwrap_or(&Value::Null);
        assert!(value.is_string() || value.is_number(), "{}: nothing to remember at {path}: {answer}", prepared.name);
        if !(*keeps && memory.contains_key(name)) {
            memory.insert(name.clone(), value.clone());
        }
    }
}

/// Runs one and waits for what it begins; gives the answer, for a subscription the last one.
async fn perform(client: &Client, prepared: &Prepared, memory: &Map<String, Value>) -> Value {
    let variables = filled(prepared, memory);
    if !prepared.query.contains("\nsubscription ") {
        let answer = client.run(&prepared.query, variables).await;
        for (field, payload) in answer.as_object().expect("data") {
            assert!(!payload.is_null(), "{}: {field} is null", prepared.name);
            assert!(payload.get("userErrors").is_none_or(|errors| *errors == json!([])), "{}: {payload}", prepared.name);
        }
        if let Some(import) = answer["importProjects"]["import"]["id"].as_str() {
            assert_eq!(client.follow_import(import).await["status"], "SUCCEEDED");
        }
        return answer;
    }
    let mut socket = client.socket().await;
    let mut events = socket.subscribe(&prepared.query, variables).await;
    let mut last = Value::Null;
    while let Some(event) = events.next().await {
        last = event;
        if last["batchProgress"]["runStatus"] == "SUCCEEDED" || last["projectDraft"]["__typename"] == "DraftSnapshot" {
            break;
        }
    }
    last
}

on_both! {
    async fn the_prepared_operations_do_the_whole_job_in_their_order(app: TestApp) {
        let (adviser, mut memory) = (app.adviser(), Map::new());
        let all = prepared();
        assert!(all.len() >= 18, "only {} operations", all.len());
        for operation in &all {
            let answer = perform(&adviser, operation, &memory).await;
            remember(operation, &answer, &mut memory);
            let at = |path: &str| answer.pointer(path).cloned().unwrap_or_default();
            match operation.name.split_once('-').expect("NN-name").1 {
                "batch-with-projects" => assert_eq!((at("/batch/projects/totalCount"), at("/batch/imports/nodes/0/acceptedCount")), (json!(4), json!(4))),
                "start-generation" => assert_eq!(at("/startGeneration/run/counts/total"), 4),
                "watch-batch" => assert_eq!(at("/batchProgress/runStatus"), "SUCCEEDED"),
                "read-narrative" => {
                    let sections = at("/project/sections");
                    assert!(sections.as_array().is_some_and(|all| all.len() > 4 && all.iter().all(|section| section["text"] != "")), "{sections}");
                }
                "edit-section" => assert_eq!(at("/editSection/section/state"), "EDITED"),
                "approve-project" => assert_eq!(at("/approveProject/project/status"), "APPROVED"),
                "watch-export" => {
                    assert_eq!((at("/exportProgress/export/status"), at("/exportProgress/export/projectCount")), (json!("SUCCEEDED"), json!(4)));
                    let (status, bytes) = adviser.download(at("/exportProgress/export/downloadUrl").as_str().expect("an address")).await;
                    assert_eq!((status, bytes.get(..2)), (200, Some(&b"PK"[..])));
                }
                "aif-selection" => assert_eq!(at("/batch/aifSelection/rule"), "HALF_MIN3"),
                "check-narrative" => assert!(answer.to_string().contains("NUMBER_NOT_IN_SOURCE"), "{answer}"),
                _ => {}
            }
        }
        app.stop().await;
    }
}

/// The built page, if this binary has one.
fn is_built() -> bool {
    root().join("playground/dist/index.html").exists()
}

async fn page(app: &TestApp) -> reqwest::Response {
    reqwest::get(format!("{}/", app.url())).await.expect("an answer")
}

#[tokio::test]
async fn the_page_has_a_token_that_works_or_says_how_to_build_it() {
    let app = TestApp::start(Mode::Embedded).await;
    let response = page(&app).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert_eq!((header("content-type").as_str(), header("cache-control").as_str()), ("text/html; charset=utf-8", "no-store"));
    let policy = header("content-security-policy");
    let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    for directive in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"] {
        assert!(directives.contains(&directive), "{directive}: {policy}");
    }
    assert!(!policy.contains("unsafe-eval") && !policy.contains("http") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let text = response.text().await.expect("text");
    let (_, rest) = text.split_once(r#"<meta name="claimwright-token" content=""#).expect("the place of the token");
    let token = rest.split_once('"').expect("its end").0.to_owned();
    let viewer = Client::new(app.url(), Some(token)).run("{ viewer { workspace { id } } }", json!({})).await;
    assert!(viewer["viewer"]["workspace"]["id"].is_string());
    if is_built() {
        let (_, rest) = text.split_once("src=\"").expect("a script");
        let script = rest.split_once('"').expect("its end").0.trim_start_matches(['.', '/']);
        let found = reqwest::get(format!("{}/{script}", app.url())).await.expect("an answer");
        assert_eq!(found.status(), 200, "{script}");
        assert_eq!(found.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert!(!text.contains("://") || !text.contains("cdn"), "nothing comes from elsewhere");
    } else {
        assert!(text.contains("make playground"), "{text}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_page_that_may_have_been_asked_for_from_elsewhere_gets_no_token() {
    let app = TestApp::start(Mode::Embedded).await;
    let asked = reqwest::Client::new().get(format!("{}/", app.url())).header("host", "playground.evil.example").send().await;
    let response = asked.expect("an answer");
    assert_eq!(response.status(), 403);
    assert!(!response.text().await.expect("text").contains("eyJ"));
    let index = reqwest::get(format!("{}/index.html", app.url())).await.expect("an answer");
    assert_eq!(index.status(), 404, "the page has one address, which is never cached");
    app.stop().await;
}

/// The browser to drive, if all that is needed is there; else what is missing.
fn browser() -> Result<PathBuf, &'static str> {
    if std::env::var_os("PLAYGROUND_E2E").is_none_or(|value| value != "1") {
        return Err("PLAYGROUND_E2E=1 is not set (`make test` sets it)");
    }
    let browser = std::env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    if !browser.exists() {
        return Err("there is no Chromium (set CHROMIUM to one)");
    }
    if !root().join("playground/node_modules/playwright-core").exists() {
        return Err("playground/node_modules is missing (run `make playground`)");
    }
    if is_built() { Ok(browser) } else { Err("the playground is not built (run `make playground`)") }
}

#[tokio::test]
async fn the_whole_job_is_done_in_a_browser() {
    let browser = match browser() {
        Ok(browser) => browser,
        Err(why) => {
            eprintln!("!!! The playground was NOT tested in a browser: {why}. !!!");
            return;
        }
    };
    let app = TestApp::start(Mode::Embedded).await;
    let mut npm = tokio::process::Command::new("npm");
    npm.args(["run", "e2e", "--", "--url", &app.url()]).current_dir(root().join("playground")).env("CHROMIUM", browser);
    let ran = npm.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_mins(5), ran).await.expect("it ends").expect("npm runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("The whole job works"), "{stdout}");
    app.stop().await;
}
