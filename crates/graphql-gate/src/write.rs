//! Writes loaded data as JSON text by a plan. It must not load anything.
//!
//! What fails is reported with the path from where it is written; whoever writes what is around it adds to the path on the
//! way up. So the path costs nothing as long as nothing fails. Paths are kept in reverse until the answer is whole.

use crate::load::Column;
use crate::plan::{Plan, Step, TYPENAME};
use async_graphql::{PathSegment, Pos, ServerError, Value};

/// A value that may not be null has failed: the nearest one around it that may becomes null. The error is reported already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Null;

/// Rows of one plan in the order in which they are written, with what was loaded for them.
#[derive(Default)]
pub(crate) struct Loaded {
    pub next_row: usize,
    /// By the slot of the step.
    pub columns: Vec<Column>,
}

/// Writes JSON.
#[derive(Default)]
pub struct Writer {
    pub(crate) out: String,
    pub(crate) errors: Vec<ServerError>,
    pub(crate) loaded: Vec<Loaded>,
    pos: Pos,
}

impl Writer {
    /// With room for a text of this length.
    pub(crate) fn new(loaded: Vec<Loaded>, pos: Pos, length: usize) -> Self {
        Self { out: String::with_capacity(length), loaded, pos, ..Self::default() }
    }

    /// Text that is JSON already.
    pub fn raw(&mut self, json: &str) {
        self.out.push_str(json);
    }

    /// A value of a scalar. What looks like the text of a gate is data here: whoever stored it must not write JSON.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.string(text),
            other => self.out.push_str(&serde_json::to_value(other).map_or_else(|_| "null".to_owned(), |value| value.to_string())),
        }
    }

    /// Reports that the value being written has failed.
    pub fn fail(&mut self, error: async_graphql::Error) -> Null {
        self.errors.push(error.into_server_error(self.pos));
        Null
    }

    /// An object: `field` writes those steps that are neither relations nor `__typename`.
    ///
    /// # Errors
    /// [`Null`] if one of its fields has failed that may not be null. All fields are written nevertheless, so that every row is
    /// passed; as in async-graphql's executor, nothing is reported after the first such failure.
    pub fn object(
        &mut self,
        type_name: &str,
        plan: &Plan,
        mut field: impl FnMut(&mut Self, &Step) -> Result<(), Null>,
    ) -> Result<(), Null> {
        let row = plan.relations.map(|relations| {
            if self.loaded.len() <= relations.index {
                // nobody has gathered this object: its relations are written as failures
                self.loaded.resize_with(relations.index + 1, Loaded::default);
            }
            let loaded = &mut self.loaded[relations.index];
            loaded.next_row += 1;
            (relations.index, loaded.next_row - 1)
        });
        let start = self.out.len();
        let mut failed = None;
        self.out.push('{');
        for step in &plan.steps {
            self.out.push_str(&step.lead);
            let written = match row {
                _ if step.field == TYPENAME => {
                    self.out.push('"');
                    self.out.push_str(type_name);
                    self.out.push('"');
                    Ok(())
                }
                Some((index, row)) if step.is_relation() => self.relation(step, index, row),
                _ => field(self, step),
            };
            if written.is_err() && failed.is_none() {
                failed = Some(self.errors.len());
            }
        }
        self.out.push('}');
        self.undo_if(failed, start)
    }

    /// A field of an object, from a value that is at hand.
    ///
    /// # Errors
    /// [`Null`] if it has failed and may not be null.
    #[inline]
    pub fn field<T: crate::Output + ?Sized>(&mut self, step: &Step, value: &T) -> Result<(), Null> {
        let (start, errors, around) = (self.out.len(), self.errors.len(), self.pos);
        self.pos = step.pos;
        let written = value.write(&step.plan, self);
        self.pos = around;
        if self.errors.len() > errors {
            self.extend_paths(errors, || PathSegment::Field(step.key.to_string()));
        }
        if written.is_err() && T::NULLABLE {
            self.out.truncate(start);
            self.out.push_str("null");
            return Ok(());
        }
        written
    }

    /// A list.
    ///
    /// # Errors
    /// [`Null`] if an item has failed that may not be null.
    pub fn list<'v, T: crate::Output + 'v>(&mut self, values: impl Iterator<Item = &'v T>, plan: &Plan) -> Result<(), Null> {
        let start = self.out.len();
        let mut failed = None;
        self.out.push('[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            let (at, errors) = (self.out.len(), self.errors.len());
            let written = value.write(plan, self);
            if self.errors.len() > errors {
                self.extend_paths(errors, || PathSegment::Index(index));
            }
            if written.is_err() {
                if T::NULLABLE {
                    self.out.truncate(at);
                    self.out.push_str("null");
                } else if failed.is_none() {
                    failed = Some(self.errors.len());
                }
            }
        }
        self.out.push(']');
        self.undo_if(failed, start)
    }

    /// A relation: its text was written when it was loaded.
    fn relation(&mut self, step: &Step, index: usize, row: usize) -> Result<(), Null> {
        let Self { out, errors, loaded, .. } = self;
        let Some(column) = loaded[index].columns.get(step.slot) else {
            let mut error = ServerError::new("a relation was not loaded", Some(step.pos));
            error.path.push(PathSegment::Field(step.key.to_string()));
            errors.push(error);
            return Err(Null);
        };
        if !column.errors.is_empty() {
            // they are in the order of their rows
            let from = column.errors.partition_point(|(of, _)| *of < row);
            let of_row = column.errors[from..].iter().take_while(|(of, _)| *of == row).map(|(_, error)| error.clone());
            let before = errors.len();
            errors.extend(of_row);
            errors[before..].iter_mut().for_each(|error| error.path.push(PathSegment::Field(step.key.to_string())));
        }
        match column.text_of(row) {
            Some(text) => out.push_str(text),
            None if column.nullable => out.push_str("null"),
            None => return Err(Null),
        }
        Ok(())
    }

    fn extend_paths(&mut self, from: usize, segment: impl Fn() -> PathSegment) {
        self.errors[from..].iter_mut().for_each(|error| error.path.push(segment()));
    }

    fn undo_if(&mut self, failed: Option<usize>, start: usize) -> Result<(), Null> {
        let Some(reported) = failed else { return Ok(()) };
        self.errors.truncate(reported);
        self.out.truncate(start);
        Err(Null)
    }

    /// A JSON string.
    pub fn string(&mut self, text: &str) {
        string(&mut self.out, text);
    }
}

