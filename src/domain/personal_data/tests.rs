//! What is hidden, that nothing else is, and that it all comes back.

use super::*;

fn facts(baseline: &str) -> Facts {
    Facts { baseline: Some(baseline.into()), ..Facts::default() }
}

fn hidden(baseline: &str) -> String {
    Mask::of(&facts(baseline), &[]).hide(baseline)
}

#[test]
fn people_and_how_to_reach_them_do_not_leave() {
    for (text, masked) in [
        ("Mail ann.b+c@example.co.uk now.", "Mail [EMAIL-1] now."),
        ("Call 020 7946 0018 or +44 7700 900123.", "Call [PHONE-1] or [PHONE-2]."),
        ("NI AB 12 34 56 C.", "NI [NINO-1]."),
        ("Led by Dr Jane Example; Example then left.", "Led by Dr [PERSON-1]; [PERSON-2] then left."),
        ("Prof. A. N. O'Neill-Smith agreed.", "Prof. [PERSON-1] agreed."),
        ("The trial was supervised by Mary J. Sample in May.", "The trial was supervised by [PERSON-1] in May."),
        ("Our lead engineer is Zoë Łukasz, who measured it.", "Our lead engineer is [PERSON-1], who measured it."),
    ] {
        assert_eq!(hidden(text), masked);
    }
}

#[test]
fn roles_organisations_and_measurements_stay() {
    for text in [
        "The work was led by Rolls-Royce and the University of Leeds.",
        "Lead Process Engineer, chartered, at the Royal Society of Chemistry",
        "It was managed by Senior Process Engineers.",
        "0.001 mm, 10 000 cycles, 01/02/2025 and BS EN 1388",
        "Annealing at 940 °C; Young's modulus of 70 GPa.",
    ] {
        assert_eq!(hidden(text), text);
    }
}

#[test]
fn a_name_is_hidden_wherever_it_stands_and_only_as_a_word() {
    let facts = Facts {
        competent_professional_role: Some("Ann Steel, lead process engineer".into()),
        competent_professional_qualifications: Some("Lead Engineer, MSc".into()),
        work_undertaken: Some("Steel annealed the steel with Bob Roe. Steelworks closed.".into()),
        extra: [("Lead engineer name".to_owned(), "Bob Roe".to_owned()), ("Product name".to_owned(), "Kiln Mate".to_owned())].into(),
        ..Facts::default()
    };
    let mask = Mask::of(&facts, &[]);
    let masked = mask.hide_facts(&facts);
    assert_eq!(masked.work_undertaken.as_deref(), Some("[PERSON-3] annealed the steel with [PERSON-1]. Steelworks closed."));
    assert_eq!(masked.competent_professional_role.as_deref(), Some("[PERSON-2], lead process engineer"));
    assert_eq!(masked.competent_professional_qualifications, facts.competent_professional_qualifications);
    assert_eq!(masked.extra["Product name"], "Kiln Mate");
    assert_eq!(mask.restore(masked.work_undertaken.as_deref().unwrap()), facts.work_undertaken.unwrap());
}

#[test]
fn the_same_facts_always_give_the_same_placeholders() {
    let text = "Dr Jane Example (jane@example.org) and Dr Joe Sample (joe@example.org), 020 7946 0018";
    assert_eq!(hidden(text), hidden(text));
    assert!(hidden(text).contains("[EMAIL-2]") && !hidden(text).contains("example.org"));
}

#[test]
fn what_comes_back_is_what_went_in_even_if_the_model_was_careless() {
    let text = "Dr Jane Example wrote to joe@example.org.";
    let mask = Mask::of(&facts(text), &[]);
    assert_eq!(mask.restore(&mask.hide(text)), text);
    assert_eq!(
        mask.restore("Dr PERSON-1 wrote to [email-1]; Person-1 knew."),
        "Dr Jane Example wrote to joe@example.org; Jane Example knew."
    );
    assert_eq!(mask.restore("[PERSON-9], [PERSON-12] and PERSON-ABLE"), "[PERSON-9], [PERSON-12] and PERSON-ABLE");
}

#[test]
fn a_placeholder_that_a_client_typed_is_not_taken_for_ours() {
    let text = "The field [PERSON-1] is empty. Dr Jane Example filled it.";
    let mask = Mask::of(&facts(text), &[]);
    assert_eq!(mask.hide(text), "The field [PERSON-1] is empty. Dr [PERSON-2] filled it.");
    assert_eq!(mask.restore(&mask.hide(text)), text);
}

#[test]
fn a_text_in_pieces_is_restored_wherever_it_is_cut() {
    let text = "Dr Jane Example wrote é to joe@example.org. Then\nExample left.";
    let mask = Mask::of(&facts(text), &[]);
    let masked = mask.hide(text).replace("[PERSON-2]", "Person-2");
    for size in 1..masked.len() {
        let mut restorer = Restorer::new(&mask);
        let chars: Vec<char> = masked.chars().collect();
        let mut whole: String = chars.chunks(size).map(|piece| restorer.push(&piece.iter().collect::<String>())).collect();
        whole += &restorer.finish();
        assert_eq!(whole, text, "pieces of {size}");
    }
    let mut long = Restorer::new(&mask);
    let endless = "é".repeat(1_000);
    assert!(!long.push(&endless).is_empty(), "a word without an end is not held for ever");
}

#[test]
fn nothing_to_hide_costs_nothing() {
    let mask = Mask::of(&facts("The kiln held."), &["Glaze"]);
    assert!(mask.is_empty());
    assert_eq!((mask.hide("The kiln held."), Restorer::new(&mask).push("The")), ("The kiln held.".into(), "The".into()));
}
