//! Imports: rows, text and files; what is refused, downloaded and corrected; duplicates, dry runs and progress.

use crate::on_both;
use crate::support::calls::{done, text, texts};
use crate::support::{Client, rows};
use serde_json::{Value, json};

const SAMPLE: &[u8] = include_bytes!("../../samples/projects.csv");
const HEADER: &str =
    "external_ref,project_name,field_of_science,start_date,baseline,advance_sought,uncertainties,work_undertaken,staff_costs";
const DETAILS: &str = "query($id: ID!, $severity: [IssueSeverity!], $code: [ImportIssueCode!]) { node(id: $id) { ... on ImportJob { dryRun fileName \
    rejectedRowsUrl detected { format encoding delimiter headerRow bytes } columns { heading target viaAlias } \
    projects { totalCount nodes { externalRef importRow } } issues(severity: $severity, code: $code) { totalCount nodes { code severity row sheetRow column value } } \
    preview(first: 2) { row accepted name externalRef facts { baseline startDate extra { key value } } costs { staff total } } } } }";

async fn details(client: &Client, import: &Value, filter: Value) -> Value {
    let mut values = filter;
    values["id"] = import["id"].clone();
    client.run(DETAILS, values).await["node"].clone()
}

/// Number of issues of a code, of which each has a sentence.
fn count(import: &Value, code: &str) -> usize {
    let all = import["issues"]["nodes"].as_array().expect("issues");
    assert!(all.iter().all(|issue| issue["message"].as_str().is_some_and(|message| message.len() > 10)), "{import:#}");
    all.iter().filter(|issue| issue["code"] == code).count()
}

fn numbers(import: &Value) -> (&str, i64, i64, i64) {
    let number = |name: &str| import[name].as_i64().expect("a number");
    (import["status"].as_str().expect("a status"), number("rowCount"), number("acceptedCount"), number("rejectedCount"))
}

fn csv(lines: &[&str]) -> String {
    format!("{HEADER}\n{}\n", lines.join("\n"))
}

async fn import_text(client: &Client, batch: &str, csv: &str, more: Value) -> Value {
    let mut input = more;
    input["batchId"] = json!(batch);
    input["source"] = json!({ "text": csv });
    client.import_of(input).await
}

async fn total(client: &Client, batch: &str) -> i64 {
    client.batch(batch).await["counts"]["total"].as_i64().expect("a number")
}

