//! One of several channels that write parts of the same file: requests go out, acknowledgements come in, in any order.
//!
//! By hand, because libssh2 lets a file handle write at one place only: going to another one means waiting until everything is
//! acknowledged, a round trip in which the line is idle. A request of the protocol names its offset, so there is no need to.
//!
//! Several lanes may share a connection. Then one thing must hold: while a packet of one of them is half sent, nobody else
//! may send (libssh2 completes a packet only in the call that began it), and even reading may send. Asking for channels is one
//! conversation of the whole session: a lane may be handed the channel that another one has asked for, which is as good.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::rc::Rc;
use std::time::Instant;

use rustix::event::PollFlags;
use ssh2::{BlockDirections, Channel, ErrorCode, ExtendedData};

use super::errors::{ERROR_SFTP_PROTOCOL, Wire};
use super::link::Link;
use super::packets::{INIT, MOST_BYTES, VERSION, packet, string};
use crate::destination::limits::MOVING_BYTES;

const OPEN: u8 = 3;
const WRITE: u8 = 6;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
/// For writing; neither created nor emptied.
const OPEN_FLAGS: u32 = 2;
/// The number of the request that opens the file; writes are numbered from the next one.
const OPEN_ID: u32 = 1;
/// Data in one request: every server must take packets of 34,000 bytes (draft-ietf-secsh-filexfer-02, 3); whole pages.
pub(super) const REQUEST_BYTES: usize = 28 * 1024;

/// The connection that is there anyway, or one for this file only.
pub(super) enum Over<'a> {
    Borrowed(&'a Link),
    Own(Rc<Link>),
}

impl Over<'_> {
    fn link(&self) -> &Link {
        match self {
            Over::Borrowed(link) => link,
            Over::Own(link) => link,
        }
    }
}

/// How far it has come.
enum Stage {
    /// The server is asked for a channel.
    Channel,
    /// It is asked to speak SFTP there, from version 3 on.
    Subsystem,
    Greeting,
    /// It is asked for the file.
    Opening,
    /// Parts of the file may be sent; the handle is held with its length before it, as it came.
    Open(Vec<u8>),
    /// The channel is being closed.
    Closing,
    Closed,
}

/// What the library must be called with again, as a packet is half sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HalfSent {
    Writing,
    Reading,
    Other,
}

/// One channel at work.
pub(super) struct Lane<'a> {
    // Before the link: what is dropped first may still speak to the server.
    channel: Option<Channel>,
    over: Over<'a>,
    /// Which of the lanes this is.
    number: u32,
    stage: Stage,
    path: &'a str,
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
    half_sent: Option<HalfSent>,
    /// It is to be closed as soon as that is possible.
    ends: bool,
    moved_at: Instant,
    /// Bytes that have left since then.
    left_bytes: u64,
    /// It has come further since the step began.
    has_progressed: bool,
}

impl<'a> Lane<'a> {
    /// One that will open the file at `path`, which exists, on a channel of its own.
    pub(super) fn new(over: Over<'a>, number: u32, path: &'a str) -> Self {
        Lane {
            channel: None,
            over,
            number,
            stage: Stage::Channel,
            path,
            outgoing: Vec::new(),
            sent: 0,
            outstanding: BTreeMap::new(),
            outstanding_bytes: 0,
            refused: 0,
            incoming: Vec::new(),
            next_id: OPEN_ID + 1,
            half_sent: None,
            ends: false,
            moved_at: Instant::now(),
            left_bytes: 0,
            has_progressed: false,
        }
    }

    pub(super) fn link(&self) -> &Link {
        self.over.link()
    }

