//! The operations that the client sends, one file each in `operations/`. They ask only for what the client prints or
//! decides on, so that a server with a smaller schema can still serve them. No logic here.

/// A GraphQL document with exactly one operation.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// Name of the operation in `text`.
    pub name: &'static str,
    /// The document.
    pub text: &'static str,
}

macro_rules! documents {
    ($($constant:ident = $name:literal in $file:literal),+ $(,)?) => {
        $(pub(super) const $constant: Document = Document { name: $name, text: include_str!(concat!("operations/", $file)) };)+

        /// Every operation of the client, so that a test can check them against the schema.
        pub const DOCUMENTS: &[Document] = &[$($constant),+];
    };
}

documents! {
    CREATE_BATCH = "CreateBatch" in "create-batch.graphql",
    FIND_BATCH = "FindBatch" in "find-batch.graphql",
    FIND_BATCHES_BY_TEXT = "FindBatchesByText" in "find-batches-by-text.graphql",
    IMPORT_PROJECTS = "ImportProjects" in "import-projects.graphql",
    IMPORT_PROGRESS = "ImportProgress" in "import-progress.graphql",
    LOAD_IMPORT = "LoadImport" in "load-import.graphql",
    START_GENERATION = "StartGeneration" in "start-generation.graphql",
    LOAD_RUN = "LoadRun" in "load-run.graphql",
    NEWEST_RUN = "NewestRun" in "newest-run.graphql",
    BATCH_PROGRESS = "BatchProgress" in "batch-progress.graphql",
    BATCH_SCORES = "BatchScores" in "batch-scores.graphql",
    CREATE_EXPORT = "CreateExport" in "create-export.graphql",
    EXPORT_PROGRESS = "ExportProgress" in "export-progress.graphql",
    LOAD_EXPORT = "LoadExport" in "load-export.graphql",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_names_its_operation() {
        for document in DOCUMENTS {
            let operation = document.text.split_whitespace().nth(1).unwrap_or_default();
            assert!(operation.starts_with(&format!("{}(", document.name)), "{} is not the operation of its file", document.name);
        }
    }
}
