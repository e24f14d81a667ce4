//! Why the server closes a socket: the codes of graphql-ws's PROTOCOL.md and of its server, and those that clients come
//! back on. graphql-ws's client retries on 4403, 4408 and on codes that are not its own, and gives up on the others.

use axum::extract::ws::CloseFrame;
use std::borrow::Cow;

/// Longest reason that fits into a close frame, in bytes (RFC 6455: control frames carry 125, the code takes 2).
const MAX_REASON: usize = 123;

/// A code and a short reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    code: u16,
    reason: Cow<'static, str>,
}

impl Close {
    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// The client said good-bye in words.
    pub const NORMAL: Self = Self::new(1000, "Normal closure");
    /// A text frame is not UTF-8.
    pub const NOT_UTF8: Self = Self::new(1007, "Invalid UTF-8");
    /// A message is larger than allowed.
    pub const TOO_BIG: Self = Self::new(1009, "Message too big");
    /// The frames are not those of a WebSocket.
    pub const NOT_A_SOCKET: Self = Self::new(1002, "Protocol error");
    /// The process drains.
    pub const RESTARTING: Self = Self::new(1012, "The server restarts");
    /// Something that the session needs is down.
    pub const TRY_LATER: Self = Self::new(1013, "Try again later");
    /// The person has as many sockets as one may have.
    pub const TOO_MANY_SOCKETS: Self = Self::new(1013, "Too many connections of one person; close one and try again");
    /// An operation before `connection_init`.
    pub const UNAUTHORISED: Self = Self::new(4401, "Unauthorized");
    /// No good token, or it has ended.
    pub const FORBIDDEN: Self = Self::new(4403, "Forbidden");
    /// No subprotocol that the server speaks.
    pub const SUBPROTOCOL: Self = Self::new(4406, "Subprotocol not acceptable");
    /// No `connection_init` in time.
    pub const INIT_TIMED_OUT: Self = Self::new(4408, "Connection initialisation timeout");
    /// More than one `connection_init`.
    pub const INITIALISED_TWICE: Self = Self::new(4429, "Too many initialisation requests");
    /// A fault of this service.
    pub const INTERNAL: Self = Self::new(4500, "Internal server error");

    /// The client may not send this message.
    pub fn invalid(reason: &str) -> Self {
        Self { code: 4400, reason: shortened(format!("Invalid message: {reason}")).into() }
    }

    /// An operation runs under this id.
    pub fn id_in_use(id: &str) -> Self {
        const END: &str = " already exists";
        let start = shortened_to(format!("Subscriber for {id}"), MAX_REASON - END.len());
        Self { code: 4409, reason: (start + END).into() }
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The frame to be sent.
    pub fn frame(self) -> CloseFrame {
        CloseFrame { code: self.code, reason: self.reason.as_ref().into() }
    }
}

fn shortened(text: String) -> String {
    shortened_to(text, MAX_REASON)
}

fn shortened_to(mut text: String, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_into_a_frame_and_stay_text() {
        for id in ["1", &"x".repeat(500), &"é".repeat(500), ""] {
            let close = Close::id_in_use(id);
            assert!(close.reason().len() <= MAX_REASON, "{close:?}");
            assert!(close.reason().starts_with("Subscriber for ") && close.reason().ends_with(" already exists"), "{close:?}");
        }
        assert_eq!(Close::id_in_use("a").reason(), "Subscriber for a already exists");
        assert!(Close::invalid(&"é".repeat(100)).reason().len() <= MAX_REASON);
    }
}
