//! Use cases of people and workspaces: a principal becomes an actor; both are created on first sight.

use super::core::Core;
use crate::domain::actor::{Actor, Principal};
use crate::domain::builtin_templates::built_in;
use crate::domain::ids::{TemplateId, TemplateVersionId, UserId, WorkspaceId};
use crate::domain::people::{User, Workspace};
use crate::domain::templates::{Template, TemplateVersion};
use crate::error::{Error, Result};
use crate::repositories::db::Scope;
use crate::repositories::{people, templates};
use chrono::{DateTime, Duration, Utc};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// People that are remembered so that a request needs no write to know its caller.
const REMEMBERED: usize = 10_000;

/// How long a person whose token names no workspace stays in the one that was found, before the table is asked again: an
/// id token that another process has met may have named another.
const FOUND_FOR: Duration = Duration::minutes(1);

/// What makes one person in one workspace: issuer, subject, and the workspace and email that the token names.
type Identity = (String, String, Option<Uuid>, Option<String>);

/// Somebody who was met.
#[derive(Debug, Clone, Copy)]
struct Known {
    user: UserId,
    workspace: WorkspaceId,
    /// With a workspace of the token's own: the latest end of a token that was met, so that a newer one is written again.
    /// Without: the moment until which this is believed.
    until: DateTime<Utc>,
}

/// Use cases of people.
#[derive(Debug, Clone)]
pub struct People {
    core: Core,
    known: Arc<Mutex<HashMap<Identity, Known>>>,
}

impl People {
    pub(super) fn new(core: Core) -> Self {
        Self { core, known: Arc::default() }
    }

    /// The actor of a checked token. Person and workspace are created on first sight and refreshed from each new token
    /// that says more; one that names no workspace (an access token of Cognito) is for the one that the person's newest
    /// id token named, else for one of the person's own.
    ///
    /// # Errors
    /// As the database says.
    pub async fn actor_for(&self, principal: &Principal) -> Result<Actor> {
        let identity = (principal.issuer.clone(), principal.subject.clone(), principal.workspace, principal.email.clone());
        let needed = if principal.workspace.is_some() { principal.expires_at } else { self.core.now() };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&identity).copied();
        let known = match known.filter(|known| needed <= known.until) {
            Some(known) => known,
            // boxed: it is rare, and every request would carry its size
            None => self.remember(identity, Box::pin(self.meet(principal)).await?),
        };
        Ok(Actor { user: Some(known.user), workspace: known.workspace, expires_at: Some(principal.expires_at) })
    }

    fn remember(&self, identity: Identity, met: Known) -> Known {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        let (issuer, subject, workspace, email) = identity.clone();
        if workspace.is_some() {
            // what was found for tokens that name none may be another one from now on
            all.remove(&(issuer.clone(), subject.clone(), None, None));
            all.remove(&(issuer, subject, None, email));
        }
        all.insert(identity, met);
        met
    }

    async fn meet(&self, principal: &Principal) -> Result<Known> {
        let mut unit = self.core.begin(Scope::Everything).await?;
        let (now, tx) = (unit.now, &mut unit.tx);
        let workspace = match principal.workspace {
            Some(id) => WorkspaceId(id),
            None => match people::find_workspace_of(tx, &principal.issuer, &principal.subject).await? {
                Some(id) => id,
                // derived, not drawn: two first requests at once must not make two workspaces
                None => WorkspaceId(Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{}#{}", principal.issuer, principal.subject).as_bytes())),
            },
        };
        let name = principal.name.clone().or_else(|| principal.email.clone()).unwrap_or_else(|| "Adviser".into());
        if people::create_workspace_in(tx, workspace, &format!("Practice of {name}"), now).await? {
            for (index, built_in) in built_in().into_iter().enumerate() {
                // microseconds apart, so that lists by creation keep the product's order
                let now = now + Duration::microseconds(i64::try_from(index).unwrap_or(0));
                let (id, version) = (TemplateId(self.core.new_id()), TemplateVersionId(self.core.new_id()));
                let template = Template {
                    id,
                    key: built_in.key.to_string(),
                    name: built_in.name.to_string(),
                    description: Some(built_in.description.to_string()),
                    built_in: true,
                    archived_at: None,
                    current_version: version,
                    current_number: 1,
                    created_at: now,
                    updated_at: now,
                };
                templates::create_in(tx, workspace, &template).await.map_err(Error::from)?;
                let version = TemplateVersion {
                    id: version,
                    template: id,
                    number: 1,
                    sections: built_in.sections,
                    instructions: built_in.instructions.map(std::string::ToString::to_string),
                    note: None,
                    created_by: None,
                    created_at: now,
                };
                templates::create_version_in(tx, workspace, &version).await?;
            }
        }
        if principal.workspace.is_some() {
            people::name_workspace_in(tx, workspace, principal).await?;
        }
        let user = people::upsert_user_in(tx, workspace, principal, &name, UserId(self.core.new_id()), now).await?;
        unit.commit().await?;
        let until = if principal.workspace.is_some() { principal.expires_at } else { now + FOUND_FOR };
        Ok(Known { user, workspace, until })
    }

    /// The caller's workspace.
    ///
    /// # Errors
    /// As the database says.
    pub async fn find_workspace(&self, actor: &Actor, id: WorkspaceId) -> Result<Option<Workspace>> {
        if id != actor.workspace {
            return Ok(None);
        }
        people::find_workspace(&mut self.core.db.read(actor.workspace).await?, id).await
    }

    /// Users of the caller's workspace by id.
    ///
    /// # Errors
    /// As the database says.
    pub async fn load_users(&self, actor: &Actor, ids: &[UserId]) -> Result<HashMap<UserId, User>> {
        let users = people::load_users(&mut self.core.db.read(actor.workspace).await?, actor.workspace, ids).await?;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    }
}
