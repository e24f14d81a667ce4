//! Writes a Word document of a batch's projects: title page, contents, and each project with its narrative. It must
//! not decide what is written. The same document gives the same bytes.

use crate::domain::exports::{ExportDocument, ExportProject, date_text, pounds_text};
use crate::domain::projects::{ProjectStatus, WorkStatus};
use crate::error::{Error, Result};
use docx_rs::{
    AlignmentType, BreakType, Docx, FieldCharType, Footer, Header, Hyperlink, HyperlinkType, InstrPAGEREF, InstrText, InstrToC,
    LineSpacing, NumPages, PageMargin, PageNum, Paragraph, Run, RunFonts, Shading, Style, StyleType, Tab, TabLeaderType, TabValueType,
    Table, TableCell, TableRow, WidthType,
};
use std::io::Cursor;

/// Said on every page while a project is not approved.
pub const DRAFT_MARK: &str = "DRAFT: not approved";
/// Width between the margins of an A4 page, in twentieths of a point.
const TEXT_WIDTH: usize = 9_026;
/// Width of the first column of a project's table.
const LABEL_WIDTH: usize = 2_600;
/// Projects from which on the contents list projects only, so that they stay readable.
const MANY_PROJECTS: usize = 40;

/// Writes the document.
///
/// # Errors
/// Fails only if memory cannot be written to.
pub fn write(document: &ExportDocument) -> Result<Vec<u8>> {
    let mut pen = Pen::default();
    let mut docx = styled(Docx::new()).header(header(&mut pen, document)).footer(footer(&mut pen));
    for paragraph in title_page(&mut pen, document) {
        docx = docx.add_paragraph(paragraph);
    }
    for paragraph in contents(&mut pen, document) {
        docx = docx.add_paragraph(paragraph);
    }
    for (index, project) in document.projects.iter().enumerate() {
        docx = add_project(&mut pen, docx, index, project);
    }
    let mut parts = docx.build();
    parts.doc_props.core = core_properties(document).into_bytes();
    let mut file = Cursor::new(Vec::new());
    parts.pack(&mut file).map_err(Error::internal)?;
    Ok(file.into_inner())
}

/// Makes paragraphs whose ids depend on their place only; the library's own ids depend on what its thread wrote before.
#[derive(Default)]
struct Pen {
    paragraphs: u32,
    bookmarks: usize,
}

impl Pen {
    fn paragraph(&mut self, style: &str) -> Paragraph {
        self.paragraphs += 1;
        // Far from the ids that the library gives while it writes, and below the format's limit of 0x80000000.
        Paragraph::new().id(format!("{:08X}", 0x1000_0000 + self.paragraphs)).style(style)
    }

    fn line(&mut self, style: &str, text: &str) -> Paragraph {
        self.paragraph(style).add_run(run(text))
    }

    /// A heading that contents can point to.
    fn heading(&mut self, style: &str, text: &str, key: &str) -> Paragraph {
        self.bookmarks += 1;
        let id = self.bookmarks;
        self.paragraph(style).add_bookmark_start(id, key).add_run(run(text)).add_bookmark_end(id)
    }
}

/// A run of text; its line feeds become line breaks.
fn run(text: &str) -> Run {
    let text = printable(text);
    let mut run = Run::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            run = run.add_break(BreakType::TextWrapping);
        }
        run = run.add_text(line);
    }
    run
}

/// Text without the characters that XML 1.0 does not allow, and without other control characters.
fn printable(text: &str) -> String {
    text.chars().filter(|c| (!c.is_control() || matches!(c, '\n' | '\t')) && !matches!(c, '\u{FFFE}' | '\u{FFFF}')).collect()
}

