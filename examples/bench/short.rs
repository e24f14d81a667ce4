//! What the dearest requests below 2 KB cost the server: no legal one may take more than 50 ms of CPU, and none that is
//! refused more than a few. Read it with a look at the machine: these are plain numbers, of a process that is asked by a
//! client of its own.

use crate::client::{Client, cost, cost_of_each, post, post_accepting};
use crate::{Outcome, open};
use claimwright::app::{Roles, TOKEN_VALID};
use serde_json::{Value, json};
use std::fmt::Write;

const BATCHES: usize = 2;
const PROJECTS: usize = 100;
/// Characters of a section and of a fact: some 400 words, what the form has room for is five times that.
const TEXT: usize = 2_500;
/// A request is short up to here, in bytes of its body.
const SHORT: usize = 2_048;
/// Requests that are timed together.
const REQUESTS: usize = 5;
/// Stands for a number that is another in each request.
const NUMBER: &str = "@@@@";

/// A request that is made to cost much.
struct Case {
    name: &'static str,
    body: Value,
    accept: &'static str,
}

impl Case {
    fn new(name: &'static str, query: impl Into<String>) -> Self {
        Self::with(name, query, json!({}))
    }

    #[expect(clippy::needless_pass_by_value, reason = "cases read better with `json!` as an argument")]
    fn with(name: &'static str, query: impl Into<String>, variables: Value) -> Self {
        Self { name, body: json!({ "query": query.into(), "variables": variables }), accept: "identity" }
    }
}

/// Repeats a selection under aliases as long as the document stays short.
fn many(kind: &str, most: usize, each: impl Fn(usize) -> String) -> String {
    let mut text = format!("{kind}{{");
    for index in 0..most {
        let next = each(index);
        if text.len() + next.len() + 160 > SHORT {
            break;
        }
        text.push(' ');
        text.push_str(&next);
    }
    text + "}"
}

/// Ids that the requests need.
struct Made {
    batches: Vec<String>,
    projects: Vec<String>,
}

async fn asked(client: &mut Client, token: &str, query: &str, variables: Value) -> Outcome<Value> {
    let answer: Value = serde_json::from_slice(&client.ask(&post(token, &json!({ "query": query, "variables": variables }))).await?)?;
    if answer.get("errors").is_some() { Err(answer.to_string().into()) } else { Ok(answer["data"].clone()) }
}

async fn fill(client: &mut Client, token: &str) -> Outcome<Made> {
    let text = "The drum speed of the third trial was 14.2 m/s, and the baseline alloy cracked at 900 °C. ".repeat(40);
    let text: String = text.chars().take(TEXT).collect();
    let facts = json!({ "advanceSought": text, "baseline": text, "uncertainties": text, "workUndertaken": text, "outcome": text,
        "fieldOfScience": "Materials science", "competentProfessionalRole": "Chief engineer" });
    let mut made = Made { batches: Vec::new(), projects: Vec::new() };
    for batch in 0..BATCHES {
        let create = "mutation($name: String!) { createBatch(input: { name: $name }) { batch { id } } }";
        let id = asked(client, token, create, json!({ "name": format!("Batch {batch}") })).await?["createBatch"]["batch"]["id"].clone();
        for project in 0..PROJECTS {
            let create =
                "mutation($input: CreateProjectInput!) { createProject(input: $input) { project { id sections { id revision } } } }";
            let input = json!({ "batchId": id, "name": format!("Project {project}"), "facts": facts, "costs": { "staff": "1000.50" } });
            let project = asked(client, token, create, json!({ "input": input })).await?["createProject"]["project"].clone();
            for section in project["sections"].as_array().ok_or("no sections")? {
                let edit = "mutation($input: EditSectionInput!) { editSection(input: $input) { section { id } } }";
                let input = json!({ "sectionId": section["id"], "expectedRevision": section["revision"], "text": text });
                asked(client, token, edit, json!({ "input": input })).await?;
            }
            made.projects.push(project["id"].as_str().ok_or("no id")?.to_owned());
        }
        made.batches.push(id.as_str().ok_or("no id")?.to_owned());
    }
    Ok(made)
}

const INTROSPECTION: &str = "{__schema{types{kind name description fields(includeDeprecated:true){name description args{name \
    description type{...t} defaultValue} type{...t} isDeprecated deprecationReason} inputFields{name description type{...t} \
    defaultValue} interfaces{...t} enumValues(includeDeprecated:true){name description isDeprecated} possibleTypes{...t}} \
    directives{name description locations args{name description type{...t} defaultValue}}}} \
    fragment t on __Type{kind name ofType{kind name ofType{kind name ofType{kind name ofType{kind name}}}}}";

