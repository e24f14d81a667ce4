//! Tests of the check as a whole: what it finds and, as important, what it leaves alone.

use super::*;
use crate::domain::money::Pence;
use crate::domain::templates::Limits;
use std::collections::BTreeMap;

fn section(key: &str, limits: Limits) -> TemplateSection {
    TemplateSection {
        key: key.into(),
        title: key.replace('_', " "),
        guidance: String::new(),
        aif_question: None,
        source_facts: vec![],
        required: true,
        limits,
    }
}

const WIDE: Limits = Limits { min_words: 0, max_words: 10_000, max_chars: 20_000 };

fn facts() -> Facts {
    Facts {
        sector: Some("Coatings".into()),
        field_of_science: Some("Materials engineering".into()),
        start_date: "2024-05-01".parse().ok(),
        end_date: "2025-10-31".parse().ok(),
        baseline: Some(
            "In March 2019 Weller et al. reported 1,250.0 h of life at 900 °C (ISO 9227, v2.4.1). Coatings crack after twelve cycles."
                .into(),
        ),
        work_undertaken: Some(
            "On 14 January 2025 we tested 37.5% yttria; from March to June 2025, 240 samples. Budget £1.2m, 40k cycles.".into(),
        ),
        competent_professional_years: Some(18),
        extra: BTreeMap::from([("client_name".into(), "Unit 77 Ltd".into())]),
        ..Facts::default()
    }
}

fn costs() -> Costs {
    Costs { staff: Pence(14_820_045), software: Pence(9_000_000), qualifying_indirect_activities: Pence(512_300), ..Costs::default() }
}

/// Checks texts under the key `work`, `work_2`, ... with wide limits and the facts above.
fn check_texts(texts: &[&str]) -> Report {
    let sections: Vec<_> =
        (0..texts.len()).map(|at| section(&if at == 0 { "work".into() } else { format!("work_{}", at + 1) }, WIDE)).collect();
    let parts: Vec<_> = sections.iter().zip(texts).map(|(section, text)| SectionText { section, text }).collect();
    check(&Narrative { name: "Project 5150", sections: &parts, facts: &facts(), costs: &costs() })
}

fn codes(text: &str) -> Vec<&'static str> {
    check_texts(&[text]).findings.iter().map(|found| found.code.as_str()).collect()
}

fn limited(text: &str, limits: Limits) -> Vec<&'static str> {
    let section = section("baseline", limits);
    let parts = [SectionText { section: &section, text }];
    let report = check(&Narrative { name: "", sections: &parts, facts: &facts(), costs: &costs() });
    report.findings.iter().map(|found| found.code.as_str()).collect()
}

#[track_caller]
fn none(text: &str) {
    let report = check_texts(&[text]);
    assert!(report.findings.is_empty(), "{text:?}: {:?}", report.findings.iter().map(|f| &f.message).collect::<Vec<_>>());
}

#[track_caller]
fn one(text: &str, code: &str) {
    assert_eq!(codes(text), [code], "{text:?}");
}

#[test]
fn a_required_section_without_words_is_missing_and_an_optional_one_is_not() {
    for text in ["", " \n", "–", "…"] {
        one(text, "SECTION_MISSING");
    }
    let optional = TemplateSection { required: false, ..section("outcome", WIDE) };
    let parts = [SectionText { section: &optional, text: "" }];
    let report = check(&Narrative { name: "", sections: &parts, facts: &facts(), costs: &costs() });
    assert!(report.findings.is_empty());
}

#[test]
fn limits_are_exact_in_words_and_characters() {
    let limits = Limits { min_words: 2, max_words: 3, max_chars: 9 };
    assert_eq!(limited("a", limits), ["SECTION_TOO_SHORT"]);
    assert!(limited("a b", limits).is_empty());
    assert!(limited("a b c", limits).is_empty());
    assert_eq!(limited("a b c d", limits), ["SECTION_TOO_LONG"]);
    assert!(limited("ééé ééééé", limits).is_empty());
    assert_eq!(limited("ééé éééééé", limits), ["SECTION_OVER_LIMIT"]);
}