/// Adds the styles. The library writes a bare `Normal` of its own, and two styles of one id make a file that Word
/// repairs, so plain text has a style of another name.
fn styled(docx: Docx) -> Docx {
    let paragraph = |id: &str, name: &str| Style::new(id, StyleType::Paragraph).name(name).based_on("Normal");
    let space = |before, after| LineSpacing::new().before(before).after(after);
    let heading = |id: &str, name: &str, size, level| {
        paragraph(id, name)
            .next("BodyText")
            .size(size)
            .bold()
            .color("1F3A5F")
            .outline_lvl(level)
            .line_spacing(space(240, 120))
            .q_format(true)
    };
    let contents = |id: &str, name: &str, indent| paragraph(id, name).indent(Some(indent), None, None, None).line_spacing(space(0, 60));
    docx.default_fonts(RunFonts::new().ascii("Arial").hi_ansi("Arial").cs("Arial"))
        .default_size(21)
        .page_margin(PageMargin { top: 1440, left: 1440, bottom: 1440, right: 1440, header: 708, footer: 708, gutter: 0 })
        .add_style(paragraph("BodyText", "Body Text").line_spacing(space(0, 140).line(276)).q_format(true))
        .add_style(paragraph("Title", "Title").size(52).bold().color("1F3A5F").line_spacing(space(2_400, 240)))
        .add_style(paragraph("Subtitle", "Subtitle").size(28).color("44546A").line_spacing(space(0, 120)))
        .add_style(paragraph("ContentsHeading", "TOC Heading").size(32).bold().color("1F3A5F").line_spacing(space(0, 200)))
        .add_style(heading("Heading1", "heading 1", 32, 0))
        .add_style(heading("Heading2", "heading 2", 25, 1))
        .add_style(contents("TOC1", "toc 1", 0))
        .add_style(contents("TOC2", "toc 2", 300))
        .add_style(paragraph("Question", "AIF question").italic().color("595959").line_spacing(space(0, 120)))
        .add_style(paragraph("Cell", "Table cell").line_spacing(space(40, 40)))
        .add_style(paragraph("Header", "header").size(17).color("595959").line_spacing(space(0, 0)))
        .add_style(paragraph("Footer", "footer").size(17).color("595959").line_spacing(space(0, 0)))
}

fn header(pen: &mut Pen, document: &ExportDocument) -> Header {
    let mut header = Header::new().add_paragraph(pen.line("Header", &document.batch_name));
    if document.is_draft() {
        let mark = pen.paragraph("Header").add_run(run(DRAFT_MARK).bold().color("B00020"));
        header = header.add_paragraph(mark);
    }
    header
}

fn footer(pen: &mut Pen) -> Footer {
    let page = pen.line("Footer", "Page ").add_page_num(PageNum::new()).add_run(run(" of ")).add_num_pages(NumPages::new());
    Footer::new().add_paragraph(page.align(AlignmentType::Center))
}

fn title_page(pen: &mut Pen, document: &ExportDocument) -> Vec<Paragraph> {
    let mut lines = vec![pen.line("Title", &document.batch_name)];
    lines.push(pen.line("Subtitle", "R&D tax relief: project descriptions"));
    let mut facts: Vec<String> = Vec::new();
    facts.extend(document.company_name.as_ref().map(|company| format!("Company: {company}")));
    facts.extend(document.period.map(|(first, last)| format!("Accounting period: {} to {}", date_text(first), date_text(last))));
    facts.extend(document.scheme.as_ref().map(|scheme| format!("Relief: {scheme}")));
    let which = if document.approved_only { " (approved projects only)" } else { "" };
    facts.push(format!("Projects: {}{which}", document.projects.len()));
    facts.push(format!("Qualifying expenditure of these projects: {}", pounds_text(document.expenditure())));
    facts.push(format!("Made on {} at {}", date_text(document.generated_at.date_naive()), document.generated_at.format("%H:%M UTC")));
    lines.extend(facts.iter().map(|fact| pen.line("BodyText", fact)));
    if document.is_draft() {
        let open = document.projects.iter().filter(|project| project.status != ProjectStatus::Approved).count();
        let text = format!("{DRAFT_MARK}. {open} of {} projects have not been approved.", document.projects.len());
        lines.push(pen.paragraph("BodyText").add_run(run(&text).bold().color("B00020")));
    }
    if let Some(provenance) = &document.provenance {
        lines.push(pen.line("Question", provenance));
    }
    lines
}

/// The contents. Their text is complete as it stands; page numbers are filled by the word processor, which is asked to
/// update the field.
fn contents(pen: &mut Pen, document: &ExportDocument) -> Vec<Paragraph> {
    let deep = document.projects.len() <= MANY_PROJECTS;
    let mut entries: Vec<(&str, String, String)> = Vec::new();
    for (index, project) in document.projects.iter().enumerate() {
        entries.push(("TOC1", project_title(project), project_key(index)));
        if deep {
            let sections = project.sections.iter().enumerate();
            entries.extend(sections.map(|(number, section)| ("TOC2", section.title.clone(), section_key(index, number))));
        }
    }
    let mut lines = vec![pen.line("ContentsHeading", "Contents").page_break_before(true)];
    let last = entries.len().saturating_sub(1);
    for (number, (style, text, key)) in entries.into_iter().enumerate() {
        let tab = Tab::new().val(TabValueType::Right).leader(TabLeaderType::Dot).pos(TEXT_WIDTH);
        let mut line = pen.paragraph(style).add_tab(tab);
        if number == 0 {
            let field = InstrToC::new().heading_styles_range(1, if deep { 2 } else { 1 }).hyperlink();
            line = line.add_run(field_start(InstrText::TOC(field), true));
        }
        let page_number =
            field_start(InstrText::PAGEREF(InstrPAGEREF::new(&key).hyperlink()), false).add_field_char(FieldCharType::End, false);
        let target = Hyperlink::new(&key, HyperlinkType::Anchor).add_run(run(&text)).add_run(Run::new().add_tab()).add_run(page_number);
        line = line.add_hyperlink(target);
        if number == last {
            line = line.add_run(Run::new().add_field_char(FieldCharType::End, false));
        }
        lines.push(line);
    }
    lines
}

