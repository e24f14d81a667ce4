//! Texts while they are written: from the first word to what is stored, for who comes early, late or again; what fails, is
//! stopped or changed by a person; how streams end; and the same from another process, with and without Redis between.

mod apart;
mod endings;

use crate::support::dictated::{Calls, DictatedDrafter};
use crate::support::drafts::Page;
use crate::support::{Client, Mode, TestApp, accepted, row};
use crate::{on_both, on_each};
use serde_json::{Value, json};

/// Key of the only section.
const KEY: &str = "advance";

/// An application whose provider the test dictates to.
async fn dictated(mode: Mode, masks: bool) -> (TestApp, Calls) {
    let (provider, calls) = DictatedDrafter::new(masks);
    let app = TestApp::start_with(mode, |surroundings| surroundings.drafters = vec![provider]).await;
    (app, calls)
}

/// A batch of one project with one section; gives both ids.
async fn one_section(client: &Client) -> (String, String) {
    let template = client.template_of("One section", &[KEY]).await;
    let (batch, projects) = client.batch_on(&template, "Acme", 1).await;
    (batch, projects[0].clone())
}

fn only(key: &str, text: &str, state: &str) -> Value {
    json!([{ "key": key, "text": text, "state": state }])
}

async fn edit(client: &Client, project: &str, text: &str) {
    let section = client.narrative(project).await["sections"][0].clone();
    let input = json!({ "sectionId": section["id"], "expectedRevision": section["revision"], "text": text });
    let query = "mutation($input: EditSectionInput!) { editSection(input: $input) { userErrors { code message } } }";
    accepted(&client.run(query, json!({ "input": input })).await, "editSection");
}

