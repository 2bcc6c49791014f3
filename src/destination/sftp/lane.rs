//! One of several connections that write parts of the same file: requests go out, acknowledgements come in, in any order.
//!
//! By hand, because libssh2 lets a file handle write at one place only: going to another one means waiting until everything is
//! acknowledged, a round trip in which the line is idle. A request of the protocol names its offset, so there is no need to.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::time::Instant;

use rustix::event::PollFlags;
use ssh2::{BlockDirections, Channel, ErrorCode};

use super::errors::{ERROR_SFTP_PROTOCOL, Wire};
use super::link::Link;
use super::packets::{self, MOST_BYTES, packet, receive, send, string};

const OPEN: u8 = 3;
const WRITE: u8 = 6;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
/// For writing; neither created nor emptied.
const OPEN_FLAGS: u32 = 2;
/// Data in one request: every server must take 32 KiB (draft-ietf-secsh-filexfer-02, 3), and with its head this fits into one
/// packet of libssh2's; whole pages.
pub(super) const REQUEST_BYTES: usize = 28 * 1024;

/// A file that is open for writing on one connection.
pub(super) struct OpenFile {
    pub(super) channel: Channel,
    pub(super) handle: Vec<u8>,
}

/// Opens a file that exists, on a channel of its own.
pub(super) fn open(link: &Link, path: &str) -> Result<OpenFile, Wire> {
    let Some((mut channel, _)) = packets::open(link)? else { return Err(nonsense()) };
    let request = [&1_u32.to_be_bytes()[..], &string(path.as_bytes()), &OPEN_FLAGS.to_be_bytes(), &[0; 4]].concat();
    send(link, &mut channel, &packet(OPEN, &request))?;
    match receive(link, &mut channel)? {
        Some((HANDLE, body)) if body.len() > 8 => Ok(OpenFile { channel, handle: body[4..].to_vec() }),
        Some((STATUS, body)) => Err(status_of(&body).err().unwrap_or_else(nonsense)),
        _ => Err(nonsense()),
    }
}

/// The connection that is there anyway, or one for this file only.
pub(super) enum Over<'a> {
    Borrowed(&'a Link),
    Own(Link),
}

/// One connection at work.
pub(super) struct Lane<'a> {
    // Before the link: what is dropped first may still speak to the server.
    file: OpenFile,
    over: Over<'a>,
    /// Requests of which the first `sent` bytes are the library's already.
    outgoing: Vec<u8>,
    sent: usize,
    /// What was not acknowledged, by request: offset and length. Requests are numbered in the order of their offsets.
    outstanding: BTreeMap<u32, (u64, usize)>,
    outstanding_bytes: usize,
    /// How many of these the server refused.
    refused: usize,
    incoming: Vec<u8>,
    next_id: u32,
    /// A packet is half sent: nothing else may be asked of the library on this connection.
    blocked: bool,
    moved_at: Instant,
}

impl<'a> Lane<'a> {
    pub(super) fn new(over: Over<'a>, file: OpenFile) -> Self {
        Lane {
            file,
            over,
            outgoing: Vec::new(),
            sent: 0,
            outstanding: BTreeMap::new(),
            outstanding_bytes: 0,
            refused: 0,
            incoming: Vec::new(),
            next_id: 1,
            blocked: false,
            moved_at: Instant::now(),
        }
    }

    pub(super) fn link(&self) -> &Link {
        match &self.over {
            Over::Borrowed(link) => link,
            Over::Own(link) => link,
        }
    }

    /// What to wait for. With a packet half sent, only for being able to send: reading must not go between its halves.
    pub(super) fn interest(&self) -> PollFlags {
        if self.blocked { PollFlags::OUT } else { PollFlags::IN }
    }

    /// Bytes that were given to it and not acknowledged.
    pub(super) fn outstanding_bytes(&self) -> usize {
        self.outstanding_bytes
    }

    /// Bytes that were given to it and have not left yet.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Whether there is any request without an answer, good or bad.
    pub(super) fn is_waiting(&self) -> bool {
        self.outstanding.len() > self.refused
    }

    /// Where the first byte belongs that was not acknowledged.
    pub(super) fn first_outstanding(&self) -> Option<u64> {
        self.outstanding.first_key_value().map(|(_, (offset, _))| *offset)
    }

    /// When something last moved, or it last had nothing to do.
    pub(super) fn moved_at(&self) -> Instant {
        self.moved_at
    }

    /// Queues bytes for a place in the file behind all earlier ones.
    pub(super) fn push(&mut self, offset: u64, bytes: &[u8]) {
        if self.outstanding.is_empty() {
            self.moved_at = Instant::now();
        }
        self.outgoing.drain(..self.sent);
        self.sent = 0;
        for (index, data) in bytes.chunks(REQUEST_BYTES).enumerate() {
            let offset = offset + (index * REQUEST_BYTES) as u64;
            append_write(&mut self.outgoing, self.next_id, &self.file.handle, offset, data);
            self.outstanding.insert(self.next_id, (offset, data.len()));
            self.outstanding_bytes += data.len();
            self.next_id += 1;
        }
    }

