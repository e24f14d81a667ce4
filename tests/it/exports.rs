//! Exports: what documents hold, what is left out, and links that work without a token and for one file only.

use crate::on_both;
use crate::support::Client;
use crate::support::calls::{done, refusal, text};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::{Cursor, Read};

const DRAFT: &str = "DRAFT: not approved";

/// One file of a Word document.
fn part(docx: &[u8], name: &str) -> String {
    let mut archive = zip::ZipArchive::new(Cursor::new(docx)).expect("a zip archive");
    let mut words = String::new();
    archive.by_name(name).unwrap_or_else(|_| panic!("no {name}")).read_to_string(&mut words).expect("UTF-8");
    words
}

/// The header of every page.
fn page_header(docx: &[u8]) -> String {
    part(docx, "word/header1.xml")
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

async fn file_of(client: &Client, export: &Value) -> Vec<u8> {
    let (status, bytes) = client.download(&text(&export["downloadUrl"])).await;
    assert_eq!(status, 200, "{export:#}");
    bytes
}

fn table(csv: &[u8]) -> Vec<Vec<String>> {
    let csv = csv.strip_prefix(b"\xEF\xBB\xBF").expect("a byte order mark, so that spreadsheets read UTF-8");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    reader.records().map(|record| record.expect("a record").iter().map(str::to_owned).collect()).collect()
}

fn cell<'t>(table: &'t [Vec<String>], row: usize, heading: &str) -> &'t str {
    let column = table[0].iter().position(|name| name == heading).unwrap_or_else(|| panic!("no {heading}: {:?}", table[0]));
    &table[row][column]
}