on_each! {
    async fn a_text_is_seen_as_it_is_written_and_then_as_it_is_stored(mode: Mode) {
        let (app, mut calls) = dictated(mode, false).await;
        let adviser = app.adviser();
        let (batch, project) = one_section(&adviser).await;
        let mut socket = adviser.socket().await;
        let (mut page, snapshot) = Page::open(&mut socket, &project, &Value::Null).await;
        assert_eq!(snapshot["sections"], only(KEY, "", "EMPTY"));

        adviser.start(&batch).await;
        let call = calls.next().await;
        assert_eq!(call.section, KEY);
        call.say("  The kiln held 15 °C");
        let first = page.reads(KEY, "  The kiln held 15 °C").await;
        assert_eq!((&first["offset"], &first["text"]), (&json!(0), &json!("  The kiln held 15 °C")));
        call.say(" for 👩‍🔬");
        let second = page.reads(KEY, "  The kiln held 15 °C for 👩‍🔬").await;
        assert_eq!(second["offset"], 21, "places are scalar values, not bytes");
        for word in [" né", "e", " Lee", ". "] {
            call.say(word);
        }
        let third = page.reads(KEY, "  The kiln held 15 °C for 👩‍🔬 née Lee. ").await;
        assert_eq!(third["offset"], 29);
        assert_eq!(third["attemptId"], first["attemptId"]);
        call.finish();
        let stored = page.expect("DraftSectionFinished").await;
        let text = "The kiln held 15 °C for 👩‍🔬 née Lee.";
        assert_eq!(stored["section"], json!({ "key": KEY, "state": "GENERATED", "revision": 1, "text": text }));
        let narrative = adviser.narrative(&project).await;
        assert_eq!(narrative["sections"][0]["text"], text);
        assert_eq!(narrative["sections"][0]["revisions"]["nodes"][0]["attempt"]["id"], first["attemptId"]);
        drop(socket);
        app.stop().await;
    }

    async fn who_comes_late_or_again_has_all_so_far_and_goes_on_from_there(mode: Mode) {
        let (app, mut calls) = dictated(mode, false).await;
        let adviser = app.adviser();
        let (batch, project) = one_section(&adviser).await;
        let (mut early, mut late) = (adviser.socket().await, adviser.socket().await);
        adviser.start(&batch).await;
        let call = calls.next().await;
        // nobody has watched so far
        call.say("The kiln held ");
        let (mut page, _) = Page::open(&mut early, &project, &Value::Null).await;
        if page.texts[KEY].is_empty() {
            page.reads(KEY, "The kiln held ").await;
        }
        call.say("15 °C, ");
        page.reads(KEY, "The kiln held 15 °C, ").await;
        let (mut other, snapshot) = Page::open(&mut late, &project, &Value::Null).await;
        assert_eq!(snapshot["sections"], only(KEY, "The kiln held 15 °C, ", "GENERATING"));
        call.say("which ");
        assert_eq!(other.reads(KEY, "The kiln held 15 °C, which ").await["offset"], 21);
        page.reads(KEY, "The kiln held 15 °C, which ").await;

        let (cursor, sequence) = (page.cursor.clone(), page.sequence);
        drop(early);
        call.say("was ");
        other.reads(KEY, "The kiln held 15 °C, which was ").await;
        let mut so_far = "The kiln held 15 °C, which was ".to_owned();
        for (after, more) in [(cursor, "almost "), (Value::Null, "enough.")] {
            let mut again = adviser.socket().await;
            let (mut page, snapshot) = Page::open(&mut again, &project, &after).await;
            assert!(page.sequence >= sequence, "with its old variables too a client can tell what it has seen: {snapshot}");
            assert_eq!(snapshot["sections"], only(KEY, &so_far, "GENERATING"));
            call.say(more);
            so_far.push_str(more);
            page.reads(KEY, &so_far).await;
            other.reads(KEY, &so_far).await;
            drop(again);
        }
        call.finish();
        let stored = other.expect("DraftSectionFinished").await;
        assert_eq!(stored["section"]["text"], "The kiln held 15 °C, which was almost enough.");
        drop(late);
        app.stop().await;
    }

    async fn a_try_that_fails_is_told_and_the_next_starts_the_section_anew(mode: Mode) {
        let (app, mut calls) = dictated(mode, false).await;
        let adviser = app.adviser();
        let (batch, project) = one_section(&adviser).await;
        let mut socket = adviser.socket().await;
        let (mut page, _) = Page::open(&mut socket, &project, &Value::Null).await;
        let run = adviser.start(&batch).await;
        let call = calls.next().await;
        call.say("The kiln ");
        let first = page.reads(KEY, "The kiln ").await;
        call.say("cracked");
        call.break_off();
        page.reads(KEY, "The kiln cracked").await;
        let failed = page.expect("DraftFailed").await;
        assert_eq!((&failed["failedSectionKey"], &failed["willRetry"]), (&json!(KEY), &json!(true)), "{failed}");
        assert_eq!((&failed["failure"]["code"], &failed["failure"]["retryable"]), (&json!("PROVIDER_UNAVAILABLE"), &json!(true)));

        let call = calls.next().await;
        call.say("The cone");
        let second = page.reads(KEY, "The cone").await;
        assert_eq!(second["offset"], 0);
        assert_ne!(second["attemptId"], first["attemptId"]);
        call.finish();
        assert_eq!(page.expect("DraftSectionFinished").await["section"]["text"], "The cone");
        assert_eq!(adviser.follow_run(&batch, &run).await, "SUCCEEDED");

        // the stream goes on with the next run; what fails for good leaves the stored text
        adviser.start_with(json!({ "batchId": batch, "scope": "ALL_UNAPPROVED" })).await;
        let call = calls.next().await;
        call.say("Worse");
        page.reads(KEY, "Worse").await;
        call.refuse();
        let failed = page.expect("DraftFailed").await;
        assert_eq!((&failed["willRetry"], &failed["failure"]["code"]), (&json!(false), &json!("PROVIDER_REFUSED")), "{failed}");
        let snapshot = page.expect("DraftSnapshot").await;
        assert_eq!(snapshot["sections"], only(KEY, "The cone", "GENERATED"));
        drop(socket);
        app.stop().await;
    }

    async fn a_run_that_is_cancelled_gives_the_stored_text_back(mode: Mode) {
        let (app, mut calls) = dictated(mode, false).await;
        let adviser = app.adviser();
        let (batch, project) = one_section(&adviser).await;
        let mut socket = adviser.socket().await;
        let (mut page, _) = Page::open(&mut socket, &project, &Value::Null).await;
        let run = adviser.start(&batch).await;
        let call = calls.next().await;
        call.say("The kiln ");
        page.reads(KEY, "The kiln ").await;
        adviser.cancel(&run).await;
        assert_eq!(page.expect("DraftSnapshot").await["sections"], only(KEY, "", "EMPTY"));

        // and what comes next is told from its first word
        adviser.start(&batch).await;
        let call = calls.next().await;
        call.say("Again.");
        assert_eq!(page.reads(KEY, "Again.").await["offset"], 0);
        call.finish();
        page.expect("DraftSectionFinished").await;
        drop(socket);
        app.stop().await;
    }

    async fn what_a_person_changes_is_told_too(mode: Mode) {
        let (app, _calls) = dictated(mode, false).await;
        let adviser = app.adviser();
        let (_, project) = one_section(&adviser).await;
        let mut socket = adviser.socket().await;
        let (mut page, _) = Page::open(&mut socket, &project, &Value::Null).await;
        edit(&adviser, &project, "By hand.").await;
        let stored = page.expect("DraftSectionFinished").await;
        assert_eq!(stored["section"], json!({ "key": KEY, "state": "EDITED", "revision": 1, "text": "By hand." }));
        drop(socket);
        app.stop().await;
    }

    async fn names_that_were_hidden_from_the_provider_are_shown_to_who_watches(mode: Mode) {
        let (app, mut calls) = dictated(mode, true).await;
        let adviser = app.adviser();
        let template = adviser.template_of("One section", &[KEY]).await;
        let query = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } userErrors { code message } } }";
        let data = adviser.run(query, json!({ "input": { "name": "Acme", "templateId": template } })).await;
        let batch = accepted(&data, "createBatch")["batch"]["id"].as_str().expect("an id").to_owned();
        let mut facts = row(1);
        facts["facts"]["competentProfessionalRole"] = json!("Jane Example, lead process engineer");
        let project = adviser.import(&batch, json!([facts])).await[0].clone();
        let mut socket = adviser.socket().await;
        let (mut page, _) = Page::open(&mut socket, &project, &Value::Null).await;
        adviser.start(&batch).await;
        let call = calls.next().await;
        assert!(call.prompt.contains("[PERSON-1]") && !call.prompt.contains("Jane Example"), "{}", call.prompt);
        for piece in ["The work was led by [PER", "SON", "-1], an ", "engineer"] {
            call.say(piece);
        }
        page.reads(KEY, "The work was led by Jane Example, an ").await;
        call.finish();
        page.reads(KEY, "The work was led by Jane Example, an engineer").await;
        assert_eq!(page.expect("DraftSectionFinished").await["section"]["text"], "The work was led by Jane Example, an engineer");
        drop(socket);
        app.stop().await;
    }

    async fn the_offline_provider_can_be_watched(mode: Mode) {
        let settings = [("OFFLINE_DELAY_MS", "1200")];
        let app = Box::pin(TestApp::start_on(mode, &settings, |_| {})).await;
        let adviser = app.adviser();
        let (batch, projects) = adviser.batch_of("Acme", 1).await;
        let mut socket = adviser.socket().await;
        let (mut page, snapshot) = Page::open(&mut socket, &projects[0], &Value::Null).await;
        adviser.start(&batch).await;
        let sections = snapshot["sections"].as_array().expect("sections").len();
        let mut finished = 0;
        while finished < sections {
            let event = page.next().await;
            finished += usize::from(event["__typename"] == "DraftSectionFinished");
        }
        assert_eq!(page.pieces.len(), sections, "every section was seen: {:?}", page.pieces);
        assert!(page.pieces.values().all(|pieces| *pieces >= 3), "in several pieces: {:?}", page.pieces);
        let stored = adviser.narrative(&projects[0]).await;
        for section in stored["sections"].as_array().expect("sections") {
            assert_eq!(page.texts[section["key"].as_str().expect("a key")], section["text"].as_str().expect("a text"));
        }
        drop(socket);
        app.stop().await;
    }
}

on_both! {
    async fn a_cursor_of_another_stream_is_refused(app: TestApp) {
        let (adviser, stranger) = (app.adviser(), app.stranger());
        let (batch, projects) = adviser.batch_of("Acme", 2).await;
        let mut socket = adviser.socket().await;
        let other = Page::open(&mut socket, &projects[1], &Value::Null).await.0.cursor;
        let of_batch = adviser.batch_now(&batch).await["eventCursor"].clone();
        for cursor in [other, of_batch, json!("nonsense"), json!("")] {
            let errors = Page::refused(&mut adviser.socket().await, &projects[0], &cursor).await;
            assert_eq!((&errors[0]["extensions"]["code"], &errors[0]["extensions"]["argument"]), (&json!("VALIDATION_FAILED"), &json!("after")), "{errors}");
        }
        for (client, id) in [(&stranger, projects[0].as_str()), (&adviser, &batch), (&adviser, "nonsense")] {
            let errors = Page::refused(&mut client.socket().await, id, &Value::Null).await;
            assert_eq!((&errors[0]["extensions"]["code"], &errors[0]["path"]), (&json!("NOT_FOUND"), &json!(["projectDraft"])), "{errors}");
        }
        drop(socket);
        app.stop().await;
    }
}
