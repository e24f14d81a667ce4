//! Who acts: the person behind a token, and the actor that every service method takes first and that carries the
//! tenant. It must not know how tokens are checked.

use super::ids::{UserId, WorkspaceId};
use chrono::{DateTime, Utc};

/// What a checked token says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Issuer of the token.
    pub issuer: String,
    /// Subject: stable per person and issuer.
    pub subject: String,
    /// Email, if the token carries one.
    pub email: Option<String>,
    /// Name to show, if the token carries one.
    pub name: Option<String>,
    /// Workspace that the token is for (`custom:workspace_id`), if it says so.
    pub workspace: Option<uuid::Uuid>,
    /// Until when the token serves: its end, and the leeway that is given to clocks.
    pub expires_at: DateTime<Utc>,
}

/// The caller of a service method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The person; none for work that the service does by itself.
    pub user: Option<UserId>,
    /// The tenant: nothing outside of it is visible.
    pub workspace: WorkspaceId,
    /// When the permission ends; none for background work.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What decides what an actor is shown: to actors of one visibility the same question has the same answer, so that one
/// answer may serve all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Visibility {
    workspace: WorkspaceId,
}

impl Visibility {
    /// An actor that is nothing else: nobody in particular. What it is shown cannot depend on anything that is not in here.
    #[must_use]
    pub const fn actor(self) -> Actor {
        Actor::system(self.workspace)
    }
}

impl Actor {
    /// What it may see. Everybody in a workspace sees the same; the person shows only in `viewer`.
    #[must_use]
    pub const fn visibility(&self) -> Visibility {
        // taken apart, so that whoever gives actors a role has to say here whether answers depend on it
        let Self { user: _, workspace, expires_at: _ } = self;
        Visibility { workspace: *workspace }
    }

    /// The actor of background work in a workspace.
    #[must_use]
    pub const fn system(workspace: WorkspaceId) -> Self {
        Self { user: None, workspace, expires_at: None }
    }
}