fn field_start(instruction: InstrText, dirty: bool) -> Run {
    Run::new().add_field_char(FieldCharType::Begin, dirty).add_instr_text(instruction).add_field_char(FieldCharType::Separate, false)
}

fn project_key(index: usize) -> String {
    format!("_Toc{:08}", index * 100)
}

fn section_key(project: usize, section: usize) -> String {
    format!("_Toc{:08}", project * 100 + section + 1)
}

fn project_title(project: &ExportProject) -> String {
    match &project.external_ref {
        Some(reference) => format!("{reference}: {}", project.name),
        None => project.name.clone(),
    }
}

fn add_project(pen: &mut Pen, docx: Docx, index: usize, project: &ExportProject) -> Docx {
    let title = pen.heading("Heading1", &project_title(project), &project_key(index)).page_break_before(true);
    // Word joins a table to what follows unless a paragraph stands between.
    let mut docx = docx.add_paragraph(title).add_table(facts_table(pen, project)).add_paragraph(pen.paragraph("BodyText"));
    for (number, section) in project.sections.iter().enumerate() {
        docx = docx.add_paragraph(pen.heading("Heading2", &section.title, &section_key(index, number)).keep_next(true));
        if let Some(question) = &section.aif_question {
            docx = docx.add_paragraph(pen.line("Question", question).keep_next(true));
        }
        let paragraphs = paragraphs(&section.text);
        if paragraphs.is_empty() {
            docx = docx.add_paragraph(pen.paragraph("BodyText").add_run(run("No text yet.").italic()));
        }
        for paragraph in paragraphs {
            docx = docx.add_paragraph(pen.line("BodyText", &paragraph));
        }
    }
    docx
}

/// The paragraphs of a text: what is divided by blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            open = false;
            continue;
        }
        match found.last_mut().filter(|_| open) {
            Some(paragraph) => {
                paragraph.push('\n');
                paragraph.push_str(line.trim_end());
            }
            None => found.push(line.trim_end().to_owned()),
        }
        open = true;
    }
    found
}

fn facts_table(pen: &mut Pen, project: &ExportProject) -> Table {
    let none = "not stated";
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| none.into());
    let field = match (&project.field_of_science, &project.sub_field) {
        (Some(field), Some(sub)) => format!("{field}; {sub}"),
        (field, sub) => text(if field.is_some() { field } else { sub }),
    };
    let ongoing = match project.work_status {
        Some(WorkStatus::Abandoned) => "abandoned",
        _ => "ongoing",
    };
    let start = project.start_date.map_or_else(|| none.into(), date_text);
    let end = project.end_date.map_or_else(|| ongoing.into(), date_text);
    let mut rows = vec![("Reference", text(&project.external_ref)), ("Dates", format!("{start} to {end}")), ("Field", field)];
    rows.extend(project.claim_ref.clone().map(|claim| ("Claim", claim)));
    rows.push(("Qualifying expenditure", expenditure_text(project)));
    let score = project.score.map_or_else(|| "not checked yet".into(), |score| format!("score {score} of 100"));
    rows.push(("Status", format!("{}; {score}", status_text(project.status))));
    let rows = rows.into_iter().map(|(label, value)| {
        let shade = Shading::new().color("auto").fill("EDF1F6");
        let label = pen.paragraph("Cell").add_run(run(label).bold());
        let value = pen.line("Cell", &value);
        TableRow::new(vec![
            TableCell::new().width(LABEL_WIDTH, WidthType::Dxa).shading(shade).add_paragraph(label),
            TableCell::new().width(TEXT_WIDTH - LABEL_WIDTH, WidthType::Dxa).add_paragraph(value),
        ])
    });
    Table::new(rows.collect()).set_grid(vec![LABEL_WIDTH, TEXT_WIDTH - LABEL_WIDTH]).width(TEXT_WIDTH, WidthType::Dxa)
}

