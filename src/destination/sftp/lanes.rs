//! One file over several channels, and over several connections if asked: blocks are read in order, and each goes to the
//! channel that has least to do.
//!
//! One channel of OpenSSH takes 2 MB per round trip, whatever the line could carry; several take several times that, and each
//! has a process of its own at the server. All are driven by one thread, so the source stays an ordinary reader, read from its
//! beginning to its end, and a slow channel simply gets fewer blocks. While this goes on, the file has holes, the last of them
//! less than [`SPAN_BYTES`] from its end: only what lies below the first byte that was not acknowledged is certain, and that is
//! what the caller is told.

use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::errors::Wire;
use super::flusher::Flusher;
use super::lane::{Lane, Over, REQUEST_BYTES};
use super::link::{self, Link};
use super::{auth, host_key};
use crate::config::settings::SftpSettings;
use crate::destination::feed::Feed;
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::error::chain_of;
use crate::interrupt::Interrupt;

/// Bytes on their way over one channel.
const WINDOW: usize = 4 << 20;
/// What a channel is given at once; also the most that waits in its buffer before it is given more.
const RUN: usize = 16 * REQUEST_BYTES;
/// Channels of the first connection. OpenSSH allows ten (`MaxSessions`).
const CHANNELS: u32 = 3;
/// A channel must be worth the round trips that it costs.
const WORTH_BYTES: u64 = 4 << 20;
/// The smallest file that is worth more than one channel.
pub(super) const LEAST_BYTES: u64 = 2 * WORTH_BYTES;
/// How far one channel may be ahead of another: more than what is on its way anyway, so that only a stall is waited for.
pub(super) const SPAN_BYTES: u64 = 32 << 20;
/// The longest sleep between two looks at the interrupt.
const SLICE: Duration = Duration::from_millis(50);
/// The same while a channel is being opened: another one may have read what it waits for.
const OPENING_SLICE: Duration = Duration::from_millis(5);
/// How long an upload that is given up may still use the lines.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Why it failed, before anybody has looked for the reason behind a server's plain `failure`.
pub(super) enum Trouble {
    Wire(Wire),
    /// Flushing failed, for whatever reason but want of space.
    Flush(Wire),
    Error(DestinationError),
    /// The server gives no further channel; nothing was sent.
    NoChannel,
}

/// How an upload may spread.
pub(super) struct Lines<'a> {
    settings: &'a SftpSettings,
    timeouts: Timeouts,
    interrupt: &'a Interrupt,
    /// Channels of the first connection.
    channels: u32,
    /// Connections beside the first.
    further: u32,
}

impl<'a> Lines<'a> {
    /// What so many bytes are worth; `None` if that is no more than the channel that is there.
    pub(super) fn worth(
        bytes: u64,
        settings: &'a SftpSettings,
        timeouts: Timeouts,
        interrupt: &'a Interrupt,
    ) -> Option<Self> {
        let (channels, further) = spread(bytes, settings.connections)?;
        Some(Lines { settings, timeouts, interrupt, channels, further })
    }
}

/// Whether a file of that size may have been written over more than one.
pub(super) fn are_worth(bytes: u64) -> bool {
    bytes >= LEAST_BYTES
}

/// Channels of the first connection, and connections beside it; `None` for one channel and no further connection.
fn spread(bytes: u64, connections: Option<u32>) -> Option<(u32, u32)> {
    if !are_worth(bytes) || connections == Some(1) {
        return None;
    }
    let worth = u32::try_from(bytes / WORTH_BYTES).unwrap_or(u32::MAX);
    Some((worth.min(CHANNELS), worth.min(connections.unwrap_or(1)).saturating_sub(1)))
}

/// Writes what `feed` has, from `offset` on, into the file at `path`, which exists and which `flusher` flushes now and then.
/// `certain` is kept at the number of bytes from the file's beginning that were acknowledged without a gap.
///
/// Afterwards nothing is on its way any more, but over connections that are lost; the channels are closing.
pub(super) fn send<'a>(
    link: &'a Link,
    lines: &Lines<'_>,
    path: &'a str,
    flusher: &mut Flusher<'_>,
    feed: &mut Feed<'_>,
    offset: u64,
    certain: &mut u64,
) -> Result<Closing<'a>, Trouble> {
    let coming = connect_in_the_background(lines);
    let lanes = (0..lines.channels).map(|number| Lane::new(Over::Borrowed(link), number, path)).collect();
    let mut work = Work { lanes, path, read_up_to: offset };
    let sent = work.run(flusher, feed, &coming, lines);
    if sent.is_err() {
        work.settle(flusher);
    }
    *certain = work.certain();
    sent?;
    let open = || work.lanes.iter().filter(|lane| lane.is_open());
    let connections = 1 + open().filter(|lane| !lane.is_borrowed()).count();
    tracing::debug!("sent by several writers: connections: {connections}, channels: {}", open().count());
    work.close(lines.timeouts.stall).map_err(Trouble::Wire)
}

