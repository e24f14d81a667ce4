//! Results as a table in `docs/performance.md`, between marks, and as bars in `docs/performance.svg`. The marks carry what the
//! picture is made of, so that a part that is measured alone leaves those of the others.

use crate::Outcome;
use crate::load::Middle;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bar of the picture.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bar {
    /// What was measured.
    pub label: String,
    /// How often the floor it takes.
    pub value: f64,
    /// What it should take at most.
    pub goal: Option<f64>,
}

/// What one part of the benchmark found.
#[derive(Debug)]
pub struct Part {
    /// Its name, by which it is called.
    pub name: &'static str,
    /// What its bars show.
    pub title: &'static str,
    /// Ratios, as a table in Markdown.
    pub table: String,
    /// More, for whoever runs it: not quoted, because machines differ.
    pub plain: String,
    /// For the picture.
    pub bars: Vec<Bar>,
}

/// What stands in a mark.
#[derive(Serialize, Deserialize)]
struct Kept {
    title: String,
    bars: Vec<Bar>,
}

/// A median with the outermost values.
pub fn ratio(middle: Middle) -> String {
    format!("{:.2} ({:.2}–{:.2})", middle.median, middle.least, middle.most)
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default().trim().to_owned()
}

/// The machine and the commit, which every table names.
pub fn origin() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let commit = said_by("git", &["log", "-1", "--format=%h of %cs"]);
    let changed = if said_by("git", &["status", "--porcelain", "--untracked-files=no", "src", "crates", "Cargo.lock"]).is_empty() {
        ""
    } else {
        " with changes"
    };
    format!("commit {commit}{changed}; {cores} cores, {cpu}; load at the end {load}")
}

impl Part {
    /// Prints the part, and files it in the documents if they are to be written (`WRITE_DOCUMENTS`).
    pub fn publish(&self, say: impl Fn(String) -> std::io::Result<()>) -> Outcome<()> {
        say(format!("{}\n\n{}{}", self.title, self.table, self.plain))?;
        if std::env::var_os("WRITE_DOCUMENTS").is_none() {
            return Ok(());
        }
        let path = docs().join("performance.md");
        let text = std::fs::read_to_string(&path)?;
        let kept = serde_json::to_string(&Kept { title: self.title.to_owned(), bars: self.bars.iter().map(Bar::clone_of).collect() })?;
        let block = format!("<!-- bench {} {kept} -->\n{}\n\n{}<!-- end of {} -->", self.name, origin(), self.table, self.name);
        let (begin, end) = (format!("<!-- bench {} ", self.name), format!("<!-- end of {} -->", self.name));
        let (Some(from), Some(to)) = (text.find(&begin), text.find(&end)) else {
            return Err(format!("{} has no place for {}: {begin}… {end}", path.display(), self.name).into());
        };
        let text = format!("{}{block}{}", &text[..from], &text[to + end.len()..]);
        std::fs::write(docs().join("performance.svg"), picture(&text)?)?;
        std::fs::write(path, text)?;
        Ok(())
    }
}

impl Bar {
    fn clone_of(&self) -> Self {
        Self { label: self.label.clone(), value: self.value, goal: self.goal }
    }
}

const ROW: usize = 22;
const LEFT: usize = 330;
const WIDTH: usize = 760;

/// All bars of a document as SVG: one is the floor, the short line is the goal.
fn picture(document: &str) -> Outcome<String> {
    let mut parts = Vec::new();
    for mark in document.split("<!-- bench ").skip(1) {
        let Some((_, rest)) = mark.split_once(' ') else { continue };
        let kept: Kept = serde_json::from_str(rest.split(" -->").next().unwrap_or_default())?;
        if !kept.bars.is_empty() {
            parts.push(kept);
        }
    }
    let (mut body, mut y) = (String::new(), 10);
    for part in &parts {
        y += ROW;
        writeln!(body, "<text x=\"10\" y=\"{y}\" class=\"title\">{}</text>", escaped(&part.title))?;
        let most = part.bars.iter().flat_map(|bar| [bar.value, bar.goal.unwrap_or(0.0)]).fold(1.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let scale = (WIDTH - LEFT - 60) as f64 / most;
        let (top, bottom) = (y + 8, y + 8 + ROW * part.bars.len());
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let at = |value: f64| LEFT as f64 + value * scale;
        for bar in &part.bars {
            y += ROW;
            let is_over = bar.goal.is_some_and(|goal| bar.value > goal);
            let class = if is_over { "over" } else { "bar" };
            writeln!(body, "<text x=\"{}\" y=\"{y}\" class=\"label\">{}</text>", LEFT - 8, escaped(&bar.label))?;
            writeln!(body, "<rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"14\" class=\"{class}\"/>", y - 11, bar.value * scale)?;
            writeln!(body, "<text x=\"{:.1}\" y=\"{y}\">{:.2}</text>", at(bar.value) + 6.0, bar.value)?;
            if let Some(goal) = bar.goal {
                writeln!(body, "<path d=\"M{:.1} {}v18\" class=\"goal\"/>", at(goal), y - 13)?;
            }
        }
        writeln!(body, "<path d=\"M{:.1} {top}V{bottom}\" class=\"floor\"/>", at(1.0))?;
        y += 12;
    }
    let height = y + 16;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Costs beside hand-written code\">\n\
         <style>text{{font:13px sans-serif;fill:#333}}.title{{font-weight:bold}}.label{{text-anchor:end}}.bar{{fill:#3b7a57}}\
         .over{{fill:#c07a2c}}.goal{{stroke:#333;stroke-width:2}}.floor{{stroke:#888;stroke-dasharray:3 3}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
