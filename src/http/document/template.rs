//! A subscription as all those have it who ask for the same: what tells them apart from others, and the request that is
//! executed for each event. It must not know who they are.

use super::{Accepted, Root, Shared};
use async_graphql::{Data, Request, Variables};
use graphql_gate::MergedRoots;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A subscription whose events may be written once for all who ask for the same.
#[derive(Debug)]
pub struct Template {
    accepted: Arc<Accepted>,
    variables: Variables,
    /// Digest of what is asked for, whatever cursor it begins at.
    pub digest: [u8; 32],
}

impl Template {
    /// How a request is written for all who send the like of it.
    pub(super) fn new(accepted: &Arc<Accepted>, shared: &Shared, request: &Request) -> Self {
        let asked_for = request.variables.iter().filter(|(name, _)| Some(*name) != shared.resumed_by.as_ref());
        let mut digest = Sha256::new();
        // every part with its length, so that none can pass for the end of another
        let mut add = |part: &str| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        add(&request.query);
        add(accepted.name.as_deref().unwrap_or_default());
        for (name, value) in asked_for {
            add(name);
            add(&value.to_string());
        }
        Self { accepted: Arc::clone(accepted), variables: request.variables.clone(), digest: digest.finalize().into() }
    }

    /// The request, to be executed with this data for one event.
    pub fn request(&self, data: Data) -> Request {
        let mut request = Request::new(String::new()).variables(self.variables.clone());
        request.operation_name = self.accepted.name.as_ref().map(ToString::to_string);
        request.set_parsed_query(self.accepted.document.clone());
        request.data = data;
        request.data.insert(self.accepted.verdict.clone());
        if self.accepted.root == Root::Repeated { request.data(MergedRoots) } else { request }
    }

    /// The operation's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.accepted.name.as_deref()
    }
}
