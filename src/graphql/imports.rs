//! Imports: types, inputs, payloads and the mutation.

use super::batches::Batch;
use super::connections::{Total, connection};
use super::context::{caller, forward, load_required, moment};
use super::facts::{ProjectCosts, ProjectFacts};
use super::jobs::{JobFailure, JobStatus, UserError, settle};
use super::people::{User, user};
use super::projects::{ProjectConnection, ProjectRowInput};
use super::quality::IssueSeverity;
use super::scalars::{DateTime, ObjectId};
use crate::domain::ids::{BatchId, UploadId};
use crate::domain::imports as domain;
use crate::domain::projects::{ProjectFilter, ProjectParts};
use crate::error::{Error, ProblemCode};
use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, Result, SimpleObject, Upload};
use graphql_gate::{Output, relations, roots};
use std::io::Read;

/// What to do when rows are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ImportErrorPolicy")]
pub enum ImportErrorPolicy {
    /// One wrong row refuses the whole import.
    RejectEverything,
    /// Wrong rows are left out, the others are imported.
    RejectFailedRows,
}

/// What to do when a reference already exists in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ImportDuplicatePolicy")]
pub enum ImportDuplicatePolicy {
    /// The row is wrong.
    Reject,
    /// The row is left out without being wrong.
    Skip,
    /// The facts of the existing project are replaced; its narrative is kept.
    Update,
}

/// Kinds of files that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ImportFormat")]
pub enum ImportFormat {
    /// Find out from the content.
    Auto,
    /// Comma-, semicolon-, tab- or otherwise separated text.
    Csv,
}

/// Order of day, month and year in dates such as 04/05/2025.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::DateOrder")]
pub enum DateOrder {
    /// Day first, as in the United Kingdom.
    Dmy,
    /// Month first.
    Mdy,
    /// Year first.
    Ymd,
}

/// What an import can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Output)]
#[graphql(remote = "domain::ImportIssueCode")]
pub enum ImportIssueCode {
    /// The file is empty.
    FileEmpty,
    /// There is a header and nothing else.
    FileHasNoRows,
    /// There are more rows than allowed.
    TooManyRows,
    /// The content is not of a kind that can be read.
    UnsupportedFormat,
    /// Bytes do not fit the encoding.
    EncodingInvalid,
    /// The separator was guessed.
    DelimiterGuessed,
    /// A required column is missing.
    MissingColumn,
    /// A column is not known and was kept as extra or left out.
    UnknownColumn,
    /// Two columns have the same heading.
    DuplicateColumn,
    /// A heading was recognised as another name of a column.
    ColumnAliasUsed,
    /// A row has too few or too many cells.
    RowWrongCellCount,
    /// A quotation was opened and not closed.
    QuoteNotClosed,
    /// Blank rows were left out.
    EmptyRowSkipped,
    /// A required value is missing.
    RequiredValueMissing,
    /// A value is too long.
    ValueTooLong,
    /// A date cannot be read.
    DateInvalid,
    /// A date can be read in two ways.
    DateAmbiguous,
    /// The end is before the start.
    DateOrder,
    /// The project does not overlap the accounting period.
    DateOutsidePeriod,
    /// A date is improbable.
    DateImplausible,
    /// A number cannot be read.
    NumberInvalid,
    /// A number is below zero.
    NumberNegative,
    /// The total is not the sum of the categories.
    TotalMismatch,
    /// Indirect activities are more than the total.
    IndirectExceedsTotal,
    /// Two rows, or a row and the batch, have the same name.
    DuplicateName,
    /// Two rows, or a row and the batch, have the same reference.
    DuplicateReference,
    /// Text looks like a spreadsheet formula; stored as typed, made harmless in exports.
    FormulaLikeText,
    /// Control characters were removed.
    ControlCharacterRemoved,
    /// Characters that change the direction of text were removed.
    BidiControlRemoved,
    /// Text looks like an instruction to a model.
    InstructionLikeText,
    /// Text looks like HTML or a script.
    MarkupLikeText,
    /// Text looks like personal data.
    PersonalDataSuspected,
}

/// What was found out about a file.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct DetectedFile {
    /// Format.
    format: ImportFormat,
    /// Encoding, such as UTF-8.
    encoding: Option<String>,
    /// True if the encoding was guessed.
    encoding_guessed: bool,
    /// Separator.
    delimiter: Option<String>,
    /// Row of the header, counted from 1.
    header_row: Option<i32>,
    /// Size in bytes.
    bytes: i32,
}

