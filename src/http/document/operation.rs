//! An operation as clients send it, before its document is looked at. It must not know what the document says.

use crate::{
    error::{Error, FaultCode, Result},
    http::json,
    services::persisted::DocumentHash,
};
use async_graphql::{Request, Variables};
use serde::Deserialize;
use serde_json::Map;

/// Prefix by which async-graphql passes uploads in variables. From a client it would make a resolver panic.
const UPLOAD_MARK: &str = "#__graphql_file__:";
/// Version of Apollo's protocol of persisted queries.
const PERSISTED_VERSION: u64 = 1;

/// An operation as clients send it, in any transport.
#[derive(Debug, Default, Deserialize)]
pub struct Operation {
    /// The document.
    pub query: Option<String>,
    /// Which operation of the document; empty is none.
    #[serde(rename = "operationName")]
    pub name: Option<String>,
    /// Values of variables.
    #[serde(default)]
    pub variables: Option<Map<String, serde_json::Value>>,
    /// Accepted as the specification asks; only `persistedQuery` is read.
    #[serde(default)]
    pub extensions: Option<Map<String, serde_json::Value>>,
}

/// A request whose document may still have to be found.
#[derive(Debug)]
pub struct Incoming {
    /// The request; its document is empty if only the hash was sent.
    pub request: Request,
    /// The hash that was sent, beside the document or in its place.
    pub hash: Option<DocumentHash>,
}

impl Operation {
    /// Reads the JSON form. `json` refuses doubled names at any depth, the derived struct wrong types, and the check of the
    /// first byte arrays, hence batches.
    ///
    /// # Errors
    /// `PARSE_FAILED` if this is not a GraphQL request in JSON.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        // RFC 8259 lets parsers ignore a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
        let read = |bytes| json::read(str::from_utf8(bytes).ok()?);
        let object = if is_object { read(bytes) } else { None };
        let operation = object.and_then(|object| serde_json::from_value(serde_json::Value::Object(object)).ok());
        operation.ok_or_else(|| Error::fault(FaultCode::ParseFailed, "The body must be one GraphQL request in JSON: {\"query\": \"…\"}."))
    }

    /// True if there is a document or something in its place.
    pub fn has_document(&self) -> bool {
        self.query.is_some() || self.persisted_query().is_some()
    }

    /// The request that async-graphql understands.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` if the document is missing, its hash cannot be read, or a variable pretends to be an upload.
    pub fn into_incoming(self) -> Result<Incoming> {
        let hash = self.persisted_query().map(read_hash).transpose()?;
        // With a hash, clients send an empty document as well as none.
        let query = match self.query {
            Some(query) if hash.is_none() || !query.is_empty() => query,
            _ if hash.is_some() => String::new(),
            _ => return Err(invalid("The request has no `query`.")),
        };
        let variables = self.variables.unwrap_or_default();
        if variables.values().any(is_forged) {
            return Err(invalid("A variable holds a reserved value."));
        }
        let mut request = Request::new(query).variables(Variables::from_json(serde_json::Value::Object(variables)));
        request.operation_name = self.name.filter(|name| !name.is_empty());
        Ok(Incoming { request, hash })
    }

    fn persisted_query(&self) -> Option<&serde_json::Value> {
        self.extensions.as_ref()?.get("persistedQuery").filter(|value| !value.is_null())
    }
}

fn read_hash(persisted: &serde_json::Value) -> Result<DocumentHash> {
    if persisted.get("version").and_then(serde_json::Value::as_u64) != Some(PERSISTED_VERSION) {
        return Err(invalid("`persistedQuery.version` must be 1."));
    }
    let hash = persisted.get("sha256Hash").and_then(serde_json::Value::as_str).and_then(DocumentHash::parse);
    hash.ok_or_else(|| invalid("`persistedQuery.sha256Hash` must be the SHA-256 of the document in 64 hexadecimal digits."))
}

fn invalid(message: &str) -> Error {
    Error::fault(FaultCode::ValidationFailed, message)
}

fn is_forged(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.starts_with(UPLOAD_MARK),
        serde_json::Value::Array(items) => items.iter().any(is_forged),
        serde_json::Value::Object(fields) => fields.values().any(is_forged),
        _ => false,
    }
}

/// True if a literal of a document pretends to be an upload.
pub fn is_forged_literal(text: &str) -> bool {
    text.starts_with(UPLOAD_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_json_is_one_object_without_duplicate_keys() {
        assert!(Operation::from_json(br#" {"query":"{a}","operationName":null,"extensions":{"a":1},"other":1}"#).is_ok());
        for text in [r"[]", r#"["{a}",null,null,null]"#, r#"[{"query":"{a}"}]"#, r#"{"query":1}"#, r#"{"query":"{a}","query":"{b}"}"#, ""] {
            assert!(Operation::from_json(text.as_bytes()).is_err(), "{text}");
        }
        for nested in [r#"{"query":"{a}","variables":{"a":1,"a":2}}"#, r#"{"query":"{a}","extensions":{"a":[{"b":1,"b":1}]}}"#] {
            assert!(Operation::from_json(nested.as_bytes()).is_err(), "{nested}");
        }
        assert!(Operation::from_json(b"{}").unwrap().into_incoming().is_err());
    }
}