    /// Whether it can be given bytes.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Whether it will never again be given bytes.
    pub(super) fn has_ended(&self) -> bool {
        self.ends || self.is_closed()
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// Whether the connection lives on without it.
    pub(super) fn is_borrowed(&self) -> bool {
        matches!(self.over, Over::Borrowed(_))
    }

    /// What to wait for. With a packet half sent, only for being able to send: reading must not go between its halves.
    pub(super) fn interest(&self) -> PollFlags {
        if self.link().half_sent_by().is_some() { PollFlags::OUT } else { PollFlags::IN }
    }

    /// Whether the library has read something for it that it has not taken.
    pub(super) fn has_unread(&self) -> bool {
        self.link().half_sent_by().is_none()
            && !self.has_ended()
            && self.channel.as_ref().is_some_and(|channel| channel.read_window().available > 0)
    }

    /// Whether one of its packets is half sent.
    pub(super) fn is_half_sent(&self) -> bool {
        self.half_sent.is_some()
    }

    /// Whether it waits for the server: for a channel, the file, an acknowledgement.
    pub(super) fn is_busy(&self) -> bool {
        match self.stage {
            Stage::Open(_) => self.outstanding_bytes > 0,
            Stage::Closed => false,
            _ => true,
        }
    }

    /// Bytes that were given to it and not acknowledged.
    pub(super) fn outstanding_bytes(&self) -> usize {
        self.outstanding_bytes
    }

    /// Bytes that were given to it and have not left yet.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Whether there is any request to write without an answer, good or bad.
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
        let Stage::Open(handle) = &self.stage else { return };
        if self.outstanding.is_empty() {
            self.moved_at = Instant::now();
        }
        self.outgoing.drain(..self.sent);
        self.sent = 0;
        for (index, data) in bytes.chunks(REQUEST_BYTES).enumerate() {
            let offset = offset + (index * REQUEST_BYTES) as u64;
            append_write(&mut self.outgoing, self.next_id, handle, offset, data);
            self.outstanding.insert(self.next_id, (offset, data.len()));
            self.outstanding_bytes += data.len();
            self.next_id += 1;
        }
    }

    /// Opens, sends, receives and closes as far as it goes without waiting; tells whether anything moved.
    pub(super) fn step(&mut self) -> Result<bool, Wire> {
        if self.link().half_sent_by().is_some_and(|number| number != self.number) {
            return Ok(false);
        }
        if self.ends && self.half_sent.is_none() && !self.is_closed() {
            self.stage = Stage::Closing;
        }
        let mut moved = match self.stage {
            Stage::Channel | Stage::Subsystem => self.step_to_greeting()?,
            Stage::Closing => self.step_to_end()?,
            Stage::Closed => false,
            Stage::Greeting | Stage::Opening | Stage::Open(_) => false,
        };
        if matches!(self.stage, Stage::Greeting | Stage::Opening | Stage::Open(_)) {
            if self.half_sent == Some(HalfSent::Reading) {
                moved |= self.receive()?;
            }
            if self.half_sent != Some(HalfSent::Reading) {
                moved |= self.send()?;
            }
            match self.half_sent {
                None => moved |= self.receive()?,
                // The half packet may be one of a key exchange, which only reading goes on with.
                Some(HalfSent::Writing) if !moved => moved |= self.receive_beside()?,
                Some(_) => {}
            }
        }
        // Single bytes that never become an answer are no progress.
        if std::mem::take(&mut self.has_progressed) || self.left_bytes >= MOVING_BYTES {
            self.left_bytes = 0;
            self.link().has_moved();
            self.moved_at = Instant::now();
        } else if !self.is_busy() {
            self.moved_at = Instant::now();
        }
        Ok(moved)
    }

    /// Calls the library, and records whether it left a packet half sent; `None` if it would have to wait.
    fn ask<T>(
        &mut self,
        half: HalfSent,
        operation: impl FnOnce(&mut Option<Channel>, &Link) -> Result<Option<T>, Wire>,
    ) -> Result<Option<T>, Wire> {
        let link = self.over.link();
        let told = operation(&mut self.channel, link).inspect_err(|_| {
            self.half_sent = None;
            link.set_half_sent_by(None);
        })?;
        let directions = link.session.block_directions();
        let blocked = told.is_none() && matches!(directions, BlockDirections::Outbound | BlockDirections::Both);
        self.half_sent = blocked.then_some(half);
        link.set_half_sent_by(blocked.then_some(self.number));
        Ok(told)
    }

    fn step_to_greeting(&mut self) -> Result<bool, Wire> {
        let mut moved = false;
        if let Stage::Channel = self.stage {
            let Some(channel) = self.ask(HalfSent::Other, |_, link| link.try_run(|| link.session.channel_session()))?
            else {
                return Ok(false);
            };
            self.channel = Some(channel);
            self.stage = Stage::Subsystem;
            self.has_progressed = true;
            moved = true;
        }
        let asked = self.ask(HalfSent::Other, |channel, link| {
            let channel = channel.as_mut().ok_or(Wire::Gone)?;
            // What a server says beside its answers would wait unread for ever.
            link.try_run(|| channel.handle_extended_data(ExtendedData::Ignore).and_then(|()| channel.subsystem("sftp")))
        })?;
        if asked.is_some() {
            self.outgoing = packet(INIT, &3_u32.to_be_bytes());
            self.stage = Stage::Greeting;
            self.has_progressed = true;
            moved = true;
        }
        Ok(moved)
    }

