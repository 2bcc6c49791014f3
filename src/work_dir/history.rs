//! `history.jsonl`: one line per run, for people and scripts that look back.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::report::RunReport;

/// Appends a run's result, the same object as `--json` prints.
///
/// # Errors
/// When the file cannot be written.
pub fn append(path: &Path, report: &RunReport) -> io::Result<()> {
    let line = serde_json::to_vec(report)?;
    append_line(path, line)
}

pub(super) fn append_line(path: &Path, mut line: Vec<u8>) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(super::no_follow())
        .open(path)?;
    // One write call: a power cut leaves at most one torn line at the end. It must not swallow the next one.
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            line.insert(0, b'\n');
        }
    }
    line.push(b'\n');
    file.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_does_not_swallow_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        append_line(&path, b"{\"a\":1}".to_vec()).unwrap();
        std::fs::write(&path, "{\"a\":1}\n{\"b\":").unwrap();
        append_line(&path, b"{\"c\":3}".to_vec()).unwrap();
        append_line(&path, b"{\"d\":4}".to_vec()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"b\":\n{\"c\":3}\n{\"d\":4}\n");
    }
}
