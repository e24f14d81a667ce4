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
use chrono::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// People that are remembered so that a request needs no write to know its caller.
const REMEMBERED: usize = 10_000;

/// What makes one person in one workspace: a change of any of it is written again.
type Identity = (String, String, Option<Uuid>, Option<String>);

/// Use cases of people.
#[derive(Debug, Clone)]
pub struct People {
    core: Core,
    known: Arc<Mutex<HashMap<Identity, (UserId, WorkspaceId)>>>,
}

impl People {
    pub(super) fn new(core: Core) -> Self {
        Self { core, known: Arc::default() }
    }

    /// The actor of a checked token. Person and workspace are created on first sight and refreshed from the token.
    ///
    /// # Errors
    /// As the database says.
    pub async fn actor_for(&self, principal: &Principal) -> Result<Actor> {
        let identity = (principal.issuer.clone(), principal.subject.clone(), principal.workspace, principal.email.clone());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&identity).copied();
        let (user, workspace) = match known {
            Some(known) => known,
            None => self.meet(principal).await?,
        };
        if known.is_none() {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= REMEMBERED {
                all.clear();
            }
            all.insert(identity, (user, workspace));
        }
        Ok(Actor { user: Some(user), workspace, expires_at: Some(principal.expires_at) })
    }

    async fn meet(&self, principal: &Principal) -> Result<(UserId, WorkspaceId)> {
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
        let user = people::upsert_user_in(tx, workspace, principal, &name, UserId(self.core.new_id()), now).await?;
        unit.commit().await?;
        Ok((user, workspace))
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