    fn step_to_end(&mut self) -> Result<bool, Wire> {
        let closed = self.ask(HalfSent::Other, |channel, link| match channel {
            Some(channel) => link.try_run(|| channel.close()),
            None => Ok(Some(())),
        });
        // One attempt: a channel that cannot even be closed is nobody's any more.
        if !matches!(closed, Ok(None)) {
            self.stage = Stage::Closed;
        }
        Ok(closed?.is_some())
    }

    fn send(&mut self) -> Result<bool, Wire> {
        let mut moved = false;
        let completes = self.half_sent == Some(HalfSent::Writing);
        while self.sent < self.outgoing.len() {
            let outgoing = std::mem::take(&mut self.outgoing);
            let rest = &outgoing[self.sent..];
            let written = self.ask(HalfSent::Writing, |channel, link| {
                let channel = channel.as_mut().ok_or(Wire::Gone)?;
                link.try_io(|| channel.write(rest))
            });
            self.outgoing = outgoing;
            match written? {
                Some(count) if count > 0 => {
                    self.sent += count;
                    self.left_bytes += count as u64;
                    moved = true;
                    // On a slow line every packet is half sent for a while: the other lanes have waited for this one.
                    if completes {
                        break;
                    }
                }
                _ => break,
            }
        }
        Ok(moved)
    }

    /// Receives while a packet of this lane's stays half sent. What reading itself would have to send waits as well: libssh2
    /// sees that another packet is under way, and says that it must be called again.
    fn receive_beside(&mut self) -> Result<bool, Wire> {
        let received = self.receive();
        self.half_sent = Some(HalfSent::Writing);
        self.link().set_half_sent_by(Some(self.number));
        received
    }

    fn receive(&mut self) -> Result<bool, Wire> {
        let mut moved = false;
        let mut buffer = [0; 8 * 1024];
        loop {
            while let Some(body) = next_packet(&mut self.incoming)? {
                self.take_answer(&body)?;
                self.has_progressed = true;
            }
            let read = self.ask(HalfSent::Reading, |channel, link| {
                let channel = channel.as_mut().ok_or(Wire::Gone)?;
                link.try_io(|| channel.read(&mut buffer))
            })?;
            match read {
                None => return Ok(moved),
                Some(0) if self.is_open() => {
                    self.link().hang_up();
                    return Err(Wire::Gone);
                }
                Some(0) => return Err(closed_at_once()),
                Some(count) => {
                    moved = true;
                    self.incoming.extend_from_slice(&buffer[..count]);
                }
            }
        }
    }

    fn take_answer(&mut self, body: &[u8]) -> Result<(), Wire> {
        match (&self.stage, body) {
            (Stage::Greeting, [VERSION, ..]) => {
                let (id, path) = (OPEN_ID.to_be_bytes(), string(self.path.as_bytes()));
                let request = [&id[..], &path, &OPEN_FLAGS.to_be_bytes(), &[0; 4]].concat();
                self.outgoing = packet(OPEN, &request);
                self.sent = 0;
                self.stage = Stage::Opening;
                Ok(())
            }
            (Stage::Opening, [HANDLE, body @ ..]) if body.len() > 8 => {
                self.stage = Stage::Open(body[4..].to_vec());
                Ok(())
            }
            (Stage::Opening, [STATUS, body @ ..]) => Err(status_of(body).err().unwrap_or_else(nonsense)),
            (Stage::Open(_), [STATUS, body @ ..]) => self.take_acknowledgement(body),
            _ => Err(nonsense()),
        }
    }

    fn take_acknowledgement(&mut self, body: &[u8]) -> Result<(), Wire> {
        let id = u32_at(body, 0).ok_or_else(nonsense)?;
        if let Err(refusal) = status_of(body) {
            self.refused += 1;
            return Err(refusal);
        }
        let (_, length) = self.outstanding.remove(&id).ok_or_else(nonsense)?;
        self.outstanding_bytes -= length;
        Ok(())
    }

    /// Begins to end it in good order, when everything was acknowledged or it cannot be opened; [`step`](Lane::step) until it is
    /// closed.
    pub(super) fn close(&mut self) {
        match &self.over {
            Over::Borrowed(_) => self.ends = true,
            Over::Own(link) => {
                // One attempt: the server needs no farewell.
                let _ = link.session.disconnect(None, "done", None);
                link.hang_up();
                self.stage = Stage::Closed;
            }
        }
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

fn closed_at_once() -> Wire {
    ssh2::Error::new(ErrorCode::Session(ERROR_SFTP_PROTOCOL), "the server closed the channel at once").into()
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
