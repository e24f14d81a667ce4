//! Reads a CSV file of projects: bytes and options in, checked rows and findings out. It must not decide what is done
//! with refused rows, nor know what is already stored.
//!
//! Nothing is lost without a word: what is skipped, removed or not understood becomes an [`ImportIssue`]. One file
//! issue of severity ERROR refuses the file, and then there are no rows.

use super::csv_headings::{Headings, LOOK_RECORDS, Slot, delimiter_byte, find_delimiter, is_header, match_headings, reader, sep_line};
use crate::domain::imports::{
    AmountStyle, Column, ColumnKind, ColumnMatch, DetectedFile, DraftRules, Finding, ImportFormat, ImportIssue, ImportIssueCode,
    MAX_IMPORT_ROWS, ReadOptions, ReadRow, Reading, SeenRows, check_draft, is_utf8_name, one_char, parse_amount, parse_date, parse_years,
    quoted, stated_total, work_status,
};
use crate::domain::money::Pence;
use crate::domain::projects::ProjectDraft;
use csv::StringRecord;

/// A file as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFile {
    /// What was found out about the file.
    pub detected: DetectedFile,
    /// How columns were matched, in the order of the file.
    pub columns: Vec<ColumnMatch>,
    /// The rows, blank ones left out; none if the file is refused.
    pub rows: Vec<ReadRow>,
    /// What was found about the file as a whole.
    pub file_issues: Vec<ImportIssue>,
}

impl ReadFile {
    /// True if the whole file is refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.file_issues.iter().any(ImportIssue::is_error)
    }

    /// All issues in file order: those of the file, then those of its rows.
    pub fn issues(&self) -> impl Iterator<Item = &ImportIssue> {
        self.file_issues.iter().chain(self.rows.iter().flat_map(|row| &row.issues))
    }

    /// The headings in the order of the file.
    #[must_use]
    pub fn headings(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.heading.as_str()).collect()
    }

    fn refuse(&mut self, issue: ImportIssue) {
        self.file_issues.push(issue);
        self.rows.clear();
    }
}

/// Reads a file. `rules` say which values a row must have, the accounting period and today's date.
#[must_use]
pub fn read(bytes: &[u8], options: &ReadOptions, rules: &DraftRules) -> ReadFile {
    let detected = DetectedFile {
        format: ImportFormat::Csv,
        encoding: None,
        encoding_guessed: false,
        delimiter: None,
        header_row: None,
        bytes: i32::try_from(bytes.len()).unwrap_or(i32::MAX),
    };
    let mut file = ReadFile { detected, columns: Vec::new(), rows: Vec::new(), file_issues: Vec::new() };
    match text_of(bytes, options) {
        Ok(text) => {
            file.detected.encoding = Some("UTF-8".into());
            read_text(text, options, rules, &mut file);
        }
        Err(issue) => file.refuse(issue),
    }
    file
}

/// The text of a file, without a byte order mark.
fn text_of<'a>(bytes: &'a [u8], options: &ReadOptions) -> Result<&'a str, ImportIssue> {
    use ImportIssueCode::{EncodingInvalid, FileEmpty, UnsupportedFormat};
    let refuse = |code, message: &str| Err(ImportIssue::of_file(code, message));
    match bytes {
        [b'P', b'K', 3 | 5, 4 | 6, ..] | [0xD0, 0xCF, 0x11, 0xE0, ..] => {
            return refuse(UnsupportedFormat, "This is a workbook, not a CSV file. Open it in a spreadsheet and save it as `CSV UTF-8`.");
        }
        [b'%', b'P', b'D', b'F', ..] => return refuse(UnsupportedFormat, "This is a PDF. Projects are imported from a CSV file."),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return refuse(EncodingInvalid, "The file is in UTF-16. Save it as `CSV UTF-8` and import it again.");
        }
        _ => {}
    }
    if options.encoding.as_deref().is_some_and(|name| !is_utf8_name(name)) {
        return refuse(EncodingInvalid, "Only UTF-8 can be read. Save the file as `CSV UTF-8` and leave the encoding out.");
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let start = &bytes[..bytes.len().min(1024)];
    let zeros = start.split(|byte| *byte == 0).count() - 1;
    if zeros * 4 > start.len() {
        return refuse(EncodingInvalid, "The file seems to be in UTF-16. Save it as `CSV UTF-8` and import it again.");
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            let message =
                format!("The file is not in UTF-8 (the first wrong byte is on line {line}). Save it as `CSV UTF-8` and import it again.");
            return Err(ImportIssue::of_file(EncodingInvalid, message));
        }
    };
    if text.trim().is_empty() {
        return refuse(FileEmpty, "The file is empty. Choose a file with a header row and a row per project.");
    }
    if text.trim_start().starts_with('{') {
        return refuse(UnsupportedFormat, "This looks like JSON. Projects are imported from a CSV file.");
    }
    Ok(text)
}