impl From<domain::DetectedFile> for DetectedFile {
    fn from(file: domain::DetectedFile) -> Self {
        Self {
            format: file.format.into(),
            encoding: file.encoding,
            encoding_guessed: file.encoding_guessed,
            delimiter: file.delimiter,
            header_row: file.header_row,
            bytes: file.bytes,
        }
    }
}

/// How a column was matched.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct ColumnMatch {
    /// Heading in the file.
    heading: String,
    /// Fact or cost that it fills; null if it is not used.
    target: Option<String>,
    /// True if the heading is not the canonical one.
    via_alias: bool,
}

/// A row as it was understood.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct ImportPreviewRow {
    /// Row, counted from 1 without the header.
    row: i32,
    /// True if it would be imported.
    accepted: bool,
    /// Name.
    name: Option<String>,
    /// Reference.
    external_ref: Option<String>,
    /// Facts.
    facts: ProjectFacts,
    /// Costs.
    costs: ProjectCosts,
}

impl From<domain::ReadRow> for ImportPreviewRow {
    fn from(row: domain::ReadRow) -> Self {
        Self {
            row: row.row,
            accepted: row.accepted,
            name: Some(row.draft.name).filter(|name| !name.is_empty()),
            external_ref: row.draft.external_ref,
            facts: row.draft.facts.into(),
            costs: row.draft.costs.into(),
        }
    }
}

/// Something that an import found.
#[derive(Debug, Clone, SimpleObject, Output)]
pub struct ImportIssue {
    /// What was found.
    code: ImportIssueCode,
    /// ERROR refuses the row (or the file, if `row` is null).
    severity: IssueSeverity,
    /// Row, counted from 1 without the header; null for the whole file.
    row: Option<i32>,
    /// Row as a spreadsheet shows it.
    sheet_row: Option<i32>,
    /// Column, by its canonical name.
    column: Option<String>,
    /// A sentence for people.
    message: String,
    /// The value, shortened.
    value: Option<String>,
}

impl From<domain::ImportIssue> for ImportIssue {
    fn from(issue: domain::ImportIssue) -> Self {
        Self {
            code: issue.code.into(),
            severity: issue.severity.into(),
            row: issue.row,
            sheet_row: issue.sheet_row,
            column: issue.column,
            message: issue.message,
            value: issue.value,
        }
    }
}

connection! {
    /// Connection of import issues.
    ImportIssueConnection,
    /// Edge to an import issue.
    ImportIssueEdge, "The issue.", ImportIssue, domain::ImportIssue
}

connection! {
    /// Connection of imports.
    ImportJobConnection,
    /// Edge to an import.
    ImportJobEdge, "The import.", ImportJob, domain::ImportJob
}

/// An import of projects. With `dryRun` nothing is stored but the answer is the same.
#[derive(Debug, Clone, SimpleObject, Output)]
#[graphql(complex)]
pub struct ImportJob {
    /// Opaque global id.
    pub(super) id: ObjectId,
    /// Where the import stands.
    pub(super) status: JobStatus,
    /// Share of the rows that were read, 0 to 1.
    pub(super) progress: f64,
    /// True if nothing is stored.
    dry_run: bool,
    /// Name of the file.
    file_name: Option<String>,
    /// What was found out about the file.
    detected: Option<DetectedFile>,
    /// How columns were matched.
    columns: Vec<ColumnMatch>,
    /// Rows, blank ones not counted.
    row_count: i32,
    /// Rows that were imported, or would be.
    accepted_count: i32,
    /// Rows that were refused.
    rejected_count: i32,
    /// When it was accepted.
    pub(super) created_at: DateTime,
    /// When a worker first took it.
    pub(super) started_at: Option<DateTime>,
    /// When it reached a final status.
    pub(super) finished_at: Option<DateTime>,
    /// Why it failed.
    pub(super) failure: Option<JobFailure>,
    #[graphql(skip)]
    row: domain::ImportJob,
}

