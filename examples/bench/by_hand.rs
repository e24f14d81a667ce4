//! Answers as somebody would write them by hand: typed rows, put together and written by serde. The floors on `PostgreSQL` and
//! those that are counted in instructions have them in common, so that both are held against the same. It reads nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};
use sqlx::FromRow;
use std::collections::HashMap;
use uuid::Uuid;

/// Items of the list.
pub const LISTED: usize = 20;

/// The wrapping that answers of GraphQL have.
#[derive(Serialize)]
pub struct Data<T> {
    pub data: T,
}

#[derive(Serialize)]
pub struct Batches<T> {
    pub batches: T,
}

#[derive(Serialize)]
pub struct Nodes<T> {
    pub nodes: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub nodes: Vec<T>,
    pub page_info: PageInfo,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageInfo {
    pub has_next_page: bool,
    pub has_previous_page: bool,
}

#[derive(Serialize)]
pub struct One<T> {
    pub project: T,
}

fn global<S: Serializer>(kind: &str, id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&URL_SAFE_NO_PAD.encode(format!("{kind}:{id}")))
}

pub fn batch_id<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    global("Batch", id, serializer)
}

fn project_id<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    global("Project", id, serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn lifecycle<S: Serializer>(is_archived: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *is_archived { "ARCHIVED" } else { "ACTIVE" })
}

#[derive(Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    #[serde(serialize_with = "batch_id")]
    pub id: Uuid,
    pub name: String,
    pub external_ref: Option<String>,
    pub revision: i32,
    #[serde(rename = "lifecycle", serialize_with = "lifecycle")]
    pub archived: bool,
}

/// A page of one row more than are listed.
pub fn page(mut nodes: Vec<Listed>) -> Data<Batches<Page<Listed>>> {
    let has_next_page = nodes.len() > LISTED;
    nodes.truncate(LISTED);
    Data { data: Batches { batches: Page { nodes, page_info: PageInfo { has_next_page, has_previous_page: false } } } }
}

#[derive(Serialize, FromRow)]
pub struct Batch {
    #[serde(serialize_with = "batch_id")]
    pub id: Uuid,
    pub name: String,
    #[sqlx(skip)]
    pub projects: Option<Nodes<Project>>,
}

#[derive(Serialize, FromRow)]
pub struct Project {
    #[serde(serialize_with = "project_id")]
    pub id: Uuid,
    pub name: String,
    pub status: String,
    #[sqlx(skip)]
    pub sections: Vec<Section>,
    #[serde(skip)]
    pub batch_id: Uuid,
}

#[derive(Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    pub key: String,
    pub word_count: i32,
    #[serde(skip)]
    pub project_id: Uuid,
}

/// Rows of three levels, each in its order, below each other.
pub fn tree(mut batches: Vec<Batch>, mut projects: Vec<Project>, sections: Vec<Section>) -> Data<Batches<Nodes<Batch>>> {
    let places: HashMap<Uuid, usize> = projects.iter().enumerate().map(|(place, project)| (project.id, place)).collect();
    for section in sections {
        if let Some(place) = places.get(&section.project_id) {
            projects[*place].sections.push(section);
        }
    }
    let places: HashMap<Uuid, usize> = batches.iter().enumerate().map(|(place, batch)| (batch.id, place)).collect();
    for project in projects {
        if let Some(place) = places.get(&project.batch_id) {
            batches[*place].projects.get_or_insert_with(|| Nodes { nodes: Vec::new() }).nodes.push(project);
        }
    }
    Data { data: Batches { batches: Nodes { nodes: batches } } }
}

#[derive(Serialize)]
pub struct Narrative {
    #[serde(serialize_with = "project_id")]
    pub id: Uuid,
    pub name: String,
    pub status: String,
    pub sections: Vec<Text>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Text {
    pub key: String,
    pub text: String,
    pub word_count: i32,
}

/// A section with its text, and the project that it is of.
#[derive(FromRow)]
pub struct TextRow {
    pub name: String,
    pub status: String,
    pub key: String,
    pub text: String,
    pub word_count: i32,
}

/// A project with its texts; none without any.
pub fn narrative(id: Uuid, rows: Vec<TextRow>) -> Data<One<Option<Narrative>>> {
    let (mut project, count): (Option<Narrative>, usize) = (None, rows.len());
    for row in rows {
        let narrative =
            project.get_or_insert_with(|| Narrative { id, name: row.name, status: row.status, sections: Vec::with_capacity(count) });
        narrative.sections.push(Text { key: row.key, text: row.text, word_count: row.word_count });
    }
    Data { data: One { project } }
}