fn read_text(text: &str, options: &ReadOptions, rules: &DraftRules, file: &mut ReadFile) {
    let stated = sep_line(text);
    // Spreadsheets do not show a `sep=` line, so it does not count.
    let body = stated.map_or(text, |(_, length)| &text[length..]);
    let chosen = options.delimiter.as_deref().and_then(one_char).and_then(delimiter_byte).or(stated.map(|(byte, _)| byte));
    let delimiter = chosen.unwrap_or_else(|| {
        let found = find_delimiter(body);
        if found.ambiguous {
            let name = delimiter_name(found.byte);
            let message = format!("The separator was taken to be a {name}. If columns look wrong, name it in the option `delimiter`.");
            file.file_issues.push(ImportIssue::of_file(ImportIssueCode::DelimiterGuessed, message));
        }
        found.byte
    });
    file.detected.delimiter = Some(char::from(delimiter).to_string());
    let mut records = Records { bytes: body.as_bytes(), reader: reader(body.as_bytes(), delimiter), delimiter, sheet_row: 0 };
    let header = match find_header(&mut records, options.header_row) {
        Ok(Some(header)) => header,
        Ok(None) => return file.refuse(no_header(options)),
        Err(issue) => return file.refuse(issue),
    };
    file.detected.header_row = Some(records.sheet_row);
    let Headings { columns, slots, issues } = match_headings(&header, options);
    file.columns = columns;
    file.file_issues.extend(issues);
    if file.is_refused() {
        return;
    }
    let amounts = if delimiter == b';' { AmountStyle::PointOrComma } else { AmountStyle::Point };
    let mut rows = Rows { slots, options, rules, amounts, seen: SeenRows::default(), order_confirmed: false, order_used: false };
    if let Err(issue) = read_rows(&mut records, &mut rows, file) {
        return file.refuse(issue);
    }
    if file.rows.is_empty() {
        return file.refuse(ImportIssue::of_file(
            ImportIssueCode::FileHasNoRows,
            "There is a header and nothing below it. Add a row for each project.",
        ));
    }
    if rows.order_used && rows.order_confirmed {
        // Another date of the file can be read in this order only, so nothing is left to ask.
        for row in &mut file.rows {
            row.issues.retain(|issue| issue.code != ImportIssueCode::DateAmbiguous);
        }
    }
}

const fn delimiter_name(byte: u8) -> &'static str {
    match byte {
        b';' => "semicolon",
        b'\t' => "tab",
        b'|' => "vertical bar",
        _ => "comma",
    }
}

fn no_header(options: &ReadOptions) -> ImportIssue {
    match options.header_row {
        Some(row) => ImportIssue::of_file(ImportIssueCode::FileHasNoRows, format!("The file has no header on line {row}.")),
        None => ImportIssue::of_file(ImportIssueCode::FileEmpty, "The file holds blank rows only."),
    }
}

/// The records of a file with the lines that a spreadsheet shows them on.
struct Records<'a> {
    bytes: &'a [u8],
    reader: csv::Reader<&'a [u8]>,
    delimiter: u8,
    /// Line of the current record, from 1.
    sheet_row: i32,
}

impl Records<'_> {
    /// Reads the next record and the number of empty lines before it; `None` at the end.
    fn next(&mut self, record: &mut StringRecord) -> Result<Option<i32>, ImportIssue> {
        let before = self.position();
        let more = self.reader.read_record(record).map_err(|error| {
            ImportIssue::of_file(ImportIssueCode::UnsupportedFormat, format!("The file cannot be read as CSV: {error}."))
        })?;
        if !more {
            return Ok(None);
        }
        // The reader passes over empty lines without a word, but a spreadsheet counts them.
        let (start, blank) = skip_empty_lines(self.bytes, before);
        self.sheet_row += blank + 1;
        if self.position() == self.bytes.len() && quote_is_open(&self.bytes[start..], self.delimiter) {
            let message = "A quotation mark is opened here and never closed, so all that follows became one cell. Close it, or double the marks inside of quoted text.";
            return Err(ImportIssue::of_file(ImportIssueCode::QuoteNotClosed, message).at_sheet_row(self.sheet_row));
        }
        Ok(Some(blank))
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.position().byte()).unwrap_or(usize::MAX).min(self.bytes.len())
    }
}

