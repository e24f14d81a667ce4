//! Pieces in virtual time: what is published, when, and for whom.

use super::*;
use crate::adapters::events::Listener;
use crate::adapters::events::local::LocalBus;
use crate::domain::generations::{AskedBy, AttemptStatus};
use crate::domain::ids::{RunId, SectionId, TemplateVersionId};
use futures::FutureExt;
use tokio::time::sleep;
use uuid::Uuid;

const PROJECT: ProjectId = ProjectId(Uuid::from_u128(1));

fn attempt(number: u128) -> Attempt {
    Attempt {
        id: AttemptId(Uuid::from_u128(number)),
        asked_by: AskedBy::Run(RunId(Uuid::nil())),
        project: PROJECT,
        section: SectionId(Uuid::nil()),
        section_key: format!("section-{number}"),
        number: 1,
        status: AttemptStatus::Running,
        provider: "test".into(),
        model: "test".into(),
        template_version: TemplateVersionId(Uuid::nil()),
        prompt_hash: String::new(),
        input_tokens: None,
        output_tokens: None,
        spend: None,
        reserved: None,
        failure: None,
        started_at: chrono::DateTime::UNIX_EPOCH,
        finished_at: None,
    }
}

async fn desk() -> (Arc<Desk>, Box<dyn Listener>) {
    let bus = Arc::new(LocalBus::default());
    let listener = bus.subscribe(Topic::Draft(PROJECT)).await;
    (Arc::new(Desk::new(bus)), listener)
}

/// What was published and not heard yet.
fn heard(listener: &mut Box<dyn Listener>) -> Vec<(String, usize, String)> {
    let mut all = Vec::new();
    while let Some(Some(bell)) = listener.next().now_or_never() {
        match bell {
            Bell::Piece(piece) => all.push((piece.section_key.clone(), piece.offset, piece.text.clone())),
            other => panic!("{other:?}"),
        }
    }
    all
}

fn pieces<const N: usize>(of: [(&str, usize, &str); N]) -> Vec<(String, usize, String)> {
    of.map(|(key, offset, text)| (key.to_owned(), offset, text.to_owned())).to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_text_that_nobody_watches_is_not_published() {
    let (desk, mut listener) = desk().await;
    let pen = desk.begin(&attempt(7));
    pen.push("The kiln");
    pen.publishing(sleep(Duration::from_mins(1))).await;
    pen.finish().await;
    assert_eq!(heard(&mut listener), []);
    assert!(desk.sheets().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_comes_before_the_call_is_kept_for_a_while() {
    let (desk, mut listener) = desk().await;
    desk.want(PROJECT, true);
    let pen = desk.begin(&attempt(7));
    pen.push("The kiln");
    pen.publishing(sleep(Duration::from_millis(1))).await;
    assert_eq!(heard(&mut listener), pieces([("section-7", 0, "The kiln")]));
    drop(pen);

    desk.want(PROJECT, true);
    sleep(WISH_HOLDS * 2).await;
    let pen = desk.begin(&attempt(8));
    pen.push("The glaze");
    pen.publishing(sleep(Duration::from_millis(1))).await;
    assert_eq!(heard(&mut listener), [], "nobody watches any more");
}

#[tokio::test(start_paused = true)]
async fn small_pieces_are_joined_and_nothing_waits_longer_than_that() {
    let (desk, mut listener) = desk().await;
    let pen = desk.begin(&attempt(7));
    desk.want(PROJECT, true);
    pen.publishing(sleep(Duration::from_millis(1))).await;
    assert_eq!(heard(&mut listener), pieces([("section-7", 0, "")]), "who comes is told that nothing is written yet");
    for word in ["15", " °C", " in", " a", " kiln"] {
        pen.push(word);
        pen.publishing(sleep(Duration::from_millis(40))).await;
    }
    // 1 ms, then 40 each: the first 100 ms end within the third word, the next within the fifth
    assert_eq!(heard(&mut listener), pieces([("section-7", 0, "15 °C in"), ("section-7", 8, " a kiln")]));
    pen.push(" held.");
    pen.finish().await;
    assert_eq!(heard(&mut listener), pieces([("section-7", 15, " held.")]), "the end does not wait");
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_gets_all_so_far_once_however_many_come() {
    let (desk, mut listener) = desk().await;
    let (one, two) = (desk.begin(&attempt(7)), desk.begin(&attempt(8)));
    one.push("The kiln");
    for _ in 0..1_000 {
        desk.want(PROJECT, true);
    }
    one.publishing(sleep(Duration::from_millis(250))).await;
    assert_eq!(heard(&mut listener), pieces([("section-7", 0, "The kiln")]));
    two.publishing(sleep(Duration::from_millis(1))).await;
    assert_eq!(heard(&mut listener), pieces([("section-8", 0, "")]));
    // a section that is begun while somebody watches is seen from its first word on
    let three = desk.begin(&attempt(9));
    three.push("Cone");
    three.publishing(sleep(Duration::from_millis(1))).await;
    assert_eq!(heard(&mut listener), pieces([("section-9", 0, "Cone")]));
    // who only goes on watching is not told again what was
    desk.want(PROJECT, false);
    one.publishing(sleep(Duration::from_secs(1))).await;
    assert_eq!(heard(&mut listener), []);
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_is_not_repeated_ends_and_what_was_written_meanwhile_is_told_with_the_next() {
    let (desk, mut listener) = desk().await;
    let pen = desk.begin(&attempt(7));
    desk.want(PROJECT, true);
    pen.push("The");
    pen.publishing(sleep(WISH_HOLDS + Duration::from_secs(1))).await;
    pen.push(" kiln");
    pen.publishing(sleep(Duration::from_secs(1))).await;
    assert_eq!(heard(&mut listener), pieces([("section-7", 0, "The")]));
    desk.want(PROJECT, false);
    pen.publishing(sleep(Duration::from_millis(1))).await;
    assert_eq!(heard(&mut listener), pieces([("section-7", 3, " kiln")]));
    drop(pen);
    desk.want(PROJECT, true);
    assert_eq!(heard(&mut listener), []);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_always_there_does_not_keep_what_is_due_from_being_published() {
    let (desk, mut listener) = desk().await;
    let pen = desk.begin(&attempt(7));
    desk.want(PROJECT, true);
    for _ in 0..3 {
        pen.push("word ");
        pen.publishing(std::future::ready(())).await;
        tokio::time::advance(JOINED_FOR).await;
    }
    let told = pieces([("section-7", 0, "word "), ("section-7", 5, "word "), ("section-7", 10, "word ")]);
    assert_eq!(heard(&mut listener), told);
}