on_both! {
    async fn the_sample_file_is_imported_whole(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Quillmere").await;
        let query = "mutation($input: ImportProjectsInput!) { importProjects(input: $input) { import { id status progress } userErrors { code message } } }";
        let input = json!({ "input": { "batchId": batch, "source": { "file": null } } });
        let data = adviser.upload(query, input, "variables.input.source.file", "projects.csv", SAMPLE.to_vec()).await;
        let import = adviser.follow_import(&text(&done(&data["importProjects"])["import"]["id"])).await;
        assert_eq!(numbers(&import), ("SUCCEEDED", 16, 16, 0), "{import:#}");
        assert_eq!((&import["progress"], &import["failure"], &import["rejectedRowsUrl"]), (&json!(1.0), &Value::Null, &Value::Null));
        let found = details(&adviser, &import, json!({})).await;
        let detected = json!({ "format": "CSV", "encoding": "UTF-8", "delimiter": ",", "headerRow": 1, "bytes": SAMPLE.len() });
        assert_eq!((&found["fileName"], &found["detected"]), (&json!("projects.csv"), &detected));
        let columns = found["columns"].as_array().expect("columns");
        assert_eq!(columns.len(), 28);
        assert!(columns.iter().all(|column| column["viaAlias"] == false && column["target"] == column["heading"]), "{columns:#?}");
        assert_eq!(found["projects"]["totalCount"], 16);
        assert_eq!(found["projects"]["nodes"][15], json!({ "externalRef": "QAT-16", "importRow": 16 }));
        assert_eq!(found["preview"].as_array().map(Vec::len), Some(2));

        let query = "query($batch: ID!) { projectByRef(batchId: $batch, externalRef: \"QAT-01\") { importRow importedBy { id } costs { staff total } \
            facts { startDate workStatus claimRef extra { key value } } } batch(id: $batch) { imports { totalCount nodes { id } } } }";
        let data = adviser.run(query, json!({ "batch": batch })).await;
        let project = &data["projectByRef"];
        assert_eq!((&project["importRow"], &project["importedBy"]["id"]), (&json!(1), &import["id"]));
        let facts = json!({ "startDate": "2025-04-07", "workStatus": "COMPLETED", "claimRef": "QAT-2026",
            "extra": [{ "key": "client_name", "value": "Quillmere Applied Technologies Ltd (fictional)" }] });
        assert_eq!(project["facts"], facts);
        assert_eq!(data["batch"]["imports"], json!({ "totalCount": 1, "nodes": [{ "id": import["id"] }] }));
        app.stop().await;
    }

    async fn other_headings_are_understood_and_said(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let file = "Ref;Project title;Field;Start;State of the art;Advance;Uncertainty;Work done;Staff costs (£);Account manager;Job\n\
            A-1;Film;Chemistry;01/05/2025;Known;Better;Unclear;Tried;1,200.50;Jo;J7\n;;;;;;;;;;\n";
        let options = json!({ "columns": [{ "heading": "Job", "target": "claim_ref" }] });
        let import = import_text(&adviser, &batch, file, json!({ "options": options })).await;
        assert_eq!(numbers(&import), ("SUCCEEDED", 1, 1, 0), "{import:#}");
        assert!(count(&import, "COLUMN_ALIAS_USED") >= 9, "{import:#}");
        assert_eq!((count(&import, "UNKNOWN_COLUMN"), count(&import, "EMPTY_ROW_SKIPPED"), count(&import, "DATE_AMBIGUOUS")), (1, 1, 1), "{import:#}");
        let found = details(&adviser, &import, json!({})).await;
        assert_eq!((&found["detected"]["delimiter"], &found["fileName"]), (&json!(";"), &Value::Null));
        assert_eq!(found["columns"][1], json!({ "heading": "Project title", "target": "project_name", "viaAlias": true }));
        assert_eq!(found["columns"][10]["target"], "claim_ref");
        let facts = json!({ "baseline": "Known", "startDate": "2025-05-01", "extra": [{ "key": "Account manager", "value": "Jo" }] });
        let row = json!({ "row": 1, "accepted": true, "name": "Film", "externalRef": "A-1", "facts": facts,
            "costs": { "staff": "1200.50", "total": "1200.50" } });
        assert_eq!(found["preview"], json!([row]));

        let us = import_text(&adviser, &batch, &file.replace("A-1", "A-2"), json!({ "options": { "dateOrder": "MDY" } })).await;
        assert_eq!(details(&adviser, &us, json!({})).await["preview"][0]["facts"]["startDate"], "2025-01-05");
        app.stop().await;
    }

    async fn refused_rows_come_back_as_a_file_that_can_be_corrected_and_imported(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let file = csv(&["A-1,Film,Chemistry,2025-05-01,b,a,u,w,10", "A-2,Pump,Chemistry,soon,b,a,u,w,-5", "A-3,Gel,Chemistry,2025-05-02,b,a,u,w,30"]);
        let import = import_text(&adviser, &batch, &file, json!({})).await;
        assert_eq!(numbers(&import), ("PARTIAL", 3, 2, 1), "{import:#}");
        assert_eq!(import["failure"]["code"], "FILE_UNREADABLE");
        assert!(text(&import["failure"]["message"]).contains("Row 2"), "{import:#}");
        assert_eq!((count(&import, "DATE_INVALID"), count(&import, "NUMBER_NEGATIVE")), (1, 1), "{import:#}");
        assert_eq!(total(&adviser, &batch).await, 2);

        let (status, refused) = adviser.download(&text(&import["rejectedRowsUrl"])).await;
        let refused = String::from_utf8(refused).expect("UTF-8");
        assert_eq!(status, 200);
        let lines: Vec<_> = refused.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, format!("\u{FEFF}{HEADER},row,reasons").as_str()));
        assert!(lines[1].starts_with("A-2,Pump,Chemistry,soon,b,a,u,w,") && lines[1].contains(",2,"), "{refused}");
        let (status, _) = adviser.download(&text(&import["rejectedRowsUrl"]).replace("rejected", "source")).await;
        assert_eq!(status, 403);

        let corrected = refused.replace("soon", "2025-05-01").replace("'-5", "5");
        let import = import_text(&adviser, &batch, &corrected, json!({})).await;
        assert_eq!(numbers(&import), ("SUCCEEDED", 1, 1, 0), "{import:#}");
        assert_eq!(adviser.batch(&batch).await["totalQualifyingExpenditure"]["amount"], "45.00");
        app.stop().await;
    }

    async fn one_wrong_row_refuses_everything_if_that_is_asked_for(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let file = csv(&["A-1,Film,Chemistry,2025-05-01,b,a,u,w,10", "A-2,Pump,Chemistry,soon,b,a,u,w,5"]);
        let import = import_text(&adviser, &batch, &file, json!({ "errorPolicy": "REJECT_EVERYTHING" })).await;
        assert_eq!(numbers(&import), ("FAILED", 2, 0, 1), "{import:#}");
        assert!(text(&import["failure"]["message"]).starts_with("Nothing was imported. Row 2:"), "{import:#}");
        assert_eq!(adviser.batch(&batch).await["activity"], "EMPTY");
        let import = import_text(&adviser, &batch, &file.replace("soon", "2025-05-01"), json!({ "errorPolicy": "REJECT_EVERYTHING" })).await;
        assert_eq!(numbers(&import), ("SUCCEEDED", 2, 2, 0), "{import:#}");
        app.stop().await;
    }

    async fn a_reference_that_exists_is_refused_skipped_or_updated(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let first = csv(&["A-1,Film,Chemistry,2025-05-01,b,a,u,w,10", "A-2,Pump,Chemistry,2025-05-01,b,a,u,w,20"]);
        assert_eq!(numbers(&import_text(&adviser, &batch, &first, json!({})).await), ("SUCCEEDED", 2, 2, 0));
        let ids = adviser.project_ids(&batch).await;
        let again = csv(&["A-1,Film 2,Chemistry,2025-06-01,new,a,u,w,15", "A-3,Gel,Chemistry,2025-05-01,b,a,u,w,30"]);

        let import = import_text(&adviser, &batch, &again, json!({ "dryRun": true })).await;
        assert_eq!((numbers(&import), count(&import, "DUPLICATE_REFERENCE")), (("PARTIAL", 2, 1, 1), 1), "{import:#}");

        let only = csv(&["A-1,Film 2,Chemistry,2025-06-01,new,a,u,w,15"]);
        let import = import_text(&adviser, &batch, &only, json!({ "onDuplicate": "SKIP" })).await;
        assert_eq!((numbers(&import), count(&import, "DUPLICATE_REFERENCE")), (("SUCCEEDED", 1, 0, 0), 1), "{import:#}");
        assert_eq!(import["issues"]["nodes"][0]["severity"], "INFO");
        assert_eq!(adviser.project(&ids[0]).await["name"], "Film");

        let import = import_text(&adviser, &batch, &again, json!({ "onDuplicate": "UPDATE" })).await;
        assert_eq!(numbers(&import), ("SUCCEEDED", 2, 2, 0), "{import:#}");
        let project = adviser.project(&ids[0]).await;
        assert_eq!((&project["name"], &project["facts"]["baseline"], &project["revision"]), (&json!("Film 2"), &json!("new"), &json!(2)));
        let now = adviser.batch(&batch).await;
        assert_eq!((&now["counts"]["total"], &now["totalQualifyingExpenditure"]["amount"]), (&json!(3), &json!("65.00")));

        // what is approved is not replaced
        adviser.write_by_hand(&ids[1]).await;
        assert_eq!(adviser.bulk("approveProjects", &[&ids[1]]).await.0, json!([ids[1]]));
        let locked = csv(&["A-2,Pump 2,Chemistry,2025-06-01,new,a,u,w,15"]);
        let import = import_text(&adviser, &batch, &locked, json!({ "onDuplicate": "UPDATE" })).await;
        assert_eq!((numbers(&import), count(&import, "DUPLICATE_REFERENCE")), (("FAILED", 1, 0, 1), 1), "{import:#}");
        assert_eq!(adviser.project(&ids[1]).await["name"], "Pump");
        app.stop().await;
    }

    async fn a_dry_run_tells_everything_and_stores_nothing(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let file = csv(&["A-1,Film,Chemistry,2025-05-01,b,a,u,w,10", "A-2,Pump,Chemistry,soon,b,a,u,w,20"]);
        let import = import_text(&adviser, &batch, &file, json!({ "dryRun": true })).await;
        assert_eq!(numbers(&import), ("PARTIAL", 2, 1, 1), "{import:#}");
        let found = details(&adviser, &import, json!({})).await;
        assert_eq!((&found["dryRun"], &found["projects"]["totalCount"]), (&json!(true), &json!(0)));
        assert_eq!((&found["preview"][0]["accepted"], &found["preview"][1]["accepted"]), (&json!(true), &json!(false)));
        let now = adviser.batch(&batch).await;
        assert_eq!((&now["activity"], &now["totalQualifyingExpenditure"]["amount"]), (&json!("EMPTY"), &json!("0.00")));
        app.stop().await;
    }

    async fn a_file_that_cannot_be_read_fails_with_its_code_and_a_sentence(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        for (file, code) in [
            ("external_ref,project_name\nA-1,Film\n", "MISSING_COLUMN"),
            ("", "FILE_EMPTY"),
            (HEADER, "FILE_HAS_NO_ROWS"),
            ("project_name,project_name,field_of_science,start_date,baseline,advance_sought,uncertainties,work_undertaken\na,b,c,d,e,f,g,h\n", "DUPLICATE_COLUMN"),
            ("PK\u{3}\u{4} a workbook", "UNSUPPORTED_FORMAT"),
        ] {
            let import = import_text(&adviser, &batch, file, json!({})).await;
            assert_eq!(numbers(&import), ("FAILED", 0, 0, 0), "{code}: {import:#}");
            assert_eq!(import["failure"]["code"], "FILE_UNREADABLE", "{code}");
            assert!(text(&import["failure"]["message"]).ends_with('.'), "{code}: {import:#}");
            assert!(count(&import, code) > 0, "{code}: {import:#}");
        }
        assert_eq!(total(&adviser, &batch).await, 0);
        app.stop().await;
    }

    async fn issues_are_filtered_by_severity_and_code(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let file = "Ref,project_name\nA-1,Film\n";
        let import = import_text(&adviser, &batch, file, json!({})).await;
        let errors = details(&adviser, &import, json!({ "severity": ["ERROR"] })).await["issues"].clone();
        let missing = texts(&errors["nodes"], "column");
        assert_eq!(missing, ["field_of_science", "start_date", "baseline", "advance_sought", "uncertainties", "work_undertaken"]);
        assert_eq!(errors["totalCount"], 6);
        let aliases = details(&adviser, &import, json!({ "code": ["COLUMN_ALIAS_USED", "DATE_INVALID"] })).await["issues"].clone();
        assert_eq!((&aliases["totalCount"], texts(&aliases["nodes"], "severity")), (&json!(1), vec!["INFO".to_owned()]));
        let none = details(&adviser, &import, json!({ "code": ["MISSING_COLUMN"], "severity": ["INFO"] })).await["issues"].clone();
        assert_eq!(none, json!({ "totalCount": 0, "nodes": [] }));
        app.stop().await;
    }

    async fn progress_begins_at_once_and_ends_with_the_import(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("Acme").await;
        let payload = adviser.input("importProjects", "import { id status }", json!({ "batchId": batch, "source": { "rows": rows(600) } })).await;
        let import = text(&done(&payload)["import"]["id"]);
        assert_eq!(payload["import"]["status"], "QUEUED");
        let query = "subscription($id: ID!) { importProgress(importId: $id) { sequence cursor import { status progress acceptedCount } } }";
        let mut socket = adviser.socket().await;
        let mut events = socket.subscribe(query, json!({ "id": import })).await;
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            seen.push(event["importProgress"].clone());
        }
        let sequences: Vec<_> = seen.iter().map(|event| event["sequence"].as_i64().expect("a number")).collect();
        assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
        let (last, earlier) = seen.split_last().expect("an event");
        assert_eq!(last["import"], json!({ "status": "SUCCEEDED", "progress": 1.0, "acceptedCount": 600 }));
        assert!(earlier.iter().all(|event| event["import"]["status"] == "QUEUED" || event["import"]["status"] == "RUNNING"), "{earlier:#?}");
        let shares: Vec<_> = seen.iter().map(|event| event["import"]["progress"].as_f64().expect("a number")).collect();
        assert!(shares.is_sorted(), "{shares:?}");

        // who comes late is told the end at once
        let mut late = socket.subscribe(query, json!({ "id": import })).await;
        assert_eq!(late.next().await.map(|event| event["importProgress"]["import"].clone()).as_ref(), Some(&last["import"]));
        assert_eq!(late.next().await, None);
        assert_eq!(total(&adviser, &batch).await, 600);
        app.stop().await;
    }
}