/// The end of a line end: `at`, or the place behind it if it stands between the two characters of a line end.
fn line_end(bytes: &[u8], at: usize) -> usize {
    let between = at > 0 && bytes.get(at - 1) == Some(&b'\r') && bytes.get(at) == Some(&b'\n');
    at + usize::from(between)
}

/// Where the next line with text begins, and how many empty lines stand before it. `from` may stand between the two
/// characters of a line end.
fn skip_empty_lines(bytes: &[u8], from: usize) -> (usize, i32) {
    let mut at = line_end(bytes, from);
    let mut lines = 0;
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => at += 2,
            (Some(b'\r' | b'\n'), _) => at += 1,
            _ => return (at, lines),
        }
        lines += 1;
    }
}

/// True if a record ends inside of a quoted cell; a quotation begins at the start of a cell only.
fn quote_is_open(record: &[u8], delimiter: u8) -> bool {
    let mut cell_starts = true;
    let mut open = false;
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if open {
            // A doubled mark is a mark in the text.
            if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                open = false;
            }
        } else {
            open = cell_starts && byte == b'"';
            cell_starts = byte == delimiter;
        }
    }
    open
}

fn is_blank(record: &StringRecord) -> bool {
    record.iter().all(|cell| cell.trim().is_empty())
}

/// The header: on the line that was asked for, else the first of the first lines on which enough headings are known,
/// else the first line that is not blank. Afterwards `records` stands behind it.
fn find_header(records: &mut Records<'_>, wanted: Option<i32>) -> Result<Option<StringRecord>, ImportIssue> {
    let mut record = StringRecord::new();
    let mut first: Option<(StringRecord, usize, i32)> = None;
    let mut looked_at = 0;
    while looked_at < LOOK_RECORDS || wanted.is_some() {
        if records.next(&mut record)?.is_none() {
            break;
        }
        if wanted.map_or_else(|| is_header(&record), |wanted| wanted == records.sheet_row) {
            return Ok(Some(record));
        }
        if wanted.is_some_and(|wanted| wanted < records.sheet_row) {
            return Ok(None);
        }
        if first.is_none() && !is_blank(&record) {
            first = Some((record.clone(), records.position(), records.sheet_row));
        }
        looked_at += 1;
    }
    let Some((header, position, sheet_row)) = first.filter(|_| wanted.is_none()) else { return Ok(None) };
    // Go back: what was looked at after this line is data.
    records.bytes = &records.bytes[line_end(records.bytes, position)..];
    records.reader = reader(records.bytes, records.delimiter);
    records.sheet_row = sheet_row;
    Ok(Some(header))
}

fn read_rows(records: &mut Records<'_>, rows: &mut Rows<'_>, file: &mut ReadFile) -> Result<(), ImportIssue> {
    let mut record = StringRecord::new();
    let (mut skipped, mut first_skipped) = (0, 0);
    while let Some(empty_lines) = records.next(&mut record)? {
        let blank = is_blank(&record);
        if empty_lines > 0 || blank {
            if skipped == 0 {
                first_skipped = records.sheet_row - empty_lines;
            }
            skipped += empty_lines + i32::from(blank);
        }
        if blank {
            continue;
        }
        if file.rows.len() == MAX_IMPORT_ROWS {
            let message = format!("The file has more than {MAX_IMPORT_ROWS} rows. Divide it into several files.");
            return Err(ImportIssue::of_file(ImportIssueCode::TooManyRows, message));
        }
        let row = i32::try_from(file.rows.len() + 1).unwrap_or(i32::MAX);
        file.rows.push(rows.read(row, records.sheet_row, &record));
    }
    if skipped > 0 {
        let message = match skipped {
            1 => format!("A blank row was left out: line {first_skipped}."),
            _ => format!("{skipped} blank rows were left out; the first is line {first_skipped}."),
        };
        file.file_issues.push(ImportIssue::of_file(ImportIssueCode::EmptyRowSkipped, message).at_sheet_row(first_skipped));
    }
    Ok(())
}

/// What is needed to read a row.
struct Rows<'a> {
    slots: Vec<Slot>,
    options: &'a ReadOptions,
    rules: &'a DraftRules,
    amounts: AmountStyle,
    seen: SeenRows,
    /// A date was found that fits the given order only.
    order_confirmed: bool,
    /// A date was found for which the given order decided.
    order_used: bool,
}