/// Selections of scalars, with the texts and without.
const SCALARS: &str = "id name externalRef status revision createdAt updatedAt aifPinned deleted eventCursor";
const FACTS: &str = "facts{advanceSought baseline uncertainties workUndertaken outcome fieldOfScience sector subField claimRef}";

fn reads(made: &Made) -> Vec<Case> {
    let project = &made.projects[0];
    let some: Vec<&str> = made.projects.iter().take(30).map(String::as_str).collect();
    let nested = |inner: &str| format!("{{batches(first:2){{nodes{{id projects(first:100){{nodes{{{inner}}}}}}}}}}}");
    let back =
        |first: usize| format!("{{projects(first:{first}){{nodes{{batch{{projects(first:{first}){{nodes{{id name status}}}}}}}}}}}}");
    let mut all = vec![
        Case::new("introspection", INTROSPECTION),
        Case::new(
            "introspection, four",
            many("", 4, |n| {
                format!(
                    "s{n}:__schema{{types{{fields{{name args{{name type{{name kind ofType{{name}}}}}} type{{name kind fields{{name}}}}}}}}}}"
                )
            }),
        ),
        Case::new("one project", format!("{{project(id:\"{project}\"){{{SCALARS} sections{{key text}}}}}}")),
        Case::new("page of scalars", format!("{{projects(first:100){{nodes{{{SCALARS}}}}}}}")),
        Case::new("page of facts", format!("{{projects(first:100){{nodes{{{FACTS}}}}}}}")),
        Case::new("page of texts", "{projects(first:100){nodes{sections{text}}}}"),
        Case::new("page of earlier texts", "{projects(first:100){nodes{sections{revisions(first:2){nodes{text}}}}}}"),
        Case::new(
            "page of everything",
            format!("{{projects(first:100){{nodes{{{SCALARS} {FACTS} sections{{id key title state text wordCount}}}}}}}}"),
        ),
        Case::new("two pages below batches", nested("id name status sections{key wordCount}")),
        Case::new("two pages of scalars below batches", nested(SCALARS)),
        Case::new("pages of cheap fields", nested(&many("", 60, |_| "id".into()).replace(['{', '}'], ""))),
        Case::new("pages under aliases", nested(&many("", 50, |n| format!("a{n}:name")).replace(['{', '}'], ""))),
        Case::new("there and back, 20", back(20)),
        Case::new("there and back, 40", back(40)),
        Case::new("there and back, 100", back(100)),
        Case::new(
            "there and back in three",
            "{projects(first:30){nodes{batch{projects(first:30){nodes{batch{projects(first:20){nodes{id}}}}}}}}}",
        ),
        Case::new(
            "selection for the form",
            "{batches(first:2){nodes{aifSelection{projectCount selected{project{name sections{key}}} notReady{name sections{key}}}}}}",
        ),
        Case::new(
            "connections of all kinds",
            "{projects(first:100){nodes{attempts{nodes{id}} batch{runs{nodes{id}} imports{nodes{id}} exports{nodes{id}} counts{total} meanScore totalQualifyingExpenditure{amount}}}}}",
        ),
        Case::new("counts under aliases", many("", 60, |n| format!("a{n}:projects(first:1){{totalCount}}"))),
        Case::new("searches under aliases", many("", 60, |n| format!("a{n}:projects(first:1,filter:{{text:\"a% _a{n}\"}}){{totalCount}}"))),
        Case::new("ordered pages under aliases", many("", 60, |n| format!("a{n}:projects(first:100){{nodes{{id}}}}"))),
        Case::new(
            "batches under aliases",
            many("", 60, |n| format!("a{n}:batch(id:\"{}\"){{name counts{{total}} aifSelection{{projectCount}}}}", made.batches[0])),
        ),
        Case::with("nodes", "query($i:[ID!]!){nodes(ids:$i){...on Project{id name sections{key text}}}}", json!({ "i": some })),
        Case::new(
            "templates",
            "{templates(first:50){nodes{name currentVersion{sections{key title guidance sourceFacts limits{maxWords}}} versions(first:20){nodes{number sections{key guidance}}}}}}",
        ),
        Case::with(
            "check of one text",
            "query($t:String!){checkNarrative(input:{sections:[{key:\"uncertainties\",text:$t}]}){score issues{code message}}}",
            json!({ "t": "It was uncertain whether 14.2 mm of alloy X-90 would hold 900 °C in 2023. ".repeat(18) }),
        ),
        Case::with(
            "checks under aliases",
            many("query($t:String!)", 13, |n| {
                format!("a{n}:checkNarrative(input:{{sections:[{{key:\"uncertainties\",text:$t}}]}}){{score issues{{code}}}}")
            }),
            json!({ "t": "It was uncertain if X-90 would hold 900 °C. ".repeat(14) }),
        ),
        Case::new(
            "selection of plain numbers",
            format!(
                "{{aifSelectionFor(input:{{projects:[{}]}}){{__typename}}}}",
                (0..50).fold(String::new(), |all, n| all + &format!("{{ref:\"{n}\",expenditure:\"{n}.5\"}}"))
            ),
        ),
        Case::new("anonymous", "{__typename}"),
    ];
    for accept in ["gzip", "br"] {
        let (name, query) = if accept == "gzip" { ("page of texts, gzip", "gzip") } else { ("page of texts, brotli", "br") };
        let query = format!("{{projects(first:100){{nodes{{sections{{text}}}}}}}} #{query}");
        all.push(Case { accept, ..Case::new(name, query) });
    }
    all
}