/// Nobody waits for these: what the first connection has sent by the time they are ready, they need not.
fn connect_in_the_background(lines: &Lines<'_>) -> Receiver<Link> {
    let (ready, coming) = channel();
    for _ in 0..lines.further {
        let ready = ready.clone();
        let (settings, timeouts, interrupt) = (lines.settings.clone(), lines.timeouts, lines.interrupt.clone());
        let connecting = move || match connect_further(&settings, timeouts, &interrupt) {
            // The file may be all there by now: then the connection is dropped unused.
            Ok(link) => {
                if let Err(unused) = ready.send(link) {
                    unused.0.hang_up();
                }
            }
            Err(error) => tracing::info!(
                "a further connection to `{}` could not be opened, going on without it: {}",
                settings.location(),
                chain_of(&anyhow::Error::new(error)).join(": ")
            ),
        };
        if let Err(error) = thread::Builder::new().name("sftp connection".to_owned()).spawn(connecting) {
            tracing::info!("no thread for a further connection: {error}");
        }
    }
    coming
}

pub(super) fn connect_further(
    settings: &SftpSettings,
    timeouts: Timeouts,
    interrupt: &Interrupt,
) -> Result<Link, DestinationError> {
    let link = host_key::connect_to_trusted(&settings.server(), timeouts.connect, interrupt)?;
    auth::log_in(&link, settings)?;
    link.set_limit(timeouts.stall);
    Ok(link)
}

struct Work<'a> {
    lanes: Vec<Lane<'a>>,
    path: &'a str,
    /// What lies below was given to one of the lanes.
    read_up_to: u64,
}

impl<'a> Work<'a> {
    fn run(
        &mut self,
        flusher: &mut Flusher<'_>,
        feed: &mut Feed<'_>,
        coming: &Receiver<Link>,
        lines: &Lines<'_>,
    ) -> Result<(), Trouble> {
        let mut block = vec![0; RUN];
        let mut number = lines.channels;
        loop {
            lines.interrupt.check().map_err(|stop| Trouble::Wire(Wire::Interrupted(stop)))?;
            while let Ok(link) = coming.try_recv() {
                self.lanes.push(Lane::new(Over::Own(Rc::new(link)), number, self.path));
                number += 1;
            }
            let mut moved = self.hand_out(feed, &mut block)?;
            moved |= self.step()?;
            if self.lanes.iter().all(Lane::has_ended) {
                return Err(Trouble::NoChannel);
            }
            let is_done = |lane: &Lane<'_>| lane.outstanding_bytes() == 0 && !lane.is_half_sent();
            if feed.left() == 0 && self.lanes.iter().all(is_done) {
                return flusher.finish().map_err(Trouble::Flush);
            }
            flusher.step(self.certain()).map_err(Trouble::Flush)?;
            if !moved {
                self.wait(lines.timeouts.stall).map_err(Trouble::Wire)?;
            }
        }
    }