#[test]
fn placeholders_are_found() {
    for text in [
        "The baseline was [INSERT figure].",
        "Life was [insert].",
        "Outcome TBC.",
        "Outcome: tbd",
        "By [company name] in Leeds.",
        "On [Date].",
        "For {{project_name}}.",
        "For <insert name>.",
        "Lorem ipsum dolor sit amet.",
        "TODO: write this.",
        "Cost was £XX in all.",
        "It improved by XX% over the base.",
        "The result was ____ in the end.",
        "The result was ??? in the end.",
        "Insert text here please.",
        "[to be confirmed by the client]",
    ] {
        one(text, "PLACEHOLDER_TEXT");
    }
}

#[test]
fn citations_and_explained_abbreviations_are_no_placeholders() {
    none("As Weller showed [2], the value [Figure 3] of E[X] was to be determined.");
    none("A thermal barrier coating (TBC) was tried. The TBC cracked; a second TBC did not.");
    one("It ended early (TBC).", "PLACEHOLDER_TEXT");
}

#[test]
fn talk_of_an_assistant_is_found_and_talk_about_models_is_not() {
    for text in [
        "Sure! Here is the section.",
        "Certainly, here's the text that was asked for",
        "Here is a revised draft of the section:\nThe field is materials.",
        "The field is materials. Let me know if you want changes.",
        "I hope this helps!",
        "As an AI language model, I lack access.",
        "I cannot provide figures.",
        "Based on the information you provided, life rose.",
        "Would you like me to expand on it?",
        "<think>The user wants",
        "Word count: 2",
    ] {
        one(text, "ASSISTANT_TALK");
    }
    none("We deployed the classifier as an AI model on the device, and of course it was slow.");
    none("Here the section is thin. The certainty of the estimate was low; users let the device know if it failed.");
}

#[test]
fn markdown_and_html_are_found_once_a_section_and_plain_marks_are_left_alone() {
    for text in [
        "# Baseline\nText",
        "The **life** was short.",
        "Use `fsync` here.",
        "* first\n* second",
        "See [this](https://example.org/a).",
        "A<br>b and <p class=\"x\">c</p>",
        "Fish &amp; chips",
        "The *life* was short.",
        "| a | b |\n|---|---|",
        "```\ncode\n```",
    ] {
        one(text, "FORMATTING_NOT_PLAIN");
    }
    none("- first\n- second");
    none("Where x<b and c>d, 2**2 and 3**2 differ; a*b*c and __init__ too. R&D; cost < 3 & rising.");
}

#[test]
fn a_long_sentence_in_two_sections_is_duplicated_and_a_short_one_is_not() {
    let long = "The coating lost its adhesion under thermal load at 900 °C within 1.5 hours.";
    let report = check_texts(&[&format!("First. {long} Then more."), &format!("Other words.\n{}", long.to_uppercase())]);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let found = &report.findings[0];
    assert_eq!((found.code, found.severity), (ValidationCode::DuplicatedText, IssueSeverity::Warning));
    assert_eq!(found.section_key.as_deref(), Some("work_2"));
    assert!(check_texts(&["The coating lost all of its adhesion.", "The coating lost all of its adhesion."]).findings.is_empty());
    assert!(check_texts(&[&format!("{long} {long}")]).findings.is_empty(), "within one section it is not this rule's matter");
}

#[test]
fn a_number_over_three_needs_a_source_and_its_way_of_writing_does_not_matter() {
    for text in [
        "We saw 4 cracks.",
        "It took 38.5%.",
        "At 901 °C.",
        "In 1,251 h.",
        "With 4.2 million cycles.",
        "It cost £149,200.",
        "It cost £150,000.",
        "It cost £1.3m.",
        "Version 2.4.2 was used.",
        "It had 12,500 cycles.",
        "It had 99 999 of them.",
    ] {
        let report = check_texts(&[text]);
        assert!(report.findings.iter().any(|found| found.code == ValidationCode::NumberNotInSource), "{text:?}");
    }
    for text in [
        "We made 3 attempts, 0 of them good, and 2.5 times as slow, or -1.",
        "Life was 1250 h, that is 1,250 h or 1\u{a0}250.0 h, at 900°C and −900.",
        "With 37.50 % yttria, 240 samples, 240samples and 12 cycles after 18 years.",
        "It had 40,000 cycles, or 40k, or 40 thousand.",
        "ISO 9227 and v2.4.1 and 2.4.1 and CO2, H2O, B2B, Ti-6Al-4V, COVID-19, GPT-4, M8.",
        "Unit 77 and project 5150.",
        "Budget £1.2m, £1,200,000, £1.2 million.",
    ] {
        none(text);
    }
}