fn writes(made: &Made) -> Vec<Case> {
    let (one, two) = (&made.projects[0], &made.batches[1]);
    let ids: Vec<&str> = made.projects.iter().skip(1).take(30).map(String::as_str).collect();
    vec![
        Case::new(
            "creates under aliases",
            many("mutation", 60, |n| format!("a{n}:createBatch(input:{{name:\"a{n}-@@@@\"}}){{batch{{id}}}}")),
        ),
        Case::new(
            "renames under aliases",
            many("mutation", 60, |n| format!("a{n}:renameBatch(id:\"{two}\",name:\"a{n}-@@@@\"){{batch{{id}}}}")),
        ),
        Case::new(
            "updates under aliases",
            many("mutation", 60, |n| format!("a{n}:updateProject(input:{{id:\"{one}\",name:\"a{n}-@@@@\"}}){{project{{id}}}}")),
        ),
        Case::with("approval of many", "mutation($i:[ID!]!){approveProjects(ids:$i){done failed{id}}}", json!({ "i": ids })),
        Case::with(
            "deletion and return of many",
            "mutation($i:[ID!]!){a:deleteProjects(ids:$i){done} b:restoreProjects(ids:$i){done}}",
            json!({ "i": ids }),
        ),
        Case::new(
            "rows imported",
            format!(
                "mutation{{importProjects(input:{{batchId:\"{two}\",source:{{text:\"{}\"}}}}){{userErrors{{code}}}}}}",
                "name,staff\\n a,1".repeat(60)
            ),
        ),
    ]
}

fn refusals() -> Vec<Case> {
    let merging = format!("{{{}}}", "projects{nodes{id name}} ".repeat(70));
    let variables = format!("query({}){{apiInfo{{version}}}}", (0..180).fold(String::new(), |all, n| all + &format!("$a{n}:Int ")));
    let mut bomb = "{...a0}".to_owned();
    for n in 0..30 {
        let next = n + 1;
        let _ = write!(bomb, "fragment a{n} on Query{{...a{next} ...a{next}}}");
    }
    let spreads = (0..30).fold(format!("{{{}}}", (0..30).fold(String::new(), |all, n| all + &format!("...f{n} "))), |all, n| {
        all + &format!("fragment f{n} on Query{{projects{{nodes{{id}}}}}}")
    });
    vec![
        Case::new("names that nearly exist", format!("{{{}}}", (0..210).fold(String::new(), |all, n| all + &format!("projectz{n} ")))),
        Case::new(
            "fields that nearly exist",
            format!("{{projects{{nodes{{{}}}}}}}", (0..200).fold(String::new(), |all, n| all + &format!("updatedAx{n} "))),
        ),
        Case::new("arguments that nearly exist", many("", 60, |n| format!("a{n}:projects(firzt:1,lazt:2){{totalCount}}"))),
        Case::new(
            "types that nearly exist",
            (0..40).fold("{apiInfo{version}}".to_owned(), |all, n| all + &format!("fragment f{n} on Projekt{n}{{id}}")),
        ),
        Case::new("fields to merge", merging),
        Case::new("fragments to merge", spreads),
        Case::new("fragment bomb", bomb),
        Case::new("variables without use", variables),
        Case::new("brackets", "{a".repeat(900)),
        Case::new("lists in lists", format!("{{nodes(ids:{}{})}}", "[".repeat(900), "]".repeat(900))),
        Case::new("objects in objects", format!("{{projects(filter:{}1{}){{totalCount}}}}", "{a:".repeat(400), "}".repeat(400))),
        Case::new("a long number", format!("{{projects(first:{}){{totalCount}}}}", "9".repeat(1_900))),
        Case::new("escapes", format!("{{node(id:\"{}\"){{id}}}}", "\\u0041".repeat(300))),
        Case::new("quotes that do not end", "\"\"\"".repeat(600)),
        Case::new("commas", format!("{{{}apiInfo{{version}}}}", ",".repeat(1_900))),
        Case::new("comments", format!("{{apiInfo{{version}}}}{}", "#\n".repeat(900))),
        Case::with(
            "a deep variable",
            "query($i:[ID!]!){nodes(ids:$i){id}}",
            (0..120).fold(json!({ "i": "x" }), |inner, _| json!({ "i": inner })),
        ),
        Case::with("wide variables", "query($i:[ID!]!){nodes(ids:$i){id}}", json!({ "i": "x".repeat(400).chars().collect::<Vec<_>>() })),
    ]
}

