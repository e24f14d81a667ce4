//! The tokens of a document, looked at before it is parsed: how many there are, and what async-graphql's parser accepts or
//! refuses against the specification: a field twice in an object, `()`, a fragment named `on`, characters beyond the basic
//! plane as escapes. One pass over the text; it must not know the schema. What is no GraphQL is left to the parser.

use super::document::Rejection;
use crate::error::FaultCode;
use async_graphql::Pos;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;

/// Most tokens of a document (section 2.1.6 of the specification), commas and comments not counted.
pub const MAX_TOKENS: u64 = 4_000;

/// Checks the tokens; gives the text in a form that the parser reads as the specification means it.
///
/// # Errors
/// `TOO_COMPLEX` for too many tokens, `VALIDATION_FAILED` for a field that stands twice in an object, or `PARSE_FAILED`.
pub fn check(text: &str) -> Result<Cow<'_, str>, Rejection> {
    let mut reader =
        Reader { text, at: 0, rewritten: String::new(), copied: 0, open: Vec::new(), tokens: 0, names: [""; 2], punctuator: 0 };
    while let Some(byte) = reader.peek() {
        reader.token(byte)?;
        if reader.tokens > MAX_TOKENS {
            return Err(Rejection::too_complex("The document has too many tokens. Pass data in variables.", MAX_TOKENS, reader.tokens));
        }
    }
    if reader.copied == 0 {
        return Ok(text.into());
    }
    reader.rewritten.push_str(&text[reader.copied..]);
    Ok(reader.rewritten.into())
}

