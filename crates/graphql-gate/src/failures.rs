//! Where in an answer something failed. async-graphql writes the path of an error anew at every level that the error
//! passes on its way up; a mark keeps the first path. It must not know what failed.

use async_graphql::{PathSegment, QueryPathNode, QueryPathSegment, ServerError};
use std::any::Any;
use std::sync::Arc;

/// The mark, in place of the error's source.
struct FailedAt {
    path: Vec<PathSegment>,
    source: Option<Arc<dyn Any + Send + Sync>>,
}

fn mark(error: &ServerError) -> Option<&FailedAt> {
    error.source.as_ref()?.downcast_ref()
}

/// Marks an error with the path where it came up, unless it has a mark already.
#[must_use]
pub fn marked(mut error: ServerError, path: impl FnOnce() -> Vec<PathSegment>) -> ServerError {
    if mark(&error).is_none() {
        let source = error.source.take();
        error.source = Some(Arc::new(FailedAt { path: path(), source }));
    }
    error
}

/// True if the error has a mark: it came up while a field was executed, not before.
#[must_use]
pub fn is_of_a_field(error: &ServerError) -> bool {
    mark(error).is_some()
}

/// What an error was made of, marked or not.
#[must_use]
pub fn source<T: Any + Send + Sync>(error: &ServerError) -> Option<&T> {
    match mark(error) {
        Some(failed) => failed.source.as_ref()?.downcast_ref(),
        None => error.source(),
    }
}

/// True if it was made of something.
#[must_use]
pub fn has_source(error: &ServerError) -> bool {
    mark(error).map_or(error.source.is_some(), |failed| failed.source.is_some())
}

/// Takes the mark away and gives the error its path and its source.
pub fn settle(error: &mut ServerError) {
    let Some(FailedAt { path, source }) = mark(error) else { return };
    let (path, source) = (path.clone(), source.clone());
    error.path = path;
    error.source = source;
}

/// The path of a field or an item.
#[must_use]
pub fn path_of(node: &QueryPathNode<'_>) -> Vec<PathSegment> {
    let nodes = std::iter::successors(Some(node), |node| node.parent);
    let mut path: Vec<_> = nodes
        .map(|node| match &node.segment {
            QueryPathSegment::Name(name) => PathSegment::Field((*name).to_owned()),
            QueryPathSegment::Index(index) => PathSegment::Index(*index),
        })
        .collect();
    path.reverse();
    path
}