    /// Lets each lane move; one that cannot be opened is done without, as long as there is another.
    fn step(&mut self) -> Result<bool, Trouble> {
        let mut moved = false;
        for lane in &mut self.lanes {
            match lane.step() {
                Ok(stepped) => moved |= stepped,
                Err(wire) if lane.is_open() || (lane.is_borrowed() && wire.kind() == ErrorKind::Unreachable) => {
                    return Err(Trouble::Wire(wire));
                }
                Err(wire) => {
                    let which = if lane.is_borrowed() { "channel" } else { "connection" };
                    tracing::info!("a further {which} could not be opened, going on without it: {wire}");
                    // Not dropped, which could leave a packet half sent.
                    lane.close();
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// Gives each lane that has room the next bytes, those with least to send first.
    fn hand_out(&mut self, feed: &mut Feed<'_>, block: &mut [u8]) -> Result<bool, Trouble> {
        let mut given = false;
        let limit = self.certain() + SPAN_BYTES;
        let mut order: Vec<usize> = (0..self.lanes.len()).filter(|index| self.lanes[*index].is_open()).collect();
        order.sort_by_key(|index| self.lanes[*index].unsent_bytes());
        for index in order {
            let lane = &mut self.lanes[index];
            if feed.left() == 0 || lane.unsent_bytes() >= RUN || lane.outstanding_bytes() + RUN > WINDOW {
                continue;
            }
            if self.read_up_to + RUN as u64 > limit {
                break;
            }
            let count = feed.read(block).map_err(Trouble::Error)?;
            lane.push(self.read_up_to, &block[..count]);
            self.read_up_to += count as u64;
            given = true;
        }
        Ok(given)
    }

    /// Waits until something can move; an error once a lane has waited for longer than `limit` while nothing moved on its
    /// connection. On a slow line lanes wait for each other; one whose process at the server hangs is noticed all the same, as
    /// the others may be ahead of it by [`SPAN_BYTES`] only.
    fn wait(&self, limit: Duration) -> Result<(), Wire> {
        self.wait_a_slice(SLICE)?;
        let moved_at = |lane: &Lane<'_>| lane.moved_at().max(lane.link().moved_at());
        match self.lanes.iter().find(|lane| lane.is_busy() && moved_at(lane).elapsed() >= limit) {
            Some(stalled) => {
                stalled.link().hang_up();
                Err(Wire::Stalled(limit))
            }
            None => Ok(()),
        }
    }

    fn wait_a_slice(&self, slice: Duration) -> Result<(), Wire> {
        // What one lane reads may be for another that has had its turn.
        if self.lanes.iter().any(Lane::has_unread) {
            return Ok(());
        }
        let is_coming = |lane: &Lane<'_>| lane.is_busy() && !lane.is_open();
        let slice = if self.lanes.iter().any(is_coming) { slice.min(OPENING_SLICE) } else { slice };
        let busy = self.lanes.iter().filter(|lane| lane.is_busy());
        let waiting: Vec<_> = busy.map(|lane| (lane.link(), lane.interest())).collect();
        link::wait_for_any(&waiting, slice)
    }

    /// Lets what is on its way arrive before an upload is given up: less must be sent again, nothing arrives after the caller has
    /// tidied up, and a packet that was cut in two would spoil the first connection, over which that happens. A connection
    /// that is too slow for that is lost.
    fn settle(&mut self, flusher: &mut Flusher<'_>) {
        let end = Instant::now() + SETTLE_LIMIT;
        let mut alive = vec![true; self.lanes.len()];
        loop {
            let mut moved = false;
            // Takes what it waits for, asks for nothing new.
            let _ = flusher.step(0);
            for (lane, alive) in self.lanes.iter_mut().zip(&mut alive).filter(|(_, alive)| **alive) {
                match lane.step() {
                    Ok(stepped) => moved |= stepped,
                    // A server that has refused one request answers the others too.
                    Err(Wire::Ssh(error)) if matches!(error.code(), ssh2::ErrorCode::SFTP(_)) => moved = true,
                    Err(_) => *alive = false,
                }
                *alive &= lane.is_waiting() || lane.is_half_sent();
            }
            if !alive.contains(&true) {
                break;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || (!moved && self.wait_a_slice(left.min(Duration::from_millis(100))).is_err()) {
                break;
            }
        }
        let in_pieces = |lane: &Lane<'_>| lane.is_waiting() || lane.link().half_sent_by().is_some();
        for lane in self.lanes.iter().filter(|lane| in_pieces(lane)) {
            lane.link().hang_up();
        }
        if let Err(wire) = flusher.finish() {
            tracing::debug!("a flush failed beside the upload: {wire}");
        }
    }

    /// Begins to end the lanes in good order; the first connection goes on.
    fn close(mut self, stall: Duration) -> Result<Closing<'a>, Wire> {
        self.lanes.iter_mut().for_each(Lane::close);
        loop {
            for lane in &mut self.lanes {
                if let Err(wire) = lane.step() {
                    tracing::debug!("a channel could not be closed: {wire}");
                }
            }
            // Somebody else is about to use the connection.
            if !self.lanes.iter().any(Lane::is_half_sent) {
                return Ok(Closing { work: self });
            }
            self.wait(stall)?;
        }
    }

    fn certain(&self) -> u64 {
        self.lanes.iter().filter_map(Lane::first_outstanding).min().unwrap_or(self.read_up_to)
    }
}

/// Channels that are told to close, while something else is asked for.
pub(super) struct Closing<'a> {
    work: Work<'a>,
}

impl Closing<'_> {
    /// Waits for the last one, but not for long: the file is whole and flushed without a server's farewell.
    pub(super) fn finish(mut self) {
        let end = Instant::now() + SETTLE_LIMIT;
        while Instant::now() < end {
            let mut moved = false;
            for lane in &mut self.work.lanes {
                match lane.step() {
                    Ok(stepped) => moved |= stepped,
                    Err(wire) => return tracing::debug!("a channel could not be closed: {wire}"),
                }
            }
            if self.work.lanes.iter().all(Lane::is_closed) {
                return;
            }
            if !moved && let Err(wire) = self.work.wait_a_slice(SLICE) {
                return tracing::debug!("a channel could not be closed: {wire}");
            }
        }
    }
}

impl Trouble {
    /// As an error of the destination, when there is no more to say about it.
    pub(super) fn during(self, what: String) -> DestinationError {
        match self {
            Trouble::Wire(wire) | Trouble::Flush(wire) => wire.during(what),
            Trouble::Error(error) => error,
            Trouble::NoChannel => {
                DestinationError::new(ErrorKind::Other, what).caused_by("the server gives no further channel")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_takes_the_channel_that_is_there_and_a_large_one_all_it_may() {
        assert_eq!([0, 90, (8 << 20) - 1].map(|bytes| spread(bytes, Some(4))), [None; 3]);
        assert_eq!(spread(1 << 40, Some(1)), None);
        assert_eq!(
            [8 << 20, 12 << 20, 1 << 40].map(|bytes| spread(bytes, None)),
            [Some((2, 0)), Some((3, 0)), Some((3, 0))]
        );
        assert_eq!(
            [8 << 20, 12 << 20, 1 << 40].map(|bytes| spread(bytes, Some(4))),
            [Some((2, 1)), Some((3, 2)), Some((3, 3))]
        );
    }
}