#[test]
fn costs_may_be_written_in_any_usual_way() {
    for text in [
        "Staff cost £148,200.45, £148,200, GBP 148200, 148,200 pounds, £148k, £148.2k or £0.15m.",
        "Software cost £90,000, £90k or £90,000.00.",
        "In all £238,200.45, £238,200, about £238,000, £0.24m, £0.238 million.",
        "Of it £5,123 was indirect.",
    ] {
        none(text);
    }
    one("In all about £240,000.", "NUMBER_NOT_IN_SOURCE");
    one("In all 238 samples.", "NUMBER_NOT_IN_SOURCE");
}

#[test]
fn dates_of_the_facts_may_be_written_in_any_usual_way() {
    for text in [
        "It ran from 1 May 2024 to 31 October 2025.",
        "It ran from 2024-05-01 to 31/10/2025, that is May 2024 to Oct 2025, or 05/2024 to October, 2025.",
        "On 14th January 2025, January 14, 2025, the 14th of January 2025, 14 Jan. 2025 and 14 January.",
        "In March 2025 and in June 2025, or between March and June 2025, or March–June 2025.",
        "In 2024 and 2025, or 2024/25. In March 2019 and since 2019.",
        "It may take long in March; the march of 2 units.",
    ] {
        none(text);
    }
}

#[test]
fn a_date_outside_the_project_is_told_apart_from_one_inside_that_no_fact_names() {
    for text in ["In April 2024.", "On 30 April 2024.", "In November 2025.", "On 2025-11-01.", "In June 2019.", "On 01/11/2025."] {
        one(text, "DATE_OUTSIDE_PROJECT");
    }
    for text in ["In July 2024.", "On 15 January 2025.", "On 2024-06-30.", "In 2023.", "In 2022/23.", "On 15 January."] {
        one(text, "NUMBER_NOT_IN_SOURCE");
    }
    assert_eq!(codes("In April 2024 and in December 2026."), ["DATE_OUTSIDE_PROJECT", "DATE_OUTSIDE_PROJECT"]);
    assert_eq!(codes("Between April and May 2024."), ["DATE_OUTSIDE_PROJECT"]);
}

#[test]
fn without_an_end_nothing_is_too_late() {
    let section = section("work", WIDE);
    let parts = [SectionText { section: &section, text: "In April 2024 and in May 2031." }];
    let open = Facts { end_date: None, ..facts() };
    let report = check(&Narrative { name: "", sections: &parts, facts: &open, costs: &costs() });
    let found: Vec<_> = report.findings.iter().map(|found| found.code.as_str()).collect();
    assert_eq!(found, ["DATE_OUTSIDE_PROJECT", "NUMBER_NOT_IN_SOURCE"]);
    assert!(report.findings[0].message.contains("from 1 May 2024 on"));
}

#[test]
fn markers_of_lists_claim_nothing() {
    none("1. one\n2. two\n3. three\n4. four\n5) five\n(6) six\n7: seven");
    none("Uncertainty 4: whether. Uncertainties 4, 5 and 6 too. See Figure 5, step 7 and (8).");
    none("Not known: 1. whether a; 2. whether b; 3. whether c; 4. whether d.");
    one("In step 2, 15 samples failed.", "NUMBER_NOT_IN_SOURCE");
    one("Phase 2 and 15 samples failed.", "NUMBER_NOT_IN_SOURCE");
}

#[test]
fn text_that_repeats_the_facts_raises_no_alarm() {
    let facts = facts();
    let sections: Vec<_> = facts.texts().iter().map(|(name, _)| section(name, WIDE)).collect();
    let texts: Vec<_> = facts.texts().into_iter().map(|(_, text)| text).collect();
    let parts: Vec<_> = sections.iter().zip(&texts).map(|(section, text)| SectionText { section, text }).collect();
    let report = check(&Narrative { name: "", sections: &parts, facts: &facts, costs: &costs() });
    assert_eq!((report.findings, report.score, report.grounded_share.to_bits()), (vec![], 100, 1_f64.to_bits()));
    let joined = texts.join(" ");
    let lower = joined.to_lowercase();
    none(&joined);
    none(&lower);
}

