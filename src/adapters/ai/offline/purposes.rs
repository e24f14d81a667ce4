//! What each section says: its own fact, sentence for sentence, led in by what dates and field say, and helped out by
//! sentences of other facts where it would be too short. It must not add a statement, a number or a judgement that is
//! not in the facts, and writes no sentence that another section may write too (`DUPLICATED_TEXT`, domain rules F):
//! what is quoted from elsewhere gets words before it that only one section uses.

use super::compose::Composition;
use super::sentences::{self, Paragraphs, bare, has_inner_end, lowered, words};
use super::view::{MENTION_WORDS, View, label, text_fact};
use crate::domain::projects::{Facts, WorkStatus};
use crate::domain::templates::TemplateSection;

/// Facts that sections are made of, in the order of a narrative.
const MAIN_FACTS: [&str; 5] = ["baseline", "advance_sought", "uncertainties", "work_undertaken", "outcome"];
/// Words from which a sentence counts as repeated (domain rules F, `DUPLICATED_TEXT`).
const REPEATED_WORDS: usize = 8;
/// Words of a section whose purpose is not known, unless its limits say otherwise.
const GENERIC_WORDS: usize = 250;

/// What a section says, by its key; a key that is not known is served by its title and source facts.
pub(super) fn written(view: &View<'_>, section: &TemplateSection, project_name: &str) -> Composition {
    match section.key.as_str() {
        "field_of_science" => field_of_science(view, project_name),
        "baseline" | "advance" | "uncertainties" | "work_undertaken" | "outcome" => main_section(view, &section.key),
        "competent_professional" => competent_professional(view),
        "summary" => summary(view),
        "project_plan" => project_plan(view),
        "boundaries" => boundaries(view),
        "open_points" => open_points(view),
        _ => generic(view, section),
    }
}

fn field_of_science(view: &View<'_>, project_name: &str) -> Composition {
    let name = sentences::line(project_name);
    // A number in a name is not among the facts, and would look like a figure that somebody made up.
    let usable = !name.is_empty() && words(&name) <= MENTION_WORDS && !name.chars().any(char::is_numeric) && !has_inner_end(&name);
    let project = if usable { format!("The project “{name}”") } else { "The project".into() };
    let sub_field = view.line("sub_field");
    let within = |sub: &String| format!(", within the sub-field of {sub}");
    let mut made =
        Composition { no_more: "The project's facts state its field no more closely than this.".into(), ..Composition::default() };
    let first = match (view.line("field_of_science"), &sub_field) {
        (Some(field), _) => format!("{project} is in the field of {field}{}.", sub_field.as_ref().map(within).unwrap_or_default()),
        (None, Some(sub)) => format!("{project} is in the sub-field of {sub}; its facts do not name the wider field."),
        (None, None) => {
            made.no_more = "A field and a sub-field have to be named by the competent professional.".into();
            format!("The facts of {} do not name its field of science or technology.", lowered(&project))
        }
    };
    made.body.push(vec![first]);
    made.body[0].extend(view.line("sector").map(|sector| format!("The work was done for the following sector: {sector}.")));
    made.helpers = view.quotes(&[
        ("advance_sought", "It belongs there by its aim, which is recorded as follows:"),
        ("uncertainties", "It belongs there by the question that it examines:"),
    ]);
    made
}

