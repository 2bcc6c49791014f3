//! One file over several connections: blocks are read in order, and each goes to the connection that has least to do.
//!
//! One channel of OpenSSH takes 2 MB per round trip, whatever the line could carry; several take several times that. All
//! connections are driven by one thread, so the source stays an ordinary reader, read from its beginning to its end, and a slow
//! connection simply gets fewer blocks. While this goes on, the file has holes: only what lies below the first byte that was
//! not acknowledged is certain, and that is what the caller is told.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::errors::Wire;
use super::lane::{self, Lane, OpenFile, Over, REQUEST_BYTES};
use super::link::{self, Link};
use super::{auth, host_key};
use crate::config::settings::SftpSettings;
use crate::destination::feed::Feed;
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::error::chain_of;
use crate::interrupt::{Interrupt, Interrupted};

/// Bytes on their way over one connection.
const WINDOW: usize = 4 << 20;
/// What a connection is given at once; also the most that waits in its buffer before it is given more.
const RUN: usize = 16 * REQUEST_BYTES;
/// A further connection must be worth the round trips that it costs.
const WORTH_BYTES: u64 = 4 << 20;
/// The longest sleep between two looks at the interrupt.
const SLICE: Duration = Duration::from_millis(250);
/// How long an upload that is given up may still use the lines.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// How many connections so many bytes are worth.
pub(super) fn worth(bytes: u64, connections: u32) -> u32 {
    u32::try_from(bytes / WORTH_BYTES).unwrap_or(u32::MAX).clamp(1, connections)
}

/// Why it failed, before anybody has looked for the reason behind a server's plain `failure`.
pub(super) enum Trouble {
    Wire(Wire),
    Error(DestinationError),
}

/// How connections beside the first are made.
pub(super) struct Further<'a> {
    pub(super) settings: &'a SftpSettings,
    pub(super) timeouts: Timeouts,
    pub(super) interrupt: &'a Interrupt,
    /// How many.
    pub(super) count: u32,
}

/// Writes what `feed` has, from `offset` on, into the file at `path`, which exists. `certain` is kept at the number of bytes
/// from the file's beginning that were acknowledged without a gap.
///
/// Afterwards nothing is on its way any more, but over connections that are lost.
pub(super) fn send(
    link: &Link,
    further: &Further<'_>,
    path: &str,
    feed: &mut Feed<'_>,
    offset: u64,
    certain: &mut u64,
) -> Result<(), Trouble> {
    let first = lane::open(link, path).map_err(Trouble::Wire)?;
    let coming = open_in_the_background(further, path);
    let mut work = Work { lanes: vec![Lane::new(Over::Borrowed(link), first)], read_up_to: offset };
    let sent = work.run(feed, &coming, further);
    if sent.is_err() {
        work.settle();
    }
    *certain = work.certain();
    sent?;
    tracing::debug!("sent over {} connections", work.lanes.len());
    for lane in work.lanes {
        lane.close().map_err(Trouble::Wire)?;
    }
    Ok(())
}

/// Nobody waits for these: what the first connection has sent by the time they are ready, they need not.
fn open_in_the_background(further: &Further<'_>, path: &str) -> Receiver<(Link, OpenFile)> {
    let (ready, coming) = channel();
    for _ in 0..further.count {
        let (ready, path) = (ready.clone(), path.to_owned());
        let (settings, timeouts, interrupt) = (further.settings.clone(), further.timeouts, further.interrupt.clone());
        let opening = move || match open_further(&settings, timeouts, &interrupt, &path) {
            // The file may be all there by now: then the connection is dropped unused.
            Ok(opened) => {
                if let Err(unused) = ready.send(opened) {
                    unused.0.0.hang_up();
                }
            }
            Err(error) => tracing::info!(
                "a further connection to `{}` could not be opened, going on without it: {}",
                settings.location(),
                chain_of(&anyhow::Error::new(error)).join(": ")
            ),
        };
        if let Err(error) = thread::Builder::new().name("sftp connection".to_owned()).spawn(opening) {
            tracing::info!("no thread for a further connection: {error}");
        }
    }
    coming
}

fn open_further(
    settings: &SftpSettings,
    timeouts: Timeouts,
    interrupt: &Interrupt,
    path: &str,
) -> Result<(Link, OpenFile), DestinationError> {
    let link = host_key::connect_to_trusted(&settings.server(), timeouts.connect, interrupt)?;
    auth::log_in(&link, settings)?;
    let file = lane::open(&link, path).map_err(|wire| wire.during(format!("failed to open `{path}`")))?;
    link.set_limit(timeouts.stall);
    Ok((link, file))
}

