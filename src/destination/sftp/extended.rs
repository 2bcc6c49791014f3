//! The one question that `ssh2` cannot ask: free space of a directory, by `statvfs@openssh.com` (OpenSSH's PROTOCOL, 4.4).
//!
//! `ssh2` binds it for open files only, and an empty directory has none. So a second channel speaks the few packets of
//! draft-ietf-secsh-filexfer-02 that it takes.

use super::errors::Wire;
use super::link::Link;
use super::packets::{self, packet, receive, send, string};
use crate::destination::ErrorKind;

const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

/// Bytes that an unprivileged account may still write in `directory`, or `None` where the server does not tell.
pub(super) fn free_space(link: &Link, directory: &str) -> Result<Option<u64>, Wire> {
    match ask(link, directory) {
        Err(wire) if matches!(wire.kind(), ErrorKind::Unreachable | ErrorKind::Local) => Err(wire),
        Err(_) => Ok(None),
        told => told,
    }
}

fn ask(link: &Link, directory: &str) -> Result<Option<u64>, Wire> {
    let Some((mut channel, extensions)) = packets::open(link)? else { return Ok(None) };
    if !extensions.windows(19).any(|window| window == b"statvfs@openssh.com") {
        return Ok(None);
    }
    let mut body = 1_u32.to_be_bytes().to_vec();
    body.extend(string(b"statvfs@openssh.com"));
    body.extend(string(directory.as_bytes()));
    send(link, &mut channel, &packet(EXTENDED, &body))?;
    let told = match receive(link, &mut channel)? {
        Some((EXTENDED_REPLY, body)) => available(&body),
        _ => None,
    };
    link.run(|| channel.close())?;
    Ok(told)
}

/// After the request id: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail …, 64 bits each.
fn available(body: &[u8]) -> Option<u64> {
    let number = |index: usize| body.get(4 + 8 * index..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    Some(number(1)?.saturating_mul(number(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_fragments_times_available_blocks() {
        let mut body = vec![0, 0, 0, 1];
        for number in [4096_u64, 512, 0, 999, 20] {
            body.extend(number.to_be_bytes());
        }
        assert_eq!(available(&body), Some(10_240));
        assert_eq!(available(&body[..40]), None);
    }
}
