//! People and workspaces.

use super::context::{caller, load};
use super::scalars::ObjectId;
use crate::domain::ids::UserId;
use crate::domain::people;
use crate::error::Error;
use async_graphql::{Context, Object, Result, SimpleObject};
use graphql_gate::{Output, roots};

/// A person of the practice.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct User {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Name to show.
    display_name: String,
    /// Email; only visible to the person and to admins.
    email: Option<String>,
}

impl From<people::User> for User {
    fn from(user: people::User) -> Self {
        Self { id: user.id.into(), display_name: user.display_name, email: user.email }
    }
}

/// A practice: the unit of isolation. Nothing is ever visible across workspaces.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct Workspace {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Name of the practice.
    name: String,
}

impl From<people::Workspace> for Workspace {
    fn from(workspace: people::Workspace) -> Self {
        Self { id: workspace.id.into(), name: workspace.name }
    }
}

/// The caller.
#[derive(Debug, SimpleObject, Output)]
pub struct Viewer {
    /// The caller as a user.
    user: User,
    /// The workspace the token is for.
    workspace: Workspace,
}

/// A person by an id that may be absent.
pub async fn user(ctx: &Context<'_>, id: Option<UserId>) -> Result<Option<User>> {
    let Some(id) = id else { return Ok(None) };
    Ok(load(ctx, id).await?.map(User::from))
}

/// Queries of people.
#[derive(Debug, Default)]
pub struct PeopleQuery;

#[roots]
#[Object]
impl PeopleQuery {
    /// The caller.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer> {
        let (services, actor) = caller(ctx)?;
        let missing = || Error::internal("the caller's user or workspace does not exist");
        let user = user(ctx, actor.user).await?.ok_or_else(missing)?;
        let workspace = services.people.find_workspace(actor, actor.workspace).await?.ok_or_else(missing)?;
        Ok(Viewer { user, workspace: workspace.into() })
    }
}
