//! Commands on the server, where the account has a shell; where it has none, the answer is `None` and never a hang.
//!
//! An `internal-sftp` account runs its SFTP server whatever it is asked: it gets an end of file at once and leaves. One whose
//! forced command neither answers nor leaves costs [`PROBE_LIMIT`], once.

use std::io::Read as _;
use std::time::{Duration, Instant};

use ssh2::ExtendedData;

use super::errors::Wire;
use super::link::Link;
use crate::destination::ErrorKind;
use crate::digest::Digest;

/// How long a small command may take.
pub(super) const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// More than any answer of ours; what goes on after that is no answer.
const MOST_BYTES: usize = 8192;
/// The slowest disk that a checksum is waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 20_000_000;

/// How long hashing a file of that size may take.
pub(super) fn checksum_limit(bytes: u64) -> Duration {
    Duration::from_secs(60 + bytes / SLOWEST_BYTES_PER_SECOND)
}

/// Runs a command with nothing on its standard input; its standard output if it ended well within `limit`.
pub(super) fn run(link: &Link, command: &str, limit: Duration) -> Result<Option<String>, Wire> {
    let end = Instant::now() + limit;
    // Not being allowed a channel or a command is an answer; a broken connection is an error.
    let passed = |wire: Wire| match wire.kind() {
        ErrorKind::Unreachable | ErrorKind::Local => Err(wire),
        _ => Ok(None),
    };
    let mut channel = match link.run(|| link.session.channel_session()) {
        Ok(channel) => channel,
        Err(wire) => return passed(wire),
    };
    if let Err(wire) = link
        .run(|| channel.handle_extended_data(ExtendedData::Ignore))
        .and_then(|()| link.run(|| channel.exec(command)))
        .and_then(|()| link.run(|| channel.send_eof()))
    {
        return passed(wire);
    }
    let (mut output, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        match link.try_io(|| channel.read(&mut buffer))? {
            Some(0) => break,
            Some(count) => output.extend_from_slice(&buffer[..count]),
            None if !wait_until(link, end)? => return Ok(None),
            None => {}
        }
        if output.len() > MOST_BYTES {
            return Ok(None);
        }
    }
    link.run(|| channel.close())?;
    link.run(|| channel.wait_close())?;
    let ended_well = channel.exit_status().is_ok_and(|status| status == 0);
    Ok(String::from_utf8(output).ok().filter(|_| ended_well))
}

/// Waits for something to read; `false` once `end` has passed. Meanwhile the server is asked for signs of life, so that no
/// router forgets a connection that is silent because a large file is being read.
pub(super) fn wait_until(link: &Link, end: Instant) -> Result<bool, Wire> {
    loop {
        if let Err(stop) = link.interrupt().check() {
            link.hang_up();
            return Err(Wire::Interrupted(stop));
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        if link.wait_a_slice(Duration::from_millis(250))? {
            return Ok(true);
        }
        let _ = link.session.keepalive_send();
    }
}

/// An argument for a POSIX shell.
pub(super) fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// The digest from `sha256sum`'s answer, if it is about that name and nothing else was said.
pub(super) fn digest_of(answer: &str, name: &str) -> Option<Digest> {
    let line = answer.strip_suffix('\n')?;
    let (digest, rest) = line.split_at_checked(64)?;
    let told = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))?;
    if told != name {
        return None;
    }
    digest.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_leaves_nothing_to_the_shell() {
        assert_eq!(quoted("/srv/a b/$(x)`y`\"z\".tgz"), "'/srv/a b/$(x)`y`\"z\".tgz'");
        assert_eq!(quoted("l'été"), r"'l'\''été'");
    }

    #[test]
    fn only_a_whole_answer_about_the_right_file_counts() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(&format!("{digest}  /a/b\n"), "/a/b").map(|d| d.to_string()), Some(digest.to_owned()));
        assert!(digest_of(&format!("{digest} */a/b\n"), "/a/b").is_some());
        for wrong in [
            format!("{digest}  /a/c\n"),
            format!("Welcome!\n{digest}  /a/b\n"),
            format!("{digest}  /a/b\nmore\n"),
            format!("\\{digest}  /a/b\n"),
            format!("{}  /a/b\n", &digest[1..]),
            String::new(),
        ] {
            assert_eq!(digest_of(&wrong, "/a/b"), None, "{wrong}");
        }
    }

    #[test]
    fn large_files_get_more_time() {
        assert_eq!(checksum_limit(0), Duration::from_secs(60));
        assert_eq!(checksum_limit(100_000_000_000), Duration::from_secs(5060));
    }
}