/// The total, then the categories that are not zero.
fn expenditure_text(project: &ExportProject) -> String {
    let mut text = pounds_text(project.expenditure);
    let labels = [
        "staff",
        "externally provided workers",
        "contracted-out R&D",
        "consumables",
        "software",
        "cloud computing",
        "data licences",
        "clinical trial participants",
    ];
    let parts = project.costs.categories().into_iter().zip(labels).filter(|((_, pence), _)| pence.0 != 0);
    let parts: Vec<_> = parts.map(|((_, pence), label)| format!("{label} {}", pounds_text(pence))).collect();
    if !parts.is_empty() {
        text = format!("{text}\n{}", parts.join("; "));
    }
    if project.costs.qualifying_indirect_activities.0 != 0 {
        let indirect = pounds_text(project.costs.qualifying_indirect_activities);
        text = format!("{text}\nof which qualifying indirect activities {indirect}");
    }
    text
}

const fn status_text(status: ProjectStatus) -> &'static str {
    match status {
        ProjectStatus::Draft => "no narrative yet",
        ProjectStatus::Queued => "waiting for generation",
        ProjectStatus::Generating => "being written",
        ProjectStatus::NeedsReview => "to be reviewed",
        ProjectStatus::Approved => "approved",
        ProjectStatus::Failed => "generation failed",
    }
}

/// The document's properties; the library cannot set a title.
fn core_properties(document: &ExportDocument) -> String {
    let title = printable(&document.batch_name).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let at = document.generated_at.format("%Y-%m-%dT%H:%M:%SZ");
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#,
            r#"<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" "#,
            r#"xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" "#,
            r#"xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">"#,
            "<dc:title>{title}</dc:title><dc:creator>Claimwright</dc:creator>",
            "<cp:lastModifiedBy>Claimwright</cp:lastModifiedBy>",
            r#"<dcterms:created xsi:type="dcterms:W3CDTF">{at}</dcterms:created>"#,
            r#"<dcterms:modified xsi:type="dcterms:W3CDTF">{at}</dcterms:modified>"#,
            "</cp:coreProperties>"
        ),
        title = title,
        at = at
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exports::sample;
    use std::io::Read;

    fn part(bytes: &[u8], name: &str) -> String {
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut text = String::new();
        archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_same_document_gives_the_same_bytes() {
        let first = write(&sample()).unwrap();
        let other_thread = std::thread::spawn(|| write(&sample()).unwrap()).join().unwrap();
        assert_eq!(first, write(&sample()).unwrap());
        assert_eq!(first, other_thread);
    }

    #[test]
    fn headings_questions_and_paragraphs_are_there_and_control_characters_are_not() {
        let bytes = write(&sample()).unwrap();
        let body = part(&bytes, "word/document.xml");
        for text in [
            "A-1: Film",
            "What is the baseline?",
            "Second &amp; &lt;third&gt;",
            "No text yet.",
            "1 April 2025 to 31 March 2026",
            "£1,250.00",
            "Written from the facts",
            "TOC \\o",
            "PAGEREF _Toc00000100",
        ] {
            assert!(body.contains(text), "{text} is not in {body}");
        }
        assert!(!body.contains('\u{1}') && !body.contains("&amp;amp;"));
        assert_eq!(part(&bytes, "word/styles.xml").matches(r#"w:styleId="Normal""#).count(), 1);
        let core = part(&bytes, "docProps/core.xml");
        assert!(core.contains("<dc:title>Fen &amp; Co 2026</dc:title>") && core.contains("2026-05-28T"), "{core}");
    }

    #[test]
    fn every_page_is_marked_while_a_project_is_not_approved() {
        let mut document = sample();
        let header = part(&write(&document).unwrap(), "word/header1.xml");
        assert!(header.contains(DRAFT_MARK) && header.contains("Fen &amp; Co 2026"), "{header}");
        document.projects.truncate(1);
        let header = part(&write(&document).unwrap(), "word/header1.xml");
        assert!(!header.contains(DRAFT_MARK), "{header}");
        assert!(part(&write(&document).unwrap(), "word/footer1.xml").contains("PAGE"));
    }

    #[test]
    fn paragraphs_are_divided_at_blank_lines() {
        assert_eq!(paragraphs("a\nb\n\n \nc\r\n\r\nd\n"), ["a\nb", "c", "d"]);
        assert!(paragraphs(" \n\n").is_empty());
    }

    #[test]
    fn a_document_without_projects_is_still_a_document() {
        let mut document = sample();
        document.projects.clear();
        assert!(part(&write(&document).unwrap(), "word/document.xml").contains("Projects: 0"));
    }
}
