//! Checks and selections without a project: `checkNarrative` and `aifSelectionFor`. Nothing is stored.

use crate::on_both;
use serde_json::{Value, json};

const CHECK: &str = "query($input: CheckNarrativeInput!) { checkNarrative(input: $input) { score wordCount groundedShare rulesVersion \
    dimensions { dimension score weight } issues { code severity sectionKey message excerpt } } }";
const SELECT: &str = "query($input: AifSelectionInput!) { aifSelectionFor(input: $input) { rule blockedBy selected coveragePercent satisfied \
    warnings } }";

fn issues<'a>(report: &'a Value, code: &str) -> Vec<&'a Value> {
    let all = report["issues"].as_array().expect("issues");
    assert!(all.iter().all(|issue| issue["message"].as_str().is_some_and(|message| message.len() > 10)), "{report:#}");
    all.iter().filter(|issue| issue["code"] == code).collect()
}

on_both! {
    async fn a_text_is_checked_against_the_facts_that_are_given(app: TestApp) {
        let adviser = app.adviser();
        let check = async |input: Value| adviser.run(CHECK, json!({ "input": input })).await["checkNarrative"].clone();
        let outcome = "The melt temperature was held within 2 degrees, and 4711 kg were made at a staff cost of £40,100.";
        let input = json!({ "sections": [{ "key": "outcome", "text": outcome }], "facts": { "outcome": "It was held within 2 degrees." } });
        let report = check(input.clone()).await;
        let numbers = issues(&report, "NUMBER_NOT_IN_SOURCE");
        assert_eq!(numbers.len(), 2, "{report:#}");
        assert!(numbers.iter().all(|issue| issue["severity"] == "ERROR" && issue["sectionKey"] == "outcome"));
        assert!(numbers[0]["excerpt"].as_str().is_some_and(|words| words.contains("4711")), "{report:#}");
        assert_eq!(issues(&report, "SECTION_MISSING").len(), 6);
        assert_eq!(report["dimensions"].as_array().map(Vec::len), Some(3));
        assert_eq!(check(input.clone()).await, report, "the same input has the same answer");

        let mut with_costs = input;
        with_costs["costs"] = json!({ "staff": "40100.00" });
        assert_eq!(issues(&check(with_costs).await, "NUMBER_NOT_IN_SOURCE").len(), 1);
        let data = adviser.run("{ batches { totalCount } projects { totalCount } }", json!({})).await;
        assert_eq!(data, json!({ "batches": { "totalCount": 0 }, "projects": { "totalCount": 0 } }));
        app.stop().await;
    }

    async fn each_structural_fault_has_its_code(app: TestApp) {
        let adviser = app.adviser();
        let long = "word ".repeat(200);
        let same = "The team measured the torque of the screw in every one of the trials that it made.";
        let sections = json!([
            { "key": "field_of_science", "text": long },
            { "key": "baseline", "text": "Sure! Here is the baseline." },
            { "key": "advance", "text": "The advance was [INSERT ADVANCE]." },
            { "key": "uncertainties", "text": format!("**Bold** words. {same}") },
            { "key": "work_undertaken", "text": same },
            { "key": "outcome", "text": "It was finished in December 1999." },
        ]);
        let facts = json!({ "startDate": "2025-05-01", "endDate": "2026-02-28" });
        let report = adviser.run(CHECK, json!({ "input": { "sections": sections, "facts": facts } })).await["checkNarrative"].clone();
        for (code, section, severity) in [
            ("SECTION_TOO_LONG", "field_of_science", "WARNING"),
            ("SECTION_TOO_SHORT", "baseline", "WARNING"),
            ("ASSISTANT_TALK", "baseline", "ERROR"),
            ("PLACEHOLDER_TEXT", "advance", "ERROR"),
            ("FORMATTING_NOT_PLAIN", "uncertainties", "WARNING"),
            ("DATE_OUTSIDE_PROJECT", "outcome", "ERROR"),
            ("SECTION_MISSING", "competent_professional", "ERROR"),
        ] {
            let found = issues(&report, code);
            assert!(found.iter().any(|issue| issue["sectionKey"] == section && issue["severity"] == severity), "{code}: {report:#}");
        }
        assert_eq!(issues(&report, "DUPLICATED_TEXT").len(), 1, "{report:#}");
        let worst_first: Vec<_> = report["issues"].as_array().expect("issues").iter().map(|issue| issue["severity"] == "ERROR").collect();
        assert!(worst_first.is_sorted_by(|a, b| a >= b), "{report:#}");
        app.stop().await;
    }

    async fn a_section_or_template_that_does_not_exist_is_named(app: TestApp) {
        let adviser = app.adviser();
        let error = adviser.fail(CHECK, json!({ "input": { "sections": [{ "key": "nonsense", "text": "Text." }] } })).await;
        assert_eq!((&error["extensions"]["code"], &error["extensions"]["argument"]), (&json!("VALIDATION_FAILED"), &json!("input")));
        assert!(error["message"].as_str().is_some_and(|message| message.contains("nonsense") && message.contains("uncertainties")), "{error}");
        let error = adviser.fail(CHECK, json!({ "input": { "sections": [], "templateId": "nonsense" } })).await;
        assert_eq!((&error["extensions"]["code"], &error["path"]), (&json!("VALIDATION_FAILED"), &json!(["checkNarrative"])));
        app.stop().await;
    }

    async fn plain_numbers_are_selected_by_the_rule_that_applies(app: TestApp) {
        let adviser = app.adviser();
        let select = async |amounts: &[&str], pinned: &[&str]| {
            let projects: Vec<_> = amounts.iter().zip('A'..).map(|(amount, name)| json!({ "ref": name.to_string(), "expenditure": amount })).collect();
            adviser.run(SELECT, json!({ "input": { "projects": projects, "pinned": pinned } })).await["aifSelectionFor"].clone()
        };
        let all = select(&["1", "3.50", "2"], &[]).await;
        let expected = json!({ "rule": "ALL", "blockedBy": null, "selected": ["B", "C", "A"], "coveragePercent": "100.00", "satisfied": true,
            "warnings": [] });
        assert_eq!(all, expected);
        let half = select(&["10", "970", "10", "10"], &["D"]).await;
        assert_eq!((&half["rule"], &half["selected"]), (&json!("HALF_MIN3"), &json!(["B", "A", "D"])));
        let eleven = select(&["1"; 11], &[]).await;
        assert_eq!((&eleven["rule"], &eleven["coveragePercent"]), (&json!("HALF_3_10"), &json!("54.55")));
        let many = select(&["1"; 21], &["U"]).await;
        // domain rules A: the ten largest leave no room for a pin, and that is said
        assert_eq!((&many["rule"], &many["warnings"]), (&json!("TOP_10"), &json!(["CHECK_REPRESENTATIVE", "PIN_IGNORED_BY_RULE"])));
        assert_eq!(many["selected"], json!(["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"]));
        for (amounts, blocker) in [(&[][..], "NO_PROJECTS"), (&["0"], "NO_QUALIFYING_EXPENDITURE"), (&["5", "-0.01"], "NEGATIVE_EXPENDITURE")] {
            let blocked = select(amounts, &[]).await;
            assert_eq!((&blocked["blockedBy"], &blocked["satisfied"], &blocked["selected"]), (&json!(blocker), &json!(false), &json!([])));
        }
        let error = adviser.fail(SELECT, json!({ "input": { "projects": [], "pinned": ["Z"] } })).await;
        assert_eq!((&error["extensions"]["code"], &error["extensions"]["argument"]), (&json!("VALIDATION_FAILED"), &json!("input")));
        app.stop().await;
    }
}
