//! The offline provider as others see it: grounded, within limits, without repetition, the same every time.

use super::super::collect;
use super::*;
use crate::domain::builtin_templates::built_in;
use crate::domain::projects::{Costs, Facts, WorkStatus};
use crate::domain::prompts::assemble;
use crate::domain::templates::{Limits, TemplateSection, word_count};
use chrono::NaiveDate;
use std::collections::{BTreeMap, HashMap, HashSet};

fn rich() -> Facts {
    Facts {
        sector: Some("Ceramics".into()),
        field_of_science: Some("Materials science".into()),
        sub_field: Some("low-temperature glazes".into()),
        start_date: NaiveDate::from_ymd_opt(2024, 4, 8),
        end_date: NaiveDate::from_ymd_opt(2025, 2, 28),
        work_status: Some(WorkStatus::Completed),
        baseline: Some("Published frits mature at 1,060 °C or above. BS EN 1388 limits lead release to 0.8 mg/dm2, and reported \
             boron frits below 1,000 °C exceed it by 40%.".into()),
        advance_sought: Some("A lead-free glaze that matures at 940 °C with a release below 0.2 mg/dm2.".into()),
        uncertainties: Some("1. It was not known whether zinc can replace lead below 950 °C, because phase data stop at 1,000 °C.\n\
             2. It was unclear how cooling rate affects crazing; theory assumes a homogeneous melt.".into()),
        work_undertaken: Some("In May 2024 we fired 48 cones of six compositions.\nThe first series crazed at 15 °C per minute.\n\
             - hence the cooling was slowed to 4 °C per minute in September 2024.\n\nA second series of 24 cones held, with a release of 0.31 mg/dm2.".into()),
        outcome: Some("The first uncertainty was resolved in part: release fell to 0.31 mg/dm2. The second was resolved.".into()),
        competent_professional_role: Some("principal ceramic technologist.".into()),
        competent_professional_qualifications: Some("MSc Ceramics; Fellow of IOM3".into()),
        competent_professional_years: Some(17),
        claim_ref: Some("C-2025-77".into()),
        extra: BTreeMap::from([("client_name".into(), "Nobody Ltd".into())]),
    }
}

fn sparse() -> Facts {
    Facts {
        field_of_science: Some("Computer science".into()),
        start_date: NaiveDate::from_ymd_opt(2024, 6, 1),
        work_status: Some(WorkStatus::Ongoing),
        baseline: Some("Raft needs 3 round trips".into()),
        uncertainties: Some("unclear whether one suffices".into()),
        work_undertaken: Some("TBC".into()),
        ..Facts::default()
    }
}

/// The same long text in every fact: the worst that a client can send.
fn repeated() -> Facts {
    let long = "It was not known whether the 12 valves of the rig close within 35 ms, because no published data reach it. ".repeat(200);
    let all = Some(long.clone() + &"The seal held at 90 bar in all of the seven trials that were made. ".repeat(3));
    Facts {
        baseline: all.clone(),
        advance_sought: all.clone(),
        uncertainties: all.clone(),
        work_undertaken: all.clone(),
        outcome: all,
        ..Facts::default()
    }
}

fn several() -> Vec<(&'static str, Facts)> {
    vec![("rich", rich()), ("sparse", sparse()), ("empty", Facts::default()), ("repeated", repeated())]
}

fn request(section: &TemplateSection, facts: &Facts) -> DraftRequest {
    let (name, costs) = ("Glaze 2000", Costs::default());
    DraftRequest {
        model: MODEL.into(),
        prompt: assemble(section, None, name, facts, &costs, None),
        section: section.clone(),
        facts: facts.clone(),
        costs,
        project_name: name.into(),
        wish: None,
    }
}

async fn written(section: &TemplateSection, facts: &Facts) -> String {
    collect(Offline::default().draft(request(section, facts)).await.unwrap()).await.unwrap().0
}

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',')))
        .map(|number| number.trim_matches(['.', ',']))
        .filter(|number| !number.is_empty())
}

fn everything(facts: &Facts) -> String {
    let mut all: Vec<String> = facts.texts().into_iter().map(|(_, text)| text.to_owned()).collect();
    all.extend([facts.start_date, facts.end_date].into_iter().flatten().map(|date| date.format("%Y").to_string()));
    all.extend(facts.competent_professional_years.map(|years| years.to_string()));
    all.join("\n")
}

