//! Cursors of lists and of streams, and global ids: what is read back is what was written, and nothing else is read. The fuzz
//! target and the test that replays its corpus have this in common.

use claimwright::domain::events::EventCursor;
use claimwright::domain::ids::{BatchId, GlobalId, ProjectId};
use claimwright::domain::paging::PageArgs;
use uuid::Uuid;

const ORDERS: [&str; 5] = ["runs:mu", "name:tu", "number:nu", "created:mu", ""];

/// As how many things a text is read.
pub fn check(text: &str) -> usize {
    let mut readings = 0;
    if let Some(id) = GlobalId::parse(text) {
        assert_eq!(GlobalId::parse(&id.to_string()), Some(id));
        readings += 1;
    }
    let (batch, project) = (BatchId::from_global(text), ProjectId::from_global(text));
    assert!(batch.0.is_nil() || project.0.is_nil(), "an id of two kinds");
    for order in ORDERS {
        let args = PageArgs { after: Some(text.to_owned()), before: Some(text.to_owned()), ..PageArgs::default() };
        if let Ok(page) = args.check(order) {
            let position = page.after.expect("a position");
            let again = PageArgs { after: Some(position.cursor()), ..PageArgs::default() }.check(order).expect("its own cursor");
            assert_eq!(again.after, Some(position));
            readings += 1;
        }
    }
    let stream = Uuid::from_u128(1);
    if let Ok(cursor) = EventCursor::parse(text, stream) {
        assert!(cursor.stream == stream && cursor.sequence >= 0);
        assert_eq!(EventCursor::parse(&cursor.to_string(), stream).expect("its own cursor"), cursor);
        readings += 1;
    }
    readings
}