fn main_section(view: &View<'_>, key: &str) -> Composition {
    let (field, start, end) = (view.in_field(), view.start(), view.end());
    let began = start.as_ref().map(|month| format!(" in {month}")).unwrap_or_default();
    let (fact, lead, helpers): (&str, String, &[(&str, &str)]) = match key {
        "baseline" => (
            "baseline",
            format!("The baseline is the state of knowledge{field}, as it stood when the work began{began}."),
            &[
                ("advance_sought", "What is to be measured against the baseline is this aim:"),
                ("uncertainties", "The question that was open at this point is recorded as follows:"),
                ("work_undertaken", "The work that set out from here is recorded from this step on:"),
            ],
        ),
        "advance" => (
            "advance_sought",
            format!("The project sought an advance in overall knowledge or capability{field}."),
            &[
                ("baseline", "It is to be read against the state of knowledge at the start:"),
                ("uncertainties", "What had to be settled to reach it is recorded as follows:"),
                ("outcome", "How far it was reached is recorded as follows:"),
            ],
        ),
        "uncertainties" => (
            "uncertainties",
            format!("When the work began{began}, the following scientific or technological points were uncertain{field}."),
            &[
                ("advance_sought", "They bear on this aim of the project:"),
                ("baseline", "The knowledge to hand at the time was as follows:"),
                ("work_undertaken", "They were examined by work that is recorded from this step on:"),
                ("outcome", "What was found is recorded as follows:"),
            ],
        ),
        "work_undertaken" => {
            let period = match (start.as_deref(), end.as_deref()) {
                (Some(start), Some(end)) if start == end => format!(" in {start}"),
                (Some(start), Some(end)) => format!(" from {start} to {end}"),
                (Some(start), None) => format!(" from {start} onwards"),
                (None, Some(end)) => format!(" until {end}"),
                (None, None) => String::new(),
            };
            (
                "work_undertaken",
                format!("The work to resolve the uncertainties was carried out{period}, and is recorded as follows."),
                &[
                    ("uncertainties", "The question that led this work:"),
                    ("advance_sought", "The aim that it served:"),
                    ("baseline", "The knowledge that it set out from:"),
                    ("outcome", "The result at its end:"),
                ],
            )
        }
        _ => (
            "outcome",
            match (view.status(), end.as_deref()) {
                (Some(WorkStatus::Completed), Some(end)) => format!("The work was completed in {end}, with the following outcome."),
                (Some(WorkStatus::Completed), None) => "The work is recorded as completed, with the following outcome.".into(),
                (Some(WorkStatus::Abandoned), Some(end)) => format!("The work was given up in {end}, with the following outcome."),
                (Some(WorkStatus::Abandoned), None) => "The work is recorded as given up, with the following outcome.".into(),
                (Some(WorkStatus::Ongoing), _) => "The work is recorded as ongoing; so far, its outcome is as follows.".into(),
                (None, Some(end)) => format!("The work ended in {end}, with the following outcome."),
                (None, None) => "The outcome of the work is recorded as follows.".into(),
            },
            &[
                ("uncertainties", "The question to which this outcome replies:"),
                ("advance_sought", "The aim against which the outcome is to be read:"),
            ],
        ),
    };
    let mut made = Composition {
        helpers: view.quotes(helpers),
        no_more: format!("The project's facts say no more about the {} than this.", label(fact)),
        ..Composition::default()
    };
    made.body = view.text(fact).map(|text| unrepeated(view.facts, fact, text)).unwrap_or_default();
    if made.body.is_empty() {
        made.lead = missing(view, key);
        made.no_more.clear();
    } else {
        made.lead = vec![lead];
    }
    made
}

/// The sentences of a fact. One that an earlier fact holds too is led in, so that no two sections repeat each other;
/// one that the same fact repeats is left out.
fn unrepeated(facts: &Facts, fact: &str, text: &str) -> Paragraphs {
    let earlier: Vec<String> =
        MAIN_FACTS.iter().take_while(|name| **name != fact).filter_map(|name| text_fact(facts, name)).map(bare).collect();
    let mut seen = std::collections::HashSet::new();
    let mut body = sentences::paragraphs(text);
    for paragraph in &mut body {
        paragraph.retain_mut(|sentence| {
            if words(sentence) < REPEATED_WORDS {
                return true;
            }
            let key = bare(sentence);
            if earlier.iter().any(|other| other.contains(&key)) {
                *sentence = format!("For the {}, this holds likewise: {}", label(fact), lowered(sentence));
            }
            seen.insert(key)
        });
    }
    body.retain(|paragraph| !paragraph.is_empty());
    body
}

/// What can be said of a section whose fact is absent.
fn missing(view: &View<'_>, key: &str) -> Vec<String> {
    let (field, start) = (view.in_field(), view.start());
    let began = start.map(|month| format!(" in {month}")).unwrap_or_default();
    let said = match key {
        "baseline" => format!("The project's facts do not describe the state of knowledge when the work began{began}{field}."),
        "advance" => format!("The project's facts do not describe the advance that was sought{field}."),
        "uncertainties" => "The project's facts do not describe the scientific or technological uncertainties, nor why a competent \
                            professional could not readily resolve them."
            .into(),
        "work_undertaken" if began.is_empty() => "The project's facts do not describe the work that was undertaken.".into(),
        "work_undertaken" => format!("The work began{began}; the project's facts do not describe the steps that were undertaken."),
        _ if view.status() == Some(WorkStatus::Ongoing) => {
            "The work is recorded as ongoing, and the project's facts do not yet say whether the uncertainties were resolved.".into()
        }
        _ => "The project's facts do not say whether the uncertainties were resolved, in whole or in part.".into(),
    };
    vec![said]
}

