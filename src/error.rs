//! How errors travel: `anyhow` carries the chain, [`Explained`] adds the hint, [`Failure`] the step and the exit code.
//!
//! A typed error exists only where code must decide; it implements [`Hinted`] to say what a person can do about it.

use std::fmt::{self, Write as _};

use crate::exit_code::ExitCode;
use crate::step::Step;
use crate::text::{Text, floor_boundary, masked, one_line};

/// A typed error that knows what a person can do about it.
pub trait Hinted: std::error::Error + Send + Sync + 'static {
    /// What to do next, if this error knows.
    fn hint(&self) -> Option<Text>;
}

/// A layer of an error chain that comes with a hint; it shows as its message.
#[derive(Debug)]
pub struct Explained {
    message: String,
    hint: Text,
}

impl Explained {
    /// A message and its hint.
    pub fn new(message: impl Into<String>, hint: Text) -> Self {
        Explained { message: message.into(), hint }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Adds what was being done, and what to do next, to an error.
pub trait Explain<T> {
    /// Adds a message and a hint on top of the chain.
    ///
    /// # Errors
    /// The error that was there, under the message.
    fn explain(self, message: impl Into<String>, hint: Text) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Explain<T> for Result<T, E> {
    fn explain(self, message: impl Into<String>, hint: Text) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(Explained { message: message.into(), hint }))
    }
}

/// An error of our own making, with its hint.
pub fn explained(message: impl Into<String>, hint: Text) -> anyhow::Error {
    anyhow::Error::msg(Explained { message: message.into(), hint })
}

/// Turns a typed error into a chain that says what was being done, and keeps its hint.
pub fn while_doing<E: Hinted>(message: impl Into<String>) -> impl FnOnce(E) -> anyhow::Error {
    move |error| match error.hint() {
        Some(hint) => anyhow::Error::new(error).context(Explained { message: message.into(), hint }),
        None => anyhow::Error::new(error).context(message.into()),
    }
}

/// The outermost hint of a chain.
pub fn hint_of(error: &anyhow::Error) -> Option<&Text> {
    error.downcast_ref::<Explained>().map(|explained| &explained.hint)
}

/// The most bytes of one layer of a chain that are shown, and of all layers together. What a server said has been cut where
/// it entered; this holds for whatever found another way in, for a chain ends in logs, mails and subjects.
const MOST_LAYER: usize = 2 << 10;
const MOST_CHAIN: usize = 16 << 10;

/// A layer of our own making with several lines, every problem of a config file: neither cut nor put on one line.
#[derive(Debug)]
pub struct Sheet(
    /// Its lines; what they quote has been escaped.
    pub String,
);

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Sheet {}

/// The chain as separate lines, outermost first, without repeating a layer that already holds the next one's text.
pub fn chain_of(error: &anyhow::Error) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut left = MOST_CHAIN;
    for layer in error.chain() {
        let whole = layer.to_string();
        let line = if layer.is::<Sheet>() { whole } else { shortened(&whole, MOST_LAYER.min(left)) };
        if lines.last().is_some_and(|last| last.contains(&line)) {
            continue;
        }
        left = left.saturating_sub(line.len());
        lines.push(line);
        if left == 0 {
            break;
        }
    }
    lines
}

/// A text that is shown beside a chain, within what one layer of it may have.
pub(crate) fn shortened_layer(text: &str) -> String {
    shortened(text, MOST_LAYER)
}

/// The text without secrets, on one line, control characters escaped, cut after `most` bytes.
fn shortened(text: &str, most: usize) -> String {
    let text = &masked(text);
    let near = &text[..floor_boundary(text, most)];
    let line = one_line(near);
    let end = floor_boundary(&line, most);
    if near.len() < text.len() || end < line.len() { format!("{}…", &line[..end]) } else { line }
}

/// A step that failed: which, why, and the code the process will end with.
#[derive(Debug)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// What the process ends with.
    pub code: ExitCode,
    /// What was being done to what, and why it failed.
    pub error: anyhow::Error,
    /// A few words for the subject of a mail, where the chain's last line would not do: `404 Not Found`.
    pub summary: Option<Text>,
}

impl Failure {
    /// A failure with the step's own exit code.
    pub fn new(step: Step, error: impl Into<anyhow::Error>) -> Self {
        Failure { step, code: ExitCode::of_step(step), error: error.into(), summary: None }
    }

    /// The same failure with a few words for the subject.
    pub fn summed_up(mut self, summary: impl Into<Text>) -> Self {
        self.summary = Some(summary.into());
        self
    }

    /// The same failure with another exit code.
    pub fn with_code(mut self, code: ExitCode) -> Self {
        self.code = code;
        self
    }
}

/// An error as a terminal shows it: what, why, hint.
pub fn render(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for (depth, line) in chain_of(error).iter().enumerate() {
        let label = if depth == 0 { "error" } else { "  caused by" };
        let _ = writeln!(out, "{label}: {line}");
    }
    if let Some(hint) = hint_of(error) {
        let _ = writeln!(out, "\nhint: {hint}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_found_under_further_context_and_is_no_line_of_the_chain() {
        let error: anyhow::Result<()> = Err(std::io::Error::other("disk on fire"))
            .explain("failed to write `x`", Text::new("buy another", "achetez-en un autre"));
        let error = error.map_err(|e| e.context("failed to pack")).unwrap_err();
        assert_eq!(chain_of(&error), ["failed to pack", "failed to write `x`", "disk on fire"]);
        assert_eq!(hint_of(&error).map(|h| h.fr.as_str()), Some("achetez-en un autre"));
        assert_eq!(
            render(&error),
            "error: failed to pack\n  caused by: failed to write `x`\n  caused by: disk on fire\n\nhint: buy another\n"
        );
    }

    #[test]
    fn a_chain_of_thirty_megabytes_is_cut_and_harmless() {
        let mut error = anyhow::anyhow!("é\u{1b}[2J\n✓ all good {}", "x".repeat(30 << 20));
        for _ in 0..20 {
            error = error.context(format!("550 {}", fastrand::u64(..)) + &"y".repeat(5000));
        }
        let lines = chain_of(&error);
        assert!(lines.iter().map(String::len).sum::<usize>() <= 17_000);
        assert!(lines.iter().all(|line| line.len() <= 2_100 && !line.contains(['\n', '\u{1b}'])));
        let shown = shortened("é\u{1b}[2J\n✓ all good", 100);
        assert_eq!(shown, "é\\u{1b}[2J ✓ all good");
    }

    #[test]
    fn an_error_of_our_own_keeps_its_hint() {
        let error = explained("no destination", Text::new("add one", "ajoutez-en une"));
        assert_eq!(hint_of(&error.context("outer")).map(|h| h.en.as_str()), Some("add one"));
    }
}
