//! Which parts of a row the fields of a selection are made of, so that no more is read. A field that is not named here needs
//! the whole row: to forget one costs time, not truth. It must not read anything.

use crate::domain::batches::BatchParts;
use crate::domain::projects::ProjectParts;
use crate::domain::sections::SectionParts;
use graphql_gate::Plan;

/// What is asked of the items of a connection, by `nodes` or by `edges`.
fn items(connection: &Plan) -> impl Iterator<Item = &Plan> {
    connection.below("nodes").chain(connection.below("edges").flat_map(|edge| edge.below("node")))
}

/// Parts of the batches of a connection.
#[must_use]
pub fn of_batches(connection: &Plan) -> BatchParts {
    items(connection).map(of_batch).collect()
}

/// Parts of a batch.
#[must_use]
pub fn of_batch(batch: &Plan) -> BatchParts {
    let part = |name: &str| match name {
        // made of the id alone, or loaded by it
        "__typename" | "id" | "activity" | "counts" | "meanScore" | "generationCost" | "projects" | "runs" | "activeRun" | "imports"
        | "exports" => BatchParts::empty(),
        "name" => BatchParts::NAME,
        "description" => BatchParts::DESCRIPTION,
        "externalRef" => BatchParts::REF,
        "revision" => BatchParts::REVISION,
        "lifecycle" | "purgeAfter" => BatchParts::LIFECYCLE,
        "claim" => BatchParts::CLAIM,
        "template" => BatchParts::TEMPLATE,
        "totalQualifyingExpenditure" => BatchParts::SUMS,
        "eventCursor" => BatchParts::EVENTS,
        "createdBy" | "createdAt" => BatchParts::CREATION,
        "updatedAt" => BatchParts::UPDATED,
        _ => BatchParts::all(),
    };
    batch.names().map(part).collect()
}

/// Parts of the projects of a connection.
#[must_use]
pub fn of_projects(connection: &Plan) -> ProjectParts {
    items(connection).map(of_project).collect()
}

/// Parts of a project.
#[must_use]
pub fn of_project(project: &Plan) -> ProjectParts {
    let part = |name: &str| match name {
        // made of the ids alone, or loaded by them
        "__typename" | "id" | "batch" | "facts" | "sections" | "section" | "quality" | "generationCost" | "attempts" | "eventCursor" => {
            ProjectParts::empty()
        }
        "externalRef" => ProjectParts::REF,
        "name" => ProjectParts::NAME,
        "revision" => ProjectParts::REVISION,
        "status" => ProjectParts::STATUS,
        "deleted" => ProjectParts::DELETED,
        "costs" => ProjectParts::COSTS,
        "aifPinned" => ProjectParts::PIN,
        "templateVersion" => ProjectParts::TEMPLATE,
        "approvedBy" | "approvedAt" => ProjectParts::APPROVAL,
        "importedBy" | "importRow" => ProjectParts::IMPORT,
        "createdAt" => ProjectParts::CREATED,
        "updatedAt" => ProjectParts::UPDATED,
        _ => ProjectParts::all(),
    };
    project.names().map(part).collect()
}

/// Parts of a project's sections, if any are asked for.
#[must_use]
pub fn of_sections(project: &Plan) -> Option<SectionParts> {
    let one = project.below("section").map(|section| of_section(section) | SectionParts::KEY);
    project.below("sections").map(of_section).chain(one).reduce(|all, more| all | more)
}

/// Parts of a section.
#[must_use]
pub fn of_section(section: &Plan) -> SectionParts {
    let part = |name: &str| match name {
        "__typename" | "project" => SectionParts::empty(),
        "id" | "revisions" => SectionParts::ID,
        "key" => SectionParts::KEY,
        "title" => SectionParts::TITLE,
        "state" => SectionParts::STATE,
        "revision" => SectionParts::REVISION,
        "wordCount" => SectionParts::WORDS,
        "charCount" => SectionParts::CHARACTERS,
        "limits" => SectionParts::LIMITS,
        "text" => SectionParts::TEXT,
        _ => SectionParts::all(),
    };
    section.names().map(part).collect()
}
