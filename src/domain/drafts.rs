//! Text of sections while it is written: the pieces in which it travels, and how a reader puts them together again. Pure.
//! It must not know how pieces travel, nor what becomes of a text that is finished.

use super::generations::AttemptStatus;
use super::ids::{AttemptId, SectionId};
use super::jobs::JobFailure;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A part of what an attempt has written so far.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextPiece {
    /// The attempt that writes.
    pub attempt: AttemptId,
    /// Key of the section.
    pub section_key: String,
    /// Where the text goes, in Unicode scalar values from the start of the section.
    pub offset: usize,
    /// The text.
    pub text: String,
}

/// A narrative belongs to a client: it must not reach a log by way of `{:?}`.
impl fmt::Debug for TextPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextPiece")
            .field("attempt", &self.attempt)
            .field("section_key", &self.section_key)
            .field("offset", &self.offset)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// What an attempt has written so far, as somebody knows it who hears the pieces.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TextSoFar {
    text: String,
    chars: usize,
}

/// As for [`TextPiece`].
impl fmt::Debug for TextSoFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextSoFar").field("chars", &self.chars).finish_non_exhaustive()
    }
}

/// What a piece says to somebody who has heard those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Text that was not known, and where it goes.
    More {
        /// In Unicode scalar values from the start of the section.
        offset: usize,
        /// The text.
        text: String,
    },
    /// Nothing new.
    Known,
    /// What was before it is missing.
    Gap,
}

impl TextSoFar {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its length in Unicode scalar values.
    #[must_use]
    pub const fn chars(&self) -> usize {
        self.chars
    }

    /// Adds text at the end.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.chars += text.chars().count();
    }

    /// Adds what of a piece is not known yet; nothing of one that leaves a gap.
    pub fn hear(&mut self, piece: &TextPiece) -> Heard {
        let Some(known) = self.chars.checked_sub(piece.offset) else { return Heard::Gap };
        let new = piece.text.char_indices().nth(known).and_then(|(at, _)| piece.text.get(at..)).unwrap_or_default();
        if new.is_empty() {
            return Heard::Known;
        }
        let more = Heard::More { offset: self.chars, text: new.to_owned() };
        self.push(new);
        more
    }
}

/// An attempt, as far as a reader of the text has to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftAttempt {
    /// Id.
    pub id: AttemptId,
    /// The section.
    pub section: SectionId,
    /// Key of the section.
    pub section_key: String,
    /// Outcome.
    pub status: AttemptStatus,
    /// Why it failed.
    pub failure: Option<JobFailure>,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn piece(offset: usize, text: &str) -> TextPiece {
        TextPiece { attempt: AttemptId(Uuid::nil()), section_key: "advance".into(), offset, text: text.into() }
    }

    fn more(offset: usize, text: &str) -> Heard {
        Heard::More { offset, text: text.into() }
    }

    #[test]
    fn pieces_make_the_text_whatever_is_repeated_and_places_are_scalar_values() {
        let mut text = TextSoFar::default();
        assert_eq!(text.hear(&piece(0, "")), Heard::Known);
        assert_eq!(text.hear(&piece(0, "15 °C, ")), more(0, "15 °C, "));
        assert_eq!(text.hear(&piece(7, "👩‍🔬 né")), more(7, "👩‍🔬 né"));
        assert_eq!(text.chars(), 13, "the scientist is three scalar values");
        // the whole text again, with a little more
        assert_eq!(text.hear(&piece(0, "15 °C, 👩‍🔬 né.")), more(13, "."));
        assert_eq!(text.hear(&piece(7, "👩")), Heard::Known);
        assert_eq!(text.text(), "15 °C, 👩‍🔬 né.");
    }

    #[test]
    fn a_piece_after_a_gap_adds_nothing() {
        let mut text = TextSoFar::default();
        text.push("The kiln");
        assert_eq!(text.hear(&piece(9, "held.")), Heard::Gap);
        assert_eq!(text.text(), "The kiln");
        assert_eq!(text.hear(&piece(8, " held.")), more(8, " held."));
    }

    #[test]
    fn no_text_is_shown_to_a_log() {
        let mut text = TextSoFar::default();
        text.push("Sealed Orchid");
        assert!(!format!("{text:?} {:?}", piece(0, "Sealed Orchid")).contains("Orchid"));
    }
}
