//! People and practices.

use super::ids::{UserId, WorkspaceId};

/// A person of the practice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Name to show.
    pub display_name: String,
    /// Email.
    pub email: Option<String>,
}

/// A practice: the unit of isolation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Id.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
}
