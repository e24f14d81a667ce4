//! What people see: results on stdout, progress on stderr as bars in a terminal and else as plain lines, at most one in
//! a couple of seconds. It must never let through control characters, whoever wrote the text.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Shortest time between two plain lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(2);
const BAR: &str = "{prefix:>10} [{bar:32}] {pos}/{len} {msg}";

type Sink = Mutex<Box<dyn Write + Send>>;

/// Where a command prints.
pub struct Console {
    results: Sink,
    notes: Sink,
    bars: Option<MultiProgress>,
    spoken_at: Mutex<Option<Instant>>,
}

impl Console {
    /// Stdout and stderr, with bars if stderr is a terminal that can show them.
    #[must_use]
    pub fn detect() -> Self {
        let able = std::env::var_os("TERM").is_some_and(|term| term != "dumb") || cfg!(windows);
        let bars = (able && io::stderr().is_terminal()).then(MultiProgress::new);
        Self { bars, ..Self::to(io::stdout(), io::stderr()) }
    }

    /// Plain lines: results to one writer, progress and failures to the other.
    pub fn to(results: impl Write + Send + 'static, notes: impl Write + Send + 'static) -> Self {
        Self { results: Mutex::new(Box::new(results)), notes: Mutex::new(Box::new(notes)), bars: None, spoken_at: Mutex::new(None) }
    }

    /// Prints a line of the result.
    pub fn say(&self, line: &str) {
        self.print(&self.results, line);
    }

    /// Prints a line beside the result.
    pub fn note(&self, line: &str) {
        self.print(&self.notes, line);
    }

    /// Begins to show the progress of some work; `unit` is a plural such as `rows`.
    pub(super) fn progress(&self, label: &'static str, unit: &'static str) -> Progress<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
            bars.add(ProgressBar::new(0).with_style(style).with_prefix(label))
        });
        Progress { console: self, bar, label, unit, began: None, shown: String::new() }
    }

    fn print(&self, sink: &Sink, line: &str) {
        let write = || {
            let mut sink = locked(sink);
            // A closed pipe (`| head`) is no reason to leave the work undone.
            let _ = writeln!(sink, "{}", clean(line)).and_then(|()| sink.flush());
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn may_speak(&self, now: Instant) -> bool {
        let mut spoken_at = locked(&self.spoken_at);
        let may = spoken_at.is_none_or(|at| now.duration_since(at) >= LINE_EVERY);
        if may {
            *spoken_at = Some(now);
        }
        may
    }
}

/// Progress of one piece of work; the bar goes away when it is dropped.
pub(super) struct Progress<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    label: &'static str,
    unit: &'static str,
    began: Option<(Instant, u64)>,
    shown: String,
}

impl Progress<'_> {
    /// Shows that `done` of `total` are finished and `failed` of those went wrong.
    pub(super) fn update(&mut self, done: u64, total: u64, failed: u64) {
        self.update_at(Instant::now(), done, total, failed);
    }

    fn update_at(&mut self, now: Instant, done: u64, total: u64, failed: u64) {
        let (began, done_before) = *self.began.get_or_insert((now, done));
        let mut parts = vec![self.unit.to_owned()];
        parts.extend((failed > 0).then(|| format!("{failed} failed")));
        parts.extend(rate(done.saturating_sub(done_before), now.duration_since(began)));
        let detail = parts.join(", ");
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(clean(&detail));
            return;
        }
        let position = format!("{done} of {total}");
        if total > 0 && position != self.shown && self.console.may_speak(now) {
            self.console.note(&format!("{}: {position} {detail}", self.label));
            self.shown = position;
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Share of a total, rounded; shares outside 0 to 1 are clamped.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a number of rows")]
pub(super) fn share_of(share: f64, total: u64) -> u64 {
    (share.clamp(0.0, 1.0) * total as f64).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(done: u64, elapsed: Duration) -> Option<String> {
    if done == 0 || elapsed < Duration::from_secs(1) {
        return None;
    }
    let per_second = done as f64 / elapsed.as_secs_f64();
    Some(if per_second >= 1.0 { format!("{per_second:.1} a second") } else { format!("{:.1} a minute", per_second * 60.0) })
}

/// One line without control characters and without characters that turn the direction of text.
fn clean(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).filter(|c| !turns(*c)).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    /// A writer whose text can be read afterwards.
    #[derive(Clone, Default)]
    pub(in super::super) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(in super::super) fn text(&self) -> String {
            String::from_utf8(locked(&self.0).clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            locked(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn plain_lines_come_at_most_every_couple_of_seconds_and_only_when_something_changed() {
        let paper = Paper::default();
        let console = Console::to(io::sink(), paper.clone());
        let mut progress = console.progress("Drafting", "projects");
        let start = Instant::now();
        for (after, done) in [(0, 0), (500, 1), (1900, 2), (2000, 3), (5000, 3), (6000, 12)] {
            progress.update_at(start + Duration::from_millis(after), done, 12, u64::from(done == 12));
        }
        let expected = "Drafting: 0 of 12 projects\nDrafting: 3 of 12 projects, 1.5 a second\n\
                        Drafting: 12 of 12 projects, 1 failed, 2.0 a second\n";
        assert_eq!(paper.text(), expected);
    }

    #[test]
    fn nothing_that_a_server_says_can_steer_the_terminal() {
        let paper = Paper::default();
        Console::to(paper.clone(), io::sink()).say("red \u{1b}[31m\r\nname\u{202e}");
        assert_eq!(paper.text(), "red  [31m  name\n");
    }

    #[test]
    fn a_slow_rate_is_told_by_the_minute() {
        assert_eq!(rate(3, Duration::from_mins(1)).as_deref(), Some("3.0 a minute"));
        assert_eq!(rate(0, Duration::from_mins(1)), None);
    }

    #[test]
    fn a_share_outside_of_its_range_is_clamped() {
        assert_eq!(share_of(1.5, 10), 10);
        assert_eq!(share_of(f64::NAN, 10), 0);
    }
}