fn competent_professional(view: &View<'_>) -> Composition {
    let years = view.facts.competent_professional_years.filter(|years| *years > 0 && view.may_use("competent_professional_years"));
    let mut said = Vec::new();
    said.extend(view.line("competent_professional_role").map(|role| format!("The role of the competent professional is {role}.")));
    said.extend(view.line("competent_professional_qualifications").map(|held| format!("Their qualifications are as follows: {held}.")));
    let unit = |years| if years == 1 { "year" } else { "years" };
    said.extend(years.map(|years| format!("They have {years} {} of experience{}.", unit(years), view.in_field())));
    let (lead, no_more) = if said.is_empty() {
        (
            vec!["The project's facts do not state the role, qualifications or experience of the competent professional.".into()],
            "They have to be added before the narrative is relied upon.".into(),
        )
    } else {
        (vec![], "The project's facts say no more about the competent professional than this.".into())
    };
    Composition { lead, body: if said.is_empty() { vec![] } else { vec![said] }, helpers: vec![], no_more }
}

fn summary(view: &View<'_>) -> Composition {
    let body = view.quotes(&[
        ("baseline", "The starting point was this:"),
        ("advance_sought", "The project aimed at this:"),
        ("uncertainties", "The difficulty to be resolved was this:"),
        ("work_undertaken", "The work was taken up as follows:"),
        ("outcome", "What came of it is this:"),
    ]);
    let field = view.in_field();
    let lead = match (field.is_empty(), body.is_empty()) {
        (false, false) => vec![format!("This is a short account of work{field}.")],
        (true, false) => vec![],
        (false, true) => vec![format!("The project's work is{field}, and its facts say nothing further that could be summarised.")],
        (true, true) => vec!["The project's facts say nothing yet that could be summarised.".into()],
    };
    let no_more = if body.is_empty() { String::new() } else { "The summary ends here because the project's facts are short.".into() };
    let body = body.into_iter().map(|sentence| vec![sentence]).collect();
    Composition { lead, body, helpers: vec![], no_more }
}

fn project_plan(view: &View<'_>) -> Composition {
    let mut said = Vec::new();
    match (view.start(), view.end()) {
        (Some(start), Some(end)) => said.push(format!("The project ran from {start} to {end}.")),
        (Some(start), None) => said.push(format!("The project has run since {start}; its facts give no end.")),
        (None, Some(end)) => said.push(format!("The project ended in {end}; its facts give no start.")),
        (None, None) => {}
    }
    said.extend(view.quotes(&[
        ("uncertainties", "The plan was directed at this question:"),
        ("work_undertaken", "The first recorded step under the plan:"),
    ]));
    said.extend(view.quote(("work_undertaken", "The last recorded step under the plan:"), true));
    let (lead, body, no_more) = if said.is_empty() {
        (vec!["The project's facts describe neither a plan nor its dates.".into()], vec![], String::new())
    } else {
        (vec![], vec![said], "The project's facts say no more about its plan than this.".into())
    };
    Composition {
        lead,
        body,
        helpers: view.quotes(&[("advance_sought", "The aim of the plan:"), ("outcome", "The result of the plan:")]),
        no_more,
    }
}

fn boundaries(view: &View<'_>) -> Composition {
    let mut said = vec![match view.start() {
        Some(start) => format!("The work to resolve uncertainty is recorded as beginning in {start}."),
        None => "The project's facts do not say when the work to resolve uncertainty began.".into(),
    }];
    said.push(match (view.end(), view.status()) {
        (Some(end), Some(WorkStatus::Abandoned)) => format!("It stopped in {end}, when the work was given up."),
        (Some(end), _) => format!("It is recorded as ending in {end}."),
        (None, Some(WorkStatus::Ongoing)) => "It is recorded as ongoing.".into(),
        (None, _) => "The facts do not say when it ended.".into(),
    });
    said.extend(view.quotes(&[
        ("uncertainties", "The boundary at the start is this open question:"),
        ("outcome", "The boundary at the end is this finding:"),
    ]));
    Composition {
        lead: vec![],
        body: vec![said],
        helpers: view.quotes(&[("work_undertaken", "Inside these boundaries the record begins with this step:")]),
        no_more: "The project's facts say no more about where the R&D began and ended.".into(),
    }
}