impl From<domain::ImportJob> for ImportJob {
    fn from(row: domain::ImportJob) -> Self {
        let column = |c: domain::ColumnMatch| ColumnMatch { heading: c.heading, target: c.target, via_alias: c.via_alias };
        Self {
            id: row.id.into(),
            status: row.status.into(),
            progress: row.progress(),
            dry_run: row.dry_run,
            file_name: row.file_name.clone(),
            detected: row.detected.clone().map(DetectedFile::from),
            columns: row.columns.iter().cloned().map(column).collect(),
            row_count: row.row_count,
            accepted_count: row.accepted_count,
            rejected_count: row.rejected_count,
            created_at: DateTime(row.created_at),
            started_at: moment(row.started_at),
            finished_at: moment(row.finished_at),
            failure: row.failure.clone().map(JobFailure::from),
            row,
        }
    }
}

impl ImportJob {
    /// Number of changes so far: the sequence of the progress stream.
    #[must_use]
    pub const fn sequence(&self) -> i64 {
        self.row.sequence
    }

    /// The id of the stream.
    #[must_use]
    pub const fn stream(&self) -> uuid::Uuid {
        self.row.id.0
    }
}

#[relations]
impl ImportJob {
    /// The batch.
    async fn batch(&self, ctx: &Context<'_>) -> Result<Batch> {
        Ok(load_required(ctx, self.row.batch).await?.into())
    }

    /// The first rows as they were understood.
    async fn preview(
        &self,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(5)")] first: Option<i32>,
    ) -> Result<Vec<ImportPreviewRow>> {
        let page = forward(first.or(Some(5)), None).check("preview")?;
        let most = usize::try_from(page.limit).unwrap_or(0);
        Ok(self.row.preview.iter().take(most).cloned().map(ImportPreviewRow::from).collect())
    }

    /// What was found, in file order.
    async fn issues(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Severities; all if absent.")] severity: Option<Vec<IssueSeverity>>,
        #[graphql(desc = "Codes; all if absent.")] code: Option<Vec<ImportIssueCode>>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(100)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<ImportIssueConnection> {
        let (services, actor) = caller(ctx)?;
        let filter = domain::IssueFilter {
            severity: severity.map(|all| all.into_iter().map(Into::into).collect()),
            code: code.map(|all| all.into_iter().map(Into::into).collect()),
        };
        let page = forward(first, after);
        let page = services.imports.list_issues(actor, self.row.id, &filter, &page).await?;
        Ok(ImportIssueConnection::new(page, Total::ImportIssues(self.row.id, filter)))
    }

    /// The refused rows with a column of reasons, as CSV; null if none. The address is valid for a short time.
    async fn rejected_rows_url(&self, ctx: &Context<'_>) -> Option<Result<String>> {
        let link = async {
            let (services, _) = caller(ctx)?;
            services.imports.rejected_rows_url(&self.row).await
        };
        link.await.map_err(Into::into).transpose()
    }

    /// Projects that were created.
    async fn projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most this many, from the start; 1 to 100.", default_with = "Some(50)")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<ProjectConnection> {
        let (services, actor) = caller(ctx)?;
        let filter = ProjectFilter { batch: Some(self.row.batch), import: Some(self.row.id), ..ProjectFilter::default() };
        let page = services.projects.list(actor, &filter, &[], &forward(first, after), ProjectParts::all()).await?;
        Ok(ProjectConnection::new(page, Total::Projects(Box::new(filter))))
    }

    /// Who started it.
    pub(super) async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        user(ctx, self.row.created_by).await.transpose()
    }
}

/// Where projects come from: exactly one of these.
#[derive(OneofObject)]
pub enum ImportSource {
    /// A file that was sent to the address of `createUpload`.
    UploadId(ID),
    /// A small file in the request.
    File(Upload),
    /// Rows.
    Rows(Vec<ProjectRowInput>),
    /// CSV text, as pasted from a spreadsheet.
    Text(String),
}

/// How to read a file. What is absent is found out.
#[derive(Debug, InputObject)]
pub struct ImportOptions {
    /// Format.
    #[graphql(default_with = "Some(ImportFormat::Auto)")]
    format: Option<ImportFormat>,
    /// Encoding.
    encoding: Option<String>,
    /// Separator.
    delimiter: Option<String>,
    /// Row of the header, counted from 1.
    header_row: Option<i32>,
    /// Columns: heading in the file and fact or cost that it fills.
    columns: Option<Vec<ColumnMatchInput>>,
    /// Order in dates that can be read in two ways.
    #[graphql(default_with = "Some(DateOrder::Dmy)")]
    date_order: Option<DateOrder>,
}

