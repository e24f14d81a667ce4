//! A door for `make bench`: what the checks of a document cost apart from executing it. Nothing of the product calls it.

use super::{
    document::{self, Rules},
    types::SchemaTypes,
};
use crate::{error::Result, graphql};
use async_graphql::Request;

/// The checks that every document passes.
pub struct Checks(Rules);

impl Checks {
    /// Those of the schema that is served.
    ///
    /// # Errors
    /// INTERNAL if the schema cannot be read.
    pub fn new() -> Result<Self> {
        Ok(Self(Rules::new(SchemaTypes::of(&graphql::sdl())?, true)))
    }

    /// True if a document may be executed.
    pub async fn check(&self, document: &str) -> bool {
        document::prepare(Request::new(document), &self.0).await.is_ok()
    }
}