/// What a client still has to tell: the facts that are absent.
fn open_points(view: &View<'_>) -> Composition {
    let facts = view.facts;
    let mut absent: Vec<&str> =
        ["field_of_science", "sub_field"].into_iter().chain(MAIN_FACTS).filter(|name| view.text(name).is_none()).map(label).collect();
    if facts.start_date.is_none() {
        absent.push("date on which the work began");
    }
    if facts.end_date.is_none() && facts.work_status != Some(WorkStatus::Ongoing) {
        absent.push("date on which the work ended, if it has");
    }
    if view.text("competent_professional_role").is_none() {
        absent.push("role of the competent professional");
    }
    if view.text("competent_professional_qualifications").is_none() && facts.competent_professional_years.is_none() {
        absent.push("qualifications or years of experience of the competent professional");
    }
    let said = if absent.is_empty() {
        "Nothing is missing from the facts that the narrative is written from.".to_owned()
    } else {
        format!("The facts received so far leave these points open: {}.", absent.join("; "))
    };
    Composition { body: vec![vec![said]], ..Composition::default() }
}

/// A section whose purpose is not known: what each of its facts says, under its name, most important sentences first.
fn generic(view: &View<'_>, section: &TemplateSection) -> Composition {
    let title = sentences::line(&section.title);
    let names = ["sector", "field_of_science", "sub_field"].into_iter().chain(MAIN_FACTS).chain([
        "competent_professional_role",
        "competent_professional_qualifications",
        "claim_ref",
    ]);
    // A reference is of use only to a section that asks for it.
    let wanted = names.filter(|name| *name != "claim_ref" || !view.allowed.is_empty());
    let sources: Vec<(&str, Vec<String>)> = wanted
        .filter_map(|name| {
            let all: Vec<String> = sentences::paragraphs(view.text(name)?).into_iter().flatten().collect();
            let alone: Vec<String> = all.iter().filter(|sentence| !has_inner_end(sentence)).cloned().collect();
            let usable = if alone.is_empty() { all } else { alone };
            (!usable.is_empty()).then_some((name, usable))
        })
        .collect();
    let (min, max) = (section.limits.min_words, section.limits.max_words);
    let target = usize::try_from(i32::midpoint(min, max)).unwrap_or(0).min(GENERIC_WORDS).max(usize::try_from(min).unwrap_or(0));
    let mut body: Paragraphs = Vec::new();
    let dates = match (view.start(), view.end()) {
        (Some(start), Some(end)) => Some(format!("{title}, period: {start} to {end}.")),
        (Some(start), None) => Some(format!("{title}, start of the work: {start}.")),
        (None, Some(end)) => Some(format!("{title}, end of the work: {end}.")),
        (None, None) => None,
    };
    let mut length = dates.as_deref().map_or(0, words);
    let mut taken = vec![0; sources.len()];
    for round in 0..sources.iter().map(|(_, all)| all.len()).max().unwrap_or(0) {
        for ((_, all), taken) in sources.iter().zip(&mut taken) {
            if let Some(sentence) = all.get(round)
                && (round == 0 || length < target)
            {
                *taken = round + 1;
                length += words(sentence) + usize::from(round == 0) * words(&title);
            }
        }
    }
    for ((name, all), taken) in sources.iter().zip(taken) {
        let joined: Vec<String> = all.iter().take(taken).map(|sentence| lowered(sentence.trim_end_matches(['.', ':', '?', '!']))).collect();
        body.push(vec![format!("{title}, {}: {}.", label(name), joined.join("; "))]);
    }
    body.extend(dates.map(|dates| vec![dates]));
    let lead = if body.is_empty() { vec![format!("The project's facts say nothing on this: {title}.")] } else { vec![] };
    Composition { lead, body, helpers: vec![], no_more: String::new() }
}