impl From<ImportOptions> for domain::ReadOptions {
    fn from(options: ImportOptions) -> Self {
        // there is one format so far, so what was asked for changes nothing
        let _ = options.format;
        Self {
            delimiter: options.delimiter,
            header_row: options.header_row,
            columns: options.columns.unwrap_or_default().into_iter().map(|column| (column.heading, column.target)).collect(),
            date_order: options.date_order.map(Into::into).unwrap_or_default(),
            encoding: options.encoding,
        }
    }
}

/// A column.
#[derive(Debug, InputObject)]
pub struct ColumnMatchInput {
    /// Heading in the file.
    heading: String,
    /// Fact or cost; null to leave the column out.
    target: Option<String>,
}

/// An import.
#[derive(InputObject)]
pub struct ImportProjectsInput {
    /// The batch.
    batch_id: ID,
    /// The projects.
    source: ImportSource,
    /// How to read.
    options: Option<ImportOptions>,
    /// What to do with wrong rows.
    #[graphql(default_with = "ImportErrorPolicy::RejectFailedRows")]
    error_policy: ImportErrorPolicy,
    /// What to do with known references.
    #[graphql(default_with = "ImportDuplicatePolicy::Reject")]
    on_duplicate: ImportDuplicatePolicy,
    /// Only say what would happen.
    #[graphql(default = false)]
    dry_run: bool,
    /// Makes repeats harmless.
    idempotency_key: Option<String>,
}

/// Answer about an import.
#[derive(Debug, SimpleObject, Output)]
pub struct ImportPayload {
    /// The import.
    import: Option<ImportJob>,
    /// Problems.
    user_errors: Vec<UserError>,
}

/// What was sent, read into memory; it is small by the limits of the front.
async fn source(ctx: &Context<'_>, source: ImportSource) -> crate::error::Result<domain::ImportSource> {
    match source {
        ImportSource::UploadId(id) => Ok(domain::ImportSource::Upload(UploadId::from_global(&id))),
        ImportSource::Text(text) => Ok(domain::ImportSource::File { name: None, bytes: text.into_bytes() }),
        ImportSource::Rows(rows) => {
            let rows = rows.into_iter().enumerate().map(|(index, row)| row.into_draft(&format!("input.source.rows.{index}")));
            Ok(domain::ImportSource::Rows(rows.collect::<crate::error::Result<_>>()?))
        }
        ImportSource::File(upload) => {
            let file = upload.value(ctx).map_err(|_| {
                Error::refused(
                    ProblemCode::UnsupportedFile,
                    "input.source.file",
                    "The file did not arrive. Send it as a multipart request.",
                )
            })?;
            let name = Some(file.filename.clone()).filter(|name| !name.is_empty());
            let mut bytes = Vec::new();
            let read = tokio::task::spawn_blocking(move || {
                let mut content = file.content;
                content.read_to_end(&mut bytes).map(|_| bytes)
            });
            let bytes = read.await.map_err(Error::internal)?.map_err(Error::internal)?;
            Ok(domain::ImportSource::File { name, bytes })
        }
    }
}

/// Mutations of imports.
#[derive(Debug, Default)]
pub struct ImportsMutation;

#[roots]
#[Object]
impl ImportsMutation {
    /// Import projects from a file, rows or text.
    async fn import_projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to do.")] input: ImportProjectsInput,
    ) -> Result<ImportPayload> {
        let (services, actor) = caller(ctx)?;
        let created = match source(ctx, input.source).await {
            Ok(source) => {
                let new = domain::NewImport {
                    batch: BatchId::from_global(&input.batch_id),
                    source,
                    options: input.options.map(domain::ReadOptions::from).unwrap_or_default(),
                    error_policy: input.error_policy.into(),
                    on_duplicate: input.on_duplicate.into(),
                    dry_run: input.dry_run,
                };
                services.imports.create(actor, new, input.idempotency_key).await
            }
            Err(error) => Err(error),
        };
        let (import, user_errors) = settle(created)?;
        Ok(ImportPayload { import: import.map(ImportJob::from), user_errors })
    }
}
