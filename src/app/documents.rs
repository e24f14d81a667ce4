//! Reads the documents that alone may run (`REGISTERED_DOCUMENTS`). What they mean, the front decides.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::services::persisted::Registered;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The registered documents; none if any may run.
///
/// # Errors
/// UNAVAILABLE if they cannot be read, or if there is none, because then nothing could run.
pub(super) fn read_registered(config: &Config) -> Result<Option<Arc<Registered>>> {
    let Some(path) = &config.registered_documents else { return Ok(None) };
    let unusable = |cause: io::Error| {
        let message = format!(
            "The registered documents cannot be read from {}. REGISTERED_DOCUMENTS names a folder of .graphql files, or a JSON file whose \
             values are documents.",
            path.display()
        );
        Error::unavailable(message, cause)
    };
    let documents = if path.is_dir() { in_folder(path) } else { in_file(path) };
    let registered = Registered::of(documents.map_err(unusable)?);
    if registered.is_empty() {
        return Err(unusable(io::Error::other("there is no document")));
    }
    tracing::info!(documents = registered.len(), "only registered documents may run");
    Ok(Some(Arc::new(registered)))
}

fn in_folder(folder: &Path) -> io::Result<Vec<String>> {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "graphql") {
            documents.push(std::fs::read_to_string(path)?);
        }
    }
    Ok(documents)
}

/// As Relay's compiler and others write it: `{"any id": "document"}`.
fn in_file(file: &Path) -> io::Result<Vec<String>> {
    let all: std::collections::HashMap<String, String> = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    Ok(all.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<Option<Arc<Registered>>> {
        let path = path.to_str().unwrap().to_owned();
        read_registered(&Config::from_env(|name| (name == "REGISTERED_DOCUMENTS").then(|| path.clone())).unwrap())
    }

    #[test]
    fn documents_come_from_a_folder_or_a_file_and_none_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("REGISTERED_DOCUMENTS"));
        std::fs::write(folder.path().join("one.graphql"), "{ __typename }").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no document").unwrap();
        assert_eq!(read(folder.path()).unwrap().unwrap().len(), 1);
        let file = folder.path().join("all.json");
        std::fs::write(&file, r#"{"a": "{ __typename }", "b": "{ x: __typename }"}"#).unwrap();
        assert_eq!(read(&file).unwrap().unwrap().len(), 2);
        std::fs::write(&file, "[]").unwrap();
        assert!(read(&file).is_err());
        assert!(read(&folder.path().join("nothing")).is_err());
    }
}