struct Work<'a> {
    lanes: Vec<Lane<'a>>,
    /// What lies below was given to one of the lanes.
    read_up_to: u64,
}

impl Work<'_> {
    fn run(
        &mut self,
        feed: &mut Feed<'_>,
        coming: &Receiver<(Link, OpenFile)>,
        further: &Further<'_>,
    ) -> Result<(), Trouble> {
        let mut block = vec![0; RUN];
        loop {
            if further.interrupt.check().is_err() {
                return Err(Trouble::Wire(Wire::Interrupted));
            }
            while let Ok((link, file)) = coming.try_recv() {
                self.lanes.push(Lane::new(Over::Own(link), file));
            }
            let mut moved = self.hand_out(feed, &mut block)?;
            for lane in &mut self.lanes {
                moved |= lane.step().map_err(Trouble::Wire)?;
            }
            if feed.left() == 0 && self.lanes.iter().all(|lane| lane.outstanding_bytes() == 0) {
                return Ok(());
            }
            if !moved {
                self.wait(SLICE).map_err(Trouble::Wire)?;
                let limit = further.timeouts.stall;
                if let Some(stalled) = self.lanes.iter().find(|lane| lane.moved_at().elapsed() >= limit) {
                    stalled.link().hang_up();
                    return Err(Trouble::Wire(Wire::Stalled(limit)));
                }
            }
        }
    }

    /// Gives each lane that has room the next bytes, those with least to send first.
    fn hand_out(&mut self, feed: &mut Feed<'_>, block: &mut [u8]) -> Result<bool, Trouble> {
        let mut given = false;
        let mut order: Vec<usize> = (0..self.lanes.len()).collect();
        order.sort_by_key(|index| self.lanes[*index].unsent_bytes());
        for index in order {
            let lane = &mut self.lanes[index];
            if feed.left() == 0 || lane.unsent_bytes() >= RUN || lane.outstanding_bytes() + RUN > WINDOW {
                continue;
            }
            let count = feed.read(block).map_err(Trouble::Error)?;
            lane.push(self.read_up_to, &block[..count]);
            self.read_up_to += count as u64;
            given = true;
        }
        Ok(given)
    }

    fn wait(&self, slice: Duration) -> Result<(), Wire> {
        let waiting: Vec<_> = self
            .lanes
            .iter()
            .filter(|lane| lane.outstanding_bytes() > 0)
            .map(|lane| (lane.link(), lane.interest()))
            .collect();
        link::wait_for_any(&waiting, slice)
    }

    /// Lets what is on its way arrive before an upload is given up: less must be sent again, nothing arrives after the caller has
    /// tidied up, and a packet that was cut in two would spoil the first connection, over which that happens. A connection
    /// that is too slow for that is lost.
    fn settle(&mut self) {
        let end = Instant::now() + SETTLE_LIMIT;
        let mut alive = vec![true; self.lanes.len()];
        loop {
            let mut moved = false;
            for (lane, alive) in self.lanes.iter_mut().zip(&mut alive).filter(|(_, alive)| **alive) {
                match lane.step() {
                    Ok(stepped) => moved |= stepped,
                    // A server that has refused one request answers the others too.
                    Err(Wire::Ssh(error)) if matches!(error.code(), ssh2::ErrorCode::SFTP(_)) => moved = true,
                    Err(_) => *alive = false,
                }
                *alive &= lane.is_waiting();
            }
            if !alive.contains(&true) {
                break;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || (!moved && self.wait(left.min(Duration::from_millis(100))).is_err()) {
                break;
            }
        }
        for lane in self.lanes.iter().filter(|lane| lane.is_waiting()) {
            lane.link().hang_up();
        }
    }

    fn certain(&self) -> u64 {
        self.lanes.iter().filter_map(Lane::first_outstanding).min().unwrap_or(self.read_up_to)
    }
}

impl Trouble {
    /// As an error of the destination, when there is no more to say about it.
    pub(super) fn during(self, what: String) -> DestinationError {
        match self {
            Trouble::Wire(Wire::Interrupted) => DestinationError::new(ErrorKind::Local, what).caused_by(Interrupted),
            Trouble::Wire(wire) => wire.during(what),
            Trouble::Error(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_is_worth_one_connection_and_a_large_one_all() {
        assert_eq!([0, 90, 7 << 20, 8 << 20, 11 << 20, 1 << 40].map(|bytes| worth(bytes, 4)), [1, 1, 1, 2, 2, 4]);
        assert_eq!(worth(1 << 40, 1), 1);
    }
}
