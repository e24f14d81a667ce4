//! Bells as they travel between processes: the name of a channel, and messages that say where they come from and when
//! they were sent. A message of a newer version that cannot be read is an error, and whoever gets it looks at the table.

use super::{Bell, Topic};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// What is sent.
#[derive(Serialize)]
struct Sent<'a> {
    from: Uuid,
    at: i64,
    bells: &'a [Bell],
}

/// What is received; the bells are read only if they are not one's own.
#[derive(Deserialize)]
struct Received<'a> {
    from: Uuid,
    /// Microseconds since 1970.
    at: i64,
    #[serde(borrow)]
    bells: &'a RawValue,
}

/// Bells of another process.
#[derive(Debug)]
pub(super) struct Message {
    /// When they were sent, by the clock of the sender.
    pub at: DateTime<Utc>,
    /// In order.
    pub bells: Vec<Bell>,
}

impl Message {
    pub(super) fn write(from: Uuid, at: DateTime<Utc>, bells: &[Bell]) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Sent { from, at: at.timestamp_micros(), bells })
    }

    /// Reads a message; `None` if it is one's own.
    pub(super) fn read(payload: &[u8], own: Uuid) -> serde_json::Result<Option<Self>> {
        let received: Received<'_> = serde_json::from_slice(payload)?;
        if received.from == own {
            return Ok(None);
        }
        let at = DateTime::from_timestamp_micros(received.at).unwrap_or_default();
        Ok(Some(Self { at, bells: serde_json::from_str(received.bells.get())? }))
    }
}

impl Topic {
    /// The channel's name without its prefix.
    pub(super) fn channel(self) -> String {
        match self {
            Self::Batch(id) => format!("events:batch:{}", id.0),
            Self::Import(id) => format!("events:import:{}", id.0),
            Self::Export(id) => format!("events:export:{}", id.0),
            Self::Draft(id) => format!("events:draft:{}", id.0),
            Self::DraftWishes => "events:draft-wishes".to_owned(),
            Self::Cancellations => "events:cancellations".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::drafts::TextPiece;
    use crate::domain::events::{BatchEvent, StoredEvent};
    use crate::domain::generations::RunCounts;
    use crate::domain::ids::{AttemptId, ProjectId, RunId};
    use crate::domain::money::Spend;
    use std::sync::Arc;

    const SENDER: Uuid = Uuid::from_u128(1);
    const RECEIVER: Uuid = Uuid::from_u128(2);

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap()
    }

    #[test]
    fn every_bell_arrives_as_it_was_sent() {
        let run = RunId(Uuid::from_u128(3));
        let events = [
            BatchEvent::BatchChanged,
            BatchEvent::ProjectsRemoved { projects: vec![ProjectId(Uuid::from_u128(4))] },
            BatchEvent::RunProgressed {
                run,
                progress: 0.3,
                counts: RunCounts::default(),
                spend: Spend::default(),
                estimated_finish_at: Some(at()),
            },
        ];
        let events = events.into_iter().zip(1..).map(|(event, sequence)| StoredEvent { sequence, occurred_at: at(), event });
        let mut bells: Vec<Bell> = events.map(|event| Bell::Event(Arc::new(event))).collect();
        bells.extend([Bell::Changed, Bell::Deleted, Bell::Cancelled(run), Bell::Missed]);
        bells.push(Bell::Wanted { project: ProjectId(Uuid::from_u128(5)), whole: true });
        let piece =
            TextPiece { attempt: AttemptId(Uuid::from_u128(6)), section_key: "advance".into(), offset: 7, text: "15 °C \"dry\"".into() };
        bells.push(Bell::Piece(Arc::new(piece.clone())));
        let payload = Message::write(SENDER, at(), &bells).unwrap();
        let message = Message::read(&payload, RECEIVER).unwrap().unwrap();
        assert_eq!(message.at, at());
        assert_eq!(format!("{:?}", message.bells), format!("{bells:?}"));
        assert!(matches!(message.bells.last(), Some(Bell::Piece(arrived)) if **arrived == piece), "texts are not shown by `{{:?}}`");
    }

    #[test]
    fn ones_own_bells_are_not_read_and_those_of_a_newer_version_are_errors() {
        let payload = Message::write(SENDER, at(), &[Bell::Changed]).unwrap();
        assert!(Message::read(&payload, SENDER).unwrap().is_none());
        let newer = String::from_utf8(payload).unwrap().replace("changed", "rearranged");
        assert!(Message::read(newer.as_bytes(), RECEIVER).is_err());
        assert!(Message::read(newer.as_bytes(), SENDER).unwrap().is_none());
        assert!(Message::read(b"\xff", RECEIVER).is_err());
    }
}
