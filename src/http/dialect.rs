//! The two subprotocols that a socket may speak, behind one set of messages. What they have in common, `websocket`
//! drives; it must not know sockets or schemas.

use super::{document::Operation, legacy, protocol};
use http::{HeaderMap, header};
use serde_json::{Value, json};

/// A message that a client may send.
#[derive(Debug)]
pub enum ClientMessage {
    /// Opens the session; carries the token.
    Init(Option<Value>),
    /// Wants a pong with the same payload.
    Ping(Option<Value>),
    /// Answers a ping, or is a sign of life.
    Pong,
    /// Starts an operation under an id that the client chose.
    Subscribe(String, Operation),
    /// Ends an operation.
    Complete(String),
    /// Ends the session.
    Terminate,
}

/// Why a message cannot be one of a client.
#[derive(Debug, Clone)]
pub struct Invalid {
    /// The operation that it is about, where the dialect can say so.
    pub id: Option<String>,
    /// A few words.
    pub reason: &'static str,
}

impl Invalid {
    /// About no operation.
    pub const fn new(reason: &'static str) -> Self {
        Self { id: None, reason }
    }

    /// About this operation.
    pub fn of(self, id: String) -> Self {
        Self { id: Some(id), ..self }
    }
}

/// A subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// graphql-transport-ws, of the library graphql-ws.
    Transport,
    /// The one that is called graphql-ws, of the library subscriptions-transport-ws.
    Legacy,
}

/// What goes around the results of an operation: made once, and put around what many are told.
#[derive(Debug)]
pub struct Envelope(Box<str>);

impl Envelope {
    /// The message with this result in JSON.
    pub fn around(&self, result: &str) -> String {
        let mut message = String::with_capacity(self.0.len() + result.len() + 1);
        message.push_str(&self.0);
        message.push_str(result);
        message.push('}');
        message
    }
}

impl Dialect {
    /// The first of a client's offers that is known: some clients (Python's gql) speak the first of their own offers
    /// whatever the server has chosen. The headers are read here, because axum sorts the offers.
    pub fn choose(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let mut offers = values.flat_map(|value| value.split(',')).map(str::trim);
        offers.find_map(|offer| [Self::Transport, Self::Legacy].into_iter().find(|dialect| offer == dialect.name()))
    }

    /// The name in `Sec-WebSocket-Protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transport => "graphql-transport-ws",
            Self::Legacy => "graphql-ws",
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// A client may not send this.
    pub fn decode(self, text: &str) -> Result<ClientMessage, Invalid> {
        match self {
            Self::Transport => protocol::decode(text),
            Self::Legacy => legacy::decode(text),
        }
    }

    /// The session is open.
    pub fn ack(self) -> Vec<String> {
        match self {
            Self::Transport => vec![protocol::ack()],
            Self::Legacy => vec![legacy::ack(), legacy::keep_alive()],
        }
    }

    /// A sign of life, which clients of the newer dialect answer.
    pub fn heartbeat(self) -> String {
        match self {
            Self::Transport => protocol::ping(),
            Self::Legacy => legacy::keep_alive(),
        }
    }

    /// What is said before the socket is closed for a reason, in the dialect that has words for it.
    pub fn farewell(self, reason: &str) -> Option<String> {
        match self {
            Self::Transport => None,
            Self::Legacy => Some(legacy::connection_error(reason)),
        }
    }

    /// The answer to a message that cannot be read. `None`: the socket has to be closed.
    pub fn invalid(self, invalid: &Invalid) -> Option<String> {
        match (self, &invalid.id) {
            (Self::Transport, _) => None,
            (Self::Legacy, None) => Some(legacy::connection_error(invalid.reason)),
            (Self::Legacy, Some(id)) => Some(legacy::error(id, &json!([{ "message": invalid.reason }]).to_string())),
        }
    }

    /// What goes around results, in JSON, of an operation.
    pub fn envelope(self, id: &str) -> Envelope {
        let before = match self {
            Self::Transport => protocol::next(id),
            Self::Legacy => legacy::data(id),
        };
        Envelope(before.into())
    }

    /// A list of errors, in JSON, that ends an operation.
    pub fn error(self, id: &str, errors: &str) -> String {
        match self {
            Self::Transport => protocol::error(id, errors),
            Self::Legacy => legacy::error(id, errors),
        }
    }

    /// An operation has ended.
    pub fn complete(self, id: &str) -> String {
        match self {
            Self::Transport => protocol::complete(id),
            Self::Legacy => legacy::complete(id),
        }
    }

    /// The answer to a client that ends an operation of its own: none, but clients of the older dialect wait for it.
    pub fn completed(self, id: &str) -> Option<String> {
        match self {
            Self::Transport => None,
            Self::Legacy => Some(legacy::complete(id)),
        }
    }

    /// Whether an id that is in use may be taken over by a new operation.
    pub const fn replaces(self) -> bool {
        matches!(self, Self::Legacy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_first_known_offer_of_the_client_is_spoken() {
        let chosen = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
            }
            Dialect::choose(&headers)
        };
        assert_eq!(chosen(&["graphql-transport-ws, graphql-ws"]), Some(Dialect::Transport));
        assert_eq!(chosen(&["graphql-ws,graphql-transport-ws"]), Some(Dialect::Legacy));
        assert_eq!(chosen(&["graphql-ws", "graphql-transport-ws"]), Some(Dialect::Legacy));
        assert_eq!(chosen(&["mqtt, graphql-transport-ws"]), Some(Dialect::Transport));
        assert_eq!(chosen(&["mqtt, GRAPHQL-WS"]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn a_result_is_put_into_the_envelope_of_its_operation() {
        let around = |dialect: Dialect| dialect.envelope("\"1\"").around(r#"{"data":1}"#);
        assert_eq!(around(Dialect::Transport), r#"{"id":"\"1\"","type":"next","payload":{"data":1}}"#);
        assert_eq!(around(Dialect::Legacy), r#"{"id":"\"1\"","type":"data","payload":{"data":1}}"#);
    }

    #[test]
    fn both_dialects_give_signs_of_life() {
        assert_eq!(Dialect::Transport.heartbeat(), r#"{"type":"ping"}"#);
        assert_eq!(Dialect::Legacy.heartbeat(), r#"{"type":"ka"}"#);
    }
}