/// A run can be started again only after the one before has ended, so the two are timed together.
async fn start_and_cancel(client: &mut Client, token: &str, batch: &str) -> Outcome<(f64, Option<u64>, usize)> {
    let start = "mutation($b:ID!){startGeneration(input:{generation:{batchId:$b,scope:ALL_UNAPPROVED,editedSections:REPLACE}}){run{id} userErrors{message}}}";
    let start = post(token, &json!({ "query": start, "variables": { "b": batch } }));
    let cancel = "mutation($r:ID!){cancelGeneration(runId:$r){run{status}}}";
    let before = crate::client::ticks()?;
    let (mut charged, mut length) = (None, 0);
    for _ in 0..REQUESTS {
        let answer = client.ask(&start).await?;
        (charged, length) = (points(&answer), answer.len());
        let answer: Value = serde_json::from_slice(&answer)?;
        let run = answer["data"]["startGeneration"]["run"]["id"].as_str().ok_or_else(|| answer.to_string())?.to_owned();
        asked(client, token, cancel, json!({ "r": run })).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let each = (crate::client::ticks()? - before) * 10.0 / REQUESTS as f64;
    Ok((each, charged, length))
}

/// The number of points that a request is charged, from its answer.
fn points(answer: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(answer).ok()?["extensions"]["cost"]["requested"].as_u64()
}

/// Asks all of them and says what they cost, the dearest first.
pub async fn run() -> Outcome<String> {
    let (app, _folder) = open(Roles::Api).await?;
    let token = app.token(None, None, TOKEN_VALID)?;
    let mut client = Client::connect(app.address().ok_or("no address")?).await?;
    let made = fill(&mut client, &token).await?;
    let idle = cost(&mut client, "GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 200).await?;
    let mut rows = Vec::new();
    for case in reads(&made).into_iter().chain(refusals()).chain(writes(&made)) {
        let length = case.body.to_string().len();
        let request = post_accepting(&token, &case.body, case.accept);
        let answer = client.ask(&request).await?;
        let is_refused = !String::from_utf8_lossy(&answer).starts_with("{\"data\"") && case.accept == "identity";
        let numbered = |number: usize| request.replace(NUMBER, &format!("{number:04}"));
        let took = cost_of_each(&mut client, numbered, REQUESTS).await? - idle;
        rows.push((took, case.name, length, points(&answer), answer.len(), is_refused));
    }
    let (took, points, answer) = start_and_cancel(&mut client, &token, &made.batches[0]).await?;
    rows.push((took, "start of a run over 100 projects, and its end", 0, points, answer, false));
    rows.sort_by(|one, two| two.0.total_cmp(&one.0));
    let mut text = format!(
        "requests below {SHORT} bytes on {BATCHES} batches x {PROJECTS} projects x 7 sections of {TEXT} characters, CPU of the server\n\
         {:>9} {:>8} {:>8} {:>9} {:>7}\n",
        "ms", "points", "µs/point", "answer kB", "bytes"
    );
    for (took, name, length, points, answer, is_refused) in rows {
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let (each, answer) = (points.map(|points| took * 1_000.0 / points.max(1) as f64), answer as f64 / 1_000.0);
        let (points, each) = (points.map(|points| points.to_string()), each.map(|each| format!("{each:.1}")));
        let (points, each) = (points.unwrap_or_default(), each.unwrap_or_default());
        let mark = if length > SHORT {
            " (not short)"
        } else if is_refused {
            " (refused)"
        } else {
            ""
        };
        writeln!(text, "{took:9.2} {points:>8} {each:>8} {answer:9.1} {length:7}  {name}{mark}")?;
    }
    app.stop().await?;
    Ok(text)
}