/// Appends a JSON string.
pub(crate) fn string(out: &mut String, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(text.len() + 2);
    out.push('"');
    let mut from = 0;
    while let Some(at) = next_escape(bytes, from) {
        out.push_str(&text[from..at]);
        escaped(out, bytes[at]);
        from = at + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// The next byte that must be escaped. Long runs without any are passed 32 bytes at a time, of which the compiler makes vector code;
/// what is shorter or has one is looked at eight bytes at a time.
fn next_escape(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(chunk) = bytes[at..].first_chunk::<32>()
        && !chunk.iter().fold(false, |any, byte| any | must_be_escaped(*byte))
    {
        at += 32;
    }
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let found = escapes_in(u64::from_le_bytes(*chunk));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    // the rest, with spaces up to a whole word
    let rest = bytes[at..].iter().rev().fold(EACH * u64::from(b' '), |word, byte| (word << 8) | u64::from(*byte));
    let found = escapes_in(rest);
    (found != 0).then(|| at + found.trailing_zeros() as usize / 8)
}

/// The same byte eight times, by multiplication.
const EACH: u64 = u64::MAX / 255;

/// The high bit of each byte that must be escaped, reliable up to the first of them: a byte that is less than the one that is taken from it
/// borrows from the next.
const fn escapes_in(word: u64) -> u64 {
    let (quote, backslash) = (word ^ (EACH * b'"' as u64), word ^ (EACH * b'\\' as u64));
    let below_space = word.wrapping_sub(EACH * 0x20) & !word;
    let equal = (quote.wrapping_sub(EACH) & !quote) | (backslash.wrapping_sub(EACH) & !backslash);
    (below_space | equal) & (EACH * 0x80)
}

fn escaped(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        8 => out.push_str("\\b"),
        12 => out.push_str("\\f"),
        byte => {
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

const fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_serde_writes_them() {
        let pieces = [
            "",
            "a",
            "é",
            "\"",
            "\\",
            "\n",
            "\u{1f}",
            "\u{7f}",
            "\u{2028}",
            "😀",
            "plain text of more than thirty-two bytes, twice over. ",
        ];
        for first in pieces {
            for second in pieces {
                for repeat in [1, 7] {
                    let text = [first, second].concat().repeat(repeat);
                    let mut writer = Writer::default();
                    writer.string(&text);
                    assert_eq!(writer.out, serde_json::to_string(&text).unwrap());
                }
            }
        }
        // every character at every place of a word, beside every other that is written differently
        for first in (0..0x100_u32).filter_map(char::from_u32) {
            for second in ['x', '"', '\\', '\u{1f}', ' ', '!', '#', '[', ']', '\u{80}', '\u{ff}', 'é'] {
                for before in [0, 1, 6, 7, 8, 31, 32, 39] {
                    let text = format!("{}{first}{second}{first} and then some more", "x".repeat(before));
                    let mut writer = Writer::default();
                    writer.string(&text);
                    assert_eq!(writer.out, serde_json::to_string(&text).unwrap());
                }
            }
        }
    }
}
