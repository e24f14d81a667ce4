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
    pub(crate) fn new(loaded: Vec<Loaded>, pos: Pos) -> Self {
        Self { loaded, pos, ..Self::default() }
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

    /// A JSON string. Long runs without anything to escape are found 32 bytes at a time: the compiler makes vector code of it.
    pub fn string(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.out.reserve(text.len() + 2);
        self.out.push('"');
        let (mut from, mut at) = (0, 0);
        while at < bytes.len() {
            if let Some(chunk) = bytes[at..].first_chunk::<32>()
                && !chunk.iter().fold(false, |any, byte| any | must_be_escaped(*byte))
            {
                at += 32;
                continue;
            }
            let end = (at + 32).min(bytes.len());
            let Some(found) = bytes[at..end].iter().position(|byte| must_be_escaped(*byte)) else {
                at = end;
                continue;
            };
            self.out.push_str(&text[from..at + found]);
            self.escaped(bytes[at + found]);
            at += found + 1;
            from = at;
        }
        self.out.push_str(&text[from..]);
        self.out.push('"');
    }

    fn escaped(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        match byte {
            b'"' => self.out.push_str("\\\""),
            b'\\' => self.out.push_str("\\\\"),
            b'\n' => self.out.push_str("\\n"),
            b'\r' => self.out.push_str("\\r"),
            b'\t' => self.out.push_str("\\t"),
            8 => self.out.push_str("\\b"),
            12 => self.out.push_str("\\f"),
            byte => {
                self.out.push_str("\\u00");
                self.out.push(char::from(HEX[usize::from(byte >> 4)]));
                self.out.push(char::from(HEX[usize::from(byte & 15)]));
            }
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
        for byte in 0..128_u8 {
            let text = format!("{}{}", "x".repeat(31), char::from(byte));
            let mut writer = Writer::default();
            writer.string(&text);
            assert_eq!(writer.out, serde_json::to_string(&text).unwrap());
        }
    }
}
