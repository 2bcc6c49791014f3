//! The packets of draft-ietf-secsh-filexfer-02 by hand, on a channel of their own, for what `ssh2` does not offer.

use std::io::{Read as _, Write as _};

use ssh2::Channel;

use super::errors::Wire;
use super::link::{Idle, Link};

pub(super) const INIT: u8 = 1;
pub(super) const VERSION: u8 = 2;
/// No answer that we ask for is longer.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// Opens a channel that speaks SFTP, with the extensions that the server named; `None` when the server speaks something else.
pub(super) fn open(link: &Link) -> Result<Option<(Channel, Vec<u8>)>, Wire> {
    let mut channel = link.run(|| link.session.channel_session())?;
    link.run(|| channel.subsystem("sftp"))?;
    send(link, &mut channel, &packet(INIT, &3_u32.to_be_bytes()))?;
    Ok(match receive(link, &mut channel)? {
        Some((VERSION, extensions)) => Some((channel, extensions)),
        _ => None,
    })
}

/// Bytes after their length.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// A packet: its length, its type, its body.
pub(super) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    string(&[&[kind], body].concat())
}

/// Sends all of it.
pub(super) fn send(link: &Link, channel: &mut Channel, packet: &[u8]) -> Result<(), Wire> {
    let mut sent = 0;
    while sent < packet.len() {
        sent += link.io(|| channel.write(&packet[sent..]))?;
    }
    Ok(())
}

/// A packet's type and body; `None` when the server has nothing more to say or says too much.
pub(super) fn receive(link: &Link, channel: &mut Channel) -> Result<Option<(u8, Vec<u8>)>, Wire> {
    // One wait for all of it: byte by byte, each would begin again, and so would what a signal leaves of it.
    let mut idle = link.idle();
    let mut length = [0; 4];
    if !fill(link, channel, &mut length, &mut idle)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MOST_BYTES {
        return Ok(None);
    }
    let mut body = vec![0; length];
    if !fill(link, channel, &mut body, &mut idle)? {
        return Ok(None);
    }
    Ok(Some((body.remove(0), body)))
}

fn fill(link: &Link, channel: &mut Channel, buffer: &mut [u8], idle: &mut Idle) -> Result<bool, Wire> {
    let mut filled = 0;
    while filled < buffer.len() {
        match link.try_io(|| channel.read(&mut buffer[filled..]))? {
            Some(0) => return Ok(false),
            Some(count) => filled += count,
            None => link.wait(idle)?,
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_framed_by_their_length() {
        assert_eq!(packet(INIT, &3_u32.to_be_bytes()), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
    }
}