    /// Sends and receives as much as goes without waiting; tells whether anything did.
    pub(super) fn step(&mut self) -> Result<bool, Wire> {
        let mut moved = false;
        self.blocked = false;
        while self.sent < self.outgoing.len() {
            let (channel, rest) = (&mut self.file.channel, &self.outgoing[self.sent..]);
            let link = match &self.over {
                Over::Borrowed(link) => link,
                Over::Own(link) => link,
            };
            match link.try_io(|| channel.write(rest))? {
                Some(count) if count > 0 => {
                    self.sent += count;
                    moved = true;
                }
                _ => {
                    let directions = link.session.block_directions();
                    self.blocked = matches!(directions, BlockDirections::Outbound | BlockDirections::Both);
                    break;
                }
            }
        }
        if !self.blocked {
            moved |= self.receive()?;
        }
        if moved || self.outstanding.is_empty() {
            self.moved_at = Instant::now();
        }
        Ok(moved)
    }

    fn receive(&mut self) -> Result<bool, Wire> {
        let mut moved = false;
        let mut buffer = [0; 8 * 1024];
        loop {
            while let Some(body) = next_packet(&mut self.incoming)? {
                self.take_answer(&body)?;
            }
            let channel = &mut self.file.channel;
            let link = match &self.over {
                Over::Borrowed(link) => link,
                Over::Own(link) => link,
            };
            match link.try_io(|| channel.read(&mut buffer))? {
                None => return Ok(moved),
                Some(0) => {
                    link.hang_up();
                    return Err(Wire::Gone);
                }
                Some(count) => {
                    moved = true;
                    self.incoming.extend_from_slice(&buffer[..count]);
                }
            }
        }
    }

    fn take_answer(&mut self, body: &[u8]) -> Result<(), Wire> {
        let [STATUS, body @ ..] = body else { return Err(nonsense()) };
        let id = u32_at(body, 0).ok_or_else(nonsense)?;
        if let Err(refusal) = status_of(body) {
            self.refused += 1;
            return Err(refusal);
        }
        let (_, length) = self.outstanding.remove(&id).ok_or_else(nonsense)?;
        self.outstanding_bytes -= length;
        Ok(())
    }

    /// Ends it in good order, when everything was acknowledged.
    pub(super) fn close(mut self) -> Result<(), Wire> {
        let link = match &self.over {
            Over::Borrowed(link) => link,
            Over::Own(link) => {
                // One attempt: the server needs no farewell.
                let _ = link.session.disconnect(None, "done", None);
                link.hang_up();
                return Ok(());
            }
        };
        link.run(|| self.file.channel.close())
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        // Dropping a session must not wait for a server that is silent.
        if let Over::Own(link) = &self.over {
            link.hang_up();
        }
    }
}

fn append_write(outgoing: &mut Vec<u8>, id: u32, handle: &[u8], offset: u64, data: &[u8]) {
    let length = 1 + 4 + handle.len() + 8 + 4 + data.len();
    outgoing.extend((length as u32).to_be_bytes());
    outgoing.push(WRITE);
    outgoing.extend(id.to_be_bytes());
    // As it came: with its length before it.
    outgoing.extend(handle);
    outgoing.extend(offset.to_be_bytes());
    outgoing.extend((data.len() as u32).to_be_bytes());
    outgoing.extend(data);
}

/// Takes the first whole packet out of what came, without its length.
fn next_packet(incoming: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Wire> {
    let Some(length) = u32_at(incoming, 0) else { return Ok(None) };
    let length = length as usize;
    if length == 0 || length > MOST_BYTES {
        return Err(nonsense());
    }
    if incoming.len() < 4 + length {
        return Ok(None);
    }
    let body = incoming[4..4 + length].to_vec();
    incoming.drain(..4 + length);
    Ok(Some(body))
}

/// The status in the body of such an answer, after its id.
fn status_of(body: &[u8]) -> Result<(), Wire> {
    match u32_at(body, 4) {
        Some(0) => Ok(()),
        Some(code) => Err(ssh2::Error::from_errno(ErrorCode::SFTP(i32::try_from(code).unwrap_or(i32::MAX))).into()),
        None => Err(nonsense()),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn nonsense() -> Wire {
    ssh2::Error::new(ErrorCode::Session(ERROR_SFTP_PROTOCOL), "the server's answer is no SFTP").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_request_holds_handle_offset_and_data() {
        let mut out = Vec::new();
        append_write(&mut out, 7, &string(b"h"), 258, b"data");
        let expected =
            [&[0, 0, 0, 26, 6, 0, 0, 0, 7, 0, 0, 0, 1, b'h', 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 4][..], b"data"].concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn packets_are_taken_out_whole_however_they_arrive() {
        let answer = packet(STATUS, &[0, 0, 0, 9, 0, 0, 0, 0]);
        let mut incoming = Vec::new();
        for byte in &answer[..answer.len() - 1] {
            incoming.push(*byte);
            assert_eq!(next_packet(&mut incoming).unwrap(), None);
        }
        incoming.extend([answer[answer.len() - 1], 0, 0]);
        assert_eq!(next_packet(&mut incoming).unwrap().unwrap(), answer[4..]);
        assert_eq!(incoming, [0, 0]);
        assert!(next_packet(&mut vec![255; 4]).is_err());
    }

    #[test]
    fn a_status_is_an_error_unless_it_is_zero() {
        assert!(status_of(&[0, 0, 0, 1, 0, 0, 0, 0]).is_ok());
        assert_eq!(status_of(&[0, 0, 0, 1, 0, 0, 0, 4]).unwrap_err().sftp_status(), Some(4));
        assert!(status_of(&[0, 0, 0, 1]).is_err());
    }
}
