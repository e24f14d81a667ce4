//! Exports: orders a document, follows its making and saves it. A file of this machine is never overwritten, and the
//! server's name for a file can never lead out of the folder that was asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::time::timeout;

use super::answers::{ExportJob, JobStatus, NodeAnswer};
use super::api::{Api, Backoff, accepted, decode, fresh_key};
use super::documents::{CREATE_EXPORT, EXPORT_PROGRESS, LOAD_EXPORT};
use super::failures::{ClientError, UserError};
use super::progress::{Console, share_of};
use super::stream::{Events, Resumes};

/// Longest silence of a download.
const SILENCE: Duration = Duration::from_mins(1);
const NAME_BYTES: usize = 180;
const SUFFIXES_TRIED: u32 = 10_000;

/// Formats that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Word, one document for all projects
    Docx,
    /// One row for each project
    Csv,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Docx => "DOCX",
            Self::Csv => "CSV",
        }
    }

    const fn fallback_name(self) -> &'static str {
        match self {
            Self::Docx => "export.docx",
            Self::Csv => "export.csv",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A document that was saved.
#[derive(Debug)]
pub struct SavedExport {
    /// Its format.
    pub format: Format,
    /// SUCCEEDED, or PARTIAL if projects are missing from it.
    pub status: JobStatus,
    /// Where it is.
    pub path: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    create_export: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    export: Option<ExportJob>,
    user_errors: Vec<UserError>,
}

/// Makes a document of all projects of a batch, drafts included, and saves it in `directory`.
pub(super) async fn export(api: &Api, batch_id: &str, format: Format, directory: &Path, out: &Console) -> Result<SavedExport, ClientError> {
    let input = json!({ "batchId": batch_id, "format": format.as_str(), "approvedOnly": false, "idempotencyKey": fresh_key() });
    let Created { create_export: payload } = api.ask(CREATE_EXPORT, &json!({ "input": input })).await?;
    accepted(payload.user_errors)?;
    let begun = payload.export.ok_or_else(|| ClientError::Unexpected("The server accepted the export and gave none back.".into()))?;
    if !begun.status.is_final() {
        follow(api, &begun.id, out).await?;
    }
    let job = load(api, &begun.id).await?;
    if matches!(job.status, JobStatus::Failed | JobStatus::Cancelled) {
        let why = job.failure.map_or_else(|| ".".to_owned(), |failure| format!(": {failure}"));
        return Err(ClientError::Job { status: job.status, message: format!("The {format} export ended {}{why}", job.status) });
    }
    let status = job.status;
    let path = save(api, job, format, directory).await?;
    Ok(SavedExport { format, status, path })
}

async fn follow(api: &Api, id: &str, out: &Console) -> Result<(), ClientError> {
    let mut progress = out.progress("Exporting", "projects");
    let mut events = Events::new(api, EXPORT_PROGRESS, "exportProgress", id, Resumes::FromPresent);
    loop {
        let job = match events.next().await? {
            Some(mut event) => decode::<ExportJob>(event["export"].take())?,
            None => load(api, id).await?,
        };
        progress.update(share_of(job.progress, job.project_count), job.project_count, 0);
        if job.status.is_final() {
            events.close().await;
            return Ok(());
        }
        if events.is_closed() {
            events.ended_too_early().await?;
        }
    }
}

async fn load(api: &Api, id: &str) -> Result<ExportJob, ClientError> {
    let answer: NodeAnswer<ExportJob> = api.ask(LOAD_EXPORT, &json!({ "id": id })).await?;
    answer.node.ok_or_else(|| ClientError::Ended("The export no longer exists; its batch may have been deleted.".into()))
}

/// Downloads under a working name and gives the file its own when it is whole.
async fn save(api: &Api, mut job: ExportJob, format: Format, directory: &Path) -> Result<PathBuf, ClientError> {
    let wanted = safe_name(job.file_name.as_deref().unwrap_or_default(), format.fallback_name());
    let (mut file, part) = create_new(directory, &format!("{wanted}.part")).await?;
    let mut backoff = Backoff::default();
    let mut refusals = 0;
    let downloaded = loop {
        match download(api, &job, &mut file, &mut refusals).await {
            Ok(()) => break Ok(()),
            Err(error) => {
                if let Err(error) = api.wait_after(error, &mut backoff).await {
                    break Err(error);
                }
            }
        }
        // Addresses work for a short time only: every attempt takes a new one.
        match load(api, &job.id).await {
            Ok(fresh) => job = fresh,
            Err(error) => break Err(error),
        }
    };
    let saved = async {
        downloaded?;
        file.sync_all().await.map_err(|error| cannot_write(&part, &error))?;
        drop(file);
        let (reserved, path) = create_new(directory, &wanted).await?;
        drop(reserved);
        fs::rename(&part, &path).await.map_err(|error| cannot_write(&path, &error))?;
        Ok(path)
    }
    .await;
    if saved.is_err() {
        // What is left of a failed download is of no use; that it could not be removed is no news either.
        let _ = fs::remove_file(&part).await;
    }
    saved
}

async fn download(api: &Api, job: &ExportJob, file: &mut File, refusals: &mut u32) -> Result<(), ClientError> {
    let missing = || ClientError::Unexpected("The export is finished and has no address to download from.".into());
    let url = api.resolve(job.download_url.as_deref().ok_or_else(missing)?)?;
    let silent = || ClientError::Unreachable("The download stopped in the middle.".into());
    // The address carries its own permission; the token is for the API alone.
    let response = timeout(SILENCE, api.http().get(url).send()).await.map_err(|_| silent())?.map_err(|error| api.unreachable(error))?;
    let status = response.status();
    if !status.is_success() {
        let sentence = format!("The document cannot be downloaded: its store answers {status}.");
        // 403 is how stores say that an address has run out; a new one that is refused as well will not get better.
        *refusals += u32::from(status == StatusCode::FORBIDDEN);
        let passes =
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || (status == StatusCode::FORBIDDEN && *refusals < 2);
        return Err(if passes { ClientError::Unreachable(sentence) } else { ClientError::Unexpected(sentence) });
    }
    let unwritable = |error| cannot_write(Path::new("The document"), &error);
    file.set_len(0).await.map_err(unwritable)?;
    file.rewind().await.map_err(unwritable)?;
    let mut body = response.bytes_stream();
    let mut length = 0_u64;
    while let Some(chunk) = timeout(SILENCE, body.next()).await.map_err(|_| silent())? {
        let chunk = chunk.map_err(|_| silent())?;
        length += chunk.len() as u64;
        file.write_all(&chunk).await.map_err(unwritable)?;
    }
    file.flush().await.map_err(unwritable)?;
    match job.bytes {
        Some(bytes) if bytes != length => Err(ClientError::Unreachable(format!("The document came with {length} of {bytes} bytes."))),
        _ => Ok(()),
    }
}

/// Opens a file that did not exist, with a number in its name if need be.
async fn create_new(directory: &Path, name: &str) -> Result<(File, PathBuf), ClientError> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    let mut number = 1;
    loop {
        let path = directory.join(if number == 1 { name.to_owned() } else { format!("{stem} ({number}){extension}") });
        match OpenOptions::new().write(true).create_new(true).open(&path).await {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < SUFFIXES_TRIED => number += 1,
            Err(error) => return Err(cannot_write(&path, &error)),
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> ClientError {
    ClientError::Local(format!("{} cannot be written: {error}.", path.display()))
}

/// The last part of a name, without what is special to any file system or terminal.
fn safe_name(name: &str, fallback: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let harmless = |c: char| if c.is_control() || r#"<>:"|?*"#.contains(c) { '_' } else { c };
    let cleaned: String = last.chars().map(harmless).collect();
    let cleaned = cleaned.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if cleaned.is_empty() {
        return fallback.to_owned();
    }
    let (stem, extension) = cleaned.rsplit_once('.').map_or((cleaned, String::new()), |(stem, end)| (stem, format!(".{end}")));
    if extension.len() > 20 {
        return fallback.to_owned();
    }
    let mut end = stem.len().min(NAME_BYTES);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", &stem[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_name_for_a_file_cannot_lead_out_of_the_folder() {
        let cases = [
            ("claims.docx", "claims.docx"),
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("..\\..\\evil.docx", "evil.docx"),
            ("/etc/passwd", "passwd"),
            ("..", "export.docx"),
            ("", "export.docx"),
            (".hidden", "hidden"),
            ("a\u{1b}[31m:b?.docx", "a_[31m_b_.docx"),
            ("folder/", "export.docx"),
        ];
        for (name, expected) in cases {
            assert_eq!(safe_name(name, "export.docx"), expected, "{name:?}");
        }
        let long = safe_name(&format!("{}.docx", "é".repeat(300)), "export.docx");
        assert_eq!((long.len(), &long[long.len() - 5..]), (NAME_BYTES + 5, ".docx"));
    }

    #[tokio::test]
    async fn an_existing_file_is_kept_and_the_new_one_gets_a_number() {
        let folder = tempfile::tempdir().unwrap();
        for expected in ["a.docx", "a (2).docx", "a (3).docx"] {
            let (_, path) = create_new(folder.path(), "a.docx").await.unwrap();
            assert_eq!(path, folder.path().join(expected));
        }
    }
}