impl Rows<'_> {
    fn read(&mut self, number: i32, sheet_row: i32, record: &StringRecord) -> ReadRow {
        let cells = record.iter().map(str::to_owned).collect();
        let mut row =
            ReadRow { row: number, sheet_row: Some(sheet_row), draft: ProjectDraft::default(), issues: Vec::new(), accepted: true, cells };
        // Some programs write delimiters up to the edge of the sheet; blank cells beyond the header say nothing.
        let beyond = record.iter().skip(self.slots.len()).any(|cell| !cell.trim().is_empty());
        if record.len() < self.slots.len() || beyond {
            let message = format!(
                "The row has {} cells, the header has {}. Look for a missing quotation mark or a line feed in a cell.",
                record.len(),
                self.slots.len()
            );
            let issue = ImportIssue::of_file(ImportIssueCode::RowWrongCellCount, message).at_sheet_row(sheet_row);
            row.issues.push(ImportIssue { row: Some(number), ..issue });
            row.accepted = false;
            // Cells may stand in the wrong columns, so nothing that is said of them could be trusted.
            return row;
        }
        let mut findings = Vec::new();
        let mut stated = None;
        let slots = std::mem::take(&mut self.slots);
        for (slot, cell) in slots.iter().zip(record) {
            let cell = without_text_mark(cell.trim());
            match slot {
                _ if cell.is_empty() => {}
                Slot::Known(column) => self.put(column, cell, &mut row.draft, &mut stated, &mut findings),
                Slot::Extra(name) => {
                    row.draft.facts.extra.insert(name.clone(), cell.to_owned());
                }
                Slot::Out => {}
            }
        }
        self.slots = slots;
        let read = findings.len();
        for finding in check_draft(&mut row.draft, self.rules) {
            // A value that could not be read is not also missing.
            let missing = finding.code == ImportIssueCode::RequiredValueMissing;
            if !(missing && findings[..read].iter().any(|unread| unread.column == finding.column)) {
                findings.push(finding);
            }
        }
        let amounts_read = findings.iter().all(|finding| finding.code != ImportIssueCode::NumberInvalid);
        findings.extend(stated.filter(|_| amounts_read).and_then(|stated| stated_total(&row.draft.costs, stated)));
        findings.extend(self.seen.check(number, &row.draft));
        for finding in findings {
            row.add(finding);
        }
        row
    }

    /// Puts a cell where its column says.
    fn put(&mut self, column: &Column, cell: &str, draft: &mut ProjectDraft, stated: &mut Option<Pence>, findings: &mut Vec<Finding>) {
        let mut unread = |code, message: String| findings.push(Finding::new(code, column.name, message).quoting(cell));
        match column.kind {
            ColumnKind::Reference => draft.external_ref = Some(cell.to_owned()),
            ColumnKind::Name => cell.clone_into(&mut draft.name),
            ColumnKind::Text | ColumnKind::Extra => column.set_text(&mut draft.facts, cell.to_owned()),
            ColumnKind::Date => match parse_date(cell, self.options.date_order) {
                Ok(read) => {
                    self.order_confirmed |= read.reading == Reading::Confirming;
                    if read.reading == Reading::Ambiguous {
                        self.order_used = true;
                        let (order, date) = (self.options.date_order, read.date);
                        let message = format!("`{}` was read as {date}, in the order {order}. Check it, or write {date}.", quoted(cell));
                        unread(ImportIssueCode::DateAmbiguous, message);
                    }
                    column.set_date(&mut draft.facts, read.date);
                }
                Err(message) => unread(ImportIssueCode::DateInvalid, message),
            },
            ColumnKind::Status => match work_status(cell) {
                Ok(status) => draft.facts.work_status = Some(status),
                Err(message) => unread(ImportIssueCode::UnsupportedFormat, message),
            },
            ColumnKind::Years => match parse_years(cell) {
                Ok(years) => draft.facts.competent_professional_years = Some(years),
                Err(message) => unread(ImportIssueCode::NumberInvalid, message),
            },
            ColumnKind::Money => match parse_amount(cell, self.amounts) {
                Ok(amount) => column.set_amount(&mut draft.costs, amount),
                Err(message) => unread(ImportIssueCode::NumberInvalid, message),
            },
            ColumnKind::Total => match parse_amount(cell, self.amounts) {
                Ok(amount) => *stated = Some(amount),
                Err(message) => unread(ImportIssueCode::NumberInvalid, message),
            },
        }
    }
}

/// A cell without the apostrophe by which spreadsheets, and our own files of refused rows, mark text that looks like a
/// formula.
fn without_text_mark(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| text.starts_with(['=', '+', '-', '@'])).unwrap_or(cell)
}

#[cfg(test)]
#[path = "csv_reader_tests.rs"]
mod tests;
