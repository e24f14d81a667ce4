//! `bench rules`: what the check of a narrative takes, which is a pure function: texts of the samples, in this thread.

use crate::Outcome;
use crate::load::Middle;
use crate::report::Part;
use claimwright::domain::builtin_templates::built_in;
use claimwright::domain::projects::{Costs, Facts};
use claimwright::domain::quality::{Narrative, SectionText, check};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 5;
const REPEATS: u32 = 100;

/// The samples' facts, which are prose with numbers and dates, stand as sections too.
fn samples() -> Outcome<Vec<(String, Facts, Vec<String>)>> {
    let mut reader = csv::Reader::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/projects.csv"))?;
    let headings = reader.headers()?.clone();
    let mut found = Vec::new();
    for row in reader.records() {
        let row = row?;
        let value = |name: &str| headings.iter().position(|heading| heading == name).and_then(|at| row.get(at)).map(str::to_owned);
        let facts = Facts {
            field_of_science: value("field_of_science"),
            baseline: value("baseline"),
            advance_sought: value("advance_sought"),
            uncertainties: value("uncertainties"),
            work_undertaken: value("work_undertaken"),
            outcome: value("outcome"),
            ..Facts::default()
        };
        let names = ["baseline", "advance_sought", "uncertainties", "work_undertaken", "outcome"];
        let texts = names.iter().filter_map(|name| value(name)).collect();
        found.push((value("project_name").unwrap_or_default(), facts, texts));
    }
    Ok(found)
}

/// Checks all samples again and again.
pub fn run() -> Outcome<Part> {
    let (samples, templates) = (samples()?, built_in());
    let template = templates.first().ok_or("no template")?;
    let costs = Costs::default();
    let mut characters = 0;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        characters = 0;
        for (name, facts, texts) in &samples {
            let sections: Vec<SectionText> =
                template.sections.iter().zip(texts).map(|(section, text)| SectionText { section, text }).collect();
            characters += texts.iter().map(|text| text.chars().count()).sum::<usize>();
            let narrative = Narrative { name, sections: &sections, facts, costs: &costs };
            for _ in 0..REPEATS {
                black_box(check(black_box(&narrative)));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let checks = samples.len() as f64 * f64::from(REPEATS);
        times.push(begun.elapsed().as_secs_f64() * 1e6 / checks);
    }
    let middle = Middle::of(times);
    let table = format!(
        "| | µs |\n|---|---:|\n| check of a narrative of five sections, {} characters | **{:.0}** ({:.0}–{:.0}) |\n",
        characters / samples.len().max(1),
        middle.median,
        middle.least,
        middle.most
    );
    Ok(Part { name: "rules", title: "Quality rules", table, plain: String::new(), bars: vec![] })
}
