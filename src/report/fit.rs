//! Keeps a mail within what every server takes: a report that is refused for its size is a failure that is never heard of.

use crate::text::{Language, floor_boundary};

/// The most bytes of the text of a mail.
const MOST_TEXT: usize = 96 << 10;
/// The most bytes of text and HTML together; beyond that, the text alone goes.
const MOST_BODY: usize = 256 << 10;
/// The most bytes of the short form.
const MOST_SHORT: usize = 8 << 10;
/// The most bytes of the attached log.
const MOST_LOG: usize = 1 << 20;

/// The text cut after `most` bytes, at a line where there is one, with a word about it.
fn cut(text: String, most: usize, language: Language) -> String {
    if text.len() <= most {
        return text;
    }
    let head = &text[..floor_boundary(&text, most)];
    let head = head.rfind('\n').map_or(head, |end| &head[..end]);
    let note = match language {
        Language::En => "[cut here: the rest is in the log]",
        Language::Fr => "[coupé ici : la suite est dans le journal]",
    };
    format!("{head}\n\n{note}\n")
}

/// Text and HTML as they may go.
pub(super) fn bodies(text: String, html: String, language: Language) -> (String, Option<String>) {
    let text = cut(text, MOST_TEXT, language);
    let html = Some(html).filter(|html| html.len() + text.len() <= MOST_BODY);
    (text, html)
}

/// The beginning of the text, for a server that takes no more.
pub(super) fn short(text: String, language: Language) -> String {
    cut(text, MOST_SHORT, language)
}

/// The log as it may be attached: its end, with the block that says what failed.
pub(super) fn log(log: &str) -> String {
    if log.len() <= MOST_LOG {
        return log.to_owned();
    }
    let tail = &log[floor_boundary(log, log.len() - MOST_LOG)..];
    let tail = tail.find('\n').map_or(tail, |end| &tail[end + 1..]);
    format!("... the beginning ({} bytes) is left out here, it is in the log file ...\n{tail}", log.len() - tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let long = "une ligne é\n".repeat(20_000);
        let (text, html) = bodies(long.clone(), "x".repeat(200_000), Language::Fr);
        assert!(text.len() <= MOST_TEXT + 100 && text.ends_with("dans le journal]\n"));
        assert!(html.is_none());
        assert!(short(long, Language::En).len() <= MOST_SHORT + 100);
        let (text, html) = bodies("a\n".to_owned(), "b".to_owned(), Language::En);
        assert_eq!((text.as_str(), html.as_deref()), ("a\n", Some("b")));
    }

    #[test]
    fn of_a_long_log_the_end_is_attached() {
        let lines = format!("first\n{}last: exit code 3\n", "a line of the log é\n".repeat(100_000));
        let attached = log(&lines);
        assert!(attached.len() <= MOST_LOG + 200);
        assert!(attached.starts_with("... the beginning (") && attached.ends_with("last: exit code 3\n"));
        assert_eq!(log("short\n"), "short\n");
    }
}
