//! Ids: a newtype per object over a `UUIDv7`, and the opaque global form that clients see
//! (base64url of `Type:uuid`, without padding). It must not know where objects are stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

/// Longest opaque form, in bytes.
pub const MAX_GLOBAL: usize = 80;

/// An id whose kind is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalId {
    /// Kind of the object.
    pub kind: IdKind,
    /// The id itself.
    pub uuid: Uuid,
}

impl GlobalId {
    /// Reads the opaque form; `None` if it is malformed or of an unknown kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (kind, id) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some(Self { kind: IdKind::named(kind)?, uuid: Uuid::parse_str(id).ok()? })
    }
}

impl GlobalId {
    /// The opaque form, written into a buffer: lists have thousands of ids.
    #[must_use]
    pub fn write(self, buffer: &mut [u8; MAX_GLOBAL]) -> &str {
        let (mut plain, name) = ([0; MAX_GLOBAL], self.kind.name().as_bytes());
        let mut length = 0;
        for part in [name, b":", self.uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes()] {
            plain[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        let written = URL_SAFE_NO_PAD.encode_slice(&plain[..length], buffer).unwrap_or_default();
        std::str::from_utf8(&buffer[..written]).unwrap_or_default()
    }
}

impl std::fmt::Display for GlobalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.write(&mut [0; MAX_GLOBAL]))
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $kind:ident),+ $(,)?) => {
        /// Kinds of objects that have a global id; the names are those of the GraphQL types.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum IdKind { $($(#[$doc])* $kind),+ }

        impl IdKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Name of the GraphQL type.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),+ }
            }

            fn named(name: &str) -> Option<Self> {
                match name { $(stringify!($kind) => Some(Self::$kind),)+ _ => None }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
            #[serde(transparent)]
            pub struct $name(pub Uuid);

            impl From<$name> for GlobalId {
                fn from(id: $name) -> Self {
                    Self { kind: IdKind::$kind, uuid: id.0 }
                }
            }

            impl $name {
                /// The opaque form for clients.
                #[must_use]
                pub fn global(self) -> String {
                    GlobalId::from(self).to_string()
                }

                /// Reads the opaque form. What is malformed or of another kind becomes the nil id, which names
                /// nothing: to a client it is as if the object did not exist.
                #[must_use]
                pub fn from_global(text: &str) -> Self {
                    match GlobalId::parse(text) {
                        Some(GlobalId { kind: IdKind::$kind, uuid }) => Self(uuid),
                        _ => Self(Uuid::nil()),
                    }
                }
            }
        )+
    };
}

ids! {
    /// A practice: the tenant.
    WorkspaceId = Workspace,
    /// A person of a practice.
    UserId = User,
    /// A batch of projects.
    BatchId = Batch,
    /// A project.
    ProjectId = Project,
    /// A section of a narrative.
    SectionId = Section,
    /// A text that a section has or had.
    RevisionId = SectionRevision,
    /// A template.
    TemplateId = Template,
    /// A version of a template.
    TemplateVersionId = TemplateVersion,
    /// A run of generation.
    RunId = GenerationRun,
    /// One call of a model.
    AttemptId = GenerationAttempt,
    /// An import.
    ImportId = ImportJob,
    /// An export.
    ExportId = Export,
    /// A file that was announced; not a node.
    UploadId = Upload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_global_id_is_read_back_and_another_kind_names_nothing() {
        let batch = BatchId(Uuid::from_u128(7));
        assert_eq!(BatchId::from_global(&batch.global()), batch);
        assert!(ProjectId::from_global(&batch.global()).0.is_nil());
        assert!(BatchId::from_global("nonsense").0.is_nil());
        assert!(BatchId::from_global("").0.is_nil());
    }

    #[test]
    fn every_kind_fits_into_the_buffer() {
        for kind in IdKind::ALL {
            let id = GlobalId { kind: *kind, uuid: Uuid::max() };
            assert_eq!(GlobalId::parse(&id.to_string()), Some(id));
        }
    }
}