on_both! {
    async fn a_word_document_holds_the_texts_and_is_marked_while_it_is_a_draft(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.generated("Fen & Co 2026", 2).await;
        adviser.bulk("approveProjects", &[&ids[0]]).await;
        let export = adviser.export_of(json!({ "batchId": batch, "format": "DOCX", "approvedOnly": false })).await;
        assert_eq!((&export["status"], &export["projectCount"], &export["skipped"]), (&json!("SUCCEEDED"), &json!(2), &json!([])), "{export:#}");
        assert_eq!(export["fileName"], "Fen-Co-2026.docx");
        let file = file_of(&adviser, &export).await;
        assert_eq!(export["bytes"], file.len());
        let sum = Sha256::digest(&file).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("written");
            hex
        });
        assert_eq!(export["sha256"], sum);
        let body = part(&file, "word/document.xml");
        for id in &ids {
            let project = adviser.project(id).await;
            assert!(body.contains(&text(&project["name"])));
            for section in project["sections"].as_array().expect("sections") {
                let words = text(&section["text"]);
                let first = words.lines().next().expect("a line");
                assert!(body.contains(&escaped(first)), "{first}");
            }
        }
        assert!(page_header(&file).contains(DRAFT), "every page is marked");

        let export = adviser.export_of(json!({ "batchId": batch, "format": "DOCX" })).await;
        let skipped = json!([{ "reason": "Not approved (NEEDS_REVIEW).", "project": { "id": ids[1] } }]);
        assert_eq!((&export["projectCount"], &export["skipped"]), (&json!(1), &skipped));
        let file = file_of(&adviser, &export).await;
        let body = part(&file, "word/document.xml");
        assert!(body.contains("Project 1") && !body.contains("Project 2"));
        assert!(!page_header(&file).contains("DRAFT") && !body.contains("DRAFT"));
        app.stop().await;
    }

    async fn a_table_is_harmless_in_a_spreadsheet(app: TestApp) {
        let adviser = app.adviser();
        let batch = adviser.create_batch("=cmd|' /C calc'!A0").await;
        let row = json!({ "name": "=1+1", "externalRef": "@ref", "facts": { "fieldOfScience": "+Chemistry, \"pure\"", "claimRef": "-2" },
            "costs": { "staff": "1200.50", "consumables": "0.25" } });
        let id = adviser.create_project(&batch, row).await;
        let outcome = adviser.project(&id).await["sections"][5].clone();
        done(&adviser.edit(&outcome, "=HYPERLINK(\"http://evil.example\")\n\nIt works.").await);
        let export = adviser.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false })).await;
        assert_eq!((&export["status"], &export["fileName"]), (&json!("SUCCEEDED"), &json!("cmd-C-calc-A0.csv")), "{export:#}");
        let table = table(&file_of(&adviser, &export).await);
        assert_eq!(table.len(), 2);
        for (heading, value) in [
            ("reference", "'@ref"),
            ("name", "'=1+1"),
            ("status", "DRAFT"),
            ("field_of_science", "'+Chemistry, \"pure\""),
            ("claim_ref", "'-2"),
            ("staff_costs", "1200.50"),
            ("expenditure", "1200.75"),
            ("Outcome", "'=HYPERLINK(\"http://evil.example\")\n\nIt works."),
        ] {
            assert_eq!(cell(&table, 1, heading), value);
        }
        assert!(table.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@'])), "{table:?}");
        app.stop().await;
    }

    async fn an_export_of_nothing_is_refused_with_the_reason(app: TestApp) {
        let adviser = app.adviser();
        let empty = adviser.create_batch("Empty").await;
        let (batch, _) = adviser.batch_of("Acme", 1).await;
        let create = async |input: Value| adviser.input("createExport", "export { id }", input).await;
        for (input, word) in [
            (json!({ "batchId": empty, "format": "CSV", "approvedOnly": false }), "nothing to export"),
            (json!({ "batchId": batch, "format": "DOCX" }), "approvedOnly"),
            (json!({ "batchId": batch, "format": "CSV", "approvedOnly": false, "filter": { "text": "no such text" } }), "filter"),
            (json!({ "batchId": batch, "format": "CSV", "approvedOnly": false, "filter": { "status": [] } }), "filter"),
        ] {
            let payload = create(input.clone()).await;
            assert_eq!((refusal(&payload).0, &payload["export"]), ("WRONG_STATE".to_owned(), &Value::Null), "{input}");
            assert!(text(&payload["userErrors"][0]["message"]).contains(word), "{payload:#}");
        }
        let query = "query($id: ID!) { batch(id: $id) { exports { totalCount } } }";
        assert_eq!(adviser.run(query, json!({ "id": batch })).await["batch"]["exports"]["totalCount"], 0);
        app.stop().await;
    }

    async fn a_filter_and_the_aif_selection_choose_the_projects(app: TestApp) {
        let adviser = app.adviser();
        let (batch, ids) = adviser.batch_of("Acme", 4).await;
        let filter = json!({ "ids": [ids[0], ids[2]], "text": "project 3" });
        let export = adviser.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false, "filter": filter })).await;
        let rows = table(&file_of(&adviser, &export).await);
        assert_eq!((rows.len(), cell(&rows, 1, "reference")), (2, "P-3"));
        let export = adviser.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false, "aifSelectionOnly": true })).await;
        let rows = table(&file_of(&adviser, &export).await);
        let references: Vec<_> = (1..rows.len()).map(|row| cell(&rows, row, "reference")).collect();
        assert_eq!(references, ["P-4", "P-3", "P-2"]);
        app.stop().await;
    }

    async fn a_link_works_without_a_token_and_for_its_file_only(app: TestApp) {
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 1).await;
        let export = adviser.export_of(json!({ "batchId": batch, "format": "CSV", "approvedOnly": false })).await;
        let other = adviser.export_of(json!({ "batchId": batch, "format": "DOCX", "approvedOnly": false })).await;
        let link = text(&export["downloadUrl"]);
        assert!(link.starts_with(&app.url()), "{link}");
        assert!(export["downloadUrlExpiresAt"].is_string() && export["expiresAt"].is_string(), "{export}");
        let answer = reqwest::get(&link).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        let header = |name: &str| answer.headers()[name].to_str().expect("a header").to_owned();
        assert_eq!(header("content-type"), "text/csv; charset=utf-8");
        assert!(header("content-disposition").starts_with("attachment; filename=\"Acme.csv\""), "{}", header("content-disposition"));
        assert_eq!(header("x-content-type-options"), "nosniff");

        let (address, signed) = link.split_once('?').expect("a query");
        let others = text(&other["downloadUrl"]);
        let (others, _) = others.split_once('?').expect("a query");
        for tampered in [
            address.to_owned(),
            format!("{others}?{signed}"),
            link.replace("X-Amz-Expires=", "X-Amz-Expires=9"),
            link.replace("Acme.csv", "Acme.exe"),
            format!("{}{}", &link[..link.len() - 1], if link.ends_with('0') { '1' } else { '0' }),
        ] {
            assert_ne!(tampered, link);
            let (status, body) = adviser.download(&tampered).await;
            assert_eq!(status, 403, "{tampered}");
            assert!(!String::from_utf8_lossy(&body).contains("P-1"), "{tampered}");
        }
        app.stop().await;
    }

    async fn progress_begins_at_once_and_ends_with_the_export(app: TestApp) {
        let adviser = app.adviser();
        let (batch, _) = adviser.batch_of("Acme", 250).await;
        let input = json!({ "batchId": batch, "format": "CSV", "approvedOnly": false });
        let payload = adviser.input("createExport", "export { id status downloadUrl }", input).await;
        let created = &done(&payload)["export"];
        assert_eq!((&created["status"], &created["downloadUrl"]), (&json!("QUEUED"), &Value::Null));
        let events = adviser.follow_export(&text(&created["id"])).await;
        let sequences: Vec<_> = events.iter().map(|event| event["sequence"].as_i64().expect("a number")).collect();
        assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
        let (last, earlier) = events.split_last().expect("an event");
        assert_eq!((&last["export"]["status"], &last["export"]["progress"]), (&json!("SUCCEEDED"), &json!(1.0)));
        assert!(earlier.iter().all(|event| event["export"]["status"] != "SUCCEEDED"), "{events:#?}");
        assert_eq!(table(&file_of(&adviser, &last["export"]).await).len(), 251);
        // who comes late is told the end at once
        let late = adviser.follow_export(&text(&created["id"])).await;
        assert_eq!((late.len(), &late[0]["export"]["status"]), (1, &json!("SUCCEEDED")));
        app.stop().await;
    }
}
