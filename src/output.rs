//! The only place that prints: stdout for results, stderr for errors and progress.
//!
//! What a server or a file said is escaped here, on its way out, and secrets are masked. Under cron every printed line
//! becomes a mail, so nothing is printed when nobody watches and all is well.

#![expect(clippy::print_stderr, reason = "this is the place that prints")]

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::Verbosity;
use crate::logging::redacted;
use crate::progress::{Bar, Progress};
use crate::report::{StepOutcome, StepReport, terminal};
use crate::text::{harmless, visible};

/// Who is watching, and what they want to see.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Errors only.
    pub quiet: bool,
    /// stdout carries one JSON object and nothing else.
    pub json: bool,
    /// Somebody sits at a terminal: none of the three standard streams is one under cron.
    pub watched: bool,
    /// Progress bars can be drawn.
    bars: bool,
    /// Colours on stdout.
    pub color: bool,
    /// Colours on stderr.
    pub color_stderr: bool,
}

impl Output {
    /// Looks at the standard streams and at `NO_COLOR`.
    pub fn new(verbosity: Verbosity, json: bool) -> Self {
        let (stdin, stdout, stderr) =
            (io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal());
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Output {
            quiet: verbosity.quiet,
            json,
            watched: stdin || stdout || stderr,
            // Log lines and bars on one terminal would tear each other apart.
            bars: stderr && !verbosity.quiet && verbosity.verbose == 0,
            color: stdout && !plain,
            color_stderr: stderr && !plain,
        }
    }

    /// A line of the result.
    pub fn line(&self, line: &str) {
        // A closed pipe (`| head`) is no reason to fail or to panic.
        let _ = writeln!(io::stdout(), "{}", harmless(&redacted(line)));
    }

    /// A line with a mark before it, in the colour of that SGR code.
    pub fn marked(&self, mark: &str, colour: &str, line: &str) {
        let mark = if self.color { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
        let _ = writeln!(io::stdout(), "{mark} {}", harmless(&redacted(line)));
    }

    /// The result that a script asked for: it must not get lost without a word.
    ///
    /// # Errors
    /// When it cannot be written, to a full disk for example; a reader that went away is none.
    pub fn result(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout();
        let text = redacted(text);
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Text with colours of our own in it; what it quotes has been made harmless by whoever painted it.
    pub fn painted(&self, text: &str) {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(redacted(text).as_bytes()).and_then(|()| stdout.flush());
    }

    /// An error or a warning, of one line or several.
    pub fn error(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", visible(&redacted(text)));
    }

    /// Asks a question that only a person can answer; `None` if there is none.
    pub fn ask(&self, question: &str) -> Option<String> {
        if !io::stdin().is_terminal() {
            return None;
        }
        eprint!("{} ", harmless(&redacted(question)));
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }

    /// Progress for a run: bars, plain lines or nothing.
    pub fn progress(&self) -> Terminal {
        Terminal {
            bars: self.bars.then(MultiProgress::new),
            lines: self.watched && !self.quiet && !self.json,
            color: self.color_stderr,
            ended: Mutex::new(Vec::new()),
        }
    }
}

/// Progress on a terminal, on stderr.
pub struct Terminal {
    bars: Option<MultiProgress>,
    lines: bool,
    color: bool,
    ended: Mutex<Vec<crate::step::Step>>,
}

impl Terminal {
    fn print(&self, line: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Progress for Terminal {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Bar> {
        let Some(bars) = &self.bars else { return Box::new(crate::progress::Unwatched) };
        let bar = ProgressBar::no_length().with_message(what.to_owned());
        style(&bar, total);
        let bar = bars.add(bar);
        bar.enable_steady_tick(Duration::from_millis(200));
        Box::new(TerminalBar { bar, bars: bars.clone() })
    }

    fn ended(&self, step: &StepReport) {
        if !self.lines {
            return;
        }
        if let Ok(mut ended) = self.ended.lock() {
            // A step that ran twice has been shown already; so has one that was skipped first.
            if step.outcome == StepOutcome::Skipped && ended.contains(&step.step) {
                return;
            }
            ended.push(step.step);
        }
        self.print(&terminal::step_line(step, self.color));
    }
}

struct TerminalBar {
    bar: ProgressBar,
    bars: MultiProgress,
}

impl Bar for TerminalBar {
    fn set(&self, done: u64, total: Option<u64>) {
        if total.is_some() && self.bar.length() != total {
            style(&self.bar, total);
        }
        self.bar.set_position(done);
    }
}

impl Drop for TerminalBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

fn style(bar: &ProgressBar, total: Option<u64>) {
    let template = match total {
        Some(total) => {
            bar.set_length(total);
            "  {msg:<9} {bar:30} {percent:>3} %  {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  ETA {eta}"
        }
        None => "  {msg:<9} {spinner} {decimal_bytes}  {decimal_bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
