//! What a server says before anything is agreed on, read for people once agreeing has failed: its first line, and the algorithms that
//! it offers (RFC 4253, 4.2 and 7.1). Nothing is decided by it.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use ssh2::MethodType;

use super::link::Link;
use crate::config::settings::SshServer;
use crate::destination::dial::dial;
use crate::text;

/// More than any server says up to there.
const MOST_BYTES: usize = 32 * 1024;
/// How long it may take to say it.
const LIMIT: Duration = Duration::from_secs(3);
const KEXINIT: u8 = 20;

/// The lists of a KEXINIT that have to have something in common, by their place in it.
const LISTS: [(&str, MethodType, usize); 4] = [
    ("key exchange", MethodType::Kex, 0),
    ("host key", MethodType::HostKey, 1),
    ("cipher", MethodType::CryptCs, 2),
    ("MAC", MethodType::MacCs, 4),
];

/// What a server has said.
pub(super) struct Seen {
    /// Its first line, as it may be shown.
    pub(super) line: String,
    /// The name-lists of its KEXINIT.
    lists: Vec<String>,
}

/// Connects again, listens and leaves.
pub(super) fn look(ssh: &SshServer, timeout: Duration) -> Option<Seen> {
    let limit = timeout.min(LIMIT);
    let mut socket = dial(&ssh.host, ssh.port, limit).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(250))).ok()?;
    socket.set_write_timeout(Some(limit)).ok()?;
    socket.write_all(b"SSH-2.0-archive\r\n").ok()?;
    let (end, mut said, mut buffer) = (Instant::now() + limit, Vec::new(), [0; 4096]);
    let mut lists = None;
    while said.len() < MOST_BYTES && Instant::now() < end && lists.is_none() {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        lists = lists_in(&said);
    }
    let line = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = text::quote(String::from_utf8_lossy(line).trim_end(), text::MAX_LINE_CHARS);
    Some(Seen { line, lists: lists.unwrap_or_default() })
}

impl Seen {
    /// Which sorts of algorithm have nothing in common, and what the server offers instead.
    pub(super) fn nothing_in_common(&self, link: &Link) -> Option<String> {
        let missing = LISTS.iter().filter_map(|(what, method, at)| {
            let theirs = self.lists.get(*at)?;
            let ours = link.session.supported_algs(*method).ok()?;
            let common = theirs.split(',').any(|one| ours.contains(&one));
            // A cipher with authentication of its own needs no MAC.
            let needless = *what == "MAC" && self.lists.get(2).is_some_and(|ciphers| is_authenticated(ciphers, link));
            (!common && !needless)
                .then(|| format!("{what} (the server offers `{}`)", text::quote(theirs, text::MAX_NAME_CHARS)))
        });
        let missing: Vec<_> = missing.collect();
        (!missing.is_empty()).then(|| format!("no algorithm in common for: {}", missing.join(", ")))
    }
}

fn is_authenticated(ciphers: &str, link: &Link) -> bool {
    let ours = link.session.supported_algs(MethodType::CryptCs).unwrap_or_default();
    let first = ours.iter().find(|name| ciphers.split(',').any(|one| one == **name));
    first.is_some_and(|name| name.contains("gcm") || name.contains("poly1305"))
}

/// The name-lists of the first packet, once all of it has come.
fn lists_in(said: &[u8]) -> Option<Vec<String>> {
    let begin = if said.starts_with(b"SSH-") { 0 } else { said.windows(5).position(|at| at == b"\nSSH-")? + 1 };
    let packet = &said[begin..][said[begin..].iter().position(|byte| *byte == b'\n')? + 1..];
    let number = |at: usize| packet.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize);
    let packet_bytes = number(0)?;
    if packet_bytes > MOST_BYTES || packet.len() < 4 + packet_bytes || packet.get(5) != Some(&KEXINIT) {
        return None;
    }
    // Length, padding's length, type, cookie.
    let (mut at, mut lists) = (4 + 1 + 1 + 16, Vec::new());
    for _ in 0..6 {
        let bytes = number(at)?;
        lists.push(String::from_utf8_lossy(packet.get(at + 4..)?.get(..bytes)?).into_owned());
        at += 4 + bytes;
    }
    Some(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_found_behind_a_banner_and_only_whole() {
        let lists = ["kex-a,kex-b", "ssh-rsa", "aes128-cbc", "aes128-cbc", "hmac-md5", "hmac-md5"];
        let mut payload = vec![KEXINIT];
        payload.extend([7; 16]);
        for list in lists {
            payload.extend((list.len() as u32).to_be_bytes());
            payload.extend(list.as_bytes());
        }
        let mut said = b"hello\r\nSSH-2.0-old\r\n".to_vec();
        said.extend((payload.len() as u32 + 1).to_be_bytes());
        said.push(0);
        said.extend(&payload);
        assert_eq!(lists_in(&said).unwrap(), lists);
        assert!(lists_in(&said[..said.len() - 1]).is_none());
        assert!(lists_in(b"220 ready\r\n").is_none());
        assert!(lists_in(b"SSH-2.0-x\r\n\xff\xff\xff\xff\x00\x14").is_none());
    }
}