/// A bracket that is open.
enum Open<'t> {
    Selections,
    Arguments,
    List,
    /// With the names that the object has so far.
    Object(HashSet<&'t str>),
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    rewritten: String,
    /// Up to where the text is in `rewritten`, if it had to be changed.
    copied: usize,
    open: Vec<Open<'t>>,
    tokens: u64,
    /// The last two tokens, if they are names.
    names: [&'t str; 2],
    /// The last token, if it is a punctuator.
    punctuator: u8,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn token(&mut self, byte: u8) -> Result<(), Rejection> {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                self.at += 1;
                return Ok(());
            }
            0xEF if self.text[self.at..].starts_with('\u{feff}') => {
                self.at += '\u{feff}'.len_utf8();
                return Ok(());
            }
            b'#' => {
                self.at += self.text[self.at..].find(['\n', '\r']).unwrap_or(self.text.len() - self.at);
                return Ok(());
            }
            _ => self.tokens += 1,
        }
        let (mut names, mut punctuator) = ([self.names[1], ""], 0);
        match byte {
            b'"' => self.string()?,
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let name = self.name();
                // `fragment on on T`: what follows would be its type condition
                if self.open.is_empty() && self.names == ["fragment", "on"] && name == "on" {
                    return Err(self.unexpected("a fragment cannot be named `on`"));
                }
                names = [self.names[1], name];
            }
            b'0'..=b'9' | b'-' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_');
                self.at += self.text[self.at..].find(|c| !is_part(c)).unwrap_or(self.text.len() - self.at);
            }
            _ => {
                punctuator = byte;
                self.punctuation(byte)?;
            }
        }
        (self.names, self.punctuator) = (names, punctuator);
        Ok(())
    }

    fn name(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())];
        self.at += name.len();
        name
    }

    fn punctuation(&mut self, byte: u8) -> Result<(), Rejection> {
        match byte {
            b'(' => self.open.push(Open::Arguments),
            b'[' => self.open.push(Open::List),
            b'{' => self.open.push(match self.open.last() {
                None | Some(Open::Selections) => Open::Selections,
                Some(_) => Open::Object(HashSet::new()),
            }),
            b')' if self.punctuator == b'(' => return Err(self.unexpected("expected what stands between the brackets")),
            b')' | b']' | b'}' => drop(self.open.pop()),
            b':' => {
                let position = self.position();
                if let Some(Open::Object(names)) = self.open.last_mut()
                    && !names.insert(self.names[1])
                {
                    let name = self.names[1];
                    return Err(Rejection::invalid(format!("The field \"{name:.60}\" stands twice in an object."), vec![position]));
                }
            }
            _ => {}
        }
        // a character, not a byte: the text may be anything
        self.at += self.text[self.at..].chars().next().map_or(1, char::len_utf8);
        Ok(())
    }

    /// A string, with its end.
    fn string(&mut self) -> Result<(), Rejection> {
        let rest = &self.text[self.at..];
        if let Some(block) = rest.strip_prefix("\"\"\"") {
            // what is escaped there is the end of the string alone
            let mut from = 0;
            while let Some(end) = block[from..].find("\"\"\"") {
                from += end + 3;
                if !block[..from - 3].ends_with('\\') {
                    self.at += 3 + from;
                    return Ok(());
                }
            }
            self.at = self.text.len();
            return Ok(());
        }
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\n' | b'\r' => return Ok(()),
                b'\\' if self.text[self.at..].starts_with("\\u") => self.escape()?,
                // the escaped character, which may be a quote
                b'\\' => self.at += 1 + self.text[self.at + 1..].chars().next().map_or(0, char::len_utf8),
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    /// `\u{…}`, or two escapes of a surrogate pair (section 2.9.4), becomes the character itself.
    fn escape(&mut self) -> Result<(), Rejection> {
        let rest = &self.text[self.at..];
        let unit = |text: &str| text.get(2..6).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let (length, code) = if let Some(braced) = rest.strip_prefix("\\u{") {
            let digits = braced.split_once('}').map(|(digits, _)| digits).filter(|digits| !digits.starts_with('+'));
            (4 + digits.map_or(0, str::len), digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()))
        } else {
            let first = unit(rest);
            let second = rest.get(6..).filter(|more| more.starts_with("\\u")).and_then(unit);
            let (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) = (first, second) else {
                // one of the basic plane is read by the parser
                self.at += 2;
                return Ok(());
            };
            (12, Some(0x1_0000 + ((u32::from(high) & 0x3FF) << 10) + (u32::from(low) & 0x3FF)))
        };
        let character = code.and_then(char::from_u32).ok_or_else(|| self.unexpected("this escape is no character"))?;
        self.rewritten.push_str(&self.text[self.copied..self.at]);
        match character {
            '"' | '\\' => self.rewritten.extend(['\\', character]),
            control if u32::from(control) < 0x20 => {
                // writing to a text cannot fail
                let _ = write!(self.rewritten, "\\u{:04x}", u32::from(control));
            }
            other => self.rewritten.push(other),
        }
        self.at += length;
        self.copied = self.at;
        Ok(())
    }

    fn position(&self) -> Pos {
        let before = &self.text[..self.at];
        let line = before.rsplit('\n').next().unwrap_or_default();
        Pos { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }

    fn unexpected(&self, what: &str) -> Rejection {
        let message = format!("Syntax error: {what}");
        Rejection { code: FaultCode::ParseFailed, ..Rejection::invalid(message, vec![self.position()]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    fn message(text: &str) -> String {
        check(text).unwrap_err().message
    }

    #[test]
    fn a_field_stands_once_in_an_object() {
        for text in [
            "{ a(i: {x: 1, y: {x: 1}, z: [{x: 1}, {x: 2}]}) { a: b a: b } }",
            "query($v: I = {x: 1}) { a(i: {x: $v}, j: {x: 2}) @d(o: {x: 1}) }",
            "{ a(t: \"{x: 1, x: 2}\" u: \"\"\"{x: 1, \\\"\"\" x: 2}\"\"\") # {x: 1, x: 2}\n }",
            "{ a { x: b } b { x: c } }",
        ] {
            assert_eq!(check(text).unwrap(), text);
            assert!(parse_query(text).is_ok(), "{text}");
        }
        for text in [
            "{ a(i: {x: 1, x: 2}) }",
            "{ a(i: [[{y: {x: 1 z: 3 x: \"\"}}]]) }",
            "query($v: I = {x: 1, x: 1}) { a }",
            "{ a @d(o: {x: {} x: 1}) }",
            "{ a(i: {x: 1 # }\n x: 2}) }",
        ] {
            assert!(message(text).contains("\"x\" stands twice"), "{text}");
        }
        assert_eq!(check("{\n a(i: {x: 1, x: 2}) }").unwrap_err().locations, [Pos { line: 2, column: 15 }]);
    }

    #[test]
    fn characters_beyond_the_basic_plane_are_read_from_escapes() {
        let read = |escaped: &str| check(&format!("{{ a(t: \"{escaped}\") }}")).map(Cow::into_owned);
        assert_eq!(read(r"\u0041\ud83d\ude00b").unwrap(), "{ a(t: \"\\u0041😀b\") }");
        assert_eq!(read(r"\u{1F600}\u{41}").unwrap(), "{ a(t: \"😀A\") }");
        assert_eq!(read(r"\u{22}\u{5C}\u{A}x").unwrap(), r#"{ a(t: "\"\\\u000ax") }"#);
        assert_eq!(read(r"\\ud83d\\ude00").unwrap(), r#"{ a(t: "\\ud83d\\ude00") }"#, "an escaped backslash");
        for bad in [r"\u{110000}", r"\u{D800}", r"\u{}", r"\u{+41}", r"\u{1F600"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        // found by fuzzing: the text ends within the escape
        for cut in [r#"{ a(t: "\u{61"#, r#"{ a(t: "\u{"#, r#"{ a(t: "\u{1F600}"#, r#"{ a(t: "\u"#, r#"{ a(t: "\"#, r#"{ a(t: "\ud83d\u"#] {
            let checked = check(cut);
            assert!(checked.is_err() || parse_query(&*checked.unwrap()).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        assert!(message("query () { a }").contains("brackets"));
        assert!(message("{ a( ,\n) }").contains("brackets"));
        assert!(message("{ a } fragment on on Query { a }").contains("named `on`"));
        assert!(check("{ fragment on on a(x: []) { b } } fragment f on Query { a(o: {}) }").is_ok());
    }

    #[test]
    fn tokens_are_counted() {
        let document = |names: usize| format!("{{{}}}", "a,".repeat(names));
        let most = usize::try_from(MAX_TOKENS).unwrap();
        assert!(check(&document(most - 2)).is_ok());
        assert_eq!(check(&document(most - 1)).unwrap_err().exceeded, Some((MAX_TOKENS, MAX_TOKENS + 1)));
    }

    #[test]
    fn whatever_comes_is_gone_through() {
        for text in ["", "\"", "\"\\", "\"\\u", "\"\"\"\\\"\"\"", "}}))]]", "é{😀(", "\u{feff}{ａ a }", "{a(b:\"\\é\")}", "\"\\ud83d\\u"]
        {
            let _ = check(text);
        }
    }
}
