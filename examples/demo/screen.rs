//! What the demo prints: headings, aligned rows, files and mails; coloured on a terminal unless `NO_COLOR` is set.

use std::io::{self, IsTerminal, Write};

/// Where lines are wrapped, columns.
const WIDTH: usize = 100;
/// Where the text of a row begins, columns.
const MARGIN: usize = 17;
/// Where the bar at a mail's left is, columns.
const BAR: usize = 4;

/// How a text looks, if it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

/// The screen. Errors are those of standard output: a reader that went away ends the demo.
pub struct Screen {
    color: bool,
}

impl Screen {
    /// Standard output.
    pub fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Screen { color: io::stdout().is_terminal() && !refused && !dumb }
    }

    fn dressed(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Plain => return text.to_owned(),
            _ if !self.color || text.is_empty() => return text.to_owned(),
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Green => "1;32",
            Look::Yellow => "1;33",
            Look::Red => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// One line as it is.
    pub fn line(&self, look: Look, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "{}", self.dressed(look, text))
    }

    /// A heading across the screen.
    pub fn heading(&self, when: &str, what: &str) -> io::Result<()> {
        let rule = "─".repeat(WIDTH.saturating_sub(when.chars().count() + what.chars().count() + 8).max(3));
        self.line(Look::Plain, "")?;
        self.line(Look::Bold, &format!("── {when} — {what} {rule}"))
    }

    /// A row: a label at the left, then the text.
    pub fn row(&self, label: &str, look: Look, text: &str) -> io::Result<()> {
        let mut label = label;
        for piece in wrapped(text, WIDTH - MARGIN) {
            let space = " ".repeat(MARGIN.saturating_sub(label.chars().count() + 2));
            writeln!(io::stdout(), "  {}{space}{}", self.dressed(Look::Dim, label), self.dressed(look, &piece))?;
            label = "";
        }
        Ok(())
    }

    /// A mail: its subject in its status' colour, then the body behind a bar.
    pub fn mail(&self, label: &str, look: Look, subject: &str, body: &str) -> io::Result<()> {
        self.row(label, look, subject)?;
        let bar = self.dressed(Look::Dim, "│");
        for line in body.lines().flat_map(|line| wrapped(line, WIDTH - BAR - 2)) {
            writeln!(io::stdout(), "{}{bar} {line}", " ".repeat(BAR))?;
        }
        Ok(())
    }
}

/// The line in pieces of at most so many columns, cut at spaces; what follows is indented a little more.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let indent = line.chars().take_while(|letter| *letter == ' ').count() + 2;
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for word in line.split_inclusive(' ') {
        let long = piece.chars().count() + word.trim_end().chars().count() > width;
        if long && !piece.trim().is_empty() {
            pieces.push(std::mem::replace(&mut piece, " ".repeat(indent)));
        }
        piece.push_str(word);
    }
    pieces.push(piece);
    pieces.into_iter().map(|piece| piece.trim_end().to_owned()).collect()
}