#[test]
fn findings_come_worst_first_and_each_thing_once_a_section() {
    let report = check_texts(&["**Bold** text with 55 and 55 and 66.", "Sure! It was 55."]);
    let found: Vec<_> = report.findings.iter().map(|f| (f.code.as_str(), f.section_key.as_deref().unwrap_or(""))).collect();
    assert_eq!(
        found,
        [
            ("NUMBER_NOT_IN_SOURCE", "work"),
            ("NUMBER_NOT_IN_SOURCE", "work"),
            ("ASSISTANT_TALK", "work_2"),
            ("NUMBER_NOT_IN_SOURCE", "work_2"),
            ("FORMATTING_NOT_PLAIN", "work"),
        ]
    );
    assert_eq!((report.error_count(), report.warning_count(), report.blocking().count()), (4, 1, 4));
    assert_eq!(report.findings[0].excerpt.as_deref(), Some("**Bold** text with 55 and 55 and 66."));
    assert_eq!(report.findings[0].message, "“55” in “work” is not among the project's facts and costs.");
}

#[test]
fn scores_fall_with_findings_and_with_what_is_not_written() {
    let clean = check_texts(&["Life was 1,250 h in all.", "We tested 240 samples."]);
    assert_eq!((clean.score, clean.word_count, clean.rules_version.as_str()), (100, 10, RULES_VERSION));
    assert_eq!(clean.dimensions.iter().map(|each| each.weight).sum::<f64>().to_bits(), 1_f64.to_bits());
    let invented = check_texts(&["Life was 1,250 h in all.", "We tested 999 samples."]);
    assert_eq!((invented.score, invented.grounded_share.to_bits()), (92, 0.5_f64.to_bits()));
    let half = check_texts(&["Life was 1,250 h in all.", ""]);
    assert_eq!(half.dimensions.iter().map(|each| each.score).collect::<Vec<_>>(), [80, 50, 50]);
    assert_eq!((half.score, check_texts(&["", ""]).score), (62, 0));
    assert_eq!(check(&Narrative { name: "", sections: &[], facts: &facts(), costs: &costs() }).score, 0);
}

#[test]
fn a_report_is_stored_as_json_and_read_back() {
    let report = check_texts(&["Sure! In July 2024 it was 4,711 and 240 and [TBC].", ""]);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    assert!(json.contains(r#""severity":"ERROR""#));
}

#[test]
fn every_code_has_a_place_in_a_scored_aspect_and_only_errors_block() {
    for code in ValidationCode::ALL {
        assert!(QualityDimension::ALL.contains(&code.dimension()));
        assert_eq!(code.blocks_approval(), code.severity() == IssueSeverity::Error);
    }
    assert_eq!(QualityDimension::ALL.iter().map(|each| each.weight()).sum::<i32>(), 100);
}

#[test]
fn odd_text_never_panics() {
    let pieces = [
        "£",
        "1",
        "9999999999999999999999999999999999999999999",
        ".",
        ",",
        "-",
        "–",
        "/",
        "2024",
        "March",
        "é",
        "\u{a0}",
        "\u{202f}",
        "1e999",
        "1e-5",
        "31",
        "(",
        ")",
        "[",
        "\n",
        " ",
        "m",
        "k",
        "𝟙",
        "٣",
        "%",
        "of",
        "and",
        "TB",
        "**",
        "<b",
        "'",
        "2100-13-45",
        "0/0/0000",
        "\0",
    ];
    let mut state = 1_u64;
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[usize::try_from((state >> 33) % pieces.len() as u64).unwrap()]);
        }
        let report = check_texts(&[&text, &text]);
        assert!((0..=100).contains(&report.score) && (0.0..=1.0).contains(&report.grounded_share), "{text:?}");
        let repeated = Facts { outcome: Some(text.clone()), ..facts() };
        let section = section("outcome", WIDE);
        let parts = [SectionText { section: &section, text: &text }];
        let report = check(&Narrative { name: "", sections: &parts, facts: &repeated, costs: &costs() });
        let alarms: Vec<_> = report.findings.iter().filter(|f| f.code.dimension() == QualityDimension::Grounding).collect();
        assert!(alarms.is_empty(), "{text:?}: {alarms:?}");
    }
}