#[tokio::test]
async fn every_section_of_every_template_is_grounded_plain_and_within_its_limits() {
    for (name, facts) in several() {
        let source = everything(&facts);
        let known: HashSet<&str> = numbers(&source).collect();
        for template in built_in() {
            for section in &template.sections {
                let (text, at) = (written(section, &facts).await, format!("{name}: {}/{}", template.key, section.key));
                let (words, limits) = (word_count(&text), section.limits);
                assert!(words > 0 && words <= limits.max_words, "{at}: {words} words\n{text}");
                assert!(name != "rich" || words >= limits.min_words, "{at}: {words} words\n{text}");
                for number in numbers(&text) {
                    assert!(known.contains(number), "{at}: {number} is not among the facts\n{text}");
                }
                let layout = ["\n\n\n", "\r", "**", "  ", "..", " .", "[", "TBC", "- "];
                assert!(layout.iter().all(|mark| !text.contains(mark)), "{at}\n{text}");
                assert!(text.ends_with(['.', '!', '?', '”']) && text.trim() == text, "{at}\n{text}");
            }
        }
    }
}

#[tokio::test]
async fn no_long_sentence_stands_in_two_sections() {
    for (name, facts) in several() {
        for template in built_in() {
            let mut seen: HashMap<String, &str> = HashMap::new();
            for section in &template.sections {
                let text = written(section, &facts).await;
                // More strictly divided than a reader would: any full stop, and the end of a paragraph.
                let own: HashSet<String> = text
                    .split("\n\n")
                    .flat_map(|paragraph| paragraph.split(['.', '!', '?']).map(sentences::bare).collect::<Vec<_>>())
                    .filter(|sentence| sentence.split_whitespace().count() >= 8)
                    .collect();
                for sentence in own {
                    if let Some(other) = seen.insert(sentence.clone(), &section.key) {
                        panic!("{name}: {}: {other} and {} both say:{sentence}", template.key, section.key);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn absent_facts_are_told_plainly_and_forbidden_ones_are_not_used() {
    let mut baseline = built_in().remove(0).sections.remove(1);
    let text = written(&baseline, &Facts::default()).await;
    assert!(text.starts_with("The project's facts do not describe the state of knowledge"), "{text}");
    baseline.source_facts = vec!["baseline".into()];
    let text = written(&baseline, &rich()).await;
    assert!(text.contains("1,060 °C") && !text.contains("Materials science") && !text.contains("2024"), "{text}");
}

#[tokio::test]
async fn a_section_of_a_practices_own_is_composed_from_its_source_facts() {
    let own = TemplateSection {
        key: "plant_trials".into(),
        title: "Plant trials".into(),
        guidance: String::new(),
        aif_question: None,
        source_facts: vec!["work_undertaken".into(), "start_date".into()],
        required: false,
        limits: Limits { min_words: 0, max_words: 60, max_chars: 2_000 },
    };
    let text = written(&own, &rich()).await;
    assert!(text.starts_with("Plant trials, work undertaken: in May 2024 we fired 48 cones"), "{text}");
    assert!(text.contains("Plant trials, start of the work: April 2024.") && !text.contains("zinc"), "{text}");
    assert_eq!(written(&own, &Facts::default()).await, "The project's facts say nothing on this: Plant trials.");
}

#[tokio::test]
async fn a_limit_that_is_smaller_than_a_sentence_is_kept_too() {
    let mut section = built_in().remove(0).sections.remove(3);
    for (max_words, max_chars) in [(60, 20_000), (10, 20_000), (1, 20_000), (600, 100), (600, 1)] {
        section.limits = Limits { min_words: 0, max_words, max_chars };
        let text = written(&section, &rich()).await;
        assert!(word_count(&text) <= max_words && i32::try_from(text.chars().count()).unwrap() <= max_chars, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_changes_when_the_pieces_come_and_nothing_else() {
    let section = &built_in()[0].sections[4];
    let at_once = collect(Offline::default().draft(request(section, &rich())).await.unwrap()).await.unwrap();
    let started = Instant::now();
    let slow = Offline::new(Duration::from_millis(400)).draft(request(section, &rich())).await.unwrap();
    assert_eq!(collect(slow).await.unwrap(), at_once, "same text and usage");
    let took = started.elapsed();
    assert!((Duration::from_millis(400)..Duration::from_millis(405)).contains(&took), "{took:?}");
    assert!(at_once.1.output_tokens > 80 && at_once.1.input_tokens > 500 && at_once.1.model == MODEL);
}

#[test]
fn pieces_are_a_few_words_and_lose_no_blank() {
    let text = "One two  three four\n\nfive six seven eight.";
    let mut start = 0;
    let pieces: Vec<&str> = ends_of_pieces(text).into_iter().map(|end| &text[std::mem::replace(&mut start, end)..end]).collect();
    assert_eq!(pieces, ["One two  three four\n\nfive six ", "seven eight."]);
    assert!(ends_of_pieces("").is_empty());
}
